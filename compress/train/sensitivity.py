"""How much accuracy each layer's weights are worth, and densities that keep within a budget."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from eie.compress.train.loop import Evaluate
from eie.compress.train.pruning import largest
from eie.compress.train.weights import find_weights
from eie.errors import ModelError

DENSITIES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7)
# Halvings of the loss that each layer may cause alone, until the network as a whole meets the budget.
_HALVINGS = 8

Refine = Callable[[nn.Module, Mapping[str, float]], object]


def accuracy(loader: Any) -> Evaluate:
    """A function that gives right answers in percent: an answer is the largest of the outputs [batch, classes].

    It raises `ModelError` when the loader has no inputs.
    """

    def evaluate(model: nn.Module) -> float:
        right = total = 0
        device, training = next(model.parameters()).device, model.training
        model.eval()
        with torch.no_grad():
            for x, y in loader:
                right += int((model(x.to(device)).argmax(1) == y.to(device)).sum())
                total += len(y)
        model.train(training)
        if not total:
            raise ModelError("the loader has no inputs to measure the accuracy on")
        return 100 * right / total

    return evaluate


@dataclass(frozen=True)
class Sensitivity:
    """Outcome of `scan`. scores : of each layer at each of `densities`, the other layers being dense."""

    baseline: float
    densities: tuple[float, ...]
    scores: dict[str, tuple[float, ...]]

    def lowest(self, loss: float) -> dict[str, float]:
        """For each layer the lowest density from which on it alone costs at most `loss`; 1 where none does."""
        found = {}
        for name, scores in self.scores.items():
            found[name] = 1.0
            for density, score in zip(reversed(self.densities), reversed(scores), strict=True):
                if score < self.baseline - loss:
                    break
                found[name] = density
        return found

    def raised(self, densities: Mapping[str, float], steps: int) -> dict[str, float]:
        """Each density so many steps of the scan higher, but no further than the highest scanned."""
        last = len(self.densities) - 1
        return {
            name: 1.0 if density == 1 else self.densities[min(self.densities.index(density) + steps, last)]
            for name, density in densities.items()
        }


@dataclass(frozen=True)
class Choice:
    """Densities that `choose` found. score : of the network pruned to them. reached : whether that is within the
    budget and anything is pruned at all.
    """

    densities: dict[str, float]
    score: float
    reached: bool


@contextmanager
def _restored(model: nn.Module) -> Iterator[None]:
    kept = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    try:
        yield
    finally:
        model.load_state_dict(kept)


def cut(model: nn.Module, densities: Mapping[str, float]) -> None:
    """Zero all but the largest weights of the layers named, in one shot."""
    with torch.no_grad():
        for weight in find_weights(model):
            if densities.get(weight.name, 1.0) < 1:
                weight.parameter.mul_(largest(weight.parameter, densities[weight.name]))


def scan(
    model: nn.Module, evaluate: Evaluate, densities: Sequence[float] = DENSITIES, progress: bool = True
) -> Sensitivity:
    """Score of the model with one layer after the other pruned in one shot, nothing retrained. It stays as it is.

    `evaluate` gives a score of which more is better, such as `accuracy(loader)`.

    Raises
    ------
    ModelError : densities outside 0..1.
    """
    each = tuple(sorted(set(densities)))
    if not each or not 0 < each[0] <= each[-1] <= 1:
        raise ModelError(f"densities must be from above 0 to 1, not {list(densities)}")
    model.eval()
    baseline = evaluate(model)
    scores = {}
    names = [weight.name for weight in find_weights(model)]
    with tqdm(total=len(names) * len(each), desc="scan", disable=not progress) as bar:
        for name in names:
            row = []
            for density in each:
                with _restored(model):
                    cut(model, {name: density})
                    row.append(evaluate(model))
                bar.update()
            scores[name] = tuple(row)
    return Sensitivity(baseline, each, scores)


def choose(
    model: nn.Module,
    evaluate: Evaluate,
    budget: float,
    sensitivity: Sensitivity,
    refine: Refine | None = None,
) -> Choice:
    """The sparsest densities found at which the whole network loses at most `budget` of its score.

    Every layer may cost as much as every other when pruned alone; bisection finds how much that may be for the network
    as a whole to be just within the budget. Where layers that cost nothing alone cost too much together, all of them
    keep more, step by step. `refine(model, densities)` may retrain the cut network before it is judged, e.g. with
    `prune`. The model stays as it is. When no densities are within the budget, the best found are returned.

    Raises
    ------
    ModelError : a budget below 0.
    """
    if not budget >= 0:
        raise ModelError(f"budget must be at least 0, not {budget}")
    model.eval()
    tried: dict[tuple[float, ...], Choice] = {}

    def judge(densities: dict[str, float]) -> Choice:
        key = tuple(densities.values())
        if key not in tried:
            with _restored(model):
                cut(model, densities)
                if refine:
                    refine(model, densities)
                model.eval()
                score = evaluate(model)
            within = score >= sensitivity.baseline - budget and min(key) < 1
            tried[key] = Choice(densities, score, within)
        return tried[key]

    low, high, best = 0.0, max(4 * budget, 1e-3), None
    for _ in range(_HALVINGS):
        loss = (low + high) / 2
        found = judge(sensitivity.lowest(loss))
        if found.reached:
            best, low = found, loss
        else:
            high = loss
    steps = iter(range(1, len(sensitivity.densities)))
    while best is None and (step := next(steps, None)):
        found = judge(sensitivity.raised(sensitivity.lowest(0.0), step))
        best = found if found.reached else None
    return best or max(tried.values(), key=lambda choice: choice.score)
