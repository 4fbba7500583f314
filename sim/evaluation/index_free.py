"""The index-free machine on block-diagonal layers against the published machine on unstructured ones as dense."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eie.blocks import ALIGNED, SHUFFLED, BlockStructure
from eie.capacity import sized_for
from eie.config import ArchConfig
from eie.layer import CompressedLayer
from eie.result import Result
from eie.sim.energy.model import Estimate, estimate
from eie.sim.engines.fast import prepare
from eie.sim.evaluation.prose import prose, text_of
from eie.sim.evaluation.section import Progress, Section, Table, each
from eie.sim.workloads.random import random_blocks, random_input, random_layer

# Layers and inputs that are drawn of each size; figures are their means.
DRAWS = 3
ORDERS = (ALIGNED, SHUFFLED)
SPLIT = 2
TWO = {"issue": 2, "window": 2, "queue_depth": 16}


@dataclass(frozen=True)
class Size:
    """A layer of blocks: outputs x inputs, blocks, and the share of inputs that are not zero."""

    name: str
    rows: int
    cols: int
    blocks: int
    active: float

    @property
    def density(self) -> str:
        """Of the weights, as text."""
        return f"{100 / self.blocks:g} %"


SIZES = (
    Size("LeNet-5 fc1", 500, 800, 10, 0.6),
    Size("4096 x 4096", 4096, 4096, 10, 0.353),
    Size("4096 x 8192", 4096, 8192, 16, 0.183),
    Size("1024 x 8704", 1024, 8704, 16, 0.35),
)
# The layer, PEs and segments of the broadcast in segments, and the order of the blocks.
SEGMENTED = ((SIZES[3], 256, 4, ALIGNED), (SIZES[3], 256, 16, ALIGNED), (SIZES[0], 64, 2, SHUFFLED))


@dataclass(frozen=True)
class Draw:
    """One draw on the machines: results and estimates of the unstructured layer, and of each order of the blocks.

    two : with two entries a cycle. split : shuffled, the broadcast in `SPLIT` segments, with one and with two entries a
    cycle. energy, order_energy : memories of the published words, the blocks aligned; sized,
    order_sized : memories as large as the layer.
    """

    plain: Result
    energy: Estimate
    sized: Estimate
    orders: dict[str, Result]
    two: dict[str, Result]
    split: tuple[Result, Result]
    order_energy: Estimate
    order_sized: Estimate

    def times(self, order: str) -> float:
        """How much faster the index-free machine is, one entry a cycle."""
        return _cycles(self.plain) / _cycles(self.orders[order])

    @property
    def split_times(self) -> float:
        """The same in segments, shuffled."""
        return _cycles(self.plain) / _cycles(self.split[0])

    @property
    def share(self) -> float:
        """Energy over that of the unstructured layer, both with memories of the published words."""
        return self.order_energy.energy_nj / self.energy.energy_nj


def _cycles(result: Result) -> int:
    if result.cycles is None:
        raise AssertionError("the fast engine counts cycles")
    return result.cycles


def _run(
    layer: CompressedLayer, x: npt.NDArray[np.int64], base: ArchConfig
) -> tuple[Result, Estimate, Estimate]:
    """The layer on a machine of the base's memories, enlarged where they do not hold it, and as large as it needs."""
    sized = sized_for(base, layer)
    names = ("entries", "pointers", "src_depth", "acc_depth", "pointer_bits", "blocks")
    # Neither table nor pointers where the machine has none.
    cfg = base.replace(**{name: max(getattr(base, name), getattr(sized, name)) for name in names})
    result = prepare(layer, sized).run(x)
    return (
        result,
        estimate(cfg, result.counters, result.cycles),
        estimate(sized, result.counters, result.cycles),
    )


def draw(size: Size, seed: int) -> Draw:
    """One draw of a size: an unstructured layer, and the blocks in both orders, with the same input."""
    x = random_input(size.cols, size.active, seed)
    plain = _run(random_layer(size.rows, size.cols, 1 / size.blocks, seed), x, ArchConfig())
    orders, two, energies = {}, {}, {}
    for order in ORDERS:
        layer = random_blocks(BlockStructure(size.rows, size.cols, size.blocks, order), seed)
        orders[order], *energies[order] = _run(layer, x, ArchConfig.preset("blocks"))
        two[order], *_ = _run(layer, x, ArchConfig.preset("blocks", **TWO))
    in_two = (ArchConfig.preset("blocks", segments=SPLIT), ArchConfig.preset("blocks", segments=SPLIT, **TWO))
    one, more = (_run(layer, x, cfg)[0] for cfg in in_two)
    return Draw(*plain, orders, two, (one, more), *energies[ALIGNED])


@dataclass(frozen=True)
class Segments:
    """A layer on a machine with one broadcast, and on one of as many PEs whose broadcast is in segments."""

    size: Size
    n_pe: int
    segments: int
    order: str
    whole: Result
    split: Result
    whole_energy: Estimate
    split_energy: Estimate

    @property
    def times(self) -> float:
        """How much faster segments are."""
        return _cycles(self.whole) / _cycles(self.split)


def segmented(size: Size, n_pe: int, segments: int, order: str, seed: int) -> Segments:
    """One draw of a size, with one broadcast and in segments."""
    layer = random_blocks(BlockStructure(size.rows, size.cols, size.blocks, order), seed)
    x = random_input(size.cols, size.active, seed)
    whole, _, whole_energy = _run(layer, x, ArchConfig.preset("blocks", n_pe=n_pe))
    split, _, split_energy = _run(layer, x, ArchConfig.preset("blocks", n_pe=n_pe, segments=segments))
    return Segments(size, n_pe, segments, order, whole, split, whole_energy, split_energy)


def section(seed: int, progress: Progress | None = None) -> Section:
    """Run every size, and the broadcast in segments."""
    sizes = {size.name: size for size in SIZES}
    drawn = {
        name: [draw(sizes[name], seed + i) for i in range(DRAWS)]
        for name in each(sizes, progress, "blocks: ")
    }
    segments = [segmented(*one, seed) for one in SEGMENTED]
    shares = {name: float(np.mean([one.share for one in draws])) for name, draws in drawn.items()}
    times = {
        name: {order: float(np.mean([one.times(order) for one in draws])) for order in ORDERS}
        for name, draws in drawn.items()
    }
    return Section(
        key="blocks",
        title="Block-diagonal layers on the index-free machine",
        text=prose("blocks"),
        tables=(
            _cycle_table(drawn, times),
            _energy_table(drawn),
            _part_table(drawn),
            _segment_table(segments),
        ),
        data={
            "times": times,
            "split_times": {
                name: float(np.mean([one.split_times for one in draws])) for name, draws in drawn.items()
            },
            "energy": shares,
            "segments": [
                {
                    "layer": one.size.name,
                    "pe": one.n_pe,
                    "segments": one.segments,
                    "times": one.times,
                }
                for one in segments
            ],
        },
    )


def _mean(values: Sequence[float]) -> str:
    return f"{np.mean(values):,.0f}"


def _cycle_table(drawn: dict[str, list[Draw]], times: dict[str, dict[str, float]]) -> Table:
    rows = []
    for size in SIZES:
        draws = drawn[size.name]
        rows.append(
            [
                size.name,
                size.density,
                _mean([_cycles(one.plain) for one in draws]),
                *(_mean([_cycles(one.orders[order]) for one in draws]) for order in ORDERS),
                *(f"{times[size.name][order]:.3f}" for order in ORDERS),
                *(_mean([_cycles(one.two[order]) for one in draws]) for order in ORDERS),
                _mean([_cycles(one.split[0]) for one in draws]),
                f"{np.mean([one.split_times for one in draws]):.3f}",
                _mean([_cycles(one.split[1]) for one in draws]),
            ]
        )
    return Table(
        "Cycles, 64 PEs",
        (
            "layer",
            "density",
            "unstructured",
            "aligned",
            "shuffled",
            "x, aligned",
            "x, shuffled",
            "aligned, 2 a cycle",
            "shuffled, 2 a cycle",
            f"shuffled, {SPLIT} segments",
            f"x, {SPLIT} segments",
            f"{SPLIT} segments, 2 a cycle",
        ),
        rows,
        text_of("blocks", "cycle_note", draws=DRAWS),
    )


def _energy_table(drawn: dict[str, list[Draw]]) -> Table:
    rows = []
    for size in SIZES:
        draws = drawn[size.name]
        plain, ours = ([getattr(one, name).energy_nj for one in draws] for name in ("energy", "order_energy"))
        lean = [one.order_sized.energy_nj / one.sized.energy_nj for one in draws]
        area = draws[0].order_energy.pe_area_um2 / draws[0].energy.pe_area_um2
        rows.append(
            [
                size.name,
                _mean(plain),
                _mean(ours),
                f"{np.mean([one.share for one in draws]):.3f}",
                f"{np.mean(lean):.3f}",
                f"{area:.3f}",
            ]
        )
    return Table(
        "Energy and area, aligned",
        ("layer", "unstructured, nJ", "index-free, nJ", "energy", "energy, own memories", "area of a PE"),
        rows,
        text_of("blocks", "energy_note"),
    )


# Parts of the energy: blocks of the model that they sum.
_PARTS = {
    "pointers": ("ptr_read",),
    "matrix SRAM and its reader": ("spmat_read",),
    "arithmetic, accumulators": ("arithm_unit", "act_rw"),
    "queues": ("act_queue",),
    "CCU, tree, block table": ("ccu", "lnzd", "block_table"),
}


def _part_table(drawn: dict[str, list[Draw]]) -> Table:
    def of(energy: Estimate, blocks: Sequence[str]) -> float:
        return sum(
            part.count * part.energy_nj(energy.seconds) for part in energy.parts if part.block in blocks
        )

    rows = []
    for size in SIZES:
        first = drawn[size.name][0]
        cells = (
            f"{of(first.energy, blocks):,.0f} -> {of(first.order_energy, blocks):,.0f}"
            for blocks in _PARTS.values()
        )
        rows.append([size.name, *cells])
    return Table(
        "Parts of the energy, nJ: unstructured -> index-free, aligned",
        ("layer", *_PARTS),
        rows,
        "The first draw. Index-free the part of the pointers is what finds a PE's rows: two comparisons, no SRAM.",
    )


def _segment_table(segments: Sequence[Segments]) -> Table:
    return Table.of(
        "A broadcast in segments",
        (
            ("layer", lambda one: one.size.name),
            ("PEs", lambda one: str(one.n_pe)),
            ("order", lambda one: one.order),
            ("cycles, one broadcast", lambda one: f"{_cycles(one.whole):,}"),
            ("segments", lambda one: f"{one.segments} x {one.n_pe // one.segments} PEs"),
            ("cycles, in segments", lambda one: f"{_cycles(one.split):,}"),
            ("times", lambda one: f"{one.times:.2f}"),
            ("energy", lambda one: f"{one.split_energy.energy_nj / one.whole_energy.energy_nj:.3f}"),
            ("area", lambda one: f"{one.split_energy.area_mm2 / one.whole_energy.area_mm2:.3f}"),
        ),
        segments,
        text_of("blocks", "segment_note"),
    )
