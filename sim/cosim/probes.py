"""Reading wide outputs of a simulator as bytes, past cocotb, which makes a text of each: a character for each bit.

The simulator's process exports the procedures of VPI (IEEE 1800-2017, 38), on which cocotb stands itself; of a
`vpiVectorVal` each 32 bits are a pair of words, `aval` and `bval`, and a bit of `bval` is set where the value is X or
Z.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import numpy as np

# Numbers of vpi_user.h.
_VECTOR = 9
_PAIR = 8


class _Value(ctypes.Structure):
    """`s_vpi_value` with the member of its union that a vector takes."""

    _fields_ = (("format", ctypes.c_int32), ("vector", ctypes.c_void_p))


class WideOutputs:
    """Wide signals of the design in this process, read together.

    Parameters
    ----------
    paths : hierarchical names. widths : bits of each.

    Raises
    ------
    LookupError : the design has no such signal.
    """

    def __init__(self, paths: Sequence[str], widths: Sequence[int]) -> None:
        simulator = ctypes.CDLL(None)
        find = simulator.vpi_handle_by_name
        find.argtypes, find.restype = (ctypes.c_char_p, ctypes.c_void_p), ctypes.c_void_p
        self._get = simulator.vpi_get_value
        self._get.argtypes, self._get.restype = (ctypes.c_void_p, ctypes.c_void_p), None
        self._handles = [find(path.encode(), None) for path in paths]
        for path, handle in zip(paths, self._handles, strict=True):
            if not handle:
                raise LookupError(f"the design has no signal {path}")
        self._sizes = [_PAIR * (-(-width // 32)) for width in widths]
        # One for all: it is filled in anew for each.
        self._value = _Value(_VECTOR, None)
        self._address = ctypes.addressof(self._value)

    def read(self) -> tuple[bytes, bool]:
        """All values now, the first signal's lowest bit first, each up to whole 32 bits; whether every bit is known."""
        get, address, value, copy = self._get, self._address, self._value, ctypes.string_at
        pieces = []
        for handle, size in zip(self._handles, self._sizes, strict=True):
            value.format = _VECTOR
            get(handle, address)
            pieces.append(copy(value.vector, size))
        pairs = np.frombuffer(b"".join(pieces), "<u4").reshape(-1, 2)
        return pairs[:, 0].tobytes(), not pairs[:, 1].any()
