"""CCU: central control, with the I/O port, the mode, the broadcast and the cycle count."""

from __future__ import annotations

from amaranth import Cat, Module, Mux, Signal, Value

from eie.rtl.block import Block, any_of, count, is_number
from eie.schema import ConfigReg, IoSpace, Mode


class CCU(Block):
    """Root of the LNZD tree, broadcaster, and the host's door to the memories.

    Latency: a broadcast is combinational from the root's offer and the credits; each bus register adds a cycle.
    io_rdata follows pe_rdata by one cycle.

    Parameters
    ----------
    cfg, probe : see `Block`.

    Members
    -------
    start, busy, done : begin a layer; under way; finished.
    root_valid, root_exhausted, root_row, root_pe, root_value : the LNZD tree's root.
    credits, busy_pes, retires : bit k is PE k's.
    clear, compute : the layer begins; compute mode.
    bcast, push, push_col, push_value : the broadcast.
    io_write, io_read, io_space, io_pe, io_addr, io_data, io_rdata : the host's I/O port.
    pe_write, pe_read, pe_rdata : the PEs' I/O ports; pe_rdata has PE k's word at bits k * io_data_bits on.
    wb_en, wb_row : write-back of one local row in every PE.
    product_shift, output_shift, relu : the layer's configuration.
    mode, cycles, broadcast_stalls : `eie.schema.Mode`, counters of the layer.
    """

    name = "ccu"

    def elaborate(self, platform: object) -> Module:
        m = self.module()
        self._control(m)
        self._broadcast(m)
        self._io(m)
        return m

    def _control(self, m: Module) -> None:
        drained = Signal()
        written = Signal()
        m.d.comb += [
            self.clear.eq(self.start & is_number(self.mode, Mode.IO)),
            self.compute.eq(is_number(self.mode, Mode.COMPUTE)),
            self.busy.eq(self.mode.any()),
            self.wb_en.eq(is_number(self.mode, Mode.WRITEBACK) & (self.wb_row < self.wb_rows)),
            drained.eq(self.compute & self.root_exhausted & ~self.busy_pes.any()),
            written.eq(is_number(self.mode, Mode.WRITEBACK) & ~self.wb_en),
        ]
        with m.If(self.clear):
            m.d.sync += [self.mode.eq(Mode.COMPUTE), self.cycles.eq(0), self.done.eq(0)]
        with m.Elif(drained):
            m.d.sync += self.mode.eq(Mode.WRITEBACK)
        with m.Elif(written):
            m.d.sync += [self.mode.eq(Mode.IO), self.done.eq(1)]
        with m.If(self.compute & self.retires.any()):
            m.d.sync += self.cycles.eq(self.cycle + 1)
        count(m, self.cycle, self.clear, self.compute)
        count(m, self.wb_row, self.clear, self.wb_en)
        count(m, self.broadcast_stalls, self.clear, self.compute & self.root_valid & ~self.bcast)

    def _broadcast(self, m: Module) -> None:
        cfg = self.cfg
        m.d.comb += self.bcast.eq(self.compute & self.root_valid & self.credits.all())
        stage: tuple[Value, Value, Value] = (
            self.bcast,
            (self.root_row << (cfg.n_pe - 1).bit_length()) + self.root_pe,
            self.root_value,
        )
        for i in range(cfg.bus_registers):
            register = tuple(getattr(self, f"bus{i}_{name}") for name in ("valid", "col", "value"))
            m.d.sync += [target.eq(source) for target, source in zip(register, stage, strict=True)]
            stage = register
        m.d.comb += [self.push.eq(stage[0]), self.push_col.eq(stage[1]), self.push_value.eq(stage[2])]

    def _io(self, m: Module) -> None:
        cfg = self.cfg
        selected, write, read, config, codebook = Signal(cfg.n_pe), Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            selected.eq(Cat(is_number(self.io_pe, k) for k in range(cfg.n_pe))),
            write.eq(self.io_write & is_number(self.mode, Mode.IO)),
            read.eq(self.io_read & is_number(self.mode, Mode.IO)),
            config.eq(is_number(self.io_space, IoSpace.CONFIG)),
            codebook.eq(is_number(self.io_space, IoSpace.CODEBOOK)),
        ]
        with m.If(write & ~config):
            m.d.comb += self.pe_write.eq(selected | codebook.replicate(cfg.n_pe))
        with m.If(read):
            m.d.comb += self.pe_read.eq(selected)
        with m.If(write & config):
            for register in ConfigReg:
                with m.If(is_number(self.io_addr, register)):
                    m.d.sync += getattr(self, register.name.lower()).eq(self.io_data)
        words = (self.pe_rdata.word_select(k, cfg.io_data_bits) for k in range(cfg.n_pe))
        m.d.sync += self.io_rdata.eq(any_of(Mux(selected[k], word, 0) for k, word in enumerate(words)))
