"""From a PyTorch module with shared weights to layers of the accelerator, and into a `.eie` file."""

from __future__ import annotations

import os
import sys
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, fx, nn
from tqdm import tqdm

from eie.compress.float_layers import Unused, left_text
from eie.compress.format import file
from eie.compress.pipeline import CompressionReport, Settings, compress_network
from eie.compress.quantize import Widths
from eie.compress.share import SharedLayer
from eie.compress.train import whole
from eie.compress.train.adder_export import has_adders, save_adders
from eie.compress.train.sharing import Shared
from eie.compress.train.traced import Place, Run, kind_of, rows_of, same, shared_layer
from eie.compress.train.weights import Weight, find_weights
from eie.compress.train.whole import Batch
from eie.errors import ModelError

# So many arrays that are not compressed are named.
_SHOWN = 8


def _after(node: fx.Node, modules: dict[str, nn.Module]) -> Place:
    """Follow the values of `node` as long as they go one way only."""
    place = Place()
    while len(node.users) == 1:
        node = next(iter(node.users))
        kind = kind_of(node, modules)
        if kind == "relu":
            place.relu = True
        elif kind == "pool" and place.pool is None:
            pool = modules[str(node.target)]
            assert isinstance(pool, nn.MaxPool2d)
            place.pool = pool
        elif kind != "passive":
            break
    return place


def _places(model: nn.Module) -> dict[int, Place]:
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


class NoChain(ModelError):
    """A model that is more than one layer after the other."""


def _check_chain(weights: list[Weight], layers: list[SharedLayer], run: Run) -> None:
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
    reached, before = rows_of(run.batch, count), ""
    for weight, layer in zip(weights, layers, strict=True):
        given = rows_of(run.inputs[id(weight.module)], count)
        if not same(reached, given, dtype):
            between = f"between {before!r} and {layer.name!r}" if before else f"before {layer.name!r}"
            raise refuse(
                f"{between} the model does something other than ReLU, max pooling or flattening that torch.fx can trace"
            )
        if given is None or given.shape[1] != layer.inputs:
            raise refuse(f"layer {layer.name!r} is applied at several places of its input")
        reached, before = layer.to_float().forward(given), layer.name
    answer = rows_of(run.answer, count)
    ends = [reached]
    if reached is not None and reached.size:
        logits = torch.from_numpy(reached)
        ends += [logits.softmax(1).numpy(), logits.log_softmax(1).numpy()]
    if not any(same(end, answer, dtype) for end in ends):
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


def _layers(model: nn.Module, weights: list[Weight], shared: Shared, run: Run | None) -> list[SharedLayer]:
    places = _places(model)
    return [
        shared_layer(
            weight,
            shared,
            replace(places.get(id(weight.module), Place()), image=run.image(weight) if run else (0, 0)),
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
    run = None if example is None else Run.of(model, weights, example)
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
    if has_adders(model):
        return save_adders(path, model, shared, calibration, widths)
    model.eval()
    weights = find_weights(model)
    layers = None if calibration is None else _chain(model, weights, shared, calibration)
    if layers is not None:
        assert isinstance(calibration, Tensor | np.ndarray)
        run = Run.of(model, weights, calibration)
        inputs = rows_of(run.batch, len(run.batch))
    elif calibration is not None:
        for weight in weights:
            shared_layer(weight, shared, Place())  # the weights are those that `share` left
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
    run = Run.of(model, weights, calibration)
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
