"""Sizes and times of the file's codings beside those of other coders, on the same pruned, weight-shared matrices.

    python benchmarks/codec_speed.py                        # the example network and two random layers
    python benchmarks/codec_speed.py NET.eie                # the layers of a file
    python benchmarks/codec_speed.py --nncodec PYTHON       # with nncodec, which PYTHON has

Needs the packages of the extra `bench` (zstandard, constriction). nncodec, the implementation of ISO/IEC 15938-17,
wants an old numpy; give it an environment of its own:

    python3 -m venv build/nnc && build/nnc/bin/pip install nncodec 'pandas<3'

Every coder gets code indices and positions, and nothing else: no codebook, no bias. zstd and xz get the better of two
forms, one byte for each element, or the bytes of codes, row distances and column counts. constriction codes the codes
and the distances (over the whole matrix as one column, as symbols of the width that suits Huffman best) with their
frequencies, which count with 16 bits each. Every result is decoded and compared. The bound is the entropy of codes and
positions that are independent of each other. Times are processor time on one core, so that it hardly counts what else
the machine does.
"""

from __future__ import annotations

import argparse
import json
import lzma
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from eie.compress.format import adaptive, huffman
from eie.compress.format.adaptive import Coder
from eie.compress.format.file import load
from eie.compress.format.sizes import layer_size
from eie.compress.format.streams import Stream, encode_numbers, join
from eie.compress.format.wire import Reader
from eie.compress.pipeline import Settings, compress_network
from eie.compress.readers.files import read_model
from eie.layer import CompressedLayer

try:
    import constriction
    import zstandard
except ImportError:
    constriction = zstandard = None

SEED = 1
EXAMPLE = Path(__file__).parents[1] / "examples" / "lenet_300_100" / "lenet_300_100.safetensors"
DENSITY = (0.08, 0.09, 0.26)
# Megabytes of symbols a second, on one core, that the project promises of its Huffman code.
PROMISED = {"encode": 250, "decode": 300}
SYMBOLS = 20_000_000
NNC = """
import json, sys, time
import numpy as np
from nncodec import nnc
given = {"w": np.load(sys.argv[1])}
start = time.process_time()
data = nnc.compress(given, return_bitstream=True, bitstream_path=sys.argv[1] + ".nnc")
middle = time.process_time()
back = nnc.decompress(data)
end = time.process_time()
assert np.array_equal(back["w"], given["w"])
print(json.dumps([len(data), middle - start, end - middle]))
"""


@dataclass(frozen=True)
class Result:
    """Bits for a layer, and seconds of processor time."""

    name: str
    bits: float
    encode: float
    decode: float


def random_layer(rows: int, cols: int, density: float, name: str) -> CompressedLayer:
    """Independent entries, codes from a bell curve."""
    rng = np.random.default_rng(SEED)
    codes = np.clip(np.rint(rng.normal(8, 2.6, (rows, cols))), 1, 15) * (rng.random((rows, cols)) < density)
    return CompressedLayer.from_codes(
        codes.astype(np.uint8), np.arange(-8, 8) * 1000 * (np.arange(16) > 0), name=name
    )


def best(work: Callable[[], Any], times: int) -> tuple[Any, float]:
    """The result, and the shortest of `times` seconds of processor time."""
    shortest = float("inf")
    for _ in range(times):
        start = time.process_time()
        result = work()
        shortest = min(shortest, time.process_time() - start)
    return result, shortest


def measured(
    name: str, encode: Callable[[], bytes], decode: Callable[[bytes], Any], expected: Any, times: int = 3
) -> Result:
    """A coder's size and times; what it decodes must be what was expected."""
    data, encoding = best(encode, times)
    back, decoding = best(lambda: decode(data), times)
    same = zip(back, expected, strict=True)
    if not all(np.array_equal(one, other) for one, other in same):
        raise AssertionError(f"{name} does not decode what it encoded (seed {SEED})")
    return Result(name, 8 * len(data), encoding, decoding)


# ---- the coders --------------------------------------------------------------------------------------------


def ours_adaptive(layer: CompressedLayer) -> Result:
    """The adaptive code, the choice of its stride included."""
    before = np.zeros(layer.cols, np.int64)
    stride = adaptive.best_stride(layer)

    def encode() -> bytes:
        coder, dense = Coder(), adaptive.matrix(layer, adaptive.best_stride(layer))
        coder.positions(dense, stride, layer.nnz, before)
        coder.codes(dense, stride, layer.weight_bits)
        return coder.finish()

    def decode(data: bytes) -> tuple[Any, ...]:
        coder, dense = Coder(data), np.zeros((stride + 1 + layer.cols, layer.rows), np.uint8)
        coder.positions(dense, stride, layer.nnz, before)
        coder.codes(dense, stride, layer.weight_bits)
        return (dense,)

    return measured("eie, adaptive", encode, decode, (adaptive.matrix(layer, stride),))


def ours_huffman(layer: CompressedLayer, zeros: Any, counts: Any) -> Result:
    """The three Huffman streams."""

    def encode() -> bytes:
        streams = (
            Stream.encode(layer.codes, layer.weight_bits),
            encode_numbers(zeros),
            encode_numbers(counts),
        )
        return b"".join(stream.to_bytes() for stream in streams)

    def decode(data: bytes) -> tuple[Any, ...]:
        reader = Reader(data)
        codes, rows, columns = (Stream.parse(reader) for _ in range(3))
        return codes.symbols, join(rows.symbols, rows.width), join(columns.symbols, columns.width)

    return measured("eie, Huffman", encode, decode, (layer.codes, zeros, counts))


def general(layer: CompressedLayer, zeros: Any, counts: Any) -> Iterator[Result]:
    """zstd -19 and xz, each on the better of two forms."""
    dense = layer.dense_codes()
    wide = np.uint16 if max(zeros.max(initial=0), counts.max(initial=0)) > 255 else np.uint8
    sparse = b"".join((layer.codes.tobytes(), zeros.astype(wide).tobytes(), counts.astype(wide).tobytes()))
    coders: dict[str, Any] = {"xz": (lzma.compress, lzma.decompress)}
    if zstandard:
        zstd, unzstd = zstandard.ZstdCompressor(level=19), zstandard.ZstdDecompressor()
        coders["zstd -19"] = (zstd.compress, unzstd.decompress)
    for name, (pack, unpack) in coders.items():
        forms = {"elements": dense.tobytes(), "codes and distances": sparse}
        results = [
            measured(
                f"{name} ({form})",
                lambda raw=raw, pack=pack: pack(raw),
                lambda data, unpack=unpack: (np.frombuffer(unpack(data), np.uint8),),
                (np.frombuffer(raw, np.uint8),),
                times=1,
            )
            for form, raw in forms.items()
        ]
        yield min(results, key=lambda result: result.bits)


def models(parts: list[Any]) -> tuple[list[Any], int]:
    """A model of each array's symbols from their frequencies, and the bits of these."""
    made, bits = [], 0
    for part in parts:
        frequencies = np.bincount(part)
        bits += 16 * len(frequencies)
        made.append(
            constriction.stream.model.Categorical(np.maximum(frequencies, 1e-9) / len(part), perfect=False)
        )
    return made, bits


def constriction_coders(layer: CompressedLayer) -> Iterator[Result]:
    """Its ANS and range coder, each on codes and on distances."""
    places = layer.column_of_entry() * layer.rows + layer.indices
    gaps = encode_numbers(np.diff(places, prepend=-1) - 1).symbols
    parts = [layer.codes.astype(np.int32), gaps.astype(np.int32)]
    (code_model, gap_model), table = models(parts)

    def ans() -> bytes:
        coder = constriction.stream.stack.AnsCoder()
        coder.encode_reverse(parts[1], gap_model)
        coder.encode_reverse(parts[0], code_model)
        return coder.get_compressed().tobytes()

    def from_ans(data: bytes) -> list[Any]:
        coder = constriction.stream.stack.AnsCoder(np.frombuffer(data, np.uint32))
        return [
            coder.decode(model, len(part)) for model, part in ((code_model, parts[0]), (gap_model, parts[1]))
        ]

    def ranges() -> bytes:
        coder = constriction.stream.queue.RangeEncoder()
        coder.encode(parts[0], code_model)
        coder.encode(parts[1], gap_model)
        return coder.get_compressed().tobytes()

    def from_ranges(data: bytes) -> list[Any]:
        coder = constriction.stream.queue.RangeDecoder(np.frombuffer(data, np.uint32))
        return [
            coder.decode(model, len(part)) for model, part in ((code_model, parts[0]), (gap_model, parts[1]))
        ]

    for name, encode, decode in (("ANS", ans, from_ans), ("range coder", ranges, from_ranges)):
        result = measured(f"constriction, {name}", encode, decode, parts)
        yield Result(result.name, result.bits + table, result.encode, result.decode)


def nncodec(layer: CompressedLayer, python: str) -> Result:
    """The ISO standard's coder (DeepCABAC), on code indices with the sign of what they stand for."""
    order = np.argsort(layer.codebook[1:], kind="stable")
    signed = np.zeros(len(layer.codebook), np.int32)
    negative = int((layer.codebook[1:] < 0).sum())
    signed[1 + order] = [rank - negative + (rank >= negative) for rank in range(len(order))]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "w.npy"
        np.save(path, signed[layer.dense_codes()])
        done = subprocess.run([python, "-c", NNC, str(path)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"nncodec failed: {done.stderr.strip().splitlines()[-1]}")
    size, encode, decode = json.loads(done.stdout.splitlines()[-1])
    return Result("nncodec (ISO/IEC 15938-17)", 8 * size, encode, decode)


# ---- tables ------------------------------------------------------------------------------------------------


def results(layer: CompressedLayer, python: str | None) -> Iterator[Result]:
    """Every coder on a layer."""
    starts = np.zeros(layer.nnz, bool)
    starts[layer.indptr[:-1][np.diff(layer.indptr) > 0]] = True
    before = np.where(starts, -1, np.roll(layer.indices, 1))
    zeros, counts = (layer.indices - before - 1).astype(np.int64), np.diff(layer.indptr)
    if adaptive.elements(*layer.shape, adaptive.MIN_STRIDE) <= adaptive.MAX_ELEMENTS:
        yield ours_adaptive(layer)
    yield ours_huffman(layer, zeros, counts)
    if constriction:
        yield from constriction_coders(layer)
    if python:
        yield nncodec(layer, python)
    yield from general(layer, zeros, counts)


def compare(layer: CompressedLayer, python: str | None) -> Table:
    """One row for each coder."""
    none = dict.fromkeys(("codes", "positions", "codebook", "bias"), 0.0)
    size = layer_size(layer, "", none, 0)
    plain = size.codes.plain + size.positions.plain
    table = Table(
        "coder", "bits per weight", "encode, ms", "decode, ms",
        title=f"{layer.name}: {layer.rows} x {layer.cols}, {100 * layer.density:.1f} %, {layer.nnz:,} weights",
        title_justify="left",
    )  # fmt: skip
    table.add_row(f"plain, {layer.weight_bits} + {size.index_bits} bits", f"{plain / layer.nnz:.2f}", "", "")
    table.add_row("entropy bound", f"{(size.codes.entropy + size.positions.entropy) / layer.nnz:.2f}", "", "")
    for one in results(layer, python):
        cells = (f"{one.bits / layer.nnz:.2f}", f"{1e3 * one.encode:,.1f}", f"{1e3 * one.decode:,.1f}")
        table.add_row(one.name, *cells)
    return table


def huffman_speed() -> dict[str, float]:
    """Megabytes of symbols a second of the Huffman code alone, with a table that is there."""
    rng = np.random.default_rng(SEED)
    symbols = np.clip(np.rint(rng.normal(8, 2.6, SYMBOLS)), 1, 15).astype(np.uint8)
    lengths = huffman.code_lengths(huffman.histogram(symbols))
    data, encode = best(lambda: huffman.encode(symbols, lengths), 5)
    back, decode = best(lambda: huffman.decode(data, SYMBOLS, lengths), 5)
    if not np.array_equal(back, symbols):
        raise AssertionError(f"Huffman does not decode what it encoded (seed {SEED})")
    return {"encode": SYMBOLS / encode / 1e6, "decode": SYMBOLS / decode / 1e6}


def main() -> int:
    """Print a table for each layer, and the Huffman code's speed; 1 if a promise is not kept."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", nargs="?", help="a .eie file")
    parser.add_argument("--nncodec", metavar="PYTHON", help="an interpreter that has nncodec")
    options = parser.parse_args()
    if options.file:
        layers = load(options.file)
    else:
        layers, _ = compress_network(read_model(EXAMPLE).layers, Settings(DENSITY))
        layers += [random_layer(1024, 2000, 0.09, "random"), random_layer(4096, 4096, 0.09, "large random")]
    console = Console(width=100)
    for layer in layers:
        if layer.nnz:
            console.print(compare(layer, options.nncodec))
    if not constriction:
        print("zstd and constriction are left out: pip install -e '.[bench]' brings them")
    if not options.nncodec:
        print("nncodec is left out: see --help")
    speed = huffman_speed()
    for what, promised in PROMISED.items():
        print(f"Huffman {what}: {speed[what]:,.0f} MB of symbols/s on one core (promised: {promised})")
    return int(any(speed[what] < promised for what, promised in PROMISED.items()))


if __name__ == "__main__":
    sys.exit(main())
