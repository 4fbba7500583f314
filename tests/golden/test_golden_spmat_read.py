"""SpmatRead by itself: hand-written cycle tables from docs/architecture.md."""

# ruff: noqa: E501 (a table is as wide as its signals)

from eie.config import ArchConfig
from eie.golden.spmat_read import SpmatRead
from tests.support.cycle_table import drive

CFG = ArchConfig(n_pe=4, entries=64)


def test_column_across_a_word_and_the_held_word() -> None:
    """Entries 6..8 need words 0 and 1; the next column (9, 10) starts without a bubble in the word that is held."""
    drive(
        SpmatRead(CFG),
        """
        cycle | ptr_valid p_start p_end ptr_value | start issue read spmat_en spmat_addr active tok_valid tok_first tok_sel tok_value entries spmat_reads
        0     | 1         6       9     -5        | 1     1     1    1        0          0      0         0         0       0         0       0
        1     | 1         9       11    7         | 0     1     0    0        0          1      1         1         6       -5        1       1
        2     | 1         9       11    7         | 0     1     1    1        1          1      1         0         7       -5        2       1
        3     | 1         9       11    7         | 1     1     0    0        1          0      1         0         0       -5        3       2
        4     | .         .       .     .         | 0     1     0    0        1          1      1         1         1       7         4       2
        5     | .         .       .     .         | 0     0     0    0        0          0      1         0         2       7         5       2
        6     | .         .       .     .         | 0     0     0    0        0          0      0         0         2       7         5       2
        """,
    )


def test_empty_columns_are_tokens() -> None:
    """A column without entries takes one cycle, reads nothing and travels as an empty token."""
    drive(
        SpmatRead(CFG),
        """
        cycle | clear ptr_valid p_start p_end ptr_value | start issue read active tok_valid tok_empty tok_first tok_value entries empty_columns
        0     | .     1         3       3     4         | 1     0     0    0      0         0         0         0         0       0
        1     | .     1         3       4     6         | 1     1     1    0      1         1         1         4         0       1
        2     | .     1         4       4     8         | 1     0     0    0      1         0         1         6         1       1
        3     | .     .         4       4     8         | 0     0     0    0      1         1         1         8         1       2
        4     | 1     .         4       4     8         | 0     0     0    0      0         0         0         8         1       2
        5     | .     .         4       4     8         | 0     0     0    0      0         0         0         8         0       0
        """,
    )


def test_the_next_pass_forgets_the_held_word() -> None:
    """The word that an earlier pass left on the output is read again; the count goes on until clear."""
    drive(
        SpmatRead(CFG),
        """
        cycle | clear begin_pass ptr_valid p_start p_end | issue read held_valid held_addr spmat_reads
        0     | .     .          1         16      17    | 1     1    0          0         0
        1     | .     .          1         17      18    | 1     0    1          2         1
        2     | .     1          .         .       .     | 0     0    1          2         1
        3     | .     .          1         17      18    | 1     1    0          2         1
        4     | 1     .          .         .       .     | 0     0    1          2         2
        5     | .     .          .         .       .     | 0     0    1          2         0
        """,
    )


def test_base_of_the_pass() -> None:
    """The base moves the address at the SRAM (cut to 3 bits), not the word that is remembered as held."""
    drive(
        SpmatRead(CFG),
        """
        cycle | ptr_valid p_start p_end spmat_base io_addr | read spmat_addr held_valid held_addr
        0     | 1         8       10    3          6       | 1    4          0          0
        1     | .         .       .     3          6       | 0    4          1          1
        2     | 1         47      48    3          6       | 1    0          1          1
        3     | .         .       .     .          6       | 0    6          1          5
        """,
    )


def test_fields_of_an_entry() -> None:
    """Entry 1 of a word is its second byte: v in the low nibble, z in the high one."""
    drive(
        SpmatRead(CFG),
        """
        cycle | ptr_valid p_start p_end spmat_rdata          | tok_valid tok_sel v z
        0     | 1         1       3     0                    | 0         0       0 0
        1     | .         .       .     0xfedcba98_76543210  | 1         1       2 3
        2     | .         .       .     0xfedcba98_76543210  | 1         2       4 5
        3     | .         .       .     0xfedcba98_76543210  | 0         2       4 5
        """,
    )


def test_words_that_hold_no_power_of_two() -> None:
    """9-bit entries, 7 in a 64-bit word: after place 6 comes place 0 of the next word, so pointer 6 -> 8."""
    cfg = ArchConfig(n_pe=4, weight_bits=4, index_bits=5, entries=64)
    word = 0b11111_1001 << 9 * 6
    drive(
        SpmatRead(cfg),
        f"""
        cycle | ptr_valid p_start p_end spmat_rdata | issue read spmat_addr current active tok_sel v z
        0     | 1         6       9     0           | 1     1    0          0       0      0       0 0
        1     | .         .       .     {word}      | 1     1    1          8       1      6       9 31
        2     | .         .       .     0           | 0     0    0          9       0      0       0 0
        """,
    )


def test_io_port() -> None:
    """The space SPMAT goes to the SRAM; a read leaves the held word alone."""
    drive(
        SpmatRead(CFG),
        """
        cycle | io_write io_read io_addr io_data     | spmat_en spmat_we spmat_addr spmat_wdata held_valid
        0     | 1        .       3       0x1234_5678 | 1        1        3          0x12345678  0
        1     | .        1       3       .           | 1        0        3          0           0
        2     | .        .       5       .           | 0        0        5          0           0
        """,
    )
