"""ActRW by itself: hand-written cycle tables from docs/architecture.md."""

from eie.config import ArchConfig
from eie.golden.act_rw import ActRW
from tests.support.cycle_table import drive

CFG = ArchConfig(n_pe=4, src_depth=5, acc_depth=3)


def test_leaf_offers_in_ascending_order() -> None:
    """Zeros are never offered; a pop takes the lowest row; with nothing pending the row is 0, and the port reads src at
    io_addr.
    """
    drive(
        ActRW(CFG),
        """
        cycle | io_write_act io_addr io_data leaf_pop | pending leaf_valid leaf_row leaf_value
        0     | 1            4       9       .        | 0       0          0        0
        1     | 1            2       0       .        | 0b10000 1          4        9
        2     | 1            1       0xfffd  .        | 0b10000 1          4        9
        3     | .            .       .       1        | 0b10010 1          1        -3
        4     | .            .       .       .        | 0b10000 1          4        9
        5     | .            1       .       1        | 0b10000 1          4        9
        6     | .            1       .       .        | 0       0          0        -3
        7     | .            2       .       .        | 0       0          0        0
        """,
    )


def test_writing_a_zero_withdraws_an_activation() -> None:
    """The next layer's zero replaces what was there."""
    drive(
        ActRW(CFG),
        """
        cycle | io_write_act io_addr io_data   | pending leaf_value
        0     | 1            3       7         | 0       ?
        1     | 1            3       0x10000   | 0b1000  7
        2     | .            3       .         | 0       0
        """,
    )


def test_addresses_past_the_depth() -> None:
    """They read 0 and write nothing (5 of 8 source rows and 3 of 4 accumulators exist)."""
    drive(
        ActRW(CFG),
        """
        cycle | io_write_act io_write_acc io_addr io_data | pending leaf_valid leaf_value acc_rdata
        0     | 1            .            6       7       | 0       0          0          0
        1     | .            1            3       7       | 0       0          0          0
        2     | .            .            3       .       | 0       0          0          0
        3     | .            .            6       .       | 0       0          0          0
        """,
    )


def test_accumulator_ports() -> None:
    """One read port (stage 2, then write-back, then I/O) and one write port; a read sees earlier edges' writes only."""
    drive(
        ActRW(CFG),
        """
        cycle | io_write_acc io_addr io_data s2_valid s2_row s4_write s4_row s4_sum | acc_rdata
        0     | 1            1       0xffff  .        .      .        .      .      | 0
        1     | .            1       .       .        .      1        2      -77    | -1
        2     | .            1       .       1        2      1        0      5      | -77
        3     | 1            1       8       1        0      1        2      4      | 5
        4     | .            1       .       .        .      .        .      .      | -1
        5     | .            2       .       .        .      .        .      .      | 4
        """,
    )


def test_write_back_with_relu() -> None:
    """Row after row: read, then clipped at 0, shifted with rounding and put in its place, one cycle later."""
    block = ActRW(CFG)
    block.acc[:3] = [-5, 7, 10]
    drive(
        block,
        """
        cycle | wb_en wb_row relu output_shift io_addr | acc_rdata y_valid y_row y_acc y_value
        0     | 1     0      1    1            .       | -5        0       0     0     0
        1     | 1     1      1    1            .       | 7         1       0     -5    0
        2     | 1     2      1    1            .       | 10        1       1     7     4
        3     | .     3      1    1            2       | 10        1       2     10    5
        4     | .     3      1    1            2       | 5         0       2     10    5
        """,
    )
    assert block.acc[:3] == [0, 4, 5]


def test_write_back_without_relu_saturates_and_counts() -> None:
    """32-bit sums, 16-bit activations: -70001 / 2 rounds to -35000 and clips; -65536 / 2 just fits."""
    block = ActRW(CFG.replace(acc_bits=32))
    block.acc[:3] = [-70001, -65536, 65535]
    drive(
        block,
        """
        cycle | clear wb_en wb_row output_shift | y_valid y_value writeback_saturations
        0     | .     1     0      1            | 0       0       0
        1     | .     1     1      1            | 1       -32768  0
        2     | .     1     2      1            | 1       -32768  1
        3     | .     .     3      1            | 1       32767   1
        4     | 1     .     3      1            | 0       32767   2
        5     | .     .     3      1            | 0       32767   0
        """,
    )
    assert block.acc[:3] == [-32768, -32768, 32767]


def test_activation_sram_port() -> None:
    """Refill first, then write-back, then the I/O port; addresses cut to 3 bits, words to 16."""
    drive(
        ActRW(CFG.replace(act_words=8)),
        """
        cycle | rf_en rf_addr io_write_sram io_read_sram io_addr io_data | act_en act_we act_addr act_wdata
        0     | .     .       .             .            .       .       | 0      0      0        0
        1     | .     .       1             .            0x1a    0x1fffe | 1      1      2        0xfffe
        2     | .     .       .             1            7       .       | 1      0      7        0
        3     | 1     5       .             .            .       .       | 1      0      5        0
        """,
    )


def test_refill_of_accumulators_and_sources() -> None:
    """The word that was addressed is written one cycle later: signed, the low 16 bits of 32 to the source file."""
    block = ActRW(CFG.replace(acc_bits=32))
    drive(
        block,
        """
        cycle | rf_en rf_src rf_row act_rdata  | rf_valid rf_to_src rf_at pending leaf_value
        0     | 1     .      0      .          | 0        0         0     0       0
        1     | 1     .      2      0xfffffffb | 1        0         0     0       0
        2     | .     .      3      0x00012345 | 1        0         2     0       0
        3     | 1     1      1      .          | 0        0         2     0       0
        4     | 1     1      4      0x0001fffd | 1        1         1     0       0
        5     | 1     1      7      0x00010000 | 1        1         4     0b00010 -3
        6     | .     .      .      0x00000009 | 1        1         7     0b00010 -3
        7     | .     .      .      .          | 0        1         7     0b00010 -3
        """,
    )
    assert block.acc == [-5, 0, 0x12345, 0]
    assert block.src == [0, -3, 0, 0, 0, 0, 0, 0]


def test_write_back_to_the_source_file_and_to_the_sram() -> None:
    """Target 1 loads the next pass's activations in place, target 2 the SRAM (sign-extended), 3 both."""
    block = ActRW(CFG.replace(acc_bits=32))
    block.acc[:3] = [-5, 0, 9]
    drive(
        block,
        """
        cycle | wb_en wb_row wb_target wb_addr | y_valid y_value act_en act_we act_addr act_wdata  pending
        0     | 1     0      1         .       | 0       0       0      0      0        0          0
        1     | 1     1      1         .       | 1       -5      0      0      0        0          0
        2     | 1     2      3         6       | 1       0       1      1      6        0          0b001
        3     | 1     0      2         7       | 1       9       1      1      7        9          0b001
        4     | .     .      2         8       | 1       -5      1      1      8        0xfffffffb 0b001
        5     | .     .      2         8       | 0       -5      0      0      0        0          0b001
        """,
    )
    assert block.acc[:3] == [-5, 0, 9]
    assert block.src[:3] == [-5, 0, 0]
