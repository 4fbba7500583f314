"""The synchronous single-port memory beside a PE: sparse-matrix, pointer and activation SRAMs."""

from __future__ import annotations

from eie.errors import LayerError
from eie.schema import Reg, SramPort, Wire


class Sram:
    """Single-port synchronous memory; the word read appears one cycle after its address and stays.

    Parameters
    ----------
    depth : words. width : bits of a word.

    Members: memory (list of words), rdata (the output register). An address past the depth reads 0 and writes nothing.
    """

    __slots__ = ("addr", "depth", "en", "memory", "rdata", "wdata", "we")

    def __init__(self, depth: int, width: int) -> None:
        self.depth = depth
        self.memory = [0] * depth
        self.en = self.we = self.addr = self.wdata = Wire()
        self.rdata = Reg(width)

    def connect(self, port: SramPort) -> None:
        """Take en, we, addr and wdata from a block's port."""
        self.en, self.we, self.addr, self.wdata = port.en, port.we, port.addr, port.wdata

    def load(self, words: list[int]) -> None:
        """Put `words` at address 0 on, as $readmemh does.

        Raises
        ------
        LayerError : more words than the memory holds.
        """
        if len(words) > self.depth:
            raise LayerError(f"an image of {len(words)} words does not fit a memory of {self.depth}")
        self.memory[: len(words)] = words

    def next_state(self) -> None:
        """Read: the word at addr, or what was read last."""
        if self.en.value and not self.we.value:
            addr = self.addr.value
            self.rdata.next = self.memory[addr] if addr < self.depth else 0
        else:
            self.rdata.next = self.rdata.value

    def write_memory(self) -> None:
        """Write, at the clock edge."""
        if self.we.value and self.en.value and self.addr.value < self.depth:
            self.memory[self.addr.value] = self.wdata.value
