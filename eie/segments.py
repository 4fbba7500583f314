"""Where an index-free machine whose broadcast is in segments holds a layer's inputs and outputs.

Each segment is an index-free machine with its share of the PEs and of the blocks, and the inputs and outputs of these
blocks. docs/index_free.md, "A broadcast in segments", is the reference.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from eie.blocks import BlockStructure
from eie.config import ArchConfig
from eie.layer import CompressedLayer


def blocks_of_segments(structure: BlockStructure, segments: int) -> list[range]:
    """The blocks of each segment: as many, or one more in the first ones.

    >>> blocks_of_segments(BlockStructure(10, 10, 5), 2)
    [range(0, 3), range(3, 5)]
    """
    return [
        range(part[0], part[-1] + 1) if part.size else range(0)
        for part in np.array_split(np.arange(structure.blocks), segments)
    ]


def columns_of(structure: BlockStructure, blocks: range) -> npt.NDArray[np.int64]:
    """The columns of a segment's blocks, ascending."""
    found = [np.asarray(structure.cols_of(b), np.int64) for b in blocks]
    return np.sort(np.concatenate(found)) if found else np.empty(0, np.int64)


def rows_of(structure: BlockStructure, blocks: range) -> npt.NDArray[np.int64]:
    """The rows of a segment's blocks, ascending; an aligned or shuffled order has those of a block side by side."""
    if not blocks:
        return np.empty(0, np.int64)
    starts = structure.row_starts
    return np.arange(starts[blocks[0]], starts[blocks[-1] + 1])


def column_places(layer: CompressedLayer, cfg: ArchConfig) -> npt.NDArray[np.int64]:
    """The place p of each input, int64[cols]: source row p div n_pe of PE p mod n_pe."""
    return _places(layer, cfg, rows=False)


def row_places(layer: CompressedLayer, cfg: ArchConfig) -> npt.NDArray[np.int64]:
    """The place p of each output, int64[rows]: accumulator p div n_pe of PE p mod n_pe."""
    return _places(layer, cfg, rows=True)


def depth_of(places: npt.NDArray[np.int64], cfg: ArchConfig) -> int:
    """Local rows that places take on each PE."""
    return -(-(int(places.max(initial=-1)) + 1) // cfg.n_pe)


def scattered(values: npt.NDArray[np.integer], places: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """A vector whose elements stand at their places, with 0 in between, up to the last."""
    out = np.zeros(int(places.max(initial=-1)) + 1, np.int64)
    out[places] = values
    return out


def _places(layer: CompressedLayer, cfg: ArchConfig, *, rows: bool) -> npt.NDArray[np.int64]:
    if cfg.segments == 1:
        return np.arange(layer.rows if rows else layer.cols)
    structure, m = layer.blocks, cfg.segment_pes
    assert structure is not None  # checked before: eie.index_free.check_blocks
    places = np.empty(layer.rows if rows else layer.cols, np.int64)
    for s, blocks in enumerate(blocks_of_segments(structure, cfg.segments)):
        mine = (rows_of if rows else columns_of)(structure, blocks)
        local = np.arange(len(mine))
        places[mine] = local // m * cfg.n_pe + s * m + local % m
    return places
