"""Layers from named arrays, as .safetensors, .npz and PyTorch's state dictionaries hold them."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from eie.compress.float_layers import Layers, LayerSource, Model, Unused
from eie.conv import MAX_SIZE, Conv
from eie.errors import ModelError
from eie.layer import MAX_DIM

FLOATS = ("float16", "float32", "float64", "bfloat16")
# A recurrent network's matrices in PyTorch: weight_ih_l0, weight_hh_l1_reverse, weight_hr_l0, and those of cells.
_GATES = r"_(?:ih|hh|hr)(?:_l\d+)?(?:_reverse)?"
# What a weight's name may end in, and what may take its place in the name of its bias.
_WEIGHT = re.compile(
    rf"(?:(?P<stem>.*)(?P<mark>[._/]))?(?P<word>weights?|kernel|[wW])(?P<number>{_GATES}|[._]?\d*)"
)
_BIAS_WORDS = {
    "weight": ("bias",),
    "weights": ("biases", "bias"),
    "kernel": ("bias",),
    "w": ("b", "bias"),
    "W": ("b", "B", "bias"),
}
_BIAS = re.compile(rf"(?:.*[._/])?bias(?:es)?(?:{_GATES}|[._]?\d*)")


@dataclass(frozen=True)
class FileArray:
    """An array that is read when it is asked for.

    dtype : numpy's name, or the file's own for a type that numpy lacks.
    """

    dtype: str
    shape: tuple[int, ...]
    read: Callable[[], npt.NDArray[Any]]

    def text(self, name: str) -> str:
        """The array for messages."""
        return f"{name} {self.dtype}{list(self.shape)}"

    def float32(self) -> npt.NDArray[np.float32]:
        """Its values; what overflows becomes infinite, which `FloatLayer` refuses with its place."""
        with np.errstate(over="ignore"):
            return self.read().astype(np.float32, copy=False)


def natural_key(name: str) -> list[str | int]:
    """Key that sorts fc2 before fc10.

    >>> sorted(["fc10", "fc2", "fc1"], key=natural_key)
    ['fc1', 'fc2', 'fc10']
    """
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def names_of(weight: str) -> tuple[str, list[str]]:
    """Layer name, and the names that its bias may have, that go with the array called `weight`.

    >>> names_of("fc1.weight"), names_of("w1"), names_of("table")
    (('fc1', ['fc1.bias']), ('w1', ['b1', 'bias1']), ('table', []))
    >>> names_of("rnn.weight_hh_l0")
    ('rnn.hh_l0', ['rnn.bias_hh_l0'])
    """
    match = _WEIGHT.fullmatch(weight)
    if match is None:
        return weight, []
    stem, mark, word, number = match.group("stem", "mark", "word", "number")
    biases = [(stem or "") + (mark or "") + bias + number for bias in _BIAS_WORDS[word]]
    if _is_recurrent(weight):
        return (f"{stem}{mark}{number[1:]}" if stem else number[1:]), biases
    return (stem + number if stem else weight), biases


def _is_recurrent(weight: str) -> bool:
    match = _WEIGHT.fullmatch(weight)
    return match is not None and re.fullmatch(_GATES, match["number"]) is not None


def _unfit(name: str, array: FileArray) -> str:
    """Why the array is no layer's weights; empty if it may be."""
    if array.dtype not in FLOATS:
        return "8-bit floats are not read" if array.dtype.startswith("F8_") else "not floating point"
    if len(array.shape) < 2:
        return "one number" if not array.shape else "a vector, and no layer's bias"
    if _BIAS.fullmatch(name):
        return "a bias without a layer"
    if len(array.shape) > 4:
        return f"{len(array.shape)} dimensions; layers have 2, convolutions 3 or 4"
    rows, cols = array.shape[0], int(np.prod(array.shape[1:], dtype=np.float64))
    if not (1 <= rows <= MAX_DIM and 1 <= cols <= MAX_DIM):
        return "empty" if 0 in array.shape else f"more than {MAX_DIM} rows or columns"
    if max(array.shape[2:], default=1) > MAX_SIZE:
        return f"a kernel longer than {MAX_SIZE}"
    return ""


def _read(layer: str, weight: FileArray, bias_name: str | None, bias: FileArray | None) -> Any:
    """Weights and bias of one layer, see `LayerSource.read`."""
    rows = weight.shape[0]
    if bias is None:
        return weight.float32().reshape(rows, -1), None
    if bias.shape not in ((rows,), (1, rows), (rows, 1)) or bias.dtype not in FLOATS:
        raise ModelError(
            f"layer {layer!r}: a bias must be floats of shape [{rows}], [1, {rows}] or [{rows}, 1], "
            f"not {bias.text(bias_name or '')}"
        )
    return weight.float32().reshape(rows, -1), bias.float32().reshape(rows)


def _follows(one: LayerSource, two: LayerSource) -> bool:
    """Whether `two` may take the outputs of `one`: of convolutions only the channels are known."""
    rows, cols = one.shape[0], two.shape[1]
    if two.conv:
        return one.conv is not None and two.conv.channels(cols) == rows
    return cols % rows == 0 if one.conv else cols == rows


def from_arrays(arrays: Mapping[str, FileArray]) -> Model:
    """Layers from named arrays, in their order: every float array of 2 to 4 dimensions but a bias is a layer's weights.

    They are [outputs, inputs] or, of a convolution, [outputs, channels, kernel height, kernel width] ([outputs,
    channels, kernel] along one dimension). `fc1.weight` goes with `fc1.bias`, `fc1_w` with `fc1_b`, `W1` with `b1`,
    `kernel` with `bias`, `rnn.weight_ih_l0` with `rnn.bias_ih_l0`; weights whose bias is missing have none. If each
    layer may take the outputs of the one before it, all but the last have a ReLU; if not, none has.
    """
    biases = {bias for name in arrays for bias in names_of(name)[1]}
    unfit = {name: _unfit(name, array) for name, array in arrays.items()}
    sources: list[LayerSource] = []
    used: set[str] = set()
    for name, array in arrays.items():
        if unfit[name] or name in biases:
            continue
        layer, bias_names = names_of(name)
        bias = next((bias for bias in bias_names if bias in arrays), None)
        used |= {name, bias} if bias else {name}
        rows, *others = array.shape
        down, across = (1, 1, *others[1:])[-2:]
        conv = Conv((down, across)) if len(others) > 1 else None
        read = partial(_read, layer, array, bias, arrays[bias] if bias else None)
        sources.append(LayerSource(layer, (rows, int(np.prod(others))), read, conv=conv))
    recurrent = any(_is_recurrent(name) for name in used)
    if not recurrent and all(_follows(one, two) for one, two in itertools.pairwise(sources)):
        sources[:-1] = [replace(source, relu=True) for source in sources[:-1]]
    return Model(
        Layers(tuple(sources)),
        tuple(
            Unused(array.text(name), unfit[name] or "a bias without a layer")
            for name, array in arrays.items()
            if name not in used
        ),
    )
