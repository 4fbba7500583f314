"""Checkers of PtrRead and SpmatRead: which pointers belong to a column, and a walk over exactly its entries."""

from __future__ import annotations

from amaranth import Array, Cat, Const, Module, Mux, Shape, Signal, Value, signed, unsigned

from eie import schema
from eie.config import ArchConfig
from eie.rtl.block import add
from eie.rtl.formal.checker import Checker
from eie.rtl.formal.laws import pops_in_turn, waits


class SramWord:
    """One word of an SRAM, whichever: what it holds, and that a read of it gives that.

    Parameters
    ----------
    checker, m : who asks.
    sram : name of the SRAM.
    address : the followed word's.
    word : what it holds, as long as nobody writes it.
    """

    def __init__(self, checker: Checker, m: Module, sram: str, address: Value, word: Value) -> None:
        of = {name: getattr(checker, f"{sram}_{name}") for name in ("en", "we", "addr", "rdata")}
        self.on_output = Signal(name=f"{sram}_on_output")
        with m.If(of["en"] & ~of["we"]):
            m.d.sync += self.on_output.eq(of["addr"] == address)
        checker.assume(m, f"{sram}_reads", ~self.on_output | (of["rdata"] == word))


class PtrReadChecker(Checker):
    """A column has the pointers p_j and p_(j+1). One pointer is followed, whichever."""

    block = schema.PtrRead.NAME

    @classmethod
    def constant(cls, cfg: ArchConfig) -> dict[str, Shape]:
        """The followed pointer: its number and what it is."""
        return {"number": unsigned(cfg.ptr_addr_bits + 1), "pointer": unsigned(cfg.pointer_bits)}

    def elaborate(self, platform: object) -> Module:
        m = self.module()
        waiting = waits(m, self.pop, self.start)
        self.assume(m, "starts_what_waits", ~self.start | waiting)
        idle = ~self.head_valid & ~self.valid
        self.assume(m, "host_only_when_idle", ~(self.io_write | self.io_read) | idle)
        self.prove(m, "pops_in_turn", pops_in_turn(self.pop, self.head_valid, waiting, self.start))
        self.prove(m, "pops_as_soon_as_it_can", self.pop | ~self.head_valid | (waiting & ~self.start))
        self.prove(m, "waits", self.valid == waiting)

        col, value = Signal(self.cfg.col_bits), Signal(signed(self.cfg.act_bits))
        with m.If(self.pop):
            m.d.sync += [col.eq(self.head_col), value.eq(self.head_value)]
        # The last column's second pointer is the last of the memory.
        reach = 1 << self.cfg.ptr_addr_bits + 1
        self.assume(m, "column_inside", ~self.head_valid | (self.head_col < reach - 1))
        # A bank has every other pointer: the other bank's are not followed.
        odd = self.number[0]
        beyond = 1 << self.cfg.ptr_addr_bits
        place = self.number >> 1
        even_word = SramWord(self, m, "even", Mux(odd, beyond, place), self.pointer)
        odd_word = SramWord(self, m, "odd", Mux(odd, place, beyond), self.pointer)
        first, second = col == self.number, (col + 1) == self.number
        self.prove(m, "holds_first", ~(waiting & first) | Mux(odd, odd_word.on_output, even_word.on_output))
        self.prove(m, "holds_second", ~(waiting & second) | Mux(odd, odd_word.on_output, even_word.on_output))
        self.prove(m, "odd", ~waiting | (self.odd == col[0]))
        self.prove(m, "first_pointer", ~(waiting & first) | (self.p_start == self.pointer))
        self.prove(m, "second_pointer", ~(waiting & second) | (self.p_end == self.pointer))
        self.prove(m, "activation", ~waiting | (self.value == value))
        self.reach(m, "one_behind_the_other", self.pop & self.start)
        self.reach(m, "first_of_an_odd_column", waiting & first & odd)
        self.reach(m, "second_of_an_odd_column", waiting & second & ~odd)
        return m


class SpmatReadChecker(Checker):
    """A column's entries p_j to p_(j+1) - 1 are issued one a cycle, in order, without a gap, and no other.

    The reference counts entries by their number, not by a pointer's word and place in it. One word of the SRAM is
    followed, whichever.
    """

    block = schema.SpmatRead.NAME

    @classmethod
    def constant(cls, cfg: ArchConfig) -> dict[str, Shape]:
        """The followed word: its address and what it holds."""
        return {"address": unsigned(cfg.word_addr_bits), "word": unsigned(cfg.word_bits)}

    def elaborate(self, platform: object) -> Module:
        m, cfg = self.module(), self.cfg
        self.assume(
            m, "first_in_a_word", ~self.ptr_valid | (self._place(self.p_start) < cfg.entries_per_word)
        )
        self.assume(m, "last_in_a_word", ~self.ptr_valid | (self._place(self.p_end) < cfg.entries_per_word))
        first, end = self._number(self.p_start), self._number(self.p_end)
        self.assume(m, "in_order", ~self.ptr_valid | (first <= end))
        host = self.io_write | self.io_read
        self.assume(m, "host_only_when_idle", ~host | (~self.active & ~self.ptr_valid))
        self.assume(m, "pass_begins_when_idle", ~self.begin_pass | (~self.active & ~self.ptr_valid))
        # Who moves the base or reads for the host makes a held word worthless: a pass begins before the next column.
        moved = Signal()
        base = self.past(m, self.spmat_base, "spmat_base")
        moves = Signal()
        m.d.comb += moves.eq(host | (self.spmat_base != base))
        m.d.sync += moved.eq(~self.begin_pass & (moved | moves))
        self.assume(m, "column_after_begin_pass", ~(self.ptr_valid | self.active) | ~(moved | moves))

        at, goal, value = Signal(len(first)), Signal(len(first)), Signal(signed(cfg.act_bits))
        number = Mux(self.active, at, first)  # of the entry that is issued
        with m.If(self.start):
            m.d.sync += [goal.eq(end), value.eq(self.ptr_value)]
        with m.If(self.issue):
            m.d.sync += at.eq(number + 1)
        self.prove(m, "starts_in_turn", self.start == (self.ptr_valid & ~self.active))
        self.prove(m, "issues_all", self.issue == (self.active | (self.start & (first != end))))
        self.prove(m, "ends_at_the_end", ~self.active | (at < goal))
        self.prove(
            m, "follows", ~self.active | ((self._number(self.current) == at) & self._in_word(self.current))
        )
        self.prove(m, "stops", ~self.active | ((self._number(self.stop) == goal) & self._in_word(self.stop)))
        walking = self.past(m, self.issue & (number + 1 != Mux(self.start, end, goal)), "walking")
        self.prove(m, "no_gap_and_no_more", self.active == walking)
        self._word(m, number, moved | moves)
        self._token(m, value, first == end)
        per_word = cfg.entries_per_word
        self.reach(m, "empty_column", self.start & ~self.issue)
        self.reach(m, "next_word", self.active & self.issue & (self._place(self.current) == 0))
        self.reach(m, "column_behind_column", self.start & self.past(m, self.active, "active"))
        if per_word > 1:
            held = self.issue & ~self.read & (self._place(self.p_start) != 0)
            self.reach(m, "held_word", self.start & held)
        return m

    def _place(self, pointer: Value) -> Value:
        return pointer[: self.cfg.sel_bits] if self.cfg.sel_bits else Const(0)

    def _in_word(self, pointer: Value) -> Value:
        return self._place(pointer) < self.cfg.entries_per_word

    def _number(self, pointer: Value) -> Value:
        """Number of the entry that a pointer names."""
        return pointer[self.cfg.sel_bits :] * self.cfg.entries_per_word + self._place(pointer)

    def _word(self, m: Module, number: Value, moved: Value) -> None:
        """The word that is held, what it is read for, and that it is read once."""
        cfg = self.cfg
        followed = SramWord(self, m, "spmat", self.address, self.word)
        held = add(self.held_addr, self.spmat_base, cfg.word_addr_bits)
        is_held = self.held_valid & ~moved
        self.prove(m, "holds", ~(is_held & (held == self.address)) | followed.on_output)
        pointer = Mux(self.active, self.current, self.p_start)
        word = (pointer >> cfg.sel_bits)[: cfg.word_addr_bits]
        issued = Signal(len(word))
        last = Signal()  # an entry of the word `issued` came last in this pass
        with m.If(self.begin_pass):
            m.d.sync += last.eq(0)
        with m.Elif(self.issue):
            m.d.sync += [last.eq(1), issued.eq(word)]
        self.prove(m, "reads_once", self.read == (self.issue & ~(last & (issued == word))))
        self.prove(m, "remembers_the_word", (self.held_valid == last) & (~last | (self.held_addr == issued)))
        # The entry of the token, a cycle later, out of the followed word.
        place = self.past(m, self._place(pointer), "place")
        here = self.past(m, self.issue & (add(word, self.spmat_base, len(word)) == self.address), "here")
        entries = [
            self.word[i * cfg.entry_bits : (i + 1) * cfg.entry_bits] for i in range(cfg.entries_per_word)
        ]
        entries += [Const(0, cfg.entry_bits)] * ((1 << cfg.sel_bits) - len(entries))
        wanted = Array(entries)[place] if cfg.sel_bits else entries[0]
        self.prove(m, "entry", ~here | (Cat(self.v, self.z) == wanted))
        self.reach(m, "followed_word", here)

    def _token(self, m: Module, value: Value, empty: Value) -> None:
        """A token for each entry, and one for a column without entries."""
        valid = self.past(m, self.start | self.active, "token")
        first = self.past(m, self.start, "starts")
        nothing = self.past(m, self.start & empty, "nothing")
        self.prove(m, "token", self.tok_valid == valid)
        self.prove(m, "token_first", ~valid | (self.tok_first == first))
        self.prove(m, "token_empty", ~valid | (self.tok_empty == nothing))
        self.prove(m, "token_activation", ~valid | (self.tok_value == value))
        self.prove(m, "activation", ~self.active | (self.value == value))
