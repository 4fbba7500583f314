"""The law of docs/beyond.md and docs/index_free.md, entry by entry in plain Python, and the counters from it."""

from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np

from eie.csc import Interleaved
from eie.timing import constants
from tests.support.cases import Case

Entry = tuple[int, int | None]  # place in the matrix memory, row


@dataclass
class Pe:
    """One PE: fetches, the cycle in which each slice's last entry is taken, and every entry taken."""

    fetched: list[int] = field(default_factory=list)
    used_up: list[int] = field(default_factory=list)
    taken: list[int] = field(default_factory=list)
    rows: list[int | None] = field(default_factory=list)
    released: list[int] = field(default_factory=list)
    word: int | None = None
    reads: int = 0
    empty: int = 0
    full: int = 0
    conflicts: int = 0
    cut: int = 0


@dataclass
class Outcome:
    """Cycles of a layer, the broadcast's, and what happened on each PE."""

    cycles: int
    bcast: list[int]
    pes: list[Pe]
    soonest: int

    @property
    def counters(self) -> dict[str, list[int] | int]:
        """By the names of a `Result`."""
        stalls = self.bcast[-1] - self.soonest + 1 - len(self.bcast) if self.bcast else 0
        return {
            "entries": [sum(row is not None for row in pe.rows) for pe in self.pes],
            "empty_columns": [pe.empty for pe in self.pes],
            "starved": [self.cycles - len(set(pe.taken)) for pe in self.pes],
            "broadcast_stalls": stalls,
            "ptr_reads": [len(self.bcast)] * len(self.pes),
            "spmat_reads": [pe.reads for pe in self.pes],
            "bypasses": [_bypasses(pe) for pe in self.pes],
        }


def _bypasses(pe: Pe) -> int:
    rows_at: dict[int, set[int]] = defaultdict(set)
    for when, row in zip(pe.taken, pe.rows, strict=True):
        if row is not None:
            rows_at[when].add(row)
    return sum(
        row is not None and any(row in rows_at.get(when - ahead, ()) for ahead in (1, 2))
        for when, row in zip(pe.taken, pe.rows, strict=True)
    )


def run_of(inter: Interleaved, k: int, group: int, x: np.ndarray, absolute: bool) -> list[Entry]:
    """The entries of a group's active columns on PE k."""
    _, z, pointers = inter.pe(k)
    width, place, entries = inter.group, int(inter.starts[k, group]), []
    for col in range(width * group, min(width * (group + 1), len(x))):
        places = z[pointers[col] : pointers[col + 1]].astype(int)
        rows = places if absolute else np.cumsum(places + 1) - 1
        if x[col]:
            entries += [(place + i, int(row)) for i, row in enumerate(rows)]
        place += len(places)
    return entries


def unit_of(case: Case, column: int) -> int:
    """What the block table of an index-free machine has at hand for a column; 0 without one."""
    structure = case.layer.blocks if case.cfg.index_free else None
    if structure is None:
        return 0
    if structure.order == "shuffled":
        return column // structure.blocks
    return next(b for b in range(structure.blocks) if column in structure.cols_of(b))


def law(case: Case) -> Outcome:
    """What the law gives for a case."""
    cfg, x = case.cfg, np.asarray(case.x)
    k, inter = constants(cfg), case.job.interleaved
    pes, bcast, unit = [Pe() for _ in range(cfg.n_pe)], [], 0
    for group in sorted({int(j) // cfg.group for j in np.flatnonzero(x)}):
        when = bcast[-1] + 1 if bcast else k.T0
        when += max(0, unit_of(case, group) - unit - 1)
        unit = unit_of(case, group)
        while any(sum(r + k.B > when for r in pe.released) >= cfg.queue_depth for pe in pes):
            when += 1
        bcast.append(when)
        for number, pe in enumerate(pes):
            entries = run_of(inter, number, group, x, not cfg.relative)
            pe.empty += not entries
            if not entries and cfg.filter_empty:
                pe.released.append(when + k.A - 1)
            else:
                _read(pe, case, when + k.A, entries or [(-1, None)])
    if not bcast:
        return Outcome(0, bcast, pes, k.T0)
    cycles = max(pe.taken[-1] for pe in pes if pe.taken) + k.C if any(pe.taken for pe in pes) else 0
    return Outcome(max(cycles, bcast[-1] + k.A) if cfg.filter_empty else cycles, bcast, pes, k.T0)


def _read(pe: Pe, case: Case, earliest: int, entries: list[Entry]) -> None:
    """A run: slice after slice."""
    per_word = case.cfg.entries_per_word
    words = [place // per_word for place, _ in entries]
    pe.cut += words[0] != words[-1]
    for word in dict.fromkeys(words):
        fetched = max(earliest, pe.fetched[-1] + 1 if pe.fetched else 0)
        if len(pe.used_up) >= case.cfg.window:
            pe.full += pe.used_up[-case.cfg.window] > fetched
            fetched = max(fetched, pe.used_up[-case.cfg.window])
        if word == words[0]:
            pe.released.append(fetched)
        pe.fetched.append(fetched)
        if word >= 0:  # not the entry that stands for none
            pe.reads += pe.word != word
            pe.word = word
        for place, row in entries:
            if place // per_word == word:
                _take(pe, case.cfg.issue, fetched + 1, row)
        pe.used_up.append(pe.taken[-1])


def _take(pe: Pe, lanes: int, earliest: int, row: int | None) -> None:
    when = max([earliest, *pe.taken[-1:]])
    if len(pe.taken) >= lanes:
        when = max(when, pe.taken[-lanes] + 1)
    beside = [r for t, r in zip(pe.taken[-lanes:], pe.rows[-lanes:], strict=True) if t == when]
    if row is not None and row in beside:
        pe.conflicts += 1
        when += 1
    pe.taken.append(when)
    pe.rows.append(row)
