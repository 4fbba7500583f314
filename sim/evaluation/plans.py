"""The nine layers planned on the published machine with memories of the published sizes: passes, and every phase."""

from __future__ import annotations

from dataclasses import dataclass

from eie.config import ArchConfig
from eie.plan import Plan, make_plan
from eie.plan_program import words_of
from eie.result import Result
from eie.sim.engines.fast_plan import FastPlan
from eie.sim.evaluation.layers import BENCHMARKS, benchmark, simulated
from eie.sim.evaluation.lines import RANDOM_LAYERS, percent
from eie.sim.evaluation.section import Picture, Progress, Section, Table
from eie.sim.plan_report import Phases, as_json, limits_of, microseconds
from eie.sim.plots import plan as plan_chart
from eie.sim.published import published


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


def machine() -> ArchConfig:
    """The published machine, with no memory enlarged."""
    facts = published().machine
    return ArchConfig(n_pe=facts.n_pe, queue_depth=facts.queue_depth, clock_hz=facts.clock_mhz * 1_000_000)


def planned(name: str, seed: int) -> Planned:
    """Plan a benchmark and run the plan on its input."""
    layer, x = benchmark(name, seed)
    fast = FastPlan(make_plan([layer], machine()))
    untiled = simulated(name, seed).cycles
    if untiled is None:
        raise AssertionError("the fast engine counts cycles")
    return Planned(fast.plan, fast.run(x), sum(words_of(fast.program.setup).values()), untiled)


def section(seed: int, progress: Progress | None = None) -> Section:
    """Plan and run all nine layers."""
    plans = {}
    for name in BENCHMARKS:
        plans[name] = planned(name, seed)
        if progress is not None:
            progress(name)
    cfg = machine()
    return Section(
        key="plans",
        title="Plans of the nine layers",
        text=(_text(plans),),
        tables=(_cut_table(plans), _phase_table(plans)),
        pictures=(_picture(plans, cfg),),
        data={name: as_json(one.plan, one.result, [one.untiled]) for name, one in plans.items()},
    )


def _text(plans: dict[str, Planned]) -> str:
    cut = [name for name, one in plans.items() if len(one.plan.steps) > 1]
    reloaded = [name for name, one in plans.items() if not one.plan.resident]
    most = max(plans.values(), key=lambda one: one.phases.compute / one.untiled)
    return (
        f"{', '.join(cut)} take several passes; the others fit. Tiles and batches cost at most "
        f"{percent(most.phases.compute / most.untiled - 1)} of compute cycles ({most.plan.layers[0].name}). "
        f"The weights of {', '.join(reloaded) or 'no layer'} do not stay on the chip."
    )


def _cut_table(plans: dict[str, Planned]) -> Table:
    rows = []
    for name, one in plans.items():
        plan, phases = one.plan, one.phases
        tiles = len({step.cut.row for step in plan.steps})
        batches = len({step.cut.col for step in plan.steps})
        rows.append(
            [
                name,
                f"{plan.layers[0].rows} x {plan.layers[0].cols}",
                str(tiles),
                str(batches),
                str(len(plan.runs)),
                ", ".join(limits_of(plan)) or "-",
                "once" if plan.resident else "each input",
                f"{one.untiled:,}",
                f"{phases.compute:,}",
                percent(phases.compute / one.untiled - 1),
            ]
        )
    headings = (
        "layer",
        "rows x columns",
        "row tiles",
        "column batches",
        "runs",
        "cut by",
        "weights loaded",
        "compute, untiled",
        "planned",
        "more",
    )
    note = f"{RANDOM_LAYERS} Untiled: memories as large as the layer needs."
    return Table("Passes of the nine layers at 64 PEs with the published memory sizes", headings, rows, note)


def _phase_table(plans: dict[str, Planned]) -> Table:
    rows = []
    for name, one in plans.items():
        phases = one.phases
        rows.append(
            [
                name,
                f"{one.setup:,}",
                *(f"{cycles:,}" for cycles in phases.by_name.values()),
                f"{phases.total:,}",
                f"{microseconds(phases.total, one.plan):,.1f}",
                f"{microseconds(phases.compute, one.plan):,.1f}",
            ]
        )
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
