"""A board in Icarus, at the other end of a pseudo-terminal: its Verilog from the serial line to the memories.

Runs as a cocotb test inside the simulator; `simulated` starts it beside the test that uses it.
"""

import contextlib
import os
import threading
import time
import tty
from pathlib import Path

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, FallingEdge

from eie.memory import hex_image, srams
from eie.rtl.array import image_name
from eie.rtl.verilog import serial_verilog
from eie.sim.cosim.build import build, run_test

DIVISOR = 4
# Files in the run folder: the terminal's name, and what ends the simulation.
TERMINAL, STOP = "terminal.txt", "stop"


@contextlib.contextmanager
def simulated(program, folder):
    """The name of a terminal behind which the board is, as long as the block runs."""
    cfg, sizes = program.cfg, srams(program.cfg)
    for k, image in enumerate(program.images):
        for name, words in image.srams(cfg).items():
            (folder / image_name(k, name)).write_text(hex_image(words, sizes[name].width, sizes[name].depth))
    built = build("icarus", serial_verilog(cfg, DIVISOR), "eie_serial_chip")
    failed = []

    def simulate():
        try:
            run_test(built, "tests.support.board_sim", "board", folder)
        except Exception as error:
            failed.append(error)

    thread = threading.Thread(target=simulate)
    thread.start()
    try:
        while not (folder / TERMINAL).exists():
            assert thread.is_alive(), failed
            time.sleep(0.05)
        yield (folder / TERMINAL).read_text()
    finally:
        (folder / STOP).touch()
        thread.join()
    assert not failed, failed


@cocotb.test()
async def board(dut):
    """Octets from the terminal to the line, and back, until the file `stop` appears."""
    master, slave = os.openpty()
    tty.setraw(slave)
    os.set_blocking(master, False)
    Clock(dut.clk, 10, unit="ns").start()
    dut.rx.value = 1
    dut.rst.value = 1
    await ClockCycles(dut.clk, 3)
    dut.rst.value = 0
    cocotb.start_soon(_listen(dut, master))
    waiting = Path(f"{TERMINAL}.new")
    waiting.write_text(os.ttyname(slave))
    waiting.rename(TERMINAL)
    while not Path(STOP).exists():
        try:
            octets = os.read(master, 4096)
        except BlockingIOError:
            octets = b""
        for octet in octets:
            for bit in (0, *(octet >> i & 1 for i in range(8)), 1):
                dut.rx.value = bit
                await ClockCycles(dut.clk, DIVISOR)
        await ClockCycles(dut.clk, 50)


async def _listen(dut, master):
    while True:
        await FallingEdge(dut.tx)
        await ClockCycles(dut.clk, DIVISOR // 2)
        octet = 0
        for i in range(8):
            await ClockCycles(dut.clk, DIVISOR)
            octet |= int(dut.tx.value) << i
        await ClockCycles(dut.clk, DIVISOR)
        assert int(dut.tx.value) == 1, "no stop bit"
        os.write(master, bytes([octet]))
