"""Window: SpmatRead of a window PE, which takes entries from the last words of the matrix SRAM that it fetched."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from amaranth import Cat, Const, Module, Mux, Signal, Value

from eie.rtl.block import Block, add, any_of, pick


class Choice(NamedTuple):
    """What a lane looks at: a bit for each slot of which one is set, the place in it, whether it has an entry left."""

    slots: list[Value]
    place: Value
    there: Value


class Slice(NamedTuple):
    """The slice that would be fetched: where it begins and ends, counted from its word on, and that word's address."""

    sel: Value
    a: Value
    b: Value
    null: Value
    address: Value


class Window(Block):
    """Takes up to `issue` entries a cycle, in order, and fetches a word when the window has room for it.

    Latency: an entry can be taken in the cycle after its word is fetched.

    Parameters
    ----------
    cfg, probe : see `Block`.

    Members
    -------
    clear : clear the counters.
    begin_pass : forget the held word.
    spmat_base : word of the SRAM that is the pass's word 0.
    run_valid, run_start, run_count, run_count1, run_value, run_value1 : the run that comes next; index-free with
        run_row, its first entry's row.
    io_write, io_read, io_addr, io_data : the I/O port, for the space SPMAT (address: the word).
    spmat_* : the sparse-matrix SRAM.
    fetch, start, read : a slice comes into the window, it is the first of its run, a word is read for it.
    unfinished : entries of a run that has started are left.
    tok_valid, tok_empty, tok_first, tok_value, v, z : what lane 0 takes; lane<l>_... : further lanes.
    entries, issue_cycles, empty_columns, spmat_reads : counters.
    """

    name = "spmat_read"

    def elaborate(self, platform: object) -> Module:
        m = self.module()
        cfg = self.cfg
        choices = self._choices(m)
        taken = self._take(m, choices)
        after, touched = self._after(m, choices, taken)
        following = self._slice(m)
        self._fetch(m, following, self._room(taken))
        self._shift(m, following, after, touched)
        left = [self._slot(j, "pos") != self._slot(j, "end") for j in range(cfg.window)]
        m.d.comb += self.unfinished.eq(any_of([self.more, *left]))
        self.tally(m, "entries", [taken[0] & ~self.tok_empty, *taken[1:]])
        if cfg.issue > 1:
            self.counter(m, "issue_cycles", taken[0])
        if not cfg.filter_empty:
            self.counter(m, "empty_columns", self.fetch & following.null)
        self.counter(m, "spmat_reads", self.read)
        return m

    def _slot(self, number: int, name: str) -> Signal:
        signal: Signal = getattr(self, f"slot{number}_{name}")
        return signal

    def _lane(self, number: int, name: str) -> Signal:
        signal: Signal = getattr(self, f"lane{number}_{name}" if number else name)
        return signal

    # ---- taking ----------------------------------------------------------------------------------------------

    def _choices(self, m: Module) -> list[Choice]:
        """Each lane's entry, if those before it take theirs."""
        slots = range(self.cfg.window)
        places: list[Value] = [self._slot(j, "pos") for j in slots]
        choices = []
        # Whether the oldest slot has nothing left behind so many entries.
        self.ends_behind: list[Value] = []
        for lane in range(self.cfg.issue):
            left = Signal(len(slots), name=f"lane{lane}_left")
            m.d.comb += left.eq(Cat(places[j] != self._slot(j, "end") for j in slots))
            self.ends_behind.append(~left[-1])
            chosen = [left[j] & ~left[j + 1 :].any() for j in slots]
            chosen[0] = ~left[1:].any()  # the newest, also if nothing is left
            place = Signal(self.cfg.place_count_bits, name=f"lane{lane}_place")
            m.d.comb += place.eq(_one_of(chosen, places))
            choices.append(Choice(chosen, place, left.any()))
            places = [
                Mux(one & left[j], places[j] + 1, places[j])[: len(place)] for j, one in enumerate(chosen)
            ]
        self.ends_behind.append(places[-1] == self._slot(slots[-1], "end"))
        return choices

    def _room(self, taken: list[Value]) -> Value:
        """Whether the oldest slot is used up: as many entries are taken as it had left.

        The oldest slot is the first that the lanes take from. What each number would leave is known early; whether the
        last lane takes its entry, which is known late, only chooses.
        """
        return any_of(
            [self.ends_behind[0], *(t & ends for t, ends in zip(taken, self.ends_behind[1:], strict=True))]
        )

    def _take(self, m: Module, choices: list[Choice]) -> list[Value]:
        """The lanes' tokens; whether each takes its entry."""
        cfg, slots = self.cfg, range(self.cfg.window)
        words = [self.spmat_rdata, *(self._slot(j, "word") for j in slots[1:])]
        taken: list[Value] = []
        for lane, (chosen, place, there) in enumerate(choices):
            entry = _one_of(chosen, [pick(_entries(word, cfg.entry_bits), place) for word in words])
            v, z = self._lane(lane, "v"), self._lane(lane, "z")
            if cfg.index_free:
                m.d.comb += [v.eq(entry), z.eq(_one_of(chosen, [self._row(j, place) for j in slots]))]
            else:
                m.d.comb += Cat(v, z).eq(entry)
            m.d.comb += [
                self._lane(lane, "tok_value").eq(_one_of(chosen, [self._factor(j, place) for j in slots])),
            ]
            same = [
                earlier & (self._lane(other, "z") == self._lane(lane, "z"))
                for other, earlier in enumerate(taken)
            ]
            valid = self._lane(lane, "tok_valid")
            m.d.comb += valid.eq(taken[-1] & there & ~any_of(same) if taken else there)
            taken.append(valid)
        chosen, place, _ = choices[0]
        if not cfg.filter_empty:
            m.d.comb += self.tok_empty.eq(
                self.tok_valid & _one_of(chosen, [self._slot(j, "null") for j in slots])
            )
        if cfg.relative:
            first: list[Value] = [self._slot(j, "fresh") for j in slots]
            if cfg.group == 2:
                turns = [self._slot(j, "turn") & (place == self._slot(j, "split")) for j in slots]
                first = [fresh | turn for fresh, turn in zip(first, turns, strict=True)]
            m.d.comb += self.tok_first.eq(self.tok_valid & _one_of(chosen, first))
        return taken

    def _row(self, slot: int, place: Value) -> Value:
        """The row of the entry at a place of a slot: they ascend one by one."""
        row = self._slot(slot, "row")
        return add(row, place - self._slot(slot, "pos"), len(row))

    def _factor(self, slot: int, place: Value) -> Value:
        """The activation that goes with a place of a slot."""
        if self.cfg.group == 1:
            return self._slot(slot, "value")
        second = place >= self._slot(slot, "split")
        return Mux(second, self._slot(slot, "value1"), self._slot(slot, "value"))

    def _after(
        self, m: Module, choices: list[Choice], taken: list[Value]
    ) -> tuple[list[Signal], list[Value]]:
        """Each slot's place behind what is taken, and whether something is."""
        after, touched = [], []
        for j in range(self.cfg.window):
            of_slot = [take & choice.slots[j] for take, choice in zip(taken, choices, strict=True)]
            pos = self._slot(j, "pos")
            behind = Signal(len(pos), name=f"slot{j}_after")
            number = _ones(of_slot)
            m.d.comb += behind.eq(add(pos, number, len(pos)))
            after.append(behind)
            touched.append(any_of(of_slot))
        return after, touched

    # ---- fetching --------------------------------------------------------------------------------------------

    def _slice(self, m: Module) -> Slice:
        cfg = self.cfg
        pairs = cfg.group == 2
        width = max(cfg.length_bits, cfg.sel_bits) + 1
        sel = Signal(max(1, cfg.sel_bits), name="slice_sel")
        a, b = Signal(width, name="slice_a"), Signal(width + pairs, name="slice_b")
        address = Signal(cfg.word_addr_bits, name="address")
        begin = self.run_start[: cfg.sel_bits] if cfg.sel_bits else Const(0, 1)
        first = begin + self.run_count
        last = first + self.run_count1 if pairs else first
        m.d.comb += [
            sel.eq(Mux(self.more, 0, begin)),
            b.eq(Mux(self.more, self.left_all, last)),
            a.eq(Mux(self.more, self.left, first) if pairs else b),
            address.eq(Mux(self.more, self.word, self.run_start >> cfg.sel_bits)),
        ]
        some = self.run_count.any() | (self.run_count1.any() if pairs else 0)
        null = Const(0, 1) if cfg.filter_empty else ~self.more & ~some
        return Slice(sel, a, b, null, address)

    def _fetch(self, m: Module, following: Slice, room: Value) -> None:
        address, held = following.address, self.held_valid & (self.held_addr == following.address)
        m.d.comb += [
            self.fetch.eq((self.more | self.run_valid) & room),
            self.start.eq(self.fetch & ~self.more),
            self.read.eq(self.fetch & ~following.null & ~held),
            self.spmat_en.eq(self.read | self.io_write | self.io_read),
            self.spmat_we.eq(self.io_write),
            self.spmat_addr.eq(Mux(self.read, add(address, self.spmat_base, len(address)), self.io_addr)),
            self.spmat_wdata.eq(self.io_data),
        ]
        with m.If(self.begin_pass):
            m.d.sync += self.held_valid.eq(0)
        with m.Elif(self.read):
            m.d.sync += self.held_valid.eq(1)
        with m.If(self.read):
            m.d.sync += self.held_addr.eq(address)

    def _shift(self, m: Module, following: Slice, after: list[Signal], touched: list[Value]) -> None:
        """The run's registers and the window: slices move on when one comes in."""
        cfg, word = self.cfg, self.cfg.entries_per_word
        pairs, relative = cfg.group == 2, cfg.relative
        sel, a, b, null, address = following
        inside, ends = self._at_most(a, word), self._at_most(b, word)
        left = [self._slot(j, "fresh") & ~touched[j] for j in range(cfg.window)] if relative else []
        with m.If(self.fetch):
            m.d.sync += [
                self.more.eq(b > word),
                self.word.eq(address + 1),
                self.left_all.eq(Mux(b > word, b - word, 0)),
                self._slot(0, "pos").eq(sel),
                self._slot(0, "end").eq(ends if cfg.filter_empty else Mux(null, sel + 1, ends)),
            ]
            if pairs:
                m.d.sync += [self.left.eq(Mux(a > word, a - word, 0)), self._slot(0, "split").eq(inside)]
            if not cfg.filter_empty:
                m.d.sync += self._slot(0, "null").eq(null)
            if relative:
                m.d.sync += self._slot(0, "fresh").eq(self.start)
            if relative and pairs:
                begun = self.begun & self.more
                m.d.sync += [
                    self.begun.eq(begun | (a < word)),
                    self._slot(0, "turn").eq(~begun & (a < word) & (a < b)),
                ]
            if cfg.index_free:
                begin = Mux(self.more, self.row, self.run_row)
                m.d.sync += [
                    self._slot(0, "row").eq(begin),
                    self.row.eq(add(begin, ends - sel, len(self.row))),
                ]
            with m.If(~self.more):
                m.d.sync += self._slot(0, "value").eq(self.run_value)
                if pairs:
                    m.d.sync += self._slot(0, "value1").eq(self.run_value1)
            for j in range(1, cfg.window):
                newer = self.spmat_rdata if j == 1 else self._slot(j - 1, "word")
                m.d.sync += [self._slot(j, "word").eq(newer), self._slot(j, "pos").eq(after[j - 1])]
                m.d.sync += [self._slot(j, name).eq(self._slot(j - 1, name)) for name in self._moved]
                if relative:
                    m.d.sync += self._slot(j, "fresh").eq(left[j - 1])
                if cfg.index_free:
                    m.d.sync += self._slot(j, "row").eq(self._row(j - 1, after[j - 1]))
        with m.Else():
            for j in range(cfg.window):
                m.d.sync += self._slot(j, "pos").eq(after[j])
                if relative:
                    m.d.sync += self._slot(j, "fresh").eq(left[j])
                if cfg.index_free:
                    m.d.sync += self._slot(j, "row").eq(self._row(j, after[j]))

    @property
    def _moved(self) -> list[str]:
        """What a slot takes from the newer one as it is."""
        names = ["end", "value"]
        names += ["split", "value1"] if self.cfg.group == 2 else []
        names += [] if self.cfg.filter_empty else ["null"]
        return names + (["turn"] if self.cfg.group == 2 and self.cfg.relative else [])

    def _at_most(self, value: Value, limit: int) -> Value:
        """`value` or `limit`, in the bits of a place."""
        bits = self.cfg.place_count_bits
        return Mux(value < limit, value[:bits], Const(limit, bits))


def _one_of(chosen: Sequence[Value], values: Sequence[Value]) -> Value:
    """The value whose bit is set; of one value that one."""
    if len(values) == 1:
        return values[0]
    return Mux(chosen[-1], values[-1], _one_of(chosen[:-1], values[:-1]))


def _entries(word: Value, bits: int) -> list[Value]:
    """The entries of a word, and 0 behind the last."""
    return [*(word[at : at + bits] for at in range(0, len(word) - bits + 1, bits)), Const(0, bits)]


def _ones(bits: list[Value]) -> Value:
    """How many of the bits are set."""
    total: Value = bits[0]
    for bit in bits[1:]:
        total = total + bit
    return total
