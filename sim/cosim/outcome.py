"""What came out of a simulator."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from eie.program import Job
from eie.result import COUNTERS, Counter, Result, derive_counters
from eie.schema import PeCounter
from eie.timing import compute_mode_cycles, constants, writeback_cycles


@dataclass
class Outcome:
    """One job's results, read from RTL ports. y_acc : accumulators read back, [PE][local row].

    counters : of each PE; empty, and cycles and broadcast_stalls are 0, where the hardware has none.
    """

    y_acc: list[list[int]]
    cycles: int
    broadcast_stalls: int
    counters: list[list[int]]
    load_cycles: int
    weight_load_cycles: int | None
    busy_cycles: int


@dataclass
class Divergence:
    """The first cycle in which a probed signal differs, with the words around it.

    job : number of the job; cycle : clock cycles since reset; compute_cycle : the CCU's cycle number (golden).
    history : probe words by cycle, {"golden"|"rtl": [(cycle, [word of each PE..., CCU word])]}.
    """

    job: int
    cycle: int
    compute_cycle: int
    pe: int | None
    signal: str
    golden: int | str
    rtl: int | str
    also: list[str]
    history: dict[str, list[tuple[int, list[int]]]] = field(default_factory=dict)


def result_of(job: Job, outcome: Any, engine: str) -> Result:
    """A `Result` from what the host program read out of the RTL; hardware without counters has only cycles."""
    cfg = job.cfg
    cycles = outcome.cycles
    counters: dict[str, Counter] = dict.fromkeys(COUNTERS)
    if cfg.counters:
        columns = np.array(outcome.counters, dtype=np.int64).T
        hardware = {counter.name.lower(): columns[counter] for counter in PeCounter}
        counters = derive_counters(hardware, cycles, outcome.broadcast_stalls)
        writeback = outcome.busy_cycles - compute_mode_cycles(cycles, cfg)
    else:
        # Busy are compute mode and write-back; an input without activations is the one with the shortest compute mode.
        writeback = writeback_cycles(job.layer, cfg)
        cycles = outcome.busy_cycles - writeback - 1
        cycles = 0 if cycles == constants(cfg).T0 else cycles
    return Result(
        y=job.y_from_acc(outcome.y_acc),
        cycles=cycles,
        counters=counters,
        engine=engine,
        cfg=cfg,
        load_cycles=outcome.load_cycles,
        weight_load_cycles=outcome.weight_load_cycles,
        writeback_cycles=writeback,
    )
