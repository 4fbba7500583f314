"""ArithmUnit by itself: hand-written cycle tables from docs/architecture.md."""

# ruff: noqa: E501 (a table is as wide as its signals)

import pytest

from eie.config import ArchConfig
from eie.golden.arithm_unit import ArithmUnit
from tests.support.cycle_table import drive


@pytest.fixture
def unit() -> ArithmUnit:
    """16-bit accumulators, 4 rows; codes 1, 2, 3 are 1, 10, -10."""
    block = ArithmUnit(ArchConfig(n_pe=4, acc_depth=4))
    block.codes[1:4] = [1, 10, -10]
    return block


def test_one_entry_through_the_stages(unit: ArithmUnit) -> None:
    """Code 10 times 7 on top of 100: looked up, multiplied, added, in stage 4 three cycles after stage 1."""
    drive(
        unit,
        """
        cycle | tok_valid tok_first tok_value v z acc_rdata | code_rdata s2_valid s2_row s2_code s3_valid s3_product s3_operand s4_valid s4_write s4_row s4_sum
        0     | 1         1         7         2 3 .         | 10         0        0      0       0        0          0          0        0        0      0
        1     | .         .         .         . . 100       | 0          1        3      10      0        0          0          0        0        0      0
        2     | .         .         .         . . .         | 0          0        3      10      1        70         100        0        0        0      0
        3     | .         .         .         . . .         | 0          0        3      10      0        70         0          1        1        3      170
        4     | .         .         .         . . .         | 0          0        3      10      0        70         0          0        0        3      170
        """,
    )


def test_register_in_front_of_the_codebook() -> None:
    """A token is in stage 1, where its code is looked up, a cycle after it comes."""
    block = ArithmUnit(ArchConfig(n_pe=4, acc_depth=4, lookup_register=1))
    block.codes[1:4] = [1, 10, -10]
    drive(
        block,
        """
        cycle | tok_valid tok_first tok_empty tok_value v z acc_rdata io_addr | s1_valid s1_empty s1_v s1_z s1_value code_rdata s2_valid s2_write s2_row s2_code s2_value s4_write s4_sum fillers
        0     | 1         1         .         7         2 1 .         3       | 0        0        0    0    0        0          0        0        0      0       0        0        0      0
        1     | 1         .         .         7         0 0 .         3       | 1        0        2    1    7        10         0        0        0      0       0        0        0      0
        2     | 1         1         1         9         3 0 100       3       | 1        0        0    0    7        0          1        1        1      10      7        0        0      0
        3     | .         .         .         .         . . 50        3       | 1        1        3    0    9        -10        1        1        2      0       7        0        0      1
        4     | .         .         .         .         . . .         3       | 0        0        0    0    0        0          1        0        2      -10     9        1        170    1
        5     | .         .         .         .         . . .         1       | 0        0        0    0    0        0          0        0        2      -10     9        1        50     1
        6     | .         .         .         .         . . .         1       | 0        0        0    0    0        0          0        0        2      -10     9        0        50     1
        """,
    )


def test_rows_accumulate_and_restart(unit: ArithmUnit) -> None:
    """z counts the zeros before an entry, from -1 in each column; an empty token moves no row and writes nothing."""
    drive(
        unit,
        """
        cycle | tok_valid tok_first tok_empty z v | s2_valid s2_write s2_row fillers
        0     | 1         1         .         1 1 | 0        0        0      0
        1     | 1         .         .         0 2 | 1        1        1      0
        2     | 1         1         1         2 0 | 1        1        2      0
        3     | 1         1         .         2 0 | 1        0        2      0
        4     | 1         .         .         0 3 | 1        1        2      1
        5     | .         .         .         0 0 | 1        1        3      1
        6     | .         .         .         0 0 | 0        0        3      1
        """,
    )


def test_bypass_from_one_ahead(unit: ArithmUnit) -> None:
    """Two entries on row 0 in neighbouring cycles: the second takes the first one's sum, not the stale accumulator."""
    drive(
        unit,
        """
        cycle | tok_valid tok_first tok_value v acc_rdata | forward2 forward1 s3_operand s4_write s4_sum bypasses
        0     | 1         1         2         2 .         | 0        0        0          0        0      0
        1     | 1         1         3         2 5         | 0        0        0          0        0      0
        2     | .         .         .         . 5         | 0        0        5          0        0      0
        3     | .         .         .         . 25        | 0        1        5          1        25     0
        4     | .         .         .         . 25        | 0        0        ?          1        55     1
        5     | .         .         .         . 55        | 0        0        ?          0        55     1
        """,
    )


def test_bypass_from_two_ahead(unit: ArithmUnit) -> None:
    """Rows 0, 1, 0: the third entry reads its operand from stage 4 while it is in stage 2."""
    drive(
        unit,
        """
        cycle | tok_valid tok_first tok_value v z acc_rdata | forward2 forward1 s3_operand s3_forwarded s4_row s4_sum bypasses
        0     | 1         1         2         2 0 .         | 0        0        0          0            0      0      0
        1     | 1         .         2         2 0 5         | 0        0        0          0            0      0      0
        2     | 1         1         4         3 0 6         | 0        0        5          0            0      0      0
        3     | .         .         .         . . 5         | 1        0        6          0            0      25     0
        4     | .         .         .         . . .         | 0        0        25         1            1      26     0
        5     | .         .         .         . . .         | 0        0        ?          0            0      -15    1
        """,
    )


def test_the_newest_value_wins_and_counts_once(unit: ArithmUnit) -> None:
    """Three entries on one row: the third finds both others in the pipeline, takes the nearer one, counts once."""
    drive(
        unit,
        """
        cycle | tok_valid tok_first tok_value v acc_rdata | forward2 forward1 s3_forwarded s4_sum bypasses
        0     | 1         1         1         2 .         | 0        0        0            0      0
        1     | 1         1         1         2 .         | 0        0        0            0      0
        2     | 1         1         1         2 .         | 0        0        0            0      0
        3     | .         .         .         . .         | 1        1        0            10     0
        4     | .         .         .         . .         | 0        1        1            20     1
        5     | .         .         .         . .         | 0        0        0            30     2
        6     | .         .         .         . .         | 0        0        0            30     2
        """,
    )


def test_rounding_and_saturation(unit: ArithmUnit) -> None:
    """-10 * 1 >> 2 is -2.5, which rounds up to -2; sums clip at both ends and are counted until clear."""
    drive(
        unit,
        """
        cycle | clear tok_valid tok_first tok_value v z acc_rdata product_shift | s4_sum saturations
        0     | .     1         1         1         3 0 .         2             | 0      0
        1     | .     1         .         1         2 0 100       2             | 0      0
        2     | .     1         .         2         3 0 32767     2             | 0      0
        3     | .     .         .         .         . . -32766    2             | 98     0
        4     | .     .         .         .         . . .         2             | 32767  1
        5     | .     .         .         .         . . .         2             | -32768 2
        6     | 1     .         .         .         . . .         2             | -32768 2
        7     | .     .         .         .         . . .         2             | -32768 0
        """,
    )


def test_codebook_port(unit: ArithmUnit) -> None:
    """A code is written at the edge, sign-extended, and read at io_addr, whatever the entry's code is."""
    drive(
        unit,
        """
        cycle | io_write io_addr io_data tok_valid v | code_rdata io_code
        0     | 1        5       0xfffe  .         . | 0          0
        1     | .        5       .       .         . | 0          -2
        2     | .        5       .       1         2 | 10         -2
        3     | .        0x25    .       .         5 | 0          -2
        """,
    )


def test_codebooks() -> None:
    """Of three codebooks of 16 codes a pass uses the one it names; a write beyond the last does nothing."""
    block = ArithmUnit(ArchConfig(n_pe=4, codebooks=3))
    drive(
        block,
        """
        cycle | io_write io_addr io_data codebook tok_valid v | code_rdata io_code
        0     | 1        0x12    7       .        .         . | 0          0
        1     | 1        0x22    0xfff8  .        .         . | 0          0
        2     | 1        0x32    9       .        .         . | 0          0
        3     | .        0x32    .       1        1         2 | 7          0
        4     | .        0x32    .       2        1         2 | -8         0
        5     | .        0x32    .       .        1         2 | 0          0
        6     | .        0x12    .       2        .         2 | 0          7
        7     | .        0x32    .       .        .         . | 0          0
        """,
    )
