"""The chip behind a serial line, alone (`SerialChip`) and on a board (`BoardTop`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from amaranth import (
    ClockDomain,
    ClockSignal,
    Elaboratable,
    Instance,
    Module,
    ResetInserter,
    ResetSignal,
    Signal,
)
from amaranth.lib import wiring
from amaranth.lib.cdc import ResetSynchronizer
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import Flow, In, Out

from eie.axi import chip_fields
from eie.config import ArchConfig
from eie.errors import ConfigError
from eie.rtl.block import module_name, signature_of
from eie.rtl.fpga.bridge import Bridge
from eie.rtl.fpga.uart import Receiver, Transmitter
from eie.serial_bus import FIFO_OCTETS

# Clock cycles of a bit: the receiver looks in its middle.
MIN_DIVISOR = 4
# Of the part's PLL, in Hz: the oscillator inside, and what it compares.
_VCO, _PHASE = (400e6, 800e6), (3.125e6, 400e6)
_DIVIDERS = range(1, 129)


class SerialChip(wiring.Component):
    """`eie_chip`, of which a host drives the buses by frames on a serial line.

    A break on the line resets buffer, bridge and chip; memories keep what they hold.

    Parameters
    ----------
    cfg : sizes of the accelerator.
    divisor : clock cycles of a bit on the line.

    Members
    -------
    rx : In(1), tx : Out(1)
        The line.
    irq : Out(1)
        The chip's interrupt.
    """

    rx: Signal
    tx: Signal
    irq: Signal

    def __init__(self, cfg: ArchConfig, divisor: int) -> None:
        self.cfg, self.divisor = cfg, divisor
        super().__init__({"rx": In(1), "tx": Out(1), "irq": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.receiver = receiver = Receiver(self.divisor)
        restart = receiver.broken
        m.submodules.buffer = buffer = ResetInserter(restart)(SyncFIFOBuffered(width=8, depth=FIFO_OCTETS))
        bridge, transmitter = Bridge(self.cfg), Transmitter(self.divisor)
        m.submodules.bridge = ResetInserter(restart)(bridge)
        m.submodules.transmitter = ResetInserter(restart)(transmitter)
        m.submodules.chip = self._chip(bridge, restart)
        m.d.comb += [
            receiver.rx.eq(self.rx),
            buffer.w_data.eq(receiver.octets.payload),
            buffer.w_en.eq(receiver.octets.valid),
            bridge.requests.payload.eq(buffer.r_data),
            bridge.requests.valid.eq(buffer.r_rdy),
            buffer.r_en.eq(bridge.requests.ready),
            transmitter.octets.payload.eq(bridge.answers.payload),
            transmitter.octets.valid.eq(bridge.answers.valid),
            bridge.answers.ready.eq(transmitter.octets.ready),
            self.tx.eq(transmitter.tx),
            self.irq.eq(bridge.irq),
        ]
        return m

    def _chip(self, bridge: Bridge, restart: Signal) -> Instance:
        ports = signature_of(chip_fields(self.cfg)).members
        return Instance(
            module_name("chip"),
            ("i", "clk", ClockSignal()),
            ("i", "rst", ResetSignal() | restart),
            *(
                ("o" if member.flow is Flow.Out else "i", name, getattr(bridge, name))
                for name, member in ports.items()
            ),
        )


@dataclass(frozen=True)
class Pll:
    """Dividers of the part's PLL, with its output fed back."""

    reference: int
    feedback: int
    output: int


def pll(source_hz: float, hz: float) -> Pll:
    """Dividers that make `hz` of `source_hz` exactly.

    Raises
    ------
    ConfigError : there are none.

    Examples
    --------
    >>> pll(25e6, 60e6)
    Pll(reference=5, feedback=12, output=10)
    """
    for reference in _DIVIDERS:
        feedback = hz * reference / source_hz
        if not (
            _PHASE[0] <= source_hz / reference <= _PHASE[1]
            and feedback.is_integer()
            and feedback in _DIVIDERS
        ):
            continue
        outputs = [output for output in _DIVIDERS if _VCO[0] <= hz * output <= _VCO[1]]
        if outputs:  # the oscillator in the middle of its range
            return Pll(reference, int(feedback), min(outputs, key=lambda o: abs(hz * o - sum(_VCO) / 2)))
    raise ConfigError(
        f"the board's PLL cannot make {hz / 1e6:g} MHz of {source_hz / 1e6:g} MHz: use --mhz with a multiple of "
        f"{source_hz / 5e6:g}"
    )


class BoardTop(Elaboratable):
    """A `SerialChip` on a board of amaranth-boards: its clock through the PLL, its serial line, irq on the first LED.

    Parameters
    ----------
    cfg : sizes of the accelerator.
    hz : the chip's clock.
    baud : bits a second on the line.
    """

    def __init__(self, cfg: ArchConfig, hz: float, baud: int) -> None:
        self.cfg, self.hz, self.baud = cfg, hz, baud

    def elaborate(self, platform: Any) -> Module:
        found, cycles = pll(platform.default_clk_frequency, self.hz), divisor(self.hz, self.baud)
        m = Module()
        locked = Signal()
        m.domains.sync = ClockDomain()
        source = platform.request(platform.default_clk)
        m.submodules.pll = Instance(
            "EHXPLLL",
            p_CLKI_DIV=found.reference,
            p_CLKFB_DIV=found.feedback,
            p_CLKOP_DIV=found.output,
            p_CLKOP_CPHASE=found.output // 2,
            p_CLKOP_ENABLE="ENABLED",
            p_FEEDBK_PATH="CLKOP",
            a_FREQUENCY_PIN_CLKI=str(platform.default_clk_frequency / 1e6),
            a_FREQUENCY_PIN_CLKOP=str(self.hz / 1e6),
            a_ICP_CURRENT="12",
            a_LPF_RESISTOR="8",
            i_CLKI=source.i,
            i_CLKFB=ClockSignal(),
            i_RST=0,
            i_STDBY=0,
            i_PLLWAKESYNC=0,
            i_PHASESEL0=0,
            i_PHASESEL1=0,
            i_PHASEDIR=0,
            i_PHASESTEP=0,
            i_PHASELOADREG=0,
            i_ENCLKOP=0,
            o_CLKOP=ClockSignal(),
            o_LOCK=locked,
        )
        m.submodules.reset = ResetSynchronizer(~locked, domain="sync")
        m.submodules.serial = serial = SerialChip(self.cfg, cycles)
        line, led = platform.request("uart", 0), platform.request("led", 0)
        m.d.comb += [serial.rx.eq(line.rx.i), line.tx.o.eq(serial.tx), led.o.eq(serial.irq)]
        return m


def divisor(hz: float, baud: int) -> int:
    """Clock cycles of a bit.

    Raises
    ------
    ConfigError : too few, or the line would be off by more than 2 %.
    """
    cycles = round(hz / baud)
    if cycles < MIN_DIVISOR or abs(hz / cycles / baud - 1) > 0.02:
        raise ConfigError(f"{baud} baud cannot be made of {hz / 1e6:g} MHz: use a lower rate, such as 115200")
    return cycles
