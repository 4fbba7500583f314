"""The cocotb side of the HDL coverage: the stimulus of the mutants on the design itself, in lockstep with golden."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import cocotb
from chip_mutant_host import ChipRequest, record
from mutant_host import MutantRequest, RecordingHost, do_everything
from mutant_jobs import narrow_counters

from eie.sim.cosim.outcome import OUTCOME, REQUEST


@cocotb.test()
async def covered(dut: Any) -> None:
    with narrow_counters():
        request: MutantRequest = pickle.loads(Path(REQUEST).read_bytes())
        host = RecordingHost(dut, request.jobs[0].cfg, request.seed)
        await host.reset()
        await do_everything(host, request)
        Path(OUTCOME).write_bytes(pickle.dumps(len(host.tape)))


@cocotb.test()
async def covered_chip(dut: Any) -> None:
    with narrow_counters():
        request: ChipRequest = pickle.loads(Path(REQUEST).read_bytes())
        tape, divergence = await record(dut, request)
        assert not divergence, divergence
        Path(OUTCOME).write_bytes(pickle.dumps(len(tape)))
