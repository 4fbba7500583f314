"""ActQueue: a PE's queue of broadcast activations, and its credit."""

from __future__ import annotations

from eie import schema
from eie.config import ArchConfig


class ActQueue(schema.ActQueue):
    """A FIFO of broadcast columns (j, x_j); a column is at the head one cycle after its push.

    Members: fifo, queue_depth x (column, value, the second column's value in pairs).
    """

    def __init__(self, cfg: ArchConfig) -> None:
        super().__init__(cfg)
        self.begin(cfg)
        self.depth = cfg.queue_depth
        self.fifo: list[tuple[int, int, int]] = [(0, 0, 0)] * cfg.queue_depth
        self.count_mask = self.count.mask

    def outputs(self) -> None:
        """Head and credit: from registers alone."""
        self.head_valid.value = self.count.value != 0
        head = self.fifo[self.rd_ptr.value]
        self.head_col.value, self.head_value.value, self.head_value1.value = head
        self.credit.value = self.occupancy.value < self.depth

    def next_state(self) -> None:
        """Pointers, fill and occupancy."""
        push, pop = self.push.value, self.pop.value
        self.wr_ptr.next = self._after(self.wr_ptr.value) if push else self.wr_ptr.value
        self.rd_ptr.next = self._after(self.rd_ptr.value) if pop else self.rd_ptr.value
        self.count.next = (self.count.value + push - pop) & self.count_mask
        self.occupancy.next = (self.occupancy.value + self.bcast.value - self.start.value) & self.count_mask

    def _after(self, pointer: int) -> int:
        return 0 if pointer == self.depth - 1 else pointer + 1

    def write_memories(self) -> None:
        """Write the pushed column."""
        if self.push.value:
            column = (self.push_col.value, self.push_value.value, self.push_value1.value)
            self.fifo[self.wr_ptr.value] = column
