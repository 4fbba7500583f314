"""`eie synth`: cells, area and longest path of every block, and that Yosys has nothing to complain of."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import click

from eie.cli.options import PATH, PRESET, Machine, machine_options
from eie.cli.output import check_writable, print_table, write
from eie.config import ArchConfig
from eie.sim.synth.yosys import (
    LIBRARY_NM,
    PUBLISHED_NM,
    BlockFigures,
    SynthReport,
    pe_area,
    published_areas,
    shares,
    synthesise,
)


def report_json(report: SynthReport, against: SynthReport | None = None) -> dict[str, Any]:
    """A synthesis for scripts; against : another machine's PE."""
    compared = [report, against] if against else [report]
    return {
        "config": dataclasses.asdict(report.cfg),
        "library": str(report.library),
        "blocks": [dataclasses.asdict(block) for block in report.blocks],
        "published_area_um2": published_areas(),
        "shares": [dataclasses.asdict(row) for row in shares(report)],
        "pe": [
            {"config": dataclasses.asdict(each.cfg)}
            | dataclasses.asdict(pe_area(each))
            | {"total": pe_area(each).total, "path": dataclasses.asdict(each.block("pe"))["path"]}
            for each in compared
        ],
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
@machine_options("n_pe", "depth", "preset", "settings", n_pe=64)
@click.option(
    "--against",
    type=PRESET["type"],
    help="Synthesise the PE of this preset, too, and print both with their SRAMs, side by side.",
)
@click.option("--liberty", type=PATH, metavar="F.lib", help="Cell library to map to, instead of osu018.")
@click.option("--plot", type=PATH, metavar="F.png", help="Draw the areas.")
@click.option("--json", "json_out", is_flag=True, help="Print one JSON object.")
def synth(
    machine: Machine, against: str | None, liberty: Path | None, plot: Path | None, json_out: bool
) -> None:
    """Synthesise one PE, a node of the LNZD tree, the CCU and the host interface, without their SRAMs.

    The exit status is 1 if Yosys finds a latch, a combinational loop, a net with no driver or two, or warns of
    anything else. Areas and delays are those of the cells alone: no placement, no wires, no clock tree.

    \b
    Example:
      eie synth --pe 64 --plot area.png
      eie synth --pe 64 --set counters=0
      eie synth --preset eie2 --against paper
    """
    cfg = machine.as_set
    if plot is not None:
        check_writable(plot.absolute().parent)

    def progress(unit: str) -> None:
        if not json_out:
            click.echo(f"synthesising {unit} ...", err=True)

    report = synthesise(cfg, liberty, progress=progress)
    other = None
    if against is not None:
        rival = ArchConfig.preset(against, n_pe=cfg.n_pe, counters=cfg.counters)
        other = synthesise(rival, liberty, units=("pe",), progress=progress)
    if plot is not None:
        from eie.sim.plots.style import save
        from eie.sim.plots.synth import area_chart

        write(plot, save(area_chart(report)))
    if json_out:
        click.echo(json.dumps(report_json(report, other)))
        return
    click.echo(f"{cfg.n_pe} PEs, queue depth {cfg.queue_depth}, cells of {report.library}")
    click.echo("no latch, no loop, no undriven net, no warning")
    headings = ("block", "cells", "flip-flops", "area um2", "published", "path ns", "cells", "from -> to")
    print_table(headings, [_row(block, report) for block in report.blocks], text_last=True)
    click.echo("pe (wiring): area of what the PE has beside its blocks; its path goes through all of them.")
    click.echo(
        f"published: um2 at {PUBLISHED_NM} nm; {LIBRARY_NM} nm cells are {(LIBRARY_NM / PUBLISHED_NM) ** 2:.0f} "
        "times as large if all shrinks alike. ptr_read, spmat_read and act_rw hold their SRAM there."
    )
    told = ", ".join(f"{row.name} {row.ours:.1%} ({row.published:.1%})" for row in shares(report))
    click.echo(f"shares of the blocks without SRAM, and as published: {told}")
    if against is not None and other is not None:
        click.echo()
        _print_both(report, machine.preset, other, against)
    if plot is not None:
        click.echo(f"picture: {plot}")


def _print_both(report: SynthReport, name: str, other: SynthReport, against: str) -> None:
    """Two PEs with their SRAMs, side by side."""
    ours, theirs = pe_area(report), pe_area(other)
    pairs = {
        ("pe (wiring)" if key == "pe" else key): (theirs.cells[key], ours.cells[key]) for key in ours.cells
    }
    pairs |= {"SRAMs": (theirs.srams, ours.srams), "one PE": (theirs.total, ours.total)}
    rows = [
        (key, f"{before:,.0f}", f"{after:,.0f}", f"{after / before:.3f}")
        for key, (before, after) in pairs.items()
    ]
    paths = [each.block("pe").path for each in (other, report)]
    print_table(
        (f"um2 at {PUBLISHED_NM} nm", against, name, "ratio"),
        [*rows, ("longest path, ns", *(f"{path.ns:.2f}" if path else "" for path in paths), "")],
    )
    click.echo(
        f"cells of {LIBRARY_NM} nm, shrunk; SRAMs by the energy model; {against} with as many PEs and counters."
    )
