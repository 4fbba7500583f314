"""Speed of the better machine's law and of balanced placement, each beside the published machine's in one run.

    python benchmarks/beyond_speed.py

A random 4096 x 4096 layer, 9 % of its weights, 35 % of its inputs, 64 PEs, one core: values, cycles and counters of the
fast engine on preset eie2 and on the published machine; placing the rows, and encoding the layer.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from eie.balance import balanced_rows, with_rows
from eie.capacity import sized_for
from eie.config import ArchConfig
from eie.encoding import encode
from eie.sim.engines.fast import prepare
from eie.sim.workloads.random import random_input, random_layer

ROUNDS = 15


def best(works: dict[str, Callable[[], object]], rounds: int = ROUNDS) -> dict[str, float]:
    """Processor seconds of each, the best of several rounds in which they take turns: other programs take time, too."""
    found = dict.fromkeys(works, float("inf"))
    for _ in range(rounds):
        for name, work in works.items():
            began = time.thread_time()
            work()
            found[name] = min(found[name], time.thread_time() - began)
    return found


def main() -> None:
    """Print both ratios."""
    layer, x = random_layer(4096, 4096, 0.09, 1), random_input(4096, 0.35, 1)
    machines = {name: sized_for(ArchConfig.preset(name), layer) for name in ("paper", "eie2")}
    prepared = {name: prepare(layer, cfg) for name, cfg in machines.items()}
    cycles = {name: one.run(x).cycles for name, one in prepared.items()}  # compiles, too
    runs = best({name: (lambda one=one: one.run(x)) for name, one in prepared.items()})
    for name, seconds in runs.items():
        print(f"{name}: {cycles[name]:,} cycles in {1e3 * seconds:.2f} ms")
    print(f"eie2 / paper: {runs['eie2'] / runs['paper']:.2f} (at most 5)")
    cfg = machines["paper"]
    loads = best(
        {
            # A copy each time: the last encoding of a layer is kept.
            "encode": lambda: encode(replace(layer), cfg),
            "place": lambda: with_rows(layer, balanced_rows(layer, cfg)),
        },
        5,
    )
    for name, seconds in loads.items():
        print(f"{name}: {1e3 * seconds:.0f} ms")
    print(f"place / encode: {loads['place'] / loads['encode']:.2f} (at most 5)")


if __name__ == "__main__":
    main()
