"""Interleaved compressed-sparse-column encoding: from a layer to each PE's entries and pointers.

Row i belongs to PE i mod N, at local row i div N. In each column a PE's entry holds the number z of zeros before it,
and a run longer than the index field reaches is bridged by fillers (v = 0, z = max_run); or it holds its local row.
Columns may stand in pairs, of which each begins where it needs the fewest words. docs/formats.md is the reference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from eie.config import ArchConfig
from eie.layer import CompressedLayer


class Encoding(NamedTuple):
    """How entries stand in the matrix memory.

    index_bits : of a zero run; 0 for absolute rows. group : columns that stand together. per_word : entries of a word.
    index_free : entries have neither, and follow from the layer's blocks (`eie.index_free`). segments : of its
        broadcast.
    """

    n_pe: int
    index_bits: int
    group: int
    per_word: int
    index_free: bool = False
    segments: int = 1

    @classmethod
    def of(cls, cfg: ArchConfig) -> Encoding:
        """That of a configuration. Single columns stand without regard to words."""
        if cfg.index_free:
            return cls(cfg.n_pe, 0, 1, 0, index_free=True, segments=cfg.segments)
        index_bits = 0 if cfg.absolute else cfg.index_bits
        return cls(cfg.n_pe, index_bits, cfg.group, cfg.entries_per_word if cfg.group > 1 else 0)


@dataclass(frozen=True, eq=False)
class Interleaved:
    """A layer as the PEs see it.

    v, z : uint8[total], entries of PE 0 column after column, then of PE 1, ...; z is the zero run, or the local row.
    pointers : int64[n_pe, cols + 1], entries before each column on that PE (pointers[:, 0] = 0).
    skipped : int64[n_pe, groups], entries' places that are left free before each group; None where columns stand
        alone, one behind the other.
    """

    v: npt.NDArray[np.uint8]
    z: npt.NDArray[np.uint8]
    pointers: npt.NDArray[np.int64]
    skipped: npt.NDArray[np.int64] | None = None

    @property
    def n_pe(self) -> int:
        """Processing elements."""
        return self.pointers.shape[0]

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Entries of each column on each PE, int64[cols, n_pe]."""
        return np.diff(self.pointers, axis=1).T

    @property
    def base(self) -> npt.NDArray[np.int64]:
        """Where each PE's entries begin in `v` and `z`, int64[n_pe + 1]."""
        return np.concatenate(([0], np.cumsum(self.pointers[:, -1])))

    def pe(self, k: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
        """(v, z, pointers) of PE k."""
        base = self.base
        span = slice(base[k], base[k + 1])
        return self.v[span], self.z[span], self.pointers[k]

    @property
    def group(self) -> int:
        """Columns that stand together."""
        return 1 if self.skipped is None else 2

    @property
    def starts(self) -> npt.NDArray[np.int64]:
        """Place of each group's first entry in the PE's memory, in entries, int64[n_pe, groups]."""
        if self.skipped is None:
            return self.pointers[:, :-1]
        return self.pointers[:, :-1:2] + self.skipped

    @property
    def slots(self) -> npt.NDArray[np.int64]:
        """Places that each PE's entries take, those left free included, int64[n_pe]."""
        free = 0 if self.skipped is None else self.skipped[:, -1]
        return self.pointers[:, -1] + free

    @property
    def stored(self) -> int:
        """Entries that stand in the memories of all PEs."""
        return len(self.v)

    def places(self, k: int) -> npt.NDArray[np.int64]:
        """The place of each entry of PE k in its memory, in entries."""
        entries = np.arange(self.pointers[k, -1])
        if self.skipped is None:
            return entries
        of_group = np.diff(self.pointers[k, ::2], append=self.pointers[k, -1:])
        return entries + np.repeat(self.skipped[k], of_group[: self.skipped.shape[1]])

    def columns(self, col: int, stop: int, per_word: int = 0) -> Interleaved:
        """The columns `col` to `stop` - 1 alone: runs of zeros begin anew in each column.

        per_word : entries of a word, by which groups are placed anew; `col` is even then.
        """
        if col == 0 and stop == self.pointers.shape[1] - 1:
            return self
        base = self.base[:-1]
        spans = [
            slice(*span)
            for span in zip(base + self.pointers[:, col], base + self.pointers[:, stop], strict=True)
        ]
        pointers = self.pointers[:, col : stop + 1] - self.pointers[:, [col]]
        return Interleaved(
            np.concatenate([self.v[span] for span in spans]),
            np.concatenate([self.z[span] for span in spans]),
            pointers,
            None if self.skipped is None else _skipped(pointers, per_word),
        )


# The last encoding of each layer: a run asks for it again to size memories, to check them and to fill them.
_latest: WeakKeyDictionary[CompressedLayer, tuple[Encoding, Interleaved]] = WeakKeyDictionary()


def interleave(layer: CompressedLayer, n_pe: int, index_bits: int = 4) -> Interleaved:
    """Distribute a layer over `n_pe` PEs with relative indices of `index_bits` bits, fillers included.

    The arrays are read-only: the layer's last encoding is kept as long as the layer.

    >>> layer = CompressedLayer.from_codes([[0], [0], [1], [2]] + [[0]] * 18 + [[3]], [0, 5, 6, 7])
    >>> inter = interleave(layer, 1)
    >>> inter.v.tolist(), inter.z.tolist()
    ([1, 2, 0, 3], [2, 0, 15, 2])
    """
    return encoded(layer, Encoding(n_pe, index_bits, 1, 0))


def encoded(
    layer: CompressedLayer, encoding: Encoding, make: Callable[[], Interleaved] | None = None
) -> Interleaved:
    """A layer in this encoding, kept until another one is asked for. make : makes it (default: entries with rows)."""
    found, inter = _latest.get(layer, (None, None))
    if found != encoding or inter is None:
        inter = make() if make else _encode(layer, encoding)
        for array in (inter.v, inter.z, inter.pointers, inter.skipped):
            if array is not None:
                array.flags.writeable = False  # everybody who asks gets the same arrays
        _latest[layer] = encoding, inter
    return inter


def _encode(layer: CompressedLayer, encoding: Encoding) -> Interleaved:
    n_pe, index_bits = encoding.n_pe, encoding.index_bits
    # Stored entries sorted by (PE, column, row); a slot is a column on a PE.
    pe = (layer.indices % n_pe).astype(np.uint8)
    order = np.argsort(pe, kind="stable")
    slot = pe[order].astype(np.int64) * layer.cols + layer.column_of_entry()[order]
    local = (layer.indices // n_pe)[order]
    begins = np.ones(len(slot), bool)
    np.not_equal(slot[1:], slot[:-1], out=begins[1:])
    starts = np.flatnonzero(begins)
    counts = np.zeros(n_pe * layer.cols, np.int64)
    if index_bits:
        v, z, ends = _with_fillers(layer.codes[order], local, starts, index_bits)
        counts[slot[starts]] = np.diff(ends, prepend=0)
    else:
        v, z = layer.codes[order], local.astype(np.uint8)
        counts[slot[starts]] = np.diff(starts, append=len(local))
    pointers = np.zeros((n_pe, layer.cols + 1), np.int64)
    np.cumsum(counts.reshape(n_pe, layer.cols), axis=1, out=pointers[:, 1:])
    skipped = _skipped(pointers, encoding.per_word) if encoding.group > 1 else None
    return Interleaved(v, z, pointers, skipped)


def _with_fillers(
    codes: npt.NDArray[np.uint8],
    local: npt.NDArray[np.int32],
    starts: npt.NDArray[np.int64],
    index_bits: int,
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Entries (v, z) with fillers, and the end of each column's; `starts` are the columns' first stored entries."""
    zeros = np.empty_like(local)
    np.subtract(local[1:], local[:-1] + 1, out=zeros[1:])
    zeros[starts] = local[starts]
    # Where each stored entry comes to lie, behind the fillers that bridge to it.
    place = np.cumsum((zeros >> index_bits) + 1, dtype=np.int64) - 1
    total = int(place[-1]) + 1 if len(place) else 0
    v = np.zeros(total, np.uint8)
    z = np.full(total, (1 << index_bits) - 1, np.uint8)
    v[place] = codes
    z[place] = zeros & ((1 << index_bits) - 1)
    return v, z, np.append(place[starts[1:] - 1] + 1, total)[: len(starts)]


def group_lengths(pointers: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Entries of each pair of columns on each PE, int64[groups, n_pe]; an odd last column is a pair by itself."""
    bounds = pointers[:, ::2]
    if pointers.shape[1] % 2 == 0:
        bounds = np.concatenate([bounds, pointers[:, -1:]], axis=1)
    return np.ascontiguousarray(np.diff(bounds, axis=1).T)


def places_of_groups(
    lengths: npt.NDArray[np.int64], per_word: int
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """The place of each group's first entry on each PE, and the one behind its last; int64[n_pe] each.

    lengths : int64[groups, n_pe]. A group begins at the next even place of a word, and in a new word exactly if it
    touches fewer words there.
    """
    place = np.zeros(lengths.shape[1], np.int64)
    alone = -(-lengths // per_word)
    for length, words in zip(lengths, alone, strict=True):
        used = place % per_word
        even = used + used % 2
        # Where it would touch more words than it needs, it begins a word; without entries it stays where it is.
        crosses = (even + length + per_word - 1) // per_word > words
        start = place + np.where(length == 0, 0, np.where(crosses, per_word, even) - used)
        place = start + length
        yield start, place


def _skipped(pointers: npt.NDArray[np.int64], per_word: int) -> npt.NDArray[np.int64]:
    """`Interleaved.skipped` of pairs of columns."""
    starts = [start for start, _ in places_of_groups(group_lengths(pointers), per_word)]
    return np.ascontiguousarray(np.array(starts).T - pointers[:, :-1:2])
