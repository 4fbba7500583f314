"""Files of models that are damaged, or of the right form with numbers that lie: each gives layers, or one line."""

import io
import json
import random
import struct
import time
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import safetensors.numpy
from onnx import TensorProto, helper, numpy_helper

from eie.compress.readers.files import read_model
from eie.errors import EieError
from tests.support.clock import least_seconds

SHAPES = {
    "conv.weight": (4, 1, 3, 3),
    "conv.bias": (4,),
    "fc.weight": (3, 16),
    "w": (1, 9, 3),
    "r": (1, 9, 3),
}
ARRAYS = {
    name: np.random.default_rng(1).normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()
}
# What reading a file may take: so many bytes for each of its own, what every file takes, and so many times
# the processor time that all valid files take.
PER_BYTE, FIXED, SLOWER = 64, 1 << 26, 1000
# Every so many files one is read measuring its memory.
MEASURED = 25


def onnx_model(rng=None):
    """Nodes of all kinds; with a chance that their attributes lie."""

    def lie(values):
        if rng is None or rng.random() < 0.8:
            return values
        return [rng.choice([0, -1, 1, 2, 1 << 16, 1 << 40, value]) for value in values]

    def one(value):
        return lie([value])[0]

    nodes = [
        helper.make_node(
            "Conv",
            ["x", "conv.weight", "conv.bias"],
            ["a"],
            strides=lie([1, 1]),
            dilations=lie([1, 1]),
            pads=lie([0, 0, 0, 0]),
            group=one(1),
        ),
        helper.make_node("MaxPool", ["a"], ["b"], kernel_shape=lie([3, 3]), strides=lie([3, 3])),
        helper.make_node("Flatten", ["b"], ["f"], axis=one(1)),
        helper.make_node("Gemm", ["f", "fc.weight"], ["c"], transB=1),
        helper.make_node("Reshape", ["c", "shape"], ["d"]),
        helper.make_node("GRU", ["d", "w", "r"], ["y"], hidden_size=one(3)),
    ]
    shapes = {"x": [1, 1, 9, 9]}
    shape = np.array(lie([1, 1, 3]), np.int64)
    constants = {**ARRAYS, "shape": shape}
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, lie(size)) for name, size in shapes.items()],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    opset = 17 if rng is None else rng.choice([17, 17, 17, 9, 5, 99])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def _torch(zipped, held=None):
    import torch

    file = io.BytesIO()
    tensors = {name: torch.tensor(array) for name, array in ARRAYS.items()} if held is None else held
    torch.save(tensors, file, _use_new_zipfile_serialization=zipped)
    return file.getvalue()


def _npz(arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def valid():
    """A file of each kind."""
    return {
        "net.npz": _npz(ARRAYS),
        "net.safetensors": safetensors.numpy.save(ARRAYS),
        "net.onnx": onnx_model().SerializeToString(),
        "net.pt": _torch(True),
        "net.pth": _torch(False),
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


# ---- files that lie ----------------------------------------------------------------------------------------


def _header(rng):
    """An array of NumPy's whose header is deep, or claims more than there is."""
    shape = rng.choice(["(" * rng.randrange(1, 4000), "(1000000, 1000000)", "(-1, 4)", "[" * 300, "(4, 4)"])
    text = (
        rng.choice([shape, f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}"]).encode()
        + b"\n"
    )
    member = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + bytes(rng.randrange(80))
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("fc.weight.npy", member)
    return "net.npz", file.getvalue()


def _tiny(rng):
    """Many arrays of one number; seldom so many that reading them takes most of the campaign."""
    count = rng.choice([3, 10, 10, 10, 30, 30, 30, 100]) if rng.random() < 0.98 else 1000
    arrays = {f"fc{i}.weight": np.ones((1, 1), np.float32) for i in range(count)}
    return rng.choice([("net.npz", _npz), ("net.safetensors", safetensors.numpy.save)])[0], (
        _npz(arrays) if rng.random() < 0.5 else safetensors.numpy.save(arrays)
    )


def _index(rng):
    """A header of safetensors whose places and shapes lie."""
    size = rng.choice([1, 4, 1 << 20, 1 << 40, -1])
    begin = rng.choice([0, 0, 8, -8, 1 << 50])
    about = {
        "dtype": rng.choice(["F32", "F8_E4M3", "BF16", "X9"]),
        "shape": [4, size],
        "data_offsets": [begin, begin + 64],
    }
    text = json.dumps({rng.choice(["fc.weight", "fc.weight_g", ""]): about}).encode()
    if rng.random() < 0.2:
        text = b'{"a":' * rng.randrange(1, 5000)
    return "net.safetensors", struct.pack("<Q", rng.choice([len(text), len(text), 1 << 60])) + text + bytes(
        64
    )


def _expanded(rng):
    """A tensor that claims more than its storage."""
    import torch

    rows = rng.choice([2, 300, 30_000])
    held = {"fc.weight": torch.zeros(1).expand(rows, rows)}
    if rng.random() < 0.3:
        held = {"fc.weight": torch.sparse_coo_tensor([[0], [0]], [1.0], (rows, rows))}
    for _ in range(rng.choice([0, 3, 40])):
        held = {"a": held}
    return "net.pt", _torch(True, held)


def _parts(rng):
    """Parts of weights whose shapes do not go together."""
    names = [
        "weight_orig",
        "weight_mask",
        "weight_g",
        "weight_v",
        "weight_u",
        "mask",
        "weight",
        "kernel",
        "bias",
        "b",
    ]
    names += [
        f"parametrizations.weight.{end}"
        for end in ("original", "original0", "original1", "0._u", "0._v", "0.base")
    ]
    arrays = {
        f"fc.{name}": np.ones([rng.randrange(4) for _ in range(rng.randrange(4))], np.float32)
        for name in rng.sample(names, rng.randrange(1, 6))
    }
    return "net.npz", _npz(arrays)


def _growing(rng):
    """Constants of constants: each step takes the one before once or twice, and may be larger."""
    steps, size = rng.choice([1, 3, 10, 40, 200]), rng.choice([1, 30, 2000])
    nodes = []
    for i in range(steps):
        last, new = f"w{i}", f"w{i + 1}"
        kind = rng.choice(["Concat", "Tile", "Diamond", "Mul"])
        if kind == "Concat":
            nodes.append(helper.make_node("Concat", [last] * rng.choice([1, 2, 2]), [new], axis=1))
        elif kind == "Tile":
            nodes.append(helper.make_node("Tile", [last, "twice"], [new]))
        elif kind == "Diamond":
            nodes += [
                helper.make_node("Neg", [last], [f"n{i}"]),
                helper.make_node("Max", [last, f"n{i}"], [new]),
            ]
        else:
            nodes.append(helper.make_node("Mul", [last, "one"], [new]))
    nodes.append(helper.make_node("MatMul", ["x", f"w{steps}"], ["y"]))
    held = {
        "w0": np.ones((4, size), np.float32),
        "one": np.float32(1),
        "twice": np.array([1, rng.choice([1, 2])]),
    }
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "net",
        [value("x", TensorProto.FLOAT, [1, 4])],
        [value("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in held.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return "net.onnx", model.SerializeToString()


STRUCTURED = (
    _growing,
    _header,
    _tiny,
    _index,
    _expanded,
    _parts,
    lambda rng: ("net.onnx", onnx_model(rng).SerializeToString()),
)


def candidate(rng, files):
    """Name and contents of a file."""
    if rng.random() < 0.4:
        name = rng.choice(list(files))
        return name, damaged(files[name], rng)
    return rng.choice(STRUCTURED)(rng)


class Figures:
    """What reading took at most. bytes : beyond `FIXED`, for each byte of a file.

    allowed : seconds that it may take.
    """

    def __init__(self, allowed):
        self.allowed = allowed
        self.layers = self.refused = 0
        self.seconds = 0.0
        self.memory = 0

    def __str__(self):
        return (
            f"{self.layers:,} files with layers, {self.refused:,} refused; at most {self.seconds:.2f} s and "
            f"{self.memory / 2**20:.1f} MB for one"
        )


def campaign(folder: Path, seed: int, count: int, progress=iter) -> Figures:
    """Read `count` files. A failure prints the seed and the number of the file."""
    files = valid()
    for name, data in files.items():
        (folder / name).write_bytes(data)
        assert len(read_model(folder / name).layers) >= 2  # and imports what there is to import
    readers = [folder / name for name in files]
    figures = Figures(SLOWER * least_seconds(lambda: [read_model(path) for path in readers]))
    for i in progress(range(count)):
        rng = random.Random(f"{seed} {i}")
        name, data = candidate(rng, files)
        path = folder / name
        path.write_bytes(data)
        try:
            _read(path, i, figures)
        except BaseException:
            print(f"seed {seed}, file {i}: {path}")
            raise
    return figures


def _read(path, i, figures):
    measured, line = i % MEASURED == 0, ""
    if measured:
        tracemalloc.start()
    start = time.process_time()
    try:
        model = read_model(path)
        for source in model.layers.sources:
            layer = source.load()
            assert np.isfinite(layer.weight).all()
        figures.layers += 1
    except EieError as error:
        figures.refused += 1
        line = str(error)
    finally:
        taken = time.process_time() - start
        peak = tracemalloc.get_traced_memory()[1] if measured else 0
        if measured:
            tracemalloc.stop()
    assert "\n" not in line
    figures.seconds, figures.memory = max(figures.seconds, taken), max(figures.memory, peak)
    assert taken < figures.allowed, f"{taken:.1f} s to read {path.stat().st_size} bytes"
    assert peak < PER_BYTE * path.stat().st_size + FIXED, f"{peak} bytes to read {path.stat().st_size}"
