"""Checker of the CCU: a run goes through its passes and ends, and no broadcast exceeds the credit."""

from __future__ import annotations

from amaranth import Cat, Const, Module, Mux, Shape, Signal, Value, unsigned

from eie import schema
from eie.config import CONFIG_BITS, ArchConfig
from eie.rtl.block import any_of
from eie.rtl.formal.checker import Checker, Watched
from eie.rtl.formal.laws import later
from eie.schema import ControlReg, IoSpace, Mode, config_registers


class CCUChecker(Checker):
    """One entry of the pass table and one PE are followed, whichever."""

    block = schema.Ccu.NAME

    @classmethod
    def constant(cls, cfg: ArchConfig) -> dict[str, Shape]:
        """The followed entry of the pass table, and the followed PE."""
        return {"entry": unsigned(cfg.pass_bits), "pe": unsigned(cfg.pe_bits)}

    @classmethod
    def watched(cls, cfg: ArchConfig) -> dict[str, Watched]:
        """The followed entry, register by register; of each entry, what it says of the accumulators' refill."""
        fields = {field.name: field.width for field in schema.fields(cls.block, cfg)}
        followed = {
            f"kept_{name}": Watched(f"table_{name}[{{entry}}]", unsigned(fields[name]))
            for name in (register.name.lower() for register in config_registers(cfg))
        }
        rows = {
            f"acc_rows_{entry}": Watched(f"table_acc_rows[{entry}]", unsigned(fields["acc_rows"]))
            for entry in range(cfg.passes)
        }
        refills = {
            f"refills_{entry}": Watched(f"table_refills[{entry}]", unsigned(1)) for entry in range(cfg.passes)
        }
        return followed | rows | refills

    def elaborate(self, platform: object) -> Module:
        m, cfg = self.module(), self.cfg
        self.io, self.computes, self.writes_back, self.refills = (
            self._named(m, f"in_{mode.name.lower()}", self.mode == mode) for mode in Mode
        )
        self.assume(m, "followed_inside", (self.entry < cfg.passes) & (self.pe < cfg.n_pe))
        starts = self.start & self.io
        in_order = (self.first_pass <= self.last_pass) & (self.last_pass < cfg.passes)
        self.assume(m, "passes_in_order", ~starts | in_order)
        self.assume(m, "host_is_quiet_at_start", ~(starts & self.io_write))
        self._modes(m, starts)
        self._passes(m, starts)
        self._rows(m)
        self._ends(m)
        self._broadcast(m)
        self._host(m)
        return m

    def _modes(self, m: Module, starts: Value) -> None:
        """Refill, compute, write-back, in this order, for each pass; nothing else moves the mode."""
        was = {
            mode: self.past(m, self.mode == mode, f"mode_{mode.name.lower()}")
            for mode in (Mode.COMPUTE, Mode.WRITEBACK, Mode.REFILL)
        }
        ran = any_of(was.values())
        started = self.past(m, starts, "starts")
        begun = self.past(m, self.begin_pass, "begin_pass")
        self.prove(m, "busy", self.busy == ~self.io)
        self.prove(m, "clear", self.clear == starts)
        self.prove(m, "compute", self.compute == self.computes)
        self.prove(m, "starts_at_once", ran | (self.busy == started))
        self.prove(m, "pass_begins_outside", ~(self.begin_pass & self.computes))
        self.prove(m, "computes_behind_begin_pass", ~self.computes | was[Mode.COMPUTE] | begun)
        self.prove(m, "begin_pass_computes", ~begun | self.computes)
        self.prove(
            m, "writes_back_behind_compute", ~self.writes_back | was[Mode.COMPUTE] | was[Mode.WRITEBACK]
        )
        refill = was[Mode.REFILL] | was[Mode.WRITEBACK] | (started & ~ran)
        self.prove(m, "refills_behind_write_back_or_start", ~self.refills | refill)
        self.prove(m, "ends_behind_write_back", ~(self.io & ran) | was[Mode.WRITEBACK])
        finished = self._named(m, "finished", self.io & was[Mode.WRITEBACK])
        done = Signal(name="has_finished")
        with m.If(finished | starts):
            m.d.sync += done.eq(~starts)
        self.prove(m, "done", self.done == (finished | done))

    def _passes(self, m: Module, starts: Value) -> None:
        """From the first pass to the last, one by one; the pass's entry of the table stands for all of it."""
        was, busy = self.past(m, self.current_pass, "current_pass"), self.past(m, self.busy, "busy")
        wrote_back = self.past(m, self.writes_back, "writes_back")
        moved = busy & wrote_back & ~self.writes_back
        was_last = self.past(m, self.current_pass == self.last_pass, "was_last")
        same = [
            getattr(self, name) == self.past(m, getattr(self, name), name)
            for name in ("first_pass", "last_pass")
        ]
        self.prove(m, "waits_at_the_first_pass", ~self.io | (self.current_pass == self.first_pass))
        inside = (self.first_pass <= self.current_pass) & (self.current_pass <= self.last_pass)
        self.prove(m, "pass_inside", ~self.busy | (inside & (self.last_pass < self.cfg.passes)))
        self.prove(m, "passes_stay", ~busy | (same[0] & same[1]))
        follows = Mux(moved & was_last, self.first_pass, was + moved)
        self.prove(m, "one_pass_behind_the_other", ~busy | (self.current_pass == follows))
        self.prove(m, "ends_with_the_last_pass", ~moved | (self.io == was_last))
        if self.cfg.passes > 1:
            self.reach(m, "second_pass", moved & ~self.io & self.refills)
        self.reach(m, "done", self.done & moved)
        self.reach(m, "done_and_again", starts & self.done)

        for register in config_registers(self.cfg):
            name = register.name.lower()
            shown, kept = getattr(self, name), getattr(self, f"kept_{name}")
            word = Signal(len(shown), name=f"word_{name}", reset_less=True)
            io_entry = self.io_addr[CONFIG_BITS:][: self.cfg.pass_bits]
            here = (self.io_addr[:CONFIG_BITS] == register) & (io_entry == self.entry)
            with m.If(self.io_write & self.io & (self.io_space == IoSpace.CONFIG) & here):
                m.d.sync += word.eq(self.io_data)
            self.prove(m, f"kept_{name}", kept == word)
            self.prove(m, f"shows_{name}", ~(self.busy & (self.current_pass == self.entry)) | (shown == word))

    def _rows(self, m: Module) -> None:
        """Refill and write-back take each row once, in order, and are over before the PEs compute."""
        late = self.past(m, self.rf_en | self.wb_en, "moves_rows")
        self.prove(m, "no_row_in_compute", ~(self.computes & (self.rf_en | self.wb_en | late)))
        self.prove(m, "no_row_for_the_host", ~(self.io & (self.rf_en | self.wb_en | late)))
        wrote, refilled = self.past(m, self.wb_en, "wrote_row"), self.past(m, self.rf_en, "refilled_row")
        self.prove(m, "one_row_a_cycle", ~(wrote & refilled))
        for entry in range(self.cfg.passes):
            refills, words = getattr(self, f"refills_{entry}"), getattr(self, f"acc_rows_{entry}")
            self.prove(m, f"knows_whether_it_refills_{entry}", refills == words.any())
        rows = Mux(self.rf_src, self.src_rows, self.acc_rows)
        base = Mux(self.rf_src, self.src_base, self.acc_base)
        self.prove(m, "refills_rows", self.rf_en == (self.refills & (self.rf_row < rows)))
        self.prove(
            m, "refills_from", ~self.rf_en | (self.rf_addr == (base + self.rf_row)[: len(self.rf_addr)])
        )
        self.prove(m, "refill_begins_with_row_0", self.refills | (self.rf_row == 0))
        self.prove(m, "refill_inside", ~self.refills | (self.rf_row <= rows))
        again = self.past(m, self.refills, "refills") & self.refills
        row, src = self.past(m, self.rf_row, "rf_row"), self.past(m, self.rf_src, "rf_src")
        took = self.past(m, self.rf_en, "rf_en")
        same = (self.rf_src == src) & (self.rf_row == row + 1)
        # After the accumulators' rows the source file's, from row 0.
        self.prove(m, "refills_in_order", ~again | Mux(took, same, ~src & self.rf_src & (self.rf_row == 0)))
        self.prove(m, "refills_accumulators_first", ~self.refills | again | ~self.rf_src)
        self.prove(m, "writes_back_rows", self.wb_en == (self.writes_back & (self.wb_row < self.wb_rows)))
        self.prove(m, "write_back_begins_with_row_0", ~self.computes | (self.wb_row == 0))
        self.prove(m, "write_back_inside", ~self.writes_back | (self.wb_row <= self.wb_rows))
        wrote, wb_row = self.past(m, self.wb_en, "wb_en"), self.past(m, self.wb_row, "wb_row")
        to = (self.past(m, self.wb_base, "wb_base") + wb_row)[: len(self.wb_addr)]
        self.prove(m, "writes_back_in_order", ~wrote | ((self.wb_row == wb_row + 1) & (self.wb_addr == to)))
        self.reach(m, "refills_both", self.rf_en & self.rf_src & (self.acc_rows != 0))
        self.reach(m, "writes_back_two_rows", self.wb_en & (self.wb_row == 1))

    def _ends(self, m: Module) -> None:
        """Every run ends: a measure falls in every cycle, but for those in which PEs compute."""
        left = Mux(self.refills, Mux(self.rf_src, self.src_rows, self.acc_rows) - self.rf_row, 0)
        left = Mux(self.writes_back, self.wb_rows - self.wb_row, left)
        steps = Mux(self.refills, Mux(self.rf_src, 2, 3), self.computes)
        rows = max(len(self.rf_row), len(self.wb_rows)) + 1
        passes = (self.last_pass - self.current_pass)[: self.cfg.pass_bits]
        measure = self._wide(m, "measure", Cat(left[:rows], steps[:2], passes))
        before = self.past(m, measure, "measure")
        busy, computed = self.past(m, self.busy, "was_busy"), self.past(m, self.computes, "computes")
        falls = measure < before
        self.prove(m, "measure_falls", ~(busy & self.busy) | (computed & self.computes) | falls)
        drained = self.past(m, self.computes & self.root_exhausted.all() & ~self.busy_pes.any(), "drained")
        self.prove(m, "compute_ends_when_drained", ~computed | (self.writes_back == drained))

    def _wide(self, m: Module, name: str, value: Value) -> Signal:
        signal = Signal(len(value), name=name)
        m.d.comb += signal.eq(value)
        return signal

    def _broadcast(self, m: Module) -> None:
        cfg = self.cfg
        # Each segment has its own tree, and broadcasts by itself.
        for s in range(cfg.segments):
            name = f"segment{s}_" if cfg.segments > 1 else ""
            bcast, root = self.bcast[s], self.root_valid[s] & self.computes
            nearby = self.nearby[s] if cfg.index_free else Const(1)
            credits = self.credits.word_select(s, cfg.segment_pes)
            every = credits == (1 << cfg.segment_pes) - 1
            self.prove(m, f"{name}broadcasts_with_every_credit", ~bcast | every)
            self.prove(m, f"{name}broadcasts_what_is_offered", ~bcast | root)
            self.prove(m, f"{name}broadcasts_at_once", bcast == (root & nearby & every))
            self.reach(m, f"{name}waits_for_credit", root & nearby & ~bcast)
            was = self.past(m, bcast, f"{name}bcast")
            self.reach(m, f"{name}broadcasts_twice", bcast & was)
        if cfg.index_free:
            return
        self.assume(m, "leaf_inside", ~self.root_valid | (self.root_pe < cfg.leaves))
        column = (self.ptr_base + self.root_row * cfg.n_pe + self.root_pe * cfg.group)[: cfg.col_bits]
        values = [self.root_value, *([self.root_value1] if cfg.group == 2 else [])]
        sent, what = self.bcast, self._wide(m, "sent", Cat(column, *values))
        for stage, valid in enumerate(later(m, self.bcast, cfg.bus_registers, "bcast")):
            sent, what = valid, self.past(m, what, f"sent_{stage}")
        came = Cat(self.push_col, self.push_value, *([self.push_value1] if cfg.group == 2 else []))
        self.prove(m, "arrives_after_the_bus", self.push == sent)
        self.prove(m, "arrives_as_it_was_sent", ~sent | (came == what))

    def _host(self, m: Module) -> None:
        """The I/O port is closed while a run is under way, and open to the PE that is named."""
        own = (self.io_space == IoSpace.CONFIG) | (self.io_space == IoSpace.CONTROL)
        named = self.io_pe == self.pe
        writes = self.io_write & (named | (self.io_space == IoSpace.CODEBOOK))
        self.prove(m, "closed_to_the_host", ~self.busy | ~(self.pe_write | self.pe_read).any())
        pe_write, pe_read = (port.bit_select(self.pe, 1) for port in (self.pe_write, self.pe_read))
        self.prove(m, "writes_to_pe", pe_write == (writes & self.io))
        self.prove(m, "reads_from_pe", pe_read == (self.io_read & named & self.io))
        control = self.past(m, self.io_write & self.io & (self.io_space == IoSpace.CONTROL), "control")
        address, data = self.past(m, self.io_addr, "io_addr"), self.past(m, self.io_data, "io_data")
        for register in ControlReg:
            value = getattr(self, register.name.lower())
            wrote = control & (address == register)
            self.prove(m, f"takes_{register.name.lower()}", ~wrote | (value == data[: len(value)]))
        read = self.past(m, self.io_read & ~own & (self.io_space != IoSpace.PTR) & named, "read")
        word = self.past(m, self.pe_rdata.word_select(self.pe, self.cfg.io_data_bits), "pe_word")
        self.prove(m, "gives_the_word_of_the_pe", ~read | (self.io_rdata == word))
