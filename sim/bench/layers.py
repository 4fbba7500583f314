"""The nine benchmark layers on this processor, and where dense products overtake compressed ones."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from eie.layer import CompressedLayer
from eie.sim.bench.contenders import CSR, EXACT, FLOAT, Array, Contender, contender
from eie.sim.bench.measure import paired
from eie.sim.chain import as_float
from eie.sim.engines.cpu import CpuLayer
from eie.sim.engines.fast import prepare
from eie.sim.evaluation.layers import benchmark, machine
from eie.sim.plots import style
from eie.sim.workloads.random import random_input, random_layer

FAST = "eie fast, all counters"


@dataclass(frozen=True)
class Measured:
    """A layer, and least seconds of a call by each.

    entries : active ones. limit : seconds in which the bytes of the active columns alone are read, at the bandwidth of
    where the matrix lies. place : which memory that is.
    """

    name: str
    entries: int
    seconds: dict[str, float]
    limit: float
    place: str

    def ratio(self, other: str) -> float:
        """How many times as fast as another one the engine cpu is."""
        return self.seconds[other] / self.seconds[EXACT]


def measure_layer(name: str, seed: int, seconds: float, others: Sequence[str]) -> Measured:
    """A benchmark layer at batch 1 in one thread, beside `others`; the answers are those of engine fast.

    Raises
    ------
    AssertionError : they are not.
    """
    layer, vector = benchmark(name, seed)
    # Fixed point goes in and comes out, as in the fast engine.
    ready, given = CpuLayer(layer, threads=1), vector.astype(np.int16)[None]
    encoded = prepare(layer, machine(layer))
    if not np.array_equal(ready.run(given)[0], encoded.run(vector).y):
        raise AssertionError(f"{name}, seed {seed}: engines cpu and fast differ")
    real = as_float([layer])
    contenders = [
        Contender(EXACT, lambda _: ready.run(given)),
        *(contender(one, [layer], 1, real) for one in others),
        Contender(FAST, lambda _: encoded.run(vector).y),
    ]
    x = np.ldexp(vector.astype(np.float32), -layer.x_frac)[None]
    found = paired(contenders, x, seconds)
    touched = _touched(ready, layer, vector)
    rate, place = bandwidth(ready.weight_bytes)
    entries = int(np.diff(layer.indptr)[vector != 0].sum())
    return Measured(name, entries, found, touched / rate, place)


def _touched(ready: CpuLayer, layer: CompressedLayer, vector: Array) -> float:
    """Bytes of a layer's matrix in its active columns."""
    if ready.uses_tiles:
        return ready.weight_bytes * np.count_nonzero(vector) / layer.cols
    share = np.diff(layer.indptr)[vector != 0].sum() / max(layer.nnz, 1)
    return float(ready.weight_bytes * share)


@cache
def _rate(size: int) -> float:
    """Bytes a second at which one thread reads `size` bytes again and again."""
    data = np.ones(size // 8, np.int64)
    best, end = math.inf, time.perf_counter() + 0.3
    while time.perf_counter() < end:
        began = time.perf_counter()
        data.max()
        best = min(best, time.perf_counter() - began)
    return size / best


def bandwidth(size: int) -> tuple[float, str]:
    """(bytes a second, text) of reading a matrix of `size` bytes: measured on as many, rounded to a power of two."""
    rounded = 1 << max(16, (size - 1).bit_length())
    rate = _rate(rounded)
    return rate, f"{rounded / 2**20:g} MiB at {rate / 1e9:.1f} GB/s"


def mean_ratio(measured: Sequence[Measured], *others: str) -> float:
    """Geometric mean over the layers of the best of `others` over ours."""
    logs = [math.log(min(one.ratio(other) for other in others)) for one in measured]
    return math.exp(sum(logs) / len(logs))


# ---- where dense overtakes ---------------------------------------------------------------------------------

DENSITIES = (0.01, 0.02, 0.04, 0.09, 0.16, 0.25, 0.5, 1.0)
BATCHES = (1, 4, 16, 64, 256)
SIZE = 2048


def against_density(activations: float, seconds: float, seed: int) -> dict[str, list[float]]:
    """Seconds of each at batch 1 for weight densities `DENSITIES` of a square layer."""
    found: dict[str, list[float]] = {name: [] for name in (EXACT, FLOAT, CSR)}
    for density in DENSITIES:
        layer = random_layer(SIZE, SIZE, density, seed)
        x = random_input(SIZE, activations, seed)[None]
        for name, value in _times(layer, x, seconds).items():
            found[name].append(value)
    return found


def against_batch(density: float, activations: float, seconds: float, seed: int) -> dict[str, list[float]]:
    """Seconds for each input, of a square layer, in batches of `BATCHES`."""
    layer = random_layer(SIZE, SIZE, density, seed)
    found: dict[str, list[float]] = {name: [] for name in (EXACT, FLOAT, CSR)}
    for batch in BATCHES:
        x = np.stack([random_input(SIZE, activations, seed + k) for k in range(batch)])
        for name, value in _times(layer, x, seconds).items():
            found[name].append(value / batch)
    return found


def _times(layer: CompressedLayer, x: Array, seconds: float) -> dict[str, float]:
    ready, given = CpuLayer(layer, threads=1), x.astype(np.int16)
    others = [contender(one, [layer], 1) for one in (FLOAT, CSR)]
    real = np.ldexp(x.astype(np.float32), -layer.x_frac)
    return paired([Contender(EXACT, lambda _: ready.run(given)), *others], real, seconds)


def crossing(xs: Sequence[float], ours: Sequence[float], dense: Sequence[float]) -> float | None:
    """Where dense begins to win for good, between two measured points on logarithmic scales; None: nowhere.

    >>> round(crossing([1, 4], [1, 4], [2, 2]), 6)
    2.0
    """
    gaps = [math.log(mine / theirs) for mine, theirs in zip(ours, dense, strict=True)]
    if gaps[-1] <= 0:
        return None
    for k in range(len(gaps) - 1, 0, -1):
        if gaps[k - 1] <= 0:
            part = -gaps[k - 1] / (gaps[k] - gaps[k - 1])
            return math.exp(math.log(xs[k - 1]) + part * math.log(xs[k] / xs[k - 1]))
    return xs[0]


def picture(
    by_density: dict[str, dict[str, list[float]]], by_batch: dict[str, list[float]], caption: str
) -> tuple[Any, list[str]]:
    """The picture, and a line for each crossing. by_density : for each share of active inputs."""
    lines = []
    with style.figure(caption, columns=2, size=(9.6, 4.8)) as (drawn, (left, right)):
        for number, (label, found) in enumerate(by_density.items()):
            for name, look in ((EXACT, "-"), (FLOAT, "--"), (CSR, ":")):
                left.plot(
                    DENSITIES,
                    [value * 1e6 for value in found[name]],
                    look,
                    color=style.COLOURS[number],
                    marker=style.MARKERS[number],
                    markersize=4,
                    label=f"{name}, {label}",
                )
            at = crossing(DENSITIES, found[EXACT], found[FLOAT])
            where = "at no density" if at is None else f"from a density of {100 * at:.0f} % on"
            lines.append(f"batch 1, {label}: {FLOAT} is faster {where}")
        for number, (name, values) in enumerate(by_batch.items()):
            right.plot(
                BATCHES,
                [value * 1e6 for value in values],
                color=style.COLOURS[number],
                marker=style.MARKERS[number],
                label=name,
            )
        at = crossing(BATCHES, by_batch[EXACT], by_batch[FLOAT])
        where = "at no batch" if at is None else f"from batches of {math.ceil(at)} on"
        lines.append(f"9 % of the weights, 35 % of the inputs: {FLOAT} is faster {where}")
        for axes, text in ((left, "density of the weights"), (right, "batch")):
            style.log_axis(axes.xaxis)
            style.log_axis(axes.yaxis)
            axes.set(xlabel=text, ylabel="time of an input (µs)")
        left.set_title("Batch 1")
        right.set_title("Batches: 9 % of weights, 35 % of inputs")
        left.legend(fontsize=7.5, loc="upper left")
        right.legend(fontsize=7.5)
    return drawn, lines
