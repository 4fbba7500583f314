"""RunRead: PtrRead of a window PE: where a group's entries are and how many, in one access of the pointers."""

from __future__ import annotations

from eie import schema
from eie.config import ArchConfig


class RunRead(schema.RunRead):
    """The run of a group, one cycle after its pointers are addressed: at the queue's head, or as it is broadcast."""

    def __init__(self, cfg: ArchConfig) -> None:
        super().__init__(cfg)
        self.begin(cfg)
        self.pairs, self.filters = cfg.group == 2, bool(cfg.filter_empty)
        self.addr_mask = self.ptr_ports[0].addr.mask
        self.data_mask = self.ptr_ports[0].wdata.mask
        self.count_mask = self.ptr_reads.mask
        self.sel_bits, self.even_bits = cfg.sel_bits, cfg.start_bits - cfg.pointer_bits
        self.per_word = cfg.entries_per_word
        self.start_mask = self.p_start.mask
        self.length_bits = cfg.length_bits
        self.length_mask = self.p_count.mask

    def outputs(self) -> None:
        """Which column is read, the ports of the pointer SRAMs, and the run."""
        if self.filters:
            self.load.value = load = self.push.value
            col = self.push_col.value
        else:
            self.pop.value = load = self.head_valid.value and (not self.valid.value or self.start.value)
            col = self.head_col.value
        write, io_addr = self.io_write.value, self.io_addr.value
        banks = len(self.ptr_ports)
        for bank, port in enumerate(self.ptr_ports):
            chosen = io_addr % banks == bank
            port.en.value = load or ((write or self.io_read.value) and chosen)
            port.we.value = write and chosen
            # Of single columns p_j is in the bank of j, and p_(j+1) in the other one.
            before = (col + (banks - 1 - bank)) >> 1
            port.addr.value = (before if load else io_addr // banks) & self.addr_mask
            port.wdata.value = self.io_data.value & self.data_mask
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
        start, end = (port.rdata.value for port in self.ptr_ports)
        if self.odd.value:
            start, end = end, start
        self.p_start.value = start & self.start_mask
        self.p_count.value = (self._entry(end) - self._entry(start)) & self.length_mask

    def _entry(self, pointer: int) -> int:
        return (pointer >> self.sel_bits) * self.per_word + (pointer & ((1 << self.sel_bits) - 1))

    def _pair(self) -> None:
        word_read = self.ptr_ports[0].rdata.value
        length = word_read & self.length_mask
        length1 = word_read >> self.length_bits & self.length_mask
        first = word_read >> 2 * self.length_bits << self.even_bits
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
        """Validity, values and parity of what is on the SRAMs' outputs, the counters."""
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
