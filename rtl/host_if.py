"""Host interface: AXI4-Lite registers, AXI4-Stream commands and results, and the array's I/O port behind them."""

from __future__ import annotations

import enum
from collections.abc import Iterable

from amaranth import Cat, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, Signature

from eie.axi import (
    CCU_SPACES,
    HEADER_BITS,
    HEADER_FIELDS,
    LITE_ADDR_BITS,
    LITE_DATA_BITS,
    OKAY,
    SIGNED_SPACES,
    SLVERR,
    Command,
    ErrorCode,
    host_if_fields,
    space_words,
    stream_bits,
)
from eie.config import CONFIG_BITS, ArchConfig
from eie.registers import Access, Reg
from eie.rtl.block import add, any_of, count, is_number, resize
from eie.schema import COUNTER_BITS, ConfigReg, ControlReg, Field, IoSpace, Kind

RESULT_DEPTH = 4
INPUT_DEPTH = 2
_COUNT_BITS = 24
_CODE_BITS = 4
_WORD_ADDR_BITS = LITE_ADDR_BITS - 2  # registers are words of 32 bits


class State(enum.IntEnum):
    """What the command decoder does."""

    HEADER = 0
    CHECK = 1
    WRITE = 2
    READ = 3
    FIRST = 4
    LAST = 5
    START = 6
    SWALLOW = 7


def signature_of(fields: Iterable[Field]) -> Signature:
    """Ports as declared in `eie.axi`."""
    return Signature(
        {f.name: (In if f.kind is Kind.IN else Out)(unsigned(f.width)) for f in fields if f.kind.is_port}
    )


def _register_queue(
    m: Module, name: str, depth: int, word: Value, push: Value, pop: Value, clear: Value | None = None
) -> tuple[list[Signal], Signal]:
    """A queue of registers; its places' valid bits and the word in the first place, all of them registers.

    A word may be pushed when the last place is free (valid[-1] is 0), or popped in the same cycle.
    """
    valid = [Signal(name=f"{name}_valid{i}") for i in range(depth)]
    kept = [Signal(name=f"{name}_kept{i}") for i in range(depth)]  # taken by a word that was in the queue
    words = [Signal(len(word), name=f"{name}_word{i}") for i in range(depth)]
    for i in range(depth):
        last = i + 1 == depth
        m.d.comb += kept[i].eq(Mux(pop, Const(0) if last else valid[i + 1], valid[i]))
        enter = push & ~kept[i] & (kept[i - 1] if i else Const(1))
        m.d.sync += valid[i].eq(kept[i] | enter if clear is None else (kept[i] | enter) & ~clear)
        with m.If(enter):
            m.d.sync += words[i].eq(word)
        if not last:
            with m.Elif(pop):
                m.d.sync += words[i].eq(words[i + 1])
    return valid, words[0]


def _signals(width: int, *names: str) -> list[Signal]:
    return [Signal(width, name=name) for name in names]


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
        self._check(m)
        self._port(m)
        self._decode(m)
        self._results(m)
        self._lite_channels(m)
        self._lite_write(m)
        self._lite_read(m)
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
            "remaining": _COUNT_BITS,
            "header_code": _CODE_BITS,
            "decoder_error": 1,
            "decoder_code": _CODE_BITS,
            "packet_ends": 1,
            # The array's I/O port: first, second and third cycle of a read, and whose it is.
            **dict.fromkeys(("running", "stream", "port_free"), 1),
            **dict.fromkeys(("read_first", "read_second", "read_third"), 1),
            **dict.fromkeys(("read_lite", "read_last", "read_signed"), 1),
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

    # ---- commands ------------------------------------------------------------------------------------------

    def _input(self, m: Module) -> None:
        """Words of the command stream: two places, so that tready is a register at full rate."""
        push = Signal()
        m.d.comb += push.eq(self.s_axis_tvalid & self.s_axis_tready)
        valid, word = _register_queue(
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

    def _check(self, m: Module) -> None:
        """What is wrong with the header, if anything; the first in this order."""
        cfg, f = self.cfg, self.fields
        is_write = is_number(f["COMMAND"], Command.WRITE)
        is_run = is_number(f["COMMAND"], Command.RUN)
        known, inside = Signal(name="space_known"), Signal(name="address_inside")
        # Signals, not expressions: Verilator wants both operands of a sum to have its width.
        width = _COUNT_BITS + 1
        n_words, last_word, first_pe, words = _signals(width, "n_words", "last_word", "first_pe", "words")
        first_addr, steps, furthest = _signals(width, "first_addr", "steps", "furthest")
        m.d.comb += [
            n_words.eq(f["COUNT"]),
            last_word.eq(add(n_words, Const(-1, width), width)),
            first_pe.eq(f["PE"]),
            first_addr.eq(f["ADDR"]),
            words.eq(add(last_word, first_pe, width)),
            # How far the last word's address is from the first one's.
            steps.eq(Mux(f["SPREAD"], words >> (cfg.n_pe - 1).bit_length(), last_word)),
            furthest.eq(add(first_addr, steps, width)),
        ]
        for space in IoSpace:
            with m.If(is_number(f["SPACE"], space)):
                depth = space_words(space, cfg)
                m.d.comb += inside.eq(Const(1) if depth >> width else furthest < Const(depth, width))
                if space in CCU_SPACES:
                    m.d.comb += known.eq(~f["SPREAD"])
                elif space is IoSpace.CODEBOOK:
                    m.d.comb += known.eq(~(f["SPREAD"] & is_write))
                elif space is IoSpace.COUNTER:
                    m.d.comb += known.eq(~is_write)
                else:
                    m.d.comb += known.eq(1)
        first, last = f["ADDR"][:8], f["ADDR"][8:16]
        too_far = Const(0) if cfg.passes == 256 else last >= Const(cfg.passes, 8)
        no_pe = Const(0) if cfg.n_pe == 256 else f["PE"] >= Const(cfg.n_pe, 8)
        checks = [
            (is_number(f["COMMAND"], 3) | self.header[7], ErrorCode.COMMAND),
            (is_run & ((first > last) | too_far), ErrorCode.PASS),
            (~is_run & ~known, ErrorCode.SPACE),
            (~is_run & no_pe, ErrorCode.PE),
            (~is_run & ~f["COUNT"].any(), ErrorCode.COUNT),
            (~is_run & ~inside, ErrorCode.ADDRESS),
            (is_write & self.header_last, ErrorCode.TLAST_EARLY),
            (~is_write & ~self.header_last, ErrorCode.TLAST_LATE),
        ]
        for number, (wrong, code) in enumerate(checks):
            with m.If(wrong) if number == 0 else m.Elif(wrong):
                m.d.comb += [self.header_error.eq(1), self.header_code.eq(code)]

    def _decode(self, m: Module) -> None:
        cfg, f = self.cfg, self.fields
        step_pe = Signal()  # the next word goes to another PE of the same address
        m.d.comb += step_pe.eq(f["SPREAD"] & ~is_number(self.pe, cfg.n_pe - 1))
        one_left = is_number(self.remaining, 1)
        advance = [
            self.remaining.eq(add(self.remaining, Const(-1, _COUNT_BITS), _COUNT_BITS)),
            self.pe.eq(Mux(f["SPREAD"], Mux(step_pe, self.pe + 1, 0)[: cfg.pe_bits], self.pe)),
            self.addr.eq(Mux(step_pe, self.addr, (self.addr + 1)[: cfg.io_addr_bits])),
        ]
        place = [
            self.io_space.eq(f["SPACE"]),
            self.io_pe.eq(self.pe),
            self.io_addr.eq(self.addr),
        ]
        error, ends = [self.decoder_error.eq(1)], [self.packet_ends.eq(1)]
        with m.If(is_number(self.state, State.HEADER)):
            m.d.comb += self.take.eq(self.word_valid & ~self.running)
            with m.If(self.take):
                m.d.sync += [
                    self.header.eq(self.word[:HEADER_BITS]),
                    self.header_last.eq(self.word_last),
                    self.state.eq(State.CHECK),
                ]
        with m.If(is_number(self.state, State.CHECK)):
            m.d.sync += [
                self.pe.eq(resize(f["PE"], cfg.pe_bits)),
                self.addr.eq(resize(f["ADDR"], cfg.io_addr_bits)),
                self.remaining.eq(f["COUNT"]),
            ]
            m.d.comb += self.packet_ends.eq(self.header_last)
            with m.If(self.error_code.any() | self.header_error):
                m.d.comb += [
                    self.decoder_error.eq(~self.error_code.any()),
                    self.decoder_code.eq(self.header_code),
                ]
                m.d.sync += self.state.eq(Mux(self.header_last, State.HEADER, State.SWALLOW))
            with m.Elif(is_number(f["COMMAND"], Command.WRITE)):
                m.d.sync += self.state.eq(State.WRITE)
            with m.Elif(is_number(f["COMMAND"], Command.READ)):
                m.d.sync += self.state.eq(State.READ)
            with m.Else():
                m.d.sync += self.state.eq(State.FIRST)
        with m.If(is_number(self.state, State.WRITE)):
            m.d.comb += self.take.eq(self.word_valid & self.port_free)
            with m.If(self.take):
                m.d.sync += [
                    *advance,
                    *place,
                    self.io_write.eq(1),
                    self.io_data.eq(self.word[: cfg.io_data_bits]),
                ]
                with m.If(self.word_last):
                    m.d.comb += ends
                    m.d.sync += self.state.eq(State.HEADER)
                    with m.If(~one_left):
                        m.d.comb += [*error, self.decoder_code.eq(ErrorCode.TLAST_EARLY)]
                with m.Elif(one_left):
                    m.d.comb += [*error, self.decoder_code.eq(ErrorCode.TLAST_LATE)]
                    m.d.sync += self.state.eq(State.SWALLOW)
        with m.If(is_number(self.state, State.READ)):
            with m.If(self.port_free & self.room.any()):
                m.d.sync += [
                    *advance,
                    *place,
                    self.io_read.eq(1),
                    self.read_first.eq(1),
                    self.read_lite.eq(0),
                    self.read_last.eq(one_left),
                    self.read_signed.eq(any_of(is_number(f["SPACE"], s) for s in SIGNED_SPACES)),
                ]
                with m.If(one_left):
                    m.d.sync += self.state.eq(State.HEADER)
        for state, register, following in (
            (State.FIRST, ControlReg.FIRST_PASS, State.LAST),
            (State.LAST, ControlReg.LAST_PASS, State.START),
        ):
            with m.If(is_number(self.state, state)):
                with m.If(self.port_free):
                    m.d.sync += [
                        self.io_write.eq(1),
                        self.io_space.eq(IoSpace.CONTROL),
                        self.io_addr.eq(register),
                        self.io_data.eq(f["ADDR"].word_select(int(register), 8)),
                        self.state.eq(following),
                    ]
        with m.If(is_number(self.state, State.START)):
            with m.If(self.port_free):
                m.d.sync += [
                    self.start.eq(1),
                    self.quiet.eq(f["SPREAD"]),
                    self.state.eq(State.HEADER),
                ]
        with m.If(is_number(self.state, State.SWALLOW)):
            m.d.comb += self.take.eq(self.word_valid)
            with m.If(self.take & self.word_last):
                m.d.comb += ends
                m.d.sync += self.state.eq(State.HEADER)
        with m.If(self.soft_reset):
            m.d.sync += self.state.eq(State.HEADER)

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
        push, pop, issue = _signals(1, "result_push", "result_pop", "result_issue")
        m.d.comb += [
            push.eq(self.read_third & ~self.captured_lite),
            pop.eq(self.m_axis_tvalid & self.m_axis_tready),
            issue.eq(is_number(self.state, State.READ) & self.port_free & self.room.any()),
        ]
        valid, word = _register_queue(m, "result", RESULT_DEPTH, Cat(extended, self.captured_last), push, pop)
        with m.If(issue & ~pop):
            m.d.sync += self.room.eq(self.room - 1)
        with m.Elif(pop & ~issue):
            m.d.sync += self.room.eq(self.room + 1)
        m.d.comb += [
            self.m_axis_tvalid.eq(valid[0]),
            self.m_axis_tdata.eq(word[:-1]),
            self.m_axis_tlast.eq(word[-1]),
        ]

    # ---- registers -----------------------------------------------------------------------------------------

    def _lite_channels(self, m: Module) -> None:
        """A place for each address and the data; answers wait until they are taken."""
        aw_full, w_full, ar_full = _signals(1, "aw_full", "w_full", "ar_full")
        aw_push, w_push, ar_push = _signals(1, "aw_push", "w_push", "ar_push")
        m.d.comb += [
            self.s_axil_awready.eq(~aw_full),
            self.s_axil_wready.eq(~w_full),
            self.s_axil_arready.eq(~ar_full),
            aw_push.eq(self.s_axil_awvalid & ~aw_full),
            w_push.eq(self.s_axil_wvalid & ~w_full),
            ar_push.eq(self.s_axil_arvalid & ~ar_full),
            # One access of the pass table at a time; a write before a read.
            self.do_write.eq(aw_full & w_full & ~self.s_axil_bvalid & ~self.op_wait & ~self.op_reading),
            self.do_read.eq(
                ar_full & ~self.s_axil_rvalid & ~self.op_wait & ~self.op_reading & ~self.do_write
            ),
        ]
        m.d.sync += [
            aw_full.eq(aw_push | (aw_full & ~self.do_write)),
            w_full.eq(w_push | (w_full & ~self.do_write)),
            ar_full.eq(ar_push | (ar_full & ~self.do_read)),
        ]
        with m.If(aw_push):
            m.d.sync += self.aw_addr.eq(self.s_axil_awaddr[2:])
        with m.If(w_push):
            m.d.sync += [self.w_data.eq(self.s_axil_wdata), self.w_strb.eq(self.s_axil_wstrb)]
        with m.If(ar_push):
            m.d.sync += self.ar_addr.eq(self.s_axil_araddr[2:])
        with m.If(self.s_axil_bvalid & self.s_axil_bready):
            m.d.sync += self.s_axil_bvalid.eq(0)
        with m.If(self.s_axil_rvalid & self.s_axil_rready):
            m.d.sync += self.s_axil_rvalid.eq(0)

    def _in_table(self, addr: Value) -> Value:
        """Whether an address in words is that of a register in the pass table."""
        cfg = self.cfg
        window = addr[12]
        number = addr[CONFIG_BITS:12]
        register = addr[:CONFIG_BITS]
        known = Const(1) if cfg.passes == 256 else number < Const(cfg.passes, len(number))
        return window & known & (register < Const(len(ConfigReg), CONFIG_BITS))

    def _lite_write(self, m: Module) -> None:
        cfg = self.cfg
        at = {reg: is_number(self.aw_addr, reg.offset >> 2) for reg in Reg}
        whole = self.w_strb.all()
        passes = at[Reg.FIRST_PASS] | at[Reg.LAST_PASS]
        pass_known = self.w_data < Const(cfg.passes, 32)
        writable = any_of(at[reg] for reg in Reg if reg.access is not Access.RO)
        writes, control = _signals(1, "writes", "writes_control")
        m.d.comb += [
            writes.eq(self.do_write & whole),
            control.eq(writes & at[Reg.CONTROL]),
            self.soft_reset.eq(control & self.w_data[2]),
            self.clear_error.eq(control & (self.w_data[1] | self.w_data[2])),
        ]
        self._start(m, control & self.w_data[0])
        with m.If(self.do_write):
            m.d.sync += [self.s_axil_bvalid.eq(1), self.s_axil_bresp.eq(SLVERR)]
            with m.If(whole & (self._in_table(self.aw_addr) | (passes & pass_known))):
                m.d.sync += [
                    self.s_axil_bvalid.eq(0),
                    self.op_wait.eq(1),
                    self.op_write.eq(1),
                    self.op_control.eq(passes),
                    self.op_addr.eq(Mux(passes, at[Reg.LAST_PASS], self.aw_addr)),
                    self.op_data.eq(self.w_data),
                ]
            with m.Elif(whole & writable & ~passes & ~self.start_bad):
                m.d.sync += self.s_axil_bresp.eq(OKAY)
        with m.If(writes & at[Reg.IRQ_ENABLE]):
            m.d.sync += self.irq_enable.eq(self.w_data)
        with m.If(writes & at[Reg.IRQ_STATUS]):
            m.d.comb += self.irq_clear.eq(self.w_data)
        with m.If(self.op_wait & self.op_write & (self.op_grant | self.running)):
            m.d.sync += [
                self.op_wait.eq(0),
                self.s_axil_bvalid.eq(1),
                self.s_axil_bresp.eq(Mux(self.running, SLVERR, OKAY)),
            ]

    def _start(self, m: Module, asked: Value) -> None:
        """START: now, or refused."""
        passes = self.cfg.passes
        beyond = Const(0) if passes == 1 << len(self.last_pass) else self.last_pass >= passes
        wrong_pass = (self.first_pass > self.last_pass) | beyond
        errs = self.error_code.any() & ~self.clear_error
        with m.If(asked):
            with m.If(errs):
                m.d.comb += self.start_bad.eq(1)
            with m.Elif(self.running | self.stream):
                m.d.comb += [self.start_bad.eq(1), self.start_code.eq(ErrorCode.START_BUSY)]
            with m.Elif(wrong_pass):
                m.d.comb += [self.start_bad.eq(1), self.start_code.eq(ErrorCode.PASS)]
            with m.Else():
                m.d.comb += self.start_now.eq(1)

    def _lite_read(self, m: Module) -> None:
        cfg = self.cfg
        word = Signal(LITE_DATA_BITS, name="read_word")
        known = Signal(name="read_known")
        values: dict[Reg, Value] = {
            Reg.STATUS: Cat(
                self.running,
                self.done,
                self.error_code.any(),
                self.stream,
                self.m_axis_tvalid,
                Const(0, 11),
                resize(self.current_pass, 8),
            ),
            Reg.IRQ_ENABLE: self.irq_enable,
            Reg.IRQ_STATUS: self.irq_status,
            Reg.FIRST_PASS: self.first_pass,
            Reg.LAST_PASS: self.last_pass,
            Reg.ERROR_CODE: self.error_code,
            Reg.ERROR_INFO: self.error_info,
            Reg.ERROR_PACKET: self.error_packet,
            Reg.CYCLES: self.cycles,
            Reg.BROADCAST_STALLS: self.broadcast_stalls,
            Reg.REFILL_CYCLES: self.refill_cycles,
            Reg.WRITEBACK_CYCLES: self.writeback_cycles,
            Reg.PACKETS: self.packets,
            Reg.WORDS_LOADED: self.words_loaded,
            Reg.WORDS_STORED: self.words_stored,
            Reg.IDLE_CYCLES: self.idle_cycles,
        }
        for reg in Reg:
            with m.If(is_number(self.ar_addr, reg.offset >> 2)):
                value = values.get(reg, Const(reg.reset_value(cfg), LITE_DATA_BITS))
                m.d.comb += [known.eq(1), word.eq(resize(value, LITE_DATA_BITS))]
        with m.If(self.do_read):
            with m.If(self._in_table(self.ar_addr)):
                m.d.sync += [
                    self.op_wait.eq(1),
                    self.op_write.eq(0),
                    self.op_control.eq(0),
                    self.op_addr.eq(self.ar_addr),
                ]
            with m.Else():
                m.d.sync += [
                    self.s_axil_rvalid.eq(1),
                    self.s_axil_rdata.eq(word),
                    self.s_axil_rresp.eq(Mux(known, OKAY, SLVERR)),
                ]
        with m.If(self.op_wait & ~self.op_write):
            with m.If(self.running):
                m.d.sync += [
                    self.op_wait.eq(0),
                    self.s_axil_rvalid.eq(1),
                    self.s_axil_rdata.eq(0),
                    self.s_axil_rresp.eq(SLVERR),
                ]
            with m.Elif(self.op_grant):
                m.d.sync += [self.op_wait.eq(0), self.op_reading.eq(1)]
        with m.If(self.read_third & self.captured_lite):
            m.d.sync += [
                self.op_reading.eq(0),
                self.s_axil_rvalid.eq(1),
                self.s_axil_rdata.eq(self.io_rdata),
                self.s_axil_rresp.eq(OKAY),
            ]

    # ---- status --------------------------------------------------------------------------------------------

    def _errors(self, m: Module) -> None:
        """The first error stays; the decoder's comes before START's. A new event wins over its clearing."""
        busy_before, ended, found, free = _signals(1, "busy_before", "run_ended", "error_found", "error_free")
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
