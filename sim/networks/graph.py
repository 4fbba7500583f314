"""StepGraph: a network as one list of steps, and the trained weights that multiply its matrices.

The same steps run on the accelerator (`eie.sim.networks.accelerator`); docs/networks.md says in which arithmetic.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from eie.compress.float_layers import FloatArray, Layers, LayerSource, check_finite
from eie.errors import LayerError, ModelError
from eie.sim.networks.steps import Array, Multiply, Step
from eie.sim.workloads.inputs import Port

# Vectors that a layer's scales follow from: each costs a run of the layer in plain numpy.
CALIBRATION_VECTORS = 128


@dataclass(frozen=True, eq=False)
class StepGraph:
    """Steps in an order in which each finds what it takes.

    constants : values that are there from the start. inputs, outputs : of the whole. layers : the trained matrices that
    the steps name, in the steps' order. place : the file, for messages.
    """

    steps: tuple[Step, ...]
    constants: Mapping[str, Array]
    inputs: tuple[Port, ...]
    outputs: tuple[str, ...]
    layers: Mapping[str, LayerSource]
    place: str = "network"

    def evaluate(self, inputs: Mapping[str, npt.ArrayLike], multiply: Multiply) -> dict[str, Array]:
        """The outputs, by name, for real inputs.

        Raises
        ------
        ModelError : an input that is missing, of the wrong shape or not finite; values that a step does not take.
        """
        values = dict(self.constants)
        for port in self.inputs:
            given = np.asarray(inputs[port.name], np.float64) if port.name in inputs else None
            if given is None or not port.takes(given.shape):
                found = "nothing" if given is None else f"an array of shape {list(given.shape)}"
                raise ModelError(f"{self.place}: input {port} was given {found}")
            check_finite(given, port.name)
            values[port.name] = given
        left = Counter(name for step in self.steps for name in step.takes)
        left.update(self.outputs)
        # Products with one vector at a time are too small for threads, which would wait for each other.
        with threadpool_limits(1, "blas"):
            for step in self.steps:
                made = step.run([values[name] if name else None for name in step.takes], multiply)
                values.update(zip(step.gives, made, strict=False))
                left.subtract(step.takes)
                for name in {*step.takes, *step.gives}:
                    if not left[name]:
                        values.pop(name, None)  # nobody needs it any more
        for name in self.outputs:
            if not np.isfinite(values[name]).all():
                raise ModelError(f"{self.place}: output {name} is not finite for this input")
        return {name: values[name] for name in self.outputs}

    @property
    def trained(self) -> Layers:
        """The matrices as they were trained, each read when it is asked for."""
        return Layers(tuple(self.layers.values()))

    def met_by_each(self, inputs: Mapping[str, npt.ArrayLike]) -> dict[str, FloatArray]:
        """What each matrix meets in a float run on `inputs`: vectors [n, columns], evenly chosen.

        Raises
        ------
        ModelError : inputs that do not fit.
        """
        trained = Trained(self, record=True)
        self.evaluate(inputs, trained)
        return {name: trained.met(name, CALIBRATION_VECTORS) for name in self.layers}


# ---- what multiplies ---------------------------------------------------------------------------------------


class Trained:
    """The trained weights, in float64; `met` keeps for each layer what its matrix was given, if `record` is set."""

    def __init__(self, graph: StepGraph, *, record: bool = False) -> None:
        self._graph = graph
        self._loaded: dict[str, tuple[FloatArray, FloatArray, bool]] = {}
        self._met: dict[str, list[FloatArray]] | None = {} if record else None

    def __call__(self, layer: str, vectors: FloatArray, rows: slice | None = None) -> FloatArray:
        """See `Multiply`."""
        if layer not in self._loaded:
            trained = self._graph.layers[layer].load()
            self._loaded[layer] = trained.weight.T.astype(np.float64), trained.start, trained.relu
        weight, bias, relu = self._loaded[layer]
        check_columns(layer, len(weight), vectors)
        if self._met is not None:
            self._met.setdefault(layer, []).append(np.array(vectors))
        chosen = rows or slice(None)
        y: FloatArray = vectors @ weight[:, chosen] + bias[chosen]
        return np.maximum(y, 0.0) if relu else y

    def met(self, layer: str, most: int) -> FloatArray:
        """Vectors that a layer's matrix was given, [n, cols], evenly chosen, at most `most`."""
        found = np.concatenate((self._met or {}).get(layer, [np.zeros((0, 0))]))
        return found[np.linspace(0, len(found) - 1, min(most, len(found)), dtype=np.int64)]


def check_columns(layer: str, cols: int, vectors: FloatArray) -> None:
    """Raise `LayerError` unless these are vectors for a matrix of `cols` columns."""
    if vectors.ndim != 2 or vectors.shape[1] != cols or not len(vectors):
        raise LayerError(
            f"layer {layer!r} takes vectors of {cols} numbers, not values of shape {list(vectors.shape)}"
        )
