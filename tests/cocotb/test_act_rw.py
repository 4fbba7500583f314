"""ActRW: source activations and their leaf of the LNZD tree, accumulators, refill, ReLU write-back."""

import cocotb
from common import CROSSED, SMALL

from eie.schema import WbTarget
from eie.sim.cosim.benches.block import BlockBench

# `acc32`: the files differ in depth, and no depth is a power of two.
CONFIGS = {"acc16": SMALL, "acc32": SMALL.replace(acc_bits=32, src_depth=20, acc_depth=37, act_words=50)}


@cocotb.test()
async def leaf_order(dut):
    """The leaf offers the rows that are not zero, lowest first, each until it is taken."""
    bench = await BlockBench.start(dut)
    for row, value in ((5, -50), (1, 10), (3, 0), (6, 60)):
        await bench.cycle(io_write_act=1, io_addr=row, io_data=value)
    await bench.table("""
        compute leaf_pop | leaf_valid leaf_row leaf_value pending
        0       0        | 1          1        10         0b1100010
        1       1        | 1          1        10         0b1100010
        1       1        | 1          5        -50        0b1100000   # row 3 is zero
        1       1        | 1          6        60         0b1000000
        1       0        | 0          ?        ?          0
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


async def with_sram(dut):
    """A bench with the activation SRAM beside it, and its words."""
    bench = await BlockBench.start(dut)
    return bench, bench.sram("act", bench.cfg.act_words)


@cocotb.test()
async def refill_timing(dut):
    """A word is read in one cycle and in a file in the next but one; accumulators and activations follow each other."""
    bench, words = await with_sram(dut)
    words[8:10] = 0xFFFB, 77
    if bench.cfg.acc_bits == 32:
        words[8] = 0xFFFFFFFB
    bench.idle |= {"s2_valid": 1, "s2_row": 3}
    await bench.table("""
        rf_en rf_src rf_row rf_addr | act_en act_we act_addr rf_valid rf_to_src rf_at leaf_valid acc_rdata
        1     0      3      8       | 1      0      8        0        ?         ?     0          ?
        1     1      5      9       | 1      0      9        1        0         3     0          ?
        0     .      .      .       | 0      0      ?        1        1         5     0          -5
        0     .      .      .       | 0      0      ?        0        ?         ?     1          -5
    """)
    now = await bench.cycle()
    assert (now.leaf_row, now.leaf_value) == (5, 77)


@cocotb.test()
async def refilled_zero_offers_nothing(dut):
    """A zero from the SRAM withdraws what the host had written; an activation takes the low bits of its word."""
    bench, words = await with_sram(dut)
    words[0], words[1] = 0, (1 << bench.cfg.acc_bits) - 9
    await bench.cycle(io_write_act=1, io_addr=2, io_data=7)
    await bench.cycle(io_write_act=1, io_addr=4, io_data=0)
    await bench.cycle(rf_en=1, rf_src=1, rf_row=2, rf_addr=0)
    await bench.cycle(rf_en=1, rf_src=1, rf_row=4, rf_addr=1)
    await bench.cycle()
    now = await bench.cycle()
    assert (now.pending, now.leaf_row, now.leaf_value) == (1 << 4, 4, -9)


@cocotb.test()
async def write_back_targets(dut):
    """An activation goes to the accumulators, and to the source file, the SRAM or both, as wb_target says."""
    bench, words = await with_sram(dut)
    for target in range(4):
        words[:] = [0] * len(words)
        for row, value in enumerate((-6, 12, 0)):
            await bench.cycle(io_write_acc=1, io_addr=row, io_data=value)
        bench.idle |= {"wb_target": target, "output_shift": 1}
        for row in range(3):
            now = await bench.cycle(wb_en=1, wb_row=row, wb_addr=19 + row)
            assert now.act_en == bool(target & WbTarget.ACT_SRAM and row)
        await bench.cycle(wb_addr=22)
        now = await bench.cycle()
        offered = []
        while now.leaf_valid:
            now = await bench.cycle(compute=1, leaf_pop=1)
            offered.append((now.leaf_row, now.leaf_value))
            now = await bench.cycle()
        assert offered == ([(0, -3), (1, 6)] if target & WbTarget.SRC else [])
        minus_3 = (1 << bench.cfg.acc_bits) - 3  # extended by its sign
        assert words[19:24] == ([0, minus_3, 6, 0, 0] if target & WbTarget.ACT_SRAM else [0] * 5)
        assert [(await bench.cycle(io_addr=row)).acc_rdata for row in range(3)] == [-3, 6, 0]


@cocotb.test()
async def sram_port(dut):
    """The host writes and reads the words of the SRAM."""
    bench, words = await with_sram(dut)
    mask = (1 << bench.cfg.acc_bits) - 1
    for addr in (0, len(words) - 1):
        now = await bench.cycle(io_write_sram=1, io_addr=addr, io_data=-77 - addr)
        assert (now.act_en, now.act_we) == (1, 1)
    assert (words[0], words[-1]) == (-77 & mask, (-77 - addr) & mask)
    now = await bench.cycle(io_read_sram=1, io_addr=addr)
    assert (now.act_en, now.act_we, now.act_addr) == (1, 0, addr)
    await bench.cycle()
    assert bench.idle["act_rdata"] == words[-1]


@cocotb.test()
async def random_passes(dut):
    """Refill, take, write back to anywhere, pass after pass: the files and the SRAM as lists would hold them."""
    bench, words = await with_sram(dut)
    rng, cfg = bench.rng, bench.cfg
    mask = (1 << cfg.acc_bits) - 1
    rows = min(cfg.acc_depth, cfg.src_depth)
    words[:] = [
        int(v) & mask for v in rng.integers(-(1 << 15), 1 << 15, len(words)) * (rng.random(len(words)) < 0.7)
    ]
    sram = list(words)
    # Both files are written as a whole, so that nothing of an earlier test is left.
    for row in range(cfg.src_depth):
        await bench.cycle(io_write_act=1, io_addr=row)
    for row in range(cfg.acc_depth):
        await bench.cycle(io_write_acc=1, io_addr=row)
    acc, source = [0] * cfg.acc_depth, {}
    for pops, _ in CROSSED:
        for src, depth in ((0, cfg.acc_depth), (1, cfg.src_depth)):
            base, count = int(rng.integers(len(words) - depth)), int(rng.integers(depth + 1))
            for row in range(count):
                await bench.cycle(rf_en=1, rf_src=src, rf_row=row, rf_addr=base + row)
                word = sram[base + row]
                if src:
                    source[row] = signed(word, cfg.act_bits)
                else:
                    acc[row] = signed(word, cfg.acc_bits)
            await bench.cycle()
        waiting = [row for row in sorted(source) if source[row]]
        while waiting:
            now = await bench.cycle(compute=1, leaf_pop=(pop := rng.random() < pops))
            assert (now.leaf_row, now.leaf_value) == (waiting[0], source[waiting[0]])
            waiting = waiting[1:] if pop else waiting
        source = {}
        target, base = int(rng.integers(4)), int(rng.integers(len(words) - rows))
        settings = {"relu": int(rng.integers(2)), "output_shift": int(rng.integers(3)), "wb_target": target}
        for row in range(rows):
            await bench.cycle(wb_en=1, wb_row=row, wb_addr=base + row - 1, **settings)
        await bench.cycle(wb_addr=base + rows - 1, **settings)
        for row in range(rows):
            value, shift = max(acc[row], 0) if settings["relu"] else acc[row], settings["output_shift"]
            acc[row] = min(max((value + (1 << shift >> 1)) >> shift, -(1 << 15)), (1 << 15) - 1)
            if target & WbTarget.SRC:
                source[row] = acc[row]
            if target & WbTarget.ACT_SRAM:
                sram[base + row] = acc[row] & mask
        assert words == sram
        for row, value in enumerate(acc):
            assert (await bench.cycle(io_addr=row)).acc_rdata == value


def signed(word, bits):
    """The low bits of a word as a signed number."""
    low = word & ((1 << bits) - 1)
    return low - (low >> (bits - 1) << bits)


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
                compute=1,
                leaf_pop=pop,
                s4_write=write,
                s4_row=write_row,
                s4_sum=total,
                s2_valid=1,
                s2_row=read_row,
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
