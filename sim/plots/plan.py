"""A picture of where the cycles of plans go."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from eie.config import ArchConfig
from eie.sim.plan_report import Phases
from eie.sim.plots import style

# Each phase's place in the style's colours; control is too small to be seen.
_COLOURS = {
    "load": 0,
    "refill": 4,
    "compute": 2,
    "write-back": 3,
    "control": 6,
    "store": 1,
}


def phases(plans: Mapping[str, Phases], cfg: ArchConfig) -> Figure:
    """A bar for each plan, each phase's share of an input's cycles, with the time beside it."""
    caption = (
        f"One input. {cfg.n_pe} PEs, queue depth {cfg.queue_depth}, {cfg.clock_hz / 1e6:g} MHz; the I/O port writes a "
        "word in a cycle and reads one in two. Weights that stay on the chip are not in the bars."
    )
    with style.figure(caption, size=(7.6, 1.6 + 0.38 * len(plans))) as (figure, (axes,)):
        names = list(plans)
        left = [0.0] * len(plans)
        for phase, colour in _COLOURS.items():
            shares = [plan.by_name[phase] / max(1, plan.total) for plan in plans.values()]
            axes.barh(names, shares, left=left, color=style.COLOURS[colour], label=phase, height=0.7)
            left = [before + share for before, share in zip(left, shares, strict=True)]
        for number, plan in enumerate(plans.values()):
            axes.text(1.01, number, f"{plan.total / cfg.clock_hz * 1e6:,.1f} µs", va="center", fontsize=8.5)
        axes.invert_yaxis()
        axes.set_xlim(0, 1)
        axes.grid(visible=False, axis="y")
        axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.set_xlabel("share of the cycles of an input")
        figure.legend(loc="outside upper right", ncols=len(_COLOURS), fontsize=8.5)
        axes.set_title("Phases")
    return figure
