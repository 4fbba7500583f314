"""Early exits: networks of which an input runs only as many layers as it needs (docs/learn.md).

A layer that is an exit stands behind what it takes its inputs from: of [fc1, exit1, fc2], exit1 and fc2 take the
outputs of fc1. The host reads an exit's outputs; where their largest softmax is above a threshold, they are the answer,
and the layers behind the exit do not run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from eie.compress.float_layers import gate_text
from eie.compress.forward import check_network, fixed_forward
from eie.config import ArchConfig
from eie.errors import ConfigError, LayerError
from eie.fixed import IntArray
from eie.layer import CompressedLayer
from eie.result import Result
from eie.sim.chain import run_network
from eie.sim.networks.network import energy_uj

Values = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Stage:
    """Layers that run one after the other, and the exit behind them; the last stage has none: its end is the answer."""

    layers: tuple[CompressedLayer, ...]
    exit: CompressedLayer | None = None

    @property
    def answers(self) -> CompressedLayer:
        """The layer whose outputs are the answer here."""
        return self.exit or self.layers[-1]


def trunk(layers: Sequence[CompressedLayer]) -> list[CompressedLayer]:
    """The network without its exits."""
    return [layer for layer in layers if not layer.exit]


def stages(layers: Sequence[CompressedLayer]) -> list[Stage]:
    """The stages of a network with exits.

    Raises
    ------
    LayerError : there is no exit, or one that stands first, last, or behind another one, or is a gate; layers that are
        no chain; exits with other numbers of outputs than the network.
    """
    found: list[Stage] = []
    pending: list[CompressedLayer] = []
    for layer in layers:
        if not layer.exit:
            pending.append(layer)
            continue
        if gate := gate_text(layer):
            raise LayerError(gate)
        if not pending:
            raise LayerError(f"layer {layer.name!r} is an early exit with no layer of the network before it")
        found.append(Stage(tuple(pending), layer))
        pending = []
    if not found:
        raise LayerError("the network has no early exit: every input runs all of its layers")
    if not pending:
        raise LayerError(f"layer {layers[-1].name!r} is an early exit behind which there is no layer")
    found.append(Stage(tuple(pending)))
    body = trunk(layers)
    check_network(body)
    done = 0
    for stage in found[:-1]:
        done += len(stage.layers)
        check_network([body[done - 1], _as_layer(stage.answers)])
        if stage.answers.outputs != body[-1].outputs:
            raise LayerError(
                f"layer {stage.answers.name!r} is an early exit with {stage.answers.outputs} outputs, but the network "
                f"has {body[-1].outputs}"
            )
    return found


def _as_layer(layer: CompressedLayer) -> CompressedLayer:
    """An exit as an ordinary layer, which every engine runs."""
    return replace(layer, exit=False) if layer.exit else layer


def certainty(logits: Values) -> Values:
    """The largest softmax of each row.

    >>> certainty(np.log([[8.0, 1.0, 1.0], [1.0, 1.0, 2.0]])).round(3).tolist()
    [0.8, 0.5]
    """
    apart = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(1 / apart.sum(axis=1))


@dataclass(frozen=True, eq=False)
class ExitRun:
    """What became of a batch. answers : the class of each input; left : the number of its stage.

    cycles, energy_uj : of all inputs, where an engine counted them.
    """

    answers: npt.NDArray[np.int64]
    left: npt.NDArray[np.int64]
    cycles: int | None = None
    energy_uj: float | None = None


def check_threshold(threshold: float) -> None:
    """Raise `ConfigError` unless it is a share: at 1 nothing leaves, below 0 everything does at the first exit."""
    if not 0 <= threshold <= 1:
        raise ConfigError(f"an exit's threshold must be from 0 to 1, not {threshold:g}")


def logits_at_exits(
    layers: Sequence[CompressedLayer], x: IntArray, acc_bits: int = 16, act_bits: int = 16
) -> tuple[list[Values], int]:
    """What every stage answers to every input, [batch, classes] each, in the accelerator's arithmetic; and what was
    clipped.
    """
    found: list[Values] = []
    clipped = 0
    for stage in stages(layers):
        run = fixed_forward(stage.layers, x, acc_bits, act_bits)
        clipped += sum(run.saturations) + sum(run.writeback_saturations)
        x = run.y.astype(np.int64)
        y = run.y
        if stage.exit is not None:
            out = fixed_forward([_as_layer(stage.exit)], x, acc_bits, act_bits)
            clipped += sum(out.saturations) + sum(out.writeback_saturations)
            y = out.y
        found.append(np.ldexp(y.astype(np.float64), -stage.answers.y_frac))
    return found, clipped


def leave(logits: Sequence[Values], threshold: float) -> ExitRun:
    """The answers when each input leaves at the first exit whose certainty is above `threshold`."""
    check_threshold(threshold)
    left = np.full(len(logits[-1]), len(logits) - 1)
    for number in range(len(logits) - 2, -1, -1):
        left[certainty(logits[number]) > threshold] = number
    answers = np.stack([each.argmax(axis=1) for each in logits])
    return ExitRun(answers[left, np.arange(len(left))], left)


def choose_threshold(logits: Sequence[Values], labels: npt.ArrayLike, budget: float) -> float:
    """The least threshold, in hundredths, at which the error is at most `budget` points above that of the whole.

    logits : of held-out inputs. 1, at which nothing leaves, always keeps within a budget of 0.

    Raises
    ------
    ConfigError : a budget that is negative or no number.
    """
    if not budget >= 0:
        raise ConfigError(f"a budget must be a number of points from 0, not {budget:g}")
    right = np.asarray(labels)
    most = 100 * np.mean(logits[-1].argmax(axis=1) != right) + budget
    for hundredth in range(100):
        run = leave(logits, hundredth / 100)
        if 100 * np.mean(run.answers != right) <= most + 1e-9:
            return hundredth / 100
    return 1.0


def run_with_exits(
    layers: Sequence[CompressedLayer], x: IntArray, cfg: ArchConfig, threshold: float, engine: str = "fast"
) -> ExitRun:
    """Run inputs, int64[batch, inputs], on an engine, stage by stage; those that leave run no further.

    Raises
    ------
    CapacityError, LayerError, ConfigError : as `run_network` and `stages`; a threshold that is no share.
    """
    check_threshold(threshold)
    parts = stages(layers)
    answers, left = np.zeros(len(x), np.int64), np.zeros(len(x), np.int64)
    here, given = np.arange(len(x)), np.asarray(x)
    results: list[Result] = []
    for number, stage in enumerate(parts):
        if not len(here):
            break
        results += run_network(stage.layers, given, cfg, engine)
        given = results[-1].y.astype(np.int64)
        if stage.exit is not None:
            results += run_network([_as_layer(stage.exit)], given, cfg, engine)
        y = np.ldexp(results[-1].y.astype(np.float64), -stage.answers.y_frac)
        out = certainty(y) > threshold if stage.exit is not None else np.ones(len(here), bool)
        answers[here[out]], left[here[out]] = y.argmax(axis=1)[out], number
        here, given = here[~out], given[~out]
    return ExitRun(answers, left, *totals(results))


def totals(results: Sequence[Result]) -> tuple[int | None, float | None]:
    """Cycles and energy in µJ of results, None for an engine without a clock."""
    cycles = [result.cycles for result in results]
    energies = [energy_uj(result) for result in results]
    return (
        None if None in cycles else sum(c for c in cycles if c is not None),
        None if None in energies else sum(e for e in energies if e is not None),
    )
