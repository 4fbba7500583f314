"""Fixed-point scales, powers of two, chosen so that nothing saturates on the calibration inputs.

With x_frac, w_frac fraction bits of activations and codes, the accumulator has acc_frac = x_frac + w_frac -
product_shift and the outputs y_frac = acc_frac - output_shift. For each layer, in order:

    x_frac    of the first layer: the most at which the inputs fit an activation; of the others the y_frac before
    acc_frac  the most at which every partial sum (bias first, then the columns in ascending order) fits an accumulator
    y_frac    at most acc_frac: the most at which the outputs fit an activation
    w_frac    the most at which the largest centroid fits a code

"Fits" leaves `headroom` bits free (but for the centroids, which are known exactly). No precision is lost elsewhere:
products are exact before product_shift. If rounding still makes something saturate on a calibration input, the
layer's acc_frac and y_frac are lowered by one until nothing does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from eie.compress.float_layers import FloatArray, batches
from eie.compress.forward import fixed_layer
from eie.compress.share import SharedLayer
from eie.conv import from_vectors, to_vectors
from eie.errors import ModelError
from eie.fixed import MAX_SHIFT, IntArray, limits, quantize
from eie.layer import CompressedLayer

# Numbers below 2**-80 are as good as zero; a bound keeps their scale finite.
_MOST_FRAC = 96


@dataclass(frozen=True)
class Widths:
    """Widths in bits of codes, activations and accumulators, and the bits that the scales leave free."""

    code_bits: int = 16
    act_bits: int = 16
    acc_bits: int = 16
    headroom: int = 1

    def __post_init__(self) -> None:
        ranges = {"code_bits": (4, 16), "act_bits": (4, 16), "acc_bits": (self.act_bits, 32)}
        ranges["headroom"] = (0, self.act_bits - 2)
        for name, (low, high) in ranges.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ModelError(f"{name} must be from {low} to {high}, not {value}")


@dataclass(frozen=True)
class Scales:
    """The scales of one layer, and the magnitudes on the calibration inputs that they follow from."""

    x_frac: int
    w_frac: int
    acc_frac: int
    y_frac: int
    largest_input: float
    largest_weight: float
    largest_sum: float
    largest_output: float

    @property
    def product_shift(self) -> int:
        """Bits that a product loses on its way into the accumulator."""
        return self.x_frac + self.w_frac - self.acc_frac

    @property
    def output_shift(self) -> int:
        """Bits that an accumulator loses at write-back."""
        return self.acc_frac - self.y_frac

    @property
    def reason(self) -> str:
        """One line: what each scale follows from."""
        return (
            f"x_frac {self.x_frac}: inputs reach {self.largest_input:.4g}; w_frac {self.w_frac}: weights reach "
            f"{self.largest_weight:.4g}; acc_frac {self.acc_frac}: partial sums reach {self.largest_sum:.4g}; "
            f"y_frac {self.y_frac}: outputs reach {self.largest_output:.4g}"
        )


def largest_frac(magnitude: float, bits: int, headroom: int = 0) -> int:
    """The most fraction bits at which +-magnitude fits `bits` bits with `headroom` of them free; 1 stands for 0.

    >>> largest_frac(1.0, 16), largest_frac(0.999, 16), largest_frac(1.0, 16, headroom=1), largest_frac(300.0, 8)
    (14, 15, 13, -2)
    """
    limit = limits(bits)[1]
    magnitude = magnitude or 1.0
    # What the exponents say, or one less.
    frac = min(math.frexp(limit)[1] - math.frexp(magnitude)[1] - headroom, _MOST_FRAC)
    while math.ldexp(magnitude, frac + headroom) > limit:
        frac -= 1
    return frac


def partial_sums(layer: SharedLayer, x: FloatArray) -> tuple[float, FloatArray]:
    """Largest magnitude of any partial sum over vectors x, float64[n, cols], and the matrix's outputs [n, rows]."""
    by_column = np.ascontiguousarray(layer.codes.T)
    acc = np.repeat(layer.bias[:, None], len(x), axis=1)
    largest = float(np.abs(layer.bias).max())
    for j in np.flatnonzero(by_column.any(axis=1) & x.any(axis=0)).tolist():
        rows = np.flatnonzero(by_column[j])
        total = acc[rows] + (layer.centroids[:, None] * x[:, j])[by_column[j, rows]]
        largest = max(largest, float(total.max()), -float(total.min()))
        acc[rows] = total
    return largest, (np.maximum(acc, 0.0) if layer.relu else acc).T


def _sizes(layer: SharedLayer, x: FloatArray) -> tuple[tuple[float, float, float], FloatArray]:
    """Largest input, partial sum and output (before pooling) over inputs x, [batch, inputs], and the outputs."""
    cols = layer.codes.shape[1]
    done, largest_sum, largest_output = [], 0.0, 0.0
    for part in batches(layer.conv, x, cols):
        largest, y = partial_sums(layer, to_vectors(layer.conv, part, cols))
        largest_sum, largest_output = max(largest_sum, largest), max(largest_output, float(np.abs(y).max()))
        done.append(from_vectors(layer.conv, y))
    return (float(np.abs(x).max()), largest_sum, largest_output), np.concatenate(done)


def _choose(
    layer: SharedLayer, x_frac: int, sizes: tuple[float, float, float], widths: Widths, less: int
) -> Scales:
    """Scales from the largest input, partial sum and output, lowered by `less` where sums are kept."""
    largest_input, largest_sum, largest_output = sizes
    largest_weight = float(np.abs(layer.centroids).max())
    w_frac = largest_frac(largest_weight, widths.code_bits)
    acc_frac = min(largest_frac(largest_sum, widths.acc_bits, widths.headroom), x_frac + w_frac) - less
    # Outputs are no larger than sums: output_shift is at most acc_bits - act_bits + 1, always legal.
    y_frac = min(
        acc_frac, largest_frac(largest_output or largest_sum, widths.act_bits, widths.headroom) - less
    )
    # Weights too small to matter for these sums keep fewer bits than would fit.
    w_frac = min(w_frac, acc_frac + MAX_SHIFT - x_frac)
    return Scales(
        x_frac, w_frac, acc_frac, y_frac, largest_input, largest_weight, largest_sum, largest_output
    )


def _compressed(layer: SharedLayer, scales: Scales, widths: Widths) -> CompressedLayer:
    found = CompressedLayer.from_codes(
        layer.codes,
        quantize(layer.centroids, scales.w_frac, widths.code_bits),
        quantize(layer.bias, scales.acc_frac, widths.acc_bits),
        layer.relu,
        scales.product_shift,
        scales.output_shift,
        name=layer.name,
        x_frac=scales.x_frac,
        w_frac=scales.w_frac,
        conv=layer.conv,
    )
    return found if layer.blocks is None else found.with_blocks(layer.blocks)


def first_x_frac(x: FloatArray, widths: Widths) -> int:
    """x_frac of a first layer with calibration inputs x, float64[batch, inputs]."""
    return largest_frac(float(np.abs(x).max()), widths.act_bits, widths.headroom)


def quantize_layer(
    layer: SharedLayer, x: FloatArray, x_fixed: IntArray, x_frac: int, widths: Widths
) -> tuple[CompressedLayer, Scales, FloatArray, IntArray]:
    """One layer in fixed point, from its calibration inputs in float and in fixed point, both [batch, inputs].

    Returns the layer, its scales, and the outputs in float and in fixed point, [batch, outputs], for the next layer.
    """
    sizes, y = _sizes(layer, x)
    for less in range(widths.acc_bits):
        scales = _choose(layer, x_frac, sizes, widths, less)
        compressed = _compressed(layer, scales, widths)
        y_fixed, *saturations = fixed_layer(compressed, x_fixed, widths.acc_bits, widths.act_bits)
        if not any(saturations):
            return compressed, scales, y, y_fixed
    raise ModelError(
        f"layer {layer.name!r}: no scale keeps its sums inside {widths.acc_bits} bits on the calibration inputs"
    )
