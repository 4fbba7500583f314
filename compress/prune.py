"""Pruning by magnitude, in one shot (Han et al., "Learning both weights and connections", 2015, without retraining)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from eie.errors import ModelError

Mask = npt.NDArray[np.bool_]


def keep_density(weight: npt.NDArray[np.float32], density: float) -> Mask:
    """Which weights survive, bool[rows, cols]: the round(density * size) of largest magnitude.

    Among equals the first in row-major order stay. A weight that is zero already never survives, so fewer are kept
    where the matrix has fewer non-zeros.

    >>> keep_density(np.float32([[1, -3], [2, 2]]), 0.5).tolist()
    [[False, True], [True, False]]
    """
    if not 0 < density <= 1:
        raise ModelError(f"density must be more than 0 and at most 1, not {density}")
    magnitude = np.abs(weight).ravel()
    count = round(density * magnitude.size)
    if count == 0:
        return np.zeros(weight.shape, np.bool_)
    smallest = np.partition(magnitude, magnitude.size - count)[magnitude.size - count]
    keep = magnitude > smallest
    keep[np.flatnonzero(magnitude == smallest)[: count - int(keep.sum())]] = True
    return (keep & (magnitude > 0)).reshape(weight.shape)


def keep_above(weight: npt.NDArray[np.float32], threshold: float) -> Mask:
    """Which weights survive, bool[rows, cols]: magnitude > threshold * the layer's standard deviation.

    >>> keep_above(np.float32([[1, -3], [2, 0]]), 1.0).tolist()
    [[False, True], [True, False]]
    """
    if not 0 <= threshold < np.inf:
        raise ModelError(f"threshold must be at least 0 and finite, not {threshold}")
    return np.abs(weight) > threshold * float(np.std(weight, dtype=np.float64))
