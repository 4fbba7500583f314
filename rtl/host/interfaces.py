"""What the components of the host interface say to each other: layouts of words, and bundles of signals."""

from __future__ import annotations

from amaranth import Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from eie import schema
from eie.axi import HEADER_BITS, HEADER_FIELDS, LITE_DATA_BITS, stream_bits
from eie.config import ArchConfig
from eie.schema import IO_SPACE_BITS

ERROR_CODE_BITS = 4
PASS_NUMBER_BITS = 8  # in the header of a RUN packet
EVENTS = 2  # bits of the interrupt registers: a run has ended, an error was found

# A packet's first word, with the fields of `eie.axi.HEADER_FIELDS`.
HEADER = data.FlexibleLayout(HEADER_BITS, {f.name.lower(): data.Field(f.width, f.low) for f in HEADER_FIELDS})


def packet_words(cfg: ArchConfig) -> stream.Signature:
    """Words of the command or the result stream: `data`, and `last` (TLAST)."""
    return stream.Signature(data.StructLayout({"data": stream_bits(cfg), "last": 1}))


class Bundle(wiring.Signature):
    """A signature that equals those of its class with the same members, as Amaranth's plain ones do."""

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.members == other.members


class PortRequest(wiring.PureInterface):
    """An access of the array's I/O port that somebody wants: see `PortRequestSignature`."""

    valid: Signal
    ready: Signal
    write: Signal
    space: Signal
    pe: Signal
    addr: Signal
    data: Signal


class PortRequestSignature(Bundle):
    """An access of the array's I/O port, from the side that asks.

    The access is on the port in the cycle after that in which valid and ready are both 1.

    Parameters
    ----------
    cfg : sizes of the accelerator.

    Members
    -------
    valid : Out(1)
        An access is wanted. It may be withdrawn.
    ready : In(1)
        The port would take it in this cycle. Does not depend on this bundle's `valid`.
    write : Out(1)
        A write, else a read. With `valid`.
    space : Out(IO_SPACE_BITS)
        Address space, as `eie.schema.IoSpace`. With `valid`.
    pe : Out(cfg.pe_bits)
        Which PE. With `valid`.
    addr : Out(cfg.io_addr_bits)
        Address in the space. With `valid`.
    data : Out(cfg.io_data_bits)
        Word to write. With `valid` and `write`.
    """

    def __init__(self, cfg: ArchConfig) -> None:
        self.cfg = cfg
        super().__init__(
            {
                "valid": Out(1),
                "ready": In(1),
                "write": Out(1),
                "space": Out(IO_SPACE_BITS),
                "pe": Out(cfg.pe_bits),
                "addr": Out(cfg.io_addr_bits),
                "data": Out(cfg.io_data_bits),
            }
        )

    def create(self, *, path: tuple[str | int, ...] = (), src_loc_at: int = 0) -> PortRequest:
        """Signals of the bundle."""
        return PortRequest(self, path=path, src_loc_at=1 + src_loc_at)


class StatusValues(wiring.PureInterface):
    """What the status component shows in registers: see `StatusSignature`."""

    error_code: Signal
    error_info: Signal
    error_packet: Signal
    irq_status: Signal
    packets: Signal
    words_loaded: Signal
    words_stored: Signal
    idle_cycles: Signal


class StatusSignature(Bundle):
    """The first error, the interrupts that stand, and the interface's counters.

    All of them are registers, valid in every cycle; what each means is said in `eie.registers`.

    Members
    -------
    error_code : Out(ERROR_CODE_BITS)
        0, or the error that stands, as `eie.axi.ErrorCode`.
    error_info : Out(LITE_DATA_BITS)
        Low bits of its packet's header, or the word that was written. While an error stands.
    error_packet : Out(schema.COUNTER_BITS)
        `packets` when it was found. While an error stands.
    irq_status : Out(EVENTS)
        Which events have happened since they were cleared.
    packets : Out(schema.COUNTER_BITS)
        Packets that have ended.
    words_loaded : Out(schema.COUNTER_BITS)
        Words that WRITE packets have written; 0 without counters.
    words_stored : Out(schema.COUNTER_BITS)
        Words that the result stream has delivered; 0 without counters.
    idle_cycles : Out(schema.COUNTER_BITS)
        Cycles with neither a run nor a packet under way; 0 without counters.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "error_code": Out(ERROR_CODE_BITS),
                "error_info": Out(LITE_DATA_BITS),
                "error_packet": Out(schema.COUNTER_BITS),
                "irq_status": Out(EVENTS),
                "packets": Out(schema.COUNTER_BITS),
                "words_loaded": Out(schema.COUNTER_BITS),
                "words_stored": Out(schema.COUNTER_BITS),
                "idle_cycles": Out(schema.COUNTER_BITS),
            }
        )

    def create(self, *, path: tuple[str | int, ...] = (), src_loc_at: int = 0) -> StatusValues:
        """Signals of the bundle."""
        return StatusValues(self, path=path, src_loc_at=1 + src_loc_at)
