"""The better machine against our own published one: what each mechanism buys, at which energy and area."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import gmean

from eie.balance import place
from eie.capacity import sized_for
from eie.config import ABSOLUTE, FIELDS, ArchConfig
from eie.layer import CompressedLayer
from eie.plan import make_plan
from eie.result import Result
from eie.sim.chain import load
from eie.sim.energy.model import Estimate, estimate
from eie.sim.engines.fast import prepare
from eie.sim.engines.fast_plan import FastPlan
from eie.sim.evaluation.layers import BENCHMARKS, benchmark, published_machine
from eie.sim.evaluation.lines import RANDOM_LAYERS
from eie.sim.evaluation.nine_layers import TRAINED, trained_layers
from eie.sim.evaluation.prose import prose, text_of
from eie.sim.evaluation.section import Picture, Progress, Section, Table, each
from eie.sim.plots import style
from eie.sim.published import published
from eie.sim.workloads.example import EXAMPLE
from eie.sim.workloads.random import Unevenness

Work = tuple[CompressedLayer, npt.NDArray[np.int64]]
PE_COUNTS = (16, 32, 64, 128, 256)
EVEN, UNEVEN = "even", "uneven"
# The most rows that absolute ones reach on a PE: a layer of more runs in passes.
_ROWS = 1 << max(FIELDS["row_bits"].metadata["choices"])
_DIGITS = 50


@dataclass(frozen=True)
class Rung:
    """A machine of the ladder: what it has more than the published one, and whether its rows are balanced."""

    name: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    balanced: bool = False


_ABSOLUTE = {"row_format": ABSOLUTE}
_FREE = _ABSOLUTE | {"filter_empty": 1, "queue_depth": 16}
_PAIRS = _FREE | {"group": 2}
# What several entries a cycle take beside, for the clock's sake.
_CLOCK = {"lookup_register": 1}
_TWO = _PAIRS | {"issue": 2, "window": 2} | _CLOCK
PUBLISHED = Rung("published machine")
EIE2 = Rung("two entries a cycle: eie2", _TWO, True)
LADDER = (
    PUBLISHED,
    Rung("no fillers (absolute rows)", _ABSOLUTE),
    Rung("+ empty columns free, depth 16", _FREE),
    Rung("+ rows balanced over PEs", _FREE, True),
    Rung("+ columns broadcast in pairs", _PAIRS, True),
    EIE2,
    Rung(
        "four entries a cycle, depth 32, window 3",
        _PAIRS | {"issue": 4, "window": 3, "queue_depth": 32} | _CLOCK,
        True,
    ),
)
ONE = Rung("one entry a cycle, all else, depth 32", _PAIRS | {"queue_depth": 32} | _CLOCK, True)
ALONE = (
    Rung("no fillers, alone", _ABSOLUTE),
    Rung("empty columns free, alone", {"filter_empty": 1}),
    Rung("depth 16, alone", {"queue_depth": 16}),
    Rung("pairs, alone", {"group": 2}),
    Rung("balanced rows, alone", {}, True),
    Rung("eie2 without pairs", _TWO | {"group": 1}, True),
    Rung("eie2 without balance", _TWO),
)


@dataclass(frozen=True)
class Ran:
    """A layer on a machine. work : entries of active columns that are no fillers, mean of the PEs. pairs : active."""

    cycles: int
    work: float
    pairs: int
    energy: Estimate
    banked: Estimate

    @property
    def over(self) -> float:
        """Cycles over non-zeros / PEs."""
        return self.cycles / self.work

    def over_bound(self, issue: int) -> float:
        """Cycles over what neither the entries nor the broadcasts let it fall below."""
        return self.cycles / max(self.work / issue, self.pairs)


Runs = dict[str, list[Ran]]


def machine_for(layer: CompressedLayer, changes: Mapping[str, Any], n_pe: int = 64) -> ArchConfig:
    """The published memories with these switches; what the layer needs more of is enlarged.

    The matrix SRAM keeps its words. Absolute rows are as wide as the accumulators need, 6 bits for the published 64.
    """
    base = published_machine().replace(n_pe=n_pe)
    rows = max(base.acc_depth, min(-(-layer.rows // n_pe), _ROWS if "row_format" in changes else layer.rows))
    if "row_format" in changes:
        bits = min(bits for bits in FIELDS["row_bits"].metadata["choices"] if rows <= 1 << bits)
        changes = {"row_bits": bits, **changes}
    words = base.spmat_words
    base = base.replace(acc_depth=rows, **changes)
    base = base.replace(entries=words * base.entries_per_word, act_words=max(base.act_words, 4 * rows))
    return base if -(-layer.rows // n_pe) > _ROWS and base.absolute else _enlarged(base, layer)


def _enlarged(base: ArchConfig, layer: CompressedLayer) -> ArchConfig:
    needed = sized_for(base, layer)
    names = ("entries", "pointers", "pointer_bits", "src_depth")
    # Of the machine's own places a word: the narrowest rows of `sized_for` are another matter.
    entries = needed.spmat_words * base.entries_per_word
    return base.replace(
        **{
            name: max(getattr(base, name), entries if name == "entries" else getattr(needed, name))
            for name in names
        }
    )


def measure(work: Work, rung: Rung, n_pe: int = 64) -> Ran:
    """Run a layer on a rung's machine, placed if the rung says so."""
    layer, x = work
    cfg = machine_for(layer, rung.changes, n_pe)
    if rung.balanced:
        (placed,) = place([layer], cfg)
        layer = placed.layer
        cfg = machine_for(layer, rung.changes, n_pe)
    return _ran(layer, x, cfg)


def _ran(layer: CompressedLayer, x: npt.NDArray[np.int64], cfg: ArchConfig) -> Ran:
    fits = -(-layer.rows // cfg.n_pe) <= cfg.acc_depth
    result: Result = prepare(layer, cfg).run(x) if fits else FastPlan(make_plan([layer], _roomy(cfg))).run(x)
    if result.cycles is None:
        raise AssertionError("the fast engine counts cycles")
    one, four = (
        estimate(cfg.replace(matrix_banks=banks), result.counters, result.cycles) for banks in (1, 4)
    )
    pairs = len(np.unique(np.flatnonzero(x) // 2))
    return Ran(result.cycles, result.total("macs") / cfg.n_pe, pairs, one, four)


def _roomy(cfg: ArchConfig) -> ArchConfig:
    """A machine whose passes are cut by the accumulators alone."""
    return cfg.replace(
        entries=cfg.entries * 8, pointers=1 << 18, src_depth=1 << 14, pointer_bits=24, act_words=1 << 15
    )


@lru_cache(maxsize=2)
def _works(seed: int, uneven: Unevenness | None) -> dict[str, Work]:
    return {name: benchmark(name, seed, uneven) for name in BENCHMARKS}


def ladder(
    rungs: Sequence[Rung], works: Mapping[str, Work], progress: Progress | None, what: str, n_pe: int = 64
) -> Runs:
    """Every layer on every rung."""
    found: Runs = {rung.name: [] for rung in rungs}
    for name in each(works, progress, what):
        for rung in rungs:
            found[rung.name].append(measure(works[name], rung, n_pe))
    return found


def speedup(runs: Runs, rung: Rung) -> list[float]:
    """Times our own published machine, layer by layer."""
    return [own.cycles / ran.cycles for own, ran in zip(runs[PUBLISHED.name], runs[rung.name], strict=True)]


@dataclass(frozen=True)
class Trained:
    """A trained network of the examples on both machines, cycles and µJ of a digit."""

    name: str
    n_pe: int
    cycles: tuple[float, float]
    energy: tuple[float, float]


def trained(example: Path) -> list[Trained]:
    """The examples' networks on digits, on the published machine and on eie2 with balanced rows."""
    with np.load(example / "mnist_test_1000.npz") as held:
        digits = held["images"][:_DIGITS]
    found = []
    for name in ("lenet-300-100", "lenet-5"):
        network = load(example.parent / "trained" / f"{name}.eie")
        for n_pe in (16, 64):
            bases = (ArchConfig(n_pe=n_pe), ArchConfig.preset("eie2", n_pe=n_pe))
            runs = [
                network.run(digits, network.machine(base, balance=better), balance=better)
                for base, better in zip(bases, (False, True), strict=True)
            ]
            cycles = tuple(float(run.cycles or 0) / _DIGITS for run in runs)
            energy = tuple(float(run.energy_uj or 0) / _DIGITS for run in runs)
            found.append(Trained(name, n_pe, (cycles[0], cycles[1]), (energy[0], energy[1])))
    return found


def narrow(works: Mapping[str, Work]) -> list[Ran]:
    """Eie2 with rows as narrow as each layer's need: a machine with no more accumulators than its rows."""
    found = []
    for layer, x in works.values():
        wide = machine_for(layer, EIE2.changes)
        (placed,) = place([layer], wide)
        sized = sized_for(wide, placed.layer)
        words = max(wide.spmat_words, sized.spmat_words)
        cfg = sized.replace(
            entries=words * sized.entries_per_word,
            pointers=wide.pointers,
            pointer_bits=wide.pointer_bits,
            src_depth=wide.src_depth,
        )
        found.append(_ran(placed.layer, x, cfg))
    return found


def section(seed: int, progress: Progress | None = None, example: Path = EXAMPLE) -> Section:
    """Run the ladder on the nine layers, even and uneven, and everything beside it."""
    uneven = trained_layers(example)[TRAINED].uneven
    works = {EVEN: _works(seed, None), UNEVEN: _works(seed, uneven)}
    rungs = (*LADDER, ONE, *ALONE)
    runs = {kind: ladder(rungs, work, progress, f"beyond, {kind}: ") for kind, work in works.items()}
    counts = {
        kind: {
            n_pe: ladder((PUBLISHED, EIE2), work, progress, f"beyond, {kind}, {n_pe} PEs: ", n_pe)
            for n_pe in PE_COUNTS
            if n_pe != 64
        }
        | {64: runs[kind]}
        for kind, work in works.items()
    }
    narrowed = {kind: narrow(work) for kind, work in works.items()}
    networks = trained(example)
    figures = _figures(runs, narrowed)
    return Section(
        key="beyond",
        title="Beyond the published machine",
        text=prose("beyond", **figures),
        tables=(
            _ladder_table(runs),
            _layer_table(runs),
            _alone_table(runs),
            _count_table(counts),
            _energy_table(runs[EVEN], narrowed[EVEN]),
            _area_table(),
            _trained_table(networks),
        ),
        pictures=(_pareto(counts),),
        data={
            **figures,
            "cycles": {
                kind: {rung: [ran.cycles for ran in found] for rung, found in of.items()}
                for kind, of in runs.items()
            },
            "trained": [vars(one) for one in networks],
        },
    )


def _figures(runs: Mapping[str, Runs], narrowed: Mapping[str, list[Ran]]) -> dict[str, Any]:
    """The figures that are held against the bars, by name."""
    own, better = (runs[EVEN][rung.name] for rung in (PUBLISHED, EIE2))
    published_nj = [ran.energy.energy_nj for ran in own]

    def energy(of: Sequence[Ran], pick: Callable[[Ran], Estimate]) -> list[float]:
        return [pick(ran).energy_nj / nj for ran, nj in zip(of, published_nj, strict=True)]

    one, four = (energy(better, pick) for pick in (lambda r: r.energy, lambda r: r.banked))
    slim_one, slim_four = (energy(narrowed[EVEN], pick) for pick in (lambda r: r.energy, lambda r: r.banked))
    facts = published().layers
    clock = published().machine.clock_mhz
    actual = [fact.actual_us * clock / ran.cycles for fact, ran in zip(facts, better, strict=True)]
    own_actual = [fact.actual_us * clock / ran.cycles for fact, ran in zip(facts, own, strict=True)]
    worst = max(range(len(one)), key=lambda i: one[i])
    return {
        "even": float(gmean(speedup(runs[EVEN], EIE2))),
        "uneven": float(gmean(speedup(runs[UNEVEN], EIE2))),
        "over_bound": max(ran.over_bound(2) for kind in (EVEN, UNEVEN) for ran in runs[kind][EIE2.name]),
        "one_entry": max(ran.over for kind in (EVEN, UNEVEN) for ran in runs[kind][ONE.name]),
        "energy_one": float(gmean(one)),
        "energy_four": float(gmean(four)),
        "energy_one_narrow": float(gmean(slim_one)),
        "energy_four_narrow": float(gmean(slim_four)),
        "own_four": float(gmean(energy(own, lambda r: r.banked))),
        "worst_layer": BENCHMARKS[worst],
        "worst_energy": one[worst],
        "actual": float(gmean(actual)),
        "own_actual": float(gmean(own_actual)),
        "ceiling": float(gmean([ran.over for ran in own])),
    }


def _ladder_table(runs: Mapping[str, Runs]) -> Table:
    rows = []
    for rung in LADDER:
        over = [ran.over for ran in runs[EVEN][rung.name]]
        rows.append(
            [
                rung.name,
                *(f"{value:.2f}" for value in over),
                f"{gmean(over):.3f}",
                *(f"{gmean(speedup(runs[kind], rung)):.2f}" for kind in (EVEN, UNEVEN)),
            ]
        )
    return Table(
        "The ladder: cycles over non-zeros / PEs of even layers; times our own published machine, geometric means",
        ("machine", *BENCHMARKS, "mean", "x own, even", "x own, uneven"),
        rows,
        f"{RANDOM_LAYERS} 64 PEs, 800 MHz. Each rung has all that is above it. Two entries a cycle double the peak.",
    )


def _layer_table(runs: Mapping[str, Runs]) -> Table:
    clock = published().machine.clock_mhz
    rows = []
    for i, fact in enumerate(published().layers):
        ran = {kind: runs[kind][EIE2.name][i] for kind in (EVEN, UNEVEN)}
        one = {kind: runs[kind][ONE.name][i] for kind in (EVEN, UNEVEN)}
        rows.append(
            [
                fact.name,
                *(f"{ran[kind].cycles:,}" for kind in ran),
                *(f"{ran[kind].over_bound(2):.3f}" for kind in ran),
                *(f"{one[kind].over:.3f}" for kind in one),
                *(f"{speedup(runs[kind], EIE2)[i]:.2f}" for kind in ran),
                f"{fact.actual_us * clock / ran[EVEN].cycles:.2f}",
            ]
        )
    both = ("even", "uneven")
    return Table(
        "eie2 with balanced rows, layer by layer",
        (
            "layer",
            *(f"cycles, {kind}" for kind in both),
            *(f"over its bound, {kind}" for kind in both),
            *(f"one entry: over non-zeros / PEs, {kind}" for kind in both),
            *(f"x own, {kind}" for kind in both),
            "x published actual",
        ),
        rows,
        "Bound: max(non-zeros / PEs / 2, active pairs). One entry a cycle: all else on, depth 32.",
    )


def _alone_table(runs: Mapping[str, Runs]) -> Table:
    rows = [
        [rung.name, *(f"{gmean(speedup(runs[kind], rung)):.2f}" for kind in (EVEN, UNEVEN))]
        for rung in (*ALONE, ONE, EIE2)
    ]
    return Table(
        "Each mechanism alone, and eie2 without one", ("machine", "x own, even", "x own, uneven"), rows
    )


def _count_table(counts: Mapping[str, Mapping[int, Runs]]) -> Table:
    rows = [
        [str(n_pe), *(f"{gmean(speedup(counts[kind][n_pe], EIE2)):.2f}" for kind in (EVEN, UNEVEN))]
        for n_pe in PE_COUNTS
    ]
    return Table(
        "eie2 over our own published machine of as many PEs, geometric mean of the nine layers",
        ("PEs", "even", "uneven"),
        rows,
        "Absolute rows reach 256 a PE: with 16 and 32 PEs NT-Wd runs in tiles.",
    )


def _energy_table(runs: Runs, narrowed: Sequence[Ran]) -> Table:
    own, better = runs[PUBLISHED.name], runs[EIE2.name]
    columns: list[list[float]] = [
        [ran.banked.energy_nj / base.energy.energy_nj for ran, base in zip(own, own, strict=True)],
        *(
            [getattr(ran, pick).energy_nj / base.energy.energy_nj for ran, base in zip(of, own, strict=True)]
            for of in (better, narrowed)
            for pick in ("energy", "banked")
        ),
    ]
    rows = [
        [name, f"{own[i].energy.energy_nj:,.0f}", *(f"{column[i]:.3f}" for column in columns)]
        for i, name in enumerate(BENCHMARKS)
    ]
    rows.append(["geometric mean", "", *(f"{gmean(column):.3f}" for column in columns)])
    return Table(
        "Energy over the published machine's with one SRAM, even layers",
        (
            "layer",
            "published, nJ",
            "published, 4 banks",
            "eie2",
            "eie2, 4 banks",
            "eie2, narrow rows",
            "narrow rows, 4 banks",
        ),
        rows,
        text_of("beyond", "energy_note"),
        total=True,
    )


def _area_table() -> Table:
    machines = [ArchConfig(), ArchConfig.preset("eie2")]
    found = [_area_by_block(cfg) for cfg in machines]
    rows = [
        [name, *(f"{area[name]:,.0f}" for area in found), f"{found[1][name] / found[0][name]:.3f}"]
        for name in found[0]
    ]
    banked = [_area_by_block(cfg.replace(matrix_banks=4))["one PE"] for cfg in machines]
    rows.append(["one PE, 4 banks", *(f"{area:,.0f}" for area in banked), f"{banked[1] / banked[0]:.3f}"])
    return Table(
        "Area by the energy model, µm²",
        ("block", "published", "eie2", "eie2 / published"),
        rows,
        text_of("beyond", "area_note"),
    )


def _area_by_block(cfg: ArchConfig) -> dict[str, float]:
    names = ("ptr_reads", "entries", "macs", "spmat_reads", "starved", "empty_columns")
    made = estimate(cfg, dict.fromkeys(names, np.zeros(cfg.n_pe, np.int64)), 0)
    return {block.name: block.area_um2 for block in made.blocks} | {"one PE": made.pe_area_um2}


def _trained_table(networks: Sequence[Trained]) -> Table:
    return Table.of(
        "Trained networks of examples/ on digits, a digit on the average",
        (
            ("network", lambda one: one.name),
            ("PEs", lambda one: str(one.n_pe)),
            ("cycles, published", lambda one: f"{one.cycles[0]:,.0f}"),
            ("eie2", lambda one: f"{one.cycles[1]:,.0f}"),
            ("times", lambda one: f"{one.cycles[0] / one.cycles[1]:.2f}"),
            ("µJ, published", lambda one: f"{one.energy[0]:.4f}"),
            ("eie2", lambda one: f"{one.energy[1]:.4f}"),
            ("energy", lambda one: f"{one.energy[1] / one.energy[0]:.2f}"),
        ),
        networks,
        f"The first {_DIGITS} test digits; memories as large as the layers need; rows balanced on eie2.",
    )


def _pareto(counts: Mapping[str, Mapping[int, Runs]]) -> Picture:
    of = counts[EVEN]
    base = of[64][PUBLISHED.name]
    lines = {
        f"{name}, {banks}": [
            (
                float(
                    gmean(
                        [ran.cycles / own.cycles for ran, own in zip(of[n_pe][rung.name], base, strict=True)]
                    )
                ),
                float(
                    gmean(
                        [
                            getattr(ran, pick).energy_nj / own.energy.energy_nj
                            for ran, own in zip(of[n_pe][rung.name], base, strict=True)
                        ]
                    )
                ),
            )
            for n_pe in PE_COUNTS
        ]
        for rung, name in ((PUBLISHED, "published"), (EIE2, "eie2, balanced rows"))
        for pick, banks in (("energy", "one SRAM"), ("banked", "four banks"))
    }
    with style.figure(text_of("beyond", "caption"), size=(7.6, 4.6)) as (drawn, (axes,)):
        for number, (name, points) in enumerate(lines.items()):
            x, y = zip(*points, strict=True)
            axes.plot(
                x,
                y,
                style.MARKERS[number],
                label=name,
                color=style.COLOURS[number],
                linestyle="-",
                markersize=5,
            )
            if number in (0, 3):
                for n_pe, at in zip(PE_COUNTS, points, strict=True):
                    offset = (4, 5) if number == 0 else (4, -12)
                    axes.annotate(f"{n_pe}", at, textcoords="offset points", xytext=offset, fontsize=8)
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set(xlabel="time, times the published machine's", ylabel="energy, times the published machine's")
        axes.set(title="Time and energy of 16 to 256 PEs", ylim=(0, None))
        axes.legend()
    alt = "; ".join(
        f"{name}: "
        + ", ".join(f"{n} PEs {t:.2f} / {e:.2f}" for n, (t, e) in zip(PE_COUNTS, points, strict=True))
        for name, points in lines.items()
    )
    return Picture(
        "beyond_pareto", drawn, f"Time against energy, a line for each machine. Time / energy: {alt}."
    )
