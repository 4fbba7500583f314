"""Energy, leakage and area of SRAMs at 45 nm: CACTI's figures from sim/energy/data/sram.toml, and a rule between them.

The rule: along the size, then along the width, the logarithm of each figure is linear in the logarithm of the size or
width between two points of the table; beyond its ends the last two points go on. tests/sim/test_energy_sram.py holds it
to CACTI's own figures for sizes that the table leaves out.
"""

from __future__ import annotations

import math
import tomllib
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from typing import NamedTuple

from eie.errors import CapacityError, FormatError

# The table ends at 16 MiB; what is larger is no memory of one processing element.
MAX_BYTES = 64 << 20


class Sram(NamedTuple):
    """One single-ported SRAM: energy of a read and of a write of one word, leakage power, area."""

    read_pj: float
    write_pj: float
    leakage_mw: float
    area_um2: float


@dataclass(frozen=True)
class SramTable:
    """CACTI's figures: `rows[width_bits]` are (bytes, figures) in ascending order of the bytes."""

    source: str
    supply_v: float
    rows: dict[int, tuple[tuple[int, Sram], ...]]


def parse(text: str) -> SramTable:
    """The table in `text` (TOML).

    Raises
    ------
    FormatError : a column that is missing, too short, not ascending, or not positive.
    """
    try:
        data = tomllib.loads(text)
        rows = {}
        for row in data["width"]:
            columns = (row[name] for name in Sram._fields)
            points = zip(row["bytes"], zip(*columns, strict=True), strict=True)
            rows[int(row["bits"])] = tuple((int(size), Sram(*figures)) for size, figures in points)
        table = SramTable(data["source"], float(data["supply_v"]), dict(sorted(rows.items())))
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(f"SRAM table: {error}") from error
    for bits, row_points in table.rows.items():
        sizes = [size for size, _ in row_points]
        if len(sizes) < 2 or sizes != sorted(set(sizes)) or min(min(s) for _, s in row_points) <= 0:
            raise FormatError(f"SRAM table, width {bits}: sizes must ascend, and every figure be positive")
    if len(table.rows) < 2:
        raise FormatError("SRAM table: there must be two widths at least")
    return table


@cache
def table() -> SramTable:
    """The table, read once."""
    return parse((files("eie.sim.energy") / "data" / "sram.toml").read_text("utf-8"))


@lru_cache(maxsize=4096)
def sram(words: int, width_bits: int) -> Sram:
    """Figures of an SRAM of `words` words of `width_bits` bits: the table's, or by the rule between its points.

    Raises
    ------
    CapacityError : more than 64 MiB, or no words or bits at all.

    >>> sram(16384, 64).read_pj
    32.2859
    """
    size = words * width_bits / 8
    if words < 1 or width_bits < 1 or size > MAX_BYTES:
        raise CapacityError(
            f"no energy figures for an SRAM of {words} words of {width_bits} bits: "
            f"from 1 bit to {MAX_BYTES >> 20} MiB a memory"
        )
    rows = list(table().rows.items())
    at_width = [(bits, _between(size, points)) for bits, points in rows]
    return Sram(*_between(width_bits, at_width))


def _between(at: float, points: Sequence[tuple[float, tuple[float, ...]]]) -> tuple[float, ...]:
    """Log-log interpolation of tuples of figures; `points` ascend."""
    places = [place for place, _ in points]
    if at in places:
        return points[places.index(at)][1]
    upper = min(max(bisect_right(places, at), 1), len(points) - 1)
    (x0, low), (x1, high) = points[upper - 1], points[upper]
    share = math.log(at / x0) / math.log(x1 / x0)
    return tuple(a ** (1 - share) * b**share for a, b in zip(low, high, strict=True))
