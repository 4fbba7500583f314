"""Weight sharing: 1-D k-means of a layer's surviving weights (Han et al., Deep Compression, ICLR 2016, section 3).

Everything here works on sorted values: a cluster is then a stretch between two boundaries, and its sum is a difference
of prefix sums, so that a step of Lloyd's iteration costs k binary searches whatever the number of values.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from eie.blocks import BlockStructure
from eie.compress.float_layers import FloatArray, FloatLayer, Sized, check_finite
from eie.compress.prune import row_strips
from eie.conv import Conv
from eie.errors import ModelError

# Lloyd's iteration settles long before; a bound makes the end certain whatever the rounding.
_MAX_ROUNDS = 10_000
# Groups of neighbouring values among which the dynamic program places boundaries: exact up to so many distinct values.
_GROUPS = 512
# The search for better clusters ends when it gains less than this share of the error.
_GAIN = 1e-6
MAX_WEIGHT_BITS = 8

# Values worked on in float64 at a time, and between two stored sums: bounds of the working memory.
_CHUNK = 1 << 18
_BLOCK = 64
_IN_BLOCK = np.arange(_BLOCK)

Values = npt.NDArray[np.float32] | npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class SharedLayer(Sized):
    """A pruned layer whose surviving weights are code indices into a table of centroids.

    codes : uint8[rows, cols], 0 = pruned. centroids : float64[2**weight_bits], centroids[0] = 0.
    bias : float64[rows]. name, relu, conv : as in `FloatLayer`. follows, blocks : as in
    `CompressedLayer`.

    Raises
    ------
    ModelError : shapes that do not fit one another, a code outside the table, or a centroid that is not finite.
    """

    name: str
    codes: npt.NDArray[np.uint8]
    centroids: FloatArray
    bias: FloatArray
    relu: bool
    conv: Conv | None = None
    follows: bool = True
    blocks: BlockStructure | None = None

    def __post_init__(self) -> None:
        sizes = [1 << bits for bits in range(1, MAX_WEIGHT_BITS + 1)]
        if self.centroids.shape not in {(size,) for size in sizes} or self.centroids[0] != 0:
            raise ModelError(
                f"layer {self.name!r}: centroids must be 2, 4, 8, ... 256 numbers, the first of them 0, "
                f"not of shape {list(self.centroids.shape)}"
            )
        check_finite(self.centroids, f"layer {self.name!r}: centroids")
        if self.codes.ndim != 2 or not self.codes.size or self.bias.shape != self.codes.shape[:1]:
            raise ModelError(
                f"layer {self.name!r}: codes must be a matrix and bias have one number for each of its rows, "
                f"not of shapes {list(self.codes.shape)} and {list(self.bias.shape)}"
            )
        if self.codes.max() >= self.centroids.size:
            raise ModelError(
                f"layer {self.name!r}: code {self.codes.max()} is outside the {self.centroids.size} centroids"
            )

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, cols) of the matrix."""
        rows, cols = self.codes.shape
        return rows, cols

    def to_float(self) -> FloatLayer:
        """The layer that the codes and centroids stand for."""
        weight, bias = self.centroids.astype(np.float32)[self.codes], self.bias.astype(np.float32)
        return FloatLayer(self.name, weight, bias, self.relu, self.conv)


@dataclass(frozen=True, eq=False)
class SharingError:
    """What pruning and sharing changed of a layer, so that the error of any other values of the codes follows.

    norm, pruned : squares of all weights, and of the pruned ones, added up. counts, off, squares : of each code, how
    many weights have it, and the sums of their distances from the centroid and of the squares of these.
    """

    norm: float
    pruned: float
    counts: FloatArray
    off: FloatArray
    squares: FloatArray

    @classmethod
    def of(cls, weight: npt.NDArray[np.float32], shared: SharedLayer) -> SharingError:
        """Of the float weights that `shared` was made from."""
        size = shared.centroids.size
        kept_squares = pruned = 0.0
        sums = np.zeros((3, size))
        for rows in row_strips(weight.shape):
            wide, strip = weight[rows].astype(np.float64).ravel(), shared.codes[rows].ravel()
            kept = np.flatnonzero(strip)
            values, codes = wide[kept], strip[kept]
            wide[kept] = 0.0
            pruned += float(np.square(wide, out=wide).sum())
            kept_squares += float(np.square(values).sum())
            off = values - shared.centroids[codes]
            for total, weights in zip(sums, (None, off, off * off), strict=True):
                total += np.bincount(codes, weights, size)
        return cls(pruned + kept_squares, pruned, *sums)

    @classmethod
    def none(cls, shared: SharedLayer) -> SharingError:
        """Of a layer that was given as codes: nothing has changed."""
        counts = np.zeros(shared.centroids.size)
        for rows in row_strips(shared.codes.shape):
            counts += np.bincount(shared.codes[rows].ravel(), minlength=counts.size)
        counts[0] = 0
        norm = float(counts @ np.square(shared.centroids))
        return cls(norm, 0.0, counts, np.zeros_like(counts), np.zeros_like(counts))

    @property
    def of_pruning(self) -> float:
        """The pruned weights' norm over the norm of all."""
        return float(np.sqrt(self.pruned / self.norm)) if self.norm else 0.0

    def with_codes(self, centroids: FloatArray, table: FloatArray) -> float:
        """Norm of the whole change over the norm of the weights when `table` takes the place of `centroids`."""
        step = centroids - table
        changed = float((self.squares + 2 * step * self.off + self.counts * step**2).sum())
        return float(np.sqrt((self.pruned + max(changed, 0.0)) / self.norm)) if self.norm else 0.0


class _Sorted:
    """Values in ascending order, and what clusters of neighbours add up to.

    Sums are of the values and of their squares, both less the median, of the first `_BLOCK`, 2 * `_BLOCK`, ... values;
    those in between follow from fewer than `_BLOCK` additions.
    """

    def __init__(self, values: npt.ArrayLike) -> None:
        given = np.asarray(values).ravel()
        self.values: Values = np.sort(given if given.dtype == np.float32 else given.astype(np.float64))
        self.size = self.values.size
        self._median = float(self.values[self.size // 2]) if self.size else 0.0
        whole = self.values[: self.size // _BLOCK * _BLOCK].reshape(-1, _BLOCK)
        each = np.zeros((2, len(whole) + 1))
        for first in range(0, len(whole), _CHUNK // _BLOCK):
            off = whole[first : first + _CHUNK // _BLOCK] - np.float64(self._median)
            blocks = slice(first + 1, first + 1 + len(off))
            each[0, blocks] = off.sum(axis=1)
            each[1, blocks] = np.einsum("ij,ij->i", off, off)
        self._blocks = each.cumsum(axis=1)

    def line(self, k: int) -> FloatArray:
        """`k` centroids evenly spaced over [min, max]."""
        return np.linspace(float(self.values[0]), float(self.values[-1]), k)

    def bounds(self, centroids: FloatArray) -> Ints:
        """First value of each centroid's cluster, and the end, int64[k + 1]."""
        middles = (centroids[1:] + centroids[:-1]) / 2
        # In the values' own type, rounded up: a value is at least the one where it is at least the other.
        same: npt.NDArray[Any] = middles.astype(self.values.dtype)
        above = np.nextafter(same, np.array(np.inf, same.dtype))
        inner = np.searchsorted(self.values, np.where(same < middles, above, same))
        return np.concatenate(([0], inner, [self.size]))

    def _split(self, bounds: Ints) -> tuple[Ints, FloatArray]:
        """Whole blocks before each boundary, and the values behind these, less the median, float64[bounds, _BLOCK]."""
        block = bounds // _BLOCK
        places = block[:, None] * _BLOCK + _IN_BLOCK
        rest = self.values[np.minimum(places, self.size - 1)] - np.float64(self._median)
        rest[places >= bounds[:, None]] = 0.0
        return block, rest

    def sums(self, bounds: Ints) -> FloatArray:
        """Sums of the values before each boundary, and of their squares, all less the median, float64[2, bounds]."""
        block, rest = self._split(bounds)
        return self._blocks[:, block] + (rest.sum(axis=1), np.einsum("ij,ij->i", rest, rest))

    def means(self, bounds: Ints, otherwise: FloatArray | float = 0.0) -> FloatArray:
        """Mean of each cluster; `otherwise` for one without values."""
        # Called in every round of Lloyd's iteration: plain slices and bounds instead of np.diff and np.clip.
        sizes = bounds[1:] - bounds[:-1]
        block, rest = self._split(bounds)
        sums = self._blocks[0, block] + rest.sum(axis=1)
        means = self._median + (sums[1:] - sums[:-1]) / np.maximum(sizes, 1)
        # A mean lies between its values whatever the rounding of the sums.
        first = self.values[np.minimum(bounds[:-1], self.size - 1)]
        last = self.values[np.maximum(bounds[1:], 1) - 1]
        return np.where(sizes > 0, np.minimum(np.maximum(means, first), last), otherwise)

    def squares(self, centroids: FloatArray, bounds: Ints) -> FloatArray:
        """Squared error of each cluster, but for rounding in proportion to the squares of all values."""
        sums, squares = np.diff(self.sums(bounds))
        off = centroids - self._median
        return np.maximum(squares - 2 * off * sums + np.diff(bounds) * off**2, 0.0)

    def error(self, centroids: FloatArray) -> float:
        """Squared error of all clusters, see `squares`."""
        return float(self.squares(centroids, self.bounds(centroids)).sum())

    def starts(self, most: int) -> Ints | None:
        """Where the stretches of equal values begin, when there are at most `most` of them."""
        sample = self.values[:: max(self.size // (8 * most), 1)]
        if np.count_nonzero(sample[1:] != sample[:-1]) >= most:
            return None  # no need to look at all of them
        begins = np.flatnonzero(self.values[1:] != self.values[:-1]) + 1
        return None if begins.size >= most else np.concatenate(([0], begins))

    def distinct(self, most: int) -> FloatArray | None:
        """The different values when there are at most `most` of them."""
        starts = self.starts(most)
        return None if starts is None else self.values[starts].astype(np.float64)


def squared_error(values: npt.ArrayLike, centroids: npt.ArrayLike) -> float:
    """Sum of the squared distances of `values` from the nearest of the ascending `centroids`.

    >>> squared_error([1.0, 1.5, 9.0], [1.0, 9.0])
    0.25
    """
    data, centers = np.asarray(values).ravel(), np.asarray(centroids, np.float64)
    middles = (centers[1:] + centers[:-1]) / 2
    total = 0.0
    for first in range(0, data.size, _CHUNK):
        part = data[first : first + _CHUNK].astype(np.float64)
        total += float(np.square(part - centers[np.searchsorted(middles, part, side="right")]).sum())
    return total


# ---- Lloyd's iteration -------------------------------------------------------------------------------------


def _reseat(data: _Sorted, centroids: FloatArray, bounds: Ints) -> bool:
    """Move one centroid without values to the worst-served value; False when none could help."""
    empty = np.flatnonzero(np.diff(bounds) == 0)
    if not empty.size:
        return False
    worst = int(np.argmax(data.squares(centroids, bounds)))
    low, high = float(data.values[bounds[worst]]), float(data.values[bounds[worst + 1] - 1])
    if low == high:
        return False
    mean = float(centroids[worst])
    centroids[empty[0]] = low if mean - low > high - mean else high
    centroids.sort()
    return True


def _lloyd(data: _Sorted, centroids: FloatArray) -> FloatArray:
    before = None
    for _ in range(_MAX_ROUNDS):
        bounds = data.bounds(centroids)
        if before is not None and (bounds == before).all():
            if not _reseat(data, centroids, bounds):
                break
            before = None
            continue
        before = bounds
        centroids = data.means(bounds, centroids)
    return centroids[np.diff(bounds) > 0]


def k_means(values: npt.ArrayLike, k: int, start: npt.ArrayLike | None = None) -> FloatArray:
    """At most `k` centroids, ascending, of `values` by Lloyd's iteration run until no value changes its cluster.

    The centroids start at `start`, float[k], or evenly spaced over [min, max]. Pruning leaves a gap around zero, so
    some of those get no value: each then moves to the value farthest from its centroid in the cluster of largest
    squared error, and the iteration goes on. A centroid that has no value in the end (fewer distinct values than `k`)
    is left out.

    >>> k_means([1.0, 1.5, 9.0, 10.0], 2).tolist()
    [1.25, 9.5]
    """
    data = _Sorted(values)
    if not data.size:
        return np.zeros(0)
    return _lloyd(data, data.line(k) if start is None else np.sort(np.asarray(start, np.float64).ravel()))


# ---- the optimum -------------------------------------------------------------------------------------------


def _group_bounds(data: _Sorted) -> Ints:
    """Where groups of neighbouring values begin, and the end: the distinct values, or else at most `_GROUPS` groups.

    Half of the boundaries are evenly spaced over the values' number, half over their range: dense and sparse
    stretches are both resolved.
    """
    starts = data.starts(_GROUPS)
    if starts is None:
        by_number = np.linspace(0, data.size, _GROUPS // 2).astype(np.int64)
        by_range = np.searchsorted(data.values, data.line(_GROUPS // 2).astype(data.values.dtype))
        starts = np.union1d(by_number, by_range)
    return np.union1d(starts, [0, data.size])


class _Plan:
    """The clusters made of whole groups of neighbouring values, for any number of clusters: dynamic programming."""

    def __init__(self, data: _Sorted, groups: Ints) -> None:
        self._groups = groups
        sums, squares = data.sums(groups)
        sizes = np.subtract.outer(groups, groups).T
        # cost[i, j]: squared error of the groups i..j-1 around their mean.
        self._cost = np.subtract.outer(squares, squares).T
        self._cost -= np.subtract.outer(sums, sums).T ** 2 / np.maximum(sizes, 1)
        self._cost[sizes <= 0] = np.inf
        # least[j]: squared error of the groups before j in one cluster more than `backs` has entries; each of these
        # says where the last cluster begins.
        self._least = self._cost[0]
        self._backs: list[Ints] = []

    def bounds(self, k: int) -> Ints:
        """Boundaries of the `k` clusters (fewer, when there are fewer groups) with the least squared error."""
        k = min(k, self._groups.size - 1)
        while len(self._backs) < k - 1:
            total = self._least[:, None] + self._cost
            self._backs.append(total.argmin(axis=0))
            self._least = total[self._backs[-1], np.arange(self._least.size)]
        ends = [self._groups.size - 1]
        for back in reversed(self._backs[: k - 1]):
            ends.append(int(back[ends[-1]]))
        return np.concatenate(([0], self._groups[ends[::-1]]))


def _moved_bounds(bounds: Ints, size: int) -> Ints:
    """Each boundary, and places 1, 2, 4, ... values to both sides of it."""
    most = max(_GROUPS // (4 * bounds.size), 1)
    steps = 1 << np.arange(min(most, max(size // bounds.size, 1).bit_length()))
    places = np.add.outer(bounds, np.concatenate((-steps, [0], steps))).ravel()
    return np.unique(np.clip(places, 0, size))


def _best(data: _Sorted, plan: _Plan, k: int) -> FloatArray:
    starts = (data.means(plan.bounds(k)), data.line(k))
    best = min((_lloyd(data, start) for start in starts), key=data.error)
    error = data.error(best)
    while error > 0:
        # Lloyd's iteration moves one boundary at a time; all of them together may find more.
        groups = _moved_bounds(data.bounds(best), data.size)
        found = _lloyd(data, data.means(_Plan(data, groups).bounds(k)))
        before, error = error, data.error(found)
        if error >= before * (1 - _GAIN):
            break
        best = found
    return best


def best_centroids(values: npt.ArrayLike, k: int) -> FloatArray:
    """At most `k` centroids, ascending, of `values` with the least squared error that is found.

    A dynamic program finds the optimum among clusters made of groups of neighbouring values (the true optimum up to
    512 distinct values), Lloyd's iteration refines it on the values themselves. The result is never worse than
    that of `k_means`, which runs as well.

    >>> best_centroids([1.0, 1.0, 2.0, 9.0, 9.0], 3).tolist()
    [1.0, 2.0, 9.0]
    """
    return _centroids(_Sorted(values), k)


def _centroids(data: _Sorted, k: int) -> FloatArray:
    if not data.size:
        return np.zeros(0)
    exact = data.distinct(k)
    return _best(data, _Plan(data, _group_bounds(data)), k) if exact is None else exact


def check_weight_bits(weight_bits: int | None) -> None:
    """Raise `ModelError` unless these are bits of a code index, or None."""
    whole = hasattr(weight_bits, "__index__") and not isinstance(weight_bits, bool)
    if weight_bits is not None and not (whole and 1 <= weight_bits <= MAX_WEIGHT_BITS):
        raise ModelError(f"weight_bits must be from 1 to {MAX_WEIGHT_BITS}, not {weight_bits}")


def shared_values(
    values: npt.ArrayLike, weight_bits: int | None, most_error: float = 0.05
) -> tuple[FloatArray, int]:
    """Centroids of `values` for codes of so many bits, or of the fewest (None; see `share`); and these bits.

    Raises
    ------
    ModelError : weight_bits out of range.
    """
    check_weight_bits(weight_bits)
    data = _Sorted(values)
    if weight_bits is not None:
        return _centroids(data, (1 << weight_bits) - 1), weight_bits
    found = _fewest_centroids(data, most_error)
    return found, max(found.size.bit_length(), 1)


def _fewest_centroids(data: _Sorted, most_error: float) -> FloatArray:
    """2**bits - 1 centroids with the fewest bits at which sharing changes the values by `most_error` of their norm."""
    exact = data.distinct((1 << MAX_WEIGHT_BITS) - 1) if data.size else np.zeros(0)
    # A small layer has few distinct weights as well, but each of them once.
    if exact is not None and 2 * exact.size <= data.size:
        return exact
    allowed = most_error**2 * data.error(np.zeros(1))
    plan = _Plan(data, _group_bounds(data))
    for bits in range(1, MAX_WEIGHT_BITS + 1):
        found = _best(data, plan, (1 << bits) - 1)
        if data.error(found) <= allowed:
            break
    return found


# ---- layers ------------------------------------------------------------------------------------------------


def code_indices(
    weight: npt.NDArray[np.float32], keep: npt.NDArray[np.bool_], centroids: FloatArray
) -> npt.NDArray[np.uint8]:
    """1 + the number of the nearest centroid of each kept weight, 0 for the others."""
    middles = (centroids[1:] + centroids[:-1]) / 2
    codes = np.zeros(keep.shape, np.uint8)
    for rows in row_strips(keep.shape):
        kept = np.flatnonzero(keep[rows])
        values = weight[rows].ravel()[kept].astype(np.float64)
        codes[rows].ravel()[kept] = np.searchsorted(middles, values, side="right") + 1
    return codes


def share(
    layer: FloatLayer, keep: npt.NDArray[np.bool_], weight_bits: int | None = 4, most_error: float = 0.05
) -> SharedLayer:
    """Code indices and centroids of a layer's surviving weights (`keep`, bool[rows, cols]).

    Index 0 stays zero's, so 2**weight_bits - 1 centroids are left; unused ones are 0. A layer with no more distinct
    weights than that keeps them exactly: what training has shared already is not clustered again.
    weight_bits : 1 to 8, or None for the fewest at which sharing moves the surviving weights by at most `most_error`
    of their norm, or that hold all the distinct weights of a layer shared already (each occurs twice on average).

    Raises
    ------
    ModelError : weight_bits out of range, or a mask of another shape.
    """
    if keep.shape != layer.weight.shape:
        raise ModelError(
            f"layer {layer.name!r}: the mask's shape is {list(keep.shape)}, not {list(layer.weight.shape)}"
        )
    found, bits = shared_values(layer.weight[keep], weight_bits, most_error)
    centroids = np.zeros(1 << bits)
    centroids[1 : 1 + found.size] = found
    codes = code_indices(layer.weight, keep, found)
    return SharedLayer(layer.name, codes, centroids, layer.start, layer.relu, layer.conv)
