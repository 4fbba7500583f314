"""Lockstep speed: clock cycles a second with golden, RTL and the comparison of every probe; the simulator's start
counted, its build not, which is that of a long run.

python benchmarks/lockstep_speed.py [--sim verilator]
"""

from __future__ import annotations

import argparse
import sys

import numpy as np
from rich.console import Console
from rich.table import Table

from eie.capacity import sized_for
from eie.config import ArchConfig
from eie.layer import CompressedLayer
from eie.program import Job
from eie.sim.cosim.lockstep import lockstep

# PEs, rows, columns, inputs, cycles a second that the project promises on Verilator.
POINTS = ((4, 256, 256, 12, 3000), (64, 2048, 1024, 1, 300))


def jobs(n_pe: int, rows: int, cols: int, inputs: int) -> list[Job]:
    """A layer with 9 % of its weights, and inputs with 35 % of their activations, seed 1."""
    rng = np.random.default_rng(1)
    codes = (rng.random((rows, cols)) < 0.09) * rng.integers(1, 16, (rows, cols))
    layer = CompressedLayer.from_codes(codes.astype(np.uint8), np.arange(16), product_shift=8)
    x = (rng.random((inputs, cols)) < 0.35) * rng.integers(1, 1000, (inputs, cols))
    cfg = sized_for(ArchConfig(n_pe=n_pe), layer)
    return [Job.create(layer, row, cfg) for row in x]


def main() -> int:
    """Print one row per simulator and PE count; 1 if a promise is not kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sim", choices=("icarus", "verilator"), action="append")
    kept = True
    table = Table("simulator", "PEs", "cycles", "signals", "cycles/s", "promised")
    for simulator in parser.parse_args().sim or ("verilator", "icarus"):
        for n_pe, rows, cols, inputs, promised in POINTS:
            work = jobs(n_pe, rows, cols, inputs)
            lockstep(work, simulator, long_run=True)  # builds, and warms the disk cache
            report = lockstep(work, simulator, long_run=True)
            report.require_agreement()
            kept &= simulator != "verilator" or report.cycles / report.seconds >= promised
            table.add_row(
                simulator,
                str(n_pe),
                f"{report.cycles:,}",
                f"{report.signals:,}",
                f"{report.cycles / report.seconds:,.0f}",
                f"{promised:,}" if simulator == "verilator" else "",
            )
    Console().print(table)
    return int(not kept)


if __name__ == "__main__":
    sys.exit(main())
