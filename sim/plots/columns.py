"""Pictures of any columns of a sweep: one against another, and the Pareto front of time, energy and area."""

from __future__ import annotations

import csv
import difflib
import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import Bbox

from eie.errors import ConfigError
from eie.sim.plots import style
from eie.sim.plots.sweep import MAX_LINES, made_by, memories, place_legend
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
        raise ConfigError("column 'work' holds a list for each point, which an axis cannot show")
    if number and BY_NAME[name].sql not in ("INTEGER", "REAL"):
        raise ConfigError(f"column {name!r} holds text, and an axis needs numbers")
    return name


def against(
    rows: Sequence[Row],
    x: str,
    y: str,
    by: Sequence[str] = (),
    *,
    log: str = "",
    overlay: Sequence[Point] = (),
) -> Figure:
    """Column `y` against column `x`, a line for each combination of the columns `by`.

    The values of the first of `by` differ in colour, those of the second in marker, of the third in line style. Lines
    go through the means of the rows with the same x, which are drawn as dots. `log` names the logarithmic axes, "x",
    "y" or "xy". overlay : points of others, as stars.

    Raises
    ------
    ConfigError : a column that there is not, or that cannot be drawn so; more values than there are colours, say.
    """
    known(x)
    known(y, number=True)
    for name in by:
        known(name)
    rows = [row for row in rows if row[y] is not None and row[x] is not None]
    if not rows:
        raise ConfigError(f"nothing to plot: no point has figures in {x} and {y}")
    numbers = BY_NAME[x].sql in ("INTEGER", "REAL")
    if "x" in log and not numbers:
        raise ConfigError(f"column {x!r} holds text, which a logarithmic axis cannot show")
    for name in (name for letter, name in (("x", x), ("y", y)) if letter in log):
        if min(row[name] for row in rows) <= 0:
            raise ConfigError(
                f"column {name!r} holds {min(row[name] for row in rows):g}, which a logarithmic axis cannot show"
            )
    looks = _looks(rows, by)
    lines: dict[tuple[Any, ...], dict[Any, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        lines[tuple(row[name] for name in by)][row[x]].append(row[y])
    with style.figure(_caption(rows, x, by, lines)) as (figure, (axes,)):
        for values, group in lines.items():
            look = _look(looks, values) | ({} if numbers else {"linestyle": "None"})
            _dots(axes, group, look["color"])
            means = [(at, float(np.mean(group[at]))) for at in (sorted(group) if numbers else group)]
            axes.plot(*zip(*means, strict=True), label=_text(by, values), clip_on=False, **_LINE, **look)
        draw_overlay(axes, overlay, x, y, log)
        _axes(axes, rows, x, y, log)
        axes.set_title(title_of(x, y))
        _legend(axes, figure, looks, overlay)
    return figure


def title_of(x: str, y: str) -> str:
    """The title of a picture of column `y` against column `x`, in words.

    >>> title_of("n_pe", "energy_nj").splitlines()
    ['Energy of the run', 'against processing elements']
    """
    first, second = (re.split(r",| \(", BY_NAME[name].meaning)[0] for name in (y, x))
    return f"{first[:1].upper()}{first[1:]}\nagainst {second}"


# ---- how lines differ --------------------------------------------------------------------------------------

_LINE: dict[str, Any] = {"linewidth": 1.5, "markersize": 5.5}
# What each column of `by` changes, in their order, and the looks that there are.
_WAYS: tuple[tuple[str, str, Sequence[str]], ...] = (
    ("color", "colours", style.COLOURS),
    ("marker", "markers", style.MARKERS),
    ("linestyle", "line styles", style.LINES),
)
# For each column its look for each value.
Looks = dict[str, dict[Any, dict[str, Any]]]


def _looks(rows: Sequence[Row], by: Sequence[str]) -> Looks:
    """The look of each value of each column."""
    if len(by) > len(_WAYS):
        raise ConfigError(
            f"{len(by)} columns in by are too many: the first is a colour, the second a marker, the third a line style"
        )
    looks: Looks = {}
    for name, (way, words, choice) in zip(by, _WAYS, strict=False):
        values = sorted({row[name] for row in rows}, key=lambda value: (value is None, value))
        if way == "color" and len(values) > len(choice):
            choice = style.shades(min(len(values), MAX_LINES))
        if len(values) > len(choice):
            raise ConfigError(
                f"column {name!r} has {len(values)} values, and there are {len(choice)} {words}: use another column, "
                "or choose points (--where)"
            )
        looks[name] = {value: {way: look} for value, look in zip(values, choice, strict=False)}
    if len(by) == 1:  # a marker each as well, so that lines differ in print
        for look, marker in zip(looks[by[0]].values(), style.MARKERS, strict=False):
            look["marker"] = marker
    return looks


def _text(names: Sequence[str], values: Sequence[Any]) -> str:
    """What a legend says of values."""
    pairs = zip(names, values, strict=True)
    return ", ".join(str(value) if name == "layer" else f"{name} {value}" for name, value in pairs)


def _look(looks: Looks, values: tuple[Any, ...]) -> dict[str, Any]:
    """How the line with these values of the columns looks."""
    found: dict[str, Any] = {
        "color": style.COLOURS[0],
        "marker": style.MARKERS[0],
        "linestyle": style.LINES[0],
    }
    for each, value in zip(looks.values(), values, strict=True):
        found |= each[value]
    return found


def _legend(axes: Axes, figure: Figure, looks: Looks, overlay: Sequence[Point]) -> None:
    """An entry for each value of each column, in the look that it stands for, and for the points of others."""
    handles: list[Line2D] = []
    for name, values in looks.items():
        for value, look in values.items():
            neutral: dict[str, Any] = {
                "color": style.GREY,
                "marker": "",
                "linestyle": "-" if "marker" not in look else "",
            }
            handles.append(
                Line2D([], [], label=_text([name], [value]), **(neutral | look | _with_line(look)), **_LINE)
            )
    if overlay:
        handles.append(Line2D([], [], label=OVERLAY, **style.PUBLISHED_STAR))
    if handles:
        place_legend(axes, figure, handles)


def _with_line(look: dict[str, Any]) -> dict[str, Any]:
    """Colours are shown on a line."""
    return {"linestyle": look.get("linestyle", "-")} if "color" in look else {}


def _dots(axes: Axes, group: dict[Any, list[float]], colour: str) -> None:
    """The rows behind the means, where several share a mean."""
    pairs = [(at, value) for at, values in group.items() if len(set(values)) > 1 for value in values]
    if pairs:
        axes.plot(*zip(*pairs, strict=True), linestyle="", marker=".", markersize=4, alpha=0.35, color=colour)


def _axes(axes: Axes, rows: Sequence[Row], x: str, y: str, log: str) -> None:
    values = sorted({row[x] for row in rows})
    axes.set(xlabel=BY_NAME[x].label, ylabel=BY_NAME[y].label)
    if "x" in log and all(float(value).is_integer() and int(value).bit_count() == 1 for value in values):
        style.powers_of_two(axes, values, BY_NAME[x].label)
    elif "x" in log:
        style.log_axis(axes.xaxis)
    if "y" in log:
        style.log_axis(axes.yaxis)
    elif min(row[y] for row in rows) >= 0:
        axes.set_ylim(bottom=0)


# ---- points of others --------------------------------------------------------------------------------------

OVERLAY = "other sources"


@dataclass(frozen=True)
class Point:
    """A point of somebody else's: figures by column, and what it is called."""

    figures: Mapping[str, float]
    label: str = ""


def read_overlay(path: Path, columns: Sequence[str]) -> list[Point]:
    """The points of a CSV file with a heading for each of `columns`; the heading `label` is their name.

    Raises
    ------
    ConfigError : a file that cannot be read, a heading that is missing, what is no number.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
            headings = list(rows[0]) if rows else []
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None
    missing = [name for name in columns if name not in headings]
    if missing:
        raise ConfigError(
            f"{path} has no column {' and no column '.join(missing)}: its first line names {', '.join(columns)}, "
            "and label if the points have names"
        )
    points = []
    for number, row in enumerate(rows, 2):
        try:
            figures = {name: float(row[name]) for name in columns}
        except (TypeError, ValueError):
            raise ConfigError(f"{path}, line {number}: {', '.join(columns)} must be numbers") from None
        points.append(Point(figures, row.get("label") or ""))
    return points


def draw_overlay(axes: Axes, overlay: Sequence[Point], x: str, y: str, log: str) -> None:
    """Each point as a star with its name beside it.

    Raises
    ------
    ConfigError : a point that a logarithmic axis cannot show.
    """
    for point in overlay:
        at = (point.figures[x], point.figures[y])
        if any(letter in log and value <= 0 for letter, value in zip("xy", at, strict=True)):
            raise ConfigError(f"point {point.label!r} at {at} cannot be shown on a logarithmic axis")
        axes.plot(*at, **style.PUBLISHED_STAR)
        if point.label:
            axes.annotate(
                point.label, at, (7, 4), textcoords="offset points", fontsize=_LABEL, color=style.GREY
            )


def _caption(
    rows: Sequence[Row], x: str, by: Sequence[str], lines: Mapping[tuple[Any, ...], dict[Any, list[float]]]
) -> str:
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


def pareto(rows: Sequence[Row], *, loading: bool = False) -> Front:
    """The machines of a sweep, those that are best in time, energy and area together apart.

    loading : count the energy of loading weights and input from DRAM, too.

    Raises
    ------
    ConfigError : no rows.
    """
    if not rows:
        raise ConfigError("nothing to plot: no point has figures")
    groups: dict[tuple[tuple[str, Any], ...], list[Row]] = defaultdict(list)
    for row in rows:
        groups[tuple(machine_choice(row).items())].append(row)
    ran = {choice: {workload_of(row) for row in group} for choice, group in groups.items()}
    most = set.union(*ran.values())
    energies = ("energy_nj", "load_weights_nj", "load_input_nj") if loading else ("energy_nj",)
    candidates = [
        Candidate(
            dict(choice),
            float(np.mean([row["microseconds"] for row in group])),
            float(np.mean([sum(row[name] for name in energies) for row in group])),
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


def front_picture(found: Front, rows: Sequence[Row], overlay: Sequence[Point] = ()) -> Figure:
    """Energy against time, the area as colour; machines on the front are labelled, the others grey, stars of others."""
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
        style.log_axis(bar.ax.yaxis)
        draw_overlay(axes, overlay, "microseconds", "energy_nj", "xy")
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.margins(0.1)
        style.log_axis(axes.xaxis)
        style.log_axis(axes.yaxis)
        axes.set(
            title="Time, energy and area",
            xlabel=BY_NAME["microseconds"].label,
            ylabel="energy a layer, whole chip (nJ)",
        )
        others = [Line2D([], [], label=OVERLAY, **style.PUBLISHED_STAR)] if overlay else []
        axes.legend(handles=[*axes.get_legend_handles_labels()[0], *others], loc="upper right")
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
