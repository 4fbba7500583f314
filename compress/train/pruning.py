"""Pruning while training: connections are cut little by little, and cut ones may grow back.

The weight of a cut connection is not lost: it goes on learning from the gradient that the network would have for it,
and the connection returns when its magnitude is among the largest again (Guo et al., Dynamic Network Surgery, 2016,
with the update of Lin et al., Dynamic Model Pruning with Feedback, 2020). The density falls along a cubic (Zhu and
Gupta, To prune, or not to prune, 2017). Without regrowth this is the iterative magnitude pruning of Han et al., 2015.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from eie.compress.train.adder import Adder, AdderConv2d
from eie.compress.train.blocks import Blocks, BlockWeights, of_layers
from eie.compress.train.loop import Epoch, Fit, Loss, Training, run, seeded
from eie.compress.train.tickets import Criterion, Rewind, best, check_criterion, prune_by_rounds, scores
from eie.compress.train.units import By, cut_units
from eie.compress.train.weights import PerLayer, Weight, find_weights, per_layer
from eie.errors import ModelError


@dataclass(frozen=True)
class Schedule:
    """When connections are cut.

    ramp : share of the steps over which the density falls to its goal. settle : share after which no connection is cut
    or grows any more. every : steps between two looks at the connections. regrow : whether cut ones may return.

    rewind : prune by `rounds` instead, from an untrained network: train, cut, give the survivors back what they began
    with, and train again (lottery tickets). 0: their first values; a number e: those after e epochs of the first
    round; "sign": the sign of the first value times the standard deviation of the layer's first values; "random": first
    values of the layer's other weights, drawn anew in each round. Each round takes all epochs of the training, and cuts
    the same share of what is left; ramp, settle, every and regrow are not used.
    """

    ramp: float = 0.5
    settle: float = 0.85
    every: int = 16
    regrow: bool = True
    rewind: Rewind | None = None
    rounds: int = 1

    def __post_init__(self) -> None:
        if not (0 <= self.ramp <= self.settle <= 1 and self.every >= 1):
            raise ModelError(
                "a schedule needs 0 <= ramp <= settle <= 1 and every >= 1, "
                f"not {self.ramp}, {self.settle}, {self.every}"
            )
        whole = isinstance(self.rewind, int) and not isinstance(self.rewind, bool) and self.rewind >= 0
        if not (self.rewind is None or whole or self.rewind in ("sign", "random")):
            raise ModelError(f"rewind must be an epoch from 0, sign or random, not {self.rewind!r}")
        if self.rounds < 1 or (self.rewind is None and self.rounds != 1):
            raise ModelError(f"rounds go with rewind and are at least 1, not {self.rounds}")

    def density(self, goal: float, progress: float) -> float:
        """Share of the weights left when the share `progress` of the steps is done.

        >>> [round(Schedule(ramp=0.5).density(0.1, p), 3) for p in (0.0, 0.25, 0.5, 1.0)]
        [1.0, 0.213, 0.1, 0.1]
        """
        left = max(0.0, 1 - progress / self.ramp) if self.ramp else 0.0
        return goal + (1 - goal) * left**3


def kept(density: float, weight: Tensor) -> int:
    """How many elements of `weight` that density leaves: at least one."""
    return max(1, round(density * weight.numel()))


def largest(weight: Tensor, density: float) -> Tensor:
    """Which elements are the round(density * size), but at least one, of largest magnitude; zeros never are.

    >>> largest(torch.tensor([1.0, -3.0, 2.0, 0.5]), 0.5).tolist()
    [False, True, True, False]
    """
    magnitude = weight.abs().flatten()
    mask = torch.zeros_like(magnitude, dtype=torch.bool)
    mask[magnitude.topk(kept(density, weight), sorted=False).indices] = True
    return (mask & (magnitude > 0)).view_as(weight)


def thin_dropout(model: nn.Module, original: dict[str, float]) -> None:
    """Lower each dropout as the matrix before it thins: p = original * sqrt(kept / size) (Han et al., 2015, 3.2)."""
    weights = {id(weight.module): weight for weight in reversed(find_weights(model))}
    density = 1.0
    for name, module in model.named_modules():
        if id(module) in weights:
            weight = weights[id(module)]
            density = weight.kept / weight.size
        if name in original and isinstance(module, nn.Dropout):
            module.p = original[name] * math.sqrt(density)


def dropouts(model: nn.Module) -> dict[str, float]:
    """Probability of each `nn.Dropout`, by name."""
    return {name: module.p for name, module in model.named_modules() if isinstance(module, nn.Dropout)}


class Surgery:
    """The pruning phase: `dense` holds every weight, the model's parameters only those that are connected.

    Matrices in blocks have their weights where they are from the first step on, and no other.
    """

    name = "prune"

    def __init__(
        self,
        model: nn.Module,
        weights: list[Weight],
        goals: list[float],
        schedule: Schedule,
        blocks: Mapping[str, Blocks] | None = None,
        criterion: Criterion = "large_final",
        seed: int = 1,
    ) -> None:
        of_weight = blocks or {}
        self.model, self.schedule = model, schedule
        self.blocks = [
            BlockWeights(weight, of_weight[weight.name]) for weight in weights if weight.name in of_weight
        ]
        for one in self.blocks:
            one.begin()
        pruned = [(w, goal) for w, goal in zip(weights, goals, strict=True) if w.name not in of_weight]
        self.weights, self.goals = [w for w, _ in pruned], [goal for _, goal in pruned]
        weights = self.weights
        self.criterion, self.seed = criterion, seed
        self.start = [weight.parameter.detach().clone() for weight in weights]
        self.dense = [weight.parameter.detach().clone() for weight in weights]
        self.masks = [torch.ones_like(dense, dtype=torch.bool) for dense in self.dense]
        self.dropout = dropouts(model)
        self.steps = 0

    def trained(self) -> list[Tensor]:  # noqa: D102
        return list(self.model.parameters())

    def settings(self) -> dict[str, Any]:  # noqa: D102
        goals = {weight.name: goal for weight, goal in zip(self.weights, self.goals, strict=True)}
        blocks = {one.weight.name: asdict(one.blocks) for one in self.blocks}
        return {"densities": goals, "schedule": asdict(self.schedule), "criterion": self.criterion} | (
            {"blocks": blocks} if blocks else {}
        )

    def before_step(self) -> None:
        """Let the optimiser see all weights, cut ones included; and of blocks only those that there are."""
        for one in self.blocks:
            one.before_step()
        with torch.no_grad():
            for weight, dense, mask in zip(self.weights, self.dense, self.masks, strict=True):
                weight.parameter.copy_(dense)
                if not self.schedule.regrow and weight.parameter.grad is not None:
                    weight.parameter.grad.mul_(mask)

    def after_step(self, progress: float) -> None:
        """Keep what the optimiser made of them, look at the connections, and cut again."""
        self.steps += 1
        look = (self.steps % self.schedule.every == 0 and progress < self.schedule.settle) or progress >= 1
        with torch.no_grad():
            for weight, dense in zip(self.weights, self.dense, strict=True):
                dense.copy_(weight.parameter)
            if look:
                self._look(progress)
            for weight, mask in zip(self.weights, self.masks, strict=True):
                weight.parameter.mul_(mask)
        if look:
            thin_dropout(self.model, self.dropout)

    def _look(self, progress: float) -> None:
        for place, goal in enumerate(self.goals):
            density = self.schedule.density(goal, progress)
            # In the last stretch only what is too much goes (a run of few steps may end inside the ramp).
            if progress >= self.schedule.settle and int(self.masks[place].sum()) <= kept(
                density, self.masks[place]
            ):
                continue
            self.masks[place] = self._chosen(place, density)

    def _chosen(self, place: int, density: float) -> Tensor:
        dense, mask = self.dense[place], self.masks[place]
        module = self.weights[place].module
        if isinstance(module, Adder | AdderConv2d) and module.positive:
            dense = dense.clamp(min=0)  # by value: a weight below 0 only adds a constant
        if self.criterion == "large_final":
            return largest(dense if self.schedule.regrow else dense * mask, density)
        among = torch.ones_like(mask) if self.schedule.regrow else mask
        score = scores(dense, self.start[place], self.criterion, self.seed, place)
        return best(score, among, kept(density, dense))

    def state(self) -> dict[str, Any]:  # noqa: D102
        return {"dense": self.dense, "masks": self.masks, "steps": self.steps}

    def restore(self, state: dict[str, Any]) -> None:  # noqa: D102
        for kept, saved in (*zip(self.dense, state["dense"]), *zip(self.masks, state["masks"])):  # noqa: B905
            kept.copy_(saved)
        self.steps = state["steps"]
        thin_dropout(self.model, self.dropout)


class Narrowed(Fit):
    """Plain training of what is left when units are cut."""

    name = "units"

    def __init__(self, model: nn.Module, by: By) -> None:
        super().__init__(model)
        self.name, self.by = "units", by

    def settings(self) -> dict[str, Any]:  # noqa: D102
        return {"units": self.by}


def _prune_units(
    model: nn.Module, loader: Any, loss: Loss, density: PerLayer, by: By, training: Training
) -> list[Epoch]:
    with seeded(training.seed, training.epochs):
        cut_units(model, loader, density, by)
    return run(model, loader, loss, Narrowed(model, by), training)


def densities_above(weights: list[Weight], quality: list[float]) -> list[float]:
    """Share of the weights of each layer whose magnitude exceeds quality * the layer's standard deviation."""
    shares = []
    for weight, q in zip(weights, quality, strict=True):
        values = weight.parameter.detach()
        shares.append(float((values.abs() > q * values.std(correction=0)).float().mean()))
    return shares


def prune(
    model: nn.Module,
    loader: Any,
    loss: Loss,
    *,
    density: PerLayer | None = None,
    quality: PerLayer | None = None,
    blocks: Mapping[str, Blocks] | None = None,
    units: bool | By = False,
    criterion: Criterion = "large_final",
    training: Training | None = None,
    schedule: Schedule | None = None,
) -> list[Epoch]:
    """Train a trained `model` on while cutting its connections; cut weights are exactly zero in the end.

    Parameters
    ----------
    loader : batches (inputs, targets), with a length. loss : of (model(inputs), targets), a scalar tensor.
    density : share of the weights to keep, for all layers or by glob pattern (`{"fc*": 0.05, "conv1": 0.3}`; what no
        pattern fits stays dense). quality : or keep as many as exceed so many standard deviations of their layer in the
        given network. blocks : layers that become block-diagonal instead, by glob pattern: `{"fc1": Blocks(10)}`.
    units : cut whole units (neurons of Linear, filters of Conv2d) at once, in place, so that the module gets smaller,
        and train what is left. density is then the share of a layer's units; "l1" (or True) keeps those with the
        largest sum of magnitudes of their weights, "zeros" those that are most often not 0 behind their ReLU on the
        loader's inputs. A number for all layers leaves those whole whose units are the model's outputs.

    criterion : which connections stay, by their weights when they are looked at and when the call began: the largest
        ("large_final"), or others of Zhou et al., 2019 (docs/learn.md). With `units` it has no effect.

    Returns what each epoch ended with.

    Raises
    ------
    ModelError : both of density and quality, or nothing to do; settings out of range, blocks that do not fit a layer,
        layers whose units cannot be cut consistently, and see `run`.
    """
    if density is not None and quality is not None:
        raise ModelError("give density or quality, one of them")
    if density is None and quality is None:
        if not blocks:
            raise ModelError("give density, quality or blocks")
        density = 1.0
    training = training or Training()
    check_criterion(criterion)
    if units is not False:
        if quality is not None or schedule is not None or blocks or criterion != "large_final":
            raise ModelError(
                "units are cut at once, by density: quality, blocks, schedule and criterion have no effect on them"
            )
        assert density is not None
        return _prune_units(model, loader, loss, density, "l1" if units is True else units, training)
    if training.epochs < 1:
        raise ModelError("pruning needs at least one epoch")
    weights = find_weights(model)
    if density is not None:
        goals = per_layer("density", density, weights, 0, 1, 1.0)
        if min(goals) <= 0:
            raise ModelError(f"density must be above 0, not {density}")
    elif quality is not None:
        goals = densities_above(weights, per_layer("quality", quality, weights, 0, 100, 0.0))
    schedule = schedule or Schedule()
    if schedule.rewind is not None:
        if blocks:
            raise ModelError("layers of blocks are not rewound: give blocks or rewind")
        return prune_by_rounds(
            model, loader, loss, weights, goals, schedule.rewind, schedule.rounds, criterion, training
        )
    of_weight = of_layers(blocks or {}, weights)
    phase = Surgery(model, weights, goals, schedule, of_weight, criterion, training.seed)
    return run(model, loader, loss, phase, training)
