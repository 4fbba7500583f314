"""What the PEs did with their cycles: a picture of one run, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from eie.errors import ConfigError
from eie.result import Result
from eie.sim.plots import style

# What a cycle of a PE may go into, from the bottom up, with the colour of each.
PARTS = {
    "multiply-accumulates": style.COLOURS[0],
    "cycles with entries": style.COLOURS[0],
    "fillers": style.COLOURS[4],
    "empty columns": style.COLOURS[5],
    "no work": style.PUBLISHED,
}


def cycles_of(result: Result) -> dict[str, npt.NDArray[np.int64]]:
    """Cycles of each PE by what they went into, int64[n_pe] each, of `PARTS`; they add up to the run's cycles.

    Where a PE takes several entries a cycle, a cycle with any of them is one with entries.

    Raises
    ------
    ConfigError : the engine has no cycles or no counters of PEs.
    """
    counted = [result.counters[name] for name in ("macs", "fillers", "starved")]
    if result.cycles is None or any(value is None for value in counted):
        raise ConfigError(f"the engine {result.engine} does not count what each PE does")
    macs, fillers, starved = map(np.asarray, counted)
    work = result.cycles - starved
    if result.cfg.issue > 1:
        return {"cycles with entries": work, "no work": starved}
    return {
        "multiply-accumulates": macs,
        "fillers": fillers,
        "empty columns": work - macs - fillers,
        "no work": starved,
    }


def picture(named: Sequence[tuple[str, Result]]) -> Figure:
    """A panel for each result, called by its name: what each PE's cycles went into.

    Raises
    ------
    ConfigError : an engine without cycles or counters.
    """
    first = named[0][1]
    caption = f"Engine {first.engine}, {first.cfg.n_pe} PEs, queue depth {first.cfg.queue_depth}."
    with style.figure(caption, len(named), size=(8, 1.4 + 2.1 * len(named))) as (figure, panels):
        for axes, (name, result) in zip(panels, named, strict=True):
            below = np.zeros(result.cfg.n_pe)
            for part, cycles in cycles_of(result).items():
                axes.bar(np.arange(len(cycles)), cycles, 0.85, below, color=PARTS[part], label=part)
                below = below + cycles
            figures = (
                f"load balance {100 * (result.balance or 0):.1f} %, "
                f"utilization {100 * (result.utilization or 0):.1f} %"
            )
            axes.set_title(": ".join(filter(None, (name, figures))), fontsize=9.5, fontweight="normal")
            axes.set_ylabel("cycles")
            axes.set_xlim(-0.6, result.cfg.n_pe - 0.4)
            axes.yaxis.set_major_formatter("{x:,.0f}")
            axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
            axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
            axes.grid(visible=False, axis="x")
        panels[-1].set_xlabel("PE number")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.suptitle("Cycles of each PE", x=0.01, ha="left", fontsize=11.5, fontweight="bold")
        figure.legend(handles, labels, loc="outside right center")
    return figure
