"""Fig. 8: how deep the activation queues have to be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from eie.sim.evaluation.layers import BENCHMARKS
from eie.sim.evaluation.lines import draw_layers, percent
from eie.sim.evaluation.measure import Run, encoded
from eie.sim.evaluation.prose import prose, text_of
from eie.sim.evaluation.section import Picture, Progress, Section, Table, each
from eie.sim.plots import style
from eie.sim.published import published

N_PE = 64
DEPTHS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
# A queue without limit.
UNBOUNDED = None

Runs = dict[str, dict[int | None, Run]]
Value = Callable[[Run], float]


def section(
    seed: int,
    progress: Progress | None,
    names: Sequence[str] = tuple(BENCHMARKS),
    depths: Sequence[int] = DEPTHS,
) -> Section:
    """Load balance, the multipliers' share of the time, and time of every layer against the queue depth, at 64 PEs."""
    runs: Runs = {}
    for name in each(names, progress, "queue depth, "):
        layer = encoded(name, seed, N_PE)
        runs[name] = {depth: layer.run(depth) for depth in (*depths, UNBOUNDED)}
    return Section(
        key="fig8",
        title="Queue depth (Fig. 8)",
        text=_text(runs),
        tables=[_busy_table(runs, depths), _balance_table(runs, depths), _time_table(runs, depths)],
        pictures=[Picture("fig8_queue_depth", _draw(runs, depths), text_of("fig8", "alt"))],
        data={
            "n_pe": N_PE,
            "seed": seed,
            "layers": {
                name: [
                    {
                        "queue_depth": depth,
                        "cycles": run.cycles,
                        "balance": run.balance,
                        "multiplier_busy": run.busy,
                    }
                    for depth, run in by_depth.items()
                ]
                for name, by_depth in runs.items()
            },
        },
    )


def _mean(runs: Runs, depth: int | None, value: Value) -> float:
    return sum(value(by_depth[depth]) for by_depth in runs.values()) / len(runs)


def _beyond(by_depth: dict[int | None, Run], depth: int) -> float:
    """The share of time that a queue of this depth costs over one without limit."""
    return by_depth[depth].cycles / by_depth[UNBOUNDED].cycles - 1


def _text(runs: Runs) -> list[str]:
    said = published().statements
    first, knee = min(d for d in next(iter(runs.values())) if d), said.queue_depth_knee
    idle = {name: 1 - by_depth[first].busy for name, by_depth in runs.items()}
    lost = {name: _beyond(by_depth, knee) for name, by_depth in runs.items()}
    return prose(
        "fig8",
        first=first,
        knee=knee,
        none=UNBOUNDED,
        idle=idle,
        mean_idle=1 - _mean(runs, first, lambda run: run.busy),
        least=min(idle, key=idle.__getitem__),
        most=max(idle, key=idle.__getitem__),
        lost=lost,
        worst=max(lost, key=lost.__getitem__),
        balance=lambda depth: _mean(runs, depth, lambda run: run.balance),
    )


def _share_table(title: str, runs: Runs, depths: Sequence[int], value: Value, note: str) -> Table:
    columns = [*depths, UNBOUNDED]
    rows = [[name, *(percent(value(by_depth[d])) for d in columns)] for name, by_depth in runs.items()]
    rows.append(["mean", *(percent(_mean(runs, d, value)) for d in columns)])
    return Table(title, ["layer", *(str(d) for d in depths), "no limit"], rows, note)


def _busy_table(runs: Runs, depths: Sequence[int]) -> Table:
    said = percent(published().statements.queue_depth_1_efficiency, 0)
    table = _share_table(
        "Multipliers at work against queue depth",
        runs,
        depths,
        lambda run: run.busy,
        "Share of the PEs' cycles in which a multiplier has an entry. The paper says it in words.",
    )
    paper = ["paper", *(f"about {said}" if d == 1 else "" for d in (*depths, UNBOUNDED))]
    return replace(table, rows=[*table.rows, paper])


def _balance_table(runs: Runs, depths: Sequence[int]) -> Table:
    return _share_table(
        "Load balance against queue depth",
        runs,
        depths,
        lambda run: run.balance,
        "Share of the PEs' cycles with an entry or an empty column. The paper prints a curve without numbers.",
    )


def _time_table(runs: Runs, depths: Sequence[int]) -> Table:
    return Table(
        "Time beyond that with queues that never fill",
        ["layer", *(str(d) for d in depths), "no limit, cycles"],
        [
            [name, *(percent(_beyond(by_depth, d)) for d in depths), f"{by_depth[UNBOUNDED].cycles:,}"]
            for name, by_depth in runs.items()
        ],
    )


def _draw(runs: Runs, depths: Sequence[int]) -> Figure:
    said = published().statements
    caption = text_of("fig8", "caption", n_pe=N_PE, said=said)
    with style.figure(caption, columns=3, size=(10.8, 4.8)) as (figure, (left, middle, right)):
        for axes, value, title, label in (
            (left, lambda run: run.busy, "Multipliers at work", "cycles with an entry (%)"),
            (middle, lambda run: run.balance, "Load balance", "cycles with an entry or an empty column (%)"),
        ):
            draw_layers(axes, depths, {n: [value(by[d]) for d in depths] for n, by in runs.items()})
            axes.set_ylim(0, 1.03)
            axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
            axes.set(title=title, ylabel=label)
        left.plot([1], [said.queue_depth_1_efficiency], label="published", **style.PUBLISHED_STAR)
        draw_layers(right, depths, {n: [1 + _beyond(by, d) for d in depths] for n, by in runs.items()})
        right.set_ylim(bottom=0.95)
        right.set(title="Time", ylabel="time (times that with queues that never fill)")
        for axes in (left, middle, right):
            style.powers_of_two(axes, depths, "activation queue depth (columns)")
            axes.tick_params(axis="x", labelsize=8.5)
            axes.axvline(said.queue_depth_knee, color=style.GREY, linewidth=1.0, linestyle="--", zorder=1)
        left.legend(loc="lower right", ncols=2, fontsize=8)
    return figure
