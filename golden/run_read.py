"""RunRead: PtrRead of a window PE: where a group's entries are and how many, in one access of both banks."""

from __future__ import annotations

from eie import schema
from eie.config import ArchConfig


class RunRead(schema.RunRead):
    """The run of a group, one cycle after its pointers are addressed: at the queue's head, or as it is broadcast."""

    def __init__(self, cfg: ArchConfig) -> None:
        super().__init__(cfg)
        self.begin(cfg)
        self.pairs, self.filters = cfg.group == 2, bool(cfg.filter_empty)
        self.addr_mask = self.even_port.addr.mask
        self.data_mask = self.even_port.wdata.mask
        self.count_mask = self.ptr_reads.mask
        self.pointer_bits, self.sel_bits = cfg.pointer_bits, cfg.sel_bits
        self.per_word = cfg.entries_per_word
        self.start_mask = self.p_start.mask
        self.length_bits = cfg.length_bits
        self.length_mask = self.p_count.mask

    def outputs(self) -> None:
        """Which column is read, the ports of both banks, and the run."""
        if self.filters:
            self.load.value = load = self.push.value
            col = self.push_col.value
        else:
            self.pop.value = load = self.head_valid.value and (not self.valid.value or self.start.value)
            col = self.head_col.value
        write, io_addr = self.io_write.value, self.io_addr.value
        access, io_odd = write or self.io_read.value, io_addr & 1
        even, odd = self.even_port, self.odd_port
        even.en.value = load or (access and not io_odd)
        odd.en.value = load or (access and io_odd)
        even.we.value = write and not io_odd
        odd.we.value = write and io_odd
        odd_addr = (col if load else io_addr) >> 1
        even_addr = (col + 1) >> 1 if load and not self.pairs else odd_addr
        even.addr.value = even_addr & self.addr_mask
        odd.addr.value = odd_addr & self.addr_mask
        even.wdata.value = odd.wdata.value = self.io_data.value & self.data_mask
        self.pointers()

    def pointers(self) -> None:
        """The run, which needs registers alone."""
        if self.pairs:
            self._pair()
        else:
            self._single()
        if self.filters:
            some = self.p_count.value != 0 or self.p_count1.value != 0
            self.keep.value = bool(self.valid.value) and some
            self.drop.value = bool(self.valid.value) and not some

    def _single(self) -> None:
        start, end = self.even_port.rdata.value, self.odd_port.rdata.value
        if self.odd.value:
            start, end = end, start
        self.p_start.value = start & self.start_mask
        self.p_count.value = (self._entry(end) - self._entry(start)) & self.length_mask

    def _entry(self, pointer: int) -> int:
        return (pointer >> self.sel_bits) * self.per_word + (pointer & ((1 << self.sel_bits) - 1))

    def _pair(self) -> None:
        even, odd = self.even_port.rdata.value, self.odd_port.rdata.value
        length = odd & self.length_mask
        length1 = odd >> self.length_bits & self.length_mask
        first = even | odd >> 2 * self.length_bits << self.pointer_bits
        # An activation that was broadcast is not 0.
        active, active1 = self.value.value != 0, self.value1.value != 0
        if not active:
            place = (first & ((1 << self.sel_bits) - 1)) + length
            word = (first >> self.sel_bits) + place // self.per_word
            first = word << self.sel_bits | place % self.per_word
        self.p_start.value = first & self.start_mask
        self.p_count.value = length if active else 0
        self.p_count1.value = length1 if active1 else 0

    def next_state(self) -> None:
        """Validity, values and parity of what is on the banks' outputs, the counters."""
        load = self.load.value if self.filters else self.pop.value
        kept = not self.filters and bool(self.valid.value) and not self.start.value
        self.valid.next = bool(load) or kept
        if load:
            if self.filters:
                col, given = self.push_col.value, (self.push_value.value, self.push_value1.value)
            else:
                col, given = self.head_col.value, (self.head_value.value, self.head_value1.value)
            self.value.next, self.value1.next = given
            self.odd.next = col & 1
        else:
            self.value.next, self.value1.next = self.value.value, self.value1.value
            self.odd.next = self.odd.value
        clear, mask = self.clear.value, self.count_mask
        self.ptr_reads.next = 0 if clear else (self.ptr_reads.value + load) & mask
        self.empty_columns.next = 0 if clear else (self.empty_columns.value + self.drop.value) & mask
