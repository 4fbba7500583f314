"""Area of the synthesised blocks as a picture, beside the published shares where these hold no SRAM."""

from __future__ import annotations

from matplotlib.figure import Figure

from eie.sim.plots import style
from eie.sim.synth.yosys import LIBRARY_NM, SynthReport, shares


def area_chart(report: SynthReport) -> Figure:
    """Left: area of every block by registers and logic. Right: shares of the blocks without SRAM, and as published."""
    caption = (
        f"{report.cfg.n_pe} PEs, queue depth {report.cfg.queue_depth}; {report.library.name}, cells only: no SRAM, "
        "wires or clock tree. "
        f"Right: shares of the sum of three, so that {LIBRARY_NM} nm and the published 45 nm compare."
    )
    with style.figure(caption, 1, 2, (9.6, 4.2)) as (figure, (areas, compared)):
        names = [block.name for block in report.blocks][::-1]
        registers = [report.block(name).register_area_um2 / 1e3 for name in names]
        logic = [report.block(name).area_um2 / 1e3 - r for name, r in zip(names, registers, strict=True)]
        areas.barh(names, registers, color=style.COLOURS[0], label="flip-flops")
        areas.barh(names, logic, left=registers, color=style.COLOURS[1], label="logic")
        areas.set(title="Area by block", xlabel="area of one (1,000 μm²)")
        areas.legend(loc="center right")
        rows = shares(report)[::-1]
        places = range(len(rows))
        compared.barh(
            [y + 0.2 for y in places],
            [100 * row.ours for row in rows],
            0.36,
            color=style.COLOURS[0],
            label="synthesised",
        )
        compared.barh(
            [y - 0.2 for y in places],
            [100 * row.published for row in rows],
            0.36,
            color=style.PUBLISHED,
            edgecolor="black",
            linewidth=0.6,
            label="published",
        )
        compared.set_yticks(list(places), [row.name for row in rows])
        compared.set(title="Blocks without SRAM", xlabel="share of the three (%)")
        compared.legend(loc="lower right")
        for axes in (areas, compared):
            axes.grid(visible=False, axis="y")
    return figure
