"""The cocotb side of the chip's mutants: masters on the buses drive the design once, every mutant gets the same.

What the buses carried in each cycle is the tape, with all that the chip and the array answered; golden goes along in
lockstep while it is recorded.
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, RisingEdge, Timer
from mutant_host import PROGRESS, Trial, in_child
from mutant_jobs import narrow_counters

from eie.axi import chip_fields
from eie.config import ArchConfig
from eie.golden.array import Array
from eie.schema import Kind, array_ports, ccu_probe, pe_probe, probe_width
from eie.sim.cosim.chip.bench import POWER_ON_CYCLES, ChipBench, ChipMonitor
from eie.sim.cosim.chip.script import Pauses, Request, Step
from eie.sim.cosim.host import CLOCK_NS
from eie.sim.cosim.outcome import OUTCOME, REQUEST
from eie.sim.cosim.probes import WideOutputs


@dataclass
class ChipRequest:
    """Scripts with their pauses, and mutants 1..mutants to get what they carry."""

    cfg: ArchConfig
    scripts: list[tuple[list[Step], Pauses]]
    mutants: int


@dataclass
class ChipAnswer:
    """Where the unchanged design diverged from golden, length of the tape, and the trials.

    What the design replies is no part of it: golden does not model when, and tests/cosim/test_chip.py compares it.
    """

    divergence: str
    tape_cycles: int
    trials: list[Trial] = field(default_factory=list)


# A cycle: inputs that changed, the chip's outputs, and the array's ports and probes.
Cycle = tuple[dict[str, int], bytes, bytes]


def _inputs(cfg: ArchConfig) -> list[str]:
    return ["rst", *(f.name for f in chip_fields(cfg) if f.kind is Kind.IN)]


class Outputs:
    """What is compared: the chip's own outputs, and inside it the array's ports and probes."""

    def __init__(self, dut: Any, cfg: ArchConfig) -> None:
        outputs = [f for f in chip_fields(cfg) if f.kind is not Kind.IN]
        inside = {f"probe_pe{k}": probe_width(pe_probe(cfg)) for k in range(cfg.n_pe)}
        inside |= {"probe_ccu": probe_width(ccu_probe(cfg)), "probe_port": probe_width(array_ports(cfg))}
        self.chip = WideOutputs([f"{dut._path}.{f.name}" for f in outputs], [f.width for f in outputs])
        self.array = WideOutputs([f"{dut._path}.{name}" for name in inside], [*inside.values()])

    def read(self) -> tuple[bytes, bytes]:
        return self.chip.read()[0], self.array.read()[0]


class Recorder(ChipBench):
    """Keeps what the buses carry, and follows with golden."""

    def __init__(self, dut: Any, request: Request) -> None:
        super().__init__(dut, request)
        self.tape: list[Cycle] = []
        self.handles = {name: getattr(dut, name) for name in _inputs(request.cfg)}
        self.outputs = Outputs(dut, request.cfg)

    async def _watch(self) -> None:
        self.monitor = ChipMonitor(self.dut, self.request.cfg, Array(self.request.cfg))
        before: dict[str, int] = {}
        while True:
            await FallingEdge(self.dut.clk)
            self.cycles += 1
            found = self.outputs.read()
            self._note(self.monitor.step)
            # Some inputs change at this edge; all are settled before the next rising one, which takes them.
            await Timer(CLOCK_NS / 4, "ns")
            now = {name: int(handle.value) for name, handle in self.handles.items()}
            changed = {name: value for name, value in now.items() if before.get(name) != value}
            self.tape.append((changed, *found))
            before = now

    def pace(self, pauses: Pauses) -> None:
        """From now on."""
        for channel in (self.source, self.sink, *_channels(self)):
            channel.clear_pause_generator()
            channel.pause = False
        self._pause(pauses)


def _channels(bench: ChipBench) -> list[Any]:
    write, read = bench.lite.write_if, bench.lite.read_if
    return [write.aw_channel, write.w_channel, write.b_channel, read.ar_channel, read.r_channel]


async def record(dut: Any, request: ChipRequest) -> tuple[list[Cycle], str]:
    """Every script on the unchanged design: tape, and what differs from golden."""
    steps = [step for script, _ in request.scripts for step in script]
    bench = Recorder(dut, Request(request.cfg, steps, Pauses(), lockstep=True))
    await bench.start()
    for script, pauses in request.scripts:
        bench.pace(pauses)
        for step in script:
            await bench.run(step)
    bench.finish()
    d = bench.divergence
    told = "" if d is None else f"cycle {d.cycle}: {d.signal}: golden {d.golden}, RTL {d.rtl}"
    return bench.tape, told


async def against_tape(dut: Any, cfg: ArchConfig, tape: list[Cycle], number: int) -> tuple[str, str]:
    """Drive mutant `number` as the tape says: the first cycle in which anything differs, and in which the buses do."""
    dut.mutsel.value = number
    handles = {name: getattr(dut, name) for name in _inputs(cfg)}
    for name, handle in handles.items():
        handle.value = int(name == "rst")
    outputs = Outputs(dut, cfg)
    Clock(dut.clk, CLOCK_NS, unit="ns").start(start_high=False)
    rising, falling = RisingEdge(dut.clk), FallingEdge(dut.clk)
    for _ in range(POWER_ON_CYCLES + 2):
        await falling
    handles["rst"].value = 0
    told = ""
    for cycle, (inputs, chip, array) in enumerate(tape):
        await rising
        for name, value in inputs.items():
            handles[name].value = value
        await falling
        found = outputs.read()
        if found[0] != chip:
            return told or f"cycle {cycle}", f"cycle {cycle}"
        if not told and found[1] != array:
            told = f"cycle {cycle}"
    return told, ""


@cocotb.test()
async def recorded(dut: Any) -> None:
    """The unchanged design alone."""
    request: ChipRequest = pickle.loads(Path(REQUEST).read_bytes())
    tape, divergence = await record(dut, request)
    Path(OUTCOME).write_bytes(pickle.dumps(ChipAnswer(divergence, len(tape))))


@cocotb.test()
async def mutants(dut: Any) -> None:
    """The unchanged design, then every mutant."""
    request: ChipRequest = pickle.loads(Path(REQUEST).read_bytes())
    with narrow_counters():
        dut.mutsel.value = 0
        tape, divergence = await in_child(lambda: record(dut, request))
        answer = ChipAnswer(divergence, len(tape))
        for number in range(request.mutants + 1):
            died = ("- simulator stopped", "- simulator stopped")
            run = partial(against_tape, dut, request.cfg, tape, number)
            answer.trials.append(Trial(number, *await in_child(run, died)))
            Path(PROGRESS).write_text(str(number))
    Path(OUTCOME).write_bytes(pickle.dumps(answer))
