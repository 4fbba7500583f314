"""Layers chained on one machine: the activations that one layer writes back are the next one's input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from eie.capacity import check_fits
from eie.compress.forward import check_network, fixed_layer
from eie.config import ArchConfig
from eie.conv import from_vectors, to_vectors
from eie.errors import ConfigError, LayerError
from eie.fixed import IntArray
from eie.layer import CompressedLayer, as_activations
from eie.program import Job
from eie.result import Result, summed
from eie.sim.simulate import simulate, simulate_many

# The waveform format that each engine writes; reference and fast do not step through cycles, so they have none.
WAVE_SUFFIX = {"golden": ".vcd", "icarus": ".fst", "verilator": ".fst"}


def check_wave(waveform: Path | None, engine: str) -> None:
    """Raise `ConfigError` unless `engine` writes waveforms of the format that the suffix of `waveform` names."""
    if waveform is None:
        return
    suffix = WAVE_SUFFIX.get(engine)
    if suffix is None:
        raise ConfigError(
            f"{waveform}: engine {engine} steps through no cycles and writes no waveform: use {', '.join(WAVE_SUFFIX)}"
        )
    if waveform.suffix != suffix:
        raise ConfigError(f"{waveform}: engine {engine} writes waveforms as {suffix}")


def run_network(
    layers: Sequence[CompressedLayer],
    x: npt.ArrayLike,
    cfg: ArchConfig,
    engine: str = "golden",
    *,
    waveform: Path | None = None,
) -> list[Result]:
    """Run `layers` one after the other on the input vector `x` (integers, [inputs of the first]); a result for each.

    A convolution runs once for each position of its window; its result holds the pooled image, flattened, and the sums
    of cycles and counters. Windows and pooling are the host's work. Every layer is checked against `cfg` before the
    first one runs. With several layers, each one's waveform is written beside `waveform`, with its number and name
    before the suffix; a convolution's shows the position in the middle.

    Raises
    ------
    CapacityError, LayerError : a layer that does not fit, or does not take the outputs of the one before it.
    ConfigError : a waveform that the engine does not write (`check_wave`).
    """
    check_wave(waveform, engine)
    check_network(layers)
    for layer in layers:
        check_fits(cfg, layer)
    results: list[Result] = []
    for number, layer in enumerate(layers):
        given = results[-1].y if results else np.asarray(x)
        run_layer = simulate if layer.conv is None else _convolve
        results.append(run_layer(layer, given, cfg, engine, waveform=wave_path(waveform, layers, number)))
    return results


def _convolve(
    layer: CompressedLayer, x: npt.ArrayLike, cfg: ArchConfig, engine: str, *, waveform: Path | None = None
) -> Result:
    """A convolution on one image: all positions as one result."""
    image = as_activations(x, layer, cfg.act_bits, layer.inputs)
    jobs = [Job.create(layer, vector, cfg) for vector in to_vectors(layer.conv, image[None], layer.cols)]
    results = simulate_many(jobs, engine)
    if waveform is not None:
        simulate_many([jobs[middle(layer)]], engine, waveform=waveform)
    y = from_vectors(layer.conv, np.stack([result.y for result in results]))[0]
    return replace(summed(results), y=y)


def wave_path(waveform: Path | None, layers: Sequence[CompressedLayer], number: int) -> Path | None:
    """Where the waveform of layer `number` goes: net.vcd for a single layer, else net.1-fc2.vcd and the like."""
    if waveform is None or len(layers) == 1:
        return waveform
    return waveform.with_name(f"{waveform.stem}.{number}-{file_name(layers[number])}{waveform.suffix}")


def file_name(layer: CompressedLayer) -> str:
    """The layer's name as part of a file's name."""
    return "".join(letter if letter.isalnum() or letter in "._-" else "_" for letter in layer.name)


def layer_inputs(layers: Sequence[CompressedLayer], x: IntArray, acc_bits: int) -> list[IntArray]:
    """What each layer's matrix gets for the inputs `x`, int64[batch, inputs of the first]: int64[n, its cols] a layer.

    Of a convolution, those are the vectors of all positions, one input's after the other's.
    """
    check_network(layers)
    vectors = []
    for number, layer in enumerate(layers):
        vectors.append(to_vectors(layer.conv, x, layer.cols))
        if number + 1 < len(layers):
            x = fixed_layer(layer, x, acc_bits)[0]
    return vectors


def middle(layer: CompressedLayer) -> int:
    """Of one input's vectors, which stands for all: of a convolution, the position in the middle of the image."""
    return layer.conv.middle if layer.conv else 0


def single_vectors(layers: Sequence[CompressedLayer], x: IntArray, acc_bits: int) -> list[IntArray]:
    """One vector for each layer's matrix, int64[its cols], for the input `x`, int64[inputs of the first] (`middle`)."""
    inputs = layer_inputs(layers, x[None], acc_bits)
    return [vectors[middle(layer)] for layer, vectors in zip(layers, inputs, strict=True)]


def choose(layers: Sequence[CompressedLayer], which: str | None) -> list[CompressedLayer]:
    """All layers, or the one with this name or number (from 0).

    Raises
    ------
    LayerError : there is none.
    """
    if which is None:
        return list(layers)
    for number, layer in enumerate(layers):
        if which in (layer.name, str(number)):
            return [layer]
    names = ", ".join(f"{number} ({layer.name})" for number, layer in enumerate(layers))
    raise LayerError(f"no layer {which!r}: the file has {names}")
