"""The loop that pruning, sharing and plain training have in common: an epoch at a time, resumable after each."""

from __future__ import annotations

import hashlib
import math
import os
import random
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from eie.compress.train.weights import find_weights
from eie.errors import ModelError, OutputError

Loss = Callable[[Any, Any], Tensor]
Evaluate = Callable[[nn.Module], float]

# The learning rate rises over this share of the steps, then falls to nothing along a cosine.
_WARM_UP = 0.1
# Training has diverged when its loss is this many times what it was for a first batch: with the weights given, or with
# all of them zero, whichever is more (a trained network's own loss may be next to nothing).
_DIVERGED = 10.0


def _precise(answer: Any) -> Any:
    """An answer with the precision that a loss needs."""
    return answer.float() if isinstance(answer, Tensor) and answer.dtype == torch.bfloat16 else answer


@dataclass(frozen=True)
class Teacher:
    """A trained network whose soft answers are learnt along with the labels (Hinton et al., 2015).

    The loss becomes (1 - share) * loss + share * temperature**2 * KL(teacher || student), both answers being logits
    [batch, classes] divided by `temperature` before the softmax. Both see the same inputs, distorted alike.

    mixup : function matching (Beyer et al., 2022): every batch is mixed with itself in another order, at a share drawn
    evenly from 0 to 1, before both see it. Labels then mean nothing: share is 1 (its default is 0.7 otherwise).
    """

    model: nn.Module
    temperature: float = 4.0
    share: float | None = None
    mixup: bool = False

    def __post_init__(self) -> None:
        if self.share is None:
            object.__setattr__(self, "share", 1.0 if self.mixup else 0.7)
        if not (self.temperature > 0 and 0 <= self.of_teacher <= 1):
            raise ModelError(
                f"a teacher needs a temperature above 0 and a share from 0 to 1, not {self.temperature}, {self.share}"
            )
        if self.mixup and self.share != 1:
            raise ModelError(f"mixed inputs have no labels: with mixup share must be 1, not {self.share}")

    @property
    def of_teacher(self) -> float:
        """`share`, which is set."""
        assert self.share is not None
        return self.share

    def view(self, x: Any) -> Any:
        """What teacher and student see of a batch of inputs."""
        if not self.mixup:
            return x
        if not isinstance(x, Tensor) or not x.is_floating_point():
            raise ModelError("mixup takes a batch of inputs that is one tensor of real numbers")
        part = float(torch.rand(()))
        return torch.lerp(x[torch.randperm(len(x)).to(x.device)], x, part)

    def loss(self, x: Any, answer: Tensor, plain: Tensor) -> Tensor:
        """The loss for inputs `x`, to which the student gave `answer` at the loss `plain`."""
        if not isinstance(answer, Tensor):
            raise ModelError(
                f"a teacher is for a model that answers with one tensor, not with a {type(answer).__name__} (early "
                "exits have several answers)"
            )
        with torch.no_grad():
            soft = functional.log_softmax(_precise(self.model(x)) / self.temperature, dim=1)
        own = functional.log_softmax(answer / self.temperature, dim=1)
        apart = functional.kl_div(own, soft, reduction="batchmean", log_target=True)
        return (1 - self.of_teacher) * plain + self.of_teacher * self.temperature**2 * apart


@dataclass(frozen=True)
class Training:
    """How to train.

    epochs, lr : passes over the data, and highest learning rate (it rises over the first tenth, then falls along a
    cosine). momentum : of stochastic gradient descent; None for Adam. seed : of everything random, data order included,
    as far as it comes from the generators of torch, numpy or `random`. teacher : see `Teacher`. evaluate : called after
    each epoch; what it returns is shown and kept. folder : where a checkpoint is left after every epoch; running the
    same call again goes on from it. progress : show a bar. bfloat16 : compute layers and their gradients with 8 bits of
    precision (weights, optimiser and loss keep 24): faster on processors that have such products, and without effect on
    what `evaluate` sees.
    """

    epochs: int = 10
    lr: float = 1e-3
    momentum: float | None = None
    seed: int = 1
    teacher: Teacher | None = None
    evaluate: Evaluate | None = None
    folder: str | os.PathLike[str] | None = None
    progress: bool = True
    bfloat16: bool = False

    def __post_init__(self) -> None:
        if self.epochs < 0 or not (0 < self.lr < math.inf):
            raise ModelError(f"epochs must be at least 0 and lr above 0, not {self.epochs} and {self.lr}")
        if self.momentum is not None and not 0 <= self.momentum < 1:
            raise ModelError(f"momentum must be from 0 to below 1, not {self.momentum}")

    def optimizer(self, parameters: list[Tensor]) -> torch.optim.Optimizer:
        """The optimiser of these parameters."""
        if self.momentum is None:
            return torch.optim.Adam(parameters, self.lr)
        return torch.optim.SGD(parameters, self.lr, self.momentum, nesterov=self.momentum > 0)


@dataclass(frozen=True)
class Epoch:
    """What an epoch ended with: mean loss, share of the weights left, and the result of `evaluate`, if any."""

    loss: float
    density: float
    score: float | None = None


class Phase(Protocol):
    """What one kind of training adds to the loop."""

    name: str

    def trained(self) -> list[Tensor]:
        """What the optimiser changes."""

    def settings(self) -> dict[str, Any]:
        """What has to be the same for a checkpoint to be of use."""

    def before_step(self) -> None:
        """Called when the gradients are there."""

    def after_step(self, progress: float) -> None:
        """Called when the optimiser has made its step; `progress` runs from 0 to 1."""

    def state(self) -> dict[str, Any]:
        """What the model and the optimiser do not hold."""

    def restore(self, state: dict[str, Any]) -> None:
        """Take up a `state`; the model's own parameters are restored already."""


@dataclass
class Fit:
    """Plain training of everything."""

    model: nn.Module
    name: str = field(default="fit", init=False)

    def trained(self) -> list[Tensor]:  # noqa: D102
        return list(self.model.parameters())

    def settings(self) -> dict[str, Any]:  # noqa: D102
        return {}

    def before_step(self) -> None:  # noqa: D102
        pass

    def after_step(self, progress: float) -> None:  # noqa: D102
        pass

    def state(self) -> dict[str, Any]:  # noqa: D102
        return {}

    def restore(self, state: dict[str, Any]) -> None:  # noqa: D102
        pass


@contextmanager
def seeded(seed: int, epoch: int) -> Iterator[None]:
    """Random numbers of torch, numpy and `random` that follow from (seed, epoch); afterwards as if nothing had been."""
    own = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        words = np.random.SeedSequence([seed, epoch]).generate_state(2)
        torch.manual_seed(int(words[0]))
        random.seed(int(words[1]))
        np.random.seed(int(words[1]))
        yield
    random.setstate(own[0])
    np.random.set_state(own[1])


def learning_rate(highest: float, progress: float) -> float:
    """The learning rate when the share `progress` of the steps is done.

    >>> [round(learning_rate(1.0, p), 3) for p in (0.0, 0.05, 0.1, 0.55, 1.0)]
    [0.04, 0.52, 1.0, 0.5, 0.0]
    """
    if progress < _WARM_UP:
        return highest * (0.04 + 0.96 * progress / _WARM_UP)
    return highest * 0.5 * (1 + math.cos(math.pi * (progress - _WARM_UP) / (1 - _WARM_UP)))


# ---- checkpoints -------------------------------------------------------------------------------------------


def _bytes(tensor: Tensor) -> bytes:
    # numpy has no bfloat16.
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()


def _digest(model: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(name.encode())
        digest.update(_bytes(tensor))
    return digest.hexdigest()


def _batch_digest(batch: Any) -> str:
    """Of the tensors in a batch."""
    if isinstance(batch, Mapping):
        batch = batch.values()
    if isinstance(batch, Tensor):
        return hashlib.sha256(_bytes(batch)).hexdigest()
    if isinstance(batch, Iterable) and not isinstance(batch, str):
        return hashlib.sha256("".join(map(_batch_digest, batch)).encode()).hexdigest()
    return ""


def _loss_name(loss: Loss) -> str:
    of = loss if hasattr(loss, "__qualname__") else type(loss)
    return f"{of.__module__}.{of.__qualname__}"


def _settings(
    model: nn.Module, loader: Sized, first: Any, loss: Loss, phase: Phase, training: Training
) -> dict[str, Any]:
    teacher = training.teacher
    return {
        "epochs": training.epochs,
        "lr": training.lr,
        "momentum": training.momentum,
        "seed": training.seed,
        # None as in checkpoints from before there was a choice.
        "bfloat16": training.bfloat16 or None,
        "batches": len(loader),
        "loss": _loss_name(loss),
        "teacher": (
            [teacher.temperature, teacher.share, teacher.mixup, _digest(teacher.model)] if teacher else None
        ),
        "data": _batch_digest(first),
        "model": _digest(model),
        **phase.settings(),
    }


def write_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write `content` with `torch.save`, so that a kill leaves `path` the old file or the new one."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            torch.save(content, file)
        temporary.replace(path)
    except (OSError, RuntimeError) as error:
        temporary.unlink(missing_ok=True)
        # torch's archive writer words a full disk for itself.
        reason = getattr(error, "strerror", None) or str(error).partition("\n")[0]
        raise OutputError(f"cannot write checkpoint {path}: {reason}") from None


def read_checkpoint(path: Path, settings: dict[str, Any]) -> dict[str, Any] | None:
    """What `write_checkpoint` wrote, or None when there is nothing.

    Raises
    ------
    ModelError : an unreadable checkpoint, or one of other settings.
    """
    if not path.exists():
        return None
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        there = content["settings"]
    except Exception as error:
        raise ModelError(
            f"{path} is not a checkpoint ({str(error).partition(chr(10))[0]}): delete it"
        ) from None
    differing = [name for name in settings if there.get(name) != settings[name]]
    if differing:
        name = differing[0]
        values = "" if name in ("model", "data") else f", {there.get(name)} there and {settings[name]} here"
        raise ModelError(
            f"{path} belongs to another run ({name} differs{values}): delete it, or choose another folder"
        )
    return dict(content)


# ---- the loop ----------------------------------------------------------------------------------------------


def _to(device: torch.device, value: Any) -> Any:
    return value.to(device) if isinstance(value, Tensor) else value


def _density(model: nn.Module) -> float:
    weights = find_weights(model)
    return sum(weight.kept for weight in weights) / sum(weight.size for weight in weights)


def _check_weights(model: nn.Module) -> None:
    """Raise `ModelError` for weights that cannot be trained, before the training would be blamed."""
    for weight in find_weights(model):
        if weight.parameter.dtype == torch.float16:
            raise ModelError(
                f"layer {weight.name!r} has float16 weights, in which small changes are lost and large sums "
                "overflow: train model.float()"
            )
        good = torch.isfinite(weight.parameter.detach())
        if not good.all():
            place = [int(i) for i in torch.nonzero(~good)[0]]
            value = float(weight.parameter.detach()[tuple(place)])
            raise ModelError(
                f"layer {weight.name!r}: weight{place} is {value:g} before training, not a finite number"
            )


def _first_losses(model: nn.Module, batch: Any, loss: Loss, device: torch.device) -> tuple[float, float]:
    """Loss of a batch as the model is, and when all weights are zero: what one that has learnt nothing reaches."""
    weights = [weight.parameter for weight in find_weights(model)]
    kept = [weight.detach().clone() for weight in weights]
    x, y = (_to(device, part) for part in batch)
    training = model.training
    with torch.no_grad():
        model.eval()  # statistics of a normalisation must not learn from this
        own = float(loss(model(x), y))
        for weight in weights:
            weight.zero_()
        zero = float(loss(model(x), y))
        for weight, old in zip(weights, kept, strict=True):
            weight.copy_(old)
    model.train(training)
    return own, zero


def _limit(losses: tuple[float, float]) -> float:
    """Mean loss beyond which training has diverged; infinite where the first losses say nothing.

    >>> _limit((0.02, 2.3)), _limit((0.0, -0.1)), _limit((0.0, 0.0)), _limit((math.nan, 2.3))
    (23.0, 1.0, inf, inf)
    """
    largest = max(map(abs, losses))
    return _DIVERGED * largest if largest > 0 and all(map(math.isfinite, losses)) else math.inf


@dataclass
class _Loop:
    model: nn.Module
    loader: Any
    loss: Loss
    phase: Phase
    training: Training
    device: torch.device
    optimizer: torch.optim.Optimizer
    limit: float

    def epoch(self, number: int, bar: Any) -> float:
        """One pass over the data; returns the mean loss."""
        batches, total = len(self.loader), 0.0
        self.model.train()
        for place, (x, y) in enumerate(self.loader):
            done = (number + place / batches) / self.training.epochs
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate(self.training.lr, done)
            value = self.step(_to(self.device, x), _to(self.device, y))
            total += value
            where = f"epoch {number + 1}, batch {place + 1}"
            self.check(value, where, math.inf)
            self.phase.after_step((number + (place + 1) / batches) / self.training.epochs)
            bar.update()
        mean = total / batches
        self.check(mean, f"epoch {number + 1}", self.limit)
        return mean

    def step(self, x: Any, y: Any) -> float:
        if self.training.teacher:
            x = self.training.teacher.view(x)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.training.bfloat16):
            answer = _precise(self.model(x))
            value = self.loss(answer, y)
            if self.training.teacher:
                value = self.training.teacher.loss(x, answer, value)
        self.optimizer.zero_grad()
        self.model.zero_grad()
        value.backward()
        self.phase.before_step()
        self.optimizer.step()
        return float(value.detach())

    def check(self, value: float, where: str, limit: float) -> None:
        if not math.isfinite(value) or value > limit:
            raise ModelError(
                f"training diverged ({self.phase.name}, {where}): the loss is {value:.4g}; "
                f"try a lower learning rate than {self.training.lr:g}"
            )


def run(model: nn.Module, loader: Any, loss: Loss, phase: Phase, training: Training) -> list[Epoch]:
    """Train; returns what each epoch ended with. The model is left in evaluation mode.

    Raises
    ------
    ModelError : training diverges; a checkpoint of other settings; a loader without a length or without batches;
        weights that are float16, or not finite.
    OutputError : the checkpoint cannot be written.
    """
    if not hasattr(loader, "__len__") or not len(loader):
        raise ModelError("the loader must have a length (its number of batches), and it must not be 0")
    _check_weights(model)
    path = Path(training.folder) / f"{phase.name}.pt" if training.folder is not None else None
    device = next(model.parameters()).device
    if training.teacher:
        training.teacher.model.eval()
    with seeded(training.seed, training.epochs):
        first = next(iter(loader))
        limit = _limit(_first_losses(model, first, loss, device))
    settings = _settings(model, loader, first, loss, phase, training)
    optimizer = training.optimizer(phase.trained())
    history: list[Epoch] = []
    found = read_checkpoint(path, settings) if path else None
    if found:
        model.load_state_dict(found["model"])
        optimizer.load_state_dict(found["optimizer"])
        phase.restore(found["phase"])
        history = [Epoch(*epoch) for epoch in found["history"]]
        if training.progress:
            tqdm.write(f"{path}: goes on after {len(history)} of {training.epochs} epochs", file=sys.stderr)
    loop = _Loop(model, loader, loss, phase, training, device, optimizer, limit)
    steps = training.epochs * len(loader)
    with tqdm(
        total=steps,
        initial=len(history) * len(loader),
        desc=phase.name,
        unit="batch",
        disable=not training.progress,
    ) as bar:
        for number in range(len(history), training.epochs):
            with seeded(training.seed, number):
                mean = loop.epoch(number, bar)
            model.eval()
            score = training.evaluate(model) if training.evaluate else None
            history.append(Epoch(mean, _density(model), score))
            shown = {"loss": f"{mean:.4g}", "kept": f"{100 * history[-1].density:.2f} %"}
            bar.set_postfix(shown | ({} if score is None else {"score": f"{score:.2f}"}))
            if path:
                write_checkpoint(
                    path,
                    {
                        "settings": settings,
                        "model": model.state_dict(),
                        "optimizer": optimizer.state_dict(),
                        "phase": phase.state(),
                        "history": [(e.loss, e.density, e.score) for e in history],
                    },
                )
    model.eval()
    return history


def fit(model: nn.Module, loader: Any, loss: Loss, training: Training | None = None) -> list[Epoch]:
    """Train `model` as it is: the dense network that pruning starts from."""
    return run(model, loader, loss, Fit(model), training or Training())
