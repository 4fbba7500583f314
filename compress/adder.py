"""Networks of layers that add, in fixed point: one scale for inputs and weights, a scale for each row (docs/adder.md).

For each layer, in order, from real inputs of the first one:

    x_frac      the most fraction bits at which its inputs fit an activation, one bit left free; of a layer that adds
                also at which no input whatever makes a sum leave the accumulator
    codes       a weight beyond what 16 bits hold is lowered to it, and the difference goes into the bias: exact,
                because no activation is larger; so is a weight below 0 left out where inputs are never negative
    scale_frac  the most at which the largest scale of a row has 16 bits
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from eie.compress.float_layers import FloatArray, batches, distances
from eie.compress.format.file import measure
from eie.compress.forward import fixed_layer
from eie.compress.pipeline import CompressionReport, LayerReport
from eie.compress.quantize import Scales, Widths, largest_frac, quantize_layer
from eie.compress.share import SharedLayer
from eie.conv import from_vectors, to_vectors
from eie.errors import LayerError, ModelError
from eie.fixed import MAX_SHIFT, IntArray, limits, quantize
from eie.layer import CompressedLayer

# Bits, sign included, that inputs of a layer that adds must have left: with fewer they say next to nothing.
_FEWEST_BITS = 5


@dataclass(frozen=True, eq=False)
class AdderLayer:
    """A layer as training leaves it: y = gain * (core + bias), then ReLU, and pooling of a convolution.

    shared : weights, bias, ReLU and geometry. adder : core is -sum |x - w|, otherwise sum w x. positive : inputs are
    never negative. gain : float64[rows], or None for 1; it is the gain of the normalisation behind the layer, and the
    normalisation's offset over the gain is in the bias.
    """

    shared: SharedLayer
    adder: bool = False
    positive: bool = False
    gain: FloatArray | None = None

    def core(self, vectors: FloatArray) -> FloatArray:
        """[n, rows] for vectors [n, cols]."""
        weights = self.shared.centroids[self.shared.codes]
        if not self.adder:
            return vectors @ weights.T
        return -distances(vectors, weights)

    def forward(self, x: FloatArray) -> tuple[FloatArray, float]:
        """Outputs [batch, outputs] for inputs [batch, inputs], and the largest before pooling."""
        conv, cols = self.shared.conv, self.shared.codes.shape[1]
        done, largest = [], 0.0
        for part in batches(conv, x, cols):
            y = self.core(to_vectors(conv, part, cols)) + self.shared.bias
            y = y if self.gain is None else y * self.gain
            y = np.maximum(y, 0.0) if self.shared.relu else y
            largest = max(largest, float(np.abs(y).max(initial=0)))
            done.append(from_vectors(conv, y))
        return np.concatenate(done), largest

    def integers(self, x_frac: int) -> tuple[IntArray, IntArray]:
        """Codes of the table, int64[2**bits], and biases of a layer that adds, with so many fraction bits."""
        exact = np.floor(np.ldexp(self.shared.centroids, x_frac) + 0.5).astype(np.int64)
        low, high = limits(16)
        table = np.clip(exact, 0 if self.positive else low + 1, high)
        bias = np.floor(np.ldexp(self.shared.bias, x_frac) + 0.5).astype(np.int64)
        return table, bias - np.abs(exact)[self.shared.codes].sum(axis=1)

    def fits(self, x_frac: int, widths: Widths) -> bool:
        """Whether no input makes a sum of a layer that adds leave the accumulator."""
        if np.abs(self.shared.bias).max() * 2.0**x_frac >= 1 << 31:
            return False
        table, bias = self.integers(x_frac)
        low, high = limits(widths.acc_bits)
        largest = bias + 2 * np.abs(table)[self.shared.codes].sum(axis=1)
        return bool(bias.min() >= low and largest.max() <= high)

    def x_frac(self, largest: float, widths: Widths) -> int:
        """Fraction bits of inputs that reach `largest`.

        Raises
        ------
        ModelError : none keeps the sums inside the accumulator.
        """
        most = largest_frac(largest, widths.act_bits, widths.headroom)
        if not self.adder:
            return most
        for frac in range(most, largest_frac(largest, _FEWEST_BITS) - 1, -1):
            if self.fits(frac, widths):
                return frac
        raise ModelError(
            f"layer {self.shared.name!r}: no scale keeps its sums inside {widths.acc_bits} bits for every input and "
            f"leaves inputs {_FEWEST_BITS} bits: use wider accumulators"
        )


def adder_network(
    layers: Sequence[AdderLayer], x: FloatArray, widths: Widths | None = None
) -> tuple[list[CompressedLayer], CompressionReport]:
    """The network in fixed point, and its report. x : calibration inputs of the first layer, [batch, inputs].

    Raises
    ------
    ModelError : no scales keep its sums inside the accumulators, or a row's normalisation does not fit.
    """
    widths = widths or Widths(acc_bits=24)
    found: list[tuple[CompressedLayer, Scales]] = []
    x_frac = layers[0].x_frac(float(np.abs(x).max()), widths)
    exact = quantize(x, x_frac, widths.act_bits)
    for number, layer in enumerate(layers):
        y, largest = layer.forward(x)
        following = layers[number + 1 : number + 2]
        y_frac = (
            following[0].x_frac(largest, widths)
            if following
            else largest_frac(largest, widths.act_bits, widths.headroom)
        )
        try:
            if layer.adder:
                fixed = _added(layer, x_frac, y_frac)
            else:
                fixed = _multiplied(layer, x, exact, x_frac, y_frac, widths)
            exact, *_ = fixed_layer(fixed, exact, widths.acc_bits, widths.act_bits)
        except LayerError as error:
            raise ModelError(str(error)) from None
        _check_scales(fixed, y)
        scales = Scales(
            x_frac,
            fixed.w_frac,
            fixed.acc_frac,
            fixed.y_frac,
            float(np.abs(x).max()),
            float(np.abs(layer.shared.centroids).max()),
            float(np.abs(layer.core(to_vectors(fixed.conv, x[:8], fixed.cols))).max()),
            largest,
        )
        found.append((fixed, scales))
        x, x_frac = y, fixed.y_frac
    size = measure([fixed for fixed, _ in found])
    reports = tuple(
        LayerReport(
            fixed.name,
            fixed.rows,
            fixed.cols,
            fixed.nnz,
            fixed.density,
            0.0,
            0.0,
            scales,
            fixed.weight_bits,
            fixed.relu,
            of_layer,
        )
        for (fixed, scales), of_layer in zip(found, size.layers, strict=True)
    )
    text = f"{len(exact)} calibration inputs"
    return [fixed for fixed, _ in found], CompressionReport(reports, size, text)


def _scaled(layer: CompressedLayer, gain: FloatArray | None, y_frac: int, relu: bool) -> CompressedLayer:
    """The layer with a gain for each row, and outputs of at most `y_frac` fraction bits."""
    if gain is None:
        shift = layer.acc_frac - min(y_frac, layer.acc_frac)
        return replace(layer, relu=relu, output_shift=shift)
    frac = min(
        largest_frac(float(np.abs(gain).max()), 16),
        MAX_SHIFT + y_frac - layer.acc_frac,
    )
    scale = quantize(gain, frac, 16).astype(np.int16)
    shift = layer.acc_frac + frac - min(y_frac, layer.acc_frac + frac)
    return replace(layer, relu=relu, output_shift=shift, scale=scale, scale_frac=frac)


def _check_scales(layer: CompressedLayer, y: FloatArray) -> None:
    """Raise `ModelError` for a row whose scale is 0, beside another row's, and whose outputs are not.

    y : outputs of the layer in floating point, [batch, outputs].
    """
    if layer.scale is not None:
        seen = np.abs(y).reshape(len(y), layer.rows, -1).max(axis=(0, 2)) >= 0.5 * 2.0**-layer.y_frac
        lost = np.flatnonzero(seen & (layer.scale == 0))
        if lost.size:
            raise ModelError(
                f"layer {layer.name!r}: beside the largest gain of a row, that of row {lost[0]} is 0 in 16 bits, and "
                "its outputs would be lost: prune it"
            )


def _added(layer: AdderLayer, x_frac: int, y_frac: int) -> CompressedLayer:
    table, bias = layer.integers(x_frac)
    # A code whose value became 0 has no entry.
    kept = np.flatnonzero(table)
    numbers = np.zeros(len(table), np.uint8)
    numbers[kept] = np.arange(1, len(kept) + 1)
    codebook = np.zeros(1 << max(1, len(kept).bit_length()), np.int64)
    codebook[1 : len(kept) + 1] = table[kept]
    shared = layer.shared
    found = CompressedLayer.from_codes(
        numbers[shared.codes],
        codebook,
        bias,
        shared.relu,
        name=shared.name,
        x_frac=x_frac,
        w_frac=x_frac,
        conv=shared.conv,
    )
    return _scaled(replace(found, adder=True), layer.gain, y_frac, shared.relu)


def _multiplied(
    layer: AdderLayer, x: FloatArray, exact: IntArray, x_frac: int, y_frac: int, widths: Widths
) -> CompressedLayer:
    plain = layer.shared if layer.gain is None else replace(layer.shared, relu=False)
    found, *_ = quantize_layer(plain, x, exact, x_frac, widths)
    if layer.gain is None:
        return replace(found, output_shift=max(found.output_shift, found.acc_frac - y_frac))
    return _scaled(found, layer.gain, y_frac, layer.shared.relu)
