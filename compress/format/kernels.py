"""Compiled loops of the coders: Huffman's, and the adaptive arithmetic code. docs/formats.md is the reference.

Import this module where it is used, not at the top: it loads numba.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from eie.jit import compiled, inlined

Array = npt.NDArray[Any]
State = tuple[int, int, int, int, int]
Three = tuple[int, int, int]


# ---- Huffman -----------------------------------------------------------------------------------------------


# Unsigned, so that an index needs no look for negative ones.
_U = np.uint64


@compiled
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
    for symbol in range(256):
        for table in range(1, 4):
            counts[0, symbol] += counts[table, symbol]
    return counts[0]


@compiled
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


@compiled
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


@compiled
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

# The coder's state, int64[5] between the parts of a stretch: the interval, the number read, the next byte, and whether
# it decodes. Loops hold it as a tuple, in registers.
LOW, HIGH, READ, PLACE, DECODES = range(5)
# The most bytes that one bit can add. The caller makes room.
ROOM = 4
# Bits of a stored probability, and of the probability that the coder takes.
P_BITS = 22
# A context, int32: its probability, and in the low 8 bits how many bits it has seen.
_N_BITS, _LIMIT = 8, 255
_TO_P16 = P_BITS + _N_BITS - 16
_I: Any = np.int64


@compiled
def start(coder: Array, data: Array) -> None:
    """Begin: the whole interval; when decoding, the first four bytes are read."""
    coder[LOW], coder[HIGH] = 0, 0xFFFFFFFF
    coder[READ] = coder[PLACE] = 0
    if coder[DECODES]:
        for place in range(4):
            coder[READ] = coder[READ] << 8 | (_I(data[place]) if place < data.size else 0)
        coder[PLACE] = 4


@inlined
def _held(coder: Array) -> State:
    return coder[LOW], coder[HIGH], coder[READ], coder[PLACE], coder[DECODES]


@inlined
def _keep(coder: Array, state: State) -> None:
    coder[LOW], coder[HIGH], coder[READ], coder[PLACE], coder[DECODES] = state


@inlined
def _code(bit: int, p: int, state: State, data: Array) -> tuple[int, State]:
    """Code or decode one bit that is 1 with probability p / 65536."""
    low, high, read, place, decodes = state
    middle = low + ((high - low) * p >> 16)
    if decodes:
        bit = 1 if read <= middle else 0
    if bit:
        high = middle
    else:
        low = middle + 1
    while (low ^ high) < 1 << 24:
        if decodes:
            read = (read << 8 | (_I(data[_U(place)]) if place < data.size else 0)) & 0xFFFFFFFF
        else:
            data[_U(place)] = low >> 24
        place += 1
        low = low << 8 & 0xFFFFFFFF
        high = high << 8 & 0xFFFFFFFF | 255
    return bit, (low, high, read, place, decodes)


@compiled
def _contexts(size: int, p: int, n: int) -> Array:
    """`size` contexts of probability p that have seen n bits."""
    return np.full(size, np.int32(p << _N_BITS | n), np.int32)


@inlined
def _learn(bit: int, x: int, contexts: Array, rate: Array) -> None:
    """Move the probability of context x towards `bit`, the less the more it has seen."""
    p, n = _I(contexts[_U(x)]) >> _N_BITS, _I(contexts[_U(x)]) & _LIMIT
    target = (1 << P_BITS) - 1 if bit else 0
    p += (target - p) * _I(rate[_U(n)]) >> 16
    contexts[_U(x)] = p << _N_BITS | min(n + 1, _LIMIT)


@inlined
def _code_learning(
    bit: int, x: int, contexts: Array, rate: Array, state: State, data: Array
) -> tuple[int, State]:
    p = min(max(_I(contexts[_U(x)]) >> _TO_P16, 32), 65504)
    bit, state = _code(bit, p, state, data)
    _learn(bit, x, contexts, rate)
    return bit, state


@compiled
def numbers(values: Array, coder: Array, data: Array, rate: Array) -> bool:
    """Code or decode `values`, int64, each from 0 to 2**32 - 1; whether all are in that range."""
    contexts = _contexts(64 + 33 * 4, 1 << (P_BITS - 1), 0)
    state = _held(coder)
    for i in range(values.size):
        above, size = values[i] + 1, 0
        while above >> (size + 1):
            size += 1
        node = 1
        for place in range(5, -1, -1):
            bit, state = _code_learning(size >> place & 1, node, contexts, rate, state, data)
            node = 2 * node + bit
        size = node - 64
        if size > 32:
            return False
        found = 1
        for place in range(size - 1, -1, -1):
            bit = above >> place & 1
            if place >= size - 2:
                x = 64 + 4 * size + found % 4
                bit, state = _code_learning(bit, x, contexts, rate, state, data)
            else:
                bit, state = _code(bit, 1 << 15, state, data)
            found = 2 * found + bit
        values[i] = found - 1
        if found > 1 << 32:
            return False
    _keep(coder, state)
    return True


# Three contexts at a time are written out, so that all of it stays in registers.


@inlined
def _logits(three: Three, contexts: Array, stretch: Array) -> Three:
    """What each of three contexts predicts."""
    a, b, c = three
    return (
        _I(stretch[_U(_I(contexts[_U(a)]) >> _TO_P16)]),
        _I(stretch[_U(_I(contexts[_U(b)]) >> _TO_P16)]),
        _I(stretch[_U(_I(contexts[_U(c)]) >> _TO_P16)]),
    )


@inlined
def _weighed(t: Three, weights: Array, w: int) -> int:
    """The sum of three logits, weighed by weights w, w + 1 and w + 2."""
    a, b, c = t
    return weights[_U(w)] * a + weights[_U(w + 1)] * b + weights[_U(w + 2)] * c


@inlined
def _mixed(dot: int, squash: Array) -> int:
    """The probability that a weighed sum of logits stands for."""
    most = squash.size // 2
    return _I(squash[_U(min(max(dot >> 16, -most), most) + most)])


@inlined
def _teach(
    bit: int, error: int, three: Three, t: Three, contexts: Array, weights: Array, w: int, rate: Array
) -> None:
    """Three contexts learn the bit, and their weights what each has been worth."""
    a, b, c = t
    weights[_U(w)] += a * error + (1 << 15) >> 16
    weights[_U(w + 1)] += b * error + (1 << 15) >> 16
    weights[_U(w + 2)] += c * error + (1 << 15) >> 16
    a, b, c = three
    _learn(bit, a, contexts, rate)
    _learn(bit, b, contexts, rate)
    _learn(bit, c, contexts, rate)


@compiled
def _levels() -> Array:
    """Levels 0 to 15 of the numbers 0 to 255: n itself up to 4, then two steps for each doubling."""
    levels = np.zeros(256, np.int64)
    for n in range(256):
        size = 0
        while n >> (size + 1):
            size += 1
        levels[n] = n if n < 4 else min(2 * size + (n >> (size - 1) & 1), 15)
    return levels


@compiled
def _beside(dense: Array, at: int, stride: int, pattern: Array) -> None:
    """Which of the five elements beside each one of column `at` are not 0: a bit each."""
    left, left2, up = dense[at - 1], dense[at - 2], dense[at - stride]
    up_left, up_right = dense[at - stride - 1], dense[at - stride + 1]
    for i in range(pattern.size):
        pattern[i] = (
            (left[i] > 0)
            | (left2[i] > 0) << 1
            | (up[i] > 0) << 2
            | (up_left[i] > 0) << 3
            | (up_right[i] > 0) << 4
        )


@compiled
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
    stretch, squash, rate = tables
    rows = dense.shape[1]
    cols = dense.shape[0] - stride - 1
    contexts = _contexts(4352, min(max((entries << P_BITS) // (rows * cols), 64), (1 << P_BITS) - 1), 20)
    weights = np.full(4 * 6, 65536 // 5, np.int64)
    in_column = np.zeros(stride + 1 + cols, np.int64)
    in_row, last = np.zeros(rows, np.int64), np.full(rows, -1, np.int64)
    pattern, level = np.zeros(rows, np.uint8), _levels()
    state, found = _held(coder), 0
    for j in range(cols):
        at = j + stride + 1
        column = dense[at]
        _beside(dense, at, stride, pattern)
        a, b, c = in_column[at - 1], in_column[at - stride], in_column[at - stride + 1]
        around = level[min(a + b + c, 255)]
        scale = (rows << 20) // (found + rows)
        count = 0
        x4 = first4 = 2208 + level[min(before[j], 255)]
        # Columns beside and above: only rough levels, so that few contexts share what there is to learn.
        x5 = first5 = 2464 + (min(level[min(a, 255)], 10) * 11 + min(level[min(b, 255)], 10)) * 15
        for i in range(rows):
            if found == entries:
                _keep(coder, state)
                return found
            x0 = _I(pattern[_U(i)])
            near = (x0 & 1) + (x0 >> 1 & 1) + (x0 >> 2 & 1) + (x0 >> 3 & 1) + (x0 >> 4)
            some = min(near, 3)
            in_this_row = level[_U(min(in_row[_U(i)] * scale >> 16, 255))]
            one = (x0, 32 + in_this_row * 8 + near, 160 + min(j - last[_U(i)], 255) * 4 + some)
            two = (1184 + (in_this_row * 16 + around) * 4 + some, x4, x5)
            t, s = _logits(one, contexts, stretch), _logits(two, contexts, stretch)
            dot = _weighed(t, weights, 6 * some) + _weighed(s, weights, 6 * some + 3)
            p = _mixed(dot, squash)
            bit, state = _code(_I(column[_U(i)] > 0), p, state, data)
            error = (bit << 16) - p
            _teach(bit, error, one, t, contexts, weights, 6 * some, rate)
            _teach(bit, error, two, s, contexts, weights, 6 * some + 3, rate)
            if bit:
                if coder[DECODES]:
                    column[_U(i)] = 1
                found += 1
                in_row[_U(i)] += 1
                last[_U(i)] = j
                count += 1
                here = level[_U(min(count, 255))]
                x4, x5 = first4 + here * 16, first5 + min(here, 14)
        in_column[at] = count
    _keep(coder, state)
    return found


@compiled
def codes(
    dense: Array, stride: int, bits: int, coder: Array, data: Array, tables: tuple[Array, Array, Array]
) -> None:
    """Code or decode the code index of each element of `dense` (see `positions`) that is not 0."""
    stretch, squash, rate = tables
    columns, rows = dense.shape
    size = 1 << bits
    contexts = _contexts(size + 2 * size * size, 1 << (P_BITS - 1), 0)
    weights = np.full(size * 3, 65536 // 3, np.int64)
    last = np.zeros(rows, np.int64)
    state = _held(coder)
    for at in range(stride + 1, columns):
        column = dense[at]
        for i in range(rows):
            code = _I(column[_U(i)])
            if code == 0:
                continue
            total = near = _I(0)
            for distance in (1, 2, stride, stride + 1, stride - 1):
                value = _I(dense[_U(at - distance), _U(i)])
                total += value
                near += _I(value > 0)
            mean = (2 * total + near) // (2 * near) if near else 0
            node = 1
            for place in range(bits - 1, -1, -1):
                three = (node, size + node * size + last[_U(i)], size + size * size + node * size + mean)
                t = _logits(three, contexts, stretch)
                p = _mixed(_weighed(t, weights, 3 * node), squash)
                bit, state = _code(code >> place & 1, p, state, data)
                _teach(bit, ((bit << 16) - p) * 6, three, t, contexts, weights, 3 * node, rate)
                node = 2 * node + bit
            column[_U(i)] = last[_U(i)] = node - size
    _keep(coder, state)


@compiled
def block_codes(
    codes: Array,
    heights: Array,
    widths: Array,
    bits: int,
    deltas: bool,
    coder: Array,
    data: Array,
    tables: tuple[Array, Array, Array],
) -> None:
    """Code or decode `codes`, uint8: one block of so many rows and columns after the other, each row after row."""
    stretch, squash, rate = tables
    size = 1 << bits
    # By node and whether there is a block before; by node and the code there; by node and the symbol to the left.
    second, third = 2 * size, 2 * size + size * (size + 1)
    contexts = _contexts(third + size * (size + 1), 1 << (P_BITS - 1), 0)
    weights = np.full(size * 3, 65536 // 3, np.int64)
    state = _held(coder)
    at = before = _I(0)
    for block in range(heights.size):
        for i in range(heights[block]):
            left = size
            for j in range(widths[block]):
                same = _I(codes[_U(before + i * widths[block - 1] + j)]) if block else size
                off = same if deltas and block else 0
                symbol = (_I(codes[_U(at)]) - off) & (size - 1)
                node = 1
                for place in range(bits - 1, -1, -1):
                    three = (
                        node + (size if block else 0),
                        second + node * (size + 1) + same,
                        third + node * (size + 1) + left,
                    )
                    t = _logits(three, contexts, stretch)
                    p = _mixed(_weighed(t, weights, 3 * node), squash)
                    bit, state = _code(symbol >> place & 1, p, state, data)
                    _teach(bit, ((bit << 16) - p) * 6, three, t, contexts, weights, 3 * node, rate)
                    node = 2 * node + bit
                left = node - size
                codes[_U(at)] = (left + off) & (size - 1)
                at += 1
        if block:
            before += heights[block - 1] * widths[block - 1]
    _keep(coder, state)
