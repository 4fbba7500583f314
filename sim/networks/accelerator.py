"""Accelerator: compressed layers on an engine, as what multiplies the matrices of a graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from eie.balance import Placed, place
from eie.compress.float_layers import FloatArray
from eie.config import ArchConfig
from eie.errors import CapacityError, LayerError, ModelError
from eie.fixed import IntArray, quantize, saturate
from eie.layer import CompressedLayer
from eie.plan import make_plan
from eie.program import Job
from eie.result import Result, summed
from eie.sim.engines.fast_plan import FastPlan
from eie.sim.networks.graph import StepGraph, check_columns
from eie.sim.networks.network import PART
from eie.sim.plans import run_plan
from eie.sim.simulate import simulate_many

if TYPE_CHECKING:  # numba
    from eie.sim.engines.cpu import CpuLayer


@dataclass(eq=False)
class Record:
    """What the accelerator did for one layer.

    passes : for one vector. active : of each vector, inputs that are not zero. cycles : of each vector, None for an
    engine that has none. clipped : inputs beyond what `x_frac` reaches. results : one, the sum of all vectors.
    """

    layer: CompressedLayer
    passes: int = 1
    active: list[int] = field(default_factory=list)
    cycles: list[int | None] = field(default_factory=list)
    clipped: int = 0
    results: list[Result] = field(default_factory=list)

    @property
    def vectors(self) -> int:
        """How many vectors met the matrix."""
        return len(self.active)

    @property
    def result(self) -> Result:
        """Sums of cycles and counters. load_cycles : of several passes also weights and refills."""
        return self.results[0]

    def count(self, counter: str) -> int:
        """Sum of a counter over vectors and PEs; 0 where the engine has none."""
        value = self.result.counters.get(counter)
        return 0 if value is None else int(np.sum(value))

    def add(self, results: Sequence[Result], active: Sequence[int]) -> None:
        """Count in the results of more vectors."""
        self.active += active
        self.cycles += [result.cycles for result in results]
        self.results = [summed([*self.results, *results])]

    def add_uncounted(self, result: Result, active: Sequence[int]) -> None:
        """Count in more vectors of an engine that has neither cycles nor counters. result : of one of them."""
        self.active += active
        self.cycles += [None] * len(active)
        self.results = self.results or [result]


class Accelerator:
    """Compressed layers on an engine; `records` says what it did, by layer, in the order of their first use.

    A layer that does not fit `cfg` runs as a plan of several passes. balance : rows are placed so that the PEs have
    equal work. threads : of the engine cpu, default one for each processor. done : called with the number of vectors
    after each part of them.

    Raises
    ------
    CapacityError, LayerError : on construction, a layer that `cfg` cannot run, not even in passes.
    """

    def __init__(
        self,
        layers: Mapping[str, CompressedLayer],
        cfg: ArchConfig,
        engine: str,
        done: Callable[[int], object] = lambda _: None,
        *,
        balance: bool | None = None,
        threads: int | None = None,
    ) -> None:
        self.layers, self.cfg, self.engine = layers, cfg, engine
        self.records: dict[str, Record] = {}
        self._done = done
        self._parts: dict[tuple[str, int, int], CompressedLayer] = {}
        self._plans: dict[str, FastPlan] = {}
        self._placed: dict[str, Placed] = {}
        self._ready: dict[str, CpuLayer] = {}
        self._balance, self._threads = balance, threads
        for layer in layers.values():
            self._check(layer)

    def _check(self, layer: CompressedLayer) -> None:
        """Check a layer once, and plan its passes if it does not fit the machine."""
        # The engine cpu has neither PEs nor memories.
        (placed,) = place([layer], self.cfg, balance=False if self.engine == "cpu" else self._balance)
        self._placed[layer.name] = placed
        if self.engine == "cpu":
            return
        try:
            Job.create(placed.layer, np.zeros(layer.cols, np.int64), self.cfg)
        except CapacityError:
            self._plans[layer.name] = FastPlan(make_plan([placed.layer], self.cfg))

    def __call__(self, layer: str, vectors: FloatArray, rows: slice | None = None) -> FloatArray:
        """See `Multiply`: quantised, multiplied in fixed point, and exact as float64."""
        whole = self.layers[layer]
        check_columns(layer, whole.cols, vectors)
        if np.isnan(vectors).any():
            raise ModelError(f"layer {layer!r} gets inputs that are not numbers (NaN)")
        part = whole if rows is None else self._part(layer, rows)
        plan = self._plans.get(part.name)
        record = self.records.setdefault(part.name, Record(part, len(plan.plan.steps) if plan else 1))
        # Above the limits by one is enough to know what was clipped.
        wider = quantize(vectors, whole.x_frac, self.cfg.act_bits + 1)
        x = saturate(wider, self.cfg.act_bits)
        record.clipped += int(np.count_nonzero(x != wider))
        made: list[npt.NDArray[np.signedinteger[Any]]] = []
        for start in range(0, len(x), PART):
            chosen = x[start : start + PART]
            active = np.count_nonzero(chosen, axis=1).tolist()
            if self.engine == "cpu":
                made.extend(self._on_cpu(part, chosen, record, active))
            else:
                results = self._run(part, chosen)
                record.add(results, active)
                made.extend(result.y for result in results)
            self._done(len(chosen))
        return np.ldexp(np.array(made, np.float64).reshape(len(x), part.rows), -whole.y_frac)

    def _on_cpu(
        self, layer: CompressedLayer, x: IntArray, record: Record, active: Sequence[int]
    ) -> npt.NDArray[np.int16]:
        """Outputs of the engine cpu. A cell comes here once a step: the layer is prepared once, and nothing counted."""
        if layer.name not in self._ready:
            from eie.sim.engines import cpu  # numba

            arithmetic = cpu.Arithmetic.of(self.cfg)
            self._ready[layer.name] = cpu.prepared(layer, arithmetic, self._threads, windows=False)
        y = self._ready[layer.name].run(x.astype(np.int16))
        record.add_uncounted(Result.uncounted(y[0], "cpu", self.cfg), active)
        return y

    def _run(self, layer: CompressedLayer, x: IntArray) -> list[Result]:
        """The layer on vectors [n, cols]; it was checked against the machine before, and quantised activations fit."""
        plan, placed = self._plans.get(layer.name), self._placed[layer.name]
        if plan is None:
            jobs = [Job(placed.layer, vector, self.cfg) for vector in x]
            return [_restored(one, placed) for one in simulate_many(jobs, self.engine)]
        # Kept for all vectors: it encodes every pass.
        many = (
            [plan.run(vector) for vector in x]
            if self.engine == "fast"
            else run_plan(plan.plan, x, self.engine)
        )
        return [_restored(_as_result(one), placed) for one in many]

    def _part(self, name: str, rows: slice) -> CompressedLayer:
        """Some rows of a layer, as a layer."""
        key = (name, rows.start, rows.stop)
        if key not in self._parts:
            whole = self.layers[name]
            cut = CompressedLayer.from_codes(whole.dense_codes()[rows], whole.codebook, whole.bias[rows])
            self._parts[key] = replace(
                whole,
                name=f"{name}[{rows.start}:{rows.stop}]",
                shape=cut.shape,
                indptr=cut.indptr,
                indices=cut.indices,
                codes=cut.codes,
                bias=cut.bias,
                scale=None if whole.scale is None else whole.scale[rows],
                conv=None,
                blocks=None,
                prefixes=(),
                meta=dict(whole.meta),
            )
            self._check(self._parts[key])
        return self._parts[key]


def _restored(result: Result, placed: Placed) -> Result:
    return result if placed.rows is None else replace(result, y=placed.restored(result.y))


def _as_result(planned: Result) -> Result:
    """All passes of a layer as one result: what they refill is loaded, too (the reference has no runs)."""
    if not planned.runs:
        return planned
    return replace(planned, load_cycles=(planned.load_cycles or 0) + planned.count.refill_cycles)


def check_weights(
    graph: StepGraph, compressed: Sequence[CompressedLayer], place: str
) -> dict[str, CompressedLayer]:
    """The compressed layers that stand for the graph's, by name.

    Raises
    ------
    LayerError : one is missing, of another shape, or with a ReLU where the graph has none or the other way round.
    """
    found = {layer.name: layer for layer in compressed}
    for name, source in graph.layers.items():
        layer = found.get(name)
        if layer is None:
            raise LayerError(
                f"{place} has no layer {name!r}, which {graph.place} needs: it has {', '.join(found)}"
            )
        if layer.shape != source.shape or layer.relu != source.relu:
            texts = [
                f"{one.shape[0]} x {one.shape[1]} {'with' if one.relu else 'without'} ReLU"
                for one in (layer, source)
            ]
            raise LayerError(f"{place}: layer {name!r} is {texts[0]}, but {texts[1]} in {graph.place}")
    return {name: replace(found[name], conv=None) for name in graph.layers}
