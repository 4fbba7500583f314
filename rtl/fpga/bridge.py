"""Bridge: frames of octets to the chip's buses, and its answers back (docs/fpga.md)."""

from __future__ import annotations

import enum

from amaranth import Array, Module, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Member, Out

from eie.axi import chip_fields, stream_bits
from eie.config import ArchConfig
from eie.rtl.block import Declared, is_number, signature_of
from eie.serial_bus import ADDRESS_OCTETS, LAST, REGISTER_OCTETS, Opcode

_COUNT_BITS = 16
# Octets behind the opcode.
_ARGUMENTS = {
    Opcode.READ: ADDRESS_OCTETS,
    Opcode.WRITE: ADDRESS_OCTETS + REGISTER_OCTETS,
    Opcode.SEND: 3,
    Opcode.RECEIVE: 2,
}


class State(enum.IntEnum):
    """What the bridge does: an opcode comes, its arguments, a bus works, a word comes, octets go back."""

    OPCODE = 0
    ARGUMENTS = 1
    READ = 2
    WRITE = 3
    FETCH = 4
    SEND = 5
    RECEIVE = 6
    ANSWER = 7


def _members(cfg: ArchConfig) -> dict[str, Member]:
    chip = signature_of(chip_fields(cfg)).flip().members
    octets = stream.Signature(8)
    return {"requests": In(octets), "answers": Out(octets)} | {name: chip[name] for name in chip}


class Bridge(Declared):
    """Master of the chip's buses, one frame at a time.

    Latency: an octet a cycle; the buses take what they take.

    Parameters
    ----------
    cfg : sizes of the accelerator.

    Members
    -------
    requests : frames. answers : what the frames ask for.
    s_axil_*, s_axis_*, m_axis_*, irq : the chip's ports of the same names, from the other side.
    """

    requests: stream.Interface
    answers: stream.Interface

    def __init__(self, cfg: ArchConfig) -> None:
        self.cfg = cfg
        super().__init__(wiring.Signature(_members(cfg)))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        self.state = Signal(State)
        self.opcode = Signal(8)
        # The octets that came or go, the first in the low bits; which one is next, and how many are left after it.
        self.word = Signal(stream_bits(self.cfg))
        self.index = Signal(range(len(self.word) // 8))
        self.after = Signal(range(len(self.word) // 8))
        # Of SEND and RECEIVE.
        self.size = Signal(7)
        self.is_last = Signal()
        self.words_left = Signal(_COUNT_BITS)
        self.answered = Signal(range(len(self.word) // 8))
        with m.Switch(self.state):
            with m.Case(State.OPCODE):
                self._take_opcode(m)
            with m.Case(State.ARGUMENTS):
                self._take_arguments(m)
            with m.Case(State.READ):
                self._read(m)
            with m.Case(State.WRITE):
                self._write(m)
            with m.Case(State.FETCH):
                self._fetch(m)
            with m.Case(State.SEND):
                self._send(m)
            with m.Case(State.RECEIVE):
                self._receive(m)
            with m.Case(State.ANSWER):
                self._answer(m)
        m.d.comb += [
            self.s_axil_araddr.eq(self.word),
            self.s_axil_awaddr.eq(self.word),
            self.s_axil_wdata.eq(self.word[8 * ADDRESS_OCTETS :]),
            self.s_axil_wstrb.eq((1 << REGISTER_OCTETS) - 1),
            self.s_axis_tdata.eq(self.word),
            self.s_axis_tlast.eq(self.is_last & is_number(self.words_left, 1)),
        ]
        return m

    def _go(self, m: Module, state: State, *, octets: Value | int = 1) -> None:
        """The next state; it takes or gives so many octets."""
        m.d.sync += [self.state.eq(state), self.index.eq(0), self.after.eq(octets - 1)]

    def _octet(self, m: Module) -> Value:
        """Take an octet into the word; whether it was the last of those that were expected."""
        words = Array(self.word.word_select(i, 8) for i in range(len(self.word) // 8))
        m.d.comb += self.requests.ready.eq(1)
        with m.If(self.requests.valid):
            with m.If(is_number(self.index, 0)):
                m.d.sync += self.word.eq(0)
            m.d.sync += [words[self.index].eq(self.requests.payload), self.index.eq(self.index + 1)]
        return self.requests.valid & (self.index == self.after)

    def _take_opcode(self, m: Module) -> None:
        m.d.comb += self.requests.ready.eq(1)
        m.d.sync += self.opcode.eq(self.requests.payload)
        with m.If(self.requests.valid), m.Switch(self.requests.payload):
            for opcode, octets in _ARGUMENTS.items():
                with m.Case(opcode):
                    self._go(m, State.ARGUMENTS, octets=octets)

    def _take_arguments(self, m: Module) -> None:
        """The frame's arguments; the last octet comes straight from the stream."""
        with m.If(self._octet(m)), m.Switch(self.opcode):
            high = self.requests.payload
            with m.Case(Opcode.READ):
                self._go(m, State.READ)
            with m.Case(Opcode.WRITE):
                self._go(m, State.WRITE)
            with m.Case(Opcode.SEND):
                count = self.word[8:16] | high << 8
                m.d.sync += [
                    self.size.eq(self.word[:7]),
                    self.is_last.eq((self.word[:8] & LAST).any()),
                    self.words_left.eq(count),
                ]
                self._go(m, State.FETCH, octets=self.word[:7])
            with m.Case(Opcode.RECEIVE):
                m.d.sync += self.words_left.eq(self.word[:8] | high << 8)
                self._go(m, State.RECEIVE)

    def _read(self, m: Module) -> None:
        """The address, then the register."""
        sent = Signal(name="address_sent")
        m.d.comb += [self.s_axil_arvalid.eq(~sent), self.s_axil_rready.eq(1)]
        with m.If(self.s_axil_arvalid & self.s_axil_arready):
            m.d.sync += sent.eq(1)
        with m.If(self.s_axil_rvalid):
            m.d.sync += [sent.eq(0), self.word.eq(self.s_axil_rresp | self.s_axil_rdata << 8)]
            self._go(m, State.ANSWER, octets=1 + REGISTER_OCTETS)

    def _write(self, m: Module) -> None:
        """Address and word, then the response."""
        sent = Signal(2, name="write_sent")
        m.d.comb += [
            self.s_axil_awvalid.eq(~sent[0]),
            self.s_axil_wvalid.eq(~sent[1]),
            self.s_axil_bready.eq(1),
        ]
        with m.If(self.s_axil_awvalid & self.s_axil_awready):
            m.d.sync += sent[0].eq(1)
        with m.If(self.s_axil_wvalid & self.s_axil_wready):
            m.d.sync += sent[1].eq(1)
        with m.If(self.s_axil_bvalid):
            m.d.sync += [sent.eq(0), self.word.eq(self.s_axil_bresp)]
            self._go(m, State.ANSWER)

    def _fetch(self, m: Module) -> None:
        """A word of a packet; none of an empty frame."""
        with m.If(is_number(self.words_left, 0)):
            m.d.sync += self.word.eq(0)
            self._go(m, State.ANSWER)
        with m.Else():
            with m.If(self._octet(m)):
                self._go(m, State.SEND)

    def _send(self, m: Module) -> None:
        m.d.comb += self.s_axis_tvalid.eq(1)
        with m.If(self.s_axis_tready):
            m.d.sync += self.words_left.eq(self.words_left - 1)
            self._go(m, State.FETCH, octets=self.size)

    def _receive(self, m: Module) -> None:
        with m.If(is_number(self.words_left, 0)):
            self._go(m, State.OPCODE)
        with m.Else():
            m.d.comb += self.m_axis_tready.eq(1)
            with m.If(self.m_axis_tvalid):
                m.d.sync += [self.word.eq(self.m_axis_tdata), self.words_left.eq(self.words_left - 1)]
                self._go(m, State.ANSWER, octets=len(self.word) // 8)

    def _answer(self, m: Module) -> None:
        m.d.comb += [self.answers.valid.eq(1), self.answers.payload.eq(self.word[:8])]
        with m.If(self.answers.ready):
            m.d.sync += [self.word.eq(self.word >> 8), self.index.eq(self.index + 1)]
            with m.If(self.index == self.after):
                receiving = is_number(self.opcode, Opcode.RECEIVE)
                with m.If(receiving):
                    self._go(m, State.RECEIVE)
                with m.Else():
                    self._go(m, State.OPCODE)
