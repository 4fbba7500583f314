"""A graph with compressed weights as a network, its runs, and the figures that follow from them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from eie.compress.float_layers import FloatArray
from eie.compress.format.file import load
from eie.compress.pipeline import Settings, compress_each
from eie.compress.quantize import Widths
from eie.config import ArchConfig
from eie.errors import ModelError
from eie.layer import CompressedLayer
from eie.sim.networks.accelerator import Accelerator, Record, check_weights
from eie.sim.networks.bundle import read_bundle
from eie.sim.networks.description import Description
from eie.sim.networks.graph import StepGraph, Trained
from eie.sim.networks.host import Note, Watch
from eie.sim.networks.network import Inputs, Network, NetworkRun
from eie.sim.workloads.inputs import Array, Given, Port, fitted
from eie.sim.workloads.sound import Spectra

BITS = 4  # of a code where weights are compressed for one run


@dataclass(frozen=True, eq=False)
class GraphRun(NetworkRun):
    """What a graph gave.

    machine : what it ran on. records : what the engine did for each layer, by name. multiplications : of each of them.
    host : what the host did, by type of node, where the run was watched.
    """

    machine: ArchConfig = field(default_factory=ArchConfig)
    records: Mapping[str, Record] = field(default_factory=dict)
    multiplications: Mapping[str, int] = field(default_factory=dict)
    host: Mapping[str, Note] = field(default_factory=dict)

    @property
    def main(self) -> str | None:
        """The first output of real numbers, if there is one."""
        names = (name for name, y in self.named.items() if isinstance(y, np.ndarray) and y.dtype.kind == "f")
        return next(names, None)

    @property
    def engine(self) -> str:
        """What multiplied, or would have."""
        return self.results[0].engine if self.results else "none"

    @property
    def cfg(self) -> ArchConfig:
        """The machine, also where it had nothing to do."""
        return self.machine

    @property
    def share(self) -> float:
        """Share of all multiplications that the accelerator did; 0 where there are none."""
        ours, theirs = sum(self.multiplications.values()), sum(note.macs for note in self.host.values())
        return ours / max(ours + theirs, 1)

    def worst(self, count: int) -> int | None:
        """Cycles of the frame, of `count`, that takes most; None where layers do not meet one vector a frame."""
        each = [record.cycles for record in self.records.values()]
        if not each or self.cycles is None or any(len(cycles) != count for cycles in each):
            return None
        return int(np.sum(np.array(each), axis=0).max())


class GraphNetwork(Network):
    """A graph whose matrices are compressed layers: these run on an engine, everything else on the host.

    Parameters
    ----------
    graph : the steps, and the trained weights of the float run.
    compressed : layers with the names of the graph's matrices, among others; `place` is their file.

    Raises
    ------
    LayerError : a layer is missing, or is another network's.
    """

    def __init__(self, graph: StepGraph, compressed: Sequence[CompressedLayer], place: str) -> None:
        self.graph, self.place = graph, graph.place
        self.by_name = check_weights(graph, compressed, place)

    @property
    def inputs(self) -> tuple[Port, ...]:
        """The graph's."""
        return self.graph.inputs

    @property
    def layers(self) -> tuple[CompressedLayer, ...]:
        """In the graph's order."""
        return tuple(self.by_name.values())

    def run(
        self,
        x: Inputs,
        cfg: ArchConfig | None = None,
        engine: str = "fast",
        done: Callable[[int], object] = lambda _: None,
        *,
        watch: bool = False,
        balance: bool | None = None,
        threads: int | None = None,
    ) -> GraphRun:
        """Outputs, cycles and counters; a layer that does not fit `cfg` runs as a plan of several passes.

        done : called with the number of vectors that the engine has run since the last call. watch : keep what the
        host does as well, which takes longer. balance : rows are placed so that the PEs have equal work. threads : of
        the engine cpu, default one for each processor.

        Raises
        ------
        CapacityError, LayerError, ModelError : layers that `cfg` cannot run, inputs that the network does not take.
        """
        cfg = cfg or self.machine_for(engine, balance=balance)
        accelerator = Accelerator(self.by_name, cfg, engine, done, balance=balance, threads=threads)
        watched = Watch() if watch else None
        named = self.graph.evaluate(self._named(x), accelerator, watched)
        records = list(accelerator.records.values())
        return GraphRun(
            named,
            [record.layer for record in records],
            [record.result for record in records],
            sum(record.clipped for record in records),
            machine=accelerator.cfg,
            records=accelerator.records,
            multiplications={name: self._macs(record) for name, record in accelerator.records.items()},
            host=watched.notes() if watched else {},
        )

    def _macs(self, record: Record) -> int:
        """Multiplications for a layer, of which a record may hold only some rows."""
        name = (
            record.layer.name.partition("[")[0]
            if record.layer.name not in self.by_name
            else record.layer.name
        )
        return record.vectors * self.graph.macs[name] * record.layer.rows // self.by_name[name].rows

    def run_float(self, x: Inputs) -> Mapping[str, FloatArray]:
        """The outputs with the trained weights in float64."""
        return self.graph.evaluate(self._named(x), Trained(self.graph))

    def _named(self, x: Inputs) -> dict[str, Array]:
        """Inputs by name; one that lacks the batch gets a batch of one."""
        if not isinstance(x, Mapping) and len(self.inputs) > 1:
            raise ModelError(f"{self.place} takes inputs by name: {', '.join(map(str, self.inputs))}")
        named = x if isinstance(x, Mapping) else {self.inputs[0].name: x}
        ports = {port.name: port for port in self.inputs}
        try:
            arrays: dict[str, Array] = {
                name: ports[name].numbers(np.asarray(value)) for name, value in named.items() if name in ports
            }
        except (ValueError, TypeError):
            raise ModelError(f"{self.place} takes numbers [batch, ...]") from None
        for port in self.inputs:
            if port.name in arrays and (better := fitted(arrays[port.name], port)) is not None:
                arrays[port.name] = better
        return arrays


# ---- figures -----------------------------------------------------------------------------------------------


def decibels(reference: Array, found: Array) -> float:
    """Signal-to-noise ratio of `found` against `reference` in dB; infinite where they are equal, NaN for silence."""
    noise = float((np.abs(reference - found) ** 2).sum())
    signal = float((np.abs(reference) ** 2).sum())
    if not signal:
        return math.nan
    return 10 * math.log10(signal / noise) if noise else math.inf


def snr(found: Array, reference: Array, spectra: Spectra | None = None) -> dict[str, float]:
    """dB of an output against the float run's, and of the sound that they make of `spectra` as gains."""
    ratios = {"output": decibels(reference, found)}
    if spectra is not None and found.shape[1:] == spectra.shape:
        ratios["sound"] = decibels(reference[0] * spectra, found[0] * spectra)
    return ratios


# ---- making them -------------------------------------------------------------------------------------------


def load_bundle(path: Path) -> GraphNetwork:
    """The network in a `.eie` file with a graph. Errors as `read_bundle`."""
    return GraphNetwork(read_bundle(path), load(path), str(path))


def with_weights(
    description: Description, file: Path | None, given: Given, widths: Widths
) -> tuple[GraphNetwork, str]:
    """The network with its compressed layers, and a line that says where they are from.

    Raises
    ------
    EieError : a file that cannot be read, or that is another network's.
    """
    graph, path = description.graph, file or description.weights
    if path is not None:
        return GraphNetwork(graph, load(path), str(path)), f"weights from {path}"
    met = graph.met_by_each(given.inputs)
    vectors = [met.get(name) for name in graph.layers]
    compressed = (
        compress_each(graph.trained, vectors, Settings(weight_bits=BITS, widths=widths)) if vectors else []
    )
    line = (
        f"weights compressed for this run: all kept, {BITS}-bit codes, scales from this input "
        "(--weights W.eie takes others)"
    )
    return GraphNetwork(graph, compressed, "the compressed network"), line
