"""What every part of the golden model is made of: blocks (`eie.schema`), and numbers that are bit patterns.

A cycle is `propagate()` (combinational: reads registers and inputs, computes outputs and next state), then `update()`
(the clock edge, where alone state changes). A block's `outputs()` and `next_state()` hold the rows of its two tables
in docs/architecture.md, in the same order.
"""

from __future__ import annotations

from eie.schema import BlockSignals

# `class X(schema.X)` has the signals that `eie.schema` declares as its members, and all that a block does with them.
Block = BlockSignals


def sign_extend(pattern: int, bits: int) -> int:
    """The signed number whose two's complement is the low `bits` bits of `pattern`.

    >>> sign_extend(0xFFFE, 16), sign_extend(0x10005, 16)
    (-2, 5)
    """
    half = 1 << (bits - 1)
    return ((pattern + half) & ((1 << bits) - 1)) - half
