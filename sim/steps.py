"""Steps of a network: matrices for the accelerator, and what the host does around them, in float64.

A step does not know what multiplies its matrices: `Multiply` is the trained weights in floating point, or an engine.
docs/networks.md says which operator is which step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from eie.conv import Conv, Pair, from_vectors, to_vectors
from eie.errors import ModelError

Array = npt.NDArray[Any]
FloatArray = npt.NDArray[np.float64]


class Multiply(Protocol):
    """W x + b, and the ReLU of the layer called `layer` if it has one, for vectors [n, cols] -> [n, rows].

    rows : only these rows of W.
    """

    def __call__(self, layer: str, vectors: FloatArray, rows: slice | None = None) -> FloatArray:
        """The products of one layer."""


@dataclass(frozen=True, eq=False)
class Step:
    """One step: the values that it takes ("" is none) and gives, by name.

    name : of the graph's node. operator : as ONNX calls it. layers : of its matrices.
    """

    name: str
    operator: str
    takes: tuple[str, ...]
    gives: tuple[str, ...]
    layers: tuple[str, ...] = ()

    def run(self, given: Sequence[Array | None], multiply: Multiply) -> Sequence[Array]:
        """The values that it gives.

        Raises
        ------
        ModelError, LayerError : values of a shape that it cannot take.
        """
        raise NotImplementedError

    def first(self, given: Sequence[Array | None]) -> Array:
        """The first value, which no step does without."""
        if given[0] is None:
            raise ModelError(f"node {self.name!r} ({self.operator}) has no input")
        return given[0]


@dataclass(frozen=True, eq=False)
class Matrix(Step):
    """A matrix on vectors along the last axis, or, with `by_column`, along the last but one."""

    by_column: bool = False

    def run(self, given: Sequence[Array | None], multiply: Multiply) -> Sequence[Array]:
        """[..., cols] -> [..., rows]."""
        x = self.first(given)
        if self.by_column:
            x = np.swapaxes(np.atleast_2d(x), -1, -2)
        y = multiply(self.layers[0], x.reshape(-1, x.shape[-1]))
        y = y.reshape(*x.shape[:-1], y.shape[-1])
        return [np.swapaxes(y, -1, -2) if self.by_column else y]


@dataclass(frozen=True, eq=False)
class Convolution(Step):
    """A matrix at each position of its window, and max pooling; geometry without an image's size takes any."""

    conv: Conv = field(default_factory=lambda: Conv((1, 1)))
    cols: int = 1

    def run(self, given: Sequence[Array | None], multiply: Multiply) -> Sequence[Array]:
        """[batch, channels, height, width] -> [batch, rows, pooled height and width]; likewise without a height."""
        x = self.first(given)
        size = (1, *x.shape[2:])[-2:]
        if x.ndim not in (3, 4) or x.shape[1] != self.conv.channels(self.cols):
            raise ModelError(
                f"node {self.name!r} (Conv) takes images of {self.conv.channels(self.cols)} channels, "
                f"not values of shape {list(x.shape)}"
            )
        conv = replace(self.conv, size=size)
        y = multiply(self.layers[0], to_vectors(conv, x.reshape(len(x), -1), self.cols))
        pooled = conv.pooled_size if x.ndim == 4 else conv.pooled_size[1:]
        return [from_vectors(conv, y).reshape(len(x), y.shape[1], *pooled)]


@dataclass(frozen=True, eq=False)
class Host(Step):
    """An operator on the host: `evaluate` takes and gives arrays, floats as float64."""

    evaluate: Callable[..., Sequence[Array]] = lambda *given: given

    def run(self, given: Sequence[Array | None], multiply: Multiply) -> Sequence[Array]:
        """What `evaluate` gives; its errors name the node."""
        try:
            with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
                made = self.evaluate(*given)
        # ONNX's evaluator checks little: whatever it stumbles over, the values were not what the node takes.
        except (
            ValueError,
            LookupError,
            TypeError,
            RuntimeError,
            AttributeError,
            ArithmeticError,
            MemoryError,
        ) as error:
            shapes = ", ".join(str(list(value.shape)) for value in given if value is not None)
            raise ModelError(
                f"node {self.name!r} ({self.operator}) does not take values of shapes {shapes}: "
                f"{str(error).partition(chr(10))[0]}"
            ) from None
        return [widened(np.asarray(value)) for value in made]


def widened(value: Array) -> Array:
    """Floats as float64, integers and truth values as they are."""
    return value.astype(np.float64) if value.dtype.kind == "f" else value


def max_pool(x: Array, window: Pair, stride: Pair) -> Array:
    """Largest value of each window over [batch, channels, height, width]; what no window covers is dropped.

    >>> max_pool(np.array([[[[3, 1, 4, 1, 5]]]]), (1, 2), (1, 2)).tolist()
    [[[[3, 4]]]]
    """
    images = x if x.ndim == 4 else x[:, :, None]
    windows = np.lib.stride_tricks.sliding_window_view(images, window, (2, 3))
    y = windows[:, :, :: stride[0], :: stride[1]].max(axis=(4, 5))
    return y if x.ndim == 4 else y[:, :, 0]


# ---- recurrent cells ---------------------------------------------------------------------------------------

ACTIVATIONS: dict[str, Callable[[FloatArray], FloatArray]] = {
    "Sigmoid": expit,
    "Tanh": np.tanh,
    "Relu": lambda x: np.maximum(x, 0.0),
}
# Activations of the gates, of the candidate, and (LSTM) of the cell's state where a graph gives none.
DEFAULT_ACTIVATIONS = {"GRU": ("Sigmoid", "Tanh"), "LSTM": ("Sigmoid", "Tanh", "Tanh"), "RNN": ("Tanh",)}
GATES = {"GRU": 3, "LSTM": 4, "RNN": 1}


@dataclass(frozen=True, eq=False)
class Recurrent(Step):
    """A GRU, LSTM or RNN as ONNX defines it (the operator's name says which), in one or both directions.

    takes : the sequence [time, batch, inputs], and the first states [directions, batch, hidden]. gives : Y [time,
    directions, batch, hidden], and the last states. layers : W and R of each direction. backwards : for each direction,
    whether it begins at the end. activations : for each direction, names as in `DEFAULT_ACTIVATIONS`. reset_after : of
    a GRU: the reset gate meets R h, not h (`linear_before_reset`). peepholes : of an LSTM: [directions, 3 hidden].
    """

    hidden: int = 1
    backwards: tuple[bool, ...] = (False,)
    activations: tuple[tuple[str, ...], ...] = ()
    reset_after: bool = False
    peepholes: FloatArray | None = None

    def run(self, given: Sequence[Array | None], multiply: Multiply) -> Sequence[Array]:
        """Y, Y_h, and Y_c of an LSTM, as many as are asked for."""
        x = self.first(given)
        if x.ndim != 3:
            raise ModelError(
                f"node {self.name!r} ({self.operator}) takes sequences [time, batch, inputs], "
                f"not values of shape {list(x.shape)}"
            )
        zeros = np.zeros((len(self.backwards), x.shape[1], self.hidden))
        starts = [zeros if value is None else value for value in (*given[1:], None, None)[:2]]
        for start in starts:
            if start.shape != zeros.shape:
                raise ModelError(
                    f"node {self.name!r} ({self.operator}) begins with a state of shape {list(zeros.shape)}, "
                    f"not {list(start.shape)}"
                )
        y = np.empty((len(x), *zeros.shape))
        last_h, last_c = np.empty_like(zeros), np.empty_like(zeros)
        for place, backwards in enumerate(self.backwards):
            made = self._direction(place, x[::-1] if backwards else x, starts, multiply)
            outputs, last_h[place], last_c[place] = made
            y[:, place] = outputs[::-1] if backwards else outputs
        return [y, last_h, last_c][: len(self.gives)]

    def _direction(
        self, place: int, x: Array, starts: Sequence[Array], multiply: Multiply
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Outputs [time, batch, hidden] and the last states of one direction."""
        inner, outer = self.layers[2 * place : 2 * place + 2]
        h, c = (start[place] for start in starts)
        gates = multiply(inner, x.reshape(-1, x.shape[2])).reshape(*x.shape[:2], -1)
        functions = [ACTIVATIONS[name] for name in self.activations[place]]
        outputs = np.empty((*x.shape[:2], self.hidden))
        for time, gate in enumerate(gates):
            if self.operator == "GRU":
                h = self._gru(gate, h, outer, functions, multiply)
            elif self.operator == "LSTM":
                h, c = self._lstm(gate + multiply(outer, h), c, place, functions)
            else:
                h = functions[0](gate + multiply(outer, h))
            outputs[time] = h
        return outputs, h, c

    def _gru(
        self, gate: FloatArray, h: FloatArray, outer: str, functions: Sequence[Any], multiply: Multiply
    ) -> FloatArray:
        """z, r and the candidate, from W x + Wb of the three, [batch, 3 hidden]."""
        f, g = functions
        size = self.hidden
        wz, wr, wn = np.split(gate, 3, axis=1)
        if self.reset_after:
            rz, rr, rn = np.split(multiply(outer, h), 3, axis=1)
            z, r = f(wz + rz), f(wr + rr)
            n = g(wn + r * rn)
        else:
            rz, rr = np.split(multiply(outer, h, slice(0, 2 * size)), 2, axis=1)
            z, r = f(wz + rz), f(wr + rr)
            n = g(wn + multiply(outer, r * h, slice(2 * size, 3 * size)))
        return (1.0 - z) * n + z * h

    def _lstm(
        self, gate: FloatArray, c: FloatArray, place: int, functions: Sequence[Any]
    ) -> tuple[FloatArray, FloatArray]:
        """Output and cell state, from W x + R h and biases of i, o, f and c, [batch, 4 hidden]."""
        f, g, last = functions
        i, o, forget, candidate = np.split(gate, 4, axis=1)
        peep = np.zeros(3 * self.hidden) if self.peepholes is None else self.peepholes[place]
        peep_i, peep_o, peep_f = np.split(peep, 3)
        new = f(forget + peep_f * c) * c + f(i + peep_i * c) * g(candidate)
        return f(o + peep_o * new) * last(new), new
