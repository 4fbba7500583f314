"""Window, RunRead, RunQueue and LeafPair by themselves: hand-written cycle tables from docs/beyond.md."""

# ruff: noqa: E501 (a table is as wide as its signals)

from typing import Any

from eie.config import ArchConfig
from eie.golden.leaf_pair import LeafPair
from eie.golden.run_queue import RunQueue
from eie.golden.run_read import RunRead
from eie.golden.window import Window
from tests.support.cycle_table import drive

# Entries of 8 bits, four in a word: a byte is row << 4 | v.
SIZES: dict[str, Any] = {
    "word_bits": 32,
    "row_format": "absolute",
    "row_bits": 4,
    "acc_depth": 16,
    "entries": 64,
}
EIE2 = ArchConfig(n_pe=4, group=2, issue=2, window=2, filter_empty=1, queue_depth=3, **SIZES)


def test_two_entries_of_one_row_in_a_cycle() -> None:
    """Row 3 is the last of the even column and the first of the odd one: the second waits, and row 5 goes with it."""
    drive(
        Window(EIE2),
        """
        cycle | run_valid run_start run_count run_count1 run_value run_value1 spmat_rdata | fetch start read spmat_addr tok_valid v z tok_value lane1_tok_valid lane1_v lane1_z lane1_tok_value unfinished entries issue_cycles
        0     | 1         8         1         2          7         -9         0           | 1     1     1    2          0         ? ? ?         0               ?       ?       ?               0          0       0
        1     | .         .         .         .          .         .          0x00543231  | 0     0     0    0          1         1 3 7         0               2       3       -9              1          0       0
        2     | .         .         .         .          .         .          0x00543231  | 0     0     0    0          1         2 3 -9        1               4       5       -9              1          1       1
        3     | .         .         .         .          .         .          0x00543231  | 0     0     0    0          0         0 0 -9        0               0       0       -9              0          3       2
        """,
    )


def test_a_slice_that_ends_in_a_word() -> None:
    """Seven entries from place 2 of word 1 on: slices of 2, 4 and 1, the odd column from place 1 of word 2 on.

    In cycle 4 the last of them, from the word in the window, and the first of the next run go together.
    """
    drive(
        Window(EIE2),
        """
        cycle | run_valid run_start run_count run_count1 run_value run_value1 spmat_rdata | fetch start read spmat_addr more slot0_pos slot0_end slot0_split slot1_pos slot1_end tok_valid z tok_value lane1_tok_valid lane1_z lane1_tok_value entries
        0     | 1         6         3         4          5         6          0           | 1     1     1    1          0    0         0         0           0         0         0         ? ?         0               ?       ?               0
        1     | 1         16        2         0          8         9          0x20100000  | 1     0     1    2          1    2         4         4           0         0         1         1 5         1               2       5               0
        2     | 1         16        2         0          8         9          0x43215030  | 1     0     1    3          1    0         4         1           4         4         1         3 5         1               5       6               2
        3     | 1         16        2         0          8         9          0x00000070  | 1     1     1    4          0    0         1         0           2         4         1         2 6         1               4       6               4
        4     | .         .         .         .          .         .          0x0000b0a0  | 0     0     0    0          0    0         2         2           0         1         1         7 6         1               10      8               6
        5     | .         .         .         .          .         .          0x0000b0a0  | 0     0     0    0          0    1         2         2           1         1         1         11 8        0               0       9               8
        6     | .         .         .         .          .         .          0x0000b0a0  | 0     0     0    0          0    2         2         2           1         1         0         0 9         0               0       9               9
        """,
    )


def test_a_full_window() -> None:
    """Three words of four entries: in cycle 3 both words that the window has are in use, and a run has to wait."""
    drive(
        Window(EIE2),
        """
        cycle | run_valid run_start run_count run_count1 run_value spmat_rdata | fetch start read slot1_pos slot1_end slot0_pos slot0_end tok_valid z lane1_tok_valid lane1_z spmat_reads
        0     | 1         0         12        0          1         0           | 1     1     1    0         0         0         0         0         ? 0               ?       0
        1     | 1         12        1         0          1         0x40302010  | 1     0     1    0         0         0         4         1         1 1               2       1
        2     | 1         12        1         0          1         0x80706050  | 1     0     1    2         4         0         4         1         3 1               4       2
        3     | 1         12        1         0          1         0xc0b0a090  | 0     0     0    0         4         0         4         1         5 1               6       3
        4     | 1         12        1         0          1         0xc0b0a090  | 1     1     1    2         4         0         4         1         7 1               8       3
        5     | .         .         .         .          .         0x00000010  | 0     0     0    0         4         0         1         1         9 1               10      4
        6     | .         .         .         .          .         0x00000010  | 0     0     0    2         4         0         1         1         11 1              12      4
        7     | .         .         .         .          .         0x00000010  | 0     0     0    4         4         0         1         1         1 0               0       4
        """,
    )


def test_the_word_that_is_held_takes_a_cycle_and_no_read() -> None:
    """Two runs in word 2; the next pass reads it again."""
    drive(
        Window(EIE2),
        """
        cycle | begin_pass run_valid run_start run_count run_value spmat_rdata | fetch start read held_valid held_addr tok_valid z lane1_tok_valid
        0     | .          1         8         1         1         0           | 1     1     1    0          0         0         ? 0
        1     | .          1         9         1         1         0x00005030  | 1     1     0    1          2         1         3 0
        2     | 1          .         .         .         .         0x00005030  | 0     0     0    1          2         1         5 0
        3     | .          1         9         1         1         0x00005030  | 1     1     1    0          2         0         0 0
        """,
    )


def test_an_empty_group_that_is_not_filtered() -> None:
    """With filter_empty = 0 it is a null entry: it reads nothing and takes a cycle."""
    drive(
        Window(ArchConfig(n_pe=4, group=2, **SIZES)),
        """
        cycle | run_valid run_start run_count run_count1 run_value spmat_rdata | fetch start read tok_valid tok_empty slot0_null slot0_pos slot0_end empty_columns entries
        0     | 1         8         0         0          7         0           | 1     1     0    0         0         0          0         0         0             0
        1     | 1         8         1         0          7         0           | 1     1     1    1         1         1          0         1         1             0
        2     | .         .         .         .          .         0x00000030  | 0     0     0    1         0         0          0         1         1             0
        3     | .         .         .         .          .         0x00000030  | 0     0     0    0         0         0          1         1         1             1
        """,
    )


def test_an_empty_group_is_dropped_before_the_queue() -> None:
    """Column 6 has no entry in either column, column 8 has one in each: keep a cycle after the pointers are read."""
    drive(
        RunRead(EIE2),
        """
        cycle | push push_col push_value push_value1 ptr_rdata | load ptr_en ptr_addr keep drop p_start p_count p_count1 valid empty_columns ptr_reads
        0     | 1    6        4          5           0         | 1    1      3        0    0    ?       ?       ?        0     0             0
        1     | 1    8        4          5           0         | 1    1      4        0    1    0       0       0        1     0             1
        2     | .    .        .          .           0x2c21    | 0    0      0        1    0    22      1       1        1     1             2
        3     | .    .        .          .           0x2c21    | 0    0      0        0    0    22      1       1        0     1             2
        """,
    )


def test_a_pair_with_one_active_column() -> None:
    """Lengths 3 and 5 from place 2 of word 2 on: the odd column alone begins at place 1 of word 3."""
    drive(
        RunRead(EIE2),
        """
        cycle | push push_col push_value push_value1 ptr_rdata | keep p_start p_count p_count1 value value1
        0     | 1    4        6          .           0         | 0    ?       ?       ?        0     0
        1     | 1    4        .          7           0x14a3    | 1    10      3       0        6     0
        2     | 1    4        6          7           0x14a3    | 1    13      0       5        0     7
        3     | .    .        .          .           0x14a3    | 1    10      3       5        6     7
        """,
    )


def test_a_pair_with_one_active_column_where_a_word_has_six_entries() -> None:
    """Rows of 6 bits: from place 4 of word 1 fifteen entries on is place 1 of word 4, whose pointer is 4 << 3 | 1."""
    drive(
        RunRead(ArchConfig.preset("eie2", n_pe=4)),
        """
        cycle | push push_col push_value push_value1 ptr_rdata | keep p_start p_count p_count1
        0     | 1    4        .          7           0         | 0    ?       ?       ?
        1     | .    .        .          .           0x1810f   | 1    33      0       2
        """,
    )


def test_pairs_of_the_last_word() -> None:
    """17 bits of pointer, word 0x3fff and place 4, of which 16 stand above both lengths; port and SRAM have 30."""
    drive(
        RunRead(ArchConfig.preset("eie2", n_pe=4)),
        """
        cycle | push push_value io_write io_read io_addr io_data     ptr_rdata  | ptr_en ptr_we ptr_addr ptr_wdata  p_start p_count
        0     | 1    7          .        .       .       .           0          | 1      0      0        0          ?       ?
        1     | .    .          .        .       .       .           0x3fff8040 | 0      0      0        0          0x1fffc 64
        2     | .    .          1        .       8191    0xffe4040   0x3fff8040 | 1      1      8191     0xffe4040  ?       ?
        3     | .    .          .        1       5       0x80000001  0x3fff8040 | 1      0      5        1          ?       ?
        """,
    )


def test_a_single_column_is_counted_in_entries() -> None:
    """From place 5 of word 1 to place 1 of word 3, six in a word: eight entries; the odd bank has the column's pointer."""
    drive(
        RunRead(ArchConfig.preset("eie2", n_pe=4, group=1)),
        """
        cycle | push push_col push_value even_rdata odd_rdata | even_addr odd_addr keep drop p_start p_count odd
        0     | 1    5        7          0          0         | 3         2        0    0    ?       ?       0
        1     | 1    6        7          25         13        | 3         3        1    0    13      8       1
        2     | .    .        .          25         25        | 0         0        0    1    25      0       0
        """,
    )


def test_queue_of_runs() -> None:
    """The first run goes to the head at once; with two behind it a dropped group takes and gives a credit."""
    drive(
        RunQueue(EIE2),
        """
        cycle | bcast keep drop start p_start p_count p_count1 value value1 | head_valid head_start head_count head_count1 head_value head_value1 credit occupancy count wr_ptr rd_ptr
        0     | 1     .    .    .     .       .       .        .     .      | 0          0          0          0           0          0           1      0         0     0      0
        1     | 1     1    .    .     8       1       2        3     -4     | 0          0          0          0           0          0           1      1         0     0      0
        2     | 1     1    .    .     12      2       0        5     .      | 1          8          1          2           3          -4          1      2         1     0      0
        3     | .     1    .    .     16      0       1        .     6      | 1          8          1          2           3          -4          0      3         2     1      0
        4     | .     .    .    1     .       .       .        .     .      | 1          8          1          2           3          -4          0      3         3     0      0
        5     | 1     .    .    .     .       .       .        .     .      | 1          12         2          0           5          0           1      2         2     0      1
        6     | .     .    1    .     .       .       .        .     .      | 1          12         2          0           5          0           0      3         2     0      1
        7     | .     .    .    1     .       .       .        .     .      | 1          12         2          0           5          0           1      2         2     0      1
        8     | 1     .    .    .     .       .       .        .     .      | 1          16         0          1           0          6           1      1         1     0      0
        9     | .     1    .    1     20      1       1        7     8      | 1          16         0          1           0          6           1      2         1     0      0
        10    | .     .    .    1     .       .       .        .     .      | 1          20         1          1           7          8           1      1         1     0      0
        11    | .     .    .    .     .       .       .        .     .      | 0          20         1          1           7          8           1      0         0     0      0
        """,
    )


def test_leaf_of_a_pair() -> None:
    """The lower row alone, both of the same row, one PE alone, none."""
    drive(
        LeafPair(EIE2),
        """
        cycle | a_valid a_row a_value b_valid b_row b_value pop | valid row value value1 a_pop b_pop
        0     | 1       2     5       1       7     6       1   | 1     2   5     0      1     0
        1     | 1       9     5       1       7     6       1   | 1     7   0     6      0     1
        2     | 1       7     5       1       7     6       1   | 1     7   5     6      1     1
        3     | 1       7     5       1       7     6       .   | 1     7   5     6      0     0
        4     | 1       7     5       .       2     6       1   | 1     7   5     0      1     0
        5     | .       2     5       1       7     6       1   | 1     7   0     6      0     1
        6     | .       2     5       .       7     6       1   | 0     7   0     0      0     0
        """,
    )
