"""ArchConfig: every size of the accelerator, in one frozen and validated place."""

from __future__ import annotations

import dataclasses
import operator
from dataclasses import dataclass
from typing import Any

from eie.errors import ConfigError


def bits_for(largest: int) -> int:
    """Width in bits of an unsigned field that holds 0..largest (at least 1).

    >>> bits_for(0), bits_for(1), bits_for(7), bits_for(8)
    (1, 1, 3, 4)
    """
    return max(1, largest.bit_length())


# Bits of a register's number in an entry of the pass table.
CONFIG_BITS = 4

# Legal closed range of each field; n_pe and word_bits have to be powers of two as well.
_RANGES: dict[str, tuple[int, int]] = {
    "n_pe": (1, 256),
    "queue_depth": (1, 4096),
    "bus_registers": (0, 8),
    "weight_bits": (1, 8),
    "index_bits": (1, 8),
    "code_bits": (4, 16),
    "act_bits": (4, 16),
    "acc_bits": (8, 32),
    "word_bits": (16, 512),
    "pointer_bits": (4, 32),
    "pointers": (2, 1 << 24),
    "entries": (1, 1 << 31),
    "src_depth": (1, 1 << 20),
    "acc_depth": (1, 1 << 20),
    "act_words": (2, 1 << 20),
    "codebooks": (1, 256),
    "passes": (1, 256),
    "counters": (0, 1),
    "clock_hz": (1, 10**12),
}


@dataclass(frozen=True)
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
    """

    n_pe: int = 64
    queue_depth: int = 8
    bus_registers: int = 0
    weight_bits: int = 4
    index_bits: int = 4
    code_bits: int = 16
    act_bits: int = 16
    acc_bits: int = 16
    word_bits: int = 64
    pointer_bits: int = 16
    pointers: int = 16384
    entries: int = 131072
    src_depth: int = 64
    acc_depth: int = 64
    act_words: int = 1024
    codebooks: int = 1
    passes: int = 16
    counters: int = 1
    clock_hz: int = 800_000_000

    def __post_init__(self) -> None:
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not hasattr(value, "__index__"):
                raise ConfigError(f"{name} must be an integer, not {value!r}")
            value = operator.index(value)  # a numpy integer, say
            object.__setattr__(self, name, value)
            if name == "n_pe" and not (low <= value <= high and value.bit_count() == 1):
                raise ConfigError(f"n_pe must be a power of two from 1 to 256, not {value}")
            if name == "word_bits" and not (low <= value <= high and value.bit_count() == 1):
                raise ConfigError(f"word_bits must be a power of two from 16 to 512, not {value}")
            if not low <= value <= high:
                raise ConfigError(f"{name} must be from {low} to {high}, not {value}")
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

    # ---- layers --------------------------------------------------------------------------------------------


PRESETS: dict[str, ArchConfig] = {
    "paper": ArchConfig(),
    "wide": ArchConfig(acc_bits=32),
}
