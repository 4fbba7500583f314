"""Commands on ONNX graphs: one matrix of it, labels, several types of inputs, and what does not fit."""

import json
import re

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

import eie
from tests.support import onnx_networks as nets
from tests.support.command import invoke, refused


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def classes(path, kind=TensorProto.FLOAT):
    """A residual network of six classes: matrix, ReLU, matrix, sum, matrix."""
    arrays = nets.weights(11, a=(8, 12), b=(12, 8), c=(8, 6))
    nodes = [
        *([nets.node("Cast", ["x"], ["x0"], to=1)] if kind != TensorProto.FLOAT else []),
        nets.node("MatMul", ["x" if kind == TensorProto.FLOAT else "x0", "a"], ["h"]),
        nets.node("Relu", ["h"], ["r"]),
        nets.node("MatMul", ["r", "b"], ["t"]),
        nets.node("Add", ["t", "x" if kind == TensorProto.FLOAT else "x0"], ["s"]),
        nets.node("MatMul", ["s", "c"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", kind, ["n", 8])],
        [helper.make_tensor_value_info("y", 1, ["n", 6])],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return arrays


def test_accuracy_of_a_graph(here):
    arrays = classes("net.onnx")
    x = np.random.default_rng(1).normal(size=(250, 8)).astype(np.float32)
    exact = (np.maximum(x @ arrays["a"], 0) @ arrays["b"] + x) @ arrays["c"]
    labels = exact.argmax(axis=1)
    labels[:20] = (labels[:20] + 1) % 6  # 20 wrong by the trained weights
    np.savez("x.npz", x=x, labels=labels)
    invoke("compress", "net.onnx", "--calibrate", "x.npz", "--weight-bits", 8, "-o", "net.eie")
    found = json.loads(
        invoke("accuracy", "net.onnx", "--weights", "net.eie", "--input", "x.npz", "--json").stdout
    )
    assert (found["inputs"], found["wrong_float"], found["clipped"]) == (250, 20, 0)
    run = invoke(
        "run", "net.onnx", "--weights", "net.eie", "--input", "x.npz", "--engine", "fast", "-o", "y.npy"
    )
    ours = np.load("y.npy").argmax(axis=1)
    assert found["wrong"] == int((ours != labels).sum())
    assert found["different"] == int((ours != exact.argmax(axis=1)).sum())
    assert (
        "3 matrices, 100.0 % of all multiply-accumulates on the accelerator: 60,000, and 0 on" in run.stdout
    )
    text = invoke("accuracy", "net.onnx", "--weights", "net.eie", "--input", "x.npz", "--limit", 30).stdout
    assert text.startswith("30 inputs\n")
    np.savez("x.npz", x=x, labels=labels + 1)
    assert refused("accuracy", "net.onnx", "--weights", "net.eie", "--input", "x.npz") == (
        f"x.npz: label 6 of input {int(np.argmax(labels == 5))} is the number of no output: the network has 6, from 0 "
        "to 5"
    )
    np.save("x.npy", x)
    assert refused("accuracy", "net.onnx", "--input", "x.npy") == (
        "x.npy holds no labels (integers, one for each input)"
    )


def test_one_matrix_of_a_graph(here):
    classes("net.onnx")
    np.save("x.npy", np.random.default_rng(1).normal(size=(5, 8)).astype(np.float32))
    text = invoke("cosim", "net.onnx", "--input", "x.npy", "--layer", "MatMul_h", "--pe", 2).stdout
    assert re.search(r"0 mismatches", text)
    plans = json.loads(invoke("plan", "net.onnx", "--input", "x.npy", "--pe", 2, "--json").stdout)
    assert len(plans) == 3
    assert "without a graph" in invoke("plan", "--random", "8x8", "--weights", "w.eie", status=2).stderr
    assert refused("plan", "net.onnx") == (
        "net.onnx is a graph: --input X gives the inputs that its matrices' vectors follow from"
    )


def test_inputs_of_whole_numbers(here):
    classes("net.onnx", TensorProto.INT32)
    np.save("x.npy", np.arange(16, dtype=np.int64).reshape(2, 8))
    assert "2 items" in invoke("run", "net.onnx", "--input", "x.npy", "--engine", "fast").stdout
    np.save("x.npy", np.full((2, 8), 0.5))
    assert refused("run", "net.onnx", "--input", "x.npy") == (
        "x.npy: input x must be whole numbers (int32), not float64"
    )
    np.save("x.npy", np.full((2, 8), 1 << 40))
    assert "must lie in -2147483648..2147483647 (int32)" in refused("run", "net.onnx", "--input", "x.npy")
    np.save("x.npy", np.zeros((2, 7), np.int32))
    assert refused("run", "net.onnx", "--input", "x.npy") == (
        "x.npy: no array for input x int32[any, 8], only x int32[2, 7]"
    )


def test_inputs_of_strings_are_refused(here):
    graph = helper.make_graph(
        [helper.make_node("StringConcat", ["x", "x"], ["y"])],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.STRING, ["n"])],
        [helper.make_tensor_value_info("y", TensorProto.STRING, ["n"])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9), "net.onnx")
    np.save("x.npy", np.zeros(3))
    assert refused("run", "net.onnx", "--input", "x.npy") == (
        "net.onnx: input x takes strings: only arrays of numbers go in"
    )


def test_a_graph_without_a_product(here):
    nodes = [nets.node("MatMul", ["x", "x"], ["p"]), nets.node("Softmax", ["p"], ["y"], axis=1)]
    nets.save(here / "net.onnx", nodes, {}, {"x": [3, 3]})
    x = np.random.default_rng(1).normal(size=(3, 3)).astype(np.float32)
    np.save("x.npy", x)
    text = invoke("run", "net.onnx", "--input", "x.npy", "--engine", "fast", "-o", "y.npy").stdout
    assert "no product with a constant matrix: all of the graph runs on the host" in text
    assert re.search(r"^MatMul +1 +1 +[0-9.]+ +27$", text, re.MULTILINE)
    p = np.exp(x @ x)
    assert np.allclose(np.load("y.npy"), p / p.sum(axis=1, keepdims=True), atol=1e-6)
    assert "no product with a constant matrix" in refused("plan", "net.onnx", "--input", "x.npy")
    eie.save("w.eie", [eie.CompressedLayer.from_codes([[1]], [0, 1], name="other")])
    assert "all of the graph" in invoke("run", "net.onnx", "--input", "x.npy", "--weights", "w.eie").stdout


def test_an_operator_that_there_is_not(here):
    nodes = [
        nets.node("MatMul", ["x", "w"], ["p"]),
        helper.make_node("Nonsense", ["p"], ["y"], domain="com.example"),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", 1, [1, 3])],
        [helper.make_tensor_value_info("y", 1, [1, 3])],
        [numpy_helper.from_array(np.eye(3, dtype=np.float32), "w")],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.example", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), "net.onnx")
    np.save("x.npy", np.zeros((1, 3)))
    line = refused("run", "net.onnx", "--input", "x.npy")
    assert line.startswith("net.onnx: onnxruntime does not take the graph: ")
    assert "com.example:Nonsense" in line
    assert line.endswith("(an operator that onnxruntime does not have)")


def test_pictures_with_channels_last(here):
    arrays = nets.weights(3, w=(2, 3))
    nodes = [
        nets.node("ReduceMean", ["x"], ["m"], axes=[1, 2], keepdims=0),
        nets.node("Gemm", ["m", "w"], ["y"], transB=1),
    ]
    nets.save(here / "net.onnx", nodes, arrays, {"x": [1, 4, 5, 3]})
    pixels = np.random.default_rng(1).integers(0, 256, (4, 5, 3)).astype(np.uint8)
    Image.fromarray(pixels).save("x.png")
    invoke("run", "net.onnx", "--input", "x.png", "--engine", "fast", "--preset", "wide", "-o", "y.npy")
    right = arrays["w"] @ (pixels / 255).mean(axis=(0, 1))
    assert np.allclose(np.load("y.npy")[0], right, atol=0.2 * np.abs(right).max())
    Image.fromarray(pixels[:3]).save("x.png")
    assert (
        refused("run", "net.onnx", "--input", "x.png")
        == "x.png is 5 x 3: the network takes 5 x 4 (width x height)"
    )
