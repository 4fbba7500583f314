"""What Verilator writes about lines, branches and toggles, by module, and what is left out with a reason."""

from __future__ import annotations

import re
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

REASONS = Path(__file__).with_name("coverage_holes.toml")
KINDS = ("line", "branch", "toggle")
_POINT = re.compile(r"^C '(.*)' (\d+)$")


@dataclass(frozen=True, order=True)
class Point:
    """A place that a run reaches or does not: its module and kind, where it stands, and what it is there."""

    module: str
    kind: str
    line: int
    column: int
    what: str

    def __str__(self) -> str:
        return f"{self.module} {self.kind} {self.line}: {self.what}"


def read(path: Path) -> dict[Point, int]:
    """How often each point of a `coverage.dat` was reached, all instances of a module together."""
    counts: dict[Point, int] = defaultdict(int)
    for line in path.read_text().splitlines():
        found = _POINT.match(line)
        if found:
            fields = dict(part.split("\x02", 1) for part in found[1].split("\x01")[1:])
            kind, _, module = fields["page"].removeprefix("v_").partition("/")
            point = Point(
                module.partition("__")[0], kind, int(fields["l"]), int(fields["n"]), fields.get("o", "")
            )
            counts[point] += int(found[2])
    return counts


def reasons(machine: str) -> dict[str, str]:
    """Why a point of a machine is left out: a regular expression that is searched in its text, and the reason."""
    holes = tomllib.loads(REASONS.read_text())["hole"]
    return {hole["match"]: hole["reason"] for hole in holes if hole.get("machine", machine) == machine}


@dataclass
class Share:
    """Points of a module and kind: all that count, those that were reached, and those that are left out."""

    points: int = 0
    reached: int = 0
    left_out: int = 0


def shares(counts: Mapping[Point, int], left_out: Iterable[str]) -> dict[tuple[str, str], Share]:
    """By module and kind. A point that is left out and reached all the same counts as reached."""
    patterns = [re.compile(pattern) for pattern in left_out]
    found: dict[tuple[str, str], Share] = defaultdict(Share)
    for point, count in counts.items():
        share = found[point.module, point.kind]
        if not count and any(pattern.search(str(point)) for pattern in patterns):
            share.left_out += 1
            continue
        share.points += 1
        share.reached += bool(count)
    return found


def holes(counts: Mapping[Point, int], left_out: Iterable[str]) -> list[Point]:
    """Points that no run reaches and no reason leaves out."""
    patterns = [re.compile(pattern) for pattern in left_out]
    missed = [point for point, count in counts.items() if not count]
    return sorted(point for point in missed if not any(pattern.search(str(point)) for pattern in patterns))
