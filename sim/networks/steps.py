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
    """A matrix on vectors along the last axis, or, with `by_column`, along the last but one if there are two."""

    by_column: bool = False

    def run(self, given: Sequence[Array | None], multiply: Multiply) -> Sequence[Array]:
        """[..., cols] -> [..., rows]."""
        x = self.first(given)
        by_column = self.by_column and x.ndim > 1
        if by_column:
            x = np.swapaxes(x, -1, -2)
        y = multiply(self.layers[0], x.reshape(-1, x.shape[-1]))
        y = y.reshape(*x.shape[:-1], y.shape[-1])
        return [np.swapaxes(y, -1, -2) if by_column else y]


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
