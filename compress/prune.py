"""Pruning by magnitude, in one shot (Han et al., "Learning both weights and connections", 2015, without retraining).

Everything goes over the matrix in strips of rows, so that the only array of its size is the mask.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from eie.errors import ModelError

Mask = npt.NDArray[np.bool_]
Magnitudes = npt.NDArray[np.float32]

# Weights worked on at a time: they and what is computed from them stay in the second-level cache.
_STRIP = 1 << 16
# Numbers of the same sign order like their bits; the upper half tells 2**15 classes of magnitudes apart.
_SHIFT, _CLASSES = 16, 1 << 15


def row_strips(shape: tuple[int, ...]) -> Iterator[slice]:
    """Slices of rows, each of about 2**16 elements, that make up a matrix of this shape."""
    rows, cols = shape
    step = max(1, _STRIP // cols)
    return (slice(top, min(top + step, rows)) for top in range(0, rows, step))


def _magnitudes(weight: npt.NDArray[np.float32]) -> Iterator[tuple[slice, Magnitudes]]:
    for rows in row_strips(weight.shape):
        yield rows, np.abs(weight[rows]).astype(np.float32, copy=False)


def _class_of(magnitudes: Magnitudes) -> npt.NDArray[np.uint32]:
    return magnitudes.ravel().view(np.uint32) >> np.uint32(_SHIFT)


def _nth_largest(weight: npt.NDArray[np.float32], count: int) -> tuple[np.float32, int]:
    """The magnitude that `count` of the weights reach, and how many are larger."""
    sizes = np.zeros(_CLASSES, np.int64)
    for _, magnitudes in _magnitudes(weight):
        sizes += np.bincount(_class_of(magnitudes), minlength=_CLASSES)
    reach = np.cumsum(sizes[::-1])[::-1]
    # The one class that the magnitude is in is small enough to look at as a whole.
    chosen = int(np.flatnonzero(reach >= count)[-1])
    members = np.concatenate(
        [m.ravel()[_class_of(m) == chosen] for _, m in _magnitudes(weight)], dtype=np.float32
    )
    larger = int(reach[chosen] - sizes[chosen])
    place = members.size - (count - larger)
    smallest = np.partition(members, place)[place]
    return smallest, larger + int(np.count_nonzero(members > smallest))


def keep_density(weight: npt.NDArray[np.float32], density: float) -> Mask:
    """Which weights survive, bool[rows, cols]: the round(density * size) of largest magnitude.

    Among equals the first in row-major order stay. A weight that is zero already never survives, so fewer are kept
    where the matrix has fewer non-zeros.

    >>> keep_density(np.float32([[1, -3], [2, 2]]), 0.5).tolist()
    [[False, True], [True, False]]
    """
    if not 0 < density <= 1:
        raise ModelError(f"density must be more than 0 and at most 1, not {density}")
    count = round(density * weight.size)
    if count == weight.size:
        return np.not_equal(weight, 0)
    keep = np.zeros(weight.shape, np.bool_)
    if count == 0:
        return keep
    smallest, larger = _nth_largest(weight, count)
    if smallest == 0:
        return np.not_equal(weight, 0)
    equals = count - larger
    for rows, magnitudes in _magnitudes(weight):
        strip = keep[rows]
        np.greater(magnitudes, smallest, out=strip)
        if equals:
            first = np.flatnonzero(magnitudes == smallest)[:equals]
            strip.ravel()[first] = True
            equals -= first.size
    return keep


def keep_above(weight: npt.NDArray[np.float32], threshold: float) -> Mask:
    """Which weights survive, bool[rows, cols]: magnitude > threshold * the layer's standard deviation.

    >>> keep_above(np.float32([[1, -3], [2, 0]]), 1.0).tolist()
    [[False, True], [True, False]]
    """
    if not 0 <= threshold < np.inf:
        raise ModelError(f"threshold must be at least 0 and finite, not {threshold}")
    keep = np.zeros(weight.shape, np.bool_)
    limit = threshold * _deviation(weight)
    for rows, magnitudes in _magnitudes(weight):
        np.greater(magnitudes, limit, out=keep[rows])
    return keep


def _deviation(weight: npt.NDArray[np.float32]) -> float:
    """Standard deviation in float64."""
    strips = list(row_strips(weight.shape))
    mean = sum(float(weight[rows].sum(dtype=np.float64)) for rows in strips) / weight.size
    squares = (float(np.square(weight[rows].astype(np.float64) - mean).sum()) for rows in strips)
    return float(np.sqrt(sum(squares) / weight.size))
