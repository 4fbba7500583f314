"""An ONNX graph as the search for its layers needs it: values, who makes them, who takes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import EncodeError  # type: ignore[import-untyped]

from eie.compress.readers import onnx_tensors
from eie.compress.readers.onnx_check import OLDEST, check, without_sparse
from eie.compress.readers.onnx_fold import FOLDED, folded
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
        self.initializers |= {tensor.values.name: tensor for tensor in graph.sparse_initializer}
        self._constants: dict[str, Constant] | None = None  # those that have been asked for
        self.used: set[str] = set()  # initializers that a layer holds
        self.reasons: dict[str, str] = {}  # why other weights are in none
        self.held: set[int] = set()  # the nodes that layers hold, by id
        self.names: set[str] = set()  # of the layers
        # The outputs of the last layer, if there is one; empty if no layer can follow it.
        self.end: str | None = None
        self.end_columns = False  # whether they run along the last axis but one
        self.numbers = {id(node): number for number, node in enumerate(self.nodes)}  # those of the file
        self._link()
        self._shapes: dict[str, list[int]] | None = None
        self._path, self._places = path, places

    def _link(self) -> None:
        """Who makes and who takes each value."""
        self.producers = {name: node for node in self.nodes for name in node.output}
        self.consumers: dict[str, list[Any]] = {}
        for node in self.nodes:
            for name in node.input:
                self.consumers.setdefault(name, []).append(node)
        for name in self.outputs:
            self.consumers.setdefault(name, []).append(onnx.NodeProto(op_type="an output"))

    @property
    def opset(self) -> int:
        """Version of ONNX's own operators."""
        return max(
            (one.version for one in self.model.opset_import if one.domain in ("", "ai.onnx")), default=OLDEST
        )

    def initializer(self, name: str) -> Constant:
        """The initializer of that name."""
        tensor = self.initializers[name]
        if isinstance(tensor, onnx.SparseTensorProto):
            return onnx_tensors.sparse_constant(tensor, self._path)
        return onnx_tensors.constant(tensor, self._path, self._places)

    def constant(self, name: str) -> Constant | None:
        """The value called `name` if it is an initializer or a Constant, or follows from such alone (`onnx_fold`)."""
        if self._constants is None:
            self._constants = {}
            for node in self.nodes:  # each stands behind those that it takes from
                found = self._made(node)
                if found is not None:
                    self._constants[node.output[0]] = found
        if name in self.initializers and name not in self._constants:
            self._constants[name] = self.initializer(name)
        return self._constants.get(name)

    def _made(self, node: Any) -> Constant | None:
        """The constant that a node makes, if it makes one."""
        if node.domain not in ("", "ai.onnx"):
            return None
        if node.op_type == "Constant":
            return self._plain(attributes_of(node))
        if node.op_type not in (*FOLDED, "Identity") or not node.input:
            return None
        known = self._constants or {}
        if not all(not name or name in self.initializers or name in known for name in node.input):
            return None
        given = [self.constant(name) if name else None for name in node.input]
        return folded(node, given, self.model.opset_import, self.shape(node.output[0]))

    def _plain(self, attributes: dict[str, Any]) -> Constant | None:
        """What a Constant node holds."""
        if "value" in attributes:
            return onnx_tensors.constant(attributes["value"], self._path, {})
        if "sparse_value" in attributes:
            return onnx_tensors.sparse_constant(attributes["sparse_value"], self._path)
        for key, dtype in (("value_float", np.float32), ("value_int", np.int64)):
            for name in (key, key + "s"):
                if name in attributes:
                    tensor = onnx.numpy_helper.from_array(np.array(attributes[name], dtype))
                    return onnx_tensors.constant(tensor, self._path, {})
        return None

    def roots(self, name: str) -> list[str]:
        """The initializers that the constant called `name` is made from, the first input's first."""
        found: dict[str, None] = {}
        left, seen = [name], set()
        while left:
            name = left.pop()
            if name in seen:
                continue
            seen.add(name)
            node = self.producers.get(name)
            if name in self.initializers or node is None or not any(node.input):
                found[name] = None
            else:
                left += [given for given in reversed(node.input) if given]
        return list(found)

    def root(self, name: str) -> str:
        """The initializer that gives a constant its name."""
        return self.roots(name)[0]

    def use(self, *names: str) -> None:
        """These constants are part of a layer, with everything that they are made from."""
        self.used |= {root for name in names if name for root in self.roots(name)}

    def is_constant(self, node: Any) -> bool:
        """Whether what the node makes is constant."""
        return self.constant(node.output[0]) is not None if node.output else False

    def next_node(self, name: str, *kinds: str) -> Any | None:
        """The node that takes the value, when exactly one does, and nobody else, and it is of one of these kinds."""
        nodes = self.consumers.get(name, [])
        return nodes[0] if len(nodes) == 1 and nodes[0].op_type in kinds else None

    def hold(self, *nodes: Any) -> None:
        """These nodes are part of a layer."""
        self.held |= {id(node) for node in nodes}

    def set_apart(self, node: Any, *, transposed: bool = False, addend: bool = False, ones: int = 0) -> None:
        """Make nodes of their own of what a product does beside multiplying with a matrix: turning its input round,
        adding something that is no bias, putting dimensions of 1 in front. The node itself becomes the plain product.
        """
        about, taken, made = attributes_of(node), node.input[0], node.output[0]
        before, behind = [], []
        if transposed:
            before.append(onnx.helper.make_node("Transpose", [taken], [f"{made}/turned"], perm=[1, 0]))
            self._shapes_known()[f"{made}/turned"] = self.shape(taken)[::-1]
            node.input[0] = f"{made}/turned"
            _forget(node, "transA")
        if addend:
            added, beta = node.input[2], about.get("beta", 1.0)
            if beta != 1:
                behind.append(_constant(f"{made}/beta", np.float32(beta)))
                behind.append(onnx.helper.make_node("Mul", [added, f"{made}/beta"], [f"{made}/scaled"]))
                added = f"{made}/scaled"
            if node.op_type == "Conv":  # one number for each channel
                window = [1] * (len(self.shape(made) or self.shape(taken)) - 2)
                behind.append(_constant(f"{made}/channels", np.array([-1, *window], np.int64)))
                behind.append(
                    onnx.helper.make_node("Reshape", [added, f"{made}/channels"], [f"{made}/added"])
                )
                added = f"{made}/added"
            behind.append(onnx.helper.make_node("Add", [f"{made}/product", added], [made]))
            del node.input[2:]
            _forget(node, "beta")
        if ones:
            place = next(i for i, name in enumerate(node.input) if self.constant(name) is not None)
            matrix = self.constant(node.input[place])
            assert matrix is not None
            self._shapes_known()[f"{made}/matrix"] = list(matrix.form.shape[-2:])
            before.append(_constant(f"{made}/size", np.array(matrix.form.shape[-2:], np.int64)))
            before.append(
                onnx.helper.make_node("Reshape", [node.input[place], f"{made}/size"], [f"{made}/matrix"])
            )
            node.input[place] = f"{made}/matrix"
            axes = list(range(ones))
            if self.opset < 13:
                behind.append(onnx.helper.make_node("Unsqueeze", [f"{made}/product"], [made], axes=axes))
            else:
                behind.append(_constant(f"{made}/axes", np.array(axes, np.int64)))
                behind.append(onnx.helper.make_node("Unsqueeze", [f"{made}/product", f"{made}/axes"], [made]))
        if behind:
            node.output[0] = f"{made}/product"
            if self.shape(made):
                self._shapes_known()[f"{made}/product"] = self.shape(made)[ones:]
        for one in (*before, *behind):
            one.name = f"{node.name or f'number {self.numbers[id(node)]}'} ({one.op_type})"
        at = next(i for i, one in enumerate(self.nodes) if one is node)
        self.nodes[at : at + 1] = [*before, node, *behind]
        self._link()
        self._constants = None

    def own_name(self, name: str) -> str:
        """The name for a layer; name.2 and so on where others have it, such as one with the same weights."""
        own, number = name, 1
        while own in self.names:
            number += 1
            own = f"{name}.{number}"
        self.names.add(own)
        return own

    def origin(self, name: str) -> tuple[str, bool]:
        """The value that the value called `name` is another view of, and whether that turns a matrix round."""
        turned = False
        for _ in self.nodes:  # a hostile graph goes in circles
            node = self.producers.get(name)
            if node is None or node.op_type not in VIEWS or not node.input:
                break
            if node.op_type == "Transpose":
                if len(self.shape(name)) > 2:
                    break
                turned = not turned
            name = node.input[0]
        return name, turned

    def shape(self, name: str) -> list[int]:
        """Sizes of the value called `name`, 0 where the file leaves one open; none if it says nothing."""
        return self._shapes_known().get(name, [])

    def _shapes_known(self) -> dict[str, list[int]]:
        if self._shapes is None:
            try:
                graph = onnx.shape_inference.infer_shapes(self._dense(), data_prop=True).graph
            except (onnx.shape_inference.InferenceError, ValueError, EncodeError):
                graph = self.model.graph  # larger than shape inference takes, or inconsistent
            types = {
                value.name: value.type.tensor_type.shape
                for value in (*graph.input, *graph.value_info, *graph.output)
                if value.type.tensor_type.HasField("shape")
            }
            self._shapes = {name: [d.dim_value for d in shape.dim] for name, shape in types.items()}
        return self._shapes

    def _dense(self) -> Any:
        """The model without sparse initializers."""
        if not self.model.graph.sparse_initializer:
            return self.model
        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        without_sparse(model.graph)
        return model

    def rank(self, name: str) -> int | None:
        """Dimensions of the value called `name`, None if the file says nothing about them."""
        known = self._shapes_known().get(name)
        return None if known is None else len(known)

    def image_size(self, name: str) -> Pair:
        """Height and width of the images called `name`, (0, 0) if the file leaves them open."""
        shape = self.shape(name)
        size = pair(shape[2:]) if len(shape) in (3, 4) else (0, 0)
        return size if min(size) > 0 else (0, 0)


def attributes_of(node: Any) -> dict[str, Any]:
    """A node's attributes by name."""
    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}


def _constant(name: str, value: Any) -> Any:
    """A node that makes a constant."""
    return onnx.helper.make_node(
        "Constant", [], [name], value=onnx.numpy_helper.from_array(np.asarray(value), name)
    )


def _forget(node: Any, attribute: str) -> None:
    kept = [one for one in node.attribute if one.name != attribute]
    del node.attribute[:]
    node.attribute.extend(kept)


def load(path: Path) -> Graph:
    """The graph in a file.

    Raises
    ------
    ModelError : not a valid ONNX graph. OSError : it cannot be read.
    """
    model, places = onnx_tensors.load(path)
    check(model, set(places))
    return Graph(model, path, places)


def pair(numbers: Any, missing: int = 1) -> Pair:
    """Two sizes; that of one dimension is the width, and the height `missing`."""
    down, across = (missing, *numbers)[-2:]
    return int(down), int(across)
