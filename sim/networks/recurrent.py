"""Recurrent cells step by step: matrices on the accelerator, gates on the host."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit

from eie.sim.networks.steps import Array, FloatArray, Hosting, Multiply, Step, wide

ACTIVATIONS: dict[str, Callable[[FloatArray], FloatArray]] = {
    "Sigmoid": expit,
    "Tanh": np.tanh,
    "Relu": lambda x: np.maximum(x, 0.0),
}


# Activations of the gates, of the candidate, and (LSTM) of the cell's state where a graph gives none.
DEFAULT_ACTIVATIONS = {"GRU": ("Sigmoid", "Tanh"), "LSTM": ("Sigmoid", "Tanh", "Tanh"), "RNN": ("Tanh",)}


@dataclass(frozen=True, eq=False)
class Recurrent(Step):
    """A GRU, LSTM or RNN as ONNX defines it (the operator's name says which), in one or both directions.

    takes : the sequence [time, batch, inputs], and the first states [directions, batch, hidden]. gives : Y [time,
    directions, batch, hidden], and the last states. layers : W and R of each direction. backwards : for each direction,
    whether it begins at the end. activations : for each direction, names as in `DEFAULT_ACTIVATIONS`. reset_after : of
    a GRU: the reset gate meets R h, not h (`linear_before_reset`). peepholes : of an LSTM: [directions, 3 hidden].
    """

    hidden: int = 1
    backwards: tuple[bool, ...] = (False,)
    activations: tuple[tuple[str, ...], ...] = ()
    reset_after: bool = False
    peepholes: FloatArray | None = None

    def run(self, given: Sequence[Any], multiply: Multiply, host: Hosting) -> Sequence[Any]:
        """Y, Y_h, and Y_c of an LSTM, as many as are asked for."""
        x = self.first(given)
        if x.ndim != 3 or not len(x):
            raise self.refused(x, "sequences [time, batch, inputs]")
        zeros = np.zeros((len(self.backwards), x.shape[1], self.hidden))
        starts = [zeros if value is None else wide(value) for value in (*given[1:], None, None)[:2]]
        for start in starts:
            if start.shape != zeros.shape:
                raise self.refused(start, f"first states of shape {list(zeros.shape)}")
        y = np.empty((len(x), *zeros.shape))
        last_h, last_c = np.empty_like(zeros), np.empty_like(zeros)
        for place, backwards in enumerate(self.backwards):
            made = self._direction(place, x[::-1] if backwards else x, starts, multiply)
            outputs, last_h[place], last_c[place] = made
            y[:, place] = outputs[::-1] if backwards else outputs
        return [y, last_h, last_c][: len(self.gives)]

    def _direction(
        self, place: int, x: Array, starts: Sequence[Array], multiply: Multiply
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Outputs [time, batch, hidden] and the last states of one direction."""
        inner, outer = self.layers[2 * place : 2 * place + 2]
        h, c = (start[place] for start in starts)
        gates = multiply(inner, x.reshape(-1, x.shape[2])).reshape(*x.shape[:2], -1)
        functions = [ACTIVATIONS[name] for name in self.activations[place]]
        outputs = np.empty((*x.shape[:2], self.hidden))
        for time, gate in enumerate(gates):
            if self.operator == "GRU":
                h = self._gru(gate, h, outer, functions, multiply)
            elif self.operator == "LSTM":
                h, c = self._lstm(gate + multiply(outer, h), c, place, functions)
            else:
                h = functions[0](gate + multiply(outer, h))
            outputs[time] = h
        return outputs, h, c

    def _gru(
        self, gate: FloatArray, h: FloatArray, outer: str, functions: Sequence[Any], multiply: Multiply
    ) -> FloatArray:
        """z, r and the candidate, from W x + Wb of the three, [batch, 3 hidden]."""
        f, g = functions
        size = self.hidden
        wz, wr, wn = _parts(gate, 3)
        if self.reset_after:
            rz, rr, rn = _parts(multiply(outer, h), 3)
            z, r = f(wz + rz), f(wr + rr)
            n = g(wn + r * rn)
        else:
            rz, rr = _parts(multiply(outer, h, slice(0, 2 * size)), 2)
            z, r = f(wz + rz), f(wr + rr)
            n = g(wn + multiply(outer, r * h, slice(2 * size, 3 * size)))
        return (1.0 - z) * n + z * h

    def _lstm(
        self, gate: FloatArray, c: FloatArray, place: int, functions: Sequence[Any]
    ) -> tuple[FloatArray, FloatArray]:
        """Output and cell state, from W x + R h and biases of i, o, f and c, [batch, 4 hidden]."""
        f, g, last = functions
        i, o, forget, candidate = _parts(gate, 4)
        peep = np.zeros(3 * self.hidden) if self.peepholes is None else self.peepholes[place]
        peep_i, peep_o, peep_f = np.split(peep, 3)
        new = f(forget + peep_f * c) * c + f(i + peep_i * c) * g(candidate)
        return f(o + peep_o * new) * last(new), new


def _parts(gates: FloatArray, many: int) -> FloatArray:
    """[batch, many x hidden] as [many, batch, hidden]: a view, since np.split takes as long as a small product."""
    return gates.reshape(len(gates), many, -1).swapaxes(0, 1)
