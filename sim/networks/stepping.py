"""Recurrent networks over series, a step at a time: the host keeps the state between the steps (docs/learn.md)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eie.compress.float_layers import FloatArray
from eie.config import ArchConfig
from eie.errors import LayerError
from eie.sim.networks.network import Network


@dataclass(frozen=True, eq=False)
class Stepped:
    """What became of series. answers : float64[series, classes], after each one's last step.

    steps : of all series. cycles, energy_uj : of all steps, where the engine counts them. clipped : real inputs that
    were beyond what the first layer's numbers reach.
    """

    answers: FloatArray
    steps: int
    cycles: int | None
    energy_uj: float | None
    clipped: int

    def error(self, labels: npt.ArrayLike) -> float:
        """Series whose largest answer is not their label's, in percent."""
        return 100 * float(np.mean(self.answers.argmax(axis=1) != np.asarray(labels)))


def run_steps(
    net: Network, series: Sequence[npt.ArrayLike], cfg: ArchConfig | None = None, engine: str = "fast"
) -> Stepped:
    """Run series, float[steps, channels], each as long as it is, through a network that is one step.

    The network takes the values of a step and states [batch, numbers], and gives answers and as many states, in this
    order. States begin at 0. The series run side by side; the accelerator sees one vector after the other.

    Raises
    ------
    LayerError : a network without states, or one that gives back others; series of other channels, or without steps.
    CapacityError, ConfigError : as the network's `run`.
    """
    first, *states = net.inputs
    if not states:
        raise LayerError(f"{net.place} has one input: a network of one step takes its state, too")
    values = [np.asarray(one, np.float64) for one in series]
    channels = first.shape[-1] if first.shape else None
    for place, one in enumerate(values):
        if one.ndim != 2 or not len(one) or one.shape[1] != channels:
            raise LayerError(f"series {place} must be [steps, {channels}], not {list(one.shape)}")
    cfg = cfg or net.machine()
    held = [np.zeros((len(values), int((state.shape or (0,))[-1] or 0))) for state in states]
    answers: list[FloatArray | None] = [None] * len(values)
    cycles, energy, clipped = 0, 0.0, 0
    counted = True
    for time in range(max(map(len, values), default=0)):
        here = [place for place, one in enumerate(values) if len(one) > time]
        given = {first.name: np.stack([values[place][time] for place in here])}
        given |= {state.name: whole[here] for state, whole in zip(states, held, strict=True)}
        run = net.run(given, cfg, engine)
        now, *after = run.named.values()
        if [one.shape for one in after] != [whole[here].shape for whole in held]:
            raise LayerError(f"{net.place} does not give back the states that it takes")
        for whole, one in zip(held, after, strict=True):
            whole[here] = one
        for place, answer in zip(here, now, strict=True):
            answers[place] = answer
        counted = counted and run.cycles is not None
        cycles, energy, clipped = (
            cycles + (run.cycles or 0),
            energy + (run.energy_uj or 0.0),
            clipped + run.clipped,
        )
    return Stepped(
        np.array(answers, np.float64),
        sum(map(len, values)),
        cycles if counted else None,
        energy if counted else None,
        clipped,
    )
