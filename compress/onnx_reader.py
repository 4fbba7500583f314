"""Fully connected and recurrent layers of an ONNX graph."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import numpy_helper

from eie.compress.network import FloatLayer, Model, array_text
from eie.compress.readers import names_of
from eie.errors import ModelError

_RECURRENT = ("GRU", "LSTM", "RNN")


class _Graph:
    """Constants and consumers of a graph's values."""

    def __init__(self, graph: Any) -> None:
        self.nodes = list(graph.node)
        self.initializers = {tensor.name: tensor for tensor in graph.initializer}
        self.asked_for: set[str] = set()
        self.producers = {name: node for node in self.nodes for name in node.output}
        self.consumers: dict[str, list[Any]] = {}
        for node in self.nodes:
            for name in node.input:
                self.consumers.setdefault(name, []).append(node)

    def constant(self, name: str) -> npt.NDArray[Any] | None:
        """The value called `name` if it is an initializer or a Constant, or one transposed or renamed."""
        if name in self.initializers:
            self.asked_for.add(name)
            return numpy_helper.to_array(self.initializers[name])
        node = self.producers.get(name)
        if node is None:
            return None
        attributes = _attributes(node)
        if node.op_type == "Constant":
            value = attributes.get("value")
            return None if value is None else numpy_helper.to_array(value)
        if node.op_type in ("Identity", "Transpose"):
            inner = self.constant(node.input[0])
            if inner is None or node.op_type == "Identity":
                return inner
            return np.transpose(inner, attributes.get("perm"))
        return None

    def only_consumer(self, name: str) -> Any | None:
        """The node that takes the value, when there is exactly one."""
        nodes = self.consumers.get(name, [])
        return nodes[0] if len(nodes) == 1 else None

    def has_relu(self, name: str) -> bool:
        """Whether the value goes into a ReLU and nowhere else."""
        node = self.only_consumer(name)
        return node is not None and node.op_type == "Relu"


def _attributes(node: Any) -> dict[str, Any]:
    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}


def _layer_name(node: Any, weight: str) -> str:
    """The weight's name without its ending (fc1.weight), or else the node's own."""
    layer, biases = names_of(weight)
    return layer if biases else node.name or weight


def _layer(name: str, weight: npt.NDArray[Any], bias: npt.NDArray[Any] | None, relu: bool) -> FloatLayer:
    flat = None if bias is None else np.broadcast_to(bias, (1, len(weight))).ravel().astype(np.float32)
    return FloatLayer(name, np.ascontiguousarray(weight, np.float32), flat, relu)


def _fits(bias: npt.NDArray[Any] | None, rows: int) -> bool:
    """Whether a constant added to a batch of outputs adds one number to each of `rows` outputs."""
    return bias is not None and bias.size in (1, rows) and bias.shape[-1:] in ((), (1,), (rows,))


def _mat_mul(graph: _Graph, node: Any) -> Iterator[FloatLayer]:
    left, right = (graph.constant(name) for name in node.input)
    if (left is None) == (right is None):
        return
    constant = right if left is None else left
    assert constant is not None
    if constant.ndim != 2 or constant.dtype.kind != "f":
        return
    # x @ B is the batch form, whose outputs run along the last axis; A @ x has column vectors.
    weight = constant.T if left is None else constant
    output, bias = node.output[0], None
    after = graph.only_consumer(output)
    if after is not None and after.op_type == "Add":
        other = after.input[1] if after.input[0] == output else after.input[0]
        added = graph.constant(other)
        if _fits(added, len(weight)) or (
            left is not None and added is not None and added.size == len(weight)
        ):
            output, bias = after.output[0], added.reshape(-1) if added is not None else None
    name = _layer_name(node, node.input[1] if left is None else node.input[0])
    yield _layer(name, weight, bias, graph.has_relu(output))


def _gemm(graph: _Graph, node: Any) -> Iterator[FloatLayer]:
    attributes = _attributes(node)
    left, right = graph.constant(node.input[0]), graph.constant(node.input[1])
    if right is None or left is not None or right.ndim != 2:
        return
    weight = right if attributes.get("transB", 0) else right.T
    bias = None
    if len(node.input) > 2 and node.input[2]:
        bias = graph.constant(node.input[2])
        if not _fits(bias, len(weight)):
            raise ModelError(
                f"layer {_layer_name(node, node.input[1])!r}: its bias is no constant per output"
            )
        bias = bias * np.float32(attributes.get("beta", 1.0)) if bias is not None else None
    weight = weight * np.float32(attributes.get("alpha", 1.0))
    yield _layer(_layer_name(node, node.input[1]), weight, bias, graph.has_relu(node.output[0]))


def _recurrent(graph: _Graph, node: Any) -> Iterator[FloatLayer]:
    """Input weights W and recurrent weights R of each direction, as two layers that the gates' arithmetic joins."""
    name = _layer_name(node, node.input[1])
    inputs = [graph.constant(i) if i else None for i in list(node.input)[1:4]]
    inputs += [None] * (3 - len(inputs))
    bias = inputs[2]
    for kind, weights in enumerate(inputs[:2]):
        if weights is None or weights.ndim != 3 or weights.dtype.kind != "f":
            continue
        for direction, weight in enumerate(weights):
            rows = len(weight)
            part = None if bias is None else bias[direction, kind * rows : (kind + 1) * rows]
            suffix = "WR"[kind] + (str(direction) if len(weights) > 1 else "")
            yield _layer(f"{name}.{suffix}", weight, part, relu=False)


def read(path: Path) -> Model:
    """Layers in the graph's order, weights as [outputs, inputs], and the initializers that none of them uses.

    MatMul with one constant matrix, with the constant that an Add puts after it as bias; Gemm (transB, alpha, beta);
    GRU, LSTM and RNN (name.W and name.R). A layer has a ReLU where a Relu node alone follows. Constants are
    initializers and Constant nodes, also behind Identity and Transpose.

    Raises
    ------
    ModelError : not an ONNX file, or a layer that cannot be compressed.
    """
    try:
        graph = _Graph(onnx.load(path).graph)
    except (DecodeError, onnx.checker.ValidationError) as error:
        raise ModelError(f"not an ONNX file ({str(error).partition(chr(10))[0]})") from None
    kinds = {"MatMul": _mat_mul, "Gemm": _gemm, **dict.fromkeys(_RECURRENT, _recurrent)}
    layers = [
        layer for node in graph.nodes if node.op_type in kinds for layer in kinds[node.op_type](graph, node)
    ]
    unused = (
        array_text(name, numpy_helper.to_array(tensor))
        for name, tensor in graph.initializers.items()
        if name not in graph.asked_for
    )
    return Model(layers, tuple(unused))
