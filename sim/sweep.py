"""Sweeps: the same layers and inputs over PE counts and queue depths, one row of figures for each run.

The memories of every run are sized for its layer (`ArchConfig.sized_for`), so that a sweep compares PE counts and not
memory sizes. The engine "law" evaluates the timing law: the golden model's cycles in a fraction of the time.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eie.config import ArchConfig
from eie.csc import Interleaved, interleave
from eie.errors import ConfigError, FormatError
from eie.layer import CompressedLayer, as_activations
from eie.timing import schedule

IntArray = npt.NDArray[np.int64]

SWEEP_ENGINES = ("law", "golden")


@dataclass(frozen=True, eq=False)
class Workload:
    """A layer and the input vectors to run it with, int64[inputs, cols]."""

    layer: CompressedLayer
    inputs: IntArray


@dataclass(frozen=True)
class Point:
    """One run. Counters are sums over the PEs; `work` has the entries of each PE.

    `active` is the number of columns with a non-zero activation; `memories` says how the memories were sized;
    `entries_available` to `acc_depth` are the sizes that follow, per PE.
    """

    layer: str
    rows: int
    cols: int
    density: float
    input: int
    active: int
    n_pe: int
    queue_depth: int
    engine: str
    cycles: int
    microseconds: float
    entries: int
    fillers: int
    macs: int
    empty_columns: int
    starved: int
    broadcast_stalls: int
    padding: float
    balance: float
    clock_hz: int
    memories: str
    entries_available: int
    pointer_bits: int
    src_depth: int
    acc_depth: int
    work: tuple[int, ...]


def runs(workloads: Sequence[Workload], pe_counts: Sequence[int], depths: Sequence[int]) -> int:
    """How many points a sweep has."""
    return sum(len(w.inputs) for w in workloads) * len(pe_counts) * len(depths)


def sweep(
    workloads: Iterable[Workload],
    pe_counts: Sequence[int],
    depths: Sequence[int],
    *,
    cfg: ArchConfig | None = None,
    engine: str = "law",
) -> Iterator[Point]:
    """Run every workload with every PE count and queue depth; the other sizes and the clock are those of `cfg`.

    The sizes are checked at once, the inputs as the runs come to them.

    Raises
    ------
    ConfigError : an engine that is none of `SWEEP_ENGINES`, or a PE count or depth that cannot be built.
    LayerError : an input vector that does not match its layer.
    """
    if engine not in SWEEP_ENGINES:
        raise ConfigError(f"a sweep has no engine {engine!r}: use one of {', '.join(SWEEP_ENGINES)}")
    base = cfg or ArchConfig()
    if not pe_counts or not depths:
        raise ConfigError("a sweep needs at least one PE count and one queue depth")
    configs = [[base.replace(n_pe=n, queue_depth=depth) for depth in depths] for n in pe_counts]
    return _runs(workloads, configs, base, engine)


def _runs(
    workloads: Iterable[Workload], configs: Sequence[Sequence[ArchConfig]], base: ArchConfig, engine: str
) -> Iterator[Point]:
    for workload in workloads:
        layer = workload.layer
        vectors = [as_activations(x, layer, base.act_bits) for x in workload.inputs]
        for same_count in configs:
            machines = [config.sized_for(layer) for config in same_count]
            inter = interleave(layer, machines[0].n_pe, base.index_bits)
            fillers = filler_counts(inter)
            for number, x in enumerate(vectors):
                for machine in machines:
                    if engine == "law":
                        figures = _by_law(inter, fillers, x, machine)
                    else:
                        figures = _by_golden(layer, x, machine)
                    yield _point(layer, number, x, machine, engine, figures)


def filler_counts(inter: Interleaved) -> IntArray:
    """Fillers of each column on each PE, int64[cols, n_pe]."""
    before = np.concatenate(([0], np.cumsum(inter.v == 0)))
    return np.diff(before[inter.base[:-1, None] + inter.pointers], axis=1).T


def work_by_group(layer: CompressedLayer, x: IntArray, cfg: ArchConfig, groups: int) -> IntArray:
    """Entries of each PE in `groups` successive groups of active columns, int64[groups, n_pe]."""
    lengths = interleave(layer, cfg.n_pe, cfg.index_bits).lengths[np.flatnonzero(x)]
    parts = np.array_split(lengths, min(groups, max(1, len(lengths))))
    return np.stack([part.sum(axis=0) for part in parts])


@dataclass(frozen=True)
class _Figures:
    cycles: int
    broadcast_stalls: int
    entries: IntArray
    fillers: IntArray
    empty_columns: IntArray


def _by_law(inter: Interleaved, fillers: IntArray, x: IntArray, cfg: ArchConfig) -> _Figures:
    active = np.flatnonzero(x)
    lengths = inter.lengths[active]
    timing = schedule(lengths, cfg)
    return _Figures(
        cycles=timing.cycles,
        broadcast_stalls=timing.broadcast_stalls,
        entries=lengths.sum(axis=0),
        fillers=fillers[active].sum(axis=0),
        empty_columns=(lengths == 0).sum(axis=0),
    )


def _by_golden(layer: CompressedLayer, x: IntArray, cfg: ArchConfig) -> _Figures:
    from eie.sim.engines import simulate

    result = simulate(layer, x, cfg, engine="golden")
    if result.cycles is None:
        raise AssertionError("the golden model has a clock")
    return _Figures(
        cycles=result.cycles,
        broadcast_stalls=result.total("broadcast_stalls"),
        **{name: np.asarray(result.counters[name]) for name in ("entries", "fillers", "empty_columns")},
    )


def _point(
    layer: CompressedLayer, number: int, x: IntArray, cfg: ArchConfig, engine: str, figures: _Figures
) -> Point:
    entries, fillers = int(figures.entries.sum()), int(figures.fillers.sum())
    empty = int(figures.empty_columns.sum())
    slots = figures.cycles * cfg.n_pe
    starved = slots - entries - empty
    return Point(
        layer=layer.name,
        rows=layer.rows,
        cols=layer.cols,
        density=layer.density,
        input=number,
        active=int(np.count_nonzero(x)),
        n_pe=cfg.n_pe,
        queue_depth=cfg.queue_depth,
        engine=engine,
        cycles=figures.cycles,
        microseconds=figures.cycles / cfg.clock_hz * 1e6,
        entries=entries,
        fillers=fillers,
        macs=entries - fillers,
        empty_columns=empty,
        starved=starved,
        broadcast_stalls=figures.broadcast_stalls,
        padding=fillers / entries if entries else 0.0,
        balance=1.0 - starved / slots if slots else 1.0,
        clock_hz=cfg.clock_hz,
        memories="sized_for",
        entries_available=cfg.reachable_entries,
        pointer_bits=cfg.pointer_bits,
        src_depth=cfg.src_depth,
        acc_depth=cfg.acc_depth,
        work=tuple(figures.entries.tolist()),
    )


# ---- tables on disk ----------------------------------------------------------------------------------------

_FIELDS = tuple(field.name for field in dataclasses.fields(Point))
_TYPES: dict[str, type] = {"int": int, "float": float, "str": str}


def to_csv(points: Sequence[Point]) -> str:
    """The points as CSV text with a header; `work` is one field of numbers with spaces between."""
    text = io.StringIO()
    writer = csv.DictWriter(text, _FIELDS, lineterminator="\n")
    writer.writeheader()
    for point in points:
        writer.writerow(vars(point) | {"work": " ".join(map(str, point.work))})
    return text.getvalue()


def to_json(points: Sequence[Point]) -> str:
    """The points as a JSON array of objects."""
    return json.dumps([vars(point) for point in points], indent=1) + "\n"


def read_points(path: Path) -> list[Point]:
    """The points of a file that `to_csv` or `to_json` wrote (told apart by its suffix).

    Raises
    ------
    FormatError : a file that cannot be read, or is not a sweep's.
    """
    try:
        text = path.read_text(encoding="utf-8")
        rows = json.loads(text) if path.suffix == ".json" else list(csv.DictReader(io.StringIO(text)))
        points = [_from_row(row) for row in rows]
    except OSError as error:
        raise FormatError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise FormatError(f"{path} is not a table written by eie sweep: {error}") from None
    if not points:
        raise FormatError(f"{path} holds no rows")
    return points


def _from_row(row: dict[str, Any]) -> Point:
    missing = [name for name in _FIELDS if row.get(name) is None]
    if missing:
        raise ValueError(f"no column {missing[0]!r}")
    work = row["work"].split() if isinstance(row["work"], str) else row["work"]
    scalars = {
        field.name: _TYPES[str(field.type)](row[field.name])
        for field in dataclasses.fields(Point)
        if field.name != "work"
    }
    return Point(**scalars, work=tuple(int(n) for n in work))
