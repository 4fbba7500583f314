"""Small networks as programs of a chip, with inputs, and what they have to give."""

import itertools

import numpy as np

from eie.capacity import sized_for
from eie.config import ArchConfig
from eie.layer import CompressedLayer
from eie.plan import make_plan
from eie.plan_program import plan_program
from eie.program import Job, Program
from eie.sim.simulate import simulate_many


def random_layers(seed: int, shape: tuple[int, ...], density: float = 0.3) -> list[CompressedLayer]:
    rng = np.random.default_rng(seed)
    return [
        CompressedLayer.from_codes(
            (rng.integers(1, 16, (rows, cols)) * (rng.random((rows, cols)) < density)).astype(np.uint8),
            np.concatenate([[0], rng.integers(-60, 60, 15)]),
            bias=rng.integers(-50, 50, rows),
            relu=bool(rng.random() < 0.7),
            product_shift=3,
            output_shift=2,
            name=f"layer {rows} x {cols}",
        )
        for cols, rows in itertools.pairwise(shape)
    ]


def random_inputs(seed: int, cols: int, count: int) -> list[np.ndarray]:
    """Vectors of which the last is all zero."""
    rng = np.random.default_rng(seed)
    some = [rng.integers(-50, 50, cols) * (rng.random(cols) < 0.4) for _ in range(count - 1)]
    return [*some, np.zeros(cols, np.int64)]


CHIPS = {
    "on the chip": ArchConfig(n_pe=4, act_words=32, codebooks=3, passes=4, entries=1024, pointers=128),
    "one codebook": ArchConfig(n_pe=2, act_words=64, passes=4, entries=2048, pointers=128),
    "row tiles and column batches": ArchConfig(
        n_pe=2, act_words=64, codebooks=3, passes=40, entries=2048, pointers=512, src_depth=4, acc_depth=3
    ),
    "weights loaded again": ArchConfig(
        n_pe=4, act_words=24, passes=2, entries=64, pointers=40, src_depth=8, acc_depth=4, bus_registers=1
    ),
    "one PE": ArchConfig(
        n_pe=1, queue_depth=1, act_words=200, codebooks=3, passes=9, entries=2048, pointers=256
    ),
}


def chip_program(name: str) -> Program:
    chip = CHIPS[name].replace(acc_bits=24)
    return plan_program(make_plan(random_layers(7, (30, 20, 17, 10)), chip))


# Small enough that layers are cut, and a network takes several runs.
SMALL = ArchConfig(
    n_pe=2,
    word_bits=16,
    pointers=30,
    entries=30,
    src_depth=3,
    acc_depth=4,
    act_words=30,
    codebooks=2,
    passes=6,
)


def reference(layers, x, cfg):
    """The network's output, layer by layer, on memories as large as each of them needs."""
    for layer in layers:
        x = simulate_many([Job.create(layer, x, sized_for(cfg, layer))], "reference")[0].y.astype(np.int64)
    return x
