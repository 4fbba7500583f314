"""Checkers of RunRead and RunRows: which run of entries belongs to a group of columns."""

from __future__ import annotations

from amaranth import Const, Module, Mux, Shape, Signal, Value, signed, unsigned

from eie import schema
from eie.config import ArchConfig
from eie.rtl.formal.checker import Checker
from eie.rtl.formal.laws import pops_in_turn, waits
from eie.rtl.formal.walk import SramWord


class RunReadChecker(Checker):
    """One column or pair is followed, whichever: its number, and what the SRAMs hold for it.

    The reference counts entries by their number, not by a pointer's word and place in it.
    """

    block = schema.RunRead.NAME

    @classmethod
    def constant(cls, cfg: ArchConfig) -> dict[str, Shape]:
        """The followed column (or pair), and its pointers (or its pair's pointer and lengths)."""
        pairs = cfg.group == 2
        kept = {"kept": unsigned(cfg.ptr_word_bits)}
        if not pairs:
            kept = {"from_": unsigned(cfg.pointer_bits), "up_to": unsigned(cfg.pointer_bits)}
        return {"number": unsigned(cfg.ptr_addr_bits + (not pairs)), **kept}

    def elaborate(self, platform: object) -> Module:
        m, cfg = self.module(), self.cfg
        values = ("value", "value1")[: cfg.group]
        came, load, col = (
            ("push", self.push, self.push_col) if cfg.filter_empty else ("head", None, self.head_col)
        )
        idle = ~self.valid & ~(self.push if cfg.filter_empty else self.head_valid)
        self.assume(m, "host_only_when_idle", ~(self.io_write | self.io_read) | idle)
        if load is None:
            waiting = waits(m, self.pop, self.start)
            load = self.pop
            self.assume(m, "starts_what_waits", ~self.start | waiting)
            self.prove(m, "pops_in_turn", pops_in_turn(self.pop, self.head_valid, waiting, self.start))
            self.prove(m, "pops_as_soon_as_it_can", self.pop | ~self.head_valid | (waiting & ~self.start))
            self.reach(m, "one_behind_the_other", self.pop & self.start)
        else:
            waiting = self.past(m, self.push, "push")
            self.prove(m, "loads_what_comes", self.load == self.push)
            self.reach(m, "one_behind_the_other", self.push & self.valid)
        self.prove(m, "waits", self.valid == waiting)
        at = Signal(len(col), name="at")
        with m.If(load):
            m.d.sync += at.eq(col)
        for name in values:
            item = Signal(signed(cfg.act_bits), name=f"{name}_came")
            with m.If(load):
                m.d.sync += item.eq(getattr(self, f"{came}_{name}"))
            self.prove(m, f"{name}_stays", ~waiting | (getattr(self, name) == item))
        some = self.p_count.any() | (self.p_count1.any() if cfg.group == 2 else 0)
        if cfg.filter_empty:
            self.prove(m, "keeps_what_has_entries", self.keep == (waiting & some))
            self.prove(m, "drops_the_others", self.drop == (waiting & ~some))
            self.reach(m, "dropped", self.drop)
        if cfg.group == 2:
            self._pair(m, waiting & ((at >> 1) == self.number))
        else:
            self._single(m, waiting, at, load, col)
        return m

    def _number(self, pointer: Value) -> Value:
        """Number of the entry that a pointer names."""
        sel = self.cfg.sel_bits
        return pointer[sel:] * self.cfg.entries_per_word + self._place(pointer)

    def _place(self, pointer: Value) -> Value:
        return pointer[: self.cfg.sel_bits] if self.cfg.sel_bits else Const(0, 1)

    def _single(self, m: Module, waiting: Value, at: Value, load: Value, col: Value) -> None:
        """A column's pointer and the next one's: one in each bank."""
        cfg = self.cfg
        beyond = 1 << cfg.ptr_addr_bits
        # The last column's second pointer is the last of the memory.
        self.assume(m, "column_inside", ~load | (col < 2 * beyond - 1))
        odd = self.number[0]
        even_at = (self.number + 1) >> 1
        even = SramWord(self, m, "even", even_at, Mux(odd, self.up_to, self.from_))
        odds = SramWord(self, m, "odd", self.number >> 1, Mux(odd, self.from_, self.up_to))
        here = waiting & (at == self.number)
        first, behind = self._number(self.from_), self._number(self.up_to)
        for name in ("from_", "up_to"):
            self.assume(
                m, f"{name.rstrip('_')}_in_a_word", self._place(getattr(self, name)) < cfg.entries_per_word
            )
        self.assume(m, "inside_the_memory", behind <= cfg.entries_per_word << cfg.word_addr_bits)
        self.assume(m, "in_order", (first <= behind) & (behind - first < 1 << cfg.length_bits))
        self.prove(m, "holds", ~here | (even.on_output & odds.on_output))
        self.prove(m, "odd", ~waiting | (self.odd == at[0]))
        self.prove(m, "first_pointer", ~(here & self.p_count.any()) | (self.p_start == self.from_))
        self.prove(m, "length", ~here | (self.p_count == (behind - first)[: cfg.length_bits]))
        self.reach(m, "odd_column", here & odd & self.p_count.any())
        self.reach(m, "even_column", here & ~odd & self.p_count.any())

    def _pair(self, m: Module, here: Value) -> None:
        """Lengths of both columns, 0 of one that is not active, and the first entry that is left then."""
        cfg, bits = self.cfg, self.cfg.length_bits
        word = SramWord(self, m, "ptr", self.number, self.kept)
        length, length1 = self.kept[:bits], self.kept[bits : 2 * bits]
        even = cfg.start_bits - cfg.pointer_bits
        pointer = (self.kept[2 * bits :] << even)[: cfg.run_bits]
        first = self._number(pointer)
        self.assume(m, "in_a_word", self._place(pointer) < cfg.entries_per_word)
        inside = first + length + length1 <= cfg.entries_per_word << cfg.word_addr_bits
        self.assume(m, "inside_the_memory", inside)
        active, active1 = self.value.any(), self.value1.any()
        self.prove(m, "holds", ~here | word.on_output)
        self.prove(m, "length", ~here | (self.p_count == Mux(active, length, 0)))
        self.prove(m, "second_length", ~here | (self.p_count1 == Mux(active1, length1, 0)))
        some = here & (self.p_count.any() | self.p_count1.any())
        begins = self._number(self.p_start) == first + Mux(active, 0, length)
        in_word = self._place(self.p_start) < cfg.entries_per_word
        self.prove(m, "first_entry", ~some | (begins & in_word))
        self.reach(m, "both_columns", some & active & active1)
        self.reach(m, "the_second_alone", some & ~active & length.any())


class RunRowsChecker(Checker):
    """One row of a layer is followed, whichever: it is in the PE's run if it is the PE's and in the column's block."""

    block = schema.RunRows.NAME

    @classmethod
    def constant(cls, cfg: ArchConfig) -> dict[str, Shape]:
        """The followed row."""
        return {"row": unsigned(cfg.bound_bits)}

    def elaborate(self, platform: object) -> Module:
        m, cfg = self.module(), self.cfg
        rows = cfg.acc_depth * cfg.segment_pes
        in_order = (self.push_low <= self.push_high) & (self.push_high <= rows)
        self.assume(m, "block_inside", ~self.push | in_order)
        in_block = (self.push_low <= self.row) & (self.row < self.push_high)
        own = self.row[: cfg.pe_shift] == self.number if cfg.pe_shift else Const(1, 1)
        local = self.row >> cfg.pe_shift
        in_run = (self.p_row <= local) & (local < self.p_row + self.p_count)
        self.prove(m, "run_is_the_blocks_rows", ~(self.push & own) | (in_run == in_block))
        self.prove(
            m, "run_fits", ~(self.push & self.p_count.any()) | (self.p_row + self.p_count <= cfg.acc_depth)
        )
        self.prove(m, "first_entry", ~self.push | (self.p_start == self.push_start))
        self.prove(m, "activation", ~self.push | (self.value == self.push_value))
        self.prove(m, "keeps_what_has_rows", self.keep == (self.push & self.p_count.any()))
        self.prove(m, "drops_the_others", self.drop == (self.push & ~self.p_count.any()))
        self.reach(m, "dropped", self.drop & (self.push_low != self.push_high))
        self.reach(m, "some_rows", self.keep & (self.p_row != 0) & (self.p_count > 1))
        return m
