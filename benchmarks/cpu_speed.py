"""The engine cpu on the nine benchmark layers beside dense and sparse libraries, in one paired run.

python benchmarks/cpu_speed.py [--plot FILE.png]

Batch 1, one thread. Exit status 1 if a promise is not kept. With --plot also where dense products overtake.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from eie.sim.bench.contenders import CSC, CSR, EXACT, FLOAT, INT8, TORCH, names
from eie.sim.bench.layers import (
    FAST,
    SIZE,
    against_batch,
    against_density,
    mean_ratio,
    measure_layer,
    picture,
)
from eie.sim.evaluation.baselines import environment
from eie.sim.evaluation.layers import BENCHMARKS
from eie.sim.plots.style import save

SEED = 1
# Smallest geometric means over all nine, and on the 4096 x 4096 layer against the fast engine with its counters.
PROMISED = {"onnxruntime": 3.0, "scipy": 2.0, "fast": 3.0}
LARGE = "Alex-7"
# They take long to make for the largest layers.
SLOW = (INT8, TORCH)


def main() -> int:
    """Print a row for each layer, the promises, and the crossings."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plot", type=Path, help="draw where dense overtakes there")
    parser.add_argument("--all", action="store_true", help="beside onnxruntime int8 and torch, too")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each layer's paired run")
    given = parser.parse_args()
    others = [name for name in names() if name != EXACT and (given.all or name not in SLOW)]
    columns = [EXACT, *others, FAST]
    table = Table(
        "µs", *columns, "limit", "read from", title=f"batch 1, one thread, CPU time; {environment()}"
    )
    measured = []
    for name in tqdm(BENCHMARKS, leave=False):
        one = measure_layer(name, SEED, given.seconds, others)
        measured.append(one)
        cells = [f"{one.seconds[key] * 1e6:,.0f}" for key in columns]
        print(f"{name}: {dict(zip(columns, cells, strict=True))}", file=sys.stderr, flush=True)
        table.add_row(name, *cells, f"{one.limit * 1e6:,.0f}", one.place)
    console = Console(width=200)
    console.print(table)
    kept = []

    def promise(text: str, found: float, least: float) -> None:
        kept.append(found >= least)
        print(f"{text}: {found:.2f} x (promised {least:g} x{'' if kept[-1] else ', MISSED'})")

    large_layers = [one for one in measured if one.name.startswith(("Alex", "VGG"))]
    slowest = min(large_layers, key=lambda one: one.ratio(FLOAT))
    promise(
        f"{FLOAT} / {EXACT}, six AlexNet and VGG layers, least ({slowest.name})", slowest.ratio(FLOAT), 1.0
    )
    promise(
        f"{FLOAT} / {EXACT}, geometric mean of nine", mean_ratio(measured, FLOAT), PROMISED["onnxruntime"]
    )
    promise(
        f"scipy's best / {EXACT}, geometric mean of nine", mean_ratio(measured, CSR, CSC), PROMISED["scipy"]
    )
    (same,) = (one for one in measured if one.name == LARGE)
    promise(f"{FAST} / {EXACT}, 4096 x 4096 ({LARGE})", same.ratio(FAST), PROMISED["fast"])
    for one in measured:
        if one.ratio(FLOAT) < 1:
            print(f"{one.name}: {FLOAT} is {1 / one.ratio(FLOAT):.2f} x as fast as {EXACT}")
    if given.plot:
        quick = given.seconds / 4
        by_density = {
            f"{100 * share:.0f} % of inputs": against_density(share, quick, SEED) for share in (0.35, 1.0)
        }
        caption = (
            f"A {SIZE} x {SIZE} layer, one thread, least CPU times of paired runs on one machine. "
            "Random weights and inputs; codes of 4 bits, accumulators of 16."
        )
        drawn, lines = picture(by_density, against_batch(0.09, 0.35, quick, SEED), caption)
        given.plot.write_bytes(save(drawn))
        print("\n".join(lines))
    return int(not all(kept))


if __name__ == "__main__":
    sys.exit(main())
