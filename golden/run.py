"""Run a layer or a program on the golden model: the host of docs/architecture.md, "I/O port"."""

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
from eie.host import Command, Conversation, Feed, Load, converse, drive
from eie.memory import Write
from eie.program import Job, Program, Run
from eie.result import Count, Result, complete
from eie.schema import CCU_COUNTERS, IoSpace

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

    def follow(self, conversation: Conversation, *, port: bool = True) -> None:
        """Do what a conversation asks for, through the I/O port; without `port` the same writes and reads at once."""
        array = self.array
        read = self.read if port else self._peek

        def do(command: Command) -> object:
            if isinstance(command, Load):
                if port:
                    self.write(command.writes(array.cfg))
                else:
                    for write in command.writes(array.cfg):
                        array.load(write)
                return None
            if isinstance(command, Run):
                busy = self.run_passes()
                counts = {name: int(array.signal(name).value) for name in CCU_COUNTERS}
                per_pe = [
                    [pe.counters[i].value for pe in array.pes] for i in range(len(array.pes[0].counters))
                ]
                return Count(
                    **counts, busy_cycles=busy, per_pe=complete(np.array(per_pe, np.int64), array.cfg)
                )
            return [read(*place) for place in command.places(array.cfg)]

        drive(conversation, do)

    def _peek(self, space: IoSpace, pe: int, addr: int) -> int:
        """What `read` gives, between two cycles."""
        tile = self.array.pes[pe]
        if space == IoSpace.ACT_SRAM:
            return sign_extend(tile.act_sram.memory[addr], self.array.cfg.acc_bits)
        return tile.act_rw.acc[addr]


def run(
    job: Job,
    *,
    load_weights: bool = False,
    waveform: Path | None = None,
    progress: Callable[[int], None] | None = None,
    observe: Observer | None = None,
) -> Result:
    """Run one layer on one input vector on the golden model; see `run_program`.

    load_weights : load pointers and entries through the I/O port as well, instead of from images.
    progress : called with the cycle number, every few hundred cycles of compute mode.
    """
    observers = [_reporter(progress)] if progress is not None else []
    observers += [observe] if observe is not None else []
    return _run(Feed(job.program, [job.x]), port=load_weights, waveform=waveform, observers=observers)[0]


def run_program(
    program: Program,
    inputs: Iterable[npt.ArrayLike],
    *,
    port: bool = False,
    waveform: Path | None = None,
    observe: Observer | None = None,
) -> list[Result]:
    """Run a program on input vectors: loaded once, then fed with one after the other.

    Parameters
    ----------
    port : load and read through the I/O port, cycle by cycle; otherwise the same writes and reads are done at once,
        and nothing tells the difference in the cycles in between (a test proves it).
    waveform : write a VCD of the whole run there; loading (but for the SRAMs) and reading then go through the port.
    observe : called with the array in every simulated cycle, between propagate and update.

    Raises
    ------
    LayerError : an input that does not fit. OutputError : the waveform cannot be written.
    """
    observers = [observe] if observe is not None else []
    return _run(Feed(program, list(inputs)), port=port, waveform=waveform, observers=observers)


def feed(
    host: Host,
    program: Program,
    inputs: Iterable[npt.ArrayLike],
    *,
    images: bool = False,
    port: bool = True,
) -> list[Result]:
    """Load a program on an array (with `images`, but for what its SRAMs hold already), and run it on input vectors.

    Through the I/O port, or without `port` by the same writes and reads done at once. An array may be fed any number
    of times.
    """
    results: list[Result] = []
    host.follow(converse([Feed(program, list(inputs))], results, engine="golden", images=images), port=port)
    return results


def _run(what: Feed, *, port: bool, waveform: Path | None, observers: list[Observer]) -> list[Result]:
    array = Array(what.program.cfg)
    if not port:
        array.load_images(what.program.images)
    with ExitStack() as stack:
        if waveform is not None:
            observers.append(stack.enter_context(Waveform(waveform, array)).record)
        through_port = port or waveform is not None
        return feed(Host(array, observers), *what, images=not port, port=through_port)


def _reporter(progress: Callable[[int], None]) -> Observer:
    def report(array: Array) -> None:
        if array.ccu.compute.value and array.ccu.cycle.value % PROGRESS_EVERY == 0:
            progress(array.ccu.cycle.value)

    return report
