"""Cycles and counters of any machine, slowly: the recurrence of docs/beyond.md (and docs/index_free.md) as written.

It has its own encoding (docs/formats.md) and its own sums (`product` and `clip`), from the dense matrix: nothing of
`eie.csc` or of an engine.
"""

import math
from dataclasses import dataclass, field, replace

import numpy as np

from eie.blocks import BlockStructure
from eie.config import ArchConfig
from eie.layer import CompressedLayer
from tests.support.cases import Case

A_ROW = None  # the row of a token without an entry


@dataclass
class Outcome:
    """What the law gives for a case: cycles; counters by the names of a `Result`, one of each PE but for the stalls of
    the broadcast, and without the two of saturations; and what happened on the way, in words."""

    cycles: int
    counters: dict[str, list[int] | int]
    events: set[str]


@dataclass
class Slice:
    """Entries (column, v, local row) of one word that are read for one group; word None: a token without an entry."""

    group: int
    word: int | None
    entries: list[tuple[int, int, int]]
    F: int = 0
    T: list[int] = field(default_factory=list)


def runs_of_pe(layer: CompressedLayer, x: list[int], cfg: ArchConfig, k: int) -> list[list[Slice]]:
    """The slices of PE k for each group that is broadcast."""
    if cfg.index_free:
        return runs_of_blocks(layer, x, cfg, k)
    per_word = cfg.word_bits // cfg.entry_bits
    codes = layer.dense_codes()[k :: cfg.n_pe]
    columns = []
    for j in range(layer.cols):
        entries, row = [], -1
        for local in range(len(codes)):
            if not codes[local, j]:
                continue
            if cfg.row_format == "relative":
                while local - row - 1 >= 1 << cfg.index_bits:
                    row += 1 << cfg.index_bits
                    entries.append((j, 0, row))
            entries.append((j, int(codes[local, j]), local))
            row = local
        columns.append(entries)
    free, placed = 0, []
    for u in range(0, layer.cols, cfg.group):
        members = columns[u : u + cfg.group]
        length = sum(map(len, members))
        if cfg.group > 1 and length:
            free += free % per_word % 2
        slot = free % per_word
        if cfg.group > 1 and length and math.ceil((slot + length) / per_word) > math.ceil(length / per_word):
            free += per_word - slot
        group = []
        for entries in members:
            group.append([(free + i, entry) for i, entry in enumerate(entries)])
            free += len(entries)
        placed.append(group)
    runs = []
    for u, group in enumerate(placed):
        active = [c for c in range(len(group)) if x[cfg.group * u + c]]
        if not active:
            continue
        entries = [at for c in active for at in group[c]]
        words = sorted({place // per_word for place, _ in entries})
        number = len(runs)
        runs.append(
            [Slice(number, w, [entry for place, entry in entries if place // per_word == w]) for w in words]
            or ([] if cfg.filter_empty else [Slice(number, None, [(-1, 0, A_ROW)])])
        )
    return runs


def runs_of_blocks(layer: CompressedLayer, x: list[int], cfg: ArchConfig, k: int) -> list[list[Slice]]:
    """The slices of PE k of an index-free machine: places by arithmetic, zeros in blocks as well."""
    structure, dense, n = layer.blocks, layer.dense_codes(), cfg.n_pe
    assert structure is not None
    per_word = cfg.word_bits // cfg.weight_bits
    known: dict[tuple[int, tuple[int, int], bytes], int] = {}
    free, first = 0, []
    for b in range(structure.blocks):
        rows, cols = structure.rows_of(b), structure.cols_of(b)
        content = dense[np.ix_(rows, cols)]
        key = (int(rows[0]) % n, content.shape, content.tobytes())
        first.append(known.setdefault(key, free))
        if first[-1] == free:
            free += math.ceil(len(rows) / n) * len(cols)
    runs: list[list[Slice]] = []
    for j in range(layer.cols):
        if not x[j]:
            continue
        b = block_of(layer, j)
        rows, within = structure.rows_of(b).tolist(), structure.cols_of(b).tolist().index(j)
        start = first[b] + within * math.ceil(len(rows) / n)
        here = [(j, 1 + int(dense[row, j]), row // n) for row in rows if row % n == k]
        words = sorted({(start + i) // per_word for i in range(len(here))})
        runs.append(
            [
                Slice(len(runs), w, [entry for i, entry in enumerate(here) if (start + i) // per_word == w])
                for w in words
            ]
        )
    return runs


def block_of(layer: CompressedLayer, column: int) -> int:
    """The block of a column."""
    assert layer.blocks is not None
    return next(b for b in range(layer.blocks.blocks) if column in layer.blocks.cols_of(b))


def units(case: Case) -> list[int]:
    """For each broadcast what the block table of an index-free machine has at hand; zeros without one."""
    structure, active = case.layer.blocks, [j for j, value in enumerate(case.x) if value]
    if not case.cfg.index_free or structure is None:
        return [0] * len(active)
    if structure.order == "shuffled" and structure.blocks > 1:
        return [j // structure.blocks for j in active]
    return [block_of(case.layer, j) for j in active]


def constants(cfg: ArchConfig) -> tuple[int, int, int, int]:
    """T0, A, B, C."""
    levels, reach = 1, 4
    while reach < cfg.n_pe // cfg.group:
        levels, reach = levels + 1, 4 * reach
    return levels, 2 + cfg.bus_registers + cfg.index_free, 1, 4 + cfg.lookup_register


def segment_cases(case: Case) -> list[Case | None]:
    """A case as machines side by side: each segment's blocks on its PEs; None without blocks. From the dense matrix."""
    structure, dense = case.layer.blocks, case.layer.dense_codes()
    assert structure is not None
    machine = case.cfg.replace(n_pe=case.cfg.n_pe // case.cfg.segments, segments=1)
    cases: list[Case | None] = []
    for blocks in np.array_split(np.arange(structure.blocks), case.cfg.segments):
        if not blocks.size:
            cases.append(None)
            continue
        rows = np.concatenate([structure.rows_of(b) for b in blocks])
        cols = np.sort(np.concatenate([structure.cols_of(b) for b in blocks]))
        part = replace(
            CompressedLayer.from_codes(
                dense[np.ix_(rows, cols)], case.layer.codebook, name=case.layer.name, relu=case.layer.relu
            ),
            bias=case.layer.bias[rows],
            product_shift=case.layer.product_shift,
            output_shift=case.layer.output_shift,
            blocks=BlockStructure(len(rows), len(cols), len(blocks), structure.order),
        )
        cases.append(Case(part, np.asarray(case.x)[cols], machine, case.kind, case.seed))
    return cases


def law_of_segments(case: Case) -> Outcome:
    """The slowest segment's cycles; counters PE after PE; the stalls of all."""
    pes = case.cfg.n_pe // case.cfg.segments
    found = [one and law(one) for one in segment_cases(case)]
    cycles = max(one.cycles for one in found if one)
    some = next(one for one in found if one)
    nothing = Outcome(0, {n: 0 if isinstance(v, int) else [0] * pes for n, v in some.counters.items()}, set())
    of_pes: dict[str, list[int]] = {}
    stalls = 0
    for one in (one or nothing for one in found):
        for name, values in one.counters.items():
            if isinstance(values, int):
                stalls += values
            else:
                late = cycles - one.cycles if name == "starved" else 0
                of_pes.setdefault(name, []).extend(value + late for value in values)
    events = set.union(*(one.events for one in found if one))
    return Outcome(cycles, {"broadcast_stalls": stalls, **of_pes}, events)


def law(case: Case) -> Outcome:
    """What the law gives for a case."""
    if case.cfg.segments > 1:
        return law_of_segments(case)
    cfg = case.cfg
    T0, A, B, C = constants(cfg)
    W, S, D = cfg.issue, cfg.window, cfg.queue_depth
    runs = [runs_of_pe(case.layer, [int(value) for value in case.x], cfg, k) for k in range(cfg.n_pe)]
    groups = len(runs[0])
    events: set[str] = set()
    slices: list[list[Slice]] = [[] for _ in range(cfg.n_pe)]
    issued: list[list[tuple[int, int | None]]] = [[] for _ in range(cfg.n_pe)]  # (T, row) of each entry
    rel: list[list[int]] = [[] for _ in range(cfg.n_pe)]
    bcast: list[int] = []
    at_hand = [0, *units(case)]
    for m in range(groups):
        t = T0 if m == 0 else bcast[-1] + 1
        if at_hand[m + 1] > at_hand[m] + 1:
            events.add("a unit passed over")
            t += at_hand[m + 1] - at_hand[m] - 1
        while any(sum(r + B > t for r in rel[k]) >= D for k in range(cfg.n_pe)):
            t += 1
        bcast.append(t)
        for k in range(cfg.n_pe):
            mine, done = slices[k], issued[k]
            rel[k].append(t + A - 1)
            if len(runs[k][m]) > 1:
                events.add("a slice that ends in a word")
            for number, one in enumerate(runs[k][m]):
                one.F = t + A
                if mine:
                    one.F = max(one.F, mine[-1].F + 1)
                if len(mine) >= S and mine[-S].T[-1] > one.F:
                    events.add("a full window")
                    one.F = mine[-S].T[-1]
                if number == 0:
                    rel[k][-1] = one.F
                mine.append(one)
                for _, _, row in one.entries:
                    T = one.F + 1
                    if done:
                        T = max(T, done[-1][0])
                    if len(done) >= W:
                        T = max(T, done[-W][0] + 1)
                    if row is not A_ROW and any(at == T and other == row for at, other in done[-W:]):
                        events.add("two entries of one row in a cycle")
                        T += 1
                    one.T.append(T)
                    done.append((T, row))
    cycles = stalls = 0
    if groups:
        last = [done[-1][0] + C for done in issued if done]
        cycles = max([*last, bcast[-1] + A] if cfg.filter_empty else last)
        stalls = bcast[-1] - T0 + 1 - groups
    counters = _counters(runs, slices, issued, groups, cycles)
    events |= {"an empty group"} if any(counters["empty_columns"]) else set()
    return Outcome(cycles, {"broadcast_stalls": stalls, **counters}, events)


def _counters(runs, slices, issued, groups: int, cycles: int) -> dict[str, list[int]]:
    counters: dict[str, list[int]] = {}
    for k in range(len(runs)):
        mine = [one for one in slices[k] if one.word is not None]
        entries = [entry for one in mine for entry in one.entries]
        words = [one.word for one in mine]
        rows = [(T, row) for T, row in issued[k] if row is not A_ROW]
        counts = {
            "entries": len(entries),
            "fillers": sum(v == 0 for _, v, _ in entries),
            "macs": sum(v != 0 for _, v, _ in entries),
            "empty_columns": sum(all(one.word is None for one in run) for run in runs[k]),
            "starved": cycles - len({T for T, _ in issued[k]}),
            "ptr_reads": groups,
            "spmat_reads": sum(i == 0 or words[i - 1] != word for i, word in enumerate(words)),
            "bypasses": sum(
                any(row == other and 1 <= T - at <= 2 for at, other in rows[max(0, i - 12) : i])
                for i, (T, row) in enumerate(rows)
            ),
        }
        for name, value in counts.items():
            counters.setdefault(name, []).append(value)
    return counters
