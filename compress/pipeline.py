"""The whole way from a trained network to a compressed one, in one shot, and a report of what it did.

Layers go through one after the other, or several at a time in processes of their own: read, prune, share, choose
scales, quantise. Only the compressed ones are kept, so that a large file can stream through (`compress_to_file`).
"""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from eie.compress.blocks import imposed, recognised
from eie.compress.float_layers import (
    FloatArray,
    FloatLayer,
    Layers,
    LayerSource,
    Unused,
    check_chains,
    check_inputs,
    no_chain,
    whole_ratio,
)
from eie.compress.format.file import EncodedLayer, measure, save_encoded
from eie.compress.format.sizes import LayerSize, SizeReport
from eie.compress.prune import Mask, keep_above, keep_density
from eie.compress.quantize import Scales, Widths, first_x_frac, quantize_layer
from eie.compress.share import SharedLayer, SharingError, share
from eie.errors import ModelError
from eie.fixed import IntArray, quantize
from eie.layer import CompressedLayer
from eie.shown import counted

# Without calibration inputs: so many vectors of independent numbers, even in [0, 1), from this seed.
FALLBACK_INPUTS = 64
FALLBACK_SEED = 1

# What the network's layers may come as: trained, pruned and shared already, or in a file.
Given = FloatLayer | SharedLayer | LayerSource
Task = TypeVar("Task")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Settings:
    """How to compress: one for all layers, or one for each.

    density : share of the weights to keep (0..1]; one for all layers or one for each. threshold : keep what is larger
    than so many standard deviations of its layer; likewise. With neither, only zero weights are left out.
    weight_bits : bits of a code index; None for the fewest at which sharing moves a layer's surviving weights by at
    most `sharing_error` of their norm. widths : of the fixed-point numbers, and the headroom of their scales. blocks :
    of a fully connected layer only the weights in so many shuffled blocks are kept, whatever its density (0: none).

    A layer that is shared already (a `SharedLayer`, or one with no more than 2**weight_bits - 1 distinct weights) keeps
    its weights as they are; of a `SharedLayer` nothing is pruned either.
    """

    density: Sequence[float] = ()
    threshold: Sequence[float] = ()
    weight_bits: int | None = 4
    widths: Widths = field(default_factory=Widths)
    sharing_error: float = 0.05
    blocks: int = 0

    def for_each(self, count: int) -> list[Settings]:
        """The settings of each of `count` layers.

        Raises
        ------
        ModelError : both density and threshold, or a number of them that is neither 1 nor the layers'.
        """
        if self.density and self.threshold:
            raise ModelError("give density or threshold, not both")
        values = self.threshold or self.density
        if len(values) not in (0, 1, count):
            what = "thresholds" if self.threshold else "densities"
            raise ModelError(f"{len(values)} {what} for {count} layers: give 1 or {count}")
        if len(values) < 2:
            return [self] * count
        if self.threshold:
            return [replace(self, threshold=(value,)) for value in values]
        return [replace(self, density=(value,)) for value in values]

    def mask(self, layer: FloatLayer) -> Mask:
        """Which weights of a layer survive, by the first density or threshold."""
        if self.threshold:
            return keep_above(layer.weight, self.threshold[0])
        return keep_density(layer.weight, self.density[0] if self.density else 1.0)

    def per_layer(self, layers: Sequence[FloatLayer]) -> list[Mask]:
        """Which weights of each layer survive. Raises `ModelError` as `for_each`."""
        return [s.mask(layer) for s, layer in zip(self.for_each(len(layers)), layers, strict=True)]


@dataclass(frozen=True)
class LayerReport:
    """What became of one layer.

    relative_error : |W - W'| / |W| in the Frobenius norm, W' as the accelerator sees it (pruned, shared, rounded);
    pruning_error : the part of pruning alone. size : in the file.
    """

    name: str
    rows: int
    cols: int
    nnz: int
    density: float
    pruning_error: float
    relative_error: float
    scales: Scales
    weight_bits: int
    relu: bool
    size: LayerSize

    @property
    def bits_per_weight(self) -> float:
        """Bits in the file per stored weight, with everything but the header."""
        return 8 * self.size.nbytes / max(self.nnz, 1)


@dataclass(frozen=True)
class CompressionReport:
    """What became of a network. calibration : one line that says which inputs the scales follow from.

    unused : what of the network is in no layer, where that is known (`eie.compress.train.save`).
    """

    layers: tuple[LayerReport, ...]
    size: SizeReport
    calibration: str
    unused: tuple[Unused, ...] = ()

    def __repr__(self) -> str:
        layers = counted(len(self.layers), "layer")
        return f"CompressionReport({layers}: {self.size.told}; scales from {self.calibration})"

    @property
    def whole_ratio(self) -> float:
        """How many times smaller the network is with what is in no layer."""
        left = sum(one.nbytes for one in self.unused)
        return whole_ratio(self.size.dense_bytes, self.size.total_bytes, left)


# ---- one layer ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Prepared:
    """A layer, pruned and shared, and what that changed."""

    shared: SharedLayer
    error: SharingError
    widths: Widths


@dataclass(frozen=True, eq=False)
class _Outcome:
    """A layer, compressed, with the figures of its report that the float weights are needed for."""

    layer: CompressedLayer
    scales: Scales
    pruning_error: float
    relative_error: float

    def report(self) -> Callable[[LayerSize], LayerReport]:
        """The layer's report, but for its size in the file."""
        layer = self.layer
        return partial(
            LayerReport,
            layer.name,
            layer.rows,
            layer.cols,
            layer.nnz,
            layer.density,
            self.pruning_error,
            self.relative_error,
            self.scales,
            layer.weight_bits,
            layer.relu,
        )


@dataclass(frozen=True, eq=False)
class _Activations:
    """Inputs of a layer, [batch, inputs], in float and in fixed point with x_frac fraction bits."""

    real: FloatArray
    exact: IntArray
    x_frac: int

    @classmethod
    def of(cls, x: FloatArray, widths: Widths) -> _Activations:
        x_frac = first_x_frac(x, widths)
        return cls(x, quantize(x, x_frac, widths.act_bits), x_frac)


def _prepare(task: tuple[Given, Settings]) -> _Prepared:
    given, settings = task
    layer = given.load() if isinstance(given, LayerSource) else given
    if isinstance(layer, SharedLayer):
        return _Prepared(recognised(layer), SharingError.none(layer), settings.widths)
    if settings.blocks and layer.conv is None:
        shared = imposed(layer, settings.blocks, settings.weight_bits, settings.sharing_error)
    else:
        shared = recognised(share(layer, settings.mask(layer), settings.weight_bits, settings.sharing_error))
    return _Prepared(shared, SharingError.of(layer.weight, shared), settings.widths)


def _finish(done: _Prepared, x: _Activations) -> tuple[_Outcome, _Activations]:
    """The compressed layer, its scales chosen for inputs x, and its outputs."""
    layer, scales, real, exact = quantize_layer(done.shared, x.real, x.exact, x.x_frac, done.widths)
    # Of the codes as they were shared: in blocks, those whose values became the same are one code of the layer.
    table = np.ldexp(
        quantize(done.shared.centroids, layer.w_frac, done.widths.code_bits).astype(np.float64), -layer.w_frac
    )
    outcome = _Outcome(
        layer, scales, done.error.of_pruning, done.error.with_codes(done.shared.centroids, table)
    )
    return outcome, _Activations(real, exact, scales.y_frac)


def _random_inputs(count: int) -> FloatArray:
    return np.random.default_rng(FALLBACK_SEED).random((FALLBACK_INPUTS, count))


def _alone(task: tuple[Given, Settings], vectors: FloatArray | None = None) -> _Outcome:
    """A layer by itself, on vectors [n, columns] (default: random): of a convolution, what its window sees."""
    done = _prepare(task)
    conv, matrix = done.shared.conv, replace(done.shared, conv=None)
    x = _Activations.of(_random_inputs(matrix.inputs) if vectors is None else vectors, done.widths)
    outcome, _ = _finish(replace(done, shared=matrix), x)
    return replace(outcome, layer=replace(outcome.layer, conv=conv, follows=task[0].follows))


def _encode(outcome: _Outcome) -> tuple[EncodedLayer, Callable[[LayerSize], LayerReport]]:
    return EncodedLayer.of(outcome.layer), outcome.report()


def _alone_encoded(task: tuple[Given, Settings]) -> tuple[EncodedLayer, Callable[[LayerSize], LayerReport]]:
    return _encode(_alone(task))


# ---- a network ---------------------------------------------------------------------------------------------


def _in_processes(work: Callable[[Task], Result], tasks: Iterator[Task], processes: int) -> Iterator[Result]:
    """Results in order; at most one task more than there are processes has been taken and not been answered."""
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        waiting: deque[Future[Result]] = deque()
        try:
            for task in tasks:
                waiting.append(pool.submit(work, task))
                if len(waiting) > processes:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool:
            raise ModelError(
                "a process ended before its layer was compressed: there may be too little memory for "
                f"{processes} processes"
            ) from None
        finally:
            for future in waiting:
                future.cancel()


def _each(work: Callable[[Task], Result], tasks: Iterator[Task], processes: int) -> Iterator[Result]:
    return map(work, tasks) if processes == 1 else _in_processes(work, tasks, processes)


@dataclass(frozen=True, eq=False)
class _Network:
    """A network to compress, its arguments verified."""

    layers: Sequence[Given]
    settings: list[Settings]
    x: FloatArray | None
    chained: bool
    processes: int

    @classmethod
    def of(
        cls,
        layers: Sequence[FloatLayer | SharedLayer],
        settings: Settings | Sequence[Settings] | None,
        calibration: npt.ArrayLike | None,
        processes: int,
    ) -> _Network:
        # A file's layers are read when their turn comes; what the header says is enough here.
        given: Sequence[Given] = layers.sources if isinstance(layers, Layers) else layers
        if not given:
            raise ModelError("a network needs at least one layer")
        for one in given:
            if isinstance(one, LayerSource) and one.refused:
                where = f"{one.place}: " if one.place else ""
                raise ModelError(f"{where}layer {one.name!r}: {one.refused} (--layer chooses others)")
        if processes < 1:
            raise ModelError(f"processes must be at least 1, not {processes}")
        if settings is None or isinstance(settings, Settings):
            each = (settings or Settings()).for_each(len(given))
        elif len(settings) == len(given):
            each = [one.for_each(1)[0] for one in settings]
        else:
            raise ModelError(f"{len(settings)} settings for {len(given)} layers: give 1 or {len(given)}")
        if len({one.widths.act_bits for one in each}) > 1:
            raise ModelError(
                "act_bits must be the same in all layers: one's outputs are the next one's inputs"
            )
        x = None
        if calibration is not None:
            check_chains(given)
            x = check_inputs(calibration, given[0].inputs, given[0].name)
        return cls(given, each, x, not no_chain(given), processes)

    def outcomes(self) -> Iterator[_Outcome]:
        """Each layer compressed, in order; calibrated with the outputs of the one before it if they are chained."""
        tasks = zip(self.layers, self.settings, strict=True)
        if not self.chained:
            yield from _each(_alone, tasks, self.processes)
            return
        x = None
        for done in _each(_prepare, tasks, self.processes):
            if x is None:
                real = _random_inputs(done.shared.inputs) if self.x is None else self.x
                x = _Activations.of(real, done.widths)
            outcome, x = _finish(done, x)
            del done  # its memory is better used for coding the outcome
            yield outcome

    def encoded(self) -> Iterator[tuple[EncodedLayer, Callable[[LayerSize], LayerReport]]]:
        """What the file holds of each layer, and its report but for the size."""
        if self.chained:
            return map(_encode, self.outcomes())
        return _each(_alone_encoded, zip(self.layers, self.settings, strict=True), self.processes)

    @property
    def calibration(self) -> str:
        """Which inputs the scales follow from."""
        if self.x is not None:
            return f"{len(self.x)} calibration inputs"
        text = (
            f"{FALLBACK_INPUTS} random vectors, uniform in [0, 1), seed {FALLBACK_SEED} "
            "(no calibration inputs given)"
        )
        return (
            text
            if self.chained
            else text + ", for each layer by itself (the layers do not follow one another)"
        )


def compress_network(
    layers: Sequence[FloatLayer | SharedLayer],
    settings: Settings | Sequence[Settings] | None = None,
    calibration: npt.ArrayLike | None = None,
    processes: int = 1,
) -> tuple[list[CompressedLayer], CompressionReport]:
    """Prune, share, choose scales, quantise. Nothing is trained; the same input gives the same result.

    Parameters
    ----------
    layers : the network, of `FloatLayer`, or `SharedLayer` where a layer is pruned and shared already.
    settings : one for all layers, or one for each.
    calibration : inputs of the first layer, [batch, inputs]; see `eie.compress.quantize` for what follows from them.
    processes : layers worked on at a time, each in a process of its own; the result is the same. A script that asks
        for more than 1 must start behind `if __name__ == "__main__":`, as multiprocessing demands.

    Raises
    ------
    ModelError : settings that do not fit the layers; calibration inputs of the wrong shape, or layers that they
        cannot run through.
    """
    network = _Network.of(layers, settings, calibration, processes)
    outcomes = list(network.outcomes())
    compressed = [outcome.layer for outcome in outcomes]
    size = measure(compressed)
    reports = tuple(o.report()(of_layer) for o, of_layer in zip(outcomes, size.layers, strict=True))
    return compressed, CompressionReport(reports, size, network.calibration)


def _each_outcome(
    layers: Sequence[FloatLayer | SharedLayer],
    vectors: Sequence[npt.ArrayLike | None],
    settings: Settings | Sequence[Settings] | None,
) -> Iterator[_Outcome]:
    network = _Network.of(layers, settings, None, 1)
    for given, one, met in zip(network.layers, network.settings, vectors, strict=True):
        yield _alone((given, one), None if met is None else check_inputs(met, given.shape[1], given.name))


def compress_each(
    layers: Sequence[FloatLayer | SharedLayer],
    vectors: Sequence[npt.ArrayLike | None],
    settings: Settings | Sequence[Settings] | None = None,
) -> list[CompressedLayer]:
    """As `compress_network`, for layers of a graph: `vectors` are what each one's matrix meets, [n, its columns]
    (None where that is not known: random ones).

    Raises
    ------
    ModelError : settings that do not fit the layers; vectors of the wrong shape, or none.
    """
    return [outcome.layer for outcome in _each_outcome(layers, vectors, settings)]


def compress_each_to_file(
    path: str | os.PathLike[str],
    layers: Sequence[FloatLayer | SharedLayer],
    vectors: Sequence[npt.ArrayLike | None],
    settings: Settings | Sequence[Settings] | None = None,
    graph: bytes = b"",
) -> CompressionReport:
    """`compress_each` into a `.eie` file. graph : an ONNX message that says what lies between the layers.

    Errors as there, and OutputError : the file cannot be written.
    """
    encoded, reports = zip(*map(_encode, _each_outcome(layers, vectors, settings)), strict=True)
    size = save_encoded(path, encoded, graph)
    each = tuple(report(of_layer) for report, of_layer in zip(reports, size.layers, strict=True))
    most = max(len(np.asarray(met)) for met in vectors if met is not None)
    return CompressionReport(each, size, f"up to {most} vectors that each matrix met")


def compress_to_file(
    path: str | os.PathLike[str],
    layers: Sequence[FloatLayer | SharedLayer],
    settings: Settings | Sequence[Settings] | None = None,
    calibration: npt.ArrayLike | None = None,
    processes: int = 1,
) -> CompressionReport:
    """`compress_network` into a `.eie` file, for networks that do not fit into memory.

    Each layer is written when it is done, and not kept. With the layers of `read_model` the memory needed is that of
    the largest layer (times the processes), whatever the sizes of the two files.

    Raises
    ------
    ModelError : as `compress_network`. OutputError : the file cannot be written.
    """
    network = _Network.of(layers, settings, calibration, processes)
    reports: list[Callable[[LayerSize], LayerReport]] = []

    def encoded() -> Iterator[EncodedLayer]:
        for layer, report in network.encoded():
            reports.append(report)
            yield layer
            del layer  # written: its memory is better used for the next one

    size = save_encoded(path, encoded())
    each = tuple(report(of_layer) for report, of_layer in zip(reports, size.layers, strict=True))
    return CompressionReport(each, size, network.calibration)
