"""Interleaved compressed-sparse-column encoding: from a layer to each PE's entries (v, z) and pointers, and back.

Row i belongs to PE i mod N, at local row i div N. In each column a PE's entry holds the number z of zeros before it;
a run longer than the index field reaches is bridged by fillers (v = 0, z = max_run). docs/formats.md is the reference.
"""

from __future__ import annotations

from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from eie.errors import LayerError
from eie.layer import CompressedLayer


@dataclass(frozen=True, eq=False)
class Interleaved:
    """A layer as the PEs see it.

    v, z : uint8[total], entries of PE 0 column after column, then of PE 1, ...
    pointers : int64[n_pe, cols + 1], entries before each column on that PE (pointers[:, 0] = 0).
    """

    v: npt.NDArray[np.uint8]
    z: npt.NDArray[np.uint8]
    pointers: npt.NDArray[np.int64]

    @property
    def n_pe(self) -> int:
        """Processing elements."""
        return self.pointers.shape[0]

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Entries of each column on each PE, int64[cols, n_pe]."""
        return np.diff(self.pointers, axis=1).T

    @property
    def base(self) -> npt.NDArray[np.int64]:
        """Where each PE's entries begin in `v` and `z`, int64[n_pe + 1]."""
        return np.concatenate(([0], np.cumsum(self.pointers[:, -1])))

    def pe(self, k: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
        """(v, z, pointers) of PE k."""
        base = self.base
        span = slice(base[k], base[k + 1])
        return self.v[span], self.z[span], self.pointers[k]

    def columns(self, col: int, stop: int) -> Interleaved:
        """The columns `col` to `stop` - 1 alone: runs of zeros begin anew in each column."""
        if col == 0 and stop == self.pointers.shape[1] - 1:
            return self
        base = self.base[:-1]
        spans = [
            slice(*span)
            for span in zip(base + self.pointers[:, col], base + self.pointers[:, stop], strict=True)
        ]
        return Interleaved(
            np.concatenate([self.v[span] for span in spans]),
            np.concatenate([self.z[span] for span in spans]),
            self.pointers[:, col : stop + 1] - self.pointers[:, [col]],
        )


# The last encoding of each layer: a run asks for it again to size memories, to check them and to fill them.
_latest: WeakKeyDictionary[CompressedLayer, tuple[tuple[int, int], Interleaved]] = WeakKeyDictionary()


def interleave(layer: CompressedLayer, n_pe: int, index_bits: int = 4) -> Interleaved:
    """Distribute a layer over `n_pe` PEs with relative indices of `index_bits` bits, fillers included.

    The arrays are read-only: the layer's last encoding is kept as long as the layer.

    >>> layer = CompressedLayer.from_codes([[0], [0], [1], [2]] + [[0]] * 18 + [[3]], [0, 5, 6, 7])
    >>> inter = interleave(layer, 1)
    >>> inter.v.tolist(), inter.z.tolist()
    ([1, 2, 0, 3], [2, 0, 15, 2])
    """
    key = (n_pe, index_bits)
    found, inter = _latest.get(layer, (None, None))
    if found != key or inter is None:
        inter = _interleave(layer, n_pe, index_bits)
        _latest[layer] = key, inter
    return inter


def _interleave(layer: CompressedLayer, n_pe: int, index_bits: int) -> Interleaved:
    # Stored entries sorted by (PE, column, row); a slot is a column on a PE.
    pe = (layer.indices % n_pe).astype(np.uint8)
    order = np.argsort(pe, kind="stable")
    slot = pe[order].astype(np.int64) * layer.cols + layer.column_of_entry()[order]
    local = (layer.indices // n_pe)[order]
    begins = np.ones(len(slot), bool)
    np.not_equal(slot[1:], slot[:-1], out=begins[1:])
    starts = np.flatnonzero(begins)
    zeros = np.empty_like(local)
    np.subtract(local[1:], local[:-1] + 1, out=zeros[1:])
    zeros[starts] = local[starts]
    # Where each stored entry comes to lie, behind the fillers that bridge to it.
    place = np.cumsum((zeros >> index_bits) + 1, dtype=np.int64) - 1
    total = int(place[-1]) + 1 if len(place) else 0
    v = np.zeros(total, np.uint8)
    z = np.full(total, (1 << index_bits) - 1, np.uint8)
    v[place] = layer.codes[order]
    z[place] = zeros & ((1 << index_bits) - 1)
    counts = np.zeros(n_pe * layer.cols, np.int64)
    counts[slot[starts]] = np.diff(np.append(place[starts[1:] - 1] + 1, total), prepend=0)
    pointers = np.zeros((n_pe, layer.cols + 1), np.int64)
    np.cumsum(counts.reshape(n_pe, layer.cols), axis=1, out=pointers[:, 1:])
    for array in (v, z, pointers):
        array.flags.writeable = False  # everybody who asks gets the same arrays
    return Interleaved(v, z, pointers)


def deinterleave(inter: Interleaved, rows: int, index_bits: int = 4) -> npt.NDArray[np.uint8]:
    """Dense code indices, uint8[rows, cols], of interleaved entries: the inverse of `interleave`.

    Raises
    ------
    LayerError : pointers that fall, entries that run past the last row, a stored v = 0 that is no filler, or a
        column that ends with a filler.
    """
    cols = inter.pointers.shape[1] - 1
    dense = np.zeros((rows, cols), np.uint8)
    for k in range(inter.n_pe):
        v, z, pointers = inter.pe(k)
        if pointers[0] != 0 or (np.diff(pointers) < 0).any():
            raise LayerError(f"PE {k}: pointers must start at 0 and never fall")
        for j in range(cols):
            span = slice(pointers[j], pointers[j + 1])
            code = v[span]
            if not len(code):
                continue
            local = np.cumsum(z[span].astype(np.int64) + 1) - 1
            if ((code == 0) & (z[span] != (1 << index_bits) - 1)).any():
                raise LayerError(f"PE {k}, column {j}: a stored v = 0 must have z = {(1 << index_bits) - 1}")
            if code[-1] == 0:
                raise LayerError(f"PE {k}, column {j}: a filler after the last non-zero")
            row = local * inter.n_pe + k
            if row[-1] >= rows:
                raise LayerError(f"PE {k}, column {j}: row {int(row[-1])} is past the last row {rows - 1}")
            dense[row, j] = code
    return dense
