"""Early exits on the RTL: the same answers, exits and cycles as golden."""

import dataclasses

import numpy as np
import pytest

import eie
from eie.errors import MismatchError
from eie.host import Feed, converse, drive
from eie.layer import CompressedLayer
from eie.program import Transfer
from eie.result import Result
from eie.sim.cosim.chip.script import Pauses, run_script
from eie.sim.cosim.lockstep import lockstep_program
from eie.sim.exits import Resident, certainty, leave, logits_at_exits, run_with_exits, sized_for_exits
from eie.sim.plans import run_program
from tests.support.chip_conversations import program_script
from tests.support.exit_networks import (
    exit_network,
    heads_write_over_their_inputs,
    second_stage_begins_late,
    some_leave,
)
from tests.support.results import assert_equal
from tests.support.simulators import on_both, on_icarus


def layer(rng: np.random.Generator, rows: int, cols: int, relu: bool, name: str) -> CompressedLayer:
    codes = rng.integers(0, 4, (rows, cols))
    return CompressedLayer.from_codes(
        codes, [0, 3, -2, 5], relu=relu, product_shift=2, name=name, x_frac=4, w_frac=2
    )


@on_icarus
def test_the_rtl_runs_what_does_not_leave(simulator):
    rng = np.random.default_rng(3)
    head = dataclasses.replace(layer(rng, 3, 8, False, "exit"), exit=True)
    layers = [layer(rng, 8, 6, True, "one"), head, layer(rng, 3, 8, False, "two")]
    x = rng.integers(-40, 40, (6, 6))
    machine = eie.sized_for(eie.ArchConfig(n_pe=2), *layers)
    threshold = float(np.median(certainty(logits_at_exits(layers, x)[0][0])))
    golden = run_with_exits(layers, x, machine, threshold, "golden")
    assert np.count_nonzero(golden.left) == 3
    rtl = run_with_exits(layers, x, machine, threshold, simulator)
    assert np.array_equal(rtl.answers, golden.answers)
    assert np.array_equal(rtl.left, golden.left)
    assert rtl.cycles == golden.cycles


# ---- a network that stays on the chip ----------------------------------------------------------------------

SMALL = ((7, False), (3, True), (3, False))


def resident(seed: int, shape: tuple[tuple[int, bool], ...] = SMALL, preset: str = "paper") -> Resident:
    layers = exit_network(seed, shape)
    return Resident.of(layers, sized_for_exits(eie.ArchConfig.preset(preset, n_pe=2), layers))


def inputs_of(network: Resident, count: int = 4) -> tuple[np.ndarray, float]:
    return some_leave([placed.layer for placed in network.placed], count)


@on_both
def test_stages_in_lockstep(simulator):
    network = resident(1)
    x, threshold = inputs_of(network)
    report = lockstep_program(network.program(threshold), list(x), simulator)
    report.require_agreement()
    fast = network.run(x, threshold, "fast")
    assert_equal(report.results, fast)
    assert sorted(len(result.runs) for result in fast) == [1, 1, 2, 2]


@on_icarus
def test_stages_of_the_better_machine_in_lockstep(simulator):
    layers = exit_network(2, SMALL)
    x, threshold = some_leave(layers, 4)
    network = Resident.of(layers, sized_for_exits(eie.ArchConfig.preset("eie2", n_pe=2), layers))
    given = list(network.placed[0].inputs(x))
    # Everything through the port, also what images could hold.
    report = lockstep_program(network.program(threshold), given, simulator, port=True)
    report.require_agreement()
    assert [len(result.runs) for result in report.results] == [
        1 + left for left in leave(logits_at_exits(layers, x)[0], threshold).left
    ]
    assert_equal([network.restored(result) for result in report.results], network.run(x, threshold, "fast"))


@on_icarus
def test_the_rtl_alone_decides_run_by_run(simulator):
    layers = exit_network(3)
    x, threshold = some_leave(layers)
    machine = sized_for_exits(eie.ArchConfig(n_pe=2), layers)
    rtl, golden = (run_with_exits(layers, x, machine, threshold, engine) for engine in (simulator, "golden"))
    assert rtl.resident
    for name in ("answers", "left"):
        assert np.array_equal(getattr(rtl, name), getattr(golden, name))
    for name in ("cycles", "energy_uj", "load_cycles", "store_cycles"):
        assert getattr(rtl, name) == getattr(golden, name)
    assert len(set(golden.left)) > 1


@on_icarus
def test_stages_over_the_buses_of_the_chip(simulator):
    network = resident(4)
    x, threshold = inputs_of(network)
    program = network.program(threshold)
    report = run_script(program.cfg, program_script(program, list(x)), simulator, pauses=Pauses(4, 0.1, 0.2))
    report.require_agreement()
    packets, found = iter(report.replies[-1][0]), list[Result]()
    drive(
        converse([Feed(program, list(x))], found, engine="chip"),
        lambda command: next(packets) if isinstance(command, Transfer) else None,
    )
    assert next(packets, None) is None
    assert [one.y.tolist() for one in found] == [one.y.tolist() for one in network.run(x, threshold, "fast")]


@on_icarus
def test_a_head_that_writes_over_its_inputs_is_found(simulator):
    network = resident(1)
    x, threshold = inputs_of(network)
    wrong = dataclasses.replace(network, plan=heads_write_over_their_inputs(network.plan))
    found = run_program(wrong.program(threshold), list(x), simulator)
    right = network.run(x, threshold, "fast")
    hit = [a.y.tolist() != b.y.tolist() for a, b in zip(found, right, strict=True)]
    assert hit == [len(one.runs) > 1 for one in right]


@on_icarus
def test_a_stage_that_begins_late_is_found(simulator):
    network = resident(5, ((7, False), (3, True), (5, False), (3, False)))
    x, threshold = inputs_of(network)
    with pytest.raises(MismatchError, match=f"{simulator}: input [0-3]: current_pass is 3"):
        run_program(second_stage_begins_late(network.program(threshold)), list(x), simulator)
