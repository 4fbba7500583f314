"""Random block-diagonal layers, inputs and index-free machines."""

from typing import Any

import numpy as np

from eie.blocks import BlockCodes, BlockStructure
from eie.capacity import sized_for
from eie.config import ArchConfig
from eie.layer import CompressedLayer
from tests.support.cases import Case


def random_blocks(
    rng: np.random.Generator, structure: BlockStructure, bits: int, *, zeros: bool = True, big: bool = False
) -> CompressedLayer:
    """A layer of these blocks with 2**bits values, of which one is 0 unless `zeros` is false."""
    span = 30_000 if big else 300
    values = rng.choice(np.arange(1, span), 1 << bits, replace=False) * rng.choice([-1, 1], 1 << bits)
    if zeros:
        values[0] = 0
    codes = tuple(
        rng.integers(0, 1 << bits, (structure.height(d), structure.width(d))).astype(np.uint8)
        for d in range(structure.distinct)
    )
    return CompressedLayer.from_blocks(
        BlockCodes(structure, codes, np.sort(values).astype(np.int16)),
        bias=rng.integers(-100, 100, structure.rows),
        relu=bool(rng.integers(2)),
        product_shift=int(rng.integers(0, 8)),
        output_shift=int(rng.integers(0, 3)),
    )


def random_structure(rng: np.random.Generator, rows: int, cols: int, blocks: int = 1 << 30) -> BlockStructure:
    """A structure of at most so many blocks, aligned or shuffled."""
    n = int(rng.integers(1, min(rows, cols, blocks) + 1))
    order = str(rng.choice(["aligned", "shuffled"]))
    return BlockStructure(rows, cols, n, order, int(rng.integers(1, n + 1)))


def random_machine(rng: np.random.Generator) -> ArchConfig:
    """A random index-free machine with small memories."""
    issue = int(rng.choice([1, 1, 2, 4]))
    n_pe = int(rng.choice([1, 2, 4, 8, 16]))
    return ArchConfig(
        n_pe=n_pe,
        segments=min(n_pe, int(rng.choice([1, 1, 2, 4]))),
        blocks=int(rng.integers(5, 10)),
        filter_empty=1,
        issue=issue,
        window=int(rng.integers(1 if issue == 1 else 2, 4)),
        queue_depth=int(rng.choice([1, 2, 3, 5, 8, 16])),
        bus_registers=int(rng.choice([0, 0, 1, 2])),
        weight_bits=int(rng.choice([2, 3, 4, 4, 5])),
        word_bits=int(rng.choice([32, 64, 64])),
        act_bits=int(rng.choice([8, 16])),
        acc_bits=int(rng.choice([16, 24])),
        counters=int(rng.choice([0, 1, 1, 1])),
        src_depth=int(rng.choice([5, 12])),
        acc_depth=int(rng.choice([3, 9, 16])),
        entries=700,
        act_words=9,
    )


def random_block_case(
    rng: np.random.Generator, cfg: ArchConfig | None = None, seed: int | None = None, **sized: Any
) -> Case:
    """A case on this machine, or on a random one just large enough (with `sized` changes of it)."""
    given = cfg is not None
    machine = cfg or random_machine(rng).replace(counters=1, **sized)
    while True:
        rows = int(rng.integers(1, min(60, machine.n_pe * machine.acc_depth) + 1))
        cols = int(rng.integers(1, min(60, machine.n_pe * machine.src_depth) + 1))
        structure = random_structure(rng, rows, cols, machine.blocks * machine.segments)
        layer = random_blocks(rng, structure, machine.weight_bits, big=bool(rng.random() < 0.3))
        most = 1 << (machine.act_bits - 1)
        x = rng.integers(-most, most, cols) * (rng.random(cols) < rng.choice([0.05, 0.3, 0.7, 1.0]))
        needed = sized_for(machine, layer)
        if all(
            getattr(needed, name) <= getattr(machine, name) for name in ("entries", "src_depth", "acc_depth")
        ):
            return Case(layer, x, machine if given else needed, "blocks", seed)
