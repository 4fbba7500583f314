"""Block-diagonal matrices: where the blocks lie, which of them have the same weights, and their codes. docs/blocks.md
is the reference.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from eie.errors import LayerError

ALIGNED, SHUFFLED, PERMUTED = ORDERS = ("aligned", "shuffled", "permuted")
MAX_SEED = (1 << 32) - 1
# Beside the code of "no weight" that a layer has, which a block has not.
MAX_VALUES = 255

Ints = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]


def _random_order(count: int, stream: int) -> Ints:
    """0 .. count - 1, ascending by the numbers that splitmix64 (Steele et al., 2014) gives from the state `stream`."""
    with np.errstate(over="ignore"):
        z = np.uint64(stream) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ z >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ z >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return np.argsort(z ^ z >> np.uint64(31), kind="stable")


def _starts(count: int, parts: int) -> Ints:
    """Where so many parts begin, and the end: the first count % parts of them are one longer than the others."""
    each, more = divmod(count, parts)
    number = np.arange(parts + 1)
    return number * each + np.minimum(number, more)


@dataclass(frozen=True)
class BlockStructure:
    """Where the weights of a block-diagonal matrix lie, and which blocks are the same.

    Rows, in `row_order`, and columns, in `col_order`, are cut into `blocks` parts each, the first ones one longer where
    the number does not divide. Block b is where the rows of part b meet the columns of part b; elsewhere there are no
    weights. Blocks b and b + distinct have the same weights: a smaller one has the upper left ones.

    Parameters
    ----------
    rows, cols : of the matrix, each at least `blocks`.
    blocks : at least 1, which is a dense matrix.
    order : "aligned": rows and columns as they are. "shuffled": column j belongs to block j mod blocks (the stride
        permutation of a channel shuffle); rows as they are. "permuted": both at random, by `seed`.
    distinct : blocks that differ, 1 (all the same) to `blocks`; 0 stands for `blocks`.
    seed : of "permuted", 0 to 2**32 - 1; otherwise 0.

    Raises
    ------
    LayerError : numbers that make no blocks.

    Examples
    --------
    >>> structure = BlockStructure(rows=5, cols=7, blocks=2, order="shuffled")
    >>> structure.rows_of(0).tolist(), structure.cols_of(0).tolist()
    ([0, 1, 2], [0, 2, 4, 6])
    >>> structure.mask().astype(int).tolist()[2:4]
    [[1, 0, 1, 0, 1, 0, 1], [0, 1, 0, 1, 0, 1, 0]]
    """

    rows: int
    cols: int
    blocks: int
    order: str = ALIGNED
    distinct: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.distinct:
            object.__setattr__(self, "distinct", self.blocks)
        for name in ("rows", "cols", "blocks", "distinct", "seed"):
            if type(getattr(self, name)) is not int:
                raise LayerError(f"{name} of blocks must be an integer, not {getattr(self, name)!r}")
        most = min(self.rows, self.cols)
        if not 1 <= self.blocks <= most:
            raise LayerError(
                f"a {self.rows} x {self.cols} matrix has from 1 to {most} blocks, not {self.blocks}"
            )
        if not 1 <= self.distinct <= self.blocks:
            raise LayerError(
                f"of {self.blocks} blocks from 1 to {self.blocks} are distinct, not {self.distinct}"
            )
        if self.order not in ORDERS:
            raise LayerError(f"order of blocks must be one of {', '.join(ORDERS)}, not {self.order!r}")
        if not 0 <= self.seed <= (MAX_SEED if self.order == PERMUTED else 0):
            raise LayerError(
                f"seed of blocks must be from 0 to {MAX_SEED}, and 0 unless the order is permuted, not {self.seed}"
            )

    def __str__(self) -> str:
        """In words."""
        same = "" if self.distinct == self.blocks else f", {self.distinct} distinct"
        return f"{self.blocks} blocks{same}, {self.order}"

    # ---- places --------------------------------------------------------------------------------------------

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, cols) of the matrix."""
        return self.rows, self.cols

    @cached_property
    def row_starts(self) -> Ints:
        """Place in `row_order` at which each block begins, and the end, int64[blocks + 1]."""
        return _starts(self.rows, self.blocks)

    @cached_property
    def col_starts(self) -> Ints:
        """Place in `col_order` at which each block begins, and the end, int64[blocks + 1]."""
        return _starts(self.cols, self.blocks)

    @cached_property
    def row_order(self) -> Ints:
        """The row of the matrix at each place, int64[rows]."""
        return _random_order(self.rows, 2 * self.seed) if self.order == PERMUTED else np.arange(self.rows)

    @cached_property
    def col_order(self) -> Ints:
        """The column of the matrix, that is the input, at each place, int64[cols]."""
        if self.order == PERMUTED:
            return _random_order(self.cols, 2 * self.seed + 1)
        if self.order == SHUFFLED:
            return np.concatenate([np.arange(b, self.cols, self.blocks) for b in range(self.blocks)])
        return np.arange(self.cols)

    def height(self, block: int) -> int:
        """Rows of a block; never more than of the block before."""
        return int(self.row_starts[block + 1] - self.row_starts[block])

    def width(self, block: int) -> int:
        """Columns of a block; never more than of the block before."""
        return int(self.col_starts[block + 1] - self.col_starts[block])

    def rows_of(self, block: int) -> Ints:
        """Rows of the matrix that a block has, in the block's order."""
        return self.row_order[self.row_starts[block] : self.row_starts[block + 1]]

    def cols_of(self, block: int) -> Ints:
        """Columns of the matrix that a block has, in the block's order."""
        return self.col_order[self.col_starts[block] : self.col_starts[block + 1]]

    @property
    def entries(self) -> int:
        """Elements of the matrix that are in a block."""
        return self._elements(self.blocks)

    @property
    def stored(self) -> int:
        """Elements of the distinct blocks."""
        return self._elements(self.distinct)

    def _elements(self, count: int) -> int:
        """Elements of the first `count` blocks, without a look at each: a file may claim millions of them."""
        (high, tall), (wide, broad) = divmod(self.rows, self.blocks), divmod(self.cols, self.blocks)
        tall, broad = min(tall, count), min(broad, count)
        return count * high * wide + tall * wide + broad * high + min(tall, broad)

    def mask(self) -> npt.NDArray[np.bool_]:
        """Which elements of the matrix are in a block, bool[rows, cols]."""
        found = np.zeros(self.shape, bool)
        for block in range(self.blocks):
            found[np.ix_(self.rows_of(block), self.cols_of(block))] = True
        return found

    def split(self, stored: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
        """The distinct blocks, [height, width] each, of what they hold one after the other, each row after row."""
        sizes = [(self.height(d), self.width(d)) for d in range(self.distinct)]
        parts = np.split(stored, np.cumsum([h * w for h, w in sizes])[:-1])
        return [part.reshape(size) for part, size in zip(parts, sizes, strict=True)]

    @cached_property
    def _of_rows(self) -> tuple[Ints, Ints]:
        """Block of each row, and the row's place in it."""
        return _members(self.row_order, self.row_starts)

    @cached_property
    def _of_cols(self) -> tuple[Ints, Ints]:
        """Block of each column, and the column's place in it."""
        return _members(self.col_order, self.col_starts)

    def locate(self, rows: npt.NDArray[Any], cols: npt.NDArray[Any]) -> tuple[Ints, Ints]:
        """The block of each element (-1: in none), and the number of its weight among the `stored` ones.

        These are counted block after block, each row after row.
        """
        block, row = (found[rows] for found in self._of_rows)
        other, col = (found[cols] for found in self._of_cols)
        heights, widths = (np.diff(starts)[: self.distinct] for starts in (self.row_starts, self.col_starts))
        first = np.concatenate(([0], np.cumsum(heights * widths)))
        source = block % self.distinct
        return np.where(block == other, block, -1), first[source] + row * widths[source] + col


def _members(order: Ints, starts: Ints) -> tuple[Ints, Ints]:
    sizes = np.diff(starts)
    block, place = np.empty_like(order), np.empty_like(order)
    block[order] = np.repeat(np.arange(sizes.size), sizes)
    place[order] = np.arange(order.size) - np.repeat(starts[:-1], sizes)
    return block, place


# ---- codes -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class BlockCodes:
    """The weights of a block-diagonal matrix without indices: the code of every element of its distinct blocks.

    In a block all 2**bits codes are weights; one of the values may be 0.

    Parameters
    ----------
    structure : where the blocks lie.
    codes : uint8[height(d), width(d)] of each distinct block d.
    codebook : int16[2**bits], bits 1 to 8, ascending; what is left over repeats the last value.

    Raises
    ------
    LayerError : arrays that are not these.
    """

    structure: BlockStructure
    codes: tuple[Bytes, ...]
    codebook: npt.NDArray[np.int16]

    def __post_init__(self) -> None:
        s, size = self.structure, len(self.codebook)
        if self.codebook.dtype != np.int16 or size not in {1 << bits for bits in range(1, 9)}:
            raise LayerError(f"a codebook of blocks must be int16 of 2, 4, 8, ... 256 values, not {size}")
        if (np.diff(self.codebook.astype(np.int64)) < 0).any():
            raise LayerError("a codebook of blocks must ascend")
        if len(self.codes) != s.distinct:
            raise LayerError(f"there must be codes of {s.distinct} distinct blocks, not of {len(self.codes)}")
        for d, block in enumerate(self.codes):
            if block.dtype != np.uint8 or block.shape != (s.height(d), s.width(d)):
                raise LayerError(
                    f"codes of block {d} must be uint8[{s.height(d)}, {s.width(d)}], "
                    f"not {block.dtype}{list(block.shape)}"
                )
            if block.max() >= size:
                raise LayerError(f"block {d}: code {int(block.max())} is outside the codebook of {size}")

    @property
    def bits(self) -> int:
        """Bits of a code."""
        return (len(self.codebook) - 1).bit_length()

    @classmethod
    def of(
        cls,
        structure: BlockStructure,
        rows: npt.NDArray[Any],
        cols: npt.NDArray[Any],
        values: npt.NDArray[np.int16],
        known: npt.NDArray[np.int16] | None = None,
    ) -> BlockCodes:
        """From the elements of the matrix that are not 0, by row and column; `known`: values that have a code even if
        no element has them.

        Raises
        ------
        LayerError : an element in no block; blocks that should be the same and are not; too many values.
        """
        block, place = structure.locate(rows, cols)
        if block.size and block.min() < 0:
            at = int(np.argmin(block))
            raise LayerError(
                f"the weight in row {int(rows[at])}, column {int(cols[at])} is in none of the blocks"
            )
        stored = np.zeros(structure.stored, np.int16)
        first = block < structure.distinct
        stored[place[first]] = values[first]
        differs = stored[place] != values
        if differs.any():
            raise _unequal(structure, int(block[np.argmax(differs)]))
        blocks = structure.split(stored)
        found = np.bincount(block, minlength=structure.blocks)
        for b in range(structure.distinct, structure.blocks):
            same = blocks[b % structure.distinct][: structure.height(b), : structure.width(b)]
            if np.count_nonzero(same) != found[b]:
                raise _unequal(structure, b)
        table = np.unique(stored if known is None else np.concatenate((stored, known)))
        if np.count_nonzero(table) > MAX_VALUES:
            raise LayerError(f"blocks have at most {MAX_VALUES} values that are not 0")
        bits = max(1, (table.size - 1).bit_length())
        codebook = np.concatenate((table, np.repeat(table[-1:], (1 << bits) - table.size)))
        codes = np.searchsorted(table, stored).astype(np.uint8)
        return cls(structure, tuple(structure.split(codes)), codebook)

    def expanded(self) -> tuple[Ints, npt.NDArray[np.int32], Bytes, npt.NDArray[np.int16]]:
        """The matrix in columns as a `CompressedLayer` has it: indptr, indices, codes and codebook.

        A weight of 0 has no entry there. The codebook has 0, the other values in ascending order, and zeros behind
        them up to a power of 2: one code more than in the blocks, so that it may take one bit more.
        """
        s = self.structure
        values = np.unique(self.codebook)
        values = values[values != 0]
        if values.size > MAX_VALUES:
            raise LayerError(f"blocks have at most {MAX_VALUES} values that are not 0, not {values.size}")
        codebook = np.zeros(1 << max(1, int(values.size).bit_length()), np.int16)
        codebook[1 : 1 + values.size] = values
        code = np.where(self.codebook == 0, 0, 1 + np.searchsorted(values, self.codebook)).astype(np.uint8)
        counts, columns = np.zeros(s.cols, np.int64), []
        for b in range(s.blocks):
            part = code[self.codes[b % s.distinct][: s.height(b), : s.width(b)].T]
            rows = s.rows_of(b)
            order = np.argsort(rows)  # ascending in each column
            part, rows = part[:, order], rows[order].astype(np.int32)
            kept = part != 0
            counts[s.cols_of(b)] = kept.sum(axis=1)
            columns.append((part[kept], np.broadcast_to(rows, part.shape)[kept]))
        codes, indices = (np.concatenate(each) for each in zip(*columns, strict=True))
        indptr = np.concatenate(([0], np.cumsum(counts)))
        if s.order != ALIGNED:
            # Where the entries of each column stand among those of the blocks.
            starts = np.cumsum(counts[s.col_order]) - counts[s.col_order]
            shift = np.empty(s.cols, np.int64)
            shift[s.col_order] = starts
            places = np.repeat(shift - indptr[:-1], counts) + np.arange(codes.size)
            codes, indices = codes[places], indices[places]
        return indptr, indices, codes, codebook


def _unequal(structure: BlockStructure, block: int) -> LayerError:
    return LayerError(
        f"block {block} does not have the weights of block {block % structure.distinct}, as "
        f"{structure.distinct} distinct of {structure.blocks} blocks do"
    )
