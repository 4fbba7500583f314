"""Huffman codes, streams, and numbers as symbols."""

import heapq
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eie.compress.format import huffman
from eie.compress.format.streams import Stream, encode_numbers, join, split
from eie.compress.format.wire import Reader
from eie.errors import FormatError
from tests.support.clock import least_seconds

symbol_lists = st.lists(st.integers(0, 255), max_size=300).map(np.uint8)


def unlimited_cost(frequencies: list[int]) -> int:
    """Total bits of a plain Huffman code: the sum of the merged nodes."""
    heap = [f for f in frequencies if f]
    heapq.heapify(heap)
    cost = 0
    while len(heap) > 1:
        merged = heapq.heappop(heap) + heapq.heappop(heap)
        cost += merged
        heapq.heappush(heap, merged)
    return cost


@given(st.lists(st.integers(0, 1000), min_size=2, max_size=60))
def test_code_lengths_are_the_shortest_while_no_word_is_too_long(frequencies):
    lengths = huffman.code_lengths(np.array(frequencies))
    huffman.check_lengths(lengths)
    assert ((lengths > 0) == (np.array(frequencies) > 0)).all()
    # With at most 60 symbols of at most 1000 occurrences no optimal word is longer than 15.
    if np.count_nonzero(frequencies) > 1:
        assert int(lengths @ np.array(frequencies)) == unlimited_cost(frequencies)


def test_words_are_limited_to_15_bits():
    fibonacci = [1, 1]
    while len(fibonacci) < 30:
        fibonacci.append(sum(fibonacci[-2:]))
    lengths = huffman.code_lengths(np.array(fibonacci))
    assert lengths.max() == 15
    huffman.check_lengths(lengths)
    symbols = np.repeat(np.arange(30, dtype=np.uint8), 3)
    assert np.array_equal(huffman.decode(huffman.encode(symbols, lengths), 90, lengths), symbols)


def test_canonical_words():
    assert huffman.canonical_words(np.uint8([3, 1, 0, 3, 2])).tolist() == [0b110, 0b0, 0, 0b111, 0b10]


@given(symbol_lists)
def test_round_trip(symbols):
    lengths = huffman.code_lengths(np.bincount(symbols))
    data = huffman.encode(symbols, lengths)
    assert len(data) == (int(lengths[symbols].sum()) + 7) // 8
    assert np.array_equal(huffman.decode(data, len(symbols), lengths), symbols)


def test_round_trip_of_many_symbols_and_long_words():
    # Several symbols a look-up, words longer than a look-up, and every phase of the 57-bit window.
    symbols = (np.random.default_rng(5).geometric(0.2, 100_000) % 60).astype(np.uint8)
    lengths = huffman.code_lengths(np.bincount(symbols))
    data = huffman.encode(symbols, lengths)
    assert lengths.max() > 12
    assert np.array_equal(huffman.decode(data, len(symbols), lengths), symbols)


def test_coding_is_compiled():
    # A guard with a wide margin; benchmarks/codec_speed.py measures what is promised. Not compiled, ours are a thousand
    # times slower than zlib's.
    symbols = np.clip(np.rint(np.random.default_rng(3).normal(8, 2.6, 2_000_000)), 1, 15).astype(np.uint8)
    lengths = huffman.code_lengths(huffman.histogram(symbols))
    data = huffman.encode(symbols, lengths)
    ours = (
        least_seconds(lambda: huffman.encode(symbols, lengths)),
        least_seconds(lambda: huffman.decode(data, len(symbols), lengths)),
    )

    def by_zlib() -> bytes:
        coder = zlib.compressobj(strategy=zlib.Z_HUFFMAN_ONLY)
        return coder.compress(symbols.tobytes()) + coder.flush()

    coded = by_zlib()
    theirs = (least_seconds(by_zlib), least_seconds(lambda: zlib.decompress(coded)))
    assert [a < b for a, b in zip(ours, theirs, strict=True)] == [True, True]


@pytest.mark.parametrize(
    ("lengths", "data", "count", "text"),
    [
        ([1, 1, 1], b"\0", 1, "over-subscribed Huffman table: its code lengths leave no prefix code"),
        ([2, 2, 2], b"\0", 1, "incomplete Huffman table: some bit patterns have no symbol"),
        ([2], b"\0", 1, "incomplete Huffman table: some bit patterns have no symbol"),
        ([16, 1], b"\0", 1, "a code word of 16 bits (at most 15)"),
        ([0, 1], b"\x80", 1, "a bit pattern that stands for no symbol"),
        ([0, 0], b"\0", 1, "1 symbols, but the Huffman table has none"),
        ([1, 1], b"\0", 9, "9 symbols do not fit 1 bytes"),
        ([1, 2, 2], b"\xff", 5, "the bits end before 5 symbols do"),
        ([1, 2, 2], b"\xff", 8, "the bits end before 8 symbols do"),
        ([1, 2, 2], b"\x7f", 5, "the bits end before 5 symbols do"),
        ([1, 1], b"\0\0", 8, "8 bits are left after 8 symbols"),
        ([1, 1], b"", 1, "1 symbols do not fit 0 bytes"),
        ([1, 1], b"\0", 0, "8 bits are left after 0 symbols"),
        ([1, 1], b"\x01", 7, "the padding after the last symbol is not 0"),
    ],
)
def test_bad_codes_are_refused(lengths, data, count, text):
    with pytest.raises(FormatError) as caught:
        huffman.decode(data, count, np.uint8(lengths))
    assert str(caught.value) == text


@given(st.lists(st.integers(0, 3000), max_size=50), st.integers(1, 8))
def test_numbers_survive_as_symbols(values, width):
    symbols = split(np.array(values, np.int64), width)
    assert symbols.size == 0 or symbols.max() < 1 << width
    assert join(symbols, width).tolist() == values


def test_an_unfinished_number_is_refused():
    with pytest.raises(FormatError, match=r"^the last symbol leaves a number unfinished$"):
        join(np.uint8([1, 3]), 2)


@given(st.lists(st.integers(0, 3000), max_size=50))
def test_the_narrowest_coding_is_chosen(values):
    numbers = np.array(values, np.int64)
    sizes = [len(Stream.encode(split(numbers, width), width).to_bytes()) for width in range(1, 9)]
    assert len(encode_numbers(numbers).to_bytes()) == min(sizes)


@given(symbol_lists)
def test_a_stream_is_read_back_and_near_its_entropy(symbols):
    stream = Stream.encode(symbols, 8)
    reader = Reader(b"?" + stream.to_bytes() + b"?", 1)
    parsed = Stream.parse(reader)
    assert reader.left == 1
    assert np.array_equal(parsed.symbols, symbols)
    # Shannon: no code is below the entropy, Huffman's is less than one bit a symbol above.
    counts = np.bincount(symbols)
    counts = counts[counts > 0]
    entropy = float((counts * np.log2(len(symbols) / counts)).sum())
    coded = int(stream.lengths[symbols].sum())
    assert len(stream.bits) == (coded + 7) // 8
    assert entropy - 1e-6 <= coded
    if len(counts) > 1:
        assert coded < entropy + len(symbols)
