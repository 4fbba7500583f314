"""The CCU by itself: hand-written cycle tables from docs/architecture.md."""

# ruff: noqa: E501 (a table is as wide as its signals)

from cycle_table import drive

from eie.config import ArchConfig
from eie.golden.ccu import Ccu

COMPUTE = 1


def test_a_layer() -> None:
    """Two columns, the second one held for a cycle by PE 3; drain; two rows written back; done until the next start."""
    ccu = Ccu(ArchConfig(n_pe=4))
    ccu.wb_rows.value = ccu.wb_rows.next = 2
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
        8     | .     .          1              .        .       0b1111  .        .       | 0     0       0     0    ?        1     0      1    0    2    6     4      1
        9     | .     .          1              .        .       0b1111  .        .       | 0     0       0     0    ?        1     1      1    0    2    6     4      1
        10    | .     .          1              .        .       0b1111  .        .       | 0     0       0     0    ?        0     2      1    0    2    6     4      1
        11    | .     .          1              .        .       0b1111  .        .       | 0     0       0     0    ?        0     2      0    1    0    6     4      1
        12    | 1     .          1              .        .       0b1111  .        .       | 1     0       0     0    ?        0     2      0    1    0    6     4      1
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


def test_io_strobes_and_configuration() -> None:
    """A write goes to the PE that io_pe names, a code to all; the space CONFIG is the CCU's own."""
    drive(
        Ccu(ArchConfig(n_pe=4)),
        """
        cycle | io_write io_read io_space io_pe io_addr io_data | pe_write pe_read product_shift output_shift relu wb_rows
        0     | 1        .       0        2     0       0x25    | 0b0000   0b0000  0             0            0    0
        1     | 1        .       0        .     1       9       | 0b0000   0b0000  5             0            0    0
        2     | 1        .       0        .     2       1       | 0b0000   0b0000  5             9            0    0
        3     | 1        .       0        .     3       64      | 0b0000   0b0000  5             9            1    0
        4     | 1        .       1        2     3       7       | 0b0100   0b0000  5             9            1    64
        5     | 1        .       3        2     3       7       | 0b1111   0b0000  5             9            1    64
        6     | .        1       3        1     3       7       | 0b0000   0b0010  5             9            1    64
        7     | .        .       5        1     3       7       | 0b0000   0b0000  5             9            1    64
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
        cycle | io_pe | io_rdata
        0     | 2     | 0
        1     | 0     | 0x22
        2     | 3     | 0xffffffffffffffff
        3     | .     | 0x33
        """,
    )
