"""The sign-off page: what the campaigns of `make signoff` found, and what none of them has looked at."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

FOLDER = Path("build/signoff")
PARTS = (
    "proofs",
    "faults",
    "coverage-published",
    "coverage-better",
    "coverage-index-free",
    "mutants-published",
    "mutants-better",
    "mutants-index-free",
    "mutants-chip",
    "functional",
    "unknowns",
    "lockstep-icarus",
    "lockstep-verilator",
)


def page(found: dict[str, dict[str, Any]]) -> tuple[str, list[str]]:
    """The page in Markdown, and what is missing or wrong."""
    wrong = [f"{part}: not run" for part in PARTS if part not in found]
    sections = ["# Sign-off", "What `make signoff` found last. Seeds: " + _seeds(found)]
    for name, section in (("proofs", _proofs), ("coverage", _coverage)):
        if name in found:
            sections += section(found, wrong)
    sections += _mutants(found, wrong) + _lockstep(found)
    sections += ["## Holes", *([f"* {line}" for line in (*wrong, *HOLES)])]
    return "\n\n".join(sections).replace("\n\n* ", "\n* ").replace("\n\n|", "\n|") + "\n", wrong


# What no campaign looks at, whatever it finds.
HOLES = (
    "blocks are proved one by one; their composition is a table, by reading (docs/formal.md)",
    "no mutants and no HDL coverage of the host interface and the chip: proofs and random scripts test them",
    "no HDL coverage of the better, the index-free and the adder machine",
    "no functional cover points beside the `reach` statements of the checkers",
)


def _seeds(found: dict[str, dict[str, Any]]) -> str:
    return ", ".join(f"{name} {part['seed']}" for name, part in sorted(found.items())) or "none"


def _table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(
        "| " + " | ".join(f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row) + " |"
        for row in lines
    )


def _proofs(found: dict[str, dict[str, Any]], wrong: list[str]) -> list[str]:
    rows = []
    for row in found["proofs"]["rows"]:
        reached = row["reached"]
        rows.append(
            (
                row["block"],
                row["machine"],
                row["statements"],
                row["assumptions"],
                f"{sum(reached.values())} of {len(reached)}",
                "proved" if row["proved"] else "NOT PROVED",
            )
        )
        if not (row["proved"] and all(reached.values())):
            wrong.append(f"proofs: {row['block']}, {row['machine']}")
    text = ["## Proofs", _table(("block", "machine", "statements", "assumed", "reached", ""), rows)]
    faults = found.get("faults", {"rows": []})["rows"]
    missed = [f"{row['block']}: {row['fault']}" for row in faults if not row["broken"]]
    wrong.extend(f"planted fault not found: {fault}" for fault in missed)
    return [*text, f"{len(faults) - len(missed)} of {len(faults)} planted faults break a statement."]


def _coverage(found: dict[str, dict[str, Any]], wrong: list[str]) -> list[str]:
    rows, sums = [], Counter[tuple[str, str]]()
    for row in found["coverage"]["rows"]:
        rows.append(
            (
                row["machine"],
                row["module"],
                row["kind"],
                row["points"],
                row["reached"],
                f"{100 * row['reached'] / (row['points'] or 1):.1f} %",
                row["left_out"],
            )
        )
        for name in ("points", "reached"):
            sums[row["kind"], name] += row[name]
    totals = ", ".join(
        f"{kind} {100 * sums[kind, 'reached'] / sums[kind, 'points']:.2f} %"
        for kind in sorted({kind for kind, _ in sums})
    )
    missed = found["coverage"]["holes"]
    wrong.extend(f"coverage: {hole}" for hole in missed[:40])
    headings = ("machine", "module", "kind", "points", "reached", "", "left out")
    return ["## HDL coverage", f"All: {totals}; {len(missed):,} points missed.", _table(headings, rows)]


def _mutants(found: dict[str, dict[str, Any]], wrong: list[str]) -> list[str]:
    rows, lines = [], []
    for part in ("mutants-published", "mutants-better"):
        if part in found:
            this = found[part]
            rows.append((part.partition("-")[2], this["mutants"], this["killed"], this["cycles"]))
            for text, reason in this["survivors"].items():
                lines.append(f"* {text}: {reason or 'NO REASON YET'}")
                wrong.extend([] if reason else [f"mutant without a reason: {text}"])
    table = [_table(("machine", "mutants", "killed", "cycles for each"), rows)] if rows else []
    return ["## Mutants", *table, *lines]


def _lockstep(found: dict[str, dict[str, Any]]) -> list[str]:
    rows = [
        (part.partition("-")[2], row["configuration"], row["jobs"], row["cycles"], row["comparisons"])
        for part in ("lockstep-icarus", "lockstep-verilator")
        for row in found.get(part, {"rows": []})["rows"]
    ]
    headings = ("simulator", "configuration", "jobs", "cycles", "values compared")
    return ["## Lockstep", *([_table(headings, rows)] if rows else [])]


def main() -> int:
    found = {path.stem: json.loads(path.read_text()) for path in FOLDER.glob("*.json")}
    text, wrong = page(found)
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / "signoff.md").write_text(text)
    print(f"{FOLDER / 'signoff.md'}: {len(found)} of {len(PARTS)} parts, {len(wrong)} missing or wrong")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
