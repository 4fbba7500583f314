"""ArchConfig: every size of the accelerator, in one frozen and validated place."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Any

from eie.errors import ConfigError
from eie.shown import table


def bits_for(largest: int) -> int:
    """Width in bits of an unsigned field that holds 0..largest (at least 1).

    >>> bits_for(0), bits_for(1), bits_for(7), bits_for(8)
    (1, 1, 3, 4)
    """
    return max(1, largest.bit_length())


# Bits of a register's number in an entry of the pass table.
CONFIG_BITS = 4
# Bits of a field's number in an entry of the block table.
BLOCK_FIELD_BITS = 3
# Bits of the sum of the inputs' magnitudes, and of a row's scale, in an adder machine.
SUM_BITS = 32
SCALE_BITS = 16


# Where the row of an entry comes from: the zeros since the entry before it, or its own bits.
RELATIVE, ABSOLUTE = "relative", "absolute"


def _size(
    default: int, low: int, high: int, meaning: str, unit: str = "", *, power_of_two: bool = False
) -> Any:
    """A field: its legal closed range, and its meaning and unit as tables and axes give them."""
    metadata = {"low": low, "high": high, "meaning": meaning, "unit": unit, "power_of_two": power_of_two}
    return dataclasses.field(default=default, metadata=metadata)


def _choice(default: Any, choices: tuple[Any, ...], meaning: str, unit: str = "") -> Any:
    """A field that has one of these values: numbers, or texts."""
    return dataclasses.field(default=default, metadata={"choices": choices, "meaning": meaning, "unit": unit})


@dataclass(frozen=True, repr=False)
class ArchConfig:
    """Sizes of one accelerator. The defaults are the published machine (Han et al., ISCA 2016).

    Parameters
    ----------
    n_pe : processing elements, a power of two from 1 to 256.
    queue_depth : columns that may be broadcast but not yet started on a PE (activation queue).
    bus_registers : pipeline registers on the broadcast bus between CCU and PEs (0 in the published machine); each
        adds one cycle from broadcast to start.
    weight_bits : bits of a code index v; the codebook has 2**weight_bits codes.
    index_bits : bits of a zero run z.
    code_bits : bits of a code (shared weight), signed.
    act_bits : bits of an activation, signed.
    acc_bits : bits of an accumulator, signed; every addition saturates at this width.
    word_bits : width of the sparse-matrix SRAM, a power of two.
    pointer_bits : width of a stored pointer: p_j, or with group = 2 that to a pair's first entry.
    pointers : pointers per PE, both banks together; a layer needs columns + 1. A word of a pair counts as two.
    entries : entries (v, z) per PE in the sparse-matrix SRAM.
    src_depth : source activations per PE.
    acc_depth : accumulators (destination activations) per PE.
    act_words : words of acc_bits per PE in the activation SRAM (biases, activations that wait, results).
    codebooks : codebooks in each PE, of which a pass uses one.
    passes : entries of the pass table, i.e. passes that run one after the other without the host.
    counters : 1 for the performance counters in hardware, 0 to leave them out.
    clock_hz : clock frequency in Hz, to turn cycles into time.
    group : columns that are broadcast together: 1, or 2 (columns 2u and 2u + 1, which stand side by side in the
        matrix SRAM).
    issue : entries that a PE takes a cycle.
    window : words of the matrix SRAM of which a PE issues entries at a time.
    row_format : "relative": an entry has the zeros since the one before it, and fillers bridge long runs;
        "absolute": it has its local row.
    row_bits : bits of an absolute row (without meaning for relative ones).
    filter_empty : 1: columns (groups) without an entry on a PE never enter its queue; 0: they take a cycle.
    matrix_banks : SRAMs that a PE's matrix memory is made of; a read wakes one (energy and area alone).
    lookup_register : 1: a register between the choice of an entry and the lookup of its code, which adds one cycle to
        a pass; 0: none (the published machine).
    blocks : entries of the block table. More than 0 makes the machine index-free (docs/index_free.md): it runs
        block-diagonal layers alone, whose entries are code indices without rows and need no pointers; index_bits,
        pointers and pointer_bits have no meaning then.
    segments : parts of an index-free machine with a broadcast, a tree and a block table of their own, a power of two
        up to n_pe: blocks of different segments run at once.
    adder : 1: a pass may take the smaller of two magnitudes in place of their product, and scale each row at write-back
        (docs/adder.md); 0: products alone.

    Raises
    ------
    ConfigError : a value outside its range, or sizes that cannot be built together.

    Examples
    --------
    >>> cfg = ArchConfig(n_pe=16, queue_depth=4)
    >>> cfg, cfg.entries_per_word
    (ArchConfig(n_pe=16, queue_depth=4), 8)
    >>> cfg.replace(word_bits=128).entries_per_word
    16
    """

    n_pe: int = _size(64, 1, 256, "processing elements", "PEs", power_of_two=True)
    queue_depth: int = _size(8, 1, 4096, "activation queue depth", "columns")
    bus_registers: int = _size(0, 0, 8, "registers on the broadcast bus")
    weight_bits: int = _size(4, 1, 8, "width of a code index", "bits")
    index_bits: int = _size(4, 1, 8, "width of a zero run", "bits")
    code_bits: int = _size(16, 4, 16, "width of a shared weight", "bits")
    act_bits: int = _size(16, 4, 16, "width of an activation", "bits")
    acc_bits: int = _size(16, 8, 32, "width of an accumulator", "bits")
    word_bits: int = _size(64, 16, 512, "width of the matrix memory", "bits", power_of_two=True)
    pointer_bits: int = _size(16, 4, 32, "width of a pointer", "bits")
    pointers: int = _size(16384, 2, 1 << 24, "pointers that fit", "per PE")
    entries: int = _size(131072, 1, 1 << 31, "entries that fit the matrix memory", "per PE")
    src_depth: int = _size(64, 1, 1 << 20, "source activations that fit", "per PE")
    acc_depth: int = _size(64, 1, 1 << 20, "accumulators", "per PE")
    act_words: int = _size(1024, 2, 1 << 20, "words of the activation memory", "per PE")
    codebooks: int = _size(1, 1, 256, "codebooks in a PE")
    passes: int = _size(16, 1, 256, "entries of the pass table")
    counters: int = _size(1, 0, 1, "1: counters in hardware, 0: none")
    clock_hz: int = _size(800_000_000, 1, 10**12, "clock frequency", "Hz")
    group: int = _size(1, 1, 2, "columns broadcast together", "columns")
    issue: int = _size(1, 1, 4, "entries a PE takes a cycle", "entries", power_of_two=True)
    window: int = _size(1, 1, 4, "words that a PE issues from at a time", "words")
    row_format: str = _choice(RELATIVE, (RELATIVE, ABSOLUTE), "where an entry's row comes from")
    row_bits: int = _choice(6, (4, 6, 8), "width of an absolute row", "bits")
    filter_empty: int = _size(0, 0, 1, "1: columns without an entry cost nothing, 0: a cycle")
    matrix_banks: int = _choice(1, (1, 4), "SRAMs of the matrix memory", "per PE")
    lookup_register: int = _size(0, 0, 1, "1: a register in front of the codebook, 0: none")
    blocks: int = _size(0, 0, 256, "entries of the block table, 0: rows and pointers are stored", "blocks")
    segments: int = _size(1, 1, 256, "parts with a broadcast of their own", "segments", power_of_two=True)
    adder: int = _size(0, 0, 1, "1: minima in place of products, and scales of rows, 0: products alone")

    def __post_init__(self) -> None:
        for name, legal in _LEGAL.items():
            value = getattr(self, name)
            if type(value) is not int or value not in legal:
                object.__setattr__(self, name, checked_value(name, value))
        if self.acc_bits < self.act_bits:
            raise ConfigError(
                f"acc_bits ({self.acc_bits}) must be at least act_bits ({self.act_bits}): "
                "an accumulator holds the activation after write-back"
            )
        if self.adder and self.acc_bits < SCALE_BITS:
            raise ConfigError(
                f"adder needs acc_bits={SCALE_BITS} or more, not {self.acc_bits}: the activation SRAM holds scales of "
                f"{SCALE_BITS} bits"
            )
        self._check_blocks()
        if not self.index_free and self.pointer_bits <= self.sel_bits:
            raise ConfigError(
                f"pointer_bits ({self.pointer_bits}) must be more than the {self.sel_bits} bits that select "
                f"one of {self.entries_per_word} entries in a word"
            )
        self._check_rows()
        self._check_groups()
        self._check_issue()

    def _check_blocks(self) -> None:
        if self.segments > self.n_pe:
            raise ConfigError(f"segments ({self.segments}) must be at most n_pe ({self.n_pe}): each has a PE")
        if not self.index_free:
            if self.segments > 1:
                raise ConfigError(
                    f"segments ({self.segments}) needs an index-free machine, whose blocks are each in one: use "
                    "blocks=64, say, or segments=1"
                )
            return
        what = f"blocks ({self.blocks})"
        if self.adder:
            raise ConfigError(f"{what} contradicts adder=1: layers in blocks have products alone")
        if self.absolute:
            raise ConfigError(
                f"{what} contradicts row_format={ABSOLUTE}: entries of an index-free machine have no rows; "
                f"leave row_format={RELATIVE}, which has no meaning there"
            )
        if not self.filter_empty:
            raise ConfigError(
                f"{what} needs filter_empty=1: which PEs have entries of a block is known before the queue"
            )
        if self.group != 1:
            raise ConfigError(f"{what} needs group=1: the block table gives the place of one column a cycle")

    def _check_rows(self) -> None:
        if not self.absolute or self.acc_depth <= 1 << self.row_bits:
            return
        widths = FIELDS["row_bits"].metadata["choices"]
        enough = [bits for bits in widths if self.acc_depth <= 1 << bits]
        right = (
            f"use row_bits={enough[0]}, or acc_depth={1 << self.row_bits}"
            if enough
            else f"use row_format={RELATIVE}, or acc_depth={1 << widths[-1]} at most (more PEs, or passes)"
        )
        raise ConfigError(
            f"row_bits ({self.row_bits}) must be enough for the rows of acc_depth ({self.acc_depth}): {right}"
        )

    def _check_groups(self) -> None:
        if self.group == 1:
            return
        if self.n_pe == 1:
            raise ConfigError(
                "group (2) needs the two columns on neighbouring PEs: use n_pe=2 or more, or group=1"
            )

    def _check_issue(self) -> None:
        if self.issue == 1:
            return
        what = f"issue ({self.issue})"
        if self.relative:
            raise ConfigError(
                f"{what} needs row_format={ABSOLUTE}: a relative row is known after the one before it"
            )
        if not self.filter_empty:
            raise ConfigError(
                f"{what} needs filter_empty=1: a column without an entry would take a whole cycle"
            )
        if self.window == 1:
            raise ConfigError(
                f"{what} needs window=2 or more, not 1: entries of a cycle may stand in two words"
            )
        if self.issue > self.entries_per_word:
            raise ConfigError(
                f"{what} is more than the {self.entries_per_word} entries in a word of word_bits ({self.word_bits}): "
                f"use word_bits={1 << (self.issue * self.entry_bits - 1).bit_length()} or more, or fewer entries"
            )

    def __repr__(self) -> str:
        given = ((each.name, getattr(self, each.name), each.default) for each in dataclasses.fields(self))
        changed = (f"{name}={value!r}" for name, value, default in given if value != default)
        return f"ArchConfig({', '.join(changed)})"

    def _repr_html_(self) -> str:
        rows = [
            (each.name, getattr(self, each.name), each.metadata["unit"], each.metadata["meaning"])
            for each in dataclasses.fields(self)
        ]
        return table("ArchConfig", rows, ("field", "value", "unit", "meaning"))

    @classmethod
    def preset(cls, name: str, **changes: Any) -> ArchConfig:
        """The configuration called `name` (one of `PRESETS`), with `changes` applied to its fields.

        >>> ArchConfig.preset("wide", n_pe=4).acc_bits
        32
        """
        if name not in PRESETS:
            raise ConfigError(f"no preset named {name!r}: use one of {', '.join(sorted(PRESETS))}")
        return PRESETS[name].replace(**changes)

    def replace(self, **changes: Any) -> ArchConfig:
        """A copy with the named fields changed, validated again."""
        known = {field.name for field in dataclasses.fields(self)}
        for name in changes:
            if name not in known:
                raise ConfigError(
                    f"ArchConfig has no field {name!r}: its fields are {', '.join(sorted(known))}"
                )
        return dataclasses.replace(self, **changes)

    # ---- derived sizes -------------------------------------------------------------------------------------

    @property
    def absolute(self) -> bool:
        """Whether an entry has its local row, and not the zeros before it."""
        return self.row_format == ABSOLUTE

    @property
    def index_free(self) -> bool:
        """Whether an entry is its code index alone, and its row and place follow from the block table."""
        return self.blocks > 0

    @property
    def relative(self) -> bool:
        """Whether an entry has the zeros before it, so that its row is known after the one before it."""
        return not self.absolute and not self.index_free

    @property
    def place_bits(self) -> int:
        """Bits of an entry above v: its zero run z, or its local row; none in an index-free machine."""
        return 0 if self.index_free else self.row_bits if self.absolute else self.index_bits

    @property
    def z_bits(self) -> int:
        """Width of z on the way to the arithmetic unit: an index-free machine counts rows there."""
        return self.acc_addr_bits if self.index_free else self.place_bits

    @property
    def entry_bits(self) -> int:
        """Bits of an entry: (v, z), or (v, row)."""
        return self.weight_bits + self.place_bits

    @property
    def entries_per_word(self) -> int:
        """Entries in one word of the sparse-matrix SRAM (at least 1)."""
        return self.word_bits // self.entry_bits

    @property
    def sel_bits(self) -> int:
        """Low bits of a pointer that select the entry inside its word."""
        return (self.entries_per_word - 1).bit_length()

    @property
    def spmat_words(self) -> int:
        """Words of the sparse-matrix SRAM of one PE."""
        return -(-self.entries // self.entries_per_word)

    @property
    def reachable_entries(self) -> int:
        """Entries per PE that a layer can use: the SRAM's, or as many as a pointer reaches."""
        if self.index_free:
            return self.spmat_words * self.entries_per_word
        return min(self.spmat_words * self.entries_per_word, self.pointer_reach)

    @property
    def pointer_reach(self) -> int:
        """Entries that pointers reach."""
        if self.group == 2:
            return (1 << self.start_bits - self.sel_bits) * self.entries_per_word
        # Of single columns the last pointer is one past the last entry, so it must itself be representable.
        return self.unpack_pointer((1 << self.pointer_bits) - 1)

    @property
    def length_bits(self) -> int:
        """Bits of the length of a column of a pair, 0..acc_depth."""
        return bits_for(self.acc_depth)

    @property
    def start_bits(self) -> int:
        """Bits of the pointer to the first entry of a column or pair.

        A pair begins at an even place of a word, so that the lowest bit is not stored. An index-free machine computes
        the pointer.
        """
        if self.index_free:
            return self.word_addr_bits + self.sel_bits
        return self.pointer_bits + int(self.group == 2 and self.sel_bits > 0)

    @property
    def ptr_bank_depth(self) -> int:
        """Words of each pointer SRAM: pointers of the even and of the odd columns, or with group = 2 one of pairs."""
        return -(-self.pointers // 2)

    @property
    def ptr_word_bits(self) -> int:
        """Width of a pointer SRAM: a pointer, of a pair with the lengths of its two columns."""
        return self.pointer_bits + (2 * self.length_bits if self.group == 2 else 0)

    @property
    def ptr_words(self) -> int:
        """Words of the space PTR: pointers of both banks, or words of pairs; or fields of the block table, and places
        without one."""
        return self.blocks << BLOCK_FIELD_BITS if self.index_free else (3 - self.group) * self.ptr_bank_depth

    @property
    def pointer_room(self) -> int:
        """Pointers that both banks hold, or entries of the block table."""
        return self.blocks if self.index_free else 2 * self.ptr_bank_depth

    @property
    def block_bits(self) -> int:
        """Width of a number of the block table's entries (at least 1)."""
        return bits_for(self.blocks - 1) if self.index_free else 1

    @property
    def segment_pes(self) -> int:
        """PEs of a segment."""
        return self.n_pe // self.segments

    @property
    def pe_shift(self) -> int:
        """Bits of a row or column number of a segment below the local one: log2 of its PEs."""
        return (self.segment_pes - 1).bit_length()

    @property
    def number_bits(self) -> int:
        """Width of a PE's number in its segment; 0 where it is alone, or needs none."""
        return self.pe_shift if self.index_free else 0

    @property
    def bound_bits(self) -> int:
        """Width of a row number of a segment up to the one behind the last."""
        return bits_for(self.acc_depth * self.segment_pes)

    @property
    def entry_number_bits(self) -> int:
        """Width of an entry's number in the matrix SRAM."""
        return bits_for(self.spmat_words * self.entries_per_word - 1)

    def pointers_for(self, columns: int) -> int:
        """Of `pointers`, how many so many columns take."""
        return columns + 1 if self.group == 1 else columns + columns % 2

    @property
    def n_codes(self) -> int:
        """Codes in the codebook."""
        return 1 << self.weight_bits

    @property
    def max_run(self) -> int:
        """Largest zero run z of one entry, which is a filler's z as well."""
        return (1 << self.index_bits) - 1

    @property
    def pe_bits(self) -> int:
        """Width of a PE number on buses (at least 1)."""
        return bits_for(self.n_pe - 1)

    @property
    def walks(self) -> bool:
        """Whether a PE walks a column entry by entry, as published; otherwise it takes them from a window of words."""
        return self.group == self.issue == self.window == 1 and not self.filter_empty

    @property
    def leaves(self) -> int:
        """Leaves of the LNZD tree, or of each segment's: one for the PEs of a group's columns."""
        return self.segment_pes // self.group

    @property
    def leaf_bits(self) -> int:
        """Width of a leaf's number (at least 1)."""
        return bits_for(self.leaves - 1)

    @property
    def run_bits(self) -> int:
        """Width of the pointer to a run's first entry: no more than the matrix SRAM has addresses for."""
        return min(self.start_bits, self.word_addr_bits + self.sel_bits)

    @property
    def act1_bits(self) -> int:
        """Width of the activation of a pair's second column; 0 without pairs."""
        return self.act_bits * (self.group - 1)

    @property
    def length1_bits(self) -> int:
        """Width of the length of a pair's second column; 0 without pairs."""
        return self.length_bits * (self.group - 1)

    @property
    def place_count_bits(self) -> int:
        """Width of a number of places in a word, 0..entries_per_word."""
        return bits_for(self.entries_per_word)

    @property
    def col_bits(self) -> int:
        """Width of a column number on the bus: pointer base + local row * n_pe + PE; in segments of a segment's."""
        pointers = 0 if self.index_free else 2 * self.ptr_bank_depth
        return bits_for(max(self.src_depth * self.segment_pes, pointers) - 1)

    @property
    def src_addr_bits(self) -> int:
        """Width of a local source row."""
        return bits_for(self.src_depth - 1)

    @property
    def acc_addr_bits(self) -> int:
        """Width of a local accumulator row."""
        return bits_for(self.acc_depth - 1)

    @property
    def word_addr_bits(self) -> int:
        """Width of a sparse-matrix SRAM address."""
        return bits_for(self.spmat_words - 1)

    @property
    def ptr_addr_bits(self) -> int:
        """Width of a pointer bank address."""
        return bits_for(self.ptr_bank_depth - 1)

    @property
    def ptr_base_bits(self) -> int:
        """Width of the column, or the entry of the block table, with which a pass begins."""
        return self.block_bits if self.index_free else self.ptr_addr_bits + 1

    @property
    def act_sram_addr_bits(self) -> int:
        """Width of an activation SRAM address."""
        return bits_for(self.act_words - 1)

    @property
    def file_addr_bits(self) -> int:
        """Width of a local row of either register file."""
        return max(self.src_addr_bits, self.acc_addr_bits)

    @property
    def codebook_bits(self) -> int:
        """Width of a codebook's number (at least 1)."""
        return bits_for(self.codebooks - 1)

    @property
    def pass_bits(self) -> int:
        """Width of a pass's number (at least 1)."""
        return bits_for(self.passes - 1)

    @property
    def product_bits(self) -> int:
        """Width of code * activation, exact."""
        return self.code_bits + self.act_bits

    @property
    def y_acc_bits(self) -> int:
        """Width of what write-back rounds: an accumulator; in an adder machine less the sum of the inputs, exact."""
        return max(self.acc_bits, SUM_BITS + 1) + 1 if self.adder else self.acc_bits

    @property
    def occupancy_bits(self) -> int:
        """Width of the credit counter, 0..queue_depth."""
        return bits_for(self.queue_depth)

    @property
    def tree_levels(self) -> int:
        """Levels of the LNZD tree (fan-in 4), or of each segment's, at least one.

        >>> [ArchConfig(n_pe=n).tree_levels for n in (1, 2, 4, 8, 16, 64, 256)]
        [1, 1, 1, 2, 2, 3, 4]
        """
        return max(1, self.leaves.bit_length() // 2)

    @property
    def io_data_bits(self) -> int:
        """Width of the I/O data bus: the widest memory word, and at least 32."""
        return max(32, self.word_bits, self.ptr_word_bits)

    @property
    def io_addr_bits(self) -> int:
        """Width of the I/O address: the deepest memory, and at least 8."""
        return max(
            8,
            self.word_addr_bits,
            self.ptr_base_bits + BLOCK_FIELD_BITS if self.index_free else self.ptr_base_bits,
            self.src_addr_bits,
            self.acc_addr_bits,
            self.act_sram_addr_bits,
            self.weight_bits + self.codebook_bits,
            self.pass_bits + CONFIG_BITS,
        )

    def pack_pointer(self, entry: int) -> int:
        """SRAM image of the pointer to `entry`: word number, then the entry's place in the word.

        The same number as `entry` where a word holds a power of two of entries.
        """
        return (entry // self.entries_per_word << self.sel_bits) | entry % self.entries_per_word

    def unpack_pointer(self, pointer: int) -> int:
        """The entry that a stored pointer names (inverse of `pack_pointer`)."""
        return (pointer >> self.sel_bits) * self.entries_per_word + min(
            pointer & ((1 << self.sel_bits) - 1), self.entries_per_word - 1
        )


FIELDS: dict[str, dataclasses.Field[Any]] = {field.name: field for field in dataclasses.fields(ArchConfig)}


def _legal(metadata: Mapping[str, Any]) -> Container[Any]:
    """The values of a field with this metadata."""
    if "choices" in metadata:
        return frozenset(metadata["choices"])
    low, high = metadata["low"], metadata["high"]
    if metadata["power_of_two"]:
        return frozenset(1 << k for k in range(high.bit_length()) if low <= 1 << k <= high)
    return range(low, high + 1)


# A sweep makes many configurations: nearly all values are found here.
_LEGAL = {name: _legal(field.metadata) for name, field in FIELDS.items()}


def checked_value(name: str, value: Any) -> int | str:
    """A field's value as `ArchConfig` holds it; whether others go with it is not looked at.

    Raises
    ------
    ConfigError : a value that the field cannot have.
    """
    metadata = FIELDS[name].metadata
    choices = metadata.get("choices")
    if choices and isinstance(choices[0], str):
        if value not in choices:
            raise ConfigError(f"{name} must be {' or '.join(choices)}, not {value!r}")
        return str(value)
    # A switch may be said as true or false.
    is_switch = (metadata.get("low"), metadata.get("high")) == (0, 1)
    if not hasattr(value, "__index__") or (isinstance(value, bool) and not is_switch):
        raise ConfigError(f"{name} must be an integer, not {value!r}")
    value = operator.index(value)  # a numpy integer, say
    if choices:
        if value not in choices:
            *most, last = choices
            raise ConfigError(f"{name} must be {', '.join(map(str, most))} or {last}, not {value}")
        return value
    if value not in _LEGAL[name]:
        kind = "a power of two " if metadata["power_of_two"] else ""
        raise ConfigError(f"{name} must be {kind}from {metadata['low']} to {metadata['high']}, not {value}")
    return value


PRESETS: dict[str, ArchConfig] = {
    "paper": ArchConfig(),
    "wide": ArchConfig(acc_bits=32),
    # The better machine (docs/beyond.md): the published one's PEs, clock and memories.
    "eie2": ArchConfig(
        group=2,
        issue=2,
        window=2,
        row_format=ABSOLUTE,
        filter_empty=1,
        queue_depth=16,
        lookup_register=1,
        entries=16384 * 6,  # of 10 bits in as many words
    ),
    # The index-free machine (docs/index_free.md): the published one's words of matrix memory, of 16 codes each.
    "blocks": ArchConfig(blocks=64, filter_empty=1, entries=16384 * 16),
    # The published machine with minima in place of products where a pass asks for them (docs/adder.md). The difference
    # of two large sums must not be clipped on the way: accumulators are wider.
    "adder": ArchConfig(adder=1, acc_bits=24),
}
