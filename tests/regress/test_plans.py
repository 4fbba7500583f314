"""Plans: random ones on all engines, in lockstep on new machines for every seed; and the nine layers on the RTL."""

import numpy as np
import pytest

from eie.errors import CapacityError
from eie.plan import make_plan
from eie.plan_program import plan_program
from eie.sim.cosim.build import SIMULATORS
from eie.sim.cosim.free.run import run_free
from eie.sim.cosim.lockstep import lockstep_program
from eie.sim.evaluation.layers import BENCHMARKS, benchmark
from eie.sim.evaluation.plans import machine
from eie.sim.plans import run_plan
from tests.support.plan_cases import plan_case, planned, random_machine
from tests.support.results import assert_equal

PLANS = 6
# Passes of a plan that takes part in lockstep.
MOST_PASSES = 60


def test_random_plans_on_golden_and_fast(seed: int, fast_cases: int) -> None:
    ran = 0
    for number in range(fast_cases // 20):
        case = plan_case(seed * 1_000_000 + number)
        plan = planned(case)
        if plan is not None:
            fast = run_plan(plan, case.inputs, "fast")
            assert_equal(run_plan(plan, case.inputs, "golden"), fast)
            for one, other in zip(run_plan(plan, case.inputs, "reference"), fast, strict=True):
                assert np.array_equal(one.y, other.y), case
            ran += 1
    print(f"\n{ran} plans")


@pytest.mark.parametrize("simulator", SIMULATORS)
@pytest.mark.parametrize("n_pe", [1, 2, 4, 8])
def test_random_plans_in_lockstep(simulator: str, n_pe: int, seed: int) -> None:
    cfg = random_machine(np.random.default_rng([seed, n_pe]), n_pe)
    ran = cycles = 0
    for number in range(200):
        case = plan_case(1000 * seed + number, cfg)
        try:
            plan = make_plan(case.layers, cfg)
        except CapacityError:
            continue
        if len(plan.steps) > MOST_PASSES:
            continue
        report = lockstep_program(plan_program(plan), list(case.inputs), simulator, port=ran % 2 == 0)
        assert report.divergence is None, f"{case}: {report.describe()}"
        assert_equal(report.results, run_plan(plan, case.inputs, "fast"))
        ran, cycles = ran + 1, cycles + report.cycles
        if ran == PLANS:
            break
    assert ran, cfg
    print(f"\n{simulator}, {cfg.n_pe} PEs: {ran} plans, {cycles:,} cycles in lockstep")


@pytest.mark.parametrize("name", BENCHMARKS)
def test_the_nine_layers_planned(name: str, seed: int) -> None:
    layer, x = benchmark(name, seed)
    plan = make_plan([layer], machine())
    ran = run_free(plan, [x], "verilator")
    assert_equal(ran.results, run_plan(plan, [x], "fast"))
    print(
        f"\n{name}: {len(plan.steps)} passes, {ran.cycles:,} cycles, {ran.cycles / ran.seconds:,.0f} cycles/s"
    )
