"""Smoke test of the exported chip under cocotb: registers, packets, an error and its end, the layer, if there is one.

`make smoke` runs it; it needs cocotb 2 and a simulator, and of what exported the folder only the files in it.
Addresses, fields and codes are those of eie_regs.h.
"""

import json
import random
import re
from functools import cache
from pathlib import Path
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, Timer

FOLDER = Path(__file__).parent
# The Verilog has no time scale: time is counted in the simulator's own steps.
CLOCK_STEPS = 4
LIMIT = 400_000_000
# Of the tests that load no layer.
SHORT_LIMIT = 200_000
SEED = 1
OKAY = 0
INPUTS = (
    "s_axil_awvalid", "s_axil_awaddr", "s_axil_awprot", "s_axil_wvalid", "s_axil_wdata", "s_axil_wstrb",
    "s_axil_bready", "s_axil_arvalid", "s_axil_araddr", "s_axil_arprot", "s_axil_rready",
    "s_axis_tvalid", "s_axis_tdata", "s_axis_tlast", "m_axis_tready",
)  # fmt: skip


@cache
def header_file() -> dict[str, int]:
    """The numbers of eie_regs.h, without their EIE_."""
    found = re.findall(
        r"^#define EIE_(\w+) (0x[0-9a-f]+|\d+)u?(?:ll)?\b", (FOLDER / "eie_regs.h").read_text(), re.M
    )
    return {name: int(number, 0) for name, number in found}


@cache
def manifest() -> dict[str, Any]:
    """Sizes and ports of this export."""
    read: dict[str, Any] = json.loads((FOLDER / "ports.json").read_text())
    return read


def words_of(name: str) -> list[int]:
    """The words of a hex file of the folder."""
    return [int(line, 16) for line in (FOLDER / name).read_text().split()]


def header(command: str, space: str = "SPMAT", **fields: int) -> int:
    """A packet's first word. fields : PE, ADDR, COUNT, SPREAD, in small letters."""
    known = header_file()
    word = known[f"COMMAND_{command}"] << known["HEADER_COMMAND_SHIFT"]
    word |= known[f"SPACE_{space}"] << known["HEADER_SPACE_SHIFT"]
    for name, value in fields.items():
        word |= value << known[f"HEADER_{name.upper()}_SHIFT"]
    return word


async def reset(dut: Any) -> None:
    """Two cycles of reset with every input at 0."""
    for name in INPUTS:
        getattr(dut, name).value = 0
    dut.rst.value = 1
    Clock(dut.clk, CLOCK_STEPS, unit="step").start(start_high=False)
    await FallingEdge(dut.clk)
    await FallingEdge(dut.clk)
    dut.rst.value = 0


async def send(dut: Any, *channels: str) -> None:
    """One transfer on each channel; inputs change at the falling edge, ready is looked at before the rising one."""
    waiting = list(channels)
    for channel in channels:
        getattr(dut, f"{channel}valid").value = 1
    while waiting:
        await Timer(1, "step")
        taken = [channel for channel in waiting if getattr(dut, f"{channel}ready").value == 1]
        await FallingEdge(dut.clk)
        for channel in taken:
            getattr(dut, f"{channel}valid").value = 0
            waiting.remove(channel)


async def receive(dut: Any, channel: str, *signals: str) -> list[int]:
    """The signals of one transfer on a channel."""
    getattr(dut, f"{channel}ready").value = 1
    while True:
        await Timer(1, "step")
        found = getattr(dut, f"{channel}valid").value == 1
        values = [int(getattr(dut, f"{channel}{signal}").value) for signal in signals] if found else []
        await FallingEdge(dut.clk)
        if found:
            getattr(dut, f"{channel}ready").value = 0
            return values


async def read_register(dut: Any, name: str) -> int:
    """A register by AXI4-Lite."""
    dut.s_axil_araddr.value = header_file()[name]
    await send(dut, "s_axil_ar")
    word, response = await receive(dut, "s_axil_r", "data", "resp")
    assert response == OKAY, f"reading {name}: response {response}"
    return word


async def write_register(dut: Any, name: str, word: int) -> None:
    """A register by AXI4-Lite."""
    dut.s_axil_awaddr.value = header_file()[name]
    dut.s_axil_wdata.value, dut.s_axil_wstrb.value = word, 0b1111
    await send(dut, "s_axil_aw", "s_axil_w")
    (response,) = await receive(dut, "s_axil_b", "resp")
    assert response == OKAY, f"writing {name}: response {response}"


async def packet(dut: Any, *words: int) -> None:
    """A packet on the command stream."""
    for number, word in enumerate(words, 1):
        dut.s_axis_tdata.value, dut.s_axis_tlast.value = word, int(number == len(words))
        await send(dut, "s_axis_t")


async def read_words(dut: Any, space: str, count: int, bits: int) -> list[int]:
    """The low bits of the first words of a space, PE after PE, by a READ packet."""
    await packet(dut, header("READ", space, count=count, spread=1))
    words = []
    for number in range(1, count + 1):
        word, last = await receive(dut, "m_axis_t", "data", "last")
        assert last == int(number == count), f"TLAST is {last} on word {number} of {count}"
        words.append(word & ((1 << bits) - 1))
    return words


@cocotb.test(timeout_time=SHORT_LIMIT, timeout_unit="step")
async def identification(dut: Any) -> None:
    """The registers say what the instance is."""
    await reset(dut)
    for name in ("ID", "VERSION", "N_PE", "PASSES", "SPMAT_WORDS", "QUEUE_DEPTH"):
        found, right = await read_register(dut, name), header_file()[f"{name}_VALUE"]
        assert found == right, f"{name} is {found:#x}, not {right:#x}"
    assert header_file()["N_PE_VALUE"] == manifest()["config"]["n_pe"]


@cocotb.test(timeout_time=SHORT_LIMIT, timeout_unit="step")
async def packets_and_errors(dut: Any) -> None:
    """A WRITE packet is read back; a malformed packet stops the stream and says why, until CLEAR_ERROR."""
    rng = random.Random(SEED)
    known, config = header_file(), manifest()["config"]
    bits, count = config["acc_bits"], config["n_pe"] * min(2, config["acc_depth"])

    async def write_and_read() -> None:
        words = [rng.getrandbits(bits) for _ in range(count)]
        await packet(dut, header("WRITE", "ACC", count=count, spread=1), *words)
        found = await read_words(dut, "ACC", count, bits)
        assert found == words, f"read {found}, written {words} (seed {SEED})"

    await reset(dut)
    await write_and_read()
    if config["counters"]:
        assert await read_register(dut, "WORDS_LOADED") == count
    assert await read_register(dut, "ERROR_CODE") == known["ERROR_NONE"]

    await write_register(dut, "IRQ_ENABLE", known["IRQ_ENABLE_ERROR_MASK"])
    await packet(dut, header("WRITE", "ACC", count=0))
    await packet(dut, header("READ", "ACC", count=1))  # swallowed
    while await read_register(dut, "STATUS") & known["STATUS_STREAM_MASK"]:
        pass
    assert await read_register(dut, "ERROR_CODE") == known["ERROR_COUNT"]
    assert await read_register(dut, "STATUS") == known["STATUS_ERROR_MASK"]
    assert dut.irq.value == 1

    await write_register(dut, "CONTROL", known["CONTROL_CLEAR_ERROR_MASK"])
    await write_register(dut, "IRQ_STATUS", known["IRQ_STATUS_ERROR_MASK"])
    assert await read_register(dut, "ERROR_CODE") == known["ERROR_NONE"]
    assert dut.irq.value == 0
    await write_and_read()


@cocotb.test(timeout_time=LIMIT, timeout_unit="step", skip=not (FOLDER / "load.hex").is_file())
async def layer(dut: Any) -> None:
    """The layer of load.hex, by packets, gives the activations of expected.hex (if it is there)."""
    config, ports = manifest()["config"], manifest()["modules"]["eie_array"]
    spaces = {number: name for name, number in manifest()["spaces"].items()}
    await reset(dut)
    fields = [ports[name]["width"] for name in ("io_data", "io_addr", "io_pe", "io_space")]
    for word in words_of("load.hex"):
        parts = []
        for width in fields:
            parts.append(word & ((1 << width) - 1))
            word >>= width
        data, addr, pe, space = parts
        await packet(dut, header("WRITE", spaces[space], pe=pe, addr=addr, count=1), data)
    await packet(dut, header("RUN"))
    expected = words_of("expected.hex") if (FOLDER / "expected.hex").is_file() else [None]
    found = await read_words(dut, "ACC", len(expected), config["act_bits"])
    dut._log.info("%d cycles", await read_register(dut, "CYCLES"))
    for row, (right, y) in enumerate(zip(expected, found, strict=True)):
        assert right in (None, y), f"y[{row}] is {y:#x}, not {right:#x}"
