"""What a simulation returns, whatever the engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from eie.config import ArchConfig
from eie.errors import ConfigError
from eie.schema import PeCounter

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


@dataclass(frozen=True)
class Result:
    """Outcome of one layer on one engine.

    y : int16[rows]. cycles : compute mode, by the timing law (None for the reference, which has no clock).
    counters : the names in `COUNTERS`; None where an engine has no such counter.
    load_cycles : writes through the I/O port for biases, codebook, activations and configuration;
    weight_load_cycles : the writes that would load pointers and entries; writeback_cycles : ReLU write-back.
    """

    y: npt.NDArray[np.int16]
    cycles: int | None
    counters: Mapping[str, Counter]
    engine: str
    cfg: ArchConfig
    load_cycles: int | None = None
    weight_load_cycles: int | None = None
    writeback_cycles: int | None = None

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


def derive_counters(
    hardware: Mapping[str, npt.NDArray[np.int64]], cycles: int, broadcast_stalls: int
) -> dict[str, Counter]:
    """All counters from the ones that the hardware counts: adds macs and starved, in the order of `COUNTERS`."""
    counters: dict[str, Counter] = dict(hardware)
    counters["macs"] = hardware["entries"] - hardware["fillers"]
    counters["starved"] = cycles - hardware["entries"] - hardware["empty_columns"]
    counters["broadcast_stalls"] = broadcast_stalls
    return {name: counters[name] for name in COUNTERS}


def summed(results: Sequence[Result]) -> Result:
    """Runs of one layer as one: sums of cycles and counters; the weights are loaded once."""

    def total(values: Sequence[Any]) -> Any:
        return None if values[0] is None else sum(values[1:], start=values[0])

    def of(name: str) -> int | None:
        return total([getattr(result, name) for result in results])

    first = results[0]
    sums = {name: total([result.counters[name] for result in results]) for name in first.counters}
    return replace(
        first,
        counters=sums,
        cycles=of("cycles"),
        load_cycles=of("load_cycles"),
        writeback_cycles=of("writeback_cycles"),
    )


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
        """As in a `Result`; empty for hardware without counters."""
        if self.per_pe is None:
            return {}
        hardware = {counter.name.lower(): self.per_pe[counter] for counter in PeCounter}
        return derive_counters(hardware, self.cycles, self.broadcast_stalls)


def total(counts: Sequence[Count]) -> Count:
    """The sum of passes or runs."""

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


@dataclass(frozen=True, eq=False)
class ProgramResult:
    """What a program gave for one input.

    y : int16[outputs]. runs : a `Count` for each run (none from the reference). passes : for each pass, from the fast
    engine only, because hardware counts runs. load_cycles : words that the host wrote for this input;
    store_cycles : cycles in which it read results (None: not measured).
    """

    y: npt.NDArray[np.int16]
    engine: str
    runs: tuple[Count, ...]
    passes: tuple[Count, ...] = ()
    load_cycles: int | None = None
    store_cycles: int | None = None

    @property
    def total(self) -> Count:
        """The sum of the runs."""
        return total(self.runs)
