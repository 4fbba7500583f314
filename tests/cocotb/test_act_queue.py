"""ActQueue: the FIFO of broadcast columns, and the credit that keeps it from overflowing."""

from collections import deque

import cocotb
from common import CROSSED, SMALL

from eie.sim.cosim.benches.block import BlockBench

CONFIGS = {f"depth{depth}": SMALL.replace(queue_depth=depth) for depth in (3, 1, 8)}


@cocotb.test()
async def one_column(dut):
    """A column is at the head one cycle after its push, and its credit is back one cycle after its start."""
    bench = await BlockBench.start(dut)
    left = int(bench.cfg.queue_depth > 1)  # is there a credit left while the column is under way?
    await bench.table(f"""
        bcast push push_col push_value pop start | head_valid head_col head_value credit  count occupancy
        1     1    5        -7         0   0     | 0          ?        ?          1       0     0
        0     0    .        .          1   0     | 1          5        -7         {left}  1     1
        0     0    .        .          0   1     | 0          ?        ?          {left}  0     1
        0     0    .        .          0   0     | 0          ?        ?          1       0     0
    """)


@cocotb.test()
async def full(dut):
    """queue_depth columns fit; then the credit is gone, and popping alone does not bring it back."""
    bench = await BlockBench.start(dut)
    depth = bench.cfg.queue_depth
    for i in range(depth):
        now = await bench.cycle(bcast=1, push=1, push_col=i, push_value=100 + i)
        assert now.credit == 1
    now = await bench.cycle()
    assert (now.count, now.occupancy, now.credit) == (depth, depth, 0)
    assert (now.head_col, now.head_value) == (0, 100)
    await bench.cycle(pop=1)
    # The popped column waits in PtrRead: it has left the FIFO, but it still holds its credit.
    now = await bench.cycle(start=1)
    assert (now.count, now.occupancy, now.credit) == (depth - 1, depth, 0)
    now = await bench.cycle()
    assert (now.occupancy, now.credit) == (depth - 1, 1)


@cocotb.test()
async def wrap(dut):
    """Pointers run round the FIFO: more columns than it has places come out as they went in."""
    bench = await BlockBench.start(dut)
    depth = bench.cfg.queue_depth
    for i in range(2 * depth + 1):
        now = await bench.cycle(bcast=1, push=1, push_col=i, push_value=-i)
        assert (now.wr_ptr, now.rd_ptr) == (i % depth, i % depth)
        now = await bench.cycle(pop=1)
        assert (now.head_valid, now.head_col, now.head_value) == (1, i, -i)
        await bench.cycle(start=1)


@cocotb.test()
async def throughput(dut):
    """Broadcast on every credit, pop and start at once: with one place a column takes three cycles, with three one."""
    bench = await BlockBench.start(dut)
    sent = []
    for cycle in range(12):
        push = bench.register("occupancy") < bench.cfg.queue_depth
        # A column pushed in cycle t is popped in t + 1 and started in t + 2.
        pop, start = cycle - 1 in sent, cycle - 2 in sent
        now = await bench.cycle(bcast=push, push=push, push_col=cycle, pop=pop, start=start)
        assert now.head_valid == pop
        if pop:
            assert now.head_col == cycle - 1
        if push:
            sent.append(cycle)
    assert sent == list(range(0, 12, 3 if bench.cfg.queue_depth == 1 else 1))


@cocotb.test()
async def random_traffic(dut):
    """Broadcasts as credits allow, pops and starts as PtrRead and SpmatRead do; a deque says what must come out."""
    bench = await BlockBench.start(dut)
    rng, depth = bench.rng, bench.cfg.queue_depth
    full = 0
    for bus in (0, 2):  # the push follows its broadcast at once, or after two bus registers
        for broadcasts, starts in CROSSED:
            under_way = deque([None] * bus)  # on the bus
            queue, waiting = deque(), False  # in the FIFO; whether PtrRead holds a column that may start
            occupancy = 0
            for cycle in range(60 + 4 * depth):  # the last cycles only empty it
                column = (int(rng.integers(32)), int(rng.integers(-(1 << 15), 1 << 15)))
                offer = cycle < 60 and occupancy < depth and rng.random() < broadcasts
                under_way.append(column if offer else None)
                arriving = under_way.popleft()
                start = waiting and (cycle >= 60 or rng.random() < starts)
                pop = bool(queue) and (not waiting or start)
                col, value = arriving or (0, 0)
                now = await bench.cycle(
                    bcast=offer,
                    push=arriving is not None,
                    push_col=col,
                    push_value=value,
                    pop=pop,
                    start=start,
                )
                assert now.head_valid == bool(queue)
                assert now.credit == (occupancy < depth)
                if pop:
                    assert (now.head_col, now.head_value) == queue.popleft()
                if arriving:
                    queue.append(arriving)
                waiting = pop or (waiting and not start)
                occupancy += offer - start
                full += occupancy == depth
            assert not queue
            assert not occupancy
    assert full > 0  # otherwise the corner that matters was never there
