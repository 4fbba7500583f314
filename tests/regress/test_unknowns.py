"""Random layers on machines whose registers and memories are unknown (X) at the start, on Icarus."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from eie.errors import MismatchError, SimulationError
from eie.program import Job
from tests.support.better_cases import ALONE, better_case
from tests.support.block_cases import random_block_case
from tests.support.cases import seeded_case
from tests.support.chip_scripts import CFG
from tests.support.unknowns import is_right

# Layers of each kind.
LAYERS = 20


def test_unknowns_reach_no_result(seed: int, signed: Callable[[str, dict[str, Any]], None]) -> None:
    kinds: dict[str, list[list[Job]]] = {
        "published": [[seeded_case(1000 * seed + number, [CFG]).job for number in range(2 * LAYERS)]],
        "better": [
            [better_case(1000 * seed + number, changes).job]
            for number, changes in enumerate([*ALONE.values(), *[None] * LAYERS])
        ],
        "index-free": [_index_free(1000 * seed + number) for number in range(LAYERS // 2)],
    }
    table = Table(title=f"registers and memories unknown at the start, seed {seed}")
    for heading in ("machine", "layers", "right"):
        table.add_column(heading, justify="left" if heading == "machine" else "right")
    rows, wrong = [], []
    for kind, batches in kinds.items():
        right = [_right(jobs) for jobs in batches]
        row = {"machine": kind, "layers": sum(map(len, right)), "right": sum(map(sum, right))}
        table.add_row(*(str(value) for value in row.values()))
        rows.append(row)
        wrong += [f"{kind}, batch {number}: {found}" for number, found in enumerate(right) if not all(found)]
    Console(width=120, highlight=False, markup=False).print(table)
    signed("unknowns", {"rows": rows})
    assert not wrong, f"seed {seed}: {wrong}"


def _right(jobs: list[Job]) -> list[bool]:
    try:
        return is_right(jobs)
    except (MismatchError, SimulationError, ValueError):
        return [False] * len(jobs)


def _index_free(seed: int) -> list[Job]:
    rng = np.random.default_rng((seed, 5))
    return [random_block_case(rng).job]
