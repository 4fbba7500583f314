"""PE: the five blocks together, with the four SRAMs beside them, from a broadcast column to its accumulators."""

from collections import deque

import cocotb
from common import CROSSED, SMALL

from eie.schema import IoSpace, PeCounter, pe_counters
from eie.sim.cosim.benches.block import BlockBench

CONFIGS = {
    "small": SMALL,
    "depth1": SMALL.replace(queue_depth=1),
    "odd_words": SMALL.replace(index_bits=5, acc_bits=32),
}


class Bench(BlockBench):
    """Stands for the CCU: loads the PE through its I/O port and broadcasts columns to it."""

    @classmethod
    async def loaded(cls, dut, columns, codebook, product_shift=0):
        """A PE that holds `columns`, each a list of entries (v, z), and `codebook`; its accumulators are 0."""
        bench = await cls.start(dut)
        bench.sram("even", bench.cfg.ptr_bank_depth)
        bench.sram("odd", bench.cfg.ptr_bank_depth)
        bench.sram("spmat", bench.cfg.spmat_words)
        bench.sram("act", bench.cfg.act_words)
        await bench.load(columns, codebook, product_shift)
        return bench

    async def load(self, columns, codebook, product_shift):
        cfg = self.cfg
        self.idle["product_shift"] = product_shift
        entries = [entry for column in columns for entry in column]
        for word in range(0, len(entries), cfg.entries_per_word):
            packed = 0
            for place, (v, z) in enumerate(entries[word : word + cfg.entries_per_word]):
                packed |= (v | z << cfg.weight_bits) << (place * cfg.entry_bits)
            await self.write(IoSpace.SPMAT, word // cfg.entries_per_word, packed)
        first = 0
        for j, column in enumerate([*columns, []]):
            await self.write(IoSpace.PTR, j, cfg.pack_pointer(first))
            first += len(column)
        for i, code in enumerate(codebook):
            await self.write(IoSpace.CODEBOOK, i, code)
        for row in range(cfg.acc_depth):
            await self.write(IoSpace.ACC, row, 0)
        await self.cycle(clear=1, begin_pass=1)

    async def write(self, space, addr, data):
        await self.cycle(io_write=1, io_space=space, io_addr=addr, io_data=data)

    async def read(self, space, addr):
        """A word as the CCU sees it: the SRAMs answer in the second cycle of a read."""
        await self.cycle(io_read=1, io_space=space, io_addr=addr)
        return (await self.cycle(io_read=1, io_space=space, io_addr=addr)).io_rdata

    async def accumulators(self, rows):
        """Accumulators 0..rows-1, signed."""
        words = [await self.read(IoSpace.ACC, row) for row in range(rows)]
        sign = 1 << (self.cfg.io_data_bits - 1)
        return [(word ^ sign) - sign for word in words]

    async def drain(self):
        """Idle until the PE is no longer busy."""
        while (await self.cycle()).busy:
            pass


@cocotb.test()
async def life_of_a_column(dut):
    """docs/timing.md, line by line: a column of two entries through the empty PE."""
    bench = await Bench.loaded(dut, [[(1, 2), (2, 0)]], [0, 10, 100])
    left = int(bench.cfg.queue_depth > 1)
    bench.idle["push_value"] = 3
    await bench.table(f"""
        bcast push push_col | head_valid pop start issue read tok_valid s2_valid s3_valid s4_valid retire busy credit
        1     1    0        | 0          0   0     0     0    0         0        0        0        0      0    1
        0     0    .        | 1          1   0     0     0    0         0        0        0        0      1    {left}
        0     0    .        | 0          0   1     1     1    0         0        0        0        0      1    {left}
        0     0    .        | 0          0   0     1     0    1         0        0        0        0      1    1
        0     0    .        | 0          0   0     0     0    1         1        0        0        0      1    1
        0     0    .        | 0          0   0     0     0    0         1        1        0        0      1    1
        0     0    .        | 0          0   0     0     0    0         0        1        1        1      1    1
        0     0    .        | 0          0   0     0     0    0         0        0        1        1      1    1
        0     0    .        | 0          0   0     0     0    0         0        0        0        0      0    1
    """)
    assert await bench.accumulators(5) == [0, 0, 30, 300, 0]


@cocotb.test()
async def counters(dut):
    """A filler, an empty column and two hits on one row, counted as docs/timing.md defines them."""
    bench = await Bench.loaded(dut, [[(0, 15), (1, 0)], [], [(1, 1)], [(1, 1)]], [0, 10])
    for column in range(4):
        while not bench.golden.act_queue.occupancy.value < bench.cfg.queue_depth:
            await bench.cycle()
        await bench.cycle(bcast=1, push=1, push_col=column, push_value=column + 1)
    await bench.drain()
    counted = {counter.name: await bench.read(IoSpace.COUNTER, counter) for counter in pe_counters(bench.cfg)}
    # With depth 1 the two hits are three cycles apart, too far for a bypass.
    assert counted == {
        "ENTRIES": 4,
        "FILLERS": 1,
        "EMPTY_COLUMNS": 1,
        "PTR_READS": 4,
        "SPMAT_READS": 1,
        "BYPASSES": int(bench.cfg.queue_depth > 1),
        "SATURATIONS": 0,
        "WRITEBACK_SATURATIONS": 0,
    }
    assert await bench.accumulators(17) == [0, 70, *[0] * 14, 10]


@cocotb.test()
async def write_back(dut):
    """Bias in, columns on top, ReLU and shift on the way out."""
    bench = await Bench.loaded(dut, [[(1, 0), (1, 0)]], [0, 10])
    await bench.write(IoSpace.ACC, 0, -35)
    await bench.write(IoSpace.ACC, 1, 6)
    await bench.cycle(bcast=1, push=1, push_col=0, push_value=3)
    await bench.drain()
    assert await bench.accumulators(2) == [-5, 36]
    # A pass's configuration is there two cycles before it is used.
    bench.idle |= {"relu": 1, "output_shift": 3}
    await bench.cycle()
    for row in range(2):
        await bench.cycle(wb_en=1, wb_row=row)
    await bench.cycle()
    assert await bench.accumulators(2) == [0, 5]  # 36 / 8 = 4.5 rounds up


@cocotb.test()
async def a_pass_from_the_sram(dut):
    """Bias from the activation SRAM, a column from elsewhere in the matrix SRAM, the activation back to the SRAM."""
    bench = await Bench.loaded(dut, [[], [(1, 0), (1, 0)]], [0, 10])
    for addr, word in enumerate((-35, 6, 3, 0)):
        await bench.write(IoSpace.ACT_SRAM, 20 + addr, word)
    word = await bench.read(IoSpace.ACT_SRAM, 20)
    assert word == (1 << bench.cfg.io_data_bits) - 35  # extended by its sign
    for src, row, addr in ((0, 0, 20), (0, 1, 21), (1, 0, 22)):
        await bench.cycle(rf_en=1, rf_src=src, rf_row=row, rf_addr=addr)
    await bench.cycle()
    now = await bench.cycle(begin_pass=1)
    assert (now.leaf_valid, now.leaf_row, now.leaf_value) == (1, 0, 3)
    # The same entries, four words on: a pass whose word 0 is that word.
    await bench.write(IoSpace.SPMAT, 4, await bench.read(IoSpace.SPMAT, 0))
    await bench.write(IoSpace.SPMAT, 0, 0)
    bench.idle["spmat_base"] = 4
    await bench.cycle(compute=1, leaf_pop=1, bcast=1, push=1, push_col=1, push_value=3)
    await bench.drain()
    assert await bench.accumulators(2) == [-5, 36]
    bench.idle |= {"relu": 1, "output_shift": 3, "wb_target": 3}
    await bench.cycle()
    for row in range(2):
        await bench.cycle(wb_en=1, wb_row=row, wb_addr=30 + row - 1)
    await bench.cycle(wb_addr=31)
    now = await bench.cycle()
    assert (now.leaf_valid, now.leaf_row, now.leaf_value) == (1, 1, 5)
    assert [await bench.read(IoSpace.ACT_SRAM, addr) for addr in (30, 31)] == [0, 5]


def random_column(rng, cfg, most):
    """Entries (v, z) that stay inside the accumulator file, sometimes with a filler."""
    entries, row = [], -1
    for _ in range(rng.integers(most + 1)):
        z = int(rng.integers(4))
        if row + cfg.max_run + 1 + z + 1 < cfg.acc_depth and rng.random() < 0.2:
            entries.append((0, cfg.max_run))
            row += cfg.max_run + 1
        row += z + 1
        if row >= cfg.acc_depth:
            break
        entries.append((int(rng.integers(1, 16)), z))
    while entries and entries[-1][0] == 0:
        entries.pop()  # no filler follows the last non-zero
    return entries


@cocotb.test()
async def random_layers(dut):
    """Random columns at every rate of broadcast and of bus delay; sums in order, in plain integers."""
    bench = await Bench.loaded(dut, [[]], [0])
    rng, cfg = bench.rng, bench.cfg
    low, high = -(1 << (cfg.acc_bits - 1)), (1 << (cfg.acc_bits - 1)) - 1
    for rate, crowded in CROSSED:
        columns = [random_column(rng, cfg, round(6 * crowded)) for _ in range(8)]
        codebook = [0, *rng.integers(-(1 << 15), 1 << 15, 15).tolist()]
        await bench.load(columns, codebook, product_shift=15)
        expected = [0] * cfg.acc_depth
        bus, waiting = deque([None] * int(rng.integers(3))), deque(range(len(columns)))
        while waiting or any(column is not None for column in bus):
            credit = bench.golden.act_queue.occupancy.value < cfg.queue_depth
            bcast = bool(waiting) and credit and rng.random() < rate
            bus.append(waiting.popleft() if bcast else None)
            column = bus.popleft()
            value = int(rng.integers(-(1 << 15), 1 << 15))
            await bench.cycle(
                bcast=bcast,
                push=column is not None,
                push_col=column or 0,
                push_value=value * (column is not None),
            )
            row = -1
            for v, z in columns[column] if column is not None else []:
                row += z + 1
                total = expected[row] + ((codebook[v] * value + (1 << 14)) >> 15)
                expected[row] = min(max(total, low), high)
        await bench.drain()
        assert await bench.accumulators(cfg.acc_depth) == expected
        assert await bench.read(IoSpace.COUNTER, PeCounter.ENTRIES) == sum(map(len, columns))
