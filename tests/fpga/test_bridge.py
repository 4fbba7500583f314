"""The serial line and the bridge by themselves, in Amaranth's simulator."""

import itertools

import pytest
from amaranth import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator

from eie.config import ArchConfig
from eie.rtl.fpga.bridge import Bridge
from eie.rtl.fpga.uart import Receiver, Transmitter
from eie.serial_bus import FIFO_OCTETS, SerialBus, receive_frame, send_frames

CFG = ArchConfig(n_pe=1)


class Loop(wiring.Component):
    """A transmitter on a receiver's line."""

    line: In(1)
    tx: Out(1)

    def __init__(self, divisor):
        super().__init__()
        self.receiver, self.transmitter = Receiver(divisor), Transmitter(divisor)

    def elaborate(self, platform):
        m = Module()
        m.submodules += [self.receiver, self.transmitter]
        m.d.comb += [self.receiver.rx.eq(self.transmitter.tx & self.line), self.tx.eq(self.transmitter.tx)]
        return m


def simulate(design, *processes):
    simulator = Simulator(design)
    simulator.add_clock(1e-6)
    for process in processes:
        simulator.add_testbench(process)
    simulator.run()


@pytest.mark.parametrize("divisor", [4, 5, 17])
def test_octets_pass_the_line(divisor):
    loop, wanted, found, times = Loop(divisor), [0x00, 0xFF, 0x55, 0xA7, 0x80], [], []

    async def send(ctx):
        ctx.set(loop.line, 1)
        await ctx.tick().repeat(20)
        for octet in wanted:
            ctx.set(loop.transmitter.octets.payload, octet)
            ctx.set(loop.transmitter.octets.valid, 1)
            await ctx.tick().until(loop.transmitter.octets.ready)
            ctx.set(loop.transmitter.octets.valid, 0)

    async def receive(ctx):
        for cycle in range(20 + 12 * divisor * len(wanted)):
            if ctx.get(loop.receiver.octets.valid):
                found.append(ctx.get(loop.receiver.octets.payload))
                times.append(cycle)
            assert not ctx.get(loop.receiver.broken)
            await ctx.tick()

    simulate(loop, send, receive)
    assert found == wanted
    # Back to back: ten bits each, and a cycle in which the next is taken.
    assert {later - sooner for sooner, later in itertools.pairwise(times)} <= {
        10 * divisor,
        10 * divisor + 1,
    }


def test_a_break_is_told_from_an_octet_and_a_spike_is_neither():
    loop, events = Loop(8), []

    async def drive(ctx):
        ctx.set(loop.line, 1)
        await ctx.tick().repeat(20)
        for low in (2, 200):  # a spike, and a break
            ctx.set(loop.line, 0)
            await ctx.tick().repeat(low)
            ctx.set(loop.line, 1)
            await ctx.tick().repeat(200)

    async def watch(ctx):
        for _ in range(20 + 2 + 200 + 200 + 100):
            if ctx.get(loop.receiver.broken):
                events.append("break")
            if ctx.get(loop.receiver.octets.valid):
                events.append("octet")
            await ctx.tick()

    simulate(loop, drive, watch)
    assert events == ["break"]


# Processes in the background end amid a wait: one tick at a time.
async def ticks(ctx, count):
    for _ in range(count):
        await ctx.tick()


async def until(ctx, signal):
    """The cycle in which a signal is 1, to its end."""
    while not ctx.get(signal):
        await ctx.tick()
    await ctx.tick()


class Chip:
    """Buses of a chip: registers, and a stream that gives back the words of each packet."""

    def __init__(self, bridge, slow=0):
        self.bridge, self.slow = bridge, slow
        self.registers, self.packets, self.results = {8: 0x12345678}, [[]], []

    async def lite(self, ctx):
        bridge = self.bridge
        while True:
            if ctx.get(bridge.s_axil_arvalid):
                address = ctx.get(bridge.s_axil_araddr)
                ctx.set(bridge.s_axil_arready, 1)
                await ctx.tick()
                ctx.set(bridge.s_axil_arready, 0)
                await ticks(ctx, 1 + self.slow)
                ctx.set(bridge.s_axil_rdata, self.registers.get(address, 0))
                ctx.set(bridge.s_axil_rresp, 0 if address in self.registers else 2)
                ctx.set(bridge.s_axil_rvalid, 1)
                await until(ctx, bridge.s_axil_rready)
                ctx.set(bridge.s_axil_rvalid, 0)
            if ctx.get(bridge.s_axil_awvalid):
                address = ctx.get(bridge.s_axil_awaddr)
                ctx.set(bridge.s_axil_awready, 1)
                await ctx.tick()
                ctx.set(bridge.s_axil_awready, 0)
                await ticks(ctx, 1 + self.slow)
                assert ctx.get(bridge.s_axil_wvalid)
                assert ctx.get(bridge.s_axil_wstrb) == 15
                self.registers[address] = ctx.get(bridge.s_axil_wdata)
                ctx.set(bridge.s_axil_wready, 1)
                await ctx.tick()
                ctx.set(bridge.s_axil_wready, 0)
                ctx.set(bridge.s_axil_bvalid, 1)
                await until(ctx, bridge.s_axil_bready)
                ctx.set(bridge.s_axil_bvalid, 0)
            await ctx.tick()

    async def take(self, ctx):
        bridge = self.bridge
        while True:
            await ticks(ctx, 1 + self.slow)
            if ctx.get(bridge.s_axis_tvalid):
                self.packets[-1].append(ctx.get(bridge.s_axis_tdata))
                if ctx.get(bridge.s_axis_tlast):
                    self.packets.append([])
                ctx.set(bridge.s_axis_tready, 1)
                await ctx.tick()
                ctx.set(bridge.s_axis_tready, 0)

    async def give(self, ctx):
        bridge = self.bridge
        while True:
            await ticks(ctx, 1 + self.slow)
            if self.results:
                ctx.set(bridge.m_axis_tdata, self.results.pop(0))
                ctx.set(bridge.m_axis_tvalid, 1)
                await until(ctx, bridge.m_axis_tready)
                ctx.set(bridge.m_axis_tvalid, 0)


def exchange(frames, answers, slow=0, results=()):
    """What a bridge answers to frames, so many octets, and the chip behind it."""
    bridge, found = Bridge(CFG), []
    chip = Chip(bridge, slow)
    chip.results += results
    simulator = Simulator(bridge)
    simulator.add_clock(1e-6)
    for process in (chip.lite, chip.take, chip.give):
        simulator.add_testbench(process, background=True)

    async def host(ctx):
        for octet in b"".join(frames):
            ctx.set(bridge.requests.payload, octet)
            ctx.set(bridge.requests.valid, 1)
            await ctx.tick().until(bridge.requests.ready)
            ctx.set(bridge.requests.valid, 0)

    async def hear(ctx):
        ctx.set(bridge.answers.ready, 1)
        while len(found) < answers:
            *_, valid, payload = await ctx.tick().sample(bridge.answers.valid, bridge.answers.payload)
            if valid:
                found.append(payload)

    simulator.add_testbench(host)
    simulator.add_testbench(hear)
    simulator.run()
    return bytes(found), chip


class Recorded:
    """A line that has its answers."""

    def __init__(self, answers):
        self.sent, self.answers = [], answers

    def write(self, octets):
        self.sent.append(octets)

    def read(self, count):
        found, self.answers = self.answers[:count], self.answers[count:]
        return found


@pytest.mark.parametrize("slow", [0, 3])
def test_registers(slow):
    line = Recorded(bytes([0, 0x78, 0x56, 0x34, 0x12, 0]))
    bus = SerialBus(line)
    assert bus.rd(8) == 0x12345678
    bus.wr(0x1234, 0xDEADBEEF)
    answer, chip = exchange([*line.sent, bytes([1, 4, 0])], 11, slow)
    assert answer == bytes([0, 0x78, 0x56, 0x34, 0x12, 0]) + bytes([2, 0, 0, 0, 0])
    assert chip.registers[0x1234] == 0xDEADBEEF


@pytest.mark.parametrize("slow", [0, 3])
def test_packets_and_results(slow):
    packets = [[0x1122334455667788, 1, 2, 0xFFFF], [5], [7, *range(1100)]]
    frames = [frame for packet in packets for frame in send_frames(packet)]
    assert max(map(len, frames)) <= FIFO_OCTETS
    results = [0x0102030405060708, 0xFFFFFFFFFFFFFFFF, 9]
    answer, chip = exchange(
        [bytes([0, 9]), *frames, bytes([3, 0x81, 0, 0]), receive_frame(0), receive_frame(3)],
        len(frames) + 1 + 24,
        slow,
        results,
    )
    assert chip.packets == [*packets, []]
    assert answer == bytes(len(frames) + 1) + b"".join(word.to_bytes(8, "little") for word in results)
