"""PtrRead: both pointers of a column in one read, from the SRAMs of even and of odd columns."""

import cocotb
from common import CROSSED, SMALL

from eie.sim.cosim.benches.block import BlockBench

CONFIGS = {"small": SMALL}

# PE 0 of the published 16 x 8 example.
POINTERS = [0, 3, 4, 6, 6, 8, 10, 11, 13]


async def bench_with(dut, pointers):
    """A bench whose two SRAMs hold `pointers`: even columns in one, odd columns in the other."""
    bench = await BlockBench.start(dut)
    for parity, name in enumerate(("even", "odd")):
        words = bench.sram(name, bench.cfg.ptr_bank_depth)
        for i, pointer in enumerate(pointers[parity::2]):
            words[i] = pointer
    return bench


@cocotb.test()
async def even_and_odd(dut):
    """p_j and p_j+1 lie in different SRAMs; for an odd column they swap sides, and the even address is one further."""
    bench = await bench_with(dut, POINTERS)
    await bench.table("""
        head_valid head_col head_value start | pop even_en even_addr odd_en odd_addr valid p_start p_end value ptr_reads
        1          4        11         0     | 1   1       2         1      2        0     ?       ?     ?     0
        1          5        -3         1     | 1   1       3         1      2        1     6       8     11    1
        0          .        .          1     | 0   0       ?         0      ?        1     8       10    -3    2
        0          .        .          0     | 0   0       ?         0      ?        0     ?       ?     ?     2
    """)


@cocotb.test()
async def every_column(dut):
    """Each column's pointers are there one cycle after its pop."""
    bench = await bench_with(dut, POINTERS)
    for column in range(8):
        now = await bench.cycle(head_valid=1, head_col=column)
        assert now.pop == 1
        now = await bench.cycle(start=1)
        assert (now.p_start, now.p_end) == (POINTERS[column], POINTERS[column + 1])


@cocotb.test()
async def prefetch_holds(dut):
    """The SRAMs' output registers keep the pointers until the column starts; the next is read in that very cycle."""
    bench = await bench_with(dut, POINTERS)
    await bench.table("""
        head_valid head_col start | pop even_en valid p_start p_end
        1          0        0     | 1   1       0     ?       ?
        1          1        0     | 0   0       1     0       3     # column 0 waits, so column 1 stays at the head
        1          1        0     | 0   0       1     0       3
        1          1        1     | 1   1       1     0       3     # it starts; column 1 is read meanwhile: no bubble
        0          .        0     | 0   0       1     3       4
    """)


@cocotb.test()
async def io_port(dut):
    """Through the I/O port the column's number is the address: its lowest bit chooses the SRAM."""
    bench = await bench_with(dut, [])
    for column in range(9):
        now = await bench.cycle(io_write=1, io_addr=column, io_data=POINTERS[column])
        assert (now.even_we, now.odd_we) == ((0, 1) if column % 2 else (1, 0))
    for column in range(9):
        now = await bench.cycle(io_read=1, io_addr=column)
        assert (now.even_en, now.even_we, now.odd_en, now.odd_we) == (
            (0, 0, 1, 0) if column % 2 else (1, 0, 0, 0)
        )
        await bench.cycle()
        # Nothing was popped, so the even SRAM is on p_start.
        found = bench.idle["odd_rdata" if column % 2 else "even_rdata"]
        assert found == POINTERS[column]


@cocotb.test()
async def counter(dut):
    """ptr_reads counts a pop once, whatever the number of SRAMs it reads, and `clear` sets it to 0."""
    bench = await bench_with(dut, POINTERS)
    await bench.table("""
        clear head_valid head_col start | ptr_reads
        0     1          0        0     | 0
        0     1          1        1     | 1
        1     0          .        1     | 2
        0     0          .        0     | 0
    """)


@cocotb.test()
async def random_traffic(dut):
    """Random pointers; the head comes and the start is given with every pair of probabilities."""
    bench = await BlockBench.start(dut)
    rng, cfg = bench.rng, bench.cfg
    even, odd = (bench.sram(name, cfg.ptr_bank_depth) for name in ("even", "odd"))
    for arrivals, starts in CROSSED:
        pointers = rng.integers(0, 1 << cfg.pointer_bits, 2 * cfg.ptr_bank_depth).tolist()
        even[:], odd[:] = pointers[0::2], pointers[1::2]
        head, waiting = None, None
        for _ in range(80):
            if head is None and rng.random() < arrivals:
                head = (int(rng.integers(len(pointers) - 1)), int(rng.integers(-(1 << 15), 1 << 15)))
            column, value = head or (0, 0)
            start = waiting is not None and rng.random() < starts
            now = await bench.cycle(
                head_valid=head is not None, head_col=column, head_value=value, start=start
            )
            assert now.pop == (head is not None and (waiting is None or start))
            if waiting is not None:
                assert (now.p_start, now.p_end) == (pointers[waiting[0]], pointers[waiting[0] + 1])
                assert now.value == waiting[1]
            if start:
                waiting = None
            if now.pop:
                head, waiting = None, head
        if waiting is not None:
            await bench.cycle(start=1)  # an empty prefetch register for the next pair
