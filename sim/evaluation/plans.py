"""The nine layers planned on the published machine with memories of the published sizes: passes, and every phase."""

from __future__ import annotations

from dataclasses import dataclass

from eie.config import ArchConfig
from eie.layer import CompressedLayer
from eie.plan import Plan, make_plan
from eie.plan_program import words_of
from eie.result import Result
from eie.sim.engines.fast_plan import FastPlan
from eie.sim.evaluation.layers import BENCHMARKS, benchmark, published_machine, simulated
from eie.sim.evaluation.lines import RANDOM_LAYERS, percent
from eie.sim.evaluation.prose import prose
from eie.sim.evaluation.section import Picture, Progress, Section, Table, each
from eie.sim.plan_report import Phases, as_json, limits_of, microseconds
from eie.sim.plots import plan as plan_chart


@dataclass(frozen=True)
class Planned:
    """A layer's plan, what it gave, and the compute cycles of the layer untiled."""

    plan: Plan
    result: Result
    setup: int
    untiled: int

    @property
    def phases(self) -> Phases:
        """Where the input's cycles went."""
        return Phases.of(self.result)

    @property
    def layer(self) -> CompressedLayer:
        """The layer itself."""
        return self.plan.layers[0]

    @property
    def more(self) -> float:
        """Compute cycles beyond those of the layer untiled, as a fraction of them."""
        return self.phases.compute / self.untiled - 1


def planned(name: str, seed: int) -> Planned:
    """Plan a benchmark and run the plan on its input."""
    layer, x = benchmark(name, seed)
    fast = FastPlan(make_plan([layer], published_machine()))
    untiled = simulated(name, seed).cycles
    if untiled is None:
        raise AssertionError("the fast engine counts cycles")
    return Planned(fast.plan, fast.run(x), sum(words_of(fast.program.setup).values()), untiled)


def section(seed: int, progress: Progress | None = None) -> Section:
    """Plan and run all nine layers."""
    plans = {name: planned(name, seed) for name in each(BENCHMARKS, progress, "")}
    cfg = published_machine()
    return Section(
        key="plans",
        title="Plans of the nine layers",
        text=_text(plans),
        tables=(_cut_table(plans), _phase_table(plans)),
        pictures=(_picture(plans, cfg),),
        data={name: as_json(one.plan, one.result, [one.untiled]) for name, one in plans.items()},
    )


def _text(plans: dict[str, Planned]) -> list[str]:
    cut = [name for name, one in plans.items() if len(one.plan.steps) > 1]
    reloaded = [name for name, one in plans.items() if not one.plan.resident]
    most = max(plans.values(), key=lambda one: one.more)
    return prose("plans", cut=cut, reloaded=reloaded, most=most)


def _cut_table(plans: dict[str, Planned]) -> Table:
    return Table.of(
        "Passes of the nine layers at 64 PEs with the published memory sizes",
        (
            ("layer", lambda one: one.layer.name),
            ("rows x columns", lambda one: f"{one.layer.rows} x {one.layer.cols}"),
            ("row tiles", lambda one: str(len({step.cut.row for step in one.plan.steps}))),
            ("column batches", lambda one: str(len({step.cut.col for step in one.plan.steps}))),
            ("runs", lambda one: str(len(one.plan.runs))),
            ("cut by", lambda one: ", ".join(limits_of(one.plan)) or "-"),
            ("weights loaded", lambda one: "once" if one.plan.resident else "each input"),
            ("compute, untiled", lambda one: f"{one.untiled:,}"),
            ("planned", lambda one: f"{one.phases.compute:,}"),
            ("more", lambda one: percent(one.more)),
        ),
        plans.values(),
        f"{RANDOM_LAYERS} Untiled: memories as large as the layer needs.",
    )


def _phase_table(plans: dict[str, Planned]) -> Table:
    rows = [
        [
            name,
            f"{one.setup:,}",
            *(f"{cycles:,}" for cycles in one.phases.by_name.values()),
            f"{one.phases.total:,}",
            *(f"{microseconds(c, one.plan):,.1f}" for c in (one.phases.total, one.phases.compute)),
        ]
        for name, one in plans.items()
    ]
    names = list(next(iter(plans.values())).phases.by_name)
    headings = ("layer", "once", *names, "total", "µs", "µs of compute")
    note = "Once: words that stay on the chip, a cycle each. Control: starts, and the end of each pass."
    return Table("Cycles of one input, by phase", headings, rows, note)


def _picture(plans: dict[str, Planned], cfg: ArchConfig) -> Picture:
    drawn = plan_chart.phases({name: one.phases for name, one in plans.items()}, cfg)
    alt = "; ".join(
        f"{name}: {one.phases.longest} {percent(one.phases.by_name[one.phases.longest] / one.phases.total, 0)}"
        for name, one in plans.items()
    )
    return Picture("plans", drawn, f"Each phase's share of one input's cycles. The longest one: {alt}.")
