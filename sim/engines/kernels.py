"""Compiled loops of the fast engine: the timing law with its counters. Values are those of `eie.values`.

docs/fast.md explains what each loop does, and why its cost follows the active entries.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from eie.jit import compiled

Array = npt.NDArray[Any]

# Rows of the column table: what the counters need to know of a column on a PE, int32[cols, FIELDS, n_pe].
LENGTH, FILLERS, FIRST, SECOND, BEFORE_LAST, LAST, FIRST_WORD, LAST_WORD = range(8)
FIELDS = 8
# Accumulator rows that no entry has, so that they compare as different: of a slot without an entry in the pipeline,
# and of an entry that a column does not have.
_IDLE, _ABSENT = -1, -2

# Rows of int64[COUNTED, n_pe]: the counters, in the order of `eie.schema.PeCounter`.
ENTRIES, FILLED, EMPTY, POINTERS, READS, BYPASSES, SATURATED, WRITEBACK_SATURATED, ISSUE_CYCLES = range(9)
COUNTED = 9


@compiled
def column_table(v: Array, z: Array, pointers: Array, per_word: int, absolute: bool = False) -> Array:
    """The column table of interleaved entries (`eie.csc.Interleaved`); `per_word` entries fill an SRAM word.

    absolute : z is an entry's row, and not the zeros before it.
    """
    n_pe, cols = pointers.shape[0], pointers.shape[1] - 1
    table = np.empty((cols, FIELDS, n_pe), np.int32)
    base = 0
    for k in range(n_pe):
        for j in range(cols):
            low, high = pointers[k, j], pointers[k, j + 1]
            first = second = _ABSENT
            row = before = _IDLE
            fillers = 0
            for e in range(low, high):
                before = row
                row = int(z[base + e]) if absolute else row + z[base + e] + 1
                fillers += v[base + e] == 0
                if e == low:
                    first = row
                elif e == low + 1:
                    second = row
            table[j, LENGTH, k] = high - low
            table[j, FILLERS, k] = fillers
            table[j, FIRST, k] = first
            table[j, SECOND, k] = second
            table[j, BEFORE_LAST, k] = before
            table[j, LAST, k] = row
            table[j, FIRST_WORD, k] = low // per_word
            table[j, LAST_WORD, k] = (high - 1) // per_word
        base += pointers[k, cols]
    return table


# ---- timing ------------------------------------------------------------------------------------------------

# Each of these loops over the PEs has few arrays: only then does LLVM prove them apart and use vector instructions.


@compiled
def _start(lengths: Array, arrival: np.int32, free: Array, gap: Array) -> np.int32:
    """Start a column on each PE that is `free`, `gap` cycles after it became so; the latest start."""
    latest = np.int32(0)
    for k in range(free.size):
        start = max(arrival, free[k])
        gap[k] = start - free[k]
        free[k] = start + max(lengths[k], np.int32(1))
        latest = max(latest, start)
    return latest


@compiled
def _broadcast(m: int, when: np.int32, latest: Array, depth: int, T0: int, B: int) -> np.int32:
    """Cycle of broadcast m, from that of the one before it and the latest start of each column before it."""
    after = np.int32(T0) if m == 0 else when + np.int32(1)
    return max(after, latest[m - depth] + np.int32(B)) if m >= depth else after


@compiled
def _largest(values: Array) -> np.int32:
    largest = values[0]
    for k in range(values.size):
        largest = max(largest, values[k])
    return largest


@compiled
def law(lengths: Array, depth: int, T0: int, A: int, B: int, C: int) -> tuple[int, int]:
    """(cycles, broadcast_stalls) of active columns with int32[M, n_pe] entries: docs/timing.md, "The law"."""
    columns, n_pe = lengths.shape
    if columns == 0:
        return 0, 0
    free, gap = np.zeros(n_pe, np.int32), np.zeros(n_pe, np.int32)
    latest = np.empty(columns, np.int32)
    when = np.int32(0)
    for m in range(columns):
        when = _broadcast(m, when, latest, depth, T0, B)
        latest[m] = _start(lengths[m], when + np.int32(A), free, gap)
    return int(_largest(free)) + C, int(when) - T0 + 1 - columns


@compiled
def _count_bypasses(column: Array, gap: Array, row1: Array, row2: Array, bypasses: Array) -> None:
    """Add the bypasses of a column: row1 and row2 were issued one and two cycles before the PE was free.

    An entry takes one when an entry issued a cycle or two before it has its row. Rows ascend within a column, so only
    its first two entries can meet such a one.
    """
    first, second = column[FIRST], column[SECOND]
    for k in range(gap.size):
        one = row1[k] if gap[k] == 0 else np.int32(_IDLE)
        late = row1[k] if gap[k] == 1 else np.int32(_IDLE)
        two = row2[k] if gap[k] == 0 else late
        bypasses[k] += np.int32((first[k] == one) | (first[k] == two)) + np.int32(second[k] == one)


@compiled
def _remember_rows(column: Array, gap: Array, row1: Array, row2: Array) -> None:
    """Rows issued in the last cycle of a column and in the one before, in the place of the column's before it."""
    lengths, before_last, last = column[LENGTH], column[BEFORE_LAST], column[LAST]
    for k in range(gap.size):
        one = row1[k] if gap[k] == 0 else np.int32(_IDLE)
        row2[k] = before_last[k] if lengths[k] > 1 else one
    for k in range(gap.size):
        row1[k] = last[k]


@compiled
def _count_reads(column: Array, held: Array, reads: Array) -> None:
    """Add the SRAM words of a column that are not the held one, and hold its last."""
    lengths, first, last = column[LENGTH], column[FIRST_WORD], column[LAST_WORD]
    for k in range(held.size):
        words = last[k] - first[k] + np.int32(held[k] != first[k])
        reads[k] += words if lengths[k] > 0 else np.int32(0)
    for k in range(held.size):
        before, after = held[k], last[k]
        held[k] = after if lengths[k] > 0 else before


@compiled
def _count_entries(column: Array, entries: Array, fillers: Array, empty: Array) -> None:
    lengths, filled = column[LENGTH], column[FILLERS]
    for k in range(entries.size):
        entries[k] += lengths[k]
    for k in range(entries.size):
        fillers[k] += filled[k]
    for k in range(entries.size):
        empty[k] += np.int32(lengths[k] == 0)


@compiled
def counters(
    table: Array, active: Array, depth: int, T0: int, A: int, B: int, C: int, counted: Array
) -> tuple[int, int]:
    """As `law`, for the `active` columns of a table; fills the first rows of `counted`."""
    columns, n_pe = active.size, table.shape[2]
    free, gap = np.zeros(n_pe, np.int32), np.zeros(n_pe, np.int32)
    row1, row2 = np.full(n_pe, _IDLE, np.int32), np.full(n_pe, _IDLE, np.int32)
    held = np.full(n_pe, _IDLE, np.int32)
    counts = np.zeros((BYPASSES + 1, n_pe), np.int32)
    latest = np.empty(columns, np.int32)
    when = np.int32(0)
    for m in range(columns):
        column = table[active[m]]
        when = _broadcast(m, when, latest, depth, T0, B)
        latest[m] = _start(column[LENGTH], when + np.int32(A), free, gap)
        _count_bypasses(column, gap, row1, row2, counts[BYPASSES])
        _remember_rows(column, gap, row1, row2)
        _count_reads(column, held, counts[READS])
        _count_entries(column, counts[ENTRIES], counts[FILLED], counts[EMPTY])
    # Loops: numba compiles the checks of shapes, with their messages, for longer than all of this.
    for k in range(n_pe):
        counts[POINTERS, k] = columns
        for counter in range(BYPASSES + 1):
            counted[counter, k] = counts[counter, k]
    if columns == 0:
        return 0, 0
    return int(_largest(free)) + C, int(when) - T0 + 1 - columns


# ---- batches -----------------------------------------------------------------------------------------------


@compiled
def time_many(
    table: Array, inputs: Array, depth: int, T0: int, A: int, B: int, C: int, counted: Array, totals: Array
) -> None:
    """`counters` for each input vector, int64[batch, cols].

    Fills counted, int64[batch, COUNTED, n_pe], and totals, int64[batch, 2]: cycles and broadcast_stalls.
    """
    for b in range(inputs.shape[0]):
        totals[b, 0], totals[b, 1] = counters(
            table, np.flatnonzero(inputs[b]), depth, T0, A, B, C, counted[b]
        )
