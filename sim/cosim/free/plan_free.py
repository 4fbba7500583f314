"""Plans on the free-running RTL (`eie.sim.cosim.free.script`): no Python between the first cycle and the last.

What the host brings from one run to another is known beforehand, from the fast engine. Results are what the RTL gave.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from eie.errors import MismatchError
from eie.fixed import IntArray
from eie.plan import Plan
from eie.program import Program, Run
from eie.result import Count, ProgramResult
from eie.schema import CCU_COUNTERS, IoSpace, PeCounter
from eie.sim.cosim.free import script as free
from eie.sim.engines.fast_plan import FastPlan, checked_inputs


@dataclass(frozen=True)
class FreeRun:
    """Results for each input, clock cycles of everything, and seconds of the simulator's process."""

    results: list[ProgramResult]
    cycles: int
    seconds: float


class _RunSteps:
    """One run in a script: its steps, and which samples hold what."""

    def __init__(self, script: free.Script, program: Program, run: Run, vectors: Sequence[IntArray]) -> None:
        cfg = program.cfg
        self.script, self.cfg, self.run = script, cfg, run
        blocks = [*run.loads, *(source.block(vectors[source.vector], cfg) for source in run.sources)]
        self.loaded = _write(script, [write for block in blocks for write in block.writes(cfg)])
        script.step(start=1)
        self.begun = script.sample()
        script.until(run.deadline(cfg))
        self.ended = script.sample()
        counters = [(IoSpace.COUNTER, k, counter) for counter in PeCounter for k in range(cfg.n_pe)]
        self.counters = [self._read(*place) for place in counters if cfg.counters]
        self.results = [[self._read(*place) for place in result.places(cfg)] for result in run.results]

    def _read(self, space: IoSpace, pe: int, addr: int) -> int:
        self.script.step(2, io_read=1, io_space=int(space), io_pe=pe, io_addr=int(addr))
        return self.script.sample()

    def count(self, samples: Sequence[free.Sample]) -> Count:
        """The counters; raises `MismatchError` if the run did not end in time."""
        if self.ended >= len(samples):
            raise MismatchError(f"the RTL was not done {self.run.deadline(self.cfg)} cycles after start")
        begun, ended = samples[self.begun], samples[self.ended]
        if not begun["busy"]:
            raise MismatchError("the RTL is not busy in the cycle after start")
        per_pe = np.array([samples[number]["io_rdata"] for number in self.counters], np.int64)
        return Count(
            **{name: ended[name] for name in CCU_COUNTERS},
            busy_cycles=ended.cycle - begun.cycle,
            per_pe=per_pe.reshape(len(PeCounter), self.cfg.n_pe) if self.cfg.counters else None,
        )

    def store(self, samples: Sequence[free.Sample], vectors: Sequence[IntArray]) -> int:
        """Put what was read into the host's vectors; the words."""
        for result, numbers in zip(self.run.results, self.results, strict=True):
            words = [samples[number]["io_rdata"] for number in numbers]
            result.store(vectors[result.vector], words, self.cfg)
        return sum(map(len, self.results))


def _write(script: free.Script, writes: Sequence[tuple[IoSpace, int, int, int]]) -> int:
    for space, pe, addr, data in writes:
        script.step(io_write=1, io_space=int(space), io_pe=pe, io_addr=int(addr), io_data=data)
    return len(writes)


def run_free(plan: Plan, inputs: npt.ArrayLike, simulator: str) -> FreeRun:
    """Run a plan on input vectors, int[batch, cols of the first layer], on the RTL by itself.

    SRAMs are initialised from images with what stays in them.

    Raises
    ------
    LayerError : inputs that do not fit. SimulatorMissing, SimulationError.
    MismatchError : a run did not end in time, or the host got other activations than the fast engine, in between.
    """
    from eie.rtl.verilog import array_verilog
    from eie.sim.cosim.images import write_pe_images

    fast = FastPlan(plan)
    program = fast.program
    script = free.Script(free.array_ports(plan.cfg))
    _write(script, program.setup_writes(images=program.has_images))
    followed = [fast.follow(x)[0] for x in checked_inputs(plan, inputs)]
    steps = [[_RunSteps(script, program, run, vectors) for run in program.runs] for vectors in followed]
    with tempfile.TemporaryDirectory(prefix="eie-run-") as temporary:
        folder = Path(temporary)
        if program.has_images:
            write_pe_images(program.images, plan.cfg, folder)
        plusargs = () if program.has_images else ("+eie_no_images",)
        whole = free.run(simulator, array_verilog(plan.cfg), script, folder, plusargs=plusargs)
    results = []
    for number, (expected, of_input) in enumerate(zip(followed, steps, strict=True)):
        counts = tuple(run.count(whole.samples) for run in of_input)
        vectors = [expected[0], *(np.zeros_like(vector) for vector in expected[1:])]
        stored = sum(run.store(whole.samples, vectors) for run in of_input)
        brought = {source.vector for run in program.runs for source in run.sources}
        for vector in sorted(brought):
            if not np.array_equal(vectors[vector], expected[vector]):
                raise MismatchError(f"{simulator}: input {number}: layer {vector} got other activations")
        loaded = sum(run.loaded for run in of_input)
        y = vectors[-1].astype(np.int16)
        results.append(ProgramResult(y, simulator, counts, load_cycles=loaded, store_cycles=2 * stored))
    return FreeRun(results, whole.cycles, whole.seconds)
