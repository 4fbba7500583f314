"""SpmatRead: the walk over a column's entries, one a cycle, 8 of them in a word of the matrix SRAM."""

import cocotb
from common import CROSSED, SMALL

from eie.config import ArchConfig
from eie.sim.cosim.benches.block import BlockBench

# `odd_words`: 9-bit entries, 7 to a 64-bit word, so that a pointer is not simply the entry's number.
CONFIGS = {"small": SMALL, "odd_words": SMALL.replace(index_bits=5)}


async def bench_with(dut, entries):
    """A bench whose matrix SRAM holds the entries (v, z), packed as docs/formats.md says."""
    bench = await BlockBench.start(dut)
    fill(bench.sram("spmat", bench.cfg.spmat_words), entries, bench.cfg)
    return bench


def fill(words, entries, cfg: ArchConfig):
    words[:] = [0] * len(words)
    for e, (v, z) in enumerate(entries):
        word, place = divmod(e, cfg.entries_per_word)
        words[word] |= (v | z << cfg.weight_bits) << (cfg.entry_bits * place)


def numbered(count):
    """Entries that can be told apart: v and z count up."""
    return [(i % 16, (i + 1) % 16) for i in range(count)]


@cocotb.test()
async def one_column(dut):
    """Three entries: the first address goes out with `start`, each entry follows its address by one cycle."""
    bench = await bench_with(dut, [(1, 0), (2, 1), (3, 0), (4, 4)])
    await bench.table("""
        ptr_valid p_start p_end ptr_value | start issue read spmat_en active tok_valid tok_first v z tok_value
        1         0       3     -5        | 1     1     1    1        0      0         ?         ? ? ?
        0         .       .     .         | 0     1     0    0        1      1         1         1 0 -5
        0         .       .     .         | 0     1     0    0        1      1         0         2 1 -5
        0         .       .     .         | 0     0     0    0        0      1         0         3 0 -5
        0         .       .     .         | 0     0     0    0        0      0         ?         ? ? ?
    """)
    assert [bench.register(name) for name in ("entries", "empty_columns", "spmat_reads")] == [3, 0, 1]


@cocotb.test()
async def empty_column(dut):
    """A column with no entry here takes one cycle, reads nothing, and is a token that writes nothing."""
    bench = await bench_with(dut, numbered(8))
    await bench.table("""
        ptr_valid p_start p_end ptr_value | start issue read tok_valid tok_empty tok_first tok_value empty_columns
        1         2       2     9         | 1     0     0    0         0         ?         ?         0
        1         2       4     8         | 1     1     1    1         1         1         9         1
        0         .       .     .         | 0     1     0    1         0         1         8         1
        0         .       .     .         | 0     0     0    1         0         0         8         1
    """)


@cocotb.test()
async def back_to_back(dut):
    """A waiting column starts in the cycle after the last address of the one before it: a token in every cycle."""
    bench = await bench_with(dut, numbered(6))
    await bench.table("""
        ptr_valid p_start p_end ptr_value | start issue tok_valid tok_first v z tok_value
        1         0       2     1         | 1     1     0         ?         ? ? ?
        1         2       3     2         | 0     1     1         1         0 1 1
        1         2       3     2         | 1     1     1         0         1 2 1
        1         3       5     3         | 1     1     1         1         2 3 2
        0         .       .     .         | 0     1     1         1         3 4 3
        0         .       .     .         | 0     0     1         0         4 5 3
        0         .       .     .         | 0     0     0         ?         ? ? ?
    """)


@cocotb.test()
async def held_word(dut):
    """A word is read once, however many of its entries follow each other, also from one column to the next."""
    bench = await bench_with(dut, numbered(20))
    per_word, cfg = bench.cfg.entries_per_word, bench.cfg
    last = cfg.pack_pointer(per_word - 1)
    second, third = cfg.pack_pointer(per_word), cfg.pack_pointer(per_word + 1)
    await bench.table(f"""
        ptr_valid p_start  p_end    begin_pass | issue read spmat_addr spmat_reads
        1         {last}   {second} 0          | 1     1    0          0     # the last entry of word 0
        1         {second} {third}  0          | 1     1    1          1     # the first of word 1
        1         {second} {third}  0          | 1     0    ?          2     # again, from the held word
        0         .        .        1          | 0     0    ?          2     # a new pass: nothing is held,
        1         {second} {third}  0          | 1     1    1          2     # although the word is on the SRAM's output
        0         .        .        0          | 0     0    ?          3
    """)


@cocotb.test()
async def matrix_base(dut):
    """Word 0 of a pass is word spmat_base of the SRAM; a word that is held is known by its number in the pass."""
    bench = await bench_with(dut, numbered(20))
    second = bench.cfg.pack_pointer(bench.cfg.entries_per_word)
    await bench.cycle(begin_pass=1)
    await bench.table(f"""
        ptr_valid p_start  p_end        spmat_base begin_pass | issue read spmat_addr
        1         0        1            1          0          | 1     1    1
        1         0        1            1          0          | 1     0    ?
        0         .        .            1          1          | 0     0    ?
        1         {second} {second + 1} 0          0          | 1     1    1    # the same word, another pass
        1         {second} {second + 1} 7          0          | 1     0    ?    # held: the base is not looked at
        0         .        .            .          1          | 0     0    ?
        1         {second} {second + 1} 7          0          | 1     1    {8 % (1 << bench.cfg.word_addr_bits)}
    """)
    now = await bench.cycle()
    # Of 8 words the address is cut to 0; of 10 it names one that holds nothing.
    assert (now.v, now.z) == ((0, 1) if bench.cfg.spmat_words == 8 else (0, 0))


@cocotb.test()
async def across_words(dut):
    """A column over three words reads three times and does not pause."""
    bench = await bench_with(dut, numbered(20))
    cfg = bench.cfg
    await bench.cycle(ptr_valid=1, p_start=cfg.pack_pointer(1), p_end=cfg.pack_pointer(19), ptr_value=1)
    for entry in range(1, 19):
        now = await bench.cycle()
        assert (now.tok_valid, now.v, now.z) == (1, entry % 16, (entry + 1) % 16)
    now = await bench.cycle()
    assert (now.tok_valid, now.entries, now.spmat_reads) == (0, 18, 3)


@cocotb.test()
async def io_port(dut):
    """The host writes and reads whole words."""
    bench = await bench_with(dut, [])
    words = {0: 0x0123456789ABCDEF, 3: (1 << 64) - 1}
    for address, data in words.items():
        now = await bench.cycle(io_write=1, io_addr=address, io_data=data)
        assert (now.spmat_en, now.spmat_we, now.spmat_addr) == (1, 1, address)
    for address, data in words.items():
        now = await bench.cycle(io_read=1, io_addr=address)
        assert (now.spmat_en, now.spmat_we) == (1, 0)
        await bench.cycle()
        assert bench.idle["spmat_rdata"] == data


@cocotb.test()
async def random_columns(dut):
    """Random columns, many of them empty, offered with every probability: each entry comes once and in order."""
    bench = await BlockBench.start(dut)
    rng, cfg = bench.rng, bench.cfg
    words = bench.sram("spmat", cfg.spmat_words)
    for offers, filled in CROSSED:
        entries = [(int(rng.integers(16)), int(rng.integers(16))) for _ in range(cfg.reachable_entries)]
        fill(words, entries, cfg)
        await bench.cycle(clear=1, begin_pass=1)
        columns, start = [], 0
        while start < len(entries):
            length = int(rng.integers(1, 12)) if rng.random() < filled else 0
            end = min(start + length, len(entries))
            columns.append((start, end, int(rng.integers(-(1 << 15), 1 << 15))))
            start = end
        expected, found = [], []
        for start, end, value in columns:
            expected += [(*entries[e], value, e == start) for e in range(start, end)] or [("empty", value)]
        offered = False
        while columns or bench.register("active") or bench.register("tok_valid"):
            # Once offered, a column waits until it starts.
            offered = bool(columns) and (offered or rng.random() < offers)
            start, end, value = columns[0] if offered else (0, 0, 0)
            now = await bench.cycle(
                ptr_valid=offered,
                p_start=cfg.pack_pointer(start),
                p_end=cfg.pack_pointer(end),
                ptr_value=value,
            )
            if now.start:
                columns.pop(0)
                offered = False
            if now.tok_valid:
                entry = (now.v, now.z, now.tok_value, bool(now.tok_first))
                found.append(("empty", now.tok_value) if now.tok_empty else entry)
        assert found == expected
        assert bench.register("entries") == len(entries)
