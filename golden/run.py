"""Run a layer on the golden model: the host program of docs/architecture.md, "I/O port"."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from eie.golden.array import Array
from eie.golden.waveform import Waveform
from eie.program import Job, Write
from eie.result import Result, derive_counters
from eie.schema import IoSpace, Mode, PeCounter

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

    def run_layer(self) -> int:
        """Start, and wait until done; the cycles of the write-back."""
        array, mode = self.array, self.array.ccu.mode
        array.start.value = 1
        self.cycle()
        array.start.value = 0
        writeback = 0
        while not array.done.value:
            writeback += mode.value == Mode.WRITEBACK
            self.cycle()
        return writeback


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
    writeback_cycles = host.run_layer()
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
        writeback_cycles=writeback_cycles,
    )


def _peek(array: Array) -> Callable[[IoSpace, int, int], int]:
    """Reads what `Host.read` would, between two cycles."""

    def read(space: IoSpace, pe: int, addr: int) -> int:
        tile = array.pes[pe]
        return tile.act_rw.acc[addr] if space == IoSpace.ACC else tile.counters[addr].value

    return read


def _reporter(progress: Callable[[int], None]) -> Observer:
    def report(array: Array) -> None:
        if array.ccu.compute.value and array.ccu.cycle.value % PROGRESS_EVERY == 0:
            progress(array.ccu.cycle.value)

    return report
