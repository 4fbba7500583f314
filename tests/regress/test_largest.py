"""The largest array, 256 PEs with a tree of four levels, in lockstep: its build alone takes minutes."""

import os

import numpy as np
import pytest

from eie.capacity import sized_for
from eie.config import ArchConfig
from eie.layer import CompressedLayer
from eie.program import Job
from eie.sim.cosim.lockstep import lockstep
from eie.sim.simulate import simulate

SEED = int(os.environ.get("EIE_REGRESS_SEED", "1"))


@pytest.mark.parametrize("simulator", ["icarus", "verilator"])
def test_256_pes(simulator):
    rng = np.random.default_rng(SEED)
    codes = ((rng.random((600, 300)) < 0.1) * rng.integers(1, 16, (600, 300))).astype(np.uint8)
    layer = CompressedLayer.from_codes(
        codes, rng.permutation(np.arange(16)) * (np.arange(16) > 0), product_shift=4
    )
    x = (rng.random(300) < 0.4) * rng.integers(-500, 500, 300)
    job = Job.create(layer, x, sized_for(ArchConfig(n_pe=256, queue_depth=4), layer))
    report = lockstep([job], simulator, seed=SEED)
    report.require_agreement()
    assert np.array_equal(report.results[0].y, simulate(layer, x, job.cfg, "reference").y)
    computing = report.results[0].cycles
    print(f"\n{report.describe()}, {computing} of them computing; {report.seconds:.0f} s, build not counted")
