"""Pictures of a sweep, in one style: colours that colour-blind readers tell apart, units on every axis, and a caption
that says what was measured and how the memories were sized.

Every function returns a matplotlib `Figure`; `eie.sim.style.save` writes it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from eie.errors import ConfigError
from eie.sim import style
from eie.sim.sweep import Point

# What every caption says of memories.
SIZED = "Memories sized for each layer (sized_for), not the published sizes."

Series = dict[str, list[tuple[int, float]]]


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
        # Lines are thinner than those below them, so that lines that coincide are all seen.
        above = min(len(series) - 1 - number, 3)
        axes.plot(
            x,
            y,
            label=layer,
            color=style.COLOURS[number % len(style.COLOURS)],
            marker=style.MARKERS[number % len(style.MARKERS)],
            linewidth=1.3 + 0.9 * above,
            markersize=4.5 + 1.9 * above,
            clip_on=False,
        )


def _pe_counts(points: Sequence[Point]) -> list[int]:
    return sorted({point.n_pe for point in points})


# ---- pictures ----------------------------------------------------------------------------------------------


def speedup(points: Sequence[Point]) -> Figure:
    """Speed-up over the sweep's smallest PE count, against the PE count, with the ideal line.

    A layer's speed-up is the sum of its inputs' cycles there over the sum here; one that took no cycles has none.
    """
    points, depth = _at_one_depth(points)
    counts = _pe_counts(points)
    total = _mean_over(points, lambda p: p.n_pe, lambda group: float(sum(p.cycles for p in group)))
    total = {layer: line for layer, line in total.items() if all(cycles for _, cycles in line)}
    series = {layer: [(n, line[0][1] / cycles) for n, cycles in line] for layer, line in total.items()}
    # Tables put together from several sweeps may lack some PE counts.
    if len(series) > 1 and all(len(line) == len(counts) for line in total.values()):
        whole = [sum(line[i][1] for line in total.values()) for i in range(len(counts))]
        series["all layers together"] = [(n, whole[0] / c) for n, c in zip(counts, whole, strict=True)]
    with style.figure(_caption(points, f"Queue depth {depth}")) as (figure, (axes,)):
        axes.plot(
            counts, [n / counts[0] for n in counts], "--", color=style.GREY, linewidth=1.2, label="ideal"
        )
        _draw(axes, series)
        style.powers_of_two(axes, counts, style.PES)
        axes.set_yscale("log", base=2)
        axes.yaxis.set_major_formatter("{x:g}")
        base = f"{counts[0]} PE{'s' if counts[0] > 1 else ''}"
        axes.set_ylabel(f"speed-up (times {base})")
        axes.set_title("Speed-up against the number of PEs")
        axes.legend()
    return figure


def padding(points: Sequence[Point]) -> Figure:
    """Padding: entries that only bridge a run of zeros, as a share of all processed, against the PE count."""
    points, depth = _at_one_depth(points)
    series = _mean_over(
        points,
        lambda p: p.n_pe,
        lambda group: sum(p.fillers for p in group) / max(1, sum(p.entries for p in group)),
    )
    with style.figure(_caption(points, f"Queue depth {depth}")) as (figure, (axes,)):
        _draw(axes, series)
        style.powers_of_two(axes, _pe_counts(points), style.PES)
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.set_ylabel("padding (% of the entries processed)")
        axes.set_title("Padding against the number of PEs")
        axes.legend()
    return figure


def _efficiency(group: Sequence[Point]) -> float:
    return float(np.mean([point.balance for point in group]))


def _efficiency_axis(axes: Axes) -> None:
    axes.set_ylim(0, 1.04)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_ylabel("load balance (% of cycles\nwith an entry or an empty column)")


def balance(points: Sequence[Point]) -> Figure:
    """Load-balance efficiency (1 - starved cycles / cycles, mean over PEs and inputs) against the PE count."""
    points, depth = _at_one_depth(points)
    with style.figure(_caption(points, f"Queue depth {depth}")) as (figure, (axes,)):
        _draw(axes, _mean_over(points, lambda p: p.n_pe, _efficiency))
        style.powers_of_two(axes, _pe_counts(points), style.PES)
        _efficiency_axis(axes)
        axes.set_title("Load balance against the number of PEs")
        axes.legend()
    return figure


def queue_depth(points: Sequence[Point]) -> Figure:
    """Load-balance efficiency against the queue depth, at 64 PEs or else the largest PE count that has most depths."""
    depths = {n: len({point.queue_depth for point in points if point.n_pe == n}) for n in _pe_counts(points)}
    n_pe = _shared({n for n, swept in depths.items() if swept == max(depths.values())}, 64)
    points = [point for point in points if point.n_pe == n_pe]
    with style.figure(_caption(points, f"{n_pe} PEs")) as (figure, (axes,)):
        _draw(axes, _mean_over(points, lambda p: p.queue_depth, _efficiency))
        style.powers_of_two(axes, sorted({p.queue_depth for p in points}), "activation queue depth (columns)")
        _efficiency_axis(axes)
        axes.set_title(f"Load balance against the queue depth, {n_pe} PEs")
        axes.legend(loc="lower right")
    return figure


def work_map(work: Mapping[str, npt.NDArray[np.int64]], caption: str) -> Figure:
    """The entries that each PE processes, a panel for each layer.

    `work` maps a layer's name to int64[groups, n_pe]; groups of active columns are in broadcast order. Several groups
    make a heat map, the first on top; a single one makes bars.
    """
    height = 1.1 + sum(1.6 if len(grid) == 1 else 1.5 for grid in work.values())
    with style.figure(caption, len(work), size=(8, height)) as (figure, panels):
        for axes, (layer, grid) in zip(panels, work.items(), strict=True):
            per_pe = grid.sum(axis=0)
            uneven = per_pe.max() / per_pe.mean() if per_pe.any() else 1.0
            single = len(grid) == 1
            (_bars if single else _heat)(figure, axes, grid)
            axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
            axes.set_title(
                f"{layer}: the busiest PE has {uneven:.2f} × the mean work{' (dashed)' if single else ''}",
                fontsize=9.5,
                fontweight="normal",
            )
        panels[-1].set_xlabel("PE number")
        figure.suptitle("Work of each PE", x=0.01, ha="left", fontsize=11.5, fontweight="bold")
    return figure


def _bars(figure: Figure, axes: Axes, grid: npt.NDArray[np.int64]) -> None:
    (per_pe,) = grid
    axes.bar(np.arange(len(per_pe)), per_pe, width=0.8, color=style.COLOURS[0])
    axes.axhline(per_pe.mean(), color=style.COLOURS[1], linestyle="--", linewidth=1.2)
    axes.grid(visible=False, axis="x")
    axes.set_xlim(-0.6, len(per_pe) - 0.4)
    axes.set_ylabel("entries")
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))


def _heat(figure: Figure, axes: Axes, grid: npt.NDArray[np.int64]) -> None:
    image = axes.imshow(grid, aspect="auto", interpolation="nearest")
    axes.grid(visible=False)
    axes.set_yticks([0, len(grid) - 1], labels=["first", "last"])
    axes.set_ylabel("columns")
    figure.colorbar(image, ax=axes, label="entries", pad=0.01, ticks=MaxNLocator(4, integer=True))


def _work_of(points: Sequence[Point]) -> Figure:
    """`work_map` from a sweep: each layer's entries per PE, summed over its inputs."""
    points, _ = _at_one_depth(points)
    counts = _pe_counts(points)
    n_pe = _shared(set(counts), 64)
    points = [point for point in points if point.n_pe == n_pe]
    work = {
        layer: np.array([point.work for point in points if point.layer == layer]).sum(axis=0, keepdims=True)
        for layer in _layers(points)
    }
    swept = f" (of {', '.join(map(str, counts))} swept)" if len(counts) > 1 else ""
    return work_map(work, f"{n_pe} PEs{swept}; padding included; summed over the inputs.\n{SIZED}")


def pictures(points: Sequence[Point]) -> dict[str, Figure]:
    """Every picture that the points suffice for, by file name without suffix.

    Those against the PE count need two PE counts (the speed-up an active input, too), the one against the queue depth
    two depths.
    """
    if not points:
        raise ConfigError("there is nothing to plot: the sweep holds no rows")
    drawn: dict[str, Figure] = {}
    if len({point.n_pe for point in points}) > 1:
        if any(point.cycles for point in points):
            drawn["speedup"] = speedup(points)
        drawn |= {"padding": padding(points), "balance": balance(points)}
    if len({point.queue_depth for point in points}) > 1:
        drawn["queue_depth"] = queue_depth(points)
    drawn["work"] = _work_of(points)
    return drawn
