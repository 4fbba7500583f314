"""The host's share of a graph: what lies between the matrices, as subgraphs that onnxruntime runs as they stand."""

from __future__ import annotations

import json
import math
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import onnx

from eie.compress.readers.onnx_graph import Graph, attributes_of, taken_by
from eie.compress.readers.onnx_run import IR_VERSION, element_of, first_line, run, session, type_of, value_of
from eie.errors import ModelError
from eie.sim.networks.steps import FloatArray, Hosting, Multiply, Step

# Nodes that multiply and add up, of which the share on the host is counted.
PRODUCTS = (
    *("MatMul", "Gemm", "FusedMatMul", "MatMulInteger", "QLinearMatMul", "Einsum", "Attention"),
    *("Conv", "ConvInteger", "QLinearConv", "ConvTranspose", "GRU", "LSTM", "RNN"),
)


@dataclass(frozen=True, eq=False)
class Part(Step):
    """Some nodes of a graph that nothing but each other and the values taken have to wait for.

    model : these nodes as a graph of their own. kinds : types of what it takes. equations : of its Einsum nodes.
    """

    model: Any = None
    kinds: tuple[str, ...] = ()

    @cached_property
    def session(self) -> Any:
        """What runs it, made when it is first needed."""
        return session(self.model)

    def run(self, given: Sequence[Any], multiply: Multiply, host: Hosting) -> Sequence[Any]:
        """What onnxruntime makes of the values, as its own values."""
        return host.part(self, given)

    def feeds(self, given: Sequence[Any]) -> dict[str, Any]:
        """Values as onnxruntime takes them, by name."""
        return {
            name: value if hasattr(value, "data_type") else value_of(value, kind)
            for name, kind, value in zip(self.takes, self.kinds, given, strict=True)
        }


class Host:
    """Runs the parts of a graph, and what belongs to a product but not to its matrix (`Hosting`)."""

    def part(self, part: Part, given: Sequence[Any]) -> Sequence[Any]:
        """A part, by onnxruntime."""
        return run(part.session, part.gives, part.feeds(given))

    def product(self, step: Step, given: Sequence[Any], multiply: Multiply) -> Sequence[Any]:
        """A step with matrices: its windows, its gates."""
        try:
            return step.run(given, multiply, self)
        except (ValueError, IndexError) as error:  # numpy's, of values of other shapes than the node takes
            raise ModelError(
                f"node {step.name!r} ({step.operator}) does not take its values: {first_line(str(error))}"
            ) from None


# ---- making them -------------------------------------------------------------------------------------------


def part_of(graph: Graph, nodes: Sequence[Any], gives: Sequence[str], kinds: Mapping[str, str]) -> Part:
    """Nodes of a graph as a part of the host's. gives : what others need of it. kinds : types of the graph's values.

    Constants are part of it, and so are the nodes that make them.
    """
    held = _with_constants(graph, nodes)
    made = {name for node in held for name in node.output}
    used = list(dict.fromkeys(name for node in held for name in taken_by(node) if name not in made))
    tensors = [_initializer(graph, name) for name in used]
    takes = [name for name, tensor in zip(used, tensors, strict=True) if tensor is None]
    missing = [name for name in takes if name not in kinds]
    if missing:
        raise ModelError(f"no node makes {', '.join(missing)}")
    body = onnx.GraphProto(name="host")
    for number, node in enumerate(held):
        body.node.add().CopyFrom(node)
        body.node[-1].name = node.name or f"{node.op_type}_{number}"
    for tensor in tensors:
        if isinstance(tensor, onnx.SparseTensorProto):
            body.sparse_initializer.add().CopyFrom(tensor)
        elif tensor is not None:
            body.initializer.add().CopyFrom(tensor)
    for name in takes:
        body.input.add(name=name).type.CopyFrom(type_of(kinds[name]))
    for name in gives:
        body.output.add(name=name)
    counts = count_text([node.op_type for node in nodes])
    return Part(
        "host",
        counts,
        tuple(takes),
        tuple(gives),
        (),
        model_of(graph, body),
        tuple(kinds[name] for name in takes),
    )


def model_of(graph: Graph, body: Any) -> Any:
    """A graph as a model of the opsets of `graph`."""
    version = max(graph.model.ir_version, IR_VERSION)
    return onnx.ModelProto(ir_version=version, opset_import=graph.model.opset_import, graph=body)


def _with_constants(graph: Graph, nodes: Sequence[Any]) -> list[Any]:
    """The nodes in the graph's order, and those that make the constants that they take."""
    wanted = {id(node) for node in nodes}
    left = [name for node in nodes for name in taken_by(node)]
    while left:
        node = graph.producers.get(left.pop())
        if node is not None and id(node) not in wanted and graph.is_constant(node):
            wanted.add(id(node))
            left += taken_by(node)
    return [node for node in graph.nodes if id(node) in wanted]


def _initializer(graph: Graph | None, name: str) -> Any:
    """The initializer of that name, of the graph or of one around it; None if it is something else."""
    while graph is not None:
        if (tensor := graph.tensor(name)) is not None:
            return tensor
        graph = None if graph.is_own(name) else graph.outer
    return None


def count_text(names: Sequence[str]) -> str:
    """Names, each with how often it is there.

    >>> count_text(["Add", "Relu", "Add"])
    'Add 2, Relu'
    """
    counts = {name: names.count(name) for name in dict.fromkeys(names)}
    return ", ".join(f"{name} {count}" if count > 1 else name for name, count in counts.items())


def value_kinds(graph: Graph, given: Mapping[str, str]) -> tuple[dict[str, str], dict[str, list[int]]]:
    """Types and sizes (0: open) of all values of a graph, by onnxruntime, which judges the graph as well.

    given : types of the values that the graph takes from around it, and of its inputs where it does not tell them.

    Raises
    ------
    ModelError : onnxruntime does not take the graph.
    """
    apart = [name for name in graph.initializers if graph.is_apart(name)]
    try:
        opened = session(_whole(graph, given, apart))
    except ModelError:
        if not apart:
            raise
        opened = session(_whole(graph, given, []))  # some operators want to see their weights at once
    kinds, shapes = dict(given), {}
    for value in (*opened.get_inputs(), *opened.get_outputs()):
        kinds[value.name] = value.type
        if value.shape:
            shapes[value.name] = [size if isinstance(size, int) and size > 0 else 0 for size in value.shape]
    for name, tensor in graph.initializers.items():
        element = tensor.values.data_type if isinstance(tensor, onnx.SparseTensorProto) else tensor.data_type
        kinds.setdefault(name, f"tensor({onnx.TensorProto.DataType.Name(element).lower()})")
    return kinds, shapes


def _whole(graph: Graph, given: Mapping[str, str], apart: Sequence[str]) -> Any:
    """All of a graph, with every value as an output; of the initializers in `apart`, types and shapes alone."""
    body = onnx.GraphProto(name="whole")
    body.node.extend(graph.nodes)
    own = {value.name for value in graph.model.graph.input}
    for value in graph.model.graph.input:
        if value.name in apart or value.name in graph.initializers:
            continue
        made = body.input.add()
        made.CopyFrom(value)
        if not made.HasField("type") and value.name in given:
            made.type.CopyFrom(type_of(given[value.name]))
    for name, kind in given.items():
        if name not in own:
            body.input.add(name=name).type.CopyFrom(type_of(kind))
    for name, tensor in graph.initializers.items():
        if name in apart:
            body.input.append(onnx.helper.make_tensor_value_info(name, tensor.data_type, tensor.dims))
        elif isinstance(tensor, onnx.SparseTensorProto):
            body.sparse_initializer.add().CopyFrom(tensor)
        else:
            body.initializer.add().CopyFrom(graph.tensor(name))
    made_here = [name for node in graph.nodes for name in node.output if name]
    body.output.extend(onnx.ValueInfoProto(name=name) for name in made_here)
    return model_of(graph, body)


# ---- what it did -------------------------------------------------------------------------------------------


@dataclass
class Note:
    """What nodes of one type did on the host: how many of them ran, how often, for how long, and multiplications."""

    nodes: int = 0
    calls: int = 0
    microseconds: int = 0
    macs: int = 0


class Watch(Host):
    """A host that keeps what the nodes did; `notes` ends it."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="eie-host-")
        self._opened: dict[int, tuple[Part, Any]] = {}
        self._beside: dict[str, Note] = {}
        self._seen: set[int] = set()

    def part(self, part: Part, given: Sequence[Any]) -> Sequence[Any]:
        """A part, by onnxruntime."""
        if id(part) not in self._opened:
            prefix = Path(self._folder.name) / f"part{len(self._opened)}"
            self._opened[id(part)] = part, session(part.model, prefix)
        return run(self._opened[id(part)][1], part.gives, part.feeds(given))

    def product(self, step: Step, given: Sequence[Any], multiply: Multiply) -> Sequence[Any]:
        """A step with matrices, of which the time beside the matrices counts."""
        timed = _Timed(multiply)
        start = time.perf_counter()
        made = super().product(step, given, timed)
        note = self._beside.setdefault(BESIDE.get(step.operator, f"vectors of {step.operator}"), Note())
        note.calls += 1
        note.nodes += id(step) not in self._seen
        note.microseconds += round(1e6 * (time.perf_counter() - start - timed.seconds))
        self._seen.add(id(step))
        return made

    def notes(self) -> dict[str, Note]:
        """By type of node, the one that took longest first."""
        found = dict(self._beside)
        for part, opened in self._opened.values():
            nodes = {node.name: node for node in _all_nodes(part.model.graph)}
            seen = set()
            for name, event in _events(Path(opened.end_profiling())):
                note = found.setdefault(event["args"]["op_name"], Note())
                note.calls += 1
                note.nodes += name not in seen
                note.microseconds += event["dur"]
                note.macs += _macs(event["args"], nodes.get(name))
                seen.add(name)
        self._opened.clear()
        self._folder.cleanup()
        return dict(sorted(found.items(), key=lambda one: -one[1].microseconds))


# What a product leaves to the host, by its operator.
BESIDE = {
    **dict.fromkeys(("Conv", "ConvTranspose"), "windows of convolutions"),
    **dict.fromkeys(("GRU", "LSTM", "RNN"), "gates of recurrent cells"),
}


class _Timed:
    """Something that multiplies, and how long it took."""

    def __init__(self, multiply: Multiply) -> None:
        self._multiply, self.seconds = multiply, 0.0

    def __call__(self, layer: str, vectors: FloatArray, rows: slice | None = None) -> FloatArray:
        start = time.perf_counter()
        made = self._multiply(layer, vectors, rows)
        self.seconds += time.perf_counter() - start
        return made


def _events(path: Path) -> Iterator[tuple[str, Any]]:
    """Runs of nodes that a session has written to a file, with their names."""
    for event in json.loads(path.read_text()):
        name, mark, rest = event["name"].rpartition("_kernel_time")
        if event["cat"] == "Node" and mark and not rest:
            yield name, event


def _all_nodes(graph: Any) -> Iterator[Any]:
    """The nodes of a graph and of the bodies in it."""
    for node in graph.node:
        yield node
        for one in node.attribute:
            if one.type == onnx.AttributeProto.GRAPH:
                yield from _all_nodes(one.g)


def _macs(about: Mapping[str, Any], node: Any) -> int:
    """Multiplications of one run of a node, from the shapes that onnxruntime tells; 0 where it multiplies nothing."""
    kind = about["op_name"]
    if kind not in PRODUCTS:
        return 0
    takes, gives = (
        [next(iter(one.values())) for one in about[key]] for key in ("input_type_shape", "output_type_shape")
    )
    try:
        return _macs_of(kind, takes, gives, {} if node is None else attributes_of(node))
    except (IndexError, ValueError, ZeroDivisionError):
        return 0  # a form of the operator that is not known here


def _macs_of(kind: str, takes: Sequence[Any], gives: Sequence[Any], about: Mapping[str, Any]) -> int:
    """See `_macs`. takes, gives : shapes."""
    if kind in ("GRU", "LSTM", "RNN"):
        time, batch, _ = takes[0]
        return int(time * batch * (math.prod(takes[1]) + math.prod(takes[2])))
    if kind == "ConvTranspose":
        return int(math.prod(takes[0]) * math.prod(takes[1][1:]))
    if kind.endswith("Conv") or kind == "ConvInteger":
        weight = takes[3] if kind == "QLinearConv" else takes[1]
        return int(math.prod(gives[0]) * math.prod(weight[1:]))
    if kind == "Einsum":
        letters = about.get("equation", b"").decode().replace(" ", "").partition("->")[0].split(",")
        sizes = {
            one: n
            for text, shape in zip(letters, takes, strict=True)
            for one, n in zip(text, shape, strict=True)
        }
        return int(math.prod(sizes.values()))
    if kind == "Attention":
        *outer, queries, _ = takes[0]
        return int(2 * math.prod(outer) * queries * math.prod(takes[1][-2:]))
    if kind == "Gemm":
        return int(math.prod(gives[0]) * takes[0][0 if about.get("transA") else 1])
    return int(math.prod(gives[0]) * takes[0][-1])


def is_number(kind: str) -> bool:
    """Whether values of this type are arrays of real numbers that a matrix can meet."""
    return element_of(kind) in (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT16)
