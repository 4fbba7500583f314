"""The adder machine's RTL in lockstep with golden; values of the reference."""

import re
from collections.abc import Mapping

import numpy as np
import pytest

from eie.config import ABSOLUTE, ArchConfig
from eie.program import Job
from eie.registers import system_rdl
from eie.rtl.export.check import check_verilog
from eie.rtl.verilog import chip_verilog
from eie.sim.cosim import toolchain
from eie.sim.cosim.chip.script import Pauses, run_script
from eie.sim.cosim.free.compare import compare_jobs
from eie.sim.cosim.lockstep import lockstep
from eie.sim.engines.reference import run as run_reference
from tests.support.adder_cases import random_adder_case
from tests.support.chip_conversations import program_outputs, program_script

ONE = ArchConfig(
    n_pe=4,
    adder=1,
    acc_bits=24,
    queue_depth=4,
    src_depth=4,
    acc_depth=4,
    entries=64,
    pointers=18,
    act_words=9,
)
# Pairs of columns, two entries a cycle, a register on the bus, the widest accumulators.
TWO = ONE.replace(
    n_pe=8,
    group=2,
    issue=2,
    window=2,
    row_format=ABSOLUTE,
    row_bits=4,
    filter_empty=1,
    bus_registers=1,
    acc_bits=32,
    pointers=40,
    entries=200,
)


def jobs(cfg: ArchConfig) -> list[Job]:
    """Adder layers with scales and without, scaled products, plain products."""
    kinds = [{"adder": adder, "scaled": scaled} for adder in (True, False) for scaled in (True, False)]
    drawn = [
        random_adder_case(np.random.default_rng([seed, 63]), [cfg], seed, **kinds[seed % 4]).job
        for seed in range(4)
    ]
    drawn[0].x[0] = -(1 << 15)
    return drawn


@pytest.mark.parametrize(("cfg", "simulator"), [(ONE, "icarus"), (TWO, "verilator")])
def test_lockstep(cfg: ArchConfig, simulator: str) -> None:
    """Every register and hand-shake in every cycle; weights and scales through the I/O port, and read back."""
    given = jobs(cfg)
    report = lockstep(given, simulator, read_back=True)
    report.require_agreement()
    for job, result in zip(given, report.results, strict=True):
        np.testing.assert_array_equal(result.y, run_reference(job).y)


def test_images_and_free_running() -> None:
    """Weights and scales from images, no Python in between: the same results."""
    compare_jobs(jobs(ONE)[:1], "icarus")


# One operator of what is there more each: the Verilog, and what stands there instead.
MUTANTS = {
    "the larger magnitude": (r"code_size < value_size", "code_size > value_size"),
    "signs are not compared": (r"(assign smaller = )_\d+_ \?", r"\1 1'h1 ?"),
    "minima in every pass": (r"arithmetic \? \{ 15'h0000", "1'h1 ? { 15'h0000"),
    "the sum is not subtracted": (r"arithmetic\[0\] \? sum_x : 32'd0", "32'd0"),
    "the sum never begins anew": (r"if \(_\d+_\) sum_x <= 32'd0;", "if (1'h0) sum_x <= 32'd0;"),
    "scales come from the word before": (r"\? scale_addr : io_addr", "? wb_addr : io_addr"),
    "every row is scaled": (r"exact = arithmetic\[1\]", "exact = 1'h1"),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_mutants_are_found(name: str) -> None:
    """Lockstep tells each from the design."""
    pattern, instead = MUTANTS[name]

    def mutated(sources: Mapping[str, str]) -> Mapping[str, str]:
        changed = {file: re.sub(pattern, instead, text, count=1) for file, text in sources.items()}
        assert sum(changed[file] != text for file, text in sources.items()) == 1, "no such operator"
        return changed

    assert lockstep(jobs(ONE), "icarus", transform=mutated).divergence is not None


def test_over_the_buses() -> None:
    """The chip's streams bring scales and the pass's arithmetic to it; what comes back is the reference's."""
    job = jobs(ONE)[0]
    report = run_script(ONE, program_script(job.program, [job.x]), "icarus", pauses=Pauses(1, 0.1, 0.2))
    report.require_agreement()
    results, _ = report.replies[-1]
    (y,) = program_outputs(job.program, results)
    np.testing.assert_array_equal(y, run_reference(job).y)
    # The register map has the pass's arithmetic in an adder machine alone.
    assert "ARITHMETIC" in system_rdl(ONE, "eie_chip")
    assert "ARITHMETIC" not in system_rdl(ONE.replace(adder=0), "eie_chip")


def test_the_published_machine_has_nothing_of_it() -> None:
    """Without the switch no name of it is in the Verilog; with it the linters find nothing."""
    names = ("arithmetic", "sum_x", "scale_addr", "smaller")
    without = "".join(chip_verilog(ONE.replace(adder=0)).values())
    assert not [name for name in names if name in without]
    files = chip_verilog(ONE)
    assert all(name in "".join(files.values()) for name in names)
    iverilog, verilator = (toolchain.require(name).path for name in ("icarus", "verilator"))
    report = check_verilog(files, ONE, images=False, chip=True, iverilog=iverilog, verilator=verilator)
    assert report.problems == ()
