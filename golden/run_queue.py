"""RunQueue: the queue of a PE that reads pointers before it (`filter_empty`), and its credit."""

from __future__ import annotations

from typing import NamedTuple

from eie import schema
from eie.config import ArchConfig
from eie.golden.base import Block


class Run(NamedTuple):
    """A pointer to a group's first entry, the lengths of its columns, and their activations."""

    start: int = 0
    length: int = 0
    length1: int = 0
    value: int = 0
    value1: int = 0


class RunQueue(Block, schema.RunQueue):
    """A FIFO of runs; a run is at the head one cycle after it is kept. Dropped groups give their credit back at once.

    Members: fifo, queue_depth runs.
    """

    def __init__(self, cfg: ArchConfig) -> None:
        super().__init__(cfg)
        self.depth = cfg.queue_depth
        self.fifo = [Run()] * cfg.queue_depth
        self.count_mask = self.count.mask

    def outputs(self) -> None:
        """Head and credit: from registers alone."""
        self.head_valid.value = self.count.value != 0
        head = self.fifo[self.rd_ptr.value]
        self.head_start.value = head.start
        self.head_count.value, self.head_count1.value = head.length, head.length1
        self.head_value.value, self.head_value1.value = head.value, head.value1
        self.credit.value = self.occupancy.value < self.depth

    def next_state(self) -> None:
        """Pointers, fill and occupancy."""
        keep, start = self.keep.value, self.start.value
        self.wr_ptr.next = self._after(self.wr_ptr.value) if keep else self.wr_ptr.value
        self.rd_ptr.next = self._after(self.rd_ptr.value) if start else self.rd_ptr.value
        self.count.next = (self.count.value + keep - start) & self.count_mask
        free = start + self.drop.value
        self.occupancy.next = (self.occupancy.value + self.bcast.value - free) & self.count_mask

    def _after(self, pointer: int) -> int:
        return 0 if pointer == self.depth - 1 else pointer + 1

    def write_memories(self) -> None:
        """Write the run that is kept."""
        if self.keep.value:
            self.fifo[self.wr_ptr.value] = Run(
                self.p_start.value,
                self.p_count.value,
                self.p_count1.value,
                self.value.value,
                self.value1.value,
            )
