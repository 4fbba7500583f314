"""Early exits on the RTL: the same answers, exits and cycles as golden."""

import dataclasses

import numpy as np

import eie
from eie.layer import CompressedLayer
from eie.sim.exits import certainty, logits_at_exits, run_with_exits
from tests.support.simulators import on_icarus


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
