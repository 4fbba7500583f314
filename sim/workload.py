"""Seeded random layers and input vectors of a given shape and density, for sweeps and co-simulation."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from eie.errors import ConfigError
from eie.fixed import MAX_SHIFT
from eie.layer import MAX_DIM, CompressedLayer

# A seed names one layer and one input, drawn from streams of their own.
_LAYER, _INPUT = 0, 1
_ACT_MAX = 32767


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


def random_layer(
    rows: int, cols: int, density: float, seed: int, *, weight_bits: int = 4, name: str = "random"
) -> CompressedLayer:
    """A layer whose weights are each non-zero with probability `density`; codes and biases are uniform.

    The product shift is such that 16-bit accumulators saturate now and then, but not all the time.

    >>> random_layer(8, 8, 0.5, seed=1).equals(random_layer(8, 8, 0.5, seed=1))
    True
    """
    if not (1 <= rows <= MAX_DIM and 1 <= cols <= MAX_DIM):
        raise ConfigError(f"a random layer needs 1 to {MAX_DIM} rows and columns, not {rows} x {cols}")
    _check_density("the weight density", density)
    rng = np.random.default_rng([seed, _LAYER])
    hits = _bernoulli(rng, rows * cols, density)
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


def random_input(cols: int, density: float, seed: int) -> npt.NDArray[np.int64]:
    """An input vector, int64[cols]: each activation is non-zero with probability `density`, of either sign."""
    _check_density("the activation density", density)
    rng = np.random.default_rng([seed, _INPUT])
    x = np.zeros(cols, np.int64)
    hits = _bernoulli(rng, cols, density)
    x[hits] = rng.integers(1, _ACT_MAX, len(hits), endpoint=True) * rng.choice((-1, 1), len(hits))
    return x
