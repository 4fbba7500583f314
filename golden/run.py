"""Run a layer or a program on the golden model: the host program of docs/architecture.md, "I/O port"."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from eie.golden.array import Array
from eie.golden.base import sign_extend
from eie.golden.waveform import Waveform
from eie.memory import Write
from eie.program import Job, Program
from eie.result import Count, ProgramResult, Result, derive_counters
from eie.schema import CCU_COUNTERS, IoSpace, PeCounter

Observer = Callable[[Array], None]

# Cycles between two calls of a progress callback.
PROGRESS_EVERY = 256


@dataclass
class Host:
    """Drives an array through its I/O port; observers are called in every cycle, between propagate and update."""

    array: Array
    observers: list[Observer] = field(default_factory=list)

    def cycle(self) -> None:
        """One clock cycle with the inputs as they are."""
        self.array.propagate()
        for observe in self.observers:
            observe(self.array)
        self.array.update()

    def write(self, writes: Iterable[Write]) -> None:
        """Write words through the port, one a cycle."""
        array = self.array
        array.io_write.value = 1
        for space, pe, addr, data in writes:
            array.io_space.value, array.io_pe.value, array.io_addr.value = space, pe, addr
            array.io_data.value = data
            self.cycle()
        for signal in (array.io_write, array.io_space, array.io_pe, array.io_addr, array.io_data):
            signal.value = 0

    def read(self, space: IoSpace, pe: int, addr: int) -> int:
        """Read a word through the port: the address is held for two cycles; the word is there in the next."""
        array = self.array
        array.io_read.value = 1
        array.io_space.value, array.io_pe.value, array.io_addr.value = space, pe, addr
        self.cycle()
        self.cycle()
        for signal in (array.io_read, array.io_space, array.io_pe, array.io_addr):
            signal.value = 0
        return array.io_rdata.value

    def run_passes(self) -> int:
        """Start, and wait until done; the cycles in between, in which the array is busy."""
        array = self.array
        array.start.value = 1
        self.cycle()
        array.start.value = 0
        busy = 0
        while not array.done.value:
            self.cycle()
            busy += 1
        return busy


def run(
    job: Job,
    *,
    load_weights: bool = False,
    waveform: Path | None = None,
    progress: Callable[[int], None] | None = None,
    observe: Observer | None = None,
) -> Result:
    """Run one layer on one input vector on the golden model.

    Parameters
    ----------
    load_weights : load pointers and entries through the I/O port as well, instead of from images.
    waveform : write a VCD of the whole run there; loading and reading then go through the port, cycle by cycle.
        Otherwise the same writes are done at once (unless load_weights), which a test proves to be equal.
    progress : called with the cycle number, every few hundred cycles of compute mode.
    observe : called with the array in every simulated cycle, between propagate and update.

    Raises
    ------
    OutputError : the waveform cannot be written.
    """
    array = Array(job.cfg)
    host = Host(array)
    if not load_weights:
        array.load_images(job.images)
    if observe is not None:
        host.observers.append(observe)
    if progress is not None:
        host.observers.append(_reporter(progress))
    with ExitStack() as stack:
        if waveform is not None:
            host.observers.append(stack.enter_context(Waveform(waveform, array)).record)
        return run_job(host, job, weights=load_weights, port=load_weights or waveform is not None)


def run_job(host: Host, job: Job, *, weights: bool = False, port: bool = True) -> Result:
    """Run one job on an array whose SRAMs hold the layer, or with `weights` load them first.

    Through the I/O port, or without `port` by the same writes done at once. An array may run any number of jobs.
    """
    array = host.array
    load = job.load_writes()
    weight_load = job.weight_writes() if weights else []
    if port:
        host.write([*weight_load, *load])
    else:
        for write in [*weight_load, *load]:
            array.load(write)
    host.run_passes()
    cycles, broadcast_stalls = array.cycles.value, array.broadcast_stalls.value
    read = host.read if port else _peek(array)
    pes = range(job.cfg.n_pe)
    acc = [[read(IoSpace.ACC, k, row) for row in range(job.rows_per_pe)] for k in pes]
    counted = np.array([[read(IoSpace.COUNTER, k, c) for c in PeCounter] for k in pes], np.int64)
    return Result(
        y=job.y_from_acc(acc),
        cycles=cycles,
        counters=derive_counters(
            {counter.name.lower(): counted[:, counter] for counter in PeCounter}, cycles, broadcast_stalls
        ),
        engine="golden",
        cfg=job.cfg,
        load_cycles=len(load),
        weight_load_cycles=len(weight_load) or None,
        writeback_cycles=array.writeback_cycles.value,
    )


def run_program(
    program: Program,
    inputs: Iterable[npt.ArrayLike],
    *,
    port: bool = False,
    waveform: Path | None = None,
    observe: Observer | None = None,
) -> list[ProgramResult]:
    """Run a program on input vectors: loaded once, then fed with one after the other.

    Parameters
    ----------
    port : load and read through the I/O port, cycle by cycle; otherwise the same writes and reads are done at once,
        and nothing tells the difference in the cycles in between.
    waveform : write a VCD of the whole run there; loading (but for the SRAMs) and reading then go through the port.
    observe : called with the array in every simulated cycle, between propagate and update.

    Raises
    ------
    LayerError : an input that does not fit. OutputError : the waveform cannot be written.
    """
    array = Array(program.cfg)
    host = Host(array, [] if observe is None else [observe])
    with ExitStack() as stack:
        if waveform is not None:
            host.observers.append(stack.enter_context(Waveform(waveform, array)).record)
        if not port:
            array.load_images(program.images)
        return feed(host, program, inputs, images=not port, port=port or waveform is not None)


def feed(
    host: Host,
    program: Program,
    inputs: Iterable[npt.ArrayLike],
    *,
    images: bool = False,
    port: bool = True,
) -> list[ProgramResult]:
    """Load a program on an array (with `images`, but for what its SRAMs hold already), and run it on input vectors.

    Through the I/O port, or without `port` by the same writes and reads done at once.
    """
    _load(host, program.setup_writes(images=images), port=port)
    return [_run_input(host, program, x, port=port) for x in inputs]


def _load(host: Host, writes: Iterable[Write], *, port: bool) -> None:
    if port:
        host.write(writes)
        return
    for write in writes:
        host.array.load(write)


def _run_input(host: Host, program: Program, x: npt.ArrayLike, *, port: bool) -> ProgramResult:
    cfg = program.cfg
    read = host.read if port else _peek(host.array)
    vectors = program.host_vectors(x)
    counts = []
    loaded = stored = 0
    for run in program.runs:
        blocks = [*run.loads, *(source.block(vectors[source.vector], cfg) for source in run.sources)]
        _load(host, (write for block in blocks for write in block.writes(cfg)), port=port)
        counts.append(_run_passes(host))
        for result in run.results:
            words = [read(*place) for place in result.places(cfg)]
            result.store(vectors[result.vector], words, cfg)
            stored += len(words)
        loaded += sum(len(block) for block in blocks)
    y = vectors[-1].astype(np.int16)
    return ProgramResult(y, "golden", tuple(counts), load_cycles=loaded, store_cycles=2 * stored)


def _run_passes(host: Host) -> Count:
    array = host.array
    busy = host.run_passes()
    per_pe = [[pe.counters[counter].value for pe in array.pes] for counter in PeCounter]
    counts = {name: int(array.signal(name).value) for name in CCU_COUNTERS}
    return Count(**counts, busy_cycles=busy, per_pe=np.array(per_pe, np.int64))


def _peek(array: Array) -> Callable[[IoSpace, int, int], int]:
    """Reads what `Host.read` would, between two cycles."""

    def read(space: IoSpace, pe: int, addr: int) -> int:
        tile = array.pes[pe]
        if space == IoSpace.ACT_SRAM:
            return sign_extend(tile.act_sram.memory[addr], array.cfg.acc_bits)
        return tile.act_rw.acc[addr] if space == IoSpace.ACC else tile.counters[addr].value

    return read


def _reporter(progress: Callable[[int], None]) -> Observer:
    def report(array: Array) -> None:
        if array.ccu.compute.value and array.ccu.cycle.value % PROGRESS_EVERY == 0:
            progress(array.ccu.cycle.value)

    return report
