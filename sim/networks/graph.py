"""StepGraph: a network as one list of steps, and the trained weights that multiply its matrices.

The same steps run on the accelerator (`eie.sim.networks.accelerator`); docs/networks.md says in which arithmetic.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from eie.compress.float_layers import FloatArray, Layers, LayerSource
from eie.compress.readers.onnx_run import array_of
from eie.errors import LayerError, ModelError
from eie.sim.networks.host import Host
from eie.sim.networks.steps import Array, Hosting, Multiply, Step
from eie.sim.workloads.inputs import Port

# Vectors that a layer's scales follow from: each costs a run of the layer in plain numpy.
CALIBRATION_VECTORS = 128


@dataclass(frozen=True, eq=False)
class StepGraph:
    """Steps in an order in which each finds what it takes.

    constants : values that are there from the start. inputs, outputs : of the whole. kinds : types of the outputs.
    layers : the trained matrices that the steps name, in the steps' order. macs : multiplications of each layer for one
    vector. left : products that the host does, each with the reason. place : the file, for messages.
    """

    steps: tuple[Step, ...]
    constants: Mapping[str, Array]
    inputs: tuple[Port, ...]
    outputs: tuple[str, ...]
    layers: Mapping[str, LayerSource]
    place: str = "network"
    kinds: Mapping[str, str] = field(default_factory=dict)
    macs: Mapping[str, int] = field(default_factory=dict)
    left: tuple[str, ...] = ()

    def evaluate(
        self, inputs: Mapping[str, npt.ArrayLike], multiply: Multiply, host: Hosting | None = None
    ) -> dict[str, Any]:
        """The outputs, by name, for inputs of the ports' types; real numbers as float64.

        Raises
        ------
        ModelError : an input that is missing, of another shape or type, or not finite; values that a node cannot take.
        """
        values: dict[str, Any] = {}
        for port in self.inputs:
            if port.name not in inputs:
                raise ModelError(f"{self.place}: input {port} is missing")
            values[port.name] = port.checked(np.asarray(inputs[port.name]), self.place)
        # Products with one vector at a time are too small for threads, which would wait for each other.
        try:
            with threadpool_limits(1, "blas"):
                made = self.values(values, multiply, host or Host())
                return {name: _plain(made[name]) for name in self.outputs}
        except ModelError as error:
            named = str(error).startswith(f"{self.place}: ")
            raise ModelError(str(error) if named else f"{self.place}: {error}") from None

    def values(self, given: Mapping[str, Any], multiply: Multiply, host: Hosting) -> dict[str, Any]:
        """The outputs as they are between steps, for values likewise.

        Raises
        ------
        ModelError, LayerError : values that a node cannot take.
        """
        values = dict(self.constants) | dict(given)
        left = Counter(name for step in self.steps for name in step.takes)
        left.update(self.outputs)
        for step in self.steps:
            taken = [values[name] if name else None for name in step.takes]
            made = host.product(step, taken, multiply) if step.layers else step.run(taken, multiply, host)
            values.update(zip(step.gives, made, strict=False))
            left.subtract(step.takes)
            for name in {*step.takes, *step.gives}:
                if not left[name]:
                    values.pop(name, None)  # nobody needs it any more
        return {name: values[name] for name in self.outputs}

    @property
    def trained(self) -> Layers:
        """The matrices as they were trained, each read when it is asked for."""
        return Layers(tuple(self.layers.values()))

    def met_by_each(self, inputs: Mapping[str, npt.ArrayLike]) -> dict[str, FloatArray]:
        """What each matrix meets in a float run on `inputs`: vectors [n, columns], evenly chosen.

        A matrix that nothing meets, in a branch that is not taken, is not among them.

        Raises
        ------
        ModelError : inputs that do not fit.
        """
        trained = Trained(self, record=True)
        self.evaluate(inputs, trained)
        met = {name: trained.met(name, CALIBRATION_VECTORS) for name in self.layers}
        return {name: vectors for name, vectors in met.items() if len(vectors)}


def _plain(value: Any) -> Any:
    """A value as an array, real numbers in float64; of a sequence, a list of them."""
    value = array_of(value)
    if isinstance(value, list):
        return [_plain(one) for one in value]
    array = np.asarray(value)
    return array.astype(np.float64) if array.dtype.kind == "f" else array


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
            # Of many vectors at once no more than will be taken in the end.
            self._met.setdefault(layer, []).append(_evenly(vectors, CALIBRATION_VECTORS))
        chosen = rows or slice(None)
        y: FloatArray = vectors @ weight[:, chosen] + bias[chosen]
        return np.maximum(y, 0.0) if relu else y

    def met(self, layer: str, most: int) -> FloatArray:
        """Vectors that a layer's matrix was given, [n, cols], evenly chosen, at most `most`."""
        found = np.concatenate((self._met or {}).get(layer, [np.zeros((0, 0))]))
        return _evenly(found, most)


def _evenly(vectors: FloatArray, most: int) -> FloatArray:
    """Some of the vectors, evenly chosen, at most `most`, as a copy."""
    return vectors[np.linspace(0, len(vectors) - 1, min(most, len(vectors)), dtype=np.int64)]


def check_columns(layer: str, cols: int, vectors: FloatArray) -> None:
    """Raise `LayerError` unless these are vectors for a matrix of `cols` columns."""
    if vectors.ndim != 2 or vectors.shape[1] != cols or not len(vectors):
        raise LayerError(
            f"layer {layer!r} takes vectors of {cols} numbers, not values of shape {list(vectors.shape)}"
        )
