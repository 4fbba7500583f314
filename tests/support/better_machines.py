"""Machines with the switches of docs/beyond.md: each alone, all of them, and random combinations."""

import dataclasses
from typing import Any

import numpy as np

from eie.config import ArchConfig
from eie.errors import ConfigError

ABSOLUTE: dict[str, Any] = {"row_format": "absolute", "row_bits": 6}
# What each machine has more than the published one.
SWITCHES: dict[str, dict[str, Any]] = {
    "absolute rows": ABSOLUTE,
    "rows of 4 bits": {"row_format": "absolute", "row_bits": 4},
    "rows of 8 bits": {"row_format": "absolute", "row_bits": 8},
    "empty columns filtered": {"filter_empty": 1},
    "pairs": {"group": 2},
    "window": {"window": 2},
    "window of three": {"window": 3},
    "absolute, filtered": {**ABSOLUTE, "filter_empty": 1},
    "absolute pairs": {**ABSOLUTE, "group": 2},
    "one entry, all else": {**ABSOLUTE, "filter_empty": 1, "group": 2, "queue_depth": 16},
    "two entries, single columns": {**ABSOLUTE, "filter_empty": 1, "issue": 2, "window": 2},
    "register in front of the codebook": {"lookup_register": 1},
    "eie2": {
        **ABSOLUTE,
        "filter_empty": 1,
        "group": 2,
        "issue": 2,
        "window": 2,
        "queue_depth": 16,
        "lookup_register": 1,
    },
}


def small(changes: dict[str, Any], n_pe: int = 4) -> ArchConfig:
    """A small machine with these switches."""
    depth = min(24, 1 << changes.get("row_bits", 6))
    sizes = {"src_depth": 16, "acc_depth": depth, "pointers": 60, "entries": 500, "act_words": 6}
    return ArchConfig(n_pe=n_pe, **{**sizes, **changes})


def draw(rng: np.random.Generator) -> ArchConfig:
    """A random machine that is not the published one, with random switches."""
    while True:
        row_bits = int(rng.choice([4, 6, 8]))
        try:
            cfg = ArchConfig(
                n_pe=int(rng.choice([1, 2, 4, 8])),
                queue_depth=int(rng.choice([1, 2, 3, 8, 16])),
                bus_registers=int(rng.choice([0, 0, 1, 2])),
                weight_bits=int(rng.choice([2, 4, 4, 5])),
                index_bits=int(rng.choice([2, 4, 5])),
                act_bits=int(rng.choice([5, 16])),
                acc_bits=int(rng.choice([16, 24])),
                word_bits=int(rng.choice([16, 32, 64, 64])),
                row_format=str(rng.choice(["relative", "absolute", "absolute"])),
                row_bits=row_bits,
                group=int(rng.choice([1, 2])),
                issue=int(rng.choice([1, 2, 2, 4])),
                window=int(rng.choice([1, 2, 2, 3])),
                filter_empty=int(rng.choice([0, 1, 1])),
                lookup_register=int(rng.choice([0, 1])),
                counters=int(rng.choice([0, 1, 1, 1])),
                codebooks=int(rng.choice([1, 1, 2])),
                src_depth=int(rng.choice([5, 16])),
                acc_depth=int(rng.choice([3, 9, 16])),
                pointers=80,
                entries=600,
                act_words=9,
            )
        except ConfigError:
            continue
        if cfg != published(cfg):
            return cfg


def published(cfg: ArchConfig) -> ArchConfig:
    """The machine of the same sizes without a switch."""
    names = ("row_format", "row_bits", "group", "issue", "window", "filter_empty", "lookup_register")
    defaults = {field.name: field.default for field in dataclasses.fields(ArchConfig) if field.name in names}
    return cfg.replace(**defaults)
