"""Window: SpmatRead of a window PE, which takes entries from the last words that it fetched."""

from __future__ import annotations

from typing import NamedTuple

from eie import schema
from eie.config import ArchConfig
from eie.schema import Slot, Token


class Choice(NamedTuple):
    """Where a lane's entry is: the slot and the place in it; whether there is one."""

    slot: Slot
    place: int
    there: bool


class Slice(NamedTuple):
    """The slice that would be fetched in this cycle.

    sel : place of its first entry. a, b : where the odd column begins and where the run ends, counted from this word
    on. null : it stands for a group without entries. word : the word's address without the base.
    """

    sel: int
    a: int
    b: int
    null: bool
    word: int


class Window(schema.Window):
    """Takes up to `issue` entries a cycle; an entry can be taken one cycle after its word is fetched.

    A word of the matrix SRAM is read only when it is not the word held already.
    """

    def __init__(self, cfg: ArchConfig) -> None:
        super().__init__(cfg)
        self.begin(cfg)
        self.sel_bits = cfg.sel_bits
        self.sel_mask = (1 << cfg.sel_bits) - 1
        self.per_word = cfg.entries_per_word
        self.word_mask = self.spmat_port.addr.mask
        self.data_mask = self.spmat_port.wdata.mask
        self.count_mask = self.entries.mask
        self.entry_bits, self.weight_bits = cfg.entry_bits, cfg.weight_bits
        self.v_mask, self.z_mask = self.v.mask, self.z.mask
        self.entries_mask = (1 << cfg.entries_per_word * cfg.entry_bits) - 1
        self.relative, self.index_free = cfg.relative, cfg.index_free
        self.row_mask = self.row.mask
        self.filters = bool(cfg.filter_empty)
        self.pairs = cfg.group == 2
        # What this cycle's outputs leave to the next state: the next place of each slot, and what may be fetched.
        self.after = [0] * cfg.window
        self.taken = [False] * cfg.window
        self.slice = Slice(0, 0, 0, False, 0)

    # ---- taking ----------------------------------------------------------------------------------------------

    def outputs(self) -> None:
        """What the lanes take, the slice that is fetched, the SRAM's port."""
        self._take()
        self._fetch()
        slots = self.slots
        left = any(slot.pos.value != slot.end.value for slot in slots)
        self.unfinished.value = bool(self.more.value) or left

    def _choices(self) -> list[Choice]:
        """The slot and the place that each lane looks at, the oldest first."""
        nexts = [slot.pos.value for slot in self.slots]
        choices = []
        for _ in range(self.cfg.issue):
            left = [j for j, slot in enumerate(self.slots) if nexts[j] != slot.end.value]
            j = left[-1] if left else 0
            choices.append(Choice(self.slots[j], nexts[j], bool(left)))
            if left:
                nexts[j] += 1
        return choices

    def _take(self) -> None:
        tokens: list[Token | Window] = [self, *self.lanes]
        rows: list[int] = []
        going = True
        self.after = [slot.pos.value for slot in self.slots]
        self.taken = [False] * len(self.slots)
        for lane, (token, choice) in enumerate(zip(tokens, self._choices(), strict=True)):
            slot, place, there = choice
            j = self.slots.index(slot)
            word = slot.word.value if j else self.spmat_port.rdata.value & self.entries_mask
            entry = word >> place * self.entry_bits
            token.v.value = entry & self.v_mask
            if self.index_free:  # rows ascend one by one
                z = (slot.row.value + place - slot.pos.value) & self.row_mask
            else:
                z = (entry >> self.weight_bits) & self.z_mask
            token.z.value = z
            second = self.pairs and place >= slot.split.value
            token.tok_value.value = slot.value1.value if second else slot.value.value
            going = going and there and z not in rows
            token.tok_valid.value = going
            if going:
                rows.append(z)
                self.after[j] = place + 1
                self.taken[j] = True
            if lane == 0:
                self.tok_empty.value = going and bool(slot.null.value)
                turns = slot.turn.value and place == slot.split.value
                self.tok_first.value = going and self.relative and bool(slot.fresh.value or turns)

    # ---- fetching --------------------------------------------------------------------------------------------

    def _fetch(self) -> None:
        more, oldest = self.more.value, self.slots[-1]
        self.fetch.value = fetch = bool((more or self.run_valid.value) and self.after[-1] == oldest.end.value)
        self.start.value = start = fetch and not more
        self.slice = self._next_slice(start)
        null, word = self.slice.null, self.slice.word
        held = self.held_valid.value and self.held_addr.value == word
        self.read.value = read = fetch and not null and not held
        port, write, io_addr = self.spmat_port, self.io_write.value, self.io_addr.value
        port.en.value = read or write or self.io_read.value
        port.we.value = write
        port.addr.value = (word + self.spmat_base.value if read else io_addr) & self.word_mask
        port.wdata.value = self.io_data.value & self.data_mask

    def _next_slice(self, start: bool) -> Slice:
        if not start:
            ends = self.left_all.value
            return Slice(0, self.left.value if self.pairs else ends, ends, False, self.word.value)
        pointer = self.run_start.value
        sel = pointer & self.sel_mask
        a = sel + self.run_count.value
        b = a + self.run_count1.value
        return Slice(sel, a, b, not self.filters and b == sel, (pointer >> self.sel_bits) & self.word_mask)

    # ---- next state ------------------------------------------------------------------------------------------

    def next_state(self) -> None:
        """The run at hand, the held word, the window, the counters."""
        fetch, start, read, clear = self.fetch.value, self.start.value, self.read.value, self.clear.value
        _, a, b, null, word = self.slice
        begun = bool(self.begun.value) and not start
        self.more.next = b > self.per_word if fetch else self.more.value
        self.word.next = (word + 1) & self.word_mask if fetch else self.word.value
        self.left.next = max(a - self.per_word, 0) if fetch else self.left.value
        self.left_all.next = max(b - self.per_word, 0) if fetch else self.left_all.value
        begin = self.run_row.value if start else self.row.value
        behind = begin + min(b, self.per_word) - self.slice.sel
        self.row.next = behind & self.row_mask if fetch else self.row.value
        self.begun.next = begun or a < self.per_word if fetch else self.begun.value
        self.held_valid.next = False if self.begin_pass.value else read or self.held_valid.value
        self.held_addr.next = word if read else self.held_addr.value
        for j, slot in enumerate(self.slots):
            if not fetch:
                self._keep(slot, j)
            elif j:
                self._shift(slot, j)
        if fetch:
            self._fill(self.slots[0], turns=not begun and a < self.per_word and a < b)
            self.slots[0].row.next = begin
        lanes = [self.tok_valid.value, *(lane.tok_valid.value for lane in self.lanes)]
        entries = sum(lanes) - self.tok_empty.value
        self.entries.next = 0 if clear else (self.entries.value + entries) & self.count_mask
        self.issue_cycles.next = 0 if clear else (self.issue_cycles.value + lanes[0]) & self.count_mask
        empty = fetch and null
        self.empty_columns.next = 0 if clear else (self.empty_columns.value + empty) & self.count_mask
        self.spmat_reads.next = 0 if clear else (self.spmat_reads.value + read) & self.count_mask

    def _keep(self, slot: Slot, j: int) -> None:
        """Without a fetch a slot loses what is taken."""
        for register in (slot.end, slot.split, slot.value, slot.value1, slot.null, slot.turn, slot.word):
            register.next = register.value
        slot.pos.next = self.after[j]
        slot.row.next = (slot.row.value + self.after[j] - slot.pos.value) & self.row_mask
        slot.fresh.next = bool(slot.fresh.value) and not self.taken[j]

    def _shift(self, slot: Slot, j: int) -> None:
        """A slot takes over what the newer one has left."""
        newer = self.slots[j - 1]
        slot.pos.next = self.after[j - 1]
        slot.row.next = (newer.row.value + self.after[j - 1] - newer.pos.value) & self.row_mask
        slot.end.next = newer.end.value
        slot.split.next = newer.split.value
        slot.value.next = newer.value.value
        slot.value1.next = newer.value1.value
        slot.null.next = newer.null.value
        slot.fresh.next = bool(newer.fresh.value) and not self.taken[j - 1]
        slot.turn.next = newer.turn.value
        slot.word.next = newer.word.value if j > 1 else self.spmat_port.rdata.value & self.entries_mask

    def _fill(self, slot: Slot, *, turns: bool) -> None:
        """The newest slot takes the slice that is fetched."""
        start, (sel, a, b, null, _) = self.start.value, self.slice
        slot.pos.next = sel
        slot.end.next = sel + 1 if null else min(b, self.per_word)
        slot.split.next = min(a, self.per_word)
        slot.value.next = self.run_value.value if start else slot.value.value
        slot.value1.next = self.run_value1.value if start else slot.value1.value
        slot.null.next = null
        slot.fresh.next = start
        slot.turn.next = turns
