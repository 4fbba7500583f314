"""Energy and area: the published table of one PE line by line beside ours, the chip, and the nine layers.

docs/energy.md explains the model; sim/energy.py is it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from matplotlib.axes import Axes

from eie.config import ArchConfig
from eie.sim import style
from eie.sim.energy import CLOCK, FILLER, BlockFigures, Estimate, estimate
from eie.sim.energy_constants import tagged
from eie.sim.energy_width import matrix_reads
from eie.sim.evaluation.layers import BENCHMARKS, benchmark, simulated
from eie.sim.evaluation.lines import RANDOM_LAYERS
from eie.sim.evaluation.published import Share, published
from eie.sim.evaluation.section import Picture, Progress, Section, Table
from eie.sim.fast import prepare

# The layer whose activity the published table was made with.
ACTIVITY = "Alex-7"
LIMIT_TOTAL, LIMIT_BLOCK = 0.10, 0.20
_NAMES = {
    "act_queue": "ActQueue",
    "ptr_read": "PtrRead",
    "spmat_read": "SpmatRead",
    "arithm_unit": "ArithmUnit",
    "act_rw": "ActRW",
}


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


def section(seed: int, progress: Progress | None) -> Section:
    """Estimate Alex-7 on the published machine, and the nine layers on machines that hold them."""
    run = published_run(seed)
    table = lines(run.ours)
    layers = {}
    for name in BENCHMARKS:
        if progress is not None:
            progress(f"energy: {name}")
        result = simulated(name, seed)
        layers[name] = estimate(result.cfg, result.counters, result.cycles)
    return Section(
        key="energy",
        title="Energy and area",
        text=_text(run, table),
        tables=[_pe_table(table), _chip_table(run), _layer_table(layers), _constant_table()],
        pictures=[_picture(table)],
        data={
            "pe": [_line_data(line) for line in table],
            "chip": {"power_w": run.ours.power_mw / 1e3, "area_mm2": run.ours.area_mm2},
            "spmat_read_unheld_mw": _block(run.unheld, "spmat_read").power_mw,
            "layers": {name: _layer_data(name, figures) for name, figures in layers.items()},
            "fitted": sorted(name for name, constant in tagged().items() if constant.tag == "fitted"),
        },
    )


def _block(figures: Estimate, name: str) -> BlockFigures:
    return next(block for block in figures.blocks if block.name == name)


def _resting_mw(figures: Estimate, block: str) -> float:
    """Power of a block's clock pins and leakage in mW: what it takes without any data moving."""
    parts = [part for part in figures.parts if part.block == block]
    clock_pj = sum(part.dynamic_pj for part in parts if part.component == CLOCK)
    return clock_pj * 1e-9 / figures.seconds + sum(part.leakage_mw for part in parts)


def _off(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:+.1f} %"


def _text(run: PublishedRun, table: Sequence[Line]) -> list[str]:
    by_name = {line.name: line for line in table}
    total = by_name["one PE"]
    unheld = Line("", "", _block(run.unheld, "spmat_read").power_mw, 1, by_name["spmat_read"].published)
    pe_unheld = Line("", "", run.unheld.pe_power_mw, 1, total.published)
    arithm, queue = by_name["arithm_unit"], by_name["act_queue"]
    resting = _resting_mw(run.ours, "arithm_unit")
    activity = (arithm.published.power_mw - resting) / (arithm.power_mw - resting)
    missed = [
        f"{_NAMES[line.name]} ({what} {_off(off)})"
        for line in table
        if line.kind == "block"
        for what, off in (("power", line.power_off), ("area", line.area_off))
        if off is not None and abs(off) > LIMIT_BLOCK
    ]
    return [
        f"Energy is what the run's counters count, times the energy of each event. {ACTIVITY} runs on the machine "
        "with the published memories; one PE is compared with the published table, line by line. No constant of "
        "the power is fitted: SRAM energies are CACTI's, cell energies those of an open 45 nm library, both brought "
        "to 0.9 V, and operations the paper's own. Of the area one constant is fitted, the share of filler cells; "
        "its line is not counted as reproduced.",
        f"Total: power {_off(total.power_off)}, area {_off(total.area_off)} (without the filler cells: the same). "
        f"Target: totals within {100 * LIMIT_TOTAL:.0f} %, blocks within {100 * LIMIT_BLOCK:.0f} %. "
        + (f"Blocks that miss it: {', '.join(missed)}." if missed else "Every block meets it."),
        "**SpmatRead**: our machine keeps the word that it read last, also from one column to the next. If each "
        f"column began with a read, the same run would take {unheld.power_mw:.2f} mW there "
        f"({_off(unheld.power_off)}) and {pe_unheld.power_mw:.2f} mW in all ({_off(pe_unheld.power_off)}); the paper "
        "does not say what its machine does.",
        f"**ArithmUnit**: clock pins and leakage take {resting:.2f} mW, the rest follows the data. In random layers "
        f"half of the bits of every loaded register change; with {100 * activity:.0f} % of that activity the block "
        f"would take the published {arithm.published.power_mw} mW. Numbers of trained networks are small and change "
        "fewer bits; how many, the paper does not say.",
        f"**ActQueue**: {queue.area_um2 - queue.published.area_um2:.0f} µm² more, because our reading of an array is "
        "a tree of two-input multiplexers; that is less than 0.1 % of the PE. **Clock network**: the flip-flops' "
        "clock pins, without the tree that drives them; its cells are not modelled.",
        "64 PEs are 64 times the table: the chip's figures are no second check.",
    ]


def _pe_table(table: Sequence[Line]) -> Table:
    rows = []
    for line in table:
        name = _NAMES.get(line.name, line.name)
        published_power = f"{line.published.power_mw:.3f}" if line.published.power_mw else "-"
        rows.append(
            [
                f"{name} (fitted)" if line.fitted else name,
                f"{line.power_mw:.3f}" if line.power_mw else "-",
                published_power,
                _off(line.power_off),
                f"{line.area_um2:,.0f}" if line.area_um2 else "not modelled",
                f"{line.published.area_um2:,.0f}",
                _off(line.area_off) if line.area_um2 else "-",
            ]
        )
    return Table(
        title="One PE, line by line",
        headings=["", "mW", "published", "", "µm²", "published", ""],
        rows=rows,
        note=f"Activity of {ACTIVITY}, 64 PEs, 800 MHz, 128 KB and 32 KB of SRAM a PE. The five kinds of cell add "
        "up to the PE; the five blocks add up to it without the filler cells.",
    )


def _chip_table(run: PublishedRun) -> Table:
    facts, node = published().chip, published().lnzd_node
    ccu, counting = _block(run.ours, "ccu"), run.counting
    tree = _block(run.ours, "lnzd")
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
            [
                "CCU",
                f"{ccu.chip_power_mw:.3f} mW",
                "-",
                "-",
                f"{ccu.chip_area_mm2:.4f} mm²",
                "-",
                "-",
            ],
            [
                "event counters, if built",
                f"+ {counting.power_mw - run.ours.power_mw:.1f} mW",
                "-",
                "-",
                f"+ {counting.area_mm2 - run.ours.area_mm2:.2f} mm²",
                "-",
                "-",
            ],
        ],
        note="Without the wires of the broadcast and without I/O. The last line is what the RTL's own event "
        "counters add (their clock and leakage); the chip's line is without them.",
    )


def _layer_table(layers: dict[str, Estimate]) -> Table:
    rows = []
    for name, figures in layers.items():
        facts = published().layer(name)
        rows.append(
            [
                name,
                f"{figures.seconds * 1e6:.2f}",
                f"{figures.energy_nj / 1e3:.2f}",
                f"{figures.power_mw:.0f}",
                f"{figures.pj_per_mac:.1f}",
                f"{figures.gops:.1f}",
                f"{figures.gops_per_watt:.0f}",
                f"{figures.dense_gops(facts.rows, facts.cols):,.0f}",
                f"{figures.dense_gops_per_watt(facts.rows, facts.cols):,.0f}",
                f"{figures.area_mm2:.1f}",
            ]
        )
    return Table(
        title="The nine layers",
        headings=[
            "layer",
            "µs",
            "µJ",
            "mW",
            "pJ/MAC",
            "GOP/s",
            "GOP/s/W",
            "dense GOP/s",
            "dense GOP/s/W",
            "mm²",
        ],
        rows=rows,
        note=f"{RANDOM_LAYERS} 64 PEs with memories as large as each layer needs, hence the different areas. Two "
        "operations a multiply-accumulate; dense: operations of the whole matrix, zeros included.",
    )


def _constant_table() -> Table:
    return Table(
        title="The constants",
        headings=["constant", "value", "tag", "source"],
        rows=[
            [
                "SRAM energy, leakage, area",
                "sim/data/sram.toml",
                "cacti",
                "CACTI 7 by scripts/gen_sram_table.py",
            ],
            [
                "operations, LNZD node",
                "sim/data/published.toml",
                "published",
                "the paper's tables I and section VI",
            ],
            *(
                [name, f"{constant.value:g} {constant.unit}", constant.tag, constant.source]
                for name, constant in tagged().items()
            ),
        ],
    )


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
    shown = [replace(line, name=_NAMES.get(line.name, line.name)) for line in table if line.name != FILLER]
    caption = (
        f"One PE with the activity of {ACTIVITY}: the total, its kinds of cell, its blocks. The area's axis is "
        "logarithmic. Nothing drawn here is fitted but the filler cells within the total area; the clock network's "
        "cells are not modelled."
    )
    with style.figure(caption, columns=2, size=(10.8, 4.6)) as (drawn, (left, right)):
        _bars(left, shown, [line.power_mw for line in shown], [line.published.power_mw for line in shown])
        left.set_xlabel("power (mW)")
        left.set_title("Power of one PE")
        _bars(right, shown, [line.area_um2 for line in shown], [line.published.area_um2 for line in shown])
        right.set_xscale("log")
        right.set_xlabel("area (µm²)")
        right.set_title("Area of one PE")
        right.tick_params(labelleft=False)
        left.legend(loc="lower right")
    return Picture("energy_area", drawn, _alt(table))


def _bars(axes: Axes, shown: Sequence[Line], ours: Sequence[float], theirs: Sequence[float]) -> None:
    # Space between the total, the kinds of cell and the blocks.
    kinds = list(dict.fromkeys(line.kind for line in shown))
    places = [number + 0.6 * kinds.index(line.kind) for number, line in enumerate(shown)]
    axes.barh([p + 0.2 for p in places], theirs, 0.38, label="published", color=style.COLOURS[4])
    axes.barh([p - 0.2 for p in places], ours, 0.38, label="ours", color=style.COLOURS[0])
    axes.set_yticks(places, [line.name for line in shown])
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)


def _alt(table: Sequence[Line]) -> str:
    total = table[0]
    return (
        f"Bars of power and area of one PE, ours beside the published, by kind of cell and by block: in all "
        f"{total.power_mw:.2f} "
        f"against {total.published.power_mw} mW, {total.area_um2:,.0f} against {total.published.area_um2:,.0f} µm²."
    )
