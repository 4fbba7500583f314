"""The nine layers: published and simulated times side by side, and every cycle of the difference attributed.

Nothing is fitted. The unevenness of the uneven variants is measured on the example's trained and pruned network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.stats import gmean

from eie.compress.float_layers import FloatLayer
from eie.compress.pipeline import Settings
from eie.config import ArchConfig
from eie.sim.engines.fast import prepare, timing
from eie.sim.evaluation.layers import BENCHMARKS, benchmark, machine
from eie.sim.evaluation.lines import RANDOM_LAYERS, percent
from eie.sim.evaluation.section import Picture, Progress, Section, Table
from eie.sim.plots.style import COLOURS, PUBLISHED_STAR, figure
from eie.sim.published import PublishedLayer, published
from eie.sim.workloads.example import DENSITIES, EXAMPLE, read_digits, read_trained, require
from eie.sim.workloads.random import Unevenness, random_input, random_layer
from eie.timing import constants

# The example's layer that stands for a trained one: its inputs are hidden activations, as those of the nine layers; the
# first layer's are pixels, many of which are never lit.
TRAINED = 1


@dataclass(frozen=True)
class Attribution:
    """Where the cycles of one run go. The terms add up to its cycles exactly; each is in cycles.

    work : entries, fillers included, over the PEs: the published "theoretical" time.
    empty : active columns of which a PE holds no entry, a cycle each: the mean over the PEs.
    balance : the busiest PE's entries and empty columns beyond the mean.
    queue : what queues of the given depth cost against queues without a limit.
    fill : start-up of the tree, filling and draining of the pipeline: T0 + A + C.
    """

    work: float
    empty: float
    balance: float
    queue: int
    fill: int

    @property
    def cycles(self) -> float:
        """The sum of all terms."""
        return self.work + self.empty + self.balance + self.queue + self.fill

    @property
    def overhead(self) -> float:
        """Time beyond the theoretical one, as a fraction of it."""
        return self.cycles / self.work - 1


# Published densities are whole percentages.
_ROUNDING = 0.005
# The nine layers in the published order, for each variant.
Runs = dict[str, list[Attribution]]
_OVERHEADS = tuple(field.name for field in fields(Attribution) if field.name != "work")


def attribute(lengths: npt.NDArray[np.integer], cfg: ArchConfig) -> Attribution:
    """Split a run's cycles.

    Parameters
    ----------
    lengths : int[M, n_pe], entries (fillers included) of each active column on each PE, M at least 1.

    >>> attribute(np.array([[3, 0], [1, 2]]), ArchConfig(n_pe=2))
    Attribution(work=3.0, empty=0.5, balance=0.5, queue=0, fill=7)
    """
    busy = np.maximum(lengths, 1).sum(axis=0, dtype=np.int64)
    # n_pe is a power of two, so that these quotients are exact.
    work, mean = int(np.sum(lengths, dtype=np.int64)) / cfg.n_pe, int(busy.sum()) / cfg.n_pe
    k = constants(cfg)
    cycles, _ = timing(lengths, cfg)
    unbounded, _ = timing(lengths, cfg, unbounded=True)
    parts = Attribution(
        work, mean - work, int(busy.max()) - mean, queue=cycles - unbounded, fill=k.T0 + k.A + k.C
    )
    if parts.cycles != cycles:
        raise AssertionError(f"the terms of {parts} do not add up to {cycles} cycles")
    return parts


@dataclass(frozen=True)
class TrainedLayer:
    """What the pruned example says of trained matrices.

    density : of the whole matrix; active_density : of its columns weighted by how often their input is not zero.
    """

    name: str
    rows: int
    cols: int
    density: float
    active_density: float
    uneven: Unevenness


def trained_layers(example: Path) -> list[TrainedLayer]:
    """The example network's layers, pruned by magnitude to its `DENSITIES`; inputs are its digits.

    Raises
    ------
    ModelError : the example's files are missing or are something else.
    """
    require(example, "layers")
    network = read_trained(example)
    x: npt.NDArray[np.floating] = read_digits(example).pixels
    found = []
    for layer, kept in zip(network, Settings(density=DENSITIES).per_layer(network), strict=True):
        found.append(_trained_layer(layer, kept, (x > 0).mean(axis=0)))
        x = replace(layer, weight=np.where(kept, layer.weight, np.float32(0))).forward(x)
    return found


def _trained_layer(
    layer: FloatLayer, kept: npt.NDArray[np.bool_], active: npt.NDArray[np.float64]
) -> TrainedLayer:
    rows, cols = kept.shape
    weighted = float(kept.mean(axis=0) @ active / active.sum())
    return TrainedLayer(layer.name, rows, cols, float(kept.mean()), weighted, Unevenness.of(kept))


def attributed(name: str, seed: int, uneven: Unevenness | None = None) -> Attribution:
    """A benchmark's cycles on the published machine, split."""
    layer, x = benchmark(name, seed, uneven)
    cfg = machine(layer)
    return attribute(prepare(layer, cfg).lengths[np.flatnonzero(x)], cfg)


def _furthest(facts: Sequence[PublishedLayer], runs: Sequence[Attribution], seed: int) -> str:
    """What the rounding of the published density explains of the theoretical time that is furthest from ours."""
    i = min(range(len(facts)), key=lambda i: -abs(np.log(_us(runs[i].work) / facts[i].theoretical_us)))
    layer, ours = facts[i], _us(runs[i].work)
    end = layer.weight_density + (_ROUNDING if ours < layer.theoretical_us else -_ROUNDING)
    drawn = random_layer(layer.rows, layer.cols, end, seed)
    x = random_input(layer.cols, layer.activation_density, seed)
    work = prepare(drawn, machine(drawn)).lengths[np.flatnonzero(x)].sum(dtype=np.int64)
    return (
        f"{layer.name}'s theoretical time is furthest from the published one: {ours:.1f} of {layer.theoretical_us:.1f} "
        f"µs, and {_us(work / published().machine.n_pe):.1f} µs with {percent(end)} of the weights, the end of what is "
        f"published as {percent(layer.weight_density, 0)}. Rounding is not all of it: the work is in the columns of "
        "active inputs, which in a trained network are not like the others (see the last table)."
    )


def section(seed: int, progress: Progress | None, example: Path = EXAMPLE) -> Section:
    """Run the nine layers, even and uneven."""
    trained = trained_layers(example)
    like = trained[TRAINED]
    variants = {
        "even": None,
        "columns": Unevenness(cols=like.uneven.cols),
        "rows": Unevenness(rows=like.uneven.rows),
        "both": like.uneven,
    }
    runs: Runs = {variant: [] for variant in variants}
    for name in BENCHMARKS:
        for variant, uneven in variants.items():
            runs[variant].append(attributed(name, seed, uneven))
        if progress:
            progress(f"nine layers: {name}")
    facts = published().layers
    return Section(
        key="layers",
        title="The nine layers",
        text=[*_text(facts, runs, like), _furthest(facts, runs["even"], seed)],
        tables=(
            _times(facts, runs["even"]),
            _terms(facts, runs["even"]),
            _variants(facts, runs, like),
            _trained(trained),
        ),
        pictures=(_draw_terms(facts, runs["even"]), _draw_variants(facts, runs, like)),
        data={
            "unevenness": {"rows": like.uneven.rows, "cols": like.uneven.cols},
            "cycles": {
                variant: {name: vars(run) for name, run in zip(BENCHMARKS, found, strict=True)}
                for variant, found in runs.items()
            },
        },
    )


def _us(cycles: float) -> float:
    return cycles / published().machine.clock_mhz


def _times(facts: Sequence[PublishedLayer], runs: Sequence[Attribution]) -> Table:
    rows, ratios = [], []
    for layer, run in zip(facts, runs, strict=True):
        theoretical, actual = _us(run.work), _us(run.cycles)
        ratio = (
            theoretical / layer.theoretical_us,
            actual / layer.actual_us,
            (1 + run.overhead) / (1 + layer.overhead),
        )
        ratios.append(ratio)
        rows.append(
            [
                layer.name,
                f"{layer.theoretical_us:.1f}",
                f"{theoretical:.1f}",
                f"{ratio[0]:.2f}",
                f"{layer.actual_us:.1f}",
                f"{actual:.1f}",
                f"{ratio[1]:.2f}",
                percent(layer.overhead),
                percent(run.overhead),
                f"{ratio[2]:.3f}",
            ]
        )
    means = gmean(np.array(ratios))
    rows.append(
        ["geometric mean", "", "", f"{means[0]:.2f}", "", "", f"{means[1]:.2f}", "", "", f"{means[2]:.3f}"]
    )
    return Table(
        title="Times of the nine layers in µs: 64 PEs, queue depth 8, 800 MHz",
        headings=(
            "layer",
            "theoretical, published",
            "ours",
            "ours / published",
            "actual, published",
            "ours",
            "ours / published",
            "overhead, published",
            "ours",
            "actual / theoretical: ours / published",
        ),
        rows=rows,
        note="Theoretical: entries, padding included, over 64 PEs x 800 MHz. Overhead: actual / theoretical - 1.",
    )


def _terms(facts: Sequence[PublishedLayer], runs: Sequence[Attribution]) -> Table:
    rows = [
        [
            layer.name,
            f"{run.work:,.1f}",
            *(f"{getattr(run, name):,.1f}" for name in ("empty", "balance")),
            f"{run.queue:,}",
            f"{run.fill}",
            f"{run.cycles:,.0f}",
            f"{run.cycles - run.queue:,.0f}",
            *(percent(getattr(run, name) / run.work) for name in _OVERHEADS),
        ]
        for layer, run in zip(facts, runs, strict=True)
    ]
    return Table(
        title="Where the cycles go: work + empty columns + balance + queue + fill = cycles",
        headings=(
            "layer",
            "work",
            "empty columns",
            "balance",
            "queue",
            "fill",
            "cycles",
            "cycles, unlimited queue",
            *(f"{name} / work" for name in _OVERHEADS),
        ),
        rows=rows,
        note="Cycles; work, empty columns and balance are means over the 64 PEs, hence the fractions.",
    )


def _variants(facts: Sequence[PublishedLayer], runs: Runs, like: TrainedLayer) -> Table:
    rows = [
        [layer.name, percent(layer.overhead), *(percent(found[i].overhead) for found in runs.values())]
        for i, layer in enumerate(facts)
    ]
    return Table(
        title="Overhead of even and of uneven matrices",
        headings=("layer", "published", "even", "uneven columns", "uneven rows", "uneven rows and columns"),
        rows=rows,
        note=f"As uneven as the example's pruned layer {like.name}; see the next table.",
    )


def _trained(trained: Sequence[TrainedLayer]) -> Table:
    return Table(
        title="Unevenness of a trained network: the example, LeNet-300-100, pruned",
        headings=(
            "layer",
            "outputs x inputs",
            "density",
            "density at active inputs",
            "variation of rows",
            "variation of columns",
        ),
        rows=[
            [
                layer.name,
                f"{layer.rows} x {layer.cols}",
                percent(layer.density),
                percent(layer.active_density),
                f"{layer.uneven.rows:.2f}",
                f"{layer.uneven.cols:.2f}",
            ]
            for layer in trained
        ],
        note="Variation: standard deviation over mean of the rows' (columns') densities, less what chance makes.",
    )


def _text(facts: Sequence[PublishedLayer], runs: Runs, like: TrainedLayer) -> list[str]:
    we = BENCHMARKS.index("NT-We")
    ours, theirs = 1 + runs["even"][we].overhead, 1 + facts[we].overhead
    between = sum(
        runs["even"][i].overhead <= layer.overhead <= runs["both"][i].overhead
        for i, layer in enumerate(facts)
    )
    return [
        "Random matrices of the published sizes and densities, on the published machine. The published densities are "
        "rounded and the real matrices are uneven, so that absolute times differ; actual over theoretical is the "
        f"fairer comparison. NT-We, the layer with the most overhead: {ours:.2f} ours, {theirs:.2f} published "
        f"({percent(ours / theirs - 1)} more).",
        "With stalls off, the busiest PE's work and the fill are left. That is the time with an unlimited queue, to "
        "the cycle: activations arrive one per cycle and occupy each PE for at least one, so that no PE waits once it "
        "has begun.",
        "The uneven variants vary the probability of a weight by row and by column (standard deviation over mean "
        f"{like.uneven.rows:.2f} and {like.uneven.cols:.2f}) as much as the example's {like.name} does. The published "
        f"overhead lies between the even and the uneven variant in {between} of {len(facts)} layers.",
    ]


_LABELS = {
    "empty": "empty columns",
    "balance": "balance: busiest PE - mean",
    "queue": "queue: depth 8 - unlimited",
    "fill": "start-up and pipeline",
}


def _draw_terms(facts: Sequence[PublishedLayer], runs: Sequence[Attribution]) -> Picture:
    x = np.arange(len(facts))
    with figure(
        f"{RANDOM_LAYERS} 64 PEs, queue depth 8. The parts of each bar add up to the simulated cycles "
        "exactly.",
        size=(7.6, 4.3),
    ) as (drawn, (axes,)):
        below = np.zeros(len(facts))
        for colour, (name, label) in zip(COLOURS, _LABELS.items(), strict=False):
            height = np.array([100 * getattr(run, name) / run.work for run in runs])
            axes.bar(x, height, 0.6, bottom=below, color=colour, label=label)
            below += height
        axes.plot(
            x,
            [100 * layer.overhead for layer in facts],
            label="published overhead",
            **PUBLISHED_STAR,
        )
        axes.set_xticks(x, [layer.name for layer in facts])
        axes.set_ylabel("time beyond theoretical, %")
        axes.set_title("Where the time beyond the theoretical goes")
        axes.grid(axis="x", visible=False)
        axes.legend(loc="upper left")
    return Picture(
        "nine_layers_overhead",
        drawn,
        "Stacked bars of the overhead of each layer by cause, published overhead as stars: "
        + ", ".join(
            f"{layer.name} {percent(run.overhead)} (published {percent(layer.overhead)})"
            for layer, run in zip(facts, runs, strict=True)
        ),
    )


def _draw_variants(facts: Sequence[PublishedLayer], runs: Runs, like: TrainedLayer) -> Picture:
    x = np.arange(len(facts))
    with figure(
        f"{RANDOM_LAYERS} Uneven: the densities of rows vary by {like.uneven.rows:.2f}, of columns by "
        f"{like.uneven.cols:.2f} (standard deviation over mean), as in layer {like.name} of the pruned LeNet-300-100. "
        "64 PEs, queue depth 8.",
        size=(7.6, 4.3),
    ) as (drawn, (axes,)):
        labels = ("even", "uneven columns", "uneven rows", "uneven rows and columns")
        # Side by side, so that none hides another.
        offsets = np.linspace(-0.24, 0.12, len(labels))
        for label, offset, found, colour, marker in zip(
            labels, offsets, runs.values(), COLOURS, "osv^", strict=False
        ):
            axes.plot(x + offset, [100 * run.overhead for run in found], marker, color=colour, label=label)
        axes.plot(
            x + 0.24,
            [100 * layer.overhead for layer in facts],
            label="published",
            **PUBLISHED_STAR,
        )
        axes.set_xticks(x, [layer.name for layer in facts])
        axes.set_ylabel("time beyond theoretical, %")
        axes.set_ylim(bottom=0)
        axes.set_title("Overhead of even and of uneven matrices")
        axes.grid(axis="x", visible=False)
        axes.legend(loc="upper left")
    return Picture(
        "nine_layers_uneven",
        drawn,
        "Overhead of each layer as a random matrix with even densities, with uneven columns, uneven rows and both, and "
        "the published overhead",
    )
