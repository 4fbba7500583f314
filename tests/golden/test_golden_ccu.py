"""The CCU by itself: hand-written cycle tables from docs/architecture.md."""

# ruff: noqa: E501 (a table is as wide as its signals)

from eie.config import ArchConfig
from eie.golden.ccu import Ccu
from eie.schema import ConfigReg, IoSpace
from tests.support.cycle_table import drive

COMPUTE = 1


def test_a_layer() -> None:
    """Two columns, one held for a cycle by PE 3; drain (cycle is set to cycles); two rows written back; done."""
    ccu = Ccu(ArchConfig(n_pe=4))
    ccu.load(IoSpace.CONFIG, ConfigReg.WB_ROWS, 2)
    drive(
        ccu,
        """
        cycle | start root_valid root_exhausted root_row root_pe credits busy_pes retires | clear compute bcast push push_col wb_en wb_row busy done mode cycle cycles broadcast_stalls
        0     | .     .          .              .        .       0b1111  .        .       | 0     0       0     0    ?        0     0      0    0    0    0     0      0
        1     | 1     .          .              .        .       0b1111  .        .       | 1     0       0     0    ?        0     0      0    0    0    0     0      0
        2     | .     .          .              .        .       0b1111  .        .       | 0     1       0     0    ?        0     0      1    0    1    0     0      0
        3     | .     1          .              2        1       0b1111  .        .       | 0     1       1     1    9        0     0      1    0    1    1     0      0
        4     | 1     1          .              2        3       0b0111  0b1111   .       | 0     1       0     0    11       0     0      1    0    1    2     0      0
        5     | .     1          .              2        3       0b1111  0b1111   0b0100  | 0     1       1     1    11       0     0      1    0    1    3     0      1
        6     | .     .          1              .        .       0b1111  0b0001   .       | 0     1       0     0    ?        0     0      1    0    1    4     4      1
        7     | .     .          1              .        .       0b1111  .        .       | 0     1       0     0    ?        0     0      1    0    1    5     4      1
        8     | .     .          1              .        .       0b1111  .        .       | 0     0       0     0    ?        1     0      1    0    2    4     4      1
        9     | .     .          1              .        .       0b1111  .        .       | 0     0       0     0    ?        1     1      1    0    2    4     4      1
        10    | .     .          1              .        .       0b1111  .        .       | 0     0       0     0    ?        0     2      1    0    2    4     4      1
        11    | .     .          1              .        .       0b1111  .        .       | 0     0       0     0    ?        0     2      0    1    0    4     4      1
        12    | 1     .          1              .        .       0b1111  .        .       | 1     0       0     0    ?        0     2      0    1    0    4     4      1
        13    | .     .          .              .        .       0b1111  .        .       | 0     1       0     0    ?        0     0      1    0    1    0     0      0
        """,
    )


def test_two_bus_registers() -> None:
    """The push follows the broadcast by two cycles; the registers follow the root in every cycle."""
    ccu = Ccu(ArchConfig(n_pe=4, bus_registers=2))
    ccu.mode.value = COMPUTE
    drive(
        ccu,
        """
        cycle | root_valid root_row root_pe root_value credits | bcast push push_col push_value bus0_valid bus0_col bus1_valid bus1_col
        0     | 1          3        2       -6         0b1111  | 1     0    0        0          0          0        0          0
        1     | 1          4        0       5          0b1011  | 0     0    0        0          1          14       0          0
        2     | .          .        .       .          0b1111  | 0     1    14       -6         0          16       1          14
        3     | .          .        .       .          0b1111  | 0     0    16       5          0          0        0          16
        """,
    )


def test_io_strobes() -> None:
    """A write goes to the PE that io_pe names, a code to all; CONFIG and CONTROL too, of which a PE has nothing."""
    drive(
        Ccu(ArchConfig(n_pe=4)),
        """
        cycle | io_write io_read io_space io_pe io_addr io_data | pe_write pe_read
        0     | 1        .       0        2     .       0x25    | 0b0100   0b0000
        1     | 1        .       7        2     .       3       | 0b0100   0b0000
        2     | 1        .       1        2     3       7       | 0b0100   0b0000
        3     | 1        .       3        2     3       7       | 0b1111   0b0000
        4     | 1        .       8        3     3       7       | 0b1000   0b0000
        5     | .        1       3        1     3       7       | 0b0000   0b0010
        6     | .        .       5        1     3       7       | 0b0000   0b0000
        """,
    )


def test_pass_table() -> None:
    """Entries 0 and 2 of three: the present pass's is at the outputs, the port reads any; widths cut, no entry 3."""
    drive(
        Ccu(ArchConfig(n_pe=4, passes=3)),
        """
        cycle | io_write io_read io_space io_addr io_data | product_shift output_shift relu wb_rows io_rdata current_pass
        0     | 1        .       0        0x00    0x25    | 0             0            0    0       0        0
        1     | 1        .       0        0x01    9       | 5             0            0    0       0        0
        2     | 1        .       0        0x02    3       | 5             9            0    0       0        0
        3     | 1        .       0        0x03    64      | 5             9            1    0       0        0
        4     | 1        .       0        0x20    7       | 5             9            1    64      0        0
        5     | 1        .       0        0x30    8       | 5             9            1    64      0        0
        6     | 1        .       0        0x2d    8       | 5             9            1    64      0        0
        7     | .        1       0        0x20    .       | 5             9            1    64      0        0
        8     | .        1       0        0x30    .       | 5             9            1    64      7        0
        9     | .        1       0        0x0f    .       | 5             9            1    64      0        0
        10    | 1        .       7        0       2       | 5             9            1    64      0        0
        11    | 1        .       7        1       3       | 7             0            0    0       0        2
        12    | .        1       7        0       .       | 7             0            0    0       0        2
        13    | .        1       7        1       .       | 7             0            0    0       2        2
        14    | .        1       7        2       .       | 7             0            0    0       3        2
        15    | .        .       1        2       .       | 7             0            0    0       0        2
        """,
    )


def test_refill() -> None:
    """Pass 1 alone: two accumulators from 5 on, then one source activation from 30 on (cut to 5 bits), then compute."""
    ccu = Ccu(ArchConfig(n_pe=4, act_words=32))
    ccu.load(IoSpace.CONTROL, 0, 1)
    ccu.load(IoSpace.CONTROL, 1, 1)
    for register, value in (("ACC_ROWS", 2), ("ACC_BASE", 5), ("SRC_ROWS", 3), ("SRC_BASE", 30)):
        ccu.load(IoSpace.CONFIG, 1 << 4 | ConfigReg[register], value)
    drive(
        ccu,
        """
        cycle | start root_exhausted | clear begin_pass mode rf_en rf_src rf_row rf_addr compute refill_cycles writeback_cycles cycles current_pass done
        0     | 1     1              | 1     0          0    0     0      0      5       0       0             0                0      1            0
        1     | .     1              | 0     0          3    1     0      0      5       0       0             0                0      1            0
        2     | .     1              | 0     0          3    1     0      1      6       0       1             0                0      1            0
        3     | .     1              | 0     0          3    0     0      2      7       0       2             0                0      1            0
        4     | .     1              | 0     0          3    1     1      0      30      0       3             0                0      1            0
        5     | .     1              | 0     0          3    1     1      1      31      0       4             0                0      1            0
        6     | .     1              | 0     0          3    1     1      2      0       0       5             0                0      1            0
        7     | .     1              | 0     1          3    0     1      3      1       0       6             0                0      1            0
        8     | .     1              | 0     0          1    0     1      0      30      1       7             0                0      1            0
        9     | .     .              | 0     0          2    0     1      0      30      0       7             0                0      1            0
        10    | .     .              | 0     0          0    0     0      0      5       0       7             1                0      1            1
        """,
    )


def test_passes_follow_one_another() -> None:
    """Passes 2 and 3: the second always refills, if nothing; counts go on over both; then FIRST_PASS is back."""
    ccu = Ccu(ArchConfig(n_pe=1, passes=4))
    ccu.load(IoSpace.CONTROL, 0, 2)
    ccu.load(IoSpace.CONTROL, 1, 3)
    for register, value in (("WB_ROWS", 1), ("WB_BASE", 9), ("PTR_BASE", 16)):
        ccu.load(IoSpace.CONFIG, 3 << 4 | ConfigReg[register], value)
    drive(
        ccu,
        """
        cycle | start root_valid root_exhausted credits busy_pes retires | clear begin_pass mode push_col wb_en wb_row wb_addr cycle cycles refill_cycles writeback_cycles current_pass done
        0     | 1     .          .              1       .        .       | 1     1          0    0        0     0      0       0     0      0             0                2            0
        1     | .     1          .              1       .        .       | 0     0          1    0        0     0      0       0     0      0             0                2            0
        2     | .     .          1              1       1        1       | 0     0          1    0        0     0      0       1     0      0             0                2            0
        3     | .     .          1              1       .        .       | 0     0          1    0        0     0      0       2     2      0             0                2            0
        4     | .     .          .              1       .        .       | 0     0          2    0        0     0      0       2     2      0             0                2            0
        5     | .     .          .              1       .        .       | 0     0          3    16       0     0      0       2     2      0             1                3            0
        6     | .     .          .              1       .        .       | 0     1          3    16       0     0      0       2     2      1             1                3            0
        7     | .     1          .              1       1        1       | 0     0          1    16       0     0      0       2     2      2             1                3            0
        8     | .     .          1              1       .        .       | 0     0          1    16       0     0      0       3     3      2             1                3            0
        9     | .     .          .              1       .        .       | 0     0          2    16       1     0      0       3     3      2             1                3            0
        10    | .     .          .              1       .        .       | 0     0          2    16       0     1      9       3     3      2             2                3            0
        11    | .     .          .              1       .        .       | 0     0          0    0        0     1      9       3     3      2             3                2            1
        12    | 1     .          .              1       .        .       | 1     1          0    0        0     1      9       3     3      2             3                2            1
        13    | .     .          .              1       .        .       | 0     0          1    0        0     0      9       0     0      0             0                2            0
        """,
    )


def test_port_is_closed_outside_of_io_mode() -> None:
    """Writes, reads and start in compute mode do nothing."""
    ccu = Ccu(ArchConfig(n_pe=4))
    ccu.mode.value = COMPUTE
    drive(
        ccu,
        """
        cycle | start io_write io_read io_space io_addr io_data | clear pe_write pe_read product_shift mode
        0     | 1     1        1       0        .       9       | 0     0        0       0             1
        1     | 1     1        1       5        .       9       | 0     0        0       0             1
        """,
    )


def test_read_data_comes_back_a_cycle_later() -> None:
    """Word 2 of four 64-bit words."""
    ccu = Ccu(ArchConfig(n_pe=4))
    ccu.pe_rdata.value = 0x33 << 192 | 0x22 << 128 | 0x11 << 64 | 0xFFFF_FFFF_FFFF_FFFF
    drive(
        ccu,
        """
        cycle | io_space io_pe | io_rdata
        0     | 4        2     | 0
        1     | 4        0     | 0x22
        2     | 4        3     | 0xffffffffffffffff
        3     | .        .     | 0x33
        """,
    )
