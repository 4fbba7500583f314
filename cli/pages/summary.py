"""The rows of a sweep as a table for people: means over the inputs and seeds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from eie.sim.sweep.columns import Row, varied

_ALWAYS = {"layer": "layer", "n_pe": "PEs", "queue_depth": "depth"}
# What means are taken over.
_OVER = ("input", "seed")


def distinct(rows: Sequence[Row], column: str) -> list[Any]:
    """The values of a column, each once, in the order in which they come."""
    return list(dict.fromkeys(row[column] for row in rows))


def summary(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Headings and rows: one row for each layer and configuration, with a column for each field that differs."""
    fields = _ALWAYS | {name: name for name in varied(rows) if name not in (*_ALWAYS, *_OVER)}
    groups: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in rows:
        groups[tuple(row[name] for name in fields)].append(row)
    headings = [
        *fields.values(),
        "cycles",
        "µs",
        "nJ",
        "padding",
        "balance",
        "utilization",
        "broadcast stalls",
    ]
    return headings, [[*map(str, values), *_means(group)] for values, group in groups.items()]


def _means(group: Sequence[Row]) -> list[str]:
    def mean(name: str) -> float:
        return float(np.mean([row[name] for row in group]))

    def count(name: str) -> str:
        return f"{mean(name):,.1f}" if len(group) > 1 else f"{group[0][name]:,}"

    padding = sum(row["fillers"] for row in group) / max(1, sum(row["entries"] for row in group))
    return [
        count("cycles"),
        f"{mean('microseconds'):.3f}",
        f"{mean('energy_nj'):,.1f}",
        f"{100 * padding:.1f} %",
        f"{100 * mean('balance'):.1f} %",
        f"{100 * mean('utilization'):.1f} %",
        count("broadcast_stalls"),
    ]
