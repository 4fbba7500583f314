"""LeNet-5 (the Caffe variant) whole: convolutions, pooling and matrices, on digits."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import eie
from eie.cli.commands.accuracy import measure
from eie.cli.main import main
from eie.compress.float_layers import FloatLayer, float_forward
from eie.compress.forward import fixed_forward, quantize_inputs
from eie.compress.pipeline import Settings, compress_network
from eie.conv import Conv
from eie.sim.chain import as_float, run_network
from eie.sim.workloads.example import EXAMPLE, read_digits

TRAINED = EXAMPLE.parent / "trained" / "lenet-5.eie"
POOLING = {"pool": (2, 2), "pool_stride": (2, 2)}
# Outputs, inputs, weights kept, ReLU, geometry.
LAYERS = {
    "conv1": (20, 25, 0.5, False, Conv((5, 5), size=(28, 28), **POOLING)),
    "conv2": (50, 500, 0.12, False, Conv((5, 5), size=(12, 12), **POOLING)),
    "fc1": (500, 800, 0.08, True, None),
    "fc2": (10, 500, 1.0, False, None),
}


@pytest.fixture(scope="module")
def digits():
    return read_digits(EXAMPLE)


@pytest.fixture(scope="module")
def trained(digits):
    """Random sparse features, and a last layer fitted to the digits by least squares: no PyTorch, one second."""
    rng = np.random.default_rng(1)
    layers = []
    for name, (rows, cols, density, relu, conv) in LAYERS.items():
        weight = (
            rng.normal(size=(rows, cols)) * (rng.random((rows, cols)) < density) / np.sqrt(density * cols)
        )
        layers.append(FloatLayer(name, weight.astype(np.float32), np.zeros(rows, np.float32), relu, conv))
    features = float_forward(layers[:3], digits.pixels)
    wanted = np.eye(10)[digits.labels]
    fitted = np.linalg.solve(features.T @ features + 3 * np.eye(500), features.T @ wanted).T
    layers[3] = FloatLayer("fc2", fitted.astype(np.float32), relu=False)
    return layers


@pytest.fixture(scope="module")
def network(trained, digits, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("lenet_5") / "lenet_5.eie"
    eie.save(path, compress_network(trained, Settings(), digits.pixels[:20])[0])
    return path


def test_geometry_survives_the_file(network):
    layers = eie.load(network)
    assert [layer.conv for layer in layers] == [conv for *_, conv in LAYERS.values()]
    assert [(layer.inputs, layer.outputs) for layer in layers] == [
        (784, 2880),
        (2880, 800),
        (800, 500),
        (500, 10),
    ]


def test_golden_is_the_reference_on_a_digit(network, digits):
    layers = eie.load(network)
    x = quantize_inputs(layers[0], digits.pixels[3])
    cfg = eie.sized_for(eie.ArchConfig(n_pe=8), *layers)
    golden, reference, fast = (
        run_network(layers, x, cfg, engine) for engine in ("golden", "reference", "fast")
    )
    for one, two, three in zip(golden, reference, fast, strict=True):
        assert np.array_equal(one.y, two.y)
        assert np.array_equal(one.y, three.y)
        assert one.cycles == three.cycles
        assert one.total("macs") == two.total("macs")
    assert golden[-1].y.argmax() == digits.labels[3]
    assert [len(result.y) for result in golden] == [2880, 800, 500, 10]


def test_fixed_point_costs_at_most_three_digits_in_a_thousand(network, digits):
    layers = eie.load(network)
    run = fixed_forward(layers, quantize_inputs(layers[0], digits.pixels))
    real = float_forward(as_float(layers), digits.pixels)
    right, right_in_float = (int((y.argmax(axis=1) == digits.labels).sum()) for y in (run.y, real))
    assert right_in_float > 850
    assert abs(right - right_in_float) <= 3
    # The command says the same.
    arguments = ["accuracy", str(network), "--input", str(EXAMPLE / "mnist_test_1000.npz"), "--json"]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0
    found = json.loads(done.stdout)
    assert (found["inputs"], found["wrong"], found["wrong_float"]) == (
        1000,
        1000 - right,
        1000 - right_in_float,
    )
    assert found["different"] == int((run.y.argmax(axis=1) != real.argmax(axis=1)).sum())
    assert (found["saturations"], found["writeback_saturations"]) == (
        sum(run.saturations),
        sum(run.writeback_saturations),
    )
    done = CliRunner().invoke(main, [*arguments[:4], "--limit", "40"])
    assert done.stdout.startswith("40 inputs\naccelerator   ")
    assert "16-bit accumulators\nsame weights  " in done.stdout


@pytest.mark.parametrize("place", [0, 18])
def test_golden_is_the_reference_on_the_trained_network(place, digits):
    """The file in examples/trained, all four layers: a 7 and a 3."""
    layers = eie.load(TRAINED)
    x = quantize_inputs(layers[0], digits.pixels[place])
    cfg = eie.sized_for(eie.ArchConfig(n_pe=4), *layers)
    golden, reference = (run_network(layers, x, cfg, engine) for engine in ("golden", "reference"))
    for one, two, layer in zip(golden, reference, layers, strict=True):
        assert np.array_equal(one.y, two.y), layer.name
        assert one.y.any(), layer.name
    assert golden[-1].y.argmax() == digits.labels[place]


def test_the_table_of_the_trained_networks_is_of_these_files():
    rows = re.findall(
        r"^\| (\S+\.eie) \| ([\d,]+) \|", (TRAINED.parent / "README.md").read_text(), re.MULTILINE
    )
    found = {path.name: f"{path.stat().st_size:,}" for path in TRAINED.parent.glob("*.eie")}
    assert dict(rows) == found


def test_the_trained_network_in_both_arithmetics():
    """Here on 1,000 digits; docs/train.md has all 10,000."""
    found = measure(eie.load(TRAINED), EXAMPLE / "mnist_test_1000.npz", eie.ArchConfig.preset("paper"))
    assert found.inputs == 1000
    assert found.wrong_float <= 10
    assert abs(found.wrong - found.wrong_float) <= 3
    assert (found.saturations, found.writeback_saturations, found.clipped) == (0, 0, 0)


@pytest.mark.parametrize(
    ("arrays", "line"),
    [
        ({"x": np.zeros((2, 784), np.uint8)}, "x.npz holds no labels (integers, one for each input)"),
        ({"x": np.zeros((2, 784), np.int16), "y": np.zeros(2, int)}, "x.npz holds no real numbers or pixels"),
        ({"x": np.zeros((2, 25))}, "x.npz: no numbers [n, 784] or [784], only x float64[2, 25]"),
    ],
)
def test_inputs_that_cannot_be_scored(network, tmp_path, monkeypatch, arrays, line):
    monkeypatch.chdir(tmp_path)
    np.savez("x.npz", **arrays)
    done = CliRunner().invoke(main, ["accuracy", str(network), "--input", "x.npz"])
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == f"eie: error: {line}\n"


def test_pictures_of_every_layer(network, tmp_path):
    done = CliRunner().invoke(main, ["info", str(network), "--pictures", str(tmp_path / "p")])
    assert done.exit_code == 0, done.output
    files = [tmp_path / "p" / f"{number}-{name}.png" for number, name in enumerate(LAYERS)]
    assert done.stdout.endswith("\n" + "\n".join(map(str, files)) + "\n")
    for file in files:
        assert file.read_bytes().startswith(b"\x89PNG")
    assert sorted(tmp_path.joinpath("p").iterdir()) == sorted(files)
