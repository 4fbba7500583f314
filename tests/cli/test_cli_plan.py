"""`eie plan`: what it prints, that its figures are the library's, and what it refuses."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

import eie
from eie.capacity import sized_for
from eie.cli.commands.plan import chains
from eie.config import ArchConfig
from eie.conv import Conv
from eie.errors import MismatchError
from eie.plan import make_plan
from eie.schema import PeCounter
from eie.sim.evaluation import plans
from eie.sim.evaluation.layers import benchmark
from eie.sim.plan_report import Phases, require_equal
from eie.sim.plans import run_plan
from eie.sim.simulate import simulate
from eie.sim.workloads.random import random_input, random_layer
from tests.support import command

SMALL = (
    "--pe",
    2,
    "--set",
    "acc_depth=5",
    "--set",
    "src_depth=6",
    "--set",
    "pointers=40",
    "--set",
    "act_words=60",
)
CONFIG = ArchConfig(n_pe=2, acc_depth=5, src_depth=6, pointers=40, act_words=60)


def invoke(*arguments: object, status: int = 0) -> Result:
    return command.invoke("plan", *arguments, status=status)


def refused(*arguments: object) -> str:
    return command.refused("plan", *arguments)


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[eie.CompressedLayer]:
    """Two layers, 22 x 30 and 9 x 22, in net.eie, and an input in x.npy."""
    monkeypatch.chdir(tmp_path)
    layers = [random_layer(22, 30, 0.2, seed=1, name="fc1"), random_layer(9, 22, 0.2, seed=2, name="fc2")]
    object.__setattr__(layers[1], "x_frac", layers[0].y_frac)
    eie.save("net.eie", layers)
    np.save("x.npy", random_input(30, 0.5, seed=3))
    return layers


def test_the_json_has_the_librarys_figures(network: list[eie.CompressedLayer]) -> None:
    (shown,) = json.loads(invoke("net.eie", "--input", "x.npy", *SMALL, "--json").stdout)
    plan = make_plan(network, CONFIG)
    (result,) = run_plan(plan, np.load("x.npy")[None], "golden")
    phases = Phases.of(result)
    assert shown["y"] == result.y.tolist()
    assert shown["phases"] == phases.by_name
    assert shown["cycles"] == phases.total
    assert shown["microseconds"] == pytest.approx(phases.total / 800)
    assert len(shown["passes"]) == len(plan.steps) > 5
    assert len(shown["runs"]) == len(plan.runs) > 1
    for name in ("refill", "compute", "write_back"):
        assert sum(row[name] for row in shown["passes"]) == sum(row[name] for row in shown["runs"])
    for name in ("load", "refill", "compute", "control", "store"):
        assert sum(row[name] for row in shown["runs"]) == phases.by_name[name]
    first = simulate(network[0], np.load("x.npy"), sized_for(CONFIG, network[0]), "fast")
    second = simulate(network[1], first.y, sized_for(CONFIG, network[1]), "fast")
    assert shown["untiled_compute"] == [first.cycles, second.cycles]


def test_the_tables(network: list[eie.CompressedLayer]) -> None:
    text = invoke("net.eie", "--input", "x.npy", *SMALL).stdout
    (shown,) = json.loads(invoke("net.eie", "--input", "x.npy", *SMALL, "--json").stdout)
    assert text.startswith(
        "2 PEs, queue depth 8, 800 MHz; per PE: 5 accumulators, 6 source activations, 40 pointers"
    )
    assert "fc1 22 x 30, fc2 9 x 22" in text
    lines = [line.split() for line in text.splitlines()]
    assert ["total", f"{shown['cycles']:,}", f"{shown['microseconds']:,.2f}"] in lines
    for row in shown["passes"]:
        spans = [f"{begin}-{end - 1}" for begin, end in (row["rows"], row["columns"])]
        assert [row["layer"], str(row["run"]), str(row["entry"]), *spans] in [line[:5] for line in lines]
    for line in shown["bounds"]:
        assert line in text
    assert "cut by accumulators (5 rows), source file (6 activations), pointers (40 pointers)" in text


@pytest.mark.parametrize("engine", ["reference", "golden", "icarus"])
def test_another_engine_agrees(network: list[eie.CompressedLayer], engine: str) -> None:
    text = invoke("net.eie", "--input", "x.npy", *SMALL, "--check", engine).stdout
    (shown,) = json.loads(invoke("net.eie", "--input", "x.npy", *SMALL, "--json").stdout)
    compared = 9 if engine == "reference" else 9 + 2 + len(shown["runs"]) * (5 + len(PeCounter) * 2)
    assert text.splitlines()[-1] == f"{engine} agrees: {compared:,} numbers compared"


def test_another_engine_differs(network: list[eie.CompressedLayer], monkeypatch: pytest.MonkeyPatch) -> None:
    plan = make_plan(network, CONFIG)
    x = np.load("x.npy")
    (fast,) = run_plan(plan, [x], "fast")
    (golden,) = run_plan(plan, [x], "golden")
    y = golden.y.copy()
    y[3] += 1
    monkeypatch.setattr("eie.cli.commands.plan.run_plan", lambda *_: [replace(golden, y=y)])
    result = invoke("net.eie", "--input", "x.npy", *SMALL, "--check", "golden", status=1)
    assert result.stderr == f"eie: error: activation 3: fast {fast.y[3]}, golden {y[3]}\n"
    runs = list(golden.runs)
    runs[1] = replace(runs[1], refill_cycles=99)
    with pytest.raises(
        MismatchError, match=rf"run 1, refill_cycles: fast {fast.runs[1].refill_cycles}, golden 99"
    ):
        require_equal(fast, replace(golden, runs=tuple(runs)))
    runs = list(golden.runs)
    per_pe = runs[0].per_pe.copy()
    per_pe[PeCounter.BYPASSES, 1] += 1
    runs[0] = replace(runs[0], per_pe=per_pe)
    with pytest.raises(MismatchError, match="run 0, bypasses of PE 1: fast "):
        require_equal(fast, replace(golden, runs=tuple(runs)))
    with pytest.raises(MismatchError, match="load_cycles: fast "):
        require_equal(fast, replace(golden, load_cycles=1))


def test_a_random_layer_on_the_published_machine() -> None:
    text = invoke("--random", "5000x100", "--density", 0.05).stdout
    assert "cut by accumulators (64 rows)" in text
    assert "weights stay on the chip: loaded once" in text
    (shown,) = json.loads(invoke("--random", "5000x100", "--density", 0.05, "--json").stdout)
    assert [row["rows"] for row in shown["passes"]] == [[0, 4096], [4096, 5000]]
    assert shown["resident"]
    assert len(shown["runs"]) == 1


def test_many_passes_are_not_all_shown() -> None:
    text = invoke("--random", "90x90", "--pe", 1, "--set", "acc_depth=4", "--set", "src_depth=30").stdout
    assert "... and 29 more (--json has all)" in text


def test_a_picture(tmp_path: Path) -> None:
    path = tmp_path / "phases.png"
    assert str(path) in invoke("--random", "64x64", "--pe", 4, "--picture", path).stdout.splitlines()[-1]
    assert path.read_bytes().startswith(b"\x89PNG")


def test_the_part_of_the_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plans, "BENCHMARKS", ("NT-We", "NT-Wd"))
    section = plans.section(seed=1)
    layer, x = benchmark("NT-Wd", 1)
    plan = make_plan([layer], ArchConfig())
    (result,) = run_plan(plan, [x], "fast")
    phases = Phases.of(result)
    cuts, cycles = section.tables
    assert cuts.rows[0][2:7] == ["1", "1", "1", "-", "once"]
    assert cuts.rows[1][:7] == ["NT-Wd", "8791 x 600", "3", "1", "1", "accumulators", "once"]
    assert cuts.rows[1][8] == f"{phases.compute:,}"
    assert cycles.rows[1][2:9] == [f"{value:,}" for value in (*phases.by_name.values(), phases.total)]
    assert section.data["NT-Wd"]["phases"] == phases.by_name
    assert simulate(layer, x, sized_for(ArchConfig(), layer), "fast").y.tolist() == section.data["NT-Wd"]["y"]


def test_convolutions_are_planned_by_themselves() -> None:
    fc = random_layer(8, 8, 0.5, seed=1)
    conv = random_layer(8, 9, 0.5, seed=1)
    object.__setattr__(conv, "conv", Conv((3, 3), size=(5, 5)))
    assert list(chains([conv, conv, fc, fc, conv])) == [[0], [1], [2, 3], [4]]


def test_bad_input(network: list[eie.CompressedLayer]) -> None:
    sources = "give either a .eie file, a graph (.onnx, .toml) or --random ROWSxCOLS"
    assert refused() == f"{sources} (see eie plan --help)"
    assert refused("net.eie", "--random", "3x4").startswith(sources)
    assert refused("--random", "3x4", "--layer", 1).startswith("--layer has no effect with --random")
    assert refused("net.eie", "--density", 0.5).startswith("--density has no effect with a .eie file")
    assert refused("net.eie", "--set", "pointers").startswith(
        "invalid value for '--set': 'pointers' is not a setting"
    )
    assert refused("net.eie", "--set", "pointer=4").startswith("ArchConfig has no field 'pointer'")
    assert refused("net.eie", "--pe", 2, "--set", "pointers=2") == (
        "layer 'fc1' has no plan for 2 PEs: its columns 0 to 1 in rows 0 to 21 need 3 pointers per PE, 2 available "
        "(pointers); use fewer PEs or more pointers"
    )
    assert refused("net.eie", "--picture", "nowhere/f.png").startswith("cannot write into nowhere: ")
    assert "missing.eie" in refused("missing.eie")
