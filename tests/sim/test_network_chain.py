"""A chain of layers as a network: what `eie.load` gives is a sequence, and runs on real numbers."""

from pathlib import Path

import numpy as np
import pytest

import eie
from eie.capacity import sized_for
from eie.compress.forward import fixed_forward, quantize_inputs
from eie.compress.pipeline import Settings, compress_each
from eie.conv import Conv
from eie.errors import CapacityError, EieError, LayerError, ModelError
from eie.sim.chain import Chain, as_float
from eie.sim.networks.from_onnx import read_graph
from eie.sim.networks.network import Network
from eie.sim.networks.run import GraphNetwork
from tests.support import ROOT
from tests.support import onnx_networks as nets

TRAINED = ROOT / "examples" / "trained"
FILE = TRAINED / "lenet-300-100.eie"


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    with np.load(ROOT / "examples" / "lenet_300_100" / "mnist_test_1000.npz") as arrays:
        return arrays["images"][:20], arrays["labels"][:20]


@pytest.fixture(scope="module")
def net() -> Chain:
    return eie.load(FILE)


def test_a_loaded_network_is_a_sequence_of_its_layers(net: Chain, tmp_path: Path) -> None:
    assert isinstance(net, Network)
    assert [layer.name for layer in net] == ["fc1", "fc2", "fc3"]
    assert len(net) == 3
    assert net[-1] is net.layers[2]
    assert isinstance(net[1:], Chain)
    assert list(net[1:]) == [net[1], net[2]]
    assert net == eie.load(FILE)
    assert net != net[1:]
    assert net != list(net)
    assert repr(net) == "Chain(fc1 300 x 784, fc2 100 x 300, fc3 10 x 100)"
    eie.save(tmp_path / "part.eie", net[1:])
    assert eie.load(tmp_path / "part.eie") == net[1:]


@pytest.mark.parametrize("engine", ["fast", "reference"])
def test_real_numbers_go_in_and_come_out(
    net: Chain, digits: tuple[np.ndarray, np.ndarray], engine: str
) -> None:
    images, labels = digits
    run = net.run(images[:3] / 255, engine=engine)
    fixed = fixed_forward(net, quantize_inputs(net[0], images[:3].reshape(3, -1) / 255))
    assert np.array_equal(run.y, fixed.y)
    assert np.array_equal(run.outputs, np.ldexp(fixed.y.astype(float), -net[-1].y_frac))
    assert run.outputs.argmax(axis=1).tolist() == labels[:3].tolist()
    assert (run.engine, run.cfg, run.clipped) == (engine, net.machine(), 0)
    if engine == "reference":
        assert run.cycles is None
        assert run.energy_uj is None


def test_figures_are_sums_over_inputs_and_layers(net: Chain, digits: tuple[np.ndarray, np.ndarray]) -> None:
    images = digits[0][:3]
    cfg = sized_for(eie.ArchConfig(n_pe=16), *net)
    run = net.run(images, cfg)
    results = []
    for image in images:
        x = quantize_inputs(net[0], image.reshape(-1) / 255)
        for layer in net:
            results.append(eie.simulate(layer, x, cfg, "fast"))
            x = results[-1].y
    assert run.cycles == sum(one.cycles for one in results)
    assert run.microseconds == pytest.approx(sum(one.microseconds for one in results))
    assert run.total("fillers") == sum(one.total("fillers") for one in results)
    assert np.array_equal(run.counters["macs"], np.sum([one.counters["macs"] for one in results], axis=0))
    assert [one.cycles for one in run.results] == [sum(r.cycles for r in results[i::3]) for i in range(3)]
    assert run.energy_uj is not None
    assert run.energy_uj > 0


def test_every_form_of_an_input_is_the_same_input(net: Chain, digits: tuple[np.ndarray, np.ndarray]) -> None:
    image = digits[0][3].reshape(28, 28)
    one = net.run(image / 255)
    assert one.outputs.shape == (10,)
    fixed = quantize_inputs(net[0], image.reshape(-1) / 255)
    for given in (image, image.reshape(-1), fixed, {"input": image}, (image / 255).reshape(-1).tolist()):
        again = net.run(given)
        assert np.array_equal(again.outputs, one.outputs)
        assert again.cycles == one.cycles
    batch = net.run(image[None])
    assert batch.outputs.shape == (1, 10)
    assert np.array_equal(batch.outputs[0], one.outputs)


def test_images_run_through_convolutions(digits: tuple[np.ndarray, np.ndarray]) -> None:
    images, labels = digits
    net = eie.load(TRAINED / "lenet-5.eie")
    run = net.run(images[:2])
    assert run.outputs.argmax(axis=1).tolist() == labels[:2].tolist()
    assert [result.total("ptr_reads") > 0 for result in run.results] == [True] * 4
    alone = [net.run(image) for image in images[:2]]
    assert run.cycles == sum(one.cycles for one in alone)
    assert np.array_equal(run.outputs, np.stack([one.outputs for one in alone]))


def test_the_float_run_rounds_nothing(net: Chain, digits: tuple[np.ndarray, np.ndarray]) -> None:
    images = digits[0][:5]
    exact = net.run_float(images)["output"]
    y = images.reshape(5, -1) / 255
    for layer in as_float(net):
        y = layer.forward(y)
    assert np.allclose(exact, y, rtol=0, atol=1e-12)
    assert np.abs(net.run(images).outputs - exact).max() < 0.05 * np.abs(exact).max()
    fixed = quantize_inputs(net[0], images[0].reshape(-1) / 255)
    assert np.array_equal(
        net.run_float(fixed)["output"], net.run_float(np.ldexp(fixed, -net[0].x_frac))["output"]
    )


def test_numbers_beyond_the_first_layers_are_counted(net: Chain) -> None:
    x = np.zeros(784)
    x[:3] = 1e6
    assert net.run(x).clipped == 3


def test_what_does_not_fit_is_refused(net: Chain) -> None:
    with pytest.raises(
        LayerError, match=r"lenet-300-100.eie takes inputs \[batch, 784\] or \[784\], not .* \[783\]"
    ):
        net.run(np.zeros(783))
    with pytest.raises(LayerError, match=r"takes inputs \[batch, 784\]"):
        net.run([[1.0, 2.0], [3.0]])
    with pytest.raises(LayerError, match="must hold integers"):
        net.run(np.zeros(784, complex))
    with pytest.raises(ModelError, match=r"inputs\[0, 5\] is nan, not a finite number"):
        net.run(np.where(np.arange(784) == 5, np.nan, 0.0))
    with pytest.raises(LayerError, match="does not fit 16 bits"):
        net.run(np.full(784, 1 << 15))
    with pytest.raises(CapacityError, match="'fc1'"):
        net.run(np.zeros(784), eie.ArchConfig(n_pe=4, acc_depth=8))
    with pytest.raises(LayerError, match="layer 'fc3' takes 100 inputs, but 'fc1' has 300 outputs"):
        Chain([net[0], net[2]]).run(np.zeros(784))
    with pytest.raises(LayerError, match="at least one layer"):
        Chain([]).run(np.zeros(3))
    layer = eie.CompressedLayer.from_codes([[1]], [0, 1], conv=Conv((1, 1)))
    with pytest.raises(EieError, match="unknown size"):
        Chain([layer]).run(np.zeros(1))


def test_a_graph_takes_the_same_calls(tmp_path: Path) -> None:
    graph = read_graph(nets.denoiser(tmp_path / "net.onnx"))
    x = np.random.default_rng(1).normal(size=(1, 6, 9))
    layers = compress_each(graph.trained, list(graph.met_by_each({"x": x}).values()), Settings(weight_bits=8))
    net: Network = GraphNetwork(graph, layers, "net.eie")
    assert [layer.name for layer in net.layers] == [layer.name for layer in layers]
    assert str(net.inputs[0]) == "x [any, any, 9]"
    run = net.run(x)
    assert run.outputs.shape == (1, 6, 9)
    assert run.cycles == sum(result.cycles for result in run.results)
    assert net.machine().weight_bits == 8
    # By name, and without the batch.
    for given in ({"x": x}, x[0]):
        assert np.array_equal(net.run(given).outputs, run.outputs)
    exact = net.run_float(x)["y"]
    assert np.linalg.norm(run.outputs - exact) < 0.2 * np.linalg.norm(exact)
    with pytest.raises(ModelError, match=r"input x \[any, any, 9\] was given an array of shape \[8\]"):
        net.run(np.zeros(8))
    with pytest.raises(ModelError, match="takes numbers"):
        net.run(np.array(["a"]))
