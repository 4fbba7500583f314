"""The better machine's RTL in lockstep with golden: each switch alone, all together, and 64 PEs of preset eie2."""

import numpy as np
import pytest

from eie.config import ArchConfig
from eie.layer import CompressedLayer
from eie.program import Job
from eie.sim.cosim.lockstep import LockstepReport, lockstep
from eie.sim.engines.reference import run as run_reference
from tests.support.better_machines import ABSOLUTE, SWITCHES, small
from tests.support.cases import Case, random_case
from tests.support.slow_law import law

# Golden and law know four entries a cycle, and the RTL is written for any number of lanes.
MACHINES = SWITCHES | {
    "four entries": {**ABSOLUTE, "filter_empty": 1, "group": 2, "issue": 4, "window": 3, "queue_depth": 32},
}
KINDS = ("bypass", "empty columns", "saturate")


def agree(cases: list[Case], simulator: str, **options: bool) -> LockstepReport:
    """Every register and hand-shake in every cycle; y of the reference and cycles of the law."""
    report = lockstep([case.job for case in cases], simulator, **options)
    report.require_agreement()
    for case, result in zip(cases, report.results, strict=True):
        np.testing.assert_array_equal(result.y, run_reference(case.job).y)
        expected = law(case)
        assert result.cycles == expected.cycles, case
        for name, values in expected.counters.items():
            np.testing.assert_array_equal(result.counters[name], values, err_msg=name)
    return report


@pytest.mark.parametrize("name", MACHINES)
def test_each_switch(name: str) -> None:
    """Icarus; weights through the I/O port, and every memory read back."""
    cfg = small(MACHINES[name])
    cases = [random_case(np.random.default_rng([seed, 15]), [cfg], kind) for seed, kind in enumerate(KINDS)]
    agree(cases, "icarus", read_back=True)


def test_a_second_reading_of_the_verilog() -> None:
    """Preset eie2, small, on Verilator."""
    cfg = small(SWITCHES["eie2"])
    agree(
        [random_case(np.random.default_rng([seed, 16]), [cfg], kind) for seed, kind in enumerate(KINDS)],
        "verilator",
    )


def test_recommended_machine_of_64_pes() -> None:
    """Preset eie2 with its 64 PEs, memories as small as the layer: golden = law = RTL in every cycle."""
    rng = np.random.default_rng(17)
    cfg = ArchConfig.preset("eie2", entries=6 * 100, pointers=128, src_depth=2, act_words=16)
    codes = rng.integers(1, 16, (900, 120)) * (rng.random((900, 120)) < 0.1)
    codebook = [0, *rng.integers(-200, 200, 15)]
    layer = CompressedLayer.from_codes(codes.astype(np.uint8), codebook, product_shift=4)
    x = rng.integers(1, 50, 120) * (rng.random(120) < 0.4)
    agree([Case(layer, Job.create(layer, x, cfg).x, cfg, "random")], "icarus")
