"""What runs on the chip: a `Program` is passes, loaded once and fed with inputs; a `Job` is one layer on one input.

A job is a program of one run. Golden and RTL run the same: writes and reads through the I/O port
(docs/architecture.md) of what `eie.memory` makes, in the order of `eie.host`. `eie.plan_program` makes the program of
a network.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from eie.capacity import check_fits
from eie.config import ArchConfig
from eie.csc import Interleaved
from eie.encoding import encode
from eie.errors import CapacityError, LayerError, MismatchError
from eie.fixed import limits
from eie.index_free import check_blocks
from eie.layer import CompressedLayer, as_activations
from eie.memory import (
    Block,
    PassEntry,
    PeImage,
    Write,
    codebook_block,
    image_spaces,
    images_of,
    scale_blocks,
    vector_block,
    weight_blocks,
)
from eie.result import Count
from eie.schema import IoSpace
from eie.segments import column_places, row_places, scattered
from eie.timing import busy_cycles, constants, refill_cycles, rows_per_pe


def check_layer(layer: CompressedLayer, cfg: ArchConfig) -> None:
    """Raise `LayerError` or `CapacityError` unless a layer is sound and fits a configuration."""
    check_entries(layer, cfg)
    check_fits(cfg, layer)


def check_entries(layer: CompressedLayer, cfg: ArchConfig) -> None:
    """Raise `LayerError` unless a layer is sound, and its numbers fit a configuration's widths."""
    layer.check(full=True)
    check_kind(layer, cfg)
    # The codes of blocks are numbered anew.
    bits = layer.weight_bits if cfg.index_free else cfg.weight_bits
    layer.check_widths(weight_bits=bits, code_bits=cfg.code_bits, acc_bits=cfg.acc_bits)


def check_kind(layer: CompressedLayer, cfg: ArchConfig) -> None:
    """Raise `LayerError` unless a layer is of a kind that a machine computes, whatever their sizes and widths."""
    if cfg.index_free:
        check_blocks(layer, cfg)
    if (layer.row_scale is not None) and not cfg.adder:
        what = "adds instead of multiplying" if layer.adder else "scales its rows"
        raise LayerError(f"layer {layer.name!r} {what}: the machine needs adder=1 (--preset adder)")


# Space, PE and address of a word.
Place = tuple[IoSpace, int, int]


@dataclass(frozen=True, eq=False)
class Transfer:
    """A stretch of a vector between the host and the chip.

    vector : which of the program's vectors. start, count : of its elements; `start` is a multiple of n_pe.
    space, addr : ACT, ACC or ACT_SRAM, from this address of every PE on: element start + i on PE i mod n_pe.
    step : element start + i stands where start + step * i would, with zeros between.
    at : where each element of the whole vector is among the `count` words (`eie.segments`), with zeros between; None:
        the stretch stands as it is.
    """

    vector: int
    start: int
    count: int
    space: IoSpace
    addr: int = 0
    step: int = 1
    at: npt.NDArray[np.int64] | None = None

    def block(self, vector: npt.NDArray[np.integer], cfg: ArchConfig) -> Block:
        """The writes that bring the stretch of `vector` to the chip."""
        if self.at is not None:
            return vector_block(self.space, self.addr, scattered(vector, self.at), cfg)
        apart = np.zeros(self.count * self.step, np.int64)
        apart[:: self.step] = vector[self.start : self.start + self.count]
        return vector_block(self.space, self.addr, apart, cfg)

    def places(self, cfg: ArchConfig) -> list[Place]:
        """Where each word is, to read them."""
        n = cfg.n_pe
        return [(self.space, i % n, self.addr + i // n) for i in range(0, self.count * self.step, self.step)]

    def store(self, vector: npt.NDArray[np.int64], words: Sequence[int], cfg: ArchConfig) -> None:
        """Put the words that were read at `places` into `vector`; only their low act_bits count."""
        low, high = limits(cfg.act_bits)
        span = high - low + 1
        values = [(word - low) % span + low for word in words]
        if self.at is None:
            vector[self.start : self.start + self.count] = values
        else:
            vector[:] = np.array(values, np.int64)[self.at]


def _whole(vector: int, places: npt.NDArray[np.int64], space: IoSpace, cfg: ArchConfig) -> Transfer:
    """A vector of a layer, whose elements are at these places."""
    return Transfer(vector, 0, int(places.max()) + 1, space, at=places if cfg.segments > 1 else None)


@dataclass(frozen=True, eq=False)
class Pass:
    """An entry of the pass table, and the part of a matrix that it computes, distributed over the PEs."""

    entry: PassEntry
    interleaved: Interleaved


@dataclass(frozen=True)
class Exit:
    """Where an input may be done before the last run. vector : its answer then, of the program's vectors.

    done : whether it is, from that vector; a simulator's process decides, so it has to pickle.
    """

    vector: int
    done: Callable[[npt.NDArray[np.int64]], bool]


@dataclass(frozen=True, eq=False)
class Run:
    """What one start does, and what the host does around it, for every input anew.

    first : number of the first pass; the others follow. loads : words that are no part of a vector (weights that do
    not stay, their entries of the pass table). sources : to the chip, after that. results : from it, when it is done.
    exit : with it, the runs behind this one start only for an input that is not done.
    """

    first: int
    passes: tuple[Pass, ...]
    loads: tuple[Block, ...] = ()
    sources: tuple[Transfer, ...] = ()
    results: tuple[Transfer, ...] = ()
    exit: Exit | None = None

    @property
    def last(self) -> int:
        """Number of the last pass."""
        return self.first + len(self.passes) - 1

    @property
    def refill_cycles(self) -> int:
        """Cycles in refill mode."""
        entries = [each.entry for each in self.passes]
        return sum(refill_cycles(e.acc_rows, e.src_rows, first=i == 0) for i, e in enumerate(entries))

    @property
    def writeback_cycles(self) -> int:
        """Cycles in write-back mode."""
        return sum(each.entry.wb_rows + 1 for each in self.passes)

    def check(self, count: Count, cfg: ArchConfig) -> None:
        """Hold what a machine counted against what is known of the run whatever its input, and against each other.

        Raises
        ------
        MismatchError : counts that cannot be.
        """
        passes, counted = len(self.passes), count.per_pe is not None
        for name in ("refill_cycles", "writeback_cycles") if counted else ():
            if getattr(count, name) != getattr(self, name):
                raise MismatchError(f"{name} are {getattr(count, name)}, not {getattr(self, name)}")
        # Compute mode takes a pass one cycle more than it counts, and one that counts none as many more as the tree.
        t0 = constants(cfg).T0
        rest = count.busy_cycles - self.refill_cycles - self.writeback_cycles - passes - count.cycles
        possible = rest in range(0, t0 * passes + 1, t0) if counted else rest >= t0 * passes
        if not possible:
            raise MismatchError(
                f"{count.busy_cycles} busy cycles are impossible with {count.cycles} in compute mode"
            )

    def busy_cycles(self, cycles: Sequence[int], cfg: ArchConfig) -> int:
        """Cycles from start to done, for the compute cycles of each pass by the timing law."""
        return busy_cycles(cycles, self.refill_cycles, self.writeback_cycles, cfg)

    def deadline(self, cfg: ArchConfig) -> int:
        """Cycles after which a run that has not ended never will, whatever its input."""
        k = constants(cfg)
        longest = []
        for each in self.passes:
            busiest = np.maximum(each.interleaved.lengths.max(axis=1), 1)
            longest.append(k.T0 + int(busiest.sum()) + len(busiest) * (k.A + k.B) + k.C)
        return self.busy_cycles(longest, cfg) + 100


@dataclass(frozen=True, eq=False)
class Program:
    """What a chip computes for each input vector: loaded once, then fed with inputs.

    setup : words that are loaded once. runs : one after the other for each input, up to the first exit at which it is
    done. vectors : length of each vector in the host's memory; the first is the input, the last the output, unless a
    run's exit names another one. name : for messages.

    Raises
    ------
    CapacityError : a pass that the table does not have, or a register that does not fit.
    """

    cfg: ArchConfig
    setup: tuple[Block, ...]
    runs: tuple[Run, ...]
    vectors: tuple[int, ...]
    name: str = "program"

    def __post_init__(self) -> None:
        for run in self.runs:
            if run.last >= self.cfg.passes:
                raise CapacityError(
                    f"{self.name} needs {run.last + 1} entries of the pass table, {self.cfg.passes} available"
                )
            for number, each in enumerate(run.passes, run.first):
                each.entry.check(self.cfg, f"{self.name}, pass {number}")

    @property
    def has_images(self) -> bool:
        """Whether images can stand for what is loaded once into the SRAMs."""
        return any(block.space in image_spaces(self.cfg) for block in self.setup)

    @cached_property
    def images(self) -> list[PeImage]:
        """What `setup` puts into each PE's SRAMs."""
        return images_of((block for block in self.setup if block.space in image_spaces(self.cfg)), self.cfg)

    @property
    def has_exits(self) -> bool:
        """Whether it depends on results which runs start."""
        return any(run.exit is not None for run in self.runs)

    @property
    def known_beforehand(self) -> bool:
        """Whether all that the host writes is known before the first cycle: no run takes what another gave the host,
        and none may be an input's last.
        """
        given = {result.vector for run in self.runs for result in run.results}
        return not self.has_exits and not any(
            source.vector in given for run in self.runs for source in run.sources
        )

    def setup_blocks(self, *, images: bool) -> list[Block]:
        """What loads the chip once; with `images` without what initialises the SRAMs."""
        return [block for block in self.setup if not (images and block.space in image_spaces(self.cfg))]

    def blocks(self, run: Run, vectors: Sequence[npt.NDArray[np.int64]]) -> list[Block]:
        """What the host writes before a run, when its vectors are these."""
        return [*run.loads, *(source.block(vectors[source.vector], self.cfg) for source in run.sources)]

    def host_vectors(self, x: npt.ArrayLike) -> list[npt.NDArray[np.int64]]:
        """The host's vectors before the first run, of which the first is the input.

        Raises
        ------
        LayerError : not a vector of integers of the right length and range.
        """
        vector = np.asarray(x)
        if vector.shape != (self.vectors[0],) or vector.dtype.kind not in "iu":
            raise LayerError(
                f"{self.name} takes a vector of {self.vectors[0]} integers, not {vector.dtype} of shape {vector.shape}"
            )
        low, high = limits(self.cfg.act_bits)
        if vector.size and not (low <= vector.min() and vector.max() <= high):
            raise LayerError(f"{self.name}: activations must be from {low} to {high}")
        return [vector.astype(np.int64), *(np.zeros(length, np.int64) for length in self.vectors[1:])]


@dataclass(frozen=True, eq=False)
class Job:
    """One layer and one input vector on one configuration, checked against it: a program of one run, and its input.

    Raises
    ------
    CapacityError, LayerError : the layer or the input does not fit.
    """

    layer: CompressedLayer
    x: npt.NDArray[np.int64]
    cfg: ArchConfig

    @classmethod
    def create(cls, layer: CompressedLayer, x: npt.ArrayLike, cfg: ArchConfig) -> Job:
        """Check and pair a layer, its input vector (int[cols]) and a configuration."""
        check_layer(layer, cfg)
        return cls(layer, as_activations(x, layer, cfg.act_bits), cfg)

    @cached_property
    def interleaved(self) -> Interleaved:
        """The layer distributed over the PEs."""
        return encode(self.layer, self.cfg)

    @cached_property
    def program(self) -> Program:
        """Pointers (or a block table) and entries are loaded once; the rest is for every input."""
        layer, cfg = self.layer, self.cfg
        entry = PassEntry.of_layer(layer, wb_rows=self.rows_per_pe)
        inputs, outputs = column_places(layer, cfg), row_places(layer, cfg)
        loads = (
            entry.block(0, cfg),
            codebook_block(layer, 0, cfg),
            vector_block(IoSpace.ACC, 0, scattered(layer.bias, outputs), cfg),
        )
        run = Run(
            0,
            (Pass(entry, self.interleaved),),
            loads,
            (_whole(0, inputs, IoSpace.ACT, cfg),),
            (_whole(1, outputs, IoSpace.ACC, cfg),),
        )
        setup = (*weight_blocks(self.interleaved, cfg), *scale_blocks(layer, entry.wb_base, cfg))
        return Program(cfg, setup, (run,), (layer.cols, layer.rows), layer.name)

    @property
    def images(self) -> list[PeImage]:
        """Memory contents of each PE."""
        return self.program.images

    @property
    def active(self) -> npt.NDArray[np.int64]:
        """Columns with a non-zero activation, ascending."""
        return np.flatnonzero(self.x)

    @property
    def rows_per_pe(self) -> int:
        """Accumulators in use on each PE."""
        return rows_per_pe(self.layer, self.cfg)

    @property
    def blocks(self) -> list[Block]:
        """Configuration, codebook, biases and activations: what every run of a layer loads."""
        return self.program.blocks(self.program.runs[0], [self.x])

    def load_writes(self) -> list[Write]:
        """What the port takes where images initialise the SRAMs: `blocks`, and a block table before them."""
        blocks = [*self.program.setup_blocks(images=True), *self.blocks]
        return [write for block in blocks for write in block.writes(self.cfg)]

    def weight_writes(self) -> list[Write]:
        """Pointers and entries: what has to be loaded once per layer, unless the images initialise the SRAMs."""
        spaces = image_spaces(self.cfg)
        blocks = [block for block in self.program.setup if block.space in spaces]
        return [write for block in blocks for write in block.writes(self.cfg)]
