"""Host interface: a queue of registers, and the queue of result words that keeps room for reads under way."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from eie.axi import stream_bits
from eie.config import ArchConfig
from eie.rtl.host.interfaces import packet_words

RESULT_DEPTH = 4


class RegisterQueue(wiring.Component):
    """A FIFO whose outputs are registers: neither side's hand-shake reaches the other in the same cycle.

    Latency: a word that enters an empty queue can be read in the next cycle.

    Parameters
    ----------
    shape : of a word.
    depth : words that fit.

    Members
    -------
    w_en : In(1)
        A word enters in this cycle. Only with `w_rdy`, or with `r_en`.
    w_rdy : Out(1)
        There is room for one more word. Valid in every cycle.
    w_data : In(shape)
        That word. With `w_en`.
    r_en : In(1)
        The first word leaves in this cycle. Only with `r_rdy`.
    r_rdy : Out(1)
        There is a first word. Valid in every cycle.
    r_data : Out(shape)
        The first word. With `r_rdy`.
    """

    w_en: Signal
    w_rdy: Signal
    w_data: Any
    r_en: Signal
    r_rdy: Signal
    r_data: Any

    def __init__(self, shape: Any, depth: int) -> None:
        self.shape = shape
        self.depth = depth
        super().__init__(
            {
                "w_en": In(1),
                "w_rdy": Out(1),
                "w_data": In(shape),
                "r_en": In(1),
                "r_rdy": Out(1),
                "r_data": Out(shape),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        places = range(self.depth)
        valid = [Signal(name=f"valid{i}") for i in places]
        kept = [Signal(name=f"kept{i}") for i in places]  # taken by a word that was in the queue
        words = [Signal(self.shape, name=f"word{i}") for i in places]
        for i in places:
            last = i + 1 == self.depth
            m.d.comb += kept[i].eq(Mux(self.r_en, Const(0) if last else valid[i + 1], valid[i]))
            enter = self.w_en & ~kept[i] & (kept[i - 1] if i else Const(1))
            m.d.sync += valid[i].eq(kept[i] | enter)
            with m.If(enter):
                m.d.sync += words[i].eq(self.w_data)
            if not last:
                with m.Elif(self.r_en):
                    m.d.sync += words[i].eq(words[i + 1])
        m.d.comb += [self.w_rdy.eq(~valid[-1]), self.r_rdy.eq(valid[0]), self.r_data.eq(words[0])]
        return m


class ResultQueue(wiring.Component):
    """Words of READ packets on their way out; room is kept for those that are still being read.

    Latency: a word that `io_rdata` holds in one cycle is offered in the next, if none is before it.

    Parameters
    ----------
    cfg : sizes of the accelerator.

    Members
    -------
    room : Out(1)
        One more read may be issued. Valid in every cycle.
    read_issue : In(1)
        A read was taken by the port in this cycle. Only with `room`; the next one comes two cycles later at the
        earliest.
    read_last : In(1)
        Its word is the packet's last. With `read_issue`.
    read_signed : In(1)
        Its word is extended by its sign. With `read_issue`.
    read_second : In(1)
        Second cycle of a read on the port, two cycles after its `read_issue`.
    word : In(1)
        `io_rdata` holds a word that was asked for, in the cycle after `read_second`.
    io_rdata : In(cfg.io_data_bits)
        The array's read data. With `word`.
    words : Out(packet_words(cfg))
        The result stream. An offered word stays until it is taken.
    word_stored : Out(1)
        A word is taken in this cycle.
    """

    room: Signal
    read_issue: Signal
    read_last: Signal
    read_signed: Signal
    read_second: Signal
    word: Signal
    io_rdata: Signal
    words: stream.Interface
    word_stored: Signal

    def __init__(self, cfg: ArchConfig) -> None:
        self.cfg = cfg
        super().__init__(
            {
                "room": Out(1),
                "read_issue": In(1),
                "read_last": In(1),
                "read_signed": In(1),
                "read_second": In(1),
                "word": In(1),
                "io_rdata": In(cfg.io_data_bits),
                "words": Out(packet_words(cfg)),
                "word_stored": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.queue = queue = RegisterQueue(self.words.payload.shape(), RESULT_DEPTH)
        # What was said of the read that was issued last, and of the one whose word comes in this cycle.
        issued_last, issued_signed = Signal(name="issued_last"), Signal(name="issued_signed")
        word_last, word_signed = Signal(name="word_last"), Signal(name="word_signed")
        free = Signal(range(RESULT_DEPTH + 1), init=RESULT_DEPTH)
        sign = self.io_rdata[-1] & word_signed
        missing = stream_bits(self.cfg) - self.cfg.io_data_bits
        m.d.comb += [
            self.room.eq(free.any()),
            queue.w_en.eq(self.word),
            queue.w_data.data.eq(Cat(self.io_rdata, sign.replicate(missing))),
            queue.w_data.last.eq(word_last),
            queue.r_en.eq(self.word_stored),
            self.words.valid.eq(queue.r_rdy),
            self.words.payload.eq(queue.r_data),
            self.word_stored.eq(self.words.valid & self.words.ready),
        ]
        with m.If(self.read_issue):
            m.d.sync += [issued_last.eq(self.read_last), issued_signed.eq(self.read_signed)]
        with m.If(self.read_second):
            m.d.sync += [word_last.eq(issued_last), word_signed.eq(issued_signed)]
        with m.If(self.read_issue & ~self.word_stored):
            m.d.sync += free.eq(free - 1)
        with m.Elif(self.word_stored & ~self.read_issue):
            m.d.sync += free.eq(free + 1)
        return m
