"""Drawn ONNX graphs of several products with everything between them: branches that meet again, bodies, several inputs
and types; valid ones, and such that onnxruntime refuses.
"""

import numpy as np
import onnx
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from tests.support.onnx_draws import OPSETS, Draft

WIDTH = st.integers(1, 5)
ELEMENT_WISE = (
    "Relu",
    "Tanh",
    "Sigmoid",
    "Abs",
    "Exp",
    "Softplus",
    "Erf",
    "LeakyRelu",
    "Elu",
    "Neg",
    "Identity",
)


class Whole(Draft):
    """A graph of values [batch, ..., width] of which any can be used again. shapes : of the values that are there."""

    def __post_init__(self):
        super().__post_init__()
        self.shapes = {}
        self.kinds = {}
        self.feeds = {}
        self.infos = []

    def input(self, shape, kind=np.float32, low=0, high=4):
        name = self.name()
        made = self.rng.normal(size=shape) if kind == np.float32 else self.rng.integers(low, high, shape)
        self.feeds[name] = np.asarray(made).astype(kind)
        element = helper.np_dtype_to_tensor_dtype(np.dtype(kind))
        self.infos.append(helper.make_tensor_value_info(name, element, shape))
        self.shapes[name] = list(shape)
        return name

    def made(self, shape, kind, *given, **about):
        name = self.node(kind, *given, **about)
        self.shapes[name] = list(shape)
        return name

    def fixed(self, array):
        return self.constant(np.asarray(array))

    def model(self, *outputs):
        graph = helper.make_graph(
            self.nodes,
            "drawn",
            self.infos,
            [onnx.ValueInfoProto(name=name) for name in outputs],
            [numpy_helper.from_array(array, name) for name, array in self.constants.items()],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8)


# ---- products ----------------------------------------------------------------------------------------------


def mat_mul(draw, g, x):
    rows = draw(WIDTH)
    return g.made([*g.shapes[x][:-1], rows], "MatMul", x, g.fixed(g.floats(g.shapes[x][-1], rows)))


def left_mat_mul(draw, g, x):
    *outer, height, width = g.shapes[x]
    rows = draw(WIDTH)
    return g.made([*outer, rows, width], "MatMul", g.fixed(g.floats(rows, height)), x)


def gemm(draw, g, x):
    size = g.shapes[x]
    flat = x if len(size) == 2 else g.made([size[0], int(np.prod(size[1:]))], "Flatten", x, axis=1)
    swap = draw(st.booleans())
    batch, cols = g.shapes[flat][::-1] if swap else g.shapes[flat]
    rows, turned = draw(WIDTH), draw(st.booleans())
    given = [flat, g.fixed(g.floats(rows, cols) if turned else g.floats(cols, rows))]
    bias = draw(st.sampled_from(["vector", "matrix", "computed", "none" if g.opset >= 11 else "vector"]))
    if bias == "computed":
        given.append(g.made([rows], "Tanh", g.fixed(g.floats(rows))))
    elif bias != "none":
        given.append(g.fixed(g.floats(*([batch, rows] if bias == "matrix" else [rows]))))
    about = {
        "transA": int(swap),
        "transB": int(turned),
        "alpha": 0.5,
        "beta": draw(st.sampled_from([1.0, 2.0])),
    }
    return g.made([batch, rows], "Gemm", *given, **about)


def conv(draw, g, x):
    size = g.shapes[x]
    if len(size) < 3:
        return mat_mul(draw, g, x)
    axes, channels = len(size) - 2, size[1]
    groups = draw(st.sampled_from([n for n in (1, 2, 3) if channels % n == 0]))
    kernel = [draw(st.integers(1, min(2, n))) for n in size[2:]]
    turned = draw(st.booleans())
    outputs = draw(WIDTH)
    weight = (channels, outputs, *kernel) if turned else (outputs * groups, channels // groups, *kernel)
    given = [x, g.fixed(g.floats(*weight))]
    if draw(st.booleans()):
        bias = g.fixed(g.floats(outputs * groups))
        given.append(g.made([outputs * groups], "Neg", bias) if draw(st.booleans()) else bias)
    about = {"kernel_shape": kernel, "group": groups, "strides": [draw(st.integers(1, 2)) for _ in kernel]}
    how = draw(st.sampled_from(["pads", "SAME_UPPER", "SAME_LOWER", "VALID"]))
    if how == "pads":
        about["pads"] = [draw(st.integers(0, k - 1)) for k in (*kernel, *kernel)]
        about["dilations"] = [
            draw(st.integers(1, 2)) if n > 2 * k else 1 for n, k in zip(size[2:], kernel, strict=True)
        ]
    else:
        about["auto_pad"] = how
    if turned and how == "pads":
        about["output_padding"] = [draw(st.integers(0, s - 1)) for s in about["strides"]]
    made = g.made([None] * (axes + 2), "ConvTranspose" if turned else "Conv", *given, **about)
    flat = g.made([size[0], None], "Flatten", made, axis=1)
    # The number of columns is not kept here: a mean of each picture goes on.
    return g.made(
        [size[0], 1],
        "ReduceMean" if g.opset < 18 else "ReduceMax",
        flat,
        *([g.fixed(np.array([1]))] if g.opset >= 18 else []),
        **({"axes": [1]} if g.opset < 18 else {}),
    )


def recurrent(draw, g, x):
    size = g.shapes[x]
    if len(size) != 3:
        return mat_mul(draw, g, x)
    kind = draw(st.sampled_from(["GRU", "LSTM", "RNN"]))
    rows, hidden = {"GRU": 3, "LSTM": 4, "RNN": 1}[kind], draw(WIDTH)
    way = draw(st.sampled_from(["forward", "reverse", "bidirectional"]))
    ways = 1 + (way == "bidirectional")
    given = [
        x,
        g.fixed(g.floats(ways, rows * hidden, size[2])),
        g.fixed(g.floats(ways, rows * hidden, hidden)),
    ]
    given.append(g.fixed(g.floats(ways, 2 * rows * hidden)) if draw(st.booleans()) else "")
    given.append(g.fixed(np.full(size[1], size[0], np.int32)) if draw(st.integers(0, 4)) == 0 else "")
    if draw(st.booleans()):
        given.append(g.fixed(g.floats(ways, size[1], hidden)))
    about = {"hidden_size": hidden, "direction": way}
    if draw(st.integers(0, 4)) == 0:
        about["clip"] = 1.0
    if kind == "GRU":
        about["linear_before_reset"] = draw(st.integers(0, 1))
    y = g.made([size[0], ways, size[1], hidden], kind, *given, **about)
    y = g.made([size[0], size[1], ways, hidden], "Transpose", y, perm=[0, 2, 1, 3])
    shape = g.fixed(np.array([size[0], size[1], ways * hidden]))
    return g.made([size[0], size[1], ways * hidden], "Reshape", y, shape)


def einsum(draw, g, x):
    size = g.shapes[x]
    if g.opset < 12 or len(size) < 2:
        return mat_mul(draw, g, x)
    letters = "abcdef"[: len(size)]
    summed = draw(st.sampled_from([letters[-1], letters[-2:]])) if len(size) > 2 else letters[-1]
    sizes = dict(zip(letters, size, strict=True)) | {"y": draw(WIDTH), "z": draw(WIDTH)}
    kept = draw(st.sampled_from(["y", "yz"]))
    own = "".join(draw(st.permutations(summed + kept)))
    made = "".join(one for one in letters if one not in summed) + kept
    made = made[0] + "".join(draw(st.permutations(made[1:])))
    weight = g.fixed(g.floats(*(sizes[one] for one in own)))
    first = draw(st.booleans())
    equation = f"{own},{letters}->{made}" if first else f"{letters},{own}->{made}"
    given = (weight, x) if first else (x, weight)
    return g.made([sizes[one] for one in made], "Einsum", *given, equation=equation)


# ---- what lies between -------------------------------------------------------------------------------------


def element_wise(draw, g, x):
    kind = draw(st.sampled_from(ELEMENT_WISE))
    x = g.made(g.shapes[x], "Tanh", x) if kind == "Exp" else x
    return g.made(g.shapes[x], kind, x)


def softmax(draw, g, x):
    return g.made(g.shapes[x], draw(st.sampled_from(["Softmax", "LogSoftmax"])), x, axis=len(g.shapes[x]) - 1)


def joined(draw, g, x):
    """Something with another value that is there."""
    same = [name for name, shape in g.shapes.items() if shape == g.shapes[x] and g.kinds.get(name, 1) == 1]
    other = draw(st.sampled_from(same))
    return g.made(g.shapes[x], draw(st.sampled_from(["Add", "Sub", "Mul", "Max"])), x, other)


def attention(draw, g, x):
    size = g.shapes[x]
    if len(size) < 2:
        return x
    turned = g.made(
        [*size[:-2], size[-1], size[-2]],
        "Transpose",
        x,
        perm=[*range(len(size) - 2), len(size) - 1, len(size) - 2],
    )
    score = g.made([*size[:-1], size[-2]], "MatMul", x, turned)
    score = g.made(g.shapes[score], "Softmax", g.made(g.shapes[score], "Tanh", score), axis=len(size) - 1)
    return g.made(size, "MatMul", score, x)


def norm(draw, g, x):
    size = g.shapes[x]
    if None in size or len(size) < 2:
        return x
    parts = [g.floats(size[1]) for _ in range(3)] + [abs(g.floats(size[1])) + 0.5]
    return g.made(size, "BatchNormalization", x, *map(g.fixed, parts))


def layer_norm(draw, g, x):
    if g.opset < 17:
        return element_wise(draw, g, x)
    return g.made(g.shapes[x], "LayerNormalization", x, g.fixed(g.floats(g.shapes[x][-1])), axis=-1)


def reshaped(draw, g, x):
    size = g.shapes[x]
    if draw(st.booleans()) and len(size) > 1:
        order = [0, *draw(st.permutations(range(1, len(size))))]
        return g.made([size[i] for i in order], "Transpose", x, perm=order)
    made = [size[0], -1] if len(size) > 2 else [size[0], 1, size[1]]
    shape = [size[0], int(np.prod(size[1:]))] if len(size) > 2 else made
    return g.made(shape, "Reshape", x, g.fixed(np.array(made)))


def embedded(draw, g, x):
    """Tokens, whose vectors are added."""
    size = g.shapes[x]
    kind = draw(st.sampled_from([np.int64, np.int32]))
    tokens = g.input(size[:-1], kind)
    g.kinds[tokens] = 0
    return g.made(size, "Add", x, g.made(size, "Gather", g.fixed(g.floats(4, size[-1])), tokens))


def _body(g, build, inputs, outputs):
    inner = Whole(g.opset, g.seed + len(g.nodes) + 1)
    inner.count = 1000 * (len(g.nodes) + 1)
    found = build(inner)
    return helper.make_graph(
        inner.nodes,
        "body",
        inputs,
        [helper.make_tensor_value_info(name, kind, None) for name, kind in zip(found, outputs, strict=True)],
        [numpy_helper.from_array(array, name) for name, array in inner.constants.items()],
    )


def looped(draw, g, x):
    """A matrix in the body of a Loop, and what each round makes, or one in a branch."""
    size, width = g.shapes[x], g.shapes[x][-1]
    matrix = g.floats(width, width) if draw(st.booleans()) else None
    outer = g.fixed(g.floats(width, width))
    if draw(st.booleans()):
        rounds = g.fixed(np.array(draw(st.integers(1, 3))))

        def build(b):
            weight = outer if matrix is None else b.fixed(matrix)
            y = b.node("Tanh", b.node("MatMul", "state", weight))
            return [b.node("Identity", "on"), y, b.node("Abs", y)]

        given = [
            ("number", TensorProto.INT64, []),
            ("on", TensorProto.BOOL, []),
            ("state", TensorProto.FLOAT, None),
        ]
        infos = [helper.make_tensor_value_info(*one) for one in given]
        body = _body(g, build, infos, [TensorProto.BOOL, TensorProto.FLOAT, TensorProto.FLOAT])
        names = [g.name(), g.name()]
        g.nodes.append(helper.make_node("Loop", [rounds, "", x], names, body=body, name=f"loop_{names[0]}"))
        return g.made(size, "Identity", names[0])
    flat = g.node("ReduceMax", x, keepdims=0)
    asked = g.node("Less", flat, g.fixed(np.float32(0.5)))

    def build_then(b):
        return [b.node("MatMul", x, outer if matrix is None else b.fixed(matrix))]

    branches = {
        "then_branch": _body(g, build_then, [], [TensorProto.FLOAT]),
        "else_branch": _body(g, lambda b: [b.node("Neg", x)], [], [TensorProto.FLOAT]),
    }
    name = g.name()
    g.nodes.append(helper.make_node("If", [asked], [name], name=f"if_{name}", **branches))
    return g.made(size, "Identity", name)


PRODUCTS = (mat_mul, mat_mul, left_mat_mul, gemm, conv, recurrent, einsum, looped)
OTHERS = (element_wise, softmax, joined, joined, attention, norm, layer_norm, reshaped, embedded)


def _spoil(draw, g, x):
    """Make the graph wrong in one way."""
    way = draw(st.sampled_from(["operator", "nobody", "columns", "type", "axis", "circle"]))
    node = draw(st.sampled_from(g.nodes))
    if way == "operator":
        node.op_type = "Nonsense"
    elif way == "nobody":
        node.input[0] = "nobody"
    elif way == "columns":
        return g.node("MatMul", x, g.fixed(g.floats(g.shapes[x][-1] + 1, 2)))
    elif way == "type":
        return g.node("MatMul", x, g.fixed(np.ones((g.shapes[x][-1], 2), np.int64)))
    elif way == "axis":
        return g.node("Softmax", x, axis=9)
    else:
        node.input[0] = g.nodes[-1].output[0]
    return x


@st.composite
def whole_graphs(draw, spoiled=False):
    """A drawn model, its inputs, and the names of its outputs."""
    g = Whole(draw(st.sampled_from(OPSETS)), draw(st.integers(0, 1 << 30)))
    x = g.input(
        [draw(st.integers(1, 3)) for _ in range(draw(st.integers(0, 3)))] + [draw(st.integers(2, 5))] * 1
    )
    if len(g.shapes[x]) == 1:
        x = g.made([1, *g.shapes[x]], "Reshape", x, g.fixed(np.array([1, -1])))
    for number in range(draw(st.integers(1, 5))):
        among = PRODUCTS if draw(st.integers(0, 9 if number == 0 else 1)) else OTHERS
        x = draw(st.sampled_from(among))(draw, g, x)
        if draw(st.integers(0, 3)) == 0:  # another branch
            floats = [name for name in g.shapes if g.kinds.get(name, 1) and None not in g.shapes[name]]
            x = draw(st.sampled_from([name for name in floats if len(g.shapes[name]) > 1]))
    outputs = [g.made(g.shapes[x], "Identity", x)]
    if draw(st.booleans()):
        outputs.append(g.node("ArgMax", x, axis=0))
    if spoiled:
        outputs[0] = _spoil(draw, g, x)
        # No node that nobody needs: onnxruntime runs these, too, and may stumble over one, where we do not.
        outputs += [name for node in g.nodes for name in node.output if name]
    return g.model(*dict.fromkeys(outputs)), g.feeds, outputs
