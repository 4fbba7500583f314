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
    names = ("weight", "weight_hh_l0", "weight_hh", "in_proj_weight", "q_proj_weight")
    name = next(one for one in names if getattr(module, one, None) is not None)
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
        elif isinstance(module, nn.MultiheadAttention):
            module(*(torch.zeros(1, 1, size) for size in (module.embed_dim, module.kdim, module.vdim)))
        elif isinstance(module, nn.RNNCellBase):
            module(torch.zeros(1, module.input_size))
        else:
            module(torch.zeros(1, 1, module.input_size))
    return getattr(module, name).detach().clone().numpy()


def _layer(draw):
    kind = draw(
        st.sampled_from(
            ["Linear", "Linear", "Linear", "Conv2d", "Conv1d", "LSTM", "GRU", "RNN", "LSTMCell", "attention"]
        )
    )
    bias = draw(st.booleans())
    if kind == "Linear":
        return nn.Linear(draw(_SIZES), draw(_SIZES), bias=bias)
    if kind == "attention":
        heads = draw(st.integers(1, 3))
        other = {"kdim": draw(_SIZES), "vdim": draw(_SIZES)} if draw(st.booleans()) else {}
        return nn.MultiheadAttention(heads * draw(st.integers(1, 2)), heads, bias=bias, **other)
    if kind == "LSTMCell":
        return nn.LSTMCell(draw(_SIZES), draw(_SIZES), bias=bias)
    if hasattr(nn, kind + "Cell"):
        levels, both = draw(st.integers(1, 2)), draw(st.booleans())
        return getattr(nn, kind)(draw(_SIZES), draw(_SIZES), levels, bias=bias, bidirectional=both)
    kernel = draw(st.integers(1, 3))
    return getattr(nn, kind)(draw(_SIZES), draw(_SIZES), kernel, bias=bias)


def _others(draw, number):
    """A module that has no layer, and its name."""
    named = [
        (nn.Embedding(7, 3), f"embedding{number}"),
        (nn.Embedding(4, 4), "token_emb"),
        (nn.ConvTranspose2d(2, 3, 2), f"up{number}"),
        (nn.ConvTranspose1d(2, 2, 2), f"deconv{number}"),
    ]
    plain = [nn.BatchNorm2d(3), nn.LayerNorm(4), nn.ReLU(), nn.PReLU(2), nn.Dropout(), nn.BatchNorm1d(2)]
    plain += [nn.LayerNorm((4, 3)), nn.LayerNorm((2, 3, 4)), nn.LayerNorm((1, 5))]
    return draw(st.sampled_from([*named, *((module, f"other{number}") for module in plain)]))


def _parts(name, module):
    """The layers of a module: their names, with the names of their weights and biases in it."""
    if isinstance(module, nn.RNNBase | nn.RNNCellBase):
        ends = [one.removeprefix("weight_") for one in _tensors(module) if one.startswith("weight_")]
        return [(f"{name}.{end}", f"weight_{end}", f"bias_{end}") for end in ends]
    if isinstance(module, nn.MultiheadAttention):
        apart = module.in_proj_weight is None  # keys or values of another size
        return [] if apart else [(f"{name}.in_proj", "in_proj_weight", "in_proj_bias")]
    return [(name, "weight", "bias")]


def _tensors(module):
    """Names of a module's own parameters, those that are computed included."""
    own = [one.rpartition(".")[2] for one, _ in module.named_parameters(recurse=False)]
    own = [one.removesuffix("_orig").removesuffix("_g").removesuffix("_v") for one in own]
    computed = module.parametrizations if parametrize.is_parametrized(module) else ()
    return dict.fromkeys([*own, *computed])


@st.composite
def networks(draw):
    """A `Drawn`."""
    torch.manual_seed(draw(st.integers(0, 1 << 20)))
    found = Drawn(nn.Sequential())
    places = []
    for number in range(draw(st.integers(1, 3))):
        module = _layer(draw)
        how = draw(st.sampled_from([*TOLD, *TOLD, *UNTOLD]))
        if how in UNTOLD and (found.untold or (how == "orthogonal" and not isinstance(module, nn.Linear))):
            how = "none"
        with contextlib.suppress(ValueError, RuntimeError):  # such as a mask of one row
            module = _parametrised(module, how)
        name = draw(st.sampled_from([f"fc{number}", f"encoder{number}", str(number), f"conv{number}"]))
        holder = found.model
        for level in range(draw(st.sampled_from([0, 0, 1, 1, 2, 3]))):
            inner = nn.Sequential()
            holder.add_module(f"block{number}{'abc'[level]}", inner)
            holder = inner
        holder.add_module(name, module)
        if draw(st.booleans()):
            other, other_name = _others(draw, number)
            found.model.add_module(other_name, other)
        places.append(module)
        if how in UNTOLD:
            found.untold = next(at for at, one in found.model.named_modules() if one is module)
        elif not found.untold and draw(st.integers(0, 5)) == 0:
            found.model.add_module(f"again{number}", module)
        elif isinstance(module, nn.Linear) and how == "none" and draw(st.integers(0, 3)) == 0:
            tied = nn.Linear(module.in_features, module.out_features, bias=draw(st.booleans()))
            tied.weight = module.weight
            found.model.add_module(f"tied{number}", tied)
            places.append(tied)
    _shaken(found.model, draw(st.integers(0, 1 << 20)))
    found.model.eval()
    for name, module in found.model.named_modules(remove_duplicate=False):
        if not any(module is one for one in places):
            continue
        for layer, weight, bias in _parts(name, module):
            has_bias = getattr(module, bias, None) is not None
            found.expected[layer] = (
                _effective(module, weight),
                _effective(module, bias) if has_bias else None,
            )
        if isinstance(module, nn.MultiheadAttention):
            for place, letter in enumerate("qkv" if module.in_proj_weight is None else ""):
                whole = module.in_proj_bias
                found.expected[f"{name}.{letter}_proj"] = (
                    _effective(module, f"{letter}_proj_weight"),
                    None if whole is None else np.split(whole.detach().numpy(), 3)[place],
                )
            out = module.out_proj
            bias = None if out.bias is None else out.bias.detach().numpy()
            found.expected[f"{name}.out_proj"] = (out.weight.detach().numpy(), bias)
    return found


def _trained_optimizer(model, kind):
    optimizer = kind(model.parameters(), lr=0.0, **({"momentum": 0.9} if kind is torch.optim.SGD else {}))
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape)
    optimizer.step()
    return optimizer.state_dict()


def _average(state):
    return {name: tensor * 0.9 if tensor.is_floating_point() else tensor for name, tensor in state.items()}


_FORMS = (
    *("plain", "usual", "optimizer first", "average", "averaged model", "own key", "two"),
    *("lightning", "prefix", "compiled", "parallel", "asked"),
)


@st.composite
def checkpoints(draw, drawn):
    """What a training script might save of a module, the key to give, and the prefix of its layers' names."""
    state = dict(drawn.model.state_dict())
    form = draw(st.sampled_from(_FORMS))
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
    if form == "averaged model":  # its state dictionary has the network's names behind module.
        mean = {f"module.{name}": tensor for name, tensor in _average(state).items()}
        return {"swa_model": {**mean, "n_averaged": torch.tensor(3)}, "model": state}, "", ""
    if form in ("compiled", "parallel"):
        prefix = "_orig_mod." if form == "compiled" else "module."
        return (
            {"state_dict": {prefix + name: tensor for name, tensor in state.items()}, "epoch": 3},
            "",
            prefix,
        )
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
