"""An LNZD node by itself: hand-written cycle tables from docs/architecture.md."""

import pytest

from eie.config import ArchConfig
from eie.golden.lnzd import Lnzd
from tests.support.cycle_table import drive


@pytest.fixture
def node() -> tuple[Lnzd, dict[str, object]]:
    """A node of 16 PEs whose child c offers the value 100 + c; short names v0, x0, r0 for child 0's signals."""
    block = Lnzd(ArchConfig(n_pe=16))
    names = {}
    for c in range(4):
        block.signal(f"child{c}_value").value = 100 + c
        block.signal(f"child{c}_pe").value = c
        for short, name in (("v", "valid"), ("x", "exhausted"), ("r", "row")):
            names[f"{short}{c}"] = block.signal(f"child{c}_{name}")
    return block, names


def test_smallest_row_then_lowest_child(node) -> None:
    """Rows 5 3 3 9: child 1 (3), then child 2 (3), then child 0 (5); the entry stays until it is popped."""
    block, names = node
    drive(
        block,
        """
        cycle | compute pop v0 r0 v1 r1 v2 r2 v3 r3 | child_pop valid row pe value
        0     | .       .   1  5  1  3  1  3  1  9  | 0b0000    0     0   0  0
        1     | 1       .   1  5  1  3  1  3  1  9  | 0b0010    0     0   0  0
        2     | 1       .   1  5  1  8  1  3  1  9  | 0b0000    1     3   1  101
        3     | 1       1   1  5  1  8  1  3  1  9  | 0b0100    1     3   1  101
        4     | 1       1   1  5  1  8  1  4  1  9  | 0b0100    1     3   2  102
        5     | 1       1   1  5  1  8  1  7  1  9  | 0b0001    1     4   2  102
        6     | 1       .   1  6  1  8  1  7  1  9  | 0b0000    1     5   0  100
        """,
        names,
    )


def test_waits_for_a_child_that_is_neither_valid_nor_exhausted(node) -> None:
    """Start-up: child 3 has not loaded yet; the others must not overtake it."""
    block, names = node
    drive(
        block,
        """
        cycle | compute pop v0 r0 x1 x2 v3 x3 r3 | child_pop valid pe
        0     | 1       .   1  5  1  1  .  .  .  | 0b0000    0     0
        1     | 1       .   1  5  1  1  1  .  2  | 0b1000    0     0
        2     | 1       1   1  5  1  1  .  1  2  | 0b0001    1     3
        3     | 1       .   1  6  1  1  .  1  2  | 0b0000    1     0
        """,
        names,
    )


def test_exhausted_until_the_next_pass(node) -> None:
    """A load without a valid child exhausts the node, for good; begin_pass starts the next one."""
    block, names = node
    drive(
        block,
        """
        cycle | begin_pass compute pop v0 r0 x0 x1 x2 x3 | child_pop valid exhausted
        0     | .     1       .   1  5  .  1  1  1  | 0b0001    0     0
        1     | .     1       1   .  .  1  1  1  1  | 0b0000    1     0
        2     | .     1       .   .  .  1  1  1  1  | 0b0000    0     1
        3     | .     1       .   1  5  .  1  1  1  | 0b0000    0     1
        4     | 1     .       .   1  5  .  1  1  1  | 0b0000    0     1
        5     | .     1       .   1  5  .  1  1  1  | 0b0001    0     0
        6     | .     1       1   1  6  .  .  1  1  | 0b0000    1     0
        7     | .     1       .   1  6  .  1  1  1  | 0b0001    0     0
        """,
        names,
    )
