"""Pictures of a sweep, in one style: colours that colour-blind readers tell apart, units on every axis, and a caption
that says what was measured and how the memories were sized.

Every function returns a matplotlib `Figure`; `eie.sim.plots.style.save` writes it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from eie.errors import ConfigError
from eie.sim.plots import style
from eie.sim.sweep.columns import Row, varied

# What every caption says of memories.
MEMORIES = {
    "sized": "Memories sized for each layer (sized_for), not the published sizes.",
    "own": "Memories as configured, whatever the layer needs.",
}
_MADE = {"fast": "cycles by the timing law", "golden": "cycles of the golden model"}
# Lines and panels that one picture can hold and still be read.
MAX_LINES = 14
MAX_PANELS = 9
# Lines that can be nested, and whose legend has room inside; the width in inches of a picture with more.
_FEW = 5
_WIDE = 7.6

Series = dict[str, list[tuple[Any, float]]]


# ---- from rows to lines ------------------------------------------------------------------------------------


def name_of(row: Row, fields: Sequence[str], *, several_layers: bool) -> str:
    """What a legend calls a row: its layer, and the fields in which rows of one layer differ."""
    parts = [f"{field} {row[field]}" for field in fields]
    return ", ".join([row["layer"], *parts] if several_layers or not parts else parts)


def _named(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The rows of each line."""
    fields = [name for name in varied(rows) if name not in ("n_pe", "queue_depth", "seed")]
    several = len({row["layer"] for row in rows}) > 1
    named: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        named[name_of(row, fields, several_layers=several)].append(row)
    return named


def _shared(values: set[int], preferred: int) -> int:
    return preferred if preferred in values else max(values)


def memories(rows: Sequence[Row]) -> str:
    """What a caption says of the rows' memories."""
    return " ".join(MEMORIES[name] for name in sorted({row["memories"] for row in rows}, reverse=True))


def made_by(rows: Sequence[Row]) -> str:
    """What a caption says of the rows' engines and clocks."""
    how = " and ".join(
        _MADE.get(name, f"cycles of the RTL in {name}") for name in sorted({r["engine"] for r in rows})
    )
    clocks = ", ".join(f"{hz / 1e6:g}" for hz in sorted({row["clock_hz"] for row in rows}))
    return f"{how}; {clocks} MHz"


def _caption(rows: Sequence[Row], fixed: str) -> str:
    inputs = len({(row["seed"], row["input"]) for row in rows})
    return f"{fixed}; {inputs} input{'s' if inputs > 1 else ''} a layer; {made_by(rows)}.\n{memories(rows)}"


def _mean_over(rows: Sequence[Row], key: str, value: Callable[[Sequence[Row]], float]) -> Series:
    """For each line, (key, value of the rows with that key), by ascending key."""
    series: Series = {}
    for name, line in _named(rows).items():
        groups: dict[int, list[Row]] = defaultdict(list)
        for row in line:
            groups[row[key]].append(row)
        series[name] = [(x, value(group)) for x, group in sorted(groups.items())]
    return series


def _at_one_depth(rows: Sequence[Row]) -> tuple[list[Row], int]:
    depth = _shared({row["queue_depth"] for row in rows}, 8)
    return [row for row in rows if row["queue_depth"] == depth], depth


def draw_lines(axes: Axes, series: Series) -> None:
    """Each series as a line with markers, in the style's colours."""
    for number, (layer, line) in enumerate(series.items()):
        x, y = zip(*line, strict=True)
        # Markers are smaller than those below them, and what lies on an earlier line is dashed: both are seen.
        above = min(len(series) - 1 - number, 3) if len(series) <= _FEW else 0
        covers = line in list(series.values())[:number]
        axes.plot(
            x,
            y,
            label=layer,
            color=style.COLOURS[number % len(style.COLOURS)],
            marker=style.MARKERS[number % len(style.MARKERS)],
            linestyle="--" if covers else "-" if number < len(style.COLOURS) else ":",
            linewidth=1.5,
            markersize=4.5 + 1.5 * above,
            clip_on=False,
        )


def legend(axes: Axes, figure: Figure, loc: Literal["best", "lower right"] = "best") -> None:
    """The legend of what is drawn, beside the axes when it is long."""
    place_legend(axes, figure, axes.get_legend_handles_labels()[0], loc)


def place_legend(
    axes: Axes, figure: Figure, handles: Sequence[Artist], loc: Literal["best", "lower right"] = "best"
) -> None:
    """A legend of these, beside the axes when it is long."""
    if len(handles) <= _FEW + 1:
        axes.legend(handles=handles, loc=loc)
        return
    axes.legend(handles=handles, loc="center left", bbox_to_anchor=(1.01, 0.5))
    figure.set_figwidth(_WIDE)


def _pe_counts(rows: Sequence[Row]) -> list[int]:
    return sorted({row["n_pe"] for row in rows})


# ---- pictures ----------------------------------------------------------------------------------------------


def speedup(rows: Sequence[Row]) -> Figure:
    """Speed-up over the sweep's smallest PE count, against the PE count, with the ideal line.

    A layer's speed-up is the sum of its inputs' cycles there over the sum here; one that took no cycles has none.
    """
    rows, depth = _at_one_depth(rows)
    counts = _pe_counts(rows)
    total = _mean_over(rows, "n_pe", lambda group: float(sum(row["cycles"] for row in group)))
    total = {layer: line for layer, line in total.items() if all(cycles for _, cycles in line)}
    series = {layer: [(n, line[0][1] / cycles) for n, cycles in line] for layer, line in total.items()}
    # Different layers make a whole, the same one at several densities does not; and some may lack a PE count.
    whole_network = set(series) == {row["layer"] for row in rows}
    if len(series) > 1 and whole_network and all(len(line) == len(counts) for line in total.values()):
        whole = [sum(line[i][1] for line in total.values()) for i in range(len(counts))]
        series["all layers together"] = [(n, whole[0] / c) for n, c in zip(counts, whole, strict=True)]
    with style.figure(_caption(rows, f"Queue depth {depth}")) as (figure, (axes,)):
        axes.plot(
            counts, [n / counts[0] for n in counts], "--", color=style.GREY, linewidth=1.2, label="ideal"
        )
        draw_lines(axes, series)
        style.powers_of_two(axes, counts, style.PES)
        axes.set_yscale("log", base=2)
        axes.yaxis.set_major_formatter("{x:g}")
        base = f"{counts[0]} PE{'s' if counts[0] > 1 else ''}"
        axes.set(title="Speed-up against the number of PEs", ylabel=f"speed-up (times {base})")
        legend(axes, figure)
    return figure


def _against_pes(
    rows: Sequence[Row],
    value: Callable[[Sequence[Row]], float],
    title: str,
    label: str,
    top: float | None = 1.04,
) -> Figure:
    """A share against the PE count, in per cent; value : of the rows of a line with one PE count."""
    rows, depth = _at_one_depth(rows)
    with style.figure(_caption(rows, f"Queue depth {depth}")) as (figure, (axes,)):
        draw_lines(axes, _mean_over(rows, "n_pe", value))
        style.powers_of_two(axes, _pe_counts(rows), style.PES)
        axes.set_ylim(0, top)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.set(title=f"{title} against the number of PEs", ylabel=label)
        legend(axes, figure)
    return figure


def padding(rows: Sequence[Row]) -> Figure:
    """Padding: entries that only bridge a run of zeros, as a share of all processed, against the PE count."""

    def share(group: Sequence[Row]) -> float:
        return float(sum(row["fillers"] for row in group) / max(1, sum(row["entries"] for row in group)))

    return _against_pes(rows, share, "Padding", "padding (% of the entries processed)", top=None)


def _efficiency(group: Sequence[Row]) -> float:
    return float(np.mean([row["balance"] for row in group]))


_BALANCE = "load balance (% of cycles\nwith an entry or an empty column)"


def balance(rows: Sequence[Row]) -> Figure:
    """Load-balance efficiency (1 - starved cycles / cycles, mean over PEs and inputs) against the PE count."""
    return _against_pes(rows, _efficiency, "Load balance", _BALANCE)


def utilization(rows: Sequence[Row]) -> Figure:
    """Utilization (multiply-accumulates / (PEs x cycles), mean over inputs) against the PE count."""

    def mean(group: Sequence[Row]) -> float:
        return float(np.mean([row["utilization"] for row in group]))

    label = "utilization (% of cycles with a\nmultiply-accumulate, fillers not counted)"
    return _against_pes(rows, mean, "Utilization", label)


def queue_depth(rows: Sequence[Row]) -> Figure:
    """Load-balance efficiency against the queue depth, at 64 PEs or else the largest PE count that has most depths."""
    depths = {n: len({row["queue_depth"] for row in rows if row["n_pe"] == n}) for n in _pe_counts(rows)}
    n_pe = _shared({n for n, swept in depths.items() if swept == max(depths.values())}, 64)
    rows = [row for row in rows if row["n_pe"] == n_pe]
    with style.figure(_caption(rows, f"{n_pe} PEs")) as (figure, (axes,)):
        draw_lines(axes, _mean_over(rows, "queue_depth", _efficiency))
        style.powers_of_two(
            axes, sorted({row["queue_depth"] for row in rows}), "activation queue depth (columns)"
        )
        axes.set_ylim(0, 1.04)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.set(title=f"Load balance against the queue depth, {n_pe} PEs", ylabel=_BALANCE)
        legend(axes, figure, "lower right")
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


def _work_of(rows: Sequence[Row]) -> Figure:
    """`work_map` from a sweep: each layer's entries per PE, summed over its inputs."""
    rows, _ = _at_one_depth(rows)
    counts = _pe_counts(rows)
    n_pe = _shared(set(counts), 64)
    rows = [row for row in rows if row["n_pe"] == n_pe]
    work = {
        name: np.array([row["work"] for row in line]).sum(axis=0, keepdims=True)
        for name, line in _named(rows).items()
    }
    swept = f" (of {', '.join(map(str, counts))} swept)" if len(counts) > 1 else ""
    return work_map(work, f"{n_pe} PEs{swept}; padding included; summed over the inputs.\n{memories(rows)}")


_STANDARD: dict[str, Callable[[Sequence[Row]], Figure]] = {
    "speedup": speedup,
    "padding": padding,
    "balance": balance,
    "utilization": utilization,
    "queue_depth": queue_depth,
    "work": _work_of,
}


def left_out(rows: Sequence[Row]) -> dict[str, str]:
    """The standard pictures that the rows do not suffice for, or are too many for, and why."""
    lines = len(_named(rows))
    if lines > MAX_LINES:
        return dict.fromkeys(
            _STANDARD, f"it would have {lines} lines, more than {MAX_LINES}: choose points with --where"
        )
    why: dict[str, str] = {}
    if len(_pe_counts(rows)) == 1:
        why = dict.fromkeys(("speedup", "padding", "balance", "utilization"), "it needs several PE counts")
    elif not any(row["cycles"] for row in rows):
        why["speedup"] = "no point took a cycle"
    if len({row["queue_depth"] for row in rows}) == 1:
        why["queue_depth"] = "it needs several queue depths"
    if lines > MAX_PANELS:
        why["work"] = f"it would have {lines} panels, more than {MAX_PANELS}: choose points with --where"
    return why


def pictures(rows: Sequence[Row]) -> dict[str, Figure]:
    """Every standard picture that is not `left_out`, by file name without suffix.

    Raises
    ------
    ConfigError : no rows.
    """
    if not rows:
        raise ConfigError("nothing to plot: no point has figures")
    missing = left_out(rows)
    return {name: draw(rows) for name, draw in _STANDARD.items() if name not in missing}
