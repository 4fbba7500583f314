"""Host interface: the error that stands, the interrupt, and the counters of the interface (docs/chip.md)."""

from __future__ import annotations

from amaranth import Cat, Const, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from eie.axi import LITE_DATA_BITS
from eie.config import ArchConfig
from eie.rtl.block import count
from eie.rtl.host.interfaces import ERROR_CODE_BITS, EVENTS, StatusSignature, StatusValues


class Status(wiring.Component):
    """Remembers what happened in the host interface, and raises the interrupt.

    Latency: an event is in `values` in the next cycle, and in `irq` in the one after that.

    Parameters
    ----------
    cfg : sizes of the accelerator.

    Members
    -------
    packet_ends : In(1)
        A packet ends in this cycle.
    word_loaded : In(1)
        A word of a WRITE is taken in this cycle.
    word_stored : In(1)
        A result word is taken in this cycle.
    running : In(1)
        A run is under way, or about to start. Valid in every cycle.
    under_way : In(1)
        A packet is under way. Valid in every cycle.
    error : In(1)
        The command decoder found an error in this cycle.
    error_code : In(ERROR_CODE_BITS)
        Which one. With `error`.
    error_info : In(LITE_DATA_BITS)
        Low bits of that packet's header. With `error`.
    start_code : In(ERROR_CODE_BITS)
        Why a START was refused in this cycle; 0: none was. The decoder's error comes first.
    start_info : In(LITE_DATA_BITS)
        What was written to CONTROL. With `start_code`.
    clear_error : In(1)
        Forget the error; one that is found in this cycle stands in the next.
    irq_enable : In(EVENTS)
        Which events raise `irq`. Valid in every cycle.
    irq_clear : In(EVENTS)
        Forget these events; one that happens in this cycle stands in the next.
    busy : In(1)
        The array's: a run is under way.
    run_start : In(1)
        The start of a run is on its way to the array.
    run_quiet : In(1)
        The end of that run is no event. With `run_start`.
    values : Out(StatusSignature())
        What the registers show.
    irq : Out(1)
        A register, level: an enabled event stands.
    """

    packet_ends: Signal
    word_loaded: Signal
    word_stored: Signal
    running: Signal
    under_way: Signal
    error: Signal
    error_code: Signal
    error_info: Signal
    start_code: Signal
    start_info: Signal
    clear_error: Signal
    irq_enable: Signal
    irq_clear: Signal
    busy: Signal
    run_start: Signal
    run_quiet: Signal
    values: StatusValues
    irq: Signal

    def __init__(self, cfg: ArchConfig) -> None:
        self.cfg = cfg
        super().__init__(
            {
                "packet_ends": In(1),
                "word_loaded": In(1),
                "word_stored": In(1),
                "running": In(1),
                "under_way": In(1),
                "error": In(1),
                "error_code": In(ERROR_CODE_BITS),
                "error_info": In(LITE_DATA_BITS),
                "start_code": In(ERROR_CODE_BITS),
                "start_info": In(LITE_DATA_BITS),
                "clear_error": In(1),
                "irq_enable": In(EVENTS),
                "irq_clear": In(EVENTS),
                "busy": In(1),
                "run_start": In(1),
                "run_quiet": In(1),
                "values": Out(StatusSignature()),
                "irq": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        found = self._errors(m)
        self._interrupt(m, found)
        self._counters(m)
        return m

    def _errors(self, m: Module) -> Signal:
        """The first error stays; returns whether one is found in this cycle."""
        values = self.values
        error_found, error_free = Signal(name="error_found"), Signal(name="error_free")
        m.d.comb += error_free.eq(~values.error_code.any() | self.clear_error)
        with m.If(self.clear_error):
            m.d.sync += values.error_code.eq(0)
        with m.If(self.error & error_free):
            m.d.sync += [
                values.error_code.eq(self.error_code),
                values.error_info.eq(self.error_info),
                values.error_packet.eq(values.packets),
            ]
            m.d.comb += error_found.eq(1)
        with m.Elif(self.start_code.any() & error_free):
            m.d.sync += [
                values.error_code.eq(self.start_code),
                values.error_info.eq(self.start_info),
                values.error_packet.eq(values.packets),
            ]
            m.d.comb += error_found.eq(1)
        return error_found

    def _interrupt(self, m: Module, error_found: Signal) -> None:
        """A new event wins over its clearing."""
        values = self.values
        quiet = Signal()
        busy_before = Signal()
        run_ended = Signal()
        with m.If(self.run_start):
            m.d.sync += quiet.eq(self.run_quiet)
        m.d.sync += busy_before.eq(self.busy)
        m.d.comb += run_ended.eq(busy_before & ~self.busy)
        events = Cat(run_ended & ~quiet, error_found)
        m.d.sync += [
            values.irq_status.eq((values.irq_status & ~self.irq_clear) | events),
            self.irq.eq((values.irq_status & self.irq_enable).any()),
        ]

    def _counters(self, m: Module) -> None:
        values, never = self.values, Const(0)
        count(m, values.packets, never, self.packet_ends)
        if self.cfg.counters:
            count(m, values.words_loaded, never, self.word_loaded)
            count(m, values.words_stored, never, self.word_stored)
            count(m, values.idle_cycles, never, ~self.running & ~self.under_way)
