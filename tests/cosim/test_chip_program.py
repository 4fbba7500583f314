"""Planned networks over the chip's buses: row tiles, column batches, refills, weights loaded in between."""

import pytest

from eie.plan import make_plan
from eie.plan_program import plan_program
from eie.sim.cosim.build import SIMULATORS
from eie.sim.cosim.chip.script import Pauses, run_script
from tests.support.chip_conversations import program_outputs, program_script
from tests.support.chip_programs import SMALL, reference
from tests.support.plan_cases import plan_case


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_planned_networks(simulator):
    runs = passes = 0
    for seed in range(3):
        case = plan_case(seed, SMALL)
        plan = make_plan(case.layers, SMALL)
        program = plan_program(plan)
        script = program_script(program, case.inputs[:2])
        report = run_script(SMALL, script, simulator, pauses=Pauses(seed, 0.1, 0.2))
        report.require_agreement()
        results, _ = report.replies[-1]
        found = program_outputs(program, results)
        for x, y in zip(case.inputs, found, strict=False):
            assert y.tolist() == reference(case.layers, x, SMALL).tolist(), seed
        runs, passes = max(runs, len(program.runs)), max(passes, len(program.runs[0].passes))
    assert runs > 1
    assert passes > 1
