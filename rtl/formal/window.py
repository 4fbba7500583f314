"""Checker of the window: the entries of every run leave in order, each once, with their own word and activation."""

from __future__ import annotations

from collections.abc import Iterable

from amaranth import Array, Cat, Const, Module, Mux, Shape, Signal, Value, signed, unsigned

from eie import schema
from eie.config import ArchConfig, bits_for
from eie.rtl.block import add, any_of
from eie.rtl.formal.checker import Checker
from eie.rtl.formal.walk import SramWord


class WindowChecker(Checker):
    """The reference counts entries: a run has so many, so many are left, and each leaves when it is its turn.

    One entry is followed, whichever: number `index` of a run that `pick` chooses as it starts. `ahead` is how many
    leave before it. Where it stands in the meantime (words that have to be fetched first, then a slot and a place) is
    remembered so that the induction knows the window's state.
    """

    block = schema.Window.NAME

    @classmethod
    def constant(cls, cfg: ArchConfig) -> dict[str, Shape]:
        """The followed word, its address and what it holds; the followed entry's number in its run."""
        return {
            "address": unsigned(cfg.word_addr_bits),
            "spmat_word": unsigned(cfg.word_bits),
            "index": unsigned(cfg.length_bits + 1),
        }

    @classmethod
    def free(cls, cfg: ArchConfig) -> dict[str, Shape]:
        """Whether the run that starts has the followed entry."""
        return {"pick": unsigned(1)}

    @classmethod
    def renamed(cls, cfg: ArchConfig) -> dict[str, str]:
        """Of a window of one word."""
        if cfg.window > 1:
            return {}
        return {"slot0_pos": "lane0_place"} | ({"slot0_value": "tok_value"} if cfg.group == 1 else {})

    def elaborate(self, platform: object) -> Module:
        m, cfg = self.module(), self.cfg
        pairs = cfg.group == 2
        self.per_word = cfg.entries_per_word
        self.lanes = [self._lane(number) for number in range(cfg.issue)]
        self.taken = self._named(m, "taken", _sum(lane["valid"] for lane in self.lanes))
        begin = self.run_start[: cfg.sel_bits] if cfg.sel_bits else Const(0, 1)
        entries = self.run_count + (self.run_count1 if pairs else 0)
        total = self._named(m, "total", entries if cfg.filter_empty else Mux(entries == 0, 1, entries))
        self._assumptions(m, begin, entries)
        moved = self._moved(m)

        # So many entries of runs that have started are left.
        bits = bits_for(cfg.window * self.per_word + (1 << cfg.length_bits + 1))
        rest = Signal(bits, name="rest")
        m.d.sync += rest.eq(rest - self.taken + Mux(self.start, total, 0))
        in_slots = [self._left(j) for j in range(cfg.window)]
        waiting = self._named(m, "in_window", _sum(in_slots))
        self.prove(m, "nothing_lost_or_invented", rest == waiting + self.left_all)
        self.prove(m, "takes_what_is_there", self.taken <= waiting)
        self.prove(m, "more_if_left", self.more == self.left_all.any())
        self.prove(m, "unfinished", self.unfinished == (rest != 0))
        self.prove(m, "takes_in_each_cycle", self.lanes[0]["valid"] == (waiting != 0))
        self.prove(m, "fetches_for_the_next_cycle", ~rest.any() | self.lanes[0]["valid"] | self.fetch)
        self.prove(m, "starts_what_waits", ~self.run_valid | rest.any() | self.start)
        self.prove(m, "starts_in_turn", ~self.start | (self.run_valid & ~self.more))
        for j in range(cfg.window):
            fits = (self._slot(j, "pos") <= self._slot(j, "end")) & (self._slot(j, "end") <= self.per_word)
            self.prove(m, f"slot{j}_fits", fits)
        if pairs:
            self.prove(m, "first_column_is_part", self.left <= self.left_all)
        self._rows(m, waiting)
        self._reads(m, moved)
        self._follow(m, begin, entries, rest, in_slots, moved)
        self._reaches(m, begin, total)
        return m

    # ---- what is taken for granted -----------------------------------------------------------------------------

    def _assumptions(self, m: Module, begin: Value, entries: Value) -> None:
        self.assume(m, "begins_in_a_word", ~self.run_valid | (begin < self.per_word))
        if self.cfg.filter_empty:
            self.assume(m, "runs_have_entries", ~self.run_valid | (entries != 0))
        idle = ~self.unfinished & ~self.run_valid
        self.assume(m, "host_only_when_idle", ~(self.io_write | self.io_read) | idle)
        self.assume(m, "pass_begins_when_idle", ~self.begin_pass | idle)

    def _moved(self, m: Module) -> Value:
        """Whether the base moved or the host read since the pass began: a held word is worthless then."""
        moved, moves = Signal(), Signal()
        base = self.past(m, self.spmat_base, "spmat_base")
        m.d.comb += moves.eq(self.io_write | self.io_read | (self.spmat_base != base))
        m.d.sync += moved.eq(~self.begin_pass & (moved | moves))
        self.assume(m, "runs_after_begin_pass", ~(self.run_valid | self.unfinished) | ~(moved | moves))
        return moved | moves

    # ---- lanes, words, rows --------------------------------------------------------------------------------------

    def _slot(self, number: int, name: str) -> Signal:
        signal: Signal = getattr(self, f"slot{number}_{name}")
        return signal

    def _left(self, slot: int) -> Value:
        return (self._slot(slot, "end") - self._slot(slot, "pos"))[: self.cfg.place_count_bits]

    def _lane(self, number: int) -> dict[str, Value]:
        prefix = f"lane{number}_" if number else ""
        names = {"valid": "tok_valid", "value": "tok_value", "v": "v", "z": "z"}
        return {name: getattr(self, f"{prefix}{signal}") for name, signal in names.items()}

    def _rows(self, m: Module, waiting: Value) -> None:
        """Lanes fill from the first on, as far as rows differ."""
        clash: Value = Const(0, 1)
        for number, lane in enumerate(self.lanes[1:], start=1):
            before = self.lanes[:number]
            same = any_of(other["valid"] & (other["z"] == lane["z"]) for other in before)
            self.prove(m, f"lane{number}_own_row", ~(lane["valid"] & same))
            clash = same if number == 1 else clash | same
            self.prove(
                m,
                f"lane{number}_takes_what_it_can",
                lane["valid"] == (self.lanes[number - 1]["valid"] & (waiting > number) & ~same),
            )
        if self.cfg.issue > 1:
            self.reach(m, "two_of_a_row", self.lanes[0]["valid"] & (waiting > 1) & clash)

    def _reads(self, m: Module, moved: Value) -> None:
        """A word is read when the one before it was another, and only then."""
        cfg = self.cfg
        followed = SramWord(self, m, "spmat", self.address, self.spmat_word)
        self.on_output = followed.on_output
        issued, last = Signal(cfg.word_addr_bits, name="issued"), Signal(name="issued_one")
        following = Mux(self.more, self.word, (self.run_start >> cfg.sel_bits)[: cfg.word_addr_bits])
        some = self.run_count.any() | (self.run_count1.any() if cfg.group == 2 else 0)
        wanted = self._named(m, "wanted", self.fetch & (self.more | some))
        with m.If(self.begin_pass):
            m.d.sync += last.eq(0)
        with m.Elif(wanted):
            m.d.sync += [last.eq(1), issued.eq(following)]
        self.prove(m, "reads_once", self.read == (wanted & ~(last & (issued == following))))
        self.prove(m, "remembers_the_word", (self.held_valid == last) & (~last | (self.held_addr == issued)))
        held = add(self.held_addr, self.spmat_base, cfg.word_addr_bits)
        self.prove(m, "holds", ~(self.held_valid & ~moved & (held == self.address)) | self.on_output)
        self.is_held = self.held_valid & (held == self.address)

    # ---- the followed entry ----------------------------------------------------------------------------------------

    def _follow(
        self, m: Module, begin: Value, entries: Value, rest: Value, in_slots: list[Value], moved: Value
    ) -> None:
        cfg = self.cfg
        pairs = cfg.group == 2
        followed, inside = Signal(name="followed"), Signal(name="inside")
        ahead, words = Signal(len(rest), name="ahead"), Signal(cfg.length_bits + 2, name="words")
        slot, place = Signal(range(cfg.window + 1), name="slot"), Signal(cfg.place_count_bits, name="place")
        null, value = Signal(name="null"), Signal(signed(cfg.act_bits), name="item")
        value1, row = Signal(signed(cfg.act_bits), name="item1"), Signal(8, name="row0")
        count = Signal(cfg.length_bits, name="count")
        number = self._named(m, "number", begin + self.index)
        nothing = Const(0, 1) if cfg.filter_empty else entries == 0
        there = Mux(nothing, self.index == 0, self.index < entries)
        first = (self.run_start >> cfg.sel_bits)[: cfg.word_addr_bits]
        at = add(add(first, number // self.per_word, cfg.word_addr_bits), self.spmat_base, cfg.word_addr_bits)
        follows = ~followed & self.start & self.pick & there & (nothing | (at == self.address))
        leaves = self._named(m, "leaves", followed & (ahead < self.taken))
        with m.If(follows):
            m.d.sync += [
                followed.eq(1),
                ahead.eq(rest - self.taken + self.index),
                words.eq(number // self.per_word - 1),
                inside.eq(number < self.per_word),
                slot.eq(0),
                place.eq(number % self.per_word),
                null.eq(nothing),
                value.eq(self.run_value),
                count.eq(self.run_count),
            ]
            if pairs:
                m.d.sync += value1.eq(self.run_value1)
            if cfg.index_free:
                m.d.sync += row.eq(self.run_row)
        with m.Elif(followed):
            m.d.sync += [followed.eq(~leaves), ahead.eq(ahead - self.taken)]
            with m.If(self.fetch):
                m.d.sync += [
                    slot.eq(Mux(inside, slot + 1, 0)),
                    inside.eq(inside | (words == 0)),
                    words.eq(words - 1),
                ]
        second = self.index >= count if pairs else Const(0, 1)
        factor = Mux(second, value1, value) if pairs else value
        self._leaves(m, followed, ahead, place, null, factor, count, row)
        # The newest slot has an earlier word of the same run.
        waits = followed & ~inside
        same = (self._slot(0, "value") == value) & (
            (self._slot(0, "value1") == value1) if pairs else Const(1, 1)
        )
        self.prove(m, "waits_with_its_activation", ~waits | same)
        if not cfg.filter_empty:
            self.prove(m, "waits_with_entries", ~waits | ~null)
        self._where(m, waits, words, place, ahead, sum(in_slots, start=Const(0, 1)), count, row)
        for j in range(cfg.window):
            here = followed & inside & (slot == j)
            self._stands(m, j, here, place, null, ahead, _sum(in_slots[j + 1 :]), (value, value1), count, row)
        self.prove(m, "stands_at_a_place", ~followed | (place < self.per_word))
        self.prove(m, "stands_in_a_slot", ~(followed & inside) | (slot < cfg.window))
        self.prove(m, "base_stays", ~followed | ~moved)
        later = Signal(name="later")
        with m.If(follows):
            m.d.sync += later.eq(number >= self.per_word)
        self.reach(m, "followed_from_a_later_word", leaves & later)

    def _leaves(
        self,
        m: Module,
        followed: Value,
        ahead: Value,
        place: Value,
        null: Value,
        factor: Value,
        count: Value,
        row: Value,
    ) -> None:
        """When it is its turn, its lane shows it."""
        cfg = self.cfg
        places = [
            self.spmat_word[i * cfg.entry_bits : (i + 1) * cfg.entry_bits] for i in range(self.per_word)
        ]
        places += [Const(0, cfg.entry_bits)] * ((1 << cfg.place_count_bits) - self.per_word)
        entry = Array(places)[place]
        for number, lane in enumerate(self.lanes):
            turn = followed & (ahead == number) & lane["valid"]
            if cfg.index_free:
                right = (lane["v"] == entry) & (lane["z"] == (row + self.index)[: len(lane["z"])])
            else:
                right = Cat(lane["v"], lane["z"]) == entry
            self.prove(m, f"lane{number}_entry", ~turn | null | right)
            self.prove(m, f"lane{number}_activation", ~turn | (lane["value"] == factor))
        turn = followed & (ahead == 0) & self.lanes[0]["valid"]
        if not cfg.filter_empty:
            self.prove(m, "empty", ~turn | (self.tok_empty == null))
        if cfg.relative:
            first = (self.index == 0) | ((self.index == count) if cfg.group == 2 else 0)
            self.prove(m, "first", ~turn | null | (self.tok_first == first))

    def _where(
        self,
        m: Module,
        waits: Value,
        words: Value,
        place: Value,
        ahead: Value,
        before: Value,
        count: Value,
        row: Value,
    ) -> None:
        """Not fetched yet: so many words and places behind the next word's beginning."""
        cfg = self.cfg
        offset = self._named(m, "offset", words * self.per_word + place)
        self.prove(m, "waits_in_the_run", ~waits | (self.more & (offset < self.left_all)))
        self.prove(m, "waits_in_order", ~waits | (ahead == before + offset))
        address = add(add(self.word, words, cfg.word_addr_bits), self.spmat_base, cfg.word_addr_bits)
        self.prove(m, "waits_for_its_word", ~waits | (address == self.address))
        self.prove(m, "waits_behind_the_first", ~waits | (offset < self.index))
        if cfg.index_free:
            same = (self.row + offset)[: len(self.row)] == (row + self.index)[: len(self.row)]
            self.prove(m, "waits_with_its_row", ~waits | same)
        if cfg.group == 2:
            self.prove(m, "waits_in_its_column", ~waits | ((offset >= self.left) == (self.index >= count)))
            self.prove(
                m,
                "waits_in_its_place",
                ~waits | (self.index >= count) | (self.left - offset == count - self.index),
            )
        if cfg.group == 2 and cfg.relative:
            turns = ~self.begun & (offset == self.left)
            self.prove(m, "waits_for_its_turn", ~waits | (turns == (self.index == count)))

    def _stands(
        self,
        m: Module,
        j: int,
        here: Value,
        place: Value,
        null: Value,
        ahead: Value,
        before: Value,
        values: tuple[Value, Value],
        count: Value,
        row: Value,
    ) -> None:
        """In slot j: its place there, the word, what it is multiplied with."""
        cfg = self.cfg
        pos = self._slot(j, "pos")
        self.prove(m, f"slot{j}_has_it", ~here | ((pos <= place) & (place < self._slot(j, "end"))))
        self.prove(m, f"slot{j}_in_order", ~here | (ahead == before + place - pos))
        word = (
            self.is_held & self.on_output
            if j == 0
            else self._slot(j, "word") == self.spmat_word[: self.per_word * cfg.entry_bits]
        )
        self.prove(m, f"slot{j}_word", ~here | null | word)
        same = self._slot(j, "value") == values[0]
        if cfg.group == 2:
            split = self._slot(j, "split")
            same &= self._slot(j, "value1") == values[1]
            self.prove(m, f"slot{j}_column", ~here | null | ((place >= split) == (self.index >= count)))
        self.prove(m, f"slot{j}_activation", ~here | same)
        if not cfg.filter_empty:
            self.prove(m, f"slot{j}_null", ~here | (self._slot(j, "null") == null))
        if cfg.index_free:
            own = self._slot(j, "row") + place - pos
            self.prove(
                m, f"slot{j}_row", ~here | (own[: len(self.row)] == (row + self.index)[: len(self.row)])
            )
        if cfg.relative:
            # The slot's next entry is the run's first one.
            self.prove(
                m, f"slot{j}_fresh", ~here | null | (self._slot(j, "fresh") == (place - pos == self.index))
            )
            self.prove(m, f"slot{j}_in_the_run", ~here | null | (place - pos <= self.index))
        if cfg.relative and cfg.group == 2:
            turns = self._slot(j, "turn") & (place == self._slot(j, "split"))
            self.prove(m, f"slot{j}_turn", ~here | null | (turns == (self.index == count)))

    def _reaches(self, m: Module, begin: Value, total: Value) -> None:
        cfg = self.cfg
        last = self.lanes[-1]["valid"]
        self.reach(m, "all_lanes", last)
        self.reach(m, "next_word", self.fetch & self.more)
        self.reach(m, "run_behind_run", self.start & self.past(m, self.start, "starts"))
        self.reach(m, "without_a_read", self.start & ~self.read & (begin + total <= self.per_word) & last)
        if cfg.group == 2:
            self.reach(m, "both_columns", self.start & self.run_count.any() & self.run_count1.any())
            self.reach(m, "the_second_alone", self.start & ~self.run_count.any() & self.run_count1.any())
        if not cfg.filter_empty:
            self.reach(m, "empty_column", self.tok_valid & self.tok_empty)


def _sum(values: Iterable[Value]) -> Value:
    return sum(values, start=Const(0, 1))
