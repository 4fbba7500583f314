"""Smoke test of the exported accelerator under cocotb: memories through the I/O port, then the layer, if there is one.

`make smoke` runs it; it needs cocotb 2 and a simulator, and of what exported the folder only the files in it.
"""

import json
import random
from functools import cache
from pathlib import Path
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, RisingEdge, with_timeout

FOLDER = Path(__file__).parent
# The Verilog has no time scale: time is counted in the simulator's own steps.
CLOCK_STEPS = 2
SEED = 1


@cache
def manifest() -> dict[str, Any]:
    """Sizes, ports and address spaces of this export."""
    read: dict[str, Any] = json.loads((FOLDER / "ports.json").read_text())
    return read


def words_of(name: str) -> list[int]:
    """The words of a hex file of the folder."""
    return [int(line, 16) for line in (FOLDER / name).read_text().split()]


async def reset(dut: Any) -> None:
    """Two cycles of reset with every input at 0."""
    for name in ("start", "io_write", "io_read", "io_space", "io_pe", "io_addr", "io_data"):
        getattr(dut, name).value = 0
    dut.rst.value = 1
    Clock(dut.clk, CLOCK_STEPS, unit="step").start(start_high=False)
    await FallingEdge(dut.clk)
    await FallingEdge(dut.clk)
    dut.rst.value = 0


async def write(dut: Any, space: int, pe: int, addr: int, data: int) -> None:
    """One word, in one cycle."""
    dut.io_write.value = 1
    dut.io_space.value, dut.io_pe.value, dut.io_addr.value, dut.io_data.value = space, pe, addr, data
    await FallingEdge(dut.clk)
    dut.io_write.value = 0


async def read(dut: Any, space: int, pe: int, addr: int, bits: int) -> int:
    """The low bits of a word: the address is held for two cycles, the word is there in the third."""
    dut.io_read.value = 1
    dut.io_space.value, dut.io_pe.value, dut.io_addr.value = space, pe, addr
    await FallingEdge(dut.clk)
    await FallingEdge(dut.clk)
    dut.io_read.value = 0
    return int(dut.io_rdata.value) & ((1 << bits) - 1)


@cocotb.test()
async def memories(dut: Any) -> None:
    """What is written into the first words of every PE's memories can be read again."""
    rng = random.Random(SEED)
    config, spaces = manifest()["config"], manifest()["spaces"]
    await reset(dut)
    widths = {"SPMAT": config["word_bits"], "ACC": config["acc_bits"]}
    if not config["blocks"]:  # else the block table, which is not a PE's
        ports = manifest()["modules"]["eie_pe"]
        widths["PTR"] = ports["ptr_wdata" if config["group"] == 2 else "even_wdata"]["width"]
    places = [
        (space, pe, addr)
        for space in widths
        for pe in range(config["n_pe"])
        for addr in range(min(2, config["acc_depth"], config["pointers"] // 2))
    ]
    before = [await read(dut, spaces[space], pe, addr, widths[space]) for space, pe, addr in places]
    fresh = [rng.getrandbits(widths[space]) for space, _, _ in places]
    for words in (fresh, before):  # the images are needed once more
        for (space, pe, addr), word in zip(places, words, strict=True):
            await write(dut, spaces[space], pe, addr, word)
        for (space, pe, addr), word in zip(places, words, strict=True):
            found = await read(dut, spaces[space], pe, addr, widths[space])
            assert found == word, f"{space} of PE {pe} at {addr}: {found:#x}, not {word:#x} (seed {SEED})"


@cocotb.test(skip=not (FOLDER / "load.hex").is_file())
async def layer(dut: Any) -> None:
    """The layer of load.hex gives the activations of expected.hex (if it is there); the images hold its weights."""
    config, spaces, ports = manifest()["config"], manifest()["spaces"], manifest()["modules"]["eie_array"]
    await reset(dut)
    fields = [ports[name]["width"] for name in ("io_data", "io_addr", "io_pe", "io_space")]
    for word in words_of("load.hex"):
        parts = []
        for width in fields:
            parts.append(word & ((1 << width) - 1))
            word >>= width
        data, addr, pe, space = parts
        await write(dut, space, pe, addr, data)
    dut.start.value = 1
    await FallingEdge(dut.clk)
    dut.start.value = 0
    await with_timeout(RisingEdge(dut.done), 100_000_000, "step")
    await FallingEdge(dut.clk)
    dut._log.info("%d cycles", int(dut.cycles.value))
    if (FOLDER / "expected.hex").is_file():
        for row, expected in enumerate(words_of("expected.hex")):
            n_pe, bits = config["n_pe"], config["act_bits"]
            found = await read(dut, spaces["ACC"], row % n_pe, row // n_pe, bits)
            assert found == expected, f"y[{row}] is {found:#x}, not {expected:#x}"
