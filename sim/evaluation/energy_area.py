"""Energy and area: the published table of one PE line by line beside ours, the chip, and the nine layers.

docs/energy.md explains the model; sim/energy/model.py is it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from eie.config import ArchConfig
from eie.result import Result
from eie.sim.energy.constants import names_of, tagged
from eie.sim.energy.model import FILLER, BlockFigures, Estimate, estimate
from eie.sim.energy.width import matrix_reads
from eie.sim.engines.fast import prepare
from eie.sim.evaluation import energy_assumptions as assumptions
from eie.sim.evaluation.energy_assumptions import NAMES, off
from eie.sim.evaluation.layers import BENCHMARKS, benchmark, simulated
from eie.sim.evaluation.prose import prose, text_of
from eie.sim.evaluation.section import Picture, Progress, Section, Table, each
from eie.sim.plots import style
from eie.sim.published import Share, published
from eie.sim.workloads.example import EXAMPLE, require

# The layer whose activity the published table was made with.
ACTIVITY = "Alex-7"
LIMIT_TOTAL, LIMIT_BLOCK = 0.10, 0.20


@dataclass(frozen=True)
class Line:
    """One line of the published table: power (mW) and area (um2) of one PE, ours and published."""

    name: str
    kind: str
    power_mw: float
    area_um2: float
    published: Share
    fitted: bool = False

    @property
    def power_off(self) -> float | None:
        """Ours over the published power, less 1; None where nothing was published."""
        return self.power_mw / self.published.power_mw - 1 if self.published.power_mw else None

    @property
    def area_off(self) -> float:
        """Ours over the published area, less 1."""
        return self.area_um2 / self.published.area_um2 - 1


@dataclass(frozen=True)
class PublishedRun:
    """Alex-7 on the published machine, and two variations of it.

    unheld : each column begins with a read of the matrix SRAM. counting : with the RTL's event counters.
    """

    result: Result
    ours: Estimate
    unheld: Estimate
    counting: Estimate


def published_run(seed: int) -> PublishedRun:
    """Run Alex-7 on the machine with the published memories."""
    cfg = ArchConfig.preset("paper")
    layer, x = benchmark(ACTIVITY, seed)
    run = prepare(layer, cfg).run(x)
    reads = matrix_reads(layer, x, cfg, held=False)
    return PublishedRun(
        run,
        estimate(cfg, run.counters, run.cycles),
        estimate(cfg, {**run.counters, "spmat_reads": reads}, run.cycles),
        estimate(cfg, run.counters, run.cycles, performance_counters=True),
    )


def lines(ours: Estimate) -> list[Line]:
    """Every line of the published table, the total first, then the components, then the blocks."""
    facts = published().pe
    total = Share("one PE", facts.power_mw, facts.area_um2)
    found = [Line(total.name, "total", ours.pe_power_mw, ours.pe_area_um2, total)]
    for kind, shares, figures in (
        ("component", facts.components, ours.components),
        ("block", facts.blocks, ours.blocks),
    ):
        for share in shares:
            mine = next(f for f in figures if f.name == share.name)
            fitted = share.name == FILLER
            found.append(Line(share.name, kind, mine.power_mw, mine.area_um2, share, fitted))
    return found


def section(seed: int, progress: Progress | None, example: Path = EXAMPLE) -> Section:
    """Estimate Alex-7 on the published machine, and the nine layers on machines that hold them.

    Raises
    ------
    ModelError : the example's files, from which the activity is counted, are missing or are something else.
    """
    require(example, "energy")
    run = published_run(seed)
    table = lines(run.ours)
    counted = assumptions.counted(ACTIVITY, seed, example)
    layers = {}
    for name in each(BENCHMARKS, progress, "energy: "):
        result = simulated(name, seed)
        layers[name] = _layer_data(name, estimate(result.cfg, result.counters, result.cycles))
    return Section(
        key="energy",
        title="Energy and area",
        text=_text(run, table) + assumptions.text(run.result, counted),
        tables=[
            _pe_table(table),
            _chip_table(run),
            assumptions.assumed_table(run.result, counted),
            assumptions.changes_table(counted),
            _layer_table(layers),
            _constant_table(),
        ],
        pictures=[_picture(table)],
        data={
            "pe": [_line_data(line) for line in table],
            "chip": {"power_w": run.ours.power_mw / 1e3, "area_mm2": run.ours.area_mm2},
            "spmat_read_unheld_mw": _block(run.unheld, "spmat_read").power_mw,
            "activity_counted": {what: assumptions.share(changes) for what, changes in counted.items()},
            "layers": layers,
            "fitted": names_of("fitted"),
            "assumed": names_of("assumed"),
            "assumed_in_power": assumptions.moving(run.result),
        },
    )


def _block(figures: Estimate, name: str) -> BlockFigures:
    return next(block for block in figures.blocks if block.name == name)


def _part_mw(figures: Estimate, block: str, component: str) -> float:
    part = next(p for p in figures.parts if (p.block, p.component) == (block, component))
    return part.energy_nj(figures.seconds) * 1e-6 / figures.seconds


def _off(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:+.1f} %"


def _text(run: PublishedRun, table: Sequence[Line]) -> list[str]:
    # The power total is near partly because errors of opposite sign cancel.
    parts = [line for line in table if line.kind == "component" and line.published.power_mw]
    return prose(
        "energy",
        activity=ACTIVITY,
        limit_total=LIMIT_TOTAL,
        limit_block=LIMIT_BLOCK,
        run=run,
        line={line.name: line for line in table},
        errors={line.name: line.power_mw - line.published.power_mw for line in parts},
        missed=partial(_missed, table),
        unheld=_block(run.unheld, "spmat_read"),
        part=partial(_part_mw, run.ours),
        off=off,
        share=_off,
    )


def _missed(table: Sequence[Line], kind: str) -> str:
    missed = [
        f"{NAMES.get(line.name, line.name)} ({what} {_off(share)})"
        for line in table
        if line.kind == kind and not line.fitted
        for what, share in (("power", line.power_off), ("area", line.area_off if line.area_um2 else None))
        if share is not None and abs(share) > LIMIT_BLOCK
    ]
    return ", ".join(missed) or "none"


def _pe_table(table: Sequence[Line]) -> Table:
    def name(line: Line) -> str:
        return NAMES.get(line.name, line.name) + (" (fitted)" if line.fitted else "")

    return Table.of(
        "One PE, line by line",
        (
            ("", name),
            ("mW", lambda line: f"{line.power_mw:.3f}" if line.power_mw else "-"),
            ("published", lambda line: f"{line.published.power_mw:.3f}" if line.published.power_mw else "-"),
            ("", lambda line: _off(line.power_off)),
            ("µm²", lambda line: f"{line.area_um2:,.0f}" if line.area_um2 else "not modelled"),
            ("published", lambda line: f"{line.published.area_um2:,.0f}"),
            ("", lambda line: _off(line.area_off) if line.area_um2 else "-"),
        ),
        table,
        text_of("energy", "pe_note", activity=ACTIVITY),
    )


def _chip_table(run: PublishedRun) -> Table:
    facts, node = published().chip, published().lnzd_node
    ccu, tree = _block(run.ours, "ccu"), _block(run.ours, "lnzd")
    more_mw = run.counting.power_mw - run.ours.power_mw
    more_mm2 = run.counting.area_mm2 - run.ours.area_mm2
    return Table(
        title="The chip of 64 PEs",
        headings=["", "power", "published", "", "area", "published", ""],
        rows=[
            [
                "chip",
                f"{run.ours.power_mw / 1e3:.3f} W",
                f"{facts.power_w} W",
                _off(run.ours.power_mw / 1e3 / facts.power_w - 1),
                f"{run.ours.area_mm2:.1f} mm²",
                f"{facts.area_mm2} mm²",
                _off(run.ours.area_mm2 / facts.area_mm2 - 1),
            ],
            [
                f"{tree.count} LNZD nodes (published)",
                f"{tree.chip_power_mw:.3f} mW",
                f"{tree.count * node.power_mw:.3f} mW",
                "-",
                f"{tree.chip_area_mm2:.4f} mm²",
                f"{tree.count * node.area_um2 * 1e-6:.4f} mm²",
                "-",
            ],
            ["CCU", f"{ccu.chip_power_mw:.3f} mW", "-", "-", f"{ccu.chip_area_mm2:.4f} mm²", "-", "-"],
            ["event counters, if built", f"+ {more_mw:.1f} mW", "-", "-", f"+ {more_mm2:.2f} mm²", "-", "-"],
        ],
        note=text_of("energy", "chip_note"),
    )


def _layer_table(layers: Mapping[str, Mapping[str, float]]) -> Table:
    return Table.of(
        "The nine layers",
        (
            ("layer", lambda item: item[0]),
            ("µs", lambda item: f"{item[1]['us']:.2f}"),
            ("µJ", lambda item: f"{item[1]['energy_nj'] / 1e3:.2f}"),
            ("mW", lambda item: f"{item[1]['power_mw']:.0f}"),
            ("pJ/MAC", lambda item: f"{item[1]['pj_per_mac']:.1f}"),
            ("GOP/s", lambda item: f"{item[1]['gops']:.1f}"),
            ("GOP/s/W", lambda item: f"{item[1]['gops_per_watt']:.0f}"),
            ("dense GOP/s", lambda item: f"{item[1]['dense_gops']:,.0f}"),
            ("dense GOP/s/W", lambda item: f"{item[1]['dense_gops_per_watt']:,.0f}"),
            ("mm²", lambda item: f"{item[1]['area_mm2']:.1f}"),
        ),
        layers.items(),
        text_of("energy", "layer_note"),
    )


def _constant_table() -> Table:
    sram = ("sim/energy/data/sram.toml", "cacti", "CACTI 7 by scripts/gen_sram_table.py")
    operations = ("sim/data/published.toml", "published", "the paper's tables I and section VI")
    rows = [["SRAM energy, leakage, area", *sram], ["operations, LNZD node", *operations]]
    rows += [[name, f"{one.value:g} {one.unit}", one.tag, one.source] for name, one in tagged().items()]
    return Table("The constants", ["constant", "value", "tag", "source"], rows)


def _line_data(line: Line) -> dict[str, object]:
    return {
        "line": line.name,
        "kind": line.kind,
        "power_mw": line.power_mw,
        "published_power_mw": line.published.power_mw,
        "area_um2": line.area_um2,
        "published_area_um2": line.published.area_um2,
        "fitted": line.fitted,
    }


def _layer_data(name: str, figures: Estimate) -> dict[str, float]:
    facts = published().layer(name)
    return {
        "us": figures.seconds * 1e6,
        "energy_nj": figures.energy_nj,
        "power_mw": figures.power_mw,
        "pj_per_mac": figures.pj_per_mac,
        "gops": figures.gops,
        "gops_per_watt": figures.gops_per_watt,
        "dense_gops": figures.dense_gops(facts.rows, facts.cols),
        "dense_gops_per_watt": figures.dense_gops_per_watt(facts.rows, facts.cols),
        "area_mm2": figures.area_mm2,
    }


def _picture(table: Sequence[Line]) -> Picture:
    shown = [line for line in table if line.name != FILLER]
    caption = text_of("energy", "caption", activity=ACTIVITY, limit=LIMIT_BLOCK)
    with style.figure(caption, columns=2, size=(10.8, 4.6)) as (drawn, (left, right)):
        # Space between the total, the kinds of cell and the blocks.
        kinds = list(dict.fromkeys(line.kind for line in shown))
        places = np.array([number + 0.6 * kinds.index(line.kind) for number, line in enumerate(shown)])
        _bars(left, places, shown)
        _deviations(right, places, shown)
        for axes in (left, right):
            axes.set_yticks(places, [NAMES.get(line.name, line.name) for line in shown])
            axes.set_ylim(places[-1] + 0.7, -0.7)
            axes.grid(axis="y", visible=False)
        right.tick_params(labelleft=False)
    return Picture("energy_area", drawn, text_of("energy", "alt", total=table[0]))


def _bars(axes: Axes, places: np.ndarray, shown: Sequence[Line]) -> None:
    ours, theirs = [line.power_mw for line in shown], [line.published.power_mw for line in shown]
    axes.barh(places - 0.2, ours, 0.38, label="ours", color=style.COLOURS[0])
    axes.barh(places + 0.2, theirs, 0.38, label="published", color=style.PUBLISHED, edgecolor="black")
    axes.set(title="Power of one PE", xlabel="power (mW)")
    axes.legend(loc="lower right")


def _deviations(axes: Axes, places: np.ndarray, shown: Sequence[Line]) -> None:
    power = [np.nan if line.power_off is None else line.power_off for line in shown]
    area = [line.area_off if line.area_um2 else np.nan for line in shown]
    axes.axvspan(-LIMIT_BLOCK, LIMIT_BLOCK, color=style.GREY, alpha=0.15, linewidth=0)
    axes.axvline(0, color=style.GREY, linewidth=1.0)
    for values, label, number, shift in ((power, "power", 0, -0.15), (area, "area", 2, 0.15)):
        axes.plot(
            values,
            places + shift,
            linestyle="",
            marker=style.MARKERS[number],
            color=style.COLOURS[number],
            label=label,
        )
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set(title="Difference, power and area", xlabel="ours against published (%)", xlim=(-0.6, 0.6))
    axes.legend(loc="upper right")
