"""The probe schema: every port and register of every block, declared once.

Each block is a class whose constructor gives it its signals, one line each: what the signal is, and how wide. A golden
block derives from that class, so its wires and registers are these very members; Amaranth signatures, the wide probe
outputs, waveforms and the lockstep comparison take the same declarations as `fields`. docs/architecture.md says what
each signal means and docs/timing.md when it moves.
"""

from __future__ import annotations

import enum
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, ClassVar

from mypy_extensions import mypyc_attr, trait

from eie.config import SUM_BITS, ArchConfig, bits_for


class Kind(enum.Enum):
    """What a field is in its block."""

    IN = "input"
    OUT = "combinational output"
    REG = "internal register"
    OUT_REG = "register that is an output"

    # A kind is hashed whenever a signal is made, and Enum's own hash is a call in Python.
    __hash__ = object.__hash__

    @property
    def is_register(self) -> bool:
        """Whether the field keeps its value between clock edges."""
        return self in (Kind.REG, Kind.OUT_REG)

    @property
    def is_port(self) -> bool:
        """Whether the field is a port of its block."""
        return self is not Kind.REG


@mypyc_attr(native_class=False)
@dataclass(frozen=True)
class Field:
    """One named signal of a block: width in bits, signedness, kind, and whether lockstep compares it."""

    name: str
    width: int
    kind: Kind
    signed: bool = False
    probed: bool = True


# Machines differ in few fields: one of each, which all share.
_field = cache(Field)

# Width, kind, signed and probed, as in `Field`.
Declared = tuple[int, Kind, bool, bool]
# One of each, which all signals that are declared alike share: the small signals of 64 PEs then stay in the cache.
_declared: dict[Declared, Declared] = {}


class Wire:
    """A combinational signal: as it is declared, and its value in the golden model.

    Members: value, an int, negative where the signal is signed (a bool for one bit will do); declared, what it is.
    """

    __slots__ = ("declared", "made", "value")

    def __init__(
        self, width: int = 1, kind: Kind = Kind.OUT, *, signed: bool = False, probed: bool = True
    ) -> None:
        self.value = 0
        self.made = next(_numbers)
        declared = (width, kind, signed, probed)
        self.declared = _declared.setdefault(declared, declared)

    @property
    def width(self) -> int:
        """Bits."""
        return self.declared[0]

    @property
    def kind(self) -> Kind:
        """As in `Field`."""
        return self.declared[1]

    @property
    def signed(self) -> bool:
        """As in `Field`."""
        return self.declared[2]

    @property
    def probed(self) -> bool:
        """As in `Field`."""
        return self.declared[3]

    @property
    def mask(self) -> int:
        """All bits of the signal, to cut a sum or an address to its width."""
        return (1 << self.width) - 1

    def __bool__(self) -> bool:
        raise TypeError(f"a {type(self).__name__} is neither true nor false: compare its .value")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({int(self.value)})"


class Reg(Wire):
    """A register: `value` is what it holds, `next` what it takes at the clock edge."""

    __slots__ = ("next",)

    def __init__(
        self, width: int = 1, kind: Kind = Kind.REG, *, signed: bool = False, probed: bool = True
    ) -> None:
        super().__init__(width, kind, signed=signed, probed=probed)
        self.next = 0


class Bundle:
    """Signals that belong together: members that are a `Wire`, a bundle, or a list of bundles, in this order.

    A signal is called as its member; in a bundle inside a block, `<prefix>_<member>`. A signal of 0 bits is not there:
    golden may use it all the same, it is 0 for good.
    """

    prefix = ""


# Signals are numbered as they are made where `members` asks for it: of compiled classes. In the text numbers would take
# a third of the memory of its small signals.
_numbers: Iterator[int] = itertools.count() if hasattr(Bundle, "__mypyc_attrs__") else itertools.repeat(0)

# Where a signal is in its block: names of members, numbers in lists.
Path = tuple[str | int, ...]


def members(bundle: Bundle) -> list[tuple[str, Any]]:
    """The signals, bundles and lists of bundles of a bundle, in the order in which its constructor makes them."""
    names: Sequence[str] | None = getattr(type(bundle), "__mypyc_attrs__", None)
    if names is None:
        return [(name, member) for name, member in vars(bundle).items() if _made(member) >= 0]
    # A compiled class has no dictionary, but a list of its attributes, in an order of its own.
    found = [
        (_made(member), name, member) for name in names if (member := getattr(bundle, name, None)) is not None
    ]
    return [(name, member) for number, name, member in sorted(found, key=lambda one: one[0]) if number >= 0]


def _made(member: Any) -> int:
    """The number of a member's first signal; -1 if it has none."""
    if isinstance(member, Wire):
        return member.made
    if isinstance(member, Bundle):
        first = members(member)
        return _made(first[0][1]) if first else -1
    return _made(member[0]) if isinstance(member, list) and member else -1


def _signals(bundle: Bundle, path: Path = ()) -> Iterator[tuple[str, Path, Wire]]:
    """Name, path and signal of each signal of a bundle."""
    start = f"{bundle.prefix}_" if bundle.prefix else ""
    for name, member in members(bundle):
        if isinstance(member, Wire):
            if member.width:
                yield f"{start}{name}", (*path, name), member
        elif isinstance(member, Bundle):
            yield from _signals(member, (*path, name))
        elif isinstance(member, list):
            for number, part in enumerate(member):
                yield from _signals(part, (*path, name, number))


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
    ARITHMETIC = 13


class Arithmetic(enum.IntFlag):
    """What an adder machine does otherwise in a pass (`ConfigReg.ARITHMETIC`, docs/adder.md)."""

    MIN = 1
    SCALE = 2


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
    ISSUE_CYCLES = 8


def pe_counters(cfg: ArchConfig) -> tuple[PeCounter, ...]:
    """The counters that the hardware has: ISSUE_CYCLES where a PE may take more than one entry a cycle."""
    return tuple(counter for counter in PeCounter if counter is not PeCounter.ISSUE_CYCLES or cfg.issue > 1)


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


def _in(width: int = 1, *, signed: bool = False, probed: bool = False) -> Wire:
    # Inputs are somebody's outputs and compared there, unless no probe holds those (SRAM read data, the PEs' status).
    return Wire(width, Kind.IN, signed=signed, probed=probed)


def _out(width: int = 1, *, signed: bool = False, probed: bool = True) -> Wire:
    return Wire(width, Kind.OUT, signed=signed, probed=probed)


def _reg(width: int = 1, *, signed: bool = False) -> Reg:
    return Reg(width, Kind.REG, signed=signed)


def _outreg(width: int = 1, *, signed: bool = False) -> Reg:
    return Reg(width, Kind.OUT_REG, signed=signed)


def _arithmetic_bits(cfg: ArchConfig) -> int:
    return 2 * cfg.adder


def _count(cfg: ArchConfig, kind: Kind = Kind.OUT_REG, *, there: bool = True) -> Reg:
    # Without counters in hardware the port is there and 0; golden counts all the same.
    return Reg(COUNTER_BITS if there else 0, kind, probed=bool(cfg.counters))


class SramPort(Bundle):
    """The port of an SRAM beside a PE, `<prefix>_en` and so on."""

    def __init__(self, prefix: str, addr_bits: int, width: int) -> None:
        self.prefix = prefix
        self.en = _out()
        self.we = _out()
        self.addr = _out(addr_bits)
        self.wdata = _out(width)
        self.rdata = _in(width, probed=True)


def pointer_srams(cfg: ArchConfig) -> tuple[str, ...]:
    """Names of the pointer SRAMs: banks of even and odd columns, or one of pairs; none without pointers."""
    if cfg.index_free:
        return ()
    return ("even", "odd") if cfg.group == 1 else ("ptr",)


def _pointer_ports(cfg: ArchConfig) -> list[SramPort]:
    return [SramPort(name, cfg.ptr_addr_bits, cfg.ptr_word_bits) for name in pointer_srams(cfg)]


class Offer(Bundle):
    """What a leaf or a node of the LNZD tree offers to its parent: an entry, or that there will be none again."""

    def __init__(self, prefix: str, cfg: ArchConfig) -> None:
        self.prefix = prefix
        self.valid = _in()
        self.exhausted = _in()
        self.row = _in(cfg.src_addr_bits)
        self.pe = _in(cfg.leaf_bits)
        self.value = _in(cfg.act_bits, signed=True)
        self.value1 = _in(cfg.act1_bits, signed=True)


class BusStage(Bundle):
    """One register of the broadcast bus."""

    def __init__(self, prefix: str, cfg: ArchConfig) -> None:
        self.prefix = prefix
        self.valid = _reg()
        self.col = _reg(cfg.col_bits)
        self.value = _reg(cfg.act_bits, signed=True)
        self.value1 = _reg(cfg.act1_bits, signed=True)


class Slot(Bundle):
    """A word in the window: which of its entries are left, and what they are multiplied with.

    kept : the word stands here, and not on the SRAM's output.
    """

    def __init__(self, prefix: str, cfg: ArchConfig, *, kept: bool) -> None:
        self.prefix = prefix
        self.pos = _reg(cfg.place_count_bits)
        self.end = _reg(cfg.place_count_bits)
        self.split = _reg(cfg.place_count_bits * (cfg.group == 2))
        self.value = _reg(cfg.act_bits, signed=True)
        self.value1 = _reg(cfg.act1_bits, signed=True)
        self.null = _reg(int(not cfg.filter_empty))
        self.fresh = _reg(int(cfg.relative))
        self.turn = _reg(int(cfg.relative and cfg.group == 2))
        self.row = _reg(cfg.acc_addr_bits * cfg.index_free)
        self.word = _reg(cfg.entries_per_word * cfg.entry_bits * kept)


class Token(Bundle):
    """What a lane takes in a cycle. Lane 0's are the block's own signals."""

    def __init__(self, prefix: str, cfg: ArchConfig, make: Callable[..., Wire]) -> None:
        self.prefix = prefix
        self.tok_valid = make()
        self.tok_value = make(cfg.act_bits, signed=True)
        self.v = make(cfg.weight_bits)
        self.z = make(cfg.z_bits)


@trait
class Stages:
    """Stages 1 to 4 of a lane of the arithmetic unit: a part of its bundle."""

    def add_stages(self, cfg: ArchConfig, *, first: bool) -> None:
        """Add them; first : those of lane 0, of which more is seen outside."""
        valid = _outreg if first else _reg
        looked = cfg.lookup_register
        self.s1_valid = valid(looked)
        self.s1_empty = _reg(looked * first)
        self.s1_first = _reg(looked * (first and cfg.relative))
        self.s1_value = _reg(looked * cfg.act_bits, signed=True)
        self.s1_v = _reg(looked * cfg.weight_bits)
        self.s1_z = _reg(looked * min(cfg.z_bits, cfg.acc_addr_bits))
        self.code_rdata = _out(cfg.code_bits, signed=True)
        self.forward2 = _out()
        self.forward1 = _out()
        self.s2_valid = _outreg()
        self.s2_write = _reg()
        self.s2_code = _reg(cfg.code_bits, signed=True)
        self.s2_value = _reg(cfg.act_bits, signed=True)
        self.s2_row = _outreg(cfg.acc_addr_bits)
        self.s3_valid = valid()
        self.s3_write = _reg()
        self.s3_product = _reg(cfg.product_bits, signed=True)
        self.s3_operand = _reg(cfg.acc_bits, signed=True)
        self.s3_forwarded = _reg()
        self.s3_row = _reg(cfg.acc_addr_bits)
        self.s4_valid = valid()
        self.s4_write = _outreg()
        self.s4_row = _outreg(cfg.acc_addr_bits)
        self.s4_sum = _outreg(cfg.acc_bits, signed=True)
        self.s4_clipped = _reg(int(cfg.issue > 1))


class ArithmLane(Token, Stages):
    """A further lane of the arithmetic unit."""

    def __init__(self, prefix: str, cfg: ArchConfig) -> None:
        super().__init__(prefix, cfg, _in)
        self.tok_empty = _in(0)
        self.tok_first = _in(0)
        self.acc_rdata = _in(cfg.acc_bits, signed=True)
        self.add_stages(cfg, first=False)


class AccLane(Bundle):
    """A further lane's ports of the accumulator file."""

    def __init__(self, prefix: str, cfg: ArchConfig) -> None:
        self.prefix = prefix
        self.s2_valid = _in()
        self.s2_row = _in(cfg.acc_addr_bits)
        self.s4_write = _in()
        self.s4_row = _in(cfg.acc_addr_bits)
        self.s4_sum = _in(cfg.acc_bits, signed=True)
        self.acc_rdata = _out(cfg.acc_bits, signed=True)


def _further(cfg: ArchConfig) -> Iterator[str]:
    """Prefixes of the lanes but for the first."""
    return (f"lane{lane}" for lane in range(1, cfg.issue))


# Bits of a piece: where golden is compiled, its integers up to this are machine words.
_PIECE_BITS = 62


class Place:
    """A signal's place in a piece: its mask and its lowest bit there."""

    def __init__(self, signal: Wire, low: int) -> None:
        self.signal, self.mask, self.low = signal, signal.mask, low


class Piece:
    """Signals side by side in a packed word, or one wide signal; low : the lowest bit of them all."""

    def __init__(self, low: int) -> None:
        self.low = low
        self.places: list[Place] = []


def pack(pieces: Iterable[Piece]) -> int:
    """The signals' values in one word, two's complement where negative."""
    word = 0
    for piece in pieces:
        part = 0
        for place in piece.places:
            part |= (place.signal.value & place.mask) << place.low
        word |= part << piece.low
    return word


def pieces_of(probe: Sequence[ProbeField], instances: Mapping[str, BlockSignals]) -> list[Piece]:
    """Where each signal of `instances` goes in the word that a `probe` describes."""
    pieces: list[Piece] = []
    for place in probe:
        if not pieces or place.low + place.field.width - pieces[-1].low > _PIECE_BITS:
            pieces.append(Piece(place.low))
        signal = instances[place.instance].signal(place.field.name)
        pieces[-1].places.append(Place(signal, place.low - pieces[-1].low))
    return pieces


def _follow(owner: Any, path: Iterable[str | int]) -> Any:
    """What is at the end of a path (see `paths`) that begins at `owner`."""
    for step in path:
        owner = owner[step] if isinstance(step, int) else getattr(owner, step)
    return owner


class BlockSignals(Bundle):
    """The ports and registers of a block of this configuration, and what every block of golden does with them.

    Inputs are wires of the block's own until `connect` puts other blocks' signals in their place, so that a bench can
    drive a block by itself: set `.value` of the inputs, `propagate()`, read, `update()`.

    Members: NAME, the block's. A golden block has its own `outputs`, `next_state` and, with memories, `write_memories`.
    """

    NAME: ClassVar[str]

    def __init__(self, cfg: ArchConfig) -> None:
        pass

    def begin(self, cfg: ArchConfig) -> None:
        """What a golden block does first, once its signals are there."""
        self.cfg = cfg
        self.fields = fields(self.NAME, cfg)
        self.paths = paths(self.NAME, cfg)
        registers = self.signals(Kind.REG, Kind.OUT_REG).values()
        self.registers: list[Reg] = [register for register in registers if isinstance(register, Reg)]
        self.probe_pieces: list[Piece] | None = None

    def signal(self, name: str) -> Wire:
        """The wire or register of the field called `name`."""
        signal: Wire = _follow(self, self.paths[name])
        return signal

    def signals(self, *kinds: Kind) -> dict[str, Wire]:
        """Wires and registers by the names of their fields: all of them, or those of some kinds."""
        return {
            field.name: self.signal(field.name) for field in self.fields if not kinds or field.kind in kinds
        }

    def sram_port(self, prefix: str) -> SramPort:
        """The port whose signals are called `<prefix>_en` and so on."""
        *path, _ = self.paths[f"{prefix}_en"]
        port: SramPort = _follow(self, path)
        return port

    def connect(self, signals: Mapping[str, Wire], kind: Kind = Kind.IN) -> None:
        """Put the signal of the same name in the place of every input, or of every field of another kind.

        Raises
        ------
        KeyError : there is no signal of that name.
        """
        for field in self.fields:
            if field.kind is kind:
                *path, member = self.paths[field.name]
                setattr(_follow(self, path), str(member), signals[field.name])

    # ---- the clock cycle -----------------------------------------------------------------------------------

    def outputs(self) -> None:
        """Compute the combinational outputs."""
        raise NotImplementedError

    def next_state(self) -> None:
        """Compute the registers' next values, once inputs and outputs are settled."""
        raise NotImplementedError

    def write_memories(self) -> None:
        """Write the block's memories, at the clock edge and before the registers change."""

    def propagate(self) -> None:
        """Compute outputs and next state from inputs and present state."""
        self.outputs()
        self.next_state()

    def update(self) -> None:
        """One clock edge."""
        self.write_memories()
        for register in self.registers:
            register.value = register.next

    def step(self) -> None:
        """One clock cycle: propagate, then update."""
        self.propagate()
        self.update()

    # ---- the probe -----------------------------------------------------------------------------------------

    def layout(self) -> list[Piece]:
        """Where the block's probed fields go in its probe."""
        return pieces_of(block_probe(self.NAME, self.cfg), {self.NAME: self})

    def probe(self) -> int:
        """The block's probed fields, packed as `block_probe`; valid between propagate and update."""
        if self.probe_pieces is None:
            self.probe_pieces = self.layout()
        return pack(self.probe_pieces)


@trait
class HostAccess:
    """The I/O port at a block with SRAMs, and theirs."""

    def _add_io(self, cfg: ArchConfig) -> None:
        self.io_write = _in()
        self.io_read = _in()
        self.io_addr = _in(cfg.io_addr_bits)
        self.io_data = _in(cfg.io_data_bits)

    def add_pointer_ports(self, cfg: ArchConfig) -> None:
        """Add the I/O port and those of the pointer SRAMs."""
        self._add_io(cfg)
        self.ptr_ports = _pointer_ports(cfg)

    def add_matrix_port(self, cfg: ArchConfig) -> None:
        """Add the I/O port and the matrix SRAM's."""
        self._add_io(cfg)
        self.spmat_port = SramPort("spmat", cfg.word_addr_bits, cfg.word_bits)


class ActQueue(BlockSignals):
    """FIFO of broadcast columns, or groups of columns."""

    NAME = "act_queue"

    def __init__(self, cfg: ArchConfig) -> None:
        self.bcast = _in()
        self.push = _in()
        self.push_col = _in(cfg.col_bits)
        self.push_value = _in(cfg.act_bits, signed=True)
        self.push_value1 = _in(cfg.act1_bits, signed=True)
        self.pop = _in()
        self.start = _in()
        self.head_valid = _out()
        self.head_col = _out(cfg.col_bits)
        self.head_value = _out(cfg.act_bits, signed=True)
        self.head_value1 = _out(cfg.act1_bits, signed=True)
        self.credit = _out()
        self.wr_ptr = _reg(bits_for(cfg.queue_depth - 1))
        self.rd_ptr = _reg(bits_for(cfg.queue_depth - 1))
        self.count = _reg(cfg.occupancy_bits)
        self.occupancy = _outreg(cfg.occupancy_bits)


class RunQueue(BlockSignals):
    """FIFO of runs, behind PtrRead (`filter_empty`)."""

    NAME = "act_queue"

    def __init__(self, cfg: ArchConfig) -> None:
        self.bcast = _in()
        self.keep = _in()
        self.p_start = _in(cfg.run_bits)
        self.p_count = _in(cfg.length_bits)
        self.p_count1 = _in(cfg.length1_bits)
        self.p_row = _in(cfg.acc_addr_bits * cfg.index_free)
        self.value = _in(cfg.act_bits, signed=True)
        self.value1 = _in(cfg.act1_bits, signed=True)
        self.drop = _in()
        self.start = _in()
        self.head_valid = _out()
        self.head_start = _outreg(cfg.run_bits)
        self.head_count = _outreg(cfg.length_bits)
        self.head_count1 = _outreg(cfg.length1_bits)
        self.head_row = _outreg(cfg.acc_addr_bits * cfg.index_free)
        self.head_value = _outreg(cfg.act_bits, signed=True)
        self.head_value1 = _outreg(cfg.act1_bits, signed=True)
        self.credit = _out()
        # The head has a register of its own.
        self.wr_ptr = _reg(bits_for(cfg.queue_depth - 2))
        self.rd_ptr = _reg(bits_for(cfg.queue_depth - 2))
        self.count = _reg(cfg.occupancy_bits)
        self.occupancy = _outreg(cfg.occupancy_bits)


class PtrRead(BlockSignals, HostAccess):
    """Both pointers of a column in one read."""

    NAME = "ptr_read"

    def __init__(self, cfg: ArchConfig) -> None:
        self.clear = _in()
        self.head_valid = _in()
        self.head_col = _in(cfg.col_bits)
        self.head_value = _in(cfg.act_bits, signed=True)
        self.start = _in()
        self.add_pointer_ports(cfg)
        self.pop = _out()
        self.p_start = _out(cfg.pointer_bits)
        self.p_end = _out(cfg.pointer_bits)
        self.valid = _outreg()
        self.value = _outreg(cfg.act_bits, signed=True)
        self.odd = _reg()
        self.ptr_reads = _count(cfg)


class RunRead(BlockSignals, HostAccess):
    """Where a group's run begins and how many entries it has, in one read: PtrRead of a window PE."""

    NAME = "ptr_read"

    def __init__(self, cfg: ArchConfig) -> None:
        behind, before = int(not cfg.filter_empty), int(cfg.filter_empty)
        self.clear = _in()
        self.push = _in(before)
        self.push_col = _in(cfg.col_bits * before)
        self.push_value = _in(cfg.act_bits * before, signed=True)
        self.push_value1 = _in(cfg.act1_bits * before, signed=True)
        self.head_valid = _in(behind)
        self.head_col = _in(cfg.col_bits * behind)
        self.head_value = _in(cfg.act_bits * behind, signed=True)
        self.head_value1 = _in(cfg.act1_bits * behind, signed=True)
        self.start = _in(behind)
        self.add_pointer_ports(cfg)
        self.pop = _out(behind)
        self.load = _out(before)
        self.p_start = _out(cfg.run_bits)
        self.p_count = _out(cfg.length_bits)
        self.p_count1 = _out(cfg.length1_bits)
        self.keep = _out(before)
        self.drop = _out(before)
        self.valid = _outreg()
        self.value = _outreg(cfg.act_bits, signed=True)
        self.value1 = _outreg(cfg.act1_bits, signed=True)
        self.odd = _reg(int(cfg.group == 1))
        self.ptr_reads = _count(cfg)
        self.empty_columns = _count(cfg, there=bool(cfg.filter_empty))


class RunRows(BlockSignals):
    """Which of a column's entries are this PE's, from its block's first and last row: PtrRead of an index-free PE."""

    NAME = "ptr_read"

    def __init__(self, cfg: ArchConfig) -> None:
        self.clear = _in()
        self.number = _in(cfg.number_bits)
        self.push = _in()
        self.push_start = _in(cfg.run_bits)
        self.push_low = _in(cfg.bound_bits)
        self.push_high = _in(cfg.bound_bits)
        self.push_value = _in(cfg.act_bits, signed=True)
        self.p_start = _out(cfg.run_bits)
        self.p_count = _out(cfg.length_bits)
        self.p_row = _out(cfg.acc_addr_bits)
        self.keep = _out()
        self.drop = _out()
        self.value = _out(cfg.act_bits, signed=True)
        self.ptr_reads = _count(cfg)
        self.empty_columns = _count(cfg)


class SpmatRead(BlockSignals, HostAccess):
    """One entry a cycle from the matrix SRAM."""

    NAME = "spmat_read"

    def __init__(self, cfg: ArchConfig) -> None:
        self.clear = _in()
        self.begin_pass = _in()
        self.spmat_base = _in(cfg.word_addr_bits)
        self.ptr_valid = _in()
        self.p_start = _in(cfg.pointer_bits)
        self.p_end = _in(cfg.pointer_bits)
        self.ptr_value = _in(cfg.act_bits, signed=True)
        self.add_matrix_port(cfg)
        self.start = _out()
        self.issue = _out()
        self.read = _out()
        self.v = _out(cfg.weight_bits)
        self.z = _out(cfg.place_bits)
        self.active = _outreg()
        self.current = _reg(cfg.pointer_bits)
        self.stop = _reg(cfg.pointer_bits)
        self.value = _reg(cfg.act_bits, signed=True)
        self.held_valid = _reg()
        self.held_addr = _reg(cfg.word_addr_bits)
        self.tok_valid = _outreg()
        self.tok_empty = _outreg()
        self.tok_first = _outreg()
        self.tok_value = _outreg(cfg.act_bits, signed=True)
        self.tok_sel = _reg(max(1, cfg.sel_bits))
        self.entries = _count(cfg)
        self.empty_columns = _count(cfg)
        self.spmat_reads = _count(cfg)


class Window(BlockSignals, HostAccess):
    """`issue` entries a cycle from the last `window` words: SpmatRead of a window PE."""

    NAME = "spmat_read"

    def __init__(self, cfg: ArchConfig) -> None:
        pairs = cfg.group == 2
        self.clear = _in()
        self.begin_pass = _in()
        self.spmat_base = _in(cfg.word_addr_bits)
        self.run_valid = _in()
        self.run_start = _in(cfg.run_bits)
        self.run_count = _in(cfg.length_bits)
        self.run_count1 = _in(cfg.length1_bits)
        self.run_row = _in(cfg.acc_addr_bits * cfg.index_free)
        self.run_value = _in(cfg.act_bits, signed=True)
        self.run_value1 = _in(cfg.act1_bits, signed=True)
        self.add_matrix_port(cfg)
        self.fetch = _out()
        self.start = _out()
        self.read = _out()
        self.unfinished = _out()
        self.tok_valid = _out()
        self.tok_empty = _out()
        self.tok_first = _out()
        self.tok_value = _out(cfg.act_bits, signed=True)
        self.v = _out(cfg.weight_bits)
        self.z = _out(cfg.z_bits)
        self.lanes = [Token(prefix, cfg, _out) for prefix in _further(cfg)]
        self.more = _reg()
        self.word = _reg(cfg.word_addr_bits)
        self.left = _reg(cfg.length_bits * pairs)
        self.left_all = _reg(cfg.length_bits + pairs)
        self.row = _reg(cfg.acc_addr_bits * cfg.index_free)
        self.begun = _reg(int(pairs and cfg.relative))
        self.held_valid = _reg()
        self.held_addr = _reg(cfg.word_addr_bits)
        self.slots = [Slot(f"slot{number}", cfg, kept=number > 0) for number in range(cfg.window)]
        self.entries = _count(cfg)
        self.issue_cycles = _count(cfg, there=cfg.issue > 1)
        self.empty_columns = _count(cfg, there=not cfg.filter_empty)
        self.spmat_reads = _count(cfg)


class ArithmUnit(BlockSignals, Stages):
    """Codebook, multiply, shift and add, in four stages."""

    NAME = "arithm_unit"

    def __init__(self, cfg: ArchConfig) -> None:
        self.clear = _in()
        self.tok_valid = _in()
        self.tok_empty = _in()
        self.tok_first = _in()
        self.tok_value = _in(cfg.act_bits, signed=True)
        self.v = _in(cfg.weight_bits)
        self.z = _in(cfg.z_bits)
        self.acc_rdata = _in(cfg.acc_bits, signed=True)
        self.product_shift = _in(SHIFT_BITS)
        self.codebook = _in(cfg.codebook_bits)
        self.arithmetic = _in(cfg.adder)  # Arithmetic.MIN alone
        self.io_write = _in()
        self.io_addr = _in(cfg.io_addr_bits)
        self.io_data = _in(cfg.io_data_bits)
        self.io_code = _out(cfg.code_bits, signed=True)
        self.add_stages(cfg, first=True)
        self.lanes = [ArithmLane(prefix, cfg) for prefix in _further(cfg)]
        self.fillers = _count(cfg, there=cfg.relative)
        self.bypasses = _count(cfg)
        self.saturations = _count(cfg)


class ActRW(BlockSignals):
    """Activations, accumulators, write-back."""

    NAME = "act_rw"

    def __init__(self, cfg: ArchConfig) -> None:
        self.clear = _in()
        self.compute = _in()
        self.leaf_pop = _in()
        self.s2_valid = _in()
        self.s2_row = _in(cfg.acc_addr_bits)
        self.s4_write = _in()
        self.s4_row = _in(cfg.acc_addr_bits)
        self.s4_sum = _in(cfg.acc_bits, signed=True)
        self.wb_en = _in()
        self.wb_row = _in(cfg.acc_addr_bits)
        self.relu = _in()
        self.output_shift = _in(SHIFT_BITS)
        self.rf_en = _in()
        self.rf_src = _in()
        self.rf_row = _in(cfg.file_addr_bits)
        self.rf_addr = _in(cfg.act_sram_addr_bits)
        self.wb_target = _in(2)
        self.wb_addr = _in(cfg.act_sram_addr_bits)
        self.arithmetic = _in(_arithmetic_bits(cfg))
        self.sum_x = _in(SUM_BITS * cfg.adder)
        self.scale_addr = _in(cfg.act_sram_addr_bits * cfg.adder)
        self.io_write_acc = _in()
        self.io_write_act = _in()
        self.io_write_sram = _in()
        self.io_read_sram = _in()
        self.io_addr = _in(cfg.io_addr_bits)
        self.io_data = _in(cfg.io_data_bits)
        self.act_port = SramPort("act", cfg.act_sram_addr_bits, cfg.acc_bits)
        self.leaf_valid = _out()
        self.leaf_row = _out(cfg.src_addr_bits)
        self.leaf_value = _out(cfg.act_bits, signed=True)
        self.acc_rdata = _out(cfg.acc_bits, signed=True)
        self.y_value = _out(cfg.act_bits, signed=True)
        self.pending = _reg(cfg.src_depth)
        self.y_valid = _reg()
        self.y_row = _reg(cfg.acc_addr_bits)
        self.y_acc = _reg(cfg.y_acc_bits, signed=True)
        self.rf_valid = _reg()
        self.rf_to_src = _reg()
        self.rf_at = _reg(cfg.file_addr_bits)
        self.lanes = [AccLane(prefix, cfg) for prefix in _further(cfg)]
        self.writeback_saturations = _count(cfg)


class PE(BlockSignals):
    """The five blocks above; no register of its own, its blocks' are compared."""

    NAME = "pe"

    def __init__(self, cfg: ArchConfig) -> None:
        self.number = _in(cfg.number_bits)
        self.bcast = _in()
        self.push = _in()
        self.push_col = _in(cfg.col_bits * (not cfg.index_free))
        self.push_start = _in(cfg.run_bits * cfg.index_free)
        self.push_low = _in(cfg.bound_bits * cfg.index_free)
        self.push_high = _in(cfg.bound_bits * cfg.index_free)
        self.push_value = _in(cfg.act_bits, signed=True)
        self.push_value1 = _in(cfg.act1_bits, signed=True)
        self.clear = _in()
        self.begin_pass = _in()
        self.compute = _in()
        self.leaf_pop = _in()
        self.wb_en = _in()
        self.wb_row = _in(cfg.acc_addr_bits)
        self.relu = _in()
        self.product_shift = _in(SHIFT_BITS)
        self.output_shift = _in(SHIFT_BITS)
        self.codebook = _in(cfg.codebook_bits)
        self.spmat_base = _in(cfg.word_addr_bits)
        self.rf_en = _in()
        self.rf_src = _in()
        self.rf_row = _in(cfg.file_addr_bits)
        self.rf_addr = _in(cfg.act_sram_addr_bits)
        self.wb_target = _in(2)
        self.wb_addr = _in(cfg.act_sram_addr_bits)
        self.arithmetic = _in(_arithmetic_bits(cfg))
        self.sum_x = _in(SUM_BITS * cfg.adder)
        self.scale_addr = _in(cfg.act_sram_addr_bits * cfg.adder)
        self.io_write = _in()
        self.io_read = _in()
        self.io_addr = _in(cfg.io_addr_bits)
        self.io_data = _in(cfg.io_data_bits)
        self.io_space = _in(IO_SPACE_BITS)
        self.ptr_ports = _pointer_ports(cfg)
        self.spmat_port = SramPort("spmat", cfg.word_addr_bits, cfg.word_bits)
        self.act_port = SramPort("act", cfg.act_sram_addr_bits, cfg.acc_bits)
        self.leaf_valid = _out()
        self.leaf_row = _out(cfg.src_addr_bits)
        self.leaf_value = _out(cfg.act_bits, signed=True)
        self.credit = _out()
        self.busy = _out()
        self.retire = _out()
        self.io_rdata = _out(cfg.io_data_bits)


class Lnzd(BlockSignals):
    """A node of the leading non-zero detection tree."""

    NAME = "lnzd"

    def __init__(self, cfg: ArchConfig) -> None:
        self.begin_pass = _in()
        self.compute = _in()
        self.pop = _in()
        self.children = [Offer(f"child{child}", cfg) for child in range(LNZD_FAN_IN)]
        self.child_pop = _out(LNZD_FAN_IN)
        self.valid = _outreg()
        self.exhausted = _outreg()
        self.row = _outreg(cfg.src_addr_bits)
        self.pe = _outreg(cfg.leaf_bits)
        self.value = _outreg(cfg.act_bits, signed=True)
        self.value1 = _outreg(cfg.act1_bits, signed=True)


class LeafPair(BlockSignals):
    """The one leaf of two neighbouring PEs, where columns are broadcast in pairs."""

    NAME = "leaf_pair"

    @staticmethod
    def there(cfg: ArchConfig) -> bool:
        """Whether a configuration has it."""
        return cfg.group == 2

    def __init__(self, cfg: ArchConfig) -> None:
        self.a_valid = _in()
        self.a_row = _in(cfg.src_addr_bits)
        self.a_value = _in(cfg.act_bits, signed=True)
        self.b_valid = _in()
        self.b_row = _in(cfg.src_addr_bits)
        self.b_value = _in(cfg.act_bits, signed=True)
        self.pop = _in()
        self.valid = _out()
        self.row = _out(cfg.src_addr_bits)
        self.value = _out(cfg.act_bits, signed=True)
        self.value1 = _out(cfg.act_bits, signed=True)
        self.a_pop = _out()
        self.b_pop = _out()


class Ccu(BlockSignals):
    """The central control unit: `product_shift` to `src_base` are an entry of the pass table, as in `ConfigReg`."""

    NAME = "ccu"

    def __init__(self, cfg: ArchConfig) -> None:
        self.start = _in()
        self.root = Offer("root", cfg)
        self.credits = _in(cfg.n_pe, probed=True)
        self.busy_pes = _in(cfg.n_pe, probed=True)
        self.retires = _in(cfg.n_pe, probed=True)
        self.io_write = _in()
        self.io_read = _in()
        self.io_addr = _in(cfg.io_addr_bits)
        self.io_data = _in(cfg.io_data_bits)
        self.io_space = _in(IO_SPACE_BITS)
        self.io_pe = _in(cfg.pe_bits)
        self.pe_rdata = _in(cfg.io_data_bits * cfg.n_pe)
        # What the block table has in the place of these outputs.
        indexed = int(not cfg.index_free)
        if cfg.index_free:
            self.root.row, self.root.pe, self.root.value = _in(0), _in(0), _in(0)
        # A bit, or a word, for each segment.
        if cfg.segments > 1:
            self.root.valid, self.root.exhausted = _in(cfg.segments), _in(cfg.segments)
        self.nearby = _in(cfg.segments * cfg.index_free)
        self.block_rdata = _in(cfg.io_data_bits * cfg.segments * cfg.index_free)
        self.clear = _out()
        self.begin_pass = _out()
        self.compute = _out()
        self.bcast = _out(cfg.segments)
        self.push = _out(indexed)
        self.push_col = _out(cfg.col_bits * indexed)
        self.push_value = _out(cfg.act_bits * indexed, signed=True)
        self.push_value1 = _out(cfg.act1_bits, signed=True)
        self.pe_write = _out(cfg.n_pe)
        self.pe_read = _out(cfg.n_pe)
        self.wb_en = _out()
        self.busy = _out()
        self.product_shift = _out(SHIFT_BITS)
        self.output_shift = _out(SHIFT_BITS)
        self.relu = _out()
        self.wb_rows = _out(cfg.acc_addr_bits + 1)
        self.wb_target = _out(2)
        self.wb_base = _out(cfg.act_sram_addr_bits)
        self.codebook = _out(cfg.codebook_bits)
        self.ptr_base = _out(cfg.ptr_base_bits)
        self.spmat_base = _out(cfg.word_addr_bits)
        self.acc_rows = _out(cfg.acc_addr_bits + 1)
        self.acc_base = _out(cfg.act_sram_addr_bits)
        self.src_rows = _out(cfg.src_addr_bits + 1)
        self.src_base = _out(cfg.act_sram_addr_bits)
        self.arithmetic = _out(_arithmetic_bits(cfg))
        self.scale_addr = _out(cfg.act_sram_addr_bits * cfg.adder)
        self.rf_en = _out()
        self.rf_addr = _out(cfg.act_sram_addr_bits)
        self.rf_src = _outreg()
        self.rf_row = _outreg(cfg.file_addr_bits + 1)
        self.mode = _outreg(2)
        self.wb_row = _outreg(cfg.acc_addr_bits + 1)
        self.wb_addr = _outreg(cfg.act_sram_addr_bits)
        self.sum_x = _outreg(SUM_BITS * cfg.adder)
        self.done = _outreg()
        self.cycles = _count(cfg)
        self.broadcast_stalls = _count(cfg)
        self.refill_cycles = _count(cfg)
        self.writeback_cycles = _count(cfg)
        self.io_rdata = _outreg(cfg.io_data_bits)
        self.cycle = _count(cfg, Kind.REG)
        self.first_pass = _reg(cfg.pass_bits)
        self.last_pass = _reg(cfg.pass_bits)
        self.current_pass = _outreg(cfg.pass_bits)
        self.bus = [BusStage(f"bus{stage}", cfg) for stage in range(cfg.bus_registers * indexed)]


class BlockField(enum.IntEnum):
    """Fields of an entry of the block table in `IoSpace.PTR`: address = entry << BLOCK_FIELD_BITS | field."""

    END = 0
    START = 1
    STEP = 2
    LOW = 3
    HIGH = 4
    TURN = 5


class RunStage(Bundle):
    """A register behind the block table: where a column's entries begin, its block's rows, its activation."""

    def __init__(self, prefix: str, cfg: ArchConfig) -> None:
        self.prefix = prefix
        self.valid = _reg()
        self.start = _reg(cfg.run_bits)
        self.low = _reg(cfg.bound_bits)
        self.high = _reg(cfg.bound_bits)
        self.value = _reg(cfg.act_bits, signed=True)


class BlockTable(BlockSignals):
    """The blocks of an index-free machine: from a column to the place of its entries and the rows of its block."""

    NAME = "block_table"

    @staticmethod
    def there(cfg: ArchConfig) -> bool:
        """Whether a configuration has it."""
        return cfg.index_free

    def __init__(self, cfg: ArchConfig) -> None:
        self.begin_pass = _in()
        self.compute = _in()
        self.busy = _in()
        self.bcast = _in()
        self.ptr_base = _in(cfg.ptr_base_bits)
        self.root_valid = _in()
        self.root_row = _in(cfg.src_addr_bits)
        self.root_pe = _in(cfg.leaf_bits)
        self.root_value = _in(cfg.act_bits, signed=True)
        self.io_write = _in()
        self.io_addr = _in(cfg.io_addr_bits)
        self.io_data = _in(cfg.io_data_bits)
        self.io_space = _in(IO_SPACE_BITS)
        self.nearby = _out()
        self.block_rdata = _out(cfg.io_data_bits)
        self.push = _out()
        self.push_start = _out(cfg.run_bits)
        self.push_low = _out(cfg.bound_bits)
        self.push_high = _out(cfg.bound_bits)
        self.push_value = _out(cfg.act_bits, signed=True)
        self.unit = _reg(cfg.col_bits)
        self.first = _reg(cfg.col_bits + 1)
        self.at_valid = _reg()
        self.at_block = _reg(cfg.block_bits)
        self.at_within = _reg(cfg.col_bits)
        self.at_value = _reg(cfg.act_bits, signed=True)
        self.runs = [RunStage(f"run{stage}", cfg) for stage in range(1 + cfg.bus_registers)]


def block_fields(cfg: ArchConfig) -> dict[BlockField, int]:
    """Width of each field of the block table."""
    return {
        BlockField.END: cfg.col_bits + 1,
        BlockField.START: cfg.entry_number_bits,
        BlockField.STEP: cfg.length_bits,
        BlockField.LOW: cfg.bound_bits,
        BlockField.HIGH: cfg.bound_bits,
        BlockField.TURN: bits_for(cfg.blocks),
    }


class Array(BlockSignals):
    """All PEs, the tree and the CCU, behind the I/O port."""

    NAME = "array"

    def __init__(self, cfg: ArchConfig) -> None:
        self.start = _in()
        self.io_write = _in()
        self.io_read = _in()
        self.io_addr = _in(cfg.io_addr_bits)
        self.io_data = _in(cfg.io_data_bits)
        self.io_space = _in(IO_SPACE_BITS)
        self.io_pe = _in(cfg.pe_bits)
        self.busy = _out()
        self.done = _out()
        self.current_pass = _out(cfg.pass_bits)
        self.cycles = _out(COUNTER_BITS, probed=bool(cfg.counters))
        self.broadcast_stalls = _out(COUNTER_BITS, probed=bool(cfg.counters))
        self.refill_cycles = _out(COUNTER_BITS, probed=bool(cfg.counters))
        self.writeback_cycles = _out(COUNTER_BITS, probed=bool(cfg.counters))
        self.io_rdata = _out(cfg.io_data_bits)


_BLOCKS: dict[str, type[BlockSignals]] = {
    block.NAME: block for block in (ActQueue, PtrRead, SpmatRead, ArithmUnit, ActRW, PE, Lnzd, Ccu, Array)
}

BLOCK_NAMES = tuple(_BLOCKS)
# Blocks that some configurations have.
_MORE: tuple[type[LeafPair | BlockTable], ...] = (LeafPair, BlockTable)
PE_BLOCKS = ("act_queue", "ptr_read", "spmat_read", "arithm_unit", "act_rw")


def block_names(cfg: ArchConfig) -> tuple[str, ...]:
    """The blocks of a configuration: `BLOCK_NAMES`; for pairs of columns their leaf, index-free the block table."""
    return (*BLOCK_NAMES, *(block.NAME for block in _MORE if block.there(cfg)))


def kind_of(block: str, cfg: ArchConfig) -> type[BlockSignals]:
    """The class that declares `block` (a name in `block_names(cfg)`): window PEs have some of their own."""
    for more in _MORE:
        if block == more.NAME:
            return more
    if not cfg.walks:
        if block == RunQueue.NAME and cfg.filter_empty:
            return RunQueue
        if block == RunRead.NAME:
            return RunRows if cfg.index_free else RunRead
        if block == Window.NAME:
            return Window
    return _BLOCKS[block]


@lru_cache(maxsize=256)
def fields(block: str, cfg: ArchConfig) -> tuple[Field, ...]:
    """Ports and registers of `block` (a name in `block_names(cfg)`), in declaration order."""
    return tuple(_field(name, *signal.declared) for name, _, signal in _signals(kind_of(block, cfg)(cfg)))


@lru_cache(maxsize=256)
def paths(block: str, cfg: ArchConfig) -> dict[str, Path]:
    """The path to each of the `fields` of `block`, by name."""
    return {name: path for name, path, _ in _signals(kind_of(block, cfg)(cfg))}


@lru_cache(maxsize=256)
def config_fields(cfg: ArchConfig) -> tuple[Field, ...]:
    """The registers of an entry of the pass table, in the order of `ConfigReg`: outputs of the CCU."""
    return tuple(field for field in fields("ccu", cfg) if field.name.upper() in ConfigReg.__members__)


@lru_cache(maxsize=256)
def config_registers(cfg: ArchConfig) -> tuple[ConfigReg, ...]:
    """The registers that an entry of the pass table has: ARITHMETIC in an adder machine alone."""
    return tuple(ConfigReg[field.name.upper()] for field in config_fields(cfg))


def lnzd_nodes(cfg: ArchConfig) -> tuple[int, ...]:
    """Nodes on each level of the LNZD tree, leaves' parents first; the last level is the root.

    A leaf serves the PEs of a group's columns. In segments: of all their trees, one behind the other on each level.

    >>> lnzd_nodes(ArchConfig(n_pe=64)), lnzd_nodes(ArchConfig(n_pe=8))
    ((16, 4, 1), (2, 1))
    """
    return tuple(
        cfg.segments * -(-cfg.leaves // LNZD_FAN_IN ** (level + 1)) for level in range(cfg.tree_levels)
    )


def block_tables(cfg: ArchConfig) -> tuple[str, ...]:
    """Names of the block tables: one for each segment of an index-free machine."""
    if not cfg.index_free:
        return ()
    if cfg.segments == 1:
        return (BlockTable.NAME,)
    return tuple(f"{BlockTable.NAME}_{s}" for s in range(cfg.segments))


@mypyc_attr(native_class=False)
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


def _lay_out(
    cfg: ArchConfig, instances: Iterable[tuple[str, str]], *, everything: bool = False
) -> tuple[ProbeField, ...]:
    placed, low = [], 0
    for instance, block in instances:
        for field in fields(block, cfg):
            if field.probed or everything:
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
    """The probed fields of the CCU, every LNZD node (`lnzd_<level>_<index>`), pair and block table, in this order."""
    nodes = [(f"lnzd_{level}_{i}", "lnzd") for level, n in enumerate(lnzd_nodes(cfg)) for i in range(n)]
    pairs = [(f"leaf_pair_{i}", "leaf_pair") for i in range(cfg.leaves)] if cfg.group == 2 else []
    tables = [(name, BlockTable.NAME) for name in block_tables(cfg)]
    return _lay_out(cfg, [("ccu", "ccu"), *nodes, *pairs, *tables])


@lru_cache(maxsize=256)
def array_ports(cfg: ArchConfig) -> tuple[ProbeField, ...]:
    """The array's ports side by side, lowest bit first, as the chip's `probe_port` has them."""
    return _lay_out(cfg, [("array", "array")], everything=True)


def probe_width(probe: tuple[ProbeField, ...]) -> int:
    """Bits of a wide probe output."""
    return probe[-1].low + probe[-1].field.width


def probe_octets(probe: tuple[ProbeField, ...]) -> int:
    """Bytes of a wide probe output where lockstep compares it: whole words of 32 bits."""
    return 4 * -(-probe_width(probe) // 32)


def unpack_probe(probe: tuple[ProbeField, ...], word: int) -> Iterator[tuple[ProbeField, int]]:
    """Each field of a probe with its value (signed where the field is) in the packed `word`."""
    for place in probe:
        width = place.field.width
        value = (word >> place.low) & ((1 << width) - 1)
        if place.field.signed and value >> (width - 1):
            value -= 1 << width
        yield place, value
