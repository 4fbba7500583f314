"""Host interface: AXI4-Lite registers, AXI4-Stream commands and results, and the array's I/O port behind them."""

from __future__ import annotations

from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring

from eie.axi import HEADER_BITS, HEADER_FIELDS, LITE_ADDR_BITS, LITE_DATA_BITS, host_if_fields, stream_bits
from eie.config import CONFIG_BITS, ArchConfig
from eie.rtl.block import any_of, count, is_number
from eie.rtl.host import commands as host_commands
from eie.rtl.host import registers as host_registers
from eie.rtl.host.commands import COUNT_BITS, State
from eie.rtl.host.parts import register_queue, signals, signature_of
from eie.schema import COUNTER_BITS, ControlReg, IoSpace

INPUT_DEPTH = 2
RESULT_DEPTH = 4
_CODE_BITS = 4
_WORD_ADDR_BITS = LITE_ADDR_BITS - 2  # registers are words of 32 bits


class HostIf(wiring.Component):
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
        m = Module()
        self._declare()
        self._input(m)
        host_commands.check(m, self)
        self._port(m)
        host_commands.decode(m, self)
        self._results(m)
        host_registers.channels(m, self)
        host_registers.writes(m, self)
        host_registers.reads(m, self)
        self._errors(m)
        self._counters(m)
        return m

    def _declare(self) -> None:
        """Internal signals: name and width. Those that a `_` method drives in comb are wires, the others registers."""
        cfg = self.cfg
        widths = {
            # Command decoder: the word that waits, the header, the next word's place.
            **dict.fromkeys(("word_valid", "word_last", "take", "header_last", "header_error", "quiet"), 1),
            "word": stream_bits(cfg),
            "state": 3,
            "header": HEADER_BITS,
            "pe": cfg.pe_bits,
            "addr": cfg.io_addr_bits,
            "remaining": COUNT_BITS,
            "header_code": _CODE_BITS,
            "decoder_error": 1,
            "decoder_code": _CODE_BITS,
            "packet_ends": 1,
            # The array's I/O port: first, second and third cycle of a read, and whose it is.
            **dict.fromkeys(("running", "stream", "port_free"), 1),
            **dict.fromkeys(("read_first", "read_second", "read_third"), 1),
            **dict.fromkeys(("read_issue", "read_lite", "read_last", "read_signed"), 1),
            **dict.fromkeys(("captured_lite", "captured_last", "captured_signed"), 1),
            # AXI4-Lite: accesses that need the port.
            **dict.fromkeys(("op_wait", "op_write", "op_control", "op_grant", "op_reading"), 1),
            "op_addr": cfg.pass_bits + CONFIG_BITS,
            "op_data": LITE_DATA_BITS,
            **dict.fromkeys(("do_write", "do_read"), 1),
            **dict.fromkeys(("aw_addr", "ar_addr"), _WORD_ADDR_BITS),
            "w_data": LITE_DATA_BITS,
            "w_strb": LITE_DATA_BITS // 8,
            **dict.fromkeys(("clear_error", "soft_reset", "start_now", "start_bad"), 1),
            "start_code": _CODE_BITS,
            **dict.fromkeys(("first_pass", "last_pass"), cfg.pass_bits),
            # Status.
            "error_code": _CODE_BITS,
            **dict.fromkeys(("error_info", "error_packet"), LITE_DATA_BITS),
            **dict.fromkeys(("packets", "words_loaded", "words_stored", "idle_cycles"), COUNTER_BITS),
            **dict.fromkeys(("irq_enable", "irq_status", "irq_clear"), 2),
        }
        for name, width in widths.items():
            setattr(self, name, Signal(width, name=name))
        self.room = Signal(range(RESULT_DEPTH + 1), name="room", init=RESULT_DEPTH)
        self.fields = {f.name: self.header[f.low : f.low + f.width] for f in HEADER_FIELDS}

    def _input(self, m: Module) -> None:
        """Words of the command stream: two places, so that tready is a register at full rate."""
        push = Signal()
        m.d.comb += push.eq(self.s_axis_tvalid & self.s_axis_tready)
        valid, word = register_queue(
            m,
            "input",
            INPUT_DEPTH,
            Cat(self.s_axis_tdata, self.s_axis_tlast),
            push,
            self.take,
            self.soft_reset,
        )
        m.d.comb += [
            self.s_axis_tready.eq(~valid[-1]),
            self.word_valid.eq(valid[0]),
            self.word.eq(word[:-1]),
            self.word_last.eq(word[-1]),
        ]

    def _port(self, m: Module) -> None:
        """What both sides share of the I/O port: whether it is free, its idle values, the register side's turn."""
        running = any_of(is_number(self.state, s) for s in (State.FIRST, State.LAST, State.START))
        m.d.comb += [
            self.running.eq(self.start | self.busy | running),
            self.stream.eq(self.state.any() | self.word_valid | self.io_write | self.io_read),
            # A read holds the port for a second cycle; the register side comes first.
            self.port_free.eq(~self.read_first & ~self.op_wait),
            self.op_grant.eq(self.op_wait & ~self.read_first & ~self.running),
        ]
        m.d.sync += [
            self.start.eq(0),
            self.io_write.eq(0),
            self.io_read.eq(self.read_first),
            self.read_first.eq(0),
            self.read_second.eq(self.read_first),
            self.read_third.eq(self.read_second),
        ]
        with m.If(self.read_second):
            m.d.sync += [
                self.captured_lite.eq(self.read_lite),
                self.captured_last.eq(self.read_last),
                self.captured_signed.eq(self.read_signed),
            ]
        with m.If(self.op_grant):
            m.d.sync += [
                self.io_write.eq(self.op_write),
                self.io_read.eq(~self.op_write),
                self.read_first.eq(~self.op_write),
                self.read_lite.eq(1),
                self.io_space.eq(Mux(self.op_control, IoSpace.CONTROL, IoSpace.CONFIG)),
                self.io_pe.eq(0),
                self.io_addr.eq(self.op_addr),
                self.io_data.eq(self.op_data),
            ]
        with m.If(self.start_now):
            m.d.sync += [self.start.eq(1), self.quiet.eq(0)]
        # What the CCU holds: whoever wrote it.
        with m.If(self.io_write & is_number(self.io_space, IoSpace.CONTROL)):
            with m.If(~self.io_addr.any()):
                m.d.sync += self.first_pass.eq(self.io_data)
            with m.Elif(is_number(self.io_addr, ControlReg.LAST_PASS)):
                m.d.sync += self.last_pass.eq(self.io_data)

    def _results(self, m: Module) -> None:
        """Words of READ packets, on their way out: room is kept for those that are still being read."""
        width = stream_bits(self.cfg)
        sign = self.io_rdata[-1] & self.captured_signed
        extended = Cat(self.io_rdata, sign.replicate(width - self.cfg.io_data_bits))
        push, pop = signals(1, "result_push", "result_pop")
        m.d.comb += [
            push.eq(self.read_third & ~self.captured_lite),
            pop.eq(self.m_axis_tvalid & self.m_axis_tready),
        ]
        valid, word = register_queue(m, "result", RESULT_DEPTH, Cat(extended, self.captured_last), push, pop)
        with m.If(self.read_issue & ~pop):
            m.d.sync += self.room.eq(self.room - 1)
        with m.Elif(pop & ~self.read_issue):
            m.d.sync += self.room.eq(self.room + 1)
        m.d.comb += [
            self.m_axis_tvalid.eq(valid[0]),
            self.m_axis_tdata.eq(word[:-1]),
            self.m_axis_tlast.eq(word[-1]),
        ]

    def _errors(self, m: Module) -> None:
        """The first error stays; the decoder's comes before START's. A new event wins over its clearing."""
        busy_before, ended, found, free = signals(1, "busy_before", "run_ended", "error_found", "error_free")
        m.d.comb += free.eq(~self.error_code.any() | self.clear_error)
        with m.If(self.clear_error):
            m.d.sync += self.error_code.eq(0)
        with m.If(self.decoder_error & free):
            m.d.sync += [
                self.error_code.eq(self.decoder_code),
                self.error_info.eq(self.header[:32]),
                self.error_packet.eq(self.packets),
            ]
            m.d.comb += found.eq(1)
        with m.Elif(self.start_code.any() & free):
            m.d.sync += [
                self.error_code.eq(self.start_code),
                self.error_info.eq(self.w_data),
                self.error_packet.eq(self.packets),
            ]
            m.d.comb += found.eq(1)
        m.d.sync += busy_before.eq(self.busy)
        m.d.comb += ended.eq(busy_before & ~self.busy)
        events = Cat(ended & ~self.quiet, found)
        m.d.sync += [
            self.irq_status.eq((self.irq_status & ~self.irq_clear) | events),
            self.irq.eq((self.irq_status & self.irq_enable).any()),
        ]

    def _counters(self, m: Module) -> None:
        never = Const(0)
        count(m, self.packets, never, self.packet_ends)
        if self.cfg.counters:
            loaded = is_number(self.state, State.WRITE) & self.take
            count(m, self.words_loaded, never, loaded)
            count(m, self.words_stored, never, self.m_axis_tvalid & self.m_axis_tready)
            count(m, self.idle_cycles, never, ~self.running & ~self.stream)
