"""Whole numbers and stretches of bytes as they stand in a `.eie` file. docs/formats.md is the reference."""

from __future__ import annotations

from dataclasses import dataclass

from eie.errors import FormatError

_MAX_BYTES = 5


def varint(number: int) -> bytes:
    """A number >= 0, seven bits a byte, lowest first; the high bit says that more follow.

    >>> varint(300).hex()
    'ac02'
    """
    out = bytearray()
    while number >= 1 << 7:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def signed_varint(number: int) -> bytes:
    """0, -1, 1, -2, 2, ... as the numbers 0, 1, 2, 3, 4, ...

    >>> signed_varint(-2).hex()
    '03'
    """
    return varint(-2 * number - 1 if number < 0 else 2 * number)


@dataclass
class Reader:
    """Takes one thing after the other from `data`, and never reads behind its end.

    Raises
    ------
    FormatError : from each method, where the data end too early.
    """

    data: bytes
    place: int = 0

    @property
    def left(self) -> int:
        """Bytes that were not taken yet."""
        return len(self.data) - self.place

    def take(self, size: int, what: str) -> bytes:
        """The next `size` bytes."""
        if size > self.left:
            raise FormatError(f"the file ends {size - self.left} bytes before {what} does")
        part = self.data[self.place : self.place + size]
        self.place += size
        return part

    def byte(self, what: str) -> int:
        """The next byte."""
        return self.take(1, what)[0]

    def varint(self, what: str) -> int:
        """What `varint` wrote."""
        number = 0
        for i in range(_MAX_BYTES):
            byte = self.byte(what)
            number |= (byte & 127) << 7 * i
            if byte < 128:
                return number
        raise FormatError(f"{what} takes more than {_MAX_BYTES} bytes")

    def signed_varint(self, what: str) -> int:
        """What `signed_varint` wrote."""
        number = self.varint(what)
        return (number >> 1) ^ -(number & 1)
