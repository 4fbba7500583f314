"""SpmatRead: walks the columns of the sparse matrix, one entry a cycle."""

from __future__ import annotations

from eie.config import ArchConfig
from eie.golden.base import Block, Reg, Wire


class SpmatRead(Block):
    """One entry (v, z) a cycle, without a bubble between columns; an entry follows its address by one cycle.

    A word of the matrix SRAM is read only when it is not the word held already.
    """

    NAME = "spmat_read"

    clear: Wire
    begin_pass: Wire
    spmat_base: Wire
    ptr_valid: Wire
    p_start: Wire
    p_end: Wire
    ptr_value: Wire
    io_write: Wire
    io_read: Wire
    io_addr: Wire
    io_data: Wire
    spmat_en: Wire
    spmat_we: Wire
    spmat_addr: Wire
    spmat_wdata: Wire
    spmat_rdata: Wire
    start: Wire
    issue: Wire
    read: Wire
    v: Wire
    z: Wire
    active: Reg
    current: Reg
    stop: Reg
    value: Reg
    held_valid: Reg
    held_addr: Reg
    tok_valid: Reg
    tok_empty: Reg
    tok_first: Reg
    tok_value: Reg
    tok_sel: Reg
    entries: Reg
    empty_columns: Reg
    spmat_reads: Reg

    def __init__(self, cfg: ArchConfig, **inputs: Wire) -> None:
        super().__init__(cfg, **inputs)
        self.sel_bits = cfg.sel_bits
        self.sel_mask = (1 << cfg.sel_bits) - 1
        self.last_sel = cfg.entries_per_word - 1
        self.word_mask = self.mask("spmat_addr")
        self.pointer_mask = self.mask("current")
        self.data_mask = self.mask("spmat_wdata")
        self.count_mask = self.mask("entries")
        self.entry_bits = cfg.entry_bits
        self.weight_bits = cfg.weight_bits
        self.v_mask = self.mask("v")
        self.z_mask = self.mask("z")
        # The word address that is issued in this cycle, without the base.
        self.word = 0

    def outputs(self) -> None:
        """What happens in this cycle, the SRAM's port, and the entry on its output."""
        active = self.active.value
        start = not active and self.ptr_valid.value
        issue = active or (start and self.p_start.value != self.p_end.value)
        word = self._word(self.current.value if active else self.p_start.value)
        read = issue and not (self.held_valid.value and self.held_addr.value == word)
        write = self.io_write.value
        self.start.value = start
        self.issue.value = issue
        self.read.value = read
        self.spmat_en.value = read or write or self.io_read.value
        self.spmat_we.value = write
        if read:
            self.spmat_addr.value = (word + self.spmat_base.value) & self.word_mask
        else:
            self.spmat_addr.value = self.io_addr.value & self.word_mask
        self.word = word
        self.spmat_wdata.value = self.io_data.value & self.data_mask
        entry = self.spmat_rdata.value >> (self.tok_sel.value * self.entry_bits)
        self.v.value = entry & self.v_mask
        self.z.value = (entry >> self.weight_bits) & self.z_mask

    def _word(self, pointer: int) -> int:
        return (pointer >> self.sel_bits) & self.word_mask

    def _after(self, pointer: int) -> int:
        """The pointer to the next entry."""
        if pointer & self.sel_mask == self.last_sel:
            return ((pointer >> self.sel_bits) + 1 << self.sel_bits) & self.pointer_mask
        return (pointer + 1) & self.pointer_mask

    def next_state(self) -> None:
        """The walk, the held word, the token to the arithmetic unit, the counters."""
        start, issue, read = self.start.value, self.issue.value, self.read.value
        active, clear = self.active.value, self.clear.value
        if issue:
            address = self.current.value if active else self.p_start.value
            after = self._after(address)
            self.active.next = after != (self.stop.value if active else self.p_end.value)
            self.current.next = after
            self.tok_sel.next = address & self.sel_mask
        else:
            self.active.next = active
            self.current.next = self.current.value
            self.tok_sel.next = self.tok_sel.value
        if start:
            self.stop.next = self.p_end.value
            self.value.next = self.tok_value.next = self.ptr_value.value
        else:
            self.stop.next = self.stop.value
            self.value.next = self.value.value
            self.tok_value.next = self.value.value if active else self.tok_value.value
        self.held_valid.next = False if self.begin_pass.value else read or self.held_valid.value
        self.held_addr.next = self.word if read else self.held_addr.value
        self.tok_valid.next = start or active
        self.tok_empty.next = empty = start and not issue
        self.tok_first.next = start
        self.entries.next = 0 if clear else (self.entries.value + issue) & self.count_mask
        self.empty_columns.next = 0 if clear else (self.empty_columns.value + empty) & self.count_mask
        self.spmat_reads.next = 0 if clear else (self.spmat_reads.value + read) & self.count_mask
