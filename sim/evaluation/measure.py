"""What Figs. 8 and 11 to 13 are made of: the nine layers by the timing law, at any PE count and queue depth.

A layer is encoded once for each PE count. Time does not depend on memory sizes, so none are given.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eie.config import ArchConfig
from eie.csc import interleave
from eie.sim.engines.fast import timing
from eie.sim.evaluation.layers import benchmark
from eie.sim.sweep.run import filler_counts


@dataclass(frozen=True)
class Run:
    """One layer and input at one PE count and queue depth; entries (fillers included), fillers, empty: sums over PEs.

    empty : active columns that a PE holds no entry of, a cycle each.
    """

    n_pe: int
    cycles: int
    entries: int
    fillers: int
    empty: int

    @property
    def balance(self) -> float:
        """Load-balance efficiency: the share of all PEs' cycles with an entry or an empty column."""
        return (self.entries + self.empty) / (self.cycles * self.n_pe)

    @property
    def busy(self) -> float:
        """The share of all PEs' cycles in which the multiplier has an entry."""
        return self.entries / (self.cycles * self.n_pe)

    @property
    def padding(self) -> float:
        """The share of the entries that only bridge a run of zeros."""
        return self.fillers / self.entries


@dataclass(frozen=True, eq=False)
class Encoded:
    """A layer's active columns on `n_pe` PEs: lengths int64[M, n_pe], and the fillers among all of it."""

    n_pe: int
    lengths: npt.NDArray[np.int64]
    fillers: int

    def run(self, depth: int | None) -> Run:
        """Its time with queues of this depth, or without a limit."""
        cfg = ArchConfig(n_pe=self.n_pe, queue_depth=depth or 1)
        cycles, _ = timing(self.lengths, cfg, unbounded=depth is None)
        entries, empty = int(self.lengths.sum()), int(np.count_nonzero(self.lengths == 0))
        return Run(self.n_pe, cycles, entries, self.fillers, empty)


def encoded(name: str, seed: int, n_pe: int) -> Encoded:
    """A benchmark layer of `eie.sim.evaluation.layers`, encoded."""
    layer, x = benchmark(name, seed)
    active = np.flatnonzero(x)
    inter = interleave(layer, n_pe, ArchConfig().index_bits)
    return Encoded(n_pe, np.ascontiguousarray(inter.lengths[active]), int(filler_counts(inter)[active].sum()))
