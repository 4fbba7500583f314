"""The timing law of a matrix on a machine, compiled: cycles and counters for any activations.

A PE that walks its columns entry by entry follows docs/timing.md, one that issues from a window of words
docs/beyond.md; `law_of` chooses.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from eie.config import ArchConfig
from eie.csc import Interleaved
from eie.errors import CapacityError
from eie.fixed import IntArray
from eie.index_free import PlacedBlocks
from eie.sim.engines import kernels, window
from eie.timing import constants

# Cycles are counted in signed 32-bit numbers, of which vector units hold twice as many.
MAX_CYCLES = 2**31 - 1


class Law(Protocol):
    """A matrix on the PEs of a machine, ready for its timing law."""

    def count(self, inputs: IntArray, cfg: ArchConfig, counted: IntArray, totals: IntArray) -> None:
        """Fill counted, int64[batch, counters, n_pe], and totals, int64[batch, 2]: cycles and broadcast_stalls.

        inputs : int64[batch, cols]. cfg : as the law was made for, but for the queue's depth and the like.
        """


@dataclass(frozen=True, eq=False)
class Walking(Law):
    """One entry address a cycle, column after column. table : see `eie.sim.engines.kernels`."""

    table: npt.NDArray[np.int32]

    def count(self, inputs: IntArray, cfg: ArchConfig, counted: IntArray, totals: IntArray) -> None:
        """As `Law.count`."""
        k = constants(cfg)
        kernels.time_many(self.table, inputs, cfg.queue_depth, k.T0, k.A, k.B, k.C, counted, totals)
        # Each entry takes a cycle, and so does a column without one.
        counted[:, kernels.ISSUE_CYCLES] = counted[:, kernels.ENTRIES] + counted[:, kernels.EMPTY]


@dataclass(frozen=True, eq=False)
class Windowed(Law):
    """Entries from a window of words."""

    runs: window.Runs
    acc_rows: int

    def count(self, inputs: IntArray, cfg: ArchConfig, counted: IntArray, totals: IntArray) -> None:
        """As `Law.count`."""
        k = constants(cfg)
        machine = window.Machine(
            cfg.group,
            cfg.entries_per_word,
            cfg.queue_depth,
            cfg.issue,
            cfg.window,
            bool(cfg.filter_empty),
            self.acc_rows,
            *(k.T0, k.A, k.B, k.C),
        )
        window.time_many(self.runs, inputs, machine, counted, totals)


@dataclass(frozen=True, eq=False)
class Segmented(Law):
    """Segments with a broadcast of their own. columns : of each, those of the matrix that are its."""

    parts: tuple[Windowed, ...]
    columns: tuple[IntArray, ...]

    def count(self, inputs: IntArray, cfg: ArchConfig, counted: IntArray, totals: IntArray) -> None:
        """As `Law.count`: the slowest segment's cycles, and the stalls of all."""
        of_segment = np.zeros_like(totals)
        m = cfg.segment_pes
        for s, (part, columns) in enumerate(zip(self.parts, self.columns, strict=True)):
            mine = np.zeros((*counted.shape[:2], m), np.int64)
            part.count(np.ascontiguousarray(inputs[:, columns]), cfg, mine, of_segment)
            counted[:, :, s * m : (s + 1) * m] += mine
            np.maximum(totals[:, 0], of_segment[:, 0], out=totals[:, 0])
            totals[:, 1] += of_segment[:, 1]


def law_of(inter: Interleaved, rows: int, cfg: ArchConfig) -> Law:
    """The law of a matrix of so many rows.

    Raises
    ------
    CapacityError : it may take more cycles than are counted.
    """
    lengths = np.diff(inter.pointers, axis=1)
    check_countable(int(np.maximum(lengths.max(axis=0), 1).sum()), lengths.shape[1], cfg)
    if cfg.walks:
        return Walking(
            kernels.column_table(inter.v, inter.z, inter.pointers, cfg.entries_per_word, cfg.absolute)
        )
    if isinstance(inter, PlacedBlocks) and cfg.segments > 1:
        # Every row of a block has entries.
        local = int(inter.z.max()) + 1
        parts = tuple(_windowed(inter.segment(s), local, cfg) for s in range(cfg.segments))
        return Segmented(parts, inter.members)
    return _windowed(inter, -(-rows // inter.n_pe), cfg)


def _windowed(inter: Interleaved, local: int, cfg: ArchConfig) -> Windowed:
    """The law of a window machine, or of a segment of one. local : rows of a PE."""
    groups, n_pe = -(-inter.lengths.shape[0] // cfg.group), inter.n_pe
    starts = np.ascontiguousarray(inter.starts.T)
    runs = window.Runs(
        np.empty(len(inter.v), np.uint16 if local <= 1 << 16 else np.int32),
        np.zeros((groups, n_pe, 2), np.int32),
        (starts // cfg.entries_per_word).astype(np.int32),
        (starts % cfg.entries_per_word).astype(np.int32),
        np.zeros(groups, np.int64),
        np.zeros((groups, n_pe, 2), np.int32),
        inter.units.astype(np.int64) if isinstance(inter, PlacedBlocks) else np.zeros(groups, np.int64),
    )
    window.run_tables(
        inter.v,
        inter.z,
        inter.pointers,
        cfg.group,
        not cfg.relative,
        not cfg.index_free,
        runs.rows,
        runs.lengths,
        runs.fillers,
        runs.first,
    )
    return Windowed(runs, local)


def check_countable(busiest: int, columns: int, cfg: ArchConfig) -> None:
    """Raise `CapacityError` where a layer may take more cycles than the engine counts.

    busiest : no less than the sum over the columns of their longest part on a PE.
    """
    k = constants(cfg)
    most = k.T0 + k.C + busiest + columns * (k.A + k.B)
    if most > MAX_CYCLES:
        raise CapacityError(
            f"the layer may take {most} cycles; engine fast counts to {MAX_CYCLES}: use more PEs, or engine golden"
        )
