"""Compiled loops of layers that add: outputs, and gradients of inputs. docs/adder.md has the formulas."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from eie.jit import compiled

Array = npt.NDArray[Any]


@compiled
def forward(x: Array, by_column: Array, start: Array, y: Array) -> None:
    """y[n, o] = -sum over k of |x[n, k] - w[o, k]|, float32.

    x : [n, inputs]; by_column : the weights, [inputs, outputs]; start : -sum of |w| for each output, what an input of
    zeros gives. An input that is 0 changes nothing, and costs nothing.
    """
    for n in range(x.shape[0]):
        row = y[n]
        for o in range(row.size):
            row[o] = start[o]
        for k in range(x.shape[1]):
            value = x[n, k]
            if value != np.float32(0):
                column = by_column[k]
                for o in range(row.size):
                    row[o] += abs(column[o]) - abs(value - column[o])


@compiled
def input_gradient(x: Array, weight: Array, gradient: Array, dx: Array) -> None:
    """dx[n, k] = -sum over o of gradient[n, o] * clip(x[n, k] - w[o, k], -1, 1), float32.

    x, dx : [n, inputs]; weight : [outputs, inputs]; gradient : [n, outputs].
    """
    one = np.float32(1)
    for n in range(x.shape[0]):
        row, given = dx[n], x[n]
        for k in range(row.size):
            row[k] = np.float32(0)
        for o in range(weight.shape[0]):
            times = gradient[n, o]
            if times != np.float32(0):
                weights = weight[o]
                for k in range(row.size):
                    row[k] -= times * min(max(given[k] - weights[k], -one), one)
