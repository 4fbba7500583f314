"""The .eie file: round trips, the independent decoder, and every way of being corrupt or hostile."""

import dataclasses
import os
import resource
import socket
import subprocess
import sys
import tracemalloc
import zlib
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import eie
from eie.compress.format import adaptive
from eie.compress.format.adaptive import Coder
from eie.compress.format.file import (
    EncodedLayer,
    describe,
    from_bytes,
    has_graph,
    load,
    load_graph,
    load_with_sizes,
    measure,
    save,
    save_encoded,
    to_bytes,
)
from eie.compress.format.streams import split
from eie.compress.format.wire import varint
from eie.compress.forward import fixed_forward
from eie.conv import Conv
from eie.errors import FormatError, LayerError, OutputError
from eie.layer import CompressedLayer
from tests.support import eie_decoder, eie_files

EXAMPLE = [0, 0, 1, 2] + [0] * 18 + [3]


def example() -> CompressedLayer:
    """The column of docs/formats.md."""
    return CompressedLayer.from_codes(np.array([EXAMPLE]).T, [0, 5, 6, 7], name="example")


@st.composite
def networks(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    layers = []
    for _ in range(draw(st.integers(1, 3))):
        shape = draw(st.integers(1, 40)), draw(st.integers(1, 12))
        weight_bits = draw(st.integers(1, 8))
        keep = rng.random(shape) < draw(st.sampled_from([0, 0.05, 0.3, 1]))
        big = draw(st.booleans())
        layers.append(
            CompressedLayer.from_codes(
                rng.integers(1, 1 << weight_bits, shape) * keep,
                np.concatenate(([0], rng.integers(-32768, 32768, (1 << weight_bits) - 1))),
                rng.integers(-(2**31), 2**31, shape[0]) if big else rng.integers(-99, 99, shape[0]),
                draw(st.booleans()),
                draw(st.integers(0, 31)),
                draw(st.integers(0, 31)),
                name=draw(st.text(max_size=8)),
                x_frac=draw(st.integers(-1000, 1000)),
                w_frac=draw(st.integers(-1000, 1000)),
            )
        )
    return layers


def huffman_only():
    """While it lasts, no layer is small enough for the adaptive code."""
    return mock.patch.object(adaptive, "MAX_ELEMENTS", 0)


def check_decoded(layers, data):
    """The independent decoder reads what was written."""
    for layer, other in zip(layers, eie_decoder.decode(data), strict=True):
        assert np.array_equal(layer.dense_codes(), other["codes"])
        assert np.array_equal(layer.codebook, other["codebook"])
        assert np.array_equal(layer.bias, other["bias"])
        scalars = ("name", "rows", "cols", "relu", "product_shift", "output_shift")
        assert all(
            getattr(layer, s) == other[s] for s in (*scalars, "x_frac", "w_frac", "weight_bits", "follows")
        )


@given(networks(), st.booleans())
def test_round_trip_and_the_independent_decoder(tmp_path_factory, layers, huffman):
    path = tmp_path_factory.mktemp("eie") / "net.eie"
    if huffman:
        with huffman_only():
            save(path, layers)
    else:
        save(path, layers)
    again = load(path)
    assert len(again) == len(layers)
    assert all(a.equals(b) for a, b in zip(layers, again, strict=True))
    check_decoded(layers, path.read_bytes())


def structured(rows=60, cols=144, seed=3) -> CompressedLayer:
    """A layer on an image of 12 x 12 pixels: blobs of weights of one sign, and dead rows."""
    rng = np.random.default_rng(seed)
    pixels = np.arange(cols)
    codes = np.zeros((rows, cols), np.uint8)
    for row in range(0, rows, 2):
        far = (pixels // 12 - rng.integers(12)) ** 2 + (pixels % 12 - rng.integers(12)) ** 2
        codes[row] = (far < 6) * (rng.integers(1, 5) + rng.integers(0, 3, cols))
    return CompressedLayer.from_codes(codes, np.arange(8) * 100, rng.integers(-500, 500, rows), name="image")


def test_structure_is_found_and_both_codings_hold_it():
    layers = [structured(), structured(rows=20, cols=60, seed=4)]
    data = to_bytes(layers)
    check_decoded(layers, data)
    sizes = measure(layers).layers
    assert [size.coding for size in sizes] == ["adaptive", "adaptive"]
    assert adaptive.best_stride(layers[0]) == 12
    # Positions and codes below the entropy of independent ones.
    assert sizes[0].positions.coded < 0.8 * sizes[0].positions.entropy
    assert sizes[0].codes.coded < 0.9 * sizes[0].codes.entropy
    with huffman_only():
        longer = to_bytes(layers)
        assert [size.coding for size in measure(layers).layers] == ["Huffman", "Huffman"]
    check_decoded(layers, longer)
    assert len(data) < 0.8 * len(longer)


def test_the_layer_before_tells_which_inputs_are_dead():
    rng = np.random.default_rng(7)
    first, second = rng.random((100, 50)) < 0.2, rng.random((40, 100)) < 0.2
    dead = rng.permutation(100)[:50]
    first[dead] = second[:, dead] = 0
    first, second = (CompressedLayer.from_codes(part.astype(np.uint8), [0, 1]) for part in (first, second))
    alone, behind = measure([second]).layers[0], measure([first, second]).layers[1]
    assert behind.positions.coded < 0.95 * alone.positions.coded


def test_layers_encoded_by_themselves_give_the_same_file(tmp_path):
    layers = [structured(), structured(rows=20, cols=60, seed=4)]
    sizes = save_encoded(tmp_path / "net.eie", [EncodedLayer.of(layer) for layer in layers])
    assert (tmp_path / "net.eie").read_bytes() == to_bytes(layers)
    assert sizes == describe(tmp_path / "net.eie") == measure(layers)


@pytest.mark.parametrize("bits", [1, 8])
def test_a_layer_that_follows_no_other_is_not_run_behind_it(bits, tmp_path):
    codes = np.random.default_rng(3).integers(0, 1 << bits, (2, 5, 5))
    one, two = (CompressedLayer.from_codes(each, np.arange(1 << bits)) for each in codes)
    two = dataclasses.replace(two, follows=False)
    save(tmp_path / "net.eie", [one, two])
    loaded = load(tmp_path / "net.eie")
    assert [layer.follows for layer in loaded] == [True, False]
    assert not loaded[1].equals(dataclasses.replace(two, follows=True))
    check_decoded([one, two], (tmp_path / "net.eie").read_bytes())
    with pytest.raises(LayerError, match=r"'layer' does not take the outputs of 'layer' as they are"):
        fixed_forward(loaded, np.zeros((1, 5), np.int64))
    fixed_forward(loaded[1:], np.zeros((1, 5), np.int64))


def test_a_convolution_keeps_its_geometry(tmp_path):
    conv = Conv((3, 4), (1, 2), (1, 1), (2, 2), (2, 2), (300, 28))
    codes = np.random.default_rng(2).integers(0, 4, (5, 24))
    layer = CompressedLayer.from_codes(codes, [0, 1, 2, 3], conv=conv)
    save(tmp_path / "net.eie", [layer])
    assert load(tmp_path / "net.eie")[0].equals(layer)
    pairs = eie_decoder.decode((tmp_path / "net.eie").read_bytes())[0]["geometry"]
    assert pairs == list(dataclasses.astuple(conv))


def test_the_example_of_the_page_byte_for_byte():
    with huffman_only():
        data = to_bytes([example()])
    expected = "02 04 03 01 2012 b0  01 02 17 03 11 cffffc  01 02 04 01 11 e0"
    assert data.endswith(bytes.fromhex(expected))
    assert data.startswith(b"EIE\x02")
    # Flags, name, 23 rows, 1 column, 3 entries, shifts, fractions, the body's size.
    assert data[12:28] == bytes([0b001101, 7]) + b"example" + bytes([23, 1, 3, 0, 0, 0, 0])


def test_the_same_layers_give_the_same_bytes_and_order_matters():
    other = dataclasses.replace(example(), name="other")
    assert to_bytes([example(), other]) == to_bytes([example(), other])
    assert to_bytes([example(), other]) != to_bytes([other, example()])


def test_long_gaps_and_large_counts():
    # A row past every symbol, and a column with more entries than any symbol.
    codes = np.zeros((70_000, 2), np.uint8)
    codes[69_999, 0] = codes[::2, 1] = 1
    layer = CompressedLayer.from_codes(codes, [0, 9])
    data = to_bytes([layer])
    assert np.array_equal(eie_decoder.decode(data)[0]["codes"], codes)
    assert measure([layer]).layers[0].nnz == 35_001


def test_public_names(tmp_path):
    eie.save(tmp_path / "net.eie", [example()])
    assert eie.load(str(tmp_path / "net.eie"))[0].equals(example())


# ---- corrupt -----------------------------------------------------------------------------------------------


def refusal(tmp_path, data: bytes) -> str:
    path = tmp_path / "net.eie"
    path.write_bytes(data)
    with pytest.raises(FormatError) as caught:
        load(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    return text.removeprefix(f"{path}: ")


@pytest.mark.parametrize("graph", [b"a graph", bytes(1 << 21)])
def test_a_graph_in_the_file(tmp_path, graph):
    """One that would shrink too well is stored as it is."""
    path, plain = tmp_path / "net.eie", tmp_path / "plain.eie"
    save(path, [example()], graph)
    save(plain, [example()])
    assert (has_graph(path), has_graph(plain)) == (True, False)
    assert (load_graph(path), load_graph(plain)) == (graph, b"")
    assert load(path)[0].equals(example())
    sizes = describe(path)
    assert (sizes.version, sizes.total_bytes) == (3, path.stat().st_size)
    assert sizes.total_bytes - sizes.header_bytes == describe(plain).total_bytes - 12
    assert load_with_sizes(path)[0] == sizes
    assert sizes.version == 3
    assert sizes.total_bytes == sizes.header_bytes + sum(layer.nbytes for layer in sizes.layers)
    (decoded,) = eie_decoder.decode(path.read_bytes())
    assert np.array_equal(decoded["codes"], example().dense_codes())
    assert not has_graph(tmp_path / "none.eie")


def test_every_change_of_a_byte_is_noticed():
    data = to_bytes([structured(rows=6, cols=24), example()])
    for place in range(len(data)):
        changed = bytearray(data)
        for other in set(range(256)) - {data[place]}:
            changed[place] = other
            with pytest.raises(FormatError):
                from_bytes(bytes(changed))


def test_every_truncation_and_appendix_is_noticed(tmp_path):
    data = to_bytes([structured(rows=6, cols=24), example()])
    for size in range(len(data)):
        refusal(tmp_path, data[:size])
    refusal(tmp_path, data + b"\0")


def test_no_eie_file(tmp_path):
    assert refusal(tmp_path, b"") == "not a .eie file, or only the beginning of one"
    assert refusal(tmp_path, b"EIE\x02 short") == "not a .eie file, or only the beginning of one"
    version_1 = b'\x20\0\0\0\0\0\0\0{"__metadata__":{"eie":"...'
    assert refusal(tmp_path, version_1) == (
        "format version 1, which only development versions wrote: compress the network again"
    )
    with pytest.raises(FormatError, match=r"none.eie: cannot be read: No such file or directory$"):
        load(tmp_path / "none.eie")
    with pytest.raises(FormatError, match=r": cannot be read: Is a directory$"):
        load(tmp_path)


# ---- hostile: the checksum is right ------------------------------------------------------------------------

file, layer, huffman, stream = eie_files.file, eie_files.layer, eie_files.huffman_body, eie_files.stream
body = eie_files.adaptive_body
BOMB = zlib.compress(bytes(1 << 22))


HOSTILE = {
    "newer": (file(layer(), version=4), "format version 4 is newer than this program's 3: use a newer eie"),
    "no graph": (file(varint(3), b"abc", layer(), version=3), "its graph is damaged"),
    "graph cut": (file(varint(99), layer(), version=3), "the file ends 56 bytes before its graph does"),
    "large graph": (
        file(varint(len(BOMB)), BOMB, layer(), version=3),
        "its graph is cut short, or larger than 1,048,576 bytes",
    ),
    "half a graph": (
        file(varint(9), zlib.compress(b"graph")[:9], layer(), version=3),
        "its graph is cut short, or larger than 1,048,576 bytes",
    ),
    "old": (file(layer(), version=0), "format version 0 has never existed"),
    "no layer": (file(), "the file ends 1 bytes before a layer's head does"),
    "flags": (file(layer(flags=0x8D)), "the flags 0x8d have no meaning"),
    "name": (file(layer(name=b"\xff")), "its name is not UTF-8"),
    "long name": (
        file(layer(name=b"")[:1] + b"\xff\xff\xff\xff\x0f"),
        "the file ends 4294967295 bytes before a layer's name does",
    ),
    "varint": (file(layer(name=b"")[:1] + b"\x80" * 6), "a layer's name takes more than 5 bytes"),
    "huge rows": (
        file(layer(rows=1 << 30)),
        "layer 'example': rows must be from 1 to 16777216, not 1073741824",
    ),
    "no cols": (file(layer(cols=0)), "layer 'example': cols must be from 1 to 16777216, not 0"),
    "entries": (file(layer(entries=24)), "layer 'example': entries must be from 0 to 23, not 24"),
    "rows": (
        file(layer(rows=1 << 24)),
        "layer 'example': 16777216 rows, 1 columns and 3 entries in 26 bytes",
    ),
    "cols": (
        file(layer(cols=1 << 24)),
        "layer 'example': 23 rows, 16777216 columns and 3 entries in 26 bytes",
    ),
    "shift": (file(layer(shifts=(32, 0))), "layer 'example': product_shift must be from 0 to 31, not 32"),
    "frac": (file(layer(fracs=(0, -1001))), "layer 'example': w_frac must be from -1000 to 1000, not -1001"),
    "conv": (
        file(layer(flags=0b001111, geometry=[(0, 0)] * 6)),
        "layer 'example': kernel of a convolution must be two sizes from 1 to 65536, not (0, 0)",
    ),
    "size": (
        file(layer(size=1 << 32)),
        "layer 'example': the file ends 4294967270 bytes before the layer does",
    ),
    "codebook": (
        file(layer(body=huffman(codebook=[30000, 30000, 0]))),
        "layer 'example': a code of more than 16 bits",
    ),
    "numbers": (
        file(layer(body=bytes([4]) + b"\0\0\0\0" + huffman()[1:])),
        "layer 'example': a number of more than 32 bits",
    ),
    "numbers cut short": (
        file(layer(body=b"\x7f" + huffman()[1:])),
        "layer 'example': the file ends 102 bytes before the codebook and the bias does",
    ),
    "over-subscribed": (
        file(layer(body=huffman(codes=stream([1, 2, 3], 2, [1, 1, 1])))),
        "layer 'example': codes: over-subscribed Huffman table: its code lengths leave no prefix code",
    ),
    "incomplete": (
        file(layer(body=huffman(rows=stream([1, 1, 0], 1, [2, 2])))),
        "layer 'example': rows: incomplete Huffman table: some bit patterns have no symbol",
    ),
    "table size": (
        file(layer(body=huffman(codes=stream([1, 2, 3], 2, [0, 2, 2, 1, 0])))),
        "layer 'example': codes: a table of 5 code lengths for symbols of 2 bits",
    ),
    "table padding": (
        file(layer(body=huffman(counts=bytes.fromhex("01 01 04 01 11 e0")))),
        "layer 'example': counts: the padding after the code lengths is not 0",
    ),
    "width": (
        file(layer(body=huffman(counts=bytes.fromhex("09 02 04 01 11 e0")))),
        "layer 'example': counts: symbols of 9 bits (1 to 8)",
    ),
    "head": (
        file(layer(body=huffman(counts=b"\x01"))),
        "layer 'example': counts: the file ends 1 bytes before the head of a stream does",
    ),
    "stream size": (
        file(layer(body=huffman(counts=bytes.fromhex("01 02 04 ffffff7f 11 e0")))),
        "layer 'example': counts: the file ends 268435454 bytes before a stream does",
    ),
    "symbols": (
        file(layer(body=huffman(rows=stream([1, 1, 0], 1, count=2**32 - 1)))),
        "layer 'example': rows: 4294967295 symbols do not fit 1 bytes",
    ),
    "bits short": (
        file(layer(body=huffman(codes=stream([1, 2, 3], 2, count=8)))),
        "layer 'example': codes: the bits end before 8 symbols do",
    ),
    "bits left": (
        file(layer(body=huffman(codes=stream([1, 2, 3], 2, extra=b"\0")))),
        "layer 'example': codes: 11 bits are left after 3 symbols",
    ),
    "bytes left": (
        file(layer(body=huffman() + b"??")),
        "layer 'example': 2 bytes are left after the last stream",
    ),
    "code width": (
        file(layer(body=huffman(codes=stream([1, 2, 3], 3)))),
        "layer 'example': codes of 3 bits, but the codebook's indices have 2",
    ),
    "code 0": (
        file(layer(body=huffman(codes=stream([1, 0, 3], 2)))),
        "layer 'example': an entry with code 0 is stored (only fillers may have it)",
    ),
    "unfinished number": (
        file(layer(body=huffman(counts=stream([1, 1, 1, 0, 1], 1)))),
        "layer 'example': the last symbol leaves a number unfinished",
    ),
    "counts": (
        file(layer(body=huffman(counts=stream(split(np.array([2]), 1), 1)))),
        "layer 'example': 3 entries are announced, but there are 3 codes, 3 rows and 2 in the columns",
    ),
    "counts of another column": (
        file(layer(body=huffman(counts=stream(split(np.array([1, 2]), 1), 1)))),
        "layer 'example': 2 column counts for 1 columns",
    ),
    "rows missing": (
        file(layer(body=huffman(rows=stream(split(np.array([2, 0]), 1), 1)))),
        "layer 'example': 3 entries are announced, but there are 3 codes, 2 rows and 3 in the columns",
    ),
    "entries of the head": (
        file(layer(entries=2, body=huffman())),
        "layer 'example': 2 entries are announced, but there are 3 codes, 3 rows and 3 in the columns",
    ),
    "row past the end": (
        file(layer(body=huffman(rows=stream(split(np.array([2, 0, 19]), 1), 1)))),
        "layer 'example': column 0 has an entry past the last row 22",
    ),
    "stride": (
        file(layer(flags=0b001001, body=b"\x01" + body()[1:])),
        "layer 'example': a stride of 1 (at least 2)",
    ),
    "no stride": (
        file(layer(flags=0b001001, rows=1, entries=0, body=b"")),
        "layer 'example': 1 rows, 1 columns and 0 entries in 0 bytes",
    ),
    "elements": (
        file(layer(flags=0b001001, rows=2000, cols=2000, entries=0, body=bytes([2]) + bytes(4000))),
        "layer 'example': 4006000 elements in 4001 bytes (at most 2097152)",
    ),
    "elements for their bytes": (
        file(layer(flags=0b001001, rows=400, cols=400, entries=0, body=bytes([2]) + bytes(99))),
        "layer 'example': 161200 elements in 100 bytes (at most 102400)",
    ),
    "code 0, adaptive": (
        file(layer(flags=0b001001, body=body(codes=[4, 2, 3]))),
        "layer 'example': an entry with code 0 is stored (only fillers may have it)",
    ),
    "position missing": (
        file(layer(flags=0b001001, body=body(found=2))),
        "layer 'example': 3 entries are announced, but there are 2",
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_files_are_refused(tmp_path, case):
    data, text = HOSTILE[case]
    assert refusal(tmp_path, data) == text


def test_forging_without_a_change_gives_a_valid_file(tmp_path):
    for data in (file(layer()), file(layer(flags=0b001001, body=body()))):
        (tmp_path / "net.eie").write_bytes(data)
        assert load(tmp_path / "net.eie")[0].equals(example())


def test_the_column_of_a_row_past_the_end_is_named(tmp_path):
    # Zeros 1 | 2 2 | 0 in columns 0, 2, 3 of 5 rows: row 5 in column 2.
    forged = huffman(
        bias=[0] * 5,
        codes=stream([1, 1, 1, 1], 2),
        rows=stream(split(np.array([1, 2, 2, 0]), 2), 2),
        counts=stream(split(np.array([1, 0, 2, 1]), 2), 2),
    )
    text = refusal(tmp_path, file(layer(rows=5, cols=4, entries=4, body=forged)))
    assert text == "layer 'example': column 2 has an entry past the last row 4"


def peak(path) -> int:
    tracemalloc.start()
    try:
        load(path)
    except FormatError:
        pass
    finally:
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return most


def test_memory_is_bounded_by_the_files_size(tmp_path):
    path = tmp_path / "net.eie"
    save(path, [example()])
    load(path)  # what is made once: tables, compiled loops
    # The densest coding there is: one bit for each code, row and count.
    save(path, [CompressedLayer.from_codes(np.ones((1, 1 << 17), np.uint8), [0, 1])])
    assert peak(path) < 250 * os.path.getsize(path)
    # The most biases, and the most elements, that an adaptive body of its size may stand for.
    for rows, cols, size in ((6000, 1, 751), (250, 1000, 245)):
        coder = Coder()
        coder.numbers([0] * 3)
        coder.numbers([0] * rows)
        claim = {"flags": 0b001001, "rows": rows, "cols": cols, "entries": 0}
        path.write_bytes(file(layer(**claim, body=(b"\x02" + coder.finish()).ljust(size, b"\0"))))
        assert load(path)[0].shape == (rows, cols)
        assert peak(path) < 1500 * os.path.getsize(path)
    for claim in (
        {"rows": 1 << 24},
        {"cols": 1 << 24},
        {"rows": 1 << 12, "cols": 1 << 12, "entries": 1 << 24},
    ):
        path.write_bytes(file(layer(**claim)))
        assert peak(path) < 1 << 16


# ---- writing -----------------------------------------------------------------------------------------------


def test_bad_layers_are_not_written(tmp_path):
    good = example()
    indices = good.indices.copy()
    indices[0] = 30
    bad = dataclasses.replace(good, indices=indices)
    with pytest.raises(LayerError, match=r"row 30 is outside 0..22$"):
        save(tmp_path / "net.eie", [bad])
    with pytest.raises(LayerError, match=r"^a .eie file needs at least one layer$"):
        save(tmp_path / "net.eie", [])
    message = r"^layer 'example': x_frac, w_frac and scale_frac must be from -1000 to 1000$"
    with pytest.raises(LayerError, match=message):
        save(tmp_path / "net.eie", [dataclasses.replace(example(), x_frac=1001)])
    assert not list(tmp_path.iterdir())


def test_an_output_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match=r"none/net.eie: cannot be written: No such file or directory$"):
        save(tmp_path / "none" / "net.eie", [example()])
    with pytest.raises(OutputError, match=r"file/net.eie: cannot be written: Not a directory$"):
        save(tmp_path / "file" / "net.eie", [example()])
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match=r"folder: cannot be written: Is a directory$"):
        save(tmp_path / "folder", [example()])
    # The temporary file is gone again.
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]


def test_a_full_disk_leaves_the_old_file(tmp_path):
    path = tmp_path / "net.eie"
    save(path, [example()])
    old = path.read_bytes()

    # The system refuses to let the file grow beyond half of what it needs.
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(to_bytes([structured()])) // 2, limits[1]))
    try:
        with pytest.raises(OutputError, match=r"net.eie: cannot be written: File too large$"):
            save(path, [structured()])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [p.name for p in tmp_path.iterdir()] == ["net.eie"]
    assert path.read_bytes() == old


def test_sizes_add_up(tmp_path):
    layers = [structured(), dataclasses.replace(example(), name="second")]
    save(tmp_path / "net.eie", layers)
    report = describe(tmp_path / "net.eie")
    assert report == measure(layers)
    assert report.total_bytes == os.path.getsize(tmp_path / "net.eie")
    assert report.total_bytes == report.header_bytes + sum(size.nbytes for size in report.layers)
    first, second = report.layers
    parts = first.codes.coded + first.positions.coded + first.codebook_bits + first.bias_bits
    # What is left is the head, with the name, and at most two bytes to end the code.
    assert 0 < 8 * first.nbytes - parts < 8 * 24
    # 2 zeros, 0, 18: with 4 bits one filler, with 3 two, with 5 none. 2 + 5 bits for each of three.
    assert (second.nnz, second.index_bits, second.codes.plain, second.positions.plain) == (3, 5, 6, 15)
    assert second.codes.entropy == pytest.approx(3 * np.log2(3))
    assert second.positions.entropy == pytest.approx(3 * np.log2(23 / 3) + 20 * np.log2(23 / 20))
    assert second.per_weight(lambda part: part.plain) == {"codes": 2, "positions": 5}
    assert report.ratio == pytest.approx(report.dense_bytes / report.total_bytes)
    assert report.dense_bytes == 4 * 60 * 145 + 4 * 23 * 1


@pytest.mark.parametrize("density", [0.02, 0.1, 0.5])
def test_independent_weights_take_little_more_than_their_entropy(density):
    rng = np.random.default_rng(9)
    codes = (rng.random((300, 400)) < density) * np.clip(np.rint(rng.normal(8, 2.5, (300, 400))), 1, 15)
    layer = CompressedLayer.from_codes(codes.astype(np.uint8), np.arange(16))
    (adapted,) = measure([layer]).layers
    bound = adapted.codes.entropy + adapted.positions.entropy
    assert bound < adapted.codes.coded + adapted.positions.coded < 1.03 * bound
    with huffman_only():
        (huffman,) = measure([layer]).layers
    assert huffman.codes.entropy < huffman.codes.coded < 1.05 * huffman.codes.entropy + 100
    assert bound < huffman.codes.coded + huffman.positions.coded < 1.15 * bound


def test_what_killed_processes_left_is_swept(tmp_path):
    host = socket.gethostname()
    gone = subprocess.Popen(["true"])
    gone.wait()
    own = f"{host}.{gone.pid}.tmp"
    kept = [f".net.eie.{host}.{os.getppid()}.tmp", f".net.eie.elsewhere.{gone.pid}.tmp", f".other.eie.{own}"]
    for name in (*kept, f".net.eie.{own}"):
        (tmp_path / name).write_bytes(b"half a file")
    save(tmp_path / "net.eie", [CompressedLayer.from_codes([[1]], [0, 5])])
    assert {path.name for path in tmp_path.iterdir()} == {"net.eie", *kept}


def test_a_process_that_is_killed_while_it_writes(tmp_path):
    script = (
        "import os, signal; from eie.compress.format.file import replacing\n"
        "with replacing('net.eie') as file:\n"
        "    file.write(b'half'); file.flush(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=False)
    assert [path.suffix for path in tmp_path.iterdir()] == [".tmp"]
    save(tmp_path / "net.eie", [CompressedLayer.from_codes([[1]], [0, 5])])
    assert [path.name for path in tmp_path.iterdir()] == ["net.eie"]
