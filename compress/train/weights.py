"""Which parameters of a PyTorch module are weight matrices, and settings that name them by pattern."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
from torch import nn

from eie.errors import ModelError

_RECURRENT = re.compile(r"weight_(?P<part>ih|hh|hr)(?P<rest>_l\d+(?:_reverse)?)")
_MATRIX = (nn.Linear, nn.Conv2d)
PerLayer = float | Mapping[str, float]


@dataclass(frozen=True, eq=False)
class Weight:
    """One weight matrix of a module: of a Linear, a Conv2d, or a gate matrix of an LSTM or a GRU.

    name : `fc1`, or `gru.weight_ih_l0` where a module has several. parameter : of any shape [outputs, ...], of which
    the matrix is the flattened view [outputs, inputs]. bias : [outputs], or None.
    """

    name: str
    module: nn.Module
    parameter: nn.Parameter
    bias: nn.Parameter | None

    @property
    def size(self) -> int:
        """Weights, pruned ones included."""
        return self.parameter.numel()

    @property
    def kept(self) -> int:
        """Weights that are not zero."""
        return int(torch.count_nonzero(self.parameter.detach()))


def find_weights(model: nn.Module) -> list[Weight]:
    """The weight matrices of `model` in the order of its modules; one that several modules share counts once.

    Raises
    ------
    ModelError : there are none; a parametrised one.
    """
    found: dict[int, Weight] = {}

    def add(name: str, module: nn.Module, weight: str, bias: str | None) -> None:
        parameter = getattr(module, weight)
        if not isinstance(parameter, nn.Parameter):
            raise ModelError(
                f"{weight} of layer {name!r} is parametrised, that is, computed from other parameters: "
                "remove that first (torch.nn.utils.parametrize.remove_parametrizations)"
            )
        found.setdefault(
            id(parameter), Weight(name, module, parameter, getattr(module, bias) if bias else None)
        )

    for name, module in model.named_modules():
        if isinstance(module, _MATRIX):
            add(name or "layer", module, "weight", "bias")
        elif isinstance(module, nn.LSTM | nn.GRU):
            # Its own list: named_parameters() leaves out what is parametrised.
            for own in module._flat_weights_names:
                match = _RECURRENT.fullmatch(own)
                if match:
                    biased = module.bias and match["part"] != "hr"
                    bias = f"bias_{match['part']}{match['rest']}" if biased else None
                    add(f"{name}.{own}" if name else own, module, own, bias)
    if not found:
        raise ModelError("the model has no Linear, Conv2d, LSTM or GRU to compress")
    return list(found.values())


def per_layer(
    what: str,
    given: PerLayer,
    weights: Sequence[Weight],
    low: float,
    high: float,
    otherwise: float | None = None,
) -> list[float]:
    """A setting for each weight matrix: one number, or numbers by glob pattern, of which the first that fits counts.

    Raises
    ------
    ModelError : a value outside low..high, a pattern that fits no layer, a layer that none fits (without `otherwise`).
    """
    patterns = dict(given) if isinstance(given, Mapping) else {"*": given}
    for pattern, value in patterns.items():
        if isinstance(value, str) or not low <= value <= high:
            raise ModelError(f"{what} of {pattern!r} must be from {low:g} to {high:g}, not {value}")
        if not any(fnmatchcase(weight.name, pattern) for weight in weights):
            names = ", ".join(weight.name for weight in weights)
            raise ModelError(f"{what}: no layer is called {pattern!r} (there are {names})")
    values: list[float] = []
    for weight in weights:
        fitting = [value for pattern, value in patterns.items() if fnmatchcase(weight.name, pattern)]
        if not fitting and otherwise is None:
            raise ModelError(f"{what}: no pattern fits layer {weight.name!r}")
        values += fitting[:1] or [otherwise or 0.0]
    return values
