"""Block structures and their codes: places, orders, uneven blocks, and the two forms of a block-diagonal layer."""

import re

import numpy as np
import pytest
from hypothesis import given, settings

from eie.blocks import BlockCodes, BlockStructure
from eie.errors import LayerError
from eie.layer import CompressedLayer
from tests.support.block_draws import block_codes, structures


def slow_order(count, order, blocks, state):
    """The order of rows or columns by the page's text, number by number."""
    if order == "aligned":
        return list(range(count))
    if order == "shuffled":
        return [j for b in range(blocks) for j in range(count) if j % blocks == b]
    numbers = []
    for i in range(1, count + 1):
        z = (state + i * 0x9E3779B97F4A7C15) % 2**64
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
        numbers.append(z ^ z >> 31)
    return sorted(range(count), key=numbers.__getitem__)


def slow_weights(blocks):
    """The matrix by the page's text, element by element."""
    s = blocks.structure
    by_rows = slow_order(s.rows, "permuted" if s.order == "permuted" else "aligned", s.blocks, 2 * s.seed)
    by_cols = slow_order(s.cols, s.order, s.blocks, 2 * s.seed + 1)
    found = np.zeros(s.shape, np.int16)
    row = 0
    for b in range(s.blocks):
        height = s.rows // s.blocks + (b < s.rows % s.blocks)
        width = s.cols // s.blocks + (b < s.cols % s.blocks)
        col = sum(s.cols // s.blocks + (a < s.cols % s.blocks) for a in range(b))
        for r in range(height):
            for c in range(width):
                code = blocks.codes[b % s.distinct][r, c]
                found[by_rows[row + r], by_cols[col + c]] = blocks.codebook[code]
        row += height
    return found


@settings(max_examples=150, deadline=None)
@given(block_codes())
def test_layer_has_the_weights_of_its_blocks_and_gives_its_codes_again(blocks):
    layer = CompressedLayer.from_blocks(blocks)
    assert np.array_equal(layer.decode(), slow_weights(blocks))
    again = layer.block_codes()
    for mine, given_codes in zip(again.codes, blocks.codes, strict=True):
        assert np.array_equal(again.codebook[mine], blocks.codebook[given_codes])
    assert CompressedLayer.from_blocks(again).equals(layer)
    plain = CompressedLayer.from_codes(layer.dense_codes(), layer.codebook)
    assert np.array_equal(plain.with_blocks(blocks.structure).decode(), layer.decode())


@settings(max_examples=100, deadline=None)
@given(structures())
def test_every_row_and_column_is_in_one_block_and_none_is_larger_than_the_one_before(structure):
    rows = np.concatenate([structure.rows_of(b) for b in range(structure.blocks)])
    cols = np.concatenate([structure.cols_of(b) for b in range(structure.blocks)])
    assert sorted(rows) == list(range(structure.rows))
    assert sorted(cols) == list(range(structure.cols))
    for sizes in (np.diff(structure.row_starts), np.diff(structure.col_starts)):
        assert sizes.min() >= 1
        assert (np.diff(sizes) <= 0).all()
        assert sizes.max() - sizes.min() <= 1
    assert structure.mask().sum() == structure.entries
    found, place = structure.locate(*np.indices(structure.shape))
    assert np.array_equal(found >= 0, structure.mask())
    assert np.array_equal(np.unique(place[found >= 0]), np.arange(structure.stored))


def test_two_shuffled_layers_mix_and_two_aligned_ones_do_not():
    def reach(order):
        one, two = BlockStructure(40, 40, 4, order).mask(), BlockStructure(8, 40, 4, order).mask()
        return (two.astype(int) @ one.astype(int) > 0).mean()

    assert reach("shuffled") == 1.0
    assert reach("aligned") == 0.25


def test_sixteen_values_take_one_bit_more_with_indices_and_fifteen_do_not():
    structure = BlockStructure(4, 8, 2)
    codes = tuple(np.arange(8, dtype=np.uint8).reshape(2, 4) + np.uint8(8 * d) for d in range(2))
    values = np.array([*range(-8, 0), *range(1, 9)], np.int16)
    full = CompressedLayer.from_blocks(BlockCodes(structure, codes, values))
    assert (full.block_codes().bits, full.weight_bits) == (4, 5)
    values[7] = 0
    some = CompressedLayer.from_blocks(BlockCodes(structure, codes, values))
    assert (some.block_codes().bits, some.weight_bits, some.nnz) == (4, 4, 15)


def refused(text, call):
    with pytest.raises(LayerError, match=re.escape(text)):
        call()


def test_what_makes_no_blocks_is_refused():
    refused("a 3 x 8 matrix has from 1 to 3 blocks, not 4", lambda: BlockStructure(3, 8, 4))
    refused("from 1 to 3 are distinct, not 4", lambda: BlockStructure(3, 8, 3, distinct=4))
    refused("aligned, shuffled, permuted, not 'mixed'", lambda: BlockStructure(3, 8, 3, "mixed"))
    refused("0 unless the order is permuted, not 1", lambda: BlockStructure(3, 8, 3, seed=1))
    refused("blocks of blocks must be an integer, not 2.0", lambda: BlockStructure(3, 8, 2.0))


def test_codes_of_other_shapes_and_falling_codebooks_are_refused():
    structure = BlockStructure(2, 4, 2, distinct=1)
    block, table = np.zeros((1, 2), np.uint8), np.array([1, 2], np.int16)
    refused("must be uint8[1, 2], not uint8[2, 1]", lambda: BlockCodes(structure, (block.T,), table))
    refused("of 1 distinct blocks, not of 2", lambda: BlockCodes(structure, (block, block), table))
    refused("must ascend", lambda: BlockCodes(structure, (block,), table[::-1]))
    refused(
        "code 2 is outside the codebook of 2", lambda: BlockCodes(structure, (block + np.uint8(2),), table)
    )
    refused("2, 4, 8, ... 256 values, not 3", lambda: BlockCodes(structure, (block,), np.int16([1, 2, 3])))
    many = np.arange(1, 257, dtype=np.int16)
    refused("at most 255 values", lambda: BlockCodes(structure, (block,), many).expanded())


def test_a_layer_that_does_not_have_its_blocks_is_refused():
    dense = np.zeros((4, 4), np.uint8)
    dense[:2, :2] = dense[2:, 2:] = [[1, 2], [0, 1]]
    table = [0, 5, 7, 0]
    structure = BlockStructure(4, 4, 2, distinct=1)
    layer = CompressedLayer.from_codes(dense, table).with_blocks(structure)
    assert layer.blocks == structure
    for place, code, text in (
        ((0, 3), 1, "row 0, column 3 is in none of the blocks"),
        ((3, 3), 2, "block 1 does not have the weights of block 0"),
        ((3, 2), 1, "block 1 does not have the weights of block 0"),
        ((3, 3), 0, "block 1 does not have the weights of block 0"),
    ):
        other = dense.copy()
        other[place] = code
        refused(text, lambda other=other: CompressedLayer.from_codes(other, table).with_blocks(structure))
    refused("has no block structure", lambda: CompressedLayer.from_codes(dense, table).block_codes())
    refused(
        "must be 0, the other values in ascending order",
        lambda: CompressedLayer(
            layer.shape,
            layer.indptr,
            layer.indices,
            layer.codes,
            np.int16([0, 7, 5, 0]),
            layer.bias,
            blocks=structure,
        ),
    )
    refused(
        "those of a 5 x 4 matrix, not 4 x 4",
        lambda: CompressedLayer(
            layer.shape,
            layer.indptr,
            layer.indices,
            layer.codes,
            layer.codebook,
            layer.bias,
            blocks=BlockStructure(5, 4, 2),
        ),
    )
