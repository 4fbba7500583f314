"""The chip's bus masters and its lockstep inside a simulator: runs a `script` of the chip as a cocotb test."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, RisingEdge, SimTimeoutError, with_timeout
from cocotbext.axi import (
    AxiLiteBus,
    AxiLiteMaster,
    AxiStreamBus,
    AxiStreamFrame,
    AxiStreamSink,
    AxiStreamSource,
)

from eie.axi import stream_bits
from eie.config import ArchConfig
from eie.golden.array import Array
from eie.registers import Reg
from eie.schema import Field, Kind, Wire, array_ports, unpack_probe
from eie.sim.cosim.chip.script import (
    Outcome,
    Pauses,
    Read,
    Request,
    Reset,
    Send,
    SendPart,
    Settle,
    Step,
    Together,
    UntilBusy,
    Write,
)
from eie.sim.cosim.host import CLOCK_NS
from eie.sim.cosim.lockstep_host import LockstepHost
from eie.sim.cosim.outcome import OUTCOME, REQUEST, Difference, Diverged, Divergence

# `rst` after the power comes on, docs/chip.md.
POWER_ON_CYCLES = 5


class Hung(Exception):
    """The chip did not come to an end in time."""


class ChipMonitor(LockstepHost):
    """Drives nothing: the golden array gets what the RTL's host interface drives, and every probe is compared."""

    def __init__(self, dut: Any, cfg: ArchConfig, golden: Array) -> None:
        super().__init__(dut, cfg, golden)
        self.ports = array_ports(cfg)

    def _outputs(self) -> list[tuple[Any, Wire, Field]]:
        """None: the ports of the array inside come in one word, see `_compare_port`."""
        return []

    def step(self) -> None:
        """Compare this cycle (call it in the middle of the cycle), then the golden clock edge."""
        for place, value in unpack_probe(self.ports, int(self.dut.probe_port.value)):
            if place.field.kind is Kind.IN:
                self.golden.signal(place.field.name).value = value
        self.golden.propagate()
        self._compare()
        if self.diverged is None:
            self._compare_port()
        if int(self.dut.rst.value):
            self.golden.reset()
        else:
            self.golden.update()
        self.cycle_count += 1

    def _compare_port(self) -> None:
        for place, found in unpack_probe(self.ports, int(self.dut.probe_port.value)):
            wanted = int(self.golden.signal(place.field.name).value)
            if place.field.probed and found != wanted:
                self._report(Difference(place.name, wanted, found))
                return


class ChipBench:
    """Bus masters on the chip's ports.

    Members: lite (AXI4-Lite master), source and sink (AXI4-Stream), cycles (clock cycles since reset).
    """

    def __init__(self, dut: Any, request: Request) -> None:
        self.dut = dut
        self.request = request
        self.octets = stream_bits(request.cfg) // 8
        self.patience = request.patience
        self.cycles = 0
        self.divergence: Divergence | None = None
        self.monitor: ChipMonitor | None = None
        self.trace: dict[str, list[int]] = {name: [] for name in request.trace}
        self.array_ports = array_ports(request.cfg)

    async def start(self) -> None:
        """Reset, masters, clock."""
        dut = self.dut
        dut.rst.value = 1
        for name in ("s_axil_awvalid", "s_axil_wvalid", "s_axil_arvalid", "s_axis_tvalid"):
            getattr(dut, name).value = 0
        Clock(dut.clk, CLOCK_NS, unit="ns").start(start_high=False)
        # Masters look at the chip at every edge: not before all of it is known.
        for _ in range(POWER_ON_CYCLES + 1):  # the clock's first value is an edge, too
            await FallingEdge(dut.clk)
        self.lite = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axil"), dut.clk, dut.rst)
        self.source = AxiStreamSource(
            AxiStreamBus.from_prefix(dut, "s_axis"), dut.clk, dut.rst, byte_lanes=self.octets
        )
        self.sink = AxiStreamSink(
            AxiStreamBus.from_prefix(dut, "m_axis"), dut.clk, dut.rst, byte_lanes=self.octets
        )
        await FallingEdge(dut.clk)
        dut.rst.value = 0
        self._pause(self.request.pauses)
        cocotb.start_soon(self._watch())

    def _pause(self, pauses: Pauses) -> None:
        write, read = self.lite.write_if, self.lite.read_if
        hosts = (self.source, write.aw_channel, write.w_channel, read.ar_channel)
        chips = (self.sink, write.b_channel, read.r_channel)
        for number, channel in enumerate((*hosts, *chips)):
            share = pauses.idle if channel in hosts else pauses.back_pressure
            if share:
                channel.set_pause_generator(_random(share, [pauses.seed, number]))

    async def _watch(self) -> None:
        if self.request.lockstep:
            self.monitor = ChipMonitor(self.dut, self.request.cfg, Array(self.request.cfg))
        edge = FallingEdge(self.dut.clk)
        while True:
            await edge
            self.cycles += 1
            for name, values in self.trace.items():
                values.append(self._now(name))
            if self.monitor is not None:
                self._note(self.monitor.step)

    def finish(self) -> None:
        """The last cycle is over: a divergence in it has no more to be recorded."""
        if self.monitor is not None:
            self._note(self.monitor.finish)

    def _note(self, compare: Callable[[], None]) -> None:
        if self.divergence is None:
            try:
                compare()
            except Diverged as stop:
                self.divergence = stop.divergence

    def _now(self, name: str) -> int:
        """A port of the chip, or with lockstep of the array, in this cycle."""
        if name not in (place.field.name for place in self.array_ports):
            return int(getattr(self.dut, name).value)
        values = unpack_probe(self.array_ports, int(self.dut.probe_port.value))
        return next(value for place, value in values if place.field.name == name)

    # ---- steps ---------------------------------------------------------------------------------------------

    async def run(self, step: Step) -> Any:
        """Do a step; what the chip replied."""
        if isinstance(step, Send):
            words = [word.to_bytes(self.octets, "little") for word in step.words]
            self.source.send_nowait(AxiStreamFrame(b"".join(words)))
            return None
        if isinstance(step, SendPart):
            return await self._send_part(step.words)
        if isinstance(step, Reset):
            return await self._reset(step)
        if isinstance(step, Write):
            return await self.write(step)
        if isinstance(step, Read):
            return await self.read(step.address)
        if isinstance(step, Together):
            tasks = [cocotb.start_soon(self.run(part)) for part in step.steps]
            return [await task for task in tasks]
        if isinstance(step, UntilBusy):
            return bool(await self._until(lambda status: status & Reg.STATUS.mask("BUSY")))
        if isinstance(step, Settle):
            return await self._settle()
        for _ in range(self.patience):
            if int(self.dut.irq.value):
                return True
            await RisingEdge(self.dut.clk)
        raise Hung("no interrupt")

    async def _send_part(self, words: Sequence[int]) -> None:
        """Words without TLAST, which the source cannot send: it is idle meanwhile."""
        await self.source.wait()
        for _ in range(4):  # the source has let go of the bus
            await RisingEdge(self.dut.clk)
        await self._offer(words, last=False)

    async def _offer(self, words: Sequence[int], *, last: bool) -> None:
        """Words, one after the other, by hand."""
        dut = self.dut
        edge = RisingEdge(dut.clk)
        for left, word in zip(range(len(words) - 1, -1, -1), words, strict=True):
            dut.s_axis_tdata.value, dut.s_axis_tlast.value = word, int(last and not left)
            dut.s_axis_tvalid.value = 1
            await edge
            while not int(dut.s_axis_tready.value):
                await edge
        dut.s_axis_tvalid.value = 0

    async def _reset(self, step: Reset) -> None:
        """`rst`, while words go on coming from a source that is not reset."""
        await RisingEdge(self.dut.clk)
        self.dut.rst.value = 1
        await FallingEdge(self.dut.clk)  # the idle source, which shares the reset, has let go of the bus
        sending = cocotb.start_soon(self._offer(step.rest, last=step.ends)) if step.rest else None
        for _ in range(step.cycles):
            await RisingEdge(self.dut.clk)
        self.dut.rst.value = 0
        if sending is not None:
            await sending

    async def write(self, step: Write) -> int:
        """Write a register; the response."""
        if not step.strobes:
            return await self._write_nothing(step)
        octets = step.data.to_bytes(4, "little")
        # The master makes strobes of address and length.
        first = (step.strobes & -step.strobes).bit_length() - 1
        end = step.strobes.bit_length()
        answer = await self.lite.write(step.address + first, octets[first:end])
        return int(answer.resp)

    async def _write_nothing(self, step: Write) -> int:
        """A write without strobes, which the master does not make."""
        channels = self.lite.write_if
        address, word = channels.aw_channel._transaction_obj(), channels.w_channel._transaction_obj()
        address.awaddr, address.awprot, word.wdata, word.wstrb = step.address, 0, step.data, 0
        await channels.aw_channel.send(address)
        await channels.w_channel.send(word)
        return int((await channels.b_channel.recv()).bresp)

    async def read(self, address: int) -> tuple[int, int]:
        """Read a register; data and response."""
        answer = await self.lite.read(address & ~3, 4)
        return int.from_bytes(answer.data, "little"), int(answer.resp)

    async def _until(self, wanted: Any) -> int:
        try:
            await with_timeout(self.source.wait(), self.patience * CLOCK_NS, "ns")
        except SimTimeoutError:
            raise Hung(f"words are not taken for {self.patience} cycles") from None
        began = self.cycles
        while self.cycles - began < self.patience:
            status, _ = await self.read(Reg.STATUS.offset)
            if wanted(status):
                return status
        raise Hung(f"STATUS stays {status:#x} for {self.patience} cycles")

    async def _settle(self) -> tuple[list[list[int]], bool]:
        under_way = sum(Reg.STATUS.mask(name) for name in ("BUSY", "STREAM", "RESULT"))
        await self._until(lambda status: not status & under_way)
        for _ in range(2):  # the interrupt is a register behind its status, the sink a cycle behind the bus
            await RisingEdge(self.dut.clk)
        packets = []
        while not self.sink.empty():
            octets = bytes(self.sink.recv_nowait().tdata)
            packets.append(
                [
                    int.from_bytes(octets[i : i + self.octets], "little")
                    for i in range(0, len(octets), self.octets)
                ]
            )
        return packets, bool(int(self.dut.irq.value))


def _random(share: float, seed: list[int]) -> Iterator[bool]:
    rng = np.random.default_rng(seed)
    while True:
        yield from (rng.random(256) < share).tolist()


@cocotb.test()
async def script(dut: Any) -> None:
    """The script in the run folder, step by step."""
    request: Request = pickle.loads(Path(REQUEST).read_bytes())
    bench = ChipBench(dut, request)
    await bench.start()
    replies: list[Any] = []
    hung = ""
    try:
        for step in request.script:
            replies.append(await bench.run(step))
            if bench.divergence is not None:
                break
        bench.finish()
    except Hung as end:
        hung = f"step {len(replies)}, {step}: {end}"
    outcome = Outcome(replies, bench.cycles, bench.divergence, hung, bench.trace)
    Path(OUTCOME).write_bytes(pickle.dumps(outcome))
