"""Networks from ONNX graphs: which nodes are a matrix, and which are the host's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto
from onnx.reference import ReferenceEvaluator

from eie.compress.float_layers import LayerSource, Unused
from eie.compress.readers.files import UNREADABLE, guarded, reason_of
from eie.compress.readers.onnx_fold import one_node
from eie.compress.readers.onnx_graph import Graph, attributes_of, load
from eie.compress.readers.onnx_layers import RECURRENT, Placed, placed_layers, pooling_of
from eie.errors import EieError, ModelError
from eie.sim.networks.graph import StepGraph
from eie.sim.networks.recurrent import ACTIVATIONS, DEFAULT_ACTIVATIONS, Recurrent
from eie.sim.networks.steps import Array, Convolution, Host, Matrix, Step, max_pool, widened
from eie.sim.workloads.inputs import Port

MATRIX = ("MatMul", "Gemm", "Conv")
# Evaluated as ONNX defines them, by its reference evaluator, on float64.
_COMPUTING = "Add Sub Mul Div Relu LeakyRelu Sigmoid Tanh Softmax Clip BatchNormalization GlobalAveragePool"
ELEMENT_WISE = tuple(_COMPUTING.split())
_MOVING = (
    "Shape Reshape Transpose Concat Slice Gather Squeeze Unsqueeze Flatten Split Expand Cast Identity Dropout "
    "Constant ConstantOfShape"
)
MOVING = tuple(_MOVING.split())
_FLOATS = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16)
SUPPORTED = (*MATRIX, *RECURRENT, *ELEMENT_WISE, "MaxPool", *MOVING)


def read_graph(path: Path) -> StepGraph:
    """The graph of an ONNX file.

    Raises
    ------
    ModelError : no ONNX file, or a node that cannot run: its name and operator, why, and what would work.
    """
    try:
        graph = load(path)
        placed = placed_layers(graph)
        return _Builder(graph, placed, path).made()
    except EieError as error:
        raise ModelError(f"{path}: {error}") from None
    except (*UNREADABLE, AttributeError) as error:
        raise ModelError(f"{path}: cannot be read: {reason_of(error)}") from None


class _Builder:
    """Nodes into steps."""

    def __init__(self, graph: Graph, placed: Sequence[Placed], path: Path) -> None:
        self.graph, self.path = graph, path
        self.placed: dict[int, list[Placed]] = {}
        for one in placed:
            self.placed.setdefault(id(one.node), []).append(one)
        self.layers: dict[str, LayerSource] = {}

    def made(self) -> StepGraph:
        """All steps that the outputs need."""
        steps: list[Step] = []
        behind: set[str] = set()  # values that a layer makes inside: of nodes that are no steps of their own
        for node in self.graph.nodes:
            name = node.name or f"number {self.graph.numbers[id(node)]}"
            if any(value in behind for value in node.output) or self.graph.is_constant(node):
                continue
            step = self._step(node, name)
            if id(node) in self.placed:
                behind |= self._inside(node, step.gives[0])
            steps.append(step)
        steps = self._needed(steps)
        layers = {name: self.layers[name] for step in steps for name in step.layers}
        made = {name for step in steps for name in step.gives}
        taken = {name for step in steps for name in step.takes if name} | set(self.graph.outputs)
        held = {name: self.graph.constant(name) for name in sorted(taken - made)}
        constants = {name: widened(one.read()) for name, one in held.items() if one is not None}
        inputs = tuple(self._ports(taken))
        missing = taken - made - constants.keys() - {port.name for port in inputs}
        if missing:
            raise ModelError(f"no node makes {', '.join(sorted(missing))}")
        if not layers:
            raise ModelError(
                f"no matrix for the accelerator: it needs one of {', '.join((*MATRIX, *RECURRENT))}"
            )
        return StepGraph(tuple(steps), constants, inputs, tuple(self.graph.outputs), layers, str(self.path))

    def _needed(self, steps: Sequence[Step]) -> list[Step]:
        wanted, kept = set(self.graph.outputs), []
        for step in reversed(steps):
            if wanted.intersection(step.gives):
                wanted.update(step.takes)
                kept.append(step)
        return kept[::-1]

    def _ports(self, taken: set[str]) -> Iterator[Port]:
        for value in self.graph.model.graph.input:
            if value.name in taken and value.name not in self.graph.initializers:
                dims = value.type.tensor_type.shape.dim
                shape = tuple(dim.dim_value or None for dim in dims)
                yield Port(value.name, shape, self._takes_as_is(value))

    def _takes_as_is(self, value: Any) -> bool:
        """Whether an input is of whole numbers, or scaled at once as pixels from 0 to 255 are."""
        kind = value.type.tensor_type.elem_type
        if kind not in _FLOATS:
            return True
        for node in self.graph.consumers.get(value.name, []):
            other = self.graph.constant(node.input[1]) if node.op_type in ("Div", "Mul", "Sub") else None
            if other is not None and other.form.size:
                factor = float(np.abs(other.read().astype(np.float64)).max())
                if 0 < factor <= 0.01 if node.op_type == "Mul" else factor >= 100:
                    return True
        return False

    def _inside(self, node: Any, gives: str) -> set[str]:
        """Values from the node's own output to what its layer gives, of the nodes whose work the layer does."""
        inside, value = set(), node.output[0]
        while value != gives:
            (after,) = self.graph.consumers[value]
            value = after.output[0]
            inside.add(value)
        return inside

    # ---- nodes -------------------------------------------------------------------------------------------

    def _step(self, node: Any, name: str) -> Step:
        kind = node.op_type
        if node.domain not in ("", "ai.onnx") or kind not in SUPPORTED:
            raise ModelError(
                f"node {name!r}: operator {kind} is not supported; what works: {', '.join(SUPPORTED)}"
            )
        takes, gives = tuple(node.input), tuple(node.output)
        if kind in RECURRENT:
            return self._recurrent(node, name)
        if kind in MATRIX:
            return self._matrix(node, name)
        if kind == "MaxPool":
            pool = pooling_of(node)
            if pool is None:
                raise self._refused(name, kind, "it has padding, dilation or indices; without them it works")
            return Host(name, kind, takes, gives[:1], (), partial(_pooled, *pool))
        if kind == "Dropout" and self._drops(node):
            raise self._refused(name, kind, "it is in training mode; without training_mode it works")
        if kind == "BatchNormalization" and _trains(node):
            raise self._refused(
                name, kind, "it is in training mode, or normalises each position; without it works"
            )
        return Host(name, kind, takes, gives, (), _evaluator(node, self.graph.model.opset_import))

    def _drops(self, node: Any) -> bool:
        """Whether a Dropout is in training mode, or may be."""
        mode = self.graph.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else None
        return len(node.input) > 2 and bool(node.input[2]) and (mode is None or bool(mode.read().any()))

    @staticmethod
    def _refused(name: str, kind: str, why: str) -> ModelError:
        return ModelError(f"node {name!r} ({kind}): {why}")

    def _layer(self, one: Placed) -> str:
        self.layers[one.source.name] = guarded(one.source, self.path)
        return one.source.name

    def _matrix(self, node: Any, name: str) -> Step:
        placed = self.placed.get(id(node))
        if placed is None:
            raise self._refused(name, node.op_type, self._no_matrix(node))
        one = placed[0]
        if one.problems:
            raise self._refused(name, node.op_type, _lacking(one.problems[0]))
        layers, conv = (self._layer(one),), one.source.conv
        if conv is not None:
            shape = one.source.shape
            return Convolution(name, "Conv", (node.input[0],), (one.gives,), layers, conv, shape[1])
        left = self.graph.constant(node.input[0])
        taken = node.input[0] if left is None else node.input[1]
        by_column = left is not None
        return Matrix(name, node.op_type, (taken,), (one.gives,), layers, by_column)

    def _no_matrix(self, node: Any) -> str:
        """Why a node is no layer."""
        held = [self.graph.root(given) for given in node.input[:2] if self.graph.constant(given) is not None]
        reason = self.graph.reasons.get(held[0]) if len(held) == 1 else None
        return reason or "the accelerator multiplies with exactly one constant matrix, which it does not have"

    def _recurrent(self, node: Any, name: str) -> Step:
        kind, about = node.op_type, attributes_of(node)
        inputs = [*node.input, *[""] * 8]
        direction = about.get("direction", b"forward").decode()
        count = 2 if direction == "bidirectional" else 1
        placed = self.placed.get(id(node), [])
        if len(placed) != 2 * count:
            raise self._refused(name, kind, "its weights W and R are no constants")
        names = [text.decode() for text in about.get("activations", [])] or DEFAULT_ACTIVATIONS[kind] * count
        each = len(names) // count
        problems = [_lacking(problem) for problem in placed[0].problems]
        if inputs[4]:
            problems.append("it takes sequence_lens; sequences of one length, without it, work")
        if about.get("clip") or about.get("input_forget") or about.get("layout"):
            problems.append("it has clip, input_forget or layout; without them it works")
        if unknown := [text for text in names if text not in ACTIVATIONS]:
            problems.append(f"its activation {unknown[0]} is not one of {', '.join(ACTIVATIONS)}")
        peepholes = self.graph.constant(inputs[7]) if kind == "LSTM" and inputs[7] else None
        if kind == "LSTM" and inputs[7] and peepholes is None:
            problems.append("its peepholes are no constants")
        for problem in problems:
            raise self._refused(name, kind, problem)
        # The reader gives W of every direction, then R of every direction.
        layers = [self._layer(placed[place + side * count]) for place in range(count) for side in (0, 1)]
        return Recurrent(
            name,
            kind,
            (inputs[0], inputs[5], inputs[6] if kind == "LSTM" else ""),
            tuple(node.output),
            tuple(layers),
            hidden=placed[-1].source.shape[1],
            backwards=(False, True) if count == 2 else (direction == "reverse",),
            activations=tuple(tuple(names[each * d : each * (d + 1)]) for d in range(count)),
            reset_after=bool(about.get("linear_before_reset", 0)),
            peepholes=None if peepholes is None else peepholes.read().astype(np.float64),
        )


def _trains(node: Any) -> bool:
    """Whether a batch normalisation is not the plain one of inference."""
    about = attributes_of(node)
    return (
        bool(about.get("training_mode", 0)) or not about.get("spatial", 1) or sum(map(bool, node.output)) != 1
    )


def _lacking(problem: Unused) -> str:
    """What a layer lacks of its node, as the end of a message."""
    return f"the {problem.array} is {problem.reason}; what works is in docs/networks.md"


def _pooled(window: Any, stride: Any, x: Array) -> Sequence[Array]:
    return [max_pool(x, window, stride)]


def _evaluator(node: Any, opsets: Sequence[Any]) -> Callable[..., Sequence[Array]]:
    """ONNX's own definition of a node, at the graph's opset."""
    opset = next((one.version for one in opsets if one.domain in ("", "ai.onnx")), 1)
    about = attributes_of(node)
    # These two are not what onnx's evaluator makes of old opsets.
    if node.op_type == "Softmax" and opset < 13:
        return partial(_softmax_of_rows, about.get("axis", 1))
    if node.op_type == "BatchNormalization":
        return partial(_normalised, about.get("epsilon", 1e-5))
    evaluator = ReferenceEvaluator(one_node(node, opsets))

    def evaluate(*given: Array | None) -> Sequence[Array]:
        fed = {name: value for name, value in zip(node.input, given, strict=True) if name}
        return list(evaluator.run(None, fed))

    return evaluate


def _softmax_of_rows(axis: int, x: Array) -> Sequence[Array]:
    """Softmax below opset 13: over all axes from `axis` on at once."""
    rows = x.reshape(int(np.prod(x.shape[: axis if axis >= 0 else axis + x.ndim])), -1)
    y = np.exp(rows - rows.max(axis=1, keepdims=True))
    return [(y / y.sum(axis=1, keepdims=True)).reshape(x.shape)]


def _normalised(epsilon: float, x: Array, *given: Array) -> Sequence[Array]:
    """A batch normalisation with given means and variances."""
    if any(one.shape != x.shape[1:2] for one in given):
        raise ValueError("it needs a number for each channel")
    gain, offset, mean, variance = (one.reshape(-1, *[1] * (x.ndim - 2)) for one in given)
    return [(x - mean) / np.sqrt(variance + epsilon) * gain + offset]
