"""Fig. 9: how wide the matrix SRAM should be: fewer reads of wider words against dearer ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from eie.config import ArchConfig
from eie.sim.energy.width import MATRIX_BYTES, WidthPoint, sram_width_energy
from eie.sim.evaluation.layers import BENCHMARKS, benchmark
from eie.sim.evaluation.prose import prose, text_of
from eie.sim.evaluation.section import Picture, Progress, Section, Table, each
from eie.sim.plots import style
from eie.sim.published import published

# The network that the paper measures.
ALEXNET = tuple(name for name in BENCHMARKS if name.startswith("Alex-"))
# At a column's start: a read of its first word, or none if that word was read last and is still there.
FRESH, HELD = "each column begins with a read", "the last word is held"

# By what happens at a column's start, then by layer.
Points = dict[str, dict[str, Sequence[WidthPoint]]]


def section(seed: int, progress: Progress | None, names: Sequence[str] = BENCHMARKS) -> Section:
    """Reads and their energy against the width of the matrix SRAM, for every layer and for AlexNet."""
    widths = published().statements.sram_widths
    points: Points = {FRESH: {}, HELD: {}}
    for name in each(names, progress, "SRAM width, "):
        layer, x = benchmark(name, seed)
        for rule, by_layer in points.items():
            by_layer[name] = sram_width_energy(layer, x, ArchConfig(), widths, held=rule == HELD)
    alexnet = {rule: _summed(by_layer) for rule, by_layer in points.items()}
    return Section(
        key="fig9",
        title="SRAM width (Fig. 9)",
        text=_text(points, alexnet),
        tables=[
            _alexnet_table(alexnet),
            *(_layer_table(rule, by_layer) for rule, by_layer in points.items()),
        ],
        pictures=[Picture("fig9_sram_width", _draw(alexnet), _alt(alexnet))],
        data={
            "seed": seed,
            "sram_bytes": MATRIX_BYTES,
            "layers": {
                rule: {
                    name: [vars(point) | {"total_nj": point.total_nj} for point in line]
                    for name, line in by_layer.items()
                }
                for rule, by_layer in points.items()
            },
        },
    )


def _summed(by_layer: Mapping[str, Sequence[WidthPoint]]) -> list[WidthPoint]:
    """The AlexNet layers that were measured, one after another."""
    lines = [line for name, line in by_layer.items() if name in ALEXNET]
    return [
        WidthPoint(same[0].width_bits, sum(point.reads for point in same), same[0].read_pj)
        for same in zip(*lines, strict=True)
    ]


def cheapest(line: Sequence[WidthPoint]) -> int:
    """The width of least energy."""
    return min(line, key=lambda point: point.total_nj).width_bits


def _text(points: Points, alexnet: Mapping[str, Sequence[WidthPoint]]) -> list[str]:
    best = published().statements.sram_best_width
    held, fresh = (
        next(point for point in alexnet[rule] if point.width_bits == best) for rule in (HELD, FRESH)
    )
    return prose(
        "fig9",
        fresh=alexnet[FRESH],
        held=alexnet[HELD],
        by_layer=[cheapest(line) for line in points[FRESH].values()],
        cheapest=cheapest,
        ratio=held.total_nj / fresh.total_nj,
    )


def _alexnet_table(alexnet: Mapping[str, Sequence[WidthPoint]]) -> Table:
    rows = []
    for fresh, held in zip(alexnet[FRESH], alexnet[HELD], strict=True):
        cells = [f"{p.reads:,}" for p in (fresh, held)] + [f"{p.total_nj:,.0f}" for p in (fresh, held)]
        rows.append([f"{fresh.width_bits}", f"{fresh.read_pj:.1f}", *cells])
    return Table(
        "AlexNet, three layers",
        ["width, bits", "pJ a read", "reads", "reads, held", "energy, nJ", "energy, held, nJ"],
        rows,
        text_of("fig9", "note", kilobytes=MATRIX_BYTES >> 10),
    )


def _layer_table(rule: str, by_layer: Mapping[str, Sequence[WidthPoint]]) -> Table:
    widths = [point.width_bits for point in next(iter(by_layer.values()))]
    return Table(
        f"Energy of all reads in nJ; {rule}",
        ["layer", *(f"{width} bits" for width in widths), "least at"],
        [
            [name, *(f"{point.total_nj:,.0f}" for point in line), f"{cheapest(line)} bits"]
            for name, line in by_layer.items()
        ],
    )


def _alt(alexnet: Mapping[str, Sequence[WidthPoint]]) -> str:
    return text_of("fig9", "alt", fresh=cheapest(alexnet[FRESH]), held=cheapest(alexnet[HELD]))


def _draw(alexnet: Mapping[str, Sequence[WidthPoint]]) -> Figure:
    best = published().statements.sram_best_width
    caption = text_of("fig9", "caption", kilobytes=MATRIX_BYTES >> 10, best=best)
    with style.figure(caption, columns=3, size=(10.8, 4.2)) as (figure, (reads, each, total)):
        for number, (rule, line) in enumerate(alexnet.items()):
            look: dict[str, Any] = {
                "color": style.COLOURS[number],
                "marker": style.MARKERS[number],
                "label": rule,
            }
            widths = [point.width_bits for point in line]
            reads.plot(widths, [point.reads / 1e6 for point in line], **look)
            total.plot(widths, [point.total_nj / 1e3 for point in line], **look)
        each.plot(widths, [point.read_pj for point in line], color=style.COLOURS[2], marker=style.MARKERS[2])
        for axes, title, label in (
            (reads, "Reads", "reads of all PEs (millions)"),
            (each, "Energy of a read", "energy of a read (pJ)"),
            (total, "Energy of all reads", "energy of all reads (µJ)"),
        ):
            style.powers_of_two(axes, widths, "SRAM width (bits)")
            axes.axvline(best, color=style.GREY, linewidth=1.0, linestyle="--", zorder=1)
            axes.set_ylim(bottom=0)
            axes.set(title=title, ylabel=label)
        total.legend(fontsize=8.5, loc="upper left")
        total.set_ylim(top=1.25 * total.get_ylim()[1])
    return figure
