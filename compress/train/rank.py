"""Low rank in training: a layer of a module becomes two, in place (`eie.compress.low_rank` says how)."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from eie.compress.low_rank import Split, choose_rank, factors
from eie.compress.train.weights import PerLayer, Weight, find_weights, per_layer
from eie.errors import ModelError


def _uses(model: nn.Module) -> tuple[dict[int, int], dict[int, int]]:
    """How often each module has a place in `model`, and in how many modules each parameter is, by id."""
    places: dict[int, int] = {}
    owners: dict[int, int] = {}
    for module in model.modules():
        for child in module._modules.values():
            if child is not None:
                places[id(child)] = places.get(id(child), 0) + 1
        for parameter in module._parameters.values():
            if parameter is not None:
                owners[id(parameter)] = owners.get(id(parameter), 0) + 1
    return places, owners


def _refusal(weight: Weight, places: dict[int, int], owners: dict[int, int]) -> str:
    """Why this layer cannot become two; empty if it can."""
    module = weight.module
    # A class derived from these may use its weight in its own way, as attention's output projection does.
    if type(module) not in (nn.Linear, nn.Conv2d):
        return f"is of a {type(module).__name__}: only Linear and Conv2d can"
    if isinstance(module, nn.Conv2d) and module.groups != 1:
        return f"is a convolution of {module.groups} groups: only one group can"
    if places.get(id(module), 0) != 1:
        return (
            "is used under several names"
            if places.get(id(module))
            else "is the model itself, not a part of it"
        )
    if owners[id(weight.parameter)] != 1:
        return "has a weight that another layer has, too"
    return ""


def _halves(module: Any, first: Tensor, second: Tensor) -> nn.Sequential:
    """The two layers that stand for `module`, with these matrices."""
    rank, biased = len(first), module.bias is not None
    if isinstance(module, nn.Conv2d):
        shape = (module.kernel_size, module.stride, module.padding, module.dilation, 1, False)
        one: Any = nn.Conv2d(module.in_channels, rank, *shape, module.padding_mode)  # type: ignore[arg-type]
        two: Any = nn.Conv2d(rank, module.out_channels, 1, bias=biased)
    else:
        one = nn.Linear(module.in_features, rank, bias=False)
        two = nn.Linear(rank, module.out_features, bias=biased)
    pair = nn.Sequential(one, two).to(module.weight)
    with torch.no_grad():
        one.weight.copy_(first.view_as(one.weight))
        two.weight.copy_(second.view_as(two.weight))
        if biased:
            two.bias.copy_(module.bias)
    return pair.train(module.training)


def low_rank(
    model: nn.Module, *, rank: PerLayer | None = None, energy: PerLayer | None = None
) -> dict[str, Split]:
    """Replace layers of `model`, in place, by two of low rank each: `fc1` becomes `fc1.0` and `fc1.1`.

    Parameters
    ----------
    rank : of the layers that a pattern fits, as `density` in `prune`. energy : or the share of the matrix's squared
        norm to keep, for the least rank that does so; a layer that this would not make smaller stays as it is.

    Returns what became of each layer that was split, by its name.

    Raises
    ------
    ModelError : neither or both are given; a rank above the matrix's, or that does not make it smaller; a layer that
        cannot be split: of another class than Linear and Conv2d, or used in several places. The model is as it was.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 10))
    >>> low_rank(model, rank={"0": 4})["0"].after
    200
    >>> [name for name, _ in model.named_parameters()]
    ['0.0.weight', '0.1.weight', '0.1.bias', '2.weight', '2.bias']
    """
    given = rank if energy is None else energy
    if given is None or given == {} or (rank is not None and energy is not None):
        raise ModelError("give rank or energy, one of them")
    weights = find_weights(model)
    what = "rank" if energy is None else "energy"
    # A rank or an energy of 0 is refused below, with its layer's name.
    values = per_layer(what, given, weights, 0, float("inf"), 0.0)
    patterns = list(given) if not isinstance(given, int | float) else ["*"]
    places, owners = _uses(model)
    found: dict[str, Split] = {}
    pairs: dict[int, nn.Sequential] = {}
    for weight, value in zip(weights, values, strict=True):
        if not any(fnmatchcase(weight.name, pattern) for pattern in patterns):
            continue
        if refusal := _refusal(weight, places, owners):
            raise ModelError(f"layer {weight.name!r} cannot become two: it {refusal}")
        matrix = weight.parameter.detach().flatten(1)
        # numpy has no bfloat16.
        exact = (matrix if matrix.dtype == torch.float64 else matrix.float()).cpu().numpy()
        split = choose_rank(
            weight.name, exact, value if energy is None else None, None if energy is None else value
        )
        if split is not None:
            first, second = (torch.from_numpy(half) for half in factors(exact, split.rank))
            found[weight.name] = split
            pairs[id(weight.module)] = _halves(weight.module, first, second)
    for module in list(model.modules()):
        for name, child in list(module._modules.items()):
            if id(child) in pairs:
                setattr(module, name, pairs[id(child)])
    if not found:
        raise ModelError(f"no layer gets smaller with an energy of {given}: choose less, or leave it out")
    return found
