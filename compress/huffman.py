"""Canonical Huffman codes of at most 15 bits for bytes: lengths, encoder, decoder. docs/formats.md is the reference."""

from __future__ import annotations

from operator import itemgetter

import numpy as np
import numpy.typing as npt

from eie.errors import FormatError

MAX_LENGTH = 15

Bytes = npt.NDArray[np.uint8]

# Bytes of coded bits that the decoder looks at in one go: bounds its working memory.
_CHUNK = 1 << 14


def code_lengths(frequencies: npt.NDArray[np.int64]) -> Bytes:
    """Bits of each symbol's code word, uint8[symbols]; 0 for a symbol that does not occur.

    The shortest total with no word beyond 15 bits (package-merge, Larmore and Hirschberg 1990). A symbol that is
    the only one gets one bit.

    >>> code_lengths(np.array([5, 0, 1, 1])).tolist()
    [1, 0, 2, 2]
    """
    lengths = np.zeros(len(frequencies), np.uint8)
    used = np.flatnonzero(frequencies).tolist()
    if len(used) < 2:
        lengths[used] = 1
        return lengths
    leaves = sorted(((int(frequencies[s]), (s,)) for s in used), key=itemgetter(0))
    packages: list[tuple[int, tuple[int, ...]]] = []
    for _ in range(MAX_LENGTH):
        merged = sorted(leaves + packages, key=itemgetter(0))
        packages = [(a + b, s + t) for (a, s), (b, t) in zip(merged[::2], merged[1::2], strict=False)]
    for _, symbols in packages[: len(used) - 1]:
        for symbol in symbols:
            lengths[symbol] += 1
    return lengths


def check_lengths(lengths: Bytes) -> None:
    """Raise `FormatError` unless `lengths` describe a complete prefix code, or one word of one bit, or none.

    A complete code leaves no bit pattern without a meaning.
    """
    used = lengths[lengths > 0].astype(np.int64)
    if (used > MAX_LENGTH).any():
        raise FormatError(f"a code word of {int(used.max())} bits (at most {MAX_LENGTH})")
    space = int((1 << (MAX_LENGTH - used)).sum())
    if space > 1 << MAX_LENGTH:
        raise FormatError("over-subscribed Huffman table: its code lengths leave no prefix code")
    if space < 1 << MAX_LENGTH and used.tolist() not in ([], [1]):
        raise FormatError("incomplete Huffman table: some bit patterns have no symbol")


def canonical_words(lengths: Bytes) -> npt.NDArray[np.int64]:
    """Code words, int64[symbols]: ascending by length, then by symbol, each the one before plus 1, shifted left.

    >>> canonical_words(np.uint8([1, 0, 2, 2])).tolist()
    [0, 0, 2, 3]
    """
    words = np.zeros(len(lengths), np.int64)
    word = before = 0
    for symbol in np.argsort(lengths, kind="stable").tolist():
        length = int(lengths[symbol])
        if length:
            word <<= length - before
            words[symbol] = word
            word, before = word + 1, length
    return words


def encode(symbols: Bytes, lengths: Bytes) -> bytes:
    """Code words of `symbols` one after the other, most significant bit first, padded with 0 to a byte."""
    if not symbols.size:
        return b""
    bits_of = lengths[symbols].astype(np.int64)
    words = canonical_words(lengths)[symbols]
    ends = np.cumsum(bits_of)
    bits = np.zeros(int(ends[-1]), np.uint8)
    for place in range(int(bits_of.max())):
        # Bit `place` of each word, counted from its last bit.
        has = np.flatnonzero(bits_of > place)
        bits[ends[has] - 1 - place] = (words[has] >> place) & 1
    return np.packbits(bits).tobytes()


def _decoding_table(lengths: Bytes) -> tuple[Bytes, Bytes]:
    """Symbol and word length for each pattern of the next 15 bits (length 0: no word)."""
    symbol_at, length_at = np.zeros((2, 1 << MAX_LENGTH), np.uint8)
    for symbol, word in enumerate(canonical_words(lengths).tolist()):
        length = int(lengths[symbol])
        if length:
            span = slice(word << (MAX_LENGTH - length), (word + 1) << (MAX_LENGTH - length))
            symbol_at[span], length_at[span] = symbol, length
    return symbol_at, length_at


def _windows(padded: Bytes, first: int, count: int) -> npt.NDArray[np.int32]:
    """The 15 bits from each bit position of `count` bytes from byte `first` on, int32[8 * count]."""
    wide = [padded[first + i : first + i + count].astype(np.int32) for i in range(3)]
    three = (wide[0] << 16) | (wide[1] << 8) | wide[2]
    return ((three[:, None] >> (9 - np.arange(8, dtype=np.int32))) & ((1 << MAX_LENGTH) - 1)).ravel()


def decode(data: bytes, count: int, lengths: Bytes) -> Bytes:
    """`count` symbols from `data`, which must hold them and nothing else but 0 bits up to a byte.

    Each bit position of a chunk is decoded as if a word began there; a walk from word to word then picks the real
    ones. The walk is the only step that is not vectorised.

    Raises
    ------
    FormatError : a bad table, too few bits, a bit pattern without a symbol, bytes or non-zero bits left over.
    """
    check_lengths(lengths)
    if count > 8 * len(data):
        raise FormatError(f"{count} symbols do not fit {len(data)} bytes")
    if count and not lengths.any():
        raise FormatError(f"{count} symbols, but the Huffman table has none")
    symbol_at, length_at = _decoding_table(lengths)
    padded = np.frombuffer(data + b"\0\0\0", np.uint8)
    symbols = np.zeros(count, np.uint8)
    done, place = 0, 0
    for first in range(0, len(data), _CHUNK):
        size = min(_CHUNK, len(data) - first)
        window = _windows(padded, first, size)
        step = length_at[window]
        # Only a table of one word has patterns without a symbol; a step of 1 gets over them, the check is below.
        steps = np.maximum(step, 1).tobytes()
        starts = []
        place -= 8 * first
        left = count - done
        while place < 8 * size and left:
            starts.append(place)
            place += steps[place]
            left -= 1
        if not step[starts].all():
            raise FormatError("a bit pattern that no symbol has")
        symbols[done : done + len(starts)] = symbol_at[window[starts]]
        done += len(starts)
        place += 8 * first
    if done < count or place > 8 * len(data):
        raise FormatError(f"the bits end before {count} symbols do")
    if 8 * len(data) - place >= 8:
        raise FormatError(f"{8 * len(data) - place} bits are left after {count} symbols")
    if place % 8 and data[-1] & ((1 << (8 - place % 8)) - 1):
        raise FormatError("the padding after the last symbol is not 0")
    return symbols
