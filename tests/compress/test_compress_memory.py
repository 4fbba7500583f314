"""Memory and processes: what a compression needs follows from its largest layer, and the result from nothing else."""

import json
import os
import subprocess
import sys
import weakref
from dataclasses import replace

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper, numpy_helper

from benchmarks.random_file import write_file
from eie.cli.main import main
from eie.compress.float_layers import FloatLayer
from eie.compress.format.file import EncodedLayer, describe, load, save_encoded, to_bytes
from eie.compress.pipeline import Settings, compress_network, compress_to_file
from eie.compress.quantize import Widths
from eie.compress.readers.files import read_model
from eie.compress.share import share
from eie.errors import LayerError, ModelError
from eie.layer import CompressedLayer
from tests.support import ROOT

CHILD = ROOT / "benchmarks" / "compress_child.py"
# 30 MB in float32.
ROWS, COLS = 2400, 3200


def random_layers(*shapes, seed=1):
    rng = np.random.default_rng(seed)
    return [
        FloatLayer(
            f"fc{i}",
            rng.normal(0, 0.1, shape).astype(np.float32),
            rng.normal(0, 1, shape[0]).astype(np.float32),
        )
        for i, shape in enumerate(shapes)
    ]


def child(*arguments):
    # Freed arrays go back to the system at once. Without this, glibc keeps some in its heap, more or fewer on different
    # days, and what would be measured is the allocator and not what the program holds.
    allocator = os.environ | {"MALLOC_MMAP_THRESHOLD_": str(1 << 20)}
    command = [sys.executable, str(CHILD), *map(str, arguments)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=allocator)
    return json.loads(done.stdout)


def test_peak_memory_of_one_layer():
    found = child(ROWS, COLS, 0.09)
    assert found["peak"] > found["float_bytes"]  # the weights themselves are counted
    assert found["peak"] <= 3 * found["float_bytes"]


def test_peak_memory_follows_the_largest_layer_not_the_file(tmp_path):
    small, large = (
        child(0, 0, 0.05, write_file(tmp_path / f"{n}.safetensors", n, ROWS, COLS)) for n in (1, 5)
    )
    assert small["float_bytes"] == large["float_bytes"] == 4 * ROWS * COLS
    assert large["bytes"] > 4 * small["bytes"]
    assert large["peak"] - small["peak"] < large["float_bytes"] / 4
    assert large["peak"] <= 3 * large["float_bytes"]


def write_onnx(path, layers):
    """An ONNX file of random ROWS x COLS layers, their numbers in the graph's own message."""
    rng = np.random.default_rng(1)
    weights = [
        numpy_helper.from_array(rng.standard_normal((ROWS, COLS), dtype=np.float32), f"fc{i}")
        for i in range(layers)
    ]
    nodes = [helper.make_node("Gemm", ["x", f"fc{i}"], [f"y{i}"], transB=1) for i in range(layers)]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("x", "y0")]
    onnx.save(helper.make_model(helper.make_graph(nodes, "net", ends[:1], ends[1:], weights)), path)
    return path


def test_peak_memory_of_an_onnx_file_follows_its_largest_layer(tmp_path):
    small, large = (child(0, 0, 0.05, write_onnx(tmp_path / f"{n}.onnx", n)) for n in (1, 5))
    assert large["bytes"] > 4 * small["bytes"]
    assert large["peak"] - small["peak"] < large["float_bytes"] / 4


@pytest.mark.parametrize("rows", [200, 3000], ids=["either coding", "Huffman"])
def test_each_layer_is_written_when_it_is_done_and_not_kept(rows, tmp_path):
    shape, waiting, written = (rows, 900), [], []

    def layers():
        for i in range(5):
            written.append(sum(path.stat().st_size for path in tmp_path.iterdir()))
            assert [path.suffix for path in tmp_path.iterdir()] == [".tmp"]
            codes = np.random.default_rng(i).integers(0, 16, shape).astype(np.uint8)
            layer = EncodedLayer.of(CompressedLayer.from_codes(codes, np.arange(16)))
            # The one before this may still be held, the ones before that not.
            assert all(one() is None for one in waiting[:-1])
            waiting.append(weakref.ref(layer))
            yield layer
            del layer

    size = save_encoded(tmp_path / "net.eie", layers())
    assert np.diff(written).min() > size.total_bytes / 6  # one after the other is on the disk
    assert [path.name for path in tmp_path.iterdir()] == ["net.eie"]
    assert size == describe(tmp_path / "net.eie")


def test_an_error_between_layers_leaves_the_old_file(tmp_path):
    def layers():
        yield EncodedLayer.of(CompressedLayer.from_codes(np.ones((3, 4), np.uint8), [0, 1]))
        raise ModelError("no more")

    (tmp_path / "net.eie").write_bytes(b"old")
    with pytest.raises(ModelError, match=r"^no more$"):
        save_encoded(tmp_path / "net.eie", layers())
    with pytest.raises(LayerError, match="at least one layer"):
        save_encoded(tmp_path / "net.eie", iter(()))
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("net.eie", b"old")]


@pytest.mark.parametrize("chained", [True, False])
def test_processes_change_nothing(chained, tmp_path):
    shapes = [(40, 30), (20, 40), (10, 20)] if chained else [(40, 30), (20, 25), (300, 500)]
    layers = random_layers(*shapes)
    x = np.random.default_rng(3).normal(0, 1, (5, 30)) if chained else None
    settings = [Settings((0.3,)), Settings(threshold=(1.0,), weight_bits=None), Settings(weight_bits=6)]
    serial, report = compress_network(layers, settings, x)
    parallel, same = compress_network(layers, settings, x, processes=2)
    assert to_bytes(serial) == to_bytes(parallel)
    assert report == same
    streamed = compress_to_file(tmp_path / "net.eie", layers, settings, x, processes=2)
    assert streamed == report
    assert (tmp_path / "net.eie").read_bytes() == to_bytes(serial)


def test_layers_of_a_file_are_read_in_the_processes(tmp_path):
    path = tmp_path / "net.npz"
    rng = np.random.default_rng(4)
    np.savez(
        path, fc1=rng.normal(size=(20, 30)).astype(np.float32), fc2=rng.normal(size=(7, 9)).astype(np.float32)
    )
    layers = read_model(path).layers
    one, two = (
        compress_to_file(tmp_path / f"{n}.eie", layers, Settings((0.5,)), processes=n) for n in (1, 2)
    )
    assert one == two
    assert [layer.name for layer in load(tmp_path / "2.eie")] == ["fc1", "fc2"]


def test_an_error_in_a_process_is_the_layers_own(tmp_path):
    path = tmp_path / "net.npz"
    np.savez(path, fc1=np.ones((20, 30), np.float32), fc2=np.full((7, 9), np.nan, np.float32))
    with pytest.raises(ModelError, match=r"layer 'fc2': weight\[0, 0\] is nan, not a finite number"):
        compress_to_file(tmp_path / "net.eie", read_model(path).layers, processes=2)
    assert not (tmp_path / "net.eie").exists()


# ---- layers that are shared already, and settings of their own -----------------------------------------------


def test_a_shared_layer_keeps_codes_and_centroids():
    (layer,) = random_layers((30, 50))
    shared = share(layer, np.abs(layer.weight) > 0.1, 5)
    # Not what clustering would find: two centroids of the table are not used, and they are not in order.
    order = np.array([0, *np.random.default_rng(1).permutation(np.arange(1, 32))])
    shared = replace(
        shared, centroids=shared.centroids[np.argsort(order)], codes=order[shared.codes].astype(np.uint8)
    )
    (given,), report = compress_network([shared], Settings((0.01,), weight_bits=2))
    assert np.array_equal(given.dense_codes(), shared.codes)
    assert given.weight_bits == 5
    assert (
        np.abs(given.codebook * 2.0**-given.w_frac - shared.centroids).max()
        < 2.0 ** -(given.w_frac + 1) * 1.001
    )
    assert report.layers[0].pruning_error == 0
    assert report.layers[0].relative_error < 2.0**-13


def test_floats_that_are_shared_already_keep_their_weights():
    (layer,) = random_layers((30, 50))
    shared = share(layer, np.abs(layer.weight) > 0.1, 3)
    codes, both = [], (shared, shared.to_float())
    for given in both:
        (compressed,), _ = compress_network([given], Settings(weight_bits=None))
        codes.append(compressed.codebook[compressed.dense_codes()])
        assert compressed.weight_bits == 3
    assert np.array_equal(*codes)


def test_settings_of_each_layer():
    layers = random_layers((40, 30), (20, 40))
    each = [Settings((0.2,), weight_bits=2), Settings((0.5,), weight_bits=5)]
    compressed, _ = compress_network(layers, each)
    assert [layer.nnz for layer in compressed] == [240, 400]
    assert [layer.weight_bits for layer in compressed] == [2, 5]
    for layer, settings, result in zip(layers, each, compressed, strict=True):
        (alone,), _ = compress_network([layer], settings)
        assert np.array_equal(alone.dense_codes(), result.dense_codes())


@pytest.mark.parametrize(
    ("settings", "processes", "text"),
    [
        ([Settings()], 1, "1 settings for 2 layers: give 1 or 2"),
        ([Settings((0.1, 0.2))] * 2, 1, "2 densities for 1 layers: give 1 or 1"),
        (
            [Settings(), Settings(widths=Widths(act_bits=8))],
            1,
            "act_bits must be the same in all layers: one's outputs are the next one's inputs",
        ),
        (None, 0, "processes must be at least 1, not 0"),
    ],
)
def test_bad_settings(settings, processes, text):
    with pytest.raises(ModelError) as caught:
        compress_network(random_layers((40, 30), (20, 40)), settings, processes=processes)
    assert str(caught.value) == text


def test_the_command_line_takes_processes_and_automatic_bits(tmp_path):
    model = ROOT / "examples" / "lenet_300_100" / "lenet_300_100.safetensors"
    found = []
    for processes in (1, 2):
        out = tmp_path / f"{processes}.eie"
        options = ["--density", "0.08,0.09,0.26", "--weight-bits", "auto", "--processes", str(processes)]
        result = CliRunner().invoke(main, ["compress", str(model), *options, "--json", "-o", str(out)])
        assert result.exit_code == 0, result.output
        found.append((out.read_bytes(), result.output))
    assert found[0] == found[1]
    assert [layer["weight_bits"] for layer in json.loads(found[0][1])["layers"]] == [5, 5, 4]
