"""A picture of what a compressed layer holds: its weights, their code indices, and the zeros between them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from eie.layer import CompressedLayer
from eie.sim.plots import style

# Index bits of the published machine; beyond twice their range the zeros share a bar.
_INDEX_BITS = 4
_LONGEST = 2 << _INDEX_BITS
_FEW_CODES = 32


def entropy(counts: npt.NDArray[np.int64]) -> float:
    """Bits per symbol of symbols that occur so often and know nothing of each other.

    >>> entropy(np.array([4, 2, 2, 0]))
    1.5
    """
    share = counts[counts > 0] / max(int(counts.sum()), 1)
    return abs(float((share * np.log2(share)).sum()))


def zeros_before(layer: CompressedLayer) -> npt.NDArray[np.int64]:
    """Zeros before each entry in its column, int64[nnz].

    >>> zeros_before(CompressedLayer.from_codes([[0, 1], [0, 0], [1, 1]], [0, 5])).tolist()
    [2, 0, 1]
    """
    before = np.append(-1, layer.indices[:-1].astype(np.int64))[: layer.nnz]
    starts = layer.indptr[:-1]
    before[starts[starts < layer.nnz]] = -1
    return layer.indices - before - 1


def _bars(
    axes: Axes, places: npt.ArrayLike, counts: npt.NDArray[np.int64], colour: int, width: float
) -> None:
    axes.bar(places, counts, width, color=style.COLOURS[colour])
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.set_ylabel("entries")
    axes.set_ylim(0, max(1, int(counts.max(initial=0))) * 1.08)
    axes.grid(axis="x", visible=False)


def picture(layer: CompressedLayer) -> Figure:
    """Histograms of one layer: weights by value, code indices, zeros before each entry in its column."""
    codes = np.bincount(layer.codes, minlength=len(layer.codebook))
    runs = zeros_before(layer)
    zeros = np.bincount(np.minimum(runs, _LONGEST), minlength=_LONGEST + 1)
    fillers = int((runs >> _INDEX_BITS).sum())
    caption = (
        f"{layer.name}: {layer.rows} x {layer.cols}, {layer.nnz:,} of {layer.rows * layer.cols:,} weights kept "
        f"({100 * layer.density:.1f} %). Coded each by itself, a code takes {entropy(codes):.2f} of "
        f"{layer.weight_bits} bits, a run of zeros {entropy(np.bincount(runs)):.2f}. Stored for one PE with "
        f"{_INDEX_BITS} index bits, runs of {1 << _INDEX_BITS} zeros and more need {fillers:,} fillers."
    )
    with style.figure(caption, 1, 3, (11, 3.9)) as (figure, (weights, indices, index)):
        values = np.ldexp(layer.codebook.astype(np.float64), -layer.w_frac)
        used = np.flatnonzero(codes)
        span = float(np.ptp(values[used])) if used.size > 1 else 1.0
        _bars(weights, values[used], codes[used], 0, span / 60)
        weights.set(title="weights", xlabel="value")
        _bars(indices, np.arange(1, len(codes)), codes[1:], 1, 0.8)
        indices.set(title="codes", xlabel="code index (0 is a pruned weight)")
        if len(codes) <= _FEW_CODES:
            indices.set_xticks(np.arange(1, len(codes), 2))
        _bars(index, np.arange(_LONGEST + 1), zeros, 2, 0.8)
        limit = (1 << _INDEX_BITS) - 0.5
        index.axvline(limit, color=style.GREY, linewidth=1, linestyle="--")
        index.text(
            limit,
            index.get_ylim()[1],
            f" more than {_INDEX_BITS} bits",
            color=style.GREY,
            va="top",
            fontsize=8.5,
        )
        index.set_title("relative indices")
        ticks = np.arange(0, _LONGEST + 1, 8)
        index.set_xticks(ticks, [*map(str, ticks[:-1]), f"{_LONGEST}+"])
        index.set_xlabel("zeros before an entry in its column")
    return figure
