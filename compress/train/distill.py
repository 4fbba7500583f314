"""Distillation with few labels: a teacher's answers for unlabelled inputs, weighted by how far they can be trusted.

Iliopoulos et al., Weighted distillation with unlabeled examples, NeurIPS 2022. Where the teacher is wrong with
probability p, and its label then costs the student `distortion` times what the true one would, the weight
1 / (1 + p (distortion - 1)) makes the expected loss that of the true labels. Both numbers are estimated on held-out
labelled inputs, and carried to an unlabelled one by those of them that look most alike to the teacher.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from eie.compress.train.loop import Epoch, Fit, Teacher, Training, run
from eie.errors import ModelError

Weighting = Literal["debiased", "fidelity", "both", "none"]
Labelled = tuple[Tensor, Tensor]
Values = npt.NDArray[np.float64]
_PART = 4096


def neighbours(margins: Values, held_out: Values) -> npt.NDArray[np.int64]:
    """Which `held_out` margins are nearest to each of `margins`: the ceil(sqrt(n)) nearest of n, in order of value.

    >>> neighbours(np.array([0.0, 0.9]), np.array([0.1, 0.8, 0.2, 1.0])).tolist()
    [[0, 2], [1, 3]]
    """
    order = np.argsort(held_out, kind="stable")
    ranked = held_out[order]
    n = len(ranked)
    k = math.ceil(math.sqrt(n))
    # The k nearest of sorted values are a stretch of them: its first place, by halving.
    low = np.zeros(len(margins), np.int64)
    high = np.full(len(margins), n - k, np.int64)
    while (low < high).any():
        middle = (low + high) // 2
        # Whether the stretch should begin later: what it would take in is nearer than what it would leave.
        later = margins - ranked[middle] > ranked[np.minimum(middle + k, n - 1)] - margins
        open_ = low < high
        low, high = np.where(open_ & later, middle + 1, low), np.where(open_ & ~later, middle, high)
    return order[low[:, None] + np.arange(k)]


def debiased(wrong: npt.NDArray[np.bool_], of_teacher: Values, of_truth: Values) -> Values:
    """The weights 1 / (1 + p (distortion - 1)), from 0 to 1, of rows of neighbours.

    wrong : whether the teacher is, for each neighbour. of_teacher, of_truth : what the teacher's label and the true one
    cost the student there. p is the share of the wrong; distortion the sum of the first costs over that of the second
    among the wrong, so that one neighbour that the student knows by heart does not decide it.

    >>> debiased(np.array([[True, False]]), np.array([[3.0, 1.0]]), np.array([[1.0, 1.0]])).tolist()
    [0.5]
    """
    p = wrong.mean(axis=1)
    costs = [np.where(wrong, each, 0.0).sum(axis=1) for each in (of_teacher, of_truth)]
    distortion = costs[0] / np.maximum(costs[1], 1e-12)
    weights = 1 / np.maximum(1 + p * (distortion - 1), 1e-12)
    return np.clip(np.where(p > 0, weights, 1.0), 0.0, 1.0)


def _logits(model: nn.Module, x: Tensor) -> Tensor:
    """Answers [n, classes] of a model in evaluation mode."""
    training = model.training
    model.eval()
    device = next(model.parameters()).device
    with torch.no_grad():
        found = [model(part.to(device)) for part in x.split(_PART)]
    model.train(training)
    return torch.cat(found).double().cpu()


def _margins(probabilities: Tensor) -> Values:
    """By how much the likeliest class leads the next."""
    two = probabilities.topk(2, dim=1).values
    return (two[:, 0] - two[:, 1]).numpy()


@dataclass(eq=False)
class Pool:
    """Batches of all inputs, labelled and not, with their places; weights are found anew before each pass."""

    student: nn.Module
    x: Tensor
    targets: Tensor
    weights: Tensor
    held_out: Labelled
    wrong: npt.NDArray[np.bool_]
    of_teacher: Tensor
    near: npt.NDArray[np.int64]
    first: int
    fidelity: Tensor
    by: Weighting
    batch: int
    temperature: float

    def __len__(self) -> int:
        return max(1, len(self.x) // self.batch)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        self.weigh()
        order = torch.randperm(len(self.x))
        for places in order[: len(self) * self.batch].split(self.batch):
            yield self.x[places], places

    def weigh(self) -> None:
        """Find the weights of the unlabelled inputs for the student as it is."""
        found = self.fidelity.clone() if self.by in ("fidelity", "both") else torch.ones_like(self.fidelity)
        if self.by in ("debiased", "both"):
            own = _logits(self.student, self.held_out[0]).log_softmax(1)
            of_truth = functional.nll_loss(own, self.held_out[1], reduction="none").numpy()
            of_teacher = -(self.of_teacher * own).sum(1).numpy()
            near = self.near
            weights = debiased(self.wrong[near], of_teacher[near], of_truth[near])
            found *= torch.from_numpy(weights)
        self.weights[self.first :] = found.to(self.weights)

    def loss(self, answer: Tensor, places: Tensor) -> Tensor:
        """Mean weighted cross-entropy of the answers to the inputs at these places with their targets."""
        targets, weights = (one[places.cpu()].to(answer) for one in (self.targets, self.weights))
        soft = (places >= self.first).to(answer)
        # Soft targets are at the temperature, and so is the student there; T**2 keeps the gradients' size.
        scale = 1 + soft * (self.temperature - 1)
        own = functional.log_softmax(answer / scale[:, None], dim=1)
        return (weights * scale**2 * -(targets * own).sum(1)).mean()


class Weighted(Fit):
    """Plain training of everything, on weighted answers."""

    def __init__(self, model: nn.Module, pool: Pool) -> None:
        super().__init__(model)
        self.name, self.pool = "weighted", pool

    def settings(self) -> dict[str, Any]:  # noqa: D102
        pool = self.pool
        return {
            "by": pool.by,
            "temperature": pool.temperature,
            "inputs": [pool.first, len(pool.x), len(pool.wrong)],
        }


def _checked(what: str, given: Labelled) -> Labelled:
    x, y = given
    if len(x) != len(y) or not len(x) or y.is_floating_point() or y.dim() != 1:
        raise ModelError(
            f"{what} must be inputs and one class for each, not of shapes {list(x.shape)} and {list(y.shape)}"
        )
    return x, y.long()


def _rows(x: Tensor) -> set[bytes]:
    return {row.tobytes() for row in x.detach().cpu().flatten(1).numpy()}


def weighted(
    student: nn.Module,
    teacher: Teacher | nn.Module,
    labelled: Labelled,
    held_out: Labelled,
    unlabelled: Tensor,
    *,
    by: Weighting = "debiased",
    batch: int = 128,
    training: Training | None = None,
) -> list[Epoch]:
    """Train `student` on labelled inputs, and on unlabelled ones with the teacher's answers, weighted.

    Parameters
    ----------
    teacher : a network trained on `labelled`, or a `Teacher`, for its temperature (1 otherwise).
    labelled, held_out : (inputs, classes). On `held_out`, which neither was trained on, it is estimated how far the
        teacher can be trusted: neighbours are the ceil(sqrt(n)) of these n inputs whose margin, by which the teacher's
        likeliest class leads the next, is nearest.
    unlabelled : inputs.
    by : "debiased", 1 / (1 + p (distortion - 1)), found anew before each epoch; "fidelity", exp(-entropy of the
        teacher's answer), a stand-in for the variance of Dehghani et al., 2018; "both", their product; "none".
    batch : inputs of a step.

    Returns what each epoch ended with.

    Raises
    ------
    ModelError : shapes that do not fit; held-out inputs that are among the labelled ones; classes of the labelled
        inputs that the teacher finds nowhere among the unlabelled ones; settings out of range, and see `fit`.
    """
    how, training = (
        (teacher if isinstance(teacher, Teacher) else Teacher(teacher, 1.0, 1.0)),
        training or Training(),
    )
    if by not in get_args(Weighting):
        raise ModelError(f"by must be one of {', '.join(get_args(Weighting))}, not {by!r}")
    if how.mixup or training.teacher is not None:
        raise ModelError("weighted takes its teacher as an argument, and without mixup")
    x, y = _checked("labelled", labelled)
    held = _checked("held_out", held_out)
    if unlabelled.shape[1:] != x.shape[1:] or held[0].shape[1:] != x.shape[1:] or not len(unlabelled):
        raise ModelError(
            f"labelled, held_out and unlabelled inputs must be alike, not of shapes {list(x.shape)}, "
            f"{list(held[0].shape)} and {list(unlabelled.shape)}"
        )
    if both := len(_rows(held[0]) & _rows(x)):
        raise ModelError(
            f"{both} of the held-out inputs are among the labelled ones, which the teacher was trained on: hold "
            "others out"
        )
    soft = _logits(how.model, unlabelled)
    classes = soft.shape[1]
    if (most := int(max(y.max(), held[1].max()))) >= classes:
        raise ModelError(f"class {most} of the labels is none of the teacher's {classes}")
    if (own := _logits(student, x[:1]).shape[1]) != classes:
        raise ModelError(f"the student tells {own} classes apart, the teacher {classes}")
    found = set(soft.argmax(1).tolist())
    if missing := sorted(set(y.tolist()) - found):
        raise ModelError(
            f"the teacher finds class {missing[0]} nowhere among the unlabelled inputs: they must have the classes of "
            "the labelled ones"
        )
    on_held = _logits(how.model, held[0]).softmax(1)
    certain = soft.softmax(1)
    entropy = -(certain * certain.clamp_min(1e-300).log()).sum(1)
    answers = (soft / how.temperature).softmax(1).float()
    pool = Pool(
        student,
        torch.cat([x, unlabelled]),
        torch.cat([functional.one_hot(y, classes).float(), answers]),
        torch.ones(len(x) + len(unlabelled)),
        held,
        (on_held.argmax(1) != held[1]).numpy(),
        on_held,
        neighbours(_margins(certain), _margins(on_held)),
        len(x),
        (-entropy).exp(),
        by,
        min(batch, len(x) + len(unlabelled)),
        how.temperature,
    )
    return run(student, pool, pool.loss, Weighted(student, pool), training)
