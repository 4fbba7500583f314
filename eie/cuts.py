"""Layers cut into parts that fit the memories of one pass: row tiles, and in each of them column batches."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from eie.capacity import check_fits
from eie.config import ArchConfig
from eie.csc import Interleaved, group_lengths, places_of_groups
from eie.encoding import encode
from eie.errors import CapacityError
from eie.layer import CompressedLayer

# What ended a column batch, and what cut a layer into tiles.
WHOLE, SOURCE, POINTERS, MATRIX, REACH = "", "source file", "pointers", "matrix SRAM", "pointer width"
ACCUMULATORS = "accumulators"


@dataclass(frozen=True, eq=False)
class Cut:
    """A part of a layer that one pass computes.

    layer : number of the layer in the network. part : its rows from `row` on and columns from `col` on, as a layer of
    its own, with the bias of these rows. interleaved : the part, distributed over the PEs. first, last : of the
    batches of its tile. words : of the fullest PE's matrix SRAM. bound : what ended the batch (empty: the layer
    itself).
    """

    layer: int
    part: CompressedLayer
    interleaved: Interleaved
    row: int
    col: int
    first: bool
    last: bool
    words: int
    bound: str

    @property
    def entries(self) -> int:
        """Entries of the fullest PE, fillers and places left free included."""
        return int(self.interleaved.slots.max())


def cut_layer(layer: CompressedLayer, cfg: ArchConfig, number: int = 0) -> list[Cut]:
    """Row tiles, and in each of them column batches, that fit the memories of one pass.

    Raises
    ------
    CapacityError : N columns of a tile that exceed a memory by themselves.
    """
    if cfg.index_free:
        return [_whole(layer, cfg, number)]
    cuts: list[Cut] = []
    for row, rows in _tiles(layer, cfg.n_pe * cfg.acc_depth):
        whole = encode(rows, cfg)
        col = 0
        for stop, bound in _batches(whole, cfg, layer, row):
            inter = whole.columns(col, stop, cfg.entries_per_word)
            words = -(-int(inter.slots.max()) // cfg.entries_per_word)
            part = _columns_of(rows, col, stop)
            cuts.append(Cut(number, part, inter, row, col, col == 0, stop == layer.cols, words, bound))
            col = stop
    return cuts


def _whole(layer: CompressedLayer, cfg: ArchConfig, number: int) -> Cut:
    """A layer in one pass: an index-free machine cuts none, because its block table counts from the layer's row 0."""
    try:
        check_fits(cfg, layer)
    except CapacityError as error:
        raise CapacityError(f"an index-free machine runs each layer in one pass: {error}") from None
    inter = encode(layer, cfg)
    words = -(-int(inter.slots.max()) // cfg.entries_per_word)
    return Cut(number, layer, inter, 0, 0, True, True, words, WHOLE)


def _batches(
    whole: Interleaved, cfg: ArchConfig, layer: CompressedLayer, row: int
) -> Iterator[tuple[int, str]]:
    """The end of each batch of a tile, and what ended it."""
    n, cols = cfg.n_pe, layer.cols
    # Where a batch may stop: multiples of N, because column j is PE j mod N's, and the layer's end.
    ends = np.append(np.arange(n, cols, n), cols)
    col = place = 0
    while col < cols:
        entries = _entries_before(whole, ends[place:], col, cfg)
        widths = ends[place:][: len(entries)] - col
        # How many of the ends each memory allows; on a tie the first one is named.
        fitting = {
            SOURCE: widths <= n * cfg.src_depth,
            POINTERS: widths + cfg.pointers_for(0) + widths % cfg.group <= 2 * cfg.ptr_bank_depth,
            MATRIX: entries <= cfg.spmat_words * cfg.entries_per_word,
            REACH: entries <= cfg.pointer_reach,
        }
        counts = {memory: int(fits.sum()) for memory, fits in fitting.items()}
        bound = min(counts, key=lambda memory: counts[memory])
        if not counts[bound]:
            raise _no_plan(layer, cfg, row, col, int(widths[0]), int(entries[0]), bound)
        place += counts[bound]
        col = int(ends[place - 1])
        yield col, bound if col < cols else WHOLE


def _entries_before(
    whole: Interleaved, ends: npt.NDArray[np.int64], col: int, cfg: ArchConfig
) -> npt.NDArray[np.int64]:
    """Places of the fullest PE that the columns from `col` to each end take; of pairs none beyond what does not fit."""
    if whole.group == 1:
        return (whole.pointers[:, ends] - whole.pointers[:, [col]]).max(axis=0)
    # Where a pair stands depends on all before it: place after place, and no further than the memory reaches.
    found: list[int] = []
    before = whole.pointers[:, col:] - whole.pointers[:, [col]]
    placed = places_of_groups(group_lengths(before), cfg.entries_per_word)
    for columns, (_, stop) in zip(itertools.count(2, 2), placed, strict=False):
        if col + columns < ends[len(found)]:
            continue
        found.append(int(stop.max()))
        if len(found) == len(ends) or found[-1] > cfg.reachable_entries:
            break
    return np.array(found)


def _no_plan(
    layer: CompressedLayer, cfg: ArchConfig, row: int, col: int, width: int, entries: int, bound: str
) -> CapacityError:
    """Why not even the fewest columns that a batch may have fit."""
    needed, available, remedy = {
        POINTERS: (
            f"{cfg.pointers_for(width)} pointers",
            2 * cfg.ptr_bank_depth,
            "fewer PEs or more pointers",
        ),
        MATRIX: (
            f"{entries} entries",
            cfg.spmat_words * cfg.entries_per_word,
            "more PEs, fewer accumulators (smaller row tiles) or a larger matrix SRAM",
        ),
        REACH: (
            f"{entries} entries",
            cfg.pointer_reach,
            "more PEs, fewer accumulators (smaller row tiles) or wider pointers",
        ),
    }[bound]
    last = min(row + cfg.n_pe * cfg.acc_depth, layer.rows) - 1
    return CapacityError(
        f"layer {layer.name!r} has no plan for {cfg.n_pe} PE{'s' * (cfg.n_pe > 1)}: its columns {col} to "
        f"{col + width - 1} in rows {row} to {last} need {needed} per PE, {available} available ({bound}); "
        f"use {remedy}"
    )


def _tiles(layer: CompressedLayer, height: int) -> Iterator[tuple[int, CompressedLayer]]:
    """The first row of each tile of so many rows, and the tile as a layer of its own."""
    if layer.rows <= height:
        yield 0, layer
        return
    tile_of = layer.indices // height
    order = np.argsort(tile_of, kind="stable")
    begins = np.searchsorted(tile_of[order], np.arange(-(-layer.rows // height) + 1))
    for tile, row in enumerate(range(0, layer.rows, height)):
        # Stable, so that a tile's entries stay in their order: column after column, rows ascending.
        inside = order[begins[tile] : begins[tile + 1]]
        stop = min(row + height, layer.rows)
        yield (
            row,
            replace(
                layer,
                shape=(stop - row, layer.cols),
                indptr=np.searchsorted(inside, layer.indptr),
                indices=layer.indices[inside] - np.int32(row),
                codes=layer.codes[inside],
                bias=layer.bias[row:stop],
                conv=None,
                blocks=None,
                prefixes=(),
            ),
        )


def _columns_of(layer: CompressedLayer, col: int, stop: int) -> CompressedLayer:
    """The columns `col` to `stop` - 1 of a layer."""
    if col == 0 and stop == layer.cols:
        return layer
    begin, end = layer.indptr[col], layer.indptr[stop]
    return replace(
        layer,
        shape=(layer.rows, stop - col),
        indptr=layer.indptr[col : stop + 1] - begin,
        indices=layer.indices[begin:end],
        codes=layer.codes[begin:end],
        conv=None,
        blocks=None,
        prefixes=(),
    )
