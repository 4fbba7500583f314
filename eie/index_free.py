"""Block-diagonal layers on an index-free machine: where each block's entries stand, and the block table.

An entry is a code index alone. Block b has the rows low to high - 1, so that its rows on PE k, and how many, follow
from these two numbers; each of its columns takes as many places on every PE, so that a column's place is a product.
docs/index_free.md is the reference.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from eie.blocks import PERMUTED, SHUFFLED, BlockStructure
from eie.config import ArchConfig, bits_for
from eie.csc import Interleaved, interleave
from eie.errors import LayerError
from eie.layer import CompressedLayer
from eie.segments import blocks_of_segments, columns_of


class BlockEntry(NamedTuple):
    """An entry of the block table, its fields in the order of `eie.schema.BlockField`.

    end : column behind the block's last (of an aligned order). start : number of its first entry in the matrix SRAM,
    counted from the pass's word 0. step : places that each of its columns takes. low, high : its first row, and the
    one behind its last. turn : blocks of a shuffled order, 0 of an aligned one; that of the pass's first entry counts.
    """

    end: int
    start: int
    step: int
    low: int
    high: int
    turn: int


@dataclass(frozen=True, eq=False)
class PlacedBlocks(Interleaved):
    """A block-diagonal layer as an index-free machine holds it: z is the local row, which is not stored.

    first : int64[cols], place of each column's first entry, the same on every PE of its segment. units : int64[cols],
    number of each column's block in its segment, or of its turn (of a shuffled order). tables : of each segment an
    entry for each block. members : of each segment its columns, ascending. totals : int64[n_pe], places.
    """

    first: npt.NDArray[np.int64] = None  # type: ignore[assignment]  # the fields before it have defaults
    units: npt.NDArray[np.int64] = None  # type: ignore[assignment]
    tables: tuple[tuple[BlockEntry, ...], ...] = ()
    members: tuple[npt.NDArray[np.int64], ...] = ()
    totals: npt.NDArray[np.int64] = None  # type: ignore[assignment]

    @property
    def starts(self) -> npt.NDArray[np.int64]:
        """As `Interleaved.starts`."""
        return np.broadcast_to(self.first, (self.n_pe, len(self.first)))

    @property
    def slots(self) -> npt.NDArray[np.int64]:
        """As `Interleaved.slots`: every PE of a segment gives a block as many places."""
        return self.totals

    @property
    def stored(self) -> int:
        """As `Interleaved.stored`, with the places that a PE leaves free."""
        return int(self.totals.sum())

    def places(self, k: int) -> npt.NDArray[np.int64]:
        """As `Interleaved.places`; blocks that are stored once have the same ones."""
        lengths = np.diff(self.pointers[k])
        return np.arange(self.pointers[k, -1]) + np.repeat(self.first - self.pointers[k, :-1], lengths)

    def columns(self, col: int, stop: int, per_word: int = 0) -> Interleaved:
        """The whole layer: an index-free machine does not cut one."""
        assert (col, stop) == (0, len(self.first))
        return self

    def segment(self, s: int) -> PlacedBlocks:
        """The columns of segment s on its PEs, as a machine of their own."""
        columns, m = self.members[s], self.n_pe // len(self.tables)
        pes, base = slice(s * m, (s + 1) * m), self.base
        span = slice(base[s * m], base[(s + 1) * m])
        # On these PEs the other columns have no entries.
        pointers = np.concatenate([self.pointers[pes][:, columns], self.pointers[pes, -1:]], axis=1)
        return PlacedBlocks(
            self.v[span],
            self.z[span],
            np.ascontiguousarray(pointers),
            None,
            first=self.first[columns],
            units=self.units[columns],
            tables=(self.tables[s],),
            members=(np.arange(len(columns)),),
            totals=self.totals[pes],
        )


def check_blocks(layer: CompressedLayer, cfg: ArchConfig) -> BlockStructure:
    """The layer's block structure, refused where an index-free machine cannot run it.

    Raises
    ------
    LayerError : a layer without block structure, blocks in a random order, or codes too many for weight_bits.
    """
    structure = layer.blocks
    if structure is None:
        raise LayerError(
            f"layer {layer.name!r} has no block structure, which an index-free machine (blocks={cfg.blocks}) needs: "
            "compress or train it with --blocks, or use blocks=0"
        )
    if structure.order == PERMUTED:
        stored = int(interleave(layer, cfg.n_pe).slots.max())
        each = _heights(structure, cfg.segment_pes) * np.diff(structure.col_starts)
        here = max(int(each[list(blocks)].sum()) for blocks in blocks_of_segments(structure, cfg.segments))
        raise LayerError(
            f"layer {layer.name!r} has its blocks permuted, and an index-free machine finds rows by counting: with "
            f"indices (blocks=0) it takes {stored} entries of {cfg.weight_bits + cfg.index_bits} bits in the fullest "
            f"PE; in the order aligned or shuffled {here} of {cfg.weight_bits} bits here"
        )
    bits = bits_for(len(block_codes(layer)) - 1)
    if bits > cfg.weight_bits:
        raise LayerError(
            f"layer {layer.name!r}: its blocks have {len(block_codes(layer))} values, which need {bits}-bit code "
            f"indices and do not fit weight_bits = {cfg.weight_bits}"
        )
    return structure


def block_codes(layer: CompressedLayer) -> npt.NDArray[np.int64]:
    """The layer's codes that stand in its blocks, ascending: the machine's code index is the place in this list.

    "No weight" is among them only where a place in a block has none, so that all 2**weight_bits codes may be weights.
    """
    assert layer.blocks is not None
    there = np.bincount(layer.codes, minlength=1) > 0
    there[0] = layer.nnz < layer.blocks.entries
    return np.flatnonzero(there)


def _heights(structure: BlockStructure, n_pe: int) -> npt.NDArray[np.int64]:
    """Places that a column of each block takes on a PE: as many as on the one with most rows of it."""
    return -(-np.diff(structure.row_starts) // n_pe)


def place_blocks(layer: CompressedLayer, cfg: ArchConfig) -> PlacedBlocks:
    """Distribute a block-diagonal layer over the PEs; equal blocks that lie alike on a segment's PEs are stored once.

    Raises
    ------
    LayerError : as `check_blocks`, or an entry in no block.
    """
    structure, n_pe, m = check_blocks(layer, cfg), cfg.n_pe, cfg.segment_pes
    contents = list(_contents(layer, structure))
    places = [
        _place_segment(structure, blocks, contents, m)
        for blocks in blocks_of_segments(structure, cfg.segments)
    ]
    first = np.zeros(layer.cols, np.int64)
    units = np.zeros(layer.cols, np.int64)
    counts = np.zeros((n_pe, layer.cols), np.int64)
    for s, segment in enumerate(places):
        first[segment.columns], units[segment.columns] = segment.first, segment.units
        counts[s * m : (s + 1) * m, segment.columns] = segment.counts
    pointers = np.zeros((n_pe, layer.cols + 1), np.int64)
    np.cumsum(counts, axis=1, out=pointers[:, 1:])
    base = np.concatenate(([0], np.cumsum(pointers[:, -1])))
    v = np.empty(base[-1], np.uint8)
    rows = np.empty(base[-1], np.int32)
    for s, segment in enumerate(places):
        for b, entry in zip(segment.blocks, segment.table, strict=True):
            columns = structure.cols_of(b)
            for k in range(m):
                pe = s * m + k
                part = contents[b][:, (k - entry.low) % m :: m]
                at = base[pe] + pointers[pe, columns][:, None] + np.arange(part.shape[1])
                v[at] = part
                rows[at] = _rows_before(entry.low, m)[k] + np.arange(part.shape[1])
    return PlacedBlocks(
        v,
        rows,
        pointers,
        None,
        first=first,
        units=units,
        tables=tuple(segment.table for segment in places),
        members=tuple(segment.columns for segment in places),
        totals=np.repeat([segment.total for segment in places], m),
    )


@dataclass(frozen=True, eq=False)
class _Segment:
    """A segment's blocks: their columns of the layer, ascending; of each its place, its unit and its entries on the
    segment's PEs; the table; places that they take."""

    blocks: range
    columns: npt.NDArray[np.int64]
    first: npt.NDArray[np.int64]
    units: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]
    table: tuple[BlockEntry, ...]
    total: int


def _place_segment(
    structure: BlockStructure, blocks: range, contents: list[npt.NDArray[np.uint8]], m: int
) -> _Segment:
    """Blocks on m PEs; rows and columns are counted in the segment."""
    columns = columns_of(structure, blocks)
    steps, row_starts = _heights(structure, m).tolist(), structure.row_starts.tolist()
    # The columns of one block do not take turns with any.
    turn = len(blocks) if structure.order == SHUFFLED and len(blocks) > 1 else 0
    first = np.empty(len(columns), np.int64)
    units = np.arange(len(columns)) // turn if turn else np.empty(len(columns), np.int64)
    counts = np.empty((m, len(columns)), np.int64)
    table: list[BlockEntry] = []
    known: dict[tuple[int, tuple[int, ...], bytes], int] = {}
    total = end = 0
    for number, b in enumerate(blocks):
        low, high = (row_starts[i] - row_starts[blocks[0]] for i in (b, b + 1))
        content, step = contents[b], steps[b]
        start = known.setdefault((low % m, content.shape, content.tobytes()), total)
        total = max(total, start + step * len(content))
        mine = np.searchsorted(columns, structure.cols_of(b))
        first[mine] = start + step * np.arange(len(content))
        counts[:, mine] = _rows_before(high, m)[:, None] - _rows_before(low, m)[:, None]
        end += len(content)
        table.append(BlockEntry(end, start, step, low, high, turn))
        if not turn:
            units[mine] = number
    return _Segment(blocks, columns, first, units, counts, tuple(table), total)


def _rows_before(row: int, n_pe: int) -> npt.NDArray[np.int64]:
    """Local rows of each PE that lie before a row of the layer."""
    return row // n_pe + (row % n_pe > np.arange(n_pe))


def _contents(layer: CompressedLayer, structure: BlockStructure) -> Iterator[npt.NDArray[np.uint8]]:
    """Each block's codes as the machine has them, uint8[width, height]."""
    heights, widths = np.diff(structure.row_starts), np.diff(structure.col_starts)
    number = np.zeros(len(layer.codebook), np.uint8)
    used = block_codes(layer)
    number[used] = np.arange(len(used))
    begins = np.concatenate(([0], np.cumsum(heights * widths)))
    block = np.empty(layer.cols, np.int64)
    within = np.empty(layer.cols, np.int64)
    for b in range(structure.blocks):
        columns = structure.cols_of(b)
        block[columns], within[columns] = b, np.arange(len(columns))
    column = layer.column_of_entry()
    row = layer.indices - structure.row_starts[block[column]]
    outside = np.flatnonzero((row < 0) | (row >= heights[block[column]]))
    if outside.size:
        e = int(outside[0])
        raise LayerError(
            f"layer {layer.name!r}: the weight in row {int(layer.indices[e])}, column {int(column[e])} is in none of "
            f"its blocks"
        )
    codes = np.full(begins[-1], number[0], np.uint8)
    codes[begins[block[column]] + within[column] * heights[block[column]] + row] = number[layer.codes]
    for b in range(structure.blocks):
        yield codes[begins[b] : begins[b + 1]].reshape(widths[b], heights[b])
