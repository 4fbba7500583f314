"""Fixed-point arithmetic of the accelerator: rounding shift and saturation, for scalars and for numpy arrays.

Every engine except the independent reference uses these rules, bit for bit:

    p   = code * x                              exact
    r   = round_shift(p, product_shift)         not saturated
    acc = saturate(acc + r, acc_bits)
    y   = saturate(round_shift(relu(acc), output_shift), act_bits)
"""

from __future__ import annotations

from typing import overload

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]

MAX_SHIFT = 31


@overload
def round_shift(value: int, shift: int) -> int: ...
@overload
def round_shift(value: IntArray, shift: int) -> IntArray: ...
def round_shift(value: int | IntArray, shift: int) -> int | IntArray:
    """`value / 2**shift`, rounded half up (towards plus infinity); `shift` is 0..31.

    Arrays have to be int64, so that the rounding add cannot overflow.

    >>> round_shift(5, 1), round_shift(-5, 1), round_shift(7, 0)
    (3, -2, 7)
    """
    if shift == 0:
        return value
    return (value + (1 << (shift - 1))) >> shift


def limits(bits: int) -> tuple[int, int]:
    """Smallest and largest signed number of `bits` bits.

    >>> limits(16)
    (-32768, 32767)
    """
    return -(1 << (bits - 1)), (1 << (bits - 1)) - 1


@overload
def saturate(value: int, bits: int) -> int: ...
@overload
def saturate(value: IntArray, bits: int) -> IntArray: ...
def saturate(value: int | IntArray, bits: int) -> int | IntArray:
    """`value` clipped to a signed number of `bits` bits.

    >>> saturate(40000, 16), saturate(-40000, 16), saturate(12, 16)
    (32767, -32768, 12)
    """
    low, high = limits(bits)
    if isinstance(value, np.ndarray):
        return np.clip(value, low, high)
    return low if value < low else high if value > high else value


def quantize(value: npt.ArrayLike, frac: int, bits: int) -> IntArray:
    """Nearest fixed-point number with `frac` fraction bits (half up), saturated to `bits` bits.

    >>> quantize([0.5, -0.25, 300.0], frac=8, bits=16).tolist()
    [128, -64, 32767]
    """
    scaled = np.floor(np.asarray(value, dtype=np.float64) * 2.0**frac + 0.5)
    low, high = limits(bits)
    return np.clip(scaled, low, high).astype(np.int64)
