"""What goes into the chip's memories: words, images and writes through the I/O port, for layers and passes.

docs/formats.md gives the images, docs/architecture.md the I/O port and the pass table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, overload

import numpy as np
import numpy.typing as npt

from eie.config import BLOCK_FIELD_BITS, CONFIG_BITS, ArchConfig
from eie.csc import Interleaved
from eie.errors import CapacityError, LayerError
from eie.index_free import PlacedBlocks, block_codes
from eie.layer import CompressedLayer
from eie.schema import Arithmetic, ConfigReg, IoSpace, config_fields, config_registers, pointer_srams

# Spaces whose memories can be initialised from images, where they are SRAMs.
IMAGE_SPACES = (IoSpace.SPMAT, IoSpace.PTR, IoSpace.ACT_SRAM)


def image_spaces(cfg: ArchConfig) -> tuple[IoSpace, ...]:
    """Spaces of a machine that can be initialised from images: the block table is no SRAM."""
    return tuple(space for space in IMAGE_SPACES if not (cfg.index_free and space is IoSpace.PTR))


class Write(NamedTuple):
    """One write through the I/O port: `data` is the two's complement bit pattern."""

    space: IoSpace
    pe: int
    addr: int
    data: int


@dataclass(frozen=True)
class PeImage:
    """Contents of one PE's memories, from address 0 on, as bit patterns.

    spmat : words of `word_bits` bits; pointers : of each of `eie.schema.pointer_srams`; act : words of the activation
    SRAM.
    """

    spmat: list[int]
    pointers: tuple[list[int], ...]
    act: list[int]

    def srams(self, cfg: ArchConfig) -> dict[str, list[int]]:
        """The contents of each of `srams`."""
        pointers = dict(zip(pointer_srams(cfg), self.pointers, strict=True))
        return {"spmat": self.spmat, **pointers, "act": self.act}


class SramSize(NamedTuple):
    """Sizes of an SRAM: bits of a word, words, bits of an address."""

    width: int
    depth: int
    addr_bits: int


def srams(cfg: ArchConfig) -> dict[str, SramSize]:
    """The memories beside each PE: the matrix's, the pointers', the activations'."""
    pointers = SramSize(cfg.ptr_word_bits, cfg.ptr_bank_depth, cfg.ptr_addr_bits)
    return {
        "spmat": SramSize(cfg.word_bits, cfg.spmat_words, cfg.word_addr_bits),
        **dict.fromkeys(pointer_srams(cfg), pointers),
        "act": SramSize(cfg.acc_bits, cfg.act_words, cfg.act_sram_addr_bits),
    }


def pack_words(
    v: npt.NDArray[np.uint8],
    z: npt.NDArray[np.uint8],
    cfg: ArchConfig,
    places: npt.NDArray[np.int64] | None = None,
) -> list[int]:
    """Entries packed into SRAM words: the one at place e of a word at bits [entry_bits * e ...], v in the low bits.

    places : of the entries (None: one behind the other); bits of free places are 0.

    >>> [hex(w) for w in pack_words(np.uint8([1, 2, 0, 3]), np.uint8([2, 0, 15, 2]), ArchConfig())]
    ['0x23f00221']
    """
    entries = v.astype(np.uint16)
    if cfg.place_bits:
        entries |= z.astype(np.uint16) << cfg.weight_bits
    if places is None:
        places = np.arange(len(entries))
    words = int(places.max()) // cfg.entries_per_word + 1 if len(places) else 0
    padded = np.zeros(words * cfg.entries_per_word, np.uint16)
    padded[places] = entries
    bits = np.zeros((words, cfg.word_bits), np.uint8)
    spread = (padded[:, None] >> np.arange(cfg.entry_bits)) & 1
    bits[:, : cfg.entries_per_word * cfg.entry_bits] = spread.reshape(
        words, cfg.entries_per_word * cfg.entry_bits
    )
    packed = np.packbits(bits, axis=1, bitorder="little")
    return [int.from_bytes(row.tobytes(), "little") for row in packed]


def pack_pointers(pointers: npt.NDArray[np.int64], cfg: ArchConfig) -> npt.NDArray[np.int64]:
    """`ArchConfig.pack_pointer` of each."""
    return (pointers // cfg.entries_per_word << cfg.sel_bits) | pointers % cfg.entries_per_word


def pointer_words(inter: Interleaved, k: int, cfg: ArchConfig) -> npt.NDArray[np.int64]:
    """What stands in PE k's pointer SRAMs from column 0 on, in the order of the space PTR.

    Of single columns the pointers. Of a pair the two lengths, and above them the pointer to its first entry without
    the lowest bit, which is 0; all 0 where the PE has no entry of the pair.
    """
    if inter.group == 1:
        return pack_pointers(inter.pointers[k], cfg)
    lengths = np.diff(inter.pointers[k])
    pairs = np.pad(lengths, (0, len(lengths) % 2)).reshape(-1, 2)
    start = np.where(pairs.any(axis=1), pack_pointers(inter.starts[k], cfg), 0)
    stored = start >> (cfg.start_bits - cfg.pointer_bits)
    return pairs[:, 0] | pairs[:, 1] << cfg.length_bits | stored << 2 * cfg.length_bits


@dataclass(frozen=True, eq=False)
class PackedEntries(Sequence[int]):
    """`pack_words` of PE `pe`, packed when somebody reads them: a plan only counts those of large layers."""

    inter: Interleaved
    pe: int
    cfg: ArchConfig

    def __len__(self) -> int:
        places = self.inter.places(self.pe) if isinstance(self.inter, PlacedBlocks) else None
        if places is not None:  # not the free ones behind the last
            return int(places.max(initial=-1)) // self.cfg.entries_per_word + 1
        return -(-int(self.inter.slots[self.pe]) // self.cfg.entries_per_word)

    def _packed(self) -> list[int]:
        v, z, _ = self.inter.pe(self.pe)
        return pack_words(v, z, self.cfg, self.inter.places(self.pe))

    @overload
    def __getitem__(self, at: int) -> int: ...
    @overload
    def __getitem__(self, at: slice) -> list[int]: ...
    def __getitem__(self, at: int | slice) -> int | list[int]:
        return self._packed()[at]

    def __iter__(self) -> Iterator[int]:
        return iter(self._packed())


@dataclass(frozen=True)
class Block:
    """Words for one memory, in ascending order: PE `pe` from address `addr` on, as bit patterns.

    spread : the words go to PE `pe`, the next one, ... the last PE, and then to the next address of PE 0: a vector in
    its natural order.
    """

    space: IoSpace
    pe: int
    addr: int
    words: Sequence[int]
    spread: bool = False

    def __len__(self) -> int:
        return len(self.words)

    def writes(self, cfg: ArchConfig) -> Iterator[Write]:
        """One write after the other."""
        if not self.spread:
            for i, word in enumerate(self.words, self.addr):
                yield Write(self.space, self.pe, i, word)
            return
        for i, word in enumerate(self.words, self.pe):
            yield Write(self.space, i % cfg.n_pe, self.addr + i // cfg.n_pe, word)


@dataclass(frozen=True)
class PassEntry:
    """An entry of the CCU's pass table: the registers of `eie.schema.ConfigReg` by name."""

    product_shift: int = 0
    output_shift: int = 0
    relu: int = 0
    wb_rows: int = 0
    wb_target: int = 0
    wb_base: int = 0
    codebook: int = 0
    ptr_base: int = 0
    spmat_base: int = 0
    acc_rows: int = 0
    acc_base: int = 0
    src_rows: int = 0
    src_base: int = 0
    arithmetic: int = 0

    @classmethod
    def of_layer(cls, layer: CompressedLayer, **registers: int) -> PassEntry:
        """An entry with a layer's arithmetic, and `registers`."""
        arithmetic = Arithmetic.MIN * layer.adder | Arithmetic.SCALE * (layer.row_scale is not None)
        return cls(
            layer.product_shift, layer.output_shift, int(layer.relu), arithmetic=int(arithmetic), **registers
        )

    @classmethod
    def of(cls, registers: Mapping[ConfigReg, int]) -> PassEntry:
        """The entry with these registers, others 0."""
        return cls(**{register.name.lower(): value for register, value in registers.items()})

    def words(self, cfg: ArchConfig) -> list[int]:
        """The registers that a machine has, in the order of `ConfigReg`."""
        return [int(getattr(self, register.name.lower())) for register in config_registers(cfg)]

    def block(self, number: int, cfg: ArchConfig) -> Block:
        """What puts the entry into the table as pass `number`."""
        return Block(IoSpace.CONFIG, 0, number << CONFIG_BITS, self.words(cfg))

    def check(self, cfg: ArchConfig, where: str) -> None:
        """Raise `CapacityError` when a register does not fit its width."""
        for field, word in zip(config_fields(cfg), self.words(cfg), strict=True):
            if not 0 <= word < 1 << field.width:
                raise CapacityError(
                    f"{where}: {field.name} must be from 0 to {(1 << field.width) - 1}, not {word}"
                )


def codebook_block(layer: CompressedLayer, number: int, cfg: ArchConfig) -> Block:
    """A layer's codebook, as codebook `number`; in an index-free machine the values of its blocks alone."""
    values = layer.codebook[block_codes(layer)] if cfg.index_free else layer.codebook
    codes = [int(code) & ((1 << cfg.code_bits) - 1) for code in values]
    return Block(IoSpace.CODEBOOK, 0, number * cfg.n_codes, [*codes, *[0] * (cfg.n_codes - len(codes))])


# Spaces that hold vectors, with the width of a word.
_VECTOR_BITS: dict[IoSpace, Callable[[ArchConfig], int]] = {
    IoSpace.ACC: lambda cfg: cfg.acc_bits,
    IoSpace.ACT: lambda cfg: cfg.act_bits,
    IoSpace.ACT_SRAM: lambda cfg: cfg.acc_bits,
}


def vector_block(space: IoSpace, addr: int, values: npt.NDArray[np.integer], cfg: ArchConfig) -> Block:
    """A vector in ACC, ACT or ACT_SRAM from address `addr` of every PE on.

    The last address is written on every PE, with 0 where the vector has no element: nothing old stays.
    """
    mask = (1 << _VECTOR_BITS[space](cfg)) - 1
    words = [int(value) & mask for value in values.tolist()]
    return Block(space, 0, addr, words + [0] * (-len(words) % cfg.n_pe), spread=True)


def scale_blocks(layer: CompressedLayer, addr: int, cfg: ArchConfig) -> list[Block]:
    """The scales of a layer's rows, if it has any, in the activation SRAM from address `addr` on."""
    scale = layer.row_scale
    return [] if scale is None else [vector_block(IoSpace.ACT_SRAM, addr, scale, cfg)]


def weight_blocks(inter: Interleaved, cfg: ArchConfig, *, word: int = 0, column: int = 0) -> list[Block]:
    """Matrix words from `word` on and pointers from column `column` on (even, of pairs), for every PE.

    Of an index-free machine the block tables from entry `column` on, each by the first PE of its segment.
    """
    blocks: list[Block] = []
    for k in range(inter.n_pe):
        blocks.append(Block(IoSpace.SPMAT, k, word, PackedEntries(inter, k, cfg)))
        if not isinstance(inter, PlacedBlocks):
            blocks.append(Block(IoSpace.PTR, k, column // cfg.group, pointer_words(inter, k, cfg).tolist()))
    if isinstance(inter, PlacedBlocks):
        blocks += [
            Block(IoSpace.PTR, s * cfg.segment_pes, number << BLOCK_FIELD_BITS, list(entry))
            for s, table in enumerate(inter.tables)
            for number, entry in enumerate(table, column)
        ]
    return [block for block in blocks if len(block)]


def images_of(blocks: Iterable[Block], cfg: ArchConfig) -> list[PeImage]:
    """What blocks for SRAMs (`IMAGE_SPACES`) put into each PE's, as images; words in between are 0."""
    memories: dict[tuple[int, IoSpace], list[int]] = {}
    for block in blocks:
        given = list(block.words)
        for k in range(cfg.n_pe) if block.spread else (block.pe,):
            part = given[(k - block.pe) % cfg.n_pe :: cfg.n_pe] if block.spread else given
            words = memories.setdefault((k, block.space), [])
            # A spread block that begins with another PE than 0 reaches the PEs before it one address later.
            first = block.addr + (block.spread and k < block.pe)
            words.extend([0] * (first - len(words)))
            words[first : first + len(part)] = part
    images = []
    for k in range(cfg.n_pe):
        spmat, pointers, act = (memories.get((k, space), []) for space in IMAGE_SPACES)
        banks = len(pointer_srams(cfg))
        images.append(PeImage(spmat, tuple(pointers[bank::banks] for bank in range(banks)), act))
    return images


def hex_image(words: list[int], bits: int, depth: int) -> str:
    """Text for Verilog's $readmemh: `depth` words of `bits` bits, unused ones 0.

    Raises
    ------
    LayerError : more words than the memory holds.
    """
    if len(words) > depth:
        raise LayerError(f"an image of {len(words)} words does not fit a memory of {depth}")
    digits = -(-bits // 4)
    lines = [f"{word:0{digits}x}" for word in words]
    lines += ["0" * digits] * (depth - len(words))
    return "\n".join(lines) + "\n"
