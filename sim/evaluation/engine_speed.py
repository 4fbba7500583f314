"""How long the fast engine takes: on one large layer, beside plain products, and against the entries it processes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from eie.capacity import sized_for
from eie.config import ArchConfig
from eie.csc import interleave
from eie.layer import CompressedLayer
from eie.sim.engines import kernels
from eie.sim.engines.fast import Prepared, prepare, timing
from eie.sim.evaluation.baselines import matrices
from eie.sim.evaluation.prose import prose, text_of
from eie.sim.evaluation.section import Picture, Progress, Section, Table, each
from eie.sim.evaluation.stopwatch import best_of, best_product
from eie.sim.plots import style
from eie.sim.workloads.random import random_input, random_layer

WEIGHTS, ACTIVATIONS = 0.09, 0.35
SIZE = 4096
BATCH = 64


@cache
def large(seed: int) -> tuple[Prepared, npt.NDArray[np.int64]]:
    """The 4096 x 4096 layer, 9 % of its weights, on 64 PEs of depth 8, and inputs with 35 % of their activations."""
    layer = random_layer(SIZE, SIZE, WEIGHTS, seed)
    inputs = np.stack([random_input(SIZE, ACTIVATIONS, seed + i) for i in range(BATCH)])
    return prepare(layer, sized_for(ArchConfig(), layer)), inputs


@dataclass(frozen=True)
class Times:
    """Seconds of the fast engine on the large layer.

    one : a run with every figure, on one core. each : of a batch, on all cores. law : timing alone, from the columns'
    lengths. encode : from dense code indices to interleaved entries. facts : the column table, once for each layer.
    """

    one: float
    each: float
    law: float
    encode: float
    facts: float


def encode(codes: npt.NDArray[np.uint8], codebook: npt.NDArray[np.int16]) -> None:
    """Dense code indices, uint8[rows, cols], to the interleaved format of 64 PEs."""
    interleave(CompressedLayer.from_codes(codes, codebook), ArchConfig().n_pe)


def fast_times(seed: int) -> Times:
    """Measure the fast engine."""
    prepared, inputs = large(seed)
    x, layer, inter = inputs[0], prepared.layer, prepared.inter
    lengths = np.ascontiguousarray(prepared.lengths[np.flatnonzero(x)])
    codes = layer.dense_codes()
    return Times(
        one=best_of(lambda: prepared.run(x)),
        each=best_of(lambda: prepared.run_batch(inputs)) / BATCH,
        law=best_of(lambda: timing(lengths, prepared.cfg)),
        encode=best_of(lambda: encode(codes, layer.codebook)),
        facts=best_of(lambda: kernels.column_table(inter.v, inter.z, inter.pointers, 8)),
    )


def product_times(seed: int) -> dict[str, float]:
    """Seconds of the same layer as a plain float32 product on this machine: numpy dense, scipy sparse."""
    prepared, inputs = large(seed)
    x = inputs[0].astype(np.float32)
    found = matrices(prepared.layer)
    return {
        "numpy, dense float32": best_product(found["numpy dense"], x),
        "scipy.sparse, CSR float32": best_product(found["scipy CSR"], x),
    }


# ---- cost against active entries ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Cost:
    """One run: what it processed, and how long that took. cells : rows x columns."""

    entries: int
    cycles: int
    cells: int
    seconds: float


def full_rows(cols: int, rows: int, step: int, seed: int) -> CompressedLayer:
    """A matrix of 1024 rows of which each `step`th is full, `rows` in all: with 64 PEs, step 64 means all on PE 0."""
    small = random_layer(rows, cols, 1.0, seed)
    return CompressedLayer(
        shape=(1024, cols),
        indptr=small.indptr,
        indices=small.indices * np.int32(step),
        codes=small.codes,
        codebook=small.codebook,
        bias=np.zeros(1024, np.int32),
        product_shift=small.product_shift,
        output_shift=small.output_shift,
    )


def _costs(layer: CompressedLayer, seed: int) -> list[Cost]:
    prepared = prepare(layer, sized_for(ArchConfig(), layer))
    costs = []
    for active in np.geomspace(4, layer.cols, 7).astype(int):
        x = np.zeros(layer.cols, np.int64)
        x[np.random.default_rng(seed).permutation(layer.cols)[:active]] = 1000
        result = prepared.run(x)
        seconds = best_of(lambda x=x: prepared.run(x), 0.05)  # type: ignore[misc]
        costs.append(Cost(result.total("entries"), int(result.cycles or 0), layer.rows * layer.cols, seconds))
    return costs


def scaling(seed: int, progress: Progress | None = None) -> dict[str, list[Cost]]:
    """Costs over four decades of entries: different areas and densities, and the same entries all on one PE."""
    layers = {
        "1024 x 1024, 9 %": lambda: random_layer(1024, 1024, WEIGHTS, seed),
        "4096 x 4096, 9 %": lambda: large(seed)[0].layer,
        "4096 x 16384, 9 %": lambda: random_layer(4096, 16384, WEIGHTS, seed),
        "4096 x 16384, 1 %": lambda: random_layer(4096, 16384, 0.01, seed),
        "4096 x 16384, 0.1 %": lambda: random_layer(4096, 16384, 0.001, seed),
        "16 full rows, on 16 PEs": lambda: full_rows(8192, 16, 1, seed),
        "16 full rows, all on one PE": lambda: full_rows(8192, 16, 64, seed),
    }
    return {name: _costs(layers[name](), seed) for name in each(layers, progress, "engine speed: ")}


def figure(costs: dict[str, list[Cost]]) -> Picture:
    """Time of a run against the entries that it processes."""
    with style.figure(text_of("speed", "caption"), size=(6.4, 4.6)) as (drawn, (axes,)):
        for number, (name, line) in enumerate(costs.items()):
            axes.plot(
                [cost.entries for cost in line],
                [cost.seconds * 1e3 for cost in line],
                label=name,
                color=style.COLOURS[number],
                marker=style.MARKERS[number],
            )
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set(
            title="What a run of the fast engine costs",
            xlabel="active entries, fillers included",
            ylabel="time of a run (ms)",
        )
        axes.legend()
    return Picture("engine_speed", drawn, "Time of a run of the fast engine against the entries it processes")


def _text(costs: dict[str, list[Cost]]) -> list[str]:
    spread, single = (costs[name][-1] for name in ("16 full rows, on 16 PEs", "16 full rows, all on one PE"))
    return prose("speed", spread=spread, single=single)


def section(seed: int, progress: Progress | None = None) -> Section:
    """The fast engine's times on this machine."""
    times, products, costs = fast_times(seed), product_times(seed), scaling(seed, progress)
    entries = large(seed)[0].run(large(seed)[1][0]).total("entries")
    rows = [
        ("values, cycles and all counters, one core", times.one),
        (f"the same, each of a batch of {BATCH}, all cores", times.each),
        ("timing alone, from the columns' lengths", times.law),
        ("encoding: dense code indices to interleaved entries", times.encode),
        ("column table, once for each layer and machine", times.facts),
        *((f"{name}: the product alone", seconds) for name, seconds in products.items()),
    ]
    all_costs = [cost for line in costs.values() for cost in line]
    return Section(
        key="speed",
        title="How fast the fast engine is",
        text=_text(costs),
        tables=[
            Table(
                f"A {SIZE} x {SIZE} layer, {WEIGHTS:.0%} of the weights, {ACTIVATIONS:.0%} of the activations, 64 PEs",
                ("what", "ms"),
                [(what, f"{seconds * 1e3:.3f}") for what, seconds in rows],
                f"Best of several, measured on this machine ({os.getloadavg()[0]:.1f} processes ran on average, "
                f"others' included); {entries:,} entries are processed.",
            )
        ],
        pictures=[figure(costs)],
        data={
            "times_s": vars(times) | products,
            "costs": {name: [vars(cost) for cost in line] for name, line in costs.items()},
            "decades": float(
                np.log10(max(c.entries for c in all_costs) / max(1, min(c.entries for c in all_costs)))
            ),
        },
        measured_here=True,
    )
