"""One point of a sweep: a layer, an input and a configuration, its key, and the row of figures that it gives.

Points travel to worker processes on any machine and hold all that they need there: random layers and inputs as their
parameters and seed, those of files whole.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.resources
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from eie.balance import place
from eie.capacity import sized_for
from eie.config import ArchConfig
from eie.errors import CapacityError, ClusterError, ConfigError, EieError, LayerError, caused_by_ctrl_c
from eie.fixed import IntArray, limits
from eie.layer import CompressedLayer
from eie.program import Job
from eie.result import COUNTERS, Result
from eie.sim.energy.model import estimate
from eie.sim.energy.technology import Technology, default, input_bits, weight_bits
from eie.sim.simulate import simulate_many
from eie.sim.sweep.columns import Row, machine_columns
from eie.sim.workloads.random import Unevenness, random_input, random_layer

# The reference has no clock, so that it gives no row.
SWEEP_ENGINES = ("fast", "golden", "icarus", "verilator")
SIZED, OWN = "sized", "own"
MEMORIES = (SIZED, OWN)
INTERLEAVED, BALANCED = "interleaved", "balanced"
PLACEMENTS = (INTERLEAVED, BALANCED)
# Random layers and inputs are drawn at this width.
_DRAWN_BITS = 16


@dataclass(frozen=True)
class RandomLayer:
    """A random layer as its parameters, see `eie.sim.workloads.random.random_layer`."""

    rows: int
    cols: int
    density: float
    seed: int
    uneven_rows: float = 0.0
    uneven_cols: float = 0.0

    @property
    def identity(self) -> str:
        """What tells it from other layers."""
        return repr(self)

    def columns(self) -> dict[str, Any]:
        """Its columns of the table."""
        return vars(self) | {"layer": f"random {self.rows} x {self.cols}", "source": "random"}

    def build(self, cfg: ArchConfig) -> CompressedLayer:
        """The layer itself, rounded to the widths of `cfg`."""
        return _narrowed(self, cfg.weight_bits, cfg.code_bits, cfg.act_bits, cfg.acc_bits)


# Two: the points of a sweep come layer by layer.
@lru_cache(maxsize=2)
def _narrowed(
    spec: RandomLayer, weight_bits: int, code_bits: int, act_bits: int, acc_bits: int
) -> CompressedLayer:
    uneven = Unevenness(spec.uneven_rows, spec.uneven_cols)
    layer = random_layer(
        spec.rows,
        spec.cols,
        spec.density,
        spec.seed,
        weight_bits=weight_bits,
        name=f"random {spec.rows} x {spec.cols}",
        uneven=uneven if uneven != Unevenness() else None,
    )
    # Products are smaller by the bits dropped, and so is their shift: sums keep their size.
    dropped = 2 * _DRAWN_BITS - code_bits - act_bits
    return dataclasses.replace(
        layer,
        codebook=layer.codebook >> (_DRAWN_BITS - code_bits),
        bias=layer.bias.clip(*limits(acc_bits)),
        product_shift=max(0, layer.product_shift - dropped),
    )


@dataclass(frozen=True, eq=False)
class HeldLayer:
    """A layer of a file (or of anybody), and where it is from."""

    layer: CompressedLayer
    source: str

    @cached_property
    def identity(self) -> str:
        """What tells it from other layers: its contents, and not the file's name."""
        layer = self.layer
        digest = hashlib.blake2b(digest_size=16)
        for array in (layer.indptr, layer.indices, layer.codes, layer.codebook, layer.bias):
            digest.update(np.ascontiguousarray(array).data)
        scalars = (layer.name, layer.shape, layer.relu, layer.product_shift, layer.output_shift)
        digest.update(repr(scalars).encode())
        if layer.row_scale is not None:
            digest.update(layer.row_scale.data)
            digest.update(repr((layer.adder, layer.scale_frac)).encode())
        return digest.hexdigest()

    def columns(self) -> dict[str, Any]:
        """Its columns of the table."""
        layer = self.layer
        return {
            "layer": layer.name,
            "source": self.source,
            "rows": layer.rows,
            "cols": layer.cols,
            "density": layer.density,
        }

    def build(self, cfg: ArchConfig) -> CompressedLayer:
        """The layer itself."""
        return self.layer


@dataclass(frozen=True)
class RandomInput:
    """A random input as its parameters, see `eie.sim.workloads.random.random_input`."""

    act_density: float
    seed: int

    @property
    def identity(self) -> str:
        """What tells it from other inputs of the same layer."""
        return repr(self)

    def vector(self, layer: CompressedLayer, cfg: ArchConfig) -> IntArray:
        """The activations, int64[cols], rounded to act_bits towards zero, but not to zero."""
        x = random_input(layer.cols, self.act_density, self.seed)
        return np.sign(x) * np.maximum(abs(x) >> (_DRAWN_BITS - cfg.act_bits), x != 0)


@dataclass(frozen=True, eq=False)
class HeldInput:
    """An input vector of a file (or of anybody), int64[cols]."""

    x: IntArray

    @cached_property
    def identity(self) -> str:
        """What tells it from other inputs of the same layer."""
        return hashlib.blake2b(np.ascontiguousarray(self.x).data, digest_size=16).hexdigest()

    def vector(self, layer: CompressedLayer, cfg: ArchConfig) -> IntArray:
        """The activations, int64[cols]."""
        return self.x


@dataclass(frozen=True, eq=False)
class Point:
    """One point.

    machine : every field of `ArchConfig`; no machine may be possible with them.
    memories : `SIZED` for each layer (`eie.sized_for`), or the configuration's `OWN`.
    number : of the input vector. placement : of rows, `INTERLEAVED` or `BALANCED` (`eie.balance`).
    """

    machine: Mapping[str, Any]
    memories: str
    engine: str
    layer: RandomLayer | HeldLayer
    input: RandomInput | HeldInput
    number: int = 0
    technology: Technology = field(default_factory=default)
    placement: str = INTERLEAVED

    @cached_property
    def key(self) -> str:
        """Hash of everything that the row follows from."""
        parts = (
            self.technology.identity,
            sorted(self.machine.items()),
            self.memories,
            self.placement,
            self.layer.identity,
            self.input.identity,
            self.engine,
            engine_version(self.engine),
        )
        return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()

    def columns(self) -> dict[str, Any]:
        """The columns that are known before it has run."""
        x = self.input
        return {
            **({"act_density": x.act_density, "seed": x.seed} if isinstance(x, RandomInput) else {}),
            **self.layer.columns(),
            "key": self.key,
            "input": self.number,
            "engine": self.engine,
            "engine_version": engine_version(self.engine),
            "technology": self.technology.name,
            "memories": self.memories,
            "placement": self.placement,
            **machine_columns(self.machine),
        }


def held_points(
    layers: Sequence[CompressedLayer],
    inputs: Sequence[IntArray],
    machines: Iterable[ArchConfig],
    *,
    engine: str = "fast",
    memories: str = SIZED,
    source: str = "memory",
) -> list[Point]:
    """Every layer on each of its inputs, int64[batch, cols], on every machine."""
    held = [HeldLayer(layer, source) for layer in layers]
    vectors = [[HeldInput(x) for x in batch] for batch in inputs]
    return [
        Point(dataclasses.asdict(cfg), memories, engine, layer, x, number)
        for layer, batch in zip(held, vectors, strict=True)
        for cfg in machines
        for number, x in enumerate(batch)
    ]


# Packages from which rows follow, whatever the engine, and those of each engine. "eie" and "eie.sim" without what is
# below them.
_ROOMS = ("eie", "eie.sim", "eie.sim.energy", "eie.sim.sweep", "eie.sim.workloads")
_OF_ENGINE = {
    "fast": ("eie.sim.engines",),
    "golden": ("eie.golden",),
    "icarus": ("eie.rtl", "eie.sim.cosim", "eie.sim.engines"),
    "verilator": ("eie.rtl", "eie.sim.cosim", "eie.sim.engines"),
}
_KINDS = (".py", ".toml", ".v")


def engine_sources(engine: str) -> list[Path]:
    """The files from which an engine's rows follow: every source of some packages."""
    found: list[Path] = []
    for room in (*_ROOMS, *_OF_ENGINE[engine]):
        folder = Path(str(importlib.resources.files(room)))
        below = folder.iterdir() if room in ("eie", "eie.sim") else folder.rglob("*")
        found += [path for path in below if path.suffix in _KINDS and path.is_file()]
    return found


@cache
def engine_version(engine: str) -> str:
    """Hash of an engine's sources: a row that other sources made is made again."""
    digest = hashlib.blake2b(digest_size=8)
    files = [(f"{path.parent.name}/{path.name}", path.read_bytes()) for path in engine_sources(engine)]
    for name, content in sorted(files):
        digest.update(f"{name} {len(content)} ".encode() + content)
    return digest.hexdigest()


# ---- running -----------------------------------------------------------------------------------------------


def measure(point: Point) -> Row:
    """The row of a point: its figures, or why there are none."""
    began = time.perf_counter()
    row = point.columns()
    try:
        row |= _figures(point, row) | {"status": "ok"}
    except Exception as error:
        if caused_by_ctrl_c(error):
            raise KeyboardInterrupt from error
        row |= _why_not(error)
    return row | {"seconds": time.perf_counter() - began}


def _why_not(error: Exception) -> dict[str, str]:
    if isinstance(error, ConfigError | CapacityError | LayerError):
        return {"status": "impossible", "error": str(error)}
    if isinstance(error, MemoryError):
        return {"status": "failed", "error": f"not enough memory: {error}"}
    if isinstance(error, EieError):
        return {"status": "failed", "error": str(error)}
    # A fault of the program: one point's, and not the end of the sweep.
    return {"status": "failed", "error": f"{type(error).__name__}: {error}"}


def _figures(point: Point, row: Row) -> dict[str, Any]:
    asked = ArchConfig(**point.machine)
    if isinstance(point.layer, RandomLayer):
        _check_size(point.layer, asked)
    layer = point.layer.build(asked)
    x = point.input.vector(layer, asked)
    cfg = sized_for(asked, layer) if point.memories == SIZED else asked
    if point.placement == BALANCED:
        layer = place([layer], cfg)[0].layer
        cfg = sized_for(asked, layer) if point.memories == SIZED else asked
    active = int(np.count_nonzero(x))
    job = Job.create(layer, x, cfg)
    (result,) = simulate_many([job], point.engine)
    held = weight_bits(layer, job.interleaved.stored, cfg)
    return _result_columns(result, point.technology) | {
        "load_weights_nj": point.technology.loading_nj(held),
        "load_input_nj": point.technology.loading_nj(input_bits(layer, cfg)),
        "nnz": layer.nnz,
        "active": active,
        "act_density": row.get("act_density", active / len(x)),
        **machine_columns(dataclasses.asdict(cfg)),
    }


def _check_size(layer: RandomLayer, asked: ArchConfig) -> None:
    """Raise `ConfigError` for a layer that no machine holds, before the time and memory to draw it are spent."""
    # The mean over the PEs; where it is near the limit, chance takes away far less than 1 %.
    entries = 0.99 * layer.rows * layer.cols * layer.density / asked.n_pe
    try:
        asked.replace(
            pointers=layer.cols + 1,
            entries=int(entries) if entries > 1 else 1,
            src_depth=-(-layer.cols // asked.n_pe),
            acc_depth=-(-layer.rows // asked.n_pe),
        )
    except ConfigError as error:
        pes = f"{asked.n_pe} PE{'s' if asked.n_pe > 1 else ''}"
        raise ConfigError(f"no {pes} can hold a {layer.rows} x {layer.cols} layer: {error}") from None


def _result_columns(result: Result, technology: Technology) -> dict[str, Any]:
    assert result.cycles is not None, "engines of sweeps have a clock"
    counters = {name: result.total(name) for name in COUNTERS}
    cost = estimate(result.cfg, result.counters, result.cycles, minima=result.minima, technology=technology)
    return {
        "cycles": result.cycles,
        "microseconds": result.microseconds,
        **counters,
        "padding": counters["fillers"] / counters["entries"] if counters["entries"] else 0.0,
        "balance": result.balance,
        "utilization": result.utilization,
        "energy_nj": cost.energy_nj,
        "power_mw": cost.power_mw,
        "area_mm2": cost.area_mm2,
        "work": np.asarray(result.counters["entries"]).tolist(),
    }


def run_points(points: Sequence[Point], seconds: float) -> list[Row]:
    """Rows of the first points: as many as begin within so many seconds, at least one."""
    until = time.perf_counter() + seconds
    rows = []
    for point in points:
        rows.append(measure(point))
        if time.perf_counter() >= until:
            break
    return rows


def run_points_elsewhere(points: Sequence[Point], versions: Mapping[str, str], seconds: float) -> list[Row]:
    """`run_points` on another machine, whose engines must have the same versions.

    Raises
    ------
    ClusterError : they have not.
    """
    for engine, version in versions.items():
        if engine_version(engine) != version:
            raise ClusterError(
                f"a worker has another version of engine {engine} ({engine_version(engine)}, here {version}): "
                "install the same eie on every machine"
            )
    return run_points(points, seconds)
