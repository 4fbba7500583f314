"""Programs of many passes: golden against hand-worked figures and single layers; then the RTL against golden."""

import re
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from eie.capacity import sized_for
from eie.compress.format.file import load
from eie.config import ArchConfig
from eie.errors import CapacityError, ConfigError, LayerError, MismatchError
from eie.golden.array import Array
from eie.golden.run import run_program as run_golden
from eie.layer import CompressedLayer
from eie.memory import Block, PassEntry, vector_block
from eie.plan import make_plan
from eie.plan_program import plan_program
from eie.program import Program, Run, Transfer
from eie.result import Count
from eie.schema import ConfigReg, IoSpace, Mode
from eie.sim.cosim.launch import run_program as run_on_rtl
from eie.sim.cosim.lockstep import lockstep_program
from eie.sim.plans import run_program
from eie.sim.simulate import simulate
from eie.sim.workloads.example import EXAMPLE, read_digits
from eie.sim.workloads.inputs import in_fixed_point
from eie.timing import busy_cycles, refill_cycles
from tests.support import ROOT
from tests.support.chip_programs import CHIPS, chip_program, random_inputs, random_layers
from tests.support.simulators import on_verilator

SCALARS = ("cycles", "broadcast_stalls", "refill_cycles", "writeback_cycles")


def same(found: Count, expected: Count) -> None:
    for name in (*SCALARS, "busy_cycles"):
        assert getattr(found, name) == getattr(expected, name), name
    np.testing.assert_array_equal(found.per_pe, expected.per_pe)


# ---- worked by hand ----------------------------------------------------------------------------------------


def two_layers() -> list[CompressedLayer]:
    """(2 0, 0 3) + (1, -10) with ReLU, then (1 4, -1 5) + (0, 100)."""
    codebook = [0, 1, 2, 3, 4, 5, -1, 7]
    return [
        CompressedLayer.from_codes([[2, 0], [0, 3]], codebook, bias=[1, -10], name="one"),
        CompressedLayer.from_codes([[1, 4], [6, 5]], codebook, bias=[0, 100], relu=False, name="two"),
    ]


SMALL = ArchConfig(n_pe=2, act_words=4, passes=2, entries=16, pointers=8, src_depth=1, acc_depth=1)


def test_two_layers_by_hand() -> None:
    """x = (5, 2): 11 and ReLU(-4) = 0 stay on the chip; the second layer sees one active column.

    T0 = 1, A = 2, C = 4. Layer one: column 0 starts in cycle 3, column 1 in cycle 4: 4 + 1 + 4 = 9 cycles. Layer two:
    3 + 1 + 4 = 8. Each refills one accumulator: 1 + 0 + 2 cycles, and writes one row back: 1 + 1.
    """
    program = plan_program(make_plan(two_layers(), SMALL))
    first, second = run_golden(program, [[5, 2], [0, 0]])
    assert first.y.tolist() == [11, 89]
    (count,) = first.runs
    assert (count.cycles, count.refill_cycles, count.writeback_cycles) == (9 + 8, 3 + 3, 2 + 2)
    assert count.busy_cycles == 3 + (9 + 1) + 2 + 3 + (8 + 1) + 2
    named = count.counters
    assert named["entries"].tolist() == [2, 2]
    assert named["empty_columns"].tolist() == [1, 1]
    assert named["ptr_reads"].tolist() == [3, 3]
    # Layer one reads a word for its one entry in each PE, layer two another one for its first entry.
    assert named["spmat_reads"].tolist() == [2, 2]
    assert named["macs"].tolist() == [2, 2]
    # Nothing in: (ReLU(1), ReLU(-10)) = (1, 0), so that layer one takes no cycle (T0 + 1 in compute mode), two 8.
    assert second.y.tolist() == [1, 99]
    assert second.runs[0].cycles == 8
    assert second.runs[0].busy_cycles == 3 + (1 + 1) + 2 + 3 + (8 + 1) + 2
    assert (first.load_cycles, first.store_cycles) == (2, 4)


def test_modes_of_a_run_by_hand() -> None:
    """What the CCU does, cycle after cycle."""
    seen: list[tuple[int, int]] = []

    def record(array: Array) -> None:
        if array.ccu.busy.value:
            seen.append((array.ccu.current_pass.value, array.ccu.mode.value))

    run_golden(plan_program(make_plan(two_layers(), SMALL)), [[5, 2]], observe=record)
    one = [Mode.REFILL] * 3 + [Mode.COMPUTE] * 10 + [Mode.WRITEBACK] * 2
    two = [Mode.REFILL] * 3 + [Mode.COMPUTE] * 9 + [Mode.WRITEBACK] * 2
    assert seen == [*((0, mode) for mode in one), *((1, mode) for mode in two)]


def column_batches(target: int) -> Program:
    """(1 2 3 4) x = y with one source activation on each of two PEs: two passes into the same accumulator."""
    layer = CompressedLayer.from_codes([[1, 2, 3, 4]], range(16), bias=[7])
    cfg = SMALL.replace(act_words=6)
    program = plan_program(make_plan([layer], cfg))
    assert [each.entry.wb_rows for each in program.runs[0].passes] == [0, 1]
    assert [each.entry.src_rows for each in program.runs[0].passes] == [1, 1]
    assert target == program.runs[0].passes[1].entry.wb_target
    return program


def test_partial_sums_stay_in_the_accumulators_by_hand() -> None:
    """7 + 1 * 1 + 2 * 10 + 3 * 100 + 4 * 1000 = 4328; the second pass refills only its activations."""
    (result,) = run_golden(column_batches(target=0), [[1, 10, 100, 1000]])
    assert result.y.tolist() == [4328]
    (count,) = result.runs
    assert count.refill_cycles == (1 + 1 + 2) + (0 + 1 + 2)
    assert count.writeback_cycles == 1 + 2


# ---- golden against single layers ----------------------------------------------------------------------------

# Passes of each run.
PASSES = {
    "on the chip": [3],
    "one codebook": [1, 1, 1],
    "row tiles and column batches": [31],
    "weights loaded again": [1] * 5,
    "one PE": [3],
}


@pytest.mark.parametrize("name", CHIPS)
def test_golden_runs_of_programs(name: str) -> None:
    """Values are the layers' one after the other; loading at once is the port; the phases add up to busy cycles."""
    program = chip_program(name)
    assert [len(run.passes) for run in program.runs] == PASSES[name]
    layers = random_layers(7, (30, 20, 17, 10))
    inputs = random_inputs(3, 30, 3)
    results = run_golden(program, inputs)
    through_port = run_golden(program, inputs, port=True)
    for x, result, again in zip(inputs, results, through_port, strict=True):
        for layer in layers:
            x = simulate(layer, x, sized_for(program.cfg, layer), "reference").y
        np.testing.assert_array_equal(result.y, x)
        np.testing.assert_array_equal(result.y, again.y)
        assert (result.load_cycles, result.store_cycles) == (again.load_cycles, again.store_cycles)
        for run, count, by_port in zip(program.runs, result.runs, again.runs, strict=True):
            same(count, by_port)
            assert count.refill_cycles == run.refill_cycles
            assert count.writeback_cycles == run.writeback_cycles
            assert count.busy_cycles <= run.deadline(program.cfg)


def test_a_waveform_changes_nothing(tmp_path: Path) -> None:
    program, inputs = plan_program(make_plan(two_layers(), SMALL)), [[5, 2]]
    (result,) = run_program(program, inputs, "golden", waveform=tmp_path / "passes.vcd")
    (expected,) = run_golden(program, inputs)
    np.testing.assert_array_equal(result.y, expected.y)
    same(result.runs[0], expected.runs[0])
    text = (tmp_path / "passes.vcd").read_text()
    assert all(f" {name} " in text for name in ("current_pass", "rf_valid", "act_addr"))


def test_counters_of_a_network_are_the_sums_of_its_layers() -> None:
    program = chip_program("on the chip")
    layers = random_layers(7, (30, 20, 17, 10))
    for x, result in zip(inputs := random_inputs(5, 30, 4), run_golden(program, inputs), strict=True):
        alone = []
        for layer in layers:
            alone.append(simulate(layer, x, program.cfg, "golden"))
            x = alone[-1].y
        (count,) = result.runs
        assert count.cycles == sum(one.cycles for one in alone)
        assert count.busy_cycles == busy_cycles(
            [one.cycles for one in alone], count.refill_cycles, count.writeback_cycles, program.cfg
        )
        for counter, value in count.counters.items():
            np.testing.assert_array_equal(value, sum(one.counters[counter] for one in alone), err_msg=counter)


def test_refill_cycles() -> None:
    assert refill_cycles(0, 0, first=True) == 0
    assert refill_cycles(0, 0, first=False) == 2
    assert refill_cycles(5, 0, first=True) == refill_cycles(0, 5, first=False) == 7


# ---- what does not fit ---------------------------------------------------------------------------------------


def test_pass_entry_has_the_registers_of_the_table() -> None:
    assert [field.name for field in fields(PassEntry)] == [register.name.lower() for register in ConfigReg]


def test_blocks() -> None:
    cfg = ArchConfig(n_pe=4)
    writes = [
        tuple(write) for write in vector_block(IoSpace.ACT, 3, np.array([1, -2, 3, 4, 5]), cfg).writes(cfg)
    ]
    assert writes == [
        *((5, k, 3, word) for k, word in enumerate([1, 0xFFFE, 3, 4])),
        *((5, k, 4, word) for k, word in enumerate([5, 0, 0, 0])),
    ]
    assert [tuple(w) for w in Block(IoSpace.SPMAT, 2, 7, [8, 9]).writes(cfg)] == [(1, 2, 7, 8), (1, 2, 8, 9)]


def test_what_does_not_fit() -> None:
    cfg = ArchConfig(n_pe=2, passes=2)
    entry = PassEntry(wb_rows=128)
    with pytest.raises(CapacityError, match=r"^net, pass 1: wb_rows must be from 0 to 127, not 128$"):
        entry.check(cfg, "net, pass 1")
    program = chip_program("on the chip")
    with pytest.raises(CapacityError, match=r"^net needs 5 entries of the pass table, 4 available$"):
        Program(program.cfg, (), (Run(2, program.runs[0].passes),), (30, 10), "net")
    with pytest.raises(LayerError, match=r"takes a vector of 30 integers, not int64 of shape \(29,\)$"):
        run_program(program, [np.zeros(29, np.int64)], "golden")
    with pytest.raises(LayerError, match=r"activations must be from -32768 to 32767$"):
        run_program(program, [np.full(30, 40_000)], "golden")
    with pytest.raises(ConfigError, match=r"^no engine named 'fast': use one of golden, icarus, verilator"):
        run_program(program, [], "fast")


def test_only_the_low_bits_of_a_word_are_an_activation() -> None:
    cfg = ArchConfig(n_pe=2, act_bits=8)
    vector = np.zeros(3, np.int64)
    Transfer(1, 0, 3, IoSpace.ACC).store(vector, [-1, 0xFFFF_FF80, 0x7F], cfg)
    assert vector.tolist() == [-1, -128, 127]


# ---- the RTL -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "simulator"),
    [("on the chip", "icarus"), ("on the chip", "verilator"), ("weights loaded again", "icarus")],
)
def test_rtl_alone_and_in_lockstep(name: str, simulator: str) -> None:
    program, inputs = chip_program(name), random_inputs(11, 30, 3)
    golden = run_golden(program, inputs)
    found = run_program(program, inputs, simulator)
    report = lockstep_program(program, inputs, simulator, port=True)
    report.require_agreement()
    for expected, alone, beside in zip(golden, found, report.results, strict=True):
        assert alone.engine == beside.engine == simulator
        for result in (alone, beside):
            np.testing.assert_array_equal(result.y, expected.y)
            assert (result.load_cycles, result.store_cycles) == (expected.load_cycles, expected.store_cycles)
            for count, wanted in zip(result.runs, expected.runs, strict=True):
                same(count, wanted)


@on_verilator
def test_lenet_300_100_on_the_chip(simulator: str) -> None:
    """The trained network on real digits, loaded once; `make regress` has more of them, and 64 PEs."""
    layers = load(ROOT / "examples" / "trained" / "lenet-300-100.eie")
    cfg = ArchConfig(n_pe=4, src_depth=196, acc_depth=75, codebooks=3, pointers=1200, entries=8192)
    plan = make_plan(layers, cfg)
    digits = read_digits(EXAMPLE)
    x, _ = in_fixed_point(digits.pixels[:3], layers[0], cfg.act_bits)
    results = run_program(plan_program(plan), x, simulator)
    for vector, label, result in zip(x, digits.labels, results, strict=False):
        cycles = []
        for layer in layers:
            one = simulate(layer, vector, cfg, "fast")
            cycles.append(one.cycles)
            vector = one.y
        (count,) = result.runs
        np.testing.assert_array_equal(result.y, vector)
        assert result.y.argmax() == label
        assert count.cycles == sum(cycles)
        assert count.busy_cycles == busy_cycles(cycles, count.refill_cycles, count.writeback_cycles, cfg)


def _edit(file: str, pattern: str, replacement: str):
    def transform(sources):
        text, count = re.subn(pattern, replacement, sources[file])
        assert count, f"{pattern} does not occur in {file}"
        return {**sources, file: text}

    return transform


def test_faults_of_the_rtl_are_found(tmp_path: Path) -> None:
    """A base that is not added, and a run that never ends."""
    program, inputs = chip_program("on the chip"), random_inputs(11, 30, 2)
    fault = _edit("eie_pe.v", r"\.spmat_base\(\w+\)", f".spmat_base({program.cfg.word_addr_bits}'d0)")
    wave, cycles = tmp_path / "divergence.vcd", []
    report = lockstep_program(
        program,
        inputs,
        "icarus",
        transform=fault,
        replay="pytest",
        divergence_wave=wave,
        progress=cycles.append,
    )
    assert report.divergence is not None
    assert "spmat_addr" in wave.read_text()
    assert all(0 < number <= report.divergence.cycle + 1 for number in cycles)
    assert report.divergence.signal == "spmat_read.spmat_addr"
    assert "replay: pytest" in report.describe()
    fault = _edit("eie_ccu.v", r"done <= 1'h1", "done <= 1'h0")
    with pytest.raises(
        MismatchError, match=r"^icarus: input 0: the RTL was not done \d+ cycles after start$"
    ):
        run_on_rtl(program, inputs, "icarus", transform=fault)


def test_hardware_without_counters() -> None:
    """Values and busy cycles are the same; counters are not there, and a single layer's cycles follow from busy."""
    program, inputs = chip_program("on the chip"), random_inputs(11, 30, 2)
    without = plan_program(
        make_plan(random_layers(7, (30, 20, 17, 10)), program.cfg.replace(counters=0)), "without"
    )
    lockstep_program(without, inputs, "icarus").require_agreement()
    for golden, found in zip(
        run_golden(program, inputs), run_program(without, inputs, "icarus"), strict=True
    ):
        np.testing.assert_array_equal(found.y, golden.y)
        assert found.runs[0].busy_cycles == golden.runs[0].busy_cycles
        assert found.runs[0].per_pe is None
        assert found.runs[0].counters == {}
    (layer, *_) = random_layers(7, (30, 20))
    for x in inputs:
        golden = simulate(layer, x, program.cfg, "golden")
        found = simulate(layer, x, without.cfg, "icarus")
        assert (found.cycles, found.writeback_cycles) == (golden.cycles, golden.writeback_cycles)
        assert set(found.counters.values()) == {None}
