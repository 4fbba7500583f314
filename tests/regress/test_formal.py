"""Everything that the checkers say is proved for every machine of `tests.support.formal_cases` (docs/formal.md)."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from eie.rtl.formal.prove import Proof, prove, refute
from eie.rtl.formal.verilog import checkers_of, with_checkers
from tests.support.formal_cases import FAULTS, MACHINES, verilog, with_fault

# Cycles in which everything that can happen is reached.
STEPS = 20


def test_every_statement_is_proved(signed: Callable[[str, dict[str, Any]], None]) -> None:
    table = Table(title="proofs")
    for heading in ("block", "machine", "statements", "assumed", "reached", "s", ""):
        table.add_column(
            heading, justify="right" if heading in ("statements", "assumed", "reached", "s") else "left"
        )
    failed, rows = [], []
    for machine, (cfg, blocks) in MACHINES.items():
        files = with_checkers(verilog(machine), cfg)
        for block in blocks:
            began = time.perf_counter()
            proof = prove(files, block, steps=STEPS)
            reached = f"{sum(proof.reached.values())} of {len(proof.reached)}"
            rows.append({"machine": machine, **asdict(proof)})
            verdict = "proved" if proof.holds else f"NOT PROVED {_missing(proof)}"
            failed += [] if proof.holds else [f"{machine}: {proof}"]
            numbers = (
                str(proof.statements),
                str(proof.assumptions),
                reached,
                f"{time.perf_counter() - began:.1f}",
            )
            table.add_row(block, machine, *numbers, verdict)
    Console(width=150, highlight=False, markup=False).print(table)
    signed("proofs", {"rows": rows})
    assert not failed


def _missing(proof: Proof) -> str:
    return ", ".join([*proof.broken, *(f"no {name}" for name, found in proof.reached.items() if not found)])


def test_every_fault_breaks_a_statement(signed: Callable[[str, dict[str, Any]], None]) -> None:
    rows = []
    planted = [
        (machine, block, fault) for machine, of in FAULTS.items() for block in of for fault in of[block]
    ]
    for machine, block, fault in planted:
        checked = with_checkers(with_fault(machine, block, fault), MACHINES[machine][0])
        broken = refute(checked, block, steps=STEPS)
        rows.append({"block": block, "machine": machine, "fault": fault, "broken": broken})
    signed("faults", {"rows": rows})
    assert not [row for row in rows if not row["broken"]]


def test_every_checker_has_machines_and_faults() -> None:
    """Blocks of one name are several, of PEs that walk, of windows and of blocks."""
    checked, proved = set(), set()
    for cfg, blocks in MACHINES.values():
        checked |= set(checkers_of(cfg).values())
        proved |= {checkers_of(cfg)[block] for block in blocks}
    broken = {checkers_of(MACHINES[machine][0])[block] for machine, of in FAULTS.items() for block in of}
    assert checked == proved == broken
