"""A chip at the other end of a serial line: the frames of docs/fpga.md, and the bus that a `Driver` takes."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Protocol

from eie.axi import OKAY
from eie.errors import SimulationError

# Octets that the board keeps until the chip takes them: no frame is longer.
FIFO_OCTETS = 2048
HEADER_OCTETS = 4
ADDRESS_OCTETS, REGISTER_OCTETS = 2, 4


class Opcode(enum.IntEnum):
    """First octet of a frame. The board ignores other octets in its place."""

    NOP = 0
    READ = 1
    WRITE = 2
    SEND = 3
    RECEIVE = 4


# In the second octet of SEND, beside the octets of a word.
LAST = 0x80


class Line(Protocol):
    """A serial line, both ways."""

    def write(self, octets: bytes) -> None:
        """Send octets."""

    def read(self, count: int) -> bytes:
        """The next `count` octets.

        Raises
        ------
        TimeoutError : they do not come.
        """


def read_frame(offset: int) -> bytes:
    """Asks for a register; the answer is its response and four octets."""
    return bytes([Opcode.READ]) + offset.to_bytes(ADDRESS_OCTETS, "little")


def write_frame(offset: int, value: int) -> bytes:
    """Writes a register; the answer is its response."""
    place = offset.to_bytes(ADDRESS_OCTETS, "little")
    return bytes([Opcode.WRITE]) + place + value.to_bytes(REGISTER_OCTETS, "little")


def send_frames(words: Sequence[int]) -> list[bytes]:
    """A packet as frames, none longer than the board's buffer; each is answered with one octet.

    Words of a frame have as many octets as its largest one needs, and the first, the header, has a frame of its own.

    >>> [frame.hex() for frame in send_frames([0x20305, 1, 2])]
    ['03030100050302', '038102000102']
    """
    frames = []
    at = 0
    while at < len(words):
        end = 1 if at == 0 else len(words)
        octets = max(1, *((word.bit_length() + 7) // 8 for word in words[at:end]), 1)
        end = min(end, at + (FIFO_OCTETS - HEADER_OCTETS) // octets)
        flag = LAST if end == len(words) else 0
        body = b"".join(word.to_bytes(octets, "little") for word in words[at:end])
        frames.append(bytes([Opcode.SEND, octets | flag]) + (end - at).to_bytes(2, "little") + body)
        at = end
    return frames


def receive_frame(count: int) -> bytes:
    """Asks for so many words of the result stream."""
    return bytes([Opcode.RECEIVE]) + count.to_bytes(2, "little")


class SerialBus:
    """What `eie.driver.Driver` needs, over a serial line.

    Parameters
    ----------
    line : the line.
    word_octets : octets of a word of the streams.

    Raises
    ------
    TimeoutError : no answer comes.
    """

    def __init__(self, line: Line, word_octets: int = 8) -> None:
        self.line, self.word_octets = line, word_octets

    def rd(self, offset: int) -> int:
        """Read a register."""
        self.line.write(read_frame(offset))
        answer = self.line.read(1 + REGISTER_OCTETS)
        self._check(answer[0], f"read of register {offset:#x}")
        return int.from_bytes(answer[1:], "little")

    def wr(self, offset: int, value: int) -> None:
        """Write a register; what the chip refuses raises nothing, it sets ERROR_CODE or has no effect."""
        self.line.write(write_frame(offset, value))
        self.line.read(1)

    def send(self, words: Sequence[int]) -> None:
        """Send a packet; it is taken when this returns."""
        for frame in send_frames(words):
            self.line.write(frame)
            self.line.read(1)

    def receive(self, count: int) -> list[int]:
        """The next `count` words of the result stream."""
        self.line.write(receive_frame(count))
        octets = self.line.read(count * self.word_octets)
        return [
            int.from_bytes(octets[at : at + self.word_octets], "little")
            for at in range(0, len(octets), self.word_octets)
        ]

    def _check(self, response: int, what: str) -> None:
        if response != OKAY:
            raise SimulationError(f"the chip answered a {what} with response {response}")
