"""SpmatRead: walks the columns of the sparse matrix, one entry a cycle."""

from __future__ import annotations

from eie import schema
from eie.config import ArchConfig


class SpmatRead(schema.SpmatRead):
    """One entry (v, z) a cycle, without a bubble between columns; an entry follows its address by one cycle.

    A word of the matrix SRAM is read only when it is not the word held already.
    """

    def __init__(self, cfg: ArchConfig) -> None:
        super().__init__(cfg)
        self.begin(cfg)
        self.sel_bits = cfg.sel_bits
        self.sel_mask = (1 << cfg.sel_bits) - 1
        self.last_sel = cfg.entries_per_word - 1
        port = self.spmat_port
        self.word_mask = port.addr.mask
        self.pointer_mask = self.current.mask
        self.data_mask = port.wdata.mask
        self.count_mask = self.entries.mask
        self.entry_bits = cfg.entry_bits
        self.weight_bits = cfg.weight_bits
        self.v_mask = self.v.mask
        self.z_mask = self.z.mask
        # The word address that is issued in this cycle, without the base.
        self.word = 0

    def outputs(self) -> None:
        """What happens in this cycle, the SRAM's port, and the entry on its output."""
        active = self.active.value
        start = not active and self.ptr_valid.value
        issue = active or (start and self.p_start.value != self.p_end.value)
        pointer = self.current.value if active else self.p_start.value
        word = (pointer >> self.sel_bits) & self.word_mask
        read = issue and not (self.held_valid.value and self.held_addr.value == word)
        write = self.io_write.value
        self.start.value = start
        self.issue.value = issue
        self.read.value = read
        port = self.spmat_port
        port.en.value = read or write or self.io_read.value
        port.we.value = write
        if active or self.ptr_valid.value:
            port.addr.value = (word + self.spmat_base.value) & self.word_mask
        else:
            port.addr.value = self.io_addr.value & self.word_mask
        self.word = word
        port.wdata.value = self.io_data.value & self.data_mask
        entry = port.rdata.value >> (self.tok_sel.value * self.entry_bits)
        self.v.value = entry & self.v_mask
        self.z.value = (entry >> self.weight_bits) & self.z_mask

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
