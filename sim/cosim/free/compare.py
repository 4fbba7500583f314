"""Layers on the free-running RTL, compared with the fast engine at the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from eie.errors import MismatchError
from eie.host import feeds_of
from eie.program import Job
from eie.result import Result, differences
from eie.sim.cosim.free.run import run_feeds
from eie.sim.cosim.images import Transform
from eie.sim.engines import fast


@dataclass(frozen=True)
class FreeReport:
    """Free-running RTL against the fast engine: activations, cycles and every counter of every PE.

    cycles : clock cycles simulated. compared : numbers. differences : one line each. seconds, processor_seconds :
    of the simulator's processes, their start included.
    """

    simulator: str
    cycles: int
    compared: int
    differences: tuple[str, ...]
    seconds: float
    processor_seconds: float
    results: tuple[Result, ...]

    def require_agreement(self) -> None:
        """Raise `MismatchError` when a number differs."""
        if self.differences:
            raise MismatchError(
                f"{self.simulator}: {len(self.differences)} of {self.compared:,} numbers differ, first: "
                + self.differences[0]
            )


def compare_jobs(jobs: Sequence[Job], simulator: str, *, transform: Transform | None = None) -> FreeReport:
    """Run jobs free-running, those of one layer in one simulator process, and compare with the fast engine.

    Raises
    ------
    MismatchError : the RTL did not end a layer in time, or gave what cannot be.
    """
    done = [run_feeds([feed], simulator, transform=transform) for feed in feeds_of(jobs)]
    results = [result for part in done for result in part.results]
    compared, lines = 0, []
    for number, (found, wanted) in enumerate(zip(results, fast.run(jobs), strict=True)):
        count, differing = differences(wanted, found)
        compared += count
        lines += [f"job {number}, {line}" for line in differing]
    return FreeReport(
        simulator,
        sum(part.cycles for part in done),
        compared,
        tuple(lines),
        sum(part.seconds for part in done),
        sum(part.processor_seconds for part in done),
        tuple(results),
    )
