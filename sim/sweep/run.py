"""Sweeps: points that run on any workers, into a store that keeps every finished one.

A point is finished when its row is in the store. `run` goes on from what is there, so that a sweep that was stopped,
killed or cut off is continued by running it again.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass

import numpy as np

from eie.config import ArchConfig
from eie.csc import Interleaved
from eie.encoding import encode
from eie.fixed import IntArray
from eie.layer import CompressedLayer
from eie.sim.sweep.columns import Row
from eie.sim.sweep.point import Point
from eie.sim.sweep.store import Store
from eie.sim.sweep.workers import ANSWER_S, ThisProcess, Workers

# Points in one submission: enough to make a layer once for many of them.
_TOGETHER = 64
_CHECK_S = 5.0
DIED = "the worker process died while it ran this point"
# A cluster may blame all that a dead worker had: after so many deaths a point runs alone and last; the next is its own.
_SUSPECT = 2


@dataclass
class _Chunk:
    """Points of one layer to run together; `deaths`: how many workers died while they had them."""

    points: Sequence[Point]
    deaths: int = 0


def unfinished(points: Sequence[Point], store: Store, *, retry: bool = False) -> list[Point]:
    """The points, each once, that the store does not hold; with `retry` also those that it holds as failed."""
    there = store.statuses()
    unique = {point.key: point for point in points}
    return [point for key, point in unique.items() if key not in there or (retry and there[key] == "failed")]


def run(
    points: Sequence[Point],
    store: Store,
    workers: Workers | None = None,
    *,
    retry: bool = False,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Run the points that the store does not hold, on `workers` (default: this process), into the store.

    Points that fail have rows, too, with the reason, and are not run again unless with `retry`. After an interruption
    (Ctrl-C) what the workers finish within two seconds is kept.
    progress : called with the number of points just finished.

    Raises
    ------
    OutputError : the store cannot be written (a full disk, say); what it holds stays.
    ClusterError : there are no workers any more.
    """
    todo = unfinished(points, store, retry=retry)
    with workers or ThisProcess() as group:
        pending = deque(_chunks(todo, group.slots))
        running: dict[Future[list[Row]], _Chunk] = {}

        def keep(done: Future[list[Row]]) -> None:
            rows = _rows(running.pop(done), done, group, pending)
            store.add(rows)
            if progress:
                progress(len(rows))

        checked = time.monotonic()
        try:
            while pending or running:
                while pending and len(running) < (1 if pending[0].deaths == _SUSPECT else group.slots):
                    chunk = pending.popleft()
                    running[group.submit(chunk.points)] = chunk
                finished, _ = wait(running, timeout=1, return_when=FIRST_COMPLETED)
                for future in finished:
                    keep(future)
                if time.monotonic() - checked > _CHECK_S:
                    group.check()
                    checked = time.monotonic()
        except KeyboardInterrupt:
            for future in wait(running, timeout=2 * ANSWER_S).done:
                keep(future)
            raise


def _rows(chunk: _Chunk, done: Future[list[Row]], workers: Workers, pending: deque[_Chunk]) -> list[Row]:
    """Rows of a chunk whose future is done; what is left of it goes back to `pending`."""
    try:
        rows = done.result()
    except Exception as error:
        if not workers.died(error):
            raise
        # One by one, then alone: whoever kills its worker must not take others with it.
        alone = [_Chunk([point], chunk.deaths + 1) for point in chunk.points]
        if chunk.deaths == 0:
            pending.extendleft(reversed(alone))
        elif chunk.deaths < _SUSPECT:
            pending.extend(alone)
        else:
            return [point.columns() | {"status": "failed", "error": DIED} for point in chunk.points]
        return []
    if len(rows) < len(chunk.points):
        pending.appendleft(_Chunk(chunk.points[len(rows) :]))
    return rows


def _chunks(points: Sequence[Point], slots: int) -> Iterator[_Chunk]:
    """Chunks of one layer each; inside a layer, configurations that share its encoding come together."""
    by_layer: dict[tuple[str, str], list[Point]] = {}
    for point in points:
        by_layer.setdefault((point.engine, point.layer.identity), []).append(point)
    size = max(1, min(_TOGETHER, -(-len(points) // (4 * slots))))
    for group in by_layer.values():
        group.sort(key=lambda point: [point.machine[name] for name in ("n_pe", "index_bits", "word_bits")])
        for start in range(0, len(group), size):
            yield _Chunk(group[start : start + size])


def rows_of(points: Sequence[Point], store: Store) -> list[Row]:
    """The rows of the points that the store holds, in the order of the points."""
    held = {row["key"]: row for row in store.rows()}
    return [held[key] for key in dict.fromkeys(point.key for point in points) if key in held]


def run_in_memory(points: Sequence[Point]) -> list[Row]:
    """Run the points here, without a file; their rows in the order of the points."""
    with Store() as store:
        run(points, store)
        return rows_of(points, store)


# ---- what a layer makes of PEs -----------------------------------------------------------------------------


def filler_counts(inter: Interleaved) -> IntArray:
    """Fillers of each column on each PE, int64[cols, n_pe]."""
    before = np.concatenate(([0], np.cumsum(inter.v == 0)))
    return np.diff(before[inter.base[:-1, None] + inter.pointers], axis=1).T


def work_by_group(layer: CompressedLayer, x: IntArray, cfg: ArchConfig, groups: int) -> IntArray:
    """Entries of each PE in `groups` successive groups of active columns, int64[groups, n_pe]."""
    lengths = encode(layer, cfg).lengths[np.flatnonzero(x)]
    parts = np.array_split(lengths, min(groups, max(1, len(lengths))))
    return np.stack([part.sum(axis=0) for part in parts])
