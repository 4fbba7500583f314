"""The planner: what a plan has to hold, on random layers and machines; and plans on reference, golden and fast engine.

Plans on the RTL are in test_plan_rtl.py.
"""

import itertools
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eie.capacity import check_fits, sized_for
from eie.certainty import certainty
from eie.config import ArchConfig
from eie.csc import interleave
from eie.cuts import MATRIX, POINTERS, REACH, SOURCE, WHOLE
from eie.errors import CapacityError, LayerError
from eie.golden.array import Array
from eie.golden.run import run_program
from eie.layer import CompressedLayer
from eie.plan import ACTIVATIONS, BIASES, CODEBOOKS, EXIT, TABLE, Plan, Source, Step, Target, make_plan
from eie.plan_program import plan_program, words_of
from eie.program import Job
from eie.schema import WbTarget
from eie.sim.engines.fast_plan import FastPlan
from eie.sim.engines.reference import run as run_reference
from eie.sim.exits import sized_for_exits
from eie.sim.plan_report import Phases
from eie.sim.plans import run_plan
from eie.sim.simulate import simulate
from eie.sim.workloads.random import random_input, random_layer
from tests.support.exit_networks import exit_network, heads_write_over_their_inputs
from tests.support.plan_cases import PlanCase, plan_case, plan_cases, planned, with_exits
from tests.support.results import assert_equal

# ---- what a plan has to hold -------------------------------------------------------------------------------


def check_coverage(plan: Plan) -> None:
    """Every entry of every layer is in exactly one pass, and so is every bias of the first batch of a tile."""
    for number, layer in enumerate(plan.layers):
        covered = np.zeros(layer.shape, int)
        codes = np.zeros(layer.shape, np.uint8)
        biased = np.zeros(layer.rows, int)
        for step in plan.steps:
            cut, part = step.cut, step.cut.part
            if cut.layer != number:
                continue
            rows, cols = slice(cut.row, cut.row + part.rows), slice(cut.col, cut.col + part.cols)
            covered[rows, cols] += 1
            codes[rows, cols] = part.dense_codes()
            assert cut.first == (cut.col == 0)
            assert cut.last == (cut.col + part.cols == layer.cols)
            if cut.first:
                biased[rows] += 1
                assert np.array_equal(part.bias, layer.bias[rows])
        assert (covered == 1).all()
        assert (biased == 1).all()
        assert np.array_equal(codes, layer.dense_codes())


def check_plan_fits(plan: Plan) -> None:
    """Every pass fits every memory, pointer and register, and is encoded as a layer of its own would be."""
    cfg = plan.cfg
    for step in plan.steps:
        cut, part = step.cut, step.cut.part
        check_fits(cfg, part)
        alone = interleave(part, cfg.n_pe, cfg.index_bits)
        for name in ("v", "z", "pointers"):
            assert np.array_equal(getattr(cut.interleaved, name), getattr(alone, name)), name
        assert cut.words == -(-int(alone.pointers[:, -1].max()) // cfg.entries_per_word) <= cfg.spmat_words
        assert cut.row % (cfg.n_pe * cfg.acc_depth) == 0
        assert cut.col % cfg.n_pe == 0
        step.entry.check(cfg, "step")
        assert 0 <= step.number < cfg.passes
        assert (step.entry.wb_rows > 0) == cut.last


def disjoint(spans: list[tuple[int, int]], size: int) -> bool:
    """Whether [begin, end) spans do not overlap and lie inside 0..size."""
    ordered = sorted(span for span in spans if span[0] < span[1])
    inside = all(begin >= 0 and end <= size for begin, end in ordered)
    return inside and all(a[1] <= b[0] for a, b in itertools.pairwise(ordered))


def check_groups(plan: Plan) -> None:
    """In each load group matrix words, pointers, biases do not overlap; a group ends where a memory is full."""
    cfg = plan.cfg

    def words(step: Step) -> tuple[int, int]:
        return step.entry.spmat_base, step.cut.words

    def pointers(step: Step) -> tuple[int, int]:
        return step.entry.ptr_base, step.cut.part.cols + 1

    def biases(step: Step) -> tuple[int, int]:
        return step.entry.acc_base, step.entry.acc_rows

    for key, groups, memories in (
        (
            "group",
            plan.groups,
            {MATRIX: (words, cfg.spmat_words), POINTERS: (pointers, 2 * cfg.ptr_bank_depth)},
        ),
        ("bias_group", plan.bias_groups, {BIASES: (biases, cfg.act_words)}),
    ):
        members = [[step for step in plan.steps if getattr(step, key) == number] for number in range(groups)]
        assert [step for of_group in members for step in of_group] == plan.steps
        assert all(members)
        for number, steps in enumerate(members):
            ended = set()
            for memory, (span, size) in memories.items():
                kept = [(0, plan.activation_words)] if memory == BIASES else []
                spans = kept + [(low, low + length) for low, length in map(span, steps)]
                assert disjoint(spans, size)
                if number + 1 < groups:
                    used = sum(high - low for low, high in spans)
                    _, more = span(members[number + 1][0])
                    ended |= {memory} if used + more > size else set()
            if number + 1 < groups:
                assert (BIASES if key == "bias_group" else members[number + 1][0].group_bound) in ended


class Memory:
    """Which number each word holds: ("x", layer, index) is activation `index` of a layer's inputs, None unknown."""

    def __init__(self, plan: Plan) -> None:
        n, cfg = plan.cfg.n_pe, plan.cfg
        self.n = n
        self.sram: list[object] = [None] * (cfg.act_words * n)
        self.src: list[object] = [None] * (cfg.src_depth * n)
        self.acc: list[object] = [None] * (cfg.acc_depth * n)
        self.host: dict[int, set[int]] = {0: set(range(plan.layers[0].cols))}

    def put(self, memory: list[object], address: int, what: str, layer: int, numbers: range) -> None:
        """Numbers in their natural order, from the address of every PE on; the last row is written on every PE."""
        for place, number in enumerate(numbers):
            assert memory[address * self.n + place : address * self.n + place + 1], "beyond the memory"
            memory[address * self.n + place] = (what, layer, number)

    def hold(self, memory: list[object], address: int, what: str, layer: int, numbers: range) -> bool:
        """Whether these numbers are there."""
        found = memory[address * self.n : address * self.n + len(numbers)]
        return found == [(what, layer, number) for number in numbers]


def check_data_flow(plan: Plan) -> None:
    """Run the plan on names instead of numbers: each pass finds its activations and biases, and results come out."""
    memory, group = Memory(plan), None
    for run in plan.runs:
        if run.bias_group != group:
            group = run.bias_group
            for step in (s for s in plan.steps if s.bias_group == group and s.entry.acc_rows):
                rows = range(step.cut.row, step.cut.row + step.cut.part.rows)
                assert step.entry.acc_rows == -(-len(rows) // plan.cfg.n_pe)
                memory.put(memory.sram, step.entry.acc_base, "bias", step.cut.layer, rows)
        for number, step in enumerate(run.steps):
            assert number == 0 or not step.needs_host, "a run goes on although the host has to act"
            assert number + 1 == len(run.steps) or not step.is_read
            _follow(plan, memory, step)
            ends = step.cut.last and step.cut.row + step.cut.part.rows == plan.layers[step.cut.layer].rows
            if ends and (plan.layers[step.cut.layer].exit or step is plan.steps[-1]):
                assert number + 1 == len(run.steps), (
                    "a run goes on although the host has to look at an answer"
                )
                _answer(plan, memory, step)
    assert step is plan.steps[-1]


def _answer(plan: Plan, memory: Memory, step: Step) -> None:
    """The answer that a step ends is whole, where the host looks for it."""
    vector, whole = step.cut.layer + 1, range(plan.layers[step.cut.layer].rows)
    if step.place.target is Target.SRAM:
        assert memory.hold(memory.sram, step.place.out_base, "x", vector, whole)
    else:
        assert memory.host.get(vector, set()) == set(whole)


def _follow(plan: Plan, memory: Memory, step: Step) -> None:
    cut, entry, place = step.cut, step.entry, step.place
    taken = cut.layer  # of a chain
    while taken and plan.layers[taken - 1].exit:
        taken -= 1
    rows, cols = range(cut.row, cut.row + cut.part.rows), range(cut.col, cut.col + cut.part.cols)
    if place.source is Source.FILE:
        assert memory.host[taken].issuperset(cols)
        memory.put(memory.src, 0, "x", taken, cols)
    elif place.source is Source.SRAM:
        if cut.row == cut.col == 0 and len(memory.host.get(taken, ())) == plan.layers[cut.layer].cols:
            memory.put(memory.sram, place.in_base, "x", taken, range(plan.layers[cut.layer].cols))
        assert entry.src_rows == -(-len(cols) // plan.cfg.n_pe)
        assert memory.hold(memory.sram, entry.src_base, "x", taken, cols)
        memory.put(memory.src, 0, "x", taken, cols)
    assert memory.hold(memory.src, 0, "x", taken, cols)
    memory.src = [None] * len(memory.src)
    if step.writes_biases:
        memory.put(memory.acc, 0, "bias", cut.layer, rows)
    elif cut.first:
        assert memory.hold(memory.sram, entry.acc_base, "bias", cut.layer, rows)
        memory.put(memory.acc, 0, "bias", cut.layer, rows)
    before = "bias" if cut.first else "partial"
    assert memory.hold(memory.acc, 0, before, cut.layer, rows)
    memory.put(memory.acc, 0, "partial", cut.layer, rows)
    if cut.last:
        memory.put(memory.acc, 0, "x", cut.layer + 1, rows)
        if entry.wb_target & WbTarget.SRC:
            memory.put(memory.src, 0, "x", cut.layer + 1, rows)
        if entry.wb_target & WbTarget.ACT_SRAM:
            memory.put(memory.sram, entry.wb_base, "x", cut.layer + 1, rows)
        if step.is_read:
            memory.host.setdefault(cut.layer + 1, set()).update(rows)


def check_runs(plan: Plan) -> None:
    """Runs break only where something forces them to; table entries and codebooks are what the passes say."""
    cfg = plan.cfg
    books: dict[int, bytes] = {}
    assert plan.runs[0].bound == ""
    for before, run in zip((None, *plan.runs), plan.runs, strict=False):
        numbers = [step.number for step in run.steps]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        if not plan.keeps_table:
            books = {}
        for step in run.steps:
            book = step.cut.part.codebook.tobytes()
            assert books.setdefault(step.entry.codebook, book) == book
        assert max(books) < cfg.codebooks
        if before is None:
            continue
        last, first = before.steps[-1], run.steps[0]
        held = {step.cut.part.codebook.tobytes() for step in before.steps}
        assert {
            MATRIX: first.group != last.group,
            POINTERS: first.group != last.group,
            BIASES: first.bias_group != last.bias_group,
            ACTIVATIONS: first.needs_host or last.is_read,
            EXIT: plan.layers[last.cut.layer].exit and last.cut.layer != first.cut.layer,
            TABLE: not plan.keeps_table and len(before.steps) == cfg.passes,
            CODEBOOKS: not plan.keeps_table
            and len(held) == cfg.codebooks
            and first.cut.part.codebook.tobytes() not in held,
        }[run.bound]


def check_batches(plan: Plan) -> None:
    """A batch ends where the memory that it names is full: N columns more would exceed it."""
    cfg, n = plan.cfg, plan.cfg.n_pe
    for step in plan.steps:
        cut, layer = step.cut, plan.layers[step.cut.layer]
        stop = cut.col + cut.part.cols
        assert (cut.bound == WHOLE) == (stop == layer.cols)
        if cut.bound == WHOLE:
            continue
        more = min(stop + n, layer.cols)
        dense = layer.dense_codes()[cut.row : cut.row + cut.part.rows, cut.col : more]
        larger = CompressedLayer.from_codes(dense, layer.codebook)
        entries = int(interleave(larger, n, cfg.index_bits).pointers[:, -1].max())
        assert {
            SOURCE: more - cut.col > n * cfg.src_depth,
            POINTERS: more - cut.col + 1 > 2 * cfg.ptr_bank_depth,
            MATRIX: entries > cfg.spmat_words * cfg.entries_per_word,
            REACH: entries > cfg.unpack_pointer((1 << cfg.pointer_bits) - 1),
        }[cut.bound]


@settings(max_examples=250)
@given(plan_cases())
def test_a_plan_holds(case: PlanCase) -> None:
    plan = planned(case)
    if plan is None:
        return
    check_coverage(plan)
    check_plan_fits(plan)
    check_batches(plan)
    check_groups(plan)
    check_runs(plan)
    check_data_flow(plan)


@settings(max_examples=100)
@given(plan_cases())
def test_a_plan_with_exits_holds(case: PlanCase) -> None:
    """Among the rest: nobody writes over what an exit and the layer behind it both take, and answers are whole."""
    plan = planned(with_exits(case))
    if plan is None:
        return
    for check in (check_coverage, check_plan_fits, check_batches, check_groups, check_runs, check_data_flow):
        check(plan)


def test_a_head_that_writes_over_its_inputs_does_not_hold() -> None:
    layers = exit_network(1)
    plan = make_plan(layers, sized_for_exits(ArchConfig(n_pe=2), layers), exits=True)
    check_data_flow(plan)
    with pytest.raises(AssertionError):
        check_data_flow(heads_write_over_their_inputs(plan))


def test_the_cases_with_exits_reach_everything() -> None:
    seen: Counter[str] = Counter()
    for seed in range(300):
        plan = planned(with_exits(plan_case(seed)))
        if plan is None or not any(layer.exit for layer in plan.layers):
            continue
        stays = plan.resident and plan.keeps_table and plan.keeps_biases
        stages = 1 + sum(layer.exit for layer in plan.layers)
        seen.update({f"a run for each stage {len(plan.runs) == stages}, stays {stays}"})
        seen.update({f"run: {run.bound}" for run in plan.runs})
        for layer, place in zip(plan.layers, plan.places, strict=True):
            seen.update({f"{place.source}, {place.target}, hosted {place.hosted}"} if layer.exit else ())
    expected = ["a run for each stage True, stays True", "a run for each stage False, stays False"]
    expected += [f"run: {bound}" for bound in (MATRIX, POINTERS, BIASES, ACTIVATIONS, TABLE, CODEBOOKS, EXIT)]
    expected += [f"{Source.SRAM}, {target}, hosted False" for target in (Target.ACC, Target.SRAM)]
    expected += [f"{Source.FILE}, {Target.ACC}, hosted True"]
    assert not {what: seen[what] for what in expected if seen[what] < 2}


def plans(count: int) -> Iterator[tuple[PlanCase, Plan]]:
    """The first so many seeds' cases that have a plan."""
    for seed in range(count):
        case = plan_case(seed)
        plan = planned(case)
        if plan is not None:
            yield case, plan


def test_the_cases_reach_everything() -> None:
    seen: Counter[str] = Counter()
    count = 300
    for _, plan in plans(count):
        seen.update({"a plan"})
        seen.update({f"batch: {step.cut.bound}" for step in plan.steps})
        seen.update({f"run: {run.bound}" for run in plan.runs})
        seen.update({f"{place.source}, {place.target}, hosted {place.hosted}" for place in plan.places})
        seen.update({f"resident {plan.resident}, table {plan.keeps_table}"})
        seen.update({f"resident {plan.resident}, biases {plan.keeps_biases}"})
        seen.update({f"several layers in a run {len({s.cut.layer for s in r.steps}) > 1}" for r in plan.runs})
        seen.update({"a pass without words"} if any(not step.cut.words for step in plan.steps) else ())
    expected = [f"batch: {bound}" for bound in (WHOLE, SOURCE, POINTERS, MATRIX, REACH)]
    expected += [f"run: {bound}" for bound in (MATRIX, POINTERS, BIASES, ACTIVATIONS, TABLE, CODEBOOKS)]
    expected += [f"{Source.FILE}, {target}, hosted False" for target in Target]
    expected += [f"{Source.CHAIN}, {target}, hosted False" for target in Target]
    expected += [f"{Source.SRAM}, {target}, hosted False" for target in Target]
    expected += [f"{Source.FILE}, {Target.ACC}, hosted True", "a pass without words"]
    expected += [
        f"resident {resident}, table {table}" for resident in (True, False) for table in (True, False)
    ]
    expected += [
        f"resident {resident}, biases {kept}" for resident in (True, False) for kept in (True, False)
    ]
    expected += ["several layers in a run True"]
    missing = {what: seen[what] for what in expected if seen[what] < 2}
    assert not missing
    assert count / 2 < seen["a plan"] < count


# ---- engines -----------------------------------------------------------------------------------------------


@settings(max_examples=80)
@given(plan_cases())
def test_fast_and_untiled_reference_agree(case: PlanCase) -> None:
    plan = planned(case)
    if plan is None:
        return
    for x, planned_result in zip(case.inputs, run_plan(plan, case.inputs, "fast"), strict=True):
        sums = dict.fromkeys(("macs", "saturations", "writeback_saturations"), 0)
        for layer in case.layers:
            result = run_reference(Job.create(layer, x, sized_for(case.cfg, layer)))
            x = result.y.astype(np.int64)
            sums = {name: value + result.counters[name] for name, value in sums.items()}
        assert np.array_equal(planned_result.y, x)
        for name, value in sums.items():
            assert np.array_equal(planned_result.counters[name], value), name


@settings(max_examples=40)
@given(plan_cases(), st.sampled_from([None, 0.0, 0.3, 0.6, 0.9]))
def test_exits_agree_with_the_untiled_reference(case: PlanCase, threshold: float | None) -> None:
    """On chips of all sizes: what golden and the fast engine answer is what the layers by themselves do."""
    case = with_exits(case)
    plan = planned(case)
    if plan is None:
        return
    program = plan_program(plan, threshold=threshold)
    fast = [FastPlan(plan, program).run(x) for x in case.inputs]
    assert_equal(run_program(program, case.inputs), fast)
    for x, found in zip(case.inputs, fast, strict=True):
        assert found.y.tolist() == _layer_by_layer(case, x, threshold).tolist()


def _layer_by_layer(case: PlanCase, x: np.ndarray, threshold: float | None) -> np.ndarray:
    for layer in case.layers:
        y = run_reference(Job.create(layer, x, sized_for(case.cfg, layer))).y.astype(np.int64)
        if not layer.exit:
            x = y
        elif (
            threshold is not None and certainty(np.ldexp(y[None].astype(float), -layer.y_frac))[0] > threshold
        ):
            break
    return y


@settings(max_examples=40)
@given(plan_cases())
def test_golden_and_fast_agree(case: PlanCase) -> None:
    plan = planned(case)
    if plan is not None:
        assert_equal(run_plan(plan, case.inputs, "golden"), run_plan(plan, case.inputs, "fast"))


def test_through_the_port_takes_the_cycles_that_the_phases_say() -> None:
    passed = 0
    for case, plan in plans(12):
        program, cycles = plan_program(plan), 0

        def count(_: Array) -> None:
            nonlocal cycles
            cycles += 1

        fast = run_plan(plan, case.inputs, "fast")
        assert_equal(run_program(program, case.inputs, port=True, observe=count), fast)
        loaded = sum(words_of(program.setup).values())
        assert cycles == loaded + sum(Phases.of(result).total for result in fast)
        passed += cycles
    assert passed > 1000


def test_a_layer_that_fits_is_one_run_with_its_cycles_of_compute() -> None:
    layer, x = random_layer(40, 30, 0.3, seed=1), random_input(30, 0.6, seed=1)
    cfg = ArchConfig(n_pe=4)
    plan = make_plan([layer], cfg)
    (result,) = run_plan(plan, [x], "fast")
    alone = simulate(layer, x, cfg, "fast")
    assert len(plan.steps) == 1
    assert plan.resident
    assert plan.keeps_table
    assert result.cycles == alone.cycles
    for name, value in alone.counters.items():
        assert np.array_equal(result.counters[name], value), name


# ---- bad input ---------------------------------------------------------------------------------------------


def test_columns_that_exceed_the_matrix_sram_have_no_plan() -> None:
    layer = random_layer(64, 8, 1.0, seed=1, name="wide")
    cfg = ArchConfig(n_pe=2, entries=16, acc_depth=32, word_bits=64)
    with pytest.raises(CapacityError) as error:
        make_plan([layer], cfg)
    assert str(error.value) == (
        "layer 'wide' has no plan for 2 PEs: its columns 0 to 1 in rows 0 to 63 need 64 entries per PE, 16 available "
        "(matrix SRAM); use more PEs, fewer accumulators (smaller row tiles) or a larger matrix SRAM"
    )


def test_fewer_pointers_than_pes_have_no_plan() -> None:
    with pytest.raises(
        CapacityError, match=r"columns 0 to 3 .* need 5 pointers per PE, 4 available \(pointers\)"
    ):
        make_plan([random_layer(8, 8, 0.5, seed=1)], ArchConfig(n_pe=4, pointers=4))


def test_narrow_pointers_have_no_plan() -> None:
    layer = random_layer(64, 8, 1.0, seed=1)
    with pytest.raises(CapacityError, match=r"need 64 entries per PE, 15 available \(pointer width\)"):
        make_plan([layer], ArchConfig(n_pe=1, pointer_bits=4))


def test_layers_that_are_no_chain() -> None:
    layers = [random_layer(8, 6, 0.5, seed=1, name="a"), random_layer(4, 9, 0.5, seed=2, name="b")]
    with pytest.raises(LayerError, match=r"layer 'b' takes 9 activations, but 'a' gives 8"):
        make_plan(layers, ArchConfig(n_pe=2))
    with pytest.raises(LayerError, match="a plan needs at least one layer"):
        make_plan([], ArchConfig(n_pe=2))


def test_inputs_that_do_not_fit() -> None:
    plan = make_plan([random_layer(8, 6, 0.5, seed=1)], ArchConfig(n_pe=2))
    with pytest.raises(LayerError, match=r"a matrix \[batch, 6\]"):
        run_plan(plan, np.zeros(6, np.int64))
    with pytest.raises(LayerError, match="a vector of 6 activations"):
        run_plan(plan, np.zeros((2, 5), np.int64))
    with pytest.raises(LayerError, match="does not fit 16 bits"):
        run_plan(plan, np.full((1, 6), 40000))
