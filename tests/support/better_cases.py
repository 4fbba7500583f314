"""Machines with the switches of docs/beyond.md: each alone, all together, and at random."""

from typing import Any

import numpy as np

from eie.capacity import sized_for
from eie.errors import ConfigError
from tests.support.cases import Case, random_case

# Each switch alone (more than one entry a cycle needs others), and the recommended set.
ALONE: dict[str, dict[str, Any]] = {
    "absolute": {"row_format": "absolute"},
    "pairs": {"group": 2},
    "free empty columns": {"filter_empty": 1},
    "window": {"window": 2},
    "two entries": {"row_format": "absolute", "filter_empty": 1, "issue": 2, "window": 2},
    "four entries": {"row_format": "absolute", "filter_empty": 1, "issue": 4, "window": 3},
    "eie2": {
        "row_format": "absolute",
        "filter_empty": 1,
        "group": 2,
        "issue": 2,
        "window": 2,
        "queue_depth": 16,
        "lookup_register": 1,
    },
    "four entries, pairs": {"row_format": "absolute", "filter_empty": 1, "group": 2, "issue": 4, "window": 3},
}


def switches(rng: np.random.Generator) -> dict[str, Any]:
    """Switches that go together, at random."""
    issue = int(rng.choice([1, 2, 2, 4]))
    return {
        "group": int(rng.integers(1, 3)),
        "issue": issue,
        "window": int(rng.integers(1 if issue == 1 else 2, 5)),
        "row_format": "absolute" if issue > 1 else str(rng.choice(["absolute", "relative"])),
        "filter_empty": 1 if issue > 1 else int(rng.integers(2)),
        "lookup_register": int(rng.integers(2)),
    }


def with_switches(case: Case, changes: dict[str, Any]) -> Case | None:
    """The case on a machine with these switches; None if its widths do not go with them."""
    base = case.cfg.replace(n_pe=max(case.cfg.n_pe, changes.get("group", 1)))
    try:
        wide = base.replace(pointer_bits=32, acc_depth=16, **{"row_bits": 4, **changes})
        return Case(case.layer, case.x, sized_for(wide, case.layer), case.kind, case.seed)
    except ConfigError:
        return None


def better_case(seed: int, changes: dict[str, Any] | None = None) -> Case:
    """A case on a machine with these switches, or with random ones."""
    rng = np.random.default_rng([seed, 2])
    while True:
        case = with_switches(random_case(rng, seed=seed), switches(rng) if changes is None else changes)
        if case is not None and -(-case.layer.rows // case.cfg.n_pe) <= 256:
            return case
