"""Balanced placement: the same sums in other places, even work, and networks whose columns follow."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import eie
from eie.balance import balanced_rows, place
from eie.capacity import sized_for
from eie.config import ArchConfig
from eie.encoding import encode
from eie.fixed import IntArray
from eie.layer import CompressedLayer
from eie.plan import make_plan
from eie.program import Job
from eie.sim.engines import reference
from eie.sim.networks.accelerator import Accelerator
from eie.sim.plans import run_plan
from eie.sim.workloads.random import Unevenness, random_input, random_layer

ROOT = Path(__file__).parents[2]


def uneven(rows: int, cols: int, seed: int) -> CompressedLayer:
    return random_layer(rows, cols, 0.2, seed, uneven=Unevenness(0.5, 0.5))


@settings(max_examples=60)
@given(st.integers(0, 2**32), st.sampled_from([1, 2, 4, 16]), st.integers(1, 70), st.integers(1, 40))
def test_sums_stay_and_rows_are_dealt_out_once(seed: int, n_pe: int, rows: int, cols: int) -> None:
    rng = np.random.default_rng(seed)
    codes = ((rng.random((rows, cols)) < rng.random((rows, 1))) * rng.integers(1, 16, (rows, cols))).astype(
        np.uint8
    )
    layer = CompressedLayer.from_codes(
        codes, rng.integers(-3000, 3000, 16) * (np.arange(16) > 0), bias=rng.integers(-99, 99, rows)
    )
    x = rng.integers(-3000, 3000, cols) * (rng.random(cols) < 0.6)
    cfg = sized_for(ArchConfig(n_pe=n_pe), layer)
    (placed,) = place([layer], cfg)
    placed.layer.check(full=True)
    assert sorted(placed.rows.tolist()) == list(range(rows))
    assert np.array_equal(placed.layer.dense_codes(), codes[placed.rows])
    # On each PE the rows ascend, and it has as many as it had.
    for k in range(n_pe):
        assert np.all(np.diff(placed.rows[k::n_pe]) > 0)
    # Sums saturate here, so that their order matters.
    expected = reference.run(Job.create(layer, x, cfg)).y
    found = reference.run(Job.create(placed.layer, placed.inputs(x), sized_for(cfg, placed.layer))).y
    assert np.array_equal(placed.restored(found), expected)


def test_work_is_even() -> None:
    layer = uneven(640, 300, 3)
    cfg = sized_for(ArchConfig(n_pe=16), layer)

    def spread(one: CompressedLayer) -> tuple[float, float]:
        work = encode(one, cfg.replace(row_format="absolute")).lengths
        windows = np.add.reduceat(work, range(0, 300, 32), axis=0)
        return work.sum(axis=0).max() / work.sum(axis=0).mean() - 1, float(windows.std(axis=1).mean())

    (placed,) = place([layer], cfg)
    before, after = spread(layer), spread(placed.layer)
    assert after[0] < 0.01 < 0.05 < before[0]
    assert after[1] < before[1] / 2


def test_tiles_keep_their_rows() -> None:
    layer = uneven(100, 30, 5)
    cfg = ArchConfig(n_pe=4, acc_depth=8)
    order = balanced_rows(layer, cfg)
    for top in range(0, 100, 32):
        assert sorted(order[top : top + 32].tolist()) == list(range(top, min(top + 32, 100)))


def _reference(placed: list[CompressedLayer], x: IntArray, cfg: ArchConfig) -> IntArray:
    for layer in placed:
        x = reference.run(Job.create(layer, x, sized_for(cfg, layer))).y.astype(np.int64)
    return x


@pytest.mark.parametrize("preset", ["paper", "eie2"])
def test_a_network_on_the_chip_is_the_placed_one_bit_for_bit(preset: str) -> None:
    layers = [
        replace(uneven(*size, seed), name=f"fc{seed}")
        for seed, size in enumerate([(90, 60), (70, 90), (50, 70)])
    ]
    cfg = sized_for(ArchConfig.preset(preset, n_pe=4, acc_bits=32), *layers).replace(
        entries=4096, pointers=512
    )
    cfg = cfg.replace(pointer_bits=16)
    placed = place(layers, cfg)
    assert placed[0].cols is None
    assert np.array_equal(placed[1].cols, placed[0].rows)
    x = random_input(60, 0.7, 1)
    (result,) = run_plan(make_plan([one.layer for one in placed], cfg), x[None], "fast")
    expected = _reference([one.layer for one in placed], x, cfg)
    assert np.array_equal(result.y, expected)
    # With sums that do not saturate, the user's network gives the same numbers.
    assert np.array_equal(placed[-1].restored(result.y), _reference(layers, x, cfg))


def test_a_result_is_in_the_users_order_on_every_engine() -> None:
    layer = uneven(90, 60, 4)
    x = random_input(60, 0.7, 2)
    cfg = sized_for(ArchConfig(n_pe=4), layer)
    cfg = cfg.replace(entries=2 * cfg.entries, pointer_bits=16)
    plain = eie.simulate(layer, x, cfg, "fast")
    for engine in ("reference", "golden", "fast"):
        found = eie.simulate(layer, x, cfg, engine, balance=True)
        assert np.array_equal(found.y, plain.y), engine
        assert engine == "reference" or found.cycles < plain.cycles


def test_chains_convolutions_and_graphs_give_what_they_gave() -> None:
    net = eie.load(ROOT / "examples" / "trained" / "lenet-5.eie")
    x = np.random.default_rng(1).random((2, 784))
    plain, placed = net.run(x), net.run(x, balance=True)
    assert plain.total("saturations") == 0  # so that the order of sums makes no difference
    assert np.array_equal(plain.y, placed.y)
    assert placed.total("macs") == plain.total("macs")
    assert placed.cycles < plain.cycles
    layer = uneven(90, 60, 4)
    vectors = np.random.default_rng(2).normal(size=(3, 60))
    for cfg in (
        sized_for(ArchConfig(n_pe=4), layer),
        ArchConfig(n_pe=4, acc_depth=7),
    ):  # whole, and in passes
        cfg = cfg.replace(entries=4096, pointer_bits=16)
        engines = [
            Accelerator({"a": replace(layer, name="a")}, cfg, "fast", balance=balance) for balance in (0, 1)
        ]
        one, two = (engine("a", vectors) for engine in engines)
        assert np.array_equal(one, two)
        assert engines[0].records["a"].result.cycles > engines[1].records["a"].result.cycles
