"""Paired times of contenders in one process, and each one's memory and first answer in a process of its own."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eie.errors import SimulationError
from eie.sim.bench.contenders import Array, Contender, contender
from eie.sim.chain import load

# Seconds that one contender has in a turn, after a call that brings its weights back into the caches.
_TURN = 0.02
_ROUNDS = 5


def clock_of(threads: int) -> Callable[[], float]:
    """One thread's own time, in which others' programs do not count; of several threads the time that passes."""
    return time.process_time if threads == 1 else time.perf_counter


def paired(
    contenders: Sequence[Contender], x: Array, seconds: float, clock: Callable[[], float] = time.process_time
) -> dict[str, float]:
    """Least seconds of a call on `x` by each, in turns, so that all meet the machine in the same state.

    seconds : for all of them together; but at least five turns each. clock : `clock_of` their threads. Other
    programs only ever slow a call down, so the least time is the one to compare.
    """
    best = {one.name: float("inf") for one in contenders}
    for one in contenders:
        one.prepare()
        one.run(x)  # allocates
    end, rounds = time.perf_counter() + seconds, 0
    while rounds < _ROUNDS or time.perf_counter() < end:
        rounds += 1
        for one in contenders:
            one.prepare()
            one.run(x)
            until = time.perf_counter() + _TURN
            while True:
                began = clock()
                one.run(x)
                best[one.name] = min(best[one.name], clock() - began)
                if time.perf_counter() > until:
                    break
    return best


@dataclass(frozen=True)
class Alone:
    """A contender in a process of its own, from the .eie file to its first answer.

    first_s : seconds, start of Python and imports included. peak_mb : most memory that the process had, in MB.
    """

    first_s: float
    peak_mb: float


def alone(name: str, file: Path, threads: int, x: Array) -> Alone:
    """Start one.

    Raises
    ------
    SimulationError : it ended badly; with what it said.
    """
    order = json.dumps({"name": name, "file": str(file), "threads": threads, "x": x[0].tolist()})
    began = time.time()
    done = subprocess.run(
        [sys.executable, "-m", "eie.sim.bench.measure"], input=order, capture_output=True, text=True
    )
    if done.returncode:
        raise SimulationError(f"{name} ended with status {done.returncode}: {done.stderr.strip()[-400:]}")
    said: Mapping[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return Alone(said["answered"] - began, said["peak_mb"])


def _child() -> None:
    """What `alone` starts: the order comes by standard input."""
    order = json.loads(sys.stdin.read())
    one = contender(order["name"], load(order["file"]).layers, order["threads"])
    one.prepare()
    one.run(np.array([order["x"]], np.float32))
    answered = time.time()
    print(json.dumps({"answered": answered, "peak_mb": _peak() / 1e6}))


def _peak() -> int:
    """Most bytes of memory that this process had. getrusage counts those of the parent before exec on Linux."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    _child()
