"""Low rank: a layer's matrix as the product of two thinner ones, by its singular value decomposition.

W [rows, cols] becomes U V, with V [rank, cols] a layer without bias and ReLU, and U [rows, rank] one with the bias and
what follows the layer. U V is the best approximation of W of that rank in the Frobenius norm (Eckart and Young, 1936).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from numbers import Real

import numpy as np
import numpy.typing as npt

from eie.compress.float_layers import FloatArray, FloatLayer, Layers, LayerSource, Model
from eie.compress.settings import matching
from eie.conv import Conv
from eie.errors import ModelError

# Of a rank or of an energy: one for all layers, or by glob pattern, of which the first that fits counts.
Each = float | Mapping[str, float]


# ---- one matrix --------------------------------------------------------------------------------------------


def rank_for(singular: npt.ArrayLike, energy: float) -> int:
    """The least rank whose singular values have the share `energy` of the sum of all squares; descending values.

    >>> rank_for([3.0, 2.0, 1.0], 0.6), rank_for([3.0, 2.0, 1.0], 0.9), rank_for([3.0, 2.0, 1.0], 1.0)
    (1, 2, 3)
    """
    squares = np.square(np.asarray(singular, np.float64))
    # Of what is left out: sums of few small numbers are exact enough, also for an energy of 1.
    left_out = np.append(np.cumsum(squares[::-1])[::-1], 0.0)
    return max(1, int(np.argmax(left_out <= (1 - energy) * left_out[0])))


def factors(weight: npt.ArrayLike, rank: int) -> tuple[FloatArray, FloatArray]:
    """V [rank, cols] and U [rows, rank] with U V nearest to `weight`; each has the roots of the singular values.

    >>> first, second = factors([[3.0, 0.0], [0.0, 1.0]], 1)
    >>> abs(second @ first).round(6).tolist()
    [[3.0, 0.0], [0.0, 0.0]]
    """
    left, singular, right = np.linalg.svd(np.asarray(weight, np.float64), full_matrices=False)
    root = np.sqrt(singular[:rank])
    return root[:, None] * right[:rank], left[:, :rank] * root


@dataclass(frozen=True)
class Split:
    """That a layer becomes two. energy : share of the matrix's squared norm that its `rank` keeps. before, after :
    weights that are not zero in the matrix, and weights of the two.
    """

    name: str
    rank: int
    energy: float
    before: int
    after: int

    def __str__(self) -> str:
        return (
            f"layer {self.name!r} became two of rank {self.rank}, which keep {100 * self.energy:.1f} % of its energy: "
            f"{self.after:,} weights instead of {self.before:,}"
        )


def choose_rank(
    name: str, weight: npt.NDArray[np.floating], rank: float | None, energy: float | None
) -> Split | None:
    """How the matrix `weight` is split, by a rank or an energy; None where an energy's rank does not make it smaller.

    Raises
    ------
    ModelError : a rank that is no whole number from 1 to the matrix's own, or that does not make it smaller; an energy
        that is not above 0 and at most 1.
    """
    rows, cols = weight.shape
    singular = np.linalg.svd(weight.astype(np.float64), compute_uv=False)
    squares = np.square(singular)
    before = int(np.count_nonzero(weight))
    if rank is None:
        assert energy is not None
        if isinstance(energy, bool) or not 0 < energy <= 1:
            raise ModelError(f"energy of layer {name!r} must be above 0 and at most 1, not {energy}")
        chosen = rank_for(singular, energy)
        if chosen * (rows + cols) >= before:
            return None
    else:
        # The bound of numpy.linalg.matrix_rank, for the precision in which the weights are kept.
        own = int(np.count_nonzero(singular > singular[0] * max(rows, cols) * np.finfo(weight.dtype).eps))
        if isinstance(rank, bool) or not float(rank).is_integer() or not 1 <= rank <= own:
            raise ModelError(
                f"rank of layer {name!r} must be a whole number from 1 to its matrix's rank, {own}, not {rank:g}"
            )
        chosen = int(rank)
        if chosen * (rows + cols) >= before:
            most = (before - 1) // (rows + cols)
            advice = f"at most rank {most} makes it smaller" if most else "no rank makes it smaller"
            raise ModelError(
                f"rank {chosen} does not make layer {name!r} smaller: {chosen * (rows + cols):,} weights instead of "
                f"{before:,} that are not zero; {advice}"
            )
    kept = float(squares[:chosen].sum() / squares.sum()) if squares.any() else 1.0
    return Split(name, chosen, kept, before, chosen * (rows + cols))


def split_conv(conv: Conv) -> tuple[Conv, Conv]:
    """The geometry of the two halves: the window, and behind it one of 1 x 1, which has the pooling."""
    between = conv.positions if conv.known else (0, 0)
    return replace(conv, pool=(1, 1), pool_stride=(1, 1)), Conv(
        (1, 1), pool=conv.pool, pool_stride=conv.pool_stride, size=between
    )


def split_layer(layer: FloatLayer, rank: int) -> tuple[FloatLayer, FloatLayer]:
    """The two layers that stand for `layer`: `name.0` and `name.1`.

    >>> layer = FloatLayer("fc", np.eye(4, 6, dtype=np.float32), np.ones(4, np.float32))
    >>> [(half.name, half.shape, half.relu) for half in split_layer(layer, 2)]
    [('fc.0', (2, 6), False), ('fc.1', (4, 2), True)]
    """
    first, second = (half.astype(np.float32) for half in factors(layer.weight, rank))
    convs = (None, None) if layer.conv is None else split_conv(layer.conv)
    return (
        FloatLayer(f"{layer.name}.0", first, None, False, convs[0]),
        FloatLayer(f"{layer.name}.1", second, layer.bias, layer.relu, convs[1]),
    )


# ---- a network ---------------------------------------------------------------------------------------------

# Of the layer that was split last: its second half is read right after the first.
_last_split = lru_cache(maxsize=1)(lambda source, rank: split_layer(source.load(), rank))


def _half(
    source: LayerSource, rank: int, place: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32] | None]:
    half = _last_split(source, rank)[place]
    return half.weight, half.bias


def _sources(source: LayerSource, rank: int) -> tuple[LayerSource, LayerSource]:
    rows, cols = source.shape
    convs = (None, None) if source.conv is None else split_conv(source.conv)
    first = LayerSource(
        f"{source.name}.0",
        (rank, cols),
        partial(_half, source, rank, 0),
        False,
        convs[0],
        source.place,
        source.follows,
    )
    second = LayerSource(
        f"{source.name}.1", (rows, rank), partial(_half, source, rank, 1), source.relu, convs[1], source.place
    )
    return first, second


def by_layer(sources: Sequence[LayerSource], each: Each, what: str) -> list[float | None]:
    """A setting for each layer, None where no pattern fits.

    Raises
    ------
    ModelError : a pattern that matches no layer, a setting that is no number.
    """
    chosen: list[float | None] = [None] * len(sources)
    for pattern, value in (each if isinstance(each, Mapping) else {"*": each}).items():
        if not isinstance(value, Real):
            raise ModelError(f"{what} of {pattern!r} must be a number, not {value!r}")
        for place in matching(sources, pattern, f"{what} {pattern}"):
            if chosen[place] is None:
                chosen[place] = value
    return chosen


def low_rank(model: Model, rank: Each | None = None, energy: Each | None = None) -> tuple[Model, list[int]]:
    """The model with layers split in two, and for each of its layers the place of the one in `model` it comes from.

    Each layer is read to find its singular values, one at a time; its halves are computed when they are read.

    Parameters
    ----------
    rank : of the layers that a pattern fits. energy : or the share of the squared norm to keep, of those that this
        makes smaller. Notes of the model say what was done.

    Raises
    ------
    ModelError : neither or both are given; a pattern that matches no layer; no layer that energy makes smaller; and
        see `choose_rank`.
    """
    if (rank is None) == (energy is None) or {} in (rank, energy):
        raise ModelError("give rank or energy, one of them")
    sources = model.layers.sources
    none: list[float | None] = [None] * len(sources)
    ranks = none if rank is None else by_layer(sources, rank, "rank")
    energies = none if energy is None else by_layer(sources, energy, "energy")
    halves: list[tuple[LayerSource, ...]] = []
    notes: list[str] = []
    split = False
    for source, of_rank, of_energy in zip(sources, ranks, energies, strict=True):
        if of_rank is None and of_energy is None:
            halves.append((source,))
            continue
        found = choose_rank(source.name, source.load().weight, of_rank, of_energy)
        if found is None:
            notes.append(
                f"layer {source.name!r} stays whole: the energy {of_energy:g} would not make it smaller"
            )
            halves.append((source,))
            continue
        notes.append(str(found))
        halves.append(_sources(source, found.rank))
        split = True
    if not split:
        told = ", ".join(f"{share:g}" for share in dict.fromkeys(energies) if share is not None)
        raise ModelError(f"no layer gets smaller with an energy of {told}: choose less, or leave it out")
    places = [place for place, parts in enumerate(halves) for _ in parts]
    names = [source.name for parts in halves for source in parts]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ModelError(
            f"a layer is already called {twice[0]!r}, which would be the name of half of another layer"
        )
    layers = Layers(tuple(itertools.chain(*halves)))
    return Model(layers, model.unused, (*model.notes, *notes)), places
