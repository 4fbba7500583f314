"""Random programs of many passes on both simulators, golden in lockstep; results and cycles as worked out here."""

import numpy as np
import pytest

from tests.support.pass_programs import random_config, random_programs
from tests.support.pass_run import run

# Simulator, PEs, seed of the machine and of its programs. Verilator compiles for longer than Icarus runs.
CASES = [
    ("icarus", 1, 501),
    ("icarus", 2, 502),
    ("icarus", 4, 504),
    ("icarus", 8, 533),
    ("icarus", 16, 713),
    ("verilator", 2, 509),
]
PROGRAMS = 3


def programs_of(n_pe, seed):
    cfg = random_config(n_pe, np.random.default_rng(seed))
    return random_programs(cfg, range(PROGRAMS * seed, PROGRAMS * (seed + 1)))


@pytest.mark.parametrize(("simulator", "n_pe", "seed"), CASES)
def test_programs(simulator, n_pe, seed, tmp_path):
    programs = programs_of(n_pe, seed)
    wrong, cycles = run(programs, simulator, seed, tmp_path)
    assert wrong == [], f"seed {seed}"
    assert cycles > sum(len(program.writes) for program in programs)


def test_cases_reach_the_corners():
    """What the cases above are meant to cover, they cover."""
    programs = [program for _, n_pe, seed in CASES for program in programs_of(n_pe, seed)]
    assert {program.cfg.bus_registers for program in programs} == {0, 1}
    assert {program.cfg.counters for program in programs} == {0, 1}
    assert {program.cfg.codebooks for program in programs} == {1, 2, 3}
    assert len({program.cfg.queue_depth for program in programs}) >= 4
    assert set.union(*(program.features for program in programs)) == FEATURES
    runs = [run for program in programs for run in program.runs]
    assert any(run.cycles == 0 for run in runs), "no run without an active column"
    assert any(run.broadcast_stalls for run in runs)


FEATURES = {
    "chain",
    "row tiles",
    "column batches",
    "tiles of batches",
    "handed on in place",
    "through the SRAM",
    "both targets",
    "no target",
    "accumulators kept",
    "first pass without refill",
    "several codebooks",
}
