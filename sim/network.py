"""Layers chained on one machine: the activations that one layer writes back are the next one's input."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from eie.compress.forward import check_network, fixed_layer
from eie.config import ArchConfig
from eie.errors import ConfigError
from eie.fixed import IntArray
from eie.layer import CompressedLayer
from eie.result import Result
from eie.sim.engines import simulate

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
    """Run `layers` one after the other on the input vector `x` (integers, [cols of the first]); a result for each.

    Every layer is checked against `cfg` before the first one runs. With several layers, each one's waveform is written
    beside `waveform`, with its number and name before the suffix.

    Raises
    ------
    CapacityError, LayerError : a layer that does not fit, or does not take the outputs of the one before it.
    ConfigError : a waveform that the engine does not write (`check_wave`).
    """
    check_wave(waveform, engine)
    check_network(layers)
    for layer in layers:
        cfg.check_fits(layer)
    results: list[Result] = []
    for number, layer in enumerate(layers):
        given = results[-1].y if results else np.asarray(x)
        results.append(simulate(layer, given, cfg, engine, waveform=wave_path(waveform, layers, number)))
    return results


def wave_path(waveform: Path | None, layers: Sequence[CompressedLayer], number: int) -> Path | None:
    """Where the waveform of layer `number` goes: net.vcd for a single layer, else net.1-fc2.vcd and the like."""
    if waveform is None or len(layers) == 1:
        return waveform
    name = "".join(letter if letter.isalnum() or letter in "._-" else "_" for letter in layers[number].name)
    return waveform.with_name(f"{waveform.stem}.{number}-{name}{waveform.suffix}")


def layer_inputs(layers: Sequence[CompressedLayer], x: IntArray, acc_bits: int) -> list[IntArray]:
    """What each layer of a chain gets for the inputs `x`, int64[batch, cols]: one int64[batch, its cols] a layer."""
    check_network(layers)
    inputs = [x]
    for layer in layers[:-1]:
        inputs.append(fixed_layer(layer, inputs[-1], acc_bits)[0])
    return inputs
