"""Comparison of results, figure by figure."""

from collections.abc import Sequence

import numpy as np

from eie.result import COUNTERS, Result


def assert_equal(one: Sequence[Result], other: Sequence[Result]) -> None:
    """Two engines' results are the same, run by run."""
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        assert np.array_equal(a.y, b.y)
        assert (a.load_cycles, a.store_cycles) == (b.load_cycles, b.store_cycles)
        assert len(a.runs) == len(b.runs)
        for number, (mine, theirs) in enumerate(zip(a.runs, b.runs, strict=True)):
            for name in ("cycles", "broadcast_stalls", "refill_cycles", "writeback_cycles", "busy_cycles"):
                assert getattr(mine, name) == getattr(theirs, name), f"run {number}: {name}"
            assert np.array_equal(mine.per_pe, theirs.per_pe), f"run {number}"


def require_equal(found: Result, expected: Result, why: object) -> None:
    """Every figure of two results but the engine's name."""
    assert np.array_equal(found.y, expected.y), why
    assert tuple(found.counters) == COUNTERS
    for name in COUNTERS:
        assert np.array_equal(found.counters[name], expected.counters[name]), (why, name)
    for name in ("cycles", "load_cycles", "weight_load_cycles", "writeback_cycles", "cfg"):
        assert getattr(found, name) == getattr(expected, name), (why, name)
