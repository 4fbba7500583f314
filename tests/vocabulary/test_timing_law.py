"""The timing law and the golden model: the same cycles, column by column, whatever the declared delays."""

import dataclasses

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings

from eie import timing
from eie.config import ArchConfig
from eie.golden.array import Array
from eie.golden.run import run
from eie.layer import CompressedLayer
from eie.program import Job
from eie.timing import constants, schedule
from tests.support.cases import Case, cases

Times = npt.NDArray[np.int64]


def observed(job: Job) -> tuple[Times, Times, int]:
    """When the golden model broadcasts each column and starts it on each PE, and the layer's cycles."""
    bcast: list[int] = []
    start: list[list[int]] = [[] for _ in range(job.cfg.n_pe)]

    def watch(array: Array) -> None:
        if not array.ccu.compute.value:
            return
        if array.ccu.bcast.value:
            bcast.append(array.ccu.cycle.value)
        for times, pe in zip(start, array.pes, strict=True):
            if pe.spmat_read.start.value:
                times.append(array.ccu.cycle.value)

    cycles = run(job, observe=watch).cycles
    assert cycles is not None
    return np.array(bcast, np.int64), np.array(start, np.int64).T, cycles


def law(job: Job) -> timing.Schedule:
    return schedule(job.interleaved.lengths[job.active], job.cfg)


@settings(max_examples=150)
@given(cases())
def test_every_broadcast_and_every_start(case: Case) -> None:
    """Not only the total: each bcast[m] and each start[m, k]."""
    bcast, start, cycles = observed(case.job)
    expected = law(case.job)
    np.testing.assert_array_equal(bcast, expected.bcast)
    np.testing.assert_array_equal(start, expected.start)
    assert cycles == expected.cycles


def two_entries(**config: int) -> Job:
    """One column with two entries on PE 0."""
    n = config.get("n_pe", 1)
    codes = np.zeros((n + 1, 1), np.uint8)
    codes[[0, n], 0] = 1
    return Job.create(CompressedLayer.from_codes(codes, range(16)), [1], ArchConfig(**config))


@pytest.mark.parametrize(
    ("n_pe", "levels"), [(1, 1), (2, 1), (4, 1), (8, 2), (16, 2), (32, 3), (64, 3), (128, 4), (256, 4)]
)
def test_by_hand(n_pe: int, levels: int) -> None:
    """T0 + A + 2 entries + C = levels + 2 + 2 + 4."""
    job = two_entries(n_pe=n_pe, pointers=4, entries=16)
    assert law(job).cycles == levels + 8
    assert run(job).cycles == levels + 8


@pytest.mark.parametrize(("depth", "cycles"), [(1, 35), (2, 21), (3, 17), (4, 17), (32, 17)])
def test_queue_depth_by_hand(depth: int, cycles: int) -> None:
    """Ten columns of one entry: a credit takes A + B = 3 cycles, so depth 3 is enough to broadcast in every cycle.

    One column takes T0 + A + 1 + C = 8. Depth 1: 9 more, 3 cycles each. Depth 2: broadcasts in 1 2,
    4 5, 7 8, ... 13 14, so the last starts in 16.
    """
    layer = CompressedLayer.from_codes(np.ones((1, 10), np.uint8), range(16))
    job = Job.create(layer, np.ones(10, int), ArchConfig(n_pe=1, queue_depth=depth))
    assert law(job).cycles == run(job).cycles == cycles


def test_declared_delay_moves_law_and_golden() -> None:
    """The one declaration of the bus, `bus_registers`: 0, 1, 3 shift every start of a lone column by as much."""
    cycles = []
    for registers in (0, 1, 3):
        job = two_entries(n_pe=4, bus_registers=registers)
        _, start, golden = observed(job)
        assert 2 + registers == constants(job.cfg).A
        assert start[0].tolist() == [3 + registers] * 4
        assert golden == law(job).cycles
        cycles.append(golden)
    assert cycles == [9, 10, 12]


@pytest.mark.parametrize("registers", [0, 1, 3])
def test_bus_registers_under_stalls(registers: int) -> None:
    """The longer way of a credit costs more stalls at a small depth; the law follows."""
    rng = np.random.default_rng(8)
    codes = (rng.random((16, 30)) < 0.3).astype(np.uint8)
    cfg = ArchConfig(n_pe=4, bus_registers=registers, queue_depth=1)
    job = Job.create(CompressedLayer.from_codes(codes, range(16)), np.ones(30, int), cfg)
    bcast, start, cycles = observed(job)
    expected = law(job)
    np.testing.assert_array_equal(bcast, expected.bcast)
    np.testing.assert_array_equal(start, expected.start)
    assert cycles == expected.cycles
    assert expected.broadcast_stalls >= (2 + registers) * 29


@pytest.mark.parametrize("delay", list(timing.DELAYS))
def test_a_wrong_delay_is_noticed(delay: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any constant off by one disagrees with the golden model: the comparison bites."""
    declared = timing.DELAYS[delay]
    off = dataclasses.replace(declared, cycles=lambda cfg: declared.cycles(cfg) + 1)
    layer = CompressedLayer.from_codes(np.ones((4, 12), np.uint8), range(16))
    job = Job.create(layer, np.ones(12, int), ArchConfig(n_pe=4, queue_depth=1))
    assert law(job).cycles == run(job).cycles
    monkeypatch.setitem(timing.DELAYS, delay, off)
    assert law(job).cycles != run(job).cycles
