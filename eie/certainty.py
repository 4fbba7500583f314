"""How certain a network is of its answer, and the rule by which an input leaves at an early exit (docs/learn.md)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


def certainty(logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The largest softmax of each row.

    >>> certainty(np.log([[8.0, 1.0, 1.0], [1.0, 1.0, 2.0]])).round(3).tolist()
    [0.8, 0.5]
    """
    apart = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(1 / apart.sum(axis=1))


@dataclass(frozen=True)
class Above:
    """Whether the certainty of an answer, int64[classes] with `y_frac` fraction bits, is above `threshold`.

    >>> Above(0.9, y_frac=4)(np.array([0, 80, 0])), Above(0.9, y_frac=8)(np.array([0, 80, 0]))
    (True, False)
    """

    threshold: float
    y_frac: int

    def __call__(self, y: npt.NDArray[np.integer]) -> bool:
        """From the outputs of the exit."""
        return bool(certainty(np.ldexp(y[None].astype(np.float64), -self.y_frac))[0] > self.threshold)
