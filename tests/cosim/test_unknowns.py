"""Results are right although every register and every memory is unknown (X) at the start.

All that a result depends on is reset or written: what the machine forgets would be an X in a result, in a counter or in
a word that the host reads. Only Icarus knows X.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import pytest

from eie.axi import block_packet, read_packet, run_packet
from eie.errors import MismatchError, SimulationError
from eie.rtl.verilog import chip_verilog
from eie.schema import IoSpace
from eie.sim.cosim.chip.script import Send, Settle, Step, run_script
from eie.sim.cosim.launch import run_rtl
from eie.sim.simulate import simulate_many
from tests.support.better_cases import ALONE, better_case
from tests.support.cases import seeded_case
from tests.support.chip_scripts import CFG
from tests.support.unknowns import is_right, without_initial_values


def test_nothing_has_an_initial_value() -> None:
    for name, text in without_initial_values(chip_verilog(CFG)).items():
        assert not re.search(r"^  reg .* = ", text, re.MULTILINE), name
        # An FPGA's image of an SRAM, which simulators do not see.
        assert re.findall(r"^ +initial .*", text, re.MULTILINE) == (
            ['    initial if (INIT != "") $readmemh(INIT, mem);'] if name == "eie_sram.v" else []
        )


def test_layers_on_the_array() -> None:
    assert all(is_right([seeded_case(seed, [CFG]).job for seed in range(6)]))


def test_layers_on_the_better_machine() -> None:
    assert all(is_right([better_case(3, ALONE["eie2"]).job]))


def test_layers_on_the_chip() -> None:
    jobs = [seeded_case(seed, [CFG]).job for seed in (1, 2)]
    script: list[Step] = []
    for job in jobs:
        script += [Send(block_packet(block)) for block in [*job.program.setup, *job.blocks]]
        results = read_packet(IoSpace.ACC, job.rows_per_pe * CFG.n_pe, spread=True)
        script += [Send(run_packet(0)), Send(results), Settle()]
    report = run_script(CFG, script, "icarus", lockstep=False, transform=without_initial_values)
    report.require_agreement()
    assert sum(len(reply[0]) for reply in report.replies if reply) == len(jobs)


def test_a_register_that_nobody_resets_is_found() -> None:
    def transform(sources: Mapping[str, str]) -> dict[str, str]:
        """The rows behind a leaf's first one without their reset."""
        text, places = re.subn(r"if \(rst\) (rest <=)", r"if (1'h0) \1", sources["eie_pe.v"])
        assert places == 1
        return without_initial_values({**sources, "eie_pe.v": text})

    job, other = (seeded_case(seed, [CFG]).job for seed in (1, 2))
    want = simulate_many([job], "reference")[0].y
    try:
        found = run_rtl([job, other], "icarus", transform=transform)[0].y
    except (MismatchError, SimulationError, ValueError):
        return
    if np.array_equal(found, want):
        pytest.fail("unknown rows give the right result")
