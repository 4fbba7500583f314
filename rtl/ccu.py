"""CCU: central control, with the I/O port, the pass table, the mode, the broadcast and the cycle counts."""

from __future__ import annotations

from collections.abc import Mapping

from amaranth import Cat, Module, Mux, Signal, Value

from eie.config import CONFIG_BITS
from eie.rtl.block import (
    Block,
    add,
    any_of,
    count,
    is_inside,
    is_number,
    magnitude,
    more_reads,
    pick,
    register_file,
    resize,
)
from eie.schema import ConfigReg, ControlReg, IoSpace, Mode, config_registers


class CCU(Block):
    """Root of the LNZD tree, broadcaster, sequencer of the passes, and the host's door to the memories.

    Latency: a broadcast is combinational from the root's offer and the credits; each bus register adds a cycle.
    io_rdata follows pe_rdata by one cycle.

    Parameters
    ----------
    cfg, probe : see `Block`.

    Members
    -------
    start, busy, done, current_pass : begin a run; under way; finished; which pass.
    root_valid, root_exhausted, root_row, root_pe, root_value : the LNZD tree's root. Of segments (of nearby, bcast and
        block_rdata, too) a bit, or a word, for each.
    credits, busy_pes, retires : bit k is PE k's.
    clear, begin_pass, compute : the run begins; compute mode begins; compute mode.
    bcast, push, push_col, push_value : the broadcast; index-free the block table has the bus (nearby, block_rdata).
    io_write, io_read, io_space, io_pe, io_addr, io_data, io_rdata : the host's I/O port.
    pe_write, pe_read, pe_rdata : the PEs' I/O ports; pe_rdata has PE k's word at bits k * io_data_bits on.
    rf_en, rf_src, rf_row, rf_addr : refill of one local row in every PE.
    wb_en, wb_row, wb_addr : write-back of one local row in every PE.
    product_shift ... src_base, arithmetic : the pass's entry of the table (`eie.schema.ConfigReg`).
    sum_x, scale_addr : of an adder machine: the inputs' magnitudes so far; word of the scale of row wb_row.
    mode, cycles, broadcast_stalls, refill_cycles, writeback_cycles : `eie.schema.Mode`, counters of the run.
    """

    name = "ccu"

    def elaborate(self, platform: object) -> Module:
        m = self.module()
        # Shared by the parts below: modes, their ends, and the host's address spaces that are the CCU's own.
        self.io_mode = Signal()
        self.refill = Signal()
        self.write_back = Signal()
        self.drained = Signal()
        self.last = Signal()
        self.refills = Signal()
        self.written = Signal()
        self.to_config = Signal()
        self.to_control = Signal()
        self.host_words: dict[ConfigReg, Value] = {}
        m.d.comb += [
            self.io_mode.eq(~self.busy),
            self.write_back.eq(is_number(self.mode, Mode.WRITEBACK)),
            self.refill.eq(is_number(self.mode, Mode.REFILL)),
            self.drained.eq(self.compute & self._exhausted() & ~self.busy_pes.any()),
            self.written.eq(self.write_back & ~self.wb_en),
            self.to_config.eq(is_number(self.io_space, IoSpace.CONFIG)),
            self.to_control.eq(is_number(self.io_space, IoSpace.CONTROL)),
        ]
        self._table(m)
        self._sequence(m)
        self._refill_and_write_back(m)
        self._counters(m)
        self._broadcast(m)
        if self.cfg.adder:
            self._sum(m)
        self._io(m)
        return m

    def _table(self, m: Module) -> None:
        """The pass table: a memory for each register, written by the host, read at the pass and at the host's entry.

        The host has a read port of its own: else what a pass does would wait for what the host asks for.
        """
        cfg = self.cfg
        number, io_entry = self.io_addr[:CONFIG_BITS], self.io_addr[CONFIG_BITS:][: cfg.pass_bits]
        write_config = Signal()
        m.d.comb += write_config.eq(
            self.io_write & self.io_mode & self.to_config & is_inside(io_entry, cfg.passes)
        )
        for register in config_registers(cfg):
            word = self._word(register)
            write, read = register_file(m, f"table_{register.name.lower()}", len(word), cfg.passes)
            m.d.comb += [
                write.en.eq(write_config & is_number(number, register)),
                write.addr.eq(io_entry),
                write.data.eq(self.io_data),
                read.addr.eq(self.current_pass),
                word.eq(Mux(is_inside(self.current_pass, cfg.passes), read.data, 0)),
            ]
            port = more_reads(m, f"table_{register.name.lower()}")
            m.d.comb += port.addr.eq(io_entry)
            self.host_words[register] = Mux(is_inside(io_entry, cfg.passes), port.data, 0)
        # Whether the accumulators are refilled, in a memory of its own.
        write, read = register_file(m, "table_refills", 1, cfg.passes)
        m.d.comb += [
            write.en.eq(write_config & is_number(number, ConfigReg.ACC_ROWS)),
            write.addr.eq(io_entry),
            write.data.eq(self.io_data[: len(self.acc_rows)].any()),
            read.addr.eq(self.current_pass),
            self.refills.eq(Mux(is_inside(self.current_pass, cfg.passes), read.data, 0)),
        ]

    def _word(self, register: ConfigReg) -> Signal:
        word: Signal = getattr(self, register.name.lower())
        return word

    def _sequence(self, m: Module) -> None:
        """The modes, from pass to pass."""
        last = self.last
        refilled = Signal()
        m.d.comb += [
            self.clear.eq(self.start & self.io_mode),
            refilled.eq(self.refill & self.rf_src & ~self.rf_en),
            self.begin_pass.eq((self.clear & ~self.acc_rows.any() & ~self.src_rows.any()) | refilled),
            last.eq(self.current_pass == self.last_pass),
        ]
        mode = Signal(len(self.mode), name="next_mode")
        m.d.comb += mode.eq(self.mode)
        with m.If(self.begin_pass):
            m.d.comb += mode.eq(Mode.COMPUTE)
        with m.Elif(self.clear):
            m.d.comb += mode.eq(Mode.REFILL)
        with m.Elif(self.drained):
            m.d.comb += mode.eq(Mode.WRITEBACK)
        with m.Elif(self.written):
            m.d.comb += mode.eq(Mux(last, Mode.IO, Mode.REFILL))
        # What the tree and the PEs wait for is a register, too. It does not wait for the choice of the mode, because
        # that a PE is busy comes late.
        m.d.sync += [
            self.mode.eq(mode),
            self.compute.eq(self.begin_pass | (self.compute & ~self.drained)),
            self.busy.eq(self.clear | (self.busy & ~(self.written & last))),
        ]
        with m.If(self.clear):
            m.d.sync += self.done.eq(0)
        with m.Elif(self.written & last):
            m.d.sync += self.done.eq(1)

        write_control = self.io_write & self.io_mode & self.to_control
        write_first = write_control & is_number(self.io_addr, ControlReg.FIRST_PASS)
        with m.If(self.written):
            m.d.sync += self.current_pass.eq(Mux(last, self.first_pass, self.current_pass + 1))
        with m.Elif(write_first):
            m.d.sync += [self.first_pass.eq(self.io_data), self.current_pass.eq(self.io_data)]
        with m.If(write_control & is_number(self.io_addr, ControlReg.LAST_PASS)):
            m.d.sync += self.last_pass.eq(self.io_data)

    def _refill_and_write_back(self, m: Module) -> None:
        rows = Signal(len(self.rf_row))
        base = Signal(len(self.rf_addr))
        further, begins = Signal(name="refills_further"), Signal(name="refill_begins")
        following = (self.rf_row + 1)[: len(rows)]
        m.d.sync += [
            begins.eq((self.clear & ~self.begin_pass) | (self.written & ~self.last)),
            further.eq(self.refill & Mux(self.rf_en, following != rows, ~self.rf_src & self.src_rows.any())),
        ]
        m.d.comb += [
            rows.eq(Mux(self.rf_src, resize(self.src_rows, len(rows)), resize(self.acc_rows, len(rows)))),
            base.eq(Mux(self.rf_src, self.src_base, self.acc_base)),
            # The pass table is not on the way to the PEs, but for whether there is a first row.
            self.rf_en.eq(further | (begins & self.refills)),
            self.rf_addr.eq(add(base, self.rf_row, len(base))),
        ]
        # Whether a row is written back is known a cycle ahead: the pass table is not on the way to the PEs.
        more = Signal()
        m.d.comb += more.eq((self.wb_row + 1)[: len(self.wb_rows)] != self.wb_rows)
        m.d.sync += self.wb_en.eq(Mux(self.drained, self.wb_rows.any(), self.wb_en & more))
        restart = self.clear | self.written
        with m.If(restart):
            m.d.sync += self.rf_src.eq(0)
        with m.Elif(self.refill & ~self.rf_en):
            m.d.sync += self.rf_src.eq(1)
        count(m, self.rf_row, restart | (self.refill & ~self.rf_en), self.rf_en)
        count(m, self.wb_row, self.begin_pass, self.wb_en)
        wb_addr = add(self.wb_base, self.wb_row, len(self.wb_addr))
        with m.If(self.wb_en):
            m.d.sync += self.wb_addr.eq(wb_addr)
        if self.cfg.adder:
            m.d.comb += self.scale_addr.eq(wb_addr)

    def _counters(self, m: Module) -> None:
        segments = range(self.cfg.segments)
        stalled = [self.compute & _bit(self.root_valid, s) & ~_bit(self.bcast, s) for s in segments]
        self.tally(m, "broadcast_stalls", stalled)
        self.counter(m, "refill_cycles", self.refill)
        self.counter(m, "writeback_cycles", self.write_back)
        if not self.cfg.counters:
            return
        with m.If(self.clear):
            m.d.sync += [self.cycle.eq(0), self.cycles.eq(0)]
        with m.Elif(self.compute):
            # The cycles after the pass's last token are not the next one's.
            m.d.sync += self.cycle.eq(Mux(self.drained, self.cycles, self.cycle + 1))
            with m.If(self.retires.any()):
                m.d.sync += self.cycles.eq(self.cycle + 1)

    def _exhausted(self) -> Value:
        """No root will offer again."""
        return self.root_exhausted if self.cfg.segments == 1 else self.root_exhausted.all()

    def _broadcast(self, m: Module) -> None:
        cfg = self.cfg
        if cfg.index_free:  # the bus is the block table's
            compute: Value = self.compute
            credits = self.credits.all()
            if cfg.segments > 1:
                compute = self.compute.replicate(cfg.segments)
                mine = (self.credits.word_select(s, cfg.segment_pes) for s in range(cfg.segments))
                credits = Cat(of_segment.all() for of_segment in mine)
            m.d.comb += self.bcast.eq(compute & self.root_valid & self.nearby & credits)
            return
        leaf = self.root_pe << 1 if cfg.group == 2 else self.root_pe
        column = (self.root_row << (cfg.n_pe - 1).bit_length()) | leaf
        values = ("value", "value1")[: cfg.group]
        m.d.comb += self.bcast.eq(self.compute & self.root_valid & self.credits.all())
        stage: tuple[Value, ...] = (
            self.bcast,
            add(column, self.ptr_base, cfg.col_bits),
            *(getattr(self, f"root_{value}") for value in values),
        )
        for i in range(cfg.bus_registers):
            register = tuple(getattr(self, f"bus{i}_{name}") for name in ("valid", "col", *values))
            m.d.sync += [target.eq(source) for target, source in zip(register, stage, strict=True)]
            stage = register
        m.d.comb += [self.push.eq(stage[0]), self.push_col.eq(stage[1])]
        m.d.comb += [getattr(self, f"push_{name}").eq(x) for name, x in zip(values, stage[2:], strict=True)]

    def _sum(self, m: Module) -> None:
        """The inputs' magnitudes, from the first batch of a tile of rows to the write-back of the tile."""
        values = [self.root_value, *([self.root_value1] if self.cfg.group == 2 else [])]
        summand = Signal(self.cfg.act_bits + len(values) - 1)
        m.d.comb += summand.eq(sum((magnitude(value) for value in values[1:]), start=magnitude(values[0])))
        with m.If(self.written & self.wb_rows.any()):
            m.d.sync += self.sum_x.eq(0)
        with m.Elif(self.bcast):
            m.d.sync += self.sum_x.eq(add(self.sum_x, summand, len(self.sum_x)))

    def _io(self, m: Module) -> None:
        cfg = self.cfg
        selected = Signal(cfg.n_pe)
        to_all = Signal()
        m.d.comb += [
            selected.eq(Cat(is_number(self.io_pe, k) for k in range(cfg.n_pe))),
            to_all.eq(is_number(self.io_space, IoSpace.CODEBOOK)),
        ]
        # A PE has nothing in the CCU's own spaces, and takes no notice of a write there.
        with m.If(self.io_write & self.io_mode):
            m.d.comb += self.pe_write.eq(selected | to_all.replicate(cfg.n_pe))
        with m.If(self.io_read & self.io_mode):
            m.d.comb += self.pe_read.eq(selected)
        words = [self.pe_rdata.word_select(k, cfg.io_data_bits) for k in range(cfg.n_pe)]
        passes = {register: getattr(self, register.name.lower()) for register in ControlReg}
        elsewhere = self.to_config | self.to_control
        of_config = self._selected(self.io_addr[:CONFIG_BITS], self.host_words)
        # What a PE reads comes late: the choice between it and the CCU's own words is behind their registers.
        own = Mux(self.to_config, of_config, Mux(self.to_control, self._selected(self.io_addr, passes), 0))
        if cfg.index_free:
            tables = [self.block_rdata.word_select(s, cfg.io_data_bits) for s in range(cfg.segments)]
            of_table = is_number(self.io_space, IoSpace.PTR)
            elsewhere |= of_table
            own |= Mux(of_table, pick(tables, self.io_pe[cfg.pe_shift :]), 0)
        of_pes, of_ccu = Signal(cfg.io_data_bits, name="pe_word"), Signal(cfg.io_data_bits, name="own_word")
        m.d.sync += [
            of_pes.eq(any_of(Mux(selected[k] & ~elsewhere, word, 0) for k, word in enumerate(words))),
            of_ccu.eq(own),
        ]
        m.d.comb += self.io_rdata.eq(of_pes | of_ccu)

    def _selected(
        self, number: Value, registers: Mapping[ConfigReg, Value] | Mapping[ControlReg, Value]
    ) -> Value:
        """The word of the register that `number` names, 0 if there is none."""
        return any_of(
            Mux(is_number(number, register), resize(word, len(self.io_rdata)), 0)
            for register, word in registers.items()
        )


def _bit(value: Value, number: int) -> Value:
    """A bit of several, or the only one."""
    return value if len(value) == 1 else value[number]
