"""The host of a program inside a simulator: drives the I/O port of `eie_array`, alone or in lockstep with golden.

Runs as a cocotb test (`program_free`, `program_lockstep`) in the simulator's process; `programs` is the caller.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
import numpy.typing as npt

from eie.memory import Write
from eie.program import Program
from eie.result import Count, ProgramResult
from eie.schema import CCU_COUNTERS
from eie.sim.cosim.host import OUTCOME, REQUEST, Diverged, FreeHost, LockstepHost, Unfinished, read_words


@dataclass
class ProgramRequest:
    """What a simulator process is to do: load a program, and feed it with inputs.

    images : the SRAMs were initialised from files, and need no loading.
    """

    program: Program
    inputs: Sequence[npt.NDArray[np.int64]]
    images: bool


async def _write(host: FreeHost, writes: Iterable[Write]) -> None:
    for space, pe, addr, data in writes:
        await host.cycle(io_write=1, io_space=int(space), io_pe=pe, io_addr=addr, io_data=data)


async def _start(host: FreeHost, deadline: int) -> Count:
    await host.cycle(start=1)
    busy = await host.until_done(deadline)
    counts = {name: host.output(name) for name in CCU_COUNTERS}
    per_pe = np.array(await host.counters(), np.int64).T if host.cfg.counters else None
    return Count(**counts, busy_cycles=busy, per_pe=per_pe)


async def run_input(host: FreeHost, program: Program, x: npt.NDArray[np.int64]) -> ProgramResult:
    """Everything that the host does for one input vector."""
    cfg, vectors, counts = program.cfg, program.host_vectors(x), []
    loaded = stored = 0
    for run in program.runs:
        blocks = [*run.loads, *(source.block(vectors[source.vector], cfg) for source in run.sources)]
        for block in blocks:
            await _write(host, block.writes(cfg))
            loaded += len(block)
        counts.append(await _start(host, run.deadline(cfg)))
        for result in run.results:
            words = await read_words(host, result.places(cfg))
            result.store(vectors[result.vector], words, cfg)
            stored += len(words)
    y = vectors[-1].astype(np.int16)
    return ProgramResult(y, "rtl", tuple(counts), load_cycles=loaded, store_cycles=2 * stored)


async def _run(host: FreeHost, request: ProgramRequest, results: list[ProgramResult]) -> None:
    await host.reset()
    await _write(host, request.program.setup_writes(images=request.images))
    for host.job, x in enumerate(request.inputs):
        results.append(await run_input(host, request.program, x))


def _request() -> ProgramRequest:
    request: ProgramRequest = pickle.loads(Path(REQUEST).read_bytes())
    return request


@cocotb.test()
async def program_free(dut: Any) -> None:
    """RTL alone; the results, or the text of what went wrong."""
    request = _request()
    host = FreeHost(dut, request.program.cfg)
    results: list[ProgramResult] = []
    answer: Any = results
    try:
        await _run(host, request, results)
    except Unfinished as wrong:
        answer = f"input {host.job}: {wrong}"
    Path(OUTCOME).write_bytes(pickle.dumps(answer))


@cocotb.test()
async def program_lockstep(dut: Any) -> None:
    """RTL and golden side by side; stops at the first divergence."""
    from eie.golden.array import Array

    request = _request()
    golden = Array(request.program.cfg)
    if request.images:
        golden.load_images(request.program.images)
    host = LockstepHost(dut, request.program.cfg, golden)
    results: list[ProgramResult] = []
    divergence = None
    try:
        await _run(host, request, results)
    except Diverged as stop:
        divergence = stop.divergence
    Path(OUTCOME).write_bytes(pickle.dumps((results, host.cycle_count, divergence)))
