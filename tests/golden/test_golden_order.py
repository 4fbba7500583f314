"""One visit of each block in the fixed order is what any order, repeated until nothing changes, gives."""

import numpy as np
import pytest

from eie.golden.array import Array
from eie.golden.run import Host, feed, run_program
from eie.golden.waveform import scopes
from eie.schema import Kind, Reg
from tests.support.better_machines import SWITCHES, small
from tests.support.cases import KINDS, random_case, seeded_case
from tests.support.chip_programs import chip_program, random_inputs
from tests.support.visiting_orders import all_values, propagate_until_stable


class Settling(Host):
    """Propagates in an order of its own until stable, then checks the one pass in the fixed order against it."""

    def __init__(self, array: Array, rng: np.random.Generator | None) -> None:
        super().__init__(array)
        self.rng = rng
        self.cycles = self.most_rounds = 0
        signals = [signal for _, block in scopes(array) for signal in block.signals(Kind.OUT).values()]
        self.outputs = [signal for signal in signals if not isinstance(signal, Reg)]

    def cycle(self) -> None:
        array = self.array
        visits = range(len(array.visits))
        order = list(visits) if self.rng is None else self.rng.permutation(len(visits)).tolist()
        self.most_rounds = max(self.most_rounds, propagate_until_stable(array, order))
        settled = all_values(array)
        # A pass must not depend on what an earlier cycle left: here it finds wrong values everywhere.
        for wire in self.outputs:
            wire.value = not wire.value
        array.propagate()
        assert all_values(array) == settled
        array.update()
        self.cycles += 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n_pe", [1, 4, 16])
def test_visiting_order(kind: str, n_pe: int) -> None:
    """Shuffled anew in every cycle; with few PEs weights, activations and results go through the I/O port, too."""
    case = next(c for seed in range(100) if (c := seeded_case(seed, kind=kind)).cfg.n_pe == n_pe)
    host = Settling(Array(case.cfg), np.random.default_rng(n_pe))
    if n_pe >= 16:
        host.array.load_images(case.job.images)
    feed(host, case.job.program, [case.job.x], images=n_pe >= 16, port=n_pe < 16)
    assert host.cycles > 4
    # A shuffled order needs repetition, else this test would show nothing.
    assert host.most_rounds > 2


def test_fixed_order_settles_at_once() -> None:
    """In the fixed order a second round changes nothing."""
    case = seeded_case(5, kind="dense")
    host = Settling(Array(case.cfg), None)
    host.array.load_images(case.job.images)
    feed(host, case.job.program, [case.job.x], images=True)
    assert host.most_rounds == 2


@pytest.mark.parametrize("name", ["on the chip", "weights loaded again", "row tiles and column batches"])
def test_visiting_order_of_passes(name: str) -> None:
    """Refills, write-back to either target and pass after pass in any order, too."""
    program, (x, *_) = chip_program(name), random_inputs(2, 30, 2)
    host = Settling(Array(program.cfg), np.random.default_rng(1))
    (settled,) = feed(host, program, [x], port=False)
    (expected,) = run_program(program, [x])
    np.testing.assert_array_equal(settled.y, expected.y)
    assert host.cycles == sum(count.busy_cycles + 1 for count in expected.runs)


@pytest.mark.parametrize("name", ["eie2", "pairs", "window of three"])
def test_visiting_order_of_better_machines(name: str) -> None:
    """Pairs of leaves, runs before or behind the queue, lanes: in any order, too."""
    case = random_case(np.random.default_rng(3), [small(SWITCHES[name])], "bypass")
    host = Settling(Array(case.cfg), np.random.default_rng(1))
    feed(host, case.job.program, [case.job.x], port=False)
    assert host.most_rounds > 2
