"""Seeded random layers and input vectors of a given shape and density, for sweeps and co-simulation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eie.blocks import BlockCodes, BlockStructure
from eie.errors import ConfigError
from eie.fixed import MAX_SHIFT
from eie.layer import MAX_DIM, CompressedLayer

# A seed names one layer and one input, drawn from streams of their own.
_LAYER, _INPUT, _BLOCKS = 0, 1, 2
_ACT_MAX = 32767
# Probabilities held at a time while an uneven layer is drawn.
_CHUNK = 1 << 21


@dataclass(frozen=True)
class Unevenness:
    """How much the densities of a matrix's rows, and of its columns, differ: standard deviation over mean.

    It is the variation of the probabilities behind the matrix: what a matrix of independent draws with one probability
    shows anyhow is not counted. 0 is such a matrix.
    """

    rows: float = 0.0
    cols: float = 0.0

    def __post_init__(self) -> None:
        if min(self.rows, self.cols) < 0:
            raise ConfigError(
                f"unevenness must not be negative, not {self.rows:g} (rows), {self.cols:g} (cols)"
            )

    @classmethod
    def of(cls, kept: npt.NDArray[np.bool_]) -> Unevenness:
        """Measure it on a matrix, bool[rows, cols]: True where a weight is not zero.

        >>> Unevenness.of(np.eye(4, dtype=bool))
        Unevenness(rows=0.0, cols=0.0)
        """
        return cls(
            rows=_variation(kept.mean(axis=1), kept.shape[1]), cols=_variation(kept.mean(axis=0), len(kept))
        )


def _variation(density: npt.NDArray[np.float64], draws: int) -> float:
    """Standard deviation over mean of the rates behind observed densities, each of so many draws."""
    mean = float(density.mean())
    chance = mean * (1 - mean) / draws
    return float(np.sqrt(max(float(density.var()) - chance, 0.0)) / mean) if mean else 0.0


def _check_density(what: str, density: float) -> None:
    if not 0 <= density <= 1:
        raise ConfigError(f"{what} must be from 0 to 1, not {density:g}")


def _bernoulli(rng: np.random.Generator, size: int, density: float) -> npt.NDArray[np.int64]:
    """Positions in 0..size-1, each there with probability `density`, ascending.

    Drawn as gaps between hits, so that memory grows with the hits and not with the size.
    """
    if density == 0:
        return np.zeros(0, np.int64)
    if density == 1:
        return np.arange(size, dtype=np.int64)
    pieces, last = [], -1
    while last < size - 1:
        expected = int((size - last) * density) + 64
        piece = last + np.cumsum(rng.geometric(density, expected))
        last = int(piece[-1])
        pieces.append(piece)
    hits = np.concatenate(pieces)
    return hits[hits < size]


def _rates(rng: np.random.Generator, size: int, variation: float) -> npt.NDArray[np.float64]:
    """Positive numbers of mean 1, gamma distributed with this standard deviation."""
    if variation == 0:
        return np.ones(size)
    rates = rng.standard_gamma(variation**-2, size)
    return np.asarray(rates / rates.mean())


def _scale(by_row: npt.NDArray[np.float64], by_col: npt.NDArray[np.float64], density: float) -> float:
    """s such that min(1, s * by_row[i] * by_col[j]) has the mean `density`."""
    from scipy.optimize import brentq  # takes its time to load

    ordered = np.sort(by_row)
    below = np.concatenate(([0.0], np.cumsum(ordered)))

    def excess(s: float) -> float:
        slope = s * by_col
        with np.errstate(divide="ignore"):
            uncapped = np.searchsorted(ordered, 1 / slope)
        return float((slope * below[uncapped] + len(ordered) - uncapped).mean() / len(ordered)) - density

    # Capping only takes away, so that `density` itself is too low or just right.
    high = density
    while excess(high) < 0:
        high *= 2
    return high if high == density else float(brentq(excess, high / 2, high, xtol=1e-12))


def _uneven(
    rng: np.random.Generator, shape: tuple[int, int], density: float, uneven: Unevenness
) -> npt.NDArray[np.int64]:
    """Positions col * rows + row, ascending, each with a probability of its own; their mean is `density`."""
    rows, cols = shape
    by_row, by_col = _rates(rng, rows, uneven.rows), _rates(rng, cols, uneven.cols)
    by_col *= _scale(by_row, by_col, density)
    step = max(1, _CHUNK // rows)
    pieces = []
    for first in range(0, cols, step):
        slope = by_col[first : first + step, None]
        drawn = rng.random((len(slope), rows), dtype=np.float32) < (slope * by_row).astype(np.float32)
        pieces.append(first * rows + np.flatnonzero(drawn))
    return np.concatenate(pieces)


def random_layer(
    rows: int,
    cols: int,
    density: float,
    seed: int,
    *,
    weight_bits: int = 4,
    name: str = "random",
    uneven: Unevenness | None = None,
) -> CompressedLayer:
    """A layer whose weights are each non-zero with probability `density`; codes and biases are uniform.

    With `uneven`, weight (i, j) has the probability min(1, s r_i c_j): r and c are gamma distributed with mean 1 and
    the variations given, and s keeps the expected density of the whole. (Where the cap at 1 is reached, the realised
    variation is smaller.)

    The product shift is such that 16-bit accumulators saturate now and then, but not all the time.

    >>> random_layer(8, 8, 0.5, seed=1).equals(random_layer(8, 8, 0.5, seed=1))
    True
    """
    if not (1 <= rows <= MAX_DIM and 1 <= cols <= MAX_DIM):
        raise ConfigError(f"a random layer needs 1 to {MAX_DIM} rows and columns, not {rows} x {cols}")
    _check_density("the weight density", density)
    rng = np.random.default_rng([seed, _LAYER])
    if uneven is None or density == 0:
        hits = _bernoulli(rng, rows * cols, density)
    elif density == 1:
        raise ConfigError("a layer without zeros cannot be uneven: give a weight density below 1")
    else:
        hits = _uneven(rng, (rows, cols), density, uneven)
    indptr = np.searchsorted(hits, np.arange(cols + 1) * rows)
    n_codes = 1 << weight_bits
    codebook = rng.integers(-_ACT_MAX, _ACT_MAX, n_codes, endpoint=True).astype(np.int16)
    codebook[0] = 0
    spread = max(1, int(cols * density)).bit_length() // 2
    return CompressedLayer(
        shape=(rows, cols),
        indptr=indptr.astype(np.int64),
        indices=(hits % rows).astype(np.int32),
        codes=rng.integers(1, n_codes, len(hits)).astype(np.uint8),
        codebook=codebook,
        bias=rng.integers(-1000, 1000, rows, endpoint=True).astype(np.int32),
        relu=True,
        product_shift=min(14 + spread, MAX_SHIFT),
        output_shift=1,
        name=name,
    )


def random_blocks(structure: BlockStructure, seed: int, *, weight_bits: int = 4) -> CompressedLayer:
    """A layer of these blocks; codes are uniform, and all 2**weight_bits values are weights.

    >>> random_blocks(BlockStructure(8, 8, 2), seed=1)
    CompressedLayer('random', 8 x 8, 50.0 % of the weights, 5-bit codes, ReLU, 2 blocks, aligned)
    """
    rng = np.random.default_rng([seed, _BLOCKS])
    values = rng.choice(np.arange(1, _ACT_MAX), 1 << weight_bits, replace=False)
    values *= rng.choice([-1, 1], len(values))
    codes = tuple(
        rng.integers(0, len(values), (structure.height(d), structure.width(d))).astype(np.uint8)
        for d in range(structure.distinct)
    )
    spread = max(1, structure.width(0)).bit_length() // 2
    return CompressedLayer.from_blocks(
        BlockCodes(structure, codes, np.sort(values).astype(np.int16)),
        bias=rng.integers(-1000, 1000, structure.rows, endpoint=True),
        relu=True,
        product_shift=min(14 + spread, MAX_SHIFT),
        output_shift=1,
        name="random",
    )


def random_input(cols: int, density: float, seed: int) -> npt.NDArray[np.int64]:
    """An input vector, int64[cols]: each activation is non-zero with probability `density`, of either sign."""
    _check_density("the activation density", density)
    rng = np.random.default_rng([seed, _INPUT])
    x = np.zeros(cols, np.int64)
    hits = _bernoulli(rng, cols, density)
    x[hits] = rng.integers(1, _ACT_MAX, len(hits), endpoint=True) * rng.choice((-1, 1), len(hits))
    return x
