"""Steps of a network whose matrices the accelerator multiplies, with what belongs to them on the host, in float64.

A step does not know what multiplies its matrices: `Multiply` is the trained weights in floating point, or an engine.
docs/networks.md says which operator is which step.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from eie.compress.readers.onnx_layers import Contraction
from eie.compress.readers.onnx_run import array_of
from eie.errors import ModelError

Array = npt.NDArray[Any]
FloatArray = npt.NDArray[np.float64]
Sizes = tuple[int, ...]
# Numbers of the vectors that a convolution's window makes at a time: 128 MB as float64.
_PART = 1 << 24


class Multiply(Protocol):
    """W x + b, and the ReLU of the layer called `layer` if it has one, for vectors [n, cols] -> [n, rows].

    rows : only these rows of W.
    """

    def __call__(self, layer: str, vectors: FloatArray, rows: slice | None = None) -> FloatArray:
        """The products of one layer."""


class Hosting(Protocol):
    """What runs the parts of a graph that are the host's (`eie.sim.networks.host`)."""

    def part(self, part: Any, given: Sequence[Any]) -> Sequence[Any]:
        """The values that a part gives, for those that it takes."""

    def product(self, step: Step, given: Sequence[Any], multiply: Multiply) -> Sequence[Any]:
        """The values that a step with matrices gives."""


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

    def run(self, given: Sequence[Any], multiply: Multiply, host: Hosting) -> Sequence[Any]:
        """The values that it gives.

        Raises
        ------
        ModelError, LayerError : values of a shape that it cannot take.
        """
        raise NotImplementedError

    def first(self, given: Sequence[Any]) -> FloatArray:
        """The first value, which no step does without, in float64."""
        if given[0] is None:
            raise ModelError(f"node {self.name!r} ({self.operator}) has no input")
        return wide(given[0])

    def refused(self, x: Array, takes: str) -> ModelError:
        """The error for a value of another shape."""
        return ModelError(
            f"node {self.name!r} ({self.operator}) takes {takes}, not values of shape {list(x.shape)}"
        )

    def fitting(self, value: Any, y: FloatArray) -> FloatArray:
        """A value that is added to `y` along its last axes."""
        more = wide(value)
        if more.ndim > y.ndim or any(
            a not in (1, b) for a, b in zip(more.shape[::-1], y.shape[::-1], strict=False)
        ):
            raise self.refused(more, f"a value that can be added to one of shape {list(y.shape)}")
        return more

    def of_channels(self, value: Any, y: FloatArray) -> FloatArray:
        """A value that is added to the channels of `y`."""
        more = wide(value)
        if more.shape != y.shape[1:2]:
            raise self.refused(more, f"a bias of shape {list(y.shape[1:2])}")
        return more.reshape(-1, *[1] * (y.ndim - 2))


def wide(value: Any) -> FloatArray:
    """A value as float64."""
    return np.asarray(array_of(value), np.float64)


@dataclass(frozen=True, eq=False)
class Matrix(Step):
    """A matrix on vectors along the last axis, or, with `by_column`, along the last but one if there are two.

    swapped : the values are transposed before (Gemm's transA). A second value is added, `factor` times.
    """

    by_column: bool = False
    swapped: bool = False
    factor: float = 1.0

    def run(self, given: Sequence[Any], multiply: Multiply, host: Hosting) -> Sequence[Any]:
        """[..., cols] -> [..., rows]."""
        x = self.first(given)
        by_column = (self.by_column and x.ndim > 1) or (self.swapped and x.ndim == 2)
        if by_column:
            x = np.swapaxes(x, -1, -2)
        if not x.ndim:
            raise self.refused(x, "vectors")
        y = multiply(self.layers[0], x.reshape(-1, x.shape[-1]))
        y = y.reshape(*x.shape[:-1], y.shape[-1])
        if len(given) > 1:
            y = y + self.factor * self.fitting(given[1], y)
        return [np.swapaxes(y, -1, -2) if by_column and not self.swapped else y]


@dataclass(frozen=True, eq=False)
class Sum(Step):
    """An Einsum that is the product of a matrix with vectors (`Contraction`). sizes : of the axes of the rows."""

    contraction: Contraction = field(default_factory=lambda: Contraction(0, *[""] * 4))
    sizes: Sizes = ()

    def run(self, given: Sequence[Any], multiply: Multiply, host: Hosting) -> Sequence[Any]:
        """Axes in the order of the equation."""
        x, about = self.first(given), self.contraction
        more = x.ndim - len(about.given.replace(".", ""))
        if more < 0 or (more and "." not in about.given):
            raise self.refused(x, f"values of {len(about.given)} axes")
        hidden = "".join(chr(0xE000 + one) for one in range(more))  # letters that nobody uses
        names, made = about.given.replace(".", hidden), about.made.replace(".", hidden)
        free = [one for one in names if one not in about.summed]
        x = x.transpose([names.index(one) for one in (*free, *about.summed)])
        outer = x.shape[: len(free)]
        y = multiply(self.layers[0], x.reshape(math.prod(outer), -1)).reshape(*outer, *self.sizes)
        now = [*free, *about.kept]
        return [y.transpose([now.index(one) for one in made])]


@dataclass(frozen=True, eq=False)
class Window:
    """Geometry of a convolution, an entry for each dimension of its images.

    before, behind : zeros on both sides. same : "UPPER" or "LOWER" where these follow from the image's size. pool :
    window and stride of max pooling behind it. more : what is added to the size that a transposed one gives. shape :
    the size itself, where that is given instead.
    """

    kernel: Sizes
    stride: Sizes
    dilation: Sizes
    before: Sizes
    behind: Sizes
    same: str = ""
    pool: tuple[Sizes, Sizes] | None = None
    more: Sizes = ()
    shape: Sizes = ()

    @property
    def reach(self) -> Sizes:
        """How far the window reaches."""
        return tuple(d * (k - 1) + 1 for k, d in zip(self.kernel, self.dilation, strict=True))

    def padding(self, size: Sizes) -> tuple[Sizes, Sizes]:
        """Zeros before and behind an image of this size."""
        if not self.same:
            return self.before, self.behind
        each = zip(size, self.stride, self.reach, strict=True)
        whole = [max((-(-n // s) - 1) * s + k - n, 0) for n, s, k in each]
        less, more = tuple(n // 2 for n in whole), tuple(n - n // 2 for n in whole)
        return (less, more) if self.same == "UPPER" else (more, less)

    def transposed(self, size: Sizes) -> tuple[Sizes, Sizes]:
        """Of a transposed convolution: what is cut off before, and the size that it gives."""
        full = tuple((n - 1) * s + r for n, s, r in zip(size, self.stride, self.reach, strict=True))
        more = self.more or (0,) * len(size)
        if not self.shape and not self.same:
            made = tuple(
                n + m - b - e for n, m, b, e in zip(full, more, self.before, self.behind, strict=True)
            )
            return self.before, made
        made = self.shape or tuple(
            min(n * s, f + m) for n, s, f, m in zip(size, self.stride, full, more, strict=True)
        )
        cut = tuple(max(n + m - k, 0) for n, m, k in zip(full, more, made, strict=True))
        upper = self.same != "LOWER" if self.same else False
        before = tuple(n // 2 if upper else n - n // 2 for n in cut)
        return before, made


@dataclass(frozen=True, eq=False)
class _OfImages(Step):
    """A step that takes images of so many channels."""

    window: Window = Window((), (), (), (), ())
    channels: int = 1

    def images(self, given: Sequence[Any]) -> FloatArray:
        """The first value, [batch, channels, sizes]; refused if it is something else."""
        x = self.first(given)
        if x.ndim != len(self.window.kernel) + 2 or x.shape[1] != self.channels:
            raise self.refused(x, f"images of {self.channels} channels")
        return x


@dataclass(frozen=True, eq=False)
class Convolution(_OfImages):
    """A matrix at each position of its window, and max pooling."""

    def run(self, given: Sequence[Any], multiply: Multiply, host: Hosting) -> Sequence[Any]:
        """[batch, channels, sizes] -> [batch, rows, sizes]; a second value is added to each channel."""
        x, window, axes = self.images(given), self.window, len(self.window.kernel)
        pads = [(0, 0), (0, 0), *zip(*window.padding(x.shape[2:]), strict=True)]
        x = np.pad(x, pads)
        if any(n < r for n, r in zip(x.shape[2:], window.reach, strict=True)):
            raise self.refused(x, f"images of at least {' x '.join(map(str, window.reach))}")
        seen = np.lib.stride_tricks.sliding_window_view(x, window.reach, tuple(range(2, axes + 2)))
        steps = [slice(None, None, one) for one in window.stride]
        seen = seen[(slice(None), slice(None), *steps, *(slice(None, None, d) for d in window.dilation))]
        # [batch, positions, channels, window]
        seen = np.moveaxis(seen, 1, axes + 1)
        made = seen.shape[1 : axes + 1]
        y = self._products(seen, axes, multiply).reshape(len(x), *made, -1)
        y = np.moveaxis(y, -1, 1)
        if len(given) > 1:
            y = y + self.of_channels(given[1], y)
        return [y if window.pool is None else max_pool(y, *window.pool)]

    def _products(self, seen: FloatArray, axes: int, multiply: Multiply) -> FloatArray:
        """The products of all windows, a part of them at a time."""
        cols = math.prod(seen.shape[axes + 1 :])
        each = max(1, _PART // max(1, cols * math.prod(seen.shape[2 : axes + 1])))
        if seen.size <= _PART:
            return multiply(self.layers[0], seen.reshape(-1, cols))
        parts = (image[at : at + each] for image in seen for at in range(0, len(image), each))
        return np.concatenate([multiply(self.layers[0], part.reshape(-1, cols)) for part in parts])


@dataclass(frozen=True, eq=False)
class Transposed(_OfImages):
    """A transposed convolution: a matrix at each place of the image, whose windows are added up."""

    def run(self, given: Sequence[Any], multiply: Multiply, host: Hosting) -> Sequence[Any]:
        """[batch, channels, sizes] -> [batch, outputs, sizes]; a second value is added to each output."""
        x, window, axes = self.images(given), self.window, len(self.window.kernel)
        size = x.shape[2:]
        before, made = window.transposed(size)
        products = multiply(self.layers[0], np.moveaxis(x, 1, -1).reshape(-1, self.channels))
        products = products.reshape(len(x), *size, -1, *window.kernel)
        full = tuple(
            max((n - 1) * s + r, b + m)
            for n, s, r, b, m in zip(size, window.stride, window.reach, before, made, strict=True)
        )
        y = np.zeros((len(x), products.shape[axes + 1], *full))
        for tap in itertools.product(*map(range, window.kernel)):
            places = zip(tap, window.dilation, window.stride, size, strict=True)
            where = (slice(t * d, t * d + s * (n - 1) + 1, s) for t, d, s, n in places)
            seen: Any = y[(slice(None), slice(None), *where)]
            of_tap: tuple[Any, ...] = (..., *tap)
            seen += np.moveaxis(products[of_tap], -1, 1)
        y = y[(slice(None), slice(None), *(slice(b, b + m) for b, m in zip(before, made, strict=True)))]
        if len(given) > 1:
            y = y + self.of_channels(given[1], y)
        return [y]


def max_pool(x: Array, window: Sizes, stride: Sizes) -> Array:
    """Largest value of each window over [batch, channels, sizes]; what no window covers is dropped.

    >>> max_pool(np.array([[[[3, 1, 4, 1, 5]]]]), (1, 2), (1, 2)).tolist()
    [[[[3, 4]]]]
    """
    axes = tuple(range(2, x.ndim))
    if any(n < w for n, w in zip(x.shape[2:], window, strict=True)):
        raise ModelError(f"pooling over {list(window)} does not fit values of shape {list(x.shape)}")
    windows = np.lib.stride_tricks.sliding_window_view(x, window, axes)
    steps = tuple(slice(None, None, one) for one in stride)
    return windows[(slice(None), slice(None), *steps)].max(axis=tuple(range(x.ndim, 2 * x.ndim - 2)))


def each_step(steps: Sequence[Step]) -> Iterator[Step]:
    """The steps, and those inside them."""
    for step in steps:
        yield step
        for inner in getattr(step, "bodies", {}).values():
            yield from each_step(inner.steps)
