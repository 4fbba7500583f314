"""Lines, branches and toggles of the Verilog that the mutants' stimulus reaches, in lockstep with golden."""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hdl_coverage
import pytest
from mutant_host import MutantRequest
from mutant_jobs import BETTER, BLOCKS, CFG, mutant_jobs, narrow_counters, random_runs
from rich.console import Console
from rich.table import Table

from eie.rtl.verilog import array_verilog
from eie.sim.cosim.build import build, run_test
from eie.sim.cosim.outcome import OUTCOME, REQUEST

MACHINES = {"published": CFG, "better": BETTER, "index-free": BLOCKS}
# In per cent, of what has no reason to be left out.
FLOORS = {"line": 100.0, "branch": 100.0, "toggle": 98.0}
# Machines for which they hold; the index-free one is measured, and what it misses is on the sign-off page.
HELD = ("published", "better")


@pytest.mark.parametrize("machine", MACHINES)
def test_hdl_coverage(
    machine: str, seed: int, tmp_path: Path, signed: Callable[[str, dict[str, Any]], None]
) -> None:
    console = Console(width=150, highlight=False, markup=False)
    left_out, cfg = hdl_coverage.reasons(), MACHINES[machine]
    with narrow_counters():
        built = build("verilator", array_verilog(cfg, probe=True, images=False), "eie_array", coverage=True)
        request = MutantRequest(mutant_jobs(seed, cfg), random_runs(seed, cfg), 0, seed)
        (tmp_path / REQUEST).write_bytes(pickle.dumps(request))
        run_test(built, "coverage_host", "covered", tmp_path, seed=seed)
    counts = hdl_coverage.read(tmp_path / "coverage.dat")
    table = Table(title=f"{machine} machine, {pickle.loads((tmp_path / OUTCOME).read_bytes()):,} cycles")
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
    assert not (machine in HELD and below)
