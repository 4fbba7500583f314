"""PtrRead: both pointers of a column in one access, from the banks of even and odd columns."""

from __future__ import annotations

from eie import schema
from eie.config import ArchConfig


class PtrRead(schema.PtrRead):
    """Pointers p_j and p_{j+1} of the column at the queue's head, one cycle after its pop."""

    def __init__(self, cfg: ArchConfig) -> None:
        super().__init__(cfg)
        self.begin(cfg)
        even, _ = self.ptr_ports
        self.addr_mask = even.addr.mask
        self.data_mask = even.wdata.mask
        self.count_mask = self.ptr_reads.mask

    def outputs(self) -> None:
        """The pointers, pop, and the ports of both banks."""
        self.pointers()
        self.ports()

    def ports(self) -> None:
        """Pop, and the ports of both banks."""
        pop = self.head_valid.value and (not self.valid.value or self.start.value)
        write, io_addr = self.io_write.value, self.io_addr.value
        access, io_odd = write or self.io_read.value, io_addr & 1
        col, (even, odd) = self.head_col.value, self.ptr_ports
        self.pop.value = pop
        even.en.value = pop or (access and not io_odd)
        odd.en.value = pop or (access and io_odd)
        even.we.value = write and not io_odd
        odd.we.value = write and io_odd
        even.addr.value = ((col + 1 if pop else io_addr) >> 1) & self.addr_mask
        odd.addr.value = ((col if pop else io_addr) >> 1) & self.addr_mask
        even.wdata.value = odd.wdata.value = self.io_data.value & self.data_mask

    def pointers(self) -> None:
        """The pointers, which need registers alone (SpmatRead's `start` needs them, and `pop` needs `start`)."""
        even, odd = self.ptr_ports
        first, second = (odd, even) if self.odd.value else (even, odd)
        self.p_start.value, self.p_end.value = first.rdata.value, second.rdata.value

    def next_state(self) -> None:
        """Validity, value and parity of the pointers on the banks' outputs."""
        pop = self.pop.value
        self.valid.next = True if pop else False if self.start.value else self.valid.value
        self.value.next = self.head_value.value if pop else self.value.value
        self.odd.next = self.head_col.value & 1 if pop else self.odd.value
        self.ptr_reads.next = 0 if self.clear.value else (self.ptr_reads.value + pop) & self.count_mask
