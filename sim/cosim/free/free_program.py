"""Programs of many passes, free-running: every input's words, runs and results in one script."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eie.errors import MismatchError
from eie.memory import Write
from eie.program import Program
from eie.program import Run as ProgramRun
from eie.result import Count, ProgramResult
from eie.schema import CCU_COUNTERS, IoSpace, PeCounter
from eie.sim.cosim.free.script import Sample, Script, Transform, array_ports, run

Vector = npt.NDArray[Any]


def can_run(program: Program) -> bool:
    """Whether all that the host writes is known before the first cycle: no run takes what another one gave the host."""
    given = {result.vector for each in program.runs for result in each.results}
    return not any(source.vector in given for each in program.runs for source in each.sources)


@dataclass
class _RunPlaces:
    """Which samples hold what one run gave."""

    begun: int
    ended: int
    counters: list[list[int]]
    results: list[list[int]]


class _InputRun:
    """One input in a script."""

    def __init__(self, script: Script, program: Program, x: Vector) -> None:
        self.script, self.program = script, program
        self.vectors = program.host_vectors(x)
        self.loaded = 0
        self.runs = [self._run(each) for each in program.runs]

    def _run(self, each: ProgramRun) -> _RunPlaces:
        script, cfg = self.script, self.program.cfg
        blocks = [*each.loads, *(source.block(self.vectors[source.vector], cfg) for source in each.sources)]
        for block in blocks:
            self.loaded += len(block)
            for written in block.writes(cfg):
                _write(script, written)
        script.step(start=1)
        begun = script.sample()
        script.until(each.deadline(cfg))
        ended = script.sample()
        pes = range(cfg.n_pe if cfg.counters else 0)
        counters = [[_read(script, IoSpace.COUNTER, k, counter) for k in pes] for counter in PeCounter]
        results = [[_read(script, *place) for place in result.places(cfg)] for result in each.results]
        return _RunPlaces(begun, ended, counters, results)

    def result(self, samples: Sequence[Sample], engine: str) -> ProgramResult:
        """What came out.

        Raises
        ------
        MismatchError : a run did not end in time, or an output has unknown bits.
        """
        cfg, counts, stored = self.program.cfg, [], 0
        for each, places in zip(self.program.runs, self.runs, strict=True):
            if places.ended >= len(samples):
                raise MismatchError(f"the RTL was not done {each.deadline(cfg)} cycles after start")
            begun, ended = samples[places.begun], samples[places.ended]
            counters = [[samples[number]["io_rdata"] for number in row] for row in places.counters]
            counts.append(
                Count(
                    **{name: ended[name] for name in CCU_COUNTERS},
                    busy_cycles=ended.cycle - begun.cycle,
                    per_pe=np.array(counters, np.int64) if cfg.counters else None,
                )
            )
            for result, numbers in zip(each.results, places.results, strict=True):
                words = [samples[number]["io_rdata"] for number in numbers]
                result.store(self.vectors[result.vector], words, cfg)
                stored += len(words)
        y = self.vectors[-1].astype(np.int16)
        return ProgramResult(y, engine, tuple(counts), load_cycles=self.loaded, store_cycles=2 * stored)


def run_program(
    program: Program,
    inputs: Sequence[Vector],
    simulator: str,
    *,
    port: bool = False,
    transform: Transform | None = None,
) -> list[ProgramResult]:
    """Run a program that `can_run` on input vectors; see `eie.sim.cosim.programs.run_program`.

    Raises
    ------
    MismatchError : the RTL did not end a run in time, or an output has unknown bits.
    """
    from eie.rtl.verilog import array_verilog
    from eie.sim.cosim.images import write_pe_images

    images = program.has_images and not port
    script = Script(array_ports(program.cfg))
    for written in program.setup_writes(images=images):
        _write(script, written)
    parts = [_InputRun(script, program, x) for x in inputs]
    sources = array_verilog(program.cfg)
    with tempfile.TemporaryDirectory(prefix="eie-run-") as temporary:
        folder = Path(temporary)
        if images:
            write_pe_images(program.images, program.cfg, folder)
        plusargs = () if images else ("+eie_no_images",)
        done = run(simulator, transform(sources) if transform else sources, script, folder, plusargs=plusargs)
    results = []
    for number, part in enumerate(parts):
        try:
            results.append(part.result(done.samples, simulator))
        except MismatchError as wrong:
            raise MismatchError(f"{simulator}: input {number}: {wrong}") from None
    return results


def _write(script: Script, written: Write) -> None:
    space, pe, addr, data = written
    script.step(io_write=1, io_space=int(space), io_pe=pe, io_addr=int(addr), io_data=data)


def _read(script: Script, space: IoSpace, pe: int, addr: int) -> int:
    script.step(2, io_read=1, io_space=int(space), io_pe=pe, io_addr=int(addr))
    return script.sample()
