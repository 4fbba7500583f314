"""The index-free machine's RTL in lockstep with golden; values of the reference, cycles and counters of the law."""

import re
from collections.abc import Mapping

import numpy as np
import pytest

from eie.blocks import BlockStructure
from eie.config import ArchConfig
from eie.plan import make_plan
from eie.plan_program import plan_program
from eie.program import Job
from eie.sim.cosim.free.compare import compare_jobs
from eie.sim.cosim.lockstep import lockstep, lockstep_program
from eie.sim.engines.reference import run as run_reference
from tests.support.block_cases import random_block_case, random_blocks
from tests.support.cases import Case
from tests.support.slow_law import law

ONE = ArchConfig(
    n_pe=4, blocks=7, filter_empty=1, queue_depth=4, src_depth=12, acc_depth=16, entries=700, act_words=9
)
# Two entries a cycle, words of 12 entries, a register on the bus.
TWO = ONE.replace(issue=2, window=2, weight_bits=5, bus_registers=1, acc_bits=24, n_pe=8)


# A broadcast in segments: of one PE each, of two, and of eight with two levels of the tree.
APART = ONE.replace(n_pe=2, segments=2, queue_depth=1)
TALL = TWO.replace(n_pe=16, segments=2, blocks=4)


@pytest.mark.parametrize(
    ("cfg", "simulator"),
    [
        *((ONE, "icarus"), (TWO, "icarus"), (TWO, "verilator")),
        *((APART, "icarus"), (ONE.replace(segments=2), "icarus"), (TALL, "verilator")),
    ],
)
def test_lockstep(cfg: ArchConfig, simulator: str) -> None:
    """Every register and hand-shake in every cycle; block table and weights through the I/O port, and read back."""
    cases = [random_block_case(np.random.default_rng([seed, 51]), cfg, seed) for seed in range(4)]
    report = lockstep([case.job for case in cases], simulator, read_back=cfg.n_pe < 16)
    report.require_agreement()
    for case, result in zip(cases, report.results, strict=True):
        np.testing.assert_array_equal(result.y, run_reference(case.job).y, err_msg=str(case))
        expected = law(case)
        assert result.cycles == expected.cycles, case
        for name, values in expected.counters.items():
            np.testing.assert_array_equal(result.counters[name], values, err_msg=f"{name}, {case}")


def test_images_and_free_running() -> None:
    """Weights from images, the block table through the port, no Python in between: the same results."""
    for cfg in (ONE, ONE.replace(segments=2)):
        case = random_block_case(np.random.default_rng([9, 51]), cfg)
        compare_jobs([case.job], "icarus")


def test_passes_of_a_network() -> None:
    """Three layers whose blocks stand one behind the other in the table, in one run."""
    rng = np.random.default_rng([10, 51])
    shapes = [(40, 24, 4, "aligned"), (30, 40, 2, "shuffled"), (6, 30, 1, "aligned")]
    layers = [random_blocks(rng, BlockStructure(*shape), 4) for shape in shapes]
    cfg = ONE.replace(codebooks=3, entries=2000, act_words=64)
    x = rng.integers(-200, 200, 24) * (rng.random(24) < 0.6)
    lockstep_program(plan_program(make_plan(layers, cfg)), [x], "icarus").require_agreement()


def test_preset_of_64_pes() -> None:
    """The preset's 64 PEs with memories as small as the layer: golden = law = RTL in every cycle."""
    rng = np.random.default_rng([11, 51])
    layer = random_blocks(rng, BlockStructure(703, 120, 10, "shuffled", 5), 4, zeros=False)
    x = rng.integers(1, 50, 120) * (rng.random(120) < 0.5)
    cfg = ArchConfig.preset("blocks", entries=1024, src_depth=2, acc_depth=11, act_words=16, blocks=10)
    case = Case(layer, x, cfg, "blocks")
    report = lockstep([case.job], "icarus")
    report.require_agreement()
    assert report.results[0].cycles == law(case).cycles


# One operator of the block table, of RunRows or of the row counters each: the Verilog, and what stands there instead.
MUTANTS = {
    "the block ends one column late": (r"(assign is_next = .*) >= ", r"\1 > "),
    "so does the next one": (r" >= after;", " > after;"),
    "no order is shuffled": (r"assign shuffled = \| turn;", "assign shuffled = 1'h0;"),
    "the table does not wait": (r"assign nearby = [^;]*;", "assign nearby = 1'h1;"),
    "places are added": (r"at_within \* step", "at_within + step"),
    "rows begin one PE late": (r"push_low\[1:0\] > number", "push_low[1:0] >= number"),
    "rows end one PE late": (r"push_high\[1:0\] > number", "push_high[1:0] >= number"),
    "a run's second word begins with the first row": (r"more \? row : run_row", "run_row"),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_mutants_are_found(name: str) -> None:
    """Lockstep tells each from the design."""
    pattern, instead = MUTANTS[name]

    def mutated(sources: Mapping[str, str]) -> Mapping[str, str]:
        changed = {file: re.sub(pattern, instead, text, count=1) for file, text in sources.items()}
        assert sum(changed[file] != text for file, text in sources.items()) == 1, (
            "the Verilog has no such operator"
        )
        return changed

    assert lockstep(mutant_jobs(), "icarus", transform=mutated).divergence is not None


def mutant_jobs() -> list[Job]:
    """Random ones, and 16 or 15 rows of a block on a PE: words end within a column."""
    jobs = [random_block_case(np.random.default_rng([seed, 51]), ONE, seed).job for seed in range(4)]
    tall = random_blocks(np.random.default_rng(52), BlockStructure(62, 24, 1), 4)
    return [*jobs, Job.create(tall, np.arange(24) % 2, ONE)]


def test_without_a_mutant() -> None:
    """The design itself agrees on the same jobs."""
    lockstep(mutant_jobs(), "icarus").require_agreement()


# One of each of the operators and wires that a segment adds.
SEGMENT_MUTANTS = {
    "a segment waits for another one's credits": (r"& credits\[3:2\]", "& credits[3:1]"),
    "one exhausted root ends compute mode": (r"= & root_exhausted;", "= | root_exhausted;"),
    "a segment's stalls are not counted": (r"(assign broadcast_stalls_now = \w+) \+ \w+;", r"\1;"),
    "one table is read for all": (r"io_pe\[1\] \? block_rdata", "1'h0 ? block_rdata"),
    "a table takes every write": (r"io_write & io_pe\[1\]", "io_write"),
    "a table follows another segment": (r"\.bcast\(ccu__bcast\[1\]\)", ".bcast(ccu__bcast[0])"),
    "a root is popped with another one": (r"\.pop\(ccu__bcast\[1\]\)", ".pop(ccu__bcast[0])"),
    "the table of a segment waits for no unit": (r"= (\w+) & nearby;", r"= \1 & { nearby[0], nearby[0] };"),
    "a PE's number counts through": (r"\.number\(1'h1\)", ".number(1'h0)"),
}


@pytest.mark.parametrize("name", SEGMENT_MUTANTS)
def test_mutants_of_segments_are_found(name: str) -> None:
    """Lockstep tells each from the design."""
    pattern, instead = SEGMENT_MUTANTS[name]

    def mutated(sources: Mapping[str, str]) -> Mapping[str, str]:
        changed = {file: re.sub(pattern, instead, text, count=1) for file, text in sources.items()}
        assert changed != dict(sources), "the Verilog has no such operator"
        return changed

    assert lockstep(segment_jobs(), "icarus", transform=mutated, read_back=True).divergence is not None


def segment_jobs() -> list[Job]:
    """Four PEs in two segments that run apart: uneven blocks, and so few inputs in turns that the tables pass some."""
    rng = np.random.default_rng(53)
    jobs = []
    for shape, active in (((31, 45, 6, "shuffled"), 0.2), ((31, 30, 3, "aligned"), 0.6)):
        x = rng.integers(1, 99, shape[1]) * (rng.random(shape[1]) < active)
        layer = random_blocks(rng, BlockStructure(*shape), 4)
        jobs.append(Job.create(layer, x, ONE.replace(segments=2, queue_depth=1)))
    # Nothing for one segment: its root is exhausted before the other one's first column is on its way.
    last = np.where(np.arange(30) < 20, 0, np.arange(30))
    return [*jobs, Job.create(layer, last, jobs[-1].cfg)]


def test_segments_without_a_mutant() -> None:
    """The design itself agrees on the same jobs."""
    lockstep(segment_jobs(), "icarus", read_back=True).require_agreement()
