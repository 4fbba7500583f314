"""The engine cpu gives the reference's values, bit for bit: by entries and tiles, alone and in batches, on threads."""

from __future__ import annotations

import gc
import json
import weakref

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

import eie
from eie.cli.main import main
from eie.conv import Conv, from_vectors, to_vectors
from eie.errors import ConfigError, LayerError
from eie.layer import CompressedLayer
from eie.program import Job
from eie.sim.engines import cpu, reference
from eie.sim.engines.cpu import Arithmetic, CpuLayer, CpuNetwork
from eie.sim.workloads.random import random_input, random_layer

LENET_5 = "examples/trained/lenet-5.eie"
DIGITS = "examples/lenet_300_100/mnist_test_1000.npz"


@pytest.fixture
def eager(monkeypatch):
    """Every layer is shared among all threads, and every batch goes side by side."""
    monkeypatch.setattr(cpu, "_WORTH_A_THREAD", 1)
    monkeypatch.setattr(cpu, "_LANE_NS", 0.0)


def referenced(layer, x, arithmetic):
    """The reference's outputs and saturations for vectors [n, cols]."""
    cfg = eie.ArchConfig(n_pe=1, acc_bits=arithmetic.acc_bits, act_bits=arithmetic.act_bits)
    results = [reference.run(Job(layer, one.astype(np.int64), cfg)) for one in x]
    return np.stack([result.y for result in results]), sum(result.total("saturations") for result in results)


@st.composite
def cases(draw):
    """A layer of any density and scale, an arithmetic, and one to forty vectors."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows, cols = draw(st.integers(1, 300)), draw(st.integers(1, 24))
    bits = draw(st.integers(1, 8))
    density = draw(st.sampled_from((0.0, 0.02, 0.1, 0.5, 1.0)))
    codes = rng.integers(1, 1 << bits, (rows, cols)) * (rng.random((rows, cols)) < density)
    scale = draw(st.sampled_from((1, 100, 32767)))
    codebook = rng.integers(-scale, scale + 1, 1 << bits)
    if scale == 32767:
        codebook[-1] = -32768
    codebook[0] = 0
    acc_bits = draw(st.sampled_from((16, 16, 16, 17, 24, 31, 32)))
    act_bits = draw(st.sampled_from((16, 16, 8, 12)))
    high = 2 ** (acc_bits - 1) - 1
    near = draw(st.sampled_from((0, 1)))  # biases at the limits
    bias = rng.integers(-high - 1, high + 1, rows) if near else rng.integers(-5, 6, rows)
    layer = CompressedLayer.from_codes(
        codes,
        codebook,
        bias,
        relu=draw(st.booleans()),
        product_shift=draw(st.integers(0, 31)),
        output_shift=draw(st.integers(0, 31)),
    )
    batch = draw(st.sampled_from((1, 1, 2, 9, 33, 40)))
    most = 2 ** (act_bits - 1) - 1
    x = rng.integers(-most - 1, most + 1, (batch, cols)) * (rng.random((batch, cols)) < 0.6)
    if draw(st.booleans()):
        x //= 64
    return layer, x.astype(np.int16), Arithmetic(acc_bits, act_bits)


@given(cases(), st.integers(1, 4), st.booleans())
@settings(max_examples=150, deadline=None)
def test_the_values_are_the_references(case, threads, tiles):
    layer, x, arithmetic = case
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cpu, "_WORTH_A_THREAD", 1)
        patch.setattr(cpu, "_LANE_NS", 0.0)
        patch.setattr(cpu, "has_tiles", lambda: tiles and _HAS_TILES)
        found = CpuLayer(layer, arithmetic, threads).run(x)
    assert found.dtype == np.int16
    assert np.array_equal(found, referenced(layer, x, arithmetic)[0])


_HAS_TILES = cpu.has_tiles()


@pytest.mark.parametrize("threads", [1, 2, 3, 5])
@pytest.mark.parametrize(("batch", "density"), [(1, 0.02), (1, 0.3), (3, 0.3), (35, 0.05)])
def test_sums_that_saturate_on_the_way(eager, threads, batch, density):
    """Of many rows, so that they lie in several blocks; a sum that saturates is not the sum that is saturated."""
    layer = random_layer(4500, 60, density, seed=3)
    layer = CompressedLayer.from_codes(
        layer.dense_codes(), layer.codebook, layer.bias, product_shift=15, output_shift=1
    )
    x = np.stack([random_input(60, 0.7, seed=k) for k in range(batch)]).astype(np.int16)
    want, saturations = referenced(layer, x[:3], Arithmetic())
    assert saturations > 50
    plain = np.clip(x[:3].astype(np.int64) @ layer.decode().T.astype(np.int64) >> 15, -32768, 32767)
    assert not np.array_equal(np.maximum(plain, 0) >> 1, want)
    ready = CpuLayer(layer, threads=threads)
    assert np.array_equal(ready.run(x)[:3], want)
    assert ready.uses_tiles == (density > cpu.TILE_DENSITY and _HAS_TILES)


@pytest.mark.parametrize("acc_bits", [16, 31, 32])
@pytest.mark.parametrize("shift", [0, 1, 15, 16, 31])
def test_the_largest_products(eager, acc_bits, shift):
    codes = np.tile([[1, 2], [2, 1], [1, 1]], (50, 4))
    layer = CompressedLayer.from_codes(codes, [0, -32768, 32767, 1], relu=False, product_shift=shift)
    x = np.array([[-32768, -32768, 32767, 32767] * 2, [-32768] * 8, [32767] * 8] * 4, np.int16)
    arithmetic = Arithmetic(acc_bits, 16)
    want = referenced(layer, x, arithmetic)[0]
    assert np.array_equal(CpuLayer(layer, arithmetic).run(x), want)
    assert np.array_equal(np.concatenate([CpuLayer(layer, arithmetic).run(one[None]) for one in x]), want)


@st.composite
def convolutions(draw):
    """A convolution with its pooling, and a few images."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    pair = st.tuples(st.integers(1, 3), st.integers(1, 3))
    conv = Conv(
        kernel=draw(pair),
        stride=draw(pair),
        padding=draw(st.tuples(st.integers(0, 2), st.integers(0, 2))),
        pool=draw(st.sampled_from(((1, 1), (2, 2), (1, 2)))),
        pool_stride=draw(st.sampled_from(((1, 1), (2, 2), (1, 3)))),
        size=draw(st.tuples(st.integers(7, 12), st.integers(7, 12))),
    )
    channels, rows = draw(st.integers(1, 3)), draw(st.integers(1, 20))
    cols = channels * conv.kernel[0] * conv.kernel[1]
    codes = rng.integers(1, 16, (rows, cols)) * (rng.random((rows, cols)) < 0.4)
    codebook = rng.integers(-32767, 32768, 16)
    codebook[0] = 0
    layer = CompressedLayer.from_codes(
        codes, codebook, rng.integers(-1000, 1000, rows), product_shift=draw(st.integers(12, 18)), conv=conv
    )
    images = rng.integers(-32768, 32768, (draw(st.integers(1, 4)), layer.inputs)) * (rng.random() < 0.9)
    return layer, images.astype(np.int16)


@given(convolutions(), st.integers(1, 3), st.sampled_from((16, 32)))
@settings(max_examples=60, deadline=None)
def test_convolutions(case, threads, acc_bits):
    layer, images = case
    vectors = to_vectors(layer.conv, images, layer.cols)
    want = from_vectors(layer.conv, referenced(layer, vectors, Arithmetic(acc_bits))[0])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cpu, "_WORTH_A_THREAD", 1)
        found = CpuLayer(layer, Arithmetic(acc_bits), threads).run(images)
    assert np.array_equal(found, want)


@pytest.mark.parametrize("name", ["lenet-5", "lenet-300-100"])
@pytest.mark.parametrize("batch", [1, 3, 40])
def test_whole_networks(name, batch):
    net = eie.load(f"examples/trained/{name}.eie")
    images = np.load(DIGITS)["images"][:batch]
    found, want = net.run(images, engine="cpu"), net.run(images, engine="fast")
    assert np.array_equal(found.y, want.y)
    assert np.array_equal(found.outputs, want.outputs)
    assert found.cycles is None
    assert found.energy_uj is None
    # float32 against float64
    real = CpuNetwork(net.layers).run_real(images.reshape(batch, -1) / 255)
    assert np.allclose(real, net.run_float(images)["output"], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("batch", "rows"), [(1, 300), (40, 300), (40, 4500)])
def test_floating_point(eager, batch, rows):
    layer = random_layer(rows, 50, 0.2, seed=5)
    x = np.random.default_rng(5).standard_normal((batch, 50)).astype(np.float32)
    found = CpuLayer(layer, threads=2).run_real(x)
    weights = np.ldexp(layer.decode().astype(np.float64), -layer.w_frac)
    want = np.maximum(x @ weights.T + np.ldexp(layer.bias.astype(np.float64), -layer.acc_frac), 0)
    assert np.allclose(found, want, rtol=1e-5, atol=1e-5 * np.abs(want).max())


def test_simulate_needs_no_machine_that_holds_the_layer():
    layer = random_layer(5000, 20, 0.3, seed=1)
    x = random_input(20, 0.5, seed=1)
    result = eie.simulate(layer, x, engine="cpu")
    assert np.array_equal(result.y, referenced(layer, x[None], Arithmetic())[0][0])
    assert result.cycles is None
    assert set(result.counters.values()) == {None}


def test_inputs_that_do_not_fit_are_refused():
    layer = random_layer(10, 4, 0.5, seed=1)
    with pytest.raises(LayerError, match="must be a vector of 4 activations"):
        eie.simulate(layer, np.zeros(5, int), engine="cpu")
    with pytest.raises(LayerError, match="40000 at index 1 does not fit 16 bits"):
        eie.simulate(layer, np.array([0, 40000, 0, 0]), engine="cpu")
    wide = CompressedLayer.from_codes([[1]], [0, 1], [40000])
    with pytest.raises(LayerError, match="bias 40000 at index 0 does not fit 16 bits"):
        eie.simulate(wide, np.ones(1, int), engine="cpu")
    with pytest.raises(ConfigError, match="threads must be at least 1, not 0"):
        CpuLayer(layer, threads=0)


def test_a_prepared_layer_goes_with_its_layer():
    layer = random_layer(10, 4, 0.5, seed=1)
    assert cpu.prepared(layer, Arithmetic()) is cpu.prepared(layer, Arithmetic())
    gone = weakref.ref(layer)
    del layer
    gc.collect()
    assert gone() is None


def test_the_command():
    runner = CliRunner()
    command = ["run", LENET_5, "--input", "examples/networks/digit.png"]
    said = {engine: runner.invoke(main, [*command, *engine.split(), "--json"]) for engine in (
        "--engine cpu", "--engine fast --sized", "--engine cpu --float"
    )}  # fmt: skip
    y = [json.loads(one.stdout)[-1]["y"] for one in said.values()]
    assert y[0] == y[1]
    assert np.argmax(y[2]) == np.argmax(y[0])
    text = runner.invoke(main, [*command, "--engine", "cpu"])
    assert text.exit_code == 0
    assert "no cycles, no counters" in text.stdout
    refused = runner.invoke(main, [*command, "--engine", "fast", "--float"])
    assert refused.exit_code == 2
    assert "--float has no effect with engine fast" in refused.output
