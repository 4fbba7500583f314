"""Fixed-point scales, and inference in the accelerator's arithmetic."""

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eie.compress.forward import check_network, fixed_forward, quantize_inputs
from eie.compress.quantize import Widths, first_x_frac, largest_frac, partial_sums, quantize_layer
from eie.compress.share import SharedLayer
from eie.errors import LayerError, ModelError
from eie.fixed import quantize
from eie.layer import CompressedLayer


def plain_forward(layers, x, acc_bits, act_bits=16):
    """The contract's arithmetic for one vector, in Python integers: y and both saturation counts of each layer."""

    def clip(value, bits):
        return max(-(1 << bits - 1), min((1 << bits - 1) - 1, value))

    def shift(value, by):
        # Half up, without a shift: floor(value / 2**by + 1/2).
        return value if by == 0 else (2 * value + 2**by) // 2 ** (by + 1)

    counts = []
    for layer in layers:
        weights = layer.codebook.astype(int)[layer.dense_codes()].tolist()
        stored = (layer.dense_codes() > 0).tolist()
        saturations = writeback = 0
        y = []
        for row, start in enumerate(layer.bias.tolist()):
            acc = start
            for column, value in enumerate(x):
                if stored[row][column] and value:
                    exact = acc + shift(weights[row][column] * value, layer.product_shift)
                    acc = clip(exact, acc_bits)
                    saturations += acc != exact
            exact = shift(max(acc, 0) if layer.relu else acc, layer.output_shift)
            y.append(clip(exact, act_bits))
            writeback += y[-1] != exact
        counts.append((saturations, writeback))
        x = y
    return x, counts


@st.composite
def networks(draw):
    """Layers that follow one another and a batch of inputs, with values up to the corners of their widths."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    acc_bits = draw(st.sampled_from([16, 20, 32]))
    sizes = draw(st.lists(st.integers(1, 9), min_size=2, max_size=4))
    layers, frac = [], draw(st.integers(-3, 15))
    for cols, rows in itertools.pairwise(sizes):
        reach = draw(st.sampled_from([3, 300, 32767]))
        codes = rng.integers(0, 16, (rows, cols)) * (rng.random((rows, cols)) < draw(st.floats(0, 1)))
        layer = CompressedLayer.from_codes(
            codes,
            np.concatenate(([0], rng.integers(-reach - 1, reach + 1, 15))),
            rng.integers(-(1 << acc_bits - 1), 1 << acc_bits - 1, rows) // draw(st.sampled_from([1, 50])),
            draw(st.booleans()),
            draw(st.sampled_from([0, 1, 8, 16, 31])),
            draw(st.sampled_from([0, 1, 8, 31])),
            x_frac=frac,
            w_frac=draw(st.integers(0, 15)),
        )
        layers.append(layer)
        frac = layer.y_frac
    x = rng.integers(-32768, 32768, (draw(st.integers(1, 5)), sizes[0])) >> draw(st.sampled_from([0, 8]))
    x[rng.random(x.shape) < draw(st.floats(0, 1))] = 0
    return layers, x, acc_bits


@given(networks())
def test_fixed_forward_is_the_contracts_arithmetic(network):
    layers, x, acc_bits = network
    run = fixed_forward(layers, x, acc_bits)
    singles = [plain_forward(layers, vector, acc_bits) for vector in x.tolist()]
    assert run.y.tolist() == [y for y, _ in singles]
    assert run.y.dtype == np.int16
    for i in range(len(layers)):
        assert run.saturations[i] == sum(counts[i][0] for _, counts in singles)
        assert run.writeback_saturations[i] == sum(counts[i][1] for _, counts in singles)


def test_vectors_worked_out_by_hand():
    layer = CompressedLayer.from_codes([[1, 2], [0, 1]], [0, 30000, -20000, 5], [100, -7], product_shift=1)
    # Row 0: 100 + (30000 + 1 >> 1) = 15100; + (-60000 + 1 >> 1 = -30000) = -14900 -> 0. Row 1: -7 + 45000, clipped.
    run = fixed_forward([layer], [[1, 3]])
    assert run.y.tolist() == [[0, 32767]]
    assert (run.saturations, run.writeback_saturations) == ((1,), (0,))
    # In 32 bits the sum 44993 is clipped at write-back instead.
    run = fixed_forward([layer], [[1, 3]], acc_bits=32)
    assert run.y.tolist() == [[0, 32767]]
    assert (run.saturations, run.writeback_saturations) == ((0,), (1,))


def test_layers_that_do_not_follow_one_another():
    one = CompressedLayer.from_codes([[1, 1]], [0, 1], name="one", x_frac=3)
    wide = CompressedLayer.from_codes([[1, 1]], [0, 1], name="two")
    scaled = CompressedLayer.from_codes([[1]], [0, 1], name="two", x_frac=4)
    with pytest.raises(LayerError, match=r"^layer 'two' takes 2 inputs, but 'one' has 1 outputs$"):
        check_network([one, wide])
    with pytest.raises(LayerError) as caught:
        check_network([one, scaled])
    assert str(caught.value) == (
        "layer 'two' takes inputs with 4 fraction bits, but the outputs of 'one' have 3"
    )


@pytest.mark.parametrize(
    ("x", "text"),
    [
        ([[1]], "inputs of layer 'one' must be integers [batch, 2], not int64 of shape [1, 1]"),
        ([[1.0, 2.0]], "inputs of layer 'one' must be integers [batch, 2], not float64 of shape [1, 2]"),
        ([[1, 40000]], "inputs of layer 'one' must lie in -32768..32767 (16 bits)"),
    ],
)
def test_bad_inputs(x, text):
    one = CompressedLayer.from_codes([[1, 1]], [0, 1], name="one")
    with pytest.raises(LayerError) as caught:
        fixed_forward([one], x)
    assert str(caught.value) == text


def test_a_bias_beyond_the_accumulator_is_refused():
    layer = CompressedLayer.from_codes([[1, 1]], [0, 1], [40000])
    with pytest.raises(LayerError, match=r"bias 40000 at index 0 does not fit 16 bits"):
        fixed_forward([layer], [[1, 1]])
    with pytest.raises(LayerError, match=r"^a network needs at least one layer$"):
        fixed_forward([], [[1, 1]])


@given(st.floats(1e-20, 1e30), st.integers(4, 32), st.integers(0, 2))
def test_largest_frac_is_the_largest_that_fits(magnitude, bits, headroom):
    frac = largest_frac(magnitude, bits, headroom)
    limit = 2 ** (bits - 1) - 1
    assert magnitude * 2.0 ** (frac + headroom) <= limit
    assert frac == 96 or magnitude * 2.0 ** (frac + headroom + 1) > limit


def shared_layer(rng, rows, cols, scale=1.0, relu=True):
    centroids = np.concatenate(([0], np.sort(rng.normal(0, scale, 15))))
    codes = (rng.integers(1, 16, (rows, cols)) * (rng.random((rows, cols)) < 0.4)).astype(np.uint8)
    return SharedLayer("fc", codes, centroids, rng.normal(0, scale, rows), relu)


def test_partial_sums_and_outputs():
    layer = SharedLayer("fc", np.uint8([[1, 2, 1]]), np.array([0, 5.0, -9.0, 0]), np.array([1.0]), True)
    # 1 -> 11 -> -7 -> 3: the largest is 11 on the way, not the 3 at the end.
    largest, y = partial_sums(layer, np.array([[2.0, 2.0, 2.0]]))
    assert (largest, y.tolist()) == (11.0, [[3.0]])
    # The start value counts.
    assert partial_sums(dataclasses.replace(layer, bias=np.array([-20.0])), np.zeros((1, 3)))[0] == 20.0


@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([1e-6, 0.01, 1.0, 1e4]),
    st.sampled_from([1e-4, 1.0, 300.0]),
    st.sampled_from([16, 24, 32]),
    st.integers(0, 2),
    st.booleans(),
)
def test_scales_saturate_nowhere_and_waste_no_bit(seed, weight, reach, acc_bits, headroom, relu):
    rng = np.random.default_rng(seed)
    layer, x = shared_layer(rng, 12, 20, weight, relu), rng.random((8, 20)) * reach
    widths = Widths(acc_bits=acc_bits, headroom=headroom)
    x_frac = first_x_frac(x, widths)
    x_fixed = quantize(x, x_frac, 16)
    compressed, scales, y, y_fixed = quantize_layer(layer, x, x_fixed, x_frac, widths)
    compressed.check_widths(weight_bits=4, code_bits=16, acc_bits=acc_bits)
    assert (compressed.acc_frac, compressed.y_frac) == (scales.acc_frac, scales.y_frac)
    run = fixed_forward([compressed], x_fixed, acc_bits)
    assert (run.saturations, run.writeback_saturations) == ((0,), (0,))
    assert np.array_equal(run.y, y_fixed)
    # One more bit would eat into the headroom, or be one that no product has.
    at_most = min(largest_frac(scales.largest_sum, acc_bits, headroom), x_frac + scales.w_frac)
    assert (
        scales.acc_frac in (at_most, at_most - 1) or scales.output_shift == 31 or scales.product_shift == 31
    )
    # The outputs are the float layer's: one rounding for each input, code, product and output.
    step = 2.0**-scales.acc_frac / 2 * 21 + 2.0**-scales.y_frac / 2
    rounding = 20 * (reach * 2.0**-scales.w_frac / 2 + scales.largest_weight * 2.0**-x_frac / 2)
    rounding += 20 * 2.0 ** -(x_frac + scales.w_frac) / 4
    assert np.abs(y_fixed * 2.0**-scales.y_frac - y).max() <= step + rounding


def test_headroom_is_kept():
    rng = np.random.default_rng(7)
    layer, x = shared_layer(rng, 30, 40), rng.random((50, 40))
    for headroom in (1, 2, 3):
        widths = Widths(headroom=headroom)
        x_frac = first_x_frac(x, widths)
        compressed, scales, *_ = quantize_layer(layer, x, quantize(x, x_frac, 16), x_frac, widths)
        # Inputs 1.9 times as large (x_frac has its headroom as well) still fit with one bit of it.
        larger = fixed_forward([compressed], quantize_inputs(compressed, 1.9 * x))
        assert larger.saturations == (0,)
        assert scales.largest_sum * 2.0 ** (scales.acc_frac + headroom) <= 32767


def test_scales_give_way_where_rounding_saturates():
    lowered = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        layer, x = shared_layer(rng, 12, 20), rng.random((8, 20))
        # The largest sum becomes the largest number there is, so that half of all roundings are too much.
        full = 32767.0 * 2.0**-10 / partial_sums(layer, x)[0]
        layer = dataclasses.replace(layer, centroids=layer.centroids * full, bias=layer.bias * full)
        widths = Widths(headroom=0)
        x_frac = first_x_frac(x, widths)
        x_fixed = quantize(x, x_frac, 16)
        compressed, scales, *_ = quantize_layer(layer, x, x_fixed, x_frac, widths)
        assert fixed_forward([compressed], x_fixed).saturations == (0,)
        assert scales.acc_frac in (9, 10)
        lowered += scales.acc_frac == 9
    assert lowered > 0


def test_weights_that_hardly_matter_keep_the_shift_legal():
    # Sums of 10^6 leave an accumulator no fraction bits: product_shift would have to be more than 31.
    layer = SharedLayer("fc", np.uint8([[1, 2]]), np.array([0, 0.25, -0.125, 0]), np.array([1e6]), True)
    x = np.array([[0.5, 0.25]])
    widths = Widths()
    compressed, scales, y, y_fixed = quantize_layer(layer, x, quantize(x, 14, 16), 14, widths)
    assert (compressed.product_shift, scales.acc_frac) == (31, -6)
    assert y_fixed.tolist() == [[15625]]
    assert y.tolist() == [[1e6 + 0.09375]]


def test_outputs_that_are_all_clipped():
    layer = SharedLayer("fc", np.uint8([[1, 1]]), np.array([0, 1e-9]), np.array([-1e-8]), True)
    x = np.array([[1.0, 1.0]])
    for acc_bits in (16, 32):
        widths = Widths(acc_bits=acc_bits)
        compressed, *_ = quantize_layer(layer, x, quantize(x, 13, 16), 13, widths)
        assert compressed.output_shift == acc_bits - 16


def test_all_zero_layer():
    layer = SharedLayer("fc", np.zeros((2, 3), np.uint8), np.zeros(16), np.zeros(2), True)
    compressed, *_ = quantize_layer(layer, np.zeros((1, 3)), np.zeros((1, 3), np.int64), 13, Widths())
    assert compressed.nnz == 0


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"acc_bits": 33}, "acc_bits must be from 16 to 32, not 33"),
        ({"acc_bits": 12}, "acc_bits must be from 16 to 32, not 12"),
        ({"headroom": 15}, "headroom must be from 0 to 14, not 15"),
        ({"code_bits": 3}, "code_bits must be from 4 to 16, not 3"),
    ],
)
def test_bad_widths(changes, text):
    with pytest.raises(ModelError) as caught:
        Widths(**changes)
    assert str(caught.value) == text
