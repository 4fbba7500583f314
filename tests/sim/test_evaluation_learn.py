"""`eie reproduce learn`: cells that are kept, parts by name, and small runs of each part."""

import dataclasses
import json
import re
import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from eie.cli.main import main
from eie.compress import datasets, train
from eie.errors import ModelError
from eie.sim.evaluation import adder, learn, learn_compared, learn_dynamic, learn_small
from eie.sim.evaluation.parts import named
from tests.support.small_mnist import idx_files


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Small digits for both data sets, short trainings, and one PE's worth of cycles."""
    import hashlib

    monkeypatch.chdir(tmp_path)
    learn.digits.cache_clear()
    for name in learn.SETS:
        folder = datasets.default_folder(name)
        folder.mkdir(parents=True)
        sha = {}
        for file, data in idx_files().items():
            (folder / file).write_bytes(data)
            sha[file] = hashlib.sha256(data).hexdigest()
        monkeypatch.setitem(datasets.DATA_SETS, name, datasets.DataSet(sha, "none", lambda place: place))
    monkeypatch.setattr(learn, "HELD_OUT", 32)
    monkeypatch.setattr(learn, "COUNTED", 2)
    monkeypatch.setattr(learn, "PES", 8)
    monkeypatch.setattr(learn, "_CALIBRATION", 20)
    for name, value in {
        "_RANKS": (4,),
        "_DENSE_EPOCHS": 1,
        "_AFTER_EPOCHS": 1,
        "_LENET_EPOCHS": 1,
        "_TUNE_EPOCHS": 1,
        "_ROUNDS": 2,
        "_BELOW": 3,
        "_ROUND_EPOCHS": 1,
        "_MATCH_EPOCHS": 1,
        "_EXIT_EPOCHS": (1, 1, 1),
        "CHOSEN_ON": 20,
        "_EXIT_COUNTED": 2,
        "_LABELS": (60,),
        "_TEMPERATURES": (1, 4),
        "_TEACHER_STEPS": 60,
        "_STUDENT_EPOCHS": 1,
    }.items():
        monkeypatch.setattr(learn_small, name, value)
    for name, value in {
        "_WIDTH_EPOCHS": (1, 1, 1),
        "_SKIP_EPOCHS": (1, 1, 1),
        "_PRICES": (0.0, 5.0),
    }.items():
        monkeypatch.setattr(learn_dynamic, name, value)
    yield tmp_path
    learn.digits.cache_clear()


def test_one_name_stands_for_all_parts():
    keys = [part.key for part in named(["learn"])]
    assert keys == [
        "learn-rank",
        "learn-units",
        "learn-tickets",
        "learn-distil",
        "learn-matching",
        "learn-exits",
        "learn-exits-5",
        "learn-widths",
        "learn-recurrent",
        "learn-skips",
        "learn-bits",
        "learn-compared",
        "learn-compared-5",
    ]
    assert [part.key for part in named(["learn-units"])] == ["learn-units"]
    assert not {"learn-rank", "beyond"} & {part.key for part in named([])}


def test_a_cell_is_made_once_for_its_settings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = []

    def make(folder: Path) -> dict:
        made.append(folder.name)
        return {"error": float(len(made)), "threads": torch.get_num_threads()}

    first = learn.cell("a", make, seed=1)
    assert first == {"settings": {"seed": 1}, "error": 1.0, "threads": 1}
    assert learn.cell("a", make, seed=1) == first
    assert learn.cell("a", make, seed=2)["error"] == 2.0
    assert learn.cell("b", make, seed=1)["error"] == 3.0
    assert len(set(made)) == 3
    path = learn.FOLDER / f"{made[0]}.json"
    path.write_text("{")
    with pytest.raises(ModelError, match="is not a result of `eie reproduce learn`: delete it"):
        learn.cell("a", make, seed=1)


def test_held_out_digits_are_not_learnt_from(here):
    data = learn.digits("mnist", "lenet-300-100")
    assert (len(data.bench.x), len(data.held_x), len(data.bench.test_x)) == (160, 32, 64)
    whole = datasets.load("mnist").images / 255
    assert torch.equal(data.held_x, torch.tensor(whole[160:], dtype=torch.float32))
    assert torch.equal(data.bench.x, torch.tensor(whole[:160], dtype=torch.float32))


def test_multiply_accumulates_by_hand():
    model = learn.fresh("lenet-5", 1)
    assert learn_small.work(model, torch.rand(2, 1, 28, 28)) == 500 * 576 + 25_000 * 64 + 400_000 + 5_000


def test_low_rank_part(here):
    section = learn_small.rank(1)
    (table,) = section.tables
    assert [row[:3] for row in table.rows[:3]] == [
        ["mnist", "dense", "266,200"],
        ["mnist", "low rank, rank 4", "35,336"],
        ["mnist", "pruned, weights of rank 4", "35,336"],
    ]
    kept = json.loads(json.dumps(section.data))
    assert section.data == kept
    for found in (one for cells in kept.values() for one in cells):
        assert found["bytes"] > 500
        assert 0 <= found["error"] <= 100
        assert found["cycles"] > 100
    # From the cells, the same again, with nothing trained.
    before = {path: path.stat().st_mtime_ns for path in learn.FOLDER.rglob("*")}
    assert learn_small.rank(1) == section
    assert {path: path.stat().st_mtime_ns for path in learn.FOLDER.rglob("*")} == before


def test_the_command_and_the_other_parts(here):
    given = [
        "reproduce",
        "learn-tickets",
        "learn-units",
        "-o",
        "out",
        "--json",
        "--seed",
        "1",
        "--seeds",
        "2",
    ]
    result = CliRunner().invoke(main, given)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert set(found.get("parts", found)) >= {"learn-tickets", "learn-units"}
    assert "learn-units --seeds 2" in Path("out/learn-units-learn-tickets.md").read_text()
    assert "Seeds 1, 2;" in Path("out/learn-units-learn-tickets.md").read_text()
    units = learn_small.units(1)
    macs = {row[1]: int(row[2].replace(",", "")) for row in units.tables[0].rows}
    assert macs["dense"] == 2_293_000
    assert 0 < macs["tuned"] == macs["scratch-E"] == macs["scratch-B"] < macs["dense"] / 2
    deep = {row[1]: int(row[2].replace(",", "")) for row in units.tables[1].rows}
    assert deep["dense"] == 9 * (784 * (16 + 256) + 196 * (512 + 1024) + 49 * (2048 + 4096)) + 5760
    assert 0.45 < deep["tuned"] / deep["dense"] < 0.5
    assert deep["tuned"] == deep["scratch-E"] == deep["scratch-B"]
    tickets = learn_small.tickets(1)
    assert [row[0] for row in tickets.tables[0].rows] == list(learn_small._KINDS)
    assert [picture.name for picture in tickets.pictures] == ["learn-tickets"]
    assert all(f"{kind} " in tickets.pictures[0].alt for kind in learn_small._KINDS)
    headings = tickets.tables[0].headings
    assert headings[-3:] == ["test %, 3.6 %", "test %, 0.7 %", "never trained"]
    for kind in learn_small._KINDS:
        (end,), (below,) = (tickets.data[f"{kind}/{rounds}"] for rounds in (2, 3))
        # The curve of each ends with what is left, and both begin with all weights.
        assert end["curve"][0][0] == below["curve"][0][0] == 1
        assert (end["curve"][-1][0], below["curve"][-1][0]) == pytest.approx((0.037, 0.008), abs=0.002)
    for name in ("distil", "matching", "exits"):
        section = getattr(learn_small, name)(1)
        assert section.key == f"learn-{name}"
        assert section.tables[0].rows


def test_widths_part(here):
    section = learn_dynamic.widths(1)
    rows = section.tables[0].rows
    assert [row[:2] for row in rows[:5]] == [
        ["0.25", "alone"],
        ["0.25", "nested"],
        ["0.25", "in place"],
        ["0.25", "in place, whole 3 x"],
        ["0.5", "alone"],
    ]
    nested = section.data["nested/0.25"][0]
    # Each way trains weights of its own.
    ways = [section.data[f"{kind}/0.25"][0] for kind in learn_dynamic._TOGETHER]
    assert len({json.dumps([one["bytes"], one["1"], one["0.25"]]) for one in ways}) == 3
    assert section.data["nested/1"][0] == nested
    for key in ("weights", "cycles", "energy_nj"):
        values = [nested[width][key] for width in ("0.25", "0.5", "0.75", "1")]
        assert values == sorted(values)
        assert values[0] < values[-1]
    for row in rows:
        assert 0 <= float(row[2]) <= 100


def test_bits_part(here, monkeypatch):
    for name, value in {"_BITS_UNITS": 16, "_BITS_EPOCHS": 1}.items():
        monkeypatch.setattr(learn_dynamic, name, value)
    section = learn_dynamic.bits(1)
    assert [row[0] for row in section.tables[0].rows] == ["float", "binary", "binary, drawn", "ternary"]
    assert section.tables[0].rows[0][3:] == ["-"] * 4
    for kind in ("binary", "binary, drawn", "ternary"):
        (found,) = section.data[kind]
        # The machine's arithmetic and floating point tell all but a few of the 64 digits alike.
        assert abs(found["error"] - found["float"]) < 10
        assert found["cycles"] > 100
    plain, drawn = (
        [section.data[kind][0][name] for name in ("held", "float", "bytes", "cycles")]
        for kind in ("binary", "binary, drawn")
    )
    assert plain != drawn
    assert learn_dynamic.bits(1) == section


def test_skips_part(here):
    section = learn_dynamic.skips(1)
    assert [row[0] for row in section.tables[0].rows] == ["0", "5"]
    for (found,) in section.data.values():
        assert 0 <= found["ran"] <= 100
        assert 0 < found["cycles"] <= 1
        assert found["bytes"] > 1000
    assert learn_dynamic.skips(1) == section


def test_every_method_beside_pruning(here, monkeypatch):
    net = dataclasses.replace(learn_compared.NETS["lenet-300-100"], epochs=1)
    monkeypatch.setattr(learn_compared, "NETS", {"lenet-300-100": net})
    for name, value in {"CURVE": (0.5, 0.1), "_TUNED": 1, "_ROUNDS": 1, "_ROUND_EPOCHS": 1}.items():
        monkeypatch.setattr(learn_compared, name, value)
    methods = {"pruned 0.5": "", "pruned 0.1": "", **dict.fromkeys(learn_compared._MARKS, "")}
    monkeypatch.setattr(learn_compared, "METHODS", methods)
    section = learn_compared.section(1)
    rows = {tuple(row[:2]): row[2:] for row in section.tables[0].rows}
    assert list(rows) == [(name, method) for name in learn.SETS for method in methods]
    kept = section.data["mnist/pruned 0.1"][0]
    assert kept["weights"] == sum(
        round(size * 0.1**power) for size, power in ((235_200, 1.0), (30_000, 0.8), (1000, 0.36))
    )
    for (_, method), (error, size, at_bytes, cycles, at_cycles) in rows.items():
        assert 0 <= float(error) <= 100
        assert int(size.replace(",", "")) > 500
        assert int(cycles.replace(",", "")) > 50
        for cell in (at_bytes, at_cycles):
            assert cell == "" if method.startswith("pruned ") else re.fullmatch(r"-|[+-]\d+\.\d\d", cell)
    whole, half = (section.data[f"mnist/width {width}"][0] for width in ("1", "0.5"))
    assert whole["bytes"] == half["bytes"]
    assert whole["cycles"] > half["cycles"]
    # Each method has weights of its own: none is another's by mistake.
    mine = {name: section.data[f"mnist/{name}"][0] for name in methods}
    assert mine["binary"]["weights"] == 266_200 > mine["ternary"]["weights"] > mine["low rank"]["weights"]
    assert mine["soft labels"]["weights"] == mine["matching"]["weights"] == mine["pruned 0.1"]["weights"]
    assert mine["units"]["weights"] < mine["pruned 0.1"]["weights"] < mine["exits"]["weights"]
    assert learn_compared.section(1).data == section.data


def test_pruning_between_its_points():
    line = [{"cycles": 1000, "error": 1.0}, {"cycles": 10, "error": 5.0}, {"cycles": 300, "error": 5.5}]
    assert learn_compared.on_the_line(line, "cycles", 100) == pytest.approx(3.0)
    found = [learn_compared.on_the_line(line, "cycles", cost) for cost in (9, 10, 1000, 1001)]
    assert found == [None, 5.0, 1.0, 1.0]
    runs = [{"cycles": 100, "error": 2.5}, {"cycles": 9, "error": 1.0}]
    both = [[one, one] for one in line]
    assert learn_compared._beside(both, runs[:1], "cycles") == [pytest.approx(-0.5)]
    assert learn_compared._beside(both, runs, "cycles") is None


def test_seeds_are_of_parts_that_train():
    result = CliRunner().invoke(main, ["reproduce", "fig8", "learn-units", "--seeds", "2"])
    assert result.exit_code == 2
    assert result.output.splitlines()[-1] == "eie: error: --seeds has no effect on fig8: it has one seed"


def test_without_digits_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    learn.digits.cache_clear()
    result = CliRunner().invoke(main, ["reproduce", "learn-rank", "-o", "out"])
    assert result.exit_code == 2
    assert "build/mnist holds no IDX files: run `eie data mnist`" in result.output
    assert not Path("out").exists()


@pytest.mark.parametrize("part", ["learn-rank", "learn-compared", "mesa", "mesa-text", "adder"])
def test_without_pytorch_one_line(part, monkeypatch):
    trains = r"eie\.(compress\.train|sim\.evaluation\.(learn|mesa|adder))"
    for name in [name for name in sys.modules if re.match(trains, name)]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ModelError, match=f"^{part} trains networks and needs PyTorch: pip install"):
        named([part])[0].run(1, None, Path())


def test_layers_that_add_beside_products(here, monkeypatch):
    monkeypatch.setattr(adder, "CASES", (adder.Case("lenet-300-100", "mnist", 0.5, 2),))
    monkeypatch.setattr(adder, "PRUNE_EPOCHS", 1)
    section = adder.section(1)
    rows, published = (table.rows for table in section.tables)
    product, adds = (section.data[f"lenet-300-100, mnist, 50 %: {kind}"] for kind in ("product", "adder"))
    assert [row[:2] for row in rows] == [
        ["lenet-300-100, mnist, 50 %", kind] for kind in ("product", "adder")
    ]
    assert section.data["gaps"] == {"lenet-300-100, mnist, 50 %": adds["error"] - product["error"]}
    assert f"{adds['error'] - product['error']:+.2f}" in section.text[1]
    # Where an input is always 0, and below 0, an adder's weights go for nothing.
    assert adds["weights"] < product["weights"] == 150 * 784 + 15_000 + 1000
    assert adds["energy_nj"] < adds["multiplied_nj"]
    assert product["energy_nj"] == pytest.approx(product["multiplied_nj"])
    assert product["engines_agree"]
    assert adds["engines_agree"]
    assert ("MNIST, LeNet-5-BN", "99.4", "99.4") in published


def test_lenet_5_that_adds(here):
    """Its chain of convolutions is saved with normalisations folded; both kinds have equally many weights."""
    sizes = [sum(w.size for w in train.find_weights(adder.lenet(kind, 1))) for kind in adder.KINDS]
    assert sizes == [430_500, 430_500]
    model, x = adder.lenet("product", 1), torch.rand(3, 1, 28, 28)
    model(x)
    folded = adder._folded(model)
    assert torch.allclose(folded(x), model(x), atol=1e-4)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in folded)
