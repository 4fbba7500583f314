"""RunQueue: the queue of a PE that reads pointers before it (`filter_empty`), and its credit."""

from __future__ import annotations

from typing import NamedTuple

from eie import schema
from eie.config import ArchConfig


class Run(NamedTuple):
    """A pointer to a group's first entry, the lengths of its columns, their activations, the first entry's row."""

    start: int = 0
    length: int = 0
    length1: int = 0
    value: int = 0
    value1: int = 0
    row: int = 0


class RunQueue(schema.RunQueue):
    """A FIFO of runs; a run is at the head one cycle after it is kept. Dropped groups give their credit back at once.

    Members: fifo, the runs behind the head, queue_depth - 1 of them (at least one).
    """

    def __init__(self, cfg: ArchConfig) -> None:
        super().__init__(cfg)
        self.begin(cfg)
        self.depth = cfg.queue_depth
        self.behind = max(1, cfg.queue_depth - 1)
        self.fifo = [Run()] * self.behind
        self.count_mask = self.count.mask
        self.stored = False

    def outputs(self) -> None:
        """Whether there is a head, and credit: from registers alone."""
        self.head_valid.value = self.count.value != 0
        self.credit.value = self.occupancy.value < self.depth

    def next_state(self) -> None:
        """The head, pointers, fill and occupancy."""
        keep, start, count = self.keep.value, self.start.value, self.count.value
        moves = start and count > 1
        enters = keep and (count == 0 or (start and count == 1))
        self.stored = bool(keep) and not enters
        head = self.fifo[self.rd_ptr.value] if moves else self._arriving() if enters else self._head()
        self.head_start.next, self.head_row.next = head.start, head.row
        self.head_count.next, self.head_count1.next = head.length, head.length1
        self.head_value.next, self.head_value1.next = head.value, head.value1
        self.wr_ptr.next = self._after(self.wr_ptr.value) if self.stored else self.wr_ptr.value
        self.rd_ptr.next = self._after(self.rd_ptr.value) if moves else self.rd_ptr.value
        self.count.next = (count + keep - start) & self.count_mask
        free = start + self.drop.value
        self.occupancy.next = (self.occupancy.value + self.bcast.value - free) & self.count_mask

    def _after(self, pointer: int) -> int:
        return 0 if pointer == self.behind - 1 else pointer + 1

    def _arriving(self) -> Run:
        return Run(
            self.p_start.value,
            self.p_count.value,
            self.p_count1.value,
            self.value.value,
            self.value1.value,
            self.p_row.value,
        )

    def _head(self) -> Run:
        return Run(
            self.head_start.value,
            self.head_count.value,
            self.head_count1.value,
            self.head_value.value,
            self.head_value1.value,
            self.head_row.value,
        )

    def write_memories(self) -> None:
        """Write the run that is kept behind others."""
        if self.stored:
            self.fifo[self.wr_ptr.value] = self._arriving()
