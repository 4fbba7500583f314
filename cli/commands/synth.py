"""`eie synth`: cells, area and longest path of every block, and that Yosys has nothing to complain of."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from eie.cli.options import PATH, PRESET, Machine, RealRange, machine_options
from eie.cli.output import check_writable, print_table, write
from eie.config import ArchConfig
from eie.errors import MismatchError
from eie.sim.cosim.toolchain import find_sta
from eie.sim.published import published
from eie.sim.synth.array import ArrayFigures, ArrayPath
from eie.sim.synth.fo4 import fo4_ns, published_fo4_ns
from eie.sim.synth.opensta import longest_path_ns
from eie.sim.synth.yosys import (
    LIBRARY_NM,
    PUBLISHED_NM,
    BlockFigures,
    SynthReport,
    link_array,
    pe_area,
    published_areas,
    shares,
    synthesise,
)

if TYPE_CHECKING:
    from eie.sim.synth.power import PowerReport

# What stands for the names of legs.
_LEGS = {"links": "CCU, tree"}
# Paths of the array that are printed.
PATHS = 12
# What our own analysis may be beside OpenSTA's.
STA_TOLERANCE = 0.05


@dataclasses.dataclass(frozen=True)
class ArrayReport:
    """The array, its longest path by OpenSTA in ns (None: it is not installed), and the library's FO4 in ns."""

    figures: ArrayFigures
    opensta_ns: float | None
    fo4_ns: float

    @property
    def published_ns(self) -> float:
        """The longest path at the published machine's gate length, an estimate: as many FO4 as here."""
        return self.figures.paths[0].path.ns / self.fo4_ns * published_fo4_ns(PUBLISHED_NM)

    def check(self) -> None:
        """Raise `MismatchError` where the two analyses differ by more than `STA_TOLERANCE`."""
        ours = self.figures.paths[0].path.ns
        if self.opensta_ns is not None and abs(ours / self.opensta_ns - 1) > STA_TOLERANCE:
            raise MismatchError(
                f"the array's longest path is {ours:.2f} ns, and {self.opensta_ns:.2f} ns by OpenSTA: "
                f"more than {STA_TOLERANCE:.0%} apart"
            )


def report_json(
    report: SynthReport,
    against: SynthReport | None = None,
    array: ArrayReport | None = None,
    power: PowerReport | None = None,
) -> dict[str, Any]:
    """A synthesis for scripts; against : another machine's PE."""
    compared = [report, against] if against else [report]
    whole = {"array": dataclasses.asdict(array)} if array else {}
    if power is not None:
        whole["power"] = {k: v for k, v in dataclasses.asdict(power).items() if k != "cfg"}
    return whole | {
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


def _row(block: BlockFigures) -> tuple[str, ...]:
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
@click.option(
    "--array",
    "linked",
    is_flag=True,
    help="Link CCU, tree and PEs, put buffers in, and print the paths of the whole array.",
)
@click.option(
    "--sram-ns",
    type=RealRange(0),
    default=0.0,
    metavar="NS",
    help="With --array: from the clock edge to an SRAM's data (0: SRAMs are left out).",
)
@click.option(
    "--power",
    is_flag=True,
    help="Run a layer on the netlist of a PE, and print its energy by block beside the energy model's.",
)
@click.option("--liberty", type=PATH, metavar="F.lib", help="Cell library to map to, instead of osu018.")
@click.option("--plot", type=PATH, metavar="F.png", help="Draw the areas.")
@click.option("--json", "json_out", is_flag=True, help="Print one JSON object.")
def synth(
    machine: Machine,
    against: str | None,
    linked: bool,
    sram_ns: float,
    power: bool,
    liberty: Path | None,
    plot: Path | None,
    json_out: bool,
) -> None:
    """Synthesise one PE, a node of the LNZD tree, the CCU and the host interface, without their SRAMs.

    The exit status is 1 if Yosys finds a latch, a combinational loop, a net with no driver or two, or warns of
    anything else. Areas and delays are those of the cells alone: no placement, no wires, no clock tree.

    \b
    Example:
      eie synth --pe 64 --plot area.png
      eie synth --pe 64 --set counters=0
      eie synth --preset eie2 --against paper
      eie synth --pe 16 --array
      eie synth --pe 4 --power
    """
    if sram_ns and not linked:
        raise click.UsageError("--sram-ns has no effect without --array")
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
    array = _array(report, sram_ns, progress) if linked else None
    energy = _power(report, progress) if power else None
    if plot is not None:
        from eie.sim.plots.style import save
        from eie.sim.plots.synth import area_chart

        write(plot, save(area_chart(report)))
    if json_out:
        click.echo(json.dumps(report_json(report, other, array, energy)))
        return
    _print_blocks(report)
    if against is not None and other is not None:
        click.echo()
        _print_both(report, machine.preset, other, against)
    if array is not None:
        click.echo()
        _print_array(array)
    if energy is not None:
        click.echo()
        _print_power(energy)
    if plot is not None:
        click.echo(f"picture: {plot}")


def _power(report: SynthReport, progress: Callable[[str], None]) -> PowerReport:
    from eie.sim.synth.power import power_of  # golden, Icarus

    progress("running a layer on the PE's netlist")
    return power_of(report)


def _print_power(power: PowerReport) -> None:
    """Energy a cycle by block and kind of cell, of the netlist and of the model, and what they say of each other."""
    click.echo(
        f"one PE in compute mode, {power.cycles:,} cycles, {power.entries:,} entries; netlist at {LIBRARY_NM} nm and "
        f"{power.volts:g} V, model at {PUBLISHED_NM} nm; outputs are golden's in every cycle"
    )
    totals = [sum(sum(getattr(b, of).values()) for b in power.blocks) for of in ("netlist_pj", "model_pj")]
    rows = []
    for block in power.blocks:
        netlist, model = (sum(pj.values()) for pj in (block.netlist_pj, block.model_pj))
        kinds = [f"{pj / power.cycles:.2f}" for pj in block.netlist_pj.values()]
        modelled = [f"{pj / power.cycles:.3f}" for pj in block.model_pj.values()]
        ratio = f"{netlist / totals[0] / (model / totals[1]):.2f}" if model else ""
        share = "" if block.share is None else f"{block.share:.2f}"
        busy = f"{block.toggles / block.nets:.3f}" if block.nets else ""
        rows.append(
            (block.name, *kinds, f"{block.apart_pj / power.cycles:.2f}", *modelled, ratio, share, busy)
        )
    headings = ("pJ a cycle", "clock", "register", "gates", "files", *("clock", "register", "gates"), "ratio")
    print_table((*headings, "share", "toggles"), rows)
    click.echo(
        "columns 2 to 5: netlist (files: register files and event counters, which are flip-flops here); 6 to 8: model. "
        "ratio: share of the netlist's energy without files over share of the model's. share: of the bits of a loaded "
        "register, those that change (the model: 0.5). toggles: of a gate's output, a cycle."
    )


def _print_blocks(report: SynthReport) -> None:
    """Each block, and the shares of those without SRAM."""
    click.echo(f"{report.cfg.n_pe} PEs, queue depth {report.cfg.queue_depth}, cells of {report.library}")
    click.echo("no latch, no loop, no undriven net, no warning")
    headings = ("block", "cells", "flip-flops", "area um2", "published", "path ns", "cells", "from -> to")
    print_table(headings, [_row(block) for block in report.blocks], text_last=True)
    click.echo("pe (wiring): area of what the PE has beside its blocks; its path goes through all of them.")
    click.echo(
        f"published: um2 at {PUBLISHED_NM} nm; {LIBRARY_NM} nm cells are {(LIBRARY_NM / PUBLISHED_NM) ** 2:.0f} "
        "times as large if all shrinks alike. ptr_read, spmat_read and act_rw hold their SRAM there."
    )
    told = ", ".join(f"{row.name} {row.ours:.1%} ({row.published:.1%})" for row in shares(report))
    click.echo(f"shares of the blocks without SRAM, and as published: {told}")


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


def _array(report: SynthReport, sram_ns: float, progress: Callable[[str], None]) -> ArrayReport:
    """The array of a machine whose parts are synthesised.

    Raises
    ------
    MismatchError : our analysis and OpenSTA's do not agree.
    """
    progress("array")
    linked = link_array(report.cfg, report.library, modules=report.modules, sram_ns=sram_ns)
    sta = find_sta()
    by_opensta = longest_path_ns(linked, report.library, sta) if sta else None
    array = ArrayReport(linked.figures(), by_opensta, fo4_ns(linked.library))
    array.check()
    return array


def _legs(path: ArrayPath) -> str:
    """The modules that a path goes through, with the time at which it leaves each."""
    return ", ".join(f"{_LEGS.get(leg.module, leg.module)} {leg.ns:.2f}" for leg in path.legs)


def _print_array(array: ArrayReport) -> None:
    """The linked array: its size, its longest paths."""
    figures = array.figures
    longest = figures.paths[0].path
    click.echo(
        f"array of {figures.n_pe} PEs: {figures.cells:,} cells ({figures.buffers:,} of them buffers of its own), "
        f"{figures.area_um2:,.0f} um2, longest path {longest.ns:.2f} ns"
    )
    print_table(
        ("path ns", "cells", "leaves each at, ns", "from -> to"),
        [
            (
                f"{each.path.ns:.2f}",
                str(each.path.cells),
                _legs(each),
                f"{each.path.begin} -> {each.path.end}",
            )
            for each in figures.paths[:PATHS]
        ],
        text_last=True,
    )
    if array.opensta_ns is None:
        click.echo("OpenSTA is not installed: nothing checks the analysis.")
    else:
        click.echo(f"longest path by OpenSTA, every PE in it: {array.opensta_ns:.2f} ns")
    click.echo(
        f"estimate: {longest.ns / array.fo4_ns:.0f} FO4 of {array.fo4_ns * 1e3:.0f} ps, at {PUBLISHED_NM} nm "
        f"{array.published_ns:.2f} ns with {published_fo4_ns(PUBLISHED_NM) * 1e3:.1f} ps each; "
        f"published: {published().machine.critical_path_ns:.2f} ns"
    )
