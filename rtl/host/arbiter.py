"""Host interface: who has the array's I/O port, and whose the word is that it reads."""

from __future__ import annotations

from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from eie.config import ArchConfig
from eie.rtl.block import is_number
from eie.rtl.host.interfaces import PASS_NUMBER_BITS, PortRequest, PortRequestSignature
from eie.schema import IO_SPACE_BITS, ControlReg, IoSpace


class PortArbiter(wiring.Component):
    """The array's I/O port, shared by the register file and the command decoder; the register file comes first.

    Latency: an access is on the port in the cycle after its hand-shake. A read holds the port for two cycles, and
    `io_rdata` has its word in the third.

    Parameters
    ----------
    cfg : sizes of the accelerator.

    Members
    -------
    lite : In(PortRequestSignature(cfg))
        The register file's access. Not taken while a run is under way.
    stream : In(PortRequestSignature(cfg))
        The command decoder's access. It asks for nothing while a run is under way.
    pass_write : In(1)
        The decoder writes a register of the space CONTROL. Only with `stream.ready`, instead of an access.
    pass_register : In(1)
        Which one, as `eie.schema.ControlReg`. With `pass_write`.
    pass_number : In(PASS_NUMBER_BITS)
        What it becomes. With `pass_write`.
    run_start : In(1)
        `start` is 1 in the next cycle. Only while `running` is 0, or at the end of `starting`.
    starting : In(1)
        The decoder is about to start a run. Valid in every cycle.
    packet : In(1)
        The decoder is in a packet, or a word of one waits. Valid in every cycle.
    running : Out(1)
        A run is under way, or about to start. Valid in every cycle.
    under_way : Out(1)
        A packet or an access is under way, or a word waits. Valid in every cycle.
    read_second : Out(1)
        Second cycle of a read on the port.
    lite_word : Out(1)
        Third cycle of a read: `io_rdata` holds the register file's word.
    stream_word : Out(1)
        Third cycle of a read: `io_rdata` holds the decoder's word.
    first_pass : Out(cfg.pass_bits)
        What the CCU holds, whoever wrote it; one cycle after the write is on the port.
    last_pass : Out(cfg.pass_bits)
        Likewise.
    busy : In(1)
        The array's: a run is under way, from the cycle after `start`.
    start : Out(1)
        To the array, a register: for one cycle.
    io_write : Out(1)
        To the array, a register: the access in this cycle is a write.
    io_read : Out(1)
        To the array, a register: first or second cycle of a read.
    io_space : Out(IO_SPACE_BITS)
        To the array, a register. With `io_write` or `io_read`; it stays until the next access.
    io_pe : Out(cfg.pe_bits)
        Likewise.
    io_addr : Out(cfg.io_addr_bits)
        Likewise.
    io_data : Out(cfg.io_data_bits)
        To the array, a register. With `io_write`.
    """

    lite: PortRequest
    stream: PortRequest
    pass_write: Signal
    pass_register: Signal
    pass_number: Signal
    run_start: Signal
    starting: Signal
    packet: Signal
    running: Signal
    under_way: Signal
    read_second: Signal
    lite_word: Signal
    stream_word: Signal
    first_pass: Signal
    last_pass: Signal
    busy: Signal
    start: Signal
    io_write: Signal
    io_read: Signal
    io_space: Signal
    io_pe: Signal
    io_addr: Signal
    io_data: Signal

    def __init__(self, cfg: ArchConfig) -> None:
        self.cfg = cfg
        super().__init__(
            {
                "lite": In(PortRequestSignature(cfg)),
                "stream": In(PortRequestSignature(cfg)),
                "pass_write": In(1),
                "pass_register": In(1),
                "pass_number": In(PASS_NUMBER_BITS),
                "run_start": In(1),
                "starting": In(1),
                "packet": In(1),
                "running": Out(1),
                "under_way": Out(1),
                "read_second": Out(1),
                "lite_word": Out(1),
                "stream_word": Out(1),
                "first_pass": Out(cfg.pass_bits),
                "last_pass": Out(cfg.pass_bits),
                "busy": In(1),
                "start": Out(1),
                "io_write": Out(1),
                "io_read": Out(1),
                "io_space": Out(IO_SPACE_BITS),
                "io_pe": Out(cfg.pe_bits),
                "io_addr": Out(cfg.io_addr_bits),
                "io_data": Out(cfg.io_data_bits),
            }
        )
        self._first = Signal(name="read_first")  # first cycle of a read

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.comb += [
            self.running.eq(self.start | self.busy | self.starting),
            self.under_way.eq(self.packet | self.io_write | self.io_read),
            self.lite.ready.eq(~self._first & ~self.running),
            self.stream.ready.eq(~self._first & ~self.lite.valid),
        ]
        self._accesses(m)
        self._words(m)
        # What the CCU holds.
        with m.If(self.io_write & is_number(self.io_space, IoSpace.CONTROL)):
            with m.If(is_number(self.io_addr, ControlReg.FIRST_PASS)):
                m.d.sync += self.first_pass.eq(self.io_data)
            with m.Elif(is_number(self.io_addr, ControlReg.LAST_PASS)):
                m.d.sync += self.last_pass.eq(self.io_data)
        return m

    def _accesses(self, m: Module) -> None:
        """What is on the port in the next cycle: nothing, the second cycle of a read, or what was asked for."""
        lite, stream = self.lite, self.stream
        m.d.sync += [
            self.start.eq(self.run_start),
            self.io_write.eq(0),
            self.io_read.eq(self._first),
            self._first.eq(0),
        ]
        with m.If(lite.valid & lite.ready):
            m.d.sync += [
                self.io_write.eq(lite.write),
                self.io_read.eq(~lite.write),
                self._first.eq(~lite.write),
                self.io_space.eq(lite.space),
                self.io_pe.eq(lite.pe),
                self.io_addr.eq(lite.addr),
                self.io_data.eq(lite.data),
            ]
        with m.If(stream.valid & stream.ready):
            m.d.sync += [
                self.io_write.eq(stream.write),
                self.io_read.eq(~stream.write),
                self._first.eq(~stream.write),
                self.io_space.eq(stream.space),
                self.io_pe.eq(stream.pe),
                self.io_addr.eq(stream.addr),
            ]
            with m.If(stream.write):
                m.d.sync += self.io_data.eq(stream.data)
        with m.If(self.pass_write):
            m.d.sync += [
                self.io_write.eq(1),
                self.io_space.eq(IoSpace.CONTROL),
                self.io_addr.eq(self.pass_register),
                self.io_data.eq(self.pass_number),
            ]

    def _words(self, m: Module) -> None:
        """Whose the word is that comes back: known when the read is taken, needed in its third cycle."""
        read_lite, word_lite = Signal(name="read_lite"), Signal(name="word_lite")
        read_third = Signal()
        m.d.sync += [self.read_second.eq(self._first), read_third.eq(self.read_second)]
        with m.If(self.lite.valid & self.lite.ready):
            m.d.sync += read_lite.eq(1)
        with m.If(self.stream.valid & self.stream.ready & ~self.stream.write):
            m.d.sync += read_lite.eq(0)
        with m.If(self.read_second):
            m.d.sync += word_lite.eq(read_lite)
        m.d.comb += [
            self.lite_word.eq(read_third & word_lite),
            self.stream_word.eq(read_third & ~word_lite),
        ]
