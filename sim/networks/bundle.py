"""A `.eie` file with its graph: the compressed matrices, and all that lies between them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from eie.compress.float_layers import FloatArray, LayerSource
from eie.compress.format import file
from eie.compress.pipeline import CompressionReport, Settings, compress_each_to_file
from eie.compress.readers.onnx_graph import Graph, load
from eie.compress.readers.onnx_tensors import IN_LAYER
from eie.errors import ModelError
from eie.layer import CompressedLayer
from eie.sim.networks.from_onnx import cut, read_message
from eie.sim.networks.graph import StepGraph, Trained

# An array below so many bytes stays in the graph.
_LEAST = 256
_FLOATS = (
    onnx.TensorProto.FLOAT,
    onnx.TensorProto.FLOAT16,
    onnx.TensorProto.BFLOAT16,
    onnx.TensorProto.DOUBLE,
)
# Whole numbers below this are exact in every floating-point type that weights come in.
_BASE = 256
# Where a product's weights stand among a node's inputs.
_WEIGHTS = {
    **dict.fromkeys(("MatMul", "Einsum"), (0, 1)),
    **dict.fromkeys(("Gemm", "Conv", "ConvTranspose"), (1,)),
    **dict.fromkeys(("GRU", "LSTM", "RNN"), (1, 2)),
}


def read_bundle(path: Path) -> StepGraph:
    """The graph in a `.eie` file; its float run has the compressed weights, nothing of it rounded.

    Raises
    ------
    FormatError : no such file. ModelError : a graph that onnxruntime does not take.
    """
    layers = {layer.name: layer for layer in file.load(path)}
    graph = read_message(file.load_graph(path), path, list(layers))
    sources = {name: _decoded(source, layers[name]) for name, source in graph.layers.items()}
    return replace(graph, layers=sources)


def _decoded(source: LayerSource, layer: CompressedLayer) -> LayerSource:
    return replace(source, read=partial(_numbers, layer))


def _numbers(layer: CompressedLayer) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Weights and bias of a compressed layer, as `LayerSource.read` gives them."""
    weight = np.ldexp(layer.decode().astype(np.float32), -layer.w_frac)
    return weight, np.ldexp(layer.bias.astype(np.float32), -layer.acc_frac)


def whole_model(path: Path) -> bytes:
    """The graph in a `.eie` file as an ONNX message with the compressed weights in it, for other programs to run.

    A layer takes its weights out of the graph's tensors by place alone. So the places go through the reader instead of
    weights, and say where each weight of a layer belongs. They go in digits, because a tensor may have small floats.
    Biases are in the graph, not rounded.

    Raises
    ------
    FormatError : no such file. ModelError : a graph that onnxruntime does not take.
    """
    model = onnx.load_model_from_string(file.load_graph(path))
    layers = {layer.name: layer for layer in file.load(path)}
    # Small weights are in the graph as they were exported; what is no weight gets its own numbers back.
    held = [one for one in model.graph.initializer if len(one.dims) > 1 and one.data_type in _FLOATS]
    sizes = [int(np.prod(one.dims)) for one in held]
    types = [onnx.helper.tensor_dtype_to_np_dtype(one.data_type) for one in held]
    given = [
        np.zeros(size)
        if one.data_location == onnx.TensorProto.EXTERNAL
        else numpy_helper.to_array(one).ravel()
        for one, size in zip(held, sizes, strict=True)
    ]
    place = {name: np.zeros((layer.rows, layer.cols), np.int64) for name, layer in layers.items()}
    number, scale = np.arange(1, sum(sizes) + 1), 1
    while number.any():
        _fill(held, sizes, types, number % _BASE)
        digits = cut(Graph(model, path, {}, lenient=True, folds=False), path, frozenset(layers))
        for name, source in digits.layers.items():
            place[name] += source.read()[0].astype(np.int64) * scale
        number, scale = number // _BASE, scale * _BASE
    weights = np.concatenate([np.zeros(1), *given])
    for name, layer in layers.items():
        weights[place[name]] = np.ldexp(layer.decode().astype(np.float64), -layer.w_frac)
    _fill(held, sizes, types, weights[1:])
    return model.SerializeToString()


def _fill(
    held: Sequence[Any], sizes: Sequence[int], types: Sequence[npt.DTypeLike], numbers: npt.NDArray[Any]
) -> None:
    """The numbers into tensors, one after the other."""
    start = 0
    for one, size, type_ in zip(held, sizes, types, strict=True):
        part = numbers[start : start + size].astype(type_).reshape(tuple(one.dims))
        one.CopyFrom(numpy_helper.from_array(part, one.name))
        start += size


# ---- writing -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Bundle:
    """A network on its way into a file.

    trained : its float run with the weights as they were exported. vectors : that each matrix meets. content : the
    graph without these weights.
    """

    trained: StepGraph
    vectors: Sequence[FloatArray | None]
    settings: Sequence[Settings]
    content: bytes

    def float_run(self, inputs: Sequence[npt.ArrayLike]) -> list[Any]:
        """The outputs in floating point, with the weights as they were exported, for inputs in the graph's order."""
        named = {port.name: one for port, one in zip(self.trained.inputs, inputs, strict=True)}
        made = self.trained.evaluate(named, Trained(self.trained))
        return [made[name] for name in self.trained.outputs]

    def save(self, path: str | os.PathLike[str]) -> CompressionReport:
        """Write the file. Raises `ModelError` where no scale fits, `OutputError` if it cannot be written."""
        return compress_each_to_file(path, self.trained.trained, self.vectors, self.settings, self.content)


def bundle_of(path: Path, inputs: Sequence[npt.ArrayLike], settings: Settings) -> Bundle:
    """The matrices of an ONNX file that are shared already, calibrated on inputs in its order, and its graph without
    them.

    Products with other weights stay on the host, as they are.

    Raises
    ------
    ModelError : a graph that does not run, or without such a matrix; inputs that do not fit.
    """
    assert settings.weight_bits is not None
    graph = load(path, lenient=True)
    graph.folds = False
    all_of = cut(graph, path)
    weights = {name: source.load().weight for name, source in all_of.layers.items()}
    values = {name: int(np.count_nonzero(np.unique(weight))) for name, weight in weights.items()}
    only = {name: count.bit_length() for name, count in values.items() if count < 1 << settings.weight_bits}
    if not only:
        raise ModelError("no product of the graph has shared weights")
    graph = load(path, lenient=True)
    graph.folds = False
    trained = cut(graph, path, frozenset(only))
    met = trained.met_by_each({port.name: one for port, one in zip(trained.inputs, inputs, strict=True)})
    vectors = [met.get(name) for name in trained.layers]
    each = [replace(settings, weight_bits=max(1, only[name])) for name in trained.layers]
    return Bundle(trained, vectors, each, _without_weights(graph, trained))


def _without_weights(graph: Graph, trained: StepGraph) -> bytes:
    """The graph's message, of whose products' weights only type and shape are left."""
    held = {name for step in trained.steps for name in step.layers}
    places = [place for place in graph.placed if place.source.name in held]
    taken: dict[str, int] = {}
    for place in places:
        for number in _WEIGHTS[place.node.op_type]:
            name = place.node.input[number]
            taken[name] = taken.get(name, 0) + 1
    whole = onnx.ModelProto()
    whole.CopyFrom(graph.model)
    del whole.graph.initializer[:]
    for name, tensor in graph.initializers.items():
        users = len({id(node) for node in graph.consumers.get(name, [])})
        nodes = {id(place.node) for place in places if name in place.node.input}
        full = graph.tensor(name)
        if name in taken and users == len(nodes) and full.ByteSize() >= _LEAST:
            full = onnx.TensorProto(name=name, dims=tensor.dims, data_type=tensor.data_type)
            full.data_location = onnx.TensorProto.EXTERNAL
            full.external_data.add(key="location", value=IN_LAYER)
        whole.graph.initializer.add().CopyFrom(full)
    whole.producer_name, whole.doc_string = "eie", ""
    del whole.graph.value_info[:]
    for node in whole.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    return whole.SerializeToString()
