"""ActQueue by itself: hand-written cycle tables from docs/architecture.md."""

# ruff: noqa: E501 (a table is as wide as its signals)

from eie.config import ArchConfig
from eie.golden.act_queue import ActQueue
from tests.support.cycle_table import drive


def test_order_wrap_and_credit() -> None:
    """Depth 3 (no power of two): columns come out in order, both pointers wrap, and occupancy gives the credit."""
    queue = ActQueue(ArchConfig(n_pe=4, queue_depth=3))
    drive(
        queue,
        """
        cycle | bcast push push_col push_value pop start | head_valid head_col head_value count wr_ptr rd_ptr occupancy credit
        0     | 1     1    10       -7         .   .     | 0          0        0          0     0      0      0         1
        1     | 1     1    11       8          1   .     | 1          10       -7         1     1      0      1         1
        2     | 1     1    12       9          .   1     | 1          11       8          1     2      1      2         1
        3     | 1     1    13       3          .   .     | 1          11       8          2     0      1      2         1
        4     | .     .    .        .          1   .     | 1          11       8          3     1      1      3         0
        5     | .     .    .        .          1   1     | 1          12       9          2     1      2      3         0
        6     | .     .    .        .          1   1     | 1          13       3          1     1      0      2         1
        7     | .     .    .        .          .   .     | 0          11       8          0     1      1      1         1
        8     | .     .    .        .          .   1     | 0          11       8          0     1      1      1         1
        9     | .     .    .        .          .   .     | 0          11       8          0     1      1      0         1
        """,
    )


def test_depth_one() -> None:
    """Depth 1: no credit from the broadcast until the cycle after the start."""
    drive(
        ActQueue(ArchConfig(n_pe=4, queue_depth=1)),
        """
        cycle | bcast push push_col pop start | head_valid head_col occupancy credit wr_ptr rd_ptr
        0     | 1     1    5        .   .     | 0          ?        0         1      0      0
        1     | .     .    .        1   .     | 1          5        1         0      0      0
        2     | .     .    .        .   1     | 0          5        1         0      0      0
        3     | 1     1    6        .   .     | 0          5        0         1      0      0
        4     | .     .    .        .   .     | 1          6        1         0      0      0
        """,
    )


def test_occupancy_counts_what_is_still_on_the_bus() -> None:
    """With bus registers the push comes later than the broadcast; the credit falls with the broadcast."""
    drive(
        ActQueue(ArchConfig(n_pe=4, queue_depth=2, bus_registers=2)),
        """
        cycle | bcast push push_col | head_valid count occupancy credit
        0     | 1     .    .        | 0          0     0         1
        1     | 1     .    .        | 0          0     1         1
        2     | .     1    4        | 0          0     2         0
        3     | .     1    5        | 1          1     2         0
        4     | .     .    .        | 1          2     2         0
        """,
    )
