"""Compiled loops of a layer's arithmetic (`eie.fixed`), for the fast engine and for whole batches.

Import this module where it is used, not at the top: it loads numba.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from eie.fixed import IntArray, limits
from eie.jit import compiled
from eie.layer import CompressedLayer

Array = npt.NDArray[Any]


@compiled
def accumulate(
    indptr: Array,
    rows: Array,
    codes: Array,
    codebook: Array,
    active: Array,
    x: Array,
    shift: int,
    adder: bool,
    low: int,
    high: int,
    acc: Array,
    saturated: Array,
) -> None:
    """Add the entries of each active column to `acc`, int32[rows], in order, saturating to low..high.

    A column's products take as many values as the codebook has codes, so they are rounded once for each code. Fillers
    add nothing and are left out. saturated : int64[n_pe], entries clipped; row i belongs to PE i mod n_pe.
    """
    pe_mask = np.uint32(saturated.size - 1)
    products = np.empty(256, np.int64)
    half = 1 << (shift - 1) if shift else 0
    for m in range(active.size):
        j = active[m]
        value = np.int64(x[j])
        for c in range(codebook.size):
            product = codebook[c] * value
            if adder:  # twice the smaller magnitude, where both have one sign
                product = 2 * min(abs(codebook[c]), abs(value)) if product > 0 else np.int64(0)
            products[c] = (product + half) >> shift
        span_rows = rows[indptr[j] : indptr[j + 1]]
        span_codes = codes[indptr[j] : indptr[j + 1]]
        for e in range(span_rows.size):
            row = span_rows[e]
            total = acc[row] + products[span_codes[e]]
            if total > high or total < low:
                total = high if total > high else low
                saturated[row & pe_mask] += 1
            acc[row] = total


@compiled
def write_back(
    acc: Array,
    less: int,
    scale: Array,
    relu: bool,
    shift: int,
    low: int,
    high: int,
    y: Array,
    saturated: Array,
) -> None:
    """Every accumulator less `less`, times its row's scale, ReLU, rounding shift and saturation, into `y`.

    scale : int64[rows]; saturated : int64[n_pe], rows clipped.
    """
    n_pe = saturated.size
    half = 1 << (shift - 1) if shift else 0
    for i in range(acc.size):
        total = (np.int64(acc[i]) - less) * scale[i]
        exact = (np.int64(0) if relu and total < 0 else total) + half >> shift
        clipped = max(low, min(exact, high))
        saturated[i % n_pe] += clipped != exact
        y[i] = clipped


@compiled
def _many(
    indptr: Array,
    rows: Array,
    codes: Array,
    codebook: Array,
    bias: Array,
    inputs: Array,
    product_shift: int,
    adder: bool,
    acc_limits: tuple[int, int],
    scale: Array,
    relu: bool,
    output_shift: int,
    act_limits: tuple[int, int],
    y: Array,
    clipped: Array,
) -> None:
    acc = np.empty(bias.size, np.int32)
    for b in range(inputs.shape[0]):
        # A loop: numba compiles the check of shapes, with its message, for longer than all of this.
        for i in range(bias.size):
            acc[i] = bias[i]
        x = inputs[b]
        less = np.int64(0)
        if adder:
            for j in range(x.size):
                less += abs(x[j])
        accumulate(
            indptr,
            rows,
            codes,
            codebook,
            np.flatnonzero(x),
            x,
            product_shift,
            adder,
            acc_limits[0],
            acc_limits[1],
            acc,
            clipped[b, 0],
        )
        write_back(
            acc,
            less,
            scale,
            relu,
            output_shift,
            act_limits[0],
            act_limits[1],
            y[b],
            clipped[b, 1],
        )


def compute_many(
    layer: CompressedLayer, inputs: IntArray, acc_bits: int, act_bits: int, n_pe: int = 1
) -> tuple[npt.NDArray[np.int16], IntArray]:
    """A layer's matrix times vectors, int64[batch, cols], column by column, as every engine computes it.

    Returns y, int16[batch, rows], and what was clipped, int64[batch, 2, n_pe]: additions, and outputs. Row i counts for
    PE i mod n_pe, a power of two.
    """
    y = np.empty((len(inputs), layer.rows), np.int16)
    clipped = np.zeros((len(inputs), 2, n_pe), np.int64)
    scale = layer.row_scale
    _many(
        layer.indptr,
        # Unsigned numbers are indices as they are; negative ones would have to be looked for.
        layer.indices.view(np.uint32),
        layer.codes,
        layer.codebook.astype(np.int64),
        layer.bias,
        np.ascontiguousarray(inputs),
        layer.product_shift,
        layer.adder,
        limits(acc_bits),
        np.ones(layer.rows, np.int64) if scale is None else scale.astype(np.int64),
        layer.relu,
        layer.output_shift,
        limits(act_bits),
        y,
        clipped,
    )
    return y, clipped
