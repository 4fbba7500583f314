"""Grids: the points that they stand for, and what they refuse in one line."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import eie
from eie.compress.forward import fixed_forward
from eie.config import ArchConfig
from eie.errors import ConfigError, EieError
from eie.sim.sweep.columns import MACHINE
from eie.sim.sweep.grid import DEFAULTS, KEYS, Grid, expand, read
from eie.sim.sweep.point import HeldInput, HeldLayer, RandomInput, RandomLayer
from eie.sim.workloads.random import random_layer
from tests.support import ROOT


def grid(folder: Path, text: str) -> Grid:
    (folder / "g.toml").write_text(text)
    return read(folder / "g.toml")


def test_a_grid_is_every_combination(tmp_path: Path) -> None:
    found = grid(
        tmp_path,
        """
        rows = 30
        cols = 40
        density = [0.1, 1]
        n_pe = [1, 4]
        index_bits = [3, 4, 5]
        memories = ["sized", "own"]
        inputs = 2
        """,
    )
    assert len({point.key for point in found.points}) == len(found.points) == 2 * 2 * 3 * 2 * 2
    first, last = found.points[0], found.points[-1]
    assert first.layer == RandomLayer(30, 40, 0.1, seed=1)
    assert (first.input, last.input) == (RandomInput(0.35, 1), RandomInput(0.35, 2))
    assert (first.number, last.number) == (0, 1)
    assert (first.machine["n_pe"], last.machine["n_pe"]) == (1, 4)
    assert last.machine | {"n_pe": 64, "index_bits": 4} == vars(ArchConfig())
    assert (first.memories, last.memories, last.engine) == ("sized", "own", "fast")
    # Whole numbers are real ones, too.
    assert last.layer == RandomLayer(30, 40, 1.0, seed=1)
    assert repr(last.layer) == repr(RandomLayer(30, 40, 1.0, seed=1))


def test_several_grids_are_a_list(tmp_path: Path) -> None:
    found = grid(
        tmp_path,
        """
        rows = 30
        preset = "wide"
        [[grid]]
        cols = 10
        n_pe = 2
        [[grid]]
        cols = 20
        rows = 5
        queue_depth = [1, 2]
        engine = "golden"
        """,
    )
    shapes = [(p.layer.rows, p.layer.cols, p.machine["n_pe"], p.machine["queue_depth"]) for p in found.points]
    assert shapes == [(30, 10, 2, 8), (5, 20, 64, 1), (5, 20, 64, 2)]
    assert [p.engine for p in found.points] == ["fast", "golden", "golden"]
    assert {p.machine["acc_bits"] for p in found.points} == {32}
    assert len(grid(tmp_path, "[grid]\nrows = 1\ncols = 2\nseed = [1, 2]").points) == 2


def test_layers_and_inputs_of_files(tmp_path: Path) -> None:
    layers = [random_layer(20, 30, 0.3, 1, name="a"), random_layer(10, 20, 0.3, 2, name="b")]
    layers[1] = dataclasses.replace(layers[1], x_frac=layers[0].y_frac)
    eie.save(tmp_path / "net.eie", layers)
    vectors = np.arange(90).reshape(3, 30)
    np.save(tmp_path / "x.npy", vectors)
    found = grid(
        tmp_path, 'file = "net.eie"\ninput = "x.npy"\ninputs = 2\nn_pe = [1, 4]\nacc_bits = [16, 32]'
    )
    assert len(found.points) == 2 * 2 * 2 * 2
    for point in found.points:
        assert isinstance(point.layer, HeldLayer)
        assert isinstance(point.input, HeldInput)
        x = vectors[point.number]
        if point.layer.layer.name == "b":
            x = fixed_forward(layers[:1], vectors[:2], point.machine["acc_bits"]).y[point.number]
        assert point.input.x.tolist() == x.tolist()
    only = grid(tmp_path, 'file = "net.eie"\nlayer = "b"\nseed = 5')
    assert [(p.layer.layer.name, p.input) for p in only.points] == [("b", RandomInput(0.35, 5))]
    assert grid(tmp_path, 'file = "net.eie"\nlayer = 1\nseed = 5').points[0].key == only.points[0].key
    # Real inputs are quantised; what does not fit is counted.
    np.save(tmp_path / "x.npy", np.full((1, 30), 1e6))
    (clipped,) = grid(tmp_path, 'file = "net.eie"\ninput = "x.npy"').clipped
    assert (clipped.path.name, clipped.count) == ("x.npy", 30)


REFUSED = {
    "rows = 3\ncols = 3\nqueue_dept = 8": "there is no field 'queue_dept': did you mean queue_depth or src_depth or",
    "rows = 3\ncols = 3\nxyzzy = 8": "there is no field 'xyzzy': use acc_bits, acc_depth, act_bits,",
    "rows = 3\ncols = 3\nn_pe = []": "n_pe is empty: a grid needs at least one value of each field",
    "rows = 3\ncols = 3\ninputs = 2000000": "up to 2,000,000 points, more than 1,000,000: split the grid into files",
    "": "needs a layer: rows and cols of a random one, or file of a .eie file",
    "rows = 3": "needs a layer: rows and cols of a random one, or file of a .eie file",
    "grid = []": " is empty: it needs at least one [[grid]]",
    "grid = 3": "grid must be tables, [[grid]], not 3",
    "rows = 3\ncols = 3\nn_pe = [1, 'many']": "n_pe must be a whole number, not 'many'",
    "rows = 3\ncols = 3\nn_pe = 1.5": "n_pe must be a whole number, not 1.5",
    "rows = 3\ncols = 3\nn_pe = true": "n_pe must be a whole number, not True",
    "rows = 3\ncols = 3\ndensity = 'low'": "density must be a number, not 'low'",
    "rows = 3\ncols = 3\nengine = 'law'": "engine must be one of fast, golden, icarus, verilator, not 'law'",
    "rows = 3\ncols = 3\nmemories = 'big'": "memories must be one of sized, own, not 'big'",
    "rows = 3\ncols = 3\nseed = -1": "seed must be from 0 to 4611686018427387904, not -1",
    "rows = 3\ncols = 3\nseed = 9223372036854775808": "seed must be from 0 to 4611686018427387904, not 92233",
    "rows = 0\ncols = 3": "rows must be from 1 to 16777216, not 0",
    "rows = 3\ncols = 16777217": "cols must be from 1 to 16777216, not 16777217",
    "rows = 3\ncols = 3\ndensity = [0.1, 2]": "density must be from 0 to 1, not 2",
    "rows = 3\ncols = 3\nact_density = nan": "act_density must be from 0 to 1, not nan",
    "rows = 3\ncols = 3\nuneven_rows = inf": "uneven_rows must be from 0 to 4096, not inf",
    "rows = 3\ncols = 3\nn_pe = [4, -4]": "n_pe must be a power of two from 1 to 256, not -4",
    "rows = 3\ncols = 3\nn_pe = 3": "n_pe must be a power of two from 1 to 256, not 3",
    "rows = 3\ncols = 3\nclock_hz = 0": "clock_hz must be from 1 to 1000000000000, not 0",
    "[[grids]]\nrows = 3\ncols = 3": "there is no field 'grids': did you mean grid",
    "file = 'net.eie'\nlayer = 1": "no layer '1': the file has 0 (fc1)",
    "file = 'net.eie'\nlayer = 1.0": "layer must be a name or a whole number, not 1.0",
    "rows = 3\ncols = 3\ninputs = 0": "inputs must be at least 1, not 0",
    "rows = 3\ncols = 3\nlayer = 'fc1'": "layer has no effect without file",
    "file = 'net.eie'\nrows = 3\ndensity = 1": "rows and density have no effect beside file",
    "file = 'net.eie'\ninput = 'x.npy'\nseed = 1": "seed has no effect beside input",
    "file = 'absent.eie'": "absent.eie: cannot be read: No such file or directory",
    "file = 'net.eie'\nlayer = 'fc9'": "no layer 'fc9': the file has 0 (fc1)",
    "file = 'net.eie'\ninput = 'x.npy'\ninputs = 3": "holds 2 input vectors, not 3 (inputs)",
    "[[grid]]\nrows = 3\ncols = 3\n[[grid]]\nrow = 3": ", grid 2: there is no field 'row': did you mean rows",
    "rows = ": "is not TOML: Invalid value",
}


@pytest.mark.parametrize("text", REFUSED)
def test_refused(tmp_path: Path, text: str) -> None:
    eie.save(tmp_path / "net.eie", [random_layer(3, 4, 0.5, 1, name="fc1")])
    np.save(tmp_path / "x.npy", np.zeros((2, 4), np.int64))
    with pytest.raises(EieError) as caught:
        grid(tmp_path, text)
    line = str(caught.value)
    assert REFUSED[text] in line
    assert "\n" not in line
    assert "g.toml" in line or "net.eie" in text or "absent" in text


@pytest.mark.parametrize("field", dataclasses.fields(ArchConfig), ids=lambda field: field.name)
def test_values_that_some_machine_can_have_are_not_refused(field: dataclasses.Field[Any]) -> None:
    name, metadata = field.name, field.metadata
    if "choices" in metadata:
        good = metadata["choices"]
        bad = ("other",) if isinstance(good[0], str) else (min(good) - 1, max(good) + 1)
    else:
        good = metadata["low"], metadata["high"]
        bad = good[0] - 1, good[1] + 1
    for value in good:
        (point,) = expand([{"rows": 3, "cols": 3, name: value}], "here").points
        assert point.machine[name] == value
    for value in bad:
        with pytest.raises(ConfigError, match=rf"here: {name} must be"):
            expand([{"rows": 3, "cols": 3, name: value}], "here")


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.toml: cannot be read: No such file or directory"):
        read(tmp_path / "absent.toml")


@pytest.mark.parametrize(
    "path", sorted((ROOT / "examples" / "sweeps").glob("*.toml")), ids=lambda path: path.name
)
def test_examples_can_be_read(path: Path) -> None:
    assert read(path).points


def test_defaults_are_keys() -> None:
    assert set(DEFAULTS) < set(KEYS)


def test_the_page_lists_every_key() -> None:
    page = (ROOT / "docs" / "sweeps.md").read_text(encoding="utf-8")
    table = page.split("| key | what it is | if not given |")[1].split("\n\n")[0]
    listed = {key.strip() for row in table.splitlines()[2:] for key in row.split("|")[1].split(",")}
    assert listed - {"..."} == set(KEYS) - (set(MACHINE) - {"n_pe", "queue_depth"})
    for row in table.splitlines()[2:]:
        keys, _, given = (cell.strip() for cell in row.strip("|").split("|"))
        shown = dict(zip(keys.split(", "), given.split(", "), strict=False))
        for key, value in DEFAULTS.items():
            assert key not in shown or shown[key] == str(value).removesuffix(".0"), key
