"""Convolutions: geometry against PyTorch's definition in plain loops, and networks of them on every engine."""

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eie.compress.float_layers import FloatLayer, batches, check_chains, float_forward
from eie.compress.forward import check_network, fixed_forward, quantize_inputs
from eie.compress.pipeline import Settings, compress_network
from eie.config import ArchConfig
from eie.conv import Conv
from eie.errors import ConfigError, LayerError, ModelError
from eie.layer import CompressedLayer
from eie.result import COUNTERS
from eie.sim.chain import layer_inputs, run_network, single_vectors
from eie.sim.simulate import simulate

CFG = ArchConfig(n_pe=4)


def by_loops(images, weights, conv, relu):
    """Convolution and max pooling of images [batch, channels, height, width] by their definitions."""
    (top, left), (kh, kw) = conv.padding, conv.kernel
    padded = np.pad(images, ((0, 0), (0, 0), (top, top), (left, left)))
    height = (padded.shape[2] - kh) // conv.stride[0] + 1
    width = (padded.shape[3] - kw) // conv.stride[1] + 1
    y = np.zeros((len(images), len(weights), height, width), images.dtype)
    for i in range(height):
        for j in range(width):
            top, left = i * conv.stride[0], j * conv.stride[1]
            window = padded[:, :, top : top + kh, left : left + kw]
            y[:, :, i, j] = np.einsum("bchw,ochw->bo", window, weights)
    if relu:
        y = np.maximum(y, 0)
    (ph, pw), (sh, sw) = conv.pool, conv.pool_stride
    rows, cols = (height - ph) // sh + 1, (width - pw) // sw + 1
    pooled = np.zeros((*y.shape[:2], rows, cols), y.dtype)
    for i in range(rows):
        for j in range(cols):
            pooled[:, :, i, j] = y[:, :, i * sh : i * sh + ph, j * sw : j * sw + pw].max(axis=(2, 3))
    return pooled


@st.composite
def geometries(draw):
    pair = st.tuples(st.integers(1, 3), st.integers(1, 3))
    kernel, stride, pool, pool_stride = (draw(pair) for _ in range(4))
    padding = draw(st.tuples(st.integers(0, 2), st.integers(0, 2)))
    # At least large enough for one pooled output.
    least = [k + (p - 1) * s for k, p, s in zip(kernel, pool, stride, strict=True)]
    size = tuple(draw(st.integers(smallest, smallest + 4)) for smallest in least)
    return Conv(kernel, stride, padding, pool, pool_stride, size)


@given(conv=geometries(), channels=st.integers(1, 3), relu=st.booleans(), seed=st.integers(0, 99))
def test_a_layer_is_the_definition(conv, channels, relu, seed):
    rng = np.random.default_rng(seed)
    weights = rng.integers(-9, 10, (2, channels, *conv.kernel))
    images = rng.integers(-9, 10, (2, channels, *conv.size))
    flat = weights.reshape(2, -1)
    layer = FloatLayer("c", flat.astype(np.float32), relu=relu, conv=conv)
    expected = by_loops(images, weights, conv, relu).reshape(2, -1)
    assert (layer.inputs, layer.outputs) == (images[0].size, expected.shape[1])
    assert np.array_equal(layer.forward(images.reshape(2, -1)), expected)
    # Fixed point: one code a distinct weight.
    codebook, codes = np.unique(np.append(flat.ravel(), 0), return_inverse=True)
    order = np.argsort(codebook != 0, kind="stable")
    table = np.zeros(32, np.int16)
    table[: len(order)] = codebook[order]
    fixed = CompressedLayer.from_codes(
        np.argsort(order)[codes[:-1]].reshape(flat.shape), table, relu=relu, conv=conv
    )
    assert (fixed.inputs, fixed.outputs) == (layer.inputs, layer.outputs)
    assert np.array_equal(fixed_forward([fixed], images.reshape(2, -1)).y, expected)


def test_parts_of_a_batch_give_what_the_whole_does(monkeypatch):
    conv = Conv((3, 3), size=(6, 6))
    layer = FloatLayer("c", np.random.default_rng(1).normal(size=(2, 18)).astype(np.float32), conv=conv)
    x = np.random.default_rng(2).normal(size=(5, 72))
    whole = layer.forward(x)
    monkeypatch.setattr("eie.compress.float_layers._PART", 2 * 16 * 18)  # two images of 16 positions
    assert [len(part) for part in batches(conv, x, 18)] == [2, 2, 1]
    assert np.allclose(layer.forward(x), whole, rtol=1e-12, atol=1e-12)


# ---- a network of convolutions, pooling and fully connected layers -----------------------------------------


@pytest.fixture(scope="module")
def network():
    """12 x 12 images: convolution, pooling, convolution with stride and padding, ReLU, pooling, two matrices."""
    rng = np.random.default_rng(5)

    def layer(name, rows, cols, relu, conv=None):
        weight = rng.normal(size=(rows, cols)) / np.sqrt(cols)
        return FloatLayer(
            name, weight.astype(np.float32), rng.normal(size=rows).astype(np.float32) / 9, relu, conv
        )

    pooling = {"pool": (2, 2), "pool_stride": (2, 2)}
    layers = [
        layer("conv1", 6, 25, False, Conv((5, 5), size=(12, 12), **pooling)),
        layer("conv2", 8, 54, True, Conv((3, 3), padding=(1, 1), size=(4, 4), **pooling)),
        layer("fc1", 12, 32, True),
        layer("fc2", 5, 12, False),
    ]
    x = np.maximum(rng.normal(size=(20, 144)), 0)
    return layers, x, *compress_network(layers, [Settings((0.4,))] * 4, x)


def test_every_engine_gives_the_same_images(network):
    _, x, layers, _ = network
    fixed = quantize_inputs(layers[0], x[0])
    expected = [fixed_forward(layers[: count + 1], fixed[None]).y[0] for count in range(4)]
    results = {engine: run_network(layers, fixed, CFG, engine) for engine in ("reference", "golden", "fast")}
    for engine, each in results.items():
        for result, y in zip(each, expected, strict=True):
            assert np.array_equal(result.y, y), engine
            assert result.y.dtype == np.int16
    for golden, fast, reference in zip(results["golden"], results["fast"], results["reference"], strict=True):
        assert (golden.cycles, reference.cycles) == (fast.cycles, None)
        assert golden.load_cycles == fast.load_cycles
        assert golden.writeback_cycles == fast.writeback_cycles
        assert set(golden.counters) == set(COUNTERS)
        for name in COUNTERS:
            assert np.array_equal(golden.counters[name], fast.counters[name]), name
        assert reference.counters["entries"] is None
        assert np.array_equal(reference.counters["macs"], golden.counters["macs"])
    assert len(np.unique(expected[-1])) == 5


def test_a_convolutions_result_is_the_sum_over_its_positions(network):
    _, x, layers, _ = network
    fixed = quantize_inputs(layers[0], x[1])
    (vectors, second, *_) = layer_inputs(layers, fixed[None], CFG.acc_bits)
    assert (vectors.shape, second.shape) == ((64, 25), (16, 54))
    each = [simulate(layers[0], vector, CFG, "fast") for vector in vectors]
    result = run_network(layers[:1], fixed, CFG, "fast")[0]
    assert result.cycles == sum(one.cycles for one in each)
    assert result.total("entries") == sum(one.total("entries") for one in each)
    assert result.counters["broadcast_stalls"] == sum(one.counters["broadcast_stalls"] for one in each)
    assert 0 < result.balance < 1
    maps = np.stack([one.y for one in each]).reshape(4, 2, 4, 2, 6)
    assert np.array_equal(result.y, maps.max(axis=(1, 3)).transpose(2, 0, 1).ravel())


def test_scales_come_from_images(network):
    trained, x, layers, report = network
    # Calibration inputs neither saturate nor lose more than rounding: the network is the float one of its codes.
    run = fixed_forward(layers, quantize_inputs(layers[0], x))
    assert (run.saturations, run.writeback_saturations) == ((0,) * 4, (0,) * 4)
    decoded = [
        replace(
            layer,
            weight=np.ldexp(fixed.decode().astype(np.float32), -fixed.w_frac),
            bias=np.ldexp(fixed.bias.astype(np.float32), -fixed.acc_frac),
        )
        for layer, fixed in zip(trained, layers, strict=True)
    ]
    expected = float_forward(decoded, x)
    y = run.y * 2.0 ** -layers[-1].y_frac
    assert np.abs(y - expected).max() < 0.01 * np.abs(expected).max()
    assert [layer.conv for layer in layers] == [layer.conv for layer in trained]
    # Outputs are written back before pooling, so that their scale must hold all of them.
    unpooled = replace(decoded[0], conv=Conv((5, 5), size=(12, 12))).forward(x)
    scales = report.layers[0].scales
    assert scales.largest_output == pytest.approx(np.abs(unpooled).max(), rel=1e-3)
    assert scales.largest_output > 1.1 * np.abs(decoded[0].forward(x)).max()


def test_waveforms_show_the_position_in_the_middle(network, tmp_path):
    _, x, layers, _ = network
    fixed = quantize_inputs(layers[0], x[0])
    run_network(layers[:2], fixed, CFG, "golden", waveform=tmp_path / "net.vcd")
    (vectors, _) = layer_inputs(layers[:2], fixed[None], CFG.acc_bits)
    simulate(layers[0], vectors[4 * 8 + 4], CFG, "golden", waveform=tmp_path / "one.vcd")
    dates = re.compile(r"\$date.*?\$end", re.DOTALL)
    made, expected = (dates.sub("", (tmp_path / name).read_text()) for name in ("net.0-conv1.vcd", "one.vcd"))
    assert made == expected
    with pytest.raises(ConfigError):
        run_network(layers, fixed, CFG, "fast", waveform=tmp_path / "net.vcd")
    first, second, third = single_vectors(layers[:3], fixed, CFG.acc_bits)
    inputs = layer_inputs(layers[:3], fixed[None], CFG.acc_bits)
    assert np.array_equal(first, inputs[0][36])
    assert np.array_equal(second, inputs[1][2 * 4 + 2])
    assert np.array_equal(third, inputs[2][0])


# ---- bad input ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"kernel": (0, 3)}, "kernel of a convolution must be two sizes from 1 to 65536, not (0, 3)"),
        ({"kernel": 3}, "kernel of a convolution must be two sizes from 1 to 65536, not 3"),
        ({"stride": (1, 1, 1)}, "stride of a convolution must be two sizes from 1 to 65536, not (1, 1, 1)"),
        ({"padding": (-1, 0)}, "padding of a convolution must be two sizes from 0 to 65536, not (-1, 0)"),
        ({"size": (70000, 1)}, "size of a convolution must be two sizes from 0 to 65536, not (70000, 1)"),
        ({"size": (2, 9)}, "the window of a convolution does not fit its image of 2 x 9"),
        (
            {"size": (5, 5), "pool": (4, 1)},
            "the pooling window of a convolution does not fit its image of 5 x 5",
        ),
    ],
)
def test_geometries_that_there_are_not(fields, text):
    with pytest.raises(LayerError) as caught:
        Conv(**{"kernel": (3, 3)} | fields)
    assert str(caught.value) == text


def test_geometries_as_numbers():
    conv = Conv((5, 4), (1, 2), (0, 3), (2, 2), (3, 1), (28, 30))
    assert conv.to_numbers() == [5, 4, 1, 2, 0, 3, 2, 2, 3, 1, 28, 30]
    assert Conv.from_numbers(conv.to_numbers()) == conv
    for numbers in ([1] * 11, [1] * 13, [1.5] * 12, ["a"] * 12, [0] * 12):
        with pytest.raises(LayerError):
            Conv.from_numbers(numbers)


def test_layers_that_do_not_follow_one_another(network):
    trained, _, layers, _ = network
    unknown = Conv((5, 5))
    text = "layer 'conv1' is a convolution over images of unknown size"
    with pytest.raises(ModelError, match=text):
        check_chains([replace(trained[0], conv=unknown)])
    with pytest.raises(LayerError, match=text):
        check_network([replace(layers[0], conv=unknown)])
    with pytest.raises(LayerError, match=r"^layer 'fc1' takes 32 inputs, but 'conv1' has 96 outputs$"):
        check_network([layers[0], layers[2]])
    with pytest.raises(ModelError, match=r"^layer 'fc1' takes 32 inputs, but 'conv1' has 96 outputs$"):
        check_chains([trained[0], trained[2]])
    columns = r"25 columns are not a multiple of the 2 x 2 kernels$"
    with pytest.raises(LayerError, match=columns):
        replace(layers[0], conv=Conv((2, 2)))
    with pytest.raises(ModelError, match=columns):
        replace(trained[0], conv=Conv((2, 2)))
    with pytest.raises(
        LayerError, match=r"must be a vector of 144 activations, not an array of shape \(25,\)$"
    ):
        run_network(layers, np.zeros(25, int), CFG, "fast")
