"""A network at any of its widths from one image of its weights: a pointer base for each width (docs/learn.md).

The entries of a narrower width are the first ones of each column, because rows ascend in a column. A machine reads a
column's begin and end from neighbouring pointers, of which the end is the next column's begin as well. So that both
can be chosen freely, a narrower width has column j at number 2j, and number 2j + 1, whose input is always 0, begins
where the width's entries of column j end.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from eie.config import ArchConfig, bits_for
from eie.csc import Interleaved
from eie.encoding import encode
from eie.errors import CapacityError, ConfigError, LayerError
from eie.layer import CompressedLayer
from eie.memory import Block, PassEntry, codebook_block, pack_pointers, vector_block, weight_blocks
from eie.prefix import THOUSAND, shares_of
from eie.program import Pass, Program, Run, Transfer, check_entries
from eie.schema import IoSpace


class _Placed(NamedTuple):
    """A layer in the memories. word : of the matrix SRAM; columns : pointer base of each width, by share."""

    layer: CompressedLayer
    whole: Interleaved
    word: int
    columns: dict[int, int]


@dataclass(frozen=True)
class Demand:
    """What a network with all its widths needs of each PE: words and entries of the matrix SRAM, the most entries of a
    layer, pointers, source activations, accumulators.
    """

    words: int
    entries: int
    pointers: int
    src_depth: int
    acc_depth: int


def _numbers(layer: CompressedLayer, share: int) -> int:
    """Column numbers that a layer takes at a width."""
    return step_of(share) * layer.narrowed(share).cols


def _place(layers: Sequence[CompressedLayer], cfg: ArchConfig) -> tuple[list[_Placed], Demand]:
    if cfg.group > 1 or cfg.index_free:
        raise ConfigError(
            "one image for all widths wants columns with pointers of their own: a machine without pairs of columns "
            "(group = 1) and with indices"
        )
    shares, placed = shares_of(layers), []
    words = pointers = most = source = rows = 0
    for layer in layers:
        check_entries(layer, cfg)
        whole = encode(layer, cfg)
        columns = {}
        for share in shares:
            columns[share] = pointers
            numbers = _numbers(layer, share)
            pointers += cfg.pointers_for(numbers) + cfg.pointers_for(numbers) % 2
            source = max(source, -(-numbers // cfg.n_pe))
        placed.append(_Placed(layer, whole, words, columns))
        entries = int(whole.slots.max())
        most, rows = max(most, entries), max(rows, -(-layer.rows // cfg.n_pe))
        words += -(-entries // cfg.entries_per_word)
    return placed, Demand(words, most, pointers, source, rows)


def sized_for_widths(
    cfg: ArchConfig, layers: Sequence[CompressedLayer], *, together: bool = False
) -> ArchConfig:
    """The smallest configuration with the PEs, queue and widths of `cfg` that holds each layer at all its widths.

    together : it holds all layers at a time (`width_program`), instead of each by itself.

    Raises
    ------
    ConfigError : a machine with pairs of columns, or without indices. LayerError : layers of other widths.
    """
    shares_of(layers)
    each = [_place(group, cfg)[1] for group in ([layers] if together else [[layer] for layer in layers])]
    need = Demand(*(max(getattr(one, name) for one in each) for name in vars(each[0])))
    reach = max(4, cfg.sel_bits + 1, bits_for(cfg.pack_pointer(need.entries)))
    return cfg.replace(
        entries=max(1, need.words) * cfg.entries_per_word,
        pointers=need.pointers,
        src_depth=need.src_depth,
        acc_depth=need.acc_depth,
        pointer_bits=reach,
    )


def step_of(share: int) -> int:
    """How far apart the numbers of a layer's columns are at a width."""
    return 1 if share == THOUSAND else 2


def check_width(layers: Sequence[CompressedLayer], cfg: ArchConfig) -> None:
    """Raise `LayerError`, `CapacityError` or `ConfigError` unless a machine holds layers with all their widths."""
    _check_fits(_place(layers, cfg)[1], cfg)


def _check_fits(need: Demand, cfg: ArchConfig) -> None:
    available = Demand(cfg.spmat_words, cfg.pointer_reach, cfg.pointer_room, cfg.src_depth, cfg.acc_depth)
    names = (
        "words of the matrix SRAM",
        "entries of a layer",
        "pointers",
        "source activations",
        "accumulators",
    )
    pairs = zip(names, vars(need).values(), vars(available).values(), strict=True)
    short = [f"{one} {name} needed, {two} available" for name, one, two in pairs if one > two]
    if short:
        raise CapacityError(
            f"the network with all its widths does not fit {cfg.n_pe} PEs; per PE: {'; '.join(short)} "
            "(more PEs, or --sized)"
        )


def apart(layer: CompressedLayer, share: int, cfg: ArchConfig) -> Interleaved:
    """A layer's whole image as a narrower width sees it: columns 2j are its own, 2j + 1 the rest of column j."""
    whole, part = encode(layer, cfg), encode(layer.narrowed(share), cfg)
    if share == THOUSAND:
        return whole
    cols = part.pointers.shape[1] - 1
    seen = whole.columns(0, cols)
    begin = seen.pointers[:, :-1]
    bounds = np.stack([begin, begin + np.diff(part.pointers, axis=1)], axis=2).reshape(len(begin), 2 * cols)
    return Interleaved(seen.v, seen.z, np.concatenate([bounds, seen.pointers[:, -1:]], axis=1))


def _setup(placed: Sequence[_Placed], cfg: ArchConfig) -> list[Block]:
    """Weights once, and pointers of every width."""
    blocks: list[Block] = []
    for layer, whole, word, columns in placed:
        blocks += weight_blocks(whole, cfg, word=word, column=columns[THOUSAND])
        for share, column in columns.items():
            if share == THOUSAND:
                continue
            # Nothing is read behind the begin of the last rest.
            bounds = pack_pointers(apart(layer, share, cfg).pointers[:, :-1], cfg)
            blocks += [Block(IoSpace.PTR, k, column, row.tolist()) for k, row in enumerate(bounds)]
    return blocks


def width_program(
    layers: Sequence[CompressedLayer], cfg: ArchConfig, share: int = THOUSAND, name: str = "network"
) -> Program:
    """A network at one of its widths. What is loaded once is the same for all of them.

    Parameters
    ----------
    layers : matrices, each of which takes what the one before gives; convolutions are the host's to cut into vectors.
    share : the width, in thousandths.

    Raises
    ------
    LayerError : no such width; layers that do not follow on one another, or a convolution.
    CapacityError : the memories are too small (`sized_for_widths`). ConfigError : a machine that cannot run it.
    """
    parts = [layer.narrowed(share) for layer in layers]
    for before, after in itertools.pairwise(parts):
        if before.rows != after.cols:
            raise LayerError(
                f"layer {after.name!r} takes {after.cols} activations, but {before.name!r} gives {before.rows}"
            )
    if any(layer.conv for layer in layers):
        raise LayerError("one image for all widths is for matrices, and this network has a convolution")
    placed, need = _place(layers, cfg)
    _check_fits(need, cfg)
    setup = tuple(_setup(placed, cfg))
    runs = []
    for number, (part, place) in enumerate(zip(parts, placed, strict=True)):
        registers = {
            "wb_rows": -(-part.rows // cfg.n_pe),
            "ptr_base": place.columns[share],
            "spmat_base": min(place.word, cfg.spmat_words - 1),
        }
        entry = PassEntry.of_layer(part, **registers)
        loads = (
            entry.block(0, cfg),
            codebook_block(part, 0, cfg),
            vector_block(IoSpace.ACC, 0, part.bias, cfg),
        )
        source = Transfer(number, 0, part.cols, IoSpace.ACT, step=step_of(share))
        result = Transfer(number + 1, 0, part.rows, IoSpace.ACC)
        runs.append(Run(0, (Pass(entry, encode(part, cfg)),), loads, (source,), (result,)))
    return Program(cfg, setup, tuple(runs), (parts[0].cols, *(part.rows for part in parts)), name)
