"""Figs. 11, 12 and 13: the same layers on 1 to 256 PEs, in time, in padding and in load balance."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullLocator, PercentFormatter

from eie.sim.evaluation.layers import BENCHMARKS
from eie.sim.evaluation.lines import draw_layers, percent
from eie.sim.evaluation.measure import Run, encoded
from eie.sim.evaluation.prose import prose, text_of
from eie.sim.evaluation.section import Picture, Progress, Section, Table, each
from eie.sim.plots import style
from eie.sim.published import published

PE_COUNTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
DEPTH = 8
# The PE counts whose throughputs the paper compares.
FEW, MANY = 64, 256

# By layer, in the order of the PE counts.
Runs = dict[str, list[Run]]
Value = Callable[[Run], float]


@functools.cache
def _line(name: str, seed: int, pe_counts: tuple[int, ...]) -> list[Run]:
    return [encoded(name, seed, n_pe).run(DEPTH) for n_pe in pe_counts]


def _measured(seed: int, progress: Progress | None, names: Sequence[str], pe_counts: Sequence[int]) -> Runs:
    """Every layer at every PE count; the three figures share them."""
    return {name: _line(name, seed, tuple(pe_counts)) for name in each(names, progress, "PE counts, ")}


def _counts(runs: Runs) -> list[int]:
    return [run.n_pe for run in next(iter(runs.values()))]


def _table(title: str, cells: dict[str, list[str]], runs: Runs, note: str) -> Table:
    headings = ["layer", *(f"{n} PE{'s' if n > 1 else ''}" for n in _counts(runs))]
    return Table(title, headings, [[name, *line] for name, line in cells.items()], note)


def _shares(runs: Runs, value: Value) -> dict[str, list[str]]:
    return {name: [percent(value(run)) for run in line] for name, line in runs.items()}


def _panel(axes: Axes, runs: Runs, title: str, ylabel: str, series: dict[str, list[float]]) -> None:
    draw_layers(axes, _counts(runs), series)
    style.powers_of_two(axes, _counts(runs), style.PES)
    axes.set(title=title, ylabel=ylabel)


def _share_panel(axes: Axes, runs: Runs, title: str, ylabel: str, value: Value, bottom: float = 0) -> None:
    _panel(axes, runs, title, ylabel, {name: [value(run) for run in line] for name, line in runs.items()})
    axes.set_ylim(bottom=bottom)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))


def _data(seed: int, runs: Runs, **more: dict[str, list[float]]) -> dict[str, Any]:
    """The runs' cycles and more of each layer, by PE count."""
    return {
        "seed": seed,
        "queue_depth": DEPTH,
        "n_pe": _counts(runs),
        "layers": {
            name: {"cycles": [run.cycles for run in line]} | {key: value[name] for key, value in more.items()}
            for name, line in runs.items()
        },
    }


# ---- Fig. 11 -----------------------------------------------------------------------------------------------


def many_over_few(runs: Runs) -> dict[str, float]:
    """How many times faster than on FEW PEs each layer is on MANY; empty if either was not measured."""
    cycles = {name: {run.n_pe: run.cycles for run in line} for name, line in runs.items()}
    return {name: by[FEW] / by[MANY] for name, by in cycles.items() if {FEW, MANY} <= set(by)}


def speedup(
    seed: int,
    progress: Progress | None,
    names: Sequence[str] = BENCHMARKS,
    pe_counts: Sequence[int] = PE_COUNTS,
) -> Section:
    """Fig. 11: speed-up over the smallest PE count."""
    runs = _measured(seed, progress, names, pe_counts)
    ratios = many_over_few(runs)
    speedups = {name: [line[0].cycles / run.cycles for run in line] for name, line in runs.items()}
    said = published().statements.throughput_256_over_64
    low, high = (pick(ratios, key=ratios.__getitem__, default="") for pick in (min, max))
    mean = sum(ratios.values()) / max(1, len(ratios))
    text = prose("fig11", few=FEW, many=MANY, said=said, ratios=ratios, low=low, high=high, mean=mean)
    tables = [
        _table(
            f"Speed-up over {pe_counts[0]} PE",
            {name: [f"{value:.1f}" for value in line] for name, line in speedups.items()},
            runs,
            "Cycles there over cycles here.",
        )
    ]
    if ratios:
        cells = [f"{ratio:.2f}" for ratio in (*ratios.values(), mean)]
        tables.append(
            Table(
                f"{MANY} PEs: times as fast as {FEW}",
                ["layer", *ratios, "mean", "paper"],
                [["times as fast", *cells, f"{said:g}"]],
            )
        )
    caption = text_of("fig11", "caption", few=FEW, many=MANY, said=said, depth=DEPTH)
    with style.figure(caption, size=(7.2, 5.2)) as (figure, (axes,)):
        _panel(axes, runs, "Speed-up against the number of PEs", "speed-up (times one PE)", speedups)
        _ideal_and_published(axes, runs, speedups)
        axes.legend(ncols=2, fontsize=8.5)
    return Section(
        "fig11",
        "More PEs: speed-up (Fig. 11)",
        text,
        tables,
        [Picture("fig11_speedup", figure, text_of("fig11", "alt"))],
        _data(seed, runs, speedup=speedups) | {f"{MANY}_over_{FEW}": ratios},
    )


def _ideal_and_published(axes: Axes, runs: Runs, speedups: dict[str, list[float]]) -> None:
    counts = _counts(runs)
    ideal = [n / counts[0] for n in counts]
    axes.plot(counts, ideal, color=style.GREY, linewidth=1.0, zorder=1, label="ideal")
    if many_over_few(runs):
        at_few = [line[counts.index(FEW)] for line in speedups.values()]
        begin = sum(at_few) / len(at_few)
        said = published().statements.throughput_256_over_64
        # The paper gives a ratio: only its end is published, where it begins is our own mean.
        axes.plot([FEW, MANY], [begin, begin * said], color=style.GREY, linestyle="-.", linewidth=1.0)
        axes.plot([MANY], [begin * said], label=f"published, from our mean at {FEW}", **style.PUBLISHED_STAR)
    axes.set_yscale("log", base=2)
    axes.yaxis.set_major_locator(FixedLocator(ideal))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter("{x:g}")


# ---- Fig. 12 -----------------------------------------------------------------------------------------------


def padding(
    seed: int,
    progress: Progress | None,
    names: Sequence[str] = BENCHMARKS,
    pe_counts: Sequence[int] = PE_COUNTS,
) -> Section:
    """Fig. 12: the share of entries that only bridge a run of zeros."""
    runs = _measured(seed, progress, names, pe_counts)
    worst = max(runs, key=lambda name: runs[name][0].padding)
    text = prose("fig12", worst=worst, line=runs[worst])
    table = _table(
        "Padding, share of the entries processed",
        _shares(runs, lambda run: run.padding),
        runs,
        "Entries of the active columns. The paper prints curves without numbers.",
    )
    with style.figure(text_of("fig12", "caption", depth=DEPTH), size=(7.2, 5.0)) as (figure, (axes,)):
        _share_panel(
            axes,
            runs,
            "Padding against the number of PEs",
            "padding (% of the entries processed)",
            lambda run: run.padding,
        )
        axes.legend(ncols=2, fontsize=8.5)
    return Section(
        "fig12",
        "More PEs: padding (Fig. 12)",
        text,
        [table],
        [Picture("fig12_padding", figure, text_of("fig12", "alt"))],
        _data(seed, runs, padding={name: [run.padding for run in line] for name, line in runs.items()}),
    )


# ---- Fig. 13 -----------------------------------------------------------------------------------------------


def _steps(runs: Runs, value: Value) -> tuple[list[str], list[str]]:
    """The layers whose value rises, and those whose value falls, from the last but one PE count to the last."""
    changes = {name: value(line[-1]) - value(line[-2]) for name, line in runs.items()}
    return [n for n, change in changes.items() if change > 0], [
        n for n, change in changes.items() if change < 0
    ]


def _balance_text(runs: Runs) -> list[str]:
    before, last = _counts(runs)[-2:]
    rising, falling = _steps(runs, lambda run: run.balance)
    _, idler = _steps(runs, lambda run: run.busy)
    worst = min(runs, key=lambda name: runs[name][-1].busy)
    return prose(
        "fig13",
        before=before,
        last=last,
        rising=rising,
        falling=falling,
        idler=idler,
        worst=worst,
        runs=runs,
    )


def _balance_alt(runs: Runs) -> str:
    before, last = _counts(runs)[-2:]
    shares = [run.balance for line in runs.values() for run in line]
    busy = [line[-1].busy for line in runs.values()]
    rising, falling = _steps(runs, lambda run: run.balance)
    steps = {"before": before, "last": last, "rising": rising, "falling": falling}
    return text_of("fig13", "alt", shares=shares, busy=busy, **steps)


def balance(
    seed: int,
    progress: Progress | None,
    names: Sequence[str] = BENCHMARKS,
    pe_counts: Sequence[int] = PE_COUNTS,
) -> Section:
    """Fig. 13: load-balance efficiency, and the multipliers' share of the time; at least two PE counts."""
    runs = _measured(seed, progress, names, pe_counts)
    # An even percentage that leaves the lowest marker room.
    bottom = math.floor(50 * min(run.balance for line in runs.values() for run in line) - 0.25) / 50
    caption = text_of("fig13", "caption", depth=DEPTH)
    with style.figure(caption, columns=2, size=(10.8, 4.8)) as (figure, (left, right)):
        _share_panel(
            left,
            runs,
            "Load balance against the number of PEs",
            f"load balance (% of cycles with an entry\nor an empty column; the axis begins at {percent(bottom, 0)})",
            lambda run: run.balance,
            bottom,
        )
        _share_panel(right, runs, "Multipliers at work", "cycles with an entry (%)", lambda run: run.busy)
        for axes in (left, right):
            axes.set_ylim(top=1 + 0.03 * (1 - axes.get_ylim()[0]))
        right.legend(ncols=2, fontsize=8.5, loc="lower left")
    return Section(
        "fig13",
        "More PEs: load balance (Fig. 13)",
        _balance_text(runs),
        [
            _table("Load balance", _shares(runs, lambda run: run.balance), runs, ""),
            _table(
                "Cycles with an entry",
                _shares(runs, lambda run: run.busy),
                runs,
                "Share of all PEs' cycles in which a multiplier has an entry, padding included.",
            ),
        ],
        [Picture("fig13_balance", figure, _balance_alt(runs))],
        _data(
            seed,
            runs,
            balance={name: [run.balance for run in line] for name, line in runs.items()},
            multiplier_busy={name: [run.busy for run in line] for name, line in runs.items()},
        ),
    )
