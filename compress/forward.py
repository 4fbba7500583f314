"""Inference in the accelerator's arithmetic for whole batches: bit for bit what one layer after the other computes."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eie.compress.float_layers import batches, no_chain
from eie.conv import from_vectors, to_vectors
from eie.errors import LayerError
from eie.fixed import IntArray, limits, quantize
from eie.layer import CompressedLayer


@dataclass(frozen=True, eq=False)
class FixedRun:
    """Outcome of a batch: y, int16[batch, outputs of the last layer], and what was clipped in each layer.

    saturations : entries whose addition was clipped; writeback_saturations : outputs clipped. Summed over the batch.
    """

    y: npt.NDArray[np.int16]
    saturations: tuple[int, ...]
    writeback_saturations: tuple[int, ...]


def fixed_matrix(
    layer: CompressedLayer, x: IntArray, acc_bits: int = 16, act_bits: int = 16
) -> tuple[IntArray, int, int]:
    """One layer's matrix: outputs int64[n, rows] for vectors int64[n, cols], saturations, write-back saturations."""
    from eie import values

    layer.check_widths(weight_bits=8, code_bits=16, acc_bits=acc_bits)
    y, clipped = values.compute_many(layer, x, acc_bits, act_bits)
    saturations, writeback_saturations = clipped.sum(axis=(0, 2)).tolist()
    return y.astype(np.int64), saturations, writeback_saturations


def fixed_layer(
    layer: CompressedLayer, x: IntArray, acc_bits: int = 16, act_bits: int = 16
) -> tuple[IntArray, int, int]:
    """One layer: outputs int64[batch, outputs] for inputs int64[batch, inputs], saturations, write-back saturations.

    A convolution's matrix meets each position of its window, and its outputs are pooled.
    """
    done = []
    for part in batches(layer.conv, x, layer.cols):
        y, *counts = fixed_matrix(layer, to_vectors(layer.conv, part, layer.cols), acc_bits, act_bits)
        done.append((from_vectors(layer.conv, y), *counts))
    ys, saturations, writeback_saturations = zip(*done, strict=True)
    return np.concatenate(ys), sum(saturations), sum(writeback_saturations)


def check_network(layers: Sequence[CompressedLayer]) -> None:
    """Raise `LayerError` unless each layer takes the outputs of the one before it: as many, and in the same scale."""
    if problem := no_chain(layers):
        raise LayerError(problem)
    for one, two in itertools.pairwise(layers):
        if one.y_frac != two.x_frac:
            raise LayerError(
                f"layer {two.name!r} takes inputs with {two.x_frac} fraction bits, "
                f"but the outputs of {one.name!r} have {one.y_frac}"
            )


def fixed_forward(
    layers: Sequence[CompressedLayer], x: npt.ArrayLike, acc_bits: int = 16, act_bits: int = 16
) -> FixedRun:
    """Run a network on a batch of integer activations [batch, inputs of the first layer] (`quantize_inputs`).

    Raises
    ------
    LayerError : layers that do not follow one another, a bias beyond `acc_bits`, inputs of the wrong shape or width.
    """
    if not layers:
        raise LayerError("a network needs at least one layer")
    check_network(layers)
    given = np.asarray(x)
    if given.ndim != 2 or given.shape[1] != layers[0].inputs or given.dtype.kind not in "iu":
        raise LayerError(
            f"inputs of layer {layers[0].name!r} must be integers [batch, {layers[0].inputs}], "
            f"not {given.dtype} of shape {list(given.shape)}"
        )
    y = given.astype(np.int64)
    low, high = limits(act_bits)
    if y.size and not low <= int(y.min()) <= int(y.max()) <= high:
        raise LayerError(f"inputs of layer {layers[0].name!r} must lie in {low}..{high} ({act_bits} bits)")
    clipped = []
    for layer in layers:
        y, *counts = fixed_layer(layer, y, acc_bits, act_bits)
        clipped.append(counts)
    return FixedRun(y.astype(np.int16), tuple(c[0] for c in clipped), tuple(c[1] for c in clipped))


def quantize_inputs(layer: CompressedLayer, x: npt.ArrayLike, act_bits: int = 16) -> IntArray:
    """Real inputs as the layer's integer activations: `x_frac` fraction bits, saturated to `act_bits`."""
    # What overflows becomes infinite, and saturates like any other number that is too large.
    with np.errstate(over="ignore"):
        return quantize(x, layer.x_frac, act_bits)


def clipped_inputs(layer: CompressedLayer, x: npt.ArrayLike, act_bits: int = 16) -> int:
    """How many of the real inputs `quantize_inputs` saturates: those that one bit more would change."""
    return int(
        np.count_nonzero(quantize_inputs(layer, x, act_bits) != quantize_inputs(layer, x, act_bits + 1))
    )
