"""FloatLayer: one trained matrix as it was read, and the float network that a list of them makes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from eie.conv import Conv, from_vectors, to_vectors
from eie.errors import LayerError, ModelError
from eie.layer import MAX_DIM, CompressedLayer

FloatArray = npt.NDArray[np.float64]
# 128 MB as float64.
_PART = 1 << 24


def check_finite(array: npt.NDArray[np.floating], what: str) -> None:
    """Raise `ModelError` naming the first NaN or infinity of `array`; `what` is its name in the message."""
    finite = np.isfinite(array)
    if not finite.all():
        place = np.unravel_index(int(np.argmin(finite)), array.shape)
        index = ", ".join(str(int(i)) for i in place)
        raise ModelError(f"{what}[{index}] is {array[place]}, not a finite number")


class Sized:
    """What a layer takes and gives, from the shape of its matrix and its geometry."""

    name: str
    conv: Conv | None
    # Whether it takes the outputs of the layer before it as they are, as far as the file tells.
    follows: bool = True
    # Whether it is an early exit of its network.
    exit: bool = False

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, cols) of the matrix."""
        raise NotImplementedError

    @property
    def inputs(self) -> int:
        """Numbers that the layer takes: columns, or a whole image for a convolution (0: its size is not known)."""
        return self.conv.inputs(self.shape[1]) if self.conv else self.shape[1]

    @property
    def outputs(self) -> int:
        """Numbers that the layer gives: rows, or a whole image after pooling for a convolution (0: not known)."""
        return self.conv.outputs(self.shape[0]) if self.conv else self.shape[0]


@dataclass(frozen=True, eq=False)
class FloatLayer(Sized):
    """y = scale (core + bias), then ReLU if `relu`; a convolution does that at each position of its window.

    The core is weight x, or of a layer that adds sum |w| - sum |x - w| (docs/adder.md).

    Parameters
    ----------
    name : shown in tables and messages.
    weight : float32[rows, cols] = [outputs, inputs]; see `Conv` for a convolution's.
    bias : float32[rows] or None.
    relu : whether negative outputs become 0.
    conv : the geometry, when the matrix is that of a convolution.
    adder : whether it adds. scale : float64[rows], or None for 1.

    Raises
    ------
    ModelError : wrong shapes, or a NaN or infinite value (layer and index named).
    """

    name: str
    weight: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32] | None = None
    relu: bool = True
    conv: Conv | None = None
    adder: bool = False
    scale: FloatArray | None = None

    def __post_init__(self) -> None:
        shape = self.weight.shape
        if len(shape) != 2 or not all(1 <= size <= MAX_DIM for size in shape):
            raise ModelError(
                f"layer {self.name!r}: weight must be a matrix of 1 to {MAX_DIM} rows and columns, "
                f"not of shape {list(shape)}"
            )
        if self.conv is not None:
            try:
                self.conv.channels(shape[1])
            except LayerError as error:
                raise ModelError(f"layer {self.name!r}: {error}") from None
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
    def shape(self) -> tuple[int, int]:
        """(rows, cols) of the matrix."""
        rows, cols = self.weight.shape
        return rows, cols

    @property
    def nbytes(self) -> int:
        """Bytes of weights and biases as float32."""
        return 4 * (self.weight.size + (0 if self.bias is None else self.bias.size))

    def forward(self, x: npt.ArrayLike) -> FloatArray:
        """Outputs float64[batch, outputs] for inputs [batch, inputs]."""
        weight = self.weight.astype(np.float64)
        given = np.asarray(x, np.float64)
        done = []
        for part in batches(self.conv, given, weight.shape[1]):
            vectors = to_vectors(self.conv, part, weight.shape[1])
            if self.adder:
                y = np.abs(weight).sum(axis=1) - distances(vectors, weight) + self.start
            else:
                y = vectors @ weight.T + self.start
            y = y if self.scale is None else y * self.scale
            done.append(from_vectors(self.conv, np.maximum(y, 0.0) if self.relu else y))
        return np.concatenate(done)


def distances(vectors: FloatArray, weight: FloatArray) -> FloatArray:
    """sum |x - w| of vectors [n, cols] and the rows of a matrix [rows, cols]: [n, rows]."""
    step = max(1, _PART // 4 // weight.size)
    parts = [
        np.abs(vectors[start : start + step, None] - weight).sum(axis=2)
        for start in range(0, len(vectors), step)
    ]
    return np.concatenate(parts)


def batches(conv: Conv | None, x: npt.NDArray[Any], cols: int) -> Iterator[npt.NDArray[Any]]:
    """`x` in parts along the batch, of which a convolution's input vectors are no more than `_PART` numbers."""
    each = 1 if conv is None else conv.positions[0] * conv.positions[1] * cols
    part = max(1, len(x) if conv is None else _PART // each)
    return (x[start : start + part] for start in range(0, max(len(x), 1), part))


@dataclass(frozen=True)
class LayerSource(Sized):
    """A layer that is read when it is asked for; all but weights and bias is known before.

    size : (rows, cols) of its matrix. read : gives weights and bias, as `FloatLayer` wants them. name, relu, conv : as
    in `FloatLayer`. place : the file, for messages. follows : false when something else stands before it. refused :
    why it cannot be read, if the file's head tells already.
    """

    name: str
    size: tuple[int, int]
    read: Callable[[], tuple[npt.NDArray[np.float32], npt.NDArray[np.float32] | None]]
    relu: bool = False
    conv: Conv | None = None
    place: str = ""
    follows: bool = True
    refused: str = ""

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, cols) of the matrix."""
        return self.size

    def load(self) -> FloatLayer:
        """The layer itself.

        Raises
        ------
        ModelError : it cannot be read, or breaks the rules of `FloatLayer`; the file is named.
        """
        try:
            weight, bias = self.read()
            return FloatLayer(self.name, weight, bias, self.relu, self.conv)
        except ModelError as error:
            raise ModelError(f"{self.place}: {error}" if self.place else str(error)) from None


@dataclass(frozen=True)
class Layers(Sequence[FloatLayer]):
    """The layers of a file, each read when it is asked for and not kept: a large file streams through."""

    sources: tuple[LayerSource, ...]

    def __len__(self) -> int:
        return len(self.sources)

    @overload
    def __getitem__(self, place: int) -> FloatLayer: ...
    @overload
    def __getitem__(self, place: slice) -> Layers: ...
    def __getitem__(self, place: int | slice) -> FloatLayer | Layers:
        return Layers(self.sources[place]) if isinstance(place, slice) else self.sources[place].load()


def left_over(sources: Sequence[LayerSource], places: Sequence[int]) -> tuple[LayerSource, ...]:
    """The layers at `places`, ascending: one whose predecessor is gone follows no other."""
    return tuple(
        replace(sources[place], follows=sources[place].follows and (not i or places[i - 1] == place - 1))
        for i, place in enumerate(places)
    )


@dataclass(frozen=True)
class Unused:
    """An array of a model file that no layer uses: `name dtype[shape]`, and why.

    nbytes : of what the network needs beside its layers; 0 for what it does not need.
    """

    array: str
    reason: str
    nbytes: int = 0

    def __str__(self) -> str:
        return f"{self.array} ({self.reason})"


@dataclass(frozen=True)
class Model:
    """What a model file holds: its layers in order, what no layer uses, and how what was found was understood."""

    layers: Layers
    unused: tuple[Unused, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def left_bytes(self) -> int:
        """Bytes of the network that are in no layer."""
        return sum(one.nbytes for one in self.unused)


def left_text(unused: Sequence[Unused], dense_bytes: int, total_bytes: int) -> str:
    """One line: what of a network is not compressed, and how many times smaller the whole is; empty if nothing is."""
    left = [one for one in unused if one.nbytes]
    if not left:
        return ""
    size = sum(one.nbytes for one in left)
    return (
        f"not compressed: {len(left)} arrays of the network, {size:,} bytes; with these, the whole model is "
        f"{whole_ratio(dense_bytes, total_bytes, size):.1f} x smaller"
    )


def whole_ratio(dense_bytes: int, total_bytes: int, left_bytes: int) -> float:
    """How many times smaller a whole model is, of which `left_bytes` stay as they are."""
    return (dense_bytes + left_bytes) / max(total_bytes + left_bytes, 1)


def array_text(name: str, array: npt.NDArray[Any]) -> str:
    """An array for messages.

    >>> array_text("x", np.zeros((2, 3), np.uint8))
    'x uint8[2, 3]'
    """
    return f"{name} {array.dtype}{list(array.shape)}"


def _sized(layers: Sequence[Sized | CompressedLayer]) -> Sequence[Sized | CompressedLayer]:
    """The layers, or what is known of them without reading them."""
    return layers.sources if isinstance(layers, Layers) else layers


def gate_text(layer: Sized | CompressedLayer) -> str:
    """What an exit of one output is, and what runs it; empty for any other layer."""
    if not layer.exit or layer.shape[0] != 1:
        return ""
    return (
        f"layer {layer.name!r} is the gate of a block that inputs may skip: only `eie accuracy` and "
        "eie.sim.skips.run_skips run a network with gates"
    )


def no_chain(layers: Sequence[Sized | CompressedLayer]) -> str:
    """Why the layers cannot be run one after the other; empty if they can."""
    sized = _sized(layers)
    for layer in sized:
        if layer.exit:
            return gate_text(layer) or (
                f"layer {layer.name!r} is an early exit: only `eie accuracy --exit` runs a network with exits"
            )
        if not layer.inputs:
            return (
                f"layer {layer.name!r} is a convolution over images of unknown size: compress it with a settings file "
                "that gives the size as `input`"
            )
    for one, two in itertools.pairwise(sized):
        if one.outputs != two.inputs:
            return f"layer {two.name!r} takes {two.inputs} inputs, but {one.name!r} has {one.outputs} outputs"
        if not two.follows:
            return (
                f"layer {two.name!r} does not take the outputs of {one.name!r} as they are: no layer holds what "
                "stands between them"
            )
    return ""


def check_chains(layers: Sequence[Sized]) -> None:
    """Raise `ModelError` unless the layers can be run one after the other."""
    if problem := no_chain(layers):
        raise ModelError(problem)


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
    """Outputs float64[batch, outputs of the last layer] of a float network for inputs [batch, inputs of the first].

    Raises
    ------
    ModelError : the layers do not chain, or the inputs do not fit the first one.
    """
    check_chains(layers)
    first = _sized(layers)[0]
    y = check_inputs(x, first.inputs, first.name)
    for layer in layers:
        y = layer.forward(y)
    return y
