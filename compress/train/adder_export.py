"""From a PyTorch chain with layers that add, and normalisations behind its layers, to a `.eie` file."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor, fx, nn

from eie.compress.adder import AdderLayer, adder_network
from eie.compress.format import file
from eie.compress.pipeline import CompressionReport
from eie.compress.quantize import Widths
from eie.compress.train.adder import Adder, AdderConv2d
from eie.compress.train.sharing import Shared
from eie.compress.train.traced import Place, Run, kind_of, rows_of, same, shared_layer
from eie.compress.train.weights import Weight, find_weights
from eie.compress.train.whole import Batch
from eie.errors import ModelError
from eie.layer import CompressedLayer

Norm = nn.BatchNorm1d | nn.BatchNorm2d


def has_adders(model: nn.Module) -> bool:
    """Whether a layer of the model adds."""
    return any(isinstance(module, Adder | AdderConv2d) for module in model.modules())


@dataclass
class _Step:
    """A layer of the chain and what follows it."""

    weight: Weight
    norm: Norm | None = None
    place: Place = field(default_factory=Place)


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Layers that add are taken as they are, like torch's own."""
        return isinstance(m, Adder | AdderConv2d) or super().is_leaf_module(m, module_qualified_name)


def _refuse(what: str) -> ModelError:
    return ModelError(
        "a model with layers that add must be one layer after the other, each followed by BatchNorm, ReLU, max "
        f"pooling or flattening: {what}"
    )


def _steps(model: nn.Module) -> list[_Step]:
    """The layers of a chain, in order.

    Raises
    ------
    ModelError : the model is something else.
    """
    try:
        graph = _Tracer().trace(model)
    except Exception as error:  # whatever the user's forward() does with a symbolic value
        raise _refuse(f"torch.fx cannot trace it ({str(error).partition(chr(10))[0]})") from None
    modules: dict[str, nn.Module] = dict(model.named_modules())
    weights = {id(weight.module): weight for weight in find_weights(model)}
    steps: list[_Step] = []
    before: fx.Node | None = None
    for node in graph.nodes:
        if node.op == "output":
            break
        if before is not None and (list(before.users) != [node] or node.all_input_nodes != [before]):
            raise _refuse(f"{node.name} takes something else")
        before = node
        if node.op != "placeholder":
            _take(steps, node, modules, weights)
    if not steps:
        raise _refuse("it uses none of its layers")
    return steps


def _take(
    steps: list[_Step], node: fx.Node, modules: dict[str, nn.Module], weights: dict[int, Weight]
) -> None:
    """Add what a node does to the steps."""
    module = modules.get(str(node.target)) if node.op == "call_module" else None
    kind = kind_of(node, modules)
    if module is not None and id(module) in weights:
        steps.append(_Step(weights[id(module)]))
    elif kind == "passive":
        return
    elif not steps:
        raise _refuse(f"{node.name} stands before the first layer")
    elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
        place = steps[-1].place
        if (
            steps[-1].norm is not None
            or place.relu
            or place.pool is not None
            or not module.track_running_stats
        ):
            raise _refuse(f"{node.name} must stand right behind a layer, and keep running statistics")
        steps[-1].norm = module
    elif kind == "relu":
        steps[-1].place.relu = True
    elif kind == "pool" and steps[-1].place.pool is None:
        assert isinstance(module, nn.MaxPool2d)
        steps[-1].place.pool = module
    else:
        raise _refuse(f"{node.name} is none of these")


def clip_weights(model: nn.Module, batch: Tensor) -> None:
    """Bring the weights of layers that add into the range of their inputs in `batch`; the model's answers to it stay.

    A weight above all that its input (or channel) shows is as good as the largest of it, but for a constant, and so is
    one below the smallest; of `positive` inputs that is 0. So the weights of an input that is always 0 go. The constant
    goes into the normalisation behind the layer, or its bias. Call it before `prune` and before `share`, with as many
    inputs as there are: values that make no difference then take no place among those that are kept.

    Raises
    ------
    ModelError : no chain, a layer without a normalisation or bias, or negative inputs that should be positive.
    """
    model.eval()
    steps = _steps(model)
    run = Run.of(model, [step.weight for step in steps], batch)
    for step in steps:
        module = step.weight.module
        if not isinstance(module, Adder | AdderConv2d):
            continue
        low, high = _range(module, run.inputs[id(module)], step.weight.name)
        mean, bias = None if step.norm is None else step.norm.running_mean, module.bias
        if mean is None and bias is None:
            raise ModelError(f"layer {step.weight.name!r} adds: put a BatchNorm behind it, or give it a bias")
        with torch.no_grad():
            clipped = module.weight.clamp(low, high)
            less = (module.weight - clipped).abs().flatten(1).sum(1)
            module.weight.copy_(clipped)
            if mean is not None:
                mean += less
            elif bias is not None:
                bias -= less


def _range(module: Adder | AdderConv2d, x: Tensor, name: str) -> tuple[Tensor, Tensor]:
    """The smallest and the largest of each input, or of each channel's, as they meet the weights; padding is 0."""
    if isinstance(module, AdderConv2d):
        low, high = x.amin((0, 2, 3))[:, None, None], x.amax((0, 2, 3))[:, None, None]
        if any(int(size) for size in module.padding):
            low, high = low.clamp(max=0), high.clamp(min=0)
    else:
        vectors = x.reshape(-1, x.shape[-1])
        low, high = vectors.amin(0), vectors.amax(0)
    if not module.positive:
        return low, high
    if float(low.min()) < 0:
        raise ModelError(
            f"the inputs of layer {name!r} are said to be positive, but {float(low.min()):g} is among them"
        )
    return torch.zeros_like(low), high


def _folded(step: _Step, shared: Shared, image: tuple[int, int]) -> AdderLayer:
    """A step as one layer: the normalisation is a gain, and a part of the bias."""
    layer = shared_layer(step.weight, shared, replace(step.place, image=image))
    module, norm, gain = step.weight.module, step.norm, None
    if norm is not None:
        assert norm.running_var is not None
        assert norm.running_mean is not None
        ones = torch.ones_like(norm.running_mean)
        times = (norm.weight if norm.weight is not None else ones).detach().double().cpu().numpy()
        plus = (norm.bias if norm.bias is not None else 0 * ones).detach().double().cpu().numpy()
        spread = np.sqrt(norm.running_var.double().cpu().numpy() + norm.eps)
        gain = times / spread
        if not gain.all():
            row = int(np.argmin(np.abs(gain)))
            raise ModelError(
                f"layer {step.weight.name!r}: the normalisation of row {row} has the gain 0: prune it"
            )
        layer = replace(layer, bias=layer.bias - norm.running_mean.double().cpu().numpy() + plus / gain)
    adds = isinstance(module, Adder | AdderConv2d)
    return AdderLayer(layer, adds, bool(adds and module.positive), gain)


def adder_layers(model: nn.Module, shared: Shared, batch: Tensor) -> list[AdderLayer]:
    """The layers of a chain, compared with the model on `batch`.

    Raises
    ------
    ModelError : no chain; weights that are not those that `share` left; another answer than the model's.
    """
    model.eval()
    steps = _steps(model)
    run = Run.of(model, [step.weight for step in steps], batch)
    layers = [_folded(step, shared, run.image(step.weight)) for step in steps]
    count, dtype = len(run.batch), steps[0].weight.parameter.dtype
    x = rows_of(run.batch, count)
    assert x is not None
    for step, layer in zip(steps, layers, strict=True):
        if isinstance(step.weight.module, Adder | AdderConv2d):
            _range(step.weight.module, run.inputs[id(step.weight.module)], step.weight.name)
        x, _ = layer.forward(x)
    if not same(x, rows_of(run.answer, count), dtype):
        raise _refuse("its answer is another one than that of its layers")
    return layers


def fixed_adders(
    model: nn.Module, shared: Shared, batch: Tensor, widths: Widths | None = None
) -> list[CompressedLayer]:
    """The layers that `save` writes for a model with layers that add, in fixed point.

    Raises
    ------
    ModelError : as `save`.
    """
    return _fixed(model, shared, batch, widths)[0]


def _fixed(
    model: nn.Module, shared: Shared, batch: Tensor, widths: Widths | None
) -> tuple[list[CompressedLayer], CompressionReport]:
    layers = adder_layers(model, shared, batch)
    return adder_network(layers, batch.detach().double().cpu().reshape(len(batch), -1).numpy(), widths)


def save_adders(
    path: str | os.PathLike[str],
    model: nn.Module,
    shared: Shared,
    calibration: Batch | None,
    widths: Widths | None,
) -> CompressionReport:
    """What `save` does for a model with layers that add; the accumulators have 24 bits unless `widths` says another.

    Raises
    ------
    ModelError : as `adder_layers`, and no scale keeps the sums inside the accumulators for every input.
    """
    if not isinstance(calibration, Tensor | np.ndarray):
        raise ModelError("a model with layers that add needs a batch of calibration inputs, one tensor")
    found, report = _fixed(model, shared, torch.as_tensor(calibration), widths)
    file.save(path, found)
    return report
