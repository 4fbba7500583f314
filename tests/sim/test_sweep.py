"""Points and sweeps: figures against hand-made and dense counts, keys, what goes on and what is not redone."""

import csv
import dataclasses
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest

from eie import ArchConfig, CompressedLayer
from eie.capacity import sized_for
from eie.csc import interleave
from eie.errors import ConfigError, LayerError
from eie.fixed import IntArray
from eie.result import COUNTERS
from eie.sim.energy.model import estimate
from eie.sim.simulate import simulate
from eie.sim.sweep.columns import Row, to_csv, to_json, varied
from eie.sim.sweep.point import (
    OWN,
    SWEEP_ENGINES,
    HeldLayer,
    Point,
    RandomInput,
    RandomLayer,
    engine_sources,
    engine_version,
    held_points,
    measure,
)
from eie.sim.sweep.run import filler_counts, rows_of, run, run_in_memory, unfinished, work_by_group
from eie.sim.sweep.store import IN_MEMORY, Store
from eie.sim.sweep.workers import ThisProcess
from eie.sim.workloads.random import random_input, random_layer
from tests.support import ROOT
from tests.support.sweep_points import LAYER, MACHINE, Faulty, point

MACHINES = [ArchConfig(n_pe=n, queue_depth=depth) for n in (1, 4) for depth in (1, 8)]


@pytest.fixture(scope="module")
def layers() -> list[CompressedLayer]:
    return [random_layer(rows, cols, 0.15, seed=rows, name=f"fc{rows}") for rows, cols in ((70, 40), (9, 23))]


@pytest.fixture(scope="module")
def inputs(layers: list[CompressedLayer]) -> list[IntArray]:
    return [np.stack([random_input(layer.cols, 0.5, seed) for seed in range(2)]) for layer in layers]


@pytest.fixture(scope="module")
def rows(layers: list[CompressedLayer], inputs: list[IntArray]) -> list[Row]:
    return run_in_memory(held_points(layers, inputs, MACHINES))


# ---- figures -----------------------------------------------------------------------------------------------


def test_one_run_by_hand() -> None:
    # One PE; column 0 has rows 1 and 19 (17 zeros between: one filler), column 1 nothing, column 2 row 0.
    codes = np.zeros((20, 3), np.uint8)
    codes[[1, 19, 0], [0, 0, 2]] = 1
    layer = CompressedLayer.from_codes(codes, [0, 5])
    (row,) = run_in_memory(held_points([layer], [np.array([[7, 7, 7]])], [ArchConfig(n_pe=1)]))
    assert [row[name] for name in ("entries", "fillers", "macs", "empty_columns")] == [4, 1, 3, 1]
    # Root at 1, broadcast 1; start 3, 6, 7; the last entry's address goes out in 7, C = 4 later it is written.
    assert [row[name] for name in ("cycles", "starved", "broadcast_stalls")] == [12, 7, 0]
    assert row["work"] == [4]
    assert row["padding"] == pytest.approx(1 / 4)
    assert row["balance"] == pytest.approx(5 / 12)
    assert row["microseconds"] == pytest.approx(12 / 800)
    assert (row["memories"], row["entry_slots"], row["acc_depth"]) == ("sized", 4, 20)


def test_counts_against_the_dense_matrix(
    layers: list[CompressedLayer], inputs: list[IntArray], rows: list[Row]
) -> None:
    assert len(rows) == 2 * 2 * len(MACHINES)
    for row in rows:
        number = [layer.name for layer in layers].index(row["layer"])
        x = inputs[number][row["input"]]
        weights = layers[number].dense_codes()[:, x != 0] != 0
        n_pe = row["n_pe"]
        assert row["active"] == np.count_nonzero(x)
        assert row["act_density"] == pytest.approx(np.mean(x != 0))
        assert row["macs"] == np.count_nonzero(weights)
        assert sum(row["work"]) == row["entries"] == row["macs"] + row["fillers"]
        per_pe = [np.count_nonzero(weights[k::n_pe]) for k in range(n_pe)]
        assert all(entries >= macs for entries, macs in zip(row["work"], per_pe, strict=True))
        empty = sum(not weights[k::n_pe, j].any() for k in range(n_pe) for j in range(row["active"]))
        assert row["empty_columns"] == empty
        assert row["starved"] == row["cycles"] * n_pe - row["entries"] - empty


def test_rows_are_what_the_library_says(
    layers: list[CompressedLayer], inputs: list[IntArray], rows: list[Row]
) -> None:
    row = rows[-1]
    cfg = sized_for(MACHINES[-1], layers[1])
    result = simulate(layers[1], inputs[1][1], cfg, "golden")
    assert {name: row[name] for name in COUNTERS} == {name: result.total(name) for name in COUNTERS}
    assert (row["cycles"], row["balance"]) == (result.cycles, result.balance)
    cost = estimate(cfg, result.counters, result.cycles)
    assert row["energy_nj"] == pytest.approx(cost.energy_nj)
    assert (row["power_mw"], row["area_mm2"]) == pytest.approx((cost.power_mw, cost.area_mm2))


@pytest.mark.parametrize("engine", SWEEP_ENGINES[1:])
def test_other_engines_give_the_same_rows(
    layers: list[CompressedLayer], inputs: list[IntArray], rows: list[Row], engine: str
) -> None:
    chosen = MACHINES if engine == "golden" else MACHINES[-1:]
    others = run_in_memory(held_points(layers, inputs, chosen, engine=engine))
    fast = rows if engine == "golden" else [r for r in rows if (r["n_pe"], r["queue_depth"]) == (4, 8)]
    own = ("key", "engine", "engine_version", "seconds")
    for row, other in zip(fast, others, strict=True):
        assert other["engine"] == engine
        assert {k: v for k, v in row.items() if k not in own} == {
            k: v for k, v in other.items() if k not in own
        }


def test_random_layers_follow_the_widths() -> None:
    # Fewer bits: codes and activations are rounded, zeros stay where they are.
    spec, x = RandomLayer(60, 50, 0.3, seed=3), RandomInput(0.4, seed=3)
    wide = ArchConfig(acc_bits=32)
    narrow = ArchConfig(weight_bits=3, code_bits=8, act_bits=8, acc_bits=16)
    layer, small = spec.build(wide), spec.build(narrow)
    assert (layer.weight_bits, small.weight_bits) == (4, 3)
    assert np.array_equal(layer.dense_codes() != 0, small.dense_codes() != 0)
    assert abs(small.codebook).max() <= 128
    assert np.array_equal(x.vector(layer, wide) != 0, x.vector(small, narrow) != 0)
    assert abs(x.vector(small, narrow)).max() <= 127
    assert layer.equals(random_layer(60, 50, 0.3, seed=3, name=layer.name))
    for bits in (4, 8, 16):
        assert measure(point(act_bits=bits, code_bits=bits, acc_bits=max(8, bits)))["status"] == "ok"


# ---- keys and versions -------------------------------------------------------------------------------------


def test_keys_follow_what_the_row_follows_from(layers: list[CompressedLayer]) -> None:
    layer, x = layers[1], random_input(23, 0.5, 1)
    other = dataclasses.replace(layer, bias=layer.bias + 1)
    points = [
        *(
            point(**{name: f"not {value}" if isinstance(value, str) else value + 1})
            for name, value in MACHINE.items()
        ),
        Point(MACHINE, "sized", "fast", LAYER, RandomInput(0.5, 0), placement="balanced"),
        Point(MACHINE, OWN, "fast", LAYER, RandomInput(0.5, 0)),
        Point(MACHINE, "sized", "golden", LAYER, RandomInput(0.5, 0)),
        *(
            Point(MACHINE, "sized", "fast", dataclasses.replace(LAYER, **{name: 1}), RandomInput(0.5, 0))
            for name in vars(LAYER)
            if getattr(LAYER, name) != 1
        ),
        point(RandomInput(0.5, 1)),
        point(RandomInput(0.4, 0)),
        *held_points([layer, other], [np.stack([x, -x])] * 2, [ArchConfig()]),
        point(),
    ]
    assert len({one.key for one in points}) == len(points)
    # The file's name and the number of the input are no part of it.
    again = held_points([layer], [np.stack([-x])], [ArchConfig()], source="elsewhere")
    assert again[0].key in {one.key for one in points}
    assert HeldLayer(layer, "a").identity == HeldLayer(dataclasses.replace(layer), "b").identity


@pytest.mark.parametrize("engine", ["fast", "golden", "icarus"])
def test_an_engines_version_covers_every_module_that_it_loads(engine: str) -> None:
    script = """
import os, sys
from eie.sim.sweep.point import measure
from tests.support.sweep_points import point
import dataclasses
assert measure(dataclasses.replace(point(), engine=sys.argv[1]))["status"] == "ok"
print(*{os.path.realpath(m.__file__) for n, m in sys.modules.items() if n.startswith("eie.") and m.__file__}, sep="\\n")
"""
    tests = str(ROOT)
    done = subprocess.run(
        [sys.executable, "-c", script, engine],
        env=os.environ | {"PYTHONPATH": tests},
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = {Path(line) for line in done.stdout.split()}
    # What runs a simulator, and what only gathers modules.
    loaded -= {path for path in loaded if path.name in ("__init__.py", "build.py", "toolchain.py")}
    assert len(loaded) > 15
    assert loaded <= {path.resolve() for path in engine_sources(engine)}
    assert len({engine_version(name) for name in ("fast", "golden", "icarus")}) == 3


# ---- going on ----------------------------------------------------------------------------------------------


class Counted(ThisProcess):
    """Counts what is submitted."""

    def __init__(self) -> None:
        self.ran: list[str] = []

    def submit(self, points):
        future = super().submit(points)
        self.ran += [row["key"] for row in future.result()]
        return future


def test_a_sweep_goes_on_and_redoes_nothing(tmp_path: Path) -> None:
    points = [point(number=number) for number in range(10)]
    with Store(tmp_path / "s.sqlite") as store:
        first, second, third = Counted(), Counted(), Counted()
        run(points[:6], store, first)
        run([*points, *points], store, second)
        run(points, store, third)
        assert first.ran == [one.key for one in points[:6]]
        assert second.ran == [one.key for one in points[6:]]
        assert third.ran == []
        assert [row["key"] for row in rows_of(points[::-1], store)] == [one.key for one in points[::-1]]


def test_errors_are_recorded_and_the_others_go_on(tmp_path: Path) -> None:
    flag = tmp_path / "mended"
    points = [
        point(),
        point(n_pe=12),
        dataclasses.replace(point(acc_depth=1), memories=OWN),
        point(Faulty(0.5, 7, str(flag))),
        point(number=3),
    ]
    with Store() as store:
        run(points, store)
        rows = rows_of(points, store)
        assert [row["status"] for row in rows] == ["ok", "impossible", "impossible", "failed", "ok"]
        assert rows[1]["error"] == "n_pe must be a power of two from 1 to 256, not 12"
        assert rows[1]["n_pe"] == 12
        assert "10 accumulators needed, 1 available" in rows[2]["error"]
        assert rows[3]["error"] == "ZeroDivisionError: a bug"
        assert all(row["cycles"] is None for row in rows[1:4])
        # Failed points, and only they, run again when asked.
        flag.touch()
        assert unfinished(points, store) == []
        assert unfinished(points, store, retry=True) == [points[3]]
        run(points, store, retry=True)
        assert rows_of(points, store)[3]["status"] == "ok"


def test_not_enough_memory_is_one_points_failure() -> None:
    huge = dataclasses.replace(LAYER, rows=700_000, cols=700_000, density=1.0)
    row = measure(dataclasses.replace(point(n_pe=256), layer=huge))
    assert row["status"] == "failed"
    assert row["error"].startswith("not enough memory: Unable to allocate 3.57 TiB")


@pytest.mark.parametrize(
    ("rows", "cols", "n_pe", "says"),
    [
        (10**7, 10, 4, "acc_depth must be from 1 to 1048576, not 2500000"),
        (10, 10**7, 4, "src_depth must be from 1 to 1048576, not 2500000"),
        (10, 1 << 24, 64, "pointers must be from 2 to 16777216, not 16777217"),
        (10**7, 10**7, 64, "entries must be from 1 to 2147483648, not 464062500000"),
    ],
)
def test_a_layer_that_no_machine_holds_is_not_drawn(
    rows: int, cols: int, n_pe: int, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RandomLayer, "build", lambda *_: pytest.fail("it is drawn"))
    layer = dataclasses.replace(LAYER, rows=rows, cols=cols)
    row = measure(dataclasses.replace(point(n_pe=n_pe), layer=layer))
    assert row["status"] == "impossible"
    assert row["error"] == f"no {n_pe} PEs can hold a {rows} x {cols} layer: {says}"


@pytest.mark.parametrize("cause", [None, OSError("it cannot be read")])
@pytest.mark.parametrize("error", [SystemError("a result with an exception set"), LayerError("not a layer")])
def test_ctrl_c_is_no_figure_of_a_point(
    error: Exception, cause: Exception | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A C extension, or a reader, may make it an error of its own: no row of a store may say that the point failed."""

    def interrupted(*_: object) -> NoReturn:
        try:
            raise KeyboardInterrupt
        except BaseException:
            raise error from cause

    monkeypatch.setattr(RandomLayer, "build", interrupted)
    with Store(IN_MEMORY) as store:
        with pytest.raises(KeyboardInterrupt):
            run([point()], store)
        assert rows_of([point()], store) == []


def test_varied_fields(rows: list[Row]) -> None:
    assert varied(rows) == ["n_pe", "queue_depth"]
    random = run_in_memory([point(), point(number=1), point(RandomInput(0.7, 0), index_bits=3)])
    assert varied(random) == ["act_density", "index_bits"]


def test_copies(rows: list[Row]) -> None:
    assert json.loads(to_json(rows)) == rows
    table = list(csv.DictReader(io.StringIO(to_csv(rows))))
    assert [int(line["cycles"]) for line in table] == [row["cycles"] for row in rows]
    assert [json.loads(line["work"]) for line in table] == [row["work"] for row in rows]


# ---- what a layer makes of PEs -----------------------------------------------------------------------------


def test_fillers_and_groups(layers: list[CompressedLayer], inputs: list[IntArray]) -> None:
    layer, x = layers[0], inputs[0][0]
    inter = interleave(layer, 1)
    by_hand = [
        np.count_nonzero(inter.v[inter.pointers[0, j] : inter.pointers[0, j + 1]] == 0)
        for j in range(layer.cols)
    ]
    assert sum(by_hand) > 0
    assert filler_counts(inter)[:, 0].tolist() == by_hand
    grouped = work_by_group(layer, x, ArchConfig(n_pe=4), groups=5)
    assert grouped.shape == (5, 4)
    lengths = interleave(layer, 4).lengths[x != 0]
    assert grouped.sum(axis=0).tolist() == lengths.sum(axis=0).tolist()
    assert work_by_group(layer, np.zeros_like(x), ArchConfig(n_pe=4), groups=5).tolist() == [[0, 0, 0, 0]]


# ---- random workloads ------------------------------------------------------------------------------------


@pytest.mark.parametrize("density", [0.0, 0.003, 0.3, 1.0])
def test_random_workloads_have_the_density_asked_for(density: float) -> None:
    layer = random_layer(300, 200, density, seed=3)
    layer.check(full=True)
    deviation = (300 * 200 * density * (1 - density)) ** 0.5
    assert abs(layer.nnz - 300 * 200 * density) <= 5 * deviation
    x = random_input(20_000, density, seed=3)
    assert abs(np.count_nonzero(x) - 20_000 * density) <= 5 * (20_000 * density * (1 - density)) ** 0.5
    assert density == 0 or (x.min() < 0 < x.max())


def test_random_workloads_follow_their_seed() -> None:
    assert random_layer(20, 30, 0.3, seed=5).equals(random_layer(20, 30, 0.3, seed=5))
    assert not random_layer(20, 30, 0.3, seed=5).equals(random_layer(20, 30, 0.3, seed=6))
    assert not np.array_equal(random_input(30, 0.5, seed=5), random_input(30, 0.5, seed=6))
    with pytest.raises(ConfigError, match=r"the weight density must be from 0 to 1, not 1\.5"):
        random_layer(2, 2, 1.5, seed=0)
    with pytest.raises(ConfigError, match="the activation density must be from 0 to 1, not -1"):
        random_input(2, -1, seed=0)
    with pytest.raises(ConfigError, match="needs 1 to 16777216 rows and columns, not 0 x 3"):
        random_layer(0, 3, 0.5, seed=0)
