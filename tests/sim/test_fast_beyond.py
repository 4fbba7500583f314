"""The fast engine on machines with any of the switches of docs/beyond.md: golden's figures, and the slow law's."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from eie.golden.run import run as run_golden
from eie.sim.engines import fast
from eie.sim.simulate import simulate_many
from tests.support.better_cases import ALONE, better_case
from tests.support.cases import Case
from tests.support.results import require_equal
from tests.support.slow_law import law


def require_law(case: Case) -> None:
    (result,) = simulate_many([case.job], "fast")
    (reference,) = simulate_many([case.job], "reference")
    expected = law(case)
    found = {name: np.asarray(result.counters[name]).tolist() for name in expected.counters}
    assert (result.cycles, found) == (expected.cycles, expected.counters), case
    assert np.array_equal(result.y, reference.y), case
    for name in ("saturations", "writeback_saturations"):
        assert np.array_equal(result.counters[name], reference.counters[name]), (name, case)
    require_equal(result, run_golden(case.job), case)


@settings(max_examples=200)
@given(st.integers(0, 2**32 - 1))
@example(3075)  # no PE takes anything, and C is larger than T0 + A + 1
def test_random_switches(seed: int) -> None:
    require_law(better_case(seed))


@pytest.mark.parametrize("name", ALONE)
def test_each_switch_alone(name: str) -> None:
    for seed in range(12):
        require_law(better_case(seed, ALONE[name]))


def test_a_batch_is_its_vectors_one_by_one() -> None:
    case = better_case(5, ALONE["eie2"])
    prepared = fast.prepare(case.layer, case.cfg)
    inputs = np.stack([np.roll(case.x, i) for i in range(9)])
    for one, x in zip(prepared.run_batch(inputs, threads=3), inputs, strict=True):
        alone = prepared.run(x)
        assert (one.cycles, one.y.tolist()) == (alone.cycles, alone.y.tolist())
        assert np.array_equal(one.count.per_pe, alone.count.per_pe)
