"""What `import eie` offers: its names, their documentation, how objects show themselves, equality."""

import dataclasses
import importlib
import inspect
import pkgutil
import typing
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import eie
from eie.errors import ConfigError, LayerError, ModelError
from eie.plan import make_plan
from eie.result import COUNTERS
from eie.sim.workloads.random import random_layer
from tests.support import ROOT

NAMES = [name for name in eie.__all__ if name != "__version__"]


@pytest.fixture(scope="module")
def layer() -> eie.CompressedLayer:
    return eie.CompressedLayer.from_dense(
        np.random.default_rng(1).normal(size=(10, 100)), density=0.3, relu=False, name="fc"
    )


@pytest.fixture(scope="module")
def x() -> np.ndarray:
    return np.linspace(0, 1, 100)


def test_the_names_are_those_that_dir_shows() -> None:
    assert dir(eie) == sorted(eie.__all__)
    for name in ("compress", "simulate", "load", "save", "sweep", "lockstep", "ArchConfig", "__version__"):
        assert name in eie.__all__
        assert getattr(eie, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = eie.nothing
    assert eie.__version__ == importlib.metadata.version("eie-sim")


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_is_documented(name: str) -> None:
    """A numpydoc docstring with a runnable example; parameters, and errors of what can be called."""
    thing = getattr(eie, name)
    if isinstance(thing, ModuleType):  # eie.compress
        thing = importlib.import_module("eie.sim.api").compress
    text = inspect.getdoc(thing)
    assert ">>> " in text, "no example"
    if inspect.isfunction(thing):
        for section in ("Parameters\n----------", "Raises\n------", "Examples\n--------"):
            assert section in text, section
        listed = text[text.index("Parameters") :]
        for parameter in inspect.signature(thing).parameters:
            assert parameter in listed
    if inspect.isclass(thing):
        for method, value in vars(thing).items():
            if not method.startswith("_") and (callable(value) or isinstance(value, property | classmethod)):
                assert inspect.getdoc(getattr(thing, method)), method


def test_a_network_takes_real_numbers_and_gives_them(layer: eie.CompressedLayer, x: np.ndarray) -> None:
    net = eie.Chain([layer])
    cfg = eie.ArchConfig(n_pe=4)
    run = net.run(x, cfg)
    one = eie.simulate(layer, x, cfg, engine="fast")
    assert np.array_equal(run.outputs, one.outputs)
    assert np.array_equal(one.outputs, one.y * 2.0**-layer.y_frac)
    assert np.abs(one.outputs - layer.decode() * 2.0**-layer.w_frac @ x).max() < 0.05
    assert np.array_equal(eie.simulate(layer, layer.quantize(x), cfg).y, one.y)
    assert eie.simulate(net, x, cfg, engine="golden").cycles == run.cycles == one.cycles
    # One result in all engines, with its scale.
    assert eie.simulate(layer, x, cfg, engine="reference").outputs.tolist() == one.outputs.tolist()


def test_utilization_counts_useful_work_alone() -> None:
    """A layer of 10 rows leaves 54 of 64 PEs without work; their empty columns count for the balance only."""
    narrow = random_layer(10, 200, 0.3, seed=1)
    result = eie.simulate(narrow, np.ones(200, int), engine="fast")
    assert result.balance > 0.8
    assert result.utilization == result.total("macs") / (64 * result.cycles) < 0.06
    nothing = eie.simulate(narrow, np.zeros(200, int), engine="fast")
    assert (nothing.cycles, nothing.utilization) == (0, 1.0)
    assert eie.simulate(narrow, np.ones(200, int), engine="reference").utilization is None


def test_frames_and_pictures(layer: eie.CompressedLayer, x: np.ndarray) -> None:
    run = eie.Chain([layer]).run(x, eie.ArchConfig(n_pe=4))
    (result,) = run.results
    frame = result.to_frame()
    assert list(frame.index) == [0, 1, 2, 3]
    assert {"macs", "starved"} <= set(frame.columns)
    assert frame["macs"].sum() == result.total("macs")
    assert run.to_frame().loc["fc", "utilization"] == result.utilization
    for drawn in (result.plot_work(), run.plot_work()):
        heights = [bar.get_height() for container in drawn.axes[0].containers for bar in container.patches]
        assert sum(heights) == 4 * result.cycles
    with pytest.raises(ConfigError, match="reference"):
        eie.simulate(layer, x, engine="reference").plot_work()


def test_results_are_equal_by_their_numbers(layer: eie.CompressedLayer, x: np.ndarray) -> None:
    cfg = eie.ArchConfig(n_pe=4)
    one, same = (eie.simulate(layer, x, cfg, engine="fast") for _ in range(2))
    other = eie.simulate(layer, x / 2, cfg, engine="fast")
    assert one == same
    assert one != other
    assert one != eie.simulate(layer, x, cfg, engine="golden")
    assert one != "text"
    with pytest.raises(TypeError):
        hash(one)
    assert {cfg: 1}[eie.ArchConfig(n_pe=4)] == 1


def dataclasses_of_the_package() -> list[type]:
    found = []
    for module in pkgutil.walk_packages(eie.__path__, "eie."):
        if "templates" in module.name or module.name.endswith(("__main__", "_host", "bench")):
            continue
        loaded = importlib.import_module(module.name)
        found += [
            one
            for one in vars(loaded).values()
            if inspect.isclass(one) and dataclasses.is_dataclass(one) and one.__module__ == module.name
        ]
    return found


def test_no_dataclass_compares_arrays_with_one_sign() -> None:
    """A generated == of arrays raises ValueError, and a generated hash TypeError."""
    kinds = dataclasses_of_the_package()
    assert len(kinds) > 100
    wrong = []
    for kind in kinds:
        try:
            hints = typing.get_type_hints(kind)
        except NameError:  # what is imported for type checkers alone
            continue
        arrays = [f.name for f in dataclasses.fields(kind) if f.compare and "ndarray" in repr(hints[f.name])]
        if kind.__dataclass_params__.eq and [n for n in arrays if "Callable" not in repr(hints[n])]:
            wrong.append((kind.__module__, kind.__name__, arrays))
    assert wrong == []


def test_objects_show_themselves_in_a_line_and_in_a_table(layer: eie.CompressedLayer, x: np.ndarray) -> None:
    net = eie.Chain([layer] * 9, "net.eie")
    run = eie.Chain([layer]).run(x)
    plan = make_plan([layer], eie.sized_for(eie.ArchConfig(n_pe=2), layer))
    report = eie.compress({"fc.weight": np.eye(4)}, density=1).report
    assert repr(report).startswith("CompressionReport(1 layer: ")
    assert len(repr(report)) < 200
    for one in (layer, net, run, run.results[0], plan, eie.ArchConfig(n_pe=2), report.size):
        assert len(repr(one)) < 200
        assert "\n" not in repr(one)
        shown = one._repr_html_()
        assert shown.startswith("<table>")
        assert shown.count("<tr>") == shown.count("</tr>") > 0
    assert repr(eie.ArchConfig(n_pe=2)) == "ArchConfig(n_pe=2)"
    assert eval(repr(eie.ArchConfig(n_pe=2, acc_bits=32)), {"ArchConfig": eie.ArchConfig}).acc_bits == 32
    odd = dataclasses.replace(layer, name="<b>")
    assert "<b>" not in odd._repr_html_()


def test_compress_takes_files_dictionaries_and_modules(tmp_path: Path, x: np.ndarray) -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(1)
    module = torch.nn.Sequential(torch.nn.Linear(100, 20), torch.nn.ReLU(), torch.nn.Linear(20, 10))
    weights = {name: value.numpy() for name, value in module.state_dict().items()}
    np.savez(tmp_path / "model.npz", **weights)
    nets = [
        eie.compress(model, density=0.5, weight_bits=8, calibration=x[None])
        for model in (module, weights, module.state_dict(), tmp_path / "model.npz")
    ]
    assert nets[0] == nets[1] == nets[2] == nets[3]
    assert [one.shape for one in nets[0]] == [(20, 100), (10, 20)]
    assert nets[0].report.size.total_bytes > 0
    saved = eie.compress(weights, tmp_path / "net.eie", density=[0.5, 1.0])
    assert eie.load(tmp_path / "net.eie") == saved
    with pytest.raises(ModelError, match="a dictionary of arrays, not int"):
        eie.compress(3)
    with pytest.raises(ModelError, match="no layer to compress"):
        eie.compress({"bias": np.ones(3)})


def test_sweep_takes_keys_grids_and_files(tmp_path: Path) -> None:
    keys = {"rows": 16, "cols": 32, "density": 0.3, "n_pe": [1, 2]}
    by_name = eie.sweep(**keys)
    assert [row["cycles"] for row in eie.sweep(keys)] == [row["cycles"] for row in by_name]
    assert len(eie.sweep([keys, keys | {"density": 0.5}])) == 4
    (tmp_path / "grid.toml").write_text("rows = 16\ncols = 32\ndensity = 0.3\nn_pe = [1, 2]\n")
    stored = eie.sweep(tmp_path / "grid.toml", store=tmp_path / "s.sqlite")
    assert [row["key"] for row in stored] == [row["key"] for row in by_name]
    assert by_name.to_frame()["utilization"].between(0, 1).all()
    assert repr(by_name) == "SweepTable(2 points over n_pe)"
    assert by_name._repr_html_().count("<tr>") == 3
    assert by_name.plot("n_pe", "cycles").axes
    assert by_name.pareto().front
    with pytest.raises(ConfigError, match="give a grid, or its keys"):
        eie.sweep()
    with pytest.raises(ConfigError, match="there is no field 'pe'"):
        eie.sweep(rows=1, cols=1, pe=3)


def test_lockstep_of_a_chain(layer: eie.CompressedLayer, x: np.ndarray) -> None:
    report = eie.lockstep(layer, x, eie.sized_for(eie.ArchConfig(n_pe=1), layer))
    assert report.mismatches == 0
    assert report.cycles > 100
    assert np.array_equal(report.results[0].y, eie.simulate(layer, x).y)
    with pytest.raises(LayerError, match="one input, not 2"):
        eie.lockstep(layer, np.stack([x, x]))


def test_bad_calls_are_told_in_a_line(layer: eie.CompressedLayer, x: np.ndarray) -> None:
    with pytest.raises(LayerError, match="not list"):
        eie.simulate([layer], x)
    with pytest.raises(ConfigError, match=r"eie.simulate\(net\[0\]"):
        eie.simulate(eie.Chain([layer]), x, waveform=Path("w.vcd"))
    with pytest.raises(LayerError, match="must be real numbers"):
        layer.quantize(["a"])
    with pytest.raises(LayerError, match="must be finite"):
        layer.quantize([np.nan])
    with pytest.raises(ConfigError, match=f"use one of {COUNTERS[0]}"):
        eie.simulate(layer, x).total("filler")
    for nothing in ("net.eie", None, [], [layer, x]):
        with pytest.raises(LayerError, match=r"^give a CompressedLayer or a chain of layers, not"):
            eie.lockstep(nothing, x)
    for grid in (5, [5]):
        with pytest.raises(
            ConfigError, match=r"^a grid is a dictionary, a list of them or a .toml file, not \[?5"
        ):
            eie.sweep(grid)
    arrays = {"fc.weight": np.eye(8) + 0.5}
    for settings, text in (
        ({"density": "0.5"}, "density must be a number, or one for each layer, not '0.5'"),
        ({"threshold": None}, "threshold must be a number, or one for each layer, not None"),
        ({"density": np.array([0.5, 0.5])}, "2 densities for 1 layers: give 1 or 1"),
        ({"weight_bits": 2.5}, "weight_bits must be from 1 to 8, not 2.5"),
        ({"rank": {"fc": "2"}}, "rank of 'fc' must be a number, not '2'"),
    ):
        with pytest.raises(ModelError, match=f"^{text}$"):
            eie.compress(arrays, **settings)


def test_the_package_of_the_compressor_is_still_a_package() -> None:
    import eie.compress.format.file as module

    assert callable(eie.compress)
    assert module.load is not None
    assert eie.compress.__path__
    assert Path(eie.compress.__file__).resolve() == ROOT / "compress" / "__init__.py"
