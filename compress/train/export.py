"""From a PyTorch module with shared weights to layers of the accelerator, and into a `.eie` file."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp
from torch.nn import functional

from eie.compress import file
from eie.compress.network import chains
from eie.compress.pipeline import CompressionReport, Settings, compress_network
from eie.compress.quantize import Widths
from eie.compress.share import SharedLayer
from eie.compress.train.sharing import Shared
from eie.compress.train.weights import Weight, find_weights
from eie.conv import Conv

# What leaves the numbers that pass through as they are (dropout: once the network is trained).
_PASSIVE = (nn.Dropout, nn.Dropout2d, nn.Flatten, nn.Unflatten, nn.Identity)
_PASSIVE_CALLS = ("flatten", "reshape", "view", "squeeze", "unsqueeze", "contiguous", "dropout")
_RELU = {torch.relu, torch.relu_, functional.relu, functional.relu_}


@dataclass
class _Place:
    """What follows a layer in the network: ReLU, max pooling; and the size of its input image."""

    relu: bool = False
    pool: nn.MaxPool2d | None = None
    image: tuple[int, int] = (0, 0)


def _pair(value: Any) -> tuple[int, int]:
    down, across = value if isinstance(value, tuple | list) else (value, value)
    return int(down), int(across)


def _plain_pool(module: nn.Module | None) -> bool:
    return (
        isinstance(module, nn.MaxPool2d)
        and _pair(module.padding) == (0, 0)
        and _pair(module.dilation) == (1, 1)
        and not module.ceil_mode
    )


def _kind(node: fx.Node, modules: dict[str, nn.Module]) -> str:
    """relu, pool, passive, or other."""
    module = modules.get(str(node.target)) if node.op == "call_module" else None
    if (
        isinstance(module, nn.ReLU)
        or node.target in _RELU
        or (node.op, node.target) == ("call_method", "relu")
    ):
        return "relu"
    if _plain_pool(module):
        return "pool"
    name = node.target if node.op == "call_method" else getattr(node.target, "__name__", "")
    if isinstance(module, _PASSIVE) or (node.op != "call_module" and name in _PASSIVE_CALLS):
        return "passive"
    return "other"


def _after(node: fx.Node, modules: dict[str, nn.Module]) -> _Place:
    """Follow the values of `node` as long as they go one way only."""
    place = _Place()
    while len(node.users) == 1:
        node = next(iter(node.users))
        kind = _kind(node, modules)
        if kind == "relu":
            place.relu = True
        elif kind == "pool" and place.pool is None:
            pool = modules[str(node.target)]
            assert isinstance(pool, nn.MaxPool2d)
            place.pool = pool
        elif kind != "passive":
            break
    return place


def _places(model: nn.Module, example: Tensor | None) -> dict[int, _Place]:
    """What follows each module, by the module's id; empty for a network that cannot be traced symbolically."""
    try:
        traced = fx.symbolic_trace(model)
        if example is not None:
            with torch.no_grad():
                ShapeProp(traced).propagate(example)
    except Exception:  # whatever the user's forward() does with a symbolic value
        return {}
    modules = dict(traced.named_modules())
    own = {name: id(module) for name, module in model.named_modules()}
    places: dict[int, _Place] = {}
    for node in traced.graph.nodes:
        if node.op == "call_module" and isinstance(modules[node.target], nn.Linear | nn.Conv2d):
            place = _after(node, modules)
            meta = node.args[0].meta.get("tensor_meta") if node.args else None
            if meta is not None and len(meta.shape) == 4:
                place.image = (int(meta.shape[2]), int(meta.shape[3]))
            places[own[node.target]] = place
    return places


def _conv(module: nn.Module, place: _Place) -> Conv | None:
    """Geometry for the accelerator; None where it knows no such convolution."""
    if not isinstance(module, nn.Conv2d) or module.groups != 1 or _pair(module.dilation) != (1, 1):
        return None
    if module.padding_mode != "zeros" or isinstance(module.padding, str):
        return None
    conv = Conv(_pair(module.kernel_size), _pair(module.stride), _pair(module.padding), size=place.image)
    if place.pool is None:
        return conv
    stride = place.pool.kernel_size if place.pool.stride is None else place.pool.stride
    return replace(conv, pool=_pair(place.pool.kernel_size), pool_stride=_pair(stride))


def layers_of(model: nn.Module, shared: Shared, example: Tensor | None = None) -> list[SharedLayer]:
    """The layers in the order of the model's modules, each as a matrix [outputs, inputs].

    Which layers are followed by a ReLU or a max pooling is read off the network's graph (torch.fx); a network whose
    forward() cannot be traced has its matrices stored without them. `example` : an input batch, which gives
    convolutions the size of their images.
    """
    model.eval()
    places = _places(model, example)

    def layer(weight: Weight) -> SharedLayer:
        found = shared.layers[weight.name]
        rows = weight.parameter.shape[0]
        place = places.get(id(weight.module), _Place())
        bias = (
            np.zeros(rows) if weight.bias is None else weight.bias.detach().cpu().numpy().astype(np.float64)
        )
        return SharedLayer(
            name=weight.name,
            codes=found.codes.reshape(rows, -1).cpu().numpy().astype(np.uint8),
            centroids=found.centroids.detach().cpu().numpy().astype(np.float64),
            bias=bias,
            relu=place.relu,
            conv=_conv(weight.module, place),
        )

    return [layer(weight) for weight in find_weights(model)]


def save(
    path: str | os.PathLike[str],
    model: nn.Module,
    shared: Shared,
    calibration: Tensor | npt.NDArray[Any] | None = None,
    widths: Widths | None = None,
) -> CompressionReport:
    """Write the network that `share` left to a `.eie` file, in fixed point.

    `calibration` : a batch of inputs as the model takes them; the fixed-point scales follow from it, and the sizes of a
    convolution's images. Layers that do not follow one another get scales of their own, from random inputs.

    Raises
    ------
    ModelError : no scale fits. OutputError : the file cannot be written (an old one stays as it is).
    """
    example = None if calibration is None else torch.as_tensor(calibration, dtype=torch.float32)
    layers = layers_of(model, shared, example)
    inputs = None
    if example is not None and chains(layers):
        inputs = example.reshape(len(example), -1).numpy()
    compressed, report = compress_network(layers, Settings(widths=widths or Widths()), inputs)
    file.save(path, compressed)
    return report
