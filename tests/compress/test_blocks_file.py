"""Layers in blocks in a .eie file: the coder beside the ideal length, both decoders, what a reader refuses."""

import itertools
import re

import numpy as np
import pytest
from hypothesis import given, settings

from eie.blocks import BlockCodes, BlockStructure
from eie.compress.format.body import blocks_body
from eie.compress.format.file import from_bytes, measure, to_bytes
from eie.compress.format.mesa import differences, huffman_bits, mesa_bits
from eie.compress.forward import fixed_matrix
from eie.config import ArchConfig
from eie.errors import FormatError
from eie.layer import CompressedLayer
from eie.sim.api import simulate
from tests.support import eie_decoder, eie_files, eie_fuzz
from tests.support.block_draws import block_codes


@settings(max_examples=60, deadline=None)
@given(block_codes())
def test_a_file_gives_the_layer_again_and_the_second_decoder_its_weights(blocks):
    layer = CompressedLayer.from_blocks(blocks, np.arange(blocks.structure.rows) - 5)
    plain = CompressedLayer.from_codes([[0, 1], [2, 0]], [0, 10, -20, 30])
    data = to_bytes([layer, plain, layer])
    again = from_bytes(data)
    assert again[0].equals(layer)
    assert again[1].equals(plain)
    assert again[2].equals(layer)
    if blocks.structure.entries <= 400:
        assert np.array_equal(eie_decoder.decode(data)[0]["weights"], layer.decode())


def alike(bits, same, distinct, seed=1):
    """Codes of 10 blocks as MESA's training leaves them: a share of them as in the block before, the others near it."""
    rng, size = np.random.default_rng(seed), 1 << bits
    structure = BlockStructure(500, 800, 10, "shuffled", distinct)

    def fresh():
        return np.clip(np.rint(rng.normal(size / 2, size / 6, (50, 80))), 0, size - 1)

    codes = [fresh()]
    for _ in range(1, distinct):
        near = np.clip(codes[-1] + np.rint(rng.normal(0, size / 10, (50, 80))), 0, size - 1)
        codes.append(np.where(rng.random((50, 80)) < same, codes[-1], near if same else fresh()))
    table = np.sort(rng.choice(60_000, size, replace=False) - 30_000).astype(np.int16)
    return BlockCodes(structure, tuple(block.astype(np.uint8) for block in codes), table)


def ideal_bits(blocks):
    """Of the first block's codes by themselves, and of each other one given the code at the same place before it."""
    size = len(blocks.codebook)
    counts = [np.bincount(blocks.codes[0].ravel(), minlength=size)[None]]
    if len(blocks.codes) > 1:
        pairs = np.zeros((size, size))
        for before, block in itertools.pairwise(blocks.codes):
            np.add.at(pairs, (before.ravel(), block.ravel()), 1)
        counts.append(pairs)
    total = 0.0
    for table in counts:
        rows = np.broadcast_to(table.sum(axis=1, keepdims=True), table.shape)
        total += float((table[table > 0] * np.log2(rows[table > 0] / table[table > 0])).sum())
    return total


@pytest.mark.parametrize(
    ("bits", "same", "distinct"),
    [(5, 0.63, 10), (4, 0.74, 10), (5, 0.84, 10), (4, 0.0, 10), (4, 0.0, 2), (3, 0.3, 5)],
)
def test_the_coder_is_within_5_percent_of_the_ideal_length_with_its_context(bits, same, distinct):
    blocks = alike(bits, same, distinct)
    size = measure([CompressedLayer.from_blocks(blocks)]).layers[0]
    assert size.coding == "blocks"
    assert size.positions.coded == 0
    assert size.codes.coded <= 1.05 * ideal_bits(blocks)


def test_deltas_are_taken_where_they_are_shorter():
    assert blocks_body(CompressedLayer.from_blocks(alike(4, 0.0, 10)))[0][0] == 0
    assert blocks_body(CompressedLayer.from_blocks(alike(5, 0.84, 10)))[0][0] == 1


def test_a_distance_without_a_sign_does_not_decode_and_a_delta_modulo_the_codes_does():
    size = 8
    unsigned, signed = {}, {}
    for before, code in itertools.product(range(size), range(size)):
        delta = (code - before) % size
        unsigned.setdefault((before, min(delta, size - delta)), set()).add(code)
        signed.setdefault((before, delta), set()).add(code)
    assert unsigned[0, 1] == {1, 7}
    assert all(len(codes) == 1 for codes in signed.values())


def test_mesa_counts_code_words_and_trees():
    """Ten codes of two values in the first block; the second differs in one of them: by hand."""
    structure = BlockStructure(4, 10, 2)
    first = np.array([[0] * 5, [1] * 5], np.uint8)
    second = first.copy()
    second[1, 4] = 0
    blocks = BlockCodes(structure, (first, second), np.array([-1, 1], np.int16))
    assert differences(blocks).tolist() == [0] * 9 + [1]
    tree = 2 * 33 + 1
    assert huffman_bits(differences(blocks)) == 10 + tree
    assert mesa_bits(blocks) == 20 + tree  # one code for both is less than two
    tied = BlockCodes(BlockStructure(4, 10, 2, distinct=1), (first,), np.array([-1, 1], np.int16))
    assert mesa_bits(tied) == 10 + tree
    assert huffman_bits(np.zeros(50, np.uint8)) == 33  # a single symbol has no code word


def test_the_ordinary_machine_computes_what_the_blocks_say():
    rng = np.random.default_rng(3)
    structure = BlockStructure(37, 50, 4, "shuffled", 2)
    codes = tuple(
        rng.integers(0, 16, (structure.height(d), structure.width(d))).astype(np.uint8) for d in range(2)
    )
    values = np.sort(rng.choice(np.r_[-90:0, 1:90], 16, replace=False)).astype(np.int16)
    layer = CompressedLayer.from_blocks(BlockCodes(structure, codes, values), relu=False, product_shift=2)
    x = rng.integers(-50, 50, 50) * (rng.random(50) < 0.5)
    expected, *_ = fixed_matrix(layer, x[None])
    cfg = ArchConfig(n_pe=4, weight_bits=5)
    for engine in ("golden", "fast"):
        assert np.array_equal(simulate(layer, x, cfg, engine=engine).y, expected[0])


def forged(**changes):
    """A file with one layer of 2 x 2 blocks of 4 x 6, and one thing in it changed."""
    structure = BlockStructure(8, 12, 2, "shuffled", 1)
    options = {"structure": structure, "codes": [1, 2, 3] * 8, "bias": (0,) * 8}
    body = {name: changes.pop(name) for name in ("codebook", "deltas") if name in changes}
    head = {"flags": 0b10001001, "rows": 8, "cols": 12, "blocks": (2, 1, 1)} | changes
    return eie_files.file(eie_files.layer(**{"body": eie_files.blocks_body(**options, **body)} | head))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"blocks": (9, 1, 1)}, "a 8 x 12 matrix has from 1 to 8 blocks, not 9"),
        ({"blocks": (0, 1, 1)}, "from 1 to 8 blocks, not 0"),
        ({"blocks": (2, 3, 1)}, "from 1 to 2 are distinct, not 3"),
        ({"blocks": (2, 0, 1)}, "with 0 distinct blocks"),
        ({"blocks": (2, 1, 3)}, "order 3 of blocks has no meaning"),
        ({"blocks": (2, 1, 2, 1 << 32)}, "seed of blocks must be from 0"),
        ({"kind": 5}, "kind 5, which this program does not know: use a newer eie"),
        ({"flags": 0b10001101}, "the flags 0x8d have no meaning"),
        ({"codebook": (5, 1, -1, 1)}, "must ascend"),
        ({"codebook": (5, 1, 40000, 1)}, "a code of more than 16 bits"),
        ({"deltas": 2}, "codes of kind 2 (0 or 1)"),
        ({"rows": 8, "cols": 12, "body": bytes(2)}, "8 rows, 12 columns and 48 entries in 2 bytes"),
        ({"cols": 1 << 24, "rows": 1 << 24, "blocks": (1 << 24, 1, 0)}, "16777216 entries in"),
    ],
)
def test_block_fields_that_contradict_are_refused(changes, text):
    assert len(from_bytes(forged())) == 1
    data = forged(**changes)
    with pytest.raises(FormatError, match=re.escape(text)):
        from_bytes(data)
    with pytest.raises(eie_decoder.Refused):
        eie_decoder.decode(data)


def test_drawn_files_with_blocks_are_read_alike_by_both_decoders():
    assert eie_fuzz.both_decoders(13, 90) > 20
