"""Pictures of a sweep, in one style: colours that colour-blind readers tell apart, units on every axis, and a caption
that says what was measured and how the memories were sized.

Every function returns a matplotlib `Figure`; `save` writes it. No display is needed.
"""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, PercentFormatter

from eie.errors import ConfigError
from eie.sim.sweep import Point

# Okabe and Ito's palette, with a marker each so that the lines differ in print, too.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_GREY = "#5f6770"
_STYLE: dict[Any, Any] = {
    "figure.dpi": 150,
    "figure.figsize": (6.4, 4.4),
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "axes.titlesize": 11.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": _GREY,
    "axes.grid": True,
    "grid.color": "#e3e6ea",
    "axes.axisbelow": True,
    "lines.linewidth": 1.8,
    "lines.markersize": 5.5,
    "legend.frameon": False,
    "image.cmap": "cividis",
}

# What every caption says of memories.
SIZED = "Memories sized for each layer (sized_for), not the published sizes."

Series = dict[str, list[tuple[int, float]]]


@contextmanager
def _figure(caption: str, rows: int = 1, height: float | None = None) -> Iterator[tuple[Figure, list[Axes]]]:
    with mpl.rc_context(_STYLE):
        figure = Figure(layout="constrained")
        if height:
            figure.set_figheight(height)
        yield figure, list(figure.subplots(rows, 1, squeeze=False)[:, 0])
        # supxlabel takes part in the layout, so that the caption never covers an axis.
        figure.supxlabel(caption, x=0.01, ha="left", fontsize=7.5, color=_GREY)


def save(figure: Figure) -> bytes:
    """The picture as PNG."""
    data = io.BytesIO()
    figure.savefig(data, format="png")
    return data.getvalue()


# ---- from points to lines ----------------------------------------------------------------------------------


def _layers(points: Sequence[Point]) -> list[str]:
    return list(dict.fromkeys(point.layer for point in points))


def _shared(values: set[int], preferred: int) -> int:
    return preferred if preferred in values else max(values)


def _caption(points: Sequence[Point], fixed: str) -> str:
    inputs = len({point.input for point in points})
    engines = {point.engine for point in points}
    made = {"law": "cycles by the timing law", "golden": "cycles of the golden model"}
    how = " and ".join(made.get(engine, engine) for engine in sorted(engines))
    clocks = ", ".join(f"{hz / 1e6:g}" for hz in sorted({point.clock_hz for point in points}))
    return f"{fixed}; {inputs} input vector{'s' if inputs > 1 else ''} a layer; {how}; {clocks} MHz.\n{SIZED}"


def _mean_over(
    points: Sequence[Point], key: Callable[[Point], int], value: Callable[[Sequence[Point]], float]
) -> Series:
    """For each layer, (key, value of the points with that key), by ascending key."""
    groups: dict[str, dict[int, list[Point]]] = defaultdict(lambda: defaultdict(list))
    for point in points:
        groups[point.layer][key(point)].append(point)
    return {
        layer: [(x, value(group)) for x, group in sorted(by_key.items())] for layer, by_key in groups.items()
    }


def _at_one_depth(points: Sequence[Point]) -> tuple[list[Point], int]:
    depth = _shared({point.queue_depth for point in points}, 8)
    return [point for point in points if point.queue_depth == depth], depth


def _draw(axes: Axes, series: Series) -> None:
    for number, (layer, line) in enumerate(series.items()):
        x, y = zip(*line, strict=True)
        axes.plot(
            x,
            y,
            label=layer,
            color=_COLOURS[number % len(_COLOURS)],
            marker=_MARKERS[number % len(_MARKERS)],
        )


def _powers_of_two(axes: Axes, ticks: Sequence[int], label: str) -> None:
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator(list(ticks)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel(label)


def _pe_counts(points: Sequence[Point]) -> list[int]:
    return sorted({point.n_pe for point in points})


# ---- pictures ----------------------------------------------------------------------------------------------


def speedup(points: Sequence[Point]) -> Figure:
    """Speed-up over the sweep's smallest PE count, against the PE count, with the ideal line.

    A layer's speed-up is the sum of its inputs' cycles there over the sum here.
    """
    points, depth = _at_one_depth(points)
    counts = _pe_counts(points)
    total = _mean_over(points, lambda p: p.n_pe, lambda group: float(sum(p.cycles for p in group)))
    series = {layer: [(n, line[0][1] / cycles) for n, cycles in line] for layer, line in total.items()}
    if len(series) > 1:
        whole = [sum(line[i][1] for line in total.values()) for i in range(len(counts))]
        series["all layers together"] = [(n, whole[0] / c) for n, c in zip(counts, whole, strict=True)]
    with _figure(_caption(points, f"Queue depth {depth}")) as (figure, (axes,)):
        axes.plot(counts, [n / counts[0] for n in counts], "--", color=_GREY, linewidth=1.2, label="ideal")
        _draw(axes, series)
        _powers_of_two(axes, counts, "processing elements (PEs)")
        axes.set_yscale("log", base=2)
        axes.yaxis.set_major_formatter("{x:g}")
        base = f"{counts[0]} PE{'s' if counts[0] > 1 else ''}"
        axes.set_ylabel(f"speed-up over {base} (times)")
        axes.set_title("Speed-up against the number of PEs")
        axes.legend()
    return figure


def padding(points: Sequence[Point]) -> Figure:
    """Fillers as a share of all entries processed, against the PE count."""
    points, depth = _at_one_depth(points)
    series = _mean_over(
        points,
        lambda p: p.n_pe,
        lambda group: sum(p.fillers for p in group) / max(1, sum(p.entries for p in group)),
    )
    with _figure(_caption(points, f"Queue depth {depth}")) as (figure, (axes,)):
        _draw(axes, series)
        _powers_of_two(axes, _pe_counts(points), "processing elements (PEs)")
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.set_ylabel("fillers in the entries processed (%)")
        axes.set_title("Padding zeros against the number of PEs")
        axes.legend()
    return figure


def _efficiency(group: Sequence[Point]) -> float:
    return float(np.mean([point.balance for point in group]))


def _efficiency_axis(axes: Axes) -> None:
    axes.set_ylim(0, 1.04)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_ylabel("load-balance efficiency (% of cycles a PE is busy)")


def balance(points: Sequence[Point]) -> Figure:
    """Load-balance efficiency (1 - starved cycles / cycles, mean over PEs and inputs) against the PE count."""
    points, depth = _at_one_depth(points)
    with _figure(_caption(points, f"Queue depth {depth}")) as (figure, (axes,)):
        _draw(axes, _mean_over(points, lambda p: p.n_pe, _efficiency))
        _powers_of_two(axes, _pe_counts(points), "processing elements (PEs)")
        _efficiency_axis(axes)
        axes.set_title("Load balance against the number of PEs")
        axes.legend()
    return figure


def queue_depth(points: Sequence[Point]) -> Figure:
    """Load-balance efficiency against the queue depth, at 64 PEs or else the largest PE count."""
    n_pe = _shared({point.n_pe for point in points}, 64)
    points = [point for point in points if point.n_pe == n_pe]
    with _figure(_caption(points, f"{n_pe} PEs")) as (figure, (axes,)):
        _draw(axes, _mean_over(points, lambda p: p.queue_depth, _efficiency))
        _powers_of_two(axes, sorted({p.queue_depth for p in points}), "activation queue depth (columns)")
        _efficiency_axis(axes)
        axes.set_title(f"Load balance against the queue depth, {n_pe} PEs")
        axes.legend(loc="lower right")
    return figure


def work_map(work: Mapping[str, npt.NDArray[np.int64]], caption: str) -> Figure:
    """Heat map of the entries that each PE processes: one panel a layer, a row a group of active columns.

    `work` maps a layer's name to int64[groups, n_pe]; groups are in broadcast order, the first on top.
    """
    height = 1.6 + sum(0.75 if len(grid) == 1 else 1.5 for grid in work.values())
    with _figure(caption, len(work), height) as (figure, panels):
        for axes, (layer, grid) in zip(panels, work.items(), strict=True):
            image = axes.imshow(grid, aspect="auto", interpolation="nearest", vmin=0)
            axes.grid(visible=False)
            per_pe = grid.sum(axis=0)
            uneven = per_pe.max() / per_pe.mean() if per_pe.any() else 1.0
            axes.set_title(
                f"{layer}: the busiest PE has {uneven:.2f} x the mean work", fontsize=9.5, fontweight="normal"
            )
            axes.set_yticks([] if len(grid) == 1 else [0, len(grid) - 1], labels=None)
            if len(grid) > 1:
                axes.set_yticklabels(["first", "last"])
                axes.set_ylabel("columns")
            figure.colorbar(image, ax=axes, label="entries", pad=0.01)
        panels[-1].set_xlabel("PE number")
        figure.suptitle("Work of each PE", x=0.01, ha="left", fontsize=11.5, fontweight="bold")
    return figure


def _work_of(points: Sequence[Point]) -> Figure:
    """`work_map` from a sweep: each layer's entries per PE, summed over its inputs."""
    points, _ = _at_one_depth(points)
    n_pe = _shared({point.n_pe for point in points}, 64)
    points = [point for point in points if point.n_pe == n_pe]
    work = {
        layer: np.array([point.work for point in points if point.layer == layer]).sum(axis=0, keepdims=True)
        for layer in _layers(points)
    }
    return work_map(work, f"{n_pe} PEs; fillers included; summed over the inputs.\n{SIZED}")


def pictures(points: Sequence[Point]) -> dict[str, Figure]:
    """Every picture that the points suffice for, by file name without suffix.

    Those against the PE count need two PE counts, the one against the queue depth two depths.
    """
    if not points:
        raise ConfigError("there is nothing to plot: the sweep holds no rows")
    drawn: dict[str, Figure] = {}
    if len({point.n_pe for point in points}) > 1:
        drawn |= {"speedup": speedup(points), "padding": padding(points), "balance": balance(points)}
    if len({point.queue_depth for point in points}) > 1:
        drawn["queue_depth"] = queue_depth(points)
    drawn["work"] = _work_of(points)
    return drawn
