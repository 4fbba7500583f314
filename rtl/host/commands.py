"""Host interface: the decoder of the command stream (docs/chip.md)."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from amaranth import Const, Module, Mux, Signal

from eie.axi import CCU_SPACES, HEADER_BITS, SIGNED_SPACES, Command, ErrorCode, space_words
from eie.rtl.block import add, any_of, is_number, resize
from eie.rtl.host.parts import signals
from eie.schema import ControlReg, IoSpace

COUNT_BITS = 24

if TYPE_CHECKING:
    from eie.rtl.host.host_if import HostIf


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


def check(m: Module, h: HostIf) -> None:
    """What is wrong with the header, if anything; the first in this order."""
    cfg, f = h.cfg, h.fields
    is_write = is_number(f["COMMAND"], Command.WRITE)
    is_run = is_number(f["COMMAND"], Command.RUN)
    known, inside = Signal(name="space_known"), Signal(name="address_inside")
    # Signals, not expressions: Verilator wants both operands of a sum to have its width.
    width = COUNT_BITS + 1
    n_words, last_word, first_pe, words = signals(width, "n_words", "last_word", "first_pe", "words")
    first_addr, steps, furthest = signals(width, "first_addr", "steps", "furthest")
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
        (is_number(f["COMMAND"], 3) | h.header[7], ErrorCode.COMMAND),
        (is_run & ((first > last) | too_far), ErrorCode.PASS),
        (~is_run & ~known, ErrorCode.SPACE),
        (~is_run & no_pe, ErrorCode.PE),
        (~is_run & ~f["COUNT"].any(), ErrorCode.COUNT),
        (~is_run & ~inside, ErrorCode.ADDRESS),
        (is_write & h.header_last, ErrorCode.TLAST_EARLY),
        (~is_write & ~h.header_last, ErrorCode.TLAST_LATE),
    ]
    for number, (wrong, code) in enumerate(checks):
        with m.If(wrong) if number == 0 else m.Elif(wrong):
            m.d.comb += [h.header_error.eq(1), h.header_code.eq(code)]


def decode(m: Module, h: HostIf) -> None:
    """What happens in each state."""
    _take_header(m, h)
    _judge(m, h)
    _transfer(m, h)
    _run(m, h)
    with m.If(is_number(h.state, State.SWALLOW)):
        m.d.comb += h.take.eq(h.word_valid)
        with m.If(h.take & h.word_last):
            m.d.comb += h.packet_ends.eq(1)
            m.d.sync += h.state.eq(State.HEADER)
    # A READ goes on: without its TLAST the next result packet would become part of this one.
    with m.If(h.soft_reset & ~is_number(h.state, State.READ)):
        m.d.sync += h.state.eq(State.HEADER)


def _take_header(m: Module, h: HostIf) -> None:
    with m.If(is_number(h.state, State.HEADER)):
        m.d.comb += h.take.eq(h.word_valid & ~h.running)
        with m.If(h.take):
            m.d.sync += [
                h.header.eq(h.word[:HEADER_BITS]),
                h.header_last.eq(h.word_last),
                h.state.eq(State.CHECK),
            ]


def _judge(m: Module, h: HostIf) -> None:
    f, stands = h.fields, h.error_code.any()
    with m.If(is_number(h.state, State.CHECK)):
        m.d.sync += [
            h.pe.eq(resize(f["PE"], h.cfg.pe_bits)),
            h.addr.eq(resize(f["ADDR"], h.cfg.io_addr_bits)),
            h.remaining.eq(f["COUNT"]),
        ]
        m.d.comb += h.packet_ends.eq(h.header_last)
        with m.If(stands | h.header_error):
            m.d.comb += [h.decoder_error.eq(~stands), h.decoder_code.eq(h.header_code)]
            m.d.sync += h.state.eq(Mux(h.header_last, State.HEADER, State.SWALLOW))
        with m.Elif(is_number(f["COMMAND"], Command.WRITE)):
            m.d.sync += h.state.eq(State.WRITE)
        with m.Elif(is_number(f["COMMAND"], Command.READ)):
            m.d.sync += h.state.eq(State.READ)
        with m.Else():
            m.d.sync += h.state.eq(State.FIRST)


def _transfer(m: Module, h: HostIf) -> None:
    """Words of WRITE and READ, one after the other."""
    cfg, f = h.cfg, h.fields
    (step_pe,) = signals(1, "step_pe")  # the next word goes to another PE of the same address
    m.d.comb += step_pe.eq(f["SPREAD"] & ~is_number(h.pe, cfg.n_pe - 1))
    one_left = is_number(h.remaining, 1)
    next_word = [
        h.io_space.eq(f["SPACE"]),
        h.io_pe.eq(h.pe),
        h.io_addr.eq(h.addr),
        h.remaining.eq(add(h.remaining, Const(-1, COUNT_BITS), COUNT_BITS)),
        h.pe.eq(Mux(f["SPREAD"], Mux(step_pe, h.pe + 1, 0)[: cfg.pe_bits], h.pe)),
        h.addr.eq(Mux(step_pe, h.addr, (h.addr + 1)[: cfg.io_addr_bits])),
    ]
    with m.If(is_number(h.state, State.WRITE)):
        m.d.comb += h.take.eq(h.word_valid & h.port_free)
        with m.If(h.take):
            m.d.sync += [*next_word, h.io_write.eq(1), h.io_data.eq(h.word[: cfg.io_data_bits])]
            with m.If(h.word_last):
                m.d.comb += [
                    h.packet_ends.eq(1),
                    h.decoder_error.eq(~one_left),
                    h.decoder_code.eq(ErrorCode.TLAST_EARLY),
                ]
                m.d.sync += h.state.eq(State.HEADER)
            with m.Elif(one_left):
                m.d.comb += [h.decoder_error.eq(1), h.decoder_code.eq(ErrorCode.TLAST_LATE)]
                m.d.sync += h.state.eq(State.SWALLOW)
    m.d.comb += h.read_issue.eq(is_number(h.state, State.READ) & h.port_free & h.room.any())
    with m.If(h.read_issue):
        m.d.sync += [
            *next_word,
            h.io_read.eq(1),
            h.read_first.eq(1),
            h.read_lite.eq(0),
            h.read_last.eq(one_left),
            h.read_signed.eq(any_of(is_number(f["SPACE"], space) for space in SIGNED_SPACES)),
        ]
        with m.If(one_left):
            m.d.sync += h.state.eq(State.HEADER)


def _run(m: Module, h: HostIf) -> None:
    """First pass, last pass, start."""
    passes = h.fields["ADDR"]
    for state, register, following in (
        (State.FIRST, ControlReg.FIRST_PASS, State.LAST),
        (State.LAST, ControlReg.LAST_PASS, State.START),
    ):
        with m.If(is_number(h.state, state) & h.port_free):
            m.d.sync += [
                h.io_write.eq(1),
                h.io_space.eq(IoSpace.CONTROL),
                h.io_addr.eq(register),
                h.io_data.eq(passes.word_select(int(register), 8)),
                h.state.eq(following),
            ]
    with m.If(is_number(h.state, State.START) & h.port_free):
        m.d.sync += [h.start.eq(1), h.quiet.eq(h.fields["SPREAD"]), h.state.eq(State.HEADER)]
