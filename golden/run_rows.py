"""RunRows: PtrRead of an index-free PE: which rows of a column's block are this PE's, without a memory."""

from __future__ import annotations

from eie import schema
from eie.config import ArchConfig


class RunRows(schema.RunRows):
    """The run of a column in the cycle in which it arrives.

    Row r of a layer, or of a segment, is local row r div M of PE r mod M, of the M that share a broadcast.
    """

    def __init__(self, cfg: ArchConfig) -> None:
        super().__init__(cfg)
        self.begin(cfg)
        self.pes, self.shift = cfg.segment_pes, cfg.pe_shift
        self.count_mask = self.p_count.mask
        self.row_mask = self.p_row.mask
        self.events_mask = self.empty_columns.mask

    def pointers(self) -> None:
        """The run: from the inputs alone."""
        row = self._before(self.push_low.value)
        self.p_start.value = self.push_start.value
        self.p_row.value = row & self.row_mask
        self.p_count.value = (self._before(self.push_high.value) - row) & self.count_mask
        self.value.value = self.push_value.value
        push = bool(self.push.value)
        self.keep.value = push and self.p_count.value != 0
        self.drop.value = push and self.p_count.value == 0

    def outputs(self) -> None:
        """The run."""
        self.pointers()

    def _before(self, row: int) -> int:
        """Rows of this PE before a row of the layer."""
        return (row >> self.shift) + (row % self.pes > self.number.value)

    def next_state(self) -> None:
        """The counters: columns that arrive, of which no pointer is read, and those without a row here."""
        clear, mask = self.clear.value, self.events_mask
        self.ptr_reads.next = 0 if clear else (self.ptr_reads.value + self.push.value) & mask
        self.empty_columns.next = 0 if clear else (self.empty_columns.value + self.drop.value) & mask
