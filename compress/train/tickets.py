"""Lottery tickets: prune by rounds, and after each round give the survivors back the values they began with.

Frankle and Carbin, The lottery ticket hypothesis, ICLR 2019; with a later epoch as the beginning, Frankle et al.,
Linear mode connectivity and the lottery ticket hypothesis, ICML 2020; with signs alone and the other mask criteria,
Zhou et al., Deconstructing lottery tickets, NeurIPS 2019.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn

from eie.compress.train.loop import Epoch, Loss, Training, run
from eie.compress.train.weights import Weight
from eie.errors import ModelError

Criterion = Literal[
    "large_final",
    "small_final",
    "large_init",
    "small_init",
    "large_init_large_final",
    "small_init_small_final",
    "magnitude_increase",
    "movement",
    "large_final_same_sign",
    "random",
]
Rewind = int | Literal["sign", "random"]


def check_criterion(criterion: str) -> None:
    """Raise `ModelError` unless there is such a criterion."""
    if criterion not in get_args(Criterion):
        raise ModelError(f"criterion must be one of {', '.join(get_args(Criterion))}, not {criterion!r}")


def _generator(seed: int, *place: int) -> torch.Generator:
    words = np.random.SeedSequence([seed, *place]).generate_state(1)
    return torch.Generator().manual_seed(int(words[0]))


def scores(final: Tensor, start: Tensor, criterion: Criterion, seed: int = 1, place: int = 0) -> Tensor:
    """What each weight is worth: those with the largest scores stay. start : the weights that training began with.

    Where a criterion weighs final against first values, each is divided by its layer's mean magnitude first. "random"
    draws once for each seed and place, so that the masks of lower densities lie within those of higher ones.

    >>> final, start = torch.tensor([3.0, -1.0, 0.5]), torch.tensor([1.0, 2.0, 0.5])
    >>> scores(final, start, "movement").tolist(), scores(final, start, "large_final_same_sign").tolist()
    ([2.0, 3.0, 0.0], [3.0, -1.0, 0.5])
    """
    last, first = final.abs(), start.abs()
    if criterion == "large_final":
        return last
    if criterion == "small_final":
        return -last
    if criterion == "large_init":
        return first
    if criterion == "small_init":
        return -first
    if criterion == "magnitude_increase":
        return last - first
    if criterion == "movement":
        return (final - start).abs()
    if criterion == "large_final_same_sign":
        return final * start.sign()
    if criterion == "random":
        return torch.rand(final.shape, generator=_generator(seed, place)).to(final)
    last, first = (one / one.mean().clamp_min(1e-30) for one in (last, first))
    return (
        torch.minimum(last, first) if criterion == "large_init_large_final" else -torch.maximum(last, first)
    )


def best(score: Tensor, among: Tensor, count: int) -> Tensor:
    """Which `count` elements have the largest scores, of those that `among` has.

    >>> best(torch.tensor([1.0, 3.0, 2.0]), torch.tensor([True, False, True]), 1).tolist()
    [False, False, True]
    """
    found = torch.zeros(score.numel(), dtype=torch.bool, device=score.device)
    ranked = score.masked_fill(~among, -torch.inf).flatten()
    found[ranked.topk(min(count, int(among.sum())), sorted=False).indices] = True
    return found.view_as(score)


class Ticket:
    """One round: plain training of what a mask leaves. keep : after which epoch the weights are remembered, or 0."""

    def __init__(
        self, model: nn.Module, weights: list[Weight], masks: list[Tensor], number: int, keep: int
    ) -> None:
        self.model, self.weights, self.masks, self.name = model, weights, masks, f"ticket-{number:02}"
        self.keep, self.steps = keep, 0
        self.kept: dict[str, Tensor] = {}
        self.after = -1

    def trained(self) -> list[Tensor]:  # noqa: D102
        return list(self.model.parameters())

    def settings(self) -> dict[str, Any]:  # noqa: D102
        return {"kept": [int(mask.sum()) for mask in self.masks], "keep": self.keep}

    def before_step(self) -> None:
        """A weight that was cut has no gradient, so that no momentum gathers either."""
        for weight, mask in zip(self.weights, self.masks, strict=True):
            if weight.parameter.grad is not None:
                weight.parameter.grad.mul_(mask)

    def after_step(self, progress: float) -> None:  # noqa: D102
        with torch.no_grad():
            for weight, mask in zip(self.weights, self.masks, strict=True):
                weight.parameter.mul_(mask)
        self.steps += 1
        if self.steps == self.after:
            self.kept = {name: one.detach().clone() for name, one in self.model.state_dict().items()}

    def state(self) -> dict[str, Any]:  # noqa: D102
        return {"steps": self.steps, "kept": self.kept}

    def restore(self, state: dict[str, Any]) -> None:  # noqa: D102
        self.steps, self.kept = state["steps"], state["kept"]


def _rewound(start: Tensor, rewind: Rewind, seed: int, *place: int) -> Tensor:
    """What a layer's weights begin the next round with."""
    if rewind == "sign":
        return start.sign() * start.std(correction=0)
    if rewind == "random":
        # Other weights of the same distribution, whichever that was: the layer's own, in another order.
        order = torch.randperm(start.numel(), generator=_generator(seed, *place))
        return start.flatten()[order.to(start.device)].view_as(start)
    return start


def prune_by_rounds(
    model: nn.Module,
    loader: Any,
    loss: Loss,
    weights: list[Weight],
    goals: list[float],
    rewind: Rewind,
    rounds: int,
    criterion: Criterion,
    training: Training,
) -> list[Epoch]:
    """Train, cut, rewind, `rounds` times, then train what is left; what each epoch of all rounds ended with."""
    if isinstance(rewind, int) and not 0 <= rewind <= training.epochs:
        raise ModelError(f"rewind must be an epoch from 0 to {training.epochs}, not {rewind}")
    masks = [torch.ones_like(weight.parameter, dtype=torch.bool) for weight in weights]
    begin = {name: one.detach().clone() for name, one in model.state_dict().items()}
    first = [weight.parameter.detach().clone() for weight in weights]
    start = first
    history: list[Epoch] = []
    for number in range(rounds + 1):
        phase = Ticket(model, weights, masks, number, rewind if isinstance(rewind, int) and not number else 0)
        phase.after = phase.keep * len(loader) if phase.keep else -1
        folder = None if training.folder is None else Path(training.folder)
        history += run(model, loader, loss, phase, replace(training, folder=folder))
        if number == rounds:
            break
        for place, (weight, goal) in enumerate(zip(weights, goals, strict=True)):
            size = weight.parameter.numel()
            count = max(1, round(size * goal ** ((number + 1) / rounds)))
            score = scores(weight.parameter.detach(), first[place], criterion, training.seed, place)
            masks[place] = best(score, masks[place], count)
        if phase.kept:
            begin = phase.kept
        model.load_state_dict(begin)
        if phase.kept:
            start = [weight.parameter.detach().clone() for weight in weights]
        with torch.no_grad():
            for place, (weight, mask) in enumerate(zip(weights, masks, strict=True)):
                weight.parameter.copy_(_rewound(start[place], rewind, training.seed, number, place) * mask)
    return history
