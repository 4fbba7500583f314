"""Drawn ONNX graphs: a product with a constant matrix, how that constant comes about, and what may be fused with it."""

from dataclasses import dataclass, field

import ml_dtypes
import numpy as np
import onnx
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

OPSETS = tuple(range(9, onnx.defs.onnx_opset_version() + 1))
_SIZES = st.integers(1, 4)


@dataclass
class Draft:
    """A graph that grows."""

    opset: int
    seed: int
    nodes: list = field(default_factory=list)
    constants: dict = field(default_factory=dict)
    sparse: dict = field(default_factory=dict)
    inputs: dict = field(default_factory=dict)
    count: int = 0
    twins: bool = False

    def __post_init__(self):
        self.rng = np.random.default_rng(self.seed)

    def floats(self, *shape):
        return self.rng.normal(size=shape).astype(np.float32)

    def name(self):
        self.count += 1
        return f"v{self.count}"

    def node(self, kind, *given, **attributes):
        made = self.name()
        self.nodes.append(helper.make_node(kind, list(given), [made], name=f"n_{made}", **attributes))
        return made

    def constant(self, array):
        name = self.name()
        self.constants[name] = np.asarray(array)
        return name

    def scattered(self, array):
        """An initializer that keeps only what is not 0, at places of one number or of one for each axis."""
        name, places = self.name(), np.argwhere(array)
        if self.rng.random() < 0.5:
            places = np.flatnonzero(array)
        values = numpy_helper.from_array(array[array != 0], name)
        self.sparse[name] = helper.make_sparse_tensor(
            values, numpy_helper.from_array(places.astype(np.int64), name + "_indices"), array.shape
        )
        return name

    def model(self, *outputs):
        graph = helper.make_graph(
            self.nodes,
            "drawn",
            [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n, shape in self.inputs.items()],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
            [numpy_helper.from_array(array, name) for name, array in self.constants.items()],
            sparse_initializer=list(self.sparse.values()),
        )
        if self.twins and graph.initializer:
            graph.initializer.append(
                numpy_helper.from_array(np.ones((2, 2), np.float32), graph.initializer[0].name)
            )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8)


def _axes(draft, kind, value, axes):
    """Squeeze or Unsqueeze, whose axes became an input in opset 13."""
    if draft.opset < 13:
        return draft.node(kind, value, axes=axes)
    return draft.node(kind, value, draft.constant(np.array(axes, np.int64)))


def _held(draw, draft, array):
    """A name that stands for `array`, through nodes that compute it from constants."""
    how = draw(
        st.sampled_from(
            [
                "plain",
                "plain",
                "plain",
                "node",
                "identity",
                "transpose",
                "half",
                "double",
                "reshape",
                "scaled",
                "halves",
                "squeezed",
                "shifted",
                "quantised",
                "sparse",
                "float8",
            ]
        )
    )
    if how == "node":
        return draft.node("Constant", value=numpy_helper.from_array(array))
    if how == "identity":
        return draft.node("Identity", draft.constant(array))
    if how == "transpose":
        axes = draw(st.permutations(range(array.ndim)))
        back = [axes.index(i) for i in range(array.ndim)]
        return draft.node("Transpose", draft.constant(np.ascontiguousarray(array.transpose(axes))), perm=back)
    if how in ("half", "double"):
        kind = np.float16 if how == "half" else np.float64
        return draft.node("Cast", draft.constant(array.astype(kind)), to=TensorProto.FLOAT)
    if how == "reshape":
        shape = draft.constant(np.array(array.shape, np.int64))
        return draft.node("Reshape", draft.constant(array.reshape(-1)), shape)
    if how == "scaled":
        return draft.node("Mul", draft.constant(array), draft.constant(draft.floats(array.shape[-1])))
    if how == "halves" and array.shape[0] > 1:
        return draft.node("Concat", draft.constant(array[:1]), draft.constant(array[1:]), axis=0)
    if how == "squeezed":
        return _axes(draft, "Squeeze", draft.constant(array[None]), [0])
    if how == "shifted":
        return draft.node("Sub", draft.constant(array), draft.constant(draft.floats(1)))
    if how == "sparse" and array.any():
        return draft.scattered(array * (draft.rng.random(array.shape) < 0.7))
    if how == "float8" and draft.opset >= 19:
        kind = draw(st.sampled_from([ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2]))
        return draft.node("Cast", draft.constant(array.astype(kind)), to=TensorProto.FLOAT)
    if how == "quantised" and draft.opset >= 10:
        codes = draft.rng.integers(-128, 128, array.shape).astype(np.int8)
        return draft.node(
            "DequantizeLinear",
            draft.constant(codes),
            draft.constant(np.float32(0.05)),
            draft.constant(np.int8(3)),
        )
    return draft.constant(array)


def _broadcast(draw, shape):
    """A shape that may be added to one of `shape`, or nearly."""
    kept = shape[draw(st.integers(0, len(shape))) :]
    sizes = [size if draw(st.booleans()) else 1 for size in kept]
    if draw(st.integers(0, 7)) == 0:
        sizes = [1, *sizes]
    return sizes


def _mat_mul(draw, draft):
    cols, rows = draw(_SIZES), draw(_SIZES)
    outer = [draw(_SIZES) for _ in range(draw(st.integers(0, 3)))]
    ones = [1] * draw(st.sampled_from([0, 0, 0, 1, 2]))
    if draw(st.booleans()):
        draft.inputs["x"] = [*outer, cols]
        weight = _held(draw, draft, draft.floats(*ones, cols, rows))
        return draft.node("MatMul", "x", weight), [*outer, rows], False
    draft.inputs["x"] = [*outer, cols] if len(outer) == 0 else [*outer[1:], cols, outer[0]]
    weight = _held(draw, draft, draft.floats(*ones, rows, cols))
    shape = [rows] if not outer else [*outer[1:], rows, outer[0]]
    return draft.node("MatMul", weight, "x"), shape, False


def _gemm(draw, draft):
    cols, rows, batch = draw(_SIZES), draw(_SIZES), draw(_SIZES)
    swap_a, swap_b = draw(st.sampled_from([0, 0, 0, 1])), draw(st.integers(0, 1))
    draft.inputs["x"] = [cols, batch] if swap_a else [batch, cols]
    weight = draft.floats(rows, cols) if swap_b else draft.floats(cols, rows)
    given = ["x", _held(draw, draft, weight)]
    # C is optional since opset 11.
    if draft.opset < 11 or draw(st.booleans()):
        given.append(_held(draw, draft, draft.floats(*(_broadcast(draw, [batch, rows]) or [1]))))
    attributes = {"transA": swap_a, "transB": swap_b}
    if draw(st.booleans()):
        attributes |= {
            "alpha": draw(st.sampled_from([0.5, 2.0])),
            "beta": draw(st.sampled_from([0.0, 0.5, 3.0])),
        }
    return draft.node("Gemm", *given, **attributes), [batch, rows], False


def _conv(draw, draft):
    along = draw(st.sampled_from([1, 2, 2]))
    groups, rows, channels = draw(st.sampled_from([1, 1, 1, 2, 3])), draw(_SIZES), draw(_SIZES)
    kernel = [draw(st.integers(1, 3)) for _ in range(along)]
    size = [draw(st.integers(4, 9)) for _ in range(along)]
    draft.inputs["x"] = [draw(st.integers(1, 2)), channels * groups, *size]
    given = ["x", _held(draw, draft, draft.floats(rows * groups, channels, *kernel))]
    if draw(st.booleans()):
        given.append(_held(draw, draft, draft.floats(rows * groups)))
    attributes = {"group": groups} if groups > 1 else {}
    if draw(st.booleans()):
        attributes["kernel_shape"] = kernel
    if draw(st.booleans()):
        attributes["strides"] = [draw(st.integers(1, 3)) for _ in range(along)]
    pads = draw(st.sampled_from(["none", "pads", "SAME_UPPER", "SAME_LOWER", "VALID"]))
    if pads == "pads":
        attributes["pads"] = [draw(st.integers(0, 2)) for _ in range(2 * along)]
    elif pads != "none":
        attributes["auto_pad"] = pads
    if pads in ("none", "pads", "VALID") and draw(st.booleans()):
        attributes["dilations"] = [draw(st.integers(1, 2)) for _ in range(along)]
    return draft.node("Conv", *given, **attributes), [None] * (2 + along), True


def _recurrent(draw, draft):
    kind = draw(st.sampled_from(["GRU", "LSTM", "RNN"]))
    gates = {"GRU": 3, "LSTM": 4, "RNN": 1}[kind]
    hidden, cols = draw(_SIZES), draw(_SIZES)
    direction = draw(st.sampled_from(["forward", "reverse", "bidirectional"]))
    ways = 2 if direction == "bidirectional" else 1
    draft.inputs["x"] = [draw(_SIZES), draw(st.integers(1, 2)), cols]
    given = ["x"]
    # Exporters of old opsets put the directions in front with Unsqueeze and Concat.
    if ways == 1 and draw(st.booleans()):
        given += [
            _axes(draft, "Unsqueeze", draft.constant(draft.floats(gates * hidden, width)), [0])
            for width in (cols, hidden)
        ]
    else:
        given += [_held(draw, draft, draft.floats(ways, gates * hidden, width)) for width in (cols, hidden)]
    if draw(st.booleans()):
        given.append(_held(draw, draft, draft.floats(ways, 2 * gates * hidden)))
    attributes = {"hidden_size": hidden, "direction": direction}
    if kind == "GRU":
        attributes["linear_before_reset"] = draw(st.integers(0, 1))
    made = draft.node(kind, *given, **attributes)
    return made, [None] * 4, False


def _behind(draw, draft, value, shape, is_conv):
    """What may follow the product, and be part of its layer or not."""
    for _ in range(draw(st.integers(0, 3))):
        known = None not in shape
        kind = draw(
            st.sampled_from(
                ["Add", "Add", "Relu", "Norm", "Pool", "Softmax", "Twice", "Mul", "Flatten", "Clip"]
            )
        )
        if kind in ("Add", "Mul") and (known or draw(st.booleans())):
            sizes = _broadcast(draw, shape) if known else [1]
            given = [value, _held(draw, draft, draft.floats(*(sizes or [1])))]
            value = draft.node(kind, *draw(st.permutations(given)))
            if known:
                shape = list(np.broadcast_shapes(tuple(shape), tuple(sizes)))
        elif kind == "Relu":
            value = draft.node("Relu", value)
        elif kind == "Norm" and known and len(shape) >= 2 and not is_conv:
            parts = [draft.floats(shape[1]) for _ in range(3)] + [abs(draft.floats(shape[1])) + 0.5]
            value = draft.node("BatchNormalization", value, *map(draft.constant, parts), epsilon=1e-3)
        elif kind == "Pool" and is_conv:
            window = [draw(st.integers(1, 2)) for _ in shape[2:]]
            value = draft.node("MaxPool", value, kernel_shape=window, strides=[1] * len(window))
        elif kind == "Softmax":
            axis = {} if draw(st.booleans()) else {"axis": draw(st.integers(-1, len(shape) - 1))}
            value = draft.node("Softmax", value, **axis)
        elif kind == "Twice":
            value = draft.node("Add", value, value)
        elif kind == "Clip" and draft.opset < 11:
            value = draft.node("Clip", value, min=-0.5, max=0.5)
        elif kind == "Clip":
            value = draft.node("Clip", value, draft.constant(np.float32(-0.5)))
        elif kind == "Flatten" and draw(st.booleans()):
            value, shape, is_conv = draft.node("Flatten", value), [None, None], False
    return value


_SPOILED = {
    "strides": lambda values: [0, *values[1:]],
    "dilations": lambda values: [0, *values[1:]],
    "kernel_shape": lambda values: [value + 1 for value in values],
    "hidden_size": lambda value: 0,
    "direction": lambda value: "sideways",
    "auto_pad": lambda value: "SIDEWAYS",
    "group": lambda value: 0,
    "pads": lambda values: [-1, *values[1:]],
    "alpha": lambda value: 1,
    "transB": lambda value: 0.5,
}


def _spoil(draw, draft):
    """Make a graph invalid in one way."""
    node = next(
        node for node in draft.nodes if node.op_type in ("MatMul", "Gemm", "Conv", "GRU", "LSTM", "RNN")
    )
    ways = [a for a in node.attribute if a.name in _SPOILED]
    way = draw(
        st.sampled_from(
            [*range(len(ways)), "shape", "input", "circle", "activations", "twins", "twice made", "no such"]
        )
    )
    if isinstance(way, int):
        found = ways[way]
        given = helper.get_attribute_value(found)
        spoiled = _SPOILED[found.name](list(given) if isinstance(given, list) else given)
        found.CopyFrom(helper.make_attribute(found.name, spoiled))
    elif way == "shape":
        draft.inputs["x"][-1 if node.op_type != "Conv" else 1] += 1
    elif way == "input":
        node.input[1] = "nobody"
    elif way == "twins":
        draft.twins = True
    elif way == "twice made":
        draft.nodes.append(helper.make_node("Relu", ["x"], [draft.nodes[-1].output[0]], name="again"))
    elif way == "no such":
        node.attribute.append(helper.make_attribute("sideways", 1))
    elif way == "circle":
        node.input[list(node.input).index("x")] = draft.nodes[-1].output[0]
    elif node.op_type in ("GRU", "LSTM", "RNN"):
        node.attribute.append(helper.make_attribute("activations", ["Sideways"] * 6))
    else:
        node.input[list(node.input).index("x")] = "nobody"


@st.composite
def graphs(draw, spoiled=False):
    """A drawn model, and its output."""
    draft = Draft(draw(st.sampled_from(OPSETS)), draw(st.integers(0, 1 << 30)))
    product = draw(st.sampled_from([_mat_mul, _mat_mul, _gemm, _conv, _recurrent]))
    value, shape, is_conv = product(draw, draft)
    value = _behind(draw, draft, value, shape, is_conv)
    if spoiled:
        _spoil(draw, draft)
    return draft.model(value), value
