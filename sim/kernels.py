"""Compiled loops of the fast engine: the timing law with its counters, and the arithmetic of one layer.

numba compiles them at their first call and keeps the machine code on disk. They release the GIL, so that threads run
them side by side. docs/fast.md explains what each loop does, and why its cost follows the active entries.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

# Rows of the column table: what the counters need to know of a column on a PE, int32[cols, FIELDS, n_pe].
LENGTH, FILLERS, FIRST, SECOND, BEFORE_LAST, LAST, FIRST_WORD, LAST_WORD = range(8)
FIELDS = 8
# Accumulator rows that no entry has, so that they compare as different: of a slot without an entry in the pipeline,
# and of an entry that a column does not have.
_IDLE, _ABSENT = -1, -2

# Rows of int64[COUNTED, n_pe]: the counters, in hardware's order but for ptr_reads, which is the same on every PE.
ENTRIES, FILLED, EMPTY, READS, BYPASSES, SATURATED, WRITEBACK_SATURATED = range(7)
COUNTED = 7


def _compiled(function: Any) -> Any:
    return numba.njit(cache=True, nogil=True, boundscheck=False)(function)


@_compiled
def column_table(v: Array, z: Array, pointers: Array, per_word: int) -> Array:
    """The column table of interleaved entries (`eie.csc.Interleaved`); `per_word` entries fill an SRAM word."""
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
                row += z[base + e] + 1
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


@_compiled
def law(lengths: Array, depth: int, T0: int, A: int, B: int, C: int) -> tuple[int, int]:
    """(cycles, broadcast_stalls) of active columns with int32[M, n_pe] entries: docs/timing.md, "The law"."""
    columns, n_pe = lengths.shape
    if columns == 0:
        return 0, 0
    free = np.zeros(n_pe, np.int32)
    # Only the latest start of a column matters to a later broadcast.
    latest = np.empty(columns, np.int32)
    when = np.int32(T0)
    for m in range(columns):
        if m > 0:
            when += np.int32(1)
        if m >= depth:
            when = max(when, latest[m - depth] + np.int32(B))
        arrival = when + np.int32(A)
        last = np.int32(0)
        row = lengths[m]
        for k in range(n_pe):
            start = max(arrival, free[k])
            free[k] = start + max(row[k], np.int32(1))
            last = max(last, start)
        latest[m] = last
    return int(free.max()) + C, int(when) - T0 + 1 - columns


@_compiled
def counters(
    table: Array, active: Array, depth: int, T0: int, A: int, B: int, C: int, counted: Array
) -> tuple[int, int]:
    """As `law`, for the `active` columns of a table; fills the first rows of `counted`.

    An entry takes a bypass when one issued a cycle or two before it has its row. Rows ascend within a column, so only
    the first two entries of a column can meet such a one: the last two of what the PE did before.
    """
    columns, n_pe = active.size, table.shape[2]
    state = np.zeros((9, n_pe), np.int32)
    free, row1, row2, held = state[0], state[1], state[2], state[3]
    entries, fillers, empty, reads, bypasses = state[4], state[5], state[6], state[7], state[8]
    # Rows issued one and two cycles before `free`; the word that SpmatRead holds.
    row1[:] = _IDLE
    row2[:] = _IDLE
    held[:] = _IDLE
    latest = np.empty(columns, np.int32)
    when = np.int32(T0)
    for m in range(columns):
        if m > 0:
            when += np.int32(1)
        if m >= depth:
            when = max(when, latest[m - depth] + np.int32(B))
        arrival = when + np.int32(A)
        last_start = np.int32(0)
        column = table[active[m]]
        for k in range(n_pe):
            length = column[LENGTH, k]
            start = max(arrival, free[k])
            gap = start - free[k]
            one = row1[k] if gap == 0 else np.int32(_IDLE)
            two = row2[k] if gap == 0 else (row1[k] if gap == 1 else np.int32(_IDLE))
            first = column[FIRST, k]
            bypasses[k] += np.int32((first == one) | (first == two)) + np.int32(column[SECOND, k] == one)
            row1[k] = column[LAST, k]
            row2[k] = column[BEFORE_LAST, k] if length > 1 else one
            some = np.int32(length > 0)
            word, last_word = column[FIRST_WORD, k], column[LAST_WORD, k]
            reads[k] += some * (last_word - word + np.int32(held[k] != word))
            held[k] = last_word if length > 0 else held[k]
            entries[k] += length
            fillers[k] += column[FILLERS, k]
            empty[k] += np.int32(1) - some
            free[k] = start + max(length, np.int32(1))
            last_start = max(last_start, start)
        latest[m] = last_start
    for k in range(n_pe):
        counted[ENTRIES, k] = entries[k]
        counted[FILLED, k] = fillers[k]
        counted[EMPTY, k] = empty[k]
        counted[READS, k] = reads[k]
        counted[BYPASSES, k] = bypasses[k]
    if columns == 0:
        return 0, 0
    return int(free.max()) + C, int(when) - T0 + 1 - columns


@_compiled
def accumulate(
    indptr: Array,
    rows: Array,
    codes: Array,
    codebook: Array,
    active: Array,
    x: Array,
    shift: int,
    low: int,
    high: int,
    acc: Array,
    saturated: Array,
) -> None:
    """Add the entries of each active column to `acc`, int32[rows], in order, saturating to low..high.

    A column's products take as many values as the codebook has codes, so they are rounded once for each code. Fillers
    add nothing and are left out. saturated : int64[n_pe], entries clipped; row i belongs to PE i mod n_pe.
    """
    pe_mask = np.uint32(saturated.size - 1)
    products = np.empty(256, np.int64)
    half = 1 << (shift - 1) if shift else 0
    for m in range(active.size):
        j = active[m]
        value = np.int64(x[j])
        for c in range(codebook.size):
            products[c] = (codebook[c] * value + half) >> shift
        span_rows = rows[indptr[j] : indptr[j + 1]]
        span_codes = codes[indptr[j] : indptr[j + 1]]
        for e in range(span_rows.size):
            row = span_rows[e]
            total = acc[row] + products[span_codes[e]]
            if total > high or total < low:
                total = high if total > high else low
                saturated[row & pe_mask] += 1
            acc[row] = total


@_compiled
def write_back(acc: Array, relu: bool, shift: int, low: int, high: int, y: Array, saturated: Array) -> None:
    """ReLU, rounding shift and saturation of every accumulator into `y`; saturated : int64[n_pe], rows clipped."""
    n_pe = saturated.size
    half = 1 << (shift - 1) if shift else 0
    for i in range(acc.size):
        exact = (np.int64(0) if relu and acc[i] < 0 else np.int64(acc[i])) + half >> shift
        clipped = max(low, min(exact, high))
        saturated[i % n_pe] += clipped != exact
        y[i] = clipped


@_compiled
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


@_compiled
def compute_many(
    indptr: Array,
    rows: Array,
    codes: Array,
    codebook: Array,
    bias: Array,
    inputs: Array,
    product_shift: int,
    acc_limits: tuple[int, int],
    relu: bool,
    output_shift: int,
    act_limits: tuple[int, int],
    y: Array,
    counted: Array,
) -> None:
    """The layer's values for each input vector: fills y, int16[batch, rows], and the saturations in `counted`."""
    acc = np.empty(bias.size, np.int32)
    for b in range(inputs.shape[0]):
        acc[:] = bias
        x = inputs[b]
        accumulate(
            indptr,
            rows,
            codes,
            codebook,
            np.flatnonzero(x),
            x,
            product_shift,
            acc_limits[0],
            acc_limits[1],
            acc,
            counted[b, SATURATED],
        )
        write_back(
            acc, relu, output_shift, act_limits[0], act_limits[1], y[b], counted[b, WRITEBACK_SATURATED]
        )
