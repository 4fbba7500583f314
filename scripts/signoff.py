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
    "coverage-chip",
    "mutants-published",
    "mutants-better",
    "mutants-index-free",
    "mutants-array",
    "mutants-chip",
    "functional",
    "unknowns",
    "lockstep-icarus",
    "lockstep-verilator",
)
# Points of the HDL coverage that are listed, of each machine.
SHOWN = 20


def page(found: dict[str, dict[str, Any]]) -> tuple[str, list[str]]:
    """The page in Markdown, and what is missing or wrong."""
    wrong = [f"{part}: not run" for part in PARTS if part not in found]
    sections = ["# Sign-off", "What `make signoff` found last. Seeds: " + _seeds(found)]
    if "proofs" in found:
        sections += _proofs(found, wrong)
    sections += _coverage(found, wrong) + _functional(found, wrong)
    sections += _mutants(found, wrong) + _unknowns(found, wrong) + _lockstep(found)
    sections += ["## Holes", *([f"* {line}" for line in (*wrong, *HOLES)])]
    return "\n\n".join(sections).replace("\n\n* ", "\n* ").replace("\n\n|", "\n|") + "\n", wrong


# What no campaign looks at, whatever it finds.
HOLES = (
    "blocks are proved one by one; their composition is a table, by reading (docs/formal.md)",
    "no HDL coverage of the adder machine: its proofs and its lockstep in `make test` test it",
    "functional cover points of the published machine alone",
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
    rows, lines = [], []
    for part in (part for part in PARTS if part.startswith("coverage-") and part in found):
        sums = Counter[tuple[str, str]]()
        for row in found[part]["rows"]:
            share = f"{100 * row['reached'] / (row['points'] or 1):.1f} %"
            names = ("machine", "module", "kind", "points", "reached")
            rows.append((*(row[name] for name in names), share, row["left_out"]))
            for name in ("points", "reached"):
                sums[row["kind"], name] += row[name]
        kinds = sorted({kind for kind, _ in sums})
        shares = (f"{kind} {100 * sums[kind, 'reached'] / sums[kind, 'points']:.2f} %" for kind in kinds)
        missed = found[part]["holes"]
        lines.append(
            f"* {part.removeprefix('coverage-')}: {', '.join(shares)}; {len(missed):,} points missed"
        )
        wrong.extend(f"coverage: {hole}" for hole in missed[:SHOWN])
        wrong.extend([f"coverage: {len(missed) - SHOWN:,} more points"] if len(missed) > SHOWN else [])
    headings = ("machine", "module", "kind", "points", "reached", "", "left out")
    return ["## HDL coverage", *lines, _table(headings, rows)] if rows else []


def _functional(found: dict[str, dict[str, Any]], wrong: list[str]) -> list[str]:
    if "functional" not in found:
        return []
    rows = found["functional"]["rows"]
    missed = [row["point"] for row in rows if not row["instances"]]
    wrong.extend(f"cover point not reached: {point}" for point in missed)
    table = _table(("module", "point", "instances"), ([*row.values()] for row in rows))
    reached = f"{len(rows) - len(missed)} of {len(rows)} reached in {found['functional']['cycles']:,} cycles."
    return ["## Functional cover points", reached, table]


def _unknowns(found: dict[str, dict[str, Any]], wrong: list[str]) -> list[str]:
    if "unknowns" not in found:
        return []
    rows = found["unknowns"]["rows"]
    wrong.extend(f"unknowns: {row['machine']}" for row in rows if row["right"] < row["layers"])
    table = _table(("machine", "layers", "right"), ([*row.values()] for row in rows))
    return ["## Registers and memories unknown at the start", table]


def _mutants(found: dict[str, dict[str, Any]], wrong: list[str]) -> list[str]:
    rows, lines = [], []
    for part in (part for part in PARTS if part.startswith("mutants-") and part in found):
        this = found[part]
        rows.append((part.removeprefix("mutants-"), this["mutants"], this["killed"], this["cycles"]))
        for text, reason in this["survivors"].items():
            lines.append(f"* {text}: {reason or 'NO REASON YET'}")
            wrong.extend([] if reason else [f"mutant without a reason: {text}"])
    if rows:
        rows.append(("all", sum(row[1] for row in rows), sum(row[2] for row in rows), ""))
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
