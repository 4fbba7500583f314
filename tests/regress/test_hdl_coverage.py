"""Lines, branches and toggles of the Verilog that the mutants' stimulus reaches, in lockstep with golden."""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import hdl_coverage
import pytest
from chip_mutant_host import ChipRequest
from hdl_coverage import Point
from mutant_host import MutantRequest
from mutant_jobs import BETTER, BLOCKS, CFG, mutant_jobs, narrow_counters, random_runs
from rich.console import Console
from rich.table import Table

from eie.rtl.verilog import array_verilog, chip_verilog
from eie.sim.cosim.build import build, run_test
from eie.sim.cosim.outcome import OUTCOME, REQUEST
from tests.support.chip_stimulus import CHIP, chip_stimulus

Signed = Callable[[str, dict[str, Any]], None]

MACHINES = {"published": CFG, "better": BETTER, "index-free": BLOCKS}
# In per cent, of what has no reason to be left out.
FLOORS = {"line": 100.0, "branch": 100.0, "toggle": 98.0}
# What surrounds the array has stimulus of its own.
AROUND = ("eie_chip", "eie_host_if")


def _reports(
    console: Console, machine: str, cycles: int, counts: Mapping[Point, int], signed: Signed
) -> list[str]:
    """The table of a machine, the points that it misses, and what is below its floor."""
    left_out = hdl_coverage.reasons(machine)
    table = Table(title=f"{machine} machine, {cycles:,} cycles")
    for heading in ("module", "kind", "points", "reached", "%", "left out"):
        table.add_column(heading, justify="left" if heading in ("module", "kind") else "right")
    totals: Counter[tuple[str, str]] = Counter()
    rows = []
    for (module, kind), share in sorted(hdl_coverage.shares(counts, left_out).items()):
        numbers = (share.points, share.reached, 100 * share.reached / (share.points or 1), share.left_out)
        table.add_row(module, kind, *(f"{n:.1f}" if isinstance(n, float) else f"{n:,}" for n in numbers))
        rows.append({"machine": machine, "module": module, "kind": kind, **vars(share)})
        totals += Counter({(kind, "points"): share.points, (kind, "reached"): share.reached})
    console.print(table)
    below = []
    for kind, floor in FLOORS.items():
        reached = 100 * totals[kind, "reached"] / totals[kind, "points"]
        console.print(f"{machine}, {kind}: {reached:.2f} %, to reach {floor:g} %")
        below += [f"{kind} {reached:.2f} %"] if reached < floor else []
    missed = [f"{machine}: {point}" for point in hdl_coverage.holes(counts, left_out)]
    signed(f"coverage-{machine}", {"rows": rows, "holes": missed})
    console.print("\n".join(missed))
    return below


@pytest.fixture
def console() -> Console:
    return Console(width=150, highlight=False, markup=False)


@pytest.mark.parametrize("machine", MACHINES)
def test_hdl_coverage(machine: str, seed: int, tmp_path: Path, console: Console, signed: Signed) -> None:
    cfg = MACHINES[machine]
    with narrow_counters():
        built = build("verilator", array_verilog(cfg, probe=True, images=False), "eie_array", coverage=True)
        request = MutantRequest(mutant_jobs(seed, cfg), random_runs(seed, cfg), 0, seed)
        (tmp_path / REQUEST).write_bytes(pickle.dumps(request))
        run_test(built, "coverage_host", "covered", tmp_path, seed=seed)
    cycles = pickle.loads((tmp_path / OUTCOME).read_bytes())
    assert not _reports(console, machine, cycles, hdl_coverage.read(tmp_path / "coverage.dat"), signed)


def test_hdl_coverage_of_the_chip(seed: int, tmp_path: Path, console: Console, signed: Signed) -> None:
    """The host interface and what connects it; the array inside is that of the published machine."""
    with narrow_counters():
        built = build("verilator", chip_verilog(CHIP, probe=True), "eie_chip", coverage=True)
        (tmp_path / REQUEST).write_bytes(pickle.dumps(ChipRequest(CHIP, chip_stimulus(seed), 0)))
        run_test(built, "coverage_host", "covered_chip", tmp_path, plusargs=["+eie_no_images"], seed=seed)
    cycles = pickle.loads((tmp_path / OUTCOME).read_bytes())
    counts = hdl_coverage.read(tmp_path / "coverage.dat")
    mine = {point: count for point, count in counts.items() if point.module in AROUND}
    assert not _reports(console, "chip", cycles, mine, signed)
