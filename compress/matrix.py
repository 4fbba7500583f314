"""One matrix, made by hand, as a layer: what `CompressedLayer.from_dense` and `.from_sparse` do."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from eie.compress.float_layers import FloatArray, FloatLayer, check_finite
from eie.compress.pipeline import Settings, compress_each, compress_network
from eie.compress.quantize import Widths, largest_frac
from eie.compress.share import shared_values
from eie.errors import ModelError
from eie.fixed import MAX_SHIFT, quantize
from eie.layer import CompressedLayer

# A sparse matrix of more elements is never made dense: its scales follow from a bound instead of from inputs.
_MOST_DENSE = 1 << 26


def plain(array: Any, what: str) -> npt.NDArray[Any]:
    """Anything that holds real numbers, as a NumPy array: lists, arrays of any type and order, torch tensors.

    Raises
    ------
    ModelError : it holds something else.
    """
    if hasattr(array, "detach"):  # a tensor of PyTorch, of any device, type and layout
        array = array.detach().cpu()
        array = (array if str(array.layout) == "torch.strided" else array.to_dense()).double().numpy()
    elif hasattr(array, "toarray"):
        array = array.toarray()
    try:
        found = np.asarray(array)
    except ValueError as error:
        raise ModelError(f"{what} is not an array: {error}") from None
    if found.dtype.kind not in "fiub" or not found.size:
        raise ModelError(f"{what} must hold real numbers, not {found.dtype}{list(found.shape)}")
    return found


def _float32(array: npt.NDArray[Any], what: str) -> npt.NDArray[np.float32]:
    with np.errstate(over="ignore"):
        found = array.astype(np.float32)
    check_finite(found, what)
    return found


def _bias(bias: Any, rows: int) -> npt.NDArray[np.float32] | None:
    if bias is None:
        return None
    found = plain(bias, "bias")
    if found.size != rows:
        raise ModelError(
            f"bias must have one value for each of {rows} outputs, not shape {list(found.shape)}"
        )
    return _float32(found.reshape(rows), "bias")


def from_dense(
    weight: Any,
    *,
    weight_bits: int | None = 4,
    density: float | None = None,
    bias: Any = None,
    relu: bool = True,
    inputs: Any = None,
    name: str = "layer",
    acc_bits: int = 16,
) -> CompressedLayer:
    """See `CompressedLayer.from_dense`."""
    matrix = plain(weight, "weight")
    if matrix.ndim != 2:
        raise ModelError(f"weight must be a matrix [outputs, inputs], not of shape {list(matrix.shape)}")
    layer = FloatLayer(name, _float32(matrix, "weight"), _bias(bias, len(matrix)), relu)
    settings = Settings(() if density is None else (density,), (), weight_bits, Widths(acc_bits=acc_bits))
    if inputs is None:
        return compress_network([layer], settings)[0][0]
    return compress_each([layer], [np.atleast_2d(plain(inputs, "inputs"))], settings)[0]


def from_sparse(
    matrix: Any,
    *,
    weight_bits: int | None = 4,
    bias: Any = None,
    relu: bool = True,
    inputs: Any = None,
    name: str = "layer",
    acc_bits: int = 16,
) -> CompressedLayer:
    """See `CompressedLayer.from_sparse`."""
    if not hasattr(matrix, "tocsc"):
        raise ModelError(
            f"the matrix must be a scipy sparse matrix, not {type(matrix).__name__}: from_dense takes arrays"
        )
    if len(matrix.shape) != 2:
        raise ModelError(f"weight must be a matrix [outputs, inputs], not of shape {list(matrix.shape)}")
    if matrix.shape[0] * matrix.shape[1] <= _MOST_DENSE:
        return from_dense(
            matrix.toarray(),
            weight_bits=weight_bits,
            bias=bias,
            relu=relu,
            inputs=inputs,
            name=name,
            acc_bits=acc_bits,
        )
    columns = matrix.tocsc(copy=True)
    columns.sum_duplicates()
    columns.eliminate_zeros()
    columns.sort_indices()
    values = _float32(plain(columns.data, "weight"), "weight").astype(np.float64)
    centroids, bits = shared_values(values, weight_bits)
    table = np.zeros(1 << bits)
    table[1 : 1 + centroids.size] = centroids
    codes = np.searchsorted((centroids[1:] + centroids[:-1]) / 2, values, side="right") + 1
    start = _bias(bias, matrix.shape[0])
    offsets = np.zeros(matrix.shape[0]) if start is None else start.astype(np.float64)
    largest = 1.0 if inputs is None else float(np.abs(plain(inputs, "inputs")).max())
    return _of_columns(columns, codes, table, offsets, largest, (name, relu, Widths(acc_bits=acc_bits)))


def _of_columns(
    columns: Any,
    codes: npt.NDArray[np.int64],
    table: FloatArray,
    offsets: FloatArray,
    largest: float,
    about: tuple[str, bool, Widths],
) -> CompressedLayer:
    """The layer of a matrix in columns, with scales at which no inputs up to `largest` make anything saturate."""
    name, relu, widths = about
    sums = np.abs(offsets) + largest * np.bincount(
        columns.indices, weights=np.abs(table[codes]), minlength=columns.shape[0]
    )
    most = float(sums.max())
    x_frac = largest_frac(largest, widths.act_bits, widths.headroom)
    w_frac = largest_frac(float(np.abs(table).max()), widths.code_bits)
    acc_frac = min(largest_frac(most, widths.acc_bits, widths.headroom), x_frac + w_frac)
    y_frac = min(acc_frac, largest_frac(most, widths.act_bits, widths.headroom))
    w_frac = min(w_frac, acc_frac + MAX_SHIFT - x_frac)
    return CompressedLayer(
        shape=(int(columns.shape[0]), int(columns.shape[1])),
        indptr=columns.indptr.astype(np.int64),
        indices=columns.indices.astype(np.int32),
        codes=codes.astype(np.uint8),
        codebook=quantize(table, w_frac, widths.code_bits).astype(np.int16),
        bias=quantize(offsets, acc_frac, widths.acc_bits).astype(np.int32),
        relu=relu,
        product_shift=x_frac + w_frac - acc_frac,
        output_shift=acc_frac - y_frac,
        name=name,
        x_frac=x_frac,
        w_frac=w_frac,
    )
