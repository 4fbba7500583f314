"""Networks with early exits that stay on the chip: a run for each stage, and nothing carried between them."""

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import eie
from eie.capacity import sized_for
from eie.compress.float_layers import Conv
from eie.errors import CapacityError, ConfigError, LayerError, MismatchError
from eie.golden.run import run_program
from eie.host import Feed
from eie.layer import CompressedLayer
from eie.plan_program import words_of
from eie.result import Result
from eie.schema import IoSpace
from eie.sim.cosim.free.run import run_feeds
from eie.sim.engines.fast_plan import FastPlan
from eie.sim.exits import (
    ExitRun,
    Resident,
    leave,
    logits_at_exits,
    run_with_exits,
    sized_for_exits,
    stages,
)
from eie.sim.plan_report import Phases
from eie.timing import busy_cycles, refill_cycles, schedule
from tests.support.exit_networks import (
    exit_network,
    heads_write_over_their_inputs,
    second_stage_begins_late,
    some_leave,
)
from tests.support.learn_frame import run_page
from tests.support.results import assert_equal

PRESETS = ("paper", "eie2")


def machine_of(layers, preset="paper", n_pe=4, **changes) -> eie.ArchConfig:
    return sized_for_exits(eie.ArchConfig.preset(preset, n_pe=n_pe, **changes), layers)


def require_same(found: ExitRun, right: ExitRun) -> None:
    assert np.array_equal(found.answers, right.answers)
    assert np.array_equal(found.left, right.left)


@pytest.mark.parametrize("preset", PRESETS)
@settings(max_examples=12)
@given(seed=st.integers(0, 2**32 - 1), n_pe=st.sampled_from([2, 4]))
def test_golden_and_the_fast_engine_answer_as_the_layers_do(preset: str, seed: int, n_pe: int) -> None:
    layers = exit_network(seed)
    x, threshold = some_leave(layers)
    logits, _ = logits_at_exits(layers, x)
    network = Resident.of(layers, machine_of(layers, preset, n_pe))
    golden, fast = (network.run(x, threshold, engine) for engine in ("golden", "fast"))
    assert_equal(golden, fast)
    right = leave(logits, threshold)
    for number, result in enumerate(golden):
        stage = int(right.left[number])
        assert len(result.runs) == stage + 1
        assert np.ldexp(result.y.astype(float), -result.y_frac).tolist() == logits[stage][number].tolist()


def test_the_timing_law_says_how_long_each_stage_takes() -> None:
    layers = exit_network(3)
    x, _ = some_leave(layers)
    network = Resident.of(layers, machine_of(layers))
    plan, cfg = network.plan, network.plan.cfg
    vectors = FastPlan(plan).follow(x[0])[0]
    (result,) = run_program(network.program(1.0), x[:1])
    assert len(result.runs) == 3
    for run, count in zip(plan.runs, result.runs, strict=True):
        cycles, refill, write_back = [], 0, 0
        for number, step in enumerate(run.steps):
            layer = plan.layers[step.cut.layer]
            rows, cols = (-(-size // cfg.n_pe) for size in layer.shape)
            active = np.flatnonzero(vectors[plan.takes[step.cut.layer]])
            cycles.append(schedule(step.cut.interleaved.lengths[active], cfg).cycles)
            # From the SRAM: what an exit takes, and what begins a stage; not the input, nor what passes hand on.
            refilled = layer.exit or (number == 0 and run is not plan.runs[0])
            refill += refill_cycles(rows, cols if refilled else 0, first=number == 0)
            write_back += rows + 1
        assert (count.cycles, count.refill_cycles, count.writeback_cycles) == (
            sum(cycles),
            refill,
            write_back,
        )
        assert count.busy_cycles == busy_cycles(cycles, refill, write_back, cfg)


def test_through_the_port_an_input_takes_the_cycles_that_its_phases_say() -> None:
    layers = exit_network(2)
    x, threshold = some_leave(layers)
    network = Resident.of(layers, machine_of(layers))
    program, fast = network.program(threshold), network.run(x, threshold, "fast")
    cycles = itertools.count()
    assert_equal(run_program(program, x, port=True, observe=lambda _: next(cycles)), fast)
    once = sum(words_of(program.setup).values())
    assert next(cycles) == once + sum(Phases.of(result).total for result in fast)


def test_the_host_carries_nothing_between_the_stages() -> None:
    layers = exit_network(4)
    x, threshold = some_leave(layers)
    machine = machine_of(layers)
    first, *others = Resident.of(layers, machine).program(threshold).runs
    assert [block.space for block in first.loads] == [IoSpace.CONTROL]
    assert [source.vector for source in first.sources] == [0]
    for run in others:
        assert [(block.space, len(block)) for block in run.loads] == [(IoSpace.CONTROL, 2)]
        assert not run.sources
        assert [result.count for result in run.results] == [3]
    chip = run_with_exits(layers, x, machine, threshold)
    by_layer = run_with_exits(layers, x, machine, threshold, resident=False)
    assert (chip.resident, by_layer.resident) == (True, False)
    require_same(chip, by_layer)
    assert chip.cycles == by_layer.cycles
    assert chip.energy_uj == pytest.approx(by_layer.energy_uj)
    starts = chip.left.size + chip.left.sum()
    # A row of the input in each PE; FIRST_PASS and LAST_PASS, and an answer of three words, of each start.
    assert chip.load_cycles == 12 * len(x) + 2 * starts
    assert chip.store_cycles == 2 * 3 * starts
    assert by_layer.load_cycles > 5 * chip.load_cycles
    assert by_layer.store_cycles > 5 * chip.store_cycles


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("threshold", [0.0, 1.0])
def test_all_leave_first_or_none_does(preset: str, threshold: float) -> None:
    layers = exit_network(5)
    x, _ = some_leave(layers)
    run = run_with_exits(layers, x, machine_of(layers, preset), threshold)
    assert run.resident
    require_same(run, leave(logits_at_exits(layers, x)[0], threshold))
    assert set(run.left) == {2 if threshold else 0}


# ---- where it runs -----------------------------------------------------------------------------------------


def test_it_is_what_runs_where_the_machine_holds_the_network() -> None:
    layers = exit_network(6)
    x, threshold = some_leave(layers)
    held = machine_of(layers)
    small = sized_for(held, *layers)
    assert run_with_exits(layers, x, held, threshold).resident
    assert run_with_exits(layers, x, held, threshold, "golden").resident
    assert not run_with_exits(layers, x, held, threshold, resident=False).resident
    assert not run_with_exits(layers, x, held, threshold, "reference").resident
    for machine in (small, held.replace(passes=4), held.replace(codebooks=4), held.replace(act_words=4)):
        run = run_with_exits(layers, x, machine, threshold)
        assert not run.resident
        require_same(run, leave(logits_at_exits(layers, x)[0], threshold))


@pytest.mark.parametrize(
    "memory",
    ["entries", "pointers", "act_words", "passes", "codebooks"],
)
def test_a_network_that_does_not_stay_is_refused_with_figures(memory: str) -> None:
    layers = exit_network(7)
    machine = machine_of(layers)
    word = machine.entries_per_word
    less = {"entries": word, "pointers": 2, "act_words": 1, "passes": 3, "codebooks": 3}[memory]
    needed = len(layers) if memory in ("passes", "codebooks") else getattr(machine, memory)
    less = machine.replace(**{memory: getattr(machine, memory) - less})
    name = "words of the activation SRAM" if memory == "act_words" else memory
    with pytest.raises(CapacityError) as caught:
        run_with_exits(layers, np.zeros((1, 9), np.int64), less, 0.5, resident=True)
    assert str(caught.value) == (
        f"the network with its exits does not stay on 4 PEs; per PE: {needed} {name} needed, "
        f"{getattr(less, memory)} available "
        "(eie.sim.exits.sized_for_exits makes a machine, resident=False runs a layer at a time)"
    )


def test_what_never_stays() -> None:
    layers = exit_network(8)
    x, machine = np.zeros((1, 9), np.int64), machine_of(layers)
    with pytest.raises(ConfigError, match="engine reference gives values alone, and has no chip to stay on"):
        run_with_exits(layers, x, machine, 0.5, "reference", resident=True)
    pixels = CompressedLayer.from_codes(np.ones((1, 9), int), [0, 1, 2, 3], name="pixels", x_frac=4)
    windows = [dataclasses.replace(pixels, conv=Conv((3, 3), size=(5, 5))), *layers]
    with pytest.raises(LayerError, match="layer 'pixels' is a convolution, whose windows the host cuts"):
        run_with_exits(windows, x, machine, 0.5, resident=True)
    assert not run_with_exits(windows, np.ones((1, 25), np.int64), machine, 0.5).resident
    with pytest.raises(LayerError, match="the network has no early exit"):
        sized_for_exits(machine, [layers[0]])


def test_no_script_is_written_beforehand() -> None:
    layers = exit_network(9)
    x, threshold = some_leave(layers)
    program = Resident.of(layers, machine_of(layers)).program(threshold)
    assert not program.known_beforehand
    with pytest.raises(ConfigError, match="which runs of a program with early exits start depends on"):
        run_feeds([Feed(program, list(x))], "icarus")


def test_balanced_rows_follow_across_stages() -> None:
    layers = exit_network(10)
    machine = machine_of(layers, "eie2")
    placed = Resident.of(layers, machine).placed
    assert any(not np.array_equal(one.rows, np.arange(len(one.rows))) for one in placed)
    before = None
    for one in placed:
        assert (one.cols is None) == (before is None)
        assert before is None or np.array_equal(one.cols, before)
        before = before if one.layer.exit else one.rows


# ---- planted faults ----------------------------------------------------------------------------------------


def test_heads_that_write_over_their_inputs_are_found() -> None:
    found = 0
    for seed in range(4):
        layers = exit_network(seed)
        x, threshold = some_leave(layers)
        network = Resident.of(layers, machine_of(layers))
        wrong = dataclasses.replace(network, plan=heads_write_over_their_inputs(network.plan))
        for right, result in zip(
            network.run(x, threshold, "golden"), wrong.run(x, threshold, "golden"), strict=True
        ):
            stays = len(right.runs) > 1
            assert stays or _same(right, result)  # who leaves at once is not hit
            found += stays and not _same(right, result)
    assert found >= 4


def _same(one: Result, other: Result) -> bool:
    return len(one.runs) == len(other.runs) and np.array_equal(one.y, other.y)


def test_a_stage_that_begins_late_is_found() -> None:
    layers = exit_network(1)
    x, threshold = some_leave(layers)
    program = second_stage_begins_late(Resident.of(layers, machine_of(layers)).program(threshold))
    with pytest.raises(MismatchError, match="refill_cycles are"):
        run_program(program, x)


def test_the_page_runs_as_it_is_written() -> None:
    layers = exit_network(11)
    x, threshold = some_leave(layers)
    names = {"run_with_exits": run_with_exits, "sized_for_exits": sized_for_exits, "eie": eie}
    found = run_page("sized_for_exits", {}, layers=layers, x=x, threshold=threshold, **names)
    assert found["early"].resident
    assert len(stages(layers)) == 3
