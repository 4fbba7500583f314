"""The chip at the level of transactions: register accesses and packets in, answers and result packets out.

It drives the golden array through its I/O port as the hardware does (docs/chip.md), but knows neither valid nor ready:
an access or a packet happens at once, and a run goes on until somebody waits for it.
"""

from __future__ import annotations

from collections.abc import Sequence

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
from eie.schema import CCU_COUNTERS, ConfigReg, ControlReg, IoSpace

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
        self.open = False  # a packet has begun and not ended
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
                "STREAM": bool(self.waiting) or self.open,
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
            return SLVERR
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
        if not 0 <= entry < self.cfg.passes << CONFIG_BITS or entry % (1 << CONFIG_BITS) >= len(ConfigReg):
            return None
        return entry

    def _write_port(self, space: IoSpace, addr: int, data: int) -> int:
        if self.running:
            return SLVERR
        self._port_write(space, 0, addr, data)
        return OKAY

    def _control(self, data: int) -> int:
        if data & (Reg.CONTROL.mask("CLEAR_ERROR") | Reg.CONTROL.mask("SOFT_RESET")):
            self.registers[Reg.ERROR_CODE] = 0
        if data & Reg.CONTROL.mask("SOFT_RESET"):
            self.waiting.clear()
            self.open = False
        if not data & Reg.CONTROL.mask("START"):
            return OKAY
        if self.registers[Reg.ERROR_CODE]:
            return SLVERR
        if self.running or self.open:
            return self._start_refused(ErrorCode.START_BUSY, data)
        if not self.passes[ControlReg.FIRST_PASS] <= self.passes[ControlReg.LAST_PASS] < self.cfg.passes:
            return self._start_refused(ErrorCode.PASS, data)
        self._start(quiet=False)
        return OKAY

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
        """A packet on the command stream: its words, TLAST on the last. Behind a run it waits."""
        if self.open:
            raise ValueError("the packet before has not ended")
        if self.running:
            self.waiting.append(list(words))
        else:
            self._execute(words)

    def send_part(self, words: Sequence[int]) -> None:
        """The beginning of a WRITE packet that nobody ends: only SOFT_RESET goes on from here."""
        self.open = True
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
        header = Header.unpack(words[0])
        code = self._header_error(header, last=last and len(words) == 1)
        info = words[0]
        registers = self.registers
        if registers[Reg.ERROR_CODE]:
            pass  # swallowed
        elif code:
            self._error(code, info)
        elif header.command == Command.WRITE:
            written = self._write_words(header, words[1:])
            if last and written < header.count:
                self._error(ErrorCode.TLAST_EARLY, info)
            elif len(words) - 1 > header.count or (written == header.count and not last):
                self._error(ErrorCode.TLAST_LATE, info)
        elif header.command == Command.READ:
            self._read_words(header)
        else:
            first, final = header.passes
            self._port_write(IoSpace.CONTROL, 0, ControlReg.FIRST_PASS, first)
            self._port_write(IoSpace.CONTROL, 0, ControlReg.LAST_PASS, final)
            self._start(quiet=bool(header.spread))
        registers[Reg.PACKETS] += last

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

    def _write_words(self, header: Header, data: Sequence[int]) -> int:
        """Write the words that the header announces and that are there; how many."""
        space = IoSpace(header.space)
        written = 0
        for (pe, addr), word in zip(self._places(header), data, strict=False):
            self._port_write(space, pe, addr, word)
            written += 1
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
