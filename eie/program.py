"""A layer as the host sees it: memory images, and the writes and reads that run it through the I/O port.

Golden and RTL run the same program; docs/formats.md gives the images, docs/architecture.md the I/O port.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from eie.config import ArchConfig
from eie.csc import Interleaved, interleave
from eie.errors import LayerError
from eie.layer import CompressedLayer, as_activations
from eie.schema import ConfigReg, IoSpace
from eie.timing import rows_per_pe


class Write(NamedTuple):
    """One write through the I/O port: `data` is the two's complement bit pattern."""

    space: IoSpace
    pe: int
    addr: int
    data: int


@dataclass(frozen=True)
class PeImage:
    """Contents of one PE's memories, from address 0 on, as bit patterns.

    spmat : words of `word_bits` bits; even, odd : pointers of the even and of the odd columns.
    """

    spmat: list[int]
    even: list[int]
    odd: list[int]


def pack_words(v: npt.NDArray[np.uint8], z: npt.NDArray[np.uint8], cfg: ArchConfig) -> list[int]:
    """Entries packed into SRAM words: entry e of a word at bits [entry_bits * e ...], v in the low bits.

    >>> [hex(w) for w in pack_words(np.uint8([1, 2, 0, 3]), np.uint8([2, 0, 15, 2]), ArchConfig())]
    ['0x23f00221']
    """
    entries = v.astype(np.uint16) | (z.astype(np.uint16) << cfg.weight_bits)
    words = -(-len(entries) // cfg.entries_per_word)
    padded = np.zeros(words * cfg.entries_per_word, np.uint16)
    padded[: len(entries)] = entries
    bits = np.zeros((words, cfg.word_bits), np.uint8)
    spread = (padded[:, None] >> np.arange(cfg.entry_bits)) & 1
    bits[:, : cfg.entries_per_word * cfg.entry_bits] = spread.reshape(
        words, cfg.entries_per_word * cfg.entry_bits
    )
    packed = np.packbits(bits, axis=1, bitorder="little")
    return [int.from_bytes(row.tobytes(), "little") for row in packed]


def check_layer(layer: CompressedLayer, cfg: ArchConfig) -> None:
    """Raise `LayerError` or `CapacityError` unless a layer is sound and fits a configuration."""
    layer.check(full=True)
    layer.check_widths(weight_bits=cfg.weight_bits, code_bits=cfg.code_bits, acc_bits=cfg.acc_bits)
    cfg.check_fits(layer)


@dataclass(frozen=True, eq=False)
class Job:
    """One layer and one input vector on one configuration, checked against it.

    Raises
    ------
    CapacityError, LayerError : the layer or the input does not fit.
    """

    layer: CompressedLayer
    x: npt.NDArray[np.int64]
    cfg: ArchConfig

    @classmethod
    def create(cls, layer: CompressedLayer, x: npt.ArrayLike, cfg: ArchConfig) -> Job:
        """Check and pair a layer, its input vector (int[cols]) and a configuration."""
        check_layer(layer, cfg)
        return cls(layer, as_activations(x, layer, cfg.act_bits), cfg)

    @cached_property
    def interleaved(self) -> Interleaved:
        """The layer distributed over the PEs."""
        return interleave(self.layer, self.cfg.n_pe, self.cfg.index_bits)

    @cached_property
    def images(self) -> list[PeImage]:
        """Memory contents of each PE."""
        return memory_images(self.interleaved, self.cfg)

    @property
    def active(self) -> npt.NDArray[np.int64]:
        """Columns with a non-zero activation, ascending."""
        return np.flatnonzero(self.x)

    @property
    def rows_per_pe(self) -> int:
        """Accumulators in use on each PE."""
        return rows_per_pe(self.layer, self.cfg)

    def _interleaved_writes(
        self, space: IoSpace, values: npt.NDArray[np.integer], bits: int
    ) -> Iterator[Write]:
        # The last local row is written on every PE, real or not, so that nothing of an earlier layer stays.
        n = self.cfg.n_pe
        padded = np.zeros(-(-len(values) // n) * n, np.int64)
        padded[: len(values)] = values
        mask = (1 << bits) - 1
        for i, value in enumerate(padded.tolist()):
            yield Write(space, i % n, i // n, value & mask)

    def load_writes(self) -> list[Write]:
        """Configuration, codebook, biases and activations: what every run of a layer loads."""
        layer, cfg = self.layer, self.cfg
        config = {
            ConfigReg.PRODUCT_SHIFT: layer.product_shift,
            ConfigReg.OUTPUT_SHIFT: layer.output_shift,
            ConfigReg.RELU: int(layer.relu),
            ConfigReg.WB_ROWS: self.rows_per_pe,
        }
        writes = [Write(IoSpace.CONFIG, 0, reg, value) for reg, value in config.items()]
        codebook = np.zeros(cfg.n_codes, np.int64)
        codebook[: len(layer.codebook)] = layer.codebook
        code_mask = (1 << cfg.code_bits) - 1
        writes += [
            Write(IoSpace.CODEBOOK, 0, i, code & code_mask) for i, code in enumerate(codebook.tolist())
        ]
        writes += self._interleaved_writes(IoSpace.ACC, layer.bias, cfg.acc_bits)
        writes += self._interleaved_writes(IoSpace.ACT, self.x, cfg.act_bits)
        return writes

    def weight_writes(self) -> list[Write]:
        """Pointers and entries: what has to be loaded once per layer, unless the images initialise the SRAMs."""
        writes = []
        for k, image in enumerate(self.images):
            writes += [Write(IoSpace.SPMAT, k, i, word) for i, word in enumerate(image.spmat)]
            writes += [Write(IoSpace.PTR, k, 2 * i, pointer) for i, pointer in enumerate(image.even)]
            writes += [Write(IoSpace.PTR, k, 2 * i + 1, pointer) for i, pointer in enumerate(image.odd)]
        return writes

    def y_from_acc(self, acc: list[list[int]]) -> npt.NDArray[np.int16]:
        """Output vector int16[rows] from the accumulators read back, acc[PE][local row] (sign-extended words)."""
        low = np.array([[word & 0xFFFF for word in pe] for pe in acc], dtype=np.uint16)
        return low.T.ravel()[: self.layer.rows].view(np.int16)


def memory_images(inter: Interleaved, cfg: ArchConfig) -> list[PeImage]:
    """Memory contents of each PE for an interleaved layer."""
    images = []
    for k in range(inter.n_pe):
        v, z, pointers = inter.pe(k)
        packed = (pointers // cfg.entries_per_word << cfg.sel_bits) | pointers % cfg.entries_per_word
        images.append(PeImage(pack_words(v, z, cfg), packed[0::2].tolist(), packed[1::2].tolist()))
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
