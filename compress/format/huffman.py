"""Canonical Huffman codes of at most 15 bits for bytes: lengths, encoder, decoder. docs/formats.md is the reference."""

from __future__ import annotations

from operator import itemgetter

import numpy as np
import numpy.typing as npt

from eie.errors import FormatError

MAX_LENGTH = 15

Bytes = npt.NDArray[np.uint8]

# The decoder looks up so many bits fewer than the longest word has: the table then stays in the fastest cache.
_SHIFT = 3


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


def histogram(symbols: Bytes) -> npt.NDArray[np.int64]:
    """How often each symbol occurs, up to the highest one that does."""
    from eie.compress.format import kernels

    return np.trim_zeros(kernels.histogram(symbols), "b")


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
    from eie.compress.format import kernels

    words = np.zeros(256, np.uint64)
    words[: len(lengths)] = canonical_words(lengths) << 4 | lengths
    bits = int(kernels.histogram(symbols)[: len(lengths)] @ lengths.astype(np.int64))
    out = np.empty((bits + 7) // 8 + 8, np.uint8)
    kernels.huffman_encode(symbols, words, out)
    return out[: (bits + 7) // 8].tobytes()


def _decoding_table(lengths: Bytes) -> tuple[Bytes, Bytes]:
    """Symbol and word length for each pattern of the next 15 bits (length 0: no word)."""
    symbol_at, length_at = np.zeros((2, 1 << MAX_LENGTH), np.uint8)
    for symbol, word in enumerate(canonical_words(lengths).tolist()):
        length = int(lengths[symbol])
        if length:
            span = slice(word << (MAX_LENGTH - length), (word + 1) << (MAX_LENGTH - length))
            symbol_at[span], length_at[span] = symbol, length
    return symbol_at, length_at


def decode(data: bytes, count: int, lengths: Bytes) -> Bytes:
    """`count` symbols from `data`, which must hold them and nothing else but 0 bits up to a byte.

    A look-up of the next bits gives up to four symbols at once (`eie.compress.format.kernels.huffman_decode`).

    Raises
    ------
    FormatError : a bad table, too few bits, a bit pattern without a symbol, bytes or non-zero bits left over.
    """
    check_lengths(lengths)
    if count > 8 * len(data):
        raise FormatError(f"{count} symbols do not fit {len(data)} bytes")
    if count and not lengths.any():
        raise FormatError(f"{count} symbols, but the Huffman table has none")
    symbols = np.empty(count, np.uint8)
    place = 0
    if count:
        from eie.compress.format import kernels

        symbol_at, length_at = _decoding_table(lengths)
        table = kernels.huffman_table(symbol_at, length_at, _SHIFT)
        padded = np.frombuffer(data + bytes(16), np.uint8)
        place = int(kernels.huffman_decode(padded, symbol_at, length_at, table, _SHIFT, symbols))
    if place < 0:
        raise FormatError("a bit pattern that stands for no symbol")
    if place > 8 * len(data):
        raise FormatError(f"the bits end before {count} symbols do")
    if 8 * len(data) - place >= 8:
        raise FormatError(f"{8 * len(data) - place} bits are left after {count} symbols")
    if place % 8 and data[-1] & ((1 << (8 - place % 8)) - 1):
        raise FormatError("the padding after the last symbol is not 0")
    return symbols
