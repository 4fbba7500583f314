"""Host interface: the AXI4-Lite slave with its registers, and its way to the pass table (docs/chip.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amaranth import Cat, Const, Module, Mux, Signal, Value

from eie.axi import LITE_DATA_BITS, OKAY, SLVERR, ErrorCode
from eie.config import CONFIG_BITS, ArchConfig
from eie.registers import Access, Reg
from eie.rtl.block import any_of, is_number, resize
from eie.rtl.host.parts import signals
from eie.schema import ConfigReg

if TYPE_CHECKING:
    from eie.rtl.host.host_if import HostIf


def channels(m: Module, h: HostIf) -> None:
    """A place for each address and the data; answers wait until they are taken."""
    aw_full, w_full, ar_full = signals(1, "aw_full", "w_full", "ar_full")
    aw_push, w_push, ar_push = signals(1, "aw_push", "w_push", "ar_push")
    m.d.comb += [
        h.s_axil_awready.eq(~aw_full),
        h.s_axil_wready.eq(~w_full),
        h.s_axil_arready.eq(~ar_full),
        aw_push.eq(h.s_axil_awvalid & ~aw_full),
        w_push.eq(h.s_axil_wvalid & ~w_full),
        ar_push.eq(h.s_axil_arvalid & ~ar_full),
        # One access of the pass table at a time; a write before a read.
        h.do_write.eq(aw_full & w_full & ~h.s_axil_bvalid & ~h.op_wait & ~h.op_reading),
        h.do_read.eq(ar_full & ~h.s_axil_rvalid & ~h.op_wait & ~h.op_reading & ~h.do_write),
    ]
    m.d.sync += [
        aw_full.eq(aw_push | (aw_full & ~h.do_write)),
        w_full.eq(w_push | (w_full & ~h.do_write)),
        ar_full.eq(ar_push | (ar_full & ~h.do_read)),
    ]
    with m.If(aw_push):
        m.d.sync += h.aw_addr.eq(h.s_axil_awaddr[2:])
    with m.If(w_push):
        m.d.sync += [h.w_data.eq(h.s_axil_wdata), h.w_strb.eq(h.s_axil_wstrb)]
    with m.If(ar_push):
        m.d.sync += h.ar_addr.eq(h.s_axil_araddr[2:])
    with m.If(h.s_axil_bvalid & h.s_axil_bready):
        m.d.sync += h.s_axil_bvalid.eq(0)
    with m.If(h.s_axil_rvalid & h.s_axil_rready):
        m.d.sync += h.s_axil_rvalid.eq(0)


def in_table(cfg: ArchConfig, addr: Value) -> Value:
    """Whether an address in words is that of a register in the pass table."""
    number, register = addr[CONFIG_BITS:-1], addr[:CONFIG_BITS]
    known = Const(1) if cfg.passes == 256 else number < Const(cfg.passes, len(number))
    return addr[-1] & known & (register < Const(len(ConfigReg), CONFIG_BITS))


def writes(m: Module, h: HostIf) -> None:
    """A write that is complete: a register at once, the pass table by the array's port."""
    cfg = h.cfg
    at = {reg: is_number(h.aw_addr, reg.offset >> 2) for reg in Reg}
    whole = h.w_strb.all()
    passes = at[Reg.FIRST_PASS] | at[Reg.LAST_PASS]
    pass_known = h.w_data < Const(cfg.passes, 32)
    writable = any_of(at[reg] for reg in Reg if reg.access is not Access.RO)
    writes, control = signals(1, "writes", "writes_control")
    m.d.comb += [
        writes.eq(h.do_write & whole),
        control.eq(writes & at[Reg.CONTROL]),
        h.soft_reset.eq(control & h.w_data[2]),
        h.clear_error.eq(control & (h.w_data[1] | h.w_data[2])),
    ]
    start(m, h, control & h.w_data[0])
    with m.If(h.do_write):
        m.d.sync += [h.s_axil_bvalid.eq(1), h.s_axil_bresp.eq(SLVERR)]
        with m.If(whole & (in_table(cfg, h.aw_addr) | (passes & pass_known))):
            m.d.sync += [
                h.s_axil_bvalid.eq(0),
                h.op_wait.eq(1),
                h.op_write.eq(1),
                h.op_control.eq(passes),
                h.op_addr.eq(Mux(passes, at[Reg.LAST_PASS], h.aw_addr)),
                h.op_data.eq(h.w_data),
            ]
        with m.Elif(whole & writable & ~passes & ~h.start_bad):
            m.d.sync += h.s_axil_bresp.eq(OKAY)
    with m.If(writes & at[Reg.IRQ_ENABLE]):
        m.d.sync += h.irq_enable.eq(h.w_data)
    with m.If(writes & at[Reg.IRQ_STATUS]):
        m.d.comb += h.irq_clear.eq(h.w_data)
    with m.If(h.op_wait & h.op_write & (h.op_grant | h.running)):
        m.d.sync += [
            h.op_wait.eq(0),
            h.s_axil_bvalid.eq(1),
            h.s_axil_bresp.eq(Mux(h.running, SLVERR, OKAY)),
        ]


def start(m: Module, h: HostIf, asked: Value) -> None:
    """START: now, or refused."""
    passes = h.cfg.passes
    beyond = Const(0) if passes == 1 << len(h.last_pass) else h.last_pass >= passes
    wrong_pass = (h.first_pass > h.last_pass) | beyond
    errs = h.error_code.any() & ~h.clear_error
    with m.If(asked):
        with m.If(errs):
            m.d.comb += h.start_bad.eq(1)
        with m.Elif(h.running | h.stream):
            m.d.comb += [h.start_bad.eq(1), h.start_code.eq(ErrorCode.START_BUSY)]
        with m.Elif(wrong_pass):
            m.d.comb += [h.start_bad.eq(1), h.start_code.eq(ErrorCode.PASS)]
        with m.Else():
            m.d.comb += h.start_now.eq(1)


def reads(m: Module, h: HostIf) -> None:
    """A read: a register at once, the pass table by the array's port."""
    cfg = h.cfg
    word = Signal(LITE_DATA_BITS, name="read_word")
    known = Signal(name="read_known")
    values: dict[Reg, Value] = {
        Reg.STATUS: Cat(
            h.running,
            h.done,
            h.error_code.any(),
            h.stream,
            h.m_axis_tvalid,
            Const(0, 11),
            resize(h.current_pass, 8),
        ),
        Reg.IRQ_ENABLE: h.irq_enable,
        Reg.IRQ_STATUS: h.irq_status,
        Reg.FIRST_PASS: h.first_pass,
        Reg.LAST_PASS: h.last_pass,
        Reg.ERROR_CODE: h.error_code,
        Reg.ERROR_INFO: h.error_info,
        Reg.ERROR_PACKET: h.error_packet,
        Reg.CYCLES: h.cycles,
        Reg.BROADCAST_STALLS: h.broadcast_stalls,
        Reg.REFILL_CYCLES: h.refill_cycles,
        Reg.WRITEBACK_CYCLES: h.writeback_cycles,
        Reg.PACKETS: h.packets,
        Reg.WORDS_LOADED: h.words_loaded,
        Reg.WORDS_STORED: h.words_stored,
        Reg.IDLE_CYCLES: h.idle_cycles,
    }
    for reg in Reg:
        with m.If(is_number(h.ar_addr, reg.offset >> 2)):
            value = values.get(reg, Const(reg.reset_value(cfg), LITE_DATA_BITS))
            m.d.comb += [known.eq(1), word.eq(resize(value, LITE_DATA_BITS))]
    with m.If(h.do_read):
        with m.If(in_table(cfg, h.ar_addr)):
            m.d.sync += [
                h.op_wait.eq(1),
                h.op_write.eq(0),
                h.op_control.eq(0),
                h.op_addr.eq(h.ar_addr),
            ]
        with m.Else():
            m.d.sync += [
                h.s_axil_rvalid.eq(1),
                h.s_axil_rdata.eq(word),
                h.s_axil_rresp.eq(Mux(known, OKAY, SLVERR)),
            ]
    with m.If(h.op_wait & ~h.op_write):
        with m.If(h.running):
            m.d.sync += [
                h.op_wait.eq(0),
                h.s_axil_rvalid.eq(1),
                h.s_axil_rdata.eq(0),
                h.s_axil_rresp.eq(SLVERR),
            ]
        with m.Elif(h.op_grant):
            m.d.sync += [h.op_wait.eq(0), h.op_reading.eq(1)]
    with m.If(h.read_third & h.captured_lite):
        m.d.sync += [
            h.op_reading.eq(0),
            h.s_axil_rvalid.eq(1),
            h.s_axil_rdata.eq(h.io_rdata),
            h.s_axil_rresp.eq(OKAY),
        ]
