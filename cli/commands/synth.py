"""`eie synth`: cells, area and longest path of every block, and that Yosys has nothing to complain of."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import click

from eie.cli.options import PATH, Machine, machine_options
from eie.cli.output import check_writable, print_table, write
from eie.sim.synth.yosys import LIBRARY_NM, BlockFigures, SynthReport, published_areas, shares, synthesise


def report_json(report: SynthReport) -> dict[str, Any]:
    """A synthesis for scripts."""
    return {
        "config": dataclasses.asdict(report.cfg),
        "library": str(report.library),
        "blocks": [dataclasses.asdict(block) for block in report.blocks],
        "published_area_um2": published_areas(),
        "shares": [dataclasses.asdict(row) for row in shares(report)],
    }


def _row(block: BlockFigures, report: SynthReport) -> tuple[str, ...]:
    published = published_areas().get(block.name)
    path = block.path
    return (
        f"{block.name} (wiring)" if block.name == "pe" else block.name,
        f"{block.cells:,}",
        f"{block.registers:,}",
        f"{block.area_um2:,.0f}",
        f"{published:,.0f}" if published else "",
        f"{path.ns:.2f}" if path else "",
        str(path.cells) if path else "",
        f"{path.begin} -> {path.end}" if path else "",
    )


@click.command()
@machine_options(n_pe=64, sized=False)
@click.option("--liberty", type=PATH, metavar="F.lib", help="Cells to map to, instead of osu018's.")
@click.option("--plot", type=PATH, metavar="F.png", help="Draw the areas.")
@click.option("--json", "json_out", is_flag=True, help="Print one JSON object.")
def synth(machine: Machine, liberty: Path | None, plot: Path | None, json_out: bool) -> None:
    """Synthesise one PE, a node of the LNZD tree, the CCU and the host interface; the SRAMs, which stand beside them,
    take no part.

    A latch, a combinational loop, a net with no driver or two, or any other warning of Yosys ends it with status 1.
    Areas and delays are those of the cells alone: no placement, no wires, no clock tree.

    \b
    Example:
      eie synth --pe 64 --plot area.png
      eie synth --pe 64 --set counters=0
    """
    if machine.balance is not None:
        raise click.UsageError("--balance has no effect here: there is no layer")
    cfg = machine.config([])
    if plot is not None:
        check_writable(plot.absolute().parent)
    report = synthesise(
        cfg,
        liberty,
        progress=lambda unit: None if json_out else click.echo(f"synthesising {unit} ...", err=True),
    )
    if plot is not None:
        from eie.sim.plots.style import save
        from eie.sim.plots.synth import area_chart

        write(plot, save(area_chart(report)))
    if json_out:
        click.echo(json.dumps(report_json(report)))
        return
    click.echo(f"{cfg.n_pe} PEs, queue depth {cfg.queue_depth}, cells of {report.library}")
    click.echo("no latch, no loop, no undriven net, no warning")
    headings = ("block", "cells", "flip-flops", "area um2", "published", "path ns", "cells", "from -> to")
    print_table(headings, [_row(block, report) for block in report.blocks], text_last=True)
    click.echo("pe (wiring): area of what the PE has beside its blocks; its path goes through all of them.")
    click.echo(
        f"published: um2 at 45 nm; {LIBRARY_NM} nm cells are {(LIBRARY_NM / 45) ** 2:.0f} times as large if all "
        "shrinks alike. ptr_read, spmat_read and act_rw hold their SRAM there."
    )
    told = ", ".join(f"{row.name} {row.ours:.1%} ({row.published:.1%})" for row in shares(report))
    click.echo(f"shares of the blocks without SRAM, and as published: {told}")
    if plot is not None:
        click.echo(f"picture: {plot}")
