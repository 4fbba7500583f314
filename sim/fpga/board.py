"""A network on a board: its program over a serial line, input by input, beside what the fast engine gives."""

from __future__ import annotations

import os
import select
import termios
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from eie.axi import OKAY, block_packet, stream_bits
from eie.driver import Driver
from eie.errors import ConfigError, MismatchError, SimulationError
from eie.program import Program
from eie.registers import MAGIC, Reg
from eie.result import Result
from eie.serial_bus import FIFO_OCTETS, REGISTER_OCTETS, Opcode, SerialBus, read_frame

# Seconds until an answer that does not come is given up.
PATIENCE_S = 5.0


@dataclass(frozen=True, eq=False)
class Measured:
    """What a chip gave for an input: its outputs, and the run's counters in cycles, 0 where it has none."""

    y: npt.NDArray[np.int64]
    cycles: int
    broadcast_stalls: int
    refill_cycles: int
    writeback_cycles: int


class SerialPort:
    """A serial device, eight data bits, no parity, one stop bit; a context that closes it.

    Raises
    ------
    ConfigError : there is none, or it does not know the rate.
    """

    def __init__(self, path: Path, baud: int, patience_s: float = PATIENCE_S) -> None:
        self.path, self.patience_s = path, patience_s
        # An octet takes ten bits on the line.
        self._octet_s = 10 / baud
        speed = getattr(termios, f"B{baud}", None)
        if speed is None:
            raise ConfigError(f"{path}: {baud} baud is not a rate that this system knows: use --baud 115200")
        try:
            self._file = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        except OSError as error:
            raise ConfigError(
                f"{path}: {error.strerror}: name the board's serial device, such as /dev/ttyUSB0"
            ) from None
        raw = termios.CS8 | termios.CREAD | termios.CLOCAL
        try:
            control = [b"\0"] * len(termios.tcgetattr(self._file)[6])
            termios.tcsetattr(self._file, termios.TCSANOW, [0, 0, raw, 0, speed, speed, control])
        except termios.error:
            os.close(self._file)
            raise ConfigError(
                f"{path} is not a serial device of {baud} baud: name one such as /dev/ttyUSB0"
            ) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._file)

    def restart(self) -> None:
        """Bring the board to the beginning of a frame, wherever a host before has left it.

        A break does so. Some lines pass none: octets that end a frame which has begun, and then have no effect, do.

        Raises
        ------
        TimeoutError : the board does not say who it is.
        """
        termios.tcsendbreak(self._file, 0)
        termios.tcflush(self._file, termios.TCIOFLUSH)
        identity = bytes([OKAY]) + MAGIC.to_bytes(REGISTER_OCTETS, "little")
        short = self.patience_s / 5
        for octets, seconds in ((0, short), (32, short), (FIFO_OCTETS, self.patience_s)):
            self.write(bytes([Opcode.NOP]) * octets + read_frame(Reg.ID.offset))
            answer = b""
            while not answer.endswith(identity) and self._ready(seconds + octets * self._octet_s):
                answer += os.read(self._file, 4096)
            if answer.endswith(identity):
                # A slow board answers an earlier question late: what comes now must not be the next one's answer.
                while self._ready(self.patience_s / 20):
                    os.read(self._file, 4096)
                return
        raise TimeoutError(f"{self.path} does not give the chip's identification")

    def _ready(self, seconds: float, *, to_write: bool = False) -> bool:
        files = [self._file]
        ready = select.select([] if to_write else files, files if to_write else [], [], seconds)
        return bool(ready[0] or ready[1])

    def write(self, octets: bytes) -> None:
        """Send octets."""
        left = memoryview(octets)
        while left:
            if not self._ready(self.patience_s + FIFO_OCTETS * self._octet_s, to_write=True):
                raise TimeoutError(f"{self.path} takes nothing")
            left = left[os.write(self._file, left) :]

    def read(self, count: int) -> bytes:
        """The next `count` octets.

        Raises
        ------
        TimeoutError : they do not come.
        """
        # A frame may still be on its way to the board.
        on_the_way = (FIFO_OCTETS + count) * self._octet_s
        found, end = b"", time.monotonic() + self.patience_s + on_the_way
        while len(found) < count:
            if not self._ready(max(0.0, end - time.monotonic())):
                raise TimeoutError(
                    f"{self.path} gave {len(found)} of {count} octets in {self.patience_s + on_the_way:.3g} s"
                )
            found += os.read(self._file, count - len(found))
        return found


def _end_packet(bus: SerialBus) -> None:
    """End the packet that a host before has left unfinished, which an abort would wait for."""
    bus.wr(Reg.CONTROL.offset, Reg.CONTROL.mask("ABORT"))
    if bus.rd(Reg.STATUS.offset) & Reg.STATUS.mask("STREAM"):
        bus.send([0])


def run_on_board(port: SerialPort, program: Program, inputs: Sequence[npt.ArrayLike]) -> list[Measured]:
    """Load what the bitstream does not hold, then run each input.

    Raises
    ------
    SimulationError : there is no such chip, it has other sizes, or it found an error. LayerError : an input that does
    not fit.
    """
    cfg = program.cfg
    (run,) = program.runs
    try:
        port.restart()
        bus = SerialBus(port, stream_bits(cfg) // 8)
        _end_packet(bus)
        chip = Driver(bus)
        if chip.n_pe != cfg.n_pe:
            raise SimulationError(
                f"the board has {chip.n_pe} PEs, the design {cfg.n_pe}: load its bitstream first"
            )
        for block in program.setup_blocks(images=True):
            chip.bus.send(block_packet(block))
        results = []
        for x in inputs:
            for block in program.blocks(run, program.host_vectors(x)):
                chip.bus.send(block_packet(block))
            chip.run(run.first, run.last)
            y = np.zeros(program.vectors[-1], np.int64)
            for result in run.results:
                words = chip.read(result.space, result.count, addr=result.addr, spread=True)
                result.store(y, words, cfg)
            results.append(Measured(y, *chip.counters()))
        chip.check()
    except TimeoutError as late:
        raise SimulationError(f"the board does not answer: {late}") from None
    except (OSError, termios.error) as error:  # it was unplugged
        raise SimulationError(f"the line to the board broke: {error.args[-1]}") from None
    return results


def compare(
    found: Sequence[Measured], wanted: Sequence[Result], numbers: Sequence[int] | None = None
) -> None:
    """Raise `MismatchError` unless outputs are those that are wanted, and cycles where the chip counts them.

    numbers : of the inputs, for the message (default: in their order).
    """
    for number, one, other in zip(numbers or range(len(found)), found, wanted, strict=True):
        if not np.array_equal(one.y, other.y):
            at = int(np.flatnonzero(one.y != other.y)[0])
            raise MismatchError(f"input {number}: output {at} is {one.y[at]}, not {other.y[at]}")
        if other.cfg.counters and one.cycles != other.cycles:
            raise MismatchError(f"input {number}: {one.cycles} cycles, not {other.cycles}")
