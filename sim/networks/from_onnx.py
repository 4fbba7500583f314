"""Networks from ONNX graphs: which nodes are a product with a matrix, and which parts of the graph are the host's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from eie.compress.float_layers import LayerSource
from eie.compress.readers.files import UNREADABLE, guarded, reason_of
from eie.compress.readers.onnx_graph import Graph, attributes_of, load, taken_by
from eie.compress.readers.onnx_layers import RECURRENT, Placed, placed_layers
from eie.compress.readers.onnx_run import PLAIN, element_of
from eie.errors import EieError, ModelError
from eie.sim.networks.control import Control, If, Loop, Scan
from eie.sim.networks.graph import StepGraph
from eie.sim.networks.host import PRODUCTS, is_number, part_of, value_kinds
from eie.sim.networks.recurrent import ACTIVATIONS, DEFAULT_ACTIVATIONS, Recurrent
from eie.sim.networks.steps import Convolution, Matrix, Step, Sum, Transposed, Window, each_step
from eie.sim.workloads.inputs import Port

# What a step does where a layer lacks it; whatever else a layer lacks leaves the node to the host.
_MENDED = ("bias", "padding", "inputs", "axes", "geometry")
_SEQUENCES = 8  # since this opset a Scan has no batch of its own


def read_graph(path: Path) -> StepGraph:
    """The graph of an ONNX file, cut into products and the parts that the host runs between them.

    Raises
    ------
    ModelError : no ONNX file, or a graph that onnxruntime does not take.
    """
    return _readable(path, lambda: cut(load(path, lenient=True), path))


def read_message(content: bytes, path: Path, only: Sequence[str]) -> StepGraph:
    """The graph in an ONNX message out of the file `path`, of which `only` these layers are products.

    No normalisation is folded into a layer: its weights are those of the file. Errors as `read_graph`.
    """

    def made() -> StepGraph:
        model = onnx.load_model_from_string(content)
        return cut(Graph(model, path, {}, lenient=True, folds=False), path, frozenset(only))

    return _readable(path, made)


def cut(graph: Graph, path: Path, only: frozenset[str] | None = None) -> StepGraph:
    """A graph, cut. only : the layers that are products, all without it.

    Raises
    ------
    ModelError : onnxruntime does not take the graph.
    """
    kinds, shapes = value_kinds(graph, {})
    graph.learn(shapes)
    placed: dict[int, list[Placed]] = {}
    for one in placed_layers(graph):
        placed.setdefault(id(one.node), []).append(one)
    return _Cut(graph, kinds, placed, path, only).made()


def _readable(path: Path, read: Callable[[], StepGraph]) -> StepGraph:
    """What `read` gives, its errors with the file's name in one line."""
    try:
        return read()
    except EieError as error:
        raise ModelError(f"{path}: {error}") from None
    except (*UNREADABLE, AttributeError, DecodeError) as error:
        raise ModelError(f"{path}: cannot be read: {reason_of(error)}") from None


@dataclass(eq=False)
class _Unit:
    """A product with the nodes whose work its layer does, or a node of the host's (without a step)."""

    takes: Sequence[str]
    gives: Sequence[str]
    nodes: Sequence[Any]
    step: Step | None = None
    level: int = 0


class _Cut:
    """Nodes of a graph, or of a body in it, into steps."""

    def __init__(
        self,
        graph: Graph,
        kinds: Mapping[str, str],
        placed: Mapping[int, list[Placed]],
        path: Path,
        only: frozenset[str] | None = None,
    ) -> None:
        self.graph, self.kinds, self.placed, self.path, self.only = graph, kinds, placed, path, only
        self.layers: dict[str, LayerSource] = {}
        self.macs: dict[str, int] = {}
        self.left: list[str] = []

    def made(self) -> StepGraph:
        """All steps that the outputs need."""
        units = self._needed(list(self._units()))
        self._check_dropouts(units)
        steps = self._steps(units)
        used = [name for step in steps for name in step.layers]
        inner = [body for step in steps if isinstance(step, Control) for body in step.bodies.values()]
        layers, macs, left = dict(self.layers), dict(self.macs), list(self.left)
        for body in inner:
            used += list(body.layers)
            layers |= body.layers
            macs |= body.macs
            left += body.left
        made = {name for step in steps for name in step.gives}
        taken = {name for step in steps for name in step.takes if name} | set(self.graph.outputs)
        held = {name: self.graph.constant(name) for name in sorted(taken - made)}
        constants = {name: one.read() for name, one in held.items() if one is not None}
        inputs = tuple(self._ports(taken - constants.keys())) if self.graph.outer is None else ()
        outer = self.graph.outer is not None
        missing = taken - made - constants.keys() - {port.name for port in inputs}
        if missing and not outer:
            raise ModelError(f"no node makes {', '.join(sorted(missing))}")
        return StepGraph(
            tuple(steps),
            constants,
            inputs,
            tuple(self.graph.outputs),
            {name: layers[name] for name in dict.fromkeys(used)},
            str(self.path),
            {name: self.kinds[name] for name in self.graph.outputs if name in self.kinds},
            {name: macs[name] for name in dict.fromkeys(used)},
            tuple(left),
        )

    # ---- nodes into units --------------------------------------------------------------------------------

    def _units(self) -> Iterator[_Unit]:
        inside: set[int] = set()  # nodes whose work a layer does
        for number, node in enumerate(self.graph.nodes):
            if id(node) in inside or self.graph.is_constant(node):
                continue
            step, nodes = self._product(node, node.name or f"number {number}")
            if step is None:
                yield _Unit(taken_by(node), [name for name in node.output if name], [node])
                continue
            inside |= {id(one) for one in nodes}
            yield _Unit(
                [name for name in step.takes if name], [name for name in step.gives if name], nodes, step
            )

    def _needed(self, units: Sequence[_Unit]) -> list[_Unit]:
        wanted, kept = set(self.graph.outputs), []
        for unit in reversed(units):
            if wanted.intersection(unit.gives):
                wanted.update(unit.takes)
                kept.append(unit)
        return kept[::-1]

    def _check_dropouts(self, units: Sequence[_Unit]) -> None:
        """Raise `ModelError` if a Dropout is in training mode: no two runs would agree."""
        for unit in units:
            for node in unit.nodes:
                if node.op_type == "Dropout" and node.domain in ("", "ai.onnx") and self.graph.drops(node):
                    name = repr(node.name) if node.name else f"that makes {node.output[0]!r}"
                    raise ModelError(
                        f"node {name} (Dropout) is in training mode, so that outputs are random: "
                        "export the network in evaluation mode (model.eval())"
                    )

    def _steps(self, units: Sequence[_Unit]) -> list[Step]:
        """Units in levels: first the host's part that waits for no product of its level, then the products."""
        levels: dict[str, int] = {}
        for unit in units:
            unit.level = max((levels.get(name, 0) for name in unit.takes), default=0)
            levels |= dict.fromkeys(unit.gives, unit.level + (unit.step is not None))
        takers: dict[str, list[_Unit | None]] = {name: [None] for name in self.graph.outputs}
        for unit in units:
            for name in unit.takes:
                takers.setdefault(name, []).append(unit)
        steps: list[Step] = []
        for level in range(max((unit.level for unit in units), default=-1) + 1):
            of_host = [unit for unit in units if unit.step is None and unit.level == level]
            if of_host:
                own = {id(unit) for unit in of_host}
                gives = [
                    name
                    for unit in of_host
                    for name in unit.gives
                    if any(taker is None or id(taker) not in own for taker in takers.get(name, []))
                ]
                nodes = [node for unit in of_host for node in unit.nodes]
                steps.append(part_of(self.graph, nodes, list(dict.fromkeys(gives)), self.kinds))
            steps += [unit.step for unit in units if unit.step is not None and unit.level == level]
        return steps

    def _ports(self, taken: set[str]) -> Iterator[Port]:
        for value in self.graph.model.graph.input:
            if value.name in taken and value.name not in self.graph.initializers:
                kind = self.kinds[value.name]
                if element_of(kind) not in PLAIN:
                    what = "strings" if "string" in kind else f"values of type {kind}"
                    raise ModelError(f"input {value.name} takes {what}: only arrays of numbers go in")
                dims = value.type.tensor_type.shape.dim
                known = value.type.tensor_type.HasField("shape")
                shape = tuple(dim.dim_value or None for dim in dims) if known else None
                yield Port(value.name, shape, self._takes_as_is(value.name, kind), kind)

    def _takes_as_is(self, name: str, kind: str) -> bool:
        """Whether an input is of whole numbers, or scaled at once as pixels from 0 to 255 are."""
        if not is_number(kind):
            return True
        for node in self.graph.consumers.get(name, []):
            other = self.graph.constant(node.input[1]) if node.op_type in ("Div", "Mul", "Sub") else None
            if other is not None and other.form.size:
                factor = float(np.abs(other.read().astype(np.float64)).max())
                if 0 < factor <= 0.01 if node.op_type == "Mul" else factor >= 100:
                    return True
        return False

    def _inside(self, node: Any, gives: str) -> list[Any]:
        """The node and those behind it whose work its layer does."""
        nodes, value = [node], node.output[0]
        while value != gives:
            (after,) = self.graph.consumers[value]
            value = after.output[0]
            nodes.append(after)
        return nodes

    # ---- products ----------------------------------------------------------------------------------------

    def _product(self, node: Any, name: str) -> tuple[Step | None, list[Any]]:
        """The step of a node that is a product, with the nodes whose work it does; none for the host's."""
        if node.domain in ("", "ai.onnx") and self.graph.bodies(node):
            return self._control(node, name), [node]
        placed = self.placed.get(id(node))
        if not placed:
            if node.op_type in PRODUCTS and (reason := self._no_matrix(node)):
                self._leave(node, name, reason)
            return None, []
        why = self._lacking(node, placed)
        if not why and not is_number(self.kinds.get(node.output[0] or node.output[-1], "tensor(float)")):
            why = "it computes in numbers of another type than float, double and float16"
        if why:
            self._leave(node, name, why)
            return None, []
        if node.op_type in RECURRENT:
            return self._recurrent(node, name, placed), [node]
        one = placed[0]
        step = self._step(node, name, one)
        return step, self._inside(node, step.gives[0])

    def _leave(self, node: Any, name: str, why: str) -> None:
        self.left.append(f"{name} ({node.op_type}): {why}")

    def _no_matrix(self, node: Any) -> str:
        """Why a product is no layer; nothing for one of two computed values."""
        held = [
            self.graph.root(given) for given in node.input if given and self.graph.constant(given) is not None
        ]
        reasons = [self.graph.reasons[root] for root in held if root in self.graph.reasons]
        if node.domain not in ("", "ai.onnx") or node.op_type in (
            "MatMulInteger",
            "QLinearMatMul",
            "QLinearConv",
        ):
            return "an operator of its own kind: its weights are not taken apart" if held else ""
        if node.op_type in RECURRENT and not reasons:
            return "its weights W and R are not constants"
        return reasons[0] if reasons else ""

    def _lacking(self, node: Any, placed: Sequence[Placed]) -> str:
        """What of a node no step can do beside its layers; nothing if they can."""
        if self.only is not None and any(one.source.name not in self.only for one in placed):
            return "its weights are not compressed"
        for one in placed:
            for what, problem in zip(one.lacks, one.problems, strict=True):
                impossible = problem.reason.startswith("impossible")
                if what not in _MENDED or impossible or (node.op_type in RECURRENT and what == "bias"):
                    return f"the {problem.array} is {problem.reason}"
        return self._cell_lacks(node, placed) if node.op_type in RECURRENT else ""

    def _layer(self, one: Placed) -> str:
        self.layers[one.source.name] = guarded(one.source, self.path)
        self.macs[one.source.name] = one.macs
        return one.source.name

    def _step(self, node: Any, name: str, one: Placed) -> Step:
        """A product of one matrix."""
        layers, gives = (self._layer(one),), (one.gives or node.output[0],)
        more = (node.input[2],) if "bias" in one.lacks else ()
        if node.op_type == "ConvTranspose":
            more = tuple(node.input[2:3]) if any(node.input[2:3]) else ()
        if node.op_type in ("Conv", "ConvTranspose"):
            kind = Convolution if node.op_type == "Conv" else Transposed
            window, channels = self._window(node, one)
            return kind(name, node.op_type, (node.input[0], *more), gives, layers, window, channels)
        if one.contraction is not None:
            shape = self.graph.constant(node.input[one.contraction.place])
            assert shape is not None
            letters = attributes_of(node)["equation"].decode().replace(" ", "").partition("->")[0].split(",")
            sizes = dict(zip(letters[one.contraction.place], shape.form.shape, strict=True))
            kept = tuple(sizes[letter] for letter in one.contraction.kept)
            taken = node.input[1 - one.contraction.place]
            return Sum(name, "Einsum", (taken,), gives, layers, one.contraction, kept)
        left = self.graph.constant(node.input[0])
        taken = node.input[0] if left is None else node.input[1]
        about = attributes_of(node)
        return Matrix(
            name,
            node.op_type,
            (taken, *more),
            gives,
            layers,
            by_column=left is not None,
            swapped=bool(about.get("transA", 0)),
            factor=about.get("beta", 1.0),
        )

    def _window(self, node: Any, one: Placed) -> tuple[Window, int]:
        """Geometry of a convolution, and channels of what it takes."""
        weight = self.graph.constant(node.input[1])
        assert weight is not None
        about, (outer, inner, *kernel) = attributes_of(node), weight.form.shape
        groups, axes = about.get("group", 1), len(kernel)
        ones, zeros = [1] * axes, [0] * 2 * axes
        kind = about.get("auto_pad", b"NOTSET").decode()
        pads = about.get("pads", zeros) if kind == "NOTSET" else zeros
        window = Window(
            tuple(kernel),
            tuple(about.get("strides", ones)),
            tuple(about.get("dilations", ones)),
            tuple(pads[:axes]),
            tuple(pads[axes:]),
            kind.removeprefix("SAME_") if kind.startswith("SAME") else "",
            more=tuple(about.get("output_padding", ())),
            shape=tuple(about.get("output_shape", ())),
        )
        if node.op_type == "ConvTranspose":
            return window, outer
        conv = one.source.conv
        if conv is not None:  # dilation and uneven padding are zeros in its matrix
            first = 2 - axes
            pool = None if one.pool is None else (one.pool[0][first:], one.pool[1][first:])
            window = replace(window, kernel=conv.kernel[first:], dilation=(1,) * axes, pool=pool)
            if "padding" not in one.lacks:
                even = conv.padding[first:]
                window = replace(window, before=even, behind=even, same="")
        return window, inner * groups

    # ---- recurrent cells and bodies ------------------------------------------------------------------------

    def _cell_lacks(self, node: Any, placed: Sequence[Placed]) -> str:
        """Why a recurrent node is the host's as a whole; nothing if it is not."""
        kind, about = node.op_type, attributes_of(node)
        inputs = [*node.input, *[""] * 8]
        count = 2 if about.get("direction") == b"bidirectional" else 1
        if len(placed) != 2 * count:
            return "its weights W and R are not constants"
        if inputs[4]:
            return "it takes sequence_lens"
        if about.get("clip") or about.get("input_forget") or about.get("layout"):
            return "it has clip, input_forget or layout"
        unknown = [text for text in self._activations(node, count) if text not in ACTIVATIONS]
        if unknown:
            return f"its activation {unknown[0]} is not one of {', '.join(ACTIVATIONS)}"
        if kind == "LSTM" and inputs[7] and self.graph.constant(inputs[7]) is None:
            return "its peepholes are not constants"
        return ""

    @staticmethod
    def _activations(node: Any, count: int) -> list[str]:
        about = attributes_of(node)
        given = [text.decode() for text in about.get("activations", [])]
        return given or [*DEFAULT_ACTIVATIONS[node.op_type]] * count

    def _recurrent(self, node: Any, name: str, placed: Sequence[Placed]) -> Step:
        kind, about = node.op_type, attributes_of(node)
        inputs = [*node.input, *[""] * 8]
        direction = about.get("direction", b"forward").decode()
        count = 2 if direction == "bidirectional" else 1
        names = self._activations(node, count)
        each = len(names) // count
        peepholes = self.graph.constant(inputs[7]) if kind == "LSTM" and inputs[7] else None
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

    def _control(self, node: Any, name: str) -> Step | None:
        """A Loop, an If or a Scan whose bodies have products; None where the host runs it as a whole."""
        bodies = self.graph.bodies(node)
        if not any(self._has_product(body) for body in bodies.values()):
            return None
        kinds = {"If": If, "Loop": Loop, "Scan": Scan}
        about = attributes_of(node)
        opset = next(
            (one.version for one in self.graph.model.opset_import if one.domain in ("", "ai.onnx")), 1
        )
        if node.op_type not in kinds or (node.op_type == "Scan" and opset <= _SEQUENCES):
            self._leave(node, name, "an operator whose body is not taken apart")
            return None
        try:
            cut = {key: self._body(node, body) for key, body in bodies.items()}
        except ModelError as error:
            self._leave(node, name, f"its body cannot run by itself: {error}")
            return None
        if not any(step.layers for body in cut.values() for step in each_step(body.steps)):
            for body in cut.values():
                self.left += body.left
            return None
        around = [one for one in taken_by(node) if one not in node.input and self.graph.constant(one) is None]
        takes = (*node.input, *around)
        formal = {key: [value.name for value in body.model.graph.input] for key, body in bodies.items()}
        more: dict[str, Any] = {}
        if node.op_type == "Scan":
            keys = ("scan_input_axes", "scan_output_axes", "scan_input_directions", "scan_output_directions")
            found = [about.get(key, ()) for key in keys]
            more = {"scanned": about["num_scan_inputs"], "axes": (*found[:2],), "backwards": (*found[2:],)}
        return kinds[node.op_type](
            name,
            node.op_type,
            takes,
            tuple(node.output),
            (),
            inputs=len(node.input),
            bodies=cut,
            formal=formal,
            **more,
        )

    def _has_product(self, body: Graph) -> bool:
        return any(
            id(node) in self.placed or any(map(self._has_product, body.bodies(node).values()))
            for node in body.nodes
        )

    def _body(self, node: Any, body: Graph) -> StepGraph:
        """A body, cut."""
        given = {name: self.kinds[name] for name in self.kinds if not body.is_own(name)}
        used = {name for one in body.nodes for name in taken_by(one)} | set(body.outputs)
        given = {name: kind for name, kind in given.items() if name in used}
        formal = [value.name for value in body.model.graph.input]
        own = [self.kinds.get(name, "") for name in node.input]
        if node.op_type == "Loop":
            own = ["tensor(int64)", "tensor(bool)", *own[2:]]
        given |= {name: kind for name, kind in zip(formal, own, strict=False) if kind}
        kinds, shapes = value_kinds(body, given)
        body.learn({name: shape for name, shape in shapes.items() if name in body.producers})
        return _Cut(body, {**self.kinds, **kinds}, self.placed, self.path, self.only).made()
