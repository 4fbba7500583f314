"""The fast engine: the golden model's values, cycles and counters, without stepping through cycles.

The timing law (docs/timing.md) gives the cycle in which each column starts on each PE; what the counters count follows
from that and from a few facts of each column, which `prepare` collects once per layer. docs/fast.md has the details.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from eie import values
from eie.config import ArchConfig
from eie.csc import Encoding, Interleaved
from eie.encoding import encode
from eie.errors import ConfigError, LayerError
from eie.fixed import IntArray
from eie.layer import CompressedLayer, as_activations
from eie.program import Job, check_layer
from eie.result import Count, Result
from eie.segments import row_places
from eie.sim.engines import kernels
from eie.sim.engines.laws import Law, check_countable, law_of
from eie.timing import busy_cycles, constants, load_cycles, writeback_cycles
from eie.width_program import apart, check_width, step_of

# The last law of each layer: configurations that differ in other fields share it.
_latest: WeakKeyDictionary[CompressedLayer, tuple[tuple[Encoding, int, bool], Law]] = WeakKeyDictionary()


def timing(lengths: npt.NDArray[np.integer], cfg: ArchConfig, *, unbounded: bool = False) -> tuple[int, int]:
    """Evaluate the timing law: (cycles, broadcast_stalls). The same figures as `eie.timing.schedule`, compiled.

    Parameters
    ----------
    lengths : int[M, n_pe], entries (fillers included) of each active column on each PE, in broadcast order.
    unbounded : as if the activation queues never filled.

    Raises
    ------
    LayerError : lengths that are not such a matrix, or negative.
    CapacityError : the layer may take more cycles than are counted.
    ConfigError : a machine whose cycles do not follow from lengths alone.

    >>> timing(np.array([[3, 0]]), ArchConfig(n_pe=2))
    (10, 0)
    """
    k = constants(cfg)
    if not cfg.walks:
        raise ConfigError(
            "cycles follow from lengths only with group, issue and window 1 and filter_empty 0: use prepare(layer, cfg)"
        )
    if lengths.ndim != 2 or lengths.shape[1] != cfg.n_pe or lengths.dtype.kind not in "iu":
        raise LayerError(
            f"lengths must be integers [active columns, {cfg.n_pe}], not {lengths.dtype}{list(lengths.shape)}"
        )
    if lengths.size and lengths.min() < 0:
        raise LayerError(f"lengths must not be negative: {lengths.min()}")
    check_countable(int(lengths.max(initial=1)) * len(lengths), len(lengths), cfg)
    depth = len(lengths) if unbounded else cfg.queue_depth
    return kernels.law(np.ascontiguousarray(lengths, np.int32), depth, k.T0, k.A, k.B, k.C)


def prepare_width(layer: CompressedLayer, cfg: ArchConfig, share: int) -> Prepared:
    """A layer at one of its network's widths, in thousandths, as it runs from the whole layer's image.

    Raises
    ------
    LayerError, CapacityError, ConfigError : as `eie.width_program.check_width`.
    """
    check_width([layer], cfg)
    part = layer.narrowed(share)
    return Prepared(part, cfg, law_of(apart(layer, share, cfg), part.rows, cfg), step_of(share))


def prepare(layer: CompressedLayer, cfg: ArchConfig) -> Prepared:
    """Check and encode a layer for a configuration, to run it on any number of inputs.

    Raises
    ------
    CapacityError, LayerError : the layer does not fit the configuration.
    """
    check_layer(layer, cfg)
    key = (Encoding.of(cfg), cfg.entries_per_word, cfg.walks)
    found, law = _latest.get(layer, (None, None))
    if found != key or law is None:
        law = law_of(encode(layer, cfg), layer.rows, cfg)
        _latest[layer] = key, law
    return Prepared(layer, cfg, law)


@dataclass(frozen=True, eq=False)
class Prepared:
    """A layer encoded for a configuration. Made by `prepare`.

    step : input j is that of column step * j, with columns between whose input is 0.
    """

    layer: CompressedLayer
    cfg: ArchConfig
    law: Law
    step: int = 1

    @property
    def inter(self) -> Interleaved:
        """The layer distributed over the PEs."""
        return encode(self.layer, self.cfg)

    @property
    def lengths(self) -> npt.NDArray[np.int32]:
        """Entries, fillers included, of each column on each PE, int32[cols, n_pe]."""
        return self.inter.lengths.astype(np.int32)  # what `timing` computes with

    @cached_property
    def _load(self) -> int:
        cols, n = self.layer.cols, self.cfg.n_pe
        return load_cycles(self.layer, self.cfg) + n * (-(-cols * self.step // n) - -(-cols // n))

    @cached_property
    def _writeback(self) -> int:
        return writeback_cycles(self.layer, self.cfg)

    @cached_property
    def _stored(self) -> int:
        return int(row_places(self.layer, self.cfg).max()) + 1

    def run(self, x: npt.ArrayLike) -> Result:
        """Run the layer on one input vector, int[cols].

        Raises
        ------
        LayerError : an input that is not one of integers that fit.
        """
        return self._run(as_activations(x, self.layer, self.cfg.act_bits)[None])[0]

    def run_batch(self, inputs: npt.ArrayLike, *, threads: int | None = None) -> list[Result]:
        """Run the layer on input vectors, int[batch, cols], in `threads` threads (default: one for each core).

        Raises
        ------
        LayerError : inputs that are not a matrix of integers that fit.
        ConfigError : less than one thread.
        """
        if threads is None:
            threads = (
                len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
            )
        if threads < 1:
            raise ConfigError(f"threads must be at least 1, not {threads}")
        checked = [as_activations(x, self.layer, self.cfg.act_bits) for x in self._rows(inputs)]
        batch = np.array(checked, np.int64).reshape(len(checked), self.layer.cols)
        # Chunks in plenty, so that no core waits long for another.
        chunk = max(1, -(-len(batch) // (4 * threads)))
        chunks = [batch[first : first + chunk] for first in range(0, len(batch), chunk)]
        if threads == 1 or len(chunks) < 2:
            return [result for part in chunks for result in self._run(part)]
        with ThreadPoolExecutor(threads) as pool:
            return [result for results in pool.map(self._run, chunks) for result in results]

    def _rows(self, inputs: npt.ArrayLike) -> npt.NDArray[Any]:
        with contextlib.suppress(ValueError):  # rows of different lengths
            given = np.asarray(inputs)
            if given.ndim == 2:
                return given
        raise LayerError(f"inputs of layer {self.layer.name!r} must be a matrix [batch, {self.layer.cols}]")

    def _run(self, inputs: IntArray) -> list[Result]:
        batch = len(inputs)
        counted = np.zeros((batch, kernels.COUNTED, self.cfg.n_pe), np.int64)
        totals = np.zeros((batch, 2), np.int64)
        numbered = inputs
        if self.step > 1:
            numbered = np.zeros((batch, self.step * self.layer.cols), np.int64)
            numbered[:, :: self.step] = inputs
        self.law.count(numbered, self.cfg, counted, totals)
        y = self._compute(inputs, counted)
        return [self._result(*parts) for parts in zip(y, counted, totals, strict=True)]

    def _compute(self, inputs: IntArray, counted: IntArray) -> npt.NDArray[np.int16]:
        layer, cfg = self.layer, self.cfg
        span = slice(kernels.SATURATED, kernels.WRITEBACK_SATURATED + 1)
        if cfg.segments > 1:
            # Row i is not PE i mod n_pe's: as if each row had a PE, of which there is a power of two.
            by_row = 1 << (layer.rows - 1).bit_length()
            y, clipped = values.compute_many(layer, inputs, cfg.acc_bits, cfg.act_bits, by_row)
            pes = row_places(layer, cfg) % cfg.n_pe
            np.add.at(counted[:, span].T, pes, clipped[:, :, : layer.rows].T)
        else:
            y, counted[:, span] = values.compute_many(layer, inputs, cfg.acc_bits, cfg.act_bits, cfg.n_pe)
        return y

    def _result(self, y: npt.NDArray[np.int16], counted: IntArray, totals: IntArray) -> Result:
        cycles, stalls = totals.tolist()
        writeback = self._writeback
        busy = busy_cycles([cycles], 0, writeback, self.cfg)
        count = Count(cycles, stalls, 0, writeback, busy, counted)
        return Result(
            y=y,
            cycles=cycles,
            counters=count.counters,
            engine="fast",
            cfg=self.cfg,
            load_cycles=self._load,
            writeback_cycles=writeback,
            store_cycles=2 * self._stored,
            runs=(count,),
            y_frac=self.layer.y_frac,
            minima=self.layer.adder,
        )


def run(jobs: Sequence[Job]) -> list[Result]:
    """Run jobs, one after another those of different layers, in one batch those that share layer and configuration."""
    results: list[Result] = []
    start = 0
    while start < len(jobs):
        first = jobs[start]
        stop = start
        while stop < len(jobs) and jobs[stop].layer is first.layer and jobs[stop].cfg == first.cfg:
            stop += 1
        prepared = prepare(first.layer, first.cfg)
        if stop - start == 1:
            results.append(prepared.run(first.x))
        else:
            results += prepared.run_batch(np.stack([job.x for job in jobs[start:stop]]))
        start = stop
    return results
