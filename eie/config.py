"""ArchConfig: every size of the accelerator, in one frozen and validated place."""

from __future__ import annotations

import dataclasses
import operator
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


def _size(
    default: int, low: int, high: int, meaning: str, unit: str = "", *, power_of_two: bool = False
) -> Any:
    """A field: its legal closed range, and its meaning and unit as tables and axes give them."""
    metadata = {"low": low, "high": high, "meaning": meaning, "unit": unit, "power_of_two": power_of_two}
    return dataclasses.field(default=default, metadata=metadata)


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
    pointer_bits : width of a pointer p_j.
    pointers : pointers per PE, both banks together; a layer needs columns + 1.
    entries : entries (v, z) per PE in the sparse-matrix SRAM.
    src_depth : source activations per PE.
    acc_depth : accumulators (destination activations) per PE.
    act_words : words of acc_bits per PE in the activation SRAM (biases, activations that wait, results).
    codebooks : codebooks in each PE, of which a pass uses one.
    passes : entries of the pass table, i.e. passes that run one after the other without the host.
    counters : 1 for the performance counters in hardware, 0 to leave them out.
    clock_hz : clock frequency in Hz, to turn cycles into time.

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

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            name, value = field.name, getattr(self, field.name)
            if isinstance(value, bool) or not hasattr(value, "__index__"):
                raise ConfigError(f"{name} must be an integer, not {value!r}")
            value = operator.index(value)  # a numpy integer, say
            object.__setattr__(self, name, value)
            low, high, power = (field.metadata[key] for key in ("low", "high", "power_of_two"))
            if not low <= value <= high or (power and value.bit_count() != 1):
                kind = "a power of two " if power else ""
                raise ConfigError(f"{name} must be {kind}from {low} to {high}, not {value}")
        if self.acc_bits < self.act_bits:
            raise ConfigError(
                f"acc_bits ({self.acc_bits}) must be at least act_bits ({self.act_bits}): "
                "an accumulator holds the activation after write-back"
            )
        if self.pointer_bits <= self.sel_bits:
            raise ConfigError(
                f"pointer_bits ({self.pointer_bits}) must be more than the {self.sel_bits} bits that select "
                f"one of {self.entries_per_word} entries in a word"
            )

    def __repr__(self) -> str:
        given = ((each.name, getattr(self, each.name), each.default) for each in dataclasses.fields(self))
        changed = (f"{name}={value}" for name, value, default in given if value != default)
        return f"ArchConfig({', '.join(changed)})"

    def _repr_html_(self) -> str:
        rows = [
            (each.name, getattr(self, each.name), each.metadata["unit"], each.metadata["meaning"])
            for each in dataclasses.fields(self)
        ]
        return table("ArchConfig", rows, ("field", "value", "unit", "meaning"))

    @classmethod
    def preset(cls, name: str, **changes: Any) -> ArchConfig:
        """The configuration called `name` ("paper" or "wide"), with `changes` applied to its fields.

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
    def entry_bits(self) -> int:
        """Bits of an entry (v, z)."""
        return self.weight_bits + self.index_bits

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
        # The last pointer is one past the last entry, so it must itself be representable.
        largest = self.unpack_pointer((1 << self.pointer_bits) - 1)
        return min(self.spmat_words * self.entries_per_word, largest)

    @property
    def ptr_bank_depth(self) -> int:
        """Pointers in each of the two banks (even and odd columns)."""
        return -(-self.pointers // 2)

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
    def col_bits(self) -> int:
        """Width of a column number on the bus: pointer base + local row * n_pe + PE."""
        return bits_for(max(self.src_depth * self.n_pe, 2 * self.ptr_bank_depth) - 1)

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
    def occupancy_bits(self) -> int:
        """Width of the credit counter, 0..queue_depth."""
        return bits_for(self.queue_depth)

    @property
    def tree_levels(self) -> int:
        """Levels of the LNZD tree (fan-in 4), at least one.

        >>> [ArchConfig(n_pe=n).tree_levels for n in (1, 2, 4, 8, 16, 64, 256)]
        [1, 1, 1, 2, 2, 3, 4]
        """
        return max(1, (self.n_pe.bit_length()) // 2)

    @property
    def io_data_bits(self) -> int:
        """Width of the I/O data bus: the widest memory word, and at least 32."""
        return max(32, self.word_bits)

    @property
    def io_addr_bits(self) -> int:
        """Width of the I/O address: the deepest memory, and at least 8."""
        return max(
            8,
            self.word_addr_bits,
            self.ptr_addr_bits + 1,
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


PRESETS: dict[str, ArchConfig] = {
    "paper": ArchConfig(),
    "wide": ArchConfig(acc_bits=32),
}
