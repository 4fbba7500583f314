"""What a simulation returns, whatever the engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from eie.config import ArchConfig
from eie.errors import ConfigError
from eie.schema import CCU_COUNTERS, PeCounter

# Names of the counters that every engine fills in the same way: int64[n_pe] each, but for broadcast_stalls (int).
COUNTERS = (
    "entries",
    "fillers",
    "macs",
    "empty_columns",
    "starved",
    "broadcast_stalls",
    "ptr_reads",
    "spmat_reads",
    "bypasses",
    "saturations",
    "writeback_saturations",
)

Counter = npt.NDArray[np.int64] | int | None


@dataclass(frozen=True, eq=False)
class Count:
    """The hardware's counters of a pass or a run; per_pe : int64[PeCounter, n_pe] (None: hardware without them).

    busy_cycles : from start to done. Hardware without counters gives 0 for all but these.
    """

    cycles: int
    broadcast_stalls: int
    refill_cycles: int
    writeback_cycles: int
    busy_cycles: int
    per_pe: npt.NDArray[np.int64] | None

    @property
    def counters(self) -> dict[str, Counter]:
        """As in a `Result`: adds macs and starved, in the order of `COUNTERS`; empty for hardware without counters."""
        if self.per_pe is None:
            return {}
        counters: dict[str, Counter] = {counter.name.lower(): self.per_pe[counter] for counter in PeCounter}
        counters["macs"] = self.per_pe[PeCounter.ENTRIES] - self.per_pe[PeCounter.FILLERS]
        counters["starved"] = self.cycles - self.per_pe[PeCounter.ISSUE_CYCLES]
        counters["broadcast_stalls"] = self.broadcast_stalls
        return {name: counters[name] for name in COUNTERS}


def complete(per_pe: npt.NDArray[np.int64], cfg: ArchConfig) -> npt.NDArray[np.int64]:
    """The counters that the hardware has, int64[pe_counters(cfg), n_pe], with ISSUE_CYCLES where it has none.

    With one entry a cycle each entry takes one, and so does a column without an entry that gets into the queue.
    """
    if len(per_pe) > PeCounter.ISSUE_CYCLES:
        return per_pe
    issues = per_pe[PeCounter.ENTRIES] + (0 if cfg.filter_empty else per_pe[PeCounter.EMPTY_COLUMNS])
    return np.vstack([per_pe, issues])


def total(counts: Sequence[Count]) -> Count:
    """The sum of passes or runs."""
    if len(counts) == 1:
        return counts[0]

    def of(name: str) -> int:
        return sum(getattr(one, name) for one in counts)

    per_pe = [one.per_pe for one in counts if one.per_pe is not None]
    return Count(
        of("cycles"),
        of("broadcast_stalls"),
        of("refill_cycles"),
        of("writeback_cycles"),
        of("busy_cycles"),
        np.sum(per_pe, axis=0) if len(per_pe) == len(counts) else None,
    )


@dataclass(frozen=True)
class Result:
    """What an engine gave for one input of a layer, or of a program of many passes.

    y : int16[rows]. cycles : compute mode, by the timing law (None for the reference, which has no clock, and for many
    passes on hardware without counters). counters : the names in `COUNTERS`; None where an engine has no such counter.
    load_cycles : words that the host writes through the I/O port for this input (of a layer: biases, codebook,
    activations and configuration); weight_load_cycles : those that are loaded once, where they went through the port
    (of a layer: pointers and entries); writeback_cycles : ReLU write-back; store_cycles : in which the host reads
    results (None: not measured).
    runs : a `Count` for each start (none from the reference). passes : for each pass, from the fast engine on a plan
    only, because hardware counts runs.
    """

    y: npt.NDArray[np.int16]
    cycles: int | None
    counters: Mapping[str, Counter]
    engine: str
    cfg: ArchConfig
    load_cycles: int | None = None
    weight_load_cycles: int | None = None
    writeback_cycles: int | None = None
    store_cycles: int | None = None
    runs: tuple[Count, ...] = ()
    passes: tuple[Count, ...] = ()

    @property
    def count(self) -> Count:
        """The sum of the runs."""
        return total(self.runs)

    @property
    def microseconds(self) -> float | None:
        """Compute time at the configuration's clock."""
        return None if self.cycles is None else self.cycles / self.cfg.clock_hz * 1e6

    @property
    def balance(self) -> float | None:
        """Load-balance efficiency: 1 - mean over PEs of starved / cycles (1.0 when there is nothing to do)."""
        starved = self.counters["starved"]
        if self.cycles is None or starved is None:
            return None
        return 1.0 - float(np.mean(starved)) / self.cycles if self.cycles else 1.0

    def total(self, counter: str) -> int:
        """Sum of a counter over the PEs.

        Raises
        ------
        ConfigError : the engine, or a machine without counters, does not count it.
        """
        value = self.counters[counter]
        if value is None:
            why = "" if self.cfg.counters else " of a machine with counters=0"
            raise ConfigError(f"the engine {self.engine} gives no counter {counter!r}{why}")
        return int(np.sum(value))


def summed(results: Sequence[Result]) -> Result:
    """Runs of one layer as one: sums of cycles and counters; the weights are loaded once."""

    def added(values: Sequence[Any]) -> Any:
        return None if values[0] is None else sum(values[1:], start=values[0])

    def of(name: str) -> int | None:
        return added([getattr(result, name) for result in results])

    first, counts = results[0], [run for result in results for run in result.runs]
    sums = {name: added([result.counters[name] for result in results]) for name in first.counters}
    return replace(
        first,
        counters=sums,
        cycles=of("cycles"),
        load_cycles=of("load_cycles"),
        writeback_cycles=of("writeback_cycles"),
        store_cycles=of("store_cycles"),
        runs=(total(counts),) if counts else (),
        passes=(),
    )


def differences(expected: Result, found: Result) -> tuple[int, list[str]]:
    """Compare two engines' results of one input: the numbers compared, and a line for each that differs.

    Activations, and each run's cycles and counters. An engine without a clock, or hardware without counters, is
    compared in what it has.
    """
    compared, lines = 0, []

    def compare(what: str, one: Any, other: Any) -> None:
        """`what` has a place {0} for the position in a vector."""
        nonlocal compared
        want, have = np.atleast_1d(one), np.atleast_1d(other)
        compared += have.size
        for place in np.flatnonzero(want != have):
            lines.append(
                f"{what.format(place)}: {expected.engine} {want[place]}, {found.engine} {have[place]}"
            )

    compare("activation {0}", expected.y, found.y)
    if not found.runs:
        return compared, lines
    for number, (want, have) in enumerate(zip(expected.runs, found.runs, strict=True)):
        names = ("busy_cycles", *CCU_COUNTERS)
        for name in names if have.per_pe is not None else names[:1]:
            compare(f"run {number}, {name}", getattr(want, name), getattr(have, name))
        if want.per_pe is not None and have.per_pe is not None:
            for counter in PeCounter:
                what = f"run {number}, {counter.name.lower()} of PE {{0}}"
                compare(what, want.per_pe[counter], have.per_pe[counter])
    for name in ("load_cycles", "store_cycles"):
        compare(name, getattr(expected, name), getattr(found, name))
    return compared, lines
