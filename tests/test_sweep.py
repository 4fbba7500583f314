"""Sweeps and random workloads: figures against hand-made and dense counts, tables on disk, refusals."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from eie import ArchConfig, CompressedLayer
from eie.csc import interleave
from eie.errors import ConfigError, FormatError, LayerError
from eie.sim.sweep import (
    Point,
    Workload,
    filler_counts,
    read_points,
    runs,
    sweep,
    to_csv,
    to_json,
    work_by_group,
)
from eie.sim.workload import random_input, random_layer


@pytest.fixture(scope="module")
def workloads() -> list[Workload]:
    return [
        Workload(
            random_layer(rows, cols, 0.15, seed=rows, name=f"fc{rows}"),
            np.stack([random_input(cols, 0.5, seed) for seed in range(2)]),
        )
        for rows, cols in ((70, 40), (9, 23))
    ]


@pytest.fixture(scope="module")
def points(workloads: list[Workload]) -> list[Point]:
    return list(sweep(workloads, [1, 4], [1, 8]))


def test_one_run_by_hand() -> None:
    # One PE; column 0 has rows 1 and 19 (17 zeros between: one filler), column 1 nothing, column 2 row 0.
    codes = np.zeros((20, 3), np.uint8)
    codes[[1, 19, 0], [0, 0, 2]] = 1
    layer = CompressedLayer.from_codes(codes, [0, 5])
    (point,) = sweep([Workload(layer, np.array([[7, 7, 7]]))], [1], [8])
    assert (point.entries, point.fillers, point.macs, point.empty_columns) == (4, 1, 3, 1)
    # Root at 1, broadcast 1; start 3, 6, 7; the last entry's address goes out in 7, C = 4 later it is written.
    assert (point.cycles, point.starved, point.broadcast_stalls) == (12, 7, 0)
    assert point.work == (4,)
    assert point.padding == pytest.approx(1 / 4)
    assert point.balance == pytest.approx(5 / 12)
    assert point.microseconds == pytest.approx(12 / 800)
    assert (point.memories, point.entries_available, point.acc_depth) == ("sized_for", 8, 20)


def test_counts_against_the_dense_matrix(workloads: list[Workload], points: list[Point]) -> None:
    assert len(points) == runs(workloads, [1, 4], [1, 8]) == 16
    for point in points:
        workload = next(w for w in workloads if w.layer.name == point.layer)
        x = workload.inputs[point.input]
        weights = workload.layer.dense_codes()[:, x != 0] != 0
        assert point.active == np.count_nonzero(x)
        assert point.macs == np.count_nonzero(weights)
        assert sum(point.work) == point.entries == point.macs + point.fillers
        per_pe = [np.count_nonzero(weights[k :: point.n_pe]) for k in range(point.n_pe)]
        assert all(entries >= macs for entries, macs in zip(point.work, per_pe, strict=True))
        empty = sum(
            not weights[k :: point.n_pe, j].any() for k in range(point.n_pe) for j in range(point.active)
        )
        assert point.empty_columns == empty
        assert point.starved == point.cycles * point.n_pe - point.entries - empty


def test_the_law_gives_the_golden_models_rows(workloads: list[Workload], points: list[Point]) -> None:
    golden = sweep(workloads, [1, 4], [1, 8], engine="golden")
    for by_law, by_golden in zip(points, golden, strict=True):
        assert dataclasses.replace(by_law, engine="golden") == by_golden


def test_fillers_and_groups(workloads: list[Workload]) -> None:
    layer, x = workloads[0].layer, workloads[0].inputs[0]
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


def test_tables_on_disk(tmp_path: Path, points: list[Point]) -> None:
    for name, text in (("sweep.csv", to_csv(points)), ("sweep.json", to_json(points))):
        path = tmp_path / name
        path.write_text(text)
        assert read_points(path) == points


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.csv", "layer,rows\nfc1,3\n", "is not a table written by eie sweep: no column 'cols'"),
        ("a.csv", "", "holds no rows"),
        ("a.json", "[]", "holds no rows"),
        ("a.json", "{", "is not a table written by eie sweep: Expecting property name"),
        ("a.json", "[3]", "is not a table written by eie sweep: 'int' object has no attribute 'get'"),
    ],
)
def test_tables_that_are_none(tmp_path: Path, name: str, text: str, says: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(FormatError, match=says.replace("[", r"\[")):
        read_points(path)
    with pytest.raises(FormatError, match=r"cannot read .*: No such file"):
        read_points(tmp_path / "absent.csv")


def test_refusals(workloads: list[Workload]) -> None:
    with pytest.raises(ConfigError, match="n_pe must be a power of two from 1 to 256, not 12"):
        sweep(workloads, [1, 12], [8])
    with pytest.raises(ConfigError, match="a sweep has no engine 'fast': use one of law, golden"):
        sweep(workloads, [1], [8], engine="fast")
    with pytest.raises(ConfigError, match="at least one PE count and one queue depth"):
        sweep(workloads, [], [8])
    short = [Workload(workloads[0].layer, np.zeros((1, 3), np.int64))]
    with pytest.raises(LayerError, match="must be a vector of 40 activations"):
        list(sweep(short, [1], [8]))


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
