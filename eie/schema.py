"""The probe schema: every port and register of every block, declared once.

Golden registers and wires, Amaranth signatures, the wide probe outputs, waveforms and the lockstep comparison all
derive from these declarations; docs/architecture.md says what each signal means and docs/timing.md when it moves.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from eie.config import ArchConfig, bits_for


class Kind(enum.Enum):
    """What a field is in its block."""

    IN = "input"
    OUT = "combinational output"
    REG = "internal register"
    OUT_REG = "register that is an output"

    @property
    def is_register(self) -> bool:
        """Whether the field keeps its value between clock edges."""
        return self in (Kind.REG, Kind.OUT_REG)

    @property
    def is_port(self) -> bool:
        """Whether the field is a port of its block."""
        return self is not Kind.REG


@dataclass(frozen=True)
class Field:
    """One named signal of a block: width in bits, signedness, kind, and whether lockstep compares it."""

    name: str
    width: int
    kind: Kind
    signed: bool = False
    probed: bool = True


class IoSpace(enum.IntEnum):
    """Address spaces of the I/O port (`io_space`)."""

    CONFIG = 0
    SPMAT = 1
    PTR = 2
    CODEBOOK = 3
    ACC = 4
    ACT = 5
    COUNTER = 6
    CONTROL = 7
    ACT_SRAM = 8


IO_SPACE_BITS = 4


class ConfigReg(enum.IntEnum):
    """Registers of an entry of the CCU's pass table in `IoSpace.CONFIG`: address = pass << CONFIG_BITS | register."""

    PRODUCT_SHIFT = 0
    OUTPUT_SHIFT = 1
    RELU = 2
    WB_ROWS = 3
    WB_TARGET = 4
    WB_BASE = 5
    CODEBOOK = 6
    PTR_BASE = 7
    SPMAT_BASE = 8
    ACC_ROWS = 9
    ACC_BASE = 10
    SRC_ROWS = 11
    SRC_BASE = 12


class ControlReg(enum.IntEnum):
    """Registers of the CCU in `IoSpace.CONTROL`: the passes that a start runs, first to last."""

    FIRST_PASS = 0
    LAST_PASS = 1


class WbTarget(enum.IntFlag):
    """Where write-back puts an activation besides the accumulator file (`ConfigReg.WB_TARGET`)."""

    SRC = 1
    ACT_SRAM = 2


class PeCounter(enum.IntEnum):
    """Counters of one PE in `IoSpace.COUNTER`, in address order."""

    ENTRIES = 0
    FILLERS = 1
    EMPTY_COLUMNS = 2
    PTR_READS = 3
    SPMAT_READS = 4
    BYPASSES = 5
    SATURATIONS = 6
    WRITEBACK_SATURATIONS = 7


class Mode(enum.IntEnum):
    """Modes of the CCU."""

    IO = 0
    COMPUTE = 1
    WRITEBACK = 2
    REFILL = 3


COUNTER_BITS = 32
SHIFT_BITS = 5
LNZD_FAN_IN = 4
# The CCU's counters, ports of the array.
CCU_COUNTERS = ("cycles", "broadcast_stalls", "refill_cycles", "writeback_cycles")


def _in(name: str, width: int = 1, *, signed: bool = False, probed: bool = False) -> Field:
    # Inputs are somebody's outputs and compared there, unless no probe holds those (SRAM read data, the PEs' status).
    return Field(name, width, Kind.IN, signed, probed)


def _out(name: str, width: int = 1, *, signed: bool = False, probed: bool = True) -> Field:
    return Field(name, width, Kind.OUT, signed, probed)


def _reg(name: str, width: int = 1, *, signed: bool = False) -> Field:
    return Field(name, width, Kind.REG, signed)


def _outreg(name: str, width: int = 1, *, signed: bool = False) -> Field:
    return Field(name, width, Kind.OUT_REG, signed)


def _count(cfg: ArchConfig, name: str, kind: Kind = Kind.OUT_REG) -> Field:
    # Without counters in hardware the port is there and 0; golden counts all the same.
    return Field(name, COUNTER_BITS, kind, probed=bool(cfg.counters))


def _counter(cfg: ArchConfig, counter: PeCounter) -> Field:
    return _count(cfg, counter.name.lower())


def config_fields(cfg: ArchConfig) -> tuple[Field, ...]:
    """The registers of an entry of the pass table, in the order of `ConfigReg`: outputs of the CCU."""
    widths = {
        ConfigReg.PRODUCT_SHIFT: SHIFT_BITS,
        ConfigReg.OUTPUT_SHIFT: SHIFT_BITS,
        ConfigReg.RELU: 1,
        ConfigReg.WB_ROWS: cfg.acc_addr_bits + 1,
        ConfigReg.WB_TARGET: 2,
        ConfigReg.WB_BASE: cfg.act_sram_addr_bits,
        ConfigReg.CODEBOOK: cfg.codebook_bits,
        ConfigReg.PTR_BASE: cfg.ptr_addr_bits + 1,
        ConfigReg.SPMAT_BASE: cfg.word_addr_bits,
        ConfigReg.ACC_ROWS: cfg.acc_addr_bits + 1,
        ConfigReg.ACC_BASE: cfg.act_sram_addr_bits,
        ConfigReg.SRC_ROWS: cfg.src_addr_bits + 1,
        ConfigReg.SRC_BASE: cfg.act_sram_addr_bits,
    }
    return tuple(_out(register.name.lower(), width) for register, width in widths.items())


def _refill(cfg: ArchConfig) -> tuple[Field, ...]:
    return (
        _in("rf_en"),
        _in("rf_src"),
        _in("rf_row", cfg.file_addr_bits),
        _in("rf_addr", cfg.act_sram_addr_bits),
        _in("wb_target", 2),
        _in("wb_addr", cfg.act_sram_addr_bits),
    )


def _io(cfg: ArchConfig, *strobes: str) -> tuple[Field, ...]:
    return (
        *(_in(strobe) for strobe in strobes),
        _in("io_addr", cfg.io_addr_bits),
        _in("io_data", cfg.io_data_bits),
    )


def _sram(prefix: str, addr_bits: int, width: int) -> tuple[Field, ...]:
    return (
        _out(f"{prefix}_en"),
        _out(f"{prefix}_we"),
        _out(f"{prefix}_addr", addr_bits),
        _out(f"{prefix}_wdata", width),
        _in(f"{prefix}_rdata", width, probed=True),
    )


def _act_queue(cfg: ArchConfig) -> tuple[Field, ...]:
    return (
        _in("bcast"),
        _in("push"),
        _in("push_col", cfg.col_bits),
        _in("push_value", cfg.act_bits, signed=True),
        _in("pop"),
        _in("start"),
        _out("head_valid"),
        _out("head_col", cfg.col_bits),
        _out("head_value", cfg.act_bits, signed=True),
        _out("credit"),
        _reg("wr_ptr", bits_for(cfg.queue_depth - 1)),
        _reg("rd_ptr", bits_for(cfg.queue_depth - 1)),
        _reg("count", cfg.occupancy_bits),
        _outreg("occupancy", cfg.occupancy_bits),
    )


def _ptr_read(cfg: ArchConfig) -> tuple[Field, ...]:
    return (
        _in("clear"),
        _in("head_valid"),
        _in("head_col", cfg.col_bits),
        _in("head_value", cfg.act_bits, signed=True),
        _in("start"),
        *_io(cfg, "io_write", "io_read"),
        *_sram("even", cfg.ptr_addr_bits, cfg.pointer_bits),
        *_sram("odd", cfg.ptr_addr_bits, cfg.pointer_bits),
        _out("pop"),
        _out("p_start", cfg.pointer_bits),
        _out("p_end", cfg.pointer_bits),
        _outreg("valid"),
        _outreg("value", cfg.act_bits, signed=True),
        _reg("odd"),
        _counter(cfg, PeCounter.PTR_READS),
    )


def _spmat_read(cfg: ArchConfig) -> tuple[Field, ...]:
    return (
        _in("clear"),
        _in("begin_pass"),
        _in("spmat_base", cfg.word_addr_bits),
        _in("ptr_valid"),
        _in("p_start", cfg.pointer_bits),
        _in("p_end", cfg.pointer_bits),
        _in("ptr_value", cfg.act_bits, signed=True),
        *_io(cfg, "io_write", "io_read"),
        *_sram("spmat", cfg.word_addr_bits, cfg.word_bits),
        _out("start"),
        _out("issue"),
        _out("read"),
        _out("v", cfg.weight_bits),
        _out("z", cfg.index_bits),
        _outreg("active"),
        _reg("current", cfg.pointer_bits),
        _reg("stop", cfg.pointer_bits),
        _reg("value", cfg.act_bits, signed=True),
        _reg("held_valid"),
        _reg("held_addr", cfg.word_addr_bits),
        _outreg("tok_valid"),
        _outreg("tok_empty"),
        _outreg("tok_first"),
        _outreg("tok_value", cfg.act_bits, signed=True),
        _reg("tok_sel", max(1, cfg.sel_bits)),
        _counter(cfg, PeCounter.ENTRIES),
        _counter(cfg, PeCounter.EMPTY_COLUMNS),
        _counter(cfg, PeCounter.SPMAT_READS),
    )


def _arithm_unit(cfg: ArchConfig) -> tuple[Field, ...]:
    return (
        _in("clear"),
        _in("tok_valid"),
        _in("tok_empty"),
        _in("tok_first"),
        _in("tok_value", cfg.act_bits, signed=True),
        _in("v", cfg.weight_bits),
        _in("z", cfg.index_bits),
        _in("acc_rdata", cfg.acc_bits, signed=True),
        _in("product_shift", SHIFT_BITS),
        _in("codebook", cfg.codebook_bits),
        *_io(cfg, "io_write"),
        _out("code_rdata", cfg.code_bits, signed=True),
        _out("forward2"),
        _out("forward1"),
        _outreg("s2_valid"),
        _reg("s2_write"),
        _reg("s2_code", cfg.code_bits, signed=True),
        _reg("s2_value", cfg.act_bits, signed=True),
        _outreg("s2_row", cfg.acc_addr_bits),
        _outreg("s3_valid"),
        _reg("s3_write"),
        _reg("s3_product", cfg.product_bits, signed=True),
        _reg("s3_operand", cfg.acc_bits, signed=True),
        _reg("s3_forwarded"),
        _reg("s3_row", cfg.acc_addr_bits),
        _outreg("s4_valid"),
        _outreg("s4_write"),
        _outreg("s4_row", cfg.acc_addr_bits),
        _outreg("s4_sum", cfg.acc_bits, signed=True),
        _counter(cfg, PeCounter.FILLERS),
        _counter(cfg, PeCounter.BYPASSES),
        _counter(cfg, PeCounter.SATURATIONS),
    )


def _act_rw(cfg: ArchConfig) -> tuple[Field, ...]:
    return (
        _in("clear"),
        _in("leaf_pop"),
        _in("s2_valid"),
        _in("s2_row", cfg.acc_addr_bits),
        _in("s4_write"),
        _in("s4_row", cfg.acc_addr_bits),
        _in("s4_sum", cfg.acc_bits, signed=True),
        _in("wb_en"),
        _in("wb_row", cfg.acc_addr_bits),
        _in("relu"),
        _in("output_shift", SHIFT_BITS),
        *_refill(cfg),
        *_io(cfg, "io_write_acc", "io_write_act", "io_write_sram", "io_read_sram"),
        *_sram("act", cfg.act_sram_addr_bits, cfg.acc_bits),
        _out("leaf_valid"),
        _out("leaf_row", cfg.src_addr_bits),
        _out("leaf_value", cfg.act_bits, signed=True),
        _out("acc_rdata", cfg.acc_bits, signed=True),
        _out("y_value", cfg.act_bits, signed=True),
        _reg("pending", cfg.src_depth),
        _reg("y_valid"),
        _reg("y_row", cfg.acc_addr_bits),
        _reg("y_acc", cfg.acc_bits, signed=True),
        _reg("rf_valid"),
        _reg("rf_to_src"),
        _reg("rf_at", cfg.file_addr_bits),
        _counter(cfg, PeCounter.WRITEBACK_SATURATIONS),
    )


def _pe(cfg: ArchConfig) -> tuple[Field, ...]:
    # A PE has no register of its own: its blocks' are compared.
    return (
        _in("bcast"),
        _in("push"),
        _in("push_col", cfg.col_bits),
        _in("push_value", cfg.act_bits, signed=True),
        _in("clear"),
        _in("begin_pass"),
        _in("leaf_pop"),
        _in("wb_en"),
        _in("wb_row", cfg.acc_addr_bits),
        _in("relu"),
        _in("product_shift", SHIFT_BITS),
        _in("output_shift", SHIFT_BITS),
        _in("codebook", cfg.codebook_bits),
        _in("spmat_base", cfg.word_addr_bits),
        *_refill(cfg),
        *_io(cfg, "io_write", "io_read"),
        _in("io_space", IO_SPACE_BITS),
        *_sram("even", cfg.ptr_addr_bits, cfg.pointer_bits),
        *_sram("odd", cfg.ptr_addr_bits, cfg.pointer_bits),
        *_sram("spmat", cfg.word_addr_bits, cfg.word_bits),
        *_sram("act", cfg.act_sram_addr_bits, cfg.acc_bits),
        _out("leaf_valid"),
        _out("leaf_row", cfg.src_addr_bits),
        _out("leaf_value", cfg.act_bits, signed=True),
        _out("credit"),
        _out("busy"),
        _out("retire"),
        _out("io_rdata", cfg.io_data_bits),
    )


def _lnzd(cfg: ArchConfig) -> tuple[Field, ...]:
    entry = (
        ("row", cfg.src_addr_bits, False),
        ("pe", cfg.pe_bits, False),
        ("value", cfg.act_bits, True),
    )
    children = [
        field
        for child in range(LNZD_FAN_IN)
        for field in (
            _in(f"child{child}_valid"),
            _in(f"child{child}_exhausted"),
            *(_in(f"child{child}_{name}", width, signed=signed) for name, width, signed in entry),
        )
    ]
    return (
        _in("begin_pass"),
        _in("compute"),
        _in("pop"),
        *children,
        _out("child_pop", LNZD_FAN_IN),
        _outreg("valid"),
        _outreg("exhausted"),
        *(_outreg(name, width, signed=signed) for name, width, signed in entry),
    )


def _ccu(cfg: ArchConfig) -> tuple[Field, ...]:
    bus = [
        field
        for stage in range(cfg.bus_registers)
        for field in (
            _reg(f"bus{stage}_valid"),
            _reg(f"bus{stage}_col", cfg.col_bits),
            _reg(f"bus{stage}_value", cfg.act_bits, signed=True),
        )
    ]
    return (
        _in("start"),
        _in("root_valid"),
        _in("root_exhausted"),
        _in("root_row", cfg.src_addr_bits),
        _in("root_pe", cfg.pe_bits),
        _in("root_value", cfg.act_bits, signed=True),
        _in("credits", cfg.n_pe, probed=True),
        _in("busy_pes", cfg.n_pe, probed=True),
        _in("retires", cfg.n_pe, probed=True),
        *_io(cfg, "io_write", "io_read"),
        _in("io_space", IO_SPACE_BITS),
        _in("io_pe", cfg.pe_bits),
        _in("pe_rdata", cfg.io_data_bits * cfg.n_pe),
        _out("clear"),
        _out("begin_pass"),
        _out("compute"),
        _out("bcast"),
        _out("push"),
        _out("push_col", cfg.col_bits),
        _out("push_value", cfg.act_bits, signed=True),
        _out("pe_write", cfg.n_pe),
        _out("pe_read", cfg.n_pe),
        _out("wb_en"),
        _out("busy"),
        *config_fields(cfg),
        _out("rf_en"),
        _out("rf_addr", cfg.act_sram_addr_bits),
        _outreg("rf_src"),
        _outreg("rf_row", cfg.file_addr_bits + 1),
        _outreg("mode", 2),
        _outreg("wb_row", cfg.acc_addr_bits + 1),
        _outreg("wb_addr", cfg.act_sram_addr_bits),
        _outreg("done"),
        *(_count(cfg, name) for name in CCU_COUNTERS),
        _outreg("io_rdata", cfg.io_data_bits),
        _count(cfg, "cycle", Kind.REG),
        _reg("first_pass", cfg.pass_bits),
        _reg("last_pass", cfg.pass_bits),
        _outreg("current_pass", cfg.pass_bits),
        *bus,
    )


def _array(cfg: ArchConfig) -> tuple[Field, ...]:
    return (
        _in("start"),
        *_io(cfg, "io_write", "io_read"),
        _in("io_space", IO_SPACE_BITS),
        _in("io_pe", cfg.pe_bits),
        _out("busy"),
        _out("done"),
        _out("current_pass", cfg.pass_bits),
        *(_count(cfg, name, Kind.OUT) for name in CCU_COUNTERS),
        _out("io_rdata", cfg.io_data_bits),
    )


_BLOCKS: dict[str, Callable[[ArchConfig], tuple[Field, ...]]] = {
    "act_queue": _act_queue,
    "ptr_read": _ptr_read,
    "spmat_read": _spmat_read,
    "arithm_unit": _arithm_unit,
    "act_rw": _act_rw,
    "pe": _pe,
    "lnzd": _lnzd,
    "ccu": _ccu,
    "array": _array,
}

BLOCK_NAMES = tuple(_BLOCKS)
PE_BLOCKS = ("act_queue", "ptr_read", "spmat_read", "arithm_unit", "act_rw")


@lru_cache(maxsize=256)
def fields(block: str, cfg: ArchConfig) -> tuple[Field, ...]:
    """Ports and registers of `block` (a name in `BLOCK_NAMES`), in declaration order."""
    return _BLOCKS[block](cfg)


def lnzd_nodes(cfg: ArchConfig) -> tuple[int, ...]:
    """Nodes on each level of the LNZD tree, leaves' parents first; the last level is the root.

    >>> lnzd_nodes(ArchConfig(n_pe=64)), lnzd_nodes(ArchConfig(n_pe=8))
    ((16, 4, 1), (2, 1))
    """
    return tuple(-(-cfg.n_pe // LNZD_FAN_IN ** (level + 1)) for level in range(cfg.tree_levels))


@dataclass(frozen=True)
class ProbeField:
    """A field in a wide probe output: which block instance it belongs to, and its lowest bit."""

    instance: str
    field: Field
    low: int

    @property
    def name(self) -> str:
        """Instance and signal, as in waveforms and mismatch reports."""
        return f"{self.instance}.{self.field.name}"


def _lay_out(cfg: ArchConfig, instances: Iterable[tuple[str, str]]) -> tuple[ProbeField, ...]:
    placed, low = [], 0
    for instance, block in instances:
        for field in fields(block, cfg):
            if field.probed:
                placed.append(ProbeField(instance, field, low))
                low += field.width
    return tuple(placed)


@lru_cache(maxsize=256)
def block_probe(block: str, cfg: ArchConfig) -> tuple[ProbeField, ...]:
    """The probed fields of one block by itself, lowest bit first."""
    return _lay_out(cfg, [(block, block)])


@lru_cache(maxsize=256)
def pe_probe(cfg: ArchConfig) -> tuple[ProbeField, ...]:
    """The probed fields of one PE, block after block, lowest bit first."""
    return _lay_out(cfg, [(block, block) for block in PE_BLOCKS])


@lru_cache(maxsize=256)
def ccu_probe(cfg: ArchConfig) -> tuple[ProbeField, ...]:
    """The probed fields of the CCU and of every LNZD node (`lnzd_<level>_<index>`), lowest bit first."""
    nodes = [(f"lnzd_{level}_{i}", "lnzd") for level, n in enumerate(lnzd_nodes(cfg)) for i in range(n)]
    return _lay_out(cfg, [("ccu", "ccu"), *nodes])


def probe_width(probe: tuple[ProbeField, ...]) -> int:
    """Bits of a wide probe output."""
    return probe[-1].low + probe[-1].field.width


def unpack_probe(probe: tuple[ProbeField, ...], word: int) -> Iterator[tuple[ProbeField, int]]:
    """Each field of a probe with its value (signed where the field is) in the packed `word`."""
    for place in probe:
        width = place.field.width
        value = (word >> place.low) & ((1 << width) - 1)
        if place.field.signed and value >> (width - 1):
            value -= 1 << width
        yield place, value
