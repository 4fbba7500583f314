"""Plans: layers of any size cut into passes that fit a given chip, placed in its memories, gathered into runs.

docs/plan.md says how; `make_plan` is the entry.
"""

from __future__ import annotations

import enum
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from eie.config import ArchConfig
from eie.csc import interleave
from eie.errors import CapacityError, LayerError
from eie.layer import CompressedLayer
from eie.schema import ConfigReg, WbTarget

# What ended a column batch.
WHOLE, SOURCE, POINTERS, MATRIX, REACH = "", "source file", "pointers", "matrix SRAM", "pointer width"


@dataclass(frozen=True, eq=False)
class Cut:
    """A part of a layer that one pass computes.

    layer : number of the layer in the network. part : its rows from `row` on and columns from `col` on, as a layer of
    its own, with the bias of these rows. first, last : of the batches of its tile. words : of the fullest PE's matrix
    SRAM. bound : what ended the batch (empty: the layer itself).
    """

    layer: int
    part: CompressedLayer
    row: int
    col: int
    first: bool
    last: bool
    words: int
    bound: str


def cut_layer(layer: CompressedLayer, cfg: ArchConfig, number: int = 0) -> list[Cut]:
    """Row tiles, and in each of them column batches, that fit the memories of one pass.

    Raises
    ------
    CapacityError : N columns of a tile that exceed a memory by themselves.
    """
    cuts: list[Cut] = []
    tile = cfg.n_pe * cfg.acc_depth
    for row in range(0, layer.rows, tile):
        rows = _rows_of(layer, row, min(row + tile, layer.rows))
        pointers = interleave(rows, cfg.n_pe, cfg.index_bits).pointers
        col = 0
        while col < layer.cols:
            stop, bound = _batch(pointers, col, cfg, layer)
            part = _columns_of(rows, col, stop)
            entries = int((pointers[:, stop] - pointers[:, col]).max())
            words = -(-entries // cfg.entries_per_word)
            cuts.append(Cut(number, part, row, col, col == 0, stop == layer.cols, words, bound))
            col = stop
    return cuts


def _batch(
    pointers: np.ndarray[tuple[int, int], np.dtype[np.int64]],
    col: int,
    cfg: ArchConfig,
    layer: CompressedLayer,
) -> tuple[int, str]:
    """End of the batch that begins with column `col`, and what ends it there."""
    n, cols = cfg.n_pe, pointers.shape[1] - 1
    # Ends where a batch may stop: multiples of N, because column j is PE j mod N's, and the layer's end.
    ends = np.append(np.arange(col + n, cols, n), cols)
    entries = (pointers[:, ends] - pointers[:, [col]]).max(axis=0)
    limits = {
        SOURCE: int((ends - col <= n * cfg.src_depth).sum()),
        POINTERS: int((ends - col + 1 <= 2 * cfg.ptr_bank_depth).sum()),
        MATRIX: int((entries <= cfg.spmat_words * cfg.entries_per_word).sum()),
        REACH: int((entries <= cfg.unpack_pointer((1 << cfg.pointer_bits) - 1)).sum()),
    }
    bound = min(limits, key=lambda name: limits[name])
    fitting = limits[bound]
    if fitting == len(ends):
        return cols, WHOLE
    if fitting == 0:
        width = int(ends[0]) - col
        needed = {POINTERS: f"{width + 1} pointers, of {2 * cfg.ptr_bank_depth}"}.get(
            bound, f"{int(entries[0])} entries, of {cfg.reachable_entries}"
        )
        raise CapacityError(
            f"layer {layer.name!r} has no plan for {n} PEs: its columns {col} to {col + width - 1} alone need {needed} "
            f"per PE ({bound}): use more PEs, fewer accumulators (smaller row tiles) or a larger memory"
        )
    return int(ends[fitting - 1]), bound


def _rows_of(layer: CompressedLayer, row: int, stop: int) -> CompressedLayer:
    """The rows `row` to `stop` - 1 of a layer."""
    if row == 0 and stop == layer.rows:
        return layer
    inside = (layer.indices >= row) & (layer.indices < stop)
    before = np.concatenate(([0], np.cumsum(inside, dtype=np.int64)))
    return replace(
        layer,
        shape=(stop - row, layer.cols),
        indptr=before[layer.indptr],
        indices=layer.indices[inside] - np.int32(row),
        codes=layer.codes[inside],
        bias=layer.bias[row:stop],
        conv=None,
    )


def _columns_of(layer: CompressedLayer, col: int, stop: int) -> CompressedLayer:
    """The columns `col` to `stop` - 1 of a layer."""
    if col == 0 and stop == layer.cols:
        return layer
    begin, end = layer.indptr[col], layer.indptr[stop]
    return replace(
        layer,
        shape=(layer.rows, stop - col),
        indptr=layer.indptr[col : stop + 1] - begin,
        indices=layer.indices[begin:end],
        codes=layer.codes[begin:end],
        conv=None,
    )


# ---- placing -----------------------------------------------------------------------------------------------


class Source(enum.Enum):
    """Where a layer's activations come from."""

    CHAIN = "the pass before wrote them into the source file"
    FILE = "the host writes them into the source file"
    SRAM = "refilled from the activation SRAM"


class Target(enum.Enum):
    """Where a layer's results go."""

    CHAIN = "into the source file of the next pass"
    ACC = "the host reads the accumulators"
    SRAM = "into the activation SRAM"


@dataclass(frozen=True)
class Place:
    """Where a layer's activations are. hosted : the SRAM cannot hold them. in_base, out_base : in the SRAM."""

    source: Source
    target: Target
    hosted: bool = False
    in_base: int = 0
    out_base: int = 0


@dataclass(frozen=True)
class Step:
    """A cut with its place: its entry of the pass table, and what the host does around it.

    number : of the entry. entry : value of each `ConfigReg`. group : passes of one load group stand in the memories
    together. The host writes the batch's activations into the source file before a step whose place has Source.FILE,
    the tile's biases into the accumulators before the first batch of a hosted layer, and reads the accumulators after
    the last batch of a tile with Target.ACC.
    """

    cut: Cut
    place: Place
    group: int
    number: int
    codebook: int
    entry: Mapping[ConfigReg, int]

    @property
    def needs_host(self) -> bool:
        """Whether the host must write registers files before it."""
        return self.place.source is Source.FILE or (self.place.hosted and self.cut.first)

    @property
    def is_read(self) -> bool:
        """Whether the host reads the accumulators after it."""
        return self.cut.last and self.place.target is Target.ACC


@dataclass(frozen=True)
class Run:
    """Steps between which the host does nothing. bound : what ended the run before it (empty: it is the first)."""

    steps: tuple[Step, ...]
    bound: str


@dataclass(frozen=True, eq=False)
class Plan:
    """A network on a chip.

    runs : in order. groups : load groups; with one, weights are loaded once and stay (resident).
    keeps_table : pass table and codebooks hold the whole network, and are written once.
    """

    layers: tuple[CompressedLayer, ...]
    cfg: ArchConfig
    runs: tuple[Run, ...]
    groups: int
    keeps_table: bool

    @property
    def resident(self) -> bool:
        """Whether weights are loaded once for all inputs."""
        return self.groups == 1

    @property
    def steps(self) -> list[Step]:
        """All steps in order."""
        return [step for run in self.runs for step in run.steps]


def make_plan(layers: Sequence[CompressedLayer], cfg: ArchConfig) -> Plan:
    """Plan a chain of layers on a chip; `docs/plan.md` has the rules.

    Raises
    ------
    LayerError : layers that do not follow on one another, or convolutions (each of them is planned by itself).
    CapacityError : no plan exists.
    """
    _check_chain(layers, cfg)
    cuts = [cut_layer(layer, cfg, number) for number, layer in enumerate(layers)]
    places, activation_words = _place(layers, cuts, cfg)
    books = _codebooks(layers)
    total = sum(len(of_layer) for of_layer in cuts)
    keeps_table = total <= cfg.passes and len(set(books)) <= cfg.codebooks
    steps = list(_steps(cuts, places, books, activation_words, cfg))
    return Plan(tuple(layers), cfg, tuple(_runs(steps, cfg, keeps_table)), steps[-1].group + 1, keeps_table)


def _check_chain(layers: Sequence[CompressedLayer], cfg: ArchConfig) -> None:
    if not layers:
        raise LayerError("a plan needs at least one layer")
    for layer in layers:
        layer.check(full=True)
        layer.check_widths(weight_bits=cfg.weight_bits, code_bits=cfg.code_bits, acc_bits=cfg.acc_bits)
        if layer.conv is not None and len(layers) > 1:
            raise LayerError(f"layer {layer.name!r} is a convolution: plan it by itself")
    for before, after in itertools.pairwise(layers):
        if before.rows != after.cols:
            raise LayerError(
                f"layer {after.name!r} takes {after.cols} activations, but {before.name!r} gives {before.rows}"
            )


def _codebooks(layers: Sequence[CompressedLayer]) -> list[int]:
    """Number of each layer's codebook; equal ones share a number."""
    known: dict[bytes, int] = {}
    return [known.setdefault(layer.codebook.tobytes(), len(known)) for layer in layers]


def _place(
    layers: Sequence[CompressedLayer], cuts: list[list[Cut]], cfg: ArchConfig
) -> tuple[list[Place], int]:
    """Where each layer's activations are, and the words of the activation SRAM that they take."""
    numbers = range(len(layers))
    tiles = [sum(cut.first for cut in of_layer) for of_layer in cuts]
    direct = [len(cuts[i]) == 1 and (i == 0 or tiles[i - 1] == 1) for i in numbers]
    bias = max(_per_pe(cut.part.rows, cfg) for of_layer in cuts for cut in of_layer)
    hosted = [False] * len(layers)
    while True:
        spans = [_sram_words(i, layers, direct, tiles, hosted, cfg) for i in numbers]
        widest = max(numbers, key=lambda i: sum(spans[i]))
        words = sum(spans[widest])
        if not words or words + bias <= cfg.act_words:
            break
        hosted[widest] = True
    # Beside the activations, biases must fit; where not even those of one tile do, the host writes them.
    hosted = [is_hosted or bias > cfg.act_words for is_hosted in hosted]
    places = []
    for i in numbers:
        before, after = i > 0 and not hosted[i - 1], i + 1 < len(layers)
        if hosted[i]:
            source, target = Source.FILE, Target.ACC
        else:
            source = Source.SRAM if not direct[i] else Source.CHAIN if before else Source.FILE
            to_host = hosted[i + 1] if after else tiles[i] == 1
            target = Target.ACC if to_host else Target.CHAIN if after and direct[i + 1] else Target.SRAM
        # Inputs at one end of the words, outputs at the other, in turn.
        ends = (0, words - _per_pe(layers[i].cols, cfg)), (0, words - _per_pe(layers[i].rows, cfg))
        places.append(Place(source, target, hosted[i], ends[0][i % 2], ends[1][1 - i % 2]))
    return places, words


def _sram_words(
    i: int,
    layers: Sequence[CompressedLayer],
    direct: list[bool],
    tiles: list[int],
    hosted: list[bool],
    cfg: ArchConfig,
) -> tuple[int, int]:
    """Words of the activation SRAM for layer i's inputs and outputs."""
    if hosted[i]:
        return 0, 0
    last = i + 1 == len(layers)
    keeps_outputs = tiles[i] > 1 if last else not direct[i + 1] and not hosted[i + 1]
    return (
        0 if direct[i] else _per_pe(layers[i].cols, cfg),
        _per_pe(layers[i].rows, cfg) if keeps_outputs else 0,
    )


def _per_pe(count: int, cfg: ArchConfig) -> int:
    return -(-count // cfg.n_pe)


def _steps(
    cuts: list[list[Cut]], places: list[Place], books: list[int], activation_words: int, cfg: ArchConfig
) -> Iterator[Step]:
    """Every cut with its places in the memories; a new load group begins where one of them is full."""
    group = words = pointers = biases = 0
    for number, cut in enumerate(itertools.chain.from_iterable(cuts)):
        place = places[cut.layer]
        rows, columns = _per_pe(cut.part.rows, cfg), _per_pe(cut.part.cols, cfg)
        bias = rows if cut.first and not place.hosted else 0
        if (
            words + cut.words > cfg.spmat_words
            or pointers + cut.part.cols + 1 > 2 * cfg.ptr_bank_depth
            or activation_words + biases + bias > cfg.act_words
        ):
            group, words, pointers, biases = group + 1, 0, 0, 0
        entry = dict.fromkeys(ConfigReg, 0) | {
            ConfigReg.PRODUCT_SHIFT: cut.part.product_shift,
            ConfigReg.OUTPUT_SHIFT: cut.part.output_shift,
            ConfigReg.RELU: int(cut.part.relu),
            ConfigReg.PTR_BASE: pointers,
            ConfigReg.SPMAT_BASE: words,
        }
        if cut.last:
            entry[ConfigReg.WB_ROWS] = rows
            entry[ConfigReg.WB_TARGET] = {Target.CHAIN: WbTarget.SRC, Target.SRAM: WbTarget.ACT_SRAM}.get(
                place.target, 0
            )
            if place.target is Target.SRAM:
                entry[ConfigReg.WB_BASE] = place.out_base + cut.row // cfg.n_pe
        if bias:
            entry |= {ConfigReg.ACC_ROWS: rows, ConfigReg.ACC_BASE: activation_words + biases}
        if place.source is Source.SRAM:
            entry |= {
                ConfigReg.SRC_ROWS: columns,
                ConfigReg.SRC_BASE: place.in_base + cut.col // cfg.n_pe,
            }
        yield Step(cut, place, group, number, books[cut.layer], entry)
        words, pointers, biases = words + cut.words, pointers + cut.part.cols + 1, biases + bias


def _runs(steps: Sequence[Step], cfg: ArchConfig, keeps_table: bool) -> Iterator[Run]:
    """Steps gathered into runs; where table and codebooks do not hold the network, numbered anew in each."""
    begin, bound = 0, ""
    books: dict[int, int] = {}
    for i, step in enumerate(steps):
        why = _break(steps[i - 1], step) if i else ""
        if not why and not keeps_table:
            if i - begin == cfg.passes:
                why = "pass table"
            elif step.codebook not in books and len(books) == cfg.codebooks:
                why = "codebooks"
        if why:
            yield Run(_numbered(steps[begin:i], books, keeps_table), bound)
            begin, bound, books = i, why, {}
        books.setdefault(step.codebook, len(books))
    yield Run(_numbered(steps[begin:], books, keeps_table), bound)


def _break(before: Step, step: Step) -> str:
    """Why a step does not run right after the one before it."""
    if step.group != before.group:
        return "weights"
    if step.needs_host or before.is_read:
        return "activations"
    return ""


def _numbered(steps: Sequence[Step], books: Mapping[int, int], keeps_table: bool) -> tuple[Step, ...]:
    return tuple(
        replace(
            step,
            number=step.number if keeps_table else i,
            codebook=step.codebook if keeps_table else books[step.codebook],
            entry=step.entry | {ConfigReg.CODEBOOK: step.codebook if keeps_table else books[step.codebook]},
        )
        for i, step in enumerate(steps)
    )
