"""An ONNX graph as the search for its layers needs it: values, who makes them, who takes them."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.inliner
from google.protobuf.message import EncodeError  # type: ignore[import-untyped]

from eie.compress.readers import onnx_tensors
from eie.compress.readers.onnx_check import OLDEST, check, without_sparse
from eie.compress.readers.onnx_fold import FOLDED, folded
from eie.compress.readers.onnx_tensors import Constant, Place
from eie.conv import Pair
from eie.errors import printable

# What only changes how a value is seen (a transposition: that of a matrix).
VIEWS = ("Identity", "Dropout", "Flatten", "Reshape", "Squeeze", "Unsqueeze", "Transpose")


class Graph:
    """Constants, producers and consumers of a graph's values, their sizes where the file tells them, and which of its
    nodes and initializers layers hold by now.

    outer : the graph around the body of a Loop, an If or a Scan, whose values the body may use. lenient : what has no
    place in a layer is a problem of its node alone, not of the whole file. folds : a BatchNormalization behind a layer
    becomes part of it, which changes its weights.
    """

    def __init__(
        self,
        model: Any,
        path: Path,
        places: dict[str, Place],
        outer: Graph | None = None,
        *,
        lenient: bool = False,
        folds: bool = True,
    ) -> None:
        graph = model.graph
        self.model, self.outer, self.lenient, self.folds = model, outer, lenient, folds
        self.nodes = list(graph.node)
        self.outputs = [value.name for value in graph.output]
        self._formal = {value.name for value in graph.input}
        self.initializers = {tensor.name: tensor for tensor in graph.initializer}
        self.initializers |= {tensor.values.name: tensor for tensor in graph.sparse_initializer}
        self._constants: dict[str, Constant] | None = None  # those that have been asked for
        self.used: set[str] = set()  # initializers that a layer holds
        self.reasons: dict[str, str] = {}  # why other weights are in none
        self.held: set[int] = set()  # the nodes that layers hold, by id
        self.names: set[str] = outer.names if outer else set()  # of the layers
        # The outputs of the last layer, if there is one; empty if no layer can follow it.
        self.end: str | None = "" if outer else None
        self.end_columns = False  # whether they run along the last axis but one
        self.producers = {name: node for node in self.nodes for name in node.output}
        self.consumers: dict[str, list[Any]] = {}
        for node in self.nodes:
            for name in taken_by(node):
                self.consumers.setdefault(name, []).append(node)
        for name in self.outputs:
            self.consumers.setdefault(name, []).append(onnx.NodeProto(op_type="an output"))
        self._shapes: dict[str, list[int]] | None = None
        self.placed: list[Any] = []  # the layers, once they have been looked for
        self._path, self._places = path, places
        self._bodies: dict[int, dict[str, Graph]] = {}

    def bodies(self, node: Any) -> dict[str, Graph]:
        """The graphs inside a node, by the names of its attributes."""
        if id(node) not in self._bodies:
            self._bodies[id(node)] = {
                one.name: Graph(
                    onnx.ModelProto(
                        ir_version=self.model.ir_version, opset_import=self.model.opset_import, graph=one.g
                    ),
                    self._path,
                    {},
                    self,
                    lenient=self.lenient,
                    folds=self.folds,
                )
                for one in node.attribute
                if one.type == onnx.AttributeProto.GRAPH
            }
        return self._bodies[id(node)]

    def tensor(self, name: str) -> Any:
        """The initializer of that name with all its numbers, as a message; None for another value."""
        tensor = self.initializers.get(name)
        if tensor is None or isinstance(tensor, onnx.SparseTensorProto):
            return tensor
        return onnx_tensors.whole_tensor(tensor, self._path, self._places)

    def is_apart(self, name: str) -> bool:
        """Whether the numbers of the initializer of that name are not in the message."""
        tensor = self.initializers[name]
        if isinstance(tensor, onnx.SparseTensorProto):
            return False
        return name in self._places or tensor.data_location == onnx.TensorProto.EXTERNAL

    @property
    def opset(self) -> int:
        """Version of ONNX's own operators."""
        own = (one.version for one in self.model.opset_import if one.domain in ("", "ai.onnx"))
        return max(own, default=OLDEST)

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
        if name not in self._constants and self.outer is not None and not self.is_own(name):
            return self.outer.constant(name)
        return self._constants.get(name)

    def is_own(self, name: str) -> bool:
        """Whether a value is made here, and not in the graph around this one."""
        return name in self.producers or name in self._formal

    def _made(self, node: Any) -> Constant | None:
        """The constant that a node makes, if it makes one."""
        if node.domain not in ("", "ai.onnx"):
            return None
        if node.op_type == "Constant":
            return self._plain(attributes_of(node))
        if node.op_type not in (*FOLDED, "Identity") or not node.input:
            return None
        known = self._constants or {}
        around = self.outer is not None
        if not all(not name or name in self.initializers or name in known or around for name in node.input):
            return None
        if around and any(name and self._known(name) is None for name in node.input):
            return None
        given = [self.constant(name) if name else None for name in node.input]
        name = node.output[0]
        return folded(node, given, self.model.opset_import, self.shape(name), partial(self._held, name))

    def _held(self, name: str) -> int:
        """How many numbers of the file a constant is made from."""
        roots = (self._known(root) for root in self.roots(name))
        return sum(one.form.size for one in roots if one is not None)

    def _known(self, name: str) -> Constant | None:
        """A constant that is known by now, of this graph or of one around it."""
        known = self._constants or {}
        if name in self.initializers or name in known:
            return self.constant(name)
        return None if self.outer is None or self.is_own(name) else self.outer.constant(name)

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
            if node is None and name not in self.initializers and self.outer is not None:
                found |= dict.fromkeys(self.outer.roots(name))
            elif name in self.initializers or node is None or not any(node.input):
                found[name] = None
            else:
                left += [given for given in reversed(node.input) if given]
        return list(found)

    def root(self, name: str) -> str:
        """The initializer that gives a constant its name."""
        return self.roots(name)[0]

    def use(self, *names: str) -> None:
        """These constants are part of a layer, with everything that they are made from."""
        used = {root for name in names if name for root in self.roots(name)}
        graph: Graph | None = self
        while graph is not None:
            graph.used |= used
            graph = graph.outer

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

    def own_name(self, name: str) -> str:
        """The name for a layer; name.2 and so on where others have it, such as one with the same weights."""
        name = printable(name)
        own, number = name, 1
        while own in self.names:
            number += 1
            own = f"{name}.{number}"
        self.names.add(own)
        return own

    def drops(self, node: Any) -> bool | None:
        """Whether a Dropout sets numbers to 0, as in training; None if only a run tells."""
        ratio, mode = (*node.input[1:3], "", "")[:2]
        held = [self.constant(name) if name else None for name in (ratio, mode)]
        if not mode or (held[0] is not None and not held[0].read().any()):
            return False
        return None if held[1] is None else bool(held[1].read().any())

    def is_view(self, node: Any) -> bool:
        """Whether a node only changes how a value is seen."""
        return node.op_type in VIEWS and not (node.op_type == "Dropout" and self.drops(node) is not False)

    def origin(self, name: str) -> tuple[str, bool]:
        """The value that the value called `name` is another view of, and whether that turns a matrix round."""
        turned = False
        for _ in self.nodes:  # a hostile graph goes in circles
            node = self.producers.get(name)
            if node is None or not node.input or not self.is_view(node):
                break
            if node.op_type == "Transpose":
                if len(self.shape(name)) > 2:
                    break
                turned = not turned
            name = node.input[0]
        return name, turned

    def shape(self, name: str) -> list[int]:
        """Sizes of the value called `name`, 0 where the file leaves one open; none if it says nothing."""
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
        return self._shapes.get(name, [])

    def _dense(self) -> Any:
        """The model without sparse initializers."""
        if not self.model.graph.sparse_initializer:
            return self.model
        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        without_sparse(model.graph)
        return model

    def learn(self, shapes: dict[str, list[int]]) -> None:
        """Sizes of values of which the file itself says nothing, as `shape` gives them."""
        self.shape("")
        self._shapes = shapes | (self._shapes or {})

    def rank(self, name: str) -> int | None:
        """Dimensions of the value called `name`, None if the file says nothing about them."""
        known = self.shape(name)
        return len(known) if self._shapes is not None and name in self._shapes else None

    def image_size(self, name: str) -> Pair:
        """Height and width of the images called `name`, (0, 0) if the file leaves them open."""
        shape = self.shape(name)
        size = pair(shape[2:]) if len(shape) in (3, 4) else (0, 0)
        return size if min(size) > 0 else (0, 0)


def attributes_of(node: Any) -> dict[str, Any]:
    """A node's attributes by name."""
    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}


def taken_by(node: Any) -> list[str]:
    """Names of the values that a node takes, those that its bodies use from around it included."""
    taken = [name for name in node.input if name]
    for one in node.attribute:
        for body in (one.g,) if one.type == onnx.AttributeProto.GRAPH else one.graphs:
            taken += _captured(body)
    return list(dict.fromkeys(taken))


def _captured(body: Any) -> list[str]:
    """Values that a body uses and does not make."""
    own = {value.name for value in body.input} | {tensor.name for tensor in body.initializer}
    own |= {tensor.values.name for tensor in body.sparse_initializer}
    own |= {name for node in body.node for name in node.output}
    used = [name for node in body.node for name in taken_by(node)] + [value.name for value in body.output]
    return [name for name in used if name not in own]


def _in_order(graph: Any) -> None:
    """Put the nodes into an order in which each stands behind those that it takes from, if there is one."""
    made = {name for node in graph.node for name in node.output if name}
    left = [(node, {name for name in taken_by(node) if name in made}) for node in graph.node]
    placed: set[str] = set()
    ordered: list[Any] = []
    while left:
        later = []
        for node, needs in left:
            if needs <= placed:
                ordered.append(node)
                placed.update(node.output)
            else:
                later.append((node, needs))
        if len(later) == len(left):
            return  # in circles, which is refused elsewhere
        left = later
    ordered = [onnx.NodeProto.FromString(node.SerializeToString()) for node in ordered]
    del graph.node[:]
    graph.node.extend(ordered)


def load(path: Path, *, lenient: bool = False) -> Graph:
    """The graph in a file; functions in it are replaced by their nodes.

    lenient : only ranges of attributes are checked, because onnxruntime will judge the graph (`Graph`).

    Raises
    ------
    ModelError : not a valid ONNX graph. OSError : it cannot be read.
    """
    model, places = onnx_tensors.load(path)
    if model.functions:
        model = onnx.inliner.inline_local_functions(model)
    _in_order(model.graph)
    check(model, set(places), full=not lenient)
    return Graph(model, path, places, lenient=lenient)


def pair(numbers: Any, missing: int = 1) -> Pair:
    """Two sizes; that of one dimension is the width, and the height `missing`."""
    down, across = (missing, *numbers)[-2:]
    return int(down), int(across)
