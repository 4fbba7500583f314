"""What every mutant runs: one small accelerator, layers that together reach every part of it, and passes at random."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from eie import schema
from eie.blocks import BlockStructure
from eie.config import BLOCK_FIELD_BITS, CONFIG_BITS, ArchConfig
from eie.layer import CompressedLayer
from eie.program import Job, Write
from eie.schema import (
    BlockField,
    ConfigReg,
    ControlReg,
    IoSpace,
    WbTarget,
    block_fields,
    config_fields,
    config_registers,
)
from tests.support.block_cases import random_block_case, random_blocks
from tests.support.cases import Case
from tests.support.slow_law import law

# Small, so that every corner is near: two levels of the tree, a queue and memories whose depths are no powers of two, a
# register on the bus, fillers after short runs, accumulators of more bits than activations, passes, several codebooks.
CFG = ArchConfig(
    n_pe=8,
    queue_depth=3,
    bus_registers=1,
    index_bits=3,
    acc_bits=20,
    word_bits=16,
    pointer_bits=9,
    pointers=138,
    entries=300,
    src_depth=17,
    acc_depth=130,
    act_words=39,
    codebooks=3,
    passes=6,
)
# The better machine, as small: pairs, two entries a cycle from a window of two words of three entries, a filter.
BETTER = CFG.replace(
    group=2,
    issue=2,
    window=2,
    filter_empty=1,
    row_format="absolute",
    row_bits=6,
    word_bits=32,
    pointer_bits=13,
    acc_depth=50,
    # As many groups as the published machine has columns: empty ones reach the last bit of their counter.
    src_depth=34,
    pointers=274,
)
# The index-free machine, as small: two segments, two entries a cycle, words of six entries, blocks of uneven sizes.
BLOCKS = CFG.replace(
    blocks=6,
    segments=2,
    issue=2,
    window=2,
    filter_empty=1,
    weight_bits=5,
    word_bits=32,
    acc_depth=50,
)
# Runs of random passes. A group at a random place of the better machine seldom has entries: it needs more of them.
RUNS, BETTER_RUNS = 12, 36
BLOCK_JOBS = 24
# The counters of the published widths would need 2**31 events to reach the last bit.
COUNTER_BITS = 8

Pattern = npt.NDArray[np.bool_]


@contextmanager
def narrow_counters() -> Iterator[None]:
    """Counters of COUNTER_BITS bits, in golden and in the RTL, while the context lasts."""
    cached = (schema.fields, schema.block_probe, schema.pe_probe, schema.ccu_probe)
    published = schema.COUNTER_BITS
    schema.COUNTER_BITS = COUNTER_BITS
    for function in cached:
        function.cache_clear()
    try:
        yield
    finally:
        schema.COUNTER_BITS = published
        for function in cached:
            function.cache_clear()


class _Maker:
    """Draws layers and inputs for a machine from one seed."""

    def __init__(self, seed: int, cfg: ArchConfig) -> None:
        self.rng = np.random.default_rng(seed)
        self.cfg = cfg
        self.rows = cfg.acc_depth * cfg.n_pe

    def spread(self, rows: int, cols: int, density: float) -> Pattern:
        return self.rng.random((min(rows, self.rows), cols)) < density

    def job(
        self,
        pattern: Pattern,
        active: float | Pattern = 1.0,
        largest: int = 32767,
        bias: int = 1 << 19,
        **layer: Any,
    ) -> Job:
        """Codes and activations up to `largest`, biases below `bias`."""
        rows, cols = pattern.shape
        codebook = [0, largest, -largest - 1, 1, -1, *self.rng.integers(-largest, largest + 1, 11)]
        codes = self.rng.integers(1, 16, (rows, cols)) * pattern
        biases = self.rng.integers(-bias, bias, rows) if bias else None
        some = self.rng.random(cols) < active if isinstance(active, float) else active
        x = self.rng.integers(1, largest + 1, cols) * self.rng.choice((-1, 1), cols) * some
        # Only the product of two most negative numbers has its last bit unlike its sign.
        x[x == x.min(initial=-1)] = -largest - 1
        return Job.create(CompressedLayer.from_codes(codes, codebook, biases, **layer), x, self.cfg)

    def shifts(self, product_shift: int, output_shift: int) -> Job:
        """Products that fill the accumulators, but seldom beyond, after this shift."""
        largest = (1 << min(15, (product_shift + 18) // 2)) - 1
        pattern = self.spread(8, 5, 0.9)
        return self.job(
            pattern,
            largest=largest,
            product_shift=product_shift,
            output_shift=output_shift,
            relu=output_shift % 2,
        )

    def powers_of_two(self) -> Job:
        """One product of every size and sign on a few accumulators each: every bit of a sum overflows by itself."""
        codebook = [0, *(1 << np.arange(14)), -(1 << 15)]
        pattern = self.spread(500, 15, 0.13)
        x = (1 << np.arange(15)) * self.rng.choice((-1, 1), 15)
        codes = self.rng.integers(1, 16, pattern.shape) * pattern
        return Job.create(CompressedLayer.from_codes(codes, codebook, relu=False), x, self.cfg)

    def aliases(self) -> Job:
        """Columns that end a power of two beyond a row where the next may begin: one bit apart, and no bypass."""
        pattern = np.zeros((self.cfg.acc_depth, self.cfg.n_pe, 16), bool)
        for k in range(self.cfg.n_pe):
            for j, bit in enumerate(self.rng.permutation(np.arange(16) % 7) + 1):
                row = self.rng.integers(2)
                pattern[[row, (row + (1 << bit)) % self.cfg.acc_depth], k, j] = True
        return self.job(pattern.reshape(-1, 16), bias=1000, product_shift=14, relu=False)


@dataclass(frozen=True)
class RandomRun:
    """A start on random contents of pass table, activation SRAM and codebooks: what is written, and read afterwards."""

    writes: list[Write]
    places: list[tuple[IoSpace, int, int]]


def random_runs(seed: int, cfg: ArchConfig) -> list[RandomRun]:
    """Passes that mean nothing, of which every register of the table has every bit set now and then.

    Weights are what an earlier job left. Few activations are not zero, because a column at a random place of the
    pointers may be as long as the pointers reach. After them, a write-back with every shift.
    """
    runs = RUNS if cfg.walks else BETTER_RUNS
    drawn = [_random_run(np.random.default_rng((seed, number)), cfg) for number in range(runs)]
    return (
        drawn + _write_backs(cfg) + (_long_blocks(np.random.default_rng(seed), cfg) if cfg.index_free else [])
    )


def _random_run(rng: np.random.Generator, cfg: ArchConfig) -> RandomRun:
    def bits(width: int) -> int:
        return int(rng.integers(1 << width))

    first = int(rng.integers(cfg.passes))
    writes = [
        Write(IoSpace.CONTROL, 0, ControlReg.FIRST_PASS, first),
        Write(IoSpace.CONTROL, 0, ControlReg.LAST_PASS, min(first + int(rng.integers(3)), cfg.passes - 1)),
    ]
    for number in range(cfg.passes):
        for register in config_registers(cfg):
            word = bits(cfg.io_data_bits - 1) * int(rng.random() < 0.7)
            writes.append(Write(IoSpace.CONFIG, 0, number << CONFIG_BITS | register, word))
    codes = cfg.codebooks * cfg.n_codes
    writes += [Write(IoSpace.CODEBOOK, 0, code, bits(cfg.code_bits)) for code in range(codes)]
    if cfg.index_free:
        writes += _random_tables(rng, cfg)
    for k in range(cfg.n_pe):
        for addr in range(cfg.act_words):
            word = bits(cfg.acc_bits) * int(rng.random() < 0.05)
            writes.append(Write(IoSpace.ACT_SRAM, k, addr, word))
    places = [(IoSpace.ACT_SRAM, k, addr) for k in range(cfg.n_pe) for addr in range(cfg.act_words)]
    places += [(IoSpace.ACC, k, row) for k in range(cfg.n_pe) for row in range(0, cfg.acc_depth, 9)]
    places += [(IoSpace.CONFIG, 0, addr) for addr in range(cfg.passes << CONFIG_BITS)]
    places += [(IoSpace.CONTROL, 0, addr) for addr in range(3)]
    return RandomRun(writes, places)


def _write_backs(cfg: ArchConfig) -> list[RandomRun]:
    """With every shift, write-backs of sums in which each bit is the only one unlike the sign.

    They go to the source file as well, from which the next run takes them out again: they have no column.
    """
    bits = range(cfg.acc_bits - 1)
    sums = [flip ^ (1 << bit) for bit in bits for flip in (0, (1 << cfg.acc_bits) - 1)]
    rows = -(-len(sums) // cfg.n_pe)
    assert rows <= min(cfg.acc_depth, cfg.src_depth)
    places = [(k, row) for row in range(rows) for k in range(cfg.n_pe)]
    clear = [Write(IoSpace.ACT, k, row, 0) for k in range(cfg.n_pe) for row in range(cfg.src_depth)]
    fill = [Write(IoSpace.ACC, k, row, word) for (k, row), word in zip(places, sums, strict=False)]
    one_pass = [Write(IoSpace.CONTROL, 0, register, 0) for register in ControlReg]
    widths = {ConfigReg[field.name.upper()]: field.width for field in config_fields(cfg)}
    runs = []
    for shift in range(1 << widths[ConfigReg.OUTPUT_SHIFT]):
        chosen = {
            ConfigReg.OUTPUT_SHIFT: shift,
            ConfigReg.WB_ROWS: rows,
            ConfigReg.WB_TARGET: WbTarget.SRC | WbTarget.ACT_SRAM,
        }
        config = [Write(IoSpace.CONFIG, 0, register, chosen.get(register, 0)) for register in widths]
        read = [(IoSpace.ACT_SRAM, k, row) for k, row in places]
        runs.append(RandomRun([*clear, *fill, *one_pass, *config], read))
    return runs


def _long_blocks(rng: np.random.Generator, cfg: ArchConfig) -> list[RandomRun]:
    """Layers of blocks, each in every pass, all columns active: together more events than the narrow counters count.

    A row for each PE, so that every column of it bypasses; for half of the PEs, so that the others have none; as many
    rows as there are, whose sums are clipped; and, as no layer has it, blocks that begin with the last row of the one
    before.
    """
    n, cols = cfg.n_pe, cfg.n_pe * cfg.src_depth
    few = cfg.segments * (cfg.entries // cfg.acc_depth)
    runs = []
    for structure, less in (
        (BlockStructure(n, cols, cfg.segments), 0),
        (BlockStructure(n // 2, cols, cfg.segments), 0),
        (BlockStructure(n * cfg.acc_depth, few, cfg.segments), 0),
        (BlockStructure(4 * n, cols // 2, 2 * cfg.segments), cfg.segment_pes),
    ):
        layer = random_blocks(rng, structure, cfg.weight_bits, zeros=False, big=True)
        job = Job.create(layer, np.ones(structure.cols, int), cfg)
        writes = [*job.weight_writes(), *job.load_writes()]
        bounds = [1 << BLOCK_FIELD_BITS | field for field in (BlockField.LOW, BlockField.HIGH)]
        writes += [
            Write(w.space, w.pe, w.addr, w.data - less)
            for w in writes
            if less and w.space is IoSpace.PTR and w.addr in bounds
        ]
        registers = {w.addr: w.data for w in writes if w.space is IoSpace.CONFIG}
        registers |= {ConfigReg.SRC_ROWS: cfg.src_depth, ConfigReg.SRC_BASE: 0}
        for number in range(cfg.passes):
            first = number << CONFIG_BITS
            writes += [Write(IoSpace.CONFIG, 0, first | addr, word) for addr, word in registers.items()]
        writes += [Write(IoSpace.ACT_SRAM, k, addr, 0) for k in range(n) for addr in range(cfg.src_depth)]
        inputs = [w for w in writes if w.space is IoSpace.ACT and w.data]
        large = rng.integers(1 << (cfg.act_bits - 2), 1 << (cfg.act_bits - 1), len(inputs))
        writes += [Write(IoSpace.ACT_SRAM, w.pe, w.addr, int(x)) for w, x in zip(inputs, large, strict=True)]
        writes += [
            Write(IoSpace.CONTROL, 0, ControlReg.FIRST_PASS, 0),
            Write(IoSpace.CONTROL, 0, ControlReg.LAST_PASS, cfg.passes - 1),
        ]
        places = [(IoSpace.ACC, k, row) for k in range(n) for row in range(0, cfg.acc_depth, 9)]
        runs.append(RandomRun(writes, places))
    return runs


def _random_tables(rng: np.random.Generator, cfg: ArchConfig) -> Iterator[Write]:
    """Blocks that mean nothing; the last one ends behind every column, so that a search ends."""
    for s in range(cfg.segments):
        aligned = rng.random() < 0.5
        for block in range(cfg.blocks):
            for field, width in block_fields(cfg).items():
                word = int(rng.integers(1 << width)) * int(rng.random() < 0.7)
                if field is BlockField.END and block + 1 == cfg.blocks:
                    word = (1 << width) - 1
                if field is BlockField.TURN and aligned:
                    word = 0
                yield Write(IoSpace.PTR, s * cfg.segment_pes, block << BLOCK_FIELD_BITS | field, word)


def block_jobs(seed: int, cfg: ArchConfig) -> list[Job]:
    """Layers of blocks, the quick ones first: as many cycles as the narrow counters count, and no more."""
    jobs: list[tuple[int, Job]] = []
    number = 0
    while len(jobs) < BLOCK_JOBS:
        case = random_block_case(np.random.default_rng((seed, number, 61)), cfg)
        number += 1
        cycles = law(case).cycles
        if cycles < 1 << COUNTER_BITS:
            jobs.append((cycles, case.job))
    return [job for _, job in sorted(jobs, key=lambda one: one[0])]


def mutant_jobs(seed: int, cfg: ArchConfig) -> list[Job]:
    """The jobs; the quick ones, which most mutants do not outlive, come first."""
    if cfg.index_free:
        return block_jobs(seed, cfg)
    make = _Maker(seed, cfg)
    rows, cols = np.arange(40)[:, None] % cfg.n_pe, np.arange(30) % cfg.n_pe
    last_rows = np.zeros((160, 66), bool)
    last_rows[-cfg.n_pe :] = True
    jobs = [
        make.job(make.spread(1, 1, 1.0), product_shift=20),
        make.job(make.spread(8, 5, 0.5), active=0.0, output_shift=3),
        *(make.shifts(s, int(o)) for s, o in enumerate(make.rng.permutation(32))),
        make.job(make.spread(12, 30, 0.9), 0.9, product_shift=16, relu=0),
        make.job(make.spread(60, 20, 0.1), 0.8, product_shift=13, output_shift=1, relu=0),
        make.job(make.spread(40, 30, 0.6) & (rows == 2), cols == 1, product_shift=15),
        make.job(make.spread(40, 30, 0.3) & (rows != 2), cols >= 5, product_shift=15),
        make.powers_of_two(),
        make.aliases(),
        # The counters' last bits: fillers, entries, columns and bypasses, empty columns, clipped activations.
        make.job(last_rows, product_shift=14, output_shift=2),
        make.job(make.spread(64, 28, 1.0), product_shift=17, output_shift=5, relu=0),
        # A pair's counts of entries have a bit for every row.
        *([make.job(make.spread(make.rows, 4, 1.0), product_shift=17)] if cfg.group > 1 else []),
        make.job(make.spread(8, 136, 1.0), product_shift=3),
        make.job(make.spread(8, 136 * cfg.group, 0.0), bias=0),
        make.job(make.spread(16, 110, 1.0), product_shift=1),
        make.job(make.spread(1039, 2, 0.2), product_shift=13, relu=0),
    ]
    if cfg.group == 1:
        # A column of which both pointers have their last bit: behind as many entries on every PE.
        far = np.arange(make.rows)[:, None] < (make.rows, make.rows, cfg.entries % (1 << 8) // 2 * cfg.n_pe)
        jobs.insert(-2, make.job(far, np.arange(3) == 2, product_shift=14, output_shift=4))
    for job in jobs:
        assert law(Case(job.layer, job.x, cfg, "mutants")).cycles < 1 << COUNTER_BITS
    return jobs
