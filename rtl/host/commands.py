"""Host interface: the decoder of the command stream (docs/chip.md)."""

from __future__ import annotations

import enum
from typing import Any

from amaranth import Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from eie.axi import CCU_SPACES, LITE_DATA_BITS, SIGNED_SPACES, Command, ErrorCode, space_words
from eie.config import ArchConfig
from eie.rtl.block import add, any_of, is_number, resize
from eie.rtl.host.interfaces import (
    ERROR_CODE_BITS,
    HEADER,
    PASS_NUMBER_BITS,
    PortRequest,
    PortRequestSignature,
    packet_words,
)
from eie.schema import ControlReg, IoSpace

COUNT_BITS = 24


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


class HeaderCheck(wiring.Component):
    """What is wrong with a packet's header, if anything.

    Latency: the outputs follow the header by one cycle. The sums are shared out between the two.

    Parameters
    ----------
    cfg : sizes of the accelerator.

    Members
    -------
    word : In(HEADER)
        The packet's first word. The outputs belong to what it was in the cycle before.
    last : In(1)
        That word has TLAST.
    fault : Out(1)
        Something is wrong.
    fault_code : Out(ERROR_CODE_BITS)
        The first fault in the order of docs/chip.md, as `eie.axi.ErrorCode`; 0 without one.
    """

    word: Any
    last: Signal
    fault: Signal
    fault_code: Signal

    def __init__(self, cfg: ArchConfig) -> None:
        self.cfg = cfg
        super().__init__(
            {
                "word": In(HEADER),
                "last": In(1),
                "fault": Out(1),
                "fault_code": Out(ERROR_CODE_BITS),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m, cfg, header = Module(), self.cfg, self.word
        is_write = is_number(header.command, Command.WRITE)
        is_run = is_number(header.command, Command.RUN)
        first, last = header.addr[:PASS_NUMBER_BITS], header.addr[PASS_NUMBER_BITS : 2 * PASS_NUMBER_BITS]
        too_far = Const(0) if cfg.passes == 256 else last >= Const(cfg.passes, 8)
        no_pe = Const(0) if cfg.n_pe == 256 else header.pe >= Const(cfg.n_pe, 8)
        # What stands before and behind the address in the order, from a register.
        before = [
            (is_number(header.command, 3) | header.as_value()[7], ErrorCode.COMMAND),
            (is_run & ((first > last) | too_far), ErrorCode.PASS),
            (~is_run & ~self._known(m, is_write), ErrorCode.SPACE),
            (~is_run & no_pe, ErrorCode.PE),
            (~is_run & ~header.count.any(), ErrorCode.COUNT),
        ]
        behind = [
            (is_write & self.last, ErrorCode.TLAST_EARLY),
            (~is_write & ~self.last, ErrorCode.TLAST_LATE),
        ]
        codes = {name: Signal(ERROR_CODE_BITS, name=f"{name}_address") for name in ("before", "behind")}
        for name, checks in (("before", before), ("behind", behind)):
            m.d.sync += codes[name].eq(0)
            for number, (wrong, code) in enumerate(checks):
                with m.If(wrong) if number == 0 else m.Elif(wrong):
                    m.d.sync += codes[name].eq(code)
        inside = self._inside(m, is_run)
        with m.If(codes["before"].any()):
            m.d.comb += self.fault_code.eq(codes["before"])
        with m.Elif(~inside):
            m.d.comb += self.fault_code.eq(ErrorCode.ADDRESS)
        with m.Else():
            m.d.comb += self.fault_code.eq(codes["behind"])
        m.d.comb += self.fault.eq(codes["before"].any() | ~inside | codes["behind"].any())
        return m

    def _known(self, m: Module, is_write: Value) -> Signal:
        """Whether the space is one that this packet may name."""
        header, known = self.word, Signal(name="space_known")
        for space in IoSpace:
            with m.If(is_number(header.space, space)):
                if space in CCU_SPACES:
                    m.d.comb += known.eq(~header.spread)
                elif space is IoSpace.CODEBOOK:
                    m.d.comb += known.eq(~(header.spread & is_write))
                elif space is IoSpace.COUNTER:
                    m.d.comb += known.eq(~is_write)
                else:
                    m.d.comb += known.eq(1)
        return known

    def _inside(self, m: Module, is_run: Value) -> Signal:
        """Whether all of the packet's words are inside the space; a RUN has none."""
        cfg, header, inside = self.cfg, self.word, Signal(name="address_inside")
        # Signals, not expressions: Verilator wants both operands of a sum to have its width.
        width = COUNT_BITS + 1
        n_words = Signal(width)
        last_word = Signal(width)
        first_pe = Signal(width)
        words = Signal(width)
        steps = Signal(width)
        furthest = Signal(width)
        m.d.comb += [
            n_words.eq(header.count),
            last_word.eq(add(n_words, Const(-1, width), width)),
            first_pe.eq(header.pe),
            words.eq(add(last_word, first_pe, width)),
            # How far the last word's address is from the first one's.
            steps.eq(Mux(header.spread, words >> (cfg.n_pe - 1).bit_length(), last_word)),
        ]
        far, first_addr = Signal(width, name="far"), Signal(width, name="first_addr")
        space, run = Signal(len(header.space), name="space"), Signal(name="run")
        m.d.sync += [far.eq(steps), first_addr.eq(header.addr), space.eq(header.space), run.eq(is_run)]
        m.d.comb += [furthest.eq(add(first_addr, far, width)), inside.eq(run)]
        for number in IoSpace:
            with m.If(is_number(space, number) & ~run):
                depth = space_words(number, cfg)
                m.d.comb += inside.eq(Const(1) if depth >> width else furthest < Const(depth, width))
        return inside


class CommandDecoder(wiring.Component):
    """Works off packets: accesses of the array's I/O port for WRITE and READ, a start for RUN.

    Latency: a header takes two cycles; a data word is asked for on the port in the cycle in which it is taken.

    Parameters
    ----------
    cfg : sizes of the accelerator.

    Members
    -------
    words : In(packet_words(cfg))
        The command stream behind the input queue. `ready` does not depend on `valid`.
    abort : In(1)
        Give up the packet under way, or whose first word waits: swallow it. A READ, whose packet has ended on this
        stream, goes on to its last word, and so does a RUN.
    forget : In(1)
        Of a packet that is swallowed there is nothing to come: the next word is a header. Only with `abort`; not heeded
        if a word waits.
    cut : In(1)
        After reset, the next word is not a header: swallow the packet that it belongs to.
    error_stands : In(1)
        There is an error that has not been cleared: packets are swallowed. Valid in every cycle.
    running : In(1)
        A run is under way: no header is taken. Valid in every cycle.
    port : Out(PortRequestSignature(cfg))
        The access of a WRITE's or a READ's next word.
    room : In(1)
        The result queue has room for the word of one more read. Valid in every cycle.
    read_issue : Out(1)
        The port takes a read in this cycle.
    read_last : Out(1)
        It is the packet's last. With `read_issue`.
    read_signed : Out(1)
        Its word is signed. With `read_issue`.
    pass_write : Out(1)
        A RUN writes a register of the space CONTROL. Only with `port.ready`.
    pass_register : Out(1)
        Which one, as `eie.schema.ControlReg`. With `pass_write`.
    pass_number : Out(PASS_NUMBER_BITS)
        What it becomes. With `pass_write`.
    starting : Out(1)
        A RUN's header was good, its start is to come. Valid in every cycle.
    run_start : Out(1)
        The run's start is on its way to the array. In the last cycle of `starting`.
    run_quiet : Out(1)
        That run raises no interrupt. 0 without `run_start`.
    packet : Out(1)
        A packet is under way, or a word of one waits. Valid in every cycle.
    packet_ends : Out(1)
        The word with TLAST has been taken: in the cycle after it for a header, else in its cycle.
    word_loaded : Out(1)
        A word of a WRITE is taken in this cycle.
    error : Out(1)
        An error was found in this cycle.
    error_code : Out(ERROR_CODE_BITS)
        Which one, as `eie.axi.ErrorCode`. With `error`.
    error_info : Out(LITE_DATA_BITS)
        Low bits of the packet's header. With `error`.
    """

    words: stream.Interface
    abort: Signal
    forget: Signal
    cut: Signal
    error_stands: Signal
    running: Signal
    port: PortRequest
    room: Signal
    read_issue: Signal
    read_last: Signal
    read_signed: Signal
    pass_write: Signal
    pass_register: Signal
    pass_number: Signal
    starting: Signal
    run_start: Signal
    run_quiet: Signal
    packet: Signal
    packet_ends: Signal
    word_loaded: Signal
    error: Signal
    error_code: Signal
    error_info: Signal

    def __init__(self, cfg: ArchConfig) -> None:
        self.cfg = cfg
        super().__init__(
            {
                "words": In(packet_words(cfg)),
                "abort": In(1),
                "forget": In(1),
                "cut": In(1),
                "error_stands": In(1),
                "running": In(1),
                "port": Out(PortRequestSignature(cfg)),
                "room": In(1),
                "read_issue": Out(1),
                "read_last": Out(1),
                "read_signed": Out(1),
                "pass_write": Out(1),
                "pass_register": Out(1),
                "pass_number": Out(PASS_NUMBER_BITS),
                "starting": Out(1),
                "run_start": Out(1),
                "run_quiet": Out(1),
                "packet": Out(1),
                "packet_ends": Out(1),
                "word_loaded": Out(1),
                "error": Out(1),
                "error_code": Out(ERROR_CODE_BITS),
                "error_info": Out(LITE_DATA_BITS),
            }
        )
        self._state = Signal(State, name="state")
        # The header of the packet under way, and whether its word had TLAST.
        self._header = data.View(HEADER, Signal(HEADER.size, name="header"))
        self._header_last = Signal(name="header_last")
        # Where the next word goes or comes from, and how many are left.
        self._pe = Signal(cfg.pe_bits, name="pe")
        self._addr = Signal(cfg.io_addr_bits, name="addr")
        self._remaining = Signal(COUNT_BITS, name="remaining")

    def _in(self, state: State) -> Value:
        return is_number(self._state, state)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.check = check = HeaderCheck(self.cfg)
        m.d.comb += [
            check.word.eq(self.words.payload.data[: HEADER.size]),
            check.last.eq(self.words.payload.last),
            self.packet.eq(self._state.any() | self.words.valid),
            self.starting.eq(any_of(self._in(s) for s in (State.FIRST, State.LAST, State.START))),
            self.error_info.eq(
                Mux(self._in(State.HEADER), self.words.payload.data[: HEADER.size], self._header.as_value())
            ),
        ]
        self._take_header(m)
        self._judge(m, check)
        self._transfer(m)
        self._run(m)
        with m.If(self._in(State.SWALLOW)):
            m.d.comb += self.words.ready.eq(1)
            with m.If(self.words.valid & self.words.payload.last):
                m.d.comb += self.packet_ends.eq(1)
                m.d.sync += self._state.eq(State.HEADER)
        self._give_up(m)
        return m

    def _take_header(self, m: Module) -> None:
        with m.If(self._in(State.HEADER)):
            m.d.comb += self.words.ready.eq(~self.running & ~self.abort)
            with m.If(self.words.valid & self.words.ready):
                m.d.sync += [
                    self._header.eq(self.words.payload.data[: HEADER.size]),
                    self._header_last.eq(self.words.payload.last),
                    self._state.eq(State.CHECK),
                ]

    def _judge(self, m: Module, check: HeaderCheck) -> None:
        """What becomes of the packet."""
        header = self._header
        with m.If(self._in(State.CHECK)):
            m.d.sync += [
                self._pe.eq(resize(header.pe, self.cfg.pe_bits)),
                self._addr.eq(resize(header.addr, self.cfg.io_addr_bits)),
                self._remaining.eq(header.count),
            ]
            m.d.comb += self.packet_ends.eq(self._header_last)
            with m.If(self.error_stands | check.fault):
                m.d.comb += [self.error.eq(~self.error_stands), self.error_code.eq(check.fault_code)]
                m.d.sync += self._state.eq(Mux(self._header_last, State.HEADER, State.SWALLOW))
            with m.Elif(is_number(header.command, Command.WRITE)):
                m.d.sync += self._state.eq(State.WRITE)
            with m.Elif(is_number(header.command, Command.READ)):
                m.d.sync += self._state.eq(State.READ)
            with m.Else():
                m.d.sync += self._state.eq(State.FIRST)

    def _transfer(self, m: Module) -> None:
        """Words of WRITE and READ, one after the other."""
        cfg, header, port = self.cfg, self._header, self.port
        step_pe = Signal()  # the next word goes to another PE of the same address
        one_left = is_number(self._remaining, 1)
        writing, reading = self._in(State.WRITE), self._in(State.READ)
        m.d.comb += [
            port.valid.eq((writing & self.words.valid) | (reading & self.room)),
            port.write.eq(writing),
            port.space.eq(header.space),
            port.pe.eq(self._pe),
            port.addr.eq(self._addr),
            port.data.eq(self.words.payload.data),
            self.word_loaded.eq(writing & self.words.valid & port.ready),
            self.read_issue.eq(reading & self.room & port.ready),
            self.read_last.eq(one_left),
            self.read_signed.eq(any_of(is_number(header.space, space) for space in SIGNED_SPACES)),
            step_pe.eq(header.spread & ~is_number(self._pe, cfg.n_pe - 1)),
        ]
        with m.If(self.word_loaded | self.read_issue):
            m.d.sync += [
                self._remaining.eq(add(self._remaining, Const(-1, COUNT_BITS), COUNT_BITS)),
                self._pe.eq(Mux(header.spread, Mux(step_pe, self._pe + 1, 0)[: cfg.pe_bits], self._pe)),
                self._addr.eq(Mux(step_pe, self._addr, (self._addr + 1)[: cfg.io_addr_bits])),
            ]
        with m.If(writing):
            m.d.comb += self.words.ready.eq(port.ready)
        with m.If(self.word_loaded):
            with m.If(self.words.payload.last):
                m.d.comb += [
                    self.packet_ends.eq(1),
                    self.error.eq(~one_left),
                    self.error_code.eq(ErrorCode.TLAST_EARLY),
                ]
                m.d.sync += self._state.eq(State.HEADER)
            with m.Elif(one_left):
                m.d.comb += [self.error.eq(1), self.error_code.eq(ErrorCode.TLAST_LATE)]
                m.d.sync += self._state.eq(State.SWALLOW)
        with m.If(self.read_issue & one_left):
            m.d.sync += self._state.eq(State.HEADER)

    def _give_up(self, m: Module) -> None:
        """Swallow the packet under way, unless it ends in this cycle: what is left of it must not pass for a header."""
        word_last = self.words.valid & self.words.payload.last
        ends = self.word_loaded & (self.words.payload.last | is_number(self._remaining, 1))
        swallowing = self._in(State.SWALLOW)
        midst = Signal()
        m.d.comb += midst.eq(
            (self._in(State.HEADER) & self.words.valid)
            | self._in(State.CHECK)
            | (self._in(State.WRITE) & ~ends)
            | (swallowing & ~word_last)
        )
        with m.If(self.abort & self.forget & swallowing & ~self.words.valid):
            m.d.sync += self._state.eq(State.HEADER)
        with m.Elif((self.abort & midst) | self.cut):
            m.d.comb += [self.error.eq(1), self.error_code.eq(ErrorCode.ABORTED)]
            whole = self._in(State.CHECK) & self._header_last
            m.d.sync += self._state.eq(Mux(whole, State.HEADER, State.SWALLOW))

    def _run(self, m: Module) -> None:
        """First pass, last pass, start."""
        first, last = (self._in(state) for state in (State.FIRST, State.LAST))
        passes = self._header.addr
        m.d.comb += [
            self.pass_write.eq((first | last) & self.port.ready),
            self.pass_register.eq(Mux(last, ControlReg.LAST_PASS, ControlReg.FIRST_PASS)),
            self.pass_number.eq(Mux(last, passes[PASS_NUMBER_BITS:], passes[:PASS_NUMBER_BITS])),
            self.run_start.eq(self._in(State.START) & self.port.ready),
            self.run_quiet.eq(self.run_start & self._header.spread),
        ]
        with m.If(self.pass_write):
            m.d.sync += self._state.eq(Mux(last, State.START, State.LAST))
        with m.If(self.run_start):
            m.d.sync += self._state.eq(State.HEADER)
