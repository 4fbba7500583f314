"""Files that no writer writes: mutated ones, and random ones of the right structure. Most have the right checksum."""

import random
import time
import tracemalloc
from dataclasses import dataclass

import numpy as np

from eie.blocks import ORDERS, BlockCodes, BlockStructure
from eie.compress.format import adaptive
from eie.compress.format.adaptive import Coder
from eie.compress.format.file import from_bytes, to_bytes
from eie.compress.format.wire import varint
from eie.conv import Conv
from eie.errors import FormatError
from eie.layer import CompressedLayer
from tests.support import eie_decoder, eie_files
from tests.support.adder_cases import random_layer
from tests.support.clock import least_seconds

# What reading may take: so many bytes for each byte of the file, and for small files what every file takes; and so many
# times the processor time that all valid files take.
PER_BYTE, FIXED, SLOWER = 1500, 1 << 18, 350
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
    layers += [
        in_blocks(rng, order, bits) for order, bits in (("shuffled", 3), ("permuted", 1), ("aligned", 8))
    ]
    layers += [
        random_layer(rng, 9, 14),
        random_layer(rng, 5, 8, scaled=False),
        random_layer(rng, 6, 6, adder=False),
    ]
    huffman = [eie_files.file(eie_files.layer()), eie_files.file(*[eie_files.layer()] * 3)]
    most, adaptive.MAX_ELEMENTS = adaptive.MAX_ELEMENTS, 0
    try:
        huffman.append(to_bytes(layers))
    finally:
        adaptive.MAX_ELEMENTS = most
    return [to_bytes(layers), to_bytes(layers[:1]), *huffman]


def in_blocks(rng: np.random.Generator, order: str, bits: int) -> CompressedLayer:
    """A small layer in uneven blocks, one of them the same as another."""
    structure = BlockStructure(11, 17, 3, order, 2, seed=9 if order == "permuted" else 0)
    sizes = [(structure.height(d), structure.width(d)) for d in range(structure.distinct)]
    codes = tuple(rng.integers(0, 1 << bits, size).astype(np.uint8) for size in sizes)
    table = np.sort(rng.integers(-9000, 9000, 1 << bits)).astype(np.int16)
    table[0] = table[1]  # at most 255 values
    return CompressedLayer.from_blocks(BlockCodes(structure, codes, table), rng.integers(-99, 99, 11))


def block_file(rng: random.Random) -> bytes:
    """A layer in blocks of the right form, whose numbers may be wrong."""
    rows, cols, bits = rng.randrange(1, 30), rng.randrange(1, 30), rng.randrange(1, 9)
    count = rng.randrange(1, min(rows, cols) + 1)
    distinct, order = rng.randrange(1, count + 1), rng.randrange(3)
    seed = rng.randrange(1 << 32) if order == 2 else 0
    structure = BlockStructure(rows, cols, count, ORDERS[order], distinct, seed)
    codebook = [rng.randrange(-200, 200), *(rng.randrange(5) for _ in range((1 << bits) - 1))]
    if rng.random() < 0.1:
        codebook[rng.randrange(1 << bits)] = rng.choice((-1, -500, 40000))
    bias = [rng.randrange(-9, 9) for _ in range(rows)]
    codes = [rng.randrange(1 << bits) for _ in range(structure.stored)]
    body = eie_files.blocks_body(
        codes, codebook=codebook, bias=bias, structure=structure, deltas=rng.randrange(2)
    )
    body = body[: number(rng, len(body))]
    body += bytes(
        max(0, (rows + cols + structure.entries + 4**bits // 8) // 32 + 1 - len(body))
        if rng.random() < 0.9
        else 0
    )
    if rng.random() < 0.05:
        body = bytes([rng.randrange(256)]) + body[1:]
    order = order if rng.random() < 0.95 else rng.randrange(256)
    conv = rng.random() < 0.05
    return eie_files.file(
        eie_files.layer(
            flags=rng.randrange(2)
            | 2 * conv
            | (bits - 1) << 3
            | 4 * (rng.random() < 0.03)
            | 64 * rng.randrange(2)
            | 128,
            kind=1 if rng.random() < 0.97 else rng.randrange(256),
            rows=number(rng, rows),
            cols=number(rng, cols),
            blocks=(
                number(rng, count),
                number(rng, distinct),
                order,
                *([number(rng, seed)] if order == 2 else []),
            ),
            geometry=[(1, 1), (1, 1), (0, 0), (1, 1), (1, 1), (0, 0)] if conv else (),
            body=body,
        )
    )


def adder_file(rng: random.Random) -> bytes:
    """A layer that adds or scales its rows, of the right form, whose numbers may be wrong."""
    arithmetic = rng.choice((1, 1, 2, 3, 3, 3, rng.randrange(256)))
    large = rng.random() < 0.1
    bias = [
        rng.randrange(-(1 << 31), 1 << 31) if large else rng.randrange(-99, 99) for _ in range(eie_files.ROWS)
    ]
    scale = [rng.choice((1, -5, 300, 32767, -32768)) for _ in range(eie_files.ROWS)]
    if rng.random() < 0.1:
        scale[rng.randrange(len(scale))] = rng.choice((32768, -32769, 1 << 20))
    frac = rng.randrange(-9, 9)
    conv = rng.random() < 0.2
    return eie_files.file(
        eie_files.layer(
            flags=0b10001101 ^ rng.choice((0, 1, 64)) | 2 * conv,
            kind=4 if rng.random() < 0.95 else rng.randrange(5),
            arithmetic=arithmetic,
            scale_frac=rng.choice((0, 8, -3, 1000, -1000, 1001 if rng.random() < 0.2 else 1)),
            shifts=(rng.choice((0, 0, 0, 0, 1)), rng.randrange(32)),
            fracs=(frac, frac if rng.random() < 0.9 else frac + 1),
            geometry=[(1, 1), (1, 1), (0, 0), (1, 1), (1, 1), (0, 0)] if conv else (),
            body=eie_files.huffman_body(bias=bias, scale=scale if arithmetic & 2 else None),
        )
    )


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


def heads(rng: random.Random) -> bytes:
    """Layers whose bodies are right, and numbers at the ends of their ranges in their heads; in half the files also
    beyond.
    """
    layers, lies = [], rng.random() < 0.5

    def drawn(right: tuple, wrong: tuple, often: float):
        return rng.choice(wrong if lies and rng.random() < often else right)

    for _ in range(rng.choice((1, 1, 2))):
        cols = rng.choice((1, 1, 4, 9))
        side = round(cols**0.5)
        image = rng.choice((0, 0, 9))
        # An unknown image fits any window, and any step.
        ends = (1, 1, 1, 2, 65536) if image == 0 else (1, 1, 1, 2)
        sizes = [(side,), ends, (0, 1, 2), ends, ends, (image,)]
        beyond = (1, 2, 3, 4, 9, 0, 65536, 65537, 1 << 34)
        pairs = [tuple(drawn(right, beyond, 0.2) for _ in range(2)) for right in sizes]
        shifts = [drawn((0, 7, 31), (32, 255), 0.1) for _ in range(2)]
        fracs = [drawn((-1000, -3, 0, 1000), (-1001, 1001, 1 << 31), 0.1) for _ in "xw"]
        leaves, narrow = rng.random() < 0.1, rng.random() < 0.2
        steps = sorted(
            drawn((1, 250, 500, 999), (0, 1000, 70000, 1 << 34), 0.1) for _ in range(rng.choice((1, 1, 2, 3)))
        )
        widths = [
            (
                share,
                drawn((1, 2, eie_files.ROWS), (0, eie_files.ROWS + 1), 0.05),
                drawn((cols, 1), (0, cols + 1), 0.05),
            )
            for share in steps
        ]
        if lies and rng.random() < 0.05:
            widths = []
        conv = rng.random() < (0.2 if leaves else 0.7)
        counts = eie_files.stream(eie_files.split(np.array([3] + [0] * (cols - 1)), 1), 1)
        layers.append(
            eie_files.layer(
                flags=0b001101
                | 2 * conv
                | 64 * rng.randrange(2)
                | (128 * (leaves or narrow) or drawn((0,), (128,), 0.03)),
                kind=2 if leaves else 3 if narrow else 1,
                widths=widths,
                name=drawn((b"fc", b"", "ü".encode(), b"a\x00b"), (b"\xff", b"\xed\xa0\x80"), 0.4),
                cols=cols,
                shifts=shifts,
                fracs=fracs,
                geometry=pairs if conv else (),
                body=eie_files.huffman_body(counts=counts),
            )
        )
    return eie_files.file(*layers)


def tiny(rng: random.Random) -> bytes:
    """Many layers of one number."""
    one = eie_files.layer(
        rows=1,
        cols=1,
        entries=0,
        body=eie_files.huffman_body(bias=(0,), codes=_NONE, rows=_NONE, counts=_ZERO),
    )
    return eie_files.file(*[one] * rng.choice((100, 1000, 4096, 4097)))


_NONE = eie_files.stream([], 2)
_ZERO = eie_files.stream([0], 1)


def candidate(rng: random.Random, valid: list[bytes]) -> bytes:
    """One file."""
    kind = rng.random()
    if kind < 0.4:
        return (
            tiny(rng)
            if kind < 0.0002
            else heads(rng)
            if kind < 0.1
            else block_file(rng)
            if kind < 0.2
            else adder_file(rng)
            if kind < 0.25
            else structured(rng)
        )
    new = mutated(rng, rng.choice(valid))
    return new if rng.random() < 0.1 else eie_files.file(new[12:])


@dataclass
class Figures:
    """What a campaign found.

    seconds, memory, per_byte : the most that reading one file took, bytes of a file's too.
    allowed : seconds that it may take.
    """

    refused: int = 0
    accepted: int = 0
    seconds: float = 0.0
    allowed: float = 0.0
    memory: int = 0
    per_byte: float = 0.0

    def __str__(self) -> str:
        return (
            f"{self.refused:,} .eie files refused, {self.accepted:,} valid; at most {self.seconds:.2f} s, "
            f"{self.memory / 2**20:.2f} MB and {self.per_byte:.0f} bytes for each beyond {FIXED / 2**10:.0f} KB for one"
        )


def campaign(seed: int, count: int, progress=iter) -> Figures:
    """Read `count` files: each is refused or valid, and takes little time and memory.

    A failure prints the seed, the number of the file and its bytes.
    """
    valid = references()
    for data in valid:
        from_bytes(data)  # compiles what there is to compile, before memory is measured
    figures = Figures(allowed=SLOWER * least_seconds(lambda: [from_bytes(data) for data in valid]))
    for i in progress(range(count)):
        data = candidate(random.Random(f"{seed} {i}"), valid)
        try:
            _read(data, i, figures)
        except Exception:
            print(f"seed {seed}, file {i}: {data.hex()}")
            raise
    return figures


def _peak(data: bytes) -> int:
    """The memory that reading takes; measuring takes several times the time."""
    tracemalloc.start()
    try:
        from_bytes(data)
    except FormatError:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return peak


def _read(data: bytes, i: int, figures: Figures) -> None:
    layers = None
    start = time.process_time()
    try:
        layers = from_bytes(data)
    except FormatError as error:
        if "\n" in str(error):
            raise
        figures.refused += 1
    taken = time.process_time() - start
    if i % MEASURED == 0:
        peak = _peak(data)
        figures.memory = max(figures.memory, peak)
        figures.per_byte = max(figures.per_byte, (peak - FIXED) / len(data))
        assert peak < PER_BYTE * len(data) + FIXED, f"{peak} bytes to read {len(data)}"
    figures.seconds = max(figures.seconds, taken)
    assert taken < figures.allowed, f"{taken:.1f} s to read {len(data)} bytes"
    if layers is None:
        return
    figures.accepted += 1
    for layer in layers:
        layer.check(full=True)
    again = from_bytes(to_bytes(layers))
    assert all(a.equals(b) for a, b in zip(layers, again, strict=True))


def both_decoders(seed: int, count: int, progress=iter) -> int:
    """Give `count` files to the reader and to the second decoder: both refuse one, or both read the same. How many both
    read.
    """
    drawn = np.random.default_rng(7)
    in_order = to_bytes([in_blocks(drawn, order, 3) for order in ORDERS])
    adders = to_bytes([random_layer(drawn, 9, 14, bits=2), random_layer(drawn, 7, 7, bits=1, adder=False)])
    valid = [eie_files.file(eie_files.layer()), references()[1], in_order, adders]
    accepted = 0
    for i in progress(range(count)):
        rng = random.Random(f"{seed} {i}")
        data = (heads(rng), block_file(rng), candidate(rng, valid), adder_file(rng))[i % 4]
        try:
            layers = from_bytes(data)
        except FormatError:
            layers = None
        try:
            others = eie_decoder.decode(data)
        except eie_decoder.Refused:
            others = None
        where = f"seed {seed}, file {i}: {data.hex()}"
        assert (layers is None) == (others is None), where
        if layers is None or others is None:
            continue
        accepted += 1
        for layer, other in zip(layers, others, strict=True):
            assert (layer.blocks is not None) == bool(other["blocks"]), where
            if layer.blocks is not None:
                assert np.array_equal(layer.decode(), other["weights"]), where
                blocks, distinct, order, of_order = other["blocks"]
                expected = BlockStructure(layer.rows, layer.cols, blocks, ORDERS[order], distinct, of_order)
                assert layer.blocks == expected, where
            else:
                assert np.array_equal(layer.dense_codes(), other["codes"]), where
                assert np.array_equal(layer.codebook, other["codebook"]), where
                assert layer.weight_bits == other["weight_bits"], where
            for field in (
                "name",
                "x_frac",
                "w_frac",
                "product_shift",
                "output_shift",
                "follows",
                "scale_frac",
                "exit",
            ):
                assert getattr(layer, field) == other[field], where
            assert layer.relu == bool(other["relu"]), where
            assert layer.adder == bool(other["adder"]), where
            scale = None if layer.scale is None else layer.scale.tolist()
            assert scale == other["scale"], where
            assert list(layer.prefixes) == other["widths"], where
            assert np.array_equal(layer.bias, other["bias"]), where
            numbers = None if layer.conv is None else layer.conv.to_numbers()
            pairs = other["geometry"]
            assert numbers == (None if pairs is None else [size for pair in pairs for size in pair]), where
    return accepted
