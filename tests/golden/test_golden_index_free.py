"""The index-free machine: golden against reference, law and fast engine, and its blocks cycle by cycle."""

from collections import Counter

import numpy as np
import pytest

from eie.blocks import BlockStructure
from eie.capacity import sized_for
from eie.config import ArchConfig
from eie.golden.array import Array
from eie.golden.block_table import BlockTable
from eie.golden.run import run, run_program
from eie.golden.run_rows import RunRows
from eie.index_free import PlacedBlocks
from eie.plan import make_plan
from eie.plan_program import plan_program
from eie.program import Job
from eie.sim.engines.fast import run as run_fast
from eie.sim.engines.fast_plan import FastPlan
from eie.sim.engines.reference import run as run_reference
from tests.support import ROOT
from tests.support.block_cases import random_block_case, random_blocks
from tests.support.cases import Case
from tests.support.cycle_table import drive
from tests.support.slow_law import law, segment_cases
from tests.support.visiting_orders import all_values, propagate_until_stable

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
    "segments",
    "a segment without blocks",
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
    assert isinstance(inter, PlacedBlocks)
    pes = case.cfg.segment_pes
    of_pes = [inter.lengths[columns, s * pes : (s + 1) * pes] for s, columns in enumerate(inter.members)]
    starts = [{entry.start for entry in table} for table in inter.tables]
    happened = (
        structure.height(0) < pes,
        any((counts.min(axis=1) != counts.max(axis=1)).any() for counts in of_pes),
        "a unit passed over" in expected.events,
        any(len(found) < len(table) for found, table in zip(starts, inter.tables, strict=True)),
        "an empty group" in expected.events,
        bool((golden.cycles - golden.counters["starved"] < golden.counters["entries"]).any()),  # type: ignore[operator]
        case.cfg.entries_per_word.bit_count() > 1,
        bool(golden.total("broadcast_stalls")),
        bool(golden.total("bypasses")),
        bool(golden.total("saturations")),
        case.cfg.segments > 1,
        not all(inter.tables),
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
        propagate_until_stable(arrays[1], rng.permutation(len(arrays[1].visits)).tolist())
        assert all_values(arrays[0]) == all_values(arrays[1]), f"cycle {cycle}"
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
        cycle | root_valid root_row root_pe bcast | nearby unit first at_block at_within push push_start push_low
        0     | 1          0        0       1     | 1      0    0     0        0         0    ?          ?
        1     | 1          0        1       1     | 1      0    0     0        0         0    ?          ?
        2     | 1          1        1       1     | 1      0    0     0        1         1    0          0
        3     | 1          3        1       0     | 1      1    2     1        1         1    2          0
        4     | 1          3        1       1     | 1      1    2     1        1         1    5          3
        5     | .          .        .       .     | 1      2    6     2        1         0    ?          ?
        6     | .          .        .       .     | 1      2    6     2        1         1    11         4
        """,
    )


def test_table_passes_over_units() -> None:
    """Column 7 first: block 2 is behind the next one, so that the table goes on for a cycle before it is near."""
    drive(
        _table(ALIGNED),
        """
        cycle | root_valid root_row root_pe bcast | nearby unit first at_valid at_block at_within
        0     | 1          3        1       0     | 0      0    0     0        ?        ?
        1     | 1          3        1       1     | 1      1    2     0        ?        ?
        2     | .          .        .       .     | 1      2    6     1        2        1
        """,
    )


def test_table_in_a_shuffled_order() -> None:
    """Three blocks in turn: column j is in block j mod 3; from column 1 to column 11 three turns are passed over."""
    drive(
        _table([(0, 0, 2, 0, 3, 3), (0, 10, 1, 3, 4, 0), (0, 20, 3, 4, 9, 0)]),
        """
        cycle | root_valid root_row root_pe bcast | nearby unit first at_block at_within push push_start push_low
        0     | 1          0        1       1     | 1      0    0     0        0         0    ?          ?
        1     | 1          5        1       0     | 0      0    0     1        0         0    ?          ?
        2     | 1          5        1       0     | 0      1    3     1        0         1    10         3
        3     | 1          5        1       1     | 1      2    6     1        0         0    ?          ?
        4     | .          .        .       .     | 1      3    9     2        3         0    ?          ?
        5     | .          .        .       .     | 1      3    9     2        3         1    29         4
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
        (table,) = array.tables
        pe = array.pes[0]
        events = {
            "bcast": array.ccu.bcast,
            "placed": table.at_valid,
            "push": table.push,
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


# docs/index_free.md, "Two segments, cycle by cycle": of segment 0 and of segment 1 in each cycle.
TWO_SEGMENTS = """
cycle | root_valid | root_exhausted | credit | bcast | push | start | stage 4
0     | 0 0        | 0 0            | 1 1    | 0 0   | 0 0  | 0 0   | 0 0
1     | 1 1        | 0 0            | 1 1    | 1 1   | 0 0  | 0 0   | 0 0
2     | 1 0        | 0 1            | 0 0    | 0 0   | 0 0  | 0 0   | 0 0
3     | 1 0        | 0 1            | 0 0    | 0 0   | 1 1  | 0 0   | 0 0
4     | 1 0        | 0 1            | 0 0    | 0 0   | 0 0  | 1 1   | 0 0
5     | 1 0        | 0 1            | 1 1    | 1 0   | 0 0  | 0 0   | 0 0
6     | 0 0        | 1 1            | 0 1    | 0 0   | 0 0  | 0 0   | 0 0
7     | 0 0        | 1 1            | 0 1    | 0 0   | 1 0  | 0 0   | 0 0
8     | 0 0        | 1 1            | 0 1    | 0 0   | 0 0  | 1 0   | 1 1
9     | 0 0        | 1 1            | 1 1    | 0 0   | 0 0  | 0 0   | 0 0
10    | 0 0        | 1 1            | 1 1    | 0 0   | 0 0  | 0 0   | 0 0
11    | 0 0        | 1 1            | 1 1    | 0 0   | 0 0  | 0 0   | 0 0
12    | 0 0        | 1 1            | 1 1    | 0 0   | 0 0  | 0 0   | 1 0
"""


def two_segments() -> Job:
    """Four PEs in two segments, a block of 2 x 2 in each; the first input of the second one is 0."""
    layer = random_blocks(np.random.default_rng(3), BlockStructure(4, 4, 2), 2, zeros=False)
    return Job.create(layer, [3, 5, 0, 7], SMALL.replace(n_pe=4, segments=2, queue_depth=1, weight_bits=2))


def test_two_segments_cycle_by_cycle() -> None:
    """Each waits for credits of its own PEs alone; golden as the table that was made by hand, which is on the page."""
    heading, *rows = (
        [cell.strip() for cell in line.split("|")] for line in TWO_SEGMENTS.strip().splitlines()
    )
    seen: list[list[str]] = []

    def note(array: Array) -> None:
        if not array.ccu.compute.value or len(seen) == len(rows):
            return
        segments = [array.pes[:2], array.pes[2:]]
        # The two PEs of a segment do the same: a row each of every column.
        of = {
            "root_valid": [root.valid.value for root in array.roots],
            "root_exhausted": [root.exhausted.value for root in array.roots],
            "credit": [min(pe.credit.value for pe in pes) for pes in segments],
            "bcast": [wire.value for wire in array.bcasts],
            "push": [table.push.value for table in array.tables],
            "start": [max(pe.spmat_read.start.value for pe in pes) for pes in segments],
            "stage 4": [max(pe.arithm_unit.s4_valid.value for pe in pes) for pes in segments],
        }
        cells = [" ".join(str(int(value)) for value in of[name]) for name in heading[1:]]
        seen.append([str(array.ccu.cycle.value), *cells])

    result = run(two_segments(), observe=note)
    assert seen == rows
    assert (result.cycles, result.total("broadcast_stalls")) == (13, 3)
    page = (ROOT / "docs" / "index_free.md").read_text()
    for row in (heading, *rows):
        assert f"| {' | '.join(row)} |" in page


@pytest.mark.parametrize("segments", [2, 4, 8])
def test_segments_are_machines_side_by_side(segments: int) -> None:
    """Outputs, counters and cycles of each segment are those of a machine of its PEs with its blocks alone."""
    rng = np.random.default_rng([segments, 35])
    layer = random_blocks(rng, BlockStructure(90, 70, 11, "shuffled", 5), 4)
    x = rng.integers(-200, 200, 70) * (rng.random(70) < 0.5)
    cfg = sized_for(ArchConfig.preset("blocks", n_pe=16, segments=segments, queue_depth=2), layer)
    whole = run(Job.create(layer, x, cfg))
    alone = [run(one.job) for one in segment_cases(Case(layer, x, cfg, "segments", 1)) if one is not None]
    np.testing.assert_array_equal(whole.y, np.concatenate([one.y for one in alone]))
    assert whole.cycles == max(one.cycles or 0 for one in alone)
    assert whole.total("broadcast_stalls") == sum(one.total("broadcast_stalls") for one in alone)
    for name in ("entries", "spmat_reads", "ptr_reads", "bypasses", "saturations"):
        counted = np.concatenate([one.counters[name] for one in alone])  # type: ignore[arg-type]
        np.testing.assert_array_equal(whole.counters[name], counted, err_msg=name)
