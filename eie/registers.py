"""The register map of the chip, declared once: Python constants, the table in docs/programming.md, and a C header."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from eie.axi import HEADER_FIELDS, LITE_ADDR_BITS, Bits, Command, ErrorCode, stream_bits
from eie.config import CONFIG_BITS, ArchConfig
from eie.filling import templates
from eie.schema import ConfigReg, IoSpace, PeCounter, WbTarget, config_fields

MAGIC = int.from_bytes(b"EIE1", "big")
VERSION = 0x0001_0001


class Access(enum.Enum):
    """What the host may do with a register."""

    RO = "read only"
    RW = "read, write"
    WO = "write; reads 0"
    W1C = "read; write 1 to clear"


@dataclass(frozen=True)
class Register:
    """A 32-bit register. reset : its value after reset, or for a constant a function of the configuration."""

    offset: int
    access: Access
    meaning: str
    fields: tuple[Bits, ...] = ()
    reset: int | Callable[[ArchConfig], int] = 0


def _constant(offset: int, meaning: str, value: int | Callable[[ArchConfig], int]) -> Register:
    return Register(offset, Access.RO, meaning, reset=value)


def _count(offset: int, meaning: str) -> Register:
    return Register(offset, Access.RO, meaning)


# Widths of what an index-free machine has none of.
_INDICES = ("index_bits", "pointer_bits")


def _packed(offset: int, meaning: str, *names: str) -> Register:
    """A constant of configuration fields, 8 bits each, the first in the low bits."""
    fields = tuple(
        Bits(name.upper(), 8 * i, 8, f"`{name}`" + "; 0: index-free" * (name in _INDICES))
        for i, name in enumerate(names)
    )

    def value(cfg: ArchConfig) -> int:
        widths = (0 if cfg.index_free and name in _INDICES else getattr(cfg, name) for name in names)
        return sum(width << 8 * i for i, width in enumerate(widths))

    return Register(offset, Access.RO, meaning, fields, value)


# What the numbers of ROWS mean.
_ROWS = (0, 4, 6, 8)


def _with_switches(register: Register) -> Register:
    """A register of three widths with the switches of docs/beyond.md in its high byte, 0 for the published machine."""
    constant = register.reset
    assert not isinstance(constant, int)
    fields = (
        Bits("ROWS", 24, 2, "rows: 0 relative; 1, 2, 3 absolute, of 4, 6 or 8 bits"),
        Bits("PAIRS", 26, 1, "1: columns are broadcast in pairs, and their pointers stand so"),
        Bits("FILTER_EMPTY", 27, 1, "`filter_empty`"),
        Bits("ISSUE_LOG2", 28, 2, "`issue` is 2 to this"),
        Bits("WINDOW_LESS_1", 30, 2, "`window` less 1"),
    )

    def value(cfg: ArchConfig) -> int:
        rows = _ROWS.index(cfg.row_bits) if cfg.absolute else 0
        switches = rows | (cfg.group - 1) << 2 | cfg.filter_empty << 3
        switches |= (cfg.issue.bit_length() - 1) << 4 | (cfg.window - 1) << 6
        return constant(cfg) | switches << 24

    return replace(register, fields=register.fields + fields, reset=value)


_EVENTS = (
    Bits("DONE", 0, 1, "a run has ended that was not a quiet RUN"),
    Bits("ERROR", 1, 1, "ERROR_CODE has been set"),
)


class Reg(enum.Enum):
    """Every register. The pass table is not among them: see `pass_table_offset`."""

    ID = _constant(0x000, 'identification, "EIE1"', MAGIC)
    VERSION = _constant(0x004, "version of this interface: major in 31:16, minor in 15:0", VERSION)
    CONTROL = Register(
        0x008,
        Access.WO,
        "commands; in one write CLEAR_ERROR comes before START",
        (
            Bits("START", 0, 1, "run the passes FIRST_PASS to LAST_PASS; SLVERR while busy or in error"),
            Bits("CLEAR_ERROR", 1, 1, "ERROR_CODE becomes 0, packets are worked off again"),
            Bits(
                "SOFT_RESET",
                2,
                1,
                "as ABORT; written again while ERROR_CODE is ABORTED and no word waits, it says that the rest will "
                "never come: the next word is a header",
            ),
            Bits(
                "ABORT",
                3,
                1,
                "as CLEAR_ERROR, and the packet under way is given up: ERROR_CODE becomes ABORTED, the rest up to "
                "TLAST is swallowed. A READ whose words are on their way and a run go on",
            ),
        ),
    )
    STATUS = Register(
        0x00C,
        Access.RO,
        "what the chip is doing",
        (
            Bits("BUSY", 0, 1, "a run is under way"),
            Bits("DONE", 1, 1, "the last run has ended; until the next start"),
            Bits("ERROR", 2, 1, "ERROR_CODE is not 0"),
            Bits("STREAM", 3, 1, "a packet is under way, or a word of one waits"),
            Bits("RESULT", 4, 1, "a result word waits"),
            Bits("CURRENT_PASS", 16, 8, "pass of the run that is under way"),
        ),
    )
    IRQ_ENABLE = Register(
        0x010,
        Access.RW,
        "which bits of IRQ_STATUS raise `irq`",
        _EVENTS,
    )
    IRQ_STATUS = Register(
        0x014,
        Access.W1C,
        "what happened since it was cleared",
        _EVENTS,
    )
    FIRST_PASS = Register(
        0x018,
        Access.RW,
        "first pass of a run; a RUN packet sets it; no write while busy, none beyond the pass table",
    )
    LAST_PASS = Register(0x01C, Access.RW, "last pass of a run, likewise")
    ERROR_CODE = Register(0x020, Access.RO, "the first error since CLEAR_ERROR, see the error codes")
    ERROR_INFO = Register(
        0x024, Access.RO, "the low 32 bits of that packet's header; for START the value written"
    )
    ERROR_PACKET = Register(0x028, Access.RO, "PACKETS when that error was found")
    CYCLES = _count(0x040, "compute cycles of the last run")
    BROADCAST_STALLS = _count(0x044, "of these, cycles in which a full queue held the broadcast")
    REFILL_CYCLES = _count(0x048, "cycles of its refills")
    WRITEBACK_CYCLES = _count(0x04C, "cycles of its write-backs")
    PACKETS = _count(0x050, "packets that have ended since reset, swallowed ones as well")
    WORDS_LOADED = _count(0x054, "words that WRITE packets have written since reset")
    WORDS_STORED = _count(0x058, "words that the result stream has delivered since reset")
    IDLE_CYCLES = _count(0x05C, "cycles since reset with neither a run nor a packet under way")
    N_PE = _constant(0x080, "processing elements", lambda cfg: cfg.n_pe)
    STREAM_BITS = _constant(0x084, "width of both streams", stream_bits)
    PASSES = _constant(0x088, "entries of the pass table", lambda cfg: cfg.passes)
    CODEBOOKS = _constant(0x08C, "codebooks", lambda cfg: cfg.codebooks)
    SPMAT_WORDS = _constant(0x090, "words of a PE's matrix SRAM", lambda cfg: cfg.spmat_words)
    POINTERS = _constant(
        0x094,
        "pointers of a PE, both banks; index-free: entries of the block table",
        lambda cfg: cfg.pointer_room,
    )
    ACC_DEPTH = _constant(0x098, "accumulators of a PE", lambda cfg: cfg.acc_depth)
    SRC_DEPTH = _constant(0x09C, "source activations of a PE", lambda cfg: cfg.src_depth)
    ACT_WORDS = _constant(0x0A0, "words of a PE's activation SRAM", lambda cfg: cfg.act_words)
    WORD_BITS = _constant(0x0A4, "width of a matrix word", lambda cfg: cfg.word_bits)
    QUEUE_DEPTH = _constant(0x0A8, "depth of the activation queues", lambda cfg: cfg.queue_depth)
    WIDTHS = _packed(
        0x0AC, "widths of an entry and its operands", "weight_bits", "index_bits", "code_bits", "act_bits"
    )
    WIDTHS_2 = _with_switches(
        _packed(0x0B0, "more widths; 1 if the array has counters", "acc_bits", "pointer_bits", "counters")
    )

    @property
    def offset(self) -> int:
        """Byte address."""
        return self.value.offset

    @property
    def access(self) -> Access:
        """What the host may do with it."""
        return self.value.access

    def mask(self, field: str) -> int:
        """The bits of a field.

        >>> hex(Reg.STATUS.mask("CURRENT_PASS"))
        '0xff0000'
        """
        return next(bits.mask for bits in self.value.fields if bits.name == field)

    def field(self, field: str, word: int) -> int:
        """The value of a field in a word that was read."""
        bits = next(bits for bits in self.value.fields if bits.name == field)
        return (word & bits.mask) >> bits.low

    def reset_value(self, cfg: ArchConfig) -> int:
        """Its value after reset."""
        reset = self.value.reset
        return reset if isinstance(reset, int) else reset(cfg)


PASS_TABLE = 0x4000
# Bytes of a pass's line in the table: a word for each number that a register of the entry can have.
PASS_LINE = 4 << CONFIG_BITS


def pass_table_offset(number: int, register: ConfigReg) -> int:
    """Byte address of a register of pass `number`.

    >>> hex(pass_table_offset(2, ConfigReg.RELU))
    '0x4088'
    """
    return PASS_TABLE + PASS_LINE * number + 4 * register


PASS_MEANINGS = {
    ConfigReg.PRODUCT_SHIFT: "right shift of each product, rounded",
    ConfigReg.OUTPUT_SHIFT: "right shift of each accumulator at write-back, rounded",
    ConfigReg.RELU: "1: negative sums become 0",
    ConfigReg.WB_ROWS: "local rows written back; 0: the accumulators stay for the next pass",
    ConfigReg.WB_TARGET: "bit 0: activations go to the source file, too; bit 1: to the activation SRAM",
    ConfigReg.WB_BASE: "first word of the activation SRAM that is written; of scaled rows the first one's scale",
    ConfigReg.CODEBOOK: "number of the codebook",
    ConfigReg.PTR_BASE: (
        "column of the pointer SRAM that is the pass's column 0 (even where columns are in pairs); index-free: entry "
        "of the block table that is its block 0"
    ),
    ConfigReg.SPMAT_BASE: "word of the matrix SRAM that is the pass's word 0",
    ConfigReg.ACC_ROWS: "accumulators refilled from the activation SRAM",
    ConfigReg.ACC_BASE: "from this word on",
    ConfigReg.SRC_ROWS: "source activations refilled from the activation SRAM",
    ConfigReg.SRC_BASE: "from this word on",
    ConfigReg.ARITHMETIC: (
        "of an adder machine alone. bit 0: minima in place of products, less the sum of the inputs' magnitudes; bit 1: "
        "rows are scaled at write-back"
    ),
}


def markdown() -> str:
    """The tables of docs/programming.md: registers, their fields, pass table, header, error codes."""
    return _filled("registers.md").rstrip("\n")


def c_header(cfg: ArchConfig | None = None) -> str:
    """`eie_regs.h`: offsets, fields, header, spaces and error codes; with `cfg` that instance's constants as well."""
    return _filled("eie_regs.h", cfg=cfg, config_fields=config_fields(cfg) if cfg else ())


def system_rdl(cfg: ArchConfig, top: str) -> str:
    """An instance's registers in SystemRDL 2.0, as the address map `top`; IP-XACT and HTML come from there."""
    return _filled("eie_chip.rdl", cfg=cfg, config_fields=config_fields(cfg), top=top)


def _filled(template: str, **values: Any) -> str:
    """A template of eie/templates with this map, the packets' names, and these values."""
    return (
        templates("eie")
        .get_template(template)
        .render(
            **values,
            **{
                kind.__name__: kind
                for kind in (Reg, ErrorCode, Command, ConfigReg, IoSpace, PeCounter, WbTarget)
            },
            HEADER_FIELDS=HEADER_FIELDS,
            LITE_ADDR_BITS=LITE_ADDR_BITS,
            MAGIC=MAGIC,
            PASS_LINE=PASS_LINE,
            PASS_MEANINGS=PASS_MEANINGS,
            PASS_TABLE=PASS_TABLE,
            VERSION=VERSION,
        )
    )
