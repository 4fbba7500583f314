"""Host of a chip over any bus: the calls of the C driver (`eie_driver.h`), in Python.

chip = Driver(bus)  # rd, wr, send and receive of the platform
chip.load(IoSpace.ACC, words, spread=True)
chip.run(0, 2)
y = chip.read(IoSpace.ACC, count, spread=True)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from eie.axi import ErrorCode, read_packet, run_packet, write_packet
from eie.errors import SimulationError
from eie.registers import MAGIC, VERSION, Reg
from eie.schema import IoSpace

PATIENCE = 100_000


class Bus(Protocol):
    """What the platform provides: registers by their byte offsets, and the two streams, a packet at a time."""

    def rd(self, offset: int) -> int:
        """Read a register."""

    def wr(self, offset: int, value: int) -> None:
        """Write a register."""

    def send(self, words: Sequence[int]) -> None:
        """Send words, TLAST on the last; it need not wait until they are taken."""

    def receive(self, count: int) -> list[int]:
        """The next `count` words of the result stream."""


class ChipError(SimulationError):
    """The chip's ERROR_CODE is set: `code`, `info` and `packet` say what was wrong."""

    def __init__(self, code: ErrorCode, info: int, packet: int) -> None:
        self.code, self.info, self.packet = code, info, packet
        super().__init__(f"packet {packet}, header {info:#010x}: {code.meaning} ({code.name})")


class Counters(NamedTuple):
    """The last run's counters, in cycles; all 0 for an instance without counters."""

    cycles: int
    broadcast_stalls: int
    refill_cycles: int
    writeback_cycles: int


class Driver:
    """A chip on a bus; looks for it, gives up a packet that a reset cut, clears an error and turns the interrupt off.

    Parameters
    ----------
    bus : the platform.
    patience : polls of a register before `TimeoutError`.

    Raises
    ------
    SimulationError : there is another chip, or none.
    """

    def __init__(self, bus: Bus, *, patience: int = PATIENCE) -> None:
        self.bus, self.patience = bus, patience
        found = bus.rd(Reg.ID.offset), bus.rd(Reg.VERSION.offset)
        if found[0] != MAGIC or found[1] >> 16 != VERSION >> 16:
            raise SimulationError(
                f"the driver does not know this chip: ID {found[0]:#010x}, VERSION {found[1]:#010x}"
            )
        self.n_pe = bus.rd(Reg.N_PE.offset)
        self.irq_enable()
        self.abort()

    def load(
        self, space: IoSpace, words: Sequence[int], *, pe: int = 0, addr: int = 0, spread: bool = False
    ) -> None:
        """Send words (bit patterns) to a place; with `spread` a vector in its natural order."""
        self.bus.send(write_packet(space, list(words), pe=pe, addr=addr, spread=spread))

    def read(
        self, space: IoSpace, count: int, *, pe: int = 0, addr: int = 0, spread: bool = False
    ) -> list[int]:
        """Words from a place, once everything before is done.

        Raises
        ------
        ChipError : an error stands, so that none will come.
        TimeoutError : none comes.
        """
        self.bus.send(read_packet(space, count, pe=pe, addr=addr, spread=spread))
        result, under_way = Reg.STATUS.mask("RESULT"), Reg.STATUS.mask("STREAM")
        for _ in range(self.patience):
            status = self.bus.rd(Reg.STATUS.offset)
            if status & result:
                return self.bus.receive(count)
            if status & Reg.STATUS.mask("ERROR") and not status & under_way:
                self.check()
        raise TimeoutError("the chip sends no result word")

    def run(self, first: int = 0, last: int | None = None, *, quiet: bool = False) -> None:
        """Queue passes behind what was sent; a quiet run raises no interrupt."""
        self.bus.send(run_packet(first, last, quiet=quiet))

    def start(self, first: int, last: int) -> None:
        """Start passes by register, when nothing is under way.

        Raises
        ------
        ChipError : an error stands, or these are no passes.
        """
        self.wait()
        self.bus.wr(Reg.FIRST_PASS.offset, first)
        self.bus.wr(Reg.LAST_PASS.offset, last)
        self._control("START")
        self.check()

    def wait(self) -> None:
        """Until neither a run nor a packet is under way.

        Raises
        ------
        ChipError : an error stands then.
        """
        self._until_clear("BUSY", "STREAM")
        self.check()

    def counters(self) -> Counters:
        """Of the last run."""
        self._until_clear("BUSY")
        return Counters(*(self.bus.rd(Reg[name.upper()].offset) for name in Counters._fields))

    def irq_enable(self, *events: str) -> None:
        """Events ("DONE", "ERROR") that raise the interrupt from now on; those that happened are forgotten."""
        self.bus.wr(Reg.IRQ_STATUS.offset, Reg.IRQ_STATUS.mask("DONE") | Reg.IRQ_STATUS.mask("ERROR"))
        self.bus.wr(Reg.IRQ_ENABLE.offset, sum(Reg.IRQ_ENABLE.mask(event) for event in events))

    def irq_take(self) -> tuple[str, ...]:
        """The events that stand, which are cleared."""
        events = self.bus.rd(Reg.IRQ_STATUS.offset)
        self.bus.wr(Reg.IRQ_STATUS.offset, events)
        return tuple(bits.name for bits in Reg.IRQ_STATUS.value.fields if events & bits.mask)

    def check(self) -> None:
        """Raise `ChipError` if an error stands."""
        code, info, packet = (
            self.bus.rd(reg.offset) for reg in (Reg.ERROR_CODE, Reg.ERROR_INFO, Reg.ERROR_PACKET)
        )
        if code:
            found = next(known for known in ErrorCode if known == code)
            raise ChipError(found, info, packet)

    def clear_error(self) -> None:
        """Packets are worked off again."""
        self._control("CLEAR_ERROR")

    def abort(self) -> None:
        """Give up the packet that is being sent; it is swallowed up to its end, if there is one.

        Raises
        ------
        TimeoutError : the rest does not come: stop and reset the DMA, then `forget`.
        """
        self._control("ABORT")
        self._until_clear("STREAM")
        self.clear_error()

    def forget(self) -> None:
        """The DMA was stopped and offers no word: the next word is a header.

        Raises
        ------
        TimeoutError : words still come.
        """
        if self.bus.rd(Reg.ERROR_CODE.offset) != ErrorCode.ABORTED:
            self._control("ABORT")
        self._control("SOFT_RESET")
        if self.bus.rd(Reg.STATUS.offset) & Reg.STATUS.mask("STREAM"):
            raise TimeoutError("the chip still sends words of the packet")

    def _control(self, bit: str) -> None:
        self.bus.wr(Reg.CONTROL.offset, Reg.CONTROL.mask(bit))

    def _until_clear(self, *bits: str) -> None:
        mask = sum(Reg.STATUS.mask(bit) for bit in bits)
        for _ in range(self.patience):
            if not self.bus.rd(Reg.STATUS.offset) & mask:
                return
        raise TimeoutError(f"STATUS still has one of {', '.join(bits)}")
