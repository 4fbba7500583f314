"""The engine cpu: a compressed layer's values on the processor at hand, as fast as it can, and nothing else.

The values are the reference's, bit for bit, or, on request, those of floating point. There are no cycles and no
counters. The matrix stays compressed in memory; docs/cpu.md has the two formats, and says which is used when.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from eie.config import ArchConfig
from eie.conv import Conv
from eie.errors import ConfigError, LayerError
from eie.fixed import limits
from eie.layer import CompressedLayer, as_activations
from eie.program import Job
from eie.result import Result
from eie.sim.engines import cpu_kernels as kernels
from eie.sim.engines.cpu_vectors import AHEAD, LANES, TILE_BYTES, TILE_ROWS, has_tiles, tile_position

Array = npt.NDArray[Any]

# A tile has half a byte for each weight, pruned ones too; a weight of scipy's CSR takes 8 bytes. From this density on
# tiles are the smaller ones.
TILE_DENSITY = 1 / 16
# Fewer vectors never go through the matrix side by side.
FEWEST_LANES = 8
# Nanoseconds, for the choice between one by one and side by side alone: a column of a tile, an entry of one vector, and
# an entry of all lanes divided by their number. Measured by hand on one machine; another choice costs time, no value.
_TILE_NS, _ENTRY_NS, _LANE_NS = 3.5, 0.9, 0.2
_CALL_NS = 4000  # what Python takes for a vector of its own
# Bytes of the sums of a block, for all vectors that go side by side: they stay in the second cache.
_SUMS = 1 << 17
_MOST_LANES = 64
LANE_STEP = max(LANES.values())
# Active weights below which a second thread costs more than it saves.
_WORTH_A_THREAD = 150_000

_local = threading.local()


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _aligned(shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    """Zeros that begin with a cache line."""
    size = int(np.prod(shape))
    memory = np.zeros(size + 64, np.uint8)
    offset = -memory.ctypes.data % 64
    return memory[offset : offset + size].reshape(shape)


@dataclass(frozen=True)
class Arithmetic:
    """Widths of accumulators and activations in bits."""

    acc_bits: int = 16
    act_bits: int = 16

    @classmethod
    def of(cls, cfg: ArchConfig) -> Arithmetic:
        """A machine's."""
        return cls(cfg.acc_bits, cfg.act_bits)


class CpuLayer:
    """A layer in the form in which the processor multiplies with it.

    Parameters
    ----------
    layer : what to run. arithmetic : its widths.
    threads : that share a vector's rows, or a batch (default: one for each processor).
    windows : of a convolution: take whole images, not one position's numbers.

    Raises
    ------
    LayerError : a layer that breaks its rules, or codes or biases beyond the widths.
    ConfigError : less than one thread.
    """

    def __init__(
        self,
        layer: CompressedLayer,
        arithmetic: Arithmetic | None = None,
        threads: int | None = None,
        *,
        windows: bool = True,
    ) -> None:
        threads = processors() if threads is None else threads
        if threads < 1:
            raise ConfigError(f"threads must be at least 1, not {threads}")
        if layer.row_scale is not None:
            raise LayerError(
                f"layer {layer.name!r} {'adds instead of multiplying' if layer.adder else 'scales its rows'}: engine "
                "cpu takes plain products alone, use engine fast"
            )
        # A copy, which shares the arrays: `prepared` forgets it when nobody has the layer any more.
        self.layer, self.threads = replace(layer), threads
        self._conv = layer.conv if windows else None
        self.arithmetic = arithmetic or Arithmetic()
        layer.check(full=True)
        layer.check_widths(weight_bits=8, code_bits=16, acc_bits=self.arithmetic.acc_bits)
        self._code_bits = 4 if layer.weight_bits <= 4 else 8
        # 16 bits hold a row of 4096 and a code of 4 bits, 32 bits every row and 8 bits.
        most = 4096 if self._code_bits == 4 else 1 << 24
        shared = -(-layer.rows // threads)
        self._block = min(most, max(TILE_ROWS, -(-shared // TILE_ROWS) * TILE_ROWS))
        self._codebook = np.zeros(max(16, len(layer.codebook)), np.int32)
        self._codebook[: len(layer.codebook)] = layer.codebook
        self._bias = np.ascontiguousarray(layer.bias)

    # ---- formats -------------------------------------------------------------------------------------------

    @cached_property
    def _entries(self) -> tuple[Array, Array]:
        """(entries, starts): row << code bits | code, by block and column; int64[blocks, cols + 1]."""
        layer, block = self.layer, self._block
        blocks = -(-layer.rows // block)
        kind: Any = np.uint16 if self._code_bits == 4 else np.uint32
        entries = (layer.indices % block).astype(kind) << kind(self._code_bits) | layer.codes
        if blocks == 1:
            return entries, np.ascontiguousarray(layer.indptr)[None]
        # Entries of a column ascend by row, so a stable sort by block keeps the columns in order.
        of_block, column = layer.indices // block, layer.column_of_entry()
        starts = np.zeros((blocks, layer.cols + 1), np.int64)
        counts = np.bincount(of_block * layer.cols + column, minlength=blocks * layer.cols)
        ends = np.cumsum(counts).reshape(blocks, layer.cols)
        starts[:, 1:] = ends
        starts[1:, 0] = ends[:-1, -1]
        return entries[np.argsort(of_block, kind="stable")], starts

    @cached_property
    def _tiles(self) -> npt.NDArray[np.uint8] | None:
        """Codes as they stand in the matrix, uint8[tiles, cols, TILE_BYTES]; None: not for this layer."""
        layer = self.layer
        if self._code_bits != 4 or layer.density < TILE_DENSITY or self._conv or not has_tiles():
            return None
        if self.arithmetic.acc_bits != 16:
            return None
        tiles = _aligned((-(-layer.rows // TILE_ROWS), layer.cols, TILE_BYTES))
        places = np.array([tile_position(row) for row in range(TILE_ROWS)])
        kernels.fill_tiles(
            layer.indptr, layer.indices, layer.codes, places[:, 0], places[:, 1].astype(np.uint8), tiles
        )
        return tiles

    @cached_property
    def _facts(self) -> npt.NDArray[np.int64]:
        layer = self.layer
        facts = np.zeros(kernels.FACTS, np.int64)
        facts[[kernels.LOW, kernels.HIGH]] = limits(self.arithmetic.acc_bits)
        facts[[kernels.OUT_LOW, kernels.OUT_HIGH]] = limits(self.arithmetic.act_bits)
        facts[kernels.SHIFT], facts[kernels.OUT_SHIFT] = layer.product_shift, layer.output_shift
        facts[kernels.RELU], facts[kernels.CODE_BITS] = layer.relu, self._code_bits
        sizes = np.abs(self._codebook.astype(np.int64))
        facts[kernels.WEIGHT] = sizes.max()
        # Sums below 2**53 are exact in floating point.
        row_sums = np.bincount(layer.indices, sizes[layer.codes], minlength=layer.rows)
        facts[kernels.ROW_SUM] = row_sums.max()
        facts[kernels.ROW_ENTRIES] = np.bincount(layer.indices, minlength=layer.rows).max()
        facts[kernels.BIAS] = np.abs(layer.bias.astype(np.int64)).max()
        return facts

    @cached_property
    def _real(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Weights of the codes and biases as real numbers."""
        return (
            np.ldexp(self._codebook.astype(np.float32), -self.layer.w_frac),
            np.ldexp(self._bias.astype(np.float32), -self.layer.acc_frac),
        )

    @cached_property
    def _geometry(self) -> npt.NDArray[np.int64]:
        conv = self._conv
        if conv is None:
            return np.zeros(0, np.int64)
        padded = [size + 2 * edge for size, edge in zip(conv.size, conv.padding, strict=True)]
        channels = conv.channels(self.layer.cols)
        return np.array([channels, *padded, *conv.kernel, *conv.stride, *conv.positions], np.int64)

    @property
    def weight_bytes(self) -> int:
        """What the matrix takes in memory, in the formats that were used so far."""
        made = [self.__dict__.get(name) for name in ("_tiles", "_entries")]
        arrays = [made[0], *(made[1] or ())]
        return sum(array.nbytes for array in arrays if array is not None)

    @property
    def uses_tiles(self) -> bool:
        """Whether a vector alone goes through tiles rather than entries."""
        return self._tiles is not None

    # ---- running -------------------------------------------------------------------------------------------

    def run(self, x: Array) -> Array:
        """Outputs, int16[batch, outputs], for activations int16[batch, inputs] (not checked)."""
        layer = self.layer
        if not self._side_by_side(x):
            y = np.empty((len(x), layer.rows), np.int16)
            for one, made in zip(x, y, strict=True):
                self._vector(one, made)
            return y
        entries, starts = self._entries
        return self._batch(
            kernels.entries_batch, (entries, starts, self._block, self._codebook, self._bias), x, 2
        )

    def _side_by_side(self, x: Array) -> bool:
        """Whether a batch goes through the matrix at once, which cannot skip what one of its vectors alone lacks."""
        if self._conv is not None:
            return True
        if len(x) < FEWEST_LANES:
            return False
        nnz, tiles = self.layer.nnz, self._tiles
        whole = nnz * _ENTRY_NS if tiles is None else tiles.shape[0] * tiles.shape[1] * _TILE_NS
        active = np.count_nonzero(x) / max(x.size, 1)
        filled = -(-len(x) // LANE_STEP) * LANE_STEP / len(x)
        return nnz * _LANE_NS * filled < active * whole + _CALL_NS

    def run_real(self, x: Array) -> Array:
        """Outputs, float32[batch, outputs], for float32[batch, inputs], in floating point."""
        layer = self.layer
        entries, starts = self._entries
        weights, bias = self._real
        if self._conv is None and len(x) < FEWEST_LANES:
            y = np.empty((len(x), layer.rows), np.float32)
            for one, made in zip(x, y, strict=True):
                self._vector_real(one, made)
            return y
        return self._batch(kernels.entries_batch_real, (entries, starts, self._block, weights, bias), x, 4)

    def _vector_real(self, x: Array, y: Array) -> None:
        entries, starts = self._entries
        weights, bias = self._real
        self._shared(
            lambda first, last: kernels.entries_real(
                entries, starts, self._block, weights, bias, self._facts, x, first, last, y
            ),
            len(starts),
            self.layer.nnz,
        )

    def _vector(self, x: Array, y: Array) -> None:
        layer, facts, tiles = self.layer, self._facts, self._tiles
        if tiles is not None:
            done = self._shared(
                lambda first, last: kernels.tiles_vector(
                    tiles, self._codebook, self._bias, facts, x, self._scratch(), first, last, y
                ),
                len(tiles),
                layer.nnz,
            )
            if done:
                return
        entries, starts = self._entries
        self._shared(
            lambda first, last: kernels.entries_vector(
                entries,
                starts,
                self._block,
                self._codebook,
                self._bias,
                facts,
                x,
                self._scratch(),
                first,
                last,
                y,
            ),
            len(starts),
            layer.nnz,
        )

    def _batch(self, kernel: Callable[..., Any], matrix: tuple[Any, ...], x: Array, item: int) -> Array:
        """All vectors of a batch, `lanes` at a time; item : bytes of a sum."""
        layer, conv = self.layer, self._conv
        images = self._padded(x) if conv else x
        positions = conv.positions[0] * conv.positions[1] if conv else 1
        y = np.empty((len(x), layer.rows * positions), np.float32 if item == 4 else np.int16)
        vectors = len(x) * positions
        fitting = _SUMS // (item * min(self._block, layer.rows)) // LANE_STEP
        lanes = LANE_STEP * max(1, min(_MOST_LANES // LANE_STEP, fitting, -(-vectors // LANE_STEP)))
        self._shared(
            lambda first, last: kernel(*matrix, self._facts, self._geometry, images, lanes, first, last, y),
            -(-vectors // lanes),
            layer.nnz * vectors // 8,
        )
        # A window of one number with steps drops numbers, too.
        return self._pooled(y, conv) if conv and {*conv.pool, *conv.pool_stride} != {1} else y

    def _padded(self, x: Array) -> Array:
        conv = self._conv
        if conv is None or conv.padding == (0, 0):
            return x
        (top, left), channels = conv.padding, conv.channels(self.layer.cols)
        maps = x.reshape(len(x), channels, *conv.size)
        padded = np.pad(maps, ((0, 0), (0, 0), (top, top), (left, left)))
        return padded.reshape(len(x), -1)

    def _pooled(self, y: Array, conv: Conv) -> Array:
        pooled = np.empty((len(y), self.layer.outputs), y.dtype)
        window = np.array([*conv.pool, *conv.pool_stride], np.int64)
        kernels.pool(y, self.layer.rows, *conv.positions, window, pooled)
        return pooled

    def _scratch(self) -> npt.NDArray[np.uint32]:
        """This thread's list of active columns."""
        size = self.layer.cols + AHEAD
        scratch: npt.NDArray[np.uint32] | None = getattr(_local, "active", None)
        if scratch is None or len(scratch) < size:
            scratch = _local.active = np.empty(size, np.uint32)
        return scratch

    def _shared(self, work: Callable[[int, int], Any], parts: int, cost: int) -> Any:
        """`work` on parts 0..parts-1, in as many threads as are worth it; what it returns for the first."""
        many = min(self.threads, parts, 1 + cost // _WORTH_A_THREAD)
        if many < 2:
            return work(0, parts)
        bounds = [parts * k // many for k in range(many + 1)]
        others = [_pool(self.threads).submit(work, *bounds[k : k + 2]) for k in range(1, many)]
        done = work(*bounds[:2])
        for other in others:
            other.result()
        return done


_pools: dict[int, ThreadPoolExecutor] = {}


def _pool(threads: int) -> ThreadPoolExecutor:
    """Threads that stay: to start one takes as long as a small layer. (A fork has none of them.)"""
    key = os.getpid() << 16 | threads
    if key not in _pools:
        _pools[key] = ThreadPoolExecutor(threads)
    return _pools[key]


class CpuNetwork:
    """Layers that follow one another, ready to run: the fastest way from inputs to outputs.

    layers : `eie.compress.forward.check_network` holds for them. threads : as in `CpuLayer`.
    """

    def __init__(
        self,
        layers: Sequence[CompressedLayer],
        arithmetic: Arithmetic | None = None,
        threads: int | None = None,
    ) -> None:
        self.layers = [CpuLayer(layer, arithmetic, threads) for layer in layers]
        if not self.layers:
            raise LayerError("a network needs at least one layer")
        first = layers[0]
        self._factor = 2.0**first.x_frac
        self._low, self._high = limits(self.layers[0].arithmetic.act_bits)

    def run(self, x: Array) -> npt.NDArray[np.int16]:
        """Outputs, int16[batch, outputs], for activations int16[batch, inputs]."""
        for layer in self.layers:
            x = layer.run(x)
        return x

    def quantize(self, x: npt.ArrayLike) -> npt.NDArray[np.int16]:
        """Real inputs as the first layer's activations (`eie.fixed.quantize`)."""
        given = np.asarray(x)
        if given.dtype not in (np.float32, np.float64):
            given = given.astype(np.float64)
        found = np.empty(given.shape, np.int16)
        kernels.quantize(given, self._factor, float(self._low), float(self._high), found)
        return found

    def run_real(self, x: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Outputs, float32[batch, outputs], for real inputs [batch, inputs], in floating point."""
        y = np.ascontiguousarray(x, np.float32)
        for layer in self.layers:
            y = layer.run_real(y)
        return y

    @property
    def weight_bytes(self) -> int:
        """What the matrices take in memory."""
        return sum(layer.weight_bytes for layer in self.layers)


# ---- as an engine ------------------------------------------------------------------------------------------

_prepared: WeakKeyDictionary[CompressedLayer, dict[tuple[Arithmetic, int | None, bool], CpuLayer]] = (
    WeakKeyDictionary()
)


def prepared(
    layer: CompressedLayer, arithmetic: Arithmetic, threads: int | None = None, *, windows: bool = True
) -> CpuLayer:
    """The layer in the processor's form, which is kept for the next time."""
    kept = _prepared.setdefault(layer, {})
    key = arithmetic, threads, windows and layer.conv is not None
    if key not in kept:
        kept[key] = CpuLayer(layer, arithmetic, threads, windows=windows)
    return kept[key]


def simulate(layer: CompressedLayer, x: npt.ArrayLike, cfg: ArchConfig) -> Result:
    """One layer on one vector, int[cols]; a machine's memories do not matter here, only its widths.

    Raises
    ------
    LayerError : a layer or an input that does not fit the widths.
    """
    activations = as_activations(x, layer, cfg.act_bits).astype(np.int16)
    y = prepared(layer, Arithmetic.of(cfg), windows=False).run(activations[None])[0]
    return Result.uncounted(y, "cpu", cfg)


def run(jobs: Sequence[Job], threads: int | None = None) -> list[Result]:
    """Run jobs; neighbours of one layer and configuration as a batch. threads : as in `CpuLayer`."""
    results: list[Result] = []
    start = 0
    while start < len(jobs):
        first, stop = jobs[start], start
        while stop < len(jobs) and jobs[stop].layer is first.layer and jobs[stop].cfg == first.cfg:
            stop += 1
        x = np.stack([job.x for job in jobs[start:stop]]).astype(np.int16)
        ready = prepared(first.layer, Arithmetic.of(first.cfg), threads, windows=False)
        results += [Result.uncounted(y, "cpu", first.cfg) for y in ready.run(x)]
        start = stop
    return results


def compile_loops() -> None:
    """Small runs that reach every loop with the types of arguments that networks use, so that none compiles later."""
    codes = np.tile(np.arange(16), (20, 2))
    for codebook in (np.arange(16), np.arange(32)):
        image = Conv((2, 2), pool=(2, 2), size=(9, 9))
        for conv, cols in ((None, codes.shape[1]), (image, 4)):
            layer = CompressedLayer.from_codes(codes[:, :cols] % len(codebook), codebook, conv=conv)
            for acc_bits in (16, 32):
                network = CpuNetwork([layer], Arithmetic(acc_bits), threads=1)
                for batch in (1, 2 * LANE_STEP):
                    for kind in (np.float32, np.float64):
                        real = np.ones((batch, layer.inputs), kind)
                        network.run_real(real)
                        network.run(network.quantize(real))
