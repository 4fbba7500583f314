"""From a PyTorch module with shared weights to layers of the accelerator, and into a `.eie` file."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, fx, nn
from torch.nn import functional
from tqdm import tqdm

from eie.compress.float_layers import Unused, left_text
from eie.compress.format import file
from eie.compress.pipeline import CompressionReport, Settings, compress_network
from eie.compress.quantize import Widths
from eie.compress.share import SharedLayer
from eie.compress.train import whole
from eie.compress.train.sharing import Shared
from eie.compress.train.weights import Weight, find_weights
from eie.compress.train.whole import Batch
from eie.conv import Conv
from eie.errors import ModelError

# What leaves the numbers that pass through as they are (dropout: once the network is trained).
_PASSIVE = (nn.Dropout, nn.Dropout2d, nn.Flatten, nn.Unflatten, nn.Identity)
_PASSIVE_CALLS = ("flatten", "reshape", "view", "squeeze", "unsqueeze", "contiguous", "dropout")
# So many arrays that are not compressed are named.
_SHOWN = 8
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


def _places(model: nn.Module) -> dict[int, _Place]:
    """What follows each module, by the module's id; empty for a network that cannot be traced symbolically."""
    try:
        traced = fx.symbolic_trace(model)
    except Exception:  # whatever the user's forward() does with a symbolic value
        return {}
    modules = dict(traced.named_modules())
    own = {name: id(module) for name, module in model.named_modules()}
    return {
        own[node.target]: _after(node, modules)
        for node in traced.graph.nodes
        if node.op == "call_module" and isinstance(modules[node.target], nn.Linear | nn.Conv2d)
    }


# ---- what a batch shows ------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Run:
    """What a batch did in the model: inputs of each module with weights, in the order in which they were first called,
    by the module's id, and how often it was called; the batch itself, and the model's answer.
    """

    inputs: dict[int, Tensor]
    calls: dict[int, int]
    batch: Tensor
    answer: Any

    @classmethod
    def of(cls, model: nn.Module, weights: list[Weight], batch: Tensor | npt.NDArray[Any]) -> _Run:
        parameter = weights[0].parameter
        x = torch.as_tensor(batch).to(parameter.device)
        x = x.to(parameter.dtype) if x.is_floating_point() else x
        inputs: dict[int, Tensor] = {}
        calls: dict[int, int] = {}

        def note(module: nn.Module, given: Any) -> None:
            calls[id(module)] = calls.get(id(module), 0) + 1
            inputs.setdefault(id(module), given[0].detach())

        hooks = [m.register_forward_pre_hook(note) for m in {w.module: None for w in weights}]
        try:
            with torch.no_grad():
                answer = model(x)
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            reason = str(error).partition("\n")[0]
            raise ModelError(
                f"the model does not take the calibration batch {list(x.shape)}: {reason}"
            ) from None
        finally:
            for hook in hooks:
                hook.remove()
        return cls(inputs, calls, x, answer)

    def image(self, weight: Weight) -> tuple[int, int]:
        """Size of the images that a convolution takes; zeros for another layer, or one that is never called."""
        given = self.inputs.get(id(weight.module))
        if given is None or not isinstance(weight.module, nn.Conv2d):
            return (0, 0)
        return int(given.shape[-2]), int(given.shape[-1])

    def ordered(self, weights: list[Weight]) -> list[Weight]:
        """The matrices in the order in which the model uses them; what it does not use comes last."""
        order = {module: place for place, module in enumerate(self.inputs)}
        return sorted(weights, key=lambda weight: order.get(id(weight.module), len(order)))


def _rows(x: Any, count: int) -> npt.NDArray[Any] | None:
    """A tensor as [count, numbers], if it is one of real numbers that can be seen so."""
    if not isinstance(x, Tensor) or not x.is_floating_point() or x.dim() == 0 or len(x) != count:
        return None
    return x.detach().double().cpu().reshape(count, -1).numpy()


def _same(one: npt.NDArray[Any] | None, two: npt.NDArray[Any] | None, dtype: torch.dtype) -> bool:
    """Whether they are the same but for rounding in `dtype`."""
    if one is None or two is None or one.shape != two.shape:
        return False
    close = max(1e-3, torch.finfo(dtype).eps ** 0.5)
    return bool(np.abs(one - two).max(initial=0) <= close * max(np.abs(two).max(initial=0), 1e-9))


class NoChain(ModelError):
    """A model that is more than one layer after the other."""


def _check_chain(weights: list[Weight], layers: list[SharedLayer], run: _Run) -> None:
    """Compare, layer by layer, what the file's network computes from the batch with what the model does.

    Raises
    ------
    NoChain : names the first place where the two part.
    """
    count, dtype = len(run.batch), weights[0].parameter.dtype

    def refuse(where: str) -> NoChain:
        return NoChain(f"the model is not a chain of layers: {where}")

    for weight in weights:
        calls = run.calls.get(id(weight.module), 0)
        if calls != 1 or not isinstance(weight.module, nn.Linear | nn.Conv2d):
            kind = type(weight.module).__name__
            raise refuse(f"layer {weight.name!r} is a {kind}, called {calls} times")
    reached, before = _rows(run.batch, count), ""
    for weight, layer in zip(weights, layers, strict=True):
        given = _rows(run.inputs[id(weight.module)], count)
        if not _same(reached, given, dtype):
            between = f"between {before!r} and {layer.name!r}" if before else f"before {layer.name!r}"
            raise refuse(
                f"{between} the model does something other than ReLU, max pooling or flattening that torch.fx can trace"
            )
        if given is None or given.shape[1] != layer.inputs:
            raise refuse(f"layer {layer.name!r} is applied at several places of its input")
        reached, before = layer.to_float().forward(given), layer.name
    answer = _rows(run.answer, count)
    ends = [reached]
    if reached is not None and reached.size:
        logits = torch.from_numpy(reached)
        ends += [logits.softmax(1).numpy(), logits.log_softmax(1).numpy()]
    if not any(_same(end, answer, dtype) for end in ends):
        raise refuse(
            f"after {before!r} the model does something other than ReLU, max pooling, flattening or softmax"
        )


# ---- what is left ------------------------------------------------------------------------------------------


def not_compressed(model: nn.Module) -> tuple[Unused, ...]:
    """Parameters and buffers of a model that no layer holds, with the module that has each."""
    held = {id(one) for weight in find_weights(model) for one in (weight.parameter, weight.bias)}
    modules = dict(model.named_modules())
    left: list[Unused] = []
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if id(tensor) not in held:
            kind = type(modules[name.rpartition(".")[0]]).__name__
            text = f"{name} {str(tensor.dtype).removeprefix('torch.')}{list(tensor.shape)}"
            left.append(Unused(text, f"of a {kind}", tensor.numel() * tensor.element_size()))
    return tuple(left)


# ---- into layers -------------------------------------------------------------------------------------------


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


def _layer(weight: Weight, shared: Shared, place: _Place) -> SharedLayer:
    found = shared.layers.get(weight.name)
    if found is None or found.codes.shape != weight.parameter.shape:
        raise ModelError(f"layer {weight.name!r} is not one of those that were shared: is it another model?")
    if not torch.equal(found.decode().to(weight.parameter), weight.parameter.detach()):
        raise ModelError(
            f"the weights of layer {weight.name!r} are no longer the shared ones: call share again"
        )
    rows = weight.parameter.shape[0]
    bias = np.zeros(rows) if weight.bias is None else weight.bias.detach().cpu().double().numpy()
    return SharedLayer(
        name=weight.name,
        codes=found.codes.reshape(rows, -1).cpu().numpy().astype(np.uint8),
        centroids=found.centroids.detach().cpu().double().numpy(),
        bias=bias,
        relu=place.relu,
        conv=_conv(weight.module, place),
        blocks=found.blocks,
    )


def _layers(model: nn.Module, weights: list[Weight], shared: Shared, run: _Run | None) -> list[SharedLayer]:
    places = _places(model)
    return [
        _layer(
            weight,
            shared,
            replace(places.get(id(weight.module), _Place()), image=run.image(weight) if run else (0, 0)),
        )
        for weight in weights
    ]


def layers_of(model: nn.Module, shared: Shared, example: Tensor | None = None) -> list[SharedLayer]:
    """The layers, each as a matrix [outputs, inputs], in the order of the model's modules, or with `example`, an input
    batch, in the order in which the model uses them; convolutions then know the sizes of their images.

    Which layers are followed by a ReLU or a max pooling is read off the network's graph (torch.fx); a network whose
    forward() cannot be traced has its matrices stored without them.

    Raises
    ------
    ModelError : weights that are not those that `share` left; a batch that the model does not take.
    """
    model.eval()
    weights = find_weights(model)
    run = None if example is None else _Run.of(model, weights, example)
    return _layers(model, run.ordered(weights) if run else weights, shared, run)


def save(
    path: str | os.PathLike[str],
    model: nn.Module,
    shared: Shared,
    calibration: Batch | None = None,
    widths: Widths | None = None,
) -> CompressionReport:
    """Write the network that `share` left to a `.eie` file, in fixed point.

    `calibration` : a batch of inputs as the model takes them, several as a tuple or by name. The fixed-point scales
    follow from it. A model that is one layer after the other (Linear and Conv2d, ReLU, max pooling) becomes a chain of
    layers, compared with the model layer by layer, with the sizes of a convolution's images. Of any other model the
    file has its graph as well (torch.onnx), and the network that the file describes is compared with the model, on the
    batch and on its first half. Without a batch the matrices are stored by themselves: in the order of the model's
    modules, with scales from random inputs.

    What the file does not hold is in the report (`unused`, `whole_ratio`), and a line on stderr says so.

    Raises
    ------
    ModelError : torch cannot trace the model as it is, or it is no network of the file (see `calibration`); weights
        that are not those that `share` left; no scale fits. OutputError : the file cannot be written (an old one stays
        as it is).
    """
    model.eval()
    weights = find_weights(model)
    layers = None if calibration is None else _chain(model, weights, shared, calibration)
    if layers is not None:
        assert isinstance(calibration, Tensor | np.ndarray)
        run = _Run.of(model, weights, calibration)
        inputs = _rows(run.batch, len(run.batch))
    elif calibration is not None:
        for weight in weights:
            _layer(weight, shared, _Place())  # the weights are those that `share` left
        report = whole.save(path, model, calibration, shared, widths or Widths())
        return _told(report, model, whole=True)
    else:
        inputs = None
        # What lies between them is not known.
        found = _layers(model, weights, shared, None)
        layers = [replace(layer, follows=place == 0) for place, layer in enumerate(found)]
    compressed, report = compress_network(layers, Settings(widths=widths or Widths()), inputs)
    file.save(path, compressed)
    return _told(report, model, whole=False)


def _chain(
    model: nn.Module, weights: list[Weight], shared: Shared, calibration: Batch
) -> list[SharedLayer] | None:
    """The model as one layer after the other, or None if it is something else."""
    if not isinstance(calibration, Tensor | np.ndarray):
        return None
    run = _Run.of(model, weights, calibration)
    ordered = run.ordered(weights)
    layers = _layers(model, ordered, shared, run)
    try:
        _check_chain(ordered, layers, run)
    except NoChain:
        return None
    return layers


def _told(report: CompressionReport, model: nn.Module, *, whole: bool) -> CompressionReport:
    """The report with what no layer holds, and a line of it on stderr. whole : the file has the model's graph."""
    report = replace(report, unused=not_compressed(model))
    if left := left_text(report.unused, report.size.dense_bytes, report.size.total_bytes):
        names = ", ".join(one.array for one in report.unused[:_SHOWN])
        kept = " (they are in the file's graph)" if whole else ""
        tqdm.write(f"{left}{kept}: {names}", file=sys.stderr)
    return report
