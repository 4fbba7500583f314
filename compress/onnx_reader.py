"""Fully connected, convolutional and recurrent layers of an ONNX graph."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from google.protobuf.message import DecodeError, EncodeError  # type: ignore[import-untyped]
from onnx import numpy_helper

from eie.compress.arrays import names_of
from eie.compress.network import Layers, LayerSource, Model, Unused, array_text
from eie.conv import Conv, Pair
from eie.errors import LayerError, ModelError

RECURRENT = ("GRU", "LSTM", "RNN")
Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Placed:
    """A layer and its place in the graph.

    node : whose weights they are. gives : the value that the layer makes, bias, ReLU and pooling of the nodes behind it
    included. problem : why the matrix alone does not say what the node does; empty if it does.
    """

    source: LayerSource
    node: Any
    gives: str
    problem: str = ""


class Graph:
    """Constants and consumers of a graph's values, and the sizes of images where the file tells them."""

    def __init__(self, model: Any) -> None:
        graph = model.graph
        self.nodes = list(graph.node)
        self.outputs = [value.name for value in graph.output]
        self.initializers = {tensor.name: tensor for tensor in graph.initializer}
        self.used: set[str] = set()  # initializers that a layer holds
        self.reasons: dict[str, str] = {}  # why other weights are in none
        self.producers = {name: node for node in self.nodes for name in node.output}
        self.consumers: dict[str, list[Any]] = {}
        for node in self.nodes:
            for name in node.input:
                self.consumers.setdefault(name, []).append(node)
        self._sizes: dict[str, Pair] | None = None
        self.model = model

    def constant(self, name: str) -> Array | None:
        """The value called `name` if it is an initializer or a Constant, or one transposed or renamed."""
        if name in self.initializers:
            return numpy_helper.to_array(self.initializers[name])
        node = self.producers.get(name)
        if node is None:
            return None
        attributes = attributes_of(node)
        if node.op_type == "Constant":
            if "value" in attributes:
                return numpy_helper.to_array(attributes["value"])
            plain = [attributes[key] for key in ("value_float", "value_floats") if key in attributes]
            return np.array(plain[0], np.float32) if plain else None
        if node.op_type in ("Identity", "Transpose"):
            inner = self.constant(node.input[0])
            if inner is None or node.op_type == "Identity":
                return inner
            return np.transpose(inner, attributes.get("perm"))
        return None

    def root(self, name: str) -> str:
        """The initializer that `constant` takes the value from."""
        while name not in self.initializers and name in self.producers and self.producers[name].input:
            name = self.producers[name].input[0]
        return name

    def next_node(self, name: str, *kinds: str) -> Any | None:
        """The node that takes the value, when exactly one does, and nobody else, and it is of one of these kinds."""
        nodes = self.consumers.get(name, [])
        alone = len(nodes) == 1 and name not in self.outputs
        return nodes[0] if alone and nodes[0].op_type in kinds else None

    def relu_after(self, name: str) -> tuple[bool, str]:
        """Whether the value goes into a ReLU and nowhere else, and the value behind it."""
        relu = self.next_node(name, "Relu")
        return (False, name) if relu is None else (True, relu.output[0])

    def image_size(self, name: str) -> Pair:
        """Height and width of the images called `name`, (0, 0) if the file leaves them open."""
        if self._sizes is None:
            try:
                graph = onnx.shape_inference.infer_shapes(self.model).graph
            except (onnx.shape_inference.InferenceError, ValueError, EncodeError):
                graph = self.model.graph  # larger than shape inference takes, or inconsistent
            self._sizes = {}
            for value in (*graph.input, *graph.value_info):
                shape = [d.dim_value for d in value.type.tensor_type.shape.dim]
                if len(shape) in (3, 4):
                    self._sizes[value.name] = _pair(shape[2:])
        size = self._sizes.get(name, (0, 0))
        return size if min(size) > 0 else (0, 0)


def attributes_of(node: Any) -> dict[str, Any]:
    """A node's attributes by name."""
    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}


def _layer_name(graph: Graph, node: Any, weight: str, bias: str = "") -> str:
    """The weight's name without its ending (fc1.weight), or else the bias's, or else the node's own."""
    layer, biases = names_of(graph.root(weight))
    if biases:
        return layer
    stem, mark, word = graph.root(bias).rpartition(".") if bias else ("", "", "")
    if mark and word == "bias":
        return stem
    return node.name or graph.root(weight)


def _arrays(weight: Array, bias: Array | None, scale: float, bias_scale: float) -> Any:
    """Weights and bias, see `LayerSource.read`."""
    rows = weight.shape[0]
    flat = None
    if bias is not None:
        flat = np.broadcast_to(bias, (1, rows)).ravel().astype(np.float32) * np.float32(bias_scale)
    whole = np.ascontiguousarray(weight, np.float32)
    return (whole if scale == 1 else whole * np.float32(scale)), flat


def _source(
    name: str,
    weight: Array,
    bias: Array | None,
    relu: bool,
    conv: Conv | None = None,
    scales: tuple[float, float] = (1.0, 1.0),
) -> LayerSource:
    rows, cols = weight.shape
    return LayerSource(name, (rows, cols), partial(_arrays, weight, bias, *scales), relu, conv)


def _is_weight(array: Array | None, dims: int) -> bool:
    return array is not None and array.ndim == dims and array.dtype.kind == "f" and array.size > 0


def _fits(bias: Array | None, rows: int) -> bool:
    """Whether a constant added to a batch of outputs adds one number to each of `rows` outputs."""
    return bias is not None and bias.size in (1, rows) and bias.shape[-1:] in ((), (1,), (rows,))


def _mat_mul(graph: Graph, node: Any) -> Iterator[Placed]:
    left, right = (graph.constant(name) for name in node.input)
    if (left is None) == (right is None):
        return
    place = 1 if left is None else 0
    constant = right if left is None else left
    if constant is None or not _is_weight(constant, 2):
        graph.reasons[graph.root(node.input[place])] = "no float matrix, in MatMul"
        return
    # x @ B is the batch form, whose outputs run along the last axis; A @ x has column vectors.
    weight = constant.T if left is None else constant
    output, bias, bias_name = node.output[0], None, ""
    after = graph.next_node(output, "Add")
    if after is not None:
        other = after.input[1] if after.input[0] == output else after.input[0]
        added = graph.constant(other)
        if added is not None and (_fits(added, len(weight)) or (place == 0 and added.size == len(weight))):
            output, bias, bias_name = after.output[0], added.reshape(-1), other
    name = _layer_name(graph, node, node.input[place], bias_name)
    graph.used |= {graph.root(node.input[place]), graph.root(bias_name)}
    relu, gives = graph.relu_after(output)
    yield Placed(_source(name, weight, bias, relu), node, gives)


def _gemm(graph: Graph, node: Any) -> Iterator[Placed]:
    attributes = attributes_of(node)
    right = graph.constant(node.input[1])
    if right is None or graph.constant(node.input[0]) is not None:
        return
    if not _is_weight(right, 2) or attributes.get("transA", 0):
        graph.reasons[graph.root(node.input[1])] = "no float matrix, or inputs transposed, in Gemm"
        return
    weight = right if attributes.get("transB", 0) else right.T
    bias_name = node.input[2] if len(node.input) > 2 else ""
    bias = graph.constant(bias_name) if bias_name else None
    name = _layer_name(graph, node, node.input[1], bias_name)
    if bias_name and not _fits(bias, len(weight)):
        raise ModelError(f"layer {name!r}: its bias is no constant per output")
    graph.used |= {graph.root(node.input[1]), graph.root(bias_name)}
    scales = attributes.get("alpha", 1.0), attributes.get("beta", 1.0)
    relu, gives = graph.relu_after(node.output[0])
    yield Placed(_source(name, weight, bias, relu, scales=scales), node, gives)


def _pair(numbers: Any) -> Pair:
    """Two sizes; those of one dimension are the width."""
    down, across = (1, *numbers)[-2:]
    return int(down), int(across)


def pooling_of(node: Any) -> tuple[Pair, Pair] | None:
    """Window and stride of a MaxPool node, None for one that `Conv` cannot have."""
    about = attributes_of(node)
    plain = (
        not any(about.get("pads", ()))
        and not about.get("ceil_mode", 0)
        and set(about.get("dilations", [1])) == {1}
    )
    window = about["kernel_shape"]
    ok = plain and about.get("auto_pad", b"NOTSET") in (b"NOTSET", b"VALID") and len(node.output) == 1
    return (_pair(window), _pair(about.get("strides", [1] * len(window)))) if ok else None


def _behind(graph: Graph, output: str) -> tuple[bool, tuple[Pair, Pair] | None, str]:
    """ReLU and pooling window behind a convolution, in either order (both are monotonic), and the value behind them."""
    relu, pool = False, None
    for _ in range(2):
        after = graph.next_node(output, "Relu", *([] if pool else ["MaxPool"]))
        if after is None:
            break
        if after.op_type == "Relu":
            relu = True
        else:
            pool = pooling_of(after)
            if pool is None:
                break
        output = after.output[0]
    return relu, pool, output


def _geometry(
    graph: Graph, node: Any, kernel: tuple[int, ...], pool: tuple[Pair, Pair] | None
) -> tuple[Conv, str]:
    """Geometry, and why there is none; what `Conv` cannot have leaves the image's size open."""
    about = attributes_of(node)
    pads = list(about.get("pads", [0] * 2 * len(kernel)))
    half = len(pads) // 2
    even = pads[:half] == pads[half:] and set(about.get("dilations", [1])) == {1}
    if not even or about.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
        return Conv(_pair(kernel)), "it has a dilation, or other padding on one side than on the other"
    padding = (0, pads[0]) if half == 1 else _pair(pads[:half])
    size = graph.image_size(node.input[0])
    strides = _pair(about.get("strides", [1] * len(kernel)))
    try:
        return Conv(_pair(kernel), strides, padding, *(pool or ((1, 1), (1, 1))), size), ""
    except LayerError as error:
        return Conv(_pair(kernel)), str(error)


def _conv(graph: Graph, node: Any) -> Iterator[Placed]:
    weight = graph.constant(node.input[1])
    if weight is None:
        return
    groups, root = attributes_of(node).get("group", 1), graph.root(node.input[1])
    if groups != 1:
        graph.reasons[root] = f"a convolution of {groups} groups, which is no single matrix"
        return
    if not (_is_weight(weight, 4) or _is_weight(weight, 3)):
        graph.reasons[root] = "no float weights of a convolution along one or two dimensions"
        return
    bias_name = node.input[2] if len(node.input) > 2 else ""
    bias = graph.constant(bias_name) if bias_name else None
    relu, pool, gives = _behind(graph, node.output[0])
    conv, problem = _geometry(graph, node, weight.shape[2:], pool)
    if bias_name and bias is None:
        problem = "its bias is no constant"
    graph.used |= {root, graph.root(bias_name)}
    name = _layer_name(graph, node, node.input[1], bias_name)
    yield Placed(_source(name, weight.reshape(len(weight), -1), bias, relu, conv), node, gives, problem)


def _recurrent(graph: Graph, node: Any) -> Iterator[Placed]:
    """Input weights W and recurrent weights R of each direction, as two layers that the gates' arithmetic joins."""
    name = _layer_name(graph, node, node.input[1])
    names = [*node.input[1:4], "", ""][:3]
    inputs = [graph.constant(given) if given else None for given in names]
    bias = inputs[2] if _is_weight(inputs[2], 2) else None
    problem = "its bias is no constant" if names[2] and bias is None else ""
    for kind, weights in enumerate(inputs[:2]):
        if weights is None or not _is_weight(weights, 3):
            graph.reasons[graph.root(names[kind])] = f"no float weights of {node.op_type}"
            continue
        graph.used |= {graph.root(names[kind]), graph.root(names[2])}
        for direction, weight in enumerate(weights):
            rows = len(weight)
            part = None if bias is None else bias[direction, kind * rows : (kind + 1) * rows]
            suffix = "WR"[kind] + (str(direction) if len(weights) > 1 else "")
            source = _source(f"{name}.{suffix}", weight, part, relu=False)
            yield Placed(source, node, node.output[0], problem)


def _reason(graph: Graph, name: str) -> str:
    """Why an initializer is in no layer."""
    kinds = sorted({node.op_type for node in graph.consumers.get(name, [])})
    return graph.reasons.get(name) or (f"for {', '.join(kinds)}" if kinds else "no node takes it")


def load(path: Path) -> Graph:
    """The graph in a file.

    Raises
    ------
    ModelError : not an ONNX file, or an external file that is missing.
    """
    try:
        return Graph(onnx.load(path))
    except (DecodeError, onnx.checker.ValidationError) as error:
        raise ModelError(f"not an ONNX file ({str(error).partition(chr(10))[0]})") from None


def placed_layers(graph: Graph) -> list[Placed]:
    """Layers in the graph's order, weights as [outputs, inputs], each with its place.

    MatMul with one constant matrix, with the constant that an Add puts after it as bias; Gemm (transB, alpha, beta);
    Conv of one group along one or two dimensions, with the MaxPool after it; GRU, LSTM and RNN (name.W and name.R). A
    layer has a ReLU where a Relu node alone follows. Constants are initializers, those in external files included, and
    Constant nodes, also behind Identity and Transpose.

    Raises
    ------
    ModelError : a layer that cannot be compressed.
    """
    kinds = {"MatMul": _mat_mul, "Gemm": _gemm, "Conv": _conv, **dict.fromkeys(RECURRENT, _recurrent)}
    placed: list[Placed] = []
    for node in graph.nodes:
        try:
            placed += kinds[node.op_type](graph, node) if node.op_type in kinds else ()
        except IndexError:
            raise ModelError(f"not an ONNX file (a node {node.op_type} or behind it lacks inputs)") from None
    return placed


def read(path: Path) -> Model:
    """The layers of a file (`placed_layers`), and the initializers that none of them uses.

    Raises
    ------
    ModelError : see `load` and `placed_layers`.
    """
    graph = load(path)
    sources = tuple(placed.source for placed in placed_layers(graph))
    unused = (
        Unused(array_text(name, numpy_helper.to_array(tensor)), _reason(graph, name))
        for name, tensor in graph.initializers.items()
        if name not in graph.used
    )
    return Model(Layers(sources), tuple(unused))
