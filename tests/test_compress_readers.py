"""Readers of models and inputs."""

import json
import pickle
import struct
import zipfile

import numpy as np
import onnx
import pytest
import safetensors.numpy
from onnx import TensorProto, helper, numpy_helper

from eie.compress.network import FloatLayer, check_inputs, float_forward
from eie.compress.readers import read_inputs, read_model, read_vectors
from eie.conv import Conv
from eie.errors import ModelError

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
        "norm.weight float32[3] (a vector, and no layer's bias)",
        "volume.weight float32[1, 1, 2, 2, 2] (5 dimensions; layers have 2, convolutions 3 or 4)",
        "none.weight float32[0, 3] (empty)",
        "long.weight float32[1, 1, 70000] (a kernel longer than 65536)",
        "words.weight <U1[1, 2] (not floating point)",
        "about.txt no array[] (not floating point)",
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
    assert unused(read_model(path)) == ["scale F8_E4M3[3] (not floating point)"]


def graph_file(path, nodes, constants, inputs=("x", [None, 4]), output="y"):
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info(inputs[0], TensorProto.FLOAT, inputs[1])],
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
        "depth.weight": floats(3, 1, 2),
        "table": np.ones((3, 2), np.int64),
    }
    nodes = [
        helper.make_node("MatMul", ["x", "17"], ["t1"]),
        helper.make_node("Add", ["t1", "enc.0.bias"], ["t2"]),
        helper.make_node("MatMul", ["t2", "18"], ["t3"]),
        helper.make_node("Conv", ["t3", "depth.weight"], ["t4"], group=3),
        helper.make_node("Gather", ["table", "t4"], ["y"]),
    ]
    model = read_model(graph_file(tmp_path / "net.onnx", nodes, constants))
    assert summary(model.layers) == [("enc.0", (3, 4), True, False)]
    assert unused(model) == [
        "18 float32[2, 3, 5] (no float matrix, in MatMul)",
        "depth.weight float32[3, 1, 2] (a convolution of 3 groups, which is no single matrix)",
        "table int64[3, 2] (for Gather)",
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
        # What `Conv` does not do stays with the host: the matrix alone.
        ([("MaxPool", {"kernel_shape": [2, 2], "ceil_mode": 1})], {}, Conv((3, 3), size=(9, 8)), False),
        ([], {"pads": [1, 1, 0, 0]}, Conv((3, 3)), False),
        ([], {"dilations": [2, 2]}, Conv((3, 3)), False),
        ([("Relu", {})], {"auto_pad": "SAME_UPPER"}, Conv((3, 3)), True),
    ],
)
def test_onnx_convolutions(tmp_path, after, attributes, conv, relu):
    model = read_model(conv_graph(tmp_path / "net.onnx", (9, 8), *after, **attributes))
    (layer,) = model.layers
    assert (layer.name, layer.conv, layer.relu, layer.weight.shape) == ("c", conv, relu, (6, 27))
    assert model.unused == ()


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
        "FILE: no layer to compress, only scale float64[2] (a vector, and no layer's bias), "
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
    assert text("j.h5", b"") == "FILE: a model must be a file ending in .safetensors, .npz, .onnx, .pt, .pth"


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
    with pytest.raises(
        ModelError, match=r"^layer 'a' takes 2 inputs, but 'b' before it has 1 outputs: the layers"
    ):
        float_forward(layers[::-1], [[3, 1]])


@pytest.mark.parametrize("x", [[1, 2], [[1, 2, 3]], np.zeros((0, 2)), [["a", "b"]]])
def test_bad_inputs(x):
    with pytest.raises(ModelError, match=r"^inputs of layer 'fc' must be numbers \[batch, 2\], not"):
        check_inputs(x, 2, "fc")
    with pytest.raises(ModelError, match=r"^inputs\[0, 1\] is nan"):
        check_inputs([[0, np.nan]], 2, "fc")
