"""The adaptive arithmetic code of a layer: every bit is predicted. docs/formats.md is the reference.

Several contexts each predict a bit; a mixer, which learns how much each is worth, makes one probability of them
(Mahoney, "Adaptive weighing of context models for lossless data compression", 2005). That beats the entropy of
independent codes and positions wherever a layer has structure, as trained ones do: rows and columns that are fuller
than others, neighbouring pixels that are connected alike, hidden units that died.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import numpy.typing as npt

from eie.blocks import BlockStructure
from eie.errors import FormatError
from eie.layer import CompressedLayer

# A layer's elements, which take a byte each while it is coded, and about 0.02 microseconds.
MAX_ELEMENTS = 1 << 21
MIN_STRIDE, MAX_STRIDE = 2, 255
# Elements that are looked at to choose the stride.
_SAMPLE = 1 << 18
# Probabilities are in 1 / 65536; their logits in 1 / 256, up to 11 either way.
_ONE, _MOST = 1 << 16, 11 * 256

Ints = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]


@cache
def tables() -> tuple[npt.NDArray[np.int16], npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Logit of each probability, probability of each logit, and how fast a context learns that has seen n bits."""
    p = np.arange(1, _ONE)
    stretch = np.rint(256 * np.log(p / (_ONE - p)))
    squash = np.rint(_ONE / (1 + np.exp(-np.arange(-_MOST, _MOST + 1) / 256)))
    rate = (2 * _ONE) // (2 * np.arange(256) + 3)
    return (
        np.concatenate((stretch[:1], stretch)).astype(np.int16),
        squash.astype(np.int32),
        rate.astype(np.int32),
    )


class Coder:
    """One arithmetic-coded stretch of a file: written part after part, or with `data` read so.

    bits : after each part, how many have been written or read; a part takes no whole number of them.
    """

    def __init__(self, data: bytes | None = None) -> None:
        from eie.compress.format import kernels

        self._kernels = kernels
        self._state = np.zeros(5, np.int64)
        self._state[kernels.DECODES] = data is not None
        self._data = np.zeros(256, np.uint8) if data is None else np.frombuffer(bytearray(data), np.uint8)
        kernels.start(self._state, self._data)

    @property
    def bits(self) -> float:
        """Bits written or read so far."""
        low, high, _, place, decodes = self._state.tolist()
        return 8 * (place - 4 * decodes) + 32 - math.log2(high - low + 1)

    def _make_room(self, bits: int) -> None:
        place, room = int(self._state[self._kernels.PLACE]), self._kernels.ROOM * (bits + 1)
        if not self._state[self._kernels.DECODES] and place + room > self._data.size:
            self._data = np.concatenate((self._data[:place], np.zeros(place + room, np.uint8)))

    def numbers(self, values: npt.ArrayLike) -> Ints:
        """Write integers from -2**31 to 2**31 - 1, or read as many.

        Raises
        ------
        FormatError : what is read is no such number.
        """
        given = np.asarray(values, np.int64)
        folded = np.where(given < 0, -2 * given - 1, 2 * given)
        self._make_room(64 * folded.size)
        if not self._kernels.numbers(folded, self._state, self._data, tables()[2]):
            raise FormatError("a number of more than 32 bits")
        return (folded >> 1) ^ -(folded & 1)

    def positions(self, dense: Bytes, stride: int, entries: int, before: Ints) -> int:
        """Write which elements of `dense` are not 0, or set them to 1; how many were found. See `kernels.positions`."""
        self._make_room(dense.size)
        args = (dense, stride, entries, before, self._state, self._data, tables())
        return int(self._kernels.positions(*args))

    def codes(self, dense: Bytes, stride: int, bits: int) -> None:
        """Write the elements of `dense` that are not 0, of `bits` bits each, or read them."""
        self._make_room(bits * int(np.count_nonzero(dense)))
        self._kernels.codes(dense, stride, bits, self._state, self._data, tables())

    def block_codes(self, codes: Bytes, structure: BlockStructure, bits: int, deltas: bool) -> None:
        """Write the codes of the distinct blocks, one block after the other, of `bits` bits each, or read them."""
        self._make_room(bits * codes.size)
        sizes = [np.diff(each)[: structure.distinct] for each in (structure.row_starts, structure.col_starts)]
        self._kernels.block_codes(codes, *sizes, bits, deltas, self._state, self._data, tables())

    def finish(self) -> bytes:
        """The bytes written; those that would be 0 at the end are left out."""
        low, _, _, place, _ = self._state.tolist()
        last = bytes([(low >> 24) + 1]) if low else b""
        return (self._data[:place].tobytes() + last).rstrip(b"\0")


def matrix(layer: CompressedLayer, stride: int) -> Bytes:
    """Code indices by column, behind stride + 1 empty columns: uint8[stride + 1 + cols, rows]."""
    dense = np.zeros((stride + 1 + layer.cols, layer.rows), np.uint8)
    dense[stride + 1 + layer.column_of_entry(), layer.indices] = layer.codes
    return dense


def entries_of_rows(layer: CompressedLayer) -> Ints:
    """Entries of each row, int64[rows]."""
    return np.bincount(layer.indices, minlength=layer.rows)


def before(previous: Ints | None, cols: int) -> Ints:
    """What the layer before, of which `previous` has the entries of each row, tells of each column, int64[cols].

    That is the entries of the row that it comes from; 0 without a layer before, or if its rows do not divide the
    columns.
    """
    if previous is None or cols % len(previous):
        return np.zeros(cols, np.int64)
    return np.repeat(previous, cols // len(previous))


def best_stride(layer: CompressedLayer) -> int:
    """The distance of columns, beside 1, at which entries most often have one in the same row.

    That is the width of the image in a layer on pixels. It is looked for in the fullest rows.
    """
    most = min(MAX_STRIDE, layer.cols - 1, MAX_ELEMENTS // layer.rows - layer.cols - 1)
    if most <= MIN_STRIDE or not layer.nnz:
        return MIN_STRIDE
    rows = np.argsort(-entries_of_rows(layer), kind="stable")[: max(1, _SAMPLE // layer.cols)]
    place = np.full(layer.rows, -1)
    place[rows] = np.arange(len(rows))
    kept = place[layer.indices] >= 0
    full = np.zeros((layer.cols, len(rows)), bool)
    full[layer.column_of_entry()[kept], place[layer.indices[kept]]] = True
    met = [np.count_nonzero(full[s:] & full[:-s]) for s in range(MIN_STRIDE, most + 1)]
    return MIN_STRIDE + int(np.argmax(met))


def elements(rows: int, cols: int, stride: int) -> int:
    """Bytes of `matrix`."""
    return rows * (cols + stride + 1)
