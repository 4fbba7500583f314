"""Readers of models and inputs."""

import json
import os
import pickle
import struct
import tracemalloc
import zipfile
from contextlib import suppress

import numpy as np
import onnx
import pytest
import safetensors.numpy
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from eie.compress.float_layers import FloatLayer, check_chains, check_inputs, float_forward, no_chain
from eie.compress.format.file import load
from eie.compress.pipeline import compress_to_file
from eie.compress.readers.files import read_model
from eie.conv import Conv
from eie.errors import ModelError
from eie.sim.workloads.inputs import read_inputs, read_vectors

rng = np.random.default_rng(3)


def floats(*shape):
    return rng.normal(size=shape).astype(np.float32)


def summary(layers):
    return [(x.name, x.weight.shape, x.bias is not None, x.relu) for x in layers]


def unused(model):
    return [str(one) for one in model.unused]


def test_safetensors_in_natural_order(tmp_path):
    tensors = {
        "fc10.weight": floats(2, 3),
        "fc2.weight": floats(3, 4),
        "fc2.bias": floats(3),
        "scale": floats(4),
    }
    safetensors.numpy.save_file(tensors, tmp_path / "net.safetensors")
    layers = read_model(tmp_path / "net.safetensors").layers
    assert summary(layers) == [("fc2", (3, 4), True, True), ("fc10", (2, 3), False, False)]
    assert np.array_equal(layers[0].bias, tensors["fc2.bias"])


def test_safetensors_half_precisions(tmp_path):
    path = tmp_path / "half.safetensors"
    header = json.dumps({"fc.weight": {"dtype": "BF16", "shape": [1, 2], "data_offsets": [0, 4]}}).encode()
    # 1.0 and -2.0 in bfloat16.
    path.write_bytes(struct.pack("<Q", len(header)) + header + struct.pack("<HH", 0x3F80, 0xC000))
    assert read_model(path).layers[0].weight.tolist() == [[1.0, -2.0]]
    safetensors.numpy.save_file({"fc.weight": np.float16([[0.5]])}, path)
    assert read_model(path).layers[0].weight.tolist() == [[0.5]]


def test_npz_in_file_order(tmp_path):
    path = tmp_path / "net.npz"
    np.savez(
        path,
        b_w=floats(3, 4),
        b_b=floats(3),
        W1=floats(2, 3),
        b1=floats(2),
        images=np.zeros((5, 5), np.uint8),
    )
    model = read_model(path)
    assert summary(model.layers) == [("b", (3, 4), True, True), ("W1", (2, 3), True, False)]
    assert unused(model) == ["images uint8[5, 5] (not floating point)"]


@pytest.mark.parametrize("shape", [(3,), (1, 3), (3, 1)])
@pytest.mark.parametrize(
    ("weight", "bias"),
    [
        ("fc1.weight", "fc1.bias"),
        ("weights", "biases"),
        ("w", "b"),
        ("w", "bias"),
        ("W1", "b1"),
        ("W1", "bias1"),
    ],
)
def test_forms_of_a_bias(tmp_path, weight, bias, shape):
    arrays = {bias: floats(*shape), weight: floats(3, 4), "last": floats(2, 3)}
    np.savez(tmp_path / "net.npz", **arrays)
    one, two = read_model(tmp_path / "net.npz").layers
    assert np.array_equal(one.weight, arrays[weight])
    assert np.array_equal(one.bias, arrays[bias].ravel())
    assert (two.name, two.bias) == ("last", None)


def test_a_bias_is_never_a_weight(tmp_path):
    # Their weights are of another type, or missing.
    others = {
        "W1": np.ones((2, 3), int),
        "b1": floats(1, 2),
        "a.bias": floats(2, 2),
        "rnn.bias_ih_l0": floats(2, 2),
    }
    np.savez(tmp_path / "net.npz", **others, **{"fc.weight": floats(2, 3)})
    model = read_model(tmp_path / "net.npz")
    assert summary(model.layers) == [("fc", (2, 3), False, False)]
    assert unused(model) == [
        "W1 int64[2, 3] (not floating point)",
        "b1 float32[1, 2] (a bias without a layer)",
        "a.bias float32[2, 2] (a bias without a layer)",
        "rnn.bias_ih_l0 float32[2, 2] (a bias without a layer)",
    ]


def test_what_is_no_layer_is_listed_with_the_reason(tmp_path):
    others = {
        "scale": np.float32(2),
        "norm.weight": floats(3),
        "volume.weight": floats(1, 1, 2, 2, 2),
        "none.weight": floats(0, 3),
        "long.weight": np.zeros((1, 1, 70_000), np.float32),
        "words.weight": np.array([["a", "b"]]),
    }
    np.savez(tmp_path / "net.npz", **others, **{"fc.weight": floats(2, 3)})
    with zipfile.ZipFile(tmp_path / "net.npz", "a") as archive:
        archive.writestr("about.txt", "made by hand")
    model = read_model(tmp_path / "net.npz")
    assert [layer.name for layer in model.layers] == ["fc"]
    assert unused(model) == [
        "scale float32[] (one number)",
        "norm.weight float32[3] (a vector that is not a bias of any layer)",
        "volume.weight float32[1, 1, 2, 2, 2] (5 dimensions; layers have 2, convolutions 3 or 4)",
        "none.weight float32[0, 3] (empty)",
        "long.weight float32[1, 1, 70000] (a kernel longer than 65536)",
        "words.weight <U1[1, 2] (not floating point)",
        "about.txt no array[] (not in NumPy's format)",
    ]


def test_convolutions_are_matrices(tmp_path):
    two, one = floats(6, 3, 2, 4), floats(5, 6, 3)
    np.savez(
        tmp_path / "net.npz",
        **{"a.weight": two, "a.bias": floats(6), "b.weight": one, "fc.weight": floats(2, 20)},
    )
    a, b, fc = read_model(tmp_path / "net.npz").layers
    expected = [("a", (6, 24), True, True), ("b", (5, 18), False, True), ("fc", (2, 20), False, False)]
    assert summary([a, b, fc]) == expected
    assert (a.conv, b.conv, fc.conv) == (Conv((2, 4)), Conv((1, 3)), None)
    assert np.array_equal(a.weight, two.reshape(6, 24))
    assert (a.inputs, a.outputs) == (0, 0)  # until somebody says how large its images are


def test_relu_only_where_layers_may_follow_one_another(tmp_path):
    def relus(**shapes):
        np.savez(tmp_path / "net.npz", **{f"{name}.weight": floats(*shape) for name, shape in shapes.items()})
        return [layer.relu for layer in read_model(tmp_path / "net.npz").layers]

    assert relus(a=(3, 4), b=(2, 3), c=(1, 2)) == [True, True, False]
    assert relus(a=(3, 4), b=(3, 4), c=(2, 3)) == [False, False, False]
    assert relus(a=(3, 1, 5, 5), b=(2, 3, 3, 3), c=(1, 8)) == [True, True, False]
    assert relus(a=(3, 1, 5, 5), b=(2, 4, 3, 3)) == [False, False]
    assert relus(a=(3, 1, 5, 5), c=(1, 8)) == [False, False]
    np.savez(tmp_path / "net.npz", weight_ih_l0=floats(3, 3), weight_hh_l0=floats(3, 3))
    assert [x.relu for x in read_model(tmp_path / "net.npz").layers] == [False, False]


def test_layers_are_read_when_they_are_asked_for(tmp_path):
    path = tmp_path / "net.safetensors"
    weight = floats(3, 4)
    safetensors.numpy.save_file({"a.weight": weight, "b.weight": floats(2, 3)}, path)
    model = read_model(path)
    # The header has been read, nothing else: a change of the data shows.
    data = bytearray(path.read_bytes())
    start = 8 + struct.unpack_from("<Q", data)[0]
    data[start : start + weight.nbytes] = (2 * weight).tobytes()
    path.write_bytes(data)
    assert np.array_equal(model.layers[0].weight, 2 * weight)
    assert [layer.name for layer in model.layers[1:]] == ["b"]
    assert pickle.loads(pickle.dumps(model.layers))[0].name == "a"
    path.unlink()
    with pytest.raises(
        ModelError, match=r"net.safetensors: cannot be read as .safetensors: No such file or directory$"
    ):
        model.layers[1]


def test_safetensors_of_other_types_are_not_lost(tmp_path):
    path = tmp_path / "net.safetensors"
    safetensors.numpy.save_file({"fc.weight": floats(2, 3), "fc.bias": np.ones(2, np.int64)}, path)
    with pytest.raises(ModelError, match=r"layer 'fc': a bias must be floats .* not fc.bias int64\[2\]$"):
        list(read_model(path).layers)
    header = {
        "fc.weight": {"dtype": "F32", "shape": [1, 2], "data_offsets": [0, 8]},
        "scale": {"dtype": "F8_E4M3", "shape": [3], "data_offsets": [8, 11]},
    }
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(11))
    assert unused(read_model(path)) == ["scale float8_e4m3fn[3] (a vector that is not a bias of any layer)"]


def graph_file(path, nodes, constants, inputs=("x", [None, 4]), output="y", **more):
    """more : further inputs, and their shapes."""
    shapes = dict([inputs]) | more
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph), path)
    return path


def test_onnx_forms_of_a_fully_connected_layer(tmp_path):
    a, b, c, d = floats(4, 3), floats(3), floats(2, 3), floats(2)
    e, f = floats(2, 5), floats(5)
    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["t1"], name="first"),
        helper.make_node("Add", ["b", "t1"], ["t2"]),
        helper.make_node("Relu", ["t2"], ["t3"]),
        helper.make_node("Gemm", ["t3", "fc2.weight", "d"], ["t4"], transB=1, alpha=2.0, beta=0.5),
        helper.make_node("Constant", [], ["e"], value=numpy_helper.from_array(e)),
        helper.make_node("Gemm", ["t4", "e", "f"], ["y"]),
    ]
    path = graph_file(tmp_path / "net.onnx", nodes, {"a": a, "b": b, "fc2.weight": c, "d": d, "f": f})
    layers = read_model(path).layers
    assert [x.name for x in layers] == ["first", "fc2", "e"]
    assert [x.relu for x in layers] == [True, False, False]
    expected = [(a.T, b), (2 * c, 0.5 * d), (e.T, f)]
    for layer, (weight, bias) in zip(layers, expected, strict=True):
        assert np.array_equal(layer.weight, weight)
        assert np.array_equal(layer.bias, bias)


def test_onnx_transposed_weights_and_column_vectors(tmp_path):
    a, b, c = floats(3, 4), floats(2, 3), floats(2, 1)
    extra = np.ones((1, 4), np.float32)
    nodes = [
        helper.make_node("Transpose", ["a"], ["at"], perm=[1, 0]),
        helper.make_node("MatMul", ["x", "at"], ["t1"]),
        helper.make_node("Transpose", ["t1"], ["t2"]),
        helper.make_node("MatMul", ["b", "t2"], ["t3"]),
        helper.make_node("Add", ["t3", "c"], ["y"]),
    ]
    model = read_model(graph_file(tmp_path / "net.onnx", nodes, {"a": a, "d": extra, "b": b, "c": c}))
    layers = model.layers
    assert unused(model) == ["d float32[1, 4] (no node takes it)"]
    assert np.array_equal(layers[0].weight, a)
    assert layers[0].bias is None
    assert np.array_equal(layers[1].weight, b)
    assert np.array_equal(layers[1].bias, c.ravel())


def test_onnx_gru(tmp_path):
    w, r, b = floats(1, 9, 4), floats(1, 9, 3), floats(1, 18)
    node = helper.make_node("GRU", ["x", "c1", "c2", "c3"], ["y"], hidden_size=3, name="gru")
    path = graph_file(tmp_path / "net.onnx", [node], {"c1": w, "c2": r, "c3": b}, ("x", [None, 1, 4]))
    layers = read_model(path).layers
    assert summary(layers) == [("gru.W", (9, 4), True, False), ("gru.R", (9, 3), True, False)]
    assert np.array_equal(layers[1].bias, b[0, 9:])


def test_onnx_names_from_biases_and_reasons(tmp_path):
    constants = {
        "17": floats(4, 3),
        "enc.0.bias": floats(3),
        "18": floats(2, 3, 5),
        "depth.weight": np.zeros((8192, 1, 2), np.float32),
        "table": np.ones((3, 2), np.int64),
    }
    nodes = [
        helper.make_node("MatMul", ["x", "17"], ["t1"]),
        helper.make_node("Add", ["t1", "enc.0.bias"], ["t2"]),
        helper.make_node("MatMul", ["t2", "18"], ["t3"]),
        helper.make_node("Conv", ["s", "depth.weight"], ["t4"], group=8192),
        helper.make_node("Cast", ["t4"], ["t5"], to=TensorProto.INT64),
        helper.make_node("Gather", ["table", "t5"], ["t6"]),
        helper.make_node("Cast", ["t6"], ["y"], to=TensorProto.FLOAT),
    ]
    model = read_model(graph_file(tmp_path / "net.onnx", nodes, constants, s=[1, 8192, 9]))
    assert summary(model.layers) == [("enc.0", (3, 4), True, False)]
    assert unused(model) == [
        "18 float32[2, 3, 5] (3 dimensions, and the other factor has no batch of as many; use a matrix)",
        "depth.weight float32[8192, 1, 2] (a convolution of 8192 groups, too large as one matrix)",
        "table int64[3, 2] (for Gather)",
        "MatMul (1) (an operation that belongs to no layer)",
        "Conv (1) (an operation that belongs to no layer)",
    ]


def conv_graph(path, size, *after, weight=None, **attributes):
    nodes = [helper.make_node("Conv", ["x", "c.weight", "c.bias"], ["t0"], **attributes)]
    for i, (kind, more) in enumerate(after):
        nodes.append(helper.make_node(kind, [f"t{i}"], [f"t{i + 1}"], **more))
    weight = floats(6, 3, 3, 3) if weight is None else weight
    constants = {"c.weight": weight, "c.bias": floats(6)}
    return graph_file(path, nodes, constants, ("x", [None, 3, *size]), f"t{len(after)}")


POOL = ("MaxPool", {"kernel_shape": [2, 2], "strides": [2, 2]})


@pytest.mark.parametrize(
    ("after", "attributes", "conv", "relu"),
    [
        ([], {}, Conv((3, 3), size=(9, 8)), False),
        ([("Relu", {}), POOL], {}, Conv((3, 3), pool=(2, 2), pool_stride=(2, 2), size=(9, 8)), True),
        ([POOL, ("Relu", {})], {}, Conv((3, 3), pool=(2, 2), pool_stride=(2, 2), size=(9, 8)), True),
        (
            [("MaxPool", {"kernel_shape": [3, 2]})],
            {"strides": [1, 2], "pads": [1, 2, 1, 2]},
            Conv((3, 3), (1, 2), (1, 2), (3, 2), (1, 1), (9, 8)),
            False,
        ),
    ],
)
def test_onnx_convolutions(tmp_path, after, attributes, conv, relu):
    path = conv_graph(tmp_path / "net.onnx", (9, 8), *after, **attributes)
    model = read_model(path)
    (layer,) = model.layers
    assert (layer.name, layer.conv, layer.relu, layer.weight.shape) == ("c", conv, relu, (6, 27))
    assert model.unused == ()
    same_as_the_graph(path, floats(1, 3, 9, 8))


def same_as_the_graph(path, x):
    """The layers, run one after the other, give what ONNX's evaluator gives."""
    (expected,) = ReferenceEvaluator(str(path)).run(None, {"x": x})
    found = float_forward(read_model(path).layers, x.reshape(len(x), -1))
    assert np.allclose(found, expected.reshape(len(x), -1), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("attributes", "weight", "kernel", "padding"),
    [
        # Zeros beside the kernel stand for padding that differs from side to side; between, for dilation.
        ({"pads": [1, 1, 0, 0]}, (6, 3, 3, 3), (4, 4), (1, 1)),
        ({"pads": [0, 2, 3, 1], "strides": [2, 1]}, (6, 3, 3, 2), (6, 3), (3, 2)),
        ({"dilations": [2, 3]}, (6, 3, 3, 2), (5, 4), (0, 0)),
        ({"dilations": [2, 1], "pads": [1, 0, 2, 0]}, (6, 3, 3, 2), (6, 2), (2, 0)),
        ({"auto_pad": "SAME_UPPER"}, (6, 3, 3, 3), (3, 3), (1, 1)),
        ({"auto_pad": "SAME_UPPER", "strides": [2, 2]}, (6, 3, 3, 3), (3, 4), (1, 1)),
        ({"auto_pad": "SAME_LOWER", "strides": [1, 3]}, (6, 3, 4, 3), (5, 4), (2, 1)),
        ({"auto_pad": "VALID"}, (6, 3, 3, 3), (3, 3), (0, 0)),
        # Zeros stand for what a group does not see.
        ({"group": 3}, (6, 1, 3, 3), (3, 3), (0, 0)),
        ({"group": 3, "pads": [0, 0, 1, 1], "dilations": [1, 2]}, (6, 1, 3, 3), (4, 6), (1, 1)),
    ],
)
def test_onnx_convolutions_that_zeros_make_plain(tmp_path, attributes, weight, kernel, padding):
    path = conv_graph(tmp_path / "net.onnx", (9, 8), POOL, weight=floats(*weight), **attributes)
    model = read_model(path)
    (layer,) = model.layers
    assert (layer.conv.kernel, layer.conv.padding, layer.weight.shape) == (
        kernel,
        padding,
        (6, 3 * kernel[0] * kernel[1]),
    )
    assert np.count_nonzero(layer.weight) == np.prod(weight)
    assert model.unused == ()
    same_as_the_graph(path, floats(2, 3, 9, 8))


def norm(place, size):
    """Name and vectors of a batch normalisation."""
    vectors = (floats(size), floats(size), floats(size), np.abs(floats(size)) + 0.1)
    return {f"n{place}.{i}": vector for i, vector in enumerate(vectors)}


@pytest.mark.parametrize("bias", [True, False])
def test_onnx_batch_normalisation_becomes_part_of_the_layer(tmp_path, bias):
    constants = {
        "c.weight": floats(4, 2, 3, 3),
        **norm(0, 4),
        "a": floats(24, 5),
        "b": floats(5),
        **norm(1, 5),
        "d": floats(5, 3),
        "e": floats(3),
        **norm(2, 3),
        **({"c.bias": floats(4)} if bias else {}),
    }
    norms = [[f"n{place}.{i}" for i in range(4)] for place in range(3)]
    nodes = [
        helper.make_node("Conv", ["x", "c.weight", *(["c.bias"] if bias else [])], ["t0"], pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["t0", *norms[0]], ["t1"], epsilon=0.1),
        helper.make_node("Relu", ["t1"], ["t2"]),
        helper.make_node("MaxPool", ["t2"], ["t3"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["t3"], ["t4"]),
        helper.make_node("MatMul", ["t4", "a"], ["t5"]),
        helper.make_node("Add", ["t5", "b"], ["t6"]),
        helper.make_node("BatchNormalization", ["t6", *norms[1]], ["t7"]),
        helper.make_node("Relu", ["t7"], ["t8"]),
        helper.make_node("Gemm", ["t8", "d", *(["e"] if bias else [])], ["t9"], alpha=0.5, beta=2.0),
        helper.make_node("BatchNormalization", ["t9", *norms[2]], ["y"]),
    ]
    path = graph_file(tmp_path / "net.onnx", nodes, constants, ("x", [7, 2, 4, 6]))
    model = read_model(path)
    assert [(layer.name, layer.relu) for layer in model.layers] == [("c", True), ("a", True), ("d", False)]
    assert unused(model) == ([] if bias else ["e float32[3] (no node takes it)"])
    same_as_the_graph(path, floats(7, 2, 4, 6))


def test_onnx_batch_normalisation_stays_where_it_is_no_part_of_a_layer(tmp_path):
    # Behind the ReLU; of an output that something else takes as well; over another dimension than the outputs.
    norms = {**norm(0, 4), **norm(1, 4), **norm(2, 4)}
    nodes = [
        helper.make_node("Gemm", ["x", "a"], ["t0"]),
        helper.make_node("Relu", ["t0"], ["t1"]),
        helper.make_node("BatchNormalization", ["t1", *list(norms)[:4]], ["t2"]),
        helper.make_node("Gemm", ["t2", "b"], ["t3"]),
        helper.make_node("BatchNormalization", ["t3", *list(norms)[4:8]], ["t4"]),
        helper.make_node("Mul", ["t3", "t4"], ["t5"]),
        helper.make_node("Unsqueeze", ["t5", "axes"], ["t6"]),
        helper.make_node("MatMul", ["t6", "c"], ["t7"]),
        helper.make_node("BatchNormalization", ["t7", *list(norms)[8:]], ["y"]),
    ]
    constants = {"a": floats(4, 4), "b": floats(4, 4), "c": floats(1, 4), "axes": np.array([2]), **norms}
    model = read_model(graph_file(tmp_path / "net.onnx", nodes, constants))
    assert [np.array_equal(x.weight.T, constants[x.name]) for x in model.layers] == [True] * 3
    assert unused(model)[-2:] == [
        "BatchNormalization (3) (an operation that belongs to no layer)",
        "Mul (1) (an operation that belongs to no layer)",
    ]
    assert [source.follows for source in model.layers.sources] == [True, False, False]


def test_onnx_layers_with_something_between_do_not_follow_one_another(tmp_path):
    constants = {"a": floats(4, 4), "b": floats(4, 4)}

    def model(kind, output="y"):
        nodes = [
            helper.make_node("Gemm", ["x", "a"], ["t0"]),
            helper.make_node(kind, ["t0"], ["t1"]),
            helper.make_node("Gemm", ["t1", "b"], ["y"]),
        ]
        return read_model(graph_file(tmp_path / "net.onnx", nodes, constants, output=output))

    for kind in ("Relu", "Identity"):
        assert not no_chain(model(kind).layers)
    for kind in ("Sigmoid", "Neg"):
        between = model(kind)
        assert no_chain(between.layers)
        assert unused(between) == [f"{kind} (1) (an operation that belongs to no layer)"]
        with pytest.raises(ModelError, match=r"^layer 'b' does not take the outputs of 'a' as they are: "):
            check_chains(between.layers)
        compress_to_file(tmp_path / "net.eie", between.layers)
        assert [layer.follows for layer in load(tmp_path / "net.eie")] == [True, False]
    # A value that the network gives out is not a ReLU's alone.
    early = model("Relu", output="t0")
    assert not early.layers[0].relu
    assert unused(early) == ["Relu (1) (an operation that belongs to no layer)"]


def test_onnx_graphs_that_go_in_circles_are_refused(tmp_path):
    constants = {"w": floats(4, 4), "v": floats(4, 4)}
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["t"]),
        helper.make_node("Flatten", ["b"], ["a"]),
        helper.make_node("Flatten", ["a"], ["b"]),
        helper.make_node("MatMul", ["a", "v"], ["y"]),
    ]
    with pytest.raises(
        ModelError, match="not a valid ONNX graph: Nodes in a graph must be topologically sorted"
    ):
        read_model(graph_file(tmp_path / "net.onnx", nodes, constants))


def test_onnx_weights_that_two_nodes_take_are_two_layers(tmp_path):
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["t"]),
        helper.make_node("MatMul", ["t", "w"], ["y"]),
    ]
    path = graph_file(tmp_path / "net.onnx", nodes, {"w": floats(4, 4)})
    assert [layer.name for layer in read_model(path).layers] == ["w", "w.2"]
    nodes.insert(0, helper.make_node("MatMul", ["t0", "w.2"], ["x"]))
    path = graph_file(path, nodes, {"w": floats(4, 4), "w.2": floats(4, 4)}, ("t0", [None, 4]))
    assert [layer.name for layer in read_model(path).layers] == ["w.2", "w", "w.3"]


def test_onnx_a_pooling_window_that_no_layer_has_is_listed(tmp_path):
    pool = ("MaxPool", {"kernel_shape": [2, 2], "ceil_mode": 1})
    model = read_model(conv_graph(tmp_path / "net.onnx", (9, 8), pool))
    assert model.layers[0].conv == Conv((3, 3), size=(9, 8))
    assert unused(model) == ["MaxPool (1) (an operation that belongs to no layer)"]
    model = read_model(conv_graph(tmp_path / "net.onnx", (None, 8), auto_pad="SAME_UPPER"))
    assert unused(model) == ["padding of c (of a size that the file does not tell)"]


def test_onnx_what_a_layer_lacks_is_listed(tmp_path):
    with pytest.raises(ModelError, match=r"the window of a convolution does not fit its image of 9 x 2$"):
        read_model(conv_graph(tmp_path / "net.onnx", (9, 2)))
    weights = {"c.weight": floats(6, 3, 3, 3), "w": floats(1, 9, 4), "r": floats(1, 9, 3)}
    nodes = [
        helper.make_node("Neg", ["s"], ["b"]),
        helper.make_node("Conv", ["x", "c.weight", "b"], ["t0"]),
        helper.make_node("GRU", ["z", "w", "r", "g"], ["y"], hidden_size=3, name="gru"),
    ]
    path = graph_file(
        tmp_path / "net.onnx", nodes, weights, ("x", [None, 3, 9, 9]), s=[6], z=[5, 1, 4], g=[1, 18]
    )
    model = read_model(path)
    assert [layer.bias for layer in model.layers] == [None] * 3
    assert unused(model) == [
        "bias of c (not a constant per output)",
        "bias of w.W (no constant)",
        "bias of w.R (no constant)",
        "Neg (1) (an operation that belongs to no layer)",
    ]


def test_onnx_what_stands_behind_a_bias_that_is_no_constant_belongs_to_no_layer(tmp_path):
    weights = {"one": floats(6, 27), "two": floats(6, 6), "c": floats(6, 3, 3, 3)}
    gemm = [
        helper.make_node("Flatten", ["x"], ["f"]),
        helper.make_node("Neg", ["s"], ["b"]),
        helper.make_node("Gemm", ["f", "one", "b"], ["t0"], transB=1),
        helper.make_node("Relu", ["t0"], ["t1"]),
        helper.make_node("Gemm", ["t1", "two"], ["y"], transB=1),
    ]
    model = read_model(graph_file(tmp_path / "net.onnx", gemm, weights, ("x", [None, 3, 3, 3]), s=[6]))
    assert [(layer.name, layer.relu, layer.follows) for layer in model.layers.sources] == [
        ("one", False, True),
        ("two", False, False),
    ]
    assert np.array_equal(model.layers[0].weight, weights["one"])
    assert model.layers[0].bias is None
    assert unused(model)[1:] == [
        "bias of one (not a constant per output)",
        "Neg (1) (an operation that belongs to no layer)",
        "Relu (1) (an operation that belongs to no layer)",
    ]
    conv = [
        helper.make_node("Neg", ["s"], ["b"]),
        helper.make_node("Conv", ["x", "c", "b"], ["t0"]),
        helper.make_node("Relu", ["t0"], ["t1"]),
        helper.make_node("Flatten", ["t1"], ["t2"]),
        helper.make_node("Gemm", ["t2", "two"], ["y"], transB=1),
    ]
    model = read_model(graph_file(tmp_path / "net.onnx", conv, weights, ("x", [None, 3, 3, 3]), s=[6]))
    assert [(layer.name, layer.relu, layer.follows) for layer in model.layers.sources] == [
        ("c", False, True),
        ("two", False, False),
    ]


@pytest.mark.parametrize("shape", [(2, 1), (1, 1, 5), (5, 4), (4,)])
def test_onnx_c_of_a_gemm_that_does_not_broadcast_is_refused(tmp_path, shape):
    nodes = [helper.make_node("Gemm", ["x", "w", "c"], ["y"])]
    weights = {"w": floats(3, 5), "c": floats(*shape)}
    with pytest.raises(ModelError, match="not a valid ONNX graph"):
        read_model(graph_file(tmp_path / "net.onnx", nodes, weights, ("x", [5, 3])))


def test_onnx_a_matrix_that_is_turned_round_between_two_layers_does_not_lead_from_one_to_the_other(tmp_path):
    weights = {"one": floats(4, 4), "two": floats(4, 4)}
    turned = helper.make_node("Transpose", ["a"], ["t"])
    second = {
        False: helper.make_node("MatMul", ["t", "two"], ["y"]),
        True: helper.make_node("MatMul", ["two", "t"], ["y"]),
    }
    for by_column, node in second.items():
        nodes = [helper.make_node("MatMul", ["x", "one"], ["a"]), turned, node]
        model = read_model(graph_file(tmp_path / "net.onnx", nodes, weights, ("x", [4, 4])))
        assert [source.follows for source in model.layers.sources] == [True, by_column]


@pytest.mark.parametrize(
    ("node", "text"),
    [
        (
            helper.make_node("GRU", ["x", "w", "r"], ["y"], activations=["Sigmoid"]),
            r"activations must be 2, not 1$",
        ),
        (
            helper.make_node(
                "GRU", ["x", "w", "r"], ["y"], direction="bidirectional", activations=["Tanh"] * 2
            ),
            r"activations must be 4, not 2$",
        ),
        (
            helper.make_node("Conv", ["x", "c"], ["y"], auto_pad="SAME_UPPER", pads=[1, 1]),
            r"auto_pad SAME_UPPER, and pads as well$",
        ),
        (
            helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[2], storage_order=5),
            r"storage_order must be 0 or",
        ),
        (
            helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[2], pads=[1, 2]),
            r"pads \[1, 2\] must be smaller than the window \[2\]$",
        ),
        (
            helper.make_node("LSTM", ["x", "lw", "lr", "", "", "", "", "p"], ["y"], hidden_size=3),
            r"P must be of shape \[1, 9\] with 3 hidden numbers, not \[1, 7\]$",
        ),
        (helper.make_node("LogSoftmax", ["x"], ["y"], axis=3), r"axis 3, and values of 3 dimensions$|axis"),
    ],
)
def test_onnx_attributes_out_of_range(tmp_path, node, text):
    weights = {"w": floats(1, 9, 4), "r": floats(1, 9, 3), "c": floats(2, 3, 2)}
    weights |= {"lw": floats(1, 12, 4), "lr": floats(1, 12, 3), "p": floats(1, 7)}
    with pytest.raises(ModelError, match=f"not a valid ONNX graph: .*{text}"):
        read_model(graph_file(tmp_path / "net.onnx", [node], weights, ("x", [2, 3, 4])))


def test_onnx_of_an_opset_that_onnx_does_not_know(tmp_path):
    node, newest = helper.make_node("MatMul", ["x", "w"], ["y"]), onnx.defs.onnx_opset_version()
    model = onnx.load(graph_file(tmp_path / "net.onnx", [node], {"w": floats(4, 3)}))
    model.opset_import[0].version = newest + 1
    onnx.save(model, tmp_path / "net.onnx")
    with pytest.raises(
        ModelError, match=rf"of opset {newest + 1}, of which the installed onnx knows .* {newest}: "
    ):
        read_model(tmp_path / "net.onnx")


@pytest.mark.filterwarnings("error")
def test_onnx_a_normalisation_by_the_root_of_a_negative_number(tmp_path):
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["t"]),
        helper.make_node("BatchNormalization", ["t", "g", "b", "m", "v"], ["y"]),
    ]
    held = {"w": floats(4, 3), "g": floats(3), "b": floats(3), "m": floats(3), "v": -np.ones(3, np.float32)}
    with pytest.raises(ModelError, match=r"layer 'w': weight\[0, 0\] is -?nan, not a finite number"):
        list(read_model(graph_file(tmp_path / "net.onnx", nodes, held)).layers)


@pytest.mark.parametrize("kind", ["doubled", "taken twice"])
def test_onnx_constants_that_grow_step_by_step(tmp_path, kind):
    """1.6 KB would be 2**43 numbers, or 2**40 steps; a few steps are folded."""

    def layers(steps):
        nodes = []
        for i in range(steps):
            last, new = f"w{i}", f"w{i + 1}"
            if kind == "doubled":
                nodes.append(helper.make_node("Concat", [last, last], [new], axis=1))
            else:
                nodes += [
                    helper.make_node("Neg", [last], [f"n{i}"]),
                    helper.make_node("Max", [last, f"n{i}"], [new]),
                ]
        nodes.append(helper.make_node("MatMul", ["x", f"w{steps}"], ["y"]))
        start = floats(4, 2000)
        return start, read_model(graph_file(tmp_path / "net.onnx", nodes, {"w0": start})).layers

    start, (found,) = layers(3)
    assert np.array_equal(found.weight, np.tile(start, 8).T if kind == "doubled" else abs(start).T)
    # At no number of steps does it take more than the fuzz campaign allows for a small file.
    for steps in (6, 10, 11, 12, 13, 14, 40):
        tracemalloc.start()
        with suppress(ModelError):
            _, more = layers(steps)
            for source in more.sources:
                source.load()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 1 << 26, steps
    with pytest.raises(ModelError, match="no layer to compress"):
        layers(40)


def test_shapes_that_make_no_sense(tmp_path):
    header = json.dumps(
        {
            "fc.weight": {"dtype": "F32", "shape": [1, 2], "data_offsets": [0, 8]},
            "a.weight": {"dtype": "F32", "shape": [1] * 60_000, "data_offsets": [8, 12]},
        }
    ).encode()
    (tmp_path / "net.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(12))
    assert unused(read_model(tmp_path / "net.safetensors")) == [
        "a.weight float32 of 60000 dimensions (60000 dimensions; layers have 2, convolutions 3 or 4)"
    ]


def test_a_pipe_is_no_model(tmp_path):
    os.mkfifo(tmp_path / "net.npz")
    with pytest.raises(ModelError, match=r"net.npz is a pipe or a device: give a file"):
        read_model(tmp_path / "net.npz")


def test_onnx_constants_that_grow_are_folded_if_their_size_is_known_and_bounded(tmp_path):
    def layers(size):
        nodes = [
            helper.make_node("Expand", ["row", "size"], ["w"]),
            helper.make_node("MatMul", ["x", "w"], ["y"]),
        ]
        weights = {"row": floats(1, 4), "size": np.array(size, np.int64)}
        return weights["row"], read_model(
            graph_file(tmp_path / "net.onnx", nodes, weights, ("x", [None, size[0]]))
        )

    row, model = layers((3, 4))
    assert np.array_equal(model.layers[0].weight, np.broadcast_to(row, (3, 4)).T)
    with pytest.raises(ModelError, match="no layer to compress"):
        layers((1 << 24, 4))


def test_onnx_numbers_are_read_when_they_are_asked_for(tmp_path):
    path, weight = tmp_path / "net.onnx", floats(40, 60)
    node = helper.make_node("Gemm", ["x", "w", "b"], ["y"], transB=1)
    graph_file(path, [node], {"w": weight, "b": floats(40)}, ("x", [None, 60]))
    layers = read_model(path).layers
    # The graph has been read, nothing else: a change of the numbers shows, in another process as well.
    data = path.read_bytes()
    assert data.count(weight.tobytes()) == 1
    path.write_bytes(data.replace(weight.tobytes(), (2 * weight).tobytes()))
    again = pickle.dumps(layers)
    assert len(again) < weight.nbytes / 2
    assert np.array_equal(pickle.loads(again)[0].weight, 2 * weight)
    path.unlink()
    with pytest.raises(ModelError, match=r"net.onnx: cannot be read as .onnx: No such file or directory$"):
        layers[0]


@pytest.mark.parametrize("shape", [(3, 4), (40, 60)], ids=["in the graph", "in the file"])
@pytest.mark.parametrize("kind", ["FLOAT16", "BFLOAT16", "DOUBLE"])
def test_onnx_other_precisions(tmp_path, kind, shape):
    # Numbers that even bfloat16 has.
    weight = rng.integers(-128, 128, shape).astype(np.float32)
    kinds = {"FLOAT16": np.float16, "BFLOAT16": np.uint16, "DOUBLE": np.float64}
    stored = weight.view(np.uint32) >> 16 if kind == "BFLOAT16" else weight
    tensor = helper.make_tensor(
        "w", getattr(TensorProto, kind), shape, stored.astype(kinds[kind]).tobytes(), raw=True
    )
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("x", "y")]
    node = helper.make_node("Gemm", ["x", "w"], ["y"], transB=1)
    model = helper.make_model(helper.make_graph([node], "net", ends[:1], ends[1:], [tensor]))
    onnx.save(model, tmp_path / "net.onnx")
    assert np.array_equal(read_model(tmp_path / "net.onnx").layers[0].weight, weight)
    onnx.save(model, tmp_path / "net.onnx", save_as_external_data=True, location="w", size_threshold=0)
    assert np.array_equal(read_model(tmp_path / "net.onnx").layers[0].weight, weight)


def test_onnx_wrong_sizes_are_refused(tmp_path):
    path, node = tmp_path / "net.onnx", helper.make_node("Gemm", ["x", "w"], ["y"])
    model = onnx.load(graph_file(path, [node], {"w": floats(40, 60)}, ("x", [None, 41])))
    model.graph.initializer[0].dims[0] = 41
    onnx.save(model, path)
    with pytest.raises(ModelError, match=r"9600 bytes for an array of shape \[41, 60\]"):
        list(read_model(path).layers)
    data = path.read_bytes()
    for size in (0, 1, 100, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:size])
        with pytest.raises(ModelError) as caught:
            list(read_model(path).layers)
        assert "\n" not in str(caught.value)


def test_onnx_convolutions_of_open_sizes(tmp_path):
    (layer,) = read_model(conv_graph(tmp_path / "net.onnx", (None, 8))).layers
    assert layer.conv == Conv((3, 3))
    (layer,) = read_model(conv_graph(tmp_path / "net.onnx", (8,), weight=floats(6, 3, 4), pads=[2, 2])).layers
    assert layer.conv == Conv((1, 4), padding=(0, 2), size=(1, 8))


@pytest.mark.parametrize(("op", "gates"), [("GRU", 3), ("LSTM", 4), ("RNN", 1)])
def test_onnx_recurrent_layers_in_both_directions(tmp_path, op, gates):
    rows = 3 * gates
    w, r, b = floats(2, rows, 4), floats(2, rows, 3), floats(2, 2 * rows)
    constants = [helper.make_node("Constant", [], ["c1"], value=numpy_helper.from_array(w))]
    node = helper.make_node(
        op, ["x", "c1", "c2", "c3"], ["y"], hidden_size=3, direction="bidirectional", name="rnn"
    )
    path = graph_file(tmp_path / "net.onnx", [*constants, node], {"c2": r, "c3": b}, ("x", [None, 1, 4]))
    layers = read_model(path).layers
    assert [layer.name for layer in layers] == ["rnn.W0", "rnn.W1", "rnn.R0", "rnn.R1"]
    for layer, weight, bias in zip(layers, (*w, *r), (*b[:, :rows], *b[:, rows:]), strict=True):
        assert np.array_equal(layer.weight, weight)
        assert np.array_equal(layer.bias, bias)
        assert not layer.relu


def test_onnx_with_external_data(tmp_path):
    weight = floats(3, 4)
    path = graph_file(
        tmp_path / "net.onnx", [helper.make_node("Gemm", ["x", "w"], ["y"], transB=1)], {"w": weight}
    )
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="net.data", size_threshold=0)
    assert np.array_equal(read_model(path).layers[0].weight, weight)
    (tmp_path / "net.data").unlink()
    with pytest.raises(ModelError, match=r"net\.onnx: .*net\.data") as caught:
        read_model(path)
    assert "\n" not in str(caught.value)


def test_errors_name_the_file_and_the_place(tmp_path):
    def text(name, content=None):
        path = tmp_path / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif content is not None:
            np.savez(path, **content)
        with pytest.raises(ModelError) as caught:
            list(read_model(path).layers)
        return str(caught.value).replace(f"{path}", "FILE")

    bad = np.ones((3, 4), np.float32)
    bad[1, 2] = np.nan
    assert text("a.npz", {"fc1.weight": bad}) == (
        "FILE: layer 'fc1': weight[1, 2] is nan, not a finite number"
    )
    assert text("b.npz", {"fc1.weight": np.ones((2, 2)), "fc1.bias": np.float64([1, np.inf])}) == (
        "FILE: layer 'fc1': bias[1] is inf, not a finite number"
    )
    assert text("c.npz", {"fc1.weight": np.ones((2, 2)), "fc1.bias": np.ones(3)}) == (
        "FILE: layer 'fc1': a bias must be floats of shape [2], [1, 2] or [2, 1], not fc1.bias float64[3]"
    )
    assert text("c2.npz", {"w": np.ones((2, 2)), "b": np.ones(2, int)}) == (
        "FILE: layer 'w': a bias must be floats of shape [2], [1, 2] or [2, 1], not b int64[2]"
    )
    assert text("c3.npz", {"w": np.ones((2, 2)), "bias": np.full(2, np.nan)}) == (
        "FILE: layer 'w': bias[0] is nan, not a finite number"
    )
    assert text("d.npz", {"scale": np.ones(2), "x": np.ones((2, 2), int)}) == (
        "FILE: no layer to compress, only scale float64[2] (a vector that is not a bias of any layer), "
        "x int64[2, 2] (not floating point)"
    )
    assert text("e.npz", {f"w{i}": np.ones((0, 3)) for i in range(9)}).endswith(
        "w3 float64[0, 3] (empty) and 5 more"
    )
    assert text("e2.npz", {}) == "FILE: no layer to compress, only no arrays"
    assert text("f.npz") == "FILE: cannot be read as .npz: No such file or directory"
    assert text("g.npz", b"no archive").startswith("FILE: cannot be read as .npz: ")
    assert text("h.safetensors", b"no tensors").startswith("FILE: cannot be read as .safetensors: ")
    assert text("i.onnx", b"\xff\xff\xff").startswith("FILE: not an ONNX file (")
    assert text("j.h5", b"").startswith(
        "FILE: a model must be a file ending in .safetensors, .npz, .onnx, .pt, "
    )


def test_float32_overflow_is_infinite(tmp_path):
    np.savez(tmp_path / "a.npz", w=np.array([[1e300]]))
    with pytest.raises(ModelError, match=r"weight\[0, 0\] is inf"):
        list(read_model(tmp_path / "a.npz").layers)


def test_inputs(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, labels=np.arange(3, dtype=np.uint8), images=np.full((3, 2, 2), 51, np.uint8))
    x, labels = read_inputs(path, 4)
    assert x.tolist() == [[np.float32(0.2)] * 4] * 3
    assert labels.tolist() == [0, 1, 2]
    np.save(tmp_path / "x.npy", floats(5, 4))
    x, labels = read_inputs(tmp_path / "x.npy", 4)
    assert x.shape == (5, 4)
    assert labels is None
    with pytest.raises(ModelError) as caught:
        read_inputs(path, 7)
    assert str(caught.value) == (
        f"{path}: no numbers [n, 7] or [7], only labels uint8[3], images uint8[3, 2, 2]"
    )
    # Labels as many as a vector is long are no vector where there is a batch.
    np.savez(path, labels=np.arange(4), images=np.ones((4, 4)))
    vectors, others = read_vectors(path, 4)
    assert vectors.tolist() == np.ones((4, 4)).tolist()
    assert [other.tolist() for other in others] == [[0, 1, 2, 3]]
    np.save(tmp_path / "x.npy", np.arange(4))
    x, _ = read_inputs(tmp_path / "x.npy", 4)
    assert x.tolist() == [[0, 1, 2, 3]]
    np.save(tmp_path / "x.npy", [[1, 1e300]])
    with pytest.raises(ModelError, match=r"x.npy\[0, 1\] is inf, not a finite number"):
        read_inputs(tmp_path / "x.npy", 2)
    path.write_bytes(b"x")
    with pytest.raises(ModelError, match="cannot be read as"):
        read_inputs(path, 7)


def test_float_forward():
    layers = [
        FloatLayer("a", np.float32([[1, -1], [2, 0]]), np.float32([0, -3])),
        FloatLayer("b", np.float32([[1, -1]]), relu=False),
    ]
    # [3, 1] -> [2, 3] -> -1; [1, 3] -> [-2, -1] -> [0, 0] -> 0
    assert float_forward(layers, [[3, 1], [1, 3]]).tolist() == [[-1], [0]]
    with pytest.raises(ModelError, match=r"^layer 'a' takes 2 inputs, but 'b' has 1 outputs$"):
        float_forward(layers[::-1], [[3, 1]])


@pytest.mark.parametrize("x", [[1, 2], [[1, 2, 3]], np.zeros((0, 2)), [["a", "b"]]])
def test_bad_inputs(x):
    with pytest.raises(ModelError, match=r"^inputs of layer 'fc' must be numbers \[batch, 2\], not"):
        check_inputs(x, 2, "fc")
    with pytest.raises(ModelError, match=r"^inputs\[0, 1\] is nan"):
        check_inputs([[0, np.nan]], 2, "fc")


@pytest.mark.parametrize("outside", [False, True])
def test_onnx_external_data_behind_links(tmp_path, outside):
    weight = floats(40, 60)
    node = helper.make_node("Gemm", ["x", "w"], ["y"], transB=1)
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "1"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    model = onnx.load(graph_file(tmp_path / "net.onnx", [node], {"w": weight}, ("x", [None, 60])))
    onnx.save_model(model, blobs / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0)
    if outside:
        (blobs / "m.data").rename(tmp_path / "secret")
    (snapshot / "m.onnx").symlink_to(blobs / "m.onnx")
    (snapshot / "m.data").symlink_to(tmp_path / "secret" if outside else blobs / "m.data")
    if outside:
        with pytest.raises(
            ModelError, match=r"w is in the file m.data, a link that leads outside the model's folder$"
        ):
            list(read_model(snapshot / "m.onnx").layers)
    else:
        assert np.array_equal(read_model(snapshot / "m.onnx").layers[0].weight, weight)
