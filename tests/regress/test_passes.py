"""Random programs of many passes, more than in tests/cosim/test_rtl_passes.py, on new machines for every seed."""

from pathlib import Path

import numpy as np
import pytest

from eie.sim.cosim.build import SIMULATORS
from tests.support.pass_programs import random_config, random_programs
from tests.support.pass_run import run

PROGRAMS = 20


@pytest.mark.parametrize("simulator", SIMULATORS)
@pytest.mark.parametrize("n_pe", [1, 2, 4, 8, 16])
def test_programs(simulator: str, n_pe: int, seed: int, tmp_path: Path) -> None:
    machine = random_config(n_pe, np.random.default_rng((seed, n_pe)))
    programs = random_programs(machine, [(seed, n_pe, number) for number in range(PROGRAMS)])
    wrong, cycles = run(programs, simulator, seed, tmp_path)
    assert wrong == [], f"seed {seed}, {machine}"
    print(f"\n{simulator}, {n_pe} PEs: {len(programs)} programs, {cycles:,} cycles in lockstep")
