"""The way back from the interleaved encoding (`eie.csc`), which nothing but a test goes."""

import numpy as np
import numpy.typing as npt

from eie.csc import Interleaved
from eie.errors import LayerError


def deinterleave(inter: Interleaved, rows: int, index_bits: int = 4) -> npt.NDArray[np.uint8]:
    """Dense code indices, uint8[rows, cols], of interleaved entries: the inverse of `interleave` and `encode`.

    index_bits : of a zero run; 0 for absolute rows.

    Raises
    ------
    LayerError : pointers that fall, entries that run past the last row, a stored v = 0 that is no filler, a
        column that ends with a filler, or absolute rows that do not ascend.
    """
    cols = inter.pointers.shape[1] - 1
    dense = np.zeros((rows, cols), np.uint8)
    for k in range(inter.n_pe):
        v, z, pointers = inter.pe(k)
        if pointers[0] != 0 or (np.diff(pointers) < 0).any():
            raise LayerError(f"PE {k}: pointers must start at 0 and never fall")
        for j in range(cols):
            span = slice(pointers[j], pointers[j + 1])
            code, place = v[span], z[span].astype(np.int64)
            if not len(code):
                continue
            where = f"PE {k}, column {j}"
            local = _relative_rows(code, place, index_bits, where) if index_bits else place
            if not index_bits:
                _check_absolute(code, place, where)
            row = local * inter.n_pe + k
            if row[-1] >= rows:
                raise LayerError(f"{where}: row {int(row[-1])} is past the last row {rows - 1}")
            dense[row, j] = code
    return dense


def _relative_rows(
    code: npt.NDArray[np.uint8], zeros: npt.NDArray[np.int64], index_bits: int, where: str
) -> npt.NDArray[np.int64]:
    """Local rows of a column's entries."""
    filler = (1 << index_bits) - 1
    if ((code == 0) & (zeros != filler)).any():
        raise LayerError(f"{where}: a stored v = 0 must have z = {filler}")
    if code[-1] == 0:
        raise LayerError(f"{where}: a filler after the last non-zero")
    return np.cumsum(zeros + 1) - 1


def _check_absolute(code: npt.NDArray[np.uint8], rows: npt.NDArray[np.int64], where: str) -> None:
    if (code == 0).any():
        raise LayerError(f"{where}: an entry with an absolute row must not have v = 0")
    if (np.diff(rows) <= 0).any():
        raise LayerError(f"{where}: absolute rows must ascend")
