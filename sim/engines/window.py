"""Compiled loops of the fast engine for PEs that issue from a window of words: the law of docs/beyond.md.

PE after PE, group after group and entry after entry: what the law says of an entry takes a few operations, and the
accumulator's row tells of conflicts and bypasses alike. docs/fast.md explains it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from eie.jit import compiled, inlined
from eie.sim.engines.kernels import BYPASSES, EMPTY, ENTRIES, FILLED, ISSUE_CYCLES, POINTERS, READS

Array = npt.NDArray[Any]

# A cycle before which nothing has a row: further back than any bypass reaches.
_LONG_AGO = -(1 << 30)


class Runs(NamedTuple):
    """What the law needs of a matrix: entries in the order (group, PE, column).

    rows : uint16 or int32[entries], local rows. lengths : int32[groups, n_pe, 2], entries of both columns (of single
    ones the second is 0). words, slots : int32[groups, n_pe], place of the first. first : int64[groups], entries
    before the group. fillers : int32[groups, n_pe, 2], among the entries. units : int64[groups], of which the block
    table has this one and the next at hand (0: there is none).
    """

    rows: Array
    lengths: Array
    words: Array
    slots: Array
    first: Array
    fillers: Array
    units: Array


class Machine(NamedTuple):
    """Sizes and constants of the law (docs/beyond.md): the names there are depth D, issue W, window S."""

    group: int
    per_word: int
    depth: int
    issue: int
    window: int
    filters: bool
    acc_rows: int
    T0: int
    A: int
    B: int
    C: int


@compiled
def run_tables(
    v: Array,
    z: Array,
    pointers: Array,
    group: int,
    absolute: bool,
    fills: bool,
    rows: Array,
    lengths: Array,
    fillers: Array,
    first: Array,
) -> None:
    """Fill the tables of `Runs` (but for places and units) from interleaved entries; those passed in are zero.

    fills : an entry with code index 0 is a filler.
    """
    n_pe, cols = pointers.shape[0], pointers.shape[1] - 1
    base = np.zeros(n_pe, np.int64)
    for k in range(1, n_pe):
        base[k] = base[k - 1] + pointers[k - 1, cols]
    at = 0
    for u in range(lengths.shape[0]):
        first[u] = at
        for k in range(n_pe):
            for c in range(min(group, cols - u * group)):
                low = base[k] + pointers[k, u * group + c]
                high = base[k] + pointers[k, u * group + c + 1]
                lengths[u, k, c] = high - low
                row = -1
                for e in range(low, high):
                    row = int(z[e]) if absolute else row + z[e] + 1
                    fillers[u, k, c] += fills and v[e] == 0
                    rows[at] = row
                    at += 1


@inlined
def _credit(m: int, k: int, t: int, when: Array, kept: Array, ring: Array, depth: int, A: int, B: int) -> int:
    """The first cycle from `t` on in which PE k has credit for broadcast m.

    ring[k] holds when its last `depth` groups with entries started, the oldest at kept[k, 0]; kept[k, 1] tells for the
    last groups whether they had entries there. A group without any holds its credit for A - 1 cycles alone.
    """
    oldest = kept[k, 0]
    t = max(t, ring[k, oldest] + B)
    while True:
        held = 0
        u = m - 1
        while u >= 0 and when[u] + A - 1 + B > t:
            # Bit u of the history: whether the group had no entry here.
            held += (kept[k, 1] >> (m - 1 - u)) & 1
            u -= 1
        free = depth - held
        if held == 0:
            return t
        # No more than the last `free` of those that started may hold theirs.
        place = oldest - free if oldest >= free else oldest - free + depth
        if free > 0 and ring[k, place] + B <= t:
            return t
        t += 1


@compiled
def counters(runs: Any, x: Array, machine: Any, counted: Array) -> tuple[int, int]:
    """(cycles, broadcast_stalls) for the activations int64[cols]; fills the rows of `counted`, int64[9, n_pe]."""
    group, per_word, depth = machine.group, np.int32(machine.per_word), machine.depth
    issue, window, filters = machine.issue, machine.window, machine.filters
    A, B = machine.A, machine.B
    groups, n_pe = runs.words.shape
    when = np.empty(groups, np.int64)
    # Of each PE: the place in its ring, and a history of the last groups without entries.
    kept = np.zeros((n_pe, 2), np.int64)
    ring = np.full((n_pe, depth), _LONG_AGO, np.int32)
    tails = np.full((n_pe, window), -1, np.int64)
    fetched = np.full(n_pe, -1, np.int64)
    slices = np.zeros(n_pe, np.int64)
    now = np.full(n_pe, -1, np.int64)
    lane = np.full(n_pe, issue, np.int64)
    held = np.full(n_pe, -1, np.int64)
    seen = np.full((n_pe, machine.acc_rows), _LONG_AGO, np.int32)
    m = 0
    soonest = machine.T0
    unit = 0
    for u in range(groups):
        one = x[group * u] != 0
        two = group == 2 and group * u + 1 < x.size and x[group * u + 1] != 0
        if not one and not two:
            continue
        # The table goes from unit to unit, one a cycle, but for the next one.
        before = machine.T0 if m == 0 else when[m - 1] + 1
        bcast = max(soonest, before + max(0, runs.units[u] - unit - 1))
        unit = runs.units[u]
        when[m] = bcast
        m += 1
        soonest = bcast + 1
        at = runs.first[u]
        for k in range(n_pe):
            even, odd = runs.lengths[u, k, 0], runs.lengths[u, k, 1]
            e = at if one else at + even
            at += even + odd
            left = (even if one else np.int32(0)) + (odd if two else np.int32(0))
            kept[k, 1] <<= 1
            if left:
                counted[ENTRIES, k] += left
                counted[FILLED, k] += (runs.fillers[u, k, 0] if one else 0) + (
                    runs.fillers[u, k, 1] if two else 0
                )
                word, slot = runs.words[u, k], runs.slots[u, k]
                if not one:
                    slot += even
                    while slot >= per_word:
                        slot -= per_word
                        word += 1
            else:
                counted[EMPTY, k] += 1
                if filters:
                    kept[k, 1] |= 1
            if left or not filters:
                arrival = bcast + A
                t, taken, last_fetch = now[k], lane[k], fetched[k]
                mine = seen[k]
                bypasses = cycles = 0
                begins = True
                while True:
                    # A slice: what is left in this word.
                    i = slices[k]
                    start = max(last_fetch + 1, tails[k, i])
                    if begins:
                        start = max(start, arrival)
                        ring[k, kept[k, 0]] = start
                        kept[k, 0] = kept[k, 0] + 1 if kept[k, 0] + 1 < depth else 0
                        begins = False
                    if start + 1 > t:
                        t, taken = start + 1, 0
                    if left:
                        counted[READS, k] += held[k] != word
                        held[k] = word
                        count = min(left, per_word - slot)
                        for entry in range(e, e + count):
                            row = runs.rows[entry]
                            if taken == issue:
                                t += 1
                                taken = 0
                            before = mine[row]
                            if before == t:
                                t += 1
                                taken = 0
                            bypasses += t - before <= 2
                            cycles += taken == 0
                            mine[row] = t
                            taken += 1
                        e += count
                        left -= count
                        slot = np.int32(0)
                        word += np.int32(1)
                    else:
                        # A token without an entry takes a lane all the same.
                        if taken == issue:
                            t += 1
                            taken = 0
                        cycles += taken == 0
                        taken += 1
                    last_fetch = start
                    tails[k, i] = t
                    slices[k] = i + 1 if i + 1 < window else 0
                    if not left:
                        break
                now[k], lane[k], fetched[k] = t, taken, last_fetch
                counted[BYPASSES, k] += bypasses
                counted[ISSUE_CYCLES, k] += cycles
            soonest = max(soonest, _credit(m, k, soonest, when, kept, ring, depth, A, B))
    counted[POINTERS] = m
    if m == 0:
        return 0, 0
    last = when[m - 1]
    # A PE that has taken nothing adds nothing.
    cycles = last + A if filters else 0
    for k in range(n_pe):
        if now[k] >= 0:
            cycles = max(cycles, now[k] + machine.C)
    return cycles, last - machine.T0 + 1 - m


@compiled
def time_many(runs: Any, inputs: Array, machine: Any, counted: Array, totals: Array) -> None:
    """`counters` for each input vector, int64[batch, cols]."""
    for b in range(inputs.shape[0]):
        totals[b, 0], totals[b, 1] = counters(runs, inputs[b], machine, counted[b])
