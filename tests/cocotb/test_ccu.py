"""CCU: modes, broadcast, the host's I/O port, the cycle count."""

from collections import deque

import cocotb
from common import CROSSED, SMALL

from eie.schema import ConfigReg, IoSpace, Mode
from eie.sim.block_bench import BlockBench

CONFIGS = {f"bus{registers}": SMALL.replace(bus_registers=registers) for registers in (0, 2)}


async def configured(dut, **registers):
    """A bench with the layer's configuration written, and every PE giving credit."""
    bench = await BlockBench.start(dut)
    for name, value in registers.items():
        await bench.cycle(io_write=1, io_space=IoSpace.CONFIG, io_addr=ConfigReg[name.upper()], io_data=value)
    bench.idle["credits"] = (1 << bench.cfg.n_pe) - 1
    return bench


async def finish(bench):
    """Let the layer end: nothing more to offer, nobody busy, then write-back until the CCU is idle."""
    now = await bench.cycle(root_exhausted=1)
    while now.busy:
        now = await bench.cycle(root_exhausted=1)
    return now


@cocotb.test()
async def a_layer(dut):
    """I/O mode, one cycle of `clear`, compute until nobody is busy, one cycle a row of write-back, done."""
    bench = await configured(dut, wb_rows=2)
    io, compute, writeback = (int(mode) for mode in Mode)
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
    """A write reaches the addressed PE, the codebook all PEs, the configuration none; reads come back a cycle later."""
    bench = await BlockBench.start(dut)
    cfg = bench.cfg
    for pe in range(cfg.n_pe):
        now = await bench.cycle(io_write=1, io_space=IoSpace.ACC, io_pe=pe)
        assert (now.pe_write, now.pe_read) == (1 << pe, 0)
        now = await bench.cycle(io_write=1, io_space=IoSpace.CODEBOOK, io_pe=pe)
        assert now.pe_write == (1 << cfg.n_pe) - 1
        now = await bench.cycle(io_write=1, io_space=IoSpace.CONFIG, io_pe=pe)
        assert now.pe_write == 0
        words = sum((1000 + k) << (k * cfg.io_data_bits) for k in range(cfg.n_pe))
        now = await bench.cycle(io_read=1, io_pe=pe, pe_rdata=words)
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
async def random_layers(dut):
    """Offers and credits with every probability: broadcasts, pushes, stalls and cycles as counted here."""
    bench = await configured(dut)
    rng, cfg = bench.rng, bench.cfg
    everyone = (1 << cfg.n_pe) - 1
    for offering, crediting in CROSSED:
        rows = int(rng.integers(cfg.acc_depth + 1))
        await bench.cycle(io_write=1, io_space=IoSpace.CONFIG, io_addr=ConfigReg.WB_ROWS, io_data=rows)
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
            bus.append((row * cfg.n_pe + pe, cycle) if now.bcast else None)
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
