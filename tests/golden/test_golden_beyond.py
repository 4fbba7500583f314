"""The better machine's golden model: values against the reference, every cycle and counter against the law."""

from collections import Counter

import numpy as np
import pytest

from eie.config import ArchConfig
from eie.golden.run import run
from eie.sim.engines.reference import run as run_reference
from tests.support.better_machines import SWITCHES, draw, small
from tests.support.cases import KINDS, Case, random_case
from tests.support.slow_law import law

CASES = 120
EVENTS = (
    "two entries of one row in a cycle",
    "a slice that ends in a word",
    "an empty group",
    "a full window",
    "a pair with one active column",
    "a pair with both",
    "a broadcast stall",
    "a bypass",
)


def check(case: Case) -> set[str]:
    """Compare one case with reference and law; what happened in it."""
    golden, reference, expected = run(case.job), run_reference(case.job), law(case)
    np.testing.assert_array_equal(golden.y, reference.y)
    assert golden.cycles == expected.cycles
    for name in ("saturations", "writeback_saturations"):
        np.testing.assert_array_equal(golden.counters[name], reference.counters[name], err_msg=name)
    for name, values in expected.counters.items():
        np.testing.assert_array_equal(golden.counters[name], values, err_msg=name)
    if case.cfg.absolute:
        assert not golden.total("fillers")
    active = Counter(int(j) // 2 for j in np.flatnonzero(case.x))
    happened = {
        "a pair with one active column": case.cfg.group == 2 and 1 in active.values(),
        "a pair with both": case.cfg.group == 2 and 2 in active.values(),
        "a broadcast stall": bool(golden.total("broadcast_stalls")),
        "a bypass": bool(golden.total("bypasses")),
    }
    return expected.events | {event for event, there in happened.items() if there}


def test_random_machines(capsys: pytest.CaptureFixture[str]) -> None:
    """Golden = reference = law, and the cases have in them what the window has to cope with."""
    happened = Counter(dict.fromkeys(EVENTS, 0))
    for seed in range(CASES):
        rng = np.random.default_rng([seed, 12])
        case = random_case(rng, [draw(rng).replace(counters=1)], seed=seed)
        try:
            happened.update(check(case))
        except AssertionError as error:
            raise AssertionError(f"{case}: {error}") from error
    with capsys.disabled():
        print("\nrandom machines with " + ", ".join(f"{name}: {happened[name]}" for name in EVENTS))
    assert all(happened.values()), happened


@pytest.mark.parametrize("name", SWITCHES)
def test_each_switch(name: str) -> None:
    """Each switch alone, and combinations that have a name."""
    for seed, kind in enumerate(KINDS):
        rng = np.random.default_rng([seed, 13])
        check(random_case(rng, [small(SWITCHES[name], n_pe=2 if seed % 2 else 8)], kind))


@pytest.mark.parametrize("seed", [1, 2])
def test_recommended_machine_of_64_pes(seed: int) -> None:
    """Preset eie2 as it is, a layer with a tenth of the weights."""
    rng = np.random.default_rng([seed, 14])
    cfg = ArchConfig.preset("eie2")
    case = random_case(rng, [cfg], "random")
    codes = rng.integers(1, 16, (700, 300)) * (rng.random((700, 300)) < 0.1)
    x = rng.integers(1, 50, 300) * (rng.random(300) < 0.4)
    layer = type(case.layer).from_codes(codes.astype(np.uint8), case.layer.codebook, product_shift=4)
    happened = check(Case(layer, x, cfg, "random", seed))
    assert {"a slice that ends in a word", "an empty group", "a pair with one active column"} <= happened
