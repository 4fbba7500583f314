"""What a simulation returns, whatever the engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eie.config import ArchConfig

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
        """Sum of a counter over the PEs."""
        value = self.counters[counter]
        if value is None:
            raise KeyError(f"engine {self.engine} has no counter {counter!r}")
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
