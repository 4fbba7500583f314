"""The chip over its buses, for long: random scripts with random pauses, and LeNet-300-100 at the published size."""

import numpy as np
import pytest

from eie.compress.format.file import load
from eie.compress.forward import quantize_inputs
from eie.config import ArchConfig
from eie.plan import make_plan
from eie.plan_program import plan_program
from eie.program import Job
from eie.sim.cosim.build import SIMULATORS
from eie.sim.cosim.chip.script import Pauses, Send, run_script
from eie.sim.simulate import simulate_many
from eie.sim.workloads.example import EXAMPLE, read_digits
from tests.support.chip_conversations import program_outputs, program_script
from tests.support.chip_scripts import CFG, random_script

SCRIPTS = 20
DIGITS = 20


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_random_scripts(simulator, seed):
    cycles = 0
    for number in range(SCRIPTS):
        rng = np.random.default_rng([seed, number])
        pauses = Pauses(number, *(float(share) for share in rng.choice([0.0, 0.2, 0.6], 2)))
        report = run_script(CFG, random_script([seed, number]), simulator, pauses=pauses)
        report.require_agreement()
        cycles += report.cycles
    print(f"{simulator}: {SCRIPTS} random scripts, {cycles:,} cycles in lockstep")


def test_lenet_300_100_over_the_streams():
    layers = load(EXAMPLE.parent / "trained" / "lenet-300-100.eie")
    cfg = ArchConfig(codebooks=3)
    digits = read_digits(EXAMPLE)
    inputs = quantize_inputs(layers[0], digits.pixels[:DIGITS])
    program = plan_program(make_plan(layers, cfg))
    script = program_script(program, list(inputs))
    report = run_script(cfg, script, "verilator", lockstep=False, golden=False)
    assert not report.hung
    (results, _) = report.replies[-1]
    right = 0
    for x, label, y in zip(inputs, digits.labels, program_outputs(program, results), strict=False):
        for layer in layers:
            x = simulate_many([Job.create(layer, x, cfg)], "fast")[0].y
        assert y.tolist() == x.tolist()
        right += int(y.argmax() == label)
    words = sum(len(step.words) for step in script if isinstance(step, Send))
    print(
        f"{DIGITS} digits, {right} right: {words:,} words in, {report.cycles:,} cycles in {report.seconds:.0f} s"
    )
