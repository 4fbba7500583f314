"""Random programs of many passes, with what they have to give: values by plain integers, cycles by the timing law.

A program is a chain of layers, cut into row tiles and column batches, on a machine that holds all of their weights.
Every way in which a pass can find its activations and biases, and leave its results, occurs (docs/architecture.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from eie.config import CONFIG_BITS, ArchConfig
from eie.csc import Interleaved, interleave
from eie.layer import CompressedLayer
from eie.memory import Write, images_of, weight_blocks
from eie.schema import ControlReg, IoSpace, WbTarget, config_registers
from eie.timing import constants, schedule

Vector = npt.NDArray[np.int64]
_MOST_PASSES = 40


class Word(NamedTuple):
    """A word behind the I/O port, and the signed number that it has to hold."""

    space: IoSpace
    pe: int
    addr: int
    value: int


@dataclass
class Run:
    """One start: what the host writes before it, the words to read after it, and what the counters have to say."""

    writes: list[Write]
    expected: list[Word]
    cycles: int
    broadcast_stalls: int
    refill_cycles: int
    writeback_cycles: int
    busy_cycles: int


@dataclass
class Program:
    """Weights, codebooks and pass table, loaded once, and the runs on them."""

    cfg: ArchConfig
    writes: list[Write]
    runs: list[Run]
    features: set[str]


@dataclass
class _Layer:
    """A layer of the chain: tile and batch are rows and columns of a pass at most."""

    codes: npt.NDArray[np.uint8]
    bias: Vector
    book: int
    shifts: tuple[int, int]
    relu: int
    tile: int
    batch: int
    from_sram: bool = False
    to_src: bool = False
    to_sram: bool = False
    residual: bool = False
    host_bias: bool = False
    bias_base: int = 0
    in_base: int = 0
    out_base: int = 0

    @property
    def rows(self) -> int:
        return self.codes.shape[0]

    @property
    def cols(self) -> int:
        return self.codes.shape[1]

    @property
    def tiles(self) -> int:
        return -(-self.rows // self.tile)

    @property
    def batches(self) -> int:
        return -(-self.cols // self.batch)


@dataclass
class _Pass:
    layer: _Layer
    columns: range
    entry: dict[str, int]
    inter: Interleaved


@dataclass
class _Memory:
    """A memory that is filled from its beginning, now and then with a gap."""

    rng: np.random.Generator
    used: int = 0

    def take(self, words: int) -> int:
        base = self.used + int(self.rng.integers(3))
        self.used = base + words
        return base


def random_config(n_pe: int, rng: np.random.Generator) -> ArchConfig:
    """A small machine: queues of 1 to 8, with and without bus register."""
    acc_bits = int(rng.choice([16, 20, 32]))
    deepest = 6 if n_pe < 8 else 3
    return ArchConfig(
        n_pe=n_pe,
        queue_depth=int(rng.integers(1, 9)),
        bus_registers=int(rng.integers(2)),
        index_bits=int(rng.integers(2, 6)),
        acc_bits=acc_bits,
        act_bits=int(rng.choice([8, 16])),
        code_bits=int(rng.integers(4, 17)),
        src_depth=int(rng.integers(1, deepest + 1)),
        acc_depth=int(rng.integers(1, deepest + 1)),
        codebooks=int(rng.integers(1, 4)),
        word_bits=int(rng.choice([16, 64])),
        counters=int(rng.random() < 0.7),
    )


def random_programs(cfg: ArchConfig, seeds: Iterable[int | tuple[int, ...]], runs: int = 2) -> list[Program]:
    """Programs for one machine like `cfg`, whose memories and pass table become as large as they need."""
    programs = [_Maker(cfg, np.random.default_rng(seed)).program(runs) for seed in seeds]
    sizes = {
        name: max(getattr(program.cfg, name) for program in programs)
        for name in ("act_words", "entries", "pointers", "passes")
    }
    return [replace(program, cfg=cfg.replace(**sizes)) for program in programs]


@dataclass
class _Maker:
    cfg: ArchConfig
    rng: np.random.Generator
    sram: _Memory = field(init=False)

    def program(self, runs: int) -> Program:
        rng, cfg = self.rng, self.cfg
        self.sram = _Memory(rng)
        self.books = [self._codebook() for _ in range(cfg.codebooks)]
        layers = self._layers()
        self._hand_over(layers)
        passes, matrix, pointers = self._passes(layers)
        first = int(rng.integers(4))
        self.cfg = cfg = cfg.replace(
            act_words=max(2, self.sram.used + int(rng.integers(4))),
            entries=max(1, matrix.used * cfg.entries_per_word),
            pointers=max(2, pointers.used),
            passes=first + len(passes) + int(rng.integers(3)),
        )
        # Nothing of an earlier program may wait in the source file.
        writes = [Write(IoSpace.ACT, k, row, 0) for k in range(cfg.n_pe) for row in range(cfg.src_depth)]
        writes += [*self._weights(passes), *self._tables(first, passes)]
        writes += [w for layer in layers if not layer.host_bias for w in self._bias(layer)]
        return Program(cfg, writes, [self._run(layers, passes) for _ in range(runs)], _features(layers))

    # ---- what to compute -------------------------------------------------------------------------------------

    def _codebook(self) -> Vector:
        high = 1 << (self.cfg.code_bits - 1)
        return np.concatenate([[0], self.rng.integers(-high, high, self.cfg.n_codes - 1)])

    def _layers(self) -> list[_Layer]:
        rng, cfg = self.rng, self.cfg
        n, layers = cfg.n_pe, []
        cols = int(rng.integers(1, 2 * cfg.src_depth * n + 1))
        for _ in range(int(rng.integers(1, 5))):
            same = bool(layers) and rng.random() < 0.25 and cols <= cfg.acc_depth * n
            rows = cols if same else int(rng.integers(1, 2 * cfg.acc_depth * n + 1))
            small = rng.random() < 0.3
            tile = n * int(rng.integers(1, cfg.acc_depth + 1) if small else cfg.acc_depth)
            batch = n * int(rng.integers(1, cfg.src_depth + 1) if small else cfg.src_depth)
            density = rng.choice([0.05, 0.3, 0.9])
            codes = rng.integers(1, cfg.n_codes, (rows, cols)) * (rng.random((rows, cols)) < density)
            low = max(0, cfg.code_bits + cfg.act_bits - cfg.acc_bits - 4)
            layers.append(
                _Layer(
                    codes.astype(np.uint8),
                    rng.integers(-(1 << (cfg.acc_bits - 2)), 1 << (cfg.acc_bits - 2), rows),
                    int(rng.integers(cfg.codebooks)),
                    (int(rng.integers(low, low + 8)), int(rng.integers(cfg.acc_bits - cfg.act_bits + 4))),
                    int(rng.integers(2)),
                    tile,
                    batch,
                )
            )
            cols = rows
        if sum(layer.tiles * layer.batches for layer in layers) > _MOST_PASSES:
            return self._layers()
        return layers

    def _hand_over(self, layers: list[_Layer]) -> None:
        """Where each layer finds its activations and biases, and which words of the SRAM those are."""
        rng, n = self.rng, self.cfg.n_pe
        for number, layer in enumerate(layers):
            before = layers[number - 1] if number else None
            fits = before is None or (before.tiles == 1 and -(-before.rows // n) <= self.cfg.src_depth)
            many = layer.tiles > 1 or layer.batches > 1
            layer.from_sram = many or not fits or rng.random() < 0.3
            one_each = before is not None and before.tiles == 1 == layer.tiles and before.rows == layer.rows
            layer.residual = one_each and rng.random() < 0.5
            layer.host_bias = not layer.residual and number == 0 and layer.tiles == 1 and rng.random() < 0.5
            if not layer.residual and not layer.host_bias:
                layer.bias_base = self.sram.take(-(-layer.rows // n))
            if before is None:
                layer.in_base = self.sram.take(-(-layer.cols // n)) if layer.from_sram else 0
                continue
            before.to_sram = layer.from_sram or rng.random() < 0.2
            # What is refilled as a whole leaves nothing of an activation that was handed on as well.
            before.to_src = not layer.from_sram or (fits and layer.batches == 1 and rng.random() < 0.3)
            before.out_base = layer.in_base = self.sram.take(-(-before.rows // n)) if before.to_sram else 0
        last = layers[-1]
        last.to_sram = last.tiles > 1 or rng.random() < 0.5
        last.out_base = self.sram.take(-(-last.rows // n)) if last.to_sram else 0
        loaded = -(-min(layers[0].cols, layers[0].batch) // n)
        last.to_src = last.tiles == 1 and -(-last.rows // n) <= loaded and rng.random() < 0.3

    def _passes(self, layers: list[_Layer]) -> tuple[list[_Pass], _Memory, _Memory]:
        cfg, n = self.cfg, self.cfg.n_pe
        matrix, pointers = _Memory(self.rng), _Memory(self.rng)
        passes = []
        for layer in layers:
            for row in range(0, layer.rows, layer.tile):
                for col in range(0, layer.cols, layer.batch):
                    rows = range(row, min(row + layer.tile, layer.rows))
                    columns = range(col, min(col + layer.batch, layer.cols))
                    part = CompressedLayer.from_codes(
                        layer.codes[rows.start : rows.stop, columns.start : columns.stop],
                        self.books[layer.book],
                    )
                    inter = interleave(part, n, cfg.index_bits)
                    words = max(1, *(len(image.spmat) for image in images_of(weight_blocks(inter, cfg), cfg)))
                    begins, ends = col == 0, columns.stop == layer.cols
                    local = -(-len(rows) // n)
                    refilled = begins and not layer.residual and not layer.host_bias
                    entry = {
                        "product_shift": layer.shifts[0],
                        "output_shift": layer.shifts[1],
                        "relu": layer.relu,
                        "wb_rows": local if ends else 0,
                        "wb_target": WbTarget.SRC * layer.to_src | WbTarget.ACT_SRAM * layer.to_sram,
                        "wb_base": layer.out_base + row // n,
                        "codebook": layer.book,
                        "ptr_base": pointers.take(len(columns) + 1),
                        "spmat_base": matrix.take(words),
                        "acc_rows": local if refilled else 0,
                        "acc_base": layer.bias_base + row // n,
                        "src_rows": -(-len(columns) // n) if layer.from_sram else 0,
                        "src_base": layer.in_base + col // n,
                    }
                    passes.append(_Pass(layer, columns, entry, inter))
        return passes, matrix, pointers

    # ---- what the host writes --------------------------------------------------------------------------------

    def _vector(self, space: IoSpace, base: int, values: Vector, bits: int) -> Iterator[Write]:
        n = self.cfg.n_pe
        padded = [*values.tolist(), *[0] * (-len(values) % n)]
        for i, value in enumerate(padded):
            yield Write(space, i % n, base + i // n, value & ((1 << bits) - 1))

    def _bias(self, layer: _Layer) -> Iterator[Write]:
        if not layer.residual:
            space = IoSpace.ACC if layer.host_bias else IoSpace.ACT_SRAM
            yield from self._vector(space, layer.bias_base, layer.bias, self.cfg.acc_bits)

    def _weights(self, passes: list[_Pass]) -> Iterator[Write]:
        for one in passes:
            matrix, pointers = one.entry["spmat_base"], one.entry["ptr_base"] // self.cfg.group
            for k, image in enumerate(images_of(weight_blocks(one.inter, self.cfg), self.cfg)):
                for i, word in enumerate(image.spmat):
                    yield Write(IoSpace.SPMAT, k, matrix + i, word)
                banks = len(image.pointers)
                for bank, words in enumerate(image.pointers):
                    for i, pointer in enumerate(words):
                        yield Write(IoSpace.PTR, k, pointers + banks * i + bank, pointer)

    def _tables(self, first: int, passes: list[_Pass]) -> Iterator[Write]:
        cfg = self.cfg
        for number, one in enumerate(passes, first):
            for register in config_registers(cfg):
                yield Write(
                    IoSpace.CONFIG, 0, number << CONFIG_BITS | register, one.entry[register.name.lower()]
                )
        yield Write(IoSpace.CONTROL, 0, ControlReg.FIRST_PASS, first)
        yield Write(IoSpace.CONTROL, 0, ControlReg.LAST_PASS, first + len(passes) - 1)
        for book, codes in enumerate(self.books):
            for i, code in enumerate(codes.tolist()):
                yield Write(IoSpace.CODEBOOK, 0, book * cfg.n_codes + i, code & ((1 << cfg.code_bits) - 1))

    # ---- what it gives ---------------------------------------------------------------------------------------

    def _run(self, layers: list[_Layer], passes: list[_Pass]) -> Run:
        rng, cfg = self.rng, self.cfg
        first = layers[0]
        high = 1 << (cfg.act_bits - 1)
        x = rng.integers(-high, high, first.cols) * (rng.random(first.cols) < rng.choice([0.0, 0.3, 1.0]))
        space = IoSpace.ACT_SRAM if first.from_sram else IoSpace.ACT
        writes = [
            *self._vector(space, first.in_base, x, cfg.act_bits if space == IoSpace.ACT else cfg.acc_bits)
        ]
        writes += self._bias(first) if first.host_bias else []
        run = Run(writes, [], 0, 0, 0, 0, 0)
        inputs, y = {}, np.zeros(0, np.int64)
        for layer in layers:
            inputs[id(layer)] = x
            x = y = self._output(layer, x, y)
            if layer.to_sram:
                run.expected += self._words(IoSpace.ACT_SRAM, layer.out_base, y)
        if layers[-1].tiles == 1:
            run.expected += self._words(IoSpace.ACC, 0, y)
        for number, one in enumerate(passes):
            active = np.flatnonzero(inputs[id(one.layer)][one.columns.start : one.columns.stop])
            law = schedule(one.inter.lengths[active], cfg)
            refilled = one.entry["acc_rows"] + one.entry["src_rows"]
            refill = refilled + 2 if number or refilled else 0
            run.cycles += law.cycles
            run.broadcast_stalls += law.broadcast_stalls
            run.refill_cycles += refill
            run.writeback_cycles += one.entry["wb_rows"] + 1
            run.busy_cycles += max(law.cycles, constants(cfg).T0) + 1 + refill + one.entry["wb_rows"] + 1
        return run

    def _output(self, layer: _Layer, x: Vector, before: Vector) -> Vector:
        cfg = self.cfg
        acc = before if layer.residual else layer.bias
        for j in np.flatnonzero(x):
            products = self.books[layer.book][layer.codes[:, j]] * x[j]
            acc = _clip(acc + _round_shift(products, layer.shifts[0]), cfg.acc_bits)
        kept = np.maximum(acc, 0) if layer.relu else acc
        return _clip(_round_shift(kept, layer.shifts[1]), cfg.act_bits)

    def _words(self, space: IoSpace, base: int, values: Vector) -> Iterator[Word]:
        n = self.cfg.n_pe
        for i, value in enumerate(values.tolist()):
            yield Word(space, i % n, base + i // n, value)


def _round_shift(value: Vector, shift: int) -> Vector:
    return (value + (1 << shift >> 1)) >> shift


def _clip(value: Vector, bits: int) -> Vector:
    return np.clip(value, -(1 << (bits - 1)), (1 << (bits - 1)) - 1)


def _features(layers: list[_Layer]) -> set[str]:
    """What occurs in a chain, so that a test can see that everything did."""
    found = {
        "chain": len(layers) > 1,
        "row tiles": any(layer.tiles > 1 for layer in layers),
        "column batches": any(layer.batches > 1 for layer in layers),
        "tiles of batches": any(layer.tiles > 1 and layer.batches > 1 for layer in layers),
        "handed on in place": any(layer.to_src and not layer.to_sram for layer in layers[:-1]),
        "through the SRAM": any(layer.to_sram and not layer.to_src for layer in layers[:-1]),
        "both targets": any(layer.to_src and layer.to_sram for layer in layers),
        "no target": not layers[-1].to_src and not layers[-1].to_sram,
        "accumulators kept": any(layer.residual for layer in layers),
        "first pass without refill": layers[0].host_bias and not layers[0].from_sram,
        "several codebooks": len({layer.book for layer in layers}) > 1,
    }
    return {name for name, occurs in found.items() if occurs}
