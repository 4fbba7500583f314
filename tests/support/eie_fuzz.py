"""Files that no writer writes: mutated ones, and random ones of the right structure. Most have the right checksum."""

import random
import tracemalloc

import numpy as np

from eie.compress.format import adaptive
from eie.compress.format.adaptive import Coder
from eie.compress.format.file import from_bytes, to_bytes
from eie.compress.format.wire import varint
from eie.conv import Conv
from eie.errors import FormatError
from eie.layer import CompressedLayer
from tests.support import eie_files

# What reading may take: so many bytes for each byte of the file, and for small files what every file takes.
PER_BYTE, FIXED = 1500, 1 << 18
# Every so many files one is read once more, measuring its memory.
MEASURED = 25


def references() -> list[bytes]:
    """Valid files in both codings."""
    rng = np.random.default_rng(5)
    layers = []
    for rows, cols, bits, conv in (
        (20, 30, 4, None),
        (40, 20, 1, None),
        (6, 18, 8, Conv((3, 3), size=(9, 9))),
    ):
        codes = rng.integers(0, 1 << bits, (rows, cols)) * (rng.random((rows, cols)) < 0.3)
        table = np.concatenate(([0], rng.integers(-30000, 30000, (1 << bits) - 1)))
        bias = rng.integers(-(2**31), 2**31, rows)
        layers.append(CompressedLayer.from_codes(codes, table, bias, conv=conv, x_frac=-3, product_shift=7))
    huffman = [eie_files.file(eie_files.layer()), eie_files.file(*[eie_files.layer()] * 3)]
    most, adaptive.MAX_ELEMENTS = adaptive.MAX_ELEMENTS, 0
    try:
        huffman.append(to_bytes(layers))
    finally:
        adaptive.MAX_ELEMENTS = most
    return [to_bytes(layers), to_bytes(layers[:1]), *huffman]


def mutated(rng: random.Random, data: bytes) -> bytes:
    """Bytes changed, cut out, repeated or put in."""
    new = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        # The heads, at the beginning, more often than the bodies.
        place = rng.randrange(12, 40) if rng.random() < 0.4 else rng.randrange(len(new) + 1)
        size = rng.choice((1, 1, 2, 8, 40))
        what = rng.choice((0, 0, 0, 1, 2, 3))
        if what == 0:
            new[place : place + 1] = bytes([rng.choice((0, 1, 127, 128, 255, rng.randrange(256)))])
        elif what == 1:
            del new[place : place + size]
        elif what == 2:
            new[place:place] = new[place : place + size]
        else:
            new[place:place] = rng.randbytes(size)
    return bytes(new)


def number(rng: random.Random, usual: int) -> int:
    """Mostly `usual`, sometimes near it or any size up to 2**35."""
    if rng.random() < 0.93:
        return usual
    return rng.choice((usual + 1, 0, 1, rng.randrange(1 << rng.randrange(1, 36))))


def stream(rng: random.Random) -> bytes:
    """A stream of the right form, whose numbers may be wrong."""
    width = rng.choice((1, 2, 3, 8, number(rng, 4)))
    symbols = [rng.randrange(1 << min(width, 8)) for _ in range(rng.randrange(30))]
    lengths = [rng.randrange(16) for _ in range(rng.randrange(1, 20))] if rng.random() < 0.3 else None
    if lengths is None:
        return eie_files.stream(symbols, width, count=number(rng, len(symbols)))
    head = (width, number(rng, len(lengths)), number(rng, 20), number(rng, 8))
    return b"".join(map(varint, head)) + rng.randbytes((len(lengths) + 1) // 2 + 8)


def structured(rng: random.Random) -> bytes:
    """Layers of the right form, whose numbers may be wrong."""
    layers = []
    for _ in range(rng.choice((1, 1, 1, 2))):
        bits, huffman, conv = rng.randrange(1, 9), rng.random() < 0.5, rng.random() < 0.2
        rows, cols = rng.randrange(1, 60), rng.randrange(1, 40)
        coder = Coder()
        coder.numbers([rng.randrange(-300, 300) for _ in range((1 << bits) - 1)])
        coder.numbers([rng.randrange(-(1 << rng.randrange(1, 31)), 99) for _ in range(rows)])
        numbers = coder.finish()
        if huffman:
            body = varint(number(rng, len(numbers))) + numbers + b"".join(stream(rng) for _ in range(3))
        else:
            body = bytes([rng.choice((2, 3, 28, 255, rng.randrange(256)))]) + numbers
            body += rng.randbytes(rng.randrange(200))
        layers.append(
            eie_files.layer(
                flags=rng.randrange(2) | 2 * conv | 4 * huffman | (bits - 1) << 3 | 64 * rng.randrange(2),
                name=rng.randbytes(3) if rng.random() < 0.05 else b"fc",
                rows=number(rng, rows),
                cols=number(rng, cols),
                entries=number(rng, rng.randrange(rows * cols // rng.choice((1, 4, 20, 100)) + 1)),
                geometry=[(number(rng, 1), number(rng, 2)) for _ in range(6)] if conv else (),
                size=number(rng, len(body)),
                body=body,
            )
        )
    return eie_files.file(*layers)


def candidate(rng: random.Random, valid: list[bytes]) -> bytes:
    """One file."""
    if rng.random() < 0.4:
        return structured(rng)
    new = mutated(rng, rng.choice(valid))
    return new if rng.random() < 0.1 else eie_files.file(new[12:])


def campaign(seed: int, count: int, progress=iter) -> tuple[int, int]:
    """Read `count` files: each is refused or valid, and takes little memory. How many were refused, and how many valid.

    A failure prints the seed, the number of the file and its bytes.
    """
    valid = references()
    for data in valid:
        from_bytes(data)  # compiles what there is to compile, before memory is measured
    refused = accepted = 0
    for i in progress(range(count)):
        data = candidate(random.Random(f"{seed} {i}"), valid)
        try:
            refused, accepted = (refused, accepted + 1) if _read(data, i) else (refused + 1, accepted)
        except Exception:
            print(f"seed {seed}, file {i}: {data.hex()}")
            raise
    return refused, accepted


def _read(data: bytes, i: int) -> bool:
    if i % MEASURED == 0:
        tracemalloc.start()
    try:
        layers = from_bytes(data)
    except FormatError as error:
        if "\n" in str(error):
            raise
        return False
    finally:
        if tracemalloc.is_tracing():
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert peak < PER_BYTE * len(data) + FIXED, f"{peak} bytes to read {len(data)}"
    for layer in layers:
        layer.check(full=True)
    again = from_bytes(to_bytes(layers))
    assert all(a.equals(b) for a, b in zip(layers, again, strict=True))
    return True
