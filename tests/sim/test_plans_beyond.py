"""Plans on machines with the switches of docs/beyond.md: tiles, batches, load groups, on engines without RTL."""

import itertools

import numpy as np
import pytest

from eie.capacity import check_fits
from eie.config import ArchConfig
from eie.errors import CapacityError
from eie.layer import CompressedLayer
from eie.plan import Plan, make_plan
from eie.result import differences
from eie.sim.plans import run_plan
from tests.support.better_machines import draw


def random_layer(rng: np.random.Generator, rows: int, cols: int, cfg: ArchConfig) -> CompressedLayer:
    codes = (rng.random((rows, cols)) < 0.3) * rng.integers(1, cfg.n_codes, (rows, cols))
    codebook = rng.integers(-40, 40, cfg.n_codes) * (np.arange(cfg.n_codes) > 0)
    return CompressedLayer.from_codes(codes.astype(np.uint8), codebook, product_shift=3, output_shift=2)


def drawn_plan(seed: int) -> Plan:
    """A chain of three layers on a machine that holds none of them whole."""
    rng = np.random.default_rng([seed, 21])
    while True:
        cfg = draw(rng).replace(counters=1, act_words=64, codebooks=3, passes=16)
        cfg = cfg.replace(src_depth=2, acc_depth=3, pointers=4 * cfg.n_pe + 2, entries=8 * cfg.n_pe + 30)
        sizes = [int(n) for n in rng.integers(2, 8 * cfg.n_pe + 3, 4)]
        layers = [random_layer(rng, after, before, cfg) for before, after in itertools.pairwise(sizes)]
        try:
            return make_plan(layers, cfg)
        except CapacityError:
            continue


@pytest.mark.parametrize("seed", range(12))
def test_passes_give_what_golden_gives(seed: int) -> None:
    plan = drawn_plan(seed)
    rng = np.random.default_rng(seed)
    inputs = rng.integers(0, 12, (2, plan.layers[0].cols))
    for fast, golden, reference in zip(
        *(run_plan(plan, inputs, name) for name in ("fast", "golden", "reference")), strict=True
    ):
        compared, differing = differences(golden, fast)
        assert not differing, (seed, differing[:3], plan.cfg)
        assert compared > 10
        assert np.array_equal(fast.y, reference.y), seed


def test_pairs_begin_at_even_columns_and_no_pass_needs_more_than_there_is() -> None:
    for seed in range(30):
        plan = drawn_plan(seed)
        cfg = plan.cfg
        for step in plan.steps:
            assert step.entry.ptr_base % cfg.group == 0
            assert step.cut.words <= cfg.spmat_words - step.entry.spmat_base
            assert step.cut.entries <= cfg.pointer_reach
            check_fits(cfg, step.cut.part)
            assert step.entry.ptr_base + cfg.pointers_for(step.cut.part.cols) <= 2 * cfg.ptr_bank_depth
