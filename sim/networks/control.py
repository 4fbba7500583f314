"""Loop, If and Scan whose bodies have matrices: the bodies are step graphs, and what repeats them is the host's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from eie.compress.readers.onnx_run import array_of
from eie.errors import ModelError
from eie.sim.networks.steps import Hosting, Multiply, Step

if TYPE_CHECKING:  # the bodies of a step are graphs of steps
    from eie.sim.networks.graph import StepGraph


@dataclass(frozen=True, eq=False)
class Control(Step):
    """A node with bodies, by the names of their attributes.

    inputs : how many of the values taken are the node's own; the others are those that the bodies use from around them.
    formal : names of each body's own inputs.
    """

    inputs: int = 0
    bodies: Mapping[str, StepGraph] = field(default_factory=dict)
    formal: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def body(
        self, which: str, own: Sequence[Any], given: Sequence[Any], multiply: Multiply, host: Hosting
    ) -> list[Any]:
        """The outputs of a body for its own inputs."""
        around = zip(self.takes[self.inputs :], given[self.inputs :], strict=True)
        values = dict(around) | dict(zip(self.formal[which], own, strict=True))
        found = self.bodies[which].values(values, multiply, host)
        return [found[name] for name in self.bodies[which].outputs]

    def number(self, what: str, value: Any) -> Any:
        """The one number that decides; what : its name for the error."""
        array = np.asarray(array_of(value))
        if array.size != 1:
            raise ModelError(
                f"node {self.name!r} ({type(self).__name__}): its {what} must be one number, not of shape "
                f"{list(array.shape)}"
            )
        return array.reshape(-1)[0]


class If(Control):
    """One of two bodies."""

    def run(self, given: Sequence[Any], multiply: Multiply, host: Hosting) -> Sequence[Any]:
        """What the chosen body gives."""
        chosen = "then_branch" if self.number("condition", given[0]) else "else_branch"
        return self.body(chosen, [], given, multiply, host)


class Loop(Control):
    """A body, again and again: so many times at most, while its condition holds."""

    def run(self, given: Sequence[Any], multiply: Multiply, host: Hosting) -> Sequence[Any]:
        """The last values of what is carried on, and each round's other outputs, stacked."""
        most = None if given[0] is None else int(self.number("trip count", given[0]))
        goes_on = given[1] is None or bool(self.number("condition", given[1]))
        carried = list(given[2 : self.inputs])
        rounds: list[list[Any]] = []
        number = 0
        while goes_on and (most is None or number < most):
            own = [np.asarray(number, np.int64), np.asarray(True), *carried]
            condition, *made = self.body("body", own, given, multiply, host)
            goes_on = bool(self.number("condition", condition))
            carried, others = made[: len(carried)], made[len(carried) :]
            rounds.append([array_of(one) for one in others])
            number += 1
        if not rounds and len(self.gives) > len(carried):
            raise ModelError(
                f"node {self.name!r} (Loop) does not run even once, so the size of its output is unknown"
            )
        return [*carried, *(np.stack(each) for each in zip(*rounds, strict=True))]


@dataclass(frozen=True, eq=False)
class Scan(Control):
    """A body on each slice of its scanned inputs.

    scanned : how many of the inputs. axes, backwards : of these and of the scanned outputs.
    """

    scanned: int = 1
    axes: tuple[Sequence[int], Sequence[int]] = ((), ())
    backwards: tuple[Sequence[int], Sequence[int]] = ((), ())

    def run(self, given: Sequence[Any], multiply: Multiply, host: Hosting) -> Sequence[Any]:
        """The last states, and the scanned outputs."""
        count = self.inputs - self.scanned
        states, sequences = list(given[:count]), []
        for place, value in enumerate(given[count : self.inputs]):
            x = np.moveaxis(array_of(value), self.axes[0][place] if self.axes[0] else 0, 0)
            sequences.append(x[::-1] if self.backwards[0] and self.backwards[0][place] else x)
        if len({len(x) for x in sequences}) != 1 or not len(sequences[0]):
            raise ModelError(
                f"node {self.name!r} (Scan) takes sequences of one length, from 1 on, not of "
                f"{', '.join(str(len(x)) for x in sequences)}"
            )
        rounds = []
        for each in zip(*sequences, strict=True):
            made = self.body("body", [*states, *each], given, multiply, host)
            states, others = made[:count], made[count:]
            rounds.append([array_of(one) for one in others])
        outputs = []
        for place, each_round in enumerate(zip(*rounds, strict=True)):
            y = np.stack(each_round[::-1] if self.backwards[1] and self.backwards[1][place] else each_round)
            outputs.append(np.moveaxis(y, 0, self.axes[1][place] if self.axes[1] else 0))
        return [*states, *outputs]
