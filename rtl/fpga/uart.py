"""A serial line: eight data bits, no parity, one stop bit."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

_BITS = 8


class Receiver(wiring.Component):
    """Octets of a serial line.

    Latency: an octet is valid for one cycle, in the middle of its stop bit; it is lost if nobody takes it then.

    Parameters
    ----------
    divisor : clock cycles of a bit, at least 4.

    Members
    -------
    rx : In(1)
        The line, 1 when idle; asynchronous.
    octets : Out(stream.Signature(8, always_ready=True))
        What came.
    broken : Out(1)
        The line was 0 for a whole octet and its stop bit: a break. One cycle.
    """

    rx: Signal
    octets: stream.Interface
    broken: Signal

    def __init__(self, divisor: int) -> None:
        self.divisor = divisor
        super().__init__(
            {"rx": In(1), "octets": Out(stream.Signature(_BITS, always_ready=True)), "broken": Out(1)}
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        line = Signal(init=1)
        m.submodules.synchronizer = FFSynchronizer(self.rx, line, init=1)
        # The line has to be idle before the first start bit.
        ready = Signal()
        under_way = Signal()
        wait = Signal(range(self.divisor))
        left = Signal(range(_BITS + 2))
        bits = Signal(_BITS)
        m.d.sync += [self.octets.valid.eq(0), self.broken.eq(0)]
        with m.If(~under_way):
            with m.If(line):
                m.d.sync += ready.eq(1)
            with m.Elif(ready):  # the start bit: its middle is half a bit away
                m.d.sync += [under_way.eq(1), wait.eq(self.divisor // 2 - 1), left.eq(_BITS + 1)]
        with m.Elif(wait.any()):
            m.d.sync += wait.eq(wait - 1)
        with m.Else():
            m.d.sync += [wait.eq(self.divisor - 1), left.eq(left - 1)]
            with m.If(left == _BITS + 1):
                m.d.sync += under_way.eq(~line)  # else it was a spike
            with m.Elif(left.any()):
                m.d.sync += bits.eq(Cat(bits[1:], line))
            with m.Else():
                m.d.sync += [
                    under_way.eq(0),
                    ready.eq(line),
                    self.octets.valid.eq(line),
                    self.octets.payload.eq(bits),
                    self.broken.eq(~line & ~bits.any()),
                ]
        return m


class Transmitter(wiring.Component):
    """Puts octets on a serial line.

    Latency: the start bit begins in the cycle after an octet is taken.

    Parameters
    ----------
    divisor : clock cycles of a bit, at least 4.

    Members
    -------
    octets : In(stream.Signature(8))
        What to send.
    tx : Out(1)
        The line, 1 when idle.
    """

    octets: stream.Interface
    tx: Signal

    def __init__(self, divisor: int) -> None:
        self.divisor = divisor
        line = Out(1, init=1)  # type: ignore[call-arg]  # the stubs lack it
        super().__init__({"octets": In(stream.Signature(_BITS)), "tx": line})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        wait = Signal(range(self.divisor))
        left = Signal(range(_BITS + 2))
        bits = Signal(_BITS)
        m.d.comb += self.octets.ready.eq(~left.any() & ~wait.any())
        with m.If(wait.any()):
            m.d.sync += wait.eq(wait - 1)
        with m.Elif(left.any()):
            m.d.sync += [
                self.tx.eq(bits[0]),
                bits.eq(Cat(bits[1:], 1)),  # the stop bit comes behind
                left.eq(left - 1),
                wait.eq(self.divisor - 1),
            ]
        with m.Elif(self.octets.valid):
            m.d.sync += [
                self.tx.eq(0),
                bits.eq(self.octets.payload),
                left.eq(_BITS + 1),
                wait.eq(self.divisor - 1),
            ]
        return m
