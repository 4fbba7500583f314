"""The .eie file: round trips, the independent decoder, and every way of being corrupt or hostile."""

import dataclasses
import hashlib
import json
import os
import random
import struct
import tracemalloc

import eie_decoder
import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

import eie
from eie.compress.file import describe, load, measure, save, to_bytes
from eie.compress.streams import Stream, split
from eie.errors import FormatError, LayerError, OutputError
from eie.layer import CompressedLayer

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


@given(networks())
def test_round_trip_and_the_independent_decoder(tmp_path_factory, layers):
    path = tmp_path_factory.mktemp("eie") / "net.eie"
    save(path, layers)
    again = load(path)
    assert len(again) == len(layers)
    assert all(a.equals(b) for a, b in zip(layers, again, strict=True))
    decoded = eie_decoder.decode(path.read_bytes())
    for layer, other in zip(layers, decoded, strict=True):
        assert np.array_equal(layer.dense_codes(), other["codes"])
        assert np.array_equal(layer.codebook, other["codebook"])
        assert np.array_equal(layer.bias, other["bias"])
        scalars = ("name", "rows", "cols", "relu", "product_shift", "output_shift")
        assert all(getattr(layer, s) == other[s] for s in (*scalars, "x_frac", "w_frac", "weight_bits"))


def test_the_example_of_the_page_byte_for_byte():
    tensors = safetensors.numpy.load(to_bytes([example()]))
    expected = {
        "codes": "02 0400 03000000 01000000 2012 b0",
        "rows": "01 0200 17000000 03000000 11 cffffc",
        "counts": "01 0200 04000000 01000000 11 e0",
    }
    for name, text in expected.items():
        assert tensors[name].tobytes() == bytes.fromhex(text), name
    assert tensors["bias"].dtype == np.int16
    assert tensors["codebook"].tolist() == [0, 5, 6, 7]


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


def test_every_changed_byte_is_noticed(tmp_path):
    seed = 11
    rng = random.Random(seed)
    data = to_bytes([example(), dataclasses.replace(example(), name="second")])
    for place in range(len(data)):
        changed = bytearray(data)
        changed[place] ^= rng.randrange(1, 256)
        refusal(tmp_path, bytes(changed))


def test_every_flipped_bit_of_the_checksum_and_version_is_noticed(tmp_path):
    data = to_bytes([example()])
    first = data.index(b"version")
    for place in range(first, first + 70):
        for bit in range(8):
            changed = bytearray(data)
            changed[place] ^= 1 << bit
            refusal(tmp_path, bytes(changed))


def test_every_truncation_and_appendix_is_noticed(tmp_path):
    data = to_bytes([example()])
    for size in range(len(data)):
        refusal(tmp_path, data[:size])
    refusal(tmp_path, data + b"\0")


def test_no_eie_file(tmp_path):
    assert refusal(tmp_path, b"").startswith("truncated, corrupt, or no .eie file (")
    assert refusal(tmp_path, safetensors.numpy.save({"w": np.zeros(2)})) == (
        "a safetensors file, but not a compressed network (no metadata 'eie')"
    )
    with pytest.raises(FormatError, match=r"none.eie: cannot be read: No such file or directory$"):
        load(tmp_path / "none.eie")
    with pytest.raises(FormatError, match=r": cannot be read: Is a directory$"):
        load(tmp_path)


# ---- hostile: the checksum is right ------------------------------------------------------------------------


def forge(layers, change) -> bytes:
    """A file whose tensors and metadata went through change(tensors, about), with a valid checksum."""
    data = to_bytes(layers)
    tensors = {name: array.copy() for name, array in safetensors.numpy.load(data).items()}
    header = json.loads(data[8 : 8 + struct.unpack_from("<Q", data)[0]])
    about = json.loads(header["__metadata__"]["eie"])
    about = change(tensors, about) or about
    blank = "0" * 32
    if isinstance(about, dict) and "checksum" in about:
        about["checksum"] = blank
    forged = safetensors.numpy.save(tensors, {"eie": json.dumps(about)})
    digest = hashlib.blake2b(forged, digest_size=16).hexdigest()
    return forged.replace(blank.encode(), digest.encode(), 1)


def stream_bytes(symbols, width, lengths=None, *, count=None, extra=b"") -> np.ndarray:
    """A stream's bytes with a head that may lie."""
    good = Stream.encode(np.uint8(symbols), width)
    lengths = good.lengths if lengths is None else np.uint8(lengths)
    count = len(symbols) if count is None else count
    padded = [*lengths.tolist(), 0][: len(lengths) + len(lengths) % 2]
    table = bytes(low | high << 4 for low, high in zip(padded[::2], padded[1::2], strict=True))
    bits = good.bits + extra
    return np.frombuffer(struct.pack("<BHII", width, len(lengths), count, len(bits)) + table + bits, np.uint8)


def replace(name, array):
    def change(tensors, about):
        tensors[name] = np.array(array)

    return change


def scalar(place, value):
    def change(tensors, about):
        about["layers"][0][place] = value

    return change


def about_with(**items):
    return lambda tensors, about: {**about, **items}


HOSTILE = {
    "newer": (
        about_with(version=2),
        "format version 2 is newer than this program's 1: use a newer eie",
    ),
    "no version": (lambda tensors, about: about.pop("version") and None, "the metadata have no version"),
    "true is no version": (about_with(version=True), "the metadata have no version"),
    "old": (about_with(version=0), "format version 0 has never existed"),
    "metadata no object": (lambda tensors, about: [1], "the metadata have no version"),
    "no checksum": (
        lambda tensors, about: {k: v for k, v in about.items() if k != "checksum"},
        "the checksum does not match: the file is corrupt",
    ),
    "more metadata": (about_with(more=1), "the metadata must be version, checksum and a list of layers"),
    "layers no list": (
        about_with(layers={}),
        "the metadata must be version, checksum and a list of layers",
    ),
    "no layers": (about_with(layers=[]), "the metadata list no layer"),
    "short layer": (
        about_with(layers=[["example", 23, 1]]),
        "layer 0: the metadata must list name, rows, cols, relu, product_shift, output_shift, x_frac, w_frac, "
        "weight_bits",
    ),
    "huge rows": (
        scalar(1, 1 << 60),
        "layer 'example': rows must be from 1 to 16777216, not 1152921504606846976",
    ),
    "rows": (scalar(1, 1 << 24), "tensor 'bias' holds 23 values, but the layers need 16777216"),
    "cols": (scalar(2, 1 << 24), "layer 'example': 1 column counts for 16777216 columns"),
    "float cols": (scalar(2, 1.0), "layer 'example': cols must be from 1 to 16777216, not 1.0"),
    "bool relu": (scalar(3, True), "layer 'example': relu must be from 0 to 1, not True"),
    "shift": (scalar(4, 32), "layer 'example': product_shift must be from 0 to 31, not 32"),
    "negative shift": (scalar(5, -1), "layer 'example': output_shift must be from 0 to 31, not -1"),
    "frac": (scalar(6, 1001), "layer 'example': x_frac must be from -1000 to 1000, not 1001"),
    "weight bits": (scalar(8, 9), "layer 'example': weight_bits must be from 1 to 8, not 9"),
    "codebook size": (scalar(8, 3), "tensor 'codebook' holds 4 values, but the layers need 8"),
    "codebook[0]": (
        replace("codebook", np.int16([1, 5, 6, 7])),
        "layer 'example': codebook[0] must be 0, not 1",
    ),
    "codebook type": (
        replace("codebook", np.float32([0, 5, 6, 7])),
        "tensor 'codebook' must be a vector of int16, not float32[4]",
    ),
    "bias shape": (
        replace("bias", np.zeros((1, 23), np.int16)),
        "tensor 'bias' must be a vector of int16 or int32, not int16[1, 23]",
    ),
    "bias type": (
        replace("bias", np.zeros(23, np.int64)),
        "tensor 'bias' must be a vector of int16 or int32, not int64[23]",
    ),
    "one more tensor": (
        replace("more", np.uint8([1])),
        "tensors bias, codebook, codes, counts, more, rows: must be bias, codebook, codes, counts, rows",
    ),
    "one tensor less": (
        lambda tensors, about: tensors.pop("rows") is None or None,
        "tensors bias, codebook, codes, counts: must be bias, codebook, codes, counts, rows",
    ),
    "over-subscribed": (
        replace("codes", stream_bytes([1, 2, 3], 2, [1, 1, 1])),
        "layer 'example': codes: over-subscribed Huffman table: its code lengths leave no prefix code",
    ),
    "incomplete": (
        replace("rows", stream_bytes([1, 1, 0], 1, [2, 2])),
        "layer 'example': rows: incomplete Huffman table: some bit patterns have no symbol",
    ),
    "table size": (
        replace("codes", stream_bytes([1, 2, 3], 2, [0, 2, 2, 1, 0])),
        "layer 'example': codes: a table of 5 code lengths for symbols of 2 bits",
    ),
    "table padding": (
        replace("counts", np.frombuffer(bytes.fromhex("01 0100 04000000 01000000 11 e0"), np.uint8)),
        "layer 'example': counts: the padding after the code lengths is not 0",
    ),
    "width": (
        replace("counts", np.frombuffer(bytes.fromhex("09 0200 04000000 01000000 11 e0"), np.uint8)),
        "layer 'example': counts: symbols of 9 bits (1 to 8)",
    ),
    "head": (
        replace("counts", np.zeros(10, np.uint8)),
        "layer 'example': counts: the tensor ends inside a stream's head",
    ),
    "stream size": (
        replace("counts", np.frombuffer(bytes.fromhex("01 0200 04000000 ffffffff 11 e0"), np.uint8)),
        "layer 'example': counts: the tensor ends 4294967294 bytes before a stream does",
    ),
    "symbols": (
        replace("rows", stream_bytes([1, 1, 0], 1, count=2**32 - 1)),
        "layer 'example': rows: 4294967295 symbols do not fit 1 bytes",
    ),
    "bits short": (
        replace("codes", stream_bytes([1, 2, 3], 2, count=8)),
        "layer 'example': codes: the bits end before 8 symbols do",
    ),
    "bits left": (
        replace("codes", stream_bytes([1, 2, 3], 2, extra=b"\0")),
        "layer 'example': codes: 11 bits are left after 3 symbols",
    ),
    "two layers' streams": (
        lambda tensors, about: replace("codes", np.tile(tensors["codes"], 2))(tensors, about),
        "14 bytes are left after the last stream of 'codes'",
    ),
    "code width": (
        replace("codes", stream_bytes([1, 2, 3], 3)),
        "layer 'example': codes of 3 bits, but the codebook's indices have 2",
    ),
    "code 0": (
        replace("codes", stream_bytes([1, 0, 3], 2)),
        "layer 'example': an entry with code 0 is stored (only fillers may have it)",
    ),
    "unfinished number": (
        replace("counts", stream_bytes([1, 1, 1, 0, 1], 1)),
        "layer 'example': the last symbol leaves a number unfinished",
    ),
    "counts": (
        replace("counts", stream_bytes(split(np.array([2]), 1), 1)),
        "layer 'example': the column counts add up to 2, but there are 3 codes and 3 rows",
    ),
    "counts of another column": (
        replace("counts", stream_bytes(split(np.array([1, 2]), 1), 1)),
        "layer 'example': 2 column counts for 1 columns",
    ),
    "rows missing": (
        replace("rows", stream_bytes(split(np.array([2, 0]), 1), 1)),
        "layer 'example': the column counts add up to 3, but there are 3 codes and 2 rows",
    ),
    "row past the end": (
        replace("rows", stream_bytes(split(np.array([2, 0, 19]), 1), 1)),
        "layer 'example': column 0 has an entry past the last row 22",
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_files_are_refused(tmp_path, case):
    change, text = HOSTILE[case]
    assert refusal(tmp_path, forge([example()], change)) == text


def test_forging_without_a_change_gives_a_valid_file(tmp_path):
    path = tmp_path / "net.eie"
    path.write_bytes(forge([example()], lambda tensors, about: None))
    assert load(path)[0].equals(example())


def test_the_column_of_a_row_past_the_end_is_named(tmp_path):
    codes = np.zeros((5, 4), np.uint8)
    codes[1, 0] = codes[2, 2] = codes[4, 2] = codes[0, 3] = 1
    layer = CompressedLayer.from_codes(codes, [0, 1], name="fc")
    # Zeros 1 | 2 1 | 0 become 1 | 2 2 | 0: row 5 in column 2.
    forged = forge([layer], replace("rows", stream_bytes(split(np.array([1, 2, 2, 0]), 2), 2)))
    assert refusal(tmp_path, forged) == "layer 'fc': column 2 has an entry past the last row 4"


def test_nested_and_huge_json_is_refused(tmp_path):
    def with_text(text: str) -> bytes:
        return safetensors.numpy.save({"w": np.zeros(1)}, {"eie": text})

    for text in ("[" * 100_000, "1" * 10_000, "", '{"version":'):
        assert refusal(tmp_path, with_text(text)).startswith("truncated, corrupt, or no .eie file (")


def peak_per_byte(path) -> float:
    tracemalloc.start()
    try:
        load(path)
    except FormatError:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return peak / os.path.getsize(path)


def test_memory_is_bounded_by_the_files_size(tmp_path):
    path = tmp_path / "net.eie"
    # The densest coding there is: one bit for each code, row and count.
    save(path, [CompressedLayer.from_codes(np.ones((1, 1 << 17), np.uint8), [0, 1])])
    assert peak_per_byte(path) < 250
    for place in (1, 2):
        path.write_bytes(forge([example()], scalar(place, 1 << 24)))
        # The decoding table and a small file's fixed costs are all there is.
        assert peak_per_byte(path) * os.path.getsize(path) < 1 << 20


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
    with pytest.raises(LayerError, match=r"^layer 'example': x_frac and w_frac must be from -1000 to 1000$"):
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


def test_sizes_add_up(tmp_path):
    layers = [example(), dataclasses.replace(example(), name="second")]
    save(tmp_path / "net.eie", layers)
    report = describe(tmp_path / "net.eie")
    assert report == measure(layers)
    assert report.total_bytes == os.path.getsize(tmp_path / "net.eie")
    assert report.total_bytes == report.header_bytes + sum(layer.nbytes for layer in report.layers)
    first = report.layers[0]
    assert (first.nnz, first.codes.plain, first.codes.coded, first.row_indices.symbols) == (3, 6, 5, 23)
    assert first.codes.entropy == pytest.approx(3 * np.log2(3))
    assert first.per_weight(lambda size: size.coded)["codes"] == pytest.approx(5 / 3)
    assert report.dense_bytes == 2 * 4 * 23 * 2
    assert report.ratio == pytest.approx(368 / report.total_bytes)
