"""Random machines with random switches in lockstep with golden, by turns on Icarus and Verilator: MACHINES of them."""

from __future__ import annotations

import numpy as np
from tqdm import tqdm

from eie.sim.cosim.lockstep import lockstep
from eie.sim.engines.reference import run as run_reference
from tests.support.better_machines import draw
from tests.support.block_cases import random_block_case, random_machine
from tests.support.cases import random_case
from tests.support.slow_law import law

LAYERS = 4
# Verilator compiles for long, and says what Icarus says: every eighth machine is its.
VERILATOR_EVERY = 8


def test_random_machines(seed: int, better_machines: int) -> None:
    """Every register and hand-shake in every cycle; values of the reference, cycles and counters of the law."""
    cycles = comparisons = 0
    for number in tqdm(range(better_machines), unit=" machines"):
        rng = np.random.default_rng([seed, number, 18])
        # Every third machine is index-free.
        index_free = number % 3 == 2
        cfg = random_machine(rng) if index_free else draw(rng)
        simulator = "icarus" if number % VERILATOR_EVERY else "verilator"
        cases = [
            random_block_case(rng, cfg) if index_free else random_case(rng, [cfg]) for _ in range(LAYERS)
        ]
        report = lockstep([case.job for case in cases], simulator, seed=seed, read_back=bool(number % 2))
        where = f"seed {seed}, machine {number} on {simulator}, {cfg}"
        assert report.divergence is None, f"{where}: {report.describe()}"
        for case, result in zip(cases, report.results, strict=True):
            np.testing.assert_array_equal(result.y, run_reference(case.job).y, err_msg=where)
            if not cfg.counters:
                continue
            expected = law(case)
            assert result.cycles == expected.cycles, where
            for name, values in expected.counters.items():
                np.testing.assert_array_equal(result.counters[name], values, err_msg=f"{name}, {where}")
        cycles += report.cycles
        comparisons += report.comparisons
    print(
        f"\n{better_machines} machines, seed {seed}: {cycles:,} cycles, {comparisons:,} values, no difference"
    )
