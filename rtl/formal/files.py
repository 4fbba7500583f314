"""Checker of ActRW: the leaf of the LNZD tree offers each non-zero once, and both files are memories."""

from __future__ import annotations

from amaranth import Array, Cat, Const, Module, Mux, ResetSignal, Shape, Signal, Value, signed, unsigned

from eie import schema
from eie.config import ArchConfig
from eie.rtl.block import resize
from eie.rtl.formal.checker import Checker, Watched
from eie.schema import WbTarget


class ActRWChecker(Checker):
    """One row of each file is followed, whichever.

    The source file's row: written last with `value`, and `left` if that is a non-zero that has not been taken since.
    The leaf's offer is the least row that is left, so the leaf keeps the promise that the tree's nodes ask for
    (`eie.rtl.formal.tree`) as long as nobody writes: the CCU's checker proves that nobody does in compute mode, where
    rows are taken.
    """

    block = schema.ActRW.NAME

    @classmethod
    def constant(cls, cfg: ArchConfig) -> dict[str, Shape]:
        """The followed rows."""
        return {"row": unsigned(cfg.src_addr_bits), "acc_row": unsigned(cfg.acc_addr_bits)}

    @classmethod
    def watched(cls, cfg: ArchConfig) -> dict[str, Watched]:
        """What both files hold there, and the rows behind the first."""
        return {
            "rest": Watched("rest", unsigned(cfg.src_depth)),
            "src_word": Watched("src[{row}]", signed(cfg.act_bits)),
            "acc_word": Watched("acc[{acc_row}]", signed(cfg.acc_bits)),
        }

    @classmethod
    def renamed(cls, cfg: ArchConfig) -> dict[str, str]:
        """The first row and the rest, together."""
        return {"pending": "leaf_valid" if cfg.src_depth == 1 else "rest | (leaf_valid << leaf_row)"}

    def elaborate(self, platform: object) -> Module:
        m = self.module()
        self.assume(m, "rows_inside", (self.row < self.cfg.src_depth) & (self.acc_row < self.cfg.acc_depth))
        self.assume(m, "taken_if_valid", ~self.leaf_pop | self.leaf_valid)
        self._leaf(m, *self._source_write())
        self._accumulator(m)
        return m

    def _source_write(self) -> tuple[Value, Value, Value]:
        refill = self.rf_valid & self.rf_to_src
        write_back = self.y_valid & (self.wb_target & WbTarget.SRC).any()
        bits = self.cfg.src_addr_bits
        row = Mux(refill, self.rf_at[:bits], resize(self.y_row, bits))
        value = Mux(refill, self.act_rdata[: self.cfg.act_bits], self.y_value[: self.cfg.act_bits])
        # A refill or write-back may name a row that the file does not have.
        there = Mux(refill, self.rf_at < self.cfg.src_depth, self.y_row < self.cfg.src_depth)
        io = self.io_write_act
        return (
            io | ((refill | write_back) & there),
            Mux(io, self.io_addr[:bits], row),
            Mux(io, self.io_data[: self.cfg.act_bits], value),
        )

    def _leaf(self, m: Module, put: Value, put_row: Value, put_value: Value) -> None:
        value, left = Signal(signed(self.cfg.act_bits), reset_less=True), Signal()
        offered = self.leaf_valid & (self.leaf_row == self.row)
        puts = put & (put_row == self.row)
        with m.If(puts):
            m.d.sync += [value.eq(put_value), left.eq(put_value.any())]
        with m.Elif(self.leaf_pop & offered):
            m.d.sync += left.eq(0)
        bits = 1 << self.cfg.src_addr_bits
        pending = Array([*self.pending, *(0 for _ in range(bits - self.cfg.src_depth))])[self.row]
        written = self.io_write_act | self.rf_valid | self.y_valid
        self.assume(m, "taken_in_compute_mode", ~self.leaf_pop | self.compute)
        self.assume(m, "written_outside", ~(self.compute & written))
        self.assume(m, "host_alone", ~(self.io_write_act & (self.rf_valid | self.y_valid)))
        self.assume(m, "one_row_a_cycle", ~(self.rf_valid & self.y_valid))
        self.prove(m, "remembers", self.src_word == value)
        # The first row is a register of its own; the induction has to know both.
        lowest = (self.pending & -self.pending)[: self.cfg.src_depth]
        first = (Const(1, 1) << self.leaf_row)[: self.cfg.src_depth]
        self.prove(m, "valid_if_any", self.leaf_valid == self.pending.any())
        self.prove(m, "first_is_lowest", ~self.leaf_valid | (first == lowest))
        self.prove(m, "no_row_if_none", self.leaf_valid | ~self.leaf_row.any())
        self.prove(m, "first_is_not_in_the_rest", ~self.leaf_valid | ~(self.rest & first).any())
        self.prove(m, "pending_is_left", pending == left)
        self.prove(m, "left_is_not_zero", ~left | value.any())
        self.prove(m, "offers_if_left", ~left | self.leaf_valid)
        self.prove(m, "offers_what_is_left", ~offered | (left & (self.leaf_value == value)))
        self.prove(m, "offers_the_least", ~(self.leaf_valid & (self.row < self.leaf_row)) | ~left)
        self.prove(m, "offers_a_row", ~self.leaf_valid | (self.leaf_row < self.cfg.src_depth))
        self._promise(m, put | self.io_write_act | (self.rf_valid & self.rf_to_src) | self.y_valid)
        self.reach(m, "taken", self.leaf_pop & offered)
        self.reach(m, "written_again", offered & puts)
        self.reach(m, "two_left", left & self.leaf_valid & ~offered)

    def _promise(self, m: Module, writes: Value) -> None:
        """What a node of the tree asks for, as long as the file is not written."""
        quiet = self.past(m, ~writes, "quiet")
        valid = self.past(m, self.leaf_valid, "leaf_valid")
        popped = self.past(m, self.leaf_pop, "leaf_pop")
        offer = Cat(self.leaf_row, self.leaf_value)
        was, row = self.past(m, offer, "offer"), self.past(m, self.leaf_row, "leaf_row")
        self.prove(m, "ascends", ~(quiet & popped & self.leaf_valid) | (self.leaf_row > row))
        self.prove(m, "stays", ~(quiet & valid & ~popped) | (self.leaf_valid & (offer == was)))
        self.prove(m, "ends_for_good", ~(quiet & ~valid) | ~self.leaf_valid)

    def _accumulator(self, m: Module) -> None:
        cfg, row = self.cfg, self.acc_row
        value = Signal(signed(cfg.acc_bits), reset_less=True)
        refill = self.rf_valid & ~self.rf_to_src
        others = self.y_valid | refill | self.io_write_acc
        lanes = [f"lane{lane}_" for lane in range(1, cfg.issue)]
        with m.If(self.s4_write):
            self._put(m, value, self.s4_row, self.s4_sum)
        with m.Elif(self.y_valid):
            self._put(m, value, self.y_row, resize(self.y_value, cfg.acc_bits))
        with m.Elif(refill):
            self._put(m, value, self.rf_at, self.act_rdata)
        with m.Elif(self.io_write_acc):
            self._put(m, value, self.io_addr[: cfg.acc_addr_bits], self.io_data[: cfg.acc_bits])
        for lane in lanes:
            write, lane_row = getattr(self, f"{lane}s4_write"), getattr(self, f"{lane}s4_row")
            rows = [self.s4_row, *(getattr(self, f"{other}s4_row") for other in lanes if other < lane)]
            writes = [self.s4_write, *(getattr(self, f"{other}s4_write") for other in lanes if other < lane)]
            both = [at & (lane_row == other) for at, other in zip(writes, rows, strict=True)]
            self.assume(m, f"{lane}own_row", ~write | ~Cat(both).any())
            self.assume(m, f"{lane}alone", ~write | self.s4_write | ~others)
            with m.If(write):
                self._put(m, value, lane_row, getattr(self, f"{lane}s4_sum"))
        self.prove(m, "accumulator_remembers", self.acc_word == value)
        writes_back = self.wb_en & ~self.s2_valid & (self.wb_row == row)
        reads = {"": self.s2_valid & (self.s2_row == row), "writeback_": writes_back}
        for name, read in reads.items():
            self.prove(m, f"{name}reads", ~read | (self.acc_rdata == value))
        for lane in lanes:
            read = getattr(self, f"{lane}s2_valid") & (getattr(self, f"{lane}s2_row") == row)
            self.prove(m, f"{lane}reads", ~read | (getattr(self, f"{lane}acc_rdata") == value))
        self.reach(m, "accumulated", self.s4_write & (self.s4_row == row) & ~ResetSignal())

    def _put(self, m: Module, value: Signal, row: Value, new: Value) -> None:
        with m.If(row == self.acc_row):
            m.d.sync += value.eq(new)
