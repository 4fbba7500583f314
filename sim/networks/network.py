"""Network: what a chain of layers and a graph have in common. Real numbers go in, real numbers come out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from eie.balance import Placed, place
from eie.capacity import sized_for
from eie.compress.float_layers import FloatArray
from eie.config import ArchConfig
from eie.layer import CompressedLayer
from eie.result import Counter, Result, summed
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
    """

    named: Mapping[str, FloatArray]
    layers: Sequence[CompressedLayer]
    results: Sequence[Result]
    clipped: int = 0
    y: npt.NDArray[np.int16] | None = None

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
        return self._sum.cycles

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


def energy_uj(result: Result) -> float | None:
    """Energy of a result in µJ, for an engine that has cycles."""
    if result.cycles is None:
        return None
    return estimate(result.cfg, result.counters, result.cycles).energy_nj * 1e-3


class Network(ABC):
    """Compressed layers that run as a whole, on any engine.

    `run` and `run_float` take real numbers [batch, ...] for each input, by name, or for the only one; a single input
    may come without the batch. uint8 are pixels / 255.
    """

    place: str

    @property
    @abstractmethod
    def inputs(self) -> tuple[Port, ...]:
        """Names and shapes of what goes in."""

    @property
    @abstractmethod
    def layers(self) -> tuple[CompressedLayer, ...]:
        """The matrices, in the order in which they are met."""

    def loaded(self, cfg: ArchConfig, *, balance: bool) -> list[Placed]:
        """The layers as they are loaded; with `balance` each by itself, because the host takes every output."""
        return [one for layer in self.layers for one in place([layer], cfg, balance=balance)]

    def machine(self, cfg: ArchConfig | None = None, *, balance: bool = False) -> ArchConfig:
        """`cfg` (default: `ArchConfig()`) with memories as large as the layers need, and codes as wide as theirs."""
        cfg = cfg or ArchConfig()
        bits = max(cfg.weight_bits, *(layer.weight_bits for layer in self.layers))
        sized = sized_for(cfg.replace(weight_bits=bits), *self.layers)
        return (
            sized_for(sized, *(one.layer for one in self.loaded(sized, balance=True))) if balance else sized
        )

    @abstractmethod
    def run(
        self, x: Inputs, cfg: ArchConfig | None = None, engine: str = "fast", *, balance: bool = False
    ) -> NetworkRun:
        """Outputs, cycles and counters on the machine `cfg` (default: `machine()`).

        balance : rows are placed so that the PEs have equal work (`eie.balance`).

        Raises
        ------
        CapacityError, LayerError, ModelError, ConfigError : layers that `cfg` cannot run, inputs that do not fit.
        """

    @abstractmethod
    def run_float(self, x: Inputs) -> Mapping[str, FloatArray]:
        """The outputs in floating point, nothing rounded or clipped: what `run` is compared with."""
