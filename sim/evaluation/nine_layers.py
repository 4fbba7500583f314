"""The nine layers: published and simulated times side by side, and every cycle of the difference attributed.

Nothing is fitted. The unevenness of the uneven variants is measured on the example's trained and pruned network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from scipy.stats import gmean

from eie.compress.float_layers import FloatLayer
from eie.compress.pipeline import Settings
from eie.config import ArchConfig
from eie.sim.engines.fast import prepare, timing
from eie.sim.evaluation.layers import BENCHMARKS, benchmark, machine
from eie.sim.evaluation.lines import percent
from eie.sim.evaluation.prose import prose, text_of
from eie.sim.evaluation.section import Picture, Progress, Section, Table, each
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


def _text(facts: Sequence[PublishedLayer], runs: Runs, like: TrainedLayer, seed: int) -> list[str]:
    even = runs["even"]
    we = BENCHMARKS.index("NT-We")
    # The theoretical time that is furthest from ours, and what the rounding of the published density explains of it.
    i = min(range(len(facts)), key=lambda i: -abs(np.log(_us(even[i].work) / facts[i].theoretical_us)))
    layer, ours = facts[i], _us(even[i].work)
    end = layer.weight_density + (_ROUNDING if ours < layer.theoretical_us else -_ROUNDING)
    drawn = random_layer(layer.rows, layer.cols, end, seed)
    x = random_input(layer.cols, layer.activation_density, seed)
    work = prepare(drawn, machine(drawn)).lengths[np.flatnonzero(x)].sum(dtype=np.int64)
    return prose(
        "layers",
        ours=1 + even[we].overhead,
        theirs=1 + facts[we].overhead,
        like=like,
        between=sum(
            even[i].overhead <= layer.overhead <= runs["both"][i].overhead for i, layer in enumerate(facts)
        ),
        furthest=layer,
        furthest_us=ours,
        end=end,
        end_us=_us(work / published().machine.n_pe),
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
    for name in each(BENCHMARKS, progress, "nine layers: "):
        for variant, uneven in variants.items():
            runs[variant].append(attributed(name, seed, uneven))
    facts = published().layers
    return Section(
        key="layers",
        title="The nine layers",
        text=_text(facts, runs, like, seed),
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


def _ratios(layer: PublishedLayer, run: Attribution) -> tuple[float, float, float]:
    """Ours over the published theoretical time, actual time, and quotient of the two."""
    return (
        _us(run.work) / layer.theoretical_us,
        _us(run.cycles) / layer.actual_us,
        (1 + run.overhead) / (1 + layer.overhead),
    )


def _times(facts: Sequence[PublishedLayer], runs: Sequence[Attribution]) -> Table:
    pairs = list(zip(facts, runs, strict=True))
    table = Table.of(
        "Times of the nine layers in µs: 64 PEs, queue depth 8, 800 MHz",
        (
            ("layer", lambda pair: pair[0].name),
            ("theoretical, published", lambda pair: f"{pair[0].theoretical_us:.1f}"),
            ("ours", lambda pair: f"{_us(pair[1].work):.1f}"),
            ("ours / published", lambda pair: f"{_ratios(*pair)[0]:.2f}"),
            ("actual, published", lambda pair: f"{pair[0].actual_us:.1f}"),
            ("ours", lambda pair: f"{_us(pair[1].cycles):.1f}"),
            ("ours / published", lambda pair: f"{_ratios(*pair)[1]:.2f}"),
            ("overhead, published", lambda pair: percent(pair[0].overhead)),
            ("ours", lambda pair: percent(pair[1].overhead)),
            ("actual / theoretical: ours / published", lambda pair: f"{_ratios(*pair)[2]:.3f}"),
        ),
        pairs,
        "Theoretical: entries, padding included, over 64 PEs x 800 MHz. Overhead: actual / theoretical - 1.",
    )
    work, time, both = gmean([_ratios(*pair) for pair in pairs])
    means = ["geometric mean", "", "", f"{work:.2f}", "", "", f"{time:.2f}", "", "", f"{both:.3f}"]
    return replace(table, rows=[*table.rows, means])


def _terms(facts: Sequence[PublishedLayer], runs: Sequence[Attribution]) -> Table:
    return Table.of(
        "Where the cycles go: work + empty columns + balance + queue + fill = cycles",
        (
            ("layer", lambda pair: pair[0].name),
            ("work", lambda pair: f"{pair[1].work:,.1f}"),
            ("empty columns", lambda pair: f"{pair[1].empty:,.1f}"),
            ("balance", lambda pair: f"{pair[1].balance:,.1f}"),
            ("queue", lambda pair: f"{pair[1].queue:,}"),
            ("fill", lambda pair: f"{pair[1].fill}"),
            ("cycles", lambda pair: f"{pair[1].cycles:,.0f}"),
            ("cycles, unlimited queue", lambda pair: f"{pair[1].cycles - pair[1].queue:,.0f}"),
            ("empty / work", lambda pair: percent(pair[1].empty / pair[1].work)),
            ("balance / work", lambda pair: percent(pair[1].balance / pair[1].work)),
            ("queue / work", lambda pair: percent(pair[1].queue / pair[1].work)),
            ("fill / work", lambda pair: percent(pair[1].fill / pair[1].work)),
        ),
        zip(facts, runs, strict=True),
        "Cycles; work, empty columns and balance are means over the 64 PEs, hence the fractions.",
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
    return Table.of(
        "Unevenness of a trained network: the example, LeNet-300-100, pruned",
        (
            ("layer", lambda layer: layer.name),
            ("outputs x inputs", lambda layer: f"{layer.rows} x {layer.cols}"),
            ("density", lambda layer: percent(layer.density)),
            ("density at active inputs", lambda layer: percent(layer.active_density)),
            ("variation of rows", lambda layer: f"{layer.uneven.rows:.2f}"),
            ("variation of columns", lambda layer: f"{layer.uneven.cols:.2f}"),
        ),
        trained,
        "Variation: standard deviation over mean of the rows' (columns') densities, less what chance makes.",
    )


_LABELS = {
    "empty": "empty columns",
    "balance": "balance: busiest PE - mean",
    "queue": "queue: depth 8 - unlimited",
    "fill": "start-up and pipeline",
}


def _finish(axes: Axes, facts: Sequence[PublishedLayer], title: str, label: str, shift: float = 0.0) -> None:
    """The published overheads, and axes of times beyond the theoretical ones."""
    x = np.arange(len(facts))
    axes.plot(x + shift, [100 * layer.overhead for layer in facts], label=label, **PUBLISHED_STAR)
    axes.set_xticks(x, [layer.name for layer in facts])
    axes.set(title=title, ylabel="time beyond theoretical, %")
    axes.grid(axis="x", visible=False)
    axes.legend(loc="upper left")


def _draw_terms(facts: Sequence[PublishedLayer], runs: Sequence[Attribution]) -> Picture:
    x = np.arange(len(facts))
    with figure(text_of("layers", "terms"), size=(7.6, 4.3)) as (drawn, (axes,)):
        below = np.zeros(len(facts))
        for colour, (name, label) in zip(COLOURS, _LABELS.items(), strict=False):
            height = np.array([100 * getattr(run, name) / run.work for run in runs])
            axes.bar(x, height, 0.6, bottom=below, color=colour, label=label)
            below += height
        _finish(axes, facts, "Where the time beyond the theoretical goes", "published overhead")
    alt = text_of("layers", "terms_alt", pairs=list(zip(facts, runs, strict=True)))
    return Picture("nine_layers_overhead", drawn, alt)


def _draw_variants(facts: Sequence[PublishedLayer], runs: Runs, like: TrainedLayer) -> Picture:
    x = np.arange(len(facts))
    with figure(text_of("layers", "variants", like=like), size=(7.6, 4.3)) as (drawn, (axes,)):
        labels = ("even", "uneven columns", "uneven rows", "uneven rows and columns")
        # Side by side, so that none hides another.
        offsets = np.linspace(-0.24, 0.12, len(labels))
        for label, offset, found, colour, marker in zip(
            labels, offsets, runs.values(), COLOURS, "osv^", strict=False
        ):
            axes.plot(x + offset, [100 * run.overhead for run in found], marker, color=colour, label=label)
        _finish(axes, facts, "Overhead of even and of uneven matrices", "published", 0.24)
        axes.set_ylim(bottom=0)
    return Picture("nine_layers_uneven", drawn, text_of("layers", "variants_alt"))
