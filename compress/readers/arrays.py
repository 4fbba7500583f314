"""Named arrays, as .safetensors, .npz and PyTorch's state dictionaries hold them, and what their names say."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

FLOATS = (
    "float16",
    "float32",
    "float64",
    "longdouble",
    "float128",
    "bfloat16",
    "float8_e4m3fn",
    "float8_e5m2",
)
# A recurrent network's matrices in PyTorch: weight_ih_l0, weight_hh_l1_reverse, weight_hr_l0, and those of cells.
_GATES = r"_(?:ih|hh|hr)(?:_l\d+)?(?:_reverse)?"
# What a weight's name may end in, and what may take its place in the name of its bias.
_WEIGHT = re.compile(
    rf"(?s)(?:(?P<stem>.*)(?P<mark>[._/]))?(?P<word>weights?|kernel|[wW]|coefs?)(?P<number>{_GATES}|[._]?\d*)(?P<tail>:\d+)?"
)
_BIAS_WORDS = {
    "weight": ("bias",),
    "weights": ("biases", "bias"),
    "kernel": ("bias",),
    "w": ("b", "bias"),
    "W": ("b", "B", "bias"),
    "coefs": ("intercepts",),
    "coef": ("intercept",),
}
_BIAS = re.compile(rf"(?s)(?:.*[._/])?bias(?:es)?(?:{_GATES}|[._]?\d*)(?::\d+)?")


# Sizes of more dimensions than this are not shown.
_SHOWN = 8


@dataclass(frozen=True)
class FileArray:
    """An array that is read when it is asked for.

    dtype : numpy's name, or the file's own for a type that numpy lacks. refused : why it is not read, if it is not.
    """

    dtype: str
    shape: tuple[int, ...]
    read: Callable[[], npt.NDArray[Any]]
    refused: str = ""

    def text(self, name: str) -> str:
        """The array for messages."""
        if len(self.shape) > _SHOWN:
            return f"{name} {self.dtype} of {len(self.shape)} dimensions"
        return f"{name} {self.dtype}{list(self.shape)}"

    @property
    def nbytes(self) -> int:
        """Bytes of its numbers."""
        bits = re.search(r"\d+", self.dtype)
        each = int(bits.group()) // 8 if bits else 1
        return max(each, 1) * math.prod(self.shape)

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
    >>> names_of("dense/kernel:0")
    ('dense', ['dense/bias:0'])
    """
    match = _WEIGHT.fullmatch(weight)
    if match is None:
        return weight, []
    stem, mark, word, number, tail = match.group("stem", "mark", "word", "number", "tail")
    biases = [(stem or "") + (mark or "") + bias + number + (tail or "") for bias in _BIAS_WORDS[word]]
    if re.fullmatch(_GATES, number):
        return (f"{stem}{mark}{number[1:]}" if stem else number[1:]), biases
    return (stem + number if stem else weight), biases


def is_recurrent(weight: str) -> bool:
    """Whether an array is one of a recurrent network's matrices."""
    match = _WEIGHT.fullmatch(weight)
    gates = match is not None and re.fullmatch(_GATES, match["number"]) is not None
    return gates or re.fullmatch(r"(?:.*[._/])?recurrent_kernel(?::\d+)?", weight) is not None


def is_bias(name: str) -> bool:
    """Whether an array is called like a bias."""
    return _BIAS.fullmatch(name) is not None
