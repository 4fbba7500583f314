"""An ONNX graph as the search for its layers needs it: values, who makes them, who takes them."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import EncodeError  # type: ignore[import-untyped]

from eie.compress.readers import onnx_tensors
from eie.compress.readers.onnx_tensors import Constant, Place
from eie.conv import Pair

# What only changes how a value is seen (a transposition: that of a matrix).
VIEWS = ("Identity", "Dropout", "Flatten", "Reshape", "Squeeze", "Unsqueeze", "Transpose")


class Graph:
    """Constants, producers and consumers of a graph's values, their sizes where the file tells them, and which of its
    nodes and initializers layers hold by now.
    """

    def __init__(self, model: Any, path: Path, places: dict[str, Place]) -> None:
        graph = model.graph
        self.model = model
        self.nodes = list(graph.node)
        self.outputs = [value.name for value in graph.output]
        self.initializers = {tensor.name: tensor for tensor in graph.initializer}
        self.used: set[str] = set()  # initializers that a layer holds
        self.reasons: dict[str, str] = {}  # why other weights are in none
        self.held: set[int] = set()  # the nodes that layers hold, by id
        self.names: set[str] = set()  # of the layers
        # The outputs of the last layer, if there is one; empty if no layer can follow it.
        self.end: str | None = None
        self.producers = {name: node for node in self.nodes for name in node.output}
        self.consumers: dict[str, list[Any]] = {}
        for node in self.nodes:
            for name in node.input:
                self.consumers.setdefault(name, []).append(node)
        for name in self.outputs:
            self.consumers.setdefault(name, []).append(onnx.NodeProto(op_type="an output"))
        self._shapes: dict[str, list[int]] | None = None
        self._path, self._places = path, places

    def initializer(self, name: str) -> Constant:
        """The initializer of that name."""
        return onnx_tensors.constant(self.initializers[name], self._path, self._places)

    def constant(self, name: str) -> Constant | None:
        """The value called `name` if it is an initializer or a Constant, or one transposed or renamed."""
        if name in self.initializers:
            return self.initializer(name)
        node = self.producers.get(name)
        if node is None:
            return None
        attributes = attributes_of(node)
        if node.op_type == "Constant":
            if "value" in attributes:
                return onnx_tensors.constant(attributes["value"], self._path, {})
            plain = [attributes[key] for key in ("value_float", "value_floats") if key in attributes]
            tensor = onnx.numpy_helper.from_array(np.array(plain[0], np.float32)) if plain else None
            return None if tensor is None else onnx_tensors.constant(tensor, self._path, {})
        if node.op_type in ("Identity", "Transpose"):
            inner = self.constant(node.input[0])
            if inner is None or node.op_type == "Identity":
                return inner
            return inner.then(partial(np.transpose, axes=attributes.get("perm")))
        return None

    def root(self, name: str) -> str:
        """The initializer that `constant` takes the value from."""
        for _ in self.nodes:  # a hostile graph goes in circles
            node = self.producers.get(name)
            if name in self.initializers or node is None or not node.input:
                break
            name = node.input[0]
        return name

    def next_node(self, name: str, *kinds: str) -> Any | None:
        """The node that takes the value, when exactly one does, and nobody else, and it is of one of these kinds."""
        nodes = self.consumers.get(name, [])
        return nodes[0] if len(nodes) == 1 and nodes[0].op_type in kinds else None

    def hold(self, *nodes: Any) -> None:
        """These nodes are part of a layer."""
        self.held |= {id(node) for node in nodes}

    def own_name(self, name: str) -> str:
        """The name for a layer; name.2 and so on where others have it, such as one with the same weights."""
        own, number = name, 1
        while own in self.names:
            number += 1
            own = f"{name}.{number}"
        self.names.add(own)
        return own

    def origin(self, name: str) -> str:
        """The value that the value called `name` is another view of."""
        for _ in self.nodes:  # a hostile graph goes in circles
            node = self.producers.get(name)
            if node is None or node.op_type not in VIEWS or not node.input:
                break
            if node.op_type == "Transpose" and len(self.shape(name)) > 2:
                break
            name = node.input[0]
        return name

    def shape(self, name: str) -> list[int]:
        """Sizes of the value called `name`, 0 where the file leaves one open; none if it says nothing."""
        if self._shapes is None:
            try:
                graph = onnx.shape_inference.infer_shapes(self.model).graph
            except (onnx.shape_inference.InferenceError, ValueError, EncodeError):
                graph = self.model.graph  # larger than shape inference takes, or inconsistent
            self._shapes = {
                value.name: [d.dim_value for d in value.type.tensor_type.shape.dim]
                for value in (*graph.input, *graph.value_info, *graph.output)
            }
        return self._shapes.get(name, [])

    def image_size(self, name: str) -> Pair:
        """Height and width of the images called `name`, (0, 0) if the file leaves them open."""
        shape = self.shape(name)
        size = pair(shape[2:]) if len(shape) in (3, 4) else (0, 0)
        return size if min(size) > 0 else (0, 0)


def attributes_of(node: Any) -> dict[str, Any]:
    """A node's attributes by name."""
    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}


def load(path: Path) -> Graph:
    """The graph in a file.

    Raises
    ------
    ModelError : not an ONNX file. OSError : it cannot be read.
    """
    model, places = onnx_tensors.load(path)
    return Graph(model, path, places)


def pair(numbers: Any, missing: int = 1) -> Pair:
    """Two sizes; that of one dimension is the width, and the height `missing`."""
    down, across = (missing, *numbers)[-2:]
    return int(down), int(across)
