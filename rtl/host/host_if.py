"""Host interface: AXI4-Lite registers, AXI4-Stream commands and results, and the array's I/O port behind them."""

from __future__ import annotations

from amaranth import Cat, Module, Mux, ResetSignal, Signal
from amaranth.lib.wiring import connect

from eie.axi import ErrorCode, host_if_fields
from eie.config import ArchConfig
from eie.rtl.block import Declared, is_number, signature_of
from eie.rtl.host.arbiter import PortArbiter
from eie.rtl.host.commands import CommandDecoder
from eie.rtl.host.interfaces import packet_words
from eie.rtl.host.queues import RegisterQueue, ResultQueue
from eie.rtl.host.registers import RegisterFile
from eie.rtl.host.status import Status

INPUT_DEPTH = 2
# Cycles that a source may pause in the midst of a packet while `rst` is high, see `HostIf._cut`.
CUT_PAUSE = 4


class HostIf(Declared):
    """Turns bus transactions into cycles of the array's I/O port (docs/chip.md).

    Latency: a data word of a WRITE packet is on the I/O port two cycles after its hand-shake. Every output is a
    register or the inverse of one, so no input reaches an output in the same cycle.

    Parameters
    ----------
    cfg : sizes of the accelerator.

    Members
    -------
    s_axil_* : AXI4-Lite slave. s_axis_*, m_axis_* : AXI4-Stream slave and master. irq : interrupt, level.
    start, io_* : to the array. busy, done, current_pass, io_rdata, counters : from it.
    """

    def __init__(self, cfg: ArchConfig) -> None:
        self.cfg = cfg
        super().__init__(signature_of(host_if_fields(cfg)))

    def elaborate(self, platform: object) -> Module:
        m, cfg = Module(), self.cfg
        m.submodules.registers = registers = RegisterFile(cfg)
        m.submodules.input = queue = RegisterQueue(packet_words(cfg).members["payload"].shape, INPUT_DEPTH)
        m.submodules.decoder = decoder = CommandDecoder(cfg)
        m.submodules.arbiter = arbiter = PortArbiter(cfg)
        m.submodules.results = results = ResultQueue(cfg)
        m.submodules.status = status = Status(cfg)
        connect(m, registers.port, arbiter.lite)
        connect(m, decoder.port, arbiter.stream)
        connect(m, status.values, registers.status)
        self._lite(m, registers)
        self._streams(m, queue, decoder, results)
        self._array(m, arbiter)
        m.d.comb += [
            # The decoder, and what tells it to wait.
            decoder.abort.eq(registers.abort),
            decoder.forget.eq(registers.soft_reset & is_number(status.values.error_code, ErrorCode.ABORTED)),
            decoder.cut.eq(self._cut(m)),
            decoder.error_stands.eq(status.values.error_code.any()),
            decoder.running.eq(arbiter.running),
            decoder.room.eq(results.room),
            # A run, and who starts it.
            arbiter.run_start.eq(decoder.run_start | registers.run_start),
            arbiter.pass_write.eq(decoder.pass_write),
            arbiter.pass_register.eq(decoder.pass_register),
            arbiter.pass_number.eq(decoder.pass_number),
            arbiter.starting.eq(decoder.starting),
            arbiter.packet.eq(decoder.packet),
            # Words that were read.
            results.read_issue.eq(decoder.read_issue),
            results.read_last.eq(decoder.read_last),
            results.read_signed.eq(decoder.read_signed),
            results.read_second.eq(arbiter.read_second),
            results.word.eq(arbiter.stream_word),
            results.io_rdata.eq(self.io_rdata),
            registers.port_word.eq(arbiter.lite_word),
            registers.io_rdata.eq(self.io_rdata),
            # What the registers show.
            registers.first_pass.eq(arbiter.first_pass),
            registers.last_pass.eq(arbiter.last_pass),
            registers.running.eq(arbiter.running),
            registers.under_way.eq(arbiter.under_way),
            registers.result.eq(results.words.valid),
            registers.done.eq(self.done),
            registers.current_pass.eq(self.current_pass),
            registers.cycles.eq(self.cycles),
            registers.broadcast_stalls.eq(self.broadcast_stalls),
            registers.refill_cycles.eq(self.refill_cycles),
            registers.writeback_cycles.eq(self.writeback_cycles),
            # What happens.
            status.packet_ends.eq(decoder.packet_ends),
            status.word_loaded.eq(decoder.word_loaded),
            status.word_stored.eq(results.word_stored),
            status.running.eq(arbiter.running),
            status.under_way.eq(arbiter.under_way),
            status.error.eq(decoder.error),
            status.error_code.eq(decoder.error_code),
            status.error_info.eq(decoder.error_info),
            status.start_code.eq(registers.start_code),
            status.start_info.eq(registers.start_info),
            status.clear_error.eq(registers.clear_error),
            status.irq_enable.eq(registers.irq_enable),
            status.irq_clear.eq(registers.irq_clear),
            status.busy.eq(self.busy),
            status.run_start.eq(arbiter.run_start),
            status.run_quiet.eq(decoder.run_quiet),
            self.irq.eq(status.irq),
        ]
        return m

    def _lite(self, m: Module, registers: RegisterFile) -> None:
        """The channels of AXI4-Lite."""
        aw, w, ar, b, r = registers.aw, registers.w, registers.ar, registers.b, registers.r
        m.d.comb += [
            aw.valid.eq(self.s_axil_awvalid),
            aw.payload.eq(self.s_axil_awaddr),
            self.s_axil_awready.eq(aw.ready),
            w.valid.eq(self.s_axil_wvalid),
            w.payload.data.eq(self.s_axil_wdata),
            w.payload.strb.eq(self.s_axil_wstrb),
            self.s_axil_wready.eq(w.ready),
            ar.valid.eq(self.s_axil_arvalid),
            ar.payload.eq(self.s_axil_araddr),
            self.s_axil_arready.eq(ar.ready),
            self.s_axil_bvalid.eq(b.valid),
            self.s_axil_bresp.eq(b.payload),
            b.ready.eq(self.s_axil_bready),
            self.s_axil_rvalid.eq(r.valid),
            self.s_axil_rdata.eq(r.payload.data),
            self.s_axil_rresp.eq(r.payload.resp),
            r.ready.eq(self.s_axil_rready),
        ]

    def _streams(
        self, m: Module, queue: RegisterQueue, decoder: CommandDecoder, results: ResultQueue
    ) -> None:
        """The command stream: two places before the decoder, so that tready is a register at full rate. And results."""
        m.d.comb += [
            queue.w_en.eq(self.s_axis_tvalid & self.s_axis_tready),
            queue.w_data.data.eq(self.s_axis_tdata),
            queue.w_data.last.eq(self.s_axis_tlast),
            self.s_axis_tready.eq(queue.w_rdy),
            decoder.words.valid.eq(queue.r_rdy),
            decoder.words.payload.eq(queue.r_data),
            queue.r_en.eq(decoder.words.valid & decoder.words.ready),
            self.m_axis_tvalid.eq(results.words.valid),
            self.m_axis_tdata.eq(results.words.payload.data),
            self.m_axis_tlast.eq(results.words.payload.last),
            results.words.ready.eq(self.m_axis_tready),
        ]

    def _cut(self, m: Module) -> Signal:
        """In the first cycle after reset: a packet was sent across it, by a source that was not reset as well.

        A source that shares the reset offers nothing while it lasts. Words that are taken then are lost; after one
        without TLAST, or with one that is offered and not taken, the next word is not a header.

        What was found is kept as long as the source does not pause for longer than `CUT_PAUSE`: nothing resets this
        register, and a reset that is longer than that clears what it held when the power came on.
        """
        cut = Signal(reset_less=True)
        recent = Signal(CUT_PAUSE, reset_less=True)  # in which of the last cycles a word was offered
        in_reset = Signal(reset_less=True)
        offered = Signal(name="offered_in_reset")
        m.d.comb += offered.eq(~(self.s_axis_tready & self.s_axis_tlast))
        m.d.sync += [
            in_reset.eq(ResetSignal()),
            recent.eq(Cat(self.s_axis_tvalid, recent)),
            cut.eq(ResetSignal() & Mux(self.s_axis_tvalid, offered, cut & in_reset & recent.any())),
        ]
        return cut

    def _array(self, m: Module, arbiter: PortArbiter) -> None:
        """The array's I/O port."""
        m.d.comb += [
            arbiter.busy.eq(self.busy),
            self.start.eq(arbiter.start),
            self.io_write.eq(arbiter.io_write),
            self.io_read.eq(arbiter.io_read),
            self.io_space.eq(arbiter.io_space),
            self.io_pe.eq(arbiter.io_pe),
            self.io_addr.eq(arbiter.io_addr),
            self.io_data.eq(arbiter.io_data),
        ]
