"""A network as one list of steps, and what multiplies its matrices: trained weights, or the accelerator.

The same steps run in both; docs/networks.md says in which arithmetic.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from eie.compress.network import FloatArray, LayerSource, check_finite
from eie.config import ArchConfig
from eie.errors import CapacityError, LayerError, ModelError
from eie.fixed import IntArray, quantize
from eie.layer import CompressedLayer
from eie.plan import make_plan
from eie.program import Job
from eie.result import COUNTERS, Result
from eie.sim.engines.fast_plan import FastPlan
from eie.sim.networks.steps import Array, Convolution, Multiply, Step
from eie.sim.plans import run_plan
from eie.sim.simulate import simulate_many

# Vectors of one layer that go into an engine at a time: a bound of the memory that their results take.
_PART = 1024


@dataclass(frozen=True)
class Port:
    """An input of a network. shape : None where any size will do."""

    name: str
    shape: tuple[int | None, ...]

    def __str__(self) -> str:
        return f"{self.name} [{', '.join('any' if size is None else str(size) for size in self.shape)}]"

    def takes(self, shape: Sequence[int]) -> bool:
        """Whether an array of this shape can be the input."""
        return len(shape) == len(self.shape) and all(
            own in (None, size) for own, size in zip(self.shape, shape, strict=True)
        )


@dataclass(frozen=True, eq=False)
class Network:
    """Steps in an order in which each finds what it takes.

    constants : values that are there from the start. inputs, outputs : of the whole. layers : the trained matrices that
    the steps name, in the steps' order. place : the file, for messages.
    """

    steps: tuple[Step, ...]
    constants: Mapping[str, Array]
    inputs: tuple[Port, ...]
    outputs: tuple[str, ...]
    layers: Mapping[str, LayerSource]
    place: str = "network"

    def run(self, inputs: Mapping[str, npt.ArrayLike], multiply: Multiply) -> dict[str, Array]:
        """The outputs, by name, for real inputs.

        Raises
        ------
        ModelError : an input that is missing, of the wrong shape or not finite; values that a step does not take.
        """
        values = dict(self.constants)
        for port in self.inputs:
            given = np.asarray(inputs[port.name], np.float64) if port.name in inputs else None
            if given is None or not port.takes(given.shape):
                found = "nothing" if given is None else f"an array of shape {list(given.shape)}"
                raise ModelError(f"{self.place}: input {port} was given {found}")
            check_finite(given, port.name)
            values[port.name] = given
        left = Counter(name for step in self.steps for name in step.takes)
        left.update(self.outputs)
        # Products with one vector at a time are too small for threads, which would wait for each other.
        with threadpool_limits(1, "blas"):
            for step in self.steps:
                made = step.run([values[name] if name else None for name in step.takes], multiply)
                values.update(zip(step.gives, made, strict=False))
                left.subtract(step.takes)
                for name in {*step.takes, *step.gives}:
                    if not left[name]:
                        values.pop(name, None)  # nobody needs it any more
        for name in self.outputs:
            if not np.isfinite(values[name]).all():
                raise ModelError(f"{self.place}: output {name} is not finite for this input")
        return {name: values[name] for name in self.outputs}


# ---- what multiplies ---------------------------------------------------------------------------------------


class Trained:
    """The trained weights, in float64; `met` keeps for each layer what its matrix was given, if `record` is set."""

    def __init__(self, network: Network, *, record: bool = False) -> None:
        self._network = network
        self._loaded: dict[str, tuple[FloatArray, FloatArray, bool]] = {}
        self._met: dict[str, list[FloatArray]] | None = {} if record else None

    def __call__(self, layer: str, vectors: FloatArray, rows: slice | None = None) -> FloatArray:
        """See `Multiply`."""
        if layer not in self._loaded:
            trained = self._network.layers[layer].load()
            self._loaded[layer] = trained.weight.T.astype(np.float64), trained.start, trained.relu
        weight, bias, relu = self._loaded[layer]
        _check_columns(layer, len(weight), vectors)
        if self._met is not None:
            self._met.setdefault(layer, []).append(np.array(vectors))
        chosen = rows or slice(None)
        y: FloatArray = vectors @ weight[:, chosen] + bias[chosen]
        return np.maximum(y, 0.0) if relu else y

    def met(self, layer: str, most: int) -> FloatArray:
        """Vectors that a layer's matrix was given, [n, cols], evenly chosen, at most `most`."""
        found = np.concatenate((self._met or {}).get(layer, [np.zeros((0, 0))]))
        return found[np.linspace(0, len(found) - 1, min(most, len(found)), dtype=np.int64)]


@dataclass(eq=False)
class Record:
    """What the accelerator did for one layer: figures of each vector, and sums of the counters.

    active : inputs that are not zero. clipped : inputs beyond what `x_frac` reaches. load_cycles : writes of
    activations, biases and configuration (of several passes also weights and refills). passes : for one vector. Cycles
    are None for an engine that has none.
    """

    layer: CompressedLayer
    passes: int = 1
    cycles: list[int | None] = field(default_factory=list)
    active: list[int] = field(default_factory=list)
    counters: dict[str, npt.NDArray[np.int64] | int | None] = field(default_factory=dict)
    clipped: int = 0
    load_cycles: int = 0
    writeback_cycles: int = 0

    @property
    def vectors(self) -> int:
        """How many vectors met the matrix."""
        return len(self.active)

    @property
    def total_cycles(self) -> int | None:
        """Cycles of all vectors."""
        known = [cycles for cycles in self.cycles if cycles is not None]
        return sum(known) if len(known) == len(self.cycles) else None

    def count(self, counter: str) -> int:
        """Sum of a counter over vectors and PEs; 0 where the engine has none."""
        value = self.counters.get(counter)
        return 0 if value is None else int(np.sum(value))

    def add(self, results: Sequence[Result], active: Sequence[int]) -> None:
        """Count in the results of more vectors."""
        self.active += active
        for result in results:
            self.cycles.append(result.cycles)
            self.load_cycles += result.load_cycles or 0
            self.writeback_cycles += result.writeback_cycles or 0
            for name in COUNTERS:
                one, before = result.counters[name], self.counters.get(name)
                self.counters[name] = one if one is None or before is None else before + one


class Accelerator:
    """Compressed layers on an engine; `records` says what it did, by layer, in the order of their first use.

    A layer that does not fit `cfg` runs as a plan of several passes. done : called with the number of vectors after
    each part of them.

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
    ) -> None:
        self.layers, self.cfg, self.engine = layers, cfg, engine
        self.records: dict[str, Record] = {}
        self._done = done
        self._parts: dict[tuple[str, int, int], CompressedLayer] = {}
        self._plans: dict[str, FastPlan] = {}
        for layer in layers.values():
            self._check(layer)

    def _check(self, layer: CompressedLayer) -> None:
        """Check a layer once, and plan its passes if it does not fit the machine."""
        try:
            Job.create(layer, np.zeros(layer.cols, np.int64), self.cfg)
        except CapacityError:
            self._plans[layer.name] = FastPlan(make_plan([layer], self.cfg))

    def __call__(self, layer: str, vectors: FloatArray, rows: slice | None = None) -> FloatArray:
        """See `Multiply`: quantised, multiplied in fixed point, and exact as float64."""
        whole = self.layers[layer]
        _check_columns(layer, whole.cols, vectors)
        part = whole if rows is None else self._part(layer, rows)
        plan = self._plans.get(part.name)
        record = self.records.setdefault(part.name, Record(part, len(plan.plan.steps) if plan else 1))
        x = quantize(vectors, whole.x_frac, self.cfg.act_bits)
        record.clipped += int(np.count_nonzero(x != quantize(vectors, whole.x_frac, self.cfg.act_bits + 1)))
        made = []
        for start in range(0, len(x), _PART):
            chosen = x[start : start + _PART]
            results = self._run(part, chosen)
            record.add(results, np.count_nonzero(chosen, axis=1).tolist())
            made += [result.y for result in results]
            self._done(len(chosen))
        return np.ldexp(np.stack(made).astype(np.float64), -whole.y_frac)

    def _run(self, layer: CompressedLayer, x: IntArray) -> list[Result]:
        """The layer on vectors [n, cols]; it was checked against the machine before, and quantised activations fit."""
        plan = self._plans.get(layer.name)
        if plan is None:
            return simulate_many([Job(layer, vector, self.cfg) for vector in x], self.engine)
        # Kept for all vectors: it encodes every pass.
        many = (
            [plan.run(vector) for vector in x]
            if self.engine == "fast"
            else run_plan(plan.plan, x, self.engine)
        )
        return [_as_result(one) for one in many]

    def _part(self, name: str, rows: slice) -> CompressedLayer:
        """Some rows of a layer, as a layer."""
        key = (name, rows.start, rows.stop)
        if key not in self._parts:
            whole = self.layers[name]
            self._parts[key] = CompressedLayer.from_codes(
                whole.dense_codes()[rows],
                whole.codebook,
                whole.bias[rows],
                whole.relu,
                whole.product_shift,
                whole.output_shift,
                name=f"{name}[{rows.start}:{rows.stop}]",
                x_frac=whole.x_frac,
                w_frac=whole.w_frac,
            )
            self._check(self._parts[key])
        return self._parts[key]


def _as_result(planned: Result) -> Result:
    """All passes of a layer as one result: what they refill is loaded, too (the reference has no runs)."""
    if not planned.runs:
        return planned
    return replace(planned, load_cycles=(planned.load_cycles or 0) + planned.count.refill_cycles)


def _check_columns(layer: str, cols: int, vectors: FloatArray) -> None:
    if vectors.ndim != 2 or vectors.shape[1] != cols or not len(vectors):
        raise LayerError(
            f"layer {layer!r} takes vectors of {cols} numbers, not values of shape {list(vectors.shape)}"
        )


# ---- compressed layers as a network --------------------------------------------------------------------------


def check_weights(
    network: Network, compressed: Sequence[CompressedLayer], place: str
) -> dict[str, CompressedLayer]:
    """The compressed layers that stand for the network's, by name.

    Raises
    ------
    LayerError : one is missing, of another shape, or with a ReLU where the graph has none or the other way round.
    """
    found = {layer.name: layer for layer in compressed}
    for name, source in network.layers.items():
        layer = found.get(name)
        if layer is None:
            raise LayerError(
                f"{place} has no layer {name!r}, which {network.place} needs: it has {', '.join(found)}"
            )
        if layer.shape != source.shape or layer.relu != source.relu:
            texts = [
                f"{one.shape[0]} x {one.shape[1]} {'with' if one.relu else 'without'} ReLU"
                for one in (layer, source)
            ]
            raise LayerError(f"{place}: layer {name!r} is {texts[0]}, but {texts[1]} in {network.place}")
    return {name: replace(found[name], conv=None) for name in network.layers}


def geometry_of(network: Network) -> dict[str, Convolution]:
    """The convolutions, by their layer's name."""
    return {step.layers[0]: step for step in network.steps if isinstance(step, Convolution)}
