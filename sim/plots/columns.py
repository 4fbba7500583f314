"""Pictures of any columns of a sweep: one against another, and the Pareto front of time, energy and area."""

from __future__ import annotations

import difflib
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from matplotlib.transforms import Bbox

from eie.errors import ConfigError
from eie.sim.plots import style
from eie.sim.plots.sweep import MAX_LINES, Series, draw_lines, legend, made_by, memories
from eie.sim.sweep.columns import BY_NAME, Row, machine_choice, varied, workload_of

# Size of labels on a front, in points, and where they are tried beside their point.
_LABEL = 7.5
_PLACES = ((6, 4), (6, -11), (-6, -11), (-6, 4), (0, 8), (0, -15))


def known(name: str, *, number: bool = False) -> str:
    """`name` if there is such a column, of single values, and of numbers if they are asked for.

    Raises
    ------
    ConfigError : names it, and those that are near.
    """
    if name not in BY_NAME:
        near = difflib.get_close_matches(name, BY_NAME, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"use {', '.join(BY_NAME)}"
        raise ConfigError(f"there is no column {name!r}: {hint}")
    if name == "work":
        raise ConfigError("column 'work' holds a list for each point, which no axis can show")
    if number and BY_NAME[name].sql not in ("INTEGER", "REAL"):
        raise ConfigError(f"column {name!r} holds text, and an axis needs numbers")
    return name


def against(rows: Sequence[Row], x: str, y: str, by: Sequence[str] = (), *, log: str = "") -> Figure:
    """Column `y` against column `x`, a line for each combination of the columns `by`.

    Lines go through the means of the rows with the same x, which are drawn as dots. `log` names the logarithmic axes,
    "x", "y" or "xy".

    Raises
    ------
    ConfigError : a column that there is not, or that cannot be drawn so.
    """
    known(x)
    known(y, number=True)
    for name in by:
        known(name)
    rows = [row for row in rows if row[y] is not None and row[x] is not None]
    if not rows:
        raise ConfigError(f"there is nothing to plot: no point has figures in {x} and {y}")
    numbers = BY_NAME[x].sql in ("INTEGER", "REAL")
    if "x" in log and not numbers:
        raise ConfigError(f"column {x!r} holds text, which no logarithmic axis can show")
    for name in (name for letter, name in (("x", x), ("y", y)) if letter in log):
        if min(row[name] for row in rows) <= 0:
            raise ConfigError(
                f"column {name!r} holds {min(row[name] for row in rows):g}, which a logarithmic axis cannot show"
            )
    lines: dict[str, dict[Any, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        label = ", ".join(str(row[name]) if name == "layer" else f"{name} {row[name]}" for name in by)
        lines[label][row[x]].append(row[y])
    if len(lines) > MAX_LINES:
        raise ConfigError(
            f"{len(lines)} lines are too many for one picture (of at most {MAX_LINES}): use fewer columns in by"
        )
    series: Series = {
        label: [(at, float(np.mean(group[at]))) for at in (sorted(group) if numbers else group)]
        for label, group in lines.items()
    }
    with style.figure(_caption(rows, x, by, lines)) as (figure, (axes,)):
        _dots(axes, lines)
        draw_lines(axes, series)
        if not numbers:
            for line in axes.get_lines():
                line.set_linestyle("None")
        _axes(axes, rows, x, y, log)
        axes.set_title(f"{y} against {x}")
        if by:
            legend(axes, figure)
    return figure


def _dots(axes: Axes, lines: dict[str, dict[Any, list[float]]]) -> None:
    """The rows behind the means, where several share a mean."""
    for number, group in enumerate(lines.values()):
        pairs = [(at, value) for at, values in group.items() if len(set(values)) > 1 for value in values]
        if pairs:
            axes.plot(
                *zip(*pairs, strict=True),
                linestyle="",
                marker=".",
                markersize=4,
                alpha=0.35,
                color=style.COLOURS[number % len(style.COLOURS)],
            )


def _axes(axes: Axes, rows: Sequence[Row], x: str, y: str, log: str) -> None:
    values = sorted({row[x] for row in rows})
    if "x" in log and all(float(value).is_integer() and int(value).bit_count() == 1 for value in values):
        style.powers_of_two(axes, values, BY_NAME[x].label)
    elif "x" in log:
        axes.set_xscale("log")
        _plain(axes.xaxis)
    axes.set(xlabel=BY_NAME[x].label, ylabel=BY_NAME[y].label)
    if "y" in log:
        axes.set_yscale("log")
        _plain(axes.yaxis)
    elif min(row[y] for row in rows) >= 0:
        axes.set_ylim(bottom=0)


def _plain(axis: Axis) -> None:
    """A logarithmic axis with numbers instead of powers of ten, as many as there is room for."""

    def text(value: float, _: int) -> str:
        low, high = axis.get_view_interval()
        decades = math.log10(high / low)
        digit = round(value / 10 ** math.floor(math.log10(value)))
        return f"{value:g}" if decades < 0.7 or (decades < 2 and digit in (2, 3, 5)) else ""

    axis.set_major_formatter("{x:.10g}")
    axis.set_minor_formatter(FuncFormatter(text))


def _caption(rows: Sequence[Row], x: str, by: Sequence[str], lines: dict[str, dict[Any, list[float]]]) -> str:
    several = ["layer"] if len({row["layer"] for row in rows}) > 1 else []
    hidden = [name for name in (*several, *varied(rows)) if name not in (x, *by)]
    if len({row["input"] for row in rows}) > 1 and "input" not in (x, *by):
        hidden.append("input")
    means = f"; means over {', '.join(hidden)} (dots: single points)" if hidden else ""
    return f"{len(rows):,} points{means}; {made_by(rows)}.\n{memories(rows)}"


# ---- the Pareto front --------------------------------------------------------------------------------------

OBJECTIVES = ("microseconds", "energy_nj", "area_mm2")


@dataclass(frozen=True)
class Candidate:
    """A machine and what it costs: means of time and energy over the layers and inputs, the largest area.

    choice : the fields of the configuration, without the sizes of memories that were sized for a layer.
    """

    choice: dict[str, Any]
    microseconds: float
    energy_nj: float
    area_mm2: float

    @property
    def costs(self) -> tuple[float, ...]:
        """Its objectives, each to be small."""
        return (self.microseconds, self.energy_nj, self.area_mm2)


@dataclass(frozen=True)
class Front:
    """Machines that ran every layer and input, and which of them no other one beats; `left_out` ran only some.

    front, beaten : by ascending time. fields : those in which the machines differ.
    """

    front: list[Candidate]
    beaten: list[Candidate]
    fields: list[str]
    left_out: int
    workloads: int

    def labels(self) -> dict[tuple[float, ...], str]:
        """For each place on the front the values of `fields`; where machines meet, with slashes."""
        places: dict[tuple[float, ...], list[Candidate]] = defaultdict(list)
        for one in self.front:
            places[one.costs].append(one)
        return {
            costs: ", ".join(
                "/".join(dict.fromkeys(str(one.choice[name]) for one in group)) for name in self.fields
            )
            for costs, group in places.items()
        }


def pareto(rows: Sequence[Row]) -> Front:
    """The machines of a sweep, those that are best in time, energy and area together apart.

    Raises
    ------
    ConfigError : no rows.
    """
    if not rows:
        raise ConfigError("there is nothing to plot: no point has figures")
    groups: dict[tuple[tuple[str, Any], ...], list[Row]] = defaultdict(list)
    for row in rows:
        groups[tuple(machine_choice(row).items())].append(row)
    ran = {choice: {workload_of(row) for row in group} for choice, group in groups.items()}
    most = set.union(*ran.values())
    candidates = [
        Candidate(
            dict(choice),
            float(np.mean([row["microseconds"] for row in group])),
            float(np.mean([row["energy_nj"] for row in group])),
            max(row["area_mm2"] for row in group),
        )
        for choice, group in groups.items()
        if ran[choice] == most
    ]
    if not candidates:
        raise ConfigError(
            "no machine ran every layer and input, so that none can be compared: choose some points"
        )
    candidates.sort(key=lambda candidate: candidate.costs)
    best = _undominated(np.array([candidate.costs for candidate in candidates]))
    fields = [
        name
        for name in candidates[0].choice
        if len({candidate.choice.get(name) for candidate in candidates}) > 1
    ]
    return Front(
        front=[candidate for candidate, good in zip(candidates, best, strict=True) if good],
        beaten=[candidate for candidate, good in zip(candidates, best, strict=True) if not good],
        fields=fields,
        left_out=len(groups) - len(candidates),
        workloads=len(most),
    )


def _undominated(costs: npt.NDArray[np.float64]) -> list[bool]:
    """For each row of costs whether no other row is as good in every column and better in one."""
    return [not ((costs <= cost).all(axis=1) & (costs < cost).any(axis=1)).any() for cost in costs]


def front_picture(found: Front, rows: Sequence[Row]) -> Figure:
    """Energy against time, the area as colour; machines on the front are labelled, the others grey."""
    labels = f"labels, where there is room: {', '.join(found.fields)}; " if found.fields else ""
    of = f"means over {found.workloads} layers and inputs" if found.workloads > 1 else "one layer and input"
    caption = (
        f"{len(found.front) + len(found.beaten):,} machines, {len(found.front)} on the front of time, energy and area; "
        f"{labels}{of}; {made_by(rows)}.\n{memories(rows)}"
    )
    with style.figure(caption, size=(7.2, 5.2)) as (figure, (axes,)):
        axes.scatter(
            [one.microseconds for one in found.beaten],
            [one.energy_nj for one in found.beaten],
            s=14,
            color="#b9bfc6",
            label="beaten by another machine",
        )
        shown = axes.scatter(
            [one.microseconds for one in found.front],
            [one.energy_nj for one in found.front],
            c=[one.area_mm2 for one in found.front],
            s=52,
            edgecolors=style.GREY,
            linewidths=0.8,
            zorder=3,
            norm=LogNorm(),
            label="on the front",
        )
        bar = figure.colorbar(shown, ax=axes, label=BY_NAME["area_mm2"].label)
        _plain(bar.ax.yaxis)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.margins(0.1)
        _plain(axes.xaxis)
        _plain(axes.yaxis)
        axes.set(
            title="Time, energy and area",
            xlabel=BY_NAME["microseconds"].label,
            ylabel="energy a layer, whole chip (nJ)",
        )
        axes.legend(loc="upper right")
        if found.fields:
            _label(figure, axes, found)
    return figure


def _label(figure: Figure, axes: Axes, found: Front) -> None:
    """Labels beside the places on the front, each nearest to its own and covering nothing, or not at all."""
    figure.draw_without_rendering()  # now the layout is known
    unit = figure.dpi / 72
    candidates = [*found.front, *found.beaten]
    points = axes.transData.transform([(one.microseconds, one.energy_nj) for one in candidates])
    taken = [Bbox.from_extents(x - 3 * unit, y - 3 * unit, x + 3 * unit, y + 3 * unit) for x, y in points]
    labels = found.labels()
    best = [min(labels, key=lambda costs: costs[i]) for i in range(len(OBJECTIVES))]
    for costs in dict.fromkeys([*best, *labels]):
        x, y = axes.transData.transform(costs[:2])
        width, height = 0.6 * _LABEL * len(labels[costs]) * unit, 1.1 * _LABEL * unit
        for dx, dy in _PLACES:
            left = x + dx * unit - width * (0.5 if dx == 0 else dx < 0)
            box = Bbox.from_bounds(left, y + dy * unit, width, height)
            middle = box.corners().mean(axis=0)
            own = np.hypot(*(points - middle).T).min() >= math.hypot(*(middle - (x, y))) - 1e-6
            if own and axes.bbox.count_contains(box.corners()) == 4 and not box.count_overlaps(taken):
                axes.annotate(
                    labels[costs],
                    (costs[0], costs[1]),
                    (dx, dy),
                    textcoords="offset points",
                    fontsize=_LABEL,
                    ha="center" if dx == 0 else "right" if dx < 0 else "left",
                    va="bottom",
                )
                taken.append(box)
                break
