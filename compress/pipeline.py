"""The whole way from a trained network to a compressed one, in one shot, and a report of what it did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from eie.compress.file import measure
from eie.compress.network import FloatArray, FloatLayer, chains, check_chains, check_inputs
from eie.compress.prune import Mask, keep_above, keep_density
from eie.compress.quantize import Scales, Widths, first_x_frac, quantize_layer
from eie.compress.share import SharedLayer, share
from eie.compress.sizes import LayerSize, SizeReport
from eie.errors import ModelError
from eie.fixed import quantize
from eie.layer import CompressedLayer

# Without calibration inputs: so many vectors of independent numbers, even in [0, 1), from this seed.
FALLBACK_INPUTS = 64
FALLBACK_SEED = 1


@dataclass(frozen=True)
class Settings:
    """How to compress.

    density : share of the weights to keep (0..1]; one for all layers or one for each. threshold : keep what is larger
    than so many standard deviations of its layer; likewise. With neither, only zero weights are left out.
    weight_bits : bits of a code index. widths : of the fixed-point numbers, and the headroom of their scales.
    """

    density: Sequence[float] = ()
    threshold: Sequence[float] = ()
    weight_bits: int = 4
    widths: Widths = field(default_factory=Widths)

    def per_layer(self, layers: Sequence[FloatLayer]) -> list[Mask]:
        """Which weights of each layer survive.

        Raises
        ------
        ModelError : both density and threshold, or a number of them that is neither 1 nor the layers'.
        """
        if self.density and self.threshold:
            raise ModelError("give density or threshold, not both")
        values, keep = (
            (self.threshold, keep_above) if self.threshold else (self.density or (1.0,), keep_density)
        )
        if len(values) not in (1, len(layers)):
            what = "thresholds" if self.threshold else "densities"
            raise ModelError(f"{len(values)} {what} for {len(layers)} layers: give 1 or {len(layers)}")
        each = list(values) * len(layers) if len(values) == 1 else values
        return [keep(layer.weight, value) for layer, value in zip(layers, each, strict=True)]


@dataclass(frozen=True)
class LayerReport:
    """What became of one layer.

    relative_error : |W - W'| / |W| in the Frobenius norm, W' as the accelerator sees it (pruned, shared, rounded);
    pruning_error : the part of pruning alone. size : in the file.
    """

    name: str
    rows: int
    cols: int
    nnz: int
    density: float
    pruning_error: float
    relative_error: float
    scales: Scales
    size: LayerSize

    @property
    def bits_per_weight(self) -> float:
        """Bits in the file per stored weight, with everything but the header."""
        return 8 * self.size.nbytes / max(self.nnz, 1)


@dataclass(frozen=True)
class CompressionReport:
    """What became of a network. calibration : one line that says which inputs the scales follow from."""

    layers: tuple[LayerReport, ...]
    size: SizeReport
    calibration: str


def _relative(error: npt.NDArray[np.floating], weight: npt.NDArray[np.float32]) -> float:
    # Squares of float32 numbers overflow float32.
    error, norm = error.astype(np.float64), float(np.linalg.norm(weight.astype(np.float64)))
    return float(np.linalg.norm(error)) / norm if norm else 0.0


def _random_inputs(cols: int) -> FloatArray:
    return np.random.default_rng(FALLBACK_SEED).random((FALLBACK_INPUTS, cols))


def _quantize_network(
    layers: Sequence[SharedLayer], x: FloatArray | None, widths: Widths, chained: bool
) -> list[tuple[CompressedLayer, Scales]]:
    """Layers in fixed point, each calibrated with the outputs of the one before it, or by itself if not `chained`."""
    done: list[tuple[CompressedLayer, Scales]] = []
    for layer in layers:
        if not done or not chained:
            real = _random_inputs(layer.codes.shape[1]) if x is None else x
            x_frac = first_x_frac(real, widths)
            exact = quantize(real, x_frac, widths.act_bits)
        compressed, scales, real, exact = quantize_layer(layer, real, exact, x_frac, widths)
        x_frac = scales.y_frac
        done.append((compressed, scales))
    return done


def _calibration(x: FloatArray | None, chained: bool) -> str:
    if x is not None:
        return f"{len(x)} calibration inputs"
    text = f"{FALLBACK_INPUTS} random vectors, uniform in [0, 1), seed {FALLBACK_SEED} (no calibration inputs given)"
    return text if chained else text + ", for each layer by itself (the layers do not follow one another)"


def compress_network(
    layers: Sequence[FloatLayer], settings: Settings | None = None, calibration: npt.ArrayLike | None = None
) -> tuple[list[CompressedLayer], CompressionReport]:
    """Prune, share, choose scales, quantise. Nothing is trained; the same input gives the same result.

    `calibration`: inputs of the first layer, [batch, cols]; see `eie.compress.quantize` for what follows from them.

    Raises
    ------
    ModelError : settings that do not fit the layers; calibration inputs of the wrong shape, or layers that they
        cannot run through.
    """
    settings = settings or Settings()
    if not layers:
        raise ModelError("a network needs at least one layer")
    x = None
    if calibration is not None:
        check_chains(layers)
        x = check_inputs(calibration, layers[0].weight.shape[1], layers[0].name)
    masks = settings.per_layer(layers)
    shared = [share(layer, mask, settings.weight_bits) for layer, mask in zip(layers, masks, strict=True)]
    chained = chains(layers)
    quantized = _quantize_network(shared, x, settings.widths, chained)
    compressed = [layer for layer, _ in quantized]
    size = measure(compressed)
    reports = tuple(
        LayerReport(
            name=layer.name,
            rows=result.rows,
            cols=result.cols,
            nnz=result.nnz,
            density=result.density,
            pruning_error=_relative(layer.weight[~mask], layer.weight),
            relative_error=_relative(
                layer.weight - np.ldexp(result.decode().astype(np.float64), -result.w_frac), layer.weight
            ),
            scales=scales,
            size=layer_size,
        )
        for layer, mask, (result, scales), layer_size in zip(
            layers, masks, quantized, size.layers, strict=True
        )
    )
    return compressed, CompressionReport(reports, size, _calibration(x, chained))
