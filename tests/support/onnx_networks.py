"""Small ONNX graphs with random weights, for the tests of networks."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17


def node(kind, takes, gives, **attributes):
    return helper.make_node(kind, takes, gives, name=f"{kind}_{gives[0]}", **attributes)


def save(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    arrays: Mapping[str, np.ndarray],
    inputs: Mapping[str, Sequence[int | str]],
    outputs: Sequence[str] = ("y",),
) -> Path:
    """A graph of float inputs and outputs in a file."""
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
    # The outputs' shapes are a graph's duty.
    onnx.save(onnx.shape_inference.infer_shapes(model), path)
    return path


def weights(seed: int, **shapes: Sequence[int]) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        name: (rng.normal(size=shape) / np.sqrt(shape[-1])).astype(np.float32)
        for name, shape in shapes.items()
    }


GATES = {"GRU": 3, "LSTM": 4, "RNN": 1}


def recurrent(
    path: Path,
    kind: str,
    *,
    directions: int = 1,
    biases: bool = True,
    state: bool = False,
    **attributes: object,
) -> Path:
    """One recurrent node, sequences [time, 2, 6], 5 units; its Y and last states are the outputs."""
    rows = GATES[kind] * 5
    shapes = {"w": (directions, rows, 6), "r": (directions, rows, 5)}
    if biases:
        shapes["b"] = (directions, 2 * rows)
    if state:
        shapes["h"] = (directions, 2, 5)
    if state and kind == "LSTM":
        shapes |= {"c": (directions, 2, 5), "p": (directions, 15)}
    arrays = weights(3, **shapes)
    takes = ["x", "w", "r", "b" if biases else "", "", "h" if state else ""]
    takes += ["c", "p"] if state and kind == "LSTM" else []
    while not takes[-1]:
        takes.pop()
    gives = ["y", "y_h", *(["y_c"] if kind == "LSTM" else [])]
    return save(
        path, [node(kind, takes, gives, hidden_size=5, **attributes)], arrays, {"x": ["t", 2, 6]}, gives
    )


def denoiser(path: Path, kind: str = "GRU", bins: int = 9, hidden: int = 10) -> Path:
    """Like nsnet2: matrix and ReLU, a recurrent layer whose first state is computed, a matrix, gains."""
    gates = GATES[kind]
    arrays = weights(
        1,
        fc=(bins, 12),
        fc_b=(12,),
        w=(1, gates * hidden, 12),
        r=(1, gates * hidden, hidden),
        b=(1, 2 * gates * hidden),
        out=(bins, hidden),
        out_b=(bins,),
    )
    one = {"zero": 0, "axis": [0], "one": [1], "units": [hidden]}
    arrays |= {name: np.array(value, np.int64) for name, value in one.items()}
    nodes = [
        node("MatMul", ["x", "fc"], ["a0"]),
        node("Add", ["fc_b", "a0"], ["a1"]),
        node("Relu", ["a1"], ["a2"]),
        node("Shape", ["a2"], ["shape"]),
        node("Gather", ["shape", "zero"], ["batch"], axis=0),
        node("Unsqueeze", ["batch", "axis"], ["batch1"]),
        node("Concat", ["one", "batch1", "units"], ["state"], axis=0),
        node("ConstantOfShape", ["state"], ["h0"]),
        node("Transpose", ["a2"], ["s0"], perm=[1, 0, 2]),
        node(
            kind,
            ["s0", "w", "r", "b", "", "h0"],
            ["s1", "last"],
            hidden_size=hidden,
            **({"linear_before_reset": 1} if kind == "GRU" else {}),
        ),
        node("Squeeze", ["s1", "one"], ["s2"]),
        node("Transpose", ["s2"], ["s3"], perm=[1, 0, 2]),
        node("Reshape", ["s3", "flat"], ["s4"]),
        node("Gemm", ["s4", "out", "out_b"], ["g0"], transB=1),
        node("Sigmoid", ["g0"], ["g1"]),
        node("Reshape", ["g1", "frames"], ["y"]),
    ]
    arrays |= {"flat": np.array([-1, hidden]), "frames": np.array([1, -1, bins])}
    return save(path, nodes, arrays, {"x": ["batch", "time", bins]})


def pictures(path: Path, size: int = 12) -> Path:
    """Two convolutions with pooling in and after them, batch normalisation, a matrix, softmax."""
    arrays = weights(2, k1=(3, 1, 3, 3), b1=(3,), k2=(4, 3, 3, 3), b2=(4,), fc=(4, 5), fc_b=(5,))
    rng = np.random.default_rng(4)
    arrays |= {name: rng.random(4).astype(np.float32) + 0.5 for name in ("scale", "shift", "mean", "var")}
    nodes = [
        node("Conv", ["x", "k1", "b1"], ["c1"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        node("Relu", ["c1"], ["c2"]),
        node("MaxPool", ["c2"], ["c3"], kernel_shape=[2, 2], strides=[2, 2]),
        node("Conv", ["c3", "k2", "b2"], ["c4"], kernel_shape=[3, 3]),
        node("BatchNormalization", ["c4", "scale", "shift", "mean", "var"], ["c5"]),
        node("MaxPool", ["c5"], ["c6"], kernel_shape=[2, 2], strides=[1, 1]),
        node("GlobalAveragePool", ["c6"], ["c7"]),
        node("Flatten", ["c7"], ["c8"]),
        node("Gemm", ["c8", "fc", "fc_b"], ["c9"]),
        node("Softmax", ["c9"], ["y"], axis=1),
    ]
    return save(path, nodes, arrays, {"x": [1, 1, size, size]})


def folded(path: Path) -> Path:
    """Convolutions of groups, dilation and uneven padding, batch normalisation behind layers and elsewhere, one matrix
    twice.
    """
    arrays = weights(6, k1=(4, 1, 3, 2), k2=(3, 4, 3, 3), b2=(3,), fc=(27, 40), fc_b=(40,))
    arrays |= weights(7, **{"sq.weight": (40, 40)})
    rng = np.random.default_rng(8)
    norms = {size: [f"{name}{size}" for name in ("scale", "shift", "mean", "var")] for size in (4, 40)}
    for size, names in norms.items():
        arrays |= {name: rng.random(size).astype(np.float32) + 0.5 for name in names}
    about = {"group": 2, "dilations": [2, 1], "pads": [1, 0, 2, 1]}
    nodes = [
        node("Conv", ["x", "k1"], ["c1"], kernel_shape=[3, 2], **about),
        node("BatchNormalization", ["c1", *norms[4]], ["c2"]),
        node("Relu", ["c2"], ["c3"]),
        node("Conv", ["c3", "k2", "b2"], ["c4"], kernel_shape=[3, 3], auto_pad="SAME_LOWER", strides=[2, 3]),
        node("Sigmoid", ["c4"], ["c5"]),
        node("Flatten", ["c5"], ["c6"]),
        node("MatMul", ["c6", "fc"], ["c7"]),
        node("Add", ["c7", "fc_b"], ["c8"]),
        node("BatchNormalization", ["c8", *norms[40]], ["c9"], epsilon=0.1),
        node("Relu", ["c9"], ["c10"]),
        node("MatMul", ["c10", "sq.weight"], ["c11"]),
        node("Tanh", ["c11"], ["c12"]),
        node("MatMul", ["c12", "sq.weight"], ["c13"]),
        node("Relu", ["c13"], ["c14"]),
        node("BatchNormalization", ["c14", *norms[40]], ["y"]),
    ]
    return save(path, nodes, arrays, {"x": [1, 2, 6, 8]})


def along_one_dimension(path: Path) -> Path:
    """A convolution along time with a stride, pooled; then A @ x, with a constant on the left."""
    arrays = weights(5, k=(4, 2, 3), b=(4,), a=(6, 4), d=(6, 1))
    nodes = [
        node("Conv", ["x", "k", "b"], ["c1"], kernel_shape=[3], strides=[2], pads=[1, 1]),
        node("MaxPool", ["c1"], ["c2"], kernel_shape=[2]),
        node("Relu", ["c2"], ["c3"]),
        node("MatMul", ["a", "c3"], ["c4"]),
        node("Add", ["c4", "d"], ["c5"]),
        node("Tanh", ["c5"], ["y"]),
    ]
    return save(path, nodes, arrays, {"x": ["n", 2, "length"]})
