"""The adaptive arithmetic code: tables that are the same everywhere, numbers, growth, and bits accounted for."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eie.compress.format import adaptive
from eie.compress.format.adaptive import Coder
from eie.errors import FormatError
from eie.layer import CompressedLayer

numbers = st.lists(
    st.one_of(st.integers(-9, 9), st.integers(-(2**31), 2**31 - 1), st.sampled_from([-(2**31), 2**31 - 1])),
    max_size=60,
)


@given(numbers, numbers)
def test_numbers_survive(first, second):
    coder = Coder()
    coder.numbers(first)
    coder.numbers(second)
    data = coder.finish()
    again = Coder(data)
    assert again.numbers(np.zeros(len(first))).tolist() == first
    assert again.numbers(np.zeros(len(second))).tolist() == second
    assert again.bits == pytest.approx(coder.bits)
    # Zeros at the end are left out, so that the data may be shorter than the bits; never longer by more than a byte.
    assert 8 * len(data) < coder.bits + 16


def test_alike_numbers_become_cheap():
    rng = np.random.default_rng(4)
    coder = Coder()
    coder.numbers(rng.integers(64, 128, 1000))
    assert coder.bits < 1000 * 7.3  # six bits are what they are worth
    coder.numbers(np.zeros(10_000))
    assert coder.bits < 1000 * 7.3 + 400


def test_numbers_of_more_than_32_bits_are_refused():
    with pytest.raises(FormatError, match=r"^a number of more than 32 bits$"):
        Coder(bytes(8)).numbers([0])


def test_the_tables_are_the_same_on_every_machine():
    # Rounding cannot depend on the last bits of a logarithm when none of the values is near a half.
    p = np.arange(1, 65536)
    logits = 256 * np.log(p / (65536 - p))
    probabilities = 65536 / (1 + np.exp(-np.arange(-2816, 2817) / 256))
    for values in (logits, probabilities):
        assert np.abs(values - np.floor(values) - 0.5).min() > 1e-9
    stretch, squash, rate = adaptive.tables()
    assert np.array_equal(stretch[1:], np.rint(logits))
    assert (squash.min(), squash.max(), len(squash)) == (1, 65535, 5633)
    assert rate[:3].tolist() == [43690, 26214, 18724]


def test_much_more_than_the_first_buffer_holds():
    codes = np.random.default_rng(8).integers(0, 256, (400, 300)).astype(np.uint8)
    layer = CompressedLayer.from_codes(codes, np.arange(256))
    dense = adaptive.matrix(layer, 2)
    coder = Coder()
    before = np.zeros(300, np.int64)
    coder.positions(dense, 2, layer.nnz, before)
    coder.codes(dense, 2, 8)
    data = coder.finish()
    assert len(data) == pytest.approx(400 * 300, rel=0.02)
    again, decoded = Coder(data), np.zeros_like(dense)
    assert again.positions(decoded, 2, layer.nnz, before) == layer.nnz
    again.codes(decoded, 2, 8)
    assert np.array_equal(decoded, dense)


def test_any_bytes_decode_to_something():
    rng = np.random.default_rng(6)
    for _ in range(300):
        data = rng.bytes(int(rng.integers(60)))
        dense, entries = np.zeros((9, 7), np.uint8), int(rng.integers(50))
        coder = Coder(data)
        found = coder.positions(dense, 2, entries, np.zeros(6, np.int64))
        assert found == np.count_nonzero(dense) <= entries
        assert not dense[:3].any()
        coder.codes(dense, 2, 4)
        assert dense.max() < 16


def test_the_stride_is_the_images_width_and_leaves_room():
    codes = np.zeros((4, 90), np.uint8)
    codes[0, 5::17] = codes[2, 3::17] = 1
    assert adaptive.best_stride(CompressedLayer.from_codes(codes, [0, 1])) == 17
    assert adaptive.best_stride(CompressedLayer.from_codes(codes[:, :2], [0, 1])) == 2
    tall = CompressedLayer.from_codes(np.ones((adaptive.MAX_ELEMENTS // 4, 1), np.uint8), [0, 1])
    assert adaptive.elements(*tall.shape, adaptive.best_stride(tall)) <= adaptive.MAX_ELEMENTS
