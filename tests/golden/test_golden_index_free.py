"""The index-free machine: golden against reference, law and fast engine, and its blocks cycle by cycle."""

from collections import Counter

import numpy as np
import pytest

from eie.blocks import BlockStructure
from eie.config import ArchConfig
from eie.golden.array import Array
from eie.golden.block_table import BlockTable
from eie.golden.run import run, run_program
from eie.golden.run_rows import RunRows
from eie.plan import make_plan
from eie.plan_program import plan_program
from eie.program import Job
from eie.sim.engines.fast import run as run_fast
from eie.sim.engines.fast_plan import FastPlan
from eie.sim.engines.reference import run as run_reference
from tests.support.block_cases import random_block_case, random_blocks
from tests.support.cases import Case
from tests.support.cycle_table import drive
from tests.support.slow_law import law

CASES = 120
EVENTS = (
    "a block lower than the array",
    "PEs with different numbers of rows",
    "a unit passed over",
    "equal blocks stored once",
    "a column without a row on a PE",
    "two entries in a cycle",
    "words of no power of two of entries",
    "a broadcast stall",
    "a bypass",
    "a sum clipped",
)


def check(case: Case) -> set[str]:
    """Compare one case on three engines and the law; what happened in it."""
    golden, reference, expected = run(case.job), run_reference(case.job), law(case)
    (fast,) = run_fast([case.job])
    for other in (reference, fast):
        np.testing.assert_array_equal(golden.y, other.y)
        for name, values in other.counters.items():
            if values is not None:
                np.testing.assert_array_equal(
                    golden.counters[name], values, err_msg=f"{other.engine}: {name}"
                )
    assert golden.cycles == fast.cycles == expected.cycles
    for name, values in expected.counters.items():
        np.testing.assert_array_equal(golden.counters[name], values, err_msg=name)
    structure, inter = case.layer.blocks, case.job.interleaved
    assert structure is not None
    rows = [[len(range(k, row, case.cfg.n_pe)) for k in range(case.cfg.n_pe)] for row in structure.row_starts]
    counts = np.diff(rows, axis=0)
    happened = (
        structure.height(0) < case.cfg.n_pe,
        bool((counts.min(axis=1) != counts.max(axis=1)).any()),
        "a unit passed over" in expected.events,
        len({entry.start for entry in inter.table}) < structure.blocks,  # type: ignore[attr-defined]
        "an empty group" in expected.events,
        bool((golden.cycles - golden.counters["starved"] < golden.counters["entries"]).any()),  # type: ignore[operator]
        case.cfg.entries_per_word.bit_count() > 1,
        bool(golden.total("broadcast_stalls")),
        bool(golden.total("bypasses")),
        bool(golden.total("saturations")),
    )
    return {event for event, there in zip(EVENTS, happened, strict=True) if there}


def test_random_machines(capsys: pytest.CaptureFixture[str]) -> None:
    """Values, cycles and counters of golden = reference = fast = law, and the cases have what can go wrong."""
    happened = Counter(dict.fromkeys(EVENTS, 0))
    for seed in range(CASES):
        case = random_block_case(np.random.default_rng([seed, 31]), seed=seed)
        try:
            happened.update(check(case))
        except AssertionError as error:
            raise AssertionError(f"{case}: {error}") from error
    with capsys.disabled():
        print("\nindex-free machines with " + ", ".join(f"{name}: {happened[name]}" for name in EVENTS))
    assert all(happened.values()), happened


@pytest.mark.parametrize("more", [{}, {"issue": 2, "window": 2}])
def test_preset_of_64_pes(more: dict[str, int]) -> None:
    """The preset as it is, with one and with two entries a cycle: uneven blocks, all 16 codes of 4 bits weights."""
    rng = np.random.default_rng([1, 32])
    layer = random_blocks(rng, BlockStructure(703, 301, 10, "shuffled", 5), 4, zeros=False)
    x = rng.integers(1, 50, 301) * (rng.random(301) < 0.4)
    assert layer.weight_bits == 5
    happened = check(Case(layer, x, ArchConfig.preset("blocks", **more), "blocks", 1))
    assert ("two entries in a cycle" in happened) == bool(more)


def test_order_of_visits() -> None:
    """Signals do not depend on the order in which golden visits its blocks: there is no combinational loop."""
    rng = np.random.default_rng([1, 33])
    case = random_block_case(rng, issue=2, window=2)
    arrays = [Array(case.cfg), Array(case.cfg)]
    for array in arrays:
        array.load_images(case.job.images)
        for write in case.job.load_writes():
            array.load(write)
    for cycle in range(60):
        for array in arrays:
            array.start.value = cycle == 0
        arrays[0].propagate()
        arrays[1].propagate_until_stable(rng.permutation(len(arrays[1].visits)).tolist())
        assert arrays[0].all_values() == arrays[1].all_values(), f"cycle {cycle}"
        for array in arrays:
            array.update()


def test_several_passes() -> None:
    """Layers of a network, whose blocks stand in the table one behind the other: golden = fast engine, pass by pass."""
    rng = np.random.default_rng([1, 34])
    shapes = [(40, 24, 4, "aligned"), (30, 40, 5, "shuffled"), (6, 30, 3, "shuffled")]
    layers = [random_blocks(rng, BlockStructure(*shape), 3) for shape in shapes]
    cfg = ArchConfig(n_pe=4, blocks=12, filter_empty=1, codebooks=3, entries=800, acc_bits=24, act_words=64)
    plan = make_plan(layers, cfg)
    assert [step.entry.ptr_base for step in plan.steps] == [0, 4, 9]
    x = rng.integers(-200, 200, 24) * (rng.random(24) < 0.6)
    (golden,) = run_program(plan_program(plan), [x])
    fast = FastPlan(plan).run(x)
    np.testing.assert_array_equal(golden.y, fast.y)
    assert golden.cycles == fast.cycles
    for name, values in fast.counters.items():
        np.testing.assert_array_equal(golden.counters[name], values, err_msg=name)


SMALL = ArchConfig(n_pe=2, blocks=3, filter_empty=1, src_depth=8, acc_depth=8, entries=64)
ALIGNED = [(2, 0, 2, 0, 3, 0), (6, 4, 1, 3, 4, 0), (8, 8, 3, 4, 9, 0)]


def _table(entries: list[tuple[int, ...]]) -> BlockTable:
    table = BlockTable(SMALL)
    table.compute.value = 1
    for number, entry in enumerate(entries):
        for field, value in enumerate(entry):
            table.write_field(number << 3 | field, value)
    return table


def test_table_in_an_aligned_order() -> None:
    """Columns 0, 1, 3, 7: the second block is next; the third one waits while the table passes over nothing."""
    drive(
        _table(ALIGNED),
        """
        cycle | root_valid root_row root_pe bcast | near unit first at_block at_within push push_start push_low
        0     | 1          0        0       1     | 1    0    0     0        0         0    ?          ?
        1     | 1          0        1       1     | 1    0    0     0        0         0    ?          ?
        2     | 1          1        1       1     | 1    0    0     0        1         1    0          0
        3     | 1          3        1       0     | 1    1    2     1        1         1    2          0
        4     | 1          3        1       1     | 1    1    2     1        1         1    5          3
        5     | .          .        .       .     | 1    2    6     2        1         0    ?          ?
        6     | .          .        .       .     | 1    2    6     2        1         1    11         4
        """,
    )


def test_table_passes_over_units() -> None:
    """Column 7 first: block 2 is behind the next one, so that the table goes on for a cycle before it is near."""
    drive(
        _table(ALIGNED),
        """
        cycle | root_valid root_row root_pe bcast | near unit first at_valid at_block at_within
        0     | 1          3        1       0     | 0    0    0     0        ?        ?
        1     | 1          3        1       1     | 1    1    2     0        ?        ?
        2     | .          .        .       .     | 1    2    6     1        2        1
        """,
    )


def test_table_in_a_shuffled_order() -> None:
    """Three blocks in turn: column j is in block j mod 3; from column 1 to column 11 three turns are passed over."""
    drive(
        _table([(0, 0, 2, 0, 3, 3), (0, 10, 1, 3, 4, 0), (0, 20, 3, 4, 9, 0)]),
        """
        cycle | root_valid root_row root_pe bcast | near unit first at_block at_within push push_start push_low
        0     | 1          0        1       1     | 1    0    0     0        0         0    ?          ?
        1     | 1          5        1       0     | 0    0    0     1        0         0    ?          ?
        2     | 1          5        1       0     | 0    1    3     1        0         1    10         3
        3     | 1          5        1       1     | 1    2    6     1        0         0    ?          ?
        4     | .          .        .       .     | 1    3    9     2        3         0    ?          ?
        5     | .          .        .       .     | 1    3    9     2        3         1    29         4
        """,
    )


@pytest.mark.parametrize(
    ("number", "low", "high", "row", "count"),
    [(0, 1, 4, 1, 1), (1, 1, 4, 0, 2), (0, 0, 1, 0, 1), (1, 0, 1, 0, 0), (0, 3, 3, 2, 0), (1, 3, 9, 1, 3)],
)
def test_rows_of_a_pe(number: int, low: int, high: int, row: int, count: int) -> None:
    """Which rows of a block are a PE's, by hand; a run without any is dropped."""
    rows = RunRows(SMALL)
    rows.number.value, rows.push.value = number, 1
    rows.push_low.value, rows.push_high.value = low, high
    rows.outputs()
    assert (rows.p_row.value, rows.p_count.value) == (row, count)
    assert (bool(rows.keep.value), bool(rows.drop.value)) == (count > 0, count == 0)


@pytest.mark.parametrize(("issue", "window", "cycles"), [(1, 1, 1 + 9), (2, 2, 1 + 8)])
def test_path_of_a_column(issue: int, window: int, cycles: int) -> None:
    """The path in docs/index_free.md, event by event; the broadcast is in cycle T0 = 1."""
    layer = random_blocks(np.random.default_rng(3), BlockStructure(3, 2, 1), 2, zeros=False)
    cfg = SMALL.replace(issue=issue, window=window, weight_bits=2)
    seen: dict[str, list[int]] = {}

    def note(array: Array) -> None:
        if not array.ccu.compute.value:
            return
        assert array.block_table is not None
        pe = array.pes[0]
        events = {
            "bcast": array.ccu.bcast,
            "placed": array.block_table.at_valid,
            "push": array.block_table.push,
            "keep": pe.ptr_read.signal("keep"),
            "start": pe.spmat_read.start,
            "taken": pe.spmat_read.tok_valid,
            "stage 4": pe.arithm_unit.s4_valid,
        }
        for name, wire in events.items():
            if wire.value:
                seen.setdefault(name, []).append(array.ccu.cycle.value)

    result = run(Job.create(layer, [0, 5], cfg), observe=note)
    assert result.counters["entries"].tolist() == [2, 1]  # type: ignore[union-attr]
    second = [6] if issue == 1 else []
    assert seen == {
        "bcast": [1],
        "placed": [2],
        "push": [3],
        "keep": [3],
        "start": [4],
        "taken": [5, *second],
        "stage 4": [8, *(cycle + 3 for cycle in second)],
    }
    assert result.cycles == cycles
