"""Engine fast against golden: many random cases, and one layer of the size that people sweep."""

import numpy as np
import pytest
from tqdm import trange

from eie.capacity import sized_for
from eie.config import ArchConfig
from eie.golden.run import run as run_golden
from eie.program import Job
from eie.sim.simulate import simulate_many
from eie.sim.workloads.random import random_input, random_layer
from tests.support.better_cases import better_case
from tests.support.cases import extreme_case, seeded_case
from tests.support.results import require_equal


def test_random_cases(seed: int, fast_cases: int) -> None:
    cycles = 0
    for number in trange(fast_cases, desc="fast = golden", unit=" cases"):
        # Every twentieth machine is an extreme one. The case's number is in the message of a failure.
        draw = seeded_case if number % 20 else extreme_case
        case = draw(seed * 1_000_000 + number)
        golden = run_golden(case.job)
        require_equal(simulate_many([case.job], "fast")[0], golden, case)
        cycles += golden.cycles or 0
    print(f"\n{fast_cases:,} cases, {cycles:,} cycles: every figure equal")


def test_random_switches(seed: int, fast_cases: int) -> None:
    cycles = 0
    for number in trange(fast_cases // 10, desc="fast = golden, switches", unit=" cases"):
        case = better_case(seed * 1_000_000 + number)
        golden = run_golden(case.job)
        require_equal(simulate_many([case.job], "fast")[0], golden, case)
        cycles += golden.cycles or 0
    print(f"\n{fast_cases // 10:,} machines with random switches, {cycles:,} cycles: every figure equal")


@pytest.mark.parametrize(("n_pe", "depth"), [(64, 8), (128, 4)])
def test_a_large_layer(seed: int, n_pe: int, depth: int) -> None:
    layer = random_layer(4096, 4096, 0.09, seed)
    cfg = sized_for(ArchConfig(n_pe=n_pe, queue_depth=depth), layer)
    job = Job.create(layer, random_input(4096, 0.35, seed), cfg)
    golden = run_golden(job)
    require_equal(simulate_many([job], "fast")[0], golden, f"seed {seed}")
    print(
        f"\n{n_pe} PEs, depth {depth}: {golden.cycles:,} cycles, {golden.total('entries'):,} entries, all equal"
    )
    assert all(golden.total(name) for name in ("fillers", "bypasses", "saturations", "broadcast_stalls"))
    assert np.count_nonzero(golden.y) > 1000
