"""Plans on the RTL in lockstep with golden, on both simulators: small machines, chosen so that every kind of cut, of
place and of break occurs. Results, cycles and counters of each run are those of the fast engine.
"""

from dataclasses import dataclass

import pytest

from eie.config import ArchConfig
from eie.cuts import MATRIX, POINTERS, REACH, SOURCE, WHOLE
from eie.plan import ACTIVATIONS, BIASES, CODEBOOKS, TABLE, Plan, Source, Target, make_plan
from eie.plan_program import plan_program
from eie.sim.cosim.free.run import run_free
from eie.sim.cosim.launch import run_program
from eie.sim.cosim.lockstep import lockstep_program
from eie.sim.plans import run_plan
from tests.support.plan_cases import PlanCase, plan_case
from tests.support.results import assert_equal
from tests.support.simulators import on_icarus


@dataclass(frozen=True)
class Chosen:
    """A machine, and the seeds of the networks that run on it."""

    cfg: ArchConfig
    seeds: tuple[int, ...]

    def plans(self) -> list[tuple[PlanCase, Plan]]:
        """The cases and their plans."""
        cases = [plan_case(seed, self.cfg) for seed in self.seeds]
        return [(case, make_plan(case.layers, case.cfg)) for case in cases]


MACHINES = {
    "1 PE": Chosen(
        ArchConfig(
            n_pe=1,
            queue_depth=2,
            bus_registers=1,
            code_bits=8,
            act_bits=9,
            acc_bits=17,
            word_bits=16,
            pointers=40,
            entries=14,
            src_depth=4,
            acc_depth=4,
            act_words=24,
            codebooks=4,
            passes=40,
        ),
        (37, 28),
    ),
    "2 PEs": Chosen(
        ArchConfig(
            n_pe=2,
            queue_depth=1,
            word_bits=16,
            pointer_bits=4,
            pointers=25,
            entries=24,
            src_depth=3,
            acc_depth=3,
            act_words=20,
            passes=2,
        ),
        (25, 12, 28),
    ),
    "4 PEs": Chosen(
        ArchConfig(
            n_pe=4,
            queue_depth=3,
            word_bits=32,
            pointers=16,
            entries=60,
            src_depth=4,
            acc_depth=2,
            act_words=9,
            codebooks=2,
            passes=8,
        ),
        (60, 11),
    ),
}


def features(plan: Plan) -> set[str]:
    """What occurs in a plan."""
    found = {f"batch {step.cut.bound}" for step in plan.steps} | {f"run {run.bound}" for run in plan.runs}
    found |= {f"{place.source.name} to {place.target.name}" for place in plan.places}
    found |= {f"hosted {place.hosted}" for place in plan.places}
    found |= {f"resident {plan.resident}", f"table {plan.keeps_table}", f"biases {plan.keeps_biases}"}
    return found


def test_the_chosen_plans_have_everything() -> None:
    found = set().union(*(features(plan) for chosen in MACHINES.values() for _, plan in chosen.plans()))
    expected = {f"batch {bound}" for bound in (WHOLE, SOURCE, POINTERS, MATRIX, REACH)}
    expected |= {f"run {bound}" for bound in (MATRIX, POINTERS, BIASES, ACTIVATIONS, TABLE, CODEBOOKS)}
    expected |= {f"{source.name} to {target.name}" for source in Source for target in Target}
    expected |= {
        f"{what} {value}" for what in ("hosted", "resident", "table", "biases") for value in (True, False)
    }
    assert expected - found == set()


@pytest.mark.parametrize("machine", MACHINES)
@on_icarus
def test_plans_in_lockstep(simulator: str, machine: str) -> None:
    for number, (case, plan) in enumerate(MACHINES[machine].plans()):
        # One of them loads everything through the port, also what images could hold.
        report = lockstep_program(plan_program(plan), list(case.inputs), simulator, port=number > 0)
        report.require_agreement()
        assert_equal(report.results, run_plan(plan, case.inputs, "fast"))


def test_rtl_alone_gives_the_same() -> None:
    case, plan = MACHINES["4 PEs"].plans()[0]
    assert_equal(run_plan(plan, case.inputs, "icarus"), run_plan(plan, case.inputs, "fast"))


def test_free_running_rtl_gives_the_same() -> None:
    case, plan = MACHINES["4 PEs"].plans()[1]
    assert_equal(run_free(plan, case.inputs, "icarus").results, run_plan(plan, case.inputs, "fast"))


def test_a_fault_in_the_refill_is_found() -> None:
    case, plan = MACHINES["1 PE"].plans()[0]

    def broken(sources: dict[str, str]) -> dict[str, str]:
        changed = {
            name: text.replace("rf_valid <= rf_en", "rf_valid <= 1'h0") for name, text in sources.items()
        }
        assert changed != sources
        return changed

    results = run_program(plan_program(plan), list(case.inputs), "icarus", transform=broken)
    wanted = run_plan(plan, case.inputs, "fast")
    assert any((a.y != b.y).any() for a, b in zip(results, wanted, strict=True))
