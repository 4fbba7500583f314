"""Huffman-coded streams of small symbols, and how larger numbers become symbols. docs/formats.md is the reference."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eie.compress.format import huffman
from eie.compress.format.huffman import Bytes
from eie.compress.format.wire import Reader, varint
from eie.errors import FormatError

MAX_WIDTH = 8


@dataclass(frozen=True, eq=False)
class Stream:
    """Symbols of `width` bits each, and the Huffman table that codes them.

    symbols : uint8[count]. lengths : uint8[highest symbol + 1], bits of each symbol's code word. bits : code words.
    """

    width: int
    symbols: Bytes
    lengths: Bytes
    bits: bytes

    @classmethod
    def encode(cls, symbols: Bytes, width: int) -> Stream:
        """Code `symbols`, each below 2**width, with a Huffman table of their own."""
        lengths = huffman.code_lengths(huffman.histogram(symbols))
        return cls(width, symbols, lengths, huffman.encode(symbols, lengths))

    def to_bytes(self) -> bytes:
        """Head, table and code words as they stand in the file."""
        head = (varint(n) for n in (self.width, len(self.lengths), len(self.symbols), len(self.bits)))
        return b"".join(head) + _nibbles(self.lengths) + self.bits

    @classmethod
    def parse(cls, reader: Reader) -> Stream:
        """The next stream.

        Raises
        ------
        FormatError : sizes beyond the data, a bad table, code words that are not exactly the symbols announced.
        """
        width, entries, count, size = (reader.varint("the head of a stream") for _ in range(4))
        if not 1 <= width <= MAX_WIDTH:
            raise FormatError(f"symbols of {width} bits (1 to {MAX_WIDTH})")
        if entries > 1 << width:
            raise FormatError(f"a table of {entries} code lengths for symbols of {width} bits")
        packed = np.frombuffer(reader.take((entries + 1) // 2, "a table of code lengths"), np.uint8)
        lengths = np.stack((packed & 15, packed >> 4), axis=1).ravel()
        if lengths[entries:].any():
            raise FormatError("the padding after the code lengths is not 0")
        bits = reader.take(size, "a stream")
        symbols = huffman.decode(bits, count, lengths[:entries])
        return cls(width, symbols, lengths[:entries], bits)

    @property
    def nbytes(self) -> int:
        """Bytes in the file."""
        return len(self.to_bytes())


def _nibbles(lengths: Bytes) -> bytes:
    """Code lengths, two a byte, the first in the low half."""
    padded = np.zeros(len(lengths) + len(lengths) % 2, np.uint8)
    padded[: len(lengths)] = lengths
    return (padded[0::2] | padded[1::2] << 4).tobytes()


def split(values: npt.NDArray[np.int64], width: int) -> Bytes:
    """Numbers >= 0 as symbols of `width` bits: each time 2**width - 1 fits, that symbol; then what is left.

    >>> split(np.array([2, 0, 3, 7]), 2).tolist()
    [2, 0, 3, 0, 3, 3, 1]
    """
    most = (1 << width) - 1
    ends = np.cumsum(values // most + 1)
    symbols = np.full(int(ends[-1]) if ends.size else 0, most, np.uint8)
    symbols[ends - 1] = values % most
    return symbols


def join(symbols: Bytes, width: int) -> npt.NDArray[np.int64]:
    """The numbers that `split` made symbols of.

    Raises
    ------
    FormatError : the last number is not finished.
    """
    most = (1 << width) - 1
    ends = np.flatnonzero(symbols != most)
    if len(symbols) != (int(ends[-1]) + 1 if ends.size else 0):
        raise FormatError("the last symbol leaves a number unfinished")
    return symbols[ends] + most * (np.diff(ends, prepend=-1) - 1)


def encode_numbers(values: npt.NDArray[np.int64]) -> Stream:
    """`values` as symbols of the width, 1 to 8 bits, at which the coded stream is smallest."""
    numbers, times = np.unique(values, return_counts=True)

    def size(width: int) -> int:
        most = (1 << width) - 1
        frequency = np.zeros(most + 1, np.int64)
        np.add.at(frequency, numbers % most, times)
        frequency[most] += int((numbers // most) @ times)
        frequency = np.trim_zeros(frequency, "b")
        words = (int(frequency @ huffman.code_lengths(frequency).astype(np.int64)) + 7) // 8
        heads = (len(frequency), int(frequency.sum()), words)
        return words + (len(frequency) + 1) // 2 + sum(len(varint(head)) for head in heads)

    width = min(range(1, MAX_WIDTH + 1), key=size)
    return Stream.encode(split(values, width), width)
