"""Forged .eie files: every part may lie, and the checksum is right. By default the column of docs/formats.md."""

import hashlib

import numpy as np

from eie.compress.format.adaptive import Coder
from eie.compress.format.streams import Stream, split
from eie.compress.format.wire import signed_varint, varint

ROWS = 23
CODES, ZEROS, COUNTS = [1, 2, 3], [2, 0, 18], [3]
CODEBOOK = [5, 1, 1]


def file(*layers: bytes, version: int = 2) -> bytes:
    """A file of these layers."""
    start, body = b"EIE" + bytes([version]), b"".join(layers)
    return start + hashlib.blake2b(start + body, digest_size=8).digest() + body


def layer(
    *,
    flags=0b001101,
    kind=1,
    arithmetic=1,
    scale_frac=0,
    blocks=(1, 1, 0),
    name=b"example",
    rows=ROWS,
    cols=1,
    entries=3,
    shifts=(0, 0),
    fracs=(0, 0),
    geometry=(),
    widths=(),
    size=None,
    body=None,
) -> bytes:
    """A layer: ReLU, Huffman-coded, weight_bits 2."""
    body = huffman_body() if body is None else body
    parts = [
        bytes([flags]),
        bytes([kind] if flags & 128 else []),
        bytes([arithmetic] if flags & 128 and kind == 4 else []),
        varint(len(name)),
        name,
        varint(rows),
        varint(cols),
    ]
    if flags & 128 and kind not in (2, 3, 4):
        number, distinct, order, *seed = blocks
        parts += [varint(number), varint(distinct), bytes([order]), *map(varint, seed)]
    else:
        parts.append(varint(entries))
    parts.append(bytes(shifts))
    parts += [*map(signed_varint, fracs)]
    if flags & 128 and kind == 4 and arithmetic & 2:
        parts.append(signed_varint(scale_frac))
    parts += [varint(2 * high + 1) + varint(wide) for high, wide in geometry]
    if flags & 128 and kind == 3:
        parts += [bytes([len(widths)]), *(varint(number) for one in widths for number in one)]
    return b"".join([*parts, varint(len(body) if size is None else size), body])


def huffman_body(
    *, codebook=CODEBOOK, bias=(0,) * ROWS, scale=None, codes=None, rows=None, counts=None
) -> bytes:
    """A body with three streams."""
    coder = Coder()
    coder.numbers(codebook)
    coder.numbers(list(bias))
    if scale is not None:
        coder.numbers(list(scale))
    numbers = coder.finish()
    codes = stream(CODES, 2) if codes is None else codes
    rows = stream(split(np.array(ZEROS), 1), 1) if rows is None else rows
    counts = stream(split(np.array(COUNTS), 1), 1) if counts is None else counts
    return varint(len(numbers)) + numbers + codes + rows + counts


def blocks_body(codes, *, codebook=(5, 1, 1, 1), bias=(0,) * ROWS, structure, deltas=0) -> bytes:
    """A body in blocks; `codes` of the distinct ones, one after the other."""
    coder = Coder()
    coder.numbers(list(codebook))
    coder.numbers(list(bias))
    coder.block_codes(np.array(codes, np.uint8), structure, (len(codebook) - 1).bit_length(), bool(deltas))
    return bytes([deltas]) + coder.finish()


def stream(symbols, width, lengths=None, *, count=None, extra=b"") -> bytes:
    """A stream with a head that may lie."""
    good = Stream.encode(np.array(symbols, np.uint8), width)
    lengths = good.lengths if lengths is None else np.uint8(lengths)
    padded = [*lengths.tolist(), 0][: len(lengths) + len(lengths) % 2]
    table = bytes(low | high << 4 for low, high in zip(padded[::2], padded[1::2], strict=True))
    bits = good.bits + extra
    head = (width, len(lengths), len(symbols) if count is None else count, len(bits))
    return b"".join(map(varint, head)) + table + bits


def adaptive_body(*, stride=2, codes=CODES, found=3) -> bytes:
    """A body in the adaptive code; of the three positions that are announced only the first `found` are there."""
    rows = np.cumsum(np.array(ZEROS) + 1) - 1
    coder = Coder()
    coder.numbers(CODEBOOK)
    coder.numbers([0] * ROWS)
    dense = np.zeros((stride + 2, ROWS), np.uint8)
    dense[-1, rows[:found]] = 1
    coder.positions(dense, stride, 3, np.zeros(1, np.int64))
    dense[-1, rows[:found]] = codes[:found]
    coder.codes(dense, stride, 2)
    return bytes([stride]) + coder.finish()
