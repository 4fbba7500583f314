"""Weight sharing: 1-D k-means with linear initialisation (Han et al., Deep Compression, ICLR 2016, section 3)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eie.compress.network import FloatArray, FloatLayer
from eie.errors import ModelError

# Lloyd's iteration settles long before; a bound makes the end certain whatever the rounding.
_MAX_ROUNDS = 10_000


@dataclass(frozen=True, eq=False)
class SharedLayer:
    """A pruned layer whose surviving weights are code indices into a table of centroids.

    codes : uint8[rows, cols], 0 = pruned. centroids : float64[2**weight_bits], centroids[0] = 0.
    bias : float64[rows]. name, relu : as in `FloatLayer`.
    """

    name: str
    codes: npt.NDArray[np.uint8]
    centroids: FloatArray
    bias: FloatArray
    relu: bool

    def to_float(self) -> FloatLayer:
        """The layer that the codes and centroids stand for."""
        return FloatLayer(
            self.name, self.centroids.astype(np.float32)[self.codes], self.bias.astype(np.float32), self.relu
        )


def _reseat(values: FloatArray, centroids: FloatArray, bounds: npt.NDArray[np.int64]) -> bool:
    """Move one centroid without values to the worst-served value; False when none could help."""
    sizes = np.diff(bounds)
    empty = np.flatnonzero(sizes == 0)
    if not empty.size:
        return False
    label = np.repeat(np.arange(len(centroids)), sizes)
    squares = np.bincount(label, weights=(values - centroids[label]) ** 2, minlength=len(centroids))
    worst = int(np.argmax(squares))
    low, high = float(values[bounds[worst]]), float(values[bounds[worst + 1] - 1])
    if low == high:
        return False
    mean = float(centroids[worst])
    centroids[empty[0]] = low if mean - low > high - mean else high
    centroids.sort()
    return True


def k_means(values: npt.ArrayLike, k: int) -> FloatArray:
    """At most `k` centroids, ascending, of `values` by Lloyd's iteration run until no value changes its cluster.

    The centroids start evenly spaced over [min, max]. Pruning leaves a gap around zero, so some of those get no value:
    each then moves to the value farthest from its centroid in the cluster of largest squared error, and the
    iteration goes on. A centroid that has no value in the end (fewer distinct values than `k`) is left out.

    >>> k_means([1.0, 1.5, 9.0, 10.0], 2).tolist()
    [1.25, 9.5]
    """
    data = np.sort(np.asarray(values, np.float64).ravel())
    if not data.size:
        return np.zeros(0)
    # Sums of sorted data between two boundaries are differences of prefix sums.
    prefix = np.concatenate(([0.0], np.cumsum(data)))
    centroids = np.linspace(data[0], data[-1], k)
    before = None
    for _ in range(_MAX_ROUNDS):
        inner = np.searchsorted(data, (centroids[1:] + centroids[:-1]) / 2)
        bounds = np.concatenate(([0], inner, [data.size]))
        sizes = np.diff(bounds)
        if before is not None and np.array_equal(bounds, before):
            if not _reseat(data, centroids, bounds):
                break
            before = None
            continue
        before = bounds
        means = np.diff(prefix[bounds]) / np.maximum(sizes, 1)
        # A mean lies between its values whatever the rounding of the sums.
        means = np.clip(
            means, data[np.minimum(bounds[:-1], data.size - 1)], data[np.maximum(bounds[1:], 1) - 1]
        )
        centroids = np.where(sizes > 0, means, centroids)
    return centroids[sizes > 0]


def share(layer: FloatLayer, keep: npt.NDArray[np.bool_], weight_bits: int = 4) -> SharedLayer:
    """Code indices and centroids of a layer's surviving weights (`keep`, bool[rows, cols]).

    Index 0 stays zero's, so 2**weight_bits - 1 centroids are left; unused ones are 0.
    """
    if not 1 <= weight_bits <= 8:
        raise ModelError(f"weight_bits must be from 1 to 8, not {weight_bits}")
    if keep.shape != layer.weight.shape:
        raise ModelError(
            f"layer {layer.name!r}: the mask's shape is {list(keep.shape)}, not {list(layer.weight.shape)}"
        )
    surviving = layer.weight[keep].astype(np.float64)
    found = k_means(surviving, (1 << weight_bits) - 1)
    codes = np.zeros(keep.shape, np.uint8)
    codes[keep] = np.searchsorted((found[1:] + found[:-1]) / 2, surviving, side="right") + 1
    centroids = np.zeros(1 << weight_bits)
    centroids[1 : 1 + found.size] = found
    return SharedLayer(layer.name, codes, centroids, layer.start, layer.relu)
