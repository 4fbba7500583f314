"""ArithmUnit: codebook lookup, multiply, shift and add, write; four stages, with bypass between neighbours."""

import cocotb
from common import CROSSED, SMALL

from eie.sim.cosim.benches.block import BlockBench

CONFIGS = {"acc16": SMALL, "acc32": SMALL.replace(acc_bits=32, codebooks=3)}


class Bench(BlockBench):
    """Plays the accumulator file of ActRW: read in stage 2, written at the end of stage 4."""

    async def load(self, codebook, product_shift=0):
        """Write the codebook through the I/O port; the accumulators are 0."""
        self.acc = [0] * self.cfg.acc_depth
        self.idle["product_shift"] = product_shift
        for i, code in enumerate(codebook):
            await self.cycle(io_write=1, io_addr=i, io_data=code)

    async def cycle(self, **inputs):
        now = await super().cycle(**inputs)
        if now.s4_write:
            self.acc[now.s4_row] = now.s4_sum
        # For the coming cycle: the file is read without delay.
        if hasattr(self, "acc"):
            self.idle["acc_rdata"] = self.acc[self.register("s2_row")]
        return now

    async def entry(self, v, z, value, first=1):
        """One entry of a column; first=0 continues the column of the entry before it."""
        return await self.cycle(tok_valid=1, tok_first=first, tok_value=value, v=v, z=z)

    async def drain(self):
        """Idle until the last token has left stage 4."""
        for _ in range(4):
            now = await self.cycle()
        return now


@cocotb.test()
async def four_stages(dut):
    """A token is in stage 2 one cycle after stage 1, and stage 4 writes three cycles after it."""
    bench = await Bench.start(dut)
    await bench.load([0, 10])
    await bench.table("""
        tok_valid tok_first tok_value v z | s2_valid s2_row s2_code s3_valid s3_product s4_valid s4_write s4_row s4_sum
        1         1         -3        1 5 | 0        ?      ?       0        ?          0        0        ?      ?
        0         .         .         . . | 1        5      10      0        ?          0        0        ?      ?
        0         .         .         . . | 0        ?      ?       1        -30        0        0        ?      ?
        0         .         .         . . | 0        ?      ?       0        ?          1        1        5      -30
        0         .         .         . . | 0        ?      ?       0        ?          0        0        ?      ?
    """)
    assert bench.acc[5] == -30


@cocotb.test()
async def relative_rows(dut):
    """A column's first row is z; each further entry lies z + 1 rows on."""
    bench = await Bench.start(dut)
    await bench.load([0, 1])
    await bench.entry(1, 2, 7)
    await bench.entry(1, 0, 7, first=0)
    await bench.entry(1, 3, 7, first=0)
    await bench.drain()
    assert [row for row, acc in enumerate(bench.acc) if acc] == [2, 3, 7]


@cocotb.test()
async def filler(dut):
    """A filler (v = 0, z = 15) moves 16 rows on and adds nothing; it is counted."""
    bench = await Bench.start(dut)
    await bench.load([0, 4])
    await bench.entry(0, 15, 100)
    await bench.entry(1, 2, 100, first=0)
    now = await bench.drain()
    assert bench.acc[15] == 0
    assert bench.acc[18] == 400
    assert (now.fillers, now.saturations) == (1, 0)


@cocotb.test()
async def codebooks(dut):
    """Each pass has its codebook: code v of book b is word b * n_codes + v; beyond the last book there is 0."""
    bench = await Bench.start(dut)
    books, n_codes = bench.cfg.codebooks, bench.cfg.n_codes
    await bench.load([100 * (i // n_codes) + i for i in range(books * n_codes)])
    for book in range(1 << bench.cfg.codebook_bits):
        now = await bench.cycle(tok_valid=1, codebook=book, v=5)
        # One book alone: its number is not looked at.
        expected = 100 * book + n_codes * book + 5 if book < books else 5 * (books == 1)
        assert now.code_rdata == expected
        assert (await bench.cycle(io_addr=book * n_codes + 7)).io_code == expected + 2 * (expected > 0)


@cocotb.test()
async def empty_token(dut):
    """An empty column's token travels through the stages and changes nothing but `valid`."""
    bench = await Bench.start(dut)
    await bench.load([0, 4])
    await bench.table("""
        tok_valid tok_empty tok_first tok_value v z | s2_valid s2_write s3_valid s3_write s4_valid s4_write fillers
        1         1         1         100       0 3 | 0        0        0        0        0        0        0
        0         .         .         .         . . | 1        0        0        0        0        0        0
        0         .         .         .         . . | 0        0        1        0        0        0        0
        0         .         .         .         . . | 0        0        0        0        1        0        0
    """)
    assert not any(bench.acc)


@cocotb.test()
async def bypass_from_one_ahead(dut):
    """Two entries on one row in consecutive cycles: the second takes the sum of the first from stage 4."""
    bench = await Bench.start(dut)
    await bench.load([0, 10])
    await bench.table("""
        tok_valid tok_first tok_value v z | forward1 forward2 s4_write s4_sum bypasses
        1         1         1         1 2 | 0        0        0        ?      0
        1         1         2         1 2 | 0        0        0        ?      0
        0         .         .         . . | 0        0        0        ?      0
        0         .         .         . . | 1        0        1        10     0
        0         .         .         . . | 0        0        1        30     1
    """)
    assert bench.acc[2] == 30


@cocotb.test()
async def bypass_from_two_ahead(dut):
    """With one cycle between them the second is in stage 2 when the first is in stage 4."""
    bench = await Bench.start(dut)
    await bench.load([0, 10])
    await bench.table("""
        tok_valid tok_first tok_value v z | forward1 forward2 s4_write s4_row s4_sum bypasses
        1         1         1         1 2 | 0        0        0        ?      ?      0
        1         1         2         1 9 | 0        0        0        ?      ?      0
        1         1         4         1 2 | 0        0        0        ?      ?      0
        0         .         .         . . | 0        1        1        2      10     0
        0         .         .         . . | 0        0        1        9      20     0
        0         .         .         . . | 0        0        1        2      50     1
    """)
    assert (bench.acc[2], bench.acc[9]) == (50, 20)


@cocotb.test()
async def the_newest_value_wins(dut):
    """Three entries on one row in a row: both bypasses are there for the third, and the one from stage 3 on counts."""
    bench = await Bench.start(dut)
    await bench.load([0, 10])
    for value in (1, 2, 4, 8):
        await bench.entry(1, 2, value)
    now = await bench.drain()
    assert bench.acc[2] == 150
    # Once per entry, although the third and the fourth had two bypasses.
    assert now.bypasses == 3


@cocotb.test()
async def no_bypass_from_three_ahead(dut):
    """Three cycles ahead the accumulator has been written: it is read from the file."""
    bench = await Bench.start(dut)
    await bench.load([0, 10])
    await bench.entry(1, 2, 1)
    await bench.cycle()
    await bench.cycle()
    await bench.entry(1, 2, 2)
    now = await bench.drain()
    assert (bench.acc[2], now.bypasses) == (30, 0)


@cocotb.test()
async def saturation(dut):
    """A sum stops at the accumulator's largest and smallest number, and comes back from there."""
    bench = await Bench.start(dut)
    largest = (1 << (bench.cfg.acc_bits - 1)) - 1
    await bench.load([0, 32767, 1])
    bench.acc[0], bench.acc[1] = largest - 5, -largest + 5
    await bench.entry(1, 0, 32767)  # row 0: far above
    await bench.entry(1, 1, -32768)  # row 1: far below
    await bench.drain()
    assert (bench.acc[0], bench.acc[1]) == (largest, -largest - 1)
    await bench.entry(2, 0, -1)
    await bench.entry(2, 1, 1)
    now = await bench.drain()
    assert (bench.acc[0], bench.acc[1]) == (largest - 1, -largest)
    assert now.saturations == 2


@cocotb.test()
async def rounding(dut):
    """The product is shifted and rounded half up before it is added: 5/2 = 2.5 gives 3, -2.5 gives -2."""
    bench = await Bench.start(dut)
    await bench.load([0, 1], product_shift=1)
    for row, value in enumerate((5, -5, 3, -3, 1, -1)):
        await bench.entry(1, row, value)
    await bench.drain()
    assert bench.acc[:6] == [3, -2, 2, -1, 1, 0]


@cocotb.test()
async def random_columns(dut):
    """Random columns with gaps: accumulators as plain integers give them, entry by entry in order."""
    bench = await Bench.start(dut)
    rng, cfg = bench.rng, bench.cfg
    low, high = -(1 << (cfg.acc_bits - 1)), (1 << (cfg.acc_bits - 1)) - 1
    for busy, crowded in CROSSED:
        codebook = [0, *rng.integers(-(1 << 15), 1 << 15, 15).tolist()]
        shift = int(rng.integers(8, 20))
        await bench.load(codebook, product_shift=shift)
        expected = [0] * cfg.acc_depth
        await bench.cycle(clear=1)
        entries = saturated = 0
        for _ in range(40):
            value, row, first = int(rng.integers(-(1 << 15), 1 << 15)), -1, 1
            if rng.random() > crowded:
                await bench.cycle(tok_valid=1, tok_empty=1, tok_first=1, tok_value=value)
                continue
            for _ in range(rng.integers(1, 4)):
                # Few rows, so that neighbours meet on one.
                v, z = int(rng.integers(1, 16)), int(rng.integers(3))
                row += z + 1
                while rng.random() > busy:
                    await bench.cycle()
                await bench.entry(v, z, value, first)
                product = codebook[v] * value
                total = expected[row] + ((product + (1 << (shift - 1))) >> shift)
                expected[row] = min(max(total, low), high)
                saturated += expected[row] != total
                entries, first = entries + 1, 0
        now = await bench.drain()
        assert bench.acc == expected
        assert (now.fillers, now.saturations) == (0, saturated)
        assert now.bypasses <= entries
