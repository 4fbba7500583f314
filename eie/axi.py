"""The chip's host interface: stream packets, error codes and ports, declared once (docs/chip.md)."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Self

from eie.config import CONFIG_BITS, ArchConfig
from eie.memory import Block
from eie.schema import ControlReg, Field, IoSpace, Kind, fields, pe_counters

LITE_ADDR_BITS = 15
LITE_DATA_BITS = 32
HEADER_BITS = 64
# AXI's answers: okay, and an error that the slave found.
OKAY, SLVERR = 0b00, 0b10


class Command(enum.IntEnum):
    """What a packet asks for."""

    WRITE = 0
    READ = 1
    RUN = 2


class ErrorCode(enum.IntEnum):
    """Register ERROR_CODE: what was wrong first since the last CLEAR_ERROR."""

    meaning: str

    def __new__(cls, value: int, meaning: str) -> Self:
        """The number, with its meaning beside it."""
        code = int.__new__(cls, value)
        code._value_ = value
        code.meaning = meaning
        return code

    NONE = 0, "no error"
    COMMAND = 1, "header: reserved command, or reserved bit 7 set"
    SPACE = 2, "header: no such space, WRITE to COUNTER, or `spread` in a space that is not one PE's"
    PE = 3, "header: no such PE"
    COUNT = 4, "header: WRITE or READ of 0 words"
    ADDRESS = 5, "header: address, or address and count, beyond the memory"
    PASS = 6, "RUN or START: first pass after the last, or beyond the pass table"
    TLAST_EARLY = 7, "packet: TLAST before the last word; the words before it are written"
    TLAST_LATE = 8, "packet: no TLAST on the last word; a WRITE is done, READ and RUN are not"
    START_BUSY = 9, "START while a run or a packet is under way"
    ABORTED = (
        10,
        "packet given up: SOFT_RESET, ABORT, or `rst` while the stream sent it; its rest is swallowed",
    )


# Spaces whose words are signed: a word on the result stream is extended by its sign, others by zeros.
SIGNED_SPACES = (IoSpace.CODEBOOK, IoSpace.ACC, IoSpace.ACT, IoSpace.ACT_SRAM)
# Spaces that are the CCU's, and not one PE's.
CCU_SPACES = (IoSpace.CONFIG, IoSpace.CONTROL)


def stream_bits(cfg: ArchConfig) -> int:
    """Width of both streams: a header, or the widest word of a memory."""
    return max(HEADER_BITS, cfg.io_data_bits)


def space_words(space: IoSpace, cfg: ArchConfig) -> int:
    """Words that a packet may address in a space (of one PE, but for CONFIG and CONTROL)."""
    return {
        IoSpace.CONFIG: cfg.passes << CONFIG_BITS,
        IoSpace.SPMAT: cfg.spmat_words,
        IoSpace.PTR: cfg.ptr_words,
        IoSpace.CODEBOOK: cfg.codebooks * cfg.n_codes,
        IoSpace.ACC: cfg.acc_depth,
        IoSpace.ACT: cfg.src_depth,
        IoSpace.COUNTER: len(pe_counters(cfg)),
        IoSpace.CONTROL: len(ControlReg),
        IoSpace.ACT_SRAM: cfg.act_words,
    }[space]


@dataclass(frozen=True)
class Bits:
    """A field of a register or of the header word."""

    name: str
    low: int
    width: int
    meaning: str

    @property
    def mask(self) -> int:
        """The field's bits in the word."""
        return ((1 << self.width) - 1) << self.low

    @property
    def range(self) -> str:
        """As in tables: "3" or "7:0"."""
        return str(self.low) if self.width == 1 else f"{self.low + self.width - 1}:{self.low}"


HEADER_FIELDS = (
    Bits("SPACE", 0, 4, ", ".join(f"{space:d} {space.name}" for space in IoSpace)),
    Bits("COMMAND", 4, 2, "0 WRITE, 1 READ, 2 RUN, 3 reserved"),
    Bits(
        "SPREAD",
        6,
        1,
        "words go to (come from) PE after PE, then the next address: a vector in its natural order. Else one PE, "
        "ascending addresses. In a RUN: do not raise the interrupt `DONE`",
    ),
    Bits("PE", 8, 8, "first PE"),
    Bits("ADDR", 16, 24, "first address; in a RUN bits 7:0 are the first pass, bits 15:8 the last"),
    Bits("COUNT", 40, 24, "words; not looked at in a RUN"),
)


@dataclass(frozen=True)
class Header:
    """A packet's first word, field by field; `reserved` is bit 7."""

    command: int
    space: int = 0
    pe: int = 0
    addr: int = 0
    count: int = 0
    spread: int = 0
    reserved: int = 0

    def pack(self) -> int:
        """The word.

        >>> hex(Header(Command.WRITE, IoSpace.ACT, pe=2, addr=3, count=4).pack())
        '0x40000030205'
        """
        values = {field.name: getattr(self, field.name.lower()) for field in HEADER_FIELDS}
        word = sum((values[f.name] & ((1 << f.width) - 1)) << f.low for f in HEADER_FIELDS)
        return word | self.reserved << 7

    @classmethod
    def unpack(cls, word: int) -> Self:
        """The fields of a word (its low 64 bits)."""
        found = {f.name.lower(): word >> f.low & ((1 << f.width) - 1) for f in HEADER_FIELDS}
        return cls(**found, reserved=word >> 7 & 1)

    @property
    def passes(self) -> tuple[int, int]:
        """First and last pass of a RUN."""
        return self.addr & 0xFF, self.addr >> 8 & 0xFF


def write_packet(
    space: IoSpace, words: list[int], *, pe: int = 0, addr: int = 0, spread: bool = False
) -> list[int]:
    """A packet that writes `words` (bit patterns)."""
    return [Header(Command.WRITE, space, pe, addr, len(words), spread).pack(), *words]


def block_packet(block: Block) -> list[int]:
    """The packet that writes a block of a program."""
    return write_packet(block.space, list(block.words), pe=block.pe, addr=block.addr, spread=block.spread)


def read_packet(space: IoSpace, count: int, *, pe: int = 0, addr: int = 0, spread: bool = False) -> list[int]:
    """A packet that asks for `count` words."""
    return [Header(Command.READ, space, pe, addr, count, spread).pack()]


def run_packet(first: int = 0, last: int | None = None, *, quiet: bool = False) -> list[int]:
    """A packet that runs the passes `first` to `last` (default: `first` alone)."""
    last = first if last is None else last
    return [Header(Command.RUN, addr=first | last << 8, spread=quiet).pack()]


# ---- ports -------------------------------------------------------------------------------------------------


def _axi(cfg: ArchConfig) -> tuple[Field, ...]:
    width = stream_bits(cfg)

    def channel(prefix: str, direction: Kind, **signals: int) -> tuple[Field, ...]:
        """Signals of a channel in the direction of its valid, and its ready in the other."""
        back = Kind.OUT if direction is Kind.IN else Kind.IN
        return (
            Field(f"{prefix}valid", 1, direction, probed=False),
            Field(f"{prefix}ready", 1, back, probed=False),
            *(Field(f"{prefix}{name}", bits, direction, probed=False) for name, bits in signals.items()),
        )

    address = {"addr": LITE_ADDR_BITS, "prot": 3}
    return (
        *channel("s_axil_aw", Kind.IN, **address),
        *channel("s_axil_w", Kind.IN, data=LITE_DATA_BITS, strb=LITE_DATA_BITS // 8),
        *channel("s_axil_b", Kind.OUT, resp=2),
        *channel("s_axil_ar", Kind.IN, **address),
        *channel("s_axil_r", Kind.OUT, data=LITE_DATA_BITS, resp=2),
        *channel("s_axis_t", Kind.IN, data=width, last=1),
        *channel("m_axis_t", Kind.OUT, data=width, last=1),
        Field("irq", 1, Kind.OUT, probed=False),
    )


def chip_fields(cfg: ArchConfig) -> tuple[Field, ...]:
    """Ports of `eie_chip`, but for clk, rst and the probes."""
    return _axi(cfg)


def host_if_fields(cfg: ArchConfig) -> tuple[Field, ...]:
    """Ports of `eie_host_if`, but for clk and rst: the chip's, and the array's seen from outside."""
    array = (
        Field(f.name, f.width, Kind.OUT if f.kind is Kind.IN else Kind.IN, probed=False)
        for f in fields("array", cfg)
    )
    return (*_axi(cfg), *array)
