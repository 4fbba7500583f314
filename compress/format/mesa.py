"""How MESA counts: fully connected layers only, Huffman code words and their trees, nothing else. docs/blocks.md."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from eie.blocks import BlockCodes
from eie.compress.format.huffman import code_lengths

# Bits of a tree, as the released code stores it: a float32 and a flag for each leaf, a flag for each other node.
_LEAF, _NODE = 33, 1


def huffman_bits(symbols: npt.NDArray[np.uint8]) -> float:
    """Code words and tree of one Huffman code; a single symbol has no code word."""
    counts = np.bincount(symbols, minlength=1)
    leaves = int(np.count_nonzero(counts))
    words = float(counts @ code_lengths(counts)) if leaves > 1 else 0.0
    return words + leaves * _LEAF + max(leaves - 1, 0) * _NODE


def differences(blocks: BlockCodes) -> npt.NDArray[np.uint8]:
    """What each distinct block but the first adds to the code at the same place in the block before, modulo 2**bits."""
    found = [
        (block - before[: block.shape[0], : block.shape[1]]).ravel() & np.uint8(len(blocks.codebook) - 1)
        for before, block in zip(blocks.codes, blocks.codes[1:], strict=False)
    ]
    return np.concatenate(found) if found else np.zeros(0, np.uint8)


def mesa_bits(blocks: BlockCodes) -> float:
    """Bits of a layer in blocks by MESA's rule: the first block and the differences with a Huffman code each, or all
    distinct blocks with one, whichever is less.
    """
    plain = huffman_bits(np.concatenate([block.ravel() for block in blocks.codes]))
    if len(blocks.codes) == 1:
        return plain
    return min(plain, huffman_bits(blocks.codes[0].ravel()) + huffman_bits(differences(blocks)))
