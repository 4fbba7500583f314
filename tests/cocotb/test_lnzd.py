"""LNZD: a node of the tree that finds the next non-zero activation: the smallest row, then the lowest PE."""

import cocotb
from common import CROSSED, SMALL

from eie.sim.cosim.benches.block import BlockBench

CONFIGS = {"small": SMALL}


def offers(**children):
    """Inputs for children that offer (row, value), as child0=(2, 10); others are exhausted."""
    inputs = {f"child{c}_exhausted": 1 for c in range(4)}
    for name, (row, value) in children.items():
        inputs |= {f"{name}_exhausted": 0, f"{name}_valid": 1, f"{name}_row": row, f"{name}_value": value}
    return inputs


async def bench_in_compute(dut):
    bench = await BlockBench.start(dut)
    await bench.cycle(begin_pass=1)
    bench.idle |= {"compute": 1} | {f"child{c}_pe": c % bench.cfg.n_pe for c in range(4)}
    return bench


@cocotb.test()
async def nothing_outside_compute(dut):
    """In I/O mode leaves come and go; the node must not take one."""
    bench = await BlockBench.start(dut)
    for _ in range(3):
        now = await bench.cycle(**offers(child0=(1, 5)))
        assert (now.child_pop, now.valid, now.exhausted) == (0, 0, 0)


@cocotb.test()
async def start_up(dut):
    """While a child is neither valid nor exhausted nobody knows which row is the smallest: the node waits."""
    bench = await bench_in_compute(dut)
    undecided = offers(child0=(4, 40)) | {"child2_exhausted": 0}
    for _ in range(2):
        now = await bench.cycle(**undecided)
        assert (now.child_pop, now.valid) == (0, 0)
    now = await bench.cycle(**offers(child0=(4, 40), child2=(3, 30)))
    assert (now.child_pop, now.valid) == (0b0100, 0)
    now = await bench.cycle(**offers(child0=(4, 40)))
    assert (now.valid, now.row, now.value) == (1, 3, 30)


@cocotb.test()
async def ties(dut):
    """Among equal rows the lowest child wins: PE 0 before PE 1, so that columns come in ascending order."""
    bench = await bench_in_compute(dut)
    now = await bench.cycle(**offers(child1=(2, 21), child3=(2, 23), child2=(5, 52)))
    assert now.child_pop == 0b0010
    now = await bench.cycle(pop=1, **offers(child3=(2, 23), child2=(5, 52)))
    assert (now.row, now.value, now.child_pop) == (2, 21, 0b1000)
    now = await bench.cycle(pop=1, **offers(child2=(5, 52)))
    assert (now.row, now.value, now.child_pop) == (2, 23, 0b0100)
    now = await bench.cycle(**offers())
    assert (now.row, now.value, now.child_pop) == (5, 52, 0)


@cocotb.test()
async def holds_until_popped(dut):
    """An entry stays, and no child is taken, until the parent takes it; the next is there in the very next cycle."""
    bench = await bench_in_compute(dut)
    await bench.cycle(**offers(child0=(0, 1)))
    for _ in range(3):
        now = await bench.cycle(**offers(child0=(1, 2)))
        assert (now.valid, now.row, now.child_pop) == (1, 0, 0)
    now = await bench.cycle(pop=1, **offers(child0=(1, 2)))
    assert (now.valid, now.row, now.child_pop) == (1, 0, 1)
    now = await bench.cycle(**offers())
    assert (now.valid, now.row, now.exhausted) == (1, 1, 0)


@cocotb.test()
async def exhausted(dut):
    """When the last entry is taken and no child has one, the node is exhausted until the next pass begins."""
    bench = await bench_in_compute(dut)
    await bench.cycle(**offers(child3=(7, 9)))
    await bench.cycle(pop=1, **offers())
    for _ in range(2):
        now = await bench.cycle(**offers())
        assert (now.valid, now.exhausted) == (0, 1)
    await bench.cycle(begin_pass=1, compute=0)
    now = await bench.cycle(**offers(child0=(0, 3)))
    assert (now.exhausted, now.child_pop) == (0, 1)


@cocotb.test()
async def random_merge(dut):
    """Four ascending streams come out as one, whatever the start-up and however often the parent takes."""
    bench = await bench_in_compute(dut)
    rng, cfg = bench.rng, bench.cfg
    for arrival, pops in CROSSED:
        await bench.cycle(begin_pass=1, compute=0)
        streams = [
            [
                (row, child, int(rng.integers(-(1 << 15), 1 << 15)))
                for row in range(cfg.src_depth)
                if rng.random() < 0.5
            ]
            for child in range(4)
        ]
        expected = sorted(entry for stream in streams for entry in stream)
        ready = [False] * 4  # a child below decides once, at start-up; after that it is valid or exhausted
        found = []
        while not bench.register("exhausted"):
            ready = [r or rng.random() < arrival for r in ready]
            inputs = {}
            for child, stream in enumerate(streams):
                if ready[child] and stream:
                    row, _, value = stream[0]
                    inputs |= {
                        f"child{child}_valid": 1,
                        f"child{child}_row": row,
                        f"child{child}_value": value,
                    }
                inputs[f"child{child}_exhausted"] = ready[child] and not stream
            pop = bench.register("valid") and rng.random() < pops
            now = await bench.cycle(pop=pop, **inputs)
            if pop:
                found.append((now.row, now.pe, now.value))
            for child in range(4):
                if now.child_pop >> child & 1:
                    streams[child].pop(0)
        assert found == [(row, child % cfg.n_pe, value) for row, child, value in expected]
