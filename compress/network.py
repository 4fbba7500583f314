"""FloatLayer: one trained matrix as it was read, and the float network that a list of them makes."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from eie.errors import ModelError
from eie.layer import MAX_DIM

FloatArray = npt.NDArray[np.float64]


def check_finite(array: npt.NDArray[np.floating], what: str) -> None:
    """Raise `ModelError` naming the first NaN or infinity of `array`; `what` is its name in the message."""
    finite = np.isfinite(array)
    if not finite.all():
        place = np.unravel_index(int(np.argmin(finite)), array.shape)
        index = ", ".join(str(int(i)) for i in place)
        raise ModelError(f"{what}[{index}] is {array[place]}, not a finite number")


@dataclass(frozen=True, eq=False)
class FloatLayer:
    """y = weight x + bias, then ReLU if `relu`.

    Parameters
    ----------
    name : shown in tables and messages.
    weight : float32[rows, cols] = [outputs, inputs].
    bias : float32[rows] or None.
    relu : whether negative outputs become 0.

    Raises
    ------
    ModelError : wrong shapes, or a NaN or infinite value (layer and index named).
    """

    name: str
    weight: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32] | None = None
    relu: bool = True

    def __post_init__(self) -> None:
        shape = self.weight.shape
        if len(shape) != 2 or not all(1 <= size <= MAX_DIM for size in shape):
            raise ModelError(
                f"layer {self.name!r}: weight must be a matrix of 1 to {MAX_DIM} rows and columns, "
                f"not of shape {list(shape)}"
            )
        check_finite(self.weight, f"layer {self.name!r}: weight")
        if self.bias is not None:
            if self.bias.shape != shape[:1]:
                raise ModelError(
                    f"layer {self.name!r}: bias must have one value for each of {shape[0]} outputs, "
                    f"not shape {list(self.bias.shape)}"
                )
            check_finite(self.bias, f"layer {self.name!r}: bias")

    @property
    def start(self) -> FloatArray:
        """The bias, float64[rows]; zeros where there is none."""
        return np.zeros(len(self.weight)) if self.bias is None else self.bias.astype(np.float64)

    @property
    def nbytes(self) -> int:
        """Bytes of weights and biases as float32."""
        return 4 * (self.weight.size + (0 if self.bias is None else self.bias.size))

    def forward(self, x: npt.ArrayLike) -> FloatArray:
        """Outputs float64[batch, rows] for inputs [batch, cols]."""
        y = np.asarray(x, np.float64) @ self.weight.T.astype(np.float64) + self.start
        return np.maximum(y, 0.0) if self.relu else y


@dataclass(frozen=True)
class Model:
    """What a model file holds: layers in order, and what no layer uses, each as `name dtype[shape]`."""

    layers: list[FloatLayer]
    unused: tuple[str, ...] = ()


def array_text(name: str, array: npt.NDArray[Any]) -> str:
    """An array for messages.

    >>> array_text("x", np.zeros((2, 3), np.uint8))
    'x uint8[2, 3]'
    """
    return f"{name} {array.dtype}{list(array.shape)}"


def chains(layers: Sequence[FloatLayer]) -> bool:
    """Whether each layer takes as many inputs as the one before it has outputs."""
    return all(one.weight.shape[0] == two.weight.shape[1] for one, two in itertools.pairwise(layers))


def check_chains(layers: Sequence[FloatLayer]) -> None:
    """Raise `ModelError` unless the layers can be run one after the other."""
    for one, two in itertools.pairwise(layers):
        if one.weight.shape[0] != two.weight.shape[1]:
            raise ModelError(
                f"layer {two.name!r} takes {two.weight.shape[1]} inputs, but {one.name!r} before it has "
                f"{one.weight.shape[0]} outputs: the layers are no chain that inputs could run through"
            )


def check_inputs(x: npt.ArrayLike, cols: int, name: str) -> FloatArray:
    """`x` as float64[batch, cols], refused unless it is a non-empty batch of finite inputs of layer `name`."""
    given = np.asarray(x)
    if given.ndim != 2 or given.shape[1] != cols or not len(given) or given.dtype.kind not in "fiu":
        raise ModelError(
            f"inputs of layer {name!r} must be numbers [batch, {cols}], not {given.dtype} of shape {list(given.shape)}"
        )
    wide = given.astype(np.float64)
    check_finite(wide, "inputs")
    return wide


def float_forward(layers: Sequence[FloatLayer], x: npt.ArrayLike) -> FloatArray:
    """Outputs float64[batch, rows of the last layer] of a float network for inputs [batch, cols of the first].

    Raises
    ------
    ModelError : the layers do not chain, or the inputs do not fit the first one.
    """
    check_chains(layers)
    y = check_inputs(x, layers[0].weight.shape[1], layers[0].name)
    for layer in layers:
        y = layer.forward(y)
    return y
