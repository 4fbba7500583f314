"""Network: what a chain of layers and a graph have in common. Real numbers go in, real numbers come out."""

from __future__ import annotations

import importlib
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from eie.balance import Placed, balances, place
from eie.capacity import sized_for
from eie.compress.float_layers import FloatArray
from eie.config import ArchConfig
from eie.layer import CompressedLayer
from eie.result import COUNTERS, Counter, Result, summed
from eie.shown import counted, frame, table
from eie.sim.energy.model import estimate
from eie.sim.workloads.inputs import Port

# Vectors of one layer that go into an engine at a time: a bound of the memory that their results take.
PART = 1024

Inputs = npt.ArrayLike | Mapping[str, npt.ArrayLike]


@dataclass(frozen=True, eq=False)
class NetworkRun:
    """What a network gave.

    named : its outputs by name, as real numbers, [batch, ...] (without the batch where one input was given alone).
    layers, results : each matrix that the engine multiplied with, and cycles and counters of all its vectors.
    clipped : how many of the real inputs were beyond what the first layer's numbers reach. y : the raw fixed-point
    outputs of a chain of layers.

    Examples
    --------
    >>> import eie
    >>> layer = eie.CompressedLayer.from_dense([[0.5, 0], [0, -1]], relu=False, name="fc")
    >>> run = eie.Chain([layer]).run([[1.0, 0.5], [0, 1]], eie.ArchConfig(n_pe=2))
    >>> run
    NetworkRun(fast, 2 PEs: output [2, 2], 17 cycles, 0.021 µs, load balance 17.6 %, utilization 8.8 %)
    >>> run.outputs.tolist(), run.total("macs")
    ([[0.5, -0.5], [0.0, -1.0]], 3)
    """

    named: Mapping[str, FloatArray]
    layers: Sequence[CompressedLayer]
    results: Sequence[Result]
    clipped: int = 0
    y: npt.NDArray[np.int16] | None = None

    def __repr__(self) -> str:
        names = ", ".join(f"{name} {list(value.shape)}" for name, value in self.named.items())
        shown = repr(self._sum).partition("y int16")[2].partition("]")[2]
        return f"NetworkRun({self.engine}, {counted(self.cfg.n_pe, 'PE')}: {names}{shown[:-1]})"

    def _repr_html_(self) -> str:
        rows = self._rows()
        cells = [[_cell(value) for value in row.values()] for row in rows]
        title = f"{counted(len(rows), 'layer')} on {counted(self.cfg.n_pe, 'PE')}, engine {self.engine}"
        return table(title, cells, list(rows[0]))

    def _rows(self) -> list[dict[str, Any]]:
        """A row of figures for each layer."""
        return [
            {
                "layer": layer.name,
                "rows": layer.rows,
                "cols": layer.cols,
                "density": layer.density,
                "cycles": result.cycles,
                "microseconds": result.microseconds,
                "energy_uj": energy_uj(result),
                "balance": result.balance,
                "utilization": result.utilization,
                **{name: None if result.counters[name] is None else result.total(name) for name in COUNTERS},
            }
            for layer, result in zip(self.layers, self.results, strict=True)
        ]

    def to_frame(self) -> Any:
        """The figures of each layer as a pandas DataFrame: a row for each layer, sums over vectors and PEs.

        Raises
        ------
        ConfigError : pandas is not installed.
        """
        rows = self._rows()
        return frame({name: [row[name] for row in rows] for name in rows[0]}, "layer")

    def plot_work(self) -> Any:
        """What each PE did with its cycles, as a matplotlib Figure with a panel for each layer; as `Result.plot_work`.

        Raises
        ------
        ConfigError : the engine has no cycles or no counters.
        """
        named = [(layer.name, result) for layer, result in zip(self.layers, self.results, strict=True)]
        return importlib.import_module("eie.sim.plots.work").picture(named)

    @property
    def utilization(self) -> float | None:
        """Useful multiply-accumulates / (PEs x cycles), over all layers and vectors; as in a `Result`."""
        return self._sum.utilization

    @property
    def balance(self) -> float | None:
        """Load-balance efficiency over all layers and vectors; as in a `Result`."""
        return self._sum.balance

    @property
    def outputs(self) -> FloatArray:
        """The first output, which is the only one of most networks."""
        return next(iter(self.named.values()))

    @property
    def engine(self) -> str:
        """What multiplied."""
        return self.results[0].engine

    @property
    def cfg(self) -> ArchConfig:
        """The machine."""
        return self.results[0].cfg

    @cached_property
    def _sum(self) -> Result:
        return summed(self.results)

    @property
    def cycles(self) -> int | None:
        """In compute mode, of all layers and vectors; None for an engine that has no clock."""
        return self._sum.cycles if self.results else 0

    @property
    def counters(self) -> Mapping[str, Counter]:
        """As in a `Result`, of all layers and vectors."""
        return self._sum.counters

    @property
    def microseconds(self) -> float | None:
        """Compute time at the configuration's clock."""
        return self._sum.microseconds

    def total(self, counter: str) -> int:
        """Sum of a counter over layers, vectors and PEs.

        Raises
        ------
        ConfigError : the engine does not count it.
        """
        return self._sum.total(counter)

    @property
    def energy_uj(self) -> float | None:
        """Energy in µJ, for an engine that has cycles."""
        each = [energy_uj(result) for result in self.results]
        known = [energy for energy in each if energy is not None]
        return sum(known) if len(known) == len(each) else None


def _cell(value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def energy_uj(result: Result) -> float | None:
    """Energy of a result in µJ, for an engine that has cycles."""
    if result.cycles is None:
        return None
    return estimate(result.cfg, result.counters, result.cycles, minima=result.minima).energy_nj * 1e-3


class Network(Sequence[CompressedLayer]):
    """Compressed layers that run as a whole, on any engine; a sequence of these layers, too.

    `run` and `run_float` take real numbers [batch, ...] for each input, by name, or for the only one; a single input
    may come without the batch. uint8 are pixels / 255. `eie.load` and `eie.compress` give the kind that is a chain of
    layers; `eie.sim.networks.run` runs graphs.

    Examples
    --------
    >>> import eie
    >>> net = eie.compress({"fc.weight": [[0.5, 0], [0, -1]]})
    >>> isinstance(net, eie.Network), [port.name for port in net.inputs], net.machine().n_pe
    (True, ['input'], 64)
    """

    place: str

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[CompressedLayer]:
        return iter(self.layers)

    @overload
    def __getitem__(self, place: int) -> CompressedLayer: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[CompressedLayer]: ...
    def __getitem__(self, place: int | slice) -> CompressedLayer | Sequence[CompressedLayer]:
        return self.layers[place]

    def _repr_html_(self) -> str:
        rows = [
            (one.name, f"{one.rows} x {one.cols}", f"{100 * one.density:.1f} %", one.weight_bits)
            for one in self.layers
        ]
        title = f"{self.place}: {counted(len(self.layers), 'layer')}"
        return table(title, rows, ("layer", "outputs x inputs", "weights", "code bits"))

    @property
    @abstractmethod
    def inputs(self) -> tuple[Port, ...]:
        """Names and shapes of what goes in."""

    @property
    @abstractmethod
    def layers(self) -> tuple[CompressedLayer, ...]:
        """The matrices, in the order in which they are met."""

    def loaded(self, cfg: ArchConfig, *, balance: bool | None) -> list[Placed]:
        """The layers as they are loaded; with `balance` each by itself, because the host takes every output."""
        return [one for layer in self.layers for one in place([layer], cfg, balance=balance)]

    def machine(self, cfg: ArchConfig | None = None, *, balance: bool | None = None) -> ArchConfig:
        """`cfg` (default: `ArchConfig()`) with memories as large as the layers need, and codes as wide as theirs."""
        adds = any(layer.row_scale is not None for layer in self.layers)
        cfg = cfg or ArchConfig.preset("adder" if adds else "paper")
        if not self.layers:
            return cfg
        bits = max(cfg.weight_bits, *(layer.weight_bits for layer in self.layers))
        sized = sized_for(cfg.replace(weight_bits=bits), *self.layers)
        if not balances(sized, balance):
            return sized
        return sized_for(sized, *(one.layer for one in self.loaded(sized, balance=True)))

    def machine_for(self, engine: str, *, balance: bool | None = None) -> ArchConfig:
        """What `run` takes without `cfg`: `machine()`, or for the engine cpu, which has no memories, the default."""
        return ArchConfig() if engine == "cpu" else self.machine(balance=balance)

    @abstractmethod
    def run(
        self, x: Inputs, cfg: ArchConfig | None = None, engine: str = "fast", *, balance: bool | None = None
    ) -> NetworkRun:
        """Outputs, cycles and counters on the machine `cfg` (default: `machine()`).

        balance : rows are placed so that the PEs have equal work (`eie.balance`; None: as its `balances` says).

        Raises
        ------
        CapacityError, LayerError, ModelError, ConfigError : layers that `cfg` cannot run, inputs that do not fit.
        """

    @abstractmethod
    def run_float(self, x: Inputs) -> Mapping[str, FloatArray]:
        """The outputs in floating point, nothing rounded or clipped: what `run` is compared with."""
