"""The better machine as a chip: programs of many passes, free-running RTL, buses, exports; preset eie2, small."""

import subprocess
from pathlib import Path

import numpy as np
import pytest

from eie.cli.commands.export import expectation
from eie.golden.run import run_program
from eie.plan import make_plan
from eie.plan_program import plan_program
from eie.program import Program
from eie.registers import Reg
from eie.result import differences
from eie.rtl.export.check import check_verilog
from eie.rtl.export.export import export
from eie.rtl.verilog import chip_verilog
from eie.sim.cosim import toolchain
from eie.sim.cosim.chip.script import Pauses, run_script
from eie.sim.cosim.launch import run_program as run_on_rtl
from eie.sim.cosim.lockstep import lockstep_program
from eie.sim.plans import run_plan
from tests.support.better_machines import SWITCHES, small
from tests.support.cases import seeded_case
from tests.support.chip_conversations import program_outputs, program_script
from tests.support.chip_programs import random_inputs, random_layers, reference

CFG = small(SWITCHES["eie2"]).replace(
    acc_bits=24, acc_depth=4, src_depth=4, act_words=64, codebooks=3, passes=40
)
LAYERS = random_layers(7, (30, 20, 17, 10))
INPUTS = random_inputs(2, 30, 3)


@pytest.fixture(scope="module")
def program() -> Program:
    return plan_program(make_plan(LAYERS, CFG))


def test_programs(program: Program) -> None:
    """Row tiles and column batches: golden, the fast engine, and the RTL in lockstep, in every pass."""
    assert sum(len(run.passes) for run in program.runs) > len(LAYERS)
    golden = run_program(program, INPUTS)
    fast = run_plan(make_plan(LAYERS, CFG), INPUTS, "fast")
    report = lockstep_program(program, INPUTS, "icarus")
    report.require_agreement()
    for x, one, other, rtl in zip(INPUTS, golden, fast, report.results, strict=True):
        np.testing.assert_array_equal(one.y, reference(LAYERS, x, CFG))
        assert differences(other, one)[1] == []
        assert differences(one, rtl)[1] == []


def test_free_running(program: Program) -> None:
    """No Python in the loop: values, cycles and every counter of a run, the ninth among them."""
    golden = run_program(program, INPUTS)
    for expected, found in zip(golden, run_on_rtl(program, INPUTS, "verilator"), strict=True):
        assert differences(expected, found)[1] == []


def test_over_the_buses(program: Program) -> None:
    """The chip's streams and registers, with pauses; and what the registers say of the machine."""
    report = run_script(CFG, program_script(program, INPUTS[:2]), "icarus", pauses=Pauses(1, 0.1, 0.2))
    report.require_agreement()
    results, _ = report.replies[-1]
    for x, y in zip(INPUTS, program_outputs(program, results), strict=False):
        assert y.tolist() == reference(LAYERS, x, CFG).tolist()
    switches = Reg.WIDTHS_2.reset_value(CFG)
    told = [Reg.WIDTHS_2.field(name, switches) for name in ("ROWS", "PAIRS", "FILTER_EMPTY", "ISSUE_LOG2")]
    assert (told, Reg.WIDTHS_2.field("WINDOW_LESS_1", switches)) == ([2, 1, 1, 1], 1)


def test_export() -> None:
    """Ports, widths, drivers, instances and both linters find nothing."""
    iverilog, verilator = (toolchain.require(name).path for name in ("icarus", "verilator"))
    files = chip_verilog(CFG)
    report = check_verilog(files, CFG, images=False, chip=True, iverilog=iverilog, verilator=verilator)
    assert report.problems == ()


def test_exported_testbench(tmp_path: Path) -> None:
    """A layer with its images and a plain testbench: it finds the activations and the window's cycles."""
    case = seeded_case(4, [CFG], "dense")
    export(CFG, tmp_path / "verilog", case.job, expected=expectation(case.job), check=False)
    tool, folder = toolchain.require("icarus").path, tmp_path / "verilog"
    sources = [path.name for path in sorted(folder.glob("*.v"))]
    compiled = subprocess.run(
        [tool, "-g2005", "-Wall", "-o", "eie.vvp", *sources], cwd=folder, capture_output=True
    )
    assert (compiled.returncode, compiled.stdout, compiled.stderr) == (0, b"", b"")
    run = [tool.with_name("vvp"), "-n", "eie.vvp"]
    ran = subprocess.run(run, cwd=folder, capture_output=True, text=True, check=True, timeout=60)
    assert ran.stdout.splitlines()[-1] == "PASS"
