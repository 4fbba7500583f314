"""The fast engine on a 4096 x 4096 layer, paired in one run with golden, the RTL in Verilator, numpy and scipy.

python benchmarks/fast_speed.py [--plot FILE.png]

The RTL's time is that of its whole simulator process, build not counted.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from eie.program import Job
from eie.result import COUNTERS
from eie.sim.evaluation import engine_speed
from eie.sim.plots.style import save
from eie.sim.simulate import simulate_many

SEED = 1
# Milliseconds that the project promises.
PROMISED = {"one": 1.5, "law": 0.1, "encode": 100.0}


def other_engines(job: Job) -> dict[str, float]:
    """Seconds of golden and of the RTL in Verilator on the same job, whose figures have to be the same."""
    expected = simulate_many([job], "fast")[0]
    seconds = {}
    for engine in ("golden", "verilator"):
        if engine == "verilator":
            simulate_many([Job.create(job.layer, np.zeros_like(job.x), job.cfg)], engine)  # builds
        began = time.perf_counter()
        (found,) = simulate_many([job], engine)
        seconds[engine] = time.perf_counter() - began
        same = np.array_equal(found.y, expected.y) and found.cycles == expected.cycles
        same &= all(np.array_equal(found.counters[name], expected.counters[name]) for name in COUNTERS)
        if not same:
            raise AssertionError(f"{engine} and fast differ (seed {SEED})")
    return seconds


def main() -> int:
    """Print one row for each engine; 1 if a promise is not kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plot", type=Path, help="draw the time against the active entries there")
    plot = parser.parse_args().plot
    prepared, inputs = engine_speed.large(SEED)
    times = vars(engine_speed.fast_times(SEED))
    labels = {
        "one": "fast: everything, one core",
        "each": f"fast: everything, each of a batch of {engine_speed.BATCH}, all cores",
        "law": "fast: timing alone",
        "encode": "encoding dense code indices",
        "facts": "column table, once a layer",
    }
    others = engine_speed.product_times(SEED)
    others |= other_engines(Job.create(prepared.layer, inputs[0], prepared.cfg))
    table = Table("what", "ms", "times fast (one core)", "promised, ms")
    for name, label in labels.items():
        promised = f"{PROMISED[name]:g}" if name in PROMISED else ""
        table.add_row(label, f"{times[name] * 1e3:,.3f}", f"{times[name] / times['one']:.3g}", promised)
    for name, seconds in others.items():
        name += ", its process and loading" if name == "verilator" else ""
        table.add_row(name, f"{seconds * 1e3:,.3f}", f"{seconds / times['one']:,.3g}", "")
    cycles = prepared.run(inputs[0]).cycles
    Console(width=110).print(table)
    print(
        f"{cycles:,} cycles: {cycles / times['one'] / 1e6:.1f} million cycles/s; golden and Verilator agree"
    )
    if plot:
        plot.write_bytes(save(engine_speed.figure(engine_speed.scaling(SEED)).figure))
    return int(any(times[name] * 1e3 > limit for name, limit in PROMISED.items()))


if __name__ == "__main__":
    sys.exit(main())
