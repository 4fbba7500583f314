"""Host interface: the AXI4-Lite slave with its registers, and its way to the pass table (docs/chip.md)."""

from __future__ import annotations

from amaranth import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from eie import schema
from eie.axi import LITE_ADDR_BITS, LITE_DATA_BITS, OKAY, SLVERR, ErrorCode
from eie.config import CONFIG_BITS, ArchConfig
from eie.registers import Access, Reg
from eie.rtl.block import any_of, is_number, resize
from eie.rtl.host.interfaces import (
    ERROR_CODE_BITS,
    EVENTS,
    PortRequest,
    PortRequestSignature,
    StatusSignature,
    StatusValues,
)
from eie.schema import IoSpace, config_registers

_WORD_ADDR_BITS = LITE_ADDR_BITS - 2  # registers are words of 32 bits

# AXI4-Lite's channels, each a stream of what one transfer holds.
ADDRESS = stream.Signature(LITE_ADDR_BITS)
WRITE_DATA = stream.Signature(data.StructLayout({"data": LITE_DATA_BITS, "strb": LITE_DATA_BITS // 8}))
RESPONSE = stream.Signature(2)
READ_DATA = stream.Signature(data.StructLayout({"data": LITE_DATA_BITS, "resp": 2}))


class RegisterFile(wiring.Component):
    """The AXI4-Lite slave: registers that it holds or shows, and accesses of the pass table by the array's I/O port.

    Latency: a register is written, or its value offered, in the cycle after the last of its transfers; an access of
    the pass table waits for the port.

    Parameters
    ----------
    cfg : sizes of the accelerator.

    Members
    -------
    aw : In(ADDRESS)
        Address of a write. `ready` of this channel and of the next two is the inverse of a register.
    w : In(WRITE_DATA)
        Data of a write, and its byte strobes.
    ar : In(ADDRESS)
        Address of a read.
    b : Out(RESPONSE)
        Answer to a write. Registers; an answer stays until it is taken.
    r : Out(READ_DATA)
        Answer to a read. Likewise.
    port : Out(PortRequestSignature(cfg))
        An access of the pass table, or a write of the pass numbers in the space CONTROL. Stays until it is taken, or
        refused because of `running`.
    port_word : In(1)
        `io_rdata` holds the word of such a read in this cycle.
    io_rdata : In(cfg.io_data_bits)
        The array's read data. With `port_word`.
    first_pass : In(cfg.pass_bits)
        What the CCU holds. Valid in every cycle, as all members down to `writeback_cycles` are.
    last_pass : In(cfg.pass_bits)
        Likewise.
    running : In(1)
        A run is under way, or about to start.
    under_way : In(1)
        A packet or an access is under way.
    result : In(1)
        A result word waits.
    status : In(StatusSignature())
        The error that stands, the interrupts, the interface's counters.
    done : In(1)
        The array's: the last run has ended.
    current_pass : In(cfg.pass_bits)
        The array's pass.
    cycles : In(schema.COUNTER_BITS)
        The array's counters of the last run.
    broadcast_stalls : In(schema.COUNTER_BITS)
        Likewise.
    refill_cycles : In(schema.COUNTER_BITS)
        Likewise.
    writeback_cycles : In(schema.COUNTER_BITS)
        Likewise.
    run_start : Out(1)
        START was written, and may be: the start is on its way to the array.
    start_code : Out(ERROR_CODE_BITS)
        Why a START was refused in this cycle, as `eie.axi.ErrorCode`; 0: none was, or an error stands already.
    start_info : Out(LITE_DATA_BITS)
        What was written to CONTROL. With `start_code`.
    clear_error : Out(1)
        CLEAR_ERROR, SOFT_RESET or ABORT was written. For one cycle.
    abort : Out(1)
        SOFT_RESET or ABORT was written. For one cycle.
    soft_reset : Out(1)
        SOFT_RESET was written. For one cycle.
    irq_enable : Out(EVENTS)
        The register IRQ_ENABLE. Valid in every cycle.
    irq_clear : Out(EVENTS)
        What was written to IRQ_STATUS. For one cycle; else 0.
    """

    aw: stream.Interface
    w: stream.Interface
    ar: stream.Interface
    b: stream.Interface
    r: stream.Interface
    port: PortRequest
    port_word: Signal
    io_rdata: Signal
    first_pass: Signal
    last_pass: Signal
    running: Signal
    under_way: Signal
    result: Signal
    status: StatusValues
    done: Signal
    current_pass: Signal
    cycles: Signal
    broadcast_stalls: Signal
    refill_cycles: Signal
    writeback_cycles: Signal
    run_start: Signal
    start_code: Signal
    start_info: Signal
    clear_error: Signal
    abort: Signal
    soft_reset: Signal
    irq_enable: Signal
    irq_clear: Signal

    def __init__(self, cfg: ArchConfig) -> None:
        self.cfg = cfg
        super().__init__(
            {
                "aw": In(ADDRESS),
                "w": In(WRITE_DATA),
                "ar": In(ADDRESS),
                "b": Out(RESPONSE),
                "r": Out(READ_DATA),
                "port": Out(PortRequestSignature(cfg)),
                "port_word": In(1),
                "io_rdata": In(cfg.io_data_bits),
                "first_pass": In(cfg.pass_bits),
                "last_pass": In(cfg.pass_bits),
                "running": In(1),
                "under_way": In(1),
                "result": In(1),
                "status": In(StatusSignature()),
                "done": In(1),
                "current_pass": In(cfg.pass_bits),
                "cycles": In(schema.COUNTER_BITS),
                "broadcast_stalls": In(schema.COUNTER_BITS),
                "refill_cycles": In(schema.COUNTER_BITS),
                "writeback_cycles": In(schema.COUNTER_BITS),
                "run_start": Out(1),
                "start_code": Out(ERROR_CODE_BITS),
                "start_info": Out(LITE_DATA_BITS),
                "clear_error": Out(1),
                "abort": Out(1),
                "soft_reset": Out(1),
                "irq_enable": Out(EVENTS),
                "irq_clear": Out(EVENTS),
            }
        )
        # A place for each address and the data; what is in them is worked off in the cycle of do_write or do_read.
        self._aw_addr = Signal(_WORD_ADDR_BITS, name="aw_addr")
        self._ar_addr = Signal(_WORD_ADDR_BITS, name="ar_addr")
        self._w_data = Signal(LITE_DATA_BITS, name="w_data")
        self._w_strb = Signal(LITE_DATA_BITS // 8, name="w_strb")
        self._do_write = Signal(name="do_write")
        self._do_read = Signal(name="do_read")
        # An access that needs the port: it waits; it is a write; its space is CONTROL, else CONFIG; where and what.
        self._op_wait = Signal(name="op_wait")
        self._op_write = Signal(name="op_write")
        self._op_control = Signal(name="op_control")
        self._op_addr = Signal(cfg.pass_bits + CONFIG_BITS, name="op_addr")
        self._op_data = Signal(LITE_DATA_BITS, name="op_data")
        # A read that has had the port waits for its word.
        self._op_reading = Signal(name="op_reading")

    def elaborate(self, platform: object) -> Module:
        m = Module()
        self._channels(m)
        m.d.comb += [
            self.port.valid.eq(self._op_wait),
            self.port.write.eq(self._op_write),
            self.port.space.eq(Mux(self._op_control, IoSpace.CONTROL, IoSpace.CONFIG)),
            self.port.addr.eq(self._op_addr),
            self.port.data.eq(self._op_data),
            self.start_info.eq(self._w_data),
        ]
        self._writes(m)
        self._reads(m)
        return m

    def _channels(self, m: Module) -> None:
        """Transfers that come in, and answers that are taken."""
        aw, w, ar, b, r = self.aw, self.w, self.ar, self.b, self.r
        aw_full = Signal()
        w_full = Signal()
        ar_full = Signal()
        free = ~self._op_wait & ~self._op_reading
        m.d.comb += [
            aw.ready.eq(~aw_full),
            w.ready.eq(~w_full),
            ar.ready.eq(~ar_full),
            # One access of the pass table at a time; a write before a read.
            self._do_write.eq(aw_full & w_full & ~b.valid & free),
            self._do_read.eq(ar_full & ~r.valid & free & ~self._do_write),
        ]
        m.d.sync += [
            aw_full.eq((aw.valid & ~aw_full) | (aw_full & ~self._do_write)),
            w_full.eq((w.valid & ~w_full) | (w_full & ~self._do_write)),
            ar_full.eq((ar.valid & ~ar_full) | (ar_full & ~self._do_read)),
        ]
        with m.If(aw.valid & ~aw_full):
            m.d.sync += self._aw_addr.eq(aw.payload[2:])
        with m.If(w.valid & ~w_full):
            m.d.sync += [self._w_data.eq(w.payload.data), self._w_strb.eq(w.payload.strb)]
        with m.If(ar.valid & ~ar_full):
            m.d.sync += self._ar_addr.eq(ar.payload[2:])
        with m.If(b.valid & b.ready):
            m.d.sync += b.valid.eq(0)
        with m.If(r.valid & r.ready):
            m.d.sync += r.valid.eq(0)

    def _in_table(self, addr: Value) -> Value:
        """Whether an address in words is that of a register in the pass table."""
        passes = self.cfg.passes
        number, register = addr[CONFIG_BITS:-1], addr[:CONFIG_BITS]
        known = Const(1) if passes == 256 else number < Const(passes, len(number))
        return addr[-1] & known & (register < Const(len(config_registers(self.cfg)), CONFIG_BITS))

    def _writes(self, m: Module) -> None:
        """A write that is complete: a register at once, the pass table by the array's port."""
        at = {reg: is_number(self._aw_addr, reg.offset >> 2) for reg in Reg}
        bit = {field.name: self._w_data[field.low] for field in Reg.CONTROL.value.fields}
        whole = self._w_strb.all()
        passes = at[Reg.FIRST_PASS] | at[Reg.LAST_PASS]
        pass_known = self._w_data < Const(self.cfg.passes, LITE_DATA_BITS)
        writable = any_of(at[reg] for reg in Reg if reg.access is not Access.RO)
        writes = Signal()
        writes_control = Signal()
        m.d.comb += [
            writes.eq(self._do_write & whole),
            writes_control.eq(writes & at[Reg.CONTROL]),
            self.soft_reset.eq(writes_control & bit["SOFT_RESET"]),
            self.abort.eq(writes_control & (bit["SOFT_RESET"] | bit["ABORT"])),
            self.clear_error.eq(self.abort | (writes_control & bit["CLEAR_ERROR"])),
        ]
        refused = self._start(m, writes_control & bit["START"])
        with m.If(self._do_write):
            # A write of no byte changes nothing: there is nothing to refuse.
            m.d.sync += [self.b.valid.eq(1), self.b.payload.eq(Mux(self._w_strb.any(), SLVERR, OKAY))]
            with m.If(whole & (self._in_table(self._aw_addr) | (passes & pass_known))):
                m.d.sync += [
                    self.b.valid.eq(0),
                    self._op_wait.eq(1),
                    self._op_write.eq(1),
                    self._op_control.eq(passes),
                    self._op_addr.eq(Mux(passes, at[Reg.LAST_PASS], self._aw_addr)),
                    self._op_data.eq(self._w_data),
                ]
            with m.Elif(whole & writable & ~passes & ~refused):
                m.d.sync += self.b.payload.eq(OKAY)
        with m.If(writes & at[Reg.IRQ_ENABLE]):
            m.d.sync += self.irq_enable.eq(self._w_data)
        with m.If(writes & at[Reg.IRQ_STATUS]):
            m.d.comb += self.irq_clear.eq(self._w_data)
        with m.If(self._op_wait & self._op_write & (self.port.ready | self.running)):
            m.d.sync += [
                self._op_wait.eq(0),
                self.b.valid.eq(1),
                self.b.payload.eq(Mux(self.running, SLVERR, OKAY)),
            ]

    def _start(self, m: Module, asked: Value) -> Signal:
        """START: now, or refused; returns whether it is refused."""
        passes = self.cfg.passes
        start_refused = Signal()
        beyond = Const(0) if passes == 1 << len(self.last_pass) else self.last_pass >= passes
        wrong_pass = (self.first_pass > self.last_pass) | beyond
        with m.If(asked):
            with m.If(self.status.error_code.any() & ~self.clear_error):
                m.d.comb += start_refused.eq(1)
            with m.Elif(self.running | self.under_way):
                m.d.comb += [start_refused.eq(1), self.start_code.eq(ErrorCode.START_BUSY)]
            with m.Elif(wrong_pass):
                m.d.comb += [start_refused.eq(1), self.start_code.eq(ErrorCode.PASS)]
            with m.Else():
                m.d.comb += self.run_start.eq(1)
        return start_refused

    def _values(self) -> dict[Reg, Value]:
        """What a read of each register gives; those that are missing are constants."""
        status = self.status
        bits = (self.running, self.done, status.error_code.any(), self.under_way, self.result)
        return {
            Reg.STATUS: Cat(*bits, Const(0, 16 - len(bits)), resize(self.current_pass, 8)),
            Reg.IRQ_ENABLE: self.irq_enable,
            Reg.IRQ_STATUS: status.irq_status,
            Reg.FIRST_PASS: self.first_pass,
            Reg.LAST_PASS: self.last_pass,
            Reg.ERROR_CODE: status.error_code,
            Reg.ERROR_INFO: status.error_info,
            Reg.ERROR_PACKET: status.error_packet,
            Reg.CYCLES: self.cycles,
            Reg.BROADCAST_STALLS: self.broadcast_stalls,
            Reg.REFILL_CYCLES: self.refill_cycles,
            Reg.WRITEBACK_CYCLES: self.writeback_cycles,
            Reg.PACKETS: status.packets,
            Reg.WORDS_LOADED: status.words_loaded,
            Reg.WORDS_STORED: status.words_stored,
            Reg.IDLE_CYCLES: status.idle_cycles,
        }

    def _reads(self, m: Module) -> None:
        """A read: a register at once, the pass table by the array's port."""
        read_word = Signal(LITE_DATA_BITS)
        read_known = Signal()
        values = self._values()
        for reg in Reg:
            with m.If(is_number(self._ar_addr, reg.offset >> 2)):
                value = values.get(reg, Const(reg.reset_value(self.cfg), LITE_DATA_BITS))
                m.d.comb += [read_known.eq(1), read_word.eq(resize(value, LITE_DATA_BITS))]
        with m.If(self._do_read):
            with m.If(self._in_table(self._ar_addr)):
                m.d.sync += [
                    self._op_wait.eq(1),
                    self._op_write.eq(0),
                    self._op_control.eq(0),
                    self._op_addr.eq(self._ar_addr),
                ]
            with m.Else():
                self._answer(m, read_word, Mux(read_known, OKAY, SLVERR))
        with m.If(self._op_wait & ~self._op_write):
            with m.If(self.running):
                m.d.sync += self._op_wait.eq(0)
                self._answer(m, Const(0, LITE_DATA_BITS), Const(SLVERR, 2))
            with m.Elif(self.port.ready):
                m.d.sync += [self._op_wait.eq(0), self._op_reading.eq(1)]
        with m.If(self.port_word):
            m.d.sync += self._op_reading.eq(0)
            self._answer(m, self.io_rdata, Const(OKAY, 2))

    def _answer(self, m: Module, word: Value, resp: Value) -> None:
        m.d.sync += [self.r.valid.eq(1), self.r.payload.data.eq(word), self.r.payload.resp.eq(resp)]
