"""The whole way from float layers to a compressed network, on the trained example."""

import itertools

import numpy as np
import pytest

from eie.compress.float_layers import FloatLayer, float_forward
from eie.compress.format.file import describe, load, save
from eie.compress.forward import fixed_forward, quantize_inputs
from eie.compress.pipeline import Settings, compress_network
from eie.compress.quantize import Widths
from eie.compress.readers.files import read_model
from eie.errors import ModelError
from eie.sim.workloads.inputs import read_inputs
from tests.support import ROOT

EXAMPLE = ROOT / "examples" / "lenet_300_100"
DENSITY = (0.1, 0.15, 0.4)


@pytest.fixture(scope="module")
def lenet():
    return read_model(EXAMPLE / "lenet_300_100.safetensors").layers


@pytest.fixture(scope="module")
def digits():
    return read_inputs(EXAMPLE / "mnist_test_1000.npz", 784)


def right(outputs, labels):
    return int((outputs.argmax(axis=1) == labels).sum())


@pytest.mark.parametrize("acc_bits", [16, 32])
def test_lenet_keeps_its_accuracy(lenet, digits, acc_bits):
    x, labels = digits
    in_float = right(float_forward(lenet, x), labels)
    assert in_float >= 980
    layers, report = compress_network(lenet, Settings(DENSITY, widths=Widths(acc_bits=acc_bits)), x[:100])
    run = fixed_forward(layers, quantize_inputs(layers[0], x), acc_bits)
    # At most 0.5 % of the digits, and no saturation beyond the calibration inputs either.
    assert right(run.y, labels) >= in_float - 5
    assert run.saturations == run.writeback_saturations == (0, 0, 0)
    assert report.calibration == "100 calibration inputs"
    assert [layer.nnz for layer in report.layers] == [23520, 4500, 400]
    assert [layer.density for layer in report.layers] == list(DENSITY)


def test_fixed_point_follows_the_shared_network(lenet, digits):
    """The outputs of the accelerator's arithmetic are those of the decoded weights in float."""
    x, _ = digits
    layers, _ = compress_network(lenet, Settings(DENSITY, widths=Widths(acc_bits=32)), x[:100])
    decoded = [
        FloatLayer(
            layer.name,
            layer.decode() * np.float32(2.0**-layer.w_frac),
            layer.bias * np.float32(2.0**-layer.acc_frac),
            layer.relu,
        )
        for layer in layers
    ]
    expected = float_forward(decoded, x)
    y = fixed_forward(layers, quantize_inputs(layers[0], x), 32).y * 2.0 ** -layers[-1].y_frac
    assert np.abs(y - expected).max() < 2.0**-6 * np.abs(expected).max()


def test_lenets_file(lenet, digits, tmp_path):
    path = tmp_path / "lenet.eie"
    layers, report = compress_network(lenet, Settings(DENSITY), digits[0][:100])
    save(path, layers)
    assert all(a.equals(b) for a, b in zip(load(path), layers, strict=True))
    assert describe(path) == report.size
    # All that the container costs: the header and, in a layer, its name and ten to twenty bytes.
    assert report.size.header_bytes == 12
    for layer in report.size.layers:
        parts = layer.codes.coded + layer.positions.coded + layer.codebook_bits + layer.bias_bits
        assert layer.nbytes - parts / 8 < 24
    dense = sum(layer.nbytes for layer in lenet)
    assert report.size.dense_bytes == dense == 1_066_440
    assert report.size.ratio > 50
    for layer in report.size.layers:
        plain, coded = (
            layer.per_weight(lambda size, what=what: getattr(size, what)) for what in ("plain", "coded")
        )
        assert plain["codes"] == 4
        assert coded["codes"] < plain["codes"]
        assert coded["positions"] < plain["positions"]


def test_the_report_measures_the_errors(lenet):
    _, report = compress_network(lenet, Settings(DENSITY))
    for layer, original in zip(report.layers, lenet, strict=True):
        magnitude = np.sort(np.abs(original.weight).ravel().astype(float))
        dropped = magnitude[: magnitude.size - layer.nnz]
        assert layer.pruning_error == pytest.approx(
            np.linalg.norm(dropped) / np.linalg.norm(magnitude), rel=1e-4
        )
        assert layer.pruning_error < layer.relative_error < layer.pruning_error + 0.15
        assert layer.bits_per_weight == 8 * layer.size.nbytes / layer.nnz
        assert f"acc_frac {layer.scales.acc_frac}: partial sums reach" in layer.scales.reason


def test_the_same_network_gives_the_same_result(lenet):
    first, second = (compress_network(lenet, Settings((0.05,), weight_bits=5))[0] for _ in range(2))
    assert all(a.equals(b) for a, b in zip(first, second, strict=True))
    assert [layer.weight_bits for layer in first] == [5, 5, 5]


def test_without_calibration_inputs(lenet):
    layers, report = compress_network(lenet, Settings(DENSITY))
    assert report.calibration == (
        "64 random vectors, uniform in [0, 1), seed 1 (no calibration inputs given)"
    )
    assert [b.x_frac - a.y_frac for a, b in itertools.pairwise(layers)] == [0, 0]
    _, report = compress_network(lenet[::-1], Settings(DENSITY))
    assert report.calibration.endswith(", for each layer by itself (the layers do not follow one another)")


def test_threshold(lenet):
    layers, _ = compress_network(lenet, Settings(threshold=(1.0, 1.5, 2.0)))
    for layer, original, threshold in zip(layers, lenet, (1.0, 1.5, 2.0), strict=True):
        assert layer.nnz == int((np.abs(original.weight) > threshold * original.weight.std()).sum())


def test_no_pruning_keeps_every_non_zero():
    weight = np.float32([[1, 0, -2], [0, 0, 3]])
    layers, _ = compress_network([FloatLayer("fc", weight)])
    assert layers[0].nnz == 3
    assert np.array_equal(layers[0].decode() * 2.0 ** -layers[0].w_frac, weight)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("scale", [1e30, 1e-25])
def test_errors_of_weights_whose_squares_leave_float32(scale):
    _, report = compress_network([FloatLayer("fc", np.eye(4, dtype=np.float32) * np.float32(scale))])
    assert report.layers[0].pruning_error == 0
    assert 0 < report.layers[0].relative_error < 2**-15


@pytest.mark.parametrize(
    ("settings", "x", "text"),
    [
        (Settings((0.1, 0.2)), None, "2 densities for 3 layers: give 1 or 3"),
        (Settings(threshold=(1, 1, 1, 1)), None, "4 thresholds for 3 layers: give 1 or 3"),
        (Settings((0.1,), (1,)), None, "give density or threshold, not both"),
        (Settings((0.0,)), None, "density must be more than 0 and at most 1, not 0.0"),
        (Settings(weight_bits=0), None, "weight_bits must be from 1 to 8, not 0"),
        (
            Settings(),
            np.zeros((3, 783)),
            "inputs of layer 'fc1' must be numbers [batch, 784], not float64 of shape [3, 783]",
        ),
        (Settings(), np.full((1, 784), np.inf), "inputs[0, 0] is inf, not a finite number"),
    ],
)
def test_bad_settings_and_inputs(lenet, settings, x, text):
    with pytest.raises(ModelError) as caught:
        compress_network(lenet, settings, x)
    assert str(caught.value) == text


def test_calibration_needs_a_chain(lenet):
    with pytest.raises(ModelError, match=r"^layer 'fc2' takes 300 inputs, but 'fc3' has 10 outputs"):
        compress_network(lenet[::-1], Settings(), np.zeros((1, 100)))
    with pytest.raises(ModelError, match=r"^a network needs at least one layer$"):
        compress_network([])
