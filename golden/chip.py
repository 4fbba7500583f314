"""The chip at the level of transactions: register accesses and packets in, answers and result packets out.

It drives the golden array through its I/O port as the hardware does (docs/chip.md), but knows neither valid nor ready:
an access or a packet happens at once, and a run goes on until somebody waits for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from eie.axi import (
    CCU_SPACES,
    OKAY,
    SIGNED_SPACES,
    SLVERR,
    Command,
    ErrorCode,
    Header,
    space_words,
    stream_bits,
)
from eie.config import CONFIG_BITS, ArchConfig
from eie.golden.array import Array
from eie.golden.run import Host
from eie.memory import Block, Write
from eie.registers import PASS_TABLE, Access, Reg
from eie.schema import CCU_COUNTERS, ControlReg, IoSpace, config_registers

_WORD = 0xFFFF_FFFF
_BY_OFFSET = {reg.offset: reg for reg in Reg}
_OWN = (
    Reg.IRQ_ENABLE,
    Reg.IRQ_STATUS,
    Reg.ERROR_CODE,
    Reg.ERROR_INFO,
    Reg.ERROR_PACKET,
    Reg.PACKETS,
    Reg.WORDS_LOADED,
    Reg.WORDS_STORED,
)


@dataclass
class _Packet:
    """A packet that has begun: header, its word, data words written so far, and whether its rest is swallowed."""

    header: Header
    info: int
    written: int = 0
    swallowed: bool = False


class Chip:
    """`eie_chip`, transaction by transaction.

    Members: array (golden), results (packets that the result stream has delivered, each a list of words), irq.
    """

    def __init__(self, cfg: ArchConfig) -> None:
        self.cfg = cfg
        self.array = array = Array(cfg)
        self.host = Host(array)
        self.counters = {Reg[name.upper()]: array.signal(name) for name in CCU_COUNTERS}
        self.results: list[list[int]] = []
        self.waiting: list[list[int]] = []  # packets behind a run
        self.open: _Packet | None = None  # a packet that has begun and not ended
        self.running = False
        self.quiet = False
        self.passes = {ControlReg.FIRST_PASS: 0, ControlReg.LAST_PASS: 0}
        self.registers = dict.fromkeys(_OWN, 0)

    @property
    def irq(self) -> bool:
        """The interrupt."""
        return bool(self.registers[Reg.IRQ_STATUS] & self.registers[Reg.IRQ_ENABLE])

    # ---- registers -----------------------------------------------------------------------------------------

    def read(self, address: int) -> tuple[int, int]:
        """Data and response of a read at a byte address. IDLE_CYCLES reads 0: time is not modelled."""
        address &= ~3
        entry = self._pass_address(address)
        if entry is not None:
            if self.running:
                return 0, SLVERR
            return self._port_read(IoSpace.CONFIG, 0, entry) & _WORD, OKAY
        reg = _BY_OFFSET.get(address)
        if reg is None:
            return 0, SLVERR
        return self._value(reg), OKAY

    def _value(self, reg: Reg) -> int:
        array = self.array
        if reg in self.registers:
            return self.registers[reg]
        if reg in self.counters:
            return self.counters[reg].value if self.cfg.counters else 0
        if reg is Reg.FIRST_PASS:
            return self.passes[ControlReg.FIRST_PASS]
        if reg is Reg.LAST_PASS:
            return self.passes[ControlReg.LAST_PASS]
        if reg is Reg.STATUS:
            bits = {
                "BUSY": self.running,
                "DONE": array.done.value and not self.running,
                "ERROR": self.registers[Reg.ERROR_CODE] != 0,
                "STREAM": bool(self.waiting) or self.open is not None,
                "CURRENT_PASS": 0,
            }
            shifted = {bit.name: bit.low for bit in reg.value.fields}
            word = sum(int(value) << shifted[name] for name, value in bits.items())
            return word | int(array.current_pass.value) << shifted["CURRENT_PASS"]
        return reg.reset_value(self.cfg)

    def write(self, address: int, data: int, strobes: int = 0xF) -> int:
        """Response of a write at a byte address."""
        address &= ~3
        entry = self._pass_address(address)
        reg = _BY_OFFSET.get(address)
        if strobes != 0xF:
            return SLVERR if strobes else OKAY
        if entry is not None:
            return self._write_port(IoSpace.CONFIG, entry, data)
        if reg is None or reg.access is Access.RO:
            return SLVERR
        if reg in (Reg.FIRST_PASS, Reg.LAST_PASS):
            if data >= self.cfg.passes:
                return SLVERR
            number = ControlReg.FIRST_PASS if reg is Reg.FIRST_PASS else ControlReg.LAST_PASS
            return self._write_port(IoSpace.CONTROL, number, data)
        if reg is Reg.CONTROL:
            return self._control(data)
        if reg is Reg.IRQ_ENABLE:
            self.registers[reg] = data & 3
        else:
            self.registers[reg] &= ~data
        return OKAY

    def _pass_address(self, address: int) -> int | None:
        """The I/O port's address of a register in the window of the pass table."""
        entry = (address - PASS_TABLE) >> 2
        if not 0 <= entry < self.cfg.passes << CONFIG_BITS or entry % (1 << CONFIG_BITS) >= len(
            config_registers(self.cfg)
        ):
            return None
        return entry

    def _write_port(self, space: IoSpace, addr: int, data: int) -> int:
        if self.running:
            return SLVERR
        self._port_write(space, 0, addr, data)
        return OKAY

    def _control(self, data: int) -> int:
        under_way = self.running or self.open is not None
        again = (
            bool(data & Reg.CONTROL.mask("SOFT_RESET"))
            and self.registers[Reg.ERROR_CODE] == ErrorCode.ABORTED
        )
        abort = data & (Reg.CONTROL.mask("SOFT_RESET") | Reg.CONTROL.mask("ABORT"))
        if abort or data & Reg.CONTROL.mask("CLEAR_ERROR"):
            self.registers[Reg.ERROR_CODE] = 0
        if abort:
            self._abort(forget=again)
        if not data & Reg.CONTROL.mask("START"):
            return OKAY
        if self.registers[Reg.ERROR_CODE]:
            return SLVERR
        if under_way:
            return self._start_refused(ErrorCode.START_BUSY, data)
        if not self.passes[ControlReg.FIRST_PASS] <= self.passes[ControlReg.LAST_PASS] < self.cfg.passes:
            return self._start_refused(ErrorCode.PASS, data)
        self._start(quiet=False)
        return OKAY

    def _abort(self, *, forget: bool) -> None:
        """Give up the packet under way, or the first that waits; forget : nothing of it is to come."""
        packet = self.open
        if packet is not None and packet.swallowed and forget:
            self.open = None
        elif packet is not None:
            packet.swallowed = True
            self._error(ErrorCode.ABORTED, packet.info)
        elif self.waiting:
            given_up = self.waiting.pop(0)
            self.registers[Reg.PACKETS] += 1
            self._error(ErrorCode.ABORTED, given_up[0])

    def reset(self, *, sending: bool = False) -> None:
        """`rst`; sending : the stream is in the midst of a packet and goes on."""
        self.array.propagate()
        self.array.reset()
        self.results.clear()
        self.waiting.clear()
        self.open, self.running, self.quiet = None, False, False
        self.passes = dict.fromkeys(self.passes, 0)
        self.registers = dict.fromkeys(_OWN, 0)
        if sending:
            self.open = _Packet(Header.unpack(0), 0, swallowed=True)
            self._error(ErrorCode.ABORTED, 0)

    def _start_refused(self, code: ErrorCode, data: int) -> int:
        self._error(code, data)
        return SLVERR

    def _error(self, code: ErrorCode, info: int) -> None:
        registers = self.registers
        if registers[Reg.ERROR_CODE]:
            return
        registers[Reg.ERROR_CODE] = code
        registers[Reg.ERROR_INFO] = info & _WORD
        registers[Reg.ERROR_PACKET] = registers[Reg.PACKETS]
        registers[Reg.IRQ_STATUS] |= Reg.IRQ_STATUS.mask("ERROR")

    # ---- packets -------------------------------------------------------------------------------------------

    def send(self, words: Sequence[int]) -> None:
        """A packet on the command stream, or the rest of one: its words, TLAST on the last. Behind a run it waits."""
        if self.running and self.open is None:
            self.waiting.append(list(words))
        else:
            self._execute(words)

    def send_part(self, words: Sequence[int]) -> None:
        """The beginning of a packet, or more of it, without TLAST."""
        self._execute(words, last=False)

    def wait(self) -> None:
        """Until no run is under way and no packet waits."""
        while True:
            if self.running:
                while not self.array.done.value:
                    self.host.cycle()
                self.running = False
                if not self.quiet:
                    self.registers[Reg.IRQ_STATUS] |= Reg.IRQ_STATUS.mask("DONE")
            elif self.waiting:
                self._execute(self.waiting.pop(0))
            else:
                return

    def _execute(self, words: Sequence[int], *, last: bool = True) -> None:
        packet, data = self.open, words
        if packet is None:
            packet, data = self._begin(words[0], last=last and len(words) == 1), words[1:]
        if not packet.swallowed:
            written = self._write_words(packet, data)
            missing = packet.header.count - packet.written
            if last and missing:
                self._error(ErrorCode.TLAST_EARLY, packet.info)
            elif len(data) > written or not (missing or last):
                self._error(ErrorCode.TLAST_LATE, packet.info)
                packet.swallowed = True
        self.open = None if last else packet
        self.registers[Reg.PACKETS] += last

    def _begin(self, info: int, *, last: bool) -> _Packet:
        """Judge a header, and do what needs no data; only a good WRITE is not swallowed."""
        header = Header.unpack(info)
        code = self._header_error(header, last=last)
        if self.registers[Reg.ERROR_CODE]:
            pass
        elif code:
            self._error(code, info)
        elif header.command == Command.WRITE:
            return _Packet(header, info)
        elif header.command == Command.READ:
            self._read_words(header)
        else:
            first, final = header.passes
            self._port_write(IoSpace.CONTROL, 0, ControlReg.FIRST_PASS, first)
            self._port_write(IoSpace.CONTROL, 0, ControlReg.LAST_PASS, final)
            self._start(quiet=bool(header.spread))
        return _Packet(header, info, swallowed=True)

    def _header_error(self, header: Header, *, last: bool) -> ErrorCode:
        cfg = self.cfg
        if header.reserved or header.command not in tuple(Command):
            return ErrorCode.COMMAND
        writes = header.command == Command.WRITE
        if header.command == Command.RUN:
            first, final = header.passes
            if not first <= final < cfg.passes:
                return ErrorCode.PASS
            return ErrorCode.NONE if last else ErrorCode.TLAST_LATE
        if header.space not in tuple(IoSpace) or (writes and header.space == IoSpace.COUNTER):
            return ErrorCode.SPACE
        space = IoSpace(header.space)
        if header.spread and (space in CCU_SPACES or (writes and space is IoSpace.CODEBOOK)):
            return ErrorCode.SPACE
        if header.pe >= cfg.n_pe:
            return ErrorCode.PE
        if not header.count:
            return ErrorCode.COUNT
        rows = (header.pe + header.count - 1) // cfg.n_pe if header.spread else header.count - 1
        if header.addr + rows >= space_words(space, cfg):
            return ErrorCode.ADDRESS
        if writes:
            return ErrorCode.TLAST_EARLY if last else ErrorCode.NONE
        return ErrorCode.NONE if last else ErrorCode.TLAST_LATE

    def _places(self, header: Header) -> list[tuple[int, int]]:
        """PE and address of each word of a packet."""
        words = Block(IoSpace(header.space), header.pe, header.addr, range(header.count), bool(header.spread))
        return [(write.pe, write.addr) for write in words.writes(self.cfg)]

    def _write_words(self, packet: _Packet, data: Sequence[int]) -> int:
        """Write the words that the header announces and that are there; how many."""
        space = IoSpace(packet.header.space)
        written = 0
        for (pe, addr), word in zip(self._places(packet.header)[packet.written :], data, strict=False):
            self._port_write(space, pe, addr, word)
            written += 1
        packet.written += written
        self.registers[Reg.WORDS_LOADED] += written * self.cfg.counters
        return written

    def _read_words(self, header: Header) -> None:
        space = IoSpace(header.space)
        bits = self.cfg.io_data_bits
        words = []
        for pe, addr in self._places(header):
            word = self._port_read(space, pe, addr)
            if space in SIGNED_SPACES and word >> (bits - 1):
                word |= ((1 << stream_bits(self.cfg)) - 1) & -(1 << bits)
            words.append(word)
        self.registers[Reg.WORDS_STORED] += len(words) * self.cfg.counters
        self.results.append(words)

    # ---- the array's I/O port ------------------------------------------------------------------------------

    def _start(self, *, quiet: bool) -> None:
        self.array.start.value = 1
        self.host.cycle()
        self.array.start.value = 0
        self.running, self.quiet = True, quiet

    def _port_write(self, space: IoSpace, pe: int, addr: int, data: int) -> None:
        self.host.write([Write(space, pe, addr, data & ((1 << self.cfg.io_data_bits) - 1))])
        if space is IoSpace.CONTROL:
            self.passes[ControlReg(addr)] = data & ((1 << self.cfg.pass_bits) - 1)

    def _port_read(self, space: IoSpace, pe: int, addr: int) -> int:
        if space is IoSpace.COUNTER and not self.cfg.counters:
            return 0
        return self.host.read(space, pe, addr)
