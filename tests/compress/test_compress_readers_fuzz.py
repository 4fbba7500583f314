"""Readers of models survive damaged files: layers, or an error of one line."""

import random

import numpy as np
import onnx
import pytest
import safetensors.numpy
from onnx import TensorProto, helper, numpy_helper

from eie.compress.readers.files import read_model
from eie.errors import EieError

MUTANTS = 250
SHAPES = {
    "conv.weight": (4, 1, 3, 3),
    "conv.bias": (4,),
    "fc.weight": (3, 16),
    "w": (1, 9, 3),
    "r": (1, 9, 3),
}
rng = np.random.default_rng(1)
ARRAYS = {name: rng.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}


def write_onnx(path):
    nodes = [
        helper.make_node("Conv", ["x", "conv.weight", "conv.bias"], ["a"], strides=[1, 1]),
        helper.make_node("MaxPool", ["a"], ["b"], kernel_shape=[2, 2]),
        helper.make_node("Gemm", ["b", "fc.weight"], ["c"], transB=1),
        helper.make_node("GRU", ["c", "w", "r"], ["y"], hidden_size=3),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 9, 9])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in ARRAYS.items()],
    )
    onnx.save(helper.make_model(graph), path)


def write_torch(path, zipped):
    torch = pytest.importorskip("torch", exc_type=ImportError)
    tensors = {name: torch.tensor(array) for name, array in ARRAYS.items()}
    torch.save(tensors, path, _use_new_zipfile_serialization=zipped)


WRITERS = {
    "net.npz": lambda path: np.savez(path, **ARRAYS),
    "net.safetensors": lambda path: safetensors.numpy.save_file(ARRAYS, path),
    "net.onnx": write_onnx,
    "net.pt": lambda path: write_torch(path, True),
    "net.pth": lambda path: write_torch(path, False),
}


def damaged(data, chance):
    """Some bytes changed, or the end missing, or a few bytes repeated somewhere."""
    data = bytearray(data)
    kind = chance.random()
    if kind < 0.7:
        for _ in range(chance.choice([1, 1, 2, 5])):
            data[chance.randrange(len(data))] = chance.randrange(256)
    elif kind < 0.85:
        del data[chance.randrange(len(data)) :]
    else:
        start, place = chance.randrange(len(data)), chance.randrange(len(data))
        data[place:place] = data[start : start + 8]
    return bytes(data)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", WRITERS)
def test_a_damaged_file_gives_layers_or_one_line(tmp_path, name):
    path = tmp_path / name
    WRITERS[name](path)
    whole = path.read_bytes()
    assert len(read_model(path).layers) >= 2
    outcomes = {"layers": 0, "refused": 0}
    for seed in range(MUTANTS):
        path.write_bytes(damaged(whole, random.Random(seed)))
        try:
            layers = list(read_model(path).layers)
        except EieError as error:
            outcome, lines = "refused", str(error).splitlines()
        else:
            outcome, lines = "layers", ["none"]
            assert all(np.isfinite(layer.weight).all() for layer in layers), seed
        outcomes[outcome] += 1
        assert len(lines) == 1, seed
    assert min(outcomes.values()) > 0, outcomes
