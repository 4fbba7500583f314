"""CompressedLayer: construction, decoding, and both depths of check()."""

import dataclasses

import numpy as np
import pytest

from eie.config import ArchConfig
from eie.errors import LayerError
from eie.layer import CompressedLayer, as_activations
from eie.program import Job

BOOK = np.arange(16, dtype=np.int16) * 100


def small() -> CompressedLayer:
    return CompressedLayer.from_codes([[0, 1, 0], [2, 0, 0], [3, 4, 0]], BOOK, name="fc1")


def test_round_trip_and_sizes():
    layer = small()
    assert layer.dense_codes().tolist() == [[0, 1, 0], [2, 0, 0], [3, 4, 0]]
    assert layer.decode().dtype == np.int16
    assert layer.decode()[2].tolist() == [300, 400, 0]
    assert (layer.rows, layer.cols, layer.nnz, layer.weight_bits) == (3, 3, 4, 4)
    assert layer.density == 4 / 9
    assert layer.equals(small())
    assert not layer.equals(dataclasses.replace(layer, relu=False))


def test_scales_follow_from_the_shifts():
    layer = CompressedLayer.from_codes([[1]], BOOK, product_shift=7, output_shift=3, x_frac=10, w_frac=12)
    assert (layer.acc_frac, layer.y_frac) == (15, 12)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (([1, 2], BOOK), "codes must have two dimensions (rows, cols), not 1"),
        (([[1, 300]], BOOK), "codes must lie in 0..255, not 1..300"),
        (([[1, -1]], BOOK), "codes must lie in 0..255, not -1..1"),
        (([[0.5]], BOOK), "codes must hold integers, not float64"),
        (([[1]], BOOK[:3]), "layer 'layer': the codebook must hold 2, 4, 8, ... 256 codes, not 3"),
        (([[1]], BOOK + 1), "layer 'layer': codebook[0] must be 0, not 1"),
        (([[1]], BOOK, [1, 2]), "layer 'layer': bias must be int32[1], not int32[2]"),
        (([[1]], BOOK, None, True, 32), "layer 'layer': product_shift must be from 0 to 31, not 32"),
        ((np.zeros((0, 3), int), BOOK), "layer 'layer': a 0 x 3 matrix has no layer"),
        (([[1]], BOOK, None, True, 1.5), "layer 'layer': product_shift must be an integer, not 1.5"),
        (([[1]], 3), "layer 'layer': codebook must be int16[1], not int16[]"),
        (([[2]], [0, 1]), "layer 'layer': code 2 is outside the codebook of 2"),
    ],
)
def test_refused_arguments(arguments, text):
    with pytest.raises(LayerError) as caught:
        CompressedLayer.from_codes(*arguments)
    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"indices": [0, 0, 3, 2]}, "row 3 is outside 0..2"),
        ({"indices": [0, 0, -1, 2]}, "row -1 is outside 0..2"),
        ({"indices": [2, 1, 0, 2]}, "rows do not ascend in column 0"),
        ({"indices": [1, 2, 2, 2]}, "rows do not ascend in column 1"),
        ({"codes": [1, 0, 1, 1]}, "an entry with code 0 is stored (only fillers may have it)"),
        ({"codes": [1, 16, 1, 1]}, "code 16 is outside the codebook of 16"),
        ({"indptr": [0, 3, 2, 4]}, "column pointers fall after column 1"),
    ],
)
def test_the_full_check_reads_every_entry(changes, text):
    layer = small()
    kinds = {"indices": np.int32, "codes": np.uint8, "indptr": np.int64}
    broken = dataclasses.replace(layer, **{k: np.array(v, kinds[k]) for k, v in changes.items()})
    broken.check()  # the shallow check does not look
    with pytest.raises(LayerError) as caught:
        broken.check(full=True)
    assert str(caught.value) == f"layer 'fc1': {text}"
    layer.check(full=True)


def test_empty_columns_and_layers_pass_the_full_check():
    CompressedLayer.from_codes(np.zeros((4, 5), np.uint8), BOOK).check(full=True)
    CompressedLayer.from_codes([[0, 0, 1, 0], [0, 1, 1, 0]], BOOK).check(full=True)
    CompressedLayer.from_codes([[0, 1, 0, 1, 0]], BOOK).check(full=True)


def test_widths():
    layer = CompressedLayer.from_codes([[1]], BOOK, [40_000], name="fc1")
    layer.check_widths(weight_bits=4, code_bits=16, acc_bits=32)
    for widths, text in (
        ((3, 16, 32), "layer 'fc1': 4-bit code indices do not fit weight_bits = 3"),
        ((4, 8, 32), "layer 'fc1': code 200 at index 2 does not fit 8 bits (-128..127)"),
        ((4, 16, 16), "layer 'fc1': bias 40000 at index 0 does not fit 16 bits (-32768..32767)"),
    ):
        with pytest.raises(LayerError) as caught:
            layer.check_widths(weight_bits=widths[0], code_bits=widths[1], acc_bits=widths[2])
        assert str(caught.value) == text


@pytest.mark.parametrize(
    ("x", "text"),
    [
        ([1, 2], "input of layer 'fc1' must be a vector of 3 activations, not an array of shape (2,)"),
        ([0.5, 0, 0], "input of layer 'fc1' must hold integers (fixed point), not float64"),
        (
            np.uint64([0, 2**64 - 1, 1]),
            "input of layer 'fc1': 18446744073709551615 at index 1 does not fit 16 bits",
        ),
        ([0, 0, 40_000], "input of layer 'fc1': 40000 at index 2 does not fit 16 bits"),
    ],
)
def test_inputs(x, text):
    with pytest.raises(LayerError) as caught:
        as_activations(x, small(), 16)
    assert str(caught.value) == text


def test_a_ragged_input():
    with pytest.raises(LayerError, match=r"^input of layer 'fc1' is not an array: "):
        as_activations([[1], [2, 3]], small(), 16)


def test_a_job_reads_every_entry_of_its_layer():
    layer = dataclasses.replace(small(), indices=np.array([2, 1, 0, 2], np.int32))
    with pytest.raises(LayerError, match=r"^layer 'fc1': rows do not ascend in column 0$"):
        Job.create(layer, [1, 2, 3], ArchConfig(n_pe=1))
