"""The PE and the array: hand-written cycle tables from docs/timing.md and docs/architecture.md."""

# ruff: noqa: E501 (a table is as wide as its signals)

import numpy as np
import pytest

from eie.config import ArchConfig
from eie.golden.array import Array
from eie.golden.pe import PE
from eie.golden.run import run
from eie.layer import CompressedLayer
from eie.program import Job
from tests.support.cycle_table import drive

# The published example: 4 PEs, a 16 x 8 matrix; these are PE 0's weights, number n with code n.
PUBLISHED = "W00 W80 W120 W41 W02 W122 W04 W44 W05 W125 W06 W87 W127"


def published_layer() -> CompressedLayer:
    codes = np.zeros((16, 8), np.uint8)
    for number, weight in enumerate(PUBLISHED.split()):
        codes[int(weight[1:-1]), int(weight[-1])] = number + 1
    return CompressedLayer.from_codes(codes, range(16))


def started(codes: list[list[int]], x: list[int], **config: int) -> Array:
    """An array in cycle 0 of compute mode; code n is the number n."""
    layer = CompressedLayer.from_codes(np.array(codes, np.uint8), range(16))
    return start(Job.create(layer, x, ArchConfig(**config)))


def start(job: Job) -> Array:
    array = Array(job.cfg)
    array.load_images(job.images)
    for write in job.load_writes():
        array.load(write)
    array.start.value = 1
    array.step()
    array.start.value = 0
    return array


def names(array: Array, k: int = 0) -> dict[str, object]:
    """The signals of PE k and of the CCU by their own names (the CCU's busy is `ccu_busy`)."""
    pe, ccu = array.pes[k], array.ccu
    own = {"busy": pe.busy, "credit": pe.credit, "ccu_busy": ccu.busy, "value": pe.spmat_read.value}
    return ccu.signals() | pe.block_signals() | own


def test_pe_by_itself() -> None:
    """Column 5 (p_5 = 0 in the odd bank, p_6 = 2 in the even one) with two entries, the bench as the SRAMs."""
    pe = PE(ArchConfig(n_pe=4))
    pe.arithm_unit.codes[1:3] = [10, -10]
    drive(
        pe,
        """
        cycle | bcast push push_col push_value even_rdata odd_rdata spmat_rdata | even_en even_addr odd_en odd_addr spmat_en spmat_addr credit busy retire
        0     | 1     1    5        3          .          .         .           | 0       0         0      0        0        0          1      0    0
        1     | .     .    .        .          .          .         .           | 1       3         1      2        0        0          1      1    0
        2     | .     .    .        .          2          0         .           | 0       0         0      0        1        0          1      1    0
        3     | .     .    .        .          2          0         0x0221      | 0       0         0      0        0        0          1      1    0
        4     | .     .    .        .          2          0         0x0221      | 0       0         0      0        0        0          1      1    0
        5     | .     .    .        .          2          0         0x0221      | 0       0         0      0        0        0          1      1    0
        6     | .     .    .        .          2          0         0x0221      | 0       0         0      0        0        0          1      1    1
        7     | .     .    .        .          2          0         0x0221      | 0       0         0      0        0        0          1      1    1
        8     | .     .    .        .          2          0         0x0221      | 0       0         0      0        0        0          1      0    0
        """,
    )
    assert pe.act_rw.acc[:5] == [0, 0, 30, -30, 0]


def test_life_of_a_column() -> None:
    """The table of docs/timing.md, t = 1 (T0 of one PE): one column with two entries, then drain and write-back."""
    array = started([[1], [2]], [1], n_pe=1)
    drive(
        array,
        """
        cycle | | mode bcast push occupancy head_valid pop even_en odd_en start issue read tok_valid tok_first s2_valid s3_valid s4_valid busy cycles ccu_busy wb_en y_valid
        0     | | 1    0     0    0         0          0   0       0      0     0     0    0         0         0        0        0        0    0      1        0     0
        1     | | 1    1     1    0         0          0   0       0      0     0     0    0         0         0        0        0        0    0      1        0     0
        2     | | 1    0     0    1         1          1   1       1      0     0     0    0         0         0        0        0        1    0      1        0     0
        3     | | 1    0     0    1         0          0   0       0      1     1     1    0         0         0        0        0        1    0      1        0     0
        4     | | 1    0     0    0         0          0   0       0      0     1     0    1         1         0        0        0        1    0      1        0     0
        5     | | 1    0     0    0         0          0   0       0      0     0     0    1         0         1        0        0        1    0      1        0     0
        6     | | 1    0     0    0         0          0   0       0      0     0     0    0         0         1        1        0        1    0      1        0     0
        7     | | 1    0     0    0         0          0   0       0      0     0     0    0         0         0        1        1        1    0      1        0     0
        8     | | 1    0     0    0         0          0   0       0      0     0     0    0         0         0        0        1        1    8      1        0     0
        9     | | 1    0     0    0         0          0   0       0      0     0     0    0         0         0        0        0        0    9      1        0     0
        10    | | 2    0     0    0         0          0   0       0      0     0     0    0         0         0        0        0        0    9      1        1     0
        11    | | 2    0     0    0         0          0   0       0      0     0     0    0         0         0        0        0        0    9      1        1     1
        12    | | 2    0     0    0         0          0   0       0      0     0     0    0         0         0        0        0        0    9      1        0     1
        13    | | 0    0     0    0         0          0   0       0      0     0     0    0         0         0        0        0        0    9      0        0     0
        """,
        names(array),
    )
    assert array.pes[0].act_rw.acc[:2] == [1, 2]


def test_life_of_a_column_with_two_bus_registers() -> None:
    """The credit is taken at the broadcast; push and everything after it come two cycles later."""
    array = started([[1], [2]], [1], n_pe=1, bus_registers=2)
    drive(
        array,
        """
        cycle | | bcast bus0_valid bus1_valid push occupancy count pop start tok_valid s4_valid busy cycles mode
        0     | | 0     0          0          0    0         0     0   0     0         0        0    0      1
        1     | | 1     0          0          0    0         0     0   0     0         0        0    0      1
        2     | | 0     1          0          0    1         0     0   0     0         0        1    0      1
        3     | | 0     0          1          1    1         0     0   0     0         0        1    0      1
        4     | | 0     0          0          0    1         1     1   0     0         0        1    0      1
        5     | | 0     0          0          0    1         0     0   1     0         0        1    0      1
        6     | | 0     0          0          0    0         0     0   0     1         0        1    0      1
        7     | | 0     0          0          0    0         0     0   0     1         0        1    0      1
        8     | | 0     0          0          0    0         0     0   0     0         0        1    0      1
        9     | | 0     0          0          0    0         0     0   0     0         1        1    0      1
        10    | | 0     0          0          0    0         0     0   0     0         1        1    10     1
        11    | | 0     0          0          0    0         0     0   0     0         0        0    11     1
        12    | | 0     0          0          0    0         0     0   0     0         0        0    11     2
        """,
        names(array),
    )


def test_published_example() -> None:
    """a2 a4 a5 a7: PE 0 walks W02 W122, W04 W44, W05 W125, W87 W127 out of two words, never idle, three bypasses."""
    x = [0, 0, 2, 0, 3, -1, 0, 4]
    job = Job.create(published_layer(), x, ArchConfig(n_pe=4))
    array = start(job)
    drive(
        array,
        """
        cycle | | bcast push_col start issue read tok_valid tok_empty tok_first v  z tok_value s4_write s4_row s4_sum bypasses
        0     | | 0     ?        0     0     0    0         0         0         ?  ? ?         0        0      ?      0
        1     | | 1     2        0     0     0    0         0         0         ?  ? ?         0        0      ?      0
        2     | | 1     4        0     0     0    0         0         0         ?  ? ?         0        0      ?      0
        3     | | 1     5        1     1     1    0         0         0         ?  ? ?         0        0      ?      0
        4     | | 1     7        0     1     0    1         0         1         5  0 2         0        0      ?      0
        5     | | 0     ?        1     1     0    1         0         0         6  2 2         0        0      ?      0
        6     | | 0     ?        0     1     0    1         0         1         7  0 3         0        0      ?      0
        7     | | 0     ?        1     1     1    1         0         0         8  0 3         1        0      10     0
        8     | | 0     ?        0     1     0    1         0         1         9  0 -1        1        3      12     0
        9     | | 0     ?        1     1     0    1         0         0         10 2 -1        1        0      31     1
        10    | | 0     ?        0     1     0    1         0         1         12 2 4         1        1      24     1
        11    | | 0     ?        0     0     0    1         0         0         13 0 4         1        0      22     2
        12    | | 0     ?        0     0     0    0         0         0         ?  ? ?         1        3      2      2
        13    | | 0     ?        0     0     0    0         0         0         ?  ? ?         1        2      48     2
        14    | | 0     ?        0     0     0    0         0         0         ?  ? ?         1        3      54     3
        15    | | 0     ?        0     0     0    0         0         0         ?  ? ?         0        3      54     3
        """,
        names(array),
    )
    result = run(job)
    assert result.y.tolist() == [22, 0, 0, 0, 24, 0, 0, 0, 48, 0, 0, 0, 54, 0, 0, 0]
    assert result.cycles == 15
    expected = {
        "entries": [8, 0, 0, 0],
        "fillers": [0, 0, 0, 0],
        "macs": [8, 0, 0, 0],
        "empty_columns": [0, 4, 4, 4],
        "starved": [7, 11, 11, 11],
        "ptr_reads": [4, 4, 4, 4],
        "spmat_reads": [2, 0, 0, 0],
        "bypasses": [3, 0, 0, 0],
        "saturations": [0, 0, 0, 0],
        "writeback_saturations": [0, 0, 0, 0],
    }
    assert {name: np.array(result.counters[name]).tolist() for name in expected} == expected
    assert result.counters["broadcast_stalls"] == 0


def test_bypasses_and_an_empty_column() -> None:
    """Row 0 is hit one cycle apart, two apart with an empty token between, and two apart with another row between."""
    array = started([[1, 2, 0, 3, 5], [0, 0, 0, 4, 0]], [1] * 5, n_pe=1)
    drive(
        array,
        """
        cycle | | bcast start tok_valid tok_empty forward2 forward1 s4_valid s4_write s4_row s4_sum bypasses empty_columns
        0     | | 0     0     0         0         0        0        0        0        0      0      0        0
        1     | | 1     0     0         0         0        0        0        0        0      0      0        0
        2     | | 1     0     0         0         0        0        0        0        0      0      0        0
        3     | | 1     1     0         0         0        0        0        0        0      0      0        0
        4     | | 1     1     1         0         0        0        0        0        0      0      0        0
        5     | | 1     1     1         0         0        0        0        0        0      0      0        0
        6     | | 0     1     1         1         0        0        0        0        0      0      0        1
        7     | | 0     0     1         0         0        1        1        1        0      1      0        1
        8     | | 0     1     1         0         1        0        1        1        0      3      1        1
        9     | | 0     0     1         0         0        0        1        0        0      3      1        1
        10    | | 0     0     0         0         1        0        1        1        0      6      2        1
        11    | | 0     0     0         0         0        0        1        1        1      4      2        1
        12    | | 0     0     0         0         0        0        1        1        0      11     3        1
        13    | | 0     0     0         0         0        0        0        0        0      11     3        1
        """,
        names(array),
    )


def test_credit_at_depth_one() -> None:
    """A column of one entry every three cycles: broadcast, pointers, start, and the credit is back."""
    array = started([[1, 2, 3]], [1] * 3, n_pe=1, queue_depth=1)
    drive(
        array,
        """
        cycle | | root_valid root_exhausted credit bcast occupancy start broadcast_stalls cycles
        0     | | 0          0              1      0     0         0     0                0
        1     | | 1          0              1      1     0         0     0                0
        2     | | 1          0              0      0     1         0     0                0
        3     | | 1          0              0      0     1         1     1                0
        4     | | 1          0              1      1     0         0     2                0
        5     | | 1          0              0      0     1         0     2                0
        6     | | 1          0              0      0     1         1     3                0
        7     | | 1          0              1      1     0         0     4                0
        8     | | 0          1              0      0     1         0     4                8
        9     | | 0          1              0      0     1         1     4                8
        10    | | 0          1              1      0     0         0     4                8
        """,
        names(array),
    )


@pytest.mark.parametrize("pe", [0, 5, 15])
def test_all_activations_from_one_leaf(pe: int) -> None:
    """Every non-zero on one PE of 16: the tree still offers one in every cycle from T0 = 2 on, in ascending order."""
    x = np.zeros(16 * 12, np.int64)
    x[pe::16] = np.arange(1, 13)
    array = start(
        Job.create(
            CompressedLayer.from_codes(np.zeros((1, 192), np.uint8), range(16)), x, ArchConfig(n_pe=16)
        )
    )
    seen = []
    while not array.done.value:
        array.propagate()
        if array.ccu.push.value:
            seen.append((array.ccu.cycle.value, array.ccu.push_col.value, array.ccu.push_value.value))
        array.update()
    assert seen == [(2 + i, 16 * i + pe, i + 1) for i in range(12)]


def test_nothing_active() -> None:
    """M = 0: compute mode lasts T0 + 1 cycles, cycles is 0, the biases are written back."""
    layer = CompressedLayer.from_codes(np.ones((5, 9), np.uint8), range(16), bias=[3, -4, 5, 6, 7])
    array = start(Job.create(layer, [0] * 9, ArchConfig(n_pe=4)))
    modes = []
    while not array.done.value:
        modes.append(int(array.ccu.mode.value))
        array.step()
    assert modes == [1, 1, 2, 2, 2]
    result = run(Job.create(layer, [0] * 9, ArchConfig(n_pe=4)))
    assert (result.cycles, result.counters["broadcast_stalls"], result.writeback_cycles) == (0, 0, 3)
    assert result.y.tolist() == [3, 0, 5, 6, 7]


def test_columns_are_broadcast_in_ascending_order() -> None:
    """Ascending j over all PEs, whatever the pattern and however long the queues hold the broadcast."""
    rng = np.random.default_rng(11)
    x = np.where(rng.random(200) < 0.4, 1, 0)
    codes = np.where(rng.random((64, 200)) < 0.3, 1, 0)
    job = Job.create(CompressedLayer.from_codes(codes, range(16)), x, ArchConfig(n_pe=16, queue_depth=2))
    columns = []

    def watch(array: Array) -> None:
        if array.ccu.push.value:
            columns.append(array.ccu.push_col.value)

    assert run(job, observe=watch).counters["broadcast_stalls"]
    assert columns == np.flatnonzero(x).tolist()
