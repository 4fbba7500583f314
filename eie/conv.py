"""How the matrix of a convolution meets an image: an input vector for each position of the window, then max pooling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from eie.errors import LayerError

Pair = tuple[int, int]
Number = TypeVar("Number", bound=np.generic)
MAX_SIZE = 1 << 16


@dataclass(frozen=True)
class Conv:
    """Geometry of a convolution and of the pooling behind it. Every pair is (height, width).

    The layer's matrix is [outputs, channels * kernel height * kernel width], its columns in that order, which is how
    PyTorch, ONNX and Caffe keep one output's weights. The engines see each position of the window as an input vector
    of its own. Images are vectors, too: [channels, height, width], flattened in that order.

    Parameters
    ----------
    kernel, stride, padding : of the window over the image; `padding` zeros stand on both sides.
    pool, pool_stride : of the max pooling over the outputs; a window of (1, 1) is none. What is left of the outputs
        where the last window does not fit is dropped.
    size : of the image without its padding; (0, 0) while it is not known.

    Raises
    ------
    LayerError : sizes that no convolution can have.
    """

    kernel: Pair
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    pool: Pair = (1, 1)
    pool_stride: Pair = (1, 1)
    size: Pair = (0, 0)

    def __post_init__(self) -> None:
        for name, pair in vars(self).items():
            least = 0 if name in ("padding", "size") else 1
            good = isinstance(pair, tuple) and len(pair) == 2 and all(type(n) is int for n in pair)
            if not good or not all(least <= n <= MAX_SIZE for n in pair):
                raise LayerError(
                    f"{name} of a convolution must be two sizes from {least} to {MAX_SIZE}, not {pair!r}"
                )
        if self.known:
            for what, sizes in (("window", self.positions), ("pooling window", self.pooled_size)):
                if min(sizes) < 1:
                    raise LayerError(
                        f"the {what} of a convolution does not fit its image of {self.size[0]} x {self.size[1]}"
                    )

    @classmethod
    def from_numbers(cls, numbers: Sequence[Any]) -> Conv:
        """The geometry that `to_numbers` made numbers of.

        Raises
        ------
        LayerError : they are none.
        """
        if len(numbers) != 12:
            raise LayerError(f"a convolution's geometry has 12 numbers, not {len(numbers)}")
        return cls(*((numbers[i], numbers[i + 1]) for i in range(0, 12, 2)))

    def to_numbers(self) -> list[int]:
        """The six pairs as one list, in the order of the fields."""
        return [number for pair in astuple(self) for number in pair]

    # ---- sizes ---------------------------------------------------------------------------------------------

    @property
    def known(self) -> bool:
        """Whether the image's size is known, so that the layer can run."""
        return min(self.size) > 0

    @property
    def positions(self) -> Pair:
        """Positions of the window, down and across."""
        return self._fit(self.size, self.kernel, self.stride, self.padding)

    @property
    def middle(self) -> int:
        """Number of the position in the middle of the image."""
        down, across = self.positions
        return down // 2 * across + across // 2

    @property
    def pooled_size(self) -> Pair:
        """Size of each output channel after pooling."""
        return self._fit(self.positions, self.pool, self.pool_stride, (0, 0))

    @staticmethod
    def _fit(size: Pair, window: Pair, stride: Pair, padding: Pair) -> Pair:
        down, across = (
            (s + 2 * p - w) // step + 1 for s, w, step, p in zip(size, window, stride, padding, strict=True)
        )
        return down, across

    def channels(self, cols: int) -> int:
        """Input channels of a matrix of `cols` columns.

        Raises
        ------
        LayerError : the columns are not a multiple of the channels.
        """
        taps = self.kernel[0] * self.kernel[1]
        if cols % taps:
            raise LayerError(
                f"{cols} columns are not a multiple of the {self.kernel[0]} x {self.kernel[1]} kernels"
            )
        return cols // taps

    def inputs(self, cols: int) -> int:
        """Numbers in an image for a matrix of `cols` columns (0: its size is not known)."""
        return self.channels(cols) * self.size[0] * self.size[1]

    def outputs(self, rows: int) -> int:
        """Numbers that `rows` output channels have after pooling (0: the image's size is not known)."""
        return rows * self.pooled_size[0] * self.pooled_size[1] if self.known else 0

    # ---- data ----------------------------------------------------------------------------------------------

    def columns(self, images: npt.NDArray[Number], cols: int) -> npt.NDArray[Number]:
        """Input vectors [batch * positions, cols] of images [batch, inputs]; positions go row by row.

        >>> Conv((2, 2), size=(2, 3)).columns(np.arange(6)[None], 4).tolist()
        [[0, 1, 3, 4], [1, 2, 4, 5]]
        """
        (top, left), (down, across) = self.padding, self.stride
        maps = images.reshape(len(images), self.channels(cols), *self.size)
        padded = np.pad(maps, ((0, 0), (0, 0), (top, top), (left, left)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, self.kernel, (2, 3))[
            :, :, ::down, ::across
        ]
        # [batch, channels, y, x, kernel y, kernel x]
        return windows.transpose(0, 2, 3, 1, 4, 5).reshape(-1, cols)

    def pooled(self, y: npt.NDArray[Number]) -> npt.NDArray[Number]:
        """Images [batch, outputs] of the output vectors [batch * positions, rows]: the largest of each pooling window.

        >>> conv = Conv((1, 1), pool=(1, 2), pool_stride=(1, 2), size=(1, 5))
        >>> conv.pooled(np.array([[3], [1], [4], [1], [5]])).tolist()
        [[3, 4]]
        """
        maps = y.reshape(-1, *self.positions, y.shape[1]).transpose(0, 3, 1, 2)
        down, across = self.pool_stride
        windows = np.lib.stride_tricks.sliding_window_view(maps, self.pool, (2, 3))[:, :, ::down, ::across]
        return windows.max(axis=(4, 5)).reshape(len(maps), -1)


def to_vectors(conv: Conv | None, x: npt.NDArray[Number], cols: int) -> npt.NDArray[Number]:
    """What a matrix of `cols` columns gets for a batch: each position's vector, or `x` itself without `conv`."""
    return x if conv is None else conv.columns(x, cols)


def from_vectors(conv: Conv | None, y: npt.NDArray[Number]) -> npt.NDArray[Number]:
    """A layer's outputs for a batch, from those of its matrix: pooled images, or `y` itself without `conv`."""
    return y if conv is None else conv.pooled(y)
