"""ActRW: source activations and their leaf of the LNZD tree, accumulators, ReLU write-back."""

import cocotb
from common import CROSSED, SMALL

from eie.sim.block_bench import BlockBench

CONFIGS = {"acc16": SMALL, "acc32": SMALL.replace(acc_bits=32)}


@cocotb.test()
async def leaf_order(dut):
    """The leaf offers the rows that are not zero, lowest first, each until it is taken."""
    bench = await BlockBench.start(dut)
    for row, value in ((5, -50), (1, 10), (3, 0), (6, 60)):
        await bench.cycle(io_write_act=1, io_addr=row, io_data=value)
    await bench.table("""
        leaf_pop | leaf_valid leaf_row leaf_value pending
        0        | 1          1        10         0b1100010
        1        | 1          1        10         0b1100010
        1        | 1          5        -50        0b1100000   # row 3 is zero
        1        | 1          6        60         0b1000000
        0        | 0          ?        ?          0
    """)


@cocotb.test()
async def writing_zero_withdraws(dut):
    """A zero written over an activation takes it out of the leaf's offers."""
    bench = await BlockBench.start(dut)
    await bench.cycle(io_write_act=1, io_addr=2, io_data=7)
    now = await bench.cycle(io_write_act=1, io_addr=2, io_data=0)
    assert (now.leaf_valid, now.leaf_row, now.leaf_value) == (1, 2, 7)
    now = await bench.cycle()
    assert now.leaf_valid == 0


@cocotb.test()
async def accumulator_port(dut):
    """A sum of stage 4 can be read in the next cycle, not in the one that writes it (hence ArithmUnit's bypass)."""
    bench = await BlockBench.start(dut)
    await bench.table("""
        s4_write s4_row s4_sum s2_valid s2_row | acc_rdata
        1        4      -98    1        4      | ?
        1        4      -99    1        4      | -98
        1        5      77     1        4      | -99
        0        .      .      1        5      | 77
    """)


@cocotb.test()
async def bias(dut):
    """The host loads start values and reads accumulators, of either sign."""
    bench = await BlockBench.start(dut)
    await bench.cycle(io_write_acc=1, io_addr=3, io_data=-1234)
    await bench.cycle(io_write_acc=1, io_addr=4, io_data=4321)
    assert (await bench.cycle(io_addr=3)).acc_rdata == -1234
    assert (await bench.cycle(io_addr=4)).acc_rdata == 4321


async def written_back(bench, accumulators, **settings):
    """Load accumulators, write all of them back, and read the activations that have taken their place."""
    for row, value in enumerate(accumulators):
        await bench.cycle(io_write_acc=1, io_addr=row, io_data=value)
    await bench.cycle(clear=1)
    for row in range(len(accumulators)):
        await bench.cycle(wb_en=1, wb_row=row, **settings)
    await bench.cycle(**settings)  # the last row is written in this cycle
    return [(await bench.cycle(io_addr=row)).acc_rdata for row in range(len(accumulators))]


@cocotb.test()
async def write_back_timing(dut):
    """A row is read in one cycle and written in the next, in place."""
    bench = await BlockBench.start(dut)
    await bench.cycle(io_write_acc=1, io_addr=0, io_data=6)
    await bench.cycle(io_write_acc=1, io_addr=1, io_data=9)
    bench.idle["output_shift"] = 1
    await bench.table("""
        wb_en wb_row io_addr | acc_rdata y_valid y_row y_acc y_value
        1     0      0       | 6         0       ?     ?     ?
        1     1      0       | 9         1       0     6     3
        0     .      0       | 3         1       1     9     5      # 4.5 rounds up
        0     .      1       | 5         0       ?     ?     ?
    """)


@cocotb.test()
async def rounding_and_relu(dut):
    """Half a unit rounds up; ReLU comes before it and can be switched off."""
    bench = await BlockBench.start(dut)
    values = [5, -5, 6, -6, 2, -2, 0]
    assert await written_back(bench, values, output_shift=2) == [1, -1, 2, -1, 1, 0, 0]
    assert await written_back(bench, values, output_shift=2, relu=1) == [1, 0, 2, 0, 1, 0, 0]
    assert await written_back(bench, values) == values


@cocotb.test()
async def write_back_saturation(dut):
    """A sum beyond 16 bits is clipped and counted; 16-bit accumulators never are."""
    bench = await BlockBench.start(dut)
    if bench.cfg.acc_bits == 16:
        assert await written_back(bench, [32767, -32768]) == [32767, -32768]
        assert bench.register("writeback_saturations") == 0
        return
    assert await written_back(bench, [40000, -40000, 32767, -32768]) == [32767, -32768, 32767, -32768]
    assert bench.register("writeback_saturations") == 2
    # What is clipped is the shifted sum; with ReLU a negative one is 0 and not clipped.
    assert await written_back(bench, [40000, -200000], output_shift=1, relu=1) == [20000, 0]
    assert bench.register("writeback_saturations") == 0


@cocotb.test()
async def random_layers(dut):
    """Load, take activations, accumulate, write back: memories as a dictionary would hold them."""
    bench = await BlockBench.start(dut)
    rng, cfg = bench.rng, bench.cfg
    low, high = -(1 << (cfg.acc_bits - 1)), (1 << (cfg.acc_bits - 1)) - 1
    for pops, sums in CROSSED:
        # The last layer was drained: only non-zeros are left to offer.
        source = [int(v) * int(rng.random() < 0.6) for v in rng.integers(-(1 << 15), 1 << 15, cfg.src_depth)]
        acc = [int(v) for v in rng.integers(low, high + 1, cfg.acc_depth)]
        for row in rng.permutation(cfg.src_depth).tolist():
            await bench.cycle(io_write_act=1, io_addr=row, io_data=source[row])
        for row, value in enumerate(acc):
            await bench.cycle(io_write_acc=1, io_addr=row, io_data=value)
        await bench.cycle(clear=1)
        waiting = [row for row, value in enumerate(source) if value]
        while waiting:
            pop, write = rng.random() < pops, rng.random() < sums
            write_row, read_row = rng.integers(cfg.acc_depth, size=2).tolist()
            total = int(rng.integers(low, high + 1))
            now = await bench.cycle(
                leaf_pop=pop, s4_write=write, s4_row=write_row, s4_sum=total, s2_valid=1, s2_row=read_row
            )
            assert (now.leaf_row, now.leaf_value) == (waiting[0], source[waiting[0]])
            assert now.acc_rdata == acc[read_row]
            if pop:
                waiting.pop(0)
            if write:
                acc[write_row] = total
        settings = {"relu": int(rng.integers(2)), "output_shift": int(rng.integers(20))}
        for row in range(cfg.acc_depth):
            await bench.cycle(wb_en=1, wb_row=row, **settings)
        await bench.cycle(**settings)
        shift = settings["output_shift"]
        for row, value in enumerate(acc):
            value = max(value, 0) if settings["relu"] else value
            value = (value + (1 << shift >> 1)) >> shift
            now = await bench.cycle(io_addr=row)
            assert now.acc_rdata == min(max(value, -(1 << 15)), (1 << 15) - 1)
