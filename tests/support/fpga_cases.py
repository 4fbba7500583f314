"""A small network that the tests of FPGAs share."""

import numpy as np

from eie.config import ArchConfig
from eie.layer import CompressedLayer
from eie.sim.fpga.fit import fitted


def layers(seed=1):
    rng = np.random.default_rng(seed)

    def layer(name, rows, cols, *, relu):
        codes = rng.integers(0, 16, (rows, cols)) * (rng.random((rows, cols)) < 0.3)
        return CompressedLayer.from_codes(
            codes.astype(np.uint8),
            np.r_[0, rng.integers(-500, 500, 15)],
            product_shift=6,
            relu=relu,
            bias=rng.integers(-50, 50, rows),
            name=name,
        )

    return [layer("fc1", 8, 12, relu=True), layer("fc2", 4, 8, relu=False)]


def machine(n_pe, **changes):
    return fitted(layers(), ArchConfig(n_pe=n_pe, **changes))


def inputs(count=3, seed=3):
    rng = np.random.default_rng(seed)
    return [rng.integers(-400, 400, 12) * (rng.random(12) < 0.7) for _ in range(count)]
