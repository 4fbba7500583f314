"""PtrRead by itself: hand-written cycle tables from docs/architecture.md."""

# ruff: noqa: E501 (a table is as wide as its signals)

from eie.config import ArchConfig
from eie.golden.ptr_read import PtrRead
from tests.support.cycle_table import drive

CFG = ArchConfig(n_pe=4, pointers=32)


def test_even_and_odd_columns() -> None:
    """Column 4: p_4 in even[2], p_5 in odd[2]. Column 7: p_7 in odd[3], p_8 in even[4]. Nothing waits: pops follow."""
    drive(
        PtrRead(CFG),
        """
        cycle | head_valid head_col head_value start even_rdata odd_rdata | pop even_en even_addr odd_en odd_addr valid odd value p_start p_end ptr_reads
        0     | .          4        .          .     0          0         | 0   0       0         0      0        0     0   0     0       0     0
        1     | 1          4        -9         .     0          0         | 1   1       2         1      2        0     0   0     0       0     0
        2     | 1          7        5          1     40         50        | 1   1       4         1      3        1     0   -9    40      50    1
        3     | .          7        5          1     80         70        | 0   0       0         0      0        1     1   5     70      80    2
        4     | .          7        5          .     80         70        | 0   0       0         0      0        0     1   5     70      80    2
        """,
    )


def test_pointers_wait_for_the_start() -> None:
    """The SRAMs' outputs are the prefetch register: no pop while they wait, one in the cycle of the start."""
    drive(
        PtrRead(CFG),
        """
        cycle | clear head_valid head_col start | pop valid odd ptr_reads
        0     | .     1          3        .     | 1   0     0   0
        1     | .     1          8        .     | 0   1     1   1
        2     | .     1          8        .     | 0   1     1   1
        3     | .     1          8        1     | 1   1     1   1
        4     | .     .          8        1     | 0   1     0   2
        5     | 1     .          8        .     | 0   0     0   2
        6     | .     .          8        .     | 0   0     0   0
        """,
    )


def test_io_port() -> None:
    """Column 5 of the space PTR is word 2 of the odd bank; data is cut to pointer_bits."""
    drive(
        PtrRead(CFG),
        """
        cycle | io_write io_read io_addr io_data | even_en even_we even_addr odd_en odd_we odd_addr odd_wdata valid
        0     | 1        .       5       0x51234 | 0       0       2         1      1      2        0x1234    0
        1     | 1        .       6       0x77    | 1       1       3         0      0      3        0x77      0
        2     | .        1       6       .       | 1       0       3         0      0      3        0         0
        3     | .        1       5       .       | 0       0       2         1      0      2        0         0
        4     | .        .       5       .       | 0       0       2         0      0      2        0         0
        """,
    )
