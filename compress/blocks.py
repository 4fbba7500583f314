"""Block structure of a given matrix: found where it has one, or imposed in one shot. docs/blocks.md says what it is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from eie.blocks import ALIGNED, MAX_VALUES, SHUFFLED, BlockCodes, BlockStructure
from eie.compress.float_layers import FloatLayer
from eie.compress.share import (
    MAX_WEIGHT_BITS,
    SharedLayer,
    best_centroids,
    check_weight_bits,
    code_indices,
    squared_error,
)
from eie.errors import LayerError, ModelError

# What a matrix must have in its blocks to be worth it: weights at all, and so many of them that are not 0.
_LEAST, _LEAST_DENSITY = 256, 0.75
# Rows that are looked at first.
_SAMPLE = 64


def imposed(
    layer: FloatLayer, blocks: int, weight_bits: int | None = 4, most_error: float = 0.05
) -> SharedLayer:
    """A layer with only the weights in shuffled blocks left, which share 2**weight_bits values (0 may be one of them).

    weight_bits : 1 to 8 (8: 255 values), or None for the fewest at which sharing moves the weights left by at most
    `most_error` of their norm.

    Raises
    ------
    ModelError : a matrix that has not so many rows and columns; weight_bits out of range.
    """
    try:
        rows, cols = layer.weight.shape
        structure = BlockStructure(rows, cols, blocks, SHUFFLED)
    except LayerError as error:
        raise ModelError(f"layer {layer.name!r}: {error}") from None
    check_weight_bits(weight_bits)
    mask = structure.mask()
    values = layer.weight[mask].astype(np.float64)
    allowed = most_error**2 * float(np.square(values).sum())
    for bits in range(1, MAX_WEIGHT_BITS + 1) if weight_bits is None else (weight_bits,):
        found = best_centroids(values, min(1 << bits, MAX_VALUES))
        if squared_error(values, found) <= allowed:
            break
    centroids = np.zeros(1 << max(1, int(found.size).bit_length()))
    centroids[1 : 1 + found.size] = found
    codes = code_indices(layer.weight, mask, found)
    return SharedLayer(layer.name, codes, centroids, layer.start, layer.relu, layer.conv, blocks=structure)


def recognised(layer: SharedLayer) -> SharedLayer:
    """The layer with the blocks that it has: the most, aligned or shuffled, as few of them distinct as that. Unchanged
    where it has none, or where too many weights in them are 0.
    """
    if layer.blocks is not None:
        return layer
    found = _structure(layer.codes)
    if found is None:
        return layer
    rows, cols = np.nonzero(layer.codes)
    values = layer.codes[rows, cols].astype(np.int16)
    for distinct in range(1, found.blocks + 1):
        structure = replace(found, distinct=distinct)
        try:
            BlockCodes.of(structure, rows, cols, values)
        except LayerError:
            continue
        return replace(layer, blocks=structure)
    raise AssertionError("blocks that are all distinct fit")


def _structure(codes: npt.NDArray[np.uint8]) -> BlockStructure | None:
    rows, cols = codes.shape
    count = int(np.count_nonzero(codes))
    if count < _LEAST:
        return None
    some = np.linspace(0, rows - 1, min(rows, _SAMPLE)).astype(np.int64)
    places = np.nonzero(codes[some])
    sample = some[places[0]], places[1]
    # More blocks have no room for the weights, and with fewer most of the elements in them are 0.
    most = min(rows, cols, int(1.05 * rows * cols / count) + 1)
    for blocks in range(most, max(1, int(_LEAST_DENSITY * rows * cols / count / 1.05) - 1), -1):
        for order in (ALIGNED, SHUFFLED):
            structure = BlockStructure(rows, cols, blocks, order)
            if not _LEAST_DENSITY * structure.entries <= count <= structure.entries:
                continue
            if (structure.locate(*sample)[0] < 0).any():
                continue
            inside = sum(
                int(np.count_nonzero(codes[np.ix_(structure.rows_of(b), structure.cols_of(b))]))
                for b in range(blocks)
            )
            if inside == count:
                return structure
    return None
