"""Processor time of a piece of work: what a test compares with other work of the same run, never with seconds."""

from __future__ import annotations

import time
from collections.abc import Callable


def least_seconds(work: Callable[[], object], rounds: int = 3) -> float:
    """Processor time of this process for `work`: the least of several rounds."""
    times = []
    for _ in range(rounds):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)
