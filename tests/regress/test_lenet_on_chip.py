"""LeNet-300-100 whole on 64 PEs, loaded once and fed with digits: 200 on Verilator, 5 on Icarus.

Every output and every count of each run equals golden's and the fast engine's; so does every prediction on MNIST's
10,000 test digits that of the fixed-point reference (`eie.compress.forward`).
"""

import numpy as np
import pytest

from eie.compress import datasets
from eie.compress.format.file import load
from eie.compress.forward import fixed_forward
from eie.config import ArchConfig
from eie.golden.run import run_program as run_golden
from eie.plan import make_plan
from eie.plan_program import plan_program
from eie.sim.plans import run_plan, run_program
from eie.sim.simulate import simulate
from eie.sim.workloads.inputs import in_fixed_point
from eie.timing import busy_cycles
from tests.support import ROOT

LAYERS = load(ROOT / "examples" / "trained" / "lenet-300-100.eie")
CFG = ArchConfig(codebooks=3)
DIGITS = {"icarus": 5, "verilator": 200}


@pytest.fixture(scope="module")
def digits() -> datasets.Digits:
    folder = ROOT / datasets.default_folder("mnist")
    datasets.fetch("mnist", folder)
    return datasets.load("mnist", folder)


def activations(images: np.ndarray) -> np.ndarray:
    return in_fixed_point(images, LAYERS[0], CFG.act_bits)[0]


def same(found, expected) -> None:
    np.testing.assert_array_equal(found.y, expected.y)
    (count,), (wanted,) = found.runs, expected.runs
    for name in ("cycles", "broadcast_stalls", "refill_cycles", "writeback_cycles", "busy_cycles"):
        assert getattr(count, name) == getattr(wanted, name), name
    np.testing.assert_array_equal(count.per_pe, wanted.per_pe)


@pytest.mark.parametrize("simulator", DIGITS)
def test_rtl_golden_and_fast(simulator: str, digits: datasets.Digits) -> None:
    plan = make_plan(LAYERS, CFG)
    program = plan_program(plan, "lenet-300-100")
    assert [len(run.passes) for run in program.runs] == [3]
    inputs = activations(digits.test_images[: DIGITS[simulator]])
    found = run_program(program, inputs, simulator)
    for x, rtl, golden, fast in zip(
        inputs, found, run_golden(program, inputs), run_plan(plan, inputs, "fast"), strict=True
    ):
        same(rtl, golden)
        same(rtl, fast)
        alone = []
        for layer in LAYERS:
            alone.append(simulate(layer, x, CFG, "fast"))
            x = alone[-1].y
        (count,) = rtl.runs
        cycles = [one.cycles for one in alone]
        np.testing.assert_array_equal(rtl.y, x)
        assert count.cycles == sum(cycles)
        assert count.busy_cycles == busy_cycles(cycles, count.refill_cycles, count.writeback_cycles, CFG)
    right = sum(int(r.y.argmax() == label) for r, label in zip(found, digits.test_labels, strict=False))
    counts = [result.runs[0] for result in found]
    cycles, busy = (np.mean([getattr(c, name) for c in counts]) for name in ("cycles", "busy_cycles"))
    print(
        f"\n{simulator}: {len(found)} digits, {right} right; mean cycles {cycles:.1f} of {busy:.1f} busy, "
        f"refill {counts[0].refill_cycles}, write-back {counts[0].writeback_cycles}, load {found[0].load_cycles}"
    )


def test_predictions_on_10_000_digits(digits: datasets.Digits) -> None:
    inputs = activations(digits.test_images)
    results = run_plan(make_plan(LAYERS, CFG), inputs, "fast")
    y = np.stack([result.y for result in results])
    np.testing.assert_array_equal(y, fixed_forward(LAYERS, inputs, CFG.acc_bits, CFG.act_bits).y)
    wrong = int((y.argmax(axis=1) != digits.test_labels).sum())
    busy = [result.count.busy_cycles for result in results]
    print(
        f"\n{len(y):,} digits, {wrong} wrong; busy cycles {min(busy)} to {max(busy)}, mean {np.mean(busy):.1f}"
    )
    assert len(y) == 10_000
