"""The whole accelerator behind its I/O port: small layers, loaded, run and read back, every cycle in lockstep."""

import cocotb
import numpy as np
from common import SMALL

from eie.layer import CompressedLayer
from eie.program import Job
from eie.sim.cosim.benches.block import Setup, run_layers
from eie.sim.workloads.random import random_input, random_layer
from eie.timing import schedule

CONFIGS = {
    "small": SMALL.replace(entries=1024, pointers=64),
    "depth1_bus2": SMALL.replace(entries=1024, pointers=64, queue_depth=1, bus_registers=2),
}


def job(layer, x):
    return Job.create(layer, x, Setup.from_environment().cfg)


async def run(dut, *jobs):
    """Run layers one after the other; the output vector and the result of each."""
    return [(result.y.tolist(), result) for result in await run_layers(dut, list(jobs))]


@cocotb.test()
async def hand_made_layer(dut):
    """Three rows, four columns, two of them active: y worked out by hand."""
    codes = [[1, 0, 0, 2], [0, 3, 0, 1], [2, 0, 1, 0]]
    layer = CompressedLayer.from_codes(codes, [0, 10, -4, 7], bias=[1, 2, -100])
    #   10*3 - 4*5 + 1 = 11      10*5 + 2 = 52      -4*3 - 100 < 0, which ReLU makes 0
    ((y, result),) = await run(dut, job(layer, [3, 0, 0, 5]))
    assert y == [11, 52, 0]
    # Columns 0 and 3 have four entries between them, wherever those lie.
    assert result.total("entries") == 4


@cocotb.test()
async def one_entry(dut):
    """One active column with one entry: the latency of the machine from end to end (docs/timing.md)."""
    cfg = Setup.from_environment().cfg
    layer = CompressedLayer.from_codes([[1]], [0, 2], relu=False)
    ((y, result),) = await run(dut, job(layer, [-3]))
    assert y == [-6]
    # Tree, bus, queue and pointers, the entry, matrix SRAM and three stages.
    assert result.cycles == cfg.tree_levels + cfg.bus_registers + 2 + 1 + 4


@cocotb.test()
async def nothing_to_do(dut):
    """With no active column the biases are written back, and no compute cycle is counted."""
    layer = CompressedLayer.from_codes([[1, 1], [1, 1]], [0, 9], bias=[5, -5], relu=False)
    ((y, result),) = await run(dut, job(layer, [0, 0]))
    assert (y, result.cycles, result.count.broadcast_stalls) == ([5, -5], 0, 0)


@cocotb.test()
async def layer_after_layer(dut):
    """Nothing of a layer is left for the next: not its sums, its codebook, nor its unused activations."""
    first = CompressedLayer.from_codes(np.full((8, 8), 1), [0, 1000], relu=False)
    second = CompressedLayer.from_codes([[0, 2], [1, 0]], [0, 1, 3, 0], relu=False)
    results = await run(dut, job(first, [1] * 8), job(second, [4, 5]), job(first, [0, 0, 0, 0, 0, 0, 0, -1]))
    assert [y for y, _ in results] == [[8000] * 8, [15, 4], [-1000] * 8]


@cocotb.test()
async def random_layers(dut):
    """Random layers from sparse to dense: y by matrix product where nothing saturates, cycles by the timing law."""
    cfg = Setup.from_environment().cfg
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    jobs = []
    for density, act_density in ((0.1, 0.4), (0.5, 1.0), (1.0, 0.7)):
        seed = int(rng.integers(1 << 32))
        layer = random_layer(int(rng.integers(1, 20)), int(rng.integers(1, 24)), density, seed)
        jobs.append(job(layer, random_input(layer.cols, act_density, seed)))
    for (y, result), one in zip(await run(dut, *jobs), jobs, strict=True):
        law = schedule(one.interleaved.lengths[one.active], cfg)
        assert (result.cycles, result.count.broadcast_stalls) == (law.cycles, law.broadcast_stalls)
        if not result.total("saturations") and not result.total("writeback_saturations"):
            assert y == product(one)


def product(job):
    """y = ReLU(W x + bias) with every product rounded, in numpy."""
    layer, shift, out = job.layer, job.layer.product_shift, job.layer.output_shift
    products = layer.decode().astype(np.int64) * job.x
    sums = ((products + (1 << shift >> 1)) >> shift).sum(axis=1) + layer.bias
    return ((np.maximum(sums, 0) + (1 << out >> 1)) >> out).tolist()
