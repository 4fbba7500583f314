"""Compiled loops of the coders: Huffman's, and the adaptive arithmetic code. docs/formats.md is the reference.

numba compiles them at their first call and keeps the machine code on disk. Import this module where it is used, not at
the top: `import eie` and the command line's help do without numba.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def _compiled(function: Any) -> Any:
    return numba.njit(cache=True, nogil=True, boundscheck=False)(function)


def _inlined(function: Any) -> Any:
    # A call that hands over several arrays costs more than what these functions do.
    return numba.njit(inline="always", nogil=True, boundscheck=False)(function)


# ---- Huffman -----------------------------------------------------------------------------------------------


# Unsigned, so that an index needs no look for negative ones.
_U = np.uint64


@_compiled
def histogram(symbols: Array) -> Array:
    """How often each symbol occurs, int64[256]."""
    # Four tables: runs of one symbol would wait for their own additions.
    counts = np.zeros((4, 256), np.int64)
    whole = symbols.size // 4 * 4
    for i in range(0, whole, 4):
        counts[0, symbols[i]] += 1
        counts[1, symbols[i + 1]] += 1
        counts[2, symbols[i + 2]] += 1
        counts[3, symbols[i + 3]] += 1
    for i in range(whole, symbols.size):
        counts[0, symbols[i]] += 1
    return counts.sum(axis=0)


@_compiled
def huffman_encode(symbols: Array, words: Array, out: Array) -> None:
    """Code words of `symbols` into `out`, most significant bit first.

    words : uint64[256], each symbol's word shifted left by 4, and its length (at most 15) in the low 4 bits.
    `out` holds 8 bytes more than the code words need.
    """
    pending, held, place = _U(0), _U(0), _U(0)
    for pair in range(symbols.size // 2):
        first, second = words[symbols[2 * pair]], words[symbols[2 * pair + 1]]
        pending = (pending << (first & _U(15))) | (first >> _U(4))
        pending = (pending << (second & _U(15))) | (second >> _U(4))
        held += (first & _U(15)) + (second & _U(15))
        if held >= _U(32):
            held -= _U(32)
            four = np.uint32(pending >> held)
            out[place] = four >> np.uint32(24)
            out[place + _U(1)] = four >> np.uint32(16)
            out[place + _U(2)] = four >> np.uint32(8)
            out[place + _U(3)] = four
            place += _U(4)
    if symbols.size % 2:
        entry = words[symbols[symbols.size - 1]]
        pending = (pending << (entry & _U(15))) | (entry >> _U(4))
        held += entry & _U(15)
    left = np.int64(held)
    for i in range((left + 7) // 8):
        out[place + _U(i)] = (pending << _U(64 - left)) >> _U(56 - 8 * i)


@_compiled
def huffman_table(symbol_at: Array, length_at: Array, shift: int) -> Array:
    """What the next 15 - `shift` bits hold, up to four whole symbols, uint64[2**(15 - shift)].

    symbol_at, length_at : of the next 15 bits. Bits 0 to 31 of an entry: the symbols; 32 to 34: how many; from 40 on:
    bits that they take. A pattern whose first word is longer than it has none.
    """
    width = 15 - shift
    table = np.zeros(1 << width, np.uint64)
    for pattern in range(table.size):
        used, count, packed = np.int64(0), 0, _U(0)
        while count < 4:
            # Bits behind the pattern are unknown: a word counts only if it ends inside.
            rest = (pattern << shift << used) & 0x7FFF
            length = np.int64(length_at[rest])
            if length == 0 or used + length > width:
                break
            packed |= _U(symbol_at[rest]) << _U(8 * count)
            used += length
            count += 1
        table[pattern] = packed | _U(count) << _U(32) | _U(used) << _U(40)
    return table


@_compiled
def huffman_decode(
    data: Array, symbol_at: Array, length_at: Array, table: Array, shift: int, symbols: Array
) -> np.int64:
    """Decode into `symbols` all of them; the bits taken, or -1 at a pattern that no symbol has.

    `data` has 16 bytes of padding behind its end. Words that would lie behind it are read from the padding: the caller
    compares the bits taken with those there are.
    """
    count, done, place, end = _U(symbols.size), _U(0), _U(0), _U(8 * (data.size - 16))
    drop = _U(49 + shift)
    # Three look-ups of at most 15 bits each from the next 57; each writes four symbols, those too many are overwritten.
    while done + _U(12) <= count and place < end:
        at = place >> _U(3)
        bits = (
            _U(data[at]) << _U(56)
            | _U(data[at + _U(1)]) << _U(48)
            | _U(data[at + _U(2)]) << _U(40)
            | _U(data[at + _U(3)]) << _U(32)
            | _U(data[at + _U(4)]) << _U(24)
            | _U(data[at + _U(5)]) << _U(16)
            | _U(data[at + _U(6)]) << _U(8)
            | _U(data[at + _U(7)])
        ) << (place & _U(7))
        for _ in range(3):
            entry = table[bits >> drop]
            if entry == _U(0):  # a word longer than the table's patterns
                window = bits >> _U(49)
                entry = _U(symbol_at[window]) | _U(1) << _U(32) | _U(length_at[window]) << _U(40)
                if length_at[window] == 0:
                    return np.int64(-1)
            symbols[done] = entry
            symbols[done + _U(1)] = entry >> _U(8)
            symbols[done + _U(2)] = entry >> _U(16)
            symbols[done + _U(3)] = entry >> _U(24)
            done += entry >> _U(32) & _U(7)
            bits <<= entry >> _U(40)
            place += entry >> _U(40)
    while done < count and place < end:
        at = place >> _U(3)
        three = _U(data[at]) << _U(16) | _U(data[at + _U(1)]) << _U(8) | _U(data[at + _U(2)])
        window = (three >> (_U(9) - (place & _U(7)))) & _U(0x7FFF)
        if length_at[window] == 0:
            return np.int64(-1)
        symbols[done] = symbol_at[window]
        done += _U(1)
        place += _U(length_at[window])
    return np.int64(place) if done == count else np.int64(end) + 1


# ---- the adaptive arithmetic code --------------------------------------------------------------------------

# Places in the coder's state, int64[5]: the interval, the number read, the next byte, and whether it decodes.
LOW, HIGH, READ, PLACE, DECODES = range(5)
# The most bytes that one bit can add. The caller makes room.
ROOM = 4
# Bits of a stored probability, and of the probability that the coder takes.
P_BITS = 22
_LIMIT = 255


@_compiled
def start(coder: Array, data: Array) -> None:
    """Begin: the whole interval; when decoding, the first four bytes are read."""
    coder[LOW], coder[HIGH] = 0, 0xFFFFFFFF
    coder[READ] = coder[PLACE] = 0
    if coder[DECODES]:
        for _ in range(4):
            _shift_in(coder, data)


@_inlined
def _shift_in(coder: Array, data: Array) -> None:
    at = coder[PLACE]
    byte = np.int64(data[at]) if at < data.size else 0
    coder[READ] = (coder[READ] << 8 | byte) & 0xFFFFFFFF
    coder[PLACE] = at + 1


@_inlined
def _code(bit: int, p: int, coder: Array, data: Array) -> int:
    """Code or decode one bit that is 1 with probability p / 65536."""
    low, high = coder[LOW], coder[HIGH]
    middle = low + ((high - low) * p >> 16)
    if coder[DECODES]:
        bit = 1 if coder[READ] <= middle else 0
    if bit:
        high = middle
    else:
        low = middle + 1
    while (low ^ high) < 1 << 24:
        if coder[DECODES]:
            _shift_in(coder, data)
        else:
            data[coder[PLACE]] = low >> 24
            coder[PLACE] += 1
        low = low << 8 & 0xFFFFFFFF
        high = high << 8 & 0xFFFFFFFF | 255
    coder[LOW], coder[HIGH] = low, high
    return bit


@_compiled
def _contexts(size: int, p: int, n: int) -> tuple[Array, Array]:
    """Probabilities of `size` contexts, and how many bits each has seen."""
    return np.full(size, np.int32(p), np.int32), np.full(size, np.uint8(n), np.uint8)


@_inlined
def _learn(bit: int, c: int, p: Array, n: Array, rate: Array) -> None:
    """Move the probability of context c towards `bit`, the less the more it has seen."""
    target = (1 << P_BITS) - 1 if bit else 0
    p[c] += (target - p[c]) * rate[n[c]] >> 16
    if n[c] < _LIMIT:
        n[c] += 1


@_compiled
def _code_learning(bit: int, c: int, p: Array, n: Array, rate: Array, coder: Array, data: Array) -> int:
    bit = _code(bit, min(max(p[c] >> 6, 32), 65504), coder, data)
    _learn(bit, c, p, n, rate)
    return bit


@_compiled
def numbers(values: Array, coder: Array, data: Array, rate: Array) -> bool:
    """Code or decode `values`, int64, each from 0 to 2**32 - 1; whether all are in that range."""
    p, n = _contexts(64 + 33 * 4, 1 << (P_BITS - 1), 0)
    for i in range(values.size):
        above, size = values[i] + 1, 0
        while above >> (size + 1):
            size += 1
        node = 1
        for place in range(5, -1, -1):
            node = 2 * node + _code_learning(size >> place & 1, node, p, n, rate, coder, data)
        size = node - 64
        if size > 32:
            return False
        found = 1
        for place in range(size - 1, -1, -1):
            bit = above >> place & 1
            if place >= size - 2:
                bit = _code_learning(bit, 64 + 4 * size + found % 4, p, n, rate, coder, data)
            else:
                bit = _code(bit, 1 << 15, coder, data)
            found = 2 * found + bit
        values[i] = found - 1
        if found > 1 << 32:
            return False
    return True


@_inlined
def _code_mixed(
    bit: int,
    contexts: Array,
    p: Array,
    n: Array,
    weights: Array,
    w: int,
    learning: int,
    inputs: Array,
    tables: tuple[Array, Array, Array],
    coder: Array,
    data: Array,
) -> int:
    """Code or decode one bit that several contexts predict, weighed by what each has been worth."""
    stretch, squash, rate = tables
    dot = 0
    for k in range(contexts.size):
        inputs[k] = stretch[p[contexts[k]] >> 6]
        dot += weights[w, k] * inputs[k]
    most = squash.size // 2
    mixed = squash[min(max(dot >> 16, -most), most) + most]
    bit = _code(bit, mixed, coder, data)
    error = ((bit << 16) - mixed) * learning
    for k in range(contexts.size):
        weights[w, k] += inputs[k] * error + (1 << 15) >> 16
        _learn(bit, contexts[k], p, n, rate)
    return bit


@_compiled
def _levels() -> Array:
    """Levels 0 to 15 of the numbers 0 to 255: n itself up to 4, then two steps for each doubling."""
    levels = np.zeros(256, np.uint8)
    for n in range(256):
        size = 0
        while n >> (size + 1):
            size += 1
        levels[n] = n if n < 4 else min(2 * size + (n >> (size - 1) & 1), 15)
    return levels


@_compiled
def positions(
    dense: Array,
    stride: int,
    entries: int,
    before: Array,
    coder: Array,
    data: Array,
    tables: tuple[Array, Array, Array],
) -> int:
    """Code or decode which elements are not 0; how many of the `entries` were found.

    dense : uint8[stride + 1 + cols, rows], a column a row, behind stride + 1 of zeros; decoding makes ones.
    before : int64[cols], what the layer before says of each column.
    """
    rows = dense.shape[1]
    cols = dense.shape[0] - stride - 1
    density = min(max((entries << P_BITS) // (rows * cols), 64), (1 << P_BITS) - 1)
    p, n = _contexts(4352, density, 20)
    weights = np.full((4, 6), 65536 // 5, np.int64)
    inputs, contexts = np.zeros(6, np.int64), np.zeros(6, np.int64)
    in_column = np.zeros(stride + 1 + cols, np.int64)
    in_row, last = np.zeros(rows, np.int64), np.full(rows, -1, np.int64)
    level = _levels()
    found = 0
    for j in range(cols):
        at = j + stride + 1
        left, left2, up = dense[at - 1], dense[at - 2], dense[at - stride]
        up_left, up_right = dense[at - stride - 1], dense[at - stride + 1]
        a, b, c = in_column[at - 1], in_column[at - stride], in_column[at - stride + 1]
        level_a, level_b, around = level[min(a, 255)], level[min(b, 255)], level[min(a + b + c, 255)]
        earlier = level[min(before[j], 255)]
        scale = (rows << 20) // (found + rows)
        count = 0
        for i in range(rows):
            if found == entries:
                return found
            l1, l2, u = int(left[i] > 0), int(left2[i] > 0), int(up[i] > 0)
            ul, ur = int(up_left[i] > 0), int(up_right[i] > 0)
            near = l1 + l2 + u + ul + ur
            some = min(near, 3)
            here = level[min(count, 255)]
            in_this_row = level[min(in_row[i] * scale >> 16, 255)]
            contexts[0] = l1 | l2 << 1 | u << 2 | ul << 3 | ur << 4
            contexts[1] = 32 + in_this_row * 8 + near
            contexts[2] = 160 + min(j - last[i], 255) * 4 + some
            contexts[3] = 1184 + (in_this_row * 16 + around) * 4 + some
            contexts[4] = 2208 + here * 16 + earlier
            # Columns beside and above: only rough levels, so that few contexts share what there is to learn.
            contexts[5] = 2464 + (min(level_a, 10) * 11 + min(level_b, 10)) * 15 + min(here, 14)
            bit = _code_mixed(
                int(dense[at, i] > 0), contexts, p, n, weights, some, 1, inputs, tables, coder, data
            )
            if bit:
                if coder[DECODES]:
                    dense[at, i] = 1
                count += 1
                found += 1
                in_row[i] += 1
                last[i] = j
        in_column[at] = count
    return found


@_compiled
def codes(
    dense: Array, stride: int, bits: int, coder: Array, data: Array, tables: tuple[Array, Array, Array]
) -> None:
    """Code or decode the code index of each element of `dense` (see `positions`) that is not 0."""
    columns, rows = dense.shape
    size = 1 << bits
    p, n = _contexts(size + 2 * size * size, 1 << (P_BITS - 1), 0)
    weights = np.full((size, 3), 65536 // 3, np.int64)
    inputs, contexts = np.zeros(3, np.int64), np.zeros(3, np.int64)
    last = np.zeros(rows, np.int64)
    for at in range(stride + 1, columns):
        for i in range(rows):
            code = np.int64(dense[at, i])
            if code == 0:
                continue
            total = near = np.int64(0)
            for distance in (1, 2, stride, stride + 1, stride - 1):
                value = np.int64(dense[at - distance, i])
                total += value
                near += np.int64(value > 0)
            mean = (2 * total + near) // (2 * near) if near else 0
            node = 1
            for place in range(bits - 1, -1, -1):
                contexts[0] = node
                contexts[1] = size + node * size + last[i]
                contexts[2] = size + size * size + node * size + mean
                bit = _code_mixed(
                    code >> place & 1, contexts, p, n, weights, node, 6, inputs, tables, coder, data
                )
                node = 2 * node + bit
            dense[at, i] = node - size
            last[i] = node - size
