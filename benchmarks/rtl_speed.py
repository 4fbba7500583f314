"""Speed of the RTL without golden: clock cycles a second, free-running and with a host in cocotb.

The cycles are those of loading activations and biases, computing, and reading results; the simulator's start and its
memory images are counted, its build is not. Seconds are of processor time, so that a busy machine does not matter: one
core does the work in either case.

python benchmarks/rtl_speed.py [--sim verilator] [--pe 64]
"""

from __future__ import annotations

import argparse
import os
import sys

from rich.console import Console
from rich.table import Table

from eie.capacity import sized_for
from eie.config import ArchConfig
from eie.host import feeds_of
from eie.program import Job
from eie.rtl.verilog import array_verilog
from eie.sim.cosim.build import build
from eie.sim.cosim.free.compare import compare_jobs
from eie.sim.cosim.images import ARRAY_PORTS
from eie.sim.cosim.launch import in_simulator
from eie.sim.workloads.random import random_input, random_layer

# Rows, columns, densities of weights and activations: the size of the largest published layer but one, on some inputs.
LAYER = (4096, 9216, 0.09, 0.351)
INPUTS = 4
# Cycles a second that the project promises on Verilator with 64 PEs.
PROMISED = 50_000


def jobs(n_pe: int, inputs: int) -> list[Job]:
    """The layer on inputs of seeds 1, 2, ..."""
    rows, cols, density, act_density = LAYER
    layer = random_layer(rows, cols, density, 1)
    cfg = sized_for(ArchConfig(n_pe=n_pe), layer)
    return [Job.create(layer, random_input(cols, act_density, 1 + i), cfg) for i in range(inputs)]


def cocotb_rate(work: list[Job], simulator: str, cycles: int) -> float:
    """Cycles a second of the host program that drives the port from Python, for the same work."""
    built = build(simulator, array_verilog(work[0].cfg), "eie_array", public=ARRAY_PORTS)
    before = os.times()
    in_simulator(built, "host", "alone", feeds_of(work))
    after = os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return cycles / used


def main() -> int:
    """Print one row per simulator; 1 if the promise is not kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sim", choices=("icarus", "verilator"), action="append")
    parser.add_argument("--pe", type=int, default=64)
    args = parser.parse_args()
    kept = True
    table = Table("simulator", "PEs", "inputs", "cycles", "cocotb: cycles/s", "free: cycles/s", "promised")
    for simulator in args.sim or ("verilator",):
        work = jobs(args.pe, INPUTS if simulator == "verilator" else 1)
        report = compare_jobs(work, simulator)
        report.require_agreement()
        rate = report.cycles / report.processor_seconds
        promised = PROMISED if (simulator, args.pe) == ("verilator", 64) else 0
        kept &= rate >= promised
        table.add_row(
            simulator,
            str(args.pe),
            str(len(work)),
            f"{report.cycles:,}",
            f"{cocotb_rate(work, simulator, report.cycles):,.0f}",
            f"{rate:,.0f}",
            f"{promised:,}" if promised else "",
        )
    Console().print(table)
    return int(not kept)


if __name__ == "__main__":
    sys.exit(main())
