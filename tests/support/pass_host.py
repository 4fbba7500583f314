"""The cocotb side of test_rtl_passes: programs on the RTL, in lockstep with golden, with traffic while it is busy."""

import pickle
import random
from pathlib import Path

import cocotb
from cocotb.triggers import FallingEdge

from eie.golden.array import Array
from eie.schema import CCU_COUNTERS, IoSpace, Mode, fields
from eie.sim.cosim.lockstep_host import LockstepHost
from eie.sim.cosim.outcome import Diverged
from tests.support.pass_programs import Program, Run

REQUEST, ANSWER = "passes-request", "passes-answer"


class Host(LockstepHost):
    """Lockstep, with random values on every input while the machine is busy, which it has to ignore."""

    def __init__(self, dut, cfg, seed):
        super().__init__(dut, cfg, Array(cfg))
        self.random = random.Random(seed)
        widths = {field.name: field.width for field in fields("array", cfg)}
        self.bits = {name: widths[name] for name in self.inputs}

    async def write(self, writes):
        """One write a cycle through the I/O port."""
        for w in writes:
            await self.cycle(io_write=1, io_space=int(w.space), io_pe=w.pe, io_addr=w.addr, io_data=w.data)

    async def word(self, space, pe, addr):
        """A word as a signed number: it is there in the third cycle."""
        for _ in range(2):
            await self.cycle(io_read=1, io_space=int(space), io_pe=pe, io_addr=addr)
        await self.cycle()
        word, sign = self.output("io_rdata"), 1 << (self.cfg.io_data_bits - 1)
        return (word ^ sign) - sign

    async def run(self):
        """One start; the cycles in which the array was busy."""
        await self.cycle(start=1)
        busy = 0
        while self.golden.ccu.mode.value != Mode.IO:
            await self.cycle(**{name: self.random.getrandbits(bits) for name, bits in self.bits.items()})
            busy += 1
        await self.cycle()
        return busy


async def run_program(host, program: Program):
    """Load, and do every run; what is not as it has to be, as text."""
    await host.write(program.writes)
    wrong = []
    for number, run in enumerate(program.runs):
        await host.write(run.writes)
        busy = await host.run()
        found = {"busy_cycles": busy}
        if host.cfg.counters:
            found |= {name: host.output(name) for name in CCU_COUNTERS}
        wrong += [
            f"run {number}: {name} {value}, not {getattr(run, name)}"
            for name, value in found.items()
            if value != getattr(run, name)
        ]
        wrong += await differences(host, run, number)
        if not host.output("done"):
            wrong.append(f"run {number}: not done")
    wrong += await table(host, program)
    return wrong


async def differences(host, run: Run, number):
    """Words that are not the expected ones."""
    wrong = []
    for word in run.expected:
        value = await host.word(word.space, word.pe, word.addr)
        if value != word.value:
            wrong.append(
                f"run {number}: {word.space.name} of PE {word.pe} at {word.addr}: {value}, not {word.value}"
            )
    return wrong


async def table(host, program: Program):
    """The pass table and the control registers, read back."""
    written = {
        (w.space, w.addr): w.data for w in program.writes if w.space in (IoSpace.CONFIG, IoSpace.CONTROL)
    }
    return [
        f"{space.name} at {addr} holds {value}, not {data}"
        for (space, addr), data in written.items()
        if (value := await host.word(space, 0, addr)) != data
    ]


@cocotb.test()
async def programs(dut):
    """Every program of the request, one after the other on the same machine."""
    requested, seed = pickle.loads(Path(REQUEST).read_bytes())
    host = Host(dut, requested[0].cfg, seed)
    await host.reset()
    wrong = []
    try:
        for number, program in enumerate(requested):
            wrong += [f"program {number}, {text}" for text in await run_program(host, program)]
        host.finish()
    except Diverged as stop:
        d = stop.divergence
        wrong += [f"cycle {d.cycle}, PE {d.pe}, {d.signal}: golden {d.golden}, RTL {d.rtl}", *d.also]
    await FallingEdge(dut.clk)
    Path(ANSWER).write_bytes(pickle.dumps((wrong, host.cycle_count)))
