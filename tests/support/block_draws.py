"""Drawn block structures, and codes of blocks."""

import numpy as np
from hypothesis import strategies as st

from eie.blocks import ORDERS, BlockCodes, BlockStructure


@st.composite
def structures(draw):
    rows, cols = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    blocks = draw(st.integers(1, min(rows, cols)))
    order = draw(st.sampled_from(ORDERS))
    seed = draw(st.integers(0, 2**32 - 1)) if order == "permuted" else 0
    return BlockStructure(rows, cols, blocks, order, draw(st.integers(1, blocks)), seed)


@st.composite
def block_codes(draw):
    structure = draw(structures())
    bits = draw(st.integers(1, 8))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    spread = draw(st.sampled_from((3, 200, 32767)))
    codebook = np.sort(rng.integers(-spread, spread + 1, 1 << bits)).astype(np.int16)
    if bits == 8 and np.count_nonzero(np.unique(codebook)) > 255:
        codebook[0] = codebook[1]
    sizes = [(structure.height(d), structure.width(d)) for d in range(structure.distinct)]
    codes = tuple(rng.integers(0, 1 << bits, size).astype(np.uint8) for size in sizes)
    return BlockCodes(structure, codes, codebook)
