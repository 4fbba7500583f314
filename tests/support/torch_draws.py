"""Drawn PyTorch modules and checkpoints, and the weights that each module has when it runs."""

import argparse
import contextlib
from dataclasses import dataclass, field

import numpy as np
import torch
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune, spectral_norm, weight_norm

_SIZES = st.integers(1, 5)
# Parametrisations whose weights are in the file, and those that only their code can compute.
TOLD = (
    *(
        "none",
        "none",
        "none",
        "unstructured",
        "structured",
        "biased",
        "old norm",
        "old norm 1",
        "old norm of all",
    ),
    *("norm", "norm 1", "norm of all", "old spectral", "spectral", "norm and spectral", "pruned norm"),
)
UNTOLD = ("orthogonal", "doubled")


class Doubled(nn.Module):
    def forward(self, weight):
        return 2 * weight

    def right_inverse(self, weight):
        return weight / 2


@dataclass
class Drawn:
    """A module; expected : weights [outputs, inputs ...] and bias by layer; untold : the layer that must be refused."""

    model: nn.Module
    expected: dict = field(default_factory=dict)
    untold: str = ""


def _parametrised(module, how):
    """The module with its weight computed in one of the ways of PyTorch."""
    name = "weight" if hasattr(module, "weight") else "weight_hh_l0"
    if how == "unstructured":
        prune.random_unstructured(module, name, 0.5)
    elif how == "structured":
        prune.ln_structured(module, name, 0.5, n=2, dim=0)
    elif how == "biased" and getattr(module, "bias", None) is not None and name == "weight":
        prune.l1_unstructured(module, "weight", 0.5)
        prune.l1_unstructured(module, "bias", 0.5)
    elif how.startswith("old norm"):
        weight_norm(module, name, dim={"old norm": 0, "old norm 1": 1}.get(how))
    elif how == "old spectral" and name == "weight":
        spectral_norm(module, name)
    elif how.startswith("norm"):
        parametrizations.weight_norm(module, name, dim={"norm 1": 1, "norm of all": None}.get(how, 0))
        if how == "norm and spectral":
            parametrizations.spectral_norm(module, name)
    elif how == "spectral":
        parametrizations.spectral_norm(module, name)
    elif how == "pruned norm" and name == "weight":
        weight_norm(module, name)
        prune.random_unstructured(module, "weight_v", 0.5)
    elif how == "orthogonal" and name == "weight":
        parametrizations.orthogonal(module, name)
    elif how == "doubled":
        parametrize.register_parametrization(module, name, Doubled())
    return module


def _shaken(module, seed):
    """Parameters moved, as training would, and vectors of spectral norms no longer those of these weights."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator)


@torch.no_grad()
def _effective(module, name):
    """What the module multiplies with: some compute it when they are called, of what the call before has left."""
    for _ in range(2):
        if isinstance(module, nn.Linear):
            module(torch.zeros(1, module.in_features))
        elif isinstance(module, nn.Conv2d):
            module(torch.zeros(1, module.in_channels, 9, 9))
        elif isinstance(module, nn.Conv1d):
            module(torch.zeros(1, module.in_channels, 9))
        else:
            module(torch.zeros(1, 1, module.input_size))
    return getattr(module, name).detach().clone().numpy()


def _layer(draw):
    kind = draw(st.sampled_from(["Linear", "Linear", "Conv2d", "Conv1d", "LSTM"]))
    bias = draw(st.booleans())
    if kind == "Linear":
        return nn.Linear(draw(_SIZES), draw(_SIZES), bias=bias)
    if kind == "LSTM":
        return nn.LSTM(draw(_SIZES), draw(_SIZES), bias=bias)
    kernel = draw(st.integers(1, 3))
    return getattr(nn, kind)(draw(_SIZES), draw(_SIZES), kernel, bias=bias)


def _others(draw):
    return draw(
        st.sampled_from(
            [nn.BatchNorm2d(3), nn.LayerNorm(4), nn.ReLU(), nn.PReLU(2), nn.Dropout(), nn.BatchNorm1d(2)]
        )
    )


@st.composite
def networks(draw):
    """A `Drawn`."""
    torch.manual_seed(draw(st.integers(0, 1 << 20)))
    found = Drawn(nn.Sequential())
    places = []
    for number in range(draw(st.integers(1, 3))):
        module = _layer(draw)
        how = draw(st.sampled_from([*TOLD, *TOLD, *UNTOLD]))
        if how in UNTOLD and (found.untold or (how == "orthogonal" and isinstance(module, nn.LSTM))):
            how = "none"
        with contextlib.suppress(ValueError, RuntimeError):  # such as a mask of one row
            module = _parametrised(module, how)
        name = draw(st.sampled_from([f"fc{number}", f"encoder{number}", str(number), f"conv{number}"]))
        holder = found.model
        if draw(st.booleans()):
            holder = nn.Sequential()
            found.model.add_module(f"block{number}", holder)
            holder.add_module(name, module)
            name = f"block{number}.{name}"
        else:
            holder.add_module(name, module)
        if draw(st.booleans()):
            found.model.add_module(f"other{number}", _others(draw))
        places.append((name, module))
        if how in UNTOLD:
            found.untold = name
    _shaken(found.model, draw(st.integers(0, 1 << 20)))
    found.model.eval()
    for name, module in places:
        if isinstance(module, nn.LSTM):
            for part in ("ih", "hh"):
                bias = getattr(module, f"bias_{part}_l0").detach().numpy() if module.bias else None
                found.expected[f"{name}.{part}_l0"] = (_effective(module, f"weight_{part}_l0"), bias)
        else:
            bias = None if module.bias is None else _effective(module, "bias")
            found.expected[name] = (_effective(module, "weight"), bias)
    return found


def _trained_optimizer(model, kind):
    optimizer = kind(model.parameters(), lr=0.0, **({"momentum": 0.9} if kind is torch.optim.SGD else {}))
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape)
    optimizer.step()
    return optimizer.state_dict()


def _average(state):
    return {name: tensor * 0.9 if tensor.is_floating_point() else tensor for name, tensor in state.items()}


@st.composite
def checkpoints(draw, drawn):
    """What a training script might save of a module, the key to give, and the prefix of its layers' names."""
    state = dict(drawn.model.state_dict())
    form = draw(
        st.sampled_from(
            ["plain", "usual", "optimizer first", "average", "own key", "two", "lightning", "prefix", "asked"]
        )
    )
    if form == "plain":
        return state, "", ""
    if form == "usual":
        key = draw(st.sampled_from(["state_dict", "model", "model_state_dict", "net"]))
        return {"epoch": 3, "best": torch.tensor(0.7), key: state, "loss": np.float64(0.5)}, "", ""
    if form == "optimizer first":
        kind = draw(st.sampled_from([torch.optim.Adam, torch.optim.SGD]))
        return {"optimizer": _trained_optimizer(drawn.model, kind), "model": state}, "", ""
    if form == "average":
        key = draw(st.sampled_from(["ema", "model_ema", "ema_state_dict", "state_dict_ema", "swa_model"]))
        return {key: _average(state), "state_dict": state}, "", ""
    if form == "own key":
        return {"optimizer": _trained_optimizer(drawn.model, torch.optim.Adam), "my_net": state}, "", ""
    if form == "two":
        return {"first": state, "second": _average(state)}, "", ""
    if form == "asked":
        return {"first": _average(state), "deep": {"second": state}}, "deep.second", ""
    if form == "lightning":
        prefixed = {f"model.{name}": tensor for name, tensor in state.items()}
        return (
            {
                "state_dict": prefixed,
                "optimizer_states": [_trained_optimizer(drawn.model, torch.optim.Adam)],
                "hyper_parameters": argparse.Namespace(lr=0.1),
            },
            "",
            "model.",
        )
    both = {f"module.{name}": tensor for name, tensor in state.items()}
    both |= {f"ema_model.{name}": tensor for name, tensor in _average(state).items()}
    return both, "", "module."
