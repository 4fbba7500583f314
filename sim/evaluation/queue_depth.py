"""Fig. 8: how deep the activation queues have to be."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from eie.sim import style
from eie.sim.evaluation.layers import BENCHMARKS
from eie.sim.evaluation.lines import RANDOM_LAYERS, draw_layers, percent
from eie.sim.evaluation.measure import Run, encoded
from eie.sim.evaluation.published import published
from eie.sim.evaluation.section import Picture, Progress, Section, Table

N_PE = 64
DEPTHS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
# A queue without limit.
UNBOUNDED = None

Runs = dict[str, dict[int | None, Run]]


def section(
    seed: int,
    progress: Progress | None,
    names: Sequence[str] = tuple(BENCHMARKS),
    depths: Sequence[int] = DEPTHS,
) -> Section:
    """Load balance and time of every layer against the queue depth, at 64 PEs."""
    runs: Runs = {}
    for name in names:
        layer = encoded(name, seed, N_PE)
        runs[name] = {depth: layer.run(depth) for depth in (*depths, UNBOUNDED)}
        if progress:
            progress(f"queue depth, {name}")
    return Section(
        key="fig8",
        title="Queue depth (Fig. 8)",
        text=_text(runs),
        tables=[_balance_table(runs, depths), _time_table(runs, depths)],
        pictures=[Picture("fig8_queue_depth", _draw(runs, depths), _ALT)],
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


def _mean(runs: Runs, depth: int | None) -> float:
    return sum(by_depth[depth].balance for by_depth in runs.values()) / len(runs)


def _beyond(by_depth: dict[int | None, Run], depth: int) -> float:
    """The share of time that a queue of this depth costs over one without limit."""
    return by_depth[depth].cycles / by_depth[UNBOUNDED].cycles - 1


def _text(runs: Runs) -> list[str]:
    said = published().statements
    first, knee = min(d for d in next(iter(runs.values())) if d), said.queue_depth_knee
    idle = {name: 1 - by_depth[first].busy for name, by_depth in runs.items()}
    lost = {name: _beyond(by_depth, knee) for name, by_depth in runs.items()}
    least, most = min(idle, key=idle.__getitem__), max(idle, key=idle.__getitem__)
    worst = max(lost, key=lost.__getitem__)
    return [
        "A PE whose queue is full holds the broadcast for all of them; a deeper queue lets the others run ahead. The "
        "paper draws load balance against depth for its layers, finds the multipliers about half idle at depth 1 "
        f"and little to gain beyond {knee}, and builds {knee}.",
        f"Ours, at depth {first}: the multipliers idle {100 * idle[least]:.0f} % of the time ({least}) to "
        f"{100 * idle[most]:.0f} % ({most}). At depth {knee} a layer takes at most {100 * lost[worst]:.1f} % longer "
        f"than with queues that never fill ({worst}); mean load balance rises from {percent(_mean(runs, first))} at "
        f"depth {first} to {percent(_mean(runs, knee))} at {knee}, and to {percent(_mean(runs, UNBOUNDED))} without "
        "a limit.",
    ]


def _balance_table(runs: Runs, depths: Sequence[int]) -> Table:
    said = published().statements
    columns = [*depths, UNBOUNDED]
    rows = [[name, *(percent(by_depth[d].balance) for d in columns)] for name, by_depth in runs.items()]
    rows.append(["mean", *(percent(_mean(runs, d)) for d in columns)])
    rows.append(
        ["paper", *(f"about {percent(said.queue_depth_1_efficiency, 0)}" if d == 1 else "" for d in columns)]
    )
    return Table(
        "Load balance against queue depth",
        ["layer", *(str(d) for d in depths), "no limit"],
        rows,
        "Share of the PEs' cycles with an entry or an empty column. The paper prints a curve and these words.",
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


_ALT = (
    "Two panels against queue depth: load balance rises steeply from depth 1 and is flat from about 8; time relative "
    "to an unlimited queue falls in the same way."
)


def _draw(runs: Runs, depths: Sequence[int]) -> Figure:
    said = published().statements
    caption = (
        f"{N_PE} PEs; cycles by the timing law. {RANDOM_LAYERS}\nGrey: what the paper says of its Fig. 8: about "
        f"{percent(said.queue_depth_1_efficiency, 0)} at depth 1, depth {said.queue_depth_knee} chosen."
    )
    with style.figure(caption, columns=2, size=(10.8, 4.6)) as (figure, (left, right)):
        draw_layers(left, depths, {n: [by[d].balance for d in depths] for n, by in runs.items()})
        left.plot(
            [1],
            [said.queue_depth_1_efficiency],
            "*",
            color=style.GREY,
            markersize=13,
            label="published",
            zorder=5,
        )
        left.set_ylim(0, 1.03)
        left.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        left.set_ylabel("load balance (% of cycles\nwith an entry or an empty column)")
        left.set_title("Load balance against queue depth")
        draw_layers(right, depths, {n: [1 + _beyond(by, d) for d in depths] for n, by in runs.items()})
        right.set_ylim(bottom=0.95)
        right.set_ylabel("time (times that with queues\nthat never fill)")
        right.set_title("Time against queue depth")
        for axes in (left, right):
            style.powers_of_two(axes, depths, "activation queue depth (columns)")
            axes.axvline(said.queue_depth_knee, color=style.GREY, linewidth=1.0, linestyle="--", zorder=1)
        left.legend(loc="lower right", ncols=2, fontsize=8.5)
    return figure
