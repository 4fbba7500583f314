"""Fixed point: vectors worked out by hand, and scalars equal to arrays."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eie.fixed import limits, quantize, round_shift, saturate


@pytest.mark.parametrize(
    ("value", "shift", "result"),
    [
        (5, 0, 5), (-5, 0, -5),                  # no shift, no rounding
        (5, 1, 3), (-5, 1, -2),                  # 2.5 -> 3, -2.5 -> -2: half goes up
        (6, 2, 2), (-6, 2, -1), (-7, 2, -2),     # 1.5 -> 2, -1.5 -> -1, -1.75 -> -2
        (2**30, 31, 1), (2**30 - 1, 31, 0),      # 0.5 -> 1
        (-(2**30), 31, 0), (-(2**30) - 1, 31, -1),
        (2**31 - 1, 31, 1), (-(2**31), 31, -1),
    ],
)  # fmt: skip
def test_round_shift_by_hand(value, shift, result):
    assert round_shift(value, shift) == result


@given(st.integers(-(2**33), 2**33), st.integers(0, 31))
def test_round_shift_is_the_nearest_with_half_up(value, shift):
    result = round_shift(value, shift)
    assert -1 < 2 * (result - value / 2**shift) <= 1
    assert round_shift(np.array([value]), shift)[0] == result


@given(st.integers(-(2**40), 2**40), st.integers(8, 32))
def test_saturate(value, bits):
    low, high = limits(bits)
    result = saturate(value, bits)
    assert result == max(low, min(high, value))
    assert saturate(np.array([value]), bits)[0] == result


def test_quantize_rounds_half_up_and_saturates():
    assert quantize([0.125, -0.125, 0.375], frac=2, bits=8).tolist() == [1, 0, 2]
    assert quantize([1e9, -1e9], frac=0, bits=16).tolist() == [32767, -32768]
