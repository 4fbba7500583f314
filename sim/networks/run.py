"""A network's two runs, on an engine and in floating point, and the figures that follow from them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eie.capacity import sized_for
from eie.compress.format.file import load
from eie.compress.pipeline import Settings, compress_each
from eie.compress.quantize import Widths
from eie.config import ArchConfig
from eie.layer import CompressedLayer
from eie.sim.energy.model import estimate
from eie.sim.networks.description import Description, met_by_each, trained_layers
from eie.sim.networks.graph import Accelerator, Network, Record, Trained, check_weights
from eie.sim.networks.steps import Array
from eie.sim.workloads.inputs import Given

BITS = 4  # of a code where weights are compressed for one run


@dataclass(frozen=True, eq=False)
class GraphRun:
    """What came out: outputs of the accelerator's run and of the float run, and what each layer did."""

    network: Network
    given: Given
    cfg: ArchConfig
    engine: str
    records: Mapping[str, Record]
    outputs: Mapping[str, Array]
    trained: Mapping[str, Array]

    @property
    def output(self) -> Array:
        """The first output."""
        return self.outputs[self.network.outputs[0]]

    @property
    def cycles(self) -> int | None:
        """Of all layers and vectors."""
        each = [record.total_cycles for record in self.records.values()]
        known = [cycles for cycles in each if cycles is not None]
        return sum(known) if len(known) == len(each) else None

    @property
    def energy_uj(self) -> float | None:
        """Of all layers and vectors."""
        each = [energy_uj(record, self.cfg) for record in self.records.values()]
        known = [energy for energy in each if energy is not None]
        return sum(known) if len(known) == len(each) else None

    @property
    def worst(self) -> int | None:
        """Cycles of the frame that takes most; None where layers do not meet one vector a frame."""
        each = [record.cycles for record in self.records.values()]
        if self.cycles is None or any(len(cycles) != self.given.count for cycles in each):
            return None
        return int(np.sum(np.array(each), axis=0).max())


def energy_uj(record: Record, cfg: ArchConfig) -> float | None:
    """Energy of one layer's vectors in µJ, for an engine that has cycles."""
    cycles = record.total_cycles
    return None if cycles is None else estimate(cfg, record.counters, cycles).energy_nj * 1e-3


def decibels(reference: Array, found: Array) -> float:
    """Signal-to-noise ratio of `found` against `reference` in dB; infinite where they are equal, NaN for silence."""
    noise = float((np.abs(reference - found) ** 2).sum())
    signal = float((np.abs(reference) ** 2).sum())
    if not signal:
        return math.nan
    return 10 * math.log10(signal / noise) if noise else math.inf


def snr(run: GraphRun) -> dict[str, float]:
    """dB of the outputs, and of the sound that they make, against the float run."""
    trained = run.trained[run.network.outputs[0]]
    found = {"output": decibels(trained, run.output)}
    spectra = run.given.spectra
    if spectra is not None and run.output.shape[1:] == spectra.shape:
        found["sound"] = decibels(trained[0] * spectra, run.output[0] * spectra)
    return found


# ---- making them -------------------------------------------------------------------------------------------


def weights_of(
    description: Description, file: Path | None, given: Given, widths: Widths
) -> tuple[dict[str, CompressedLayer], str]:
    """The compressed layers by name, and a line that says where they are from.

    Raises
    ------
    EieError : a file that cannot be read, or that is another network's.
    """
    network, path = description.network, file or description.weights
    if path is not None:
        return check_weights(network, load(path), str(path)), f"weights from {path}"
    met = list(met_by_each(network, given.inputs).values())
    compressed = compress_each(trained_layers(network), met, Settings(weight_bits=BITS, widths=widths))
    line = (
        f"weights compressed for this run: all kept, {BITS}-bit codes, scales from this input "
        "(--weights W.eie takes others)"
    )
    return check_weights(network, compressed, "the compressed network"), line


def machine_for(layers: Sequence[CompressedLayer], cfg: ArchConfig, sized: bool) -> ArchConfig:
    """The configuration for these layers; a sized one has the widths of their codes, too."""
    if not sized:
        return cfg
    bits = max(cfg.weight_bits, *(layer.weight_bits for layer in layers))
    return sized_for(cfg.replace(weight_bits=bits), *layers)


def run_graph(
    network: Network,
    layers: Mapping[str, CompressedLayer],
    given: Given,
    cfg: ArchConfig,
    engine: str,
    done: Callable[[int], object] = lambda _: None,
) -> GraphRun:
    """Both runs. done : called with the number of vectors that the engine has run since the last call.

    Raises
    ------
    CapacityError, LayerError, ModelError : layers that `cfg` cannot run, inputs that the network does not take.
    """
    accelerator = Accelerator(layers, cfg, engine, done)
    outputs = network.run(given.inputs, accelerator)
    trained = network.run(given.inputs, Trained(network))
    return GraphRun(network, given, cfg, engine, accelerator.records, outputs, trained)
