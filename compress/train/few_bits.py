"""Weights of two or three values: binary (BinaryConnect) and ternary, learnt through the values they take.

Courbariaux, Bengio and David, BinaryConnect, NeurIPS 2015: the network runs on -a and +a, the gradient moves real
weights behind them, and these are clipped, because beyond the bound they would have no effect. With one scale a layer,
the mean magnitude of the real weights, as in Rastegari et al., XNOR-Net, ECCV 2016. Ternary: Li and Liu, Ternary weight
networks, 2016.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from eie.compress.train.loop import Loss, Training, run
from eie.compress.train.sharing import Shared, SharedWeight
from eie.compress.train.weights import Weight, find_weights
from eie.errors import ModelError

Kind = Literal["binary", "ternary"]
# Of the mean magnitude: what is smaller becomes zero (Li and Liu, equation 7, for normal and uniform weights).
_TERNARY = 0.7
# Share of the steps, the last ones, in which no weight is random: a normalisation has to see the values that stay.
_SETTLED = 0.1
# Codes of -a, 0 and a.
_MINUS, _ZERO, _PLUS = 1, 0, 2


def quantised(real: Tensor, kind: Kind) -> tuple[Tensor, float]:
    """Codes (0: zero, 1: -a, 2: +a) of real weights, and a. A weight of 0 counts as positive in a binary layer.

    >>> quantised(torch.tensor([0.5, -0.25, 0.0]), "binary")
    (tensor([2, 1, 2]), 0.25)
    >>> quantised(torch.tensor([1.0, -1.0, 0.1]), "ternary")
    (tensor([2, 1, 0]), 1.0)
    """
    magnitude = real.abs()
    codes = torch.where(real < 0, _MINUS, _PLUS)
    if kind == "binary":
        return codes, float(magnitude.mean())
    large = magnitude > _TERNARY * magnitude.mean()
    return torch.where(large, codes, _ZERO), float(magnitude[large].mean()) if large.any() else 0.0


def drawn(real: Tensor, bound: float) -> Tensor:
    """Codes of -bound or +bound at random, of which each weight is the mean (BinaryConnect's stochastic rule)."""
    up = torch.rand_like(real) < ((real / bound + 1) / 2)
    return torch.where(up, _PLUS, _MINUS)


def _table(a: float) -> Tensor:
    return torch.tensor([0.0, -a, a, 0.0])


class FewBits:
    """The phase: `real` holds the weights that learn, the model's parameters the values that they stand for."""

    name = "few-bits"

    def __init__(
        self, model: nn.Module, weights: list[Weight], kind: Kind, stochastic: bool, epochs: int
    ) -> None:
        self.model, self.weights, self.kind, self.stochastic = model, weights, kind, stochastic
        self.epochs = epochs
        self.real = [weight.parameter.detach().clone() for weight in weights]
        # Of evenly drawn weights twice their mean magnitude is the bound they were drawn within.
        self.bounds = [2 * float(real.abs().mean()) for real in self.real]
        self.shared: list[SharedWeight] = []
        # Not at random: a checkpoint tells the model by what it begins with.
        self._put(False)

    def _put(self, at_random: bool) -> None:
        self.shared = []
        with torch.no_grad():
            for weight, real, bound in zip(self.weights, self.real, self.bounds, strict=True):
                if at_random:
                    codes, a = drawn(real, bound), bound
                else:
                    codes, a = quantised(real, self.kind)
                    # What was learnt at the bound is used at it.
                    a = bound if self.stochastic else a
                one = SharedWeight(codes.cpu(), _table(a))
                weight.parameter.copy_(one.decode())
                self.shared.append(one)

    def trained(self) -> list[Tensor]:  # noqa: D102
        return list(self.model.parameters())

    def settings(self) -> dict[str, Any]:  # noqa: D102
        return {
            "layers": [weight.name for weight in self.weights],
            "kind": self.kind,
            "stochastic": self.stochastic and _SETTLED,
        }

    def before_step(self) -> None:
        """Let the optimiser see the real weights, with the gradient of the values that stood for them."""
        with torch.no_grad():
            for weight, real in zip(self.weights, self.real, strict=True):
                weight.parameter.copy_(real)

    def after_step(self, progress: float) -> None:
        """Keep what the optimiser made of them, within their bounds. At the end of an epoch, and towards the end of the
        training, nothing is random.
        """
        with torch.no_grad():
            for weight, real, bound in zip(self.weights, self.real, self.bounds, strict=True):
                real.copy_(weight.parameter.clamp(-bound, bound))
        done = progress * self.epochs
        self._put(self.stochastic and progress < 1 - _SETTLED and abs(done - round(done)) > 1e-9)

    def state(self) -> dict[str, Any]:  # noqa: D102
        return {"real": self.real}

    def restore(self, state: dict[str, Any]) -> None:  # noqa: D102
        for real, saved in zip(self.real, state["real"], strict=True):
            real.copy_(saved)
        self._put(False)

    def result(self) -> dict[str, SharedWeight]:
        """The layers by name, nothing random."""
        self._put(False)
        return {weight.name: one for weight, one in zip(self.weights, self.shared, strict=True)}


def few_bits(
    model: nn.Module,
    loader: Any,
    loss: Loss,
    kind: Kind = "binary",
    *,
    stochastic: bool = False,
    training: Training | None = None,
) -> Shared:
    """Train `model` with weights that take two values, -a and +a, or three with 0, one a for each layer.

    The model's weights end as these values, and `save` writes them with codes of 2 bits. An untrained model will do.

    Parameters
    ----------
    loader, loss : as for `prune`. kind : "binary" or "ternary". stochastic : of "binary", draw each weight anew in
        every step, with the real weight behind it as the mean; after an epoch, and in the last tenth of the steps,
        each has its likelier value.

    Raises
    ------
    ModelError : settings out of range; a layer whose weights are all zero; and see `fit`.
    """
    if kind not in get_args(Kind):
        raise ModelError(f"weights of few bits are binary or ternary, not {kind!r}")
    if stochastic and kind != "binary":
        raise ModelError("weights are drawn at random only where they are binary")
    training = training or Training()
    if training.epochs < 1:
        raise ModelError("weights of few bits need at least one epoch to be learnt")
    weights = find_weights(model)
    for weight in weights:
        if not weight.kept:
            raise ModelError(
                f"layer {weight.name!r} has no weight that is not 0: there is nothing to begin with"
            )
    phase = FewBits(model, weights, kind, stochastic, training.epochs)
    history = run(model, loader, loss, phase, training)
    return Shared(phase.result(), history)
