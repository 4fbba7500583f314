"""CCU: modes, passes, broadcast, the host's I/O port, the pass table, the cycle counts."""

from collections import deque

import cocotb
from common import CROSSED, SMALL

from eie.config import CONFIG_BITS
from eie.schema import ConfigReg, ControlReg, IoSpace, Mode, config_fields, config_registers
from eie.sim.cosim.benches.block import BlockBench

# `bus2`: a table of five entries, and more accumulators than source activations.
CONFIGS = {"bus0": SMALL, "bus2": SMALL.replace(bus_registers=2, passes=5, src_depth=20, act_words=50)}


async def write_pass(bench, number, **registers):
    """Write an entry of the pass table: the named registers, 0 into the others (the table has no reset)."""
    for register in config_registers(bench.cfg):
        data = registers.get(register.name.lower(), 0)
        addr = number << CONFIG_BITS | register
        await bench.cycle(io_write=1, io_space=IoSpace.CONFIG, io_addr=addr, io_data=data)


async def write_control(bench, first, last):
    """Which passes a start runs."""
    for register, number in ((ControlReg.FIRST_PASS, first), (ControlReg.LAST_PASS, last)):
        await bench.cycle(io_write=1, io_space=IoSpace.CONTROL, io_addr=register, io_data=number)


async def configured(dut, **registers):
    """A bench with pass 0 written, and every PE giving credit."""
    bench = await BlockBench.start(dut)
    await write_pass(bench, 0, **registers)
    bench.idle["credits"] = (1 << bench.cfg.n_pe) - 1
    return bench


async def finish(bench):
    """Let the run end: nothing more to offer, nobody busy, then write-back until the CCU is idle."""
    now = await bench.cycle(root_exhausted=1)
    while now.busy:
        now = await bench.cycle(root_exhausted=1)
    return now


@cocotb.test()
async def a_layer(dut):
    """I/O mode, one cycle of `clear`, compute until nobody is busy, one cycle a row of write-back, done."""
    bench = await configured(dut, wb_rows=2)
    io, compute, writeback = int(Mode.IO), int(Mode.COMPUTE), int(Mode.WRITEBACK)
    await bench.table(f"""
        start root_exhausted busy_pes | mode        clear compute wb_en wb_row busy done
        1     0              0        | {io}        1     0       0     0      0    0
        0     0              0        | {compute}   0     1       0     0      1    0
        0     1              1        | {compute}   0     1       0     0      1    0   # a PE still works
        0     1              0        | {compute}   0     1       0     0      1    0
        0     1              0        | {writeback} 0     0       1     0      1    0
        0     1              0        | {writeback} 0     0       1     1      1    0
        0     1              0        | {writeback} 0     0       0     2      1    0   # the last row is written
        0     1              0        | {io}        0     0       0     2      0    1
        1     1              0        | {io}        1     0       0     ?      0    1   # done falls with the next layer
        0     1              0        | {compute}   0     1       0     0      1    0
    """)


@cocotb.test()
async def broadcast(dut):
    """Column row * N + PE goes to all PEs when the root offers and every PE has credit; else it is a stall."""
    bench = await configured(dut)
    n, everyone = bench.cfg.n_pe, (1 << bench.cfg.n_pe) - 1
    await bench.table(f"""
        start root_valid root_row root_pe root_value credits      | bcast broadcast_stalls
        1     1          3        {n - 1} -77        {everyone}   | 0     0   # not yet compute mode
        0     1          3        {n - 1} -77        {everyone >> 1} | 0  0   # the last PE's queue is full
        0     1          3        {n - 1} -77        {everyone}   | 1     1
        0     0          .        .       .          {everyone}   | 0     1
    """)
    for _ in range(bench.cfg.bus_registers):
        await bench.cycle()
    # The bus may have registers: the push follows the broadcast by as many cycles.
    for delay in range(bench.cfg.bus_registers + 2):
        now = await bench.cycle(
            root_valid=delay == 0, root_row=3 * (delay == 0), root_value=-7 * (delay == 0)
        )
        assert now.push == (delay == bench.cfg.bus_registers)
        if now.push:
            assert (now.push_col, now.push_value) == (3 * n, -7)


@cocotb.test()
async def cycle_count(dut):
    """`cycles` is one more than the number of the compute cycle in which a token was last in stage 4."""
    bench = await configured(dut)
    await bench.cycle(start=1)
    for number in range(6):
        now = await bench.cycle(retires=number in (2, 4), busy_pes=1)
        assert now.cycle == number
    assert now.cycles == 5
    now = await finish(bench)
    assert now.cycles == 5


@cocotb.test()
async def ignored_while_busy(dut):
    """In compute and write-back mode the port writes and reads nothing, and `start` is not heard."""
    bench = await configured(dut, output_shift=9, wb_rows=1)
    await bench.cycle(start=1)
    config = {"io_write": 1, "io_space": IoSpace.CONFIG, "io_addr": ConfigReg.OUTPUT_SHIFT, "io_data": 3}
    for exhausted in (0, 1, 1, 1):  # compute, its last cycle, write-back of one row, the cycle after it
        now = await bench.cycle(**config, start=1, root_exhausted=exhausted)
        assert (now.busy, now.output_shift, now.clear) == (1, 9, 0)
        assert (now.pe_write, now.pe_read) == (0, 0)
        if not exhausted:
            now = await bench.cycle(io_write=1, io_read=1, io_space=IoSpace.ACC)
            assert (now.pe_write, now.pe_read) == (0, 0)
    now = await bench.cycle(**config)
    assert (now.busy, now.output_shift) == (0, 9)
    now = await bench.cycle()
    assert now.output_shift == 3


@cocotb.test()
async def io_port(dut):
    """A write reaches the addressed PE, the codebook all PEs; reads come back a cycle later."""
    bench = await BlockBench.start(dut)
    cfg = bench.cfg
    for pe in range(cfg.n_pe):
        now = await bench.cycle(io_write=1, io_space=IoSpace.ACC, io_pe=pe)
        assert (now.pe_write, now.pe_read) == (1 << pe, 0)
        now = await bench.cycle(io_write=1, io_space=IoSpace.CODEBOOK, io_pe=pe)
        assert now.pe_write == (1 << cfg.n_pe) - 1
        for space in (IoSpace.CONFIG, IoSpace.CONTROL):
            now = await bench.cycle(io_write=1, io_space=space, io_pe=pe, io_addr=2)
            assert now.pe_write == 1 << pe
        words = sum((1000 + k) << (k * cfg.io_data_bits) for k in range(cfg.n_pe))
        now = await bench.cycle(io_read=1, io_space=IoSpace.ACC, io_pe=pe, pe_rdata=words)
        assert (now.pe_write, now.pe_read) == (0, 1 << pe)
        now = await bench.cycle()
        assert now.io_rdata == 1000 + pe


@cocotb.test()
async def configuration(dut):
    """Each register takes its low bits and keeps them through a layer."""
    bench = await configured(dut, product_shift=31, output_shift=1 + 32, relu=1, wb_rows=5)
    now = await bench.cycle(start=1)
    assert (now.product_shift, now.output_shift, now.relu, now.wb_rows) == (31, 1, 1, 5)
    now = await finish(bench)
    assert (now.product_shift, now.output_shift, now.relu, now.wb_rows) == (31, 1, 1, 5)


@cocotb.test()
async def refill(dut):
    """A word a cycle for the accumulators, then one for the source file, and a cycle after each to write the last."""
    bench = await configured(dut, acc_rows=2, acc_base=7, src_rows=1, src_base=40)
    refilling, compute = int(Mode.REFILL), int(Mode.COMPUTE)
    await bench.table(f"""
        start | mode        clear begin_pass rf_en rf_src rf_row rf_addr compute refill_cycles
        1     | 0           1     0          0     ?      ?      ?       0       ?
        0     | {refilling} 0     0          1     0      0      7       0       0
        0     | {refilling} 0     0          1     0      1      8       0       1
        0     | {refilling} 0     0          0     0      2      ?       0       2   # accumulator 1 is written
        0     | {refilling} 0     0          1     1      0      40      0       3
        0     | {refilling} 0     1          0     1      1      ?       0       4   # source activation 0 is written
        0     | {compute}   0     0          0     ?      ?      ?       1       5
    """)


@cocotb.test()
async def pass_after_pass(dut):
    """The next pass begins with refill mode where write-back ends, even with nothing to refill or to write back."""
    bench = await configured(dut, wb_rows=1, wb_base=9, output_shift=3)
    await write_pass(bench, 1, output_shift=4)
    await write_control(bench, 0, 1)
    bench.idle["root_exhausted"] = 1
    refilling, compute, writeback = int(Mode.REFILL), int(Mode.COMPUTE), int(Mode.WRITEBACK)
    await bench.table(f"""
        start | mode        current_pass output_shift begin_pass wb_en wb_row wb_addr rf_src done
        1     | 0           0            3            1          0     ?      ?       ?      0
        0     | {compute}   0            3            0          0     0      ?       0      0
        0     | {writeback} 0            3            0          1     0      ?       0      0
        0     | {writeback} 0            3            0          0     1      9       0      0   # row 0 is written
        0     | {refilling} 1            4            0          0     1      9       0      0
        0     | {refilling} 1            4            1          0     1      9       1      0
        0     | {compute}   1            4            0          0     0      9       1      0
        0     | {writeback} 1            4            0          0     0      9       1      0
        0     | 0           0            3            0          0     0      9       0      1   # the first again
    """)


@cocotb.test()
async def counts_of_a_run(dut):
    """Compute cycles go on from pass to pass, without those after a pass's last token; `clear` begins at 0."""
    bench = await configured(dut, wb_rows=3)
    await write_pass(bench, 1)
    await write_control(bench, 0, 1)
    for _ in range(2):
        await bench.cycle(start=1)
        for retires in (0, 1, 0, 0):
            now = await bench.cycle(retires=retires, busy_pes=1)
        assert (now.cycle, now.cycles) == (3, 2)
        while bench.register("current_pass") == 0 or bench.register("mode") != Mode.COMPUTE:
            await bench.cycle(root_exhausted=1)
        now = await bench.cycle(retires=1, busy_pes=1, root_valid=1, credits=0)
        assert (now.cycle, now.refill_cycles, now.writeback_cycles) == (2, 2, 4)
        now = await finish(bench)
        assert (now.cycles, now.broadcast_stalls) == (3, 1)
        assert (now.refill_cycles, now.writeback_cycles) == (2, 5)


@cocotb.test()
async def pass_table(dut):
    """Each register of each entry keeps its low bits and is read back by the host; beyond the table there is 0."""
    bench = await BlockBench.start(dut)
    rng, cfg = bench.rng, bench.cfg
    written = {}
    for number in range(cfg.passes):
        for register, field in zip(config_registers(cfg), config_fields(cfg), strict=True):
            data = int(rng.integers(1 << 31))
            addr = number << CONFIG_BITS | register
            await bench.cycle(io_write=1, io_space=IoSpace.CONFIG, io_addr=addr, io_data=data)
            written[addr] = data & ((1 << field.width) - 1)
    for addr in rng.permutation((1 << cfg.pass_bits) << CONFIG_BITS).tolist():
        await bench.cycle(io_write=1, io_space=IoSpace.CONFIG, io_addr=addr | 15, io_data=-1)  # no register
        await bench.cycle(io_read=1, io_space=IoSpace.CONFIG, io_addr=addr)
        now = await bench.cycle()
        assert now.io_rdata == written.get(addr, 0)
        # A write beside a read of the entry is seen by the next one only.
        now = await bench.cycle(io_read=1, io_write=1, io_space=IoSpace.CONFIG, io_addr=0, io_data=addr)
        assert now.product_shift == written[0]
        written[0] = addr & 31


@cocotb.test()
async def control(dut):
    """The passes of a run are read back, and cannot be written while it is under way."""
    bench = await configured(dut)
    await write_control(bench, 3, 4)
    for busy in (0, 1):
        if busy:
            await bench.cycle(start=1)
            await write_control(bench, 1, 2)
        for addr, number in ((0, 3), (1, 4), (2, 0), (128, 0)):
            now = await bench.cycle(io_read=1, io_space=IoSpace.CONTROL, io_addr=addr)
            assert (now.busy, now.current_pass) == (busy, 3)
            now = await bench.cycle()
            assert now.io_rdata == number


@cocotb.test()
async def column_base(dut):
    """A pass's column 0 is column ptr_base of the pointer memory; the sum is cut to a column number's width."""
    bench = await configured(dut, ptr_base=6)
    n = bench.cfg.n_pe
    bench.idle |= {"root_valid": 1, "root_row": 2, "root_value": 5}
    await bench.cycle(start=1)
    for _ in range(bench.cfg.bus_registers + 1):
        now = await bench.cycle()
    assert (now.push, now.push_col) == (1, 2 * n + 6)


@cocotb.test()
async def random_runs(dut):
    """Random tables: every refill and write-back of every pass, row by row, at the right words."""
    bench = await configured(dut)
    rng, cfg = bench.rng, bench.cfg
    for _ in range(8):
        first, length = int(rng.integers(cfg.passes)), int(rng.integers(1, 4))
        last = min(first + length - 1, cfg.passes - 1)
        expected = []
        for number in range(first, last + 1):
            entry = {
                field.name: int(rng.integers(1 << field.width)) * int(rng.random() < 0.7)
                for field in config_fields(cfg)
            }
            await write_pass(bench, number, **entry)
            for src, name in enumerate(("acc", "src")):
                base = entry[f"{name}_base"]
                rows = range(entry[f"{name}_rows"])
                expected += [("refill", src, r, (base + r) % (1 << cfg.act_sram_addr_bits)) for r in rows]
            expected += [("compute", number)]
            words = ((entry["wb_base"] + r) % (1 << cfg.act_sram_addr_bits) for r in range(entry["wb_rows"]))
            expected += [("write", r, word) for r, word in enumerate(words)]
        await write_control(bench, first, last)
        found = []
        now = await bench.cycle(start=1)
        before = None
        while not now.done or now.busy or before is None:
            before = now
            now = await bench.cycle(root_exhausted=rng.random() < 0.5)
            if now.rf_en:
                found.append(("refill", now.rf_src, now.rf_row, now.rf_addr))
            if now.compute and not before.compute:
                found.append(("compute", now.current_pass))
            if before.wb_en:
                found.append(("write", before.wb_row, now.wb_addr))
        assert found == expected
        assert now.current_pass == first


@cocotb.test()
async def random_layers(dut):
    """Offers and credits with every probability: broadcasts, pushes, stalls and cycles as counted here."""
    bench = await configured(dut)
    rng, cfg = bench.rng, bench.cfg
    everyone = (1 << cfg.n_pe) - 1
    for offering, crediting in CROSSED:
        rows = int(rng.integers(cfg.acc_depth + 1))
        base = int(rng.integers(1 << cfg.ptr_addr_bits))
        await write_pass(bench, 0, wb_rows=rows, ptr_base=base)
        await bench.cycle(start=1)
        columns = deque((int(rng.integers(cfg.src_depth)), int(rng.integers(cfg.n_pe))) for _ in range(20))
        bus = deque([None] * cfg.bus_registers)
        cycle = stalls = last_retire = 0
        valid = False
        while columns:
            valid = valid or rng.random() < offering  # an offer stays until it is taken
            row, pe = columns[0] if valid else (0, 0)
            credits = everyone
            if rng.random() > crediting:
                credits ^= 1 << int(rng.integers(cfg.n_pe))  # one PE has none
            retires = int(rng.random() < 0.5) << int(rng.integers(cfg.n_pe))
            now = await bench.cycle(
                root_valid=valid,
                root_row=row,
                root_pe=pe,
                root_value=cycle,
                credits=credits,
                retires=retires,
                busy_pes=1,
            )
            assert now.bcast == (valid and credits == everyone)
            bus.append(((row * cfg.n_pe + pe + base) % (1 << cfg.col_bits), cycle) if now.bcast else None)
            pushed = bus.popleft()
            assert now.push == (pushed is not None)
            if pushed:
                assert (now.push_col, now.push_value) == pushed
            stalls += valid and not now.bcast
            last_retire = cycle + 1 if retires else last_retire
            if now.bcast:
                columns.popleft()
                valid = False
            cycle += 1
        while any(bus):
            assert (await bench.cycle(busy_pes=1)).push == (bus.popleft() is not None)
        now = await finish(bench)
        assert (now.done, now.wb_row) == (1, rows)
        assert (now.cycles, now.broadcast_stalls) == (last_retire, stalls)
