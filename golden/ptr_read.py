"""PtrRead: both pointers of a column in one access, from the banks of even and odd columns."""

from __future__ import annotations

from eie.config import ArchConfig
from eie.golden.base import Block, Reg, Wire


class PtrRead(Block):
    """Pointers p_j and p_{j+1} of the column at the queue's head, one cycle after its pop."""

    NAME = "ptr_read"

    clear: Wire
    head_valid: Wire
    head_col: Wire
    head_value: Wire
    start: Wire
    io_write: Wire
    io_read: Wire
    io_addr: Wire
    io_data: Wire
    even_en: Wire
    even_we: Wire
    even_addr: Wire
    even_wdata: Wire
    even_rdata: Wire
    odd_en: Wire
    odd_we: Wire
    odd_addr: Wire
    odd_wdata: Wire
    odd_rdata: Wire
    pop: Wire
    p_start: Wire
    p_end: Wire
    valid: Reg
    value: Reg
    odd: Reg
    ptr_reads: Reg

    def __init__(self, cfg: ArchConfig, **inputs: Wire) -> None:
        super().__init__(cfg, **inputs)
        self.addr_mask = self.mask("even_addr")
        self.data_mask = self.mask("even_wdata")
        self.count_mask = self.mask("ptr_reads")

    def outputs(self) -> None:
        """Pop, the ports of both banks, and the pointers."""
        pop = self.head_valid.value and (not self.valid.value or self.start.value)
        write, io_addr = self.io_write.value, self.io_addr.value
        access, io_odd = write or self.io_read.value, io_addr & 1
        col = self.head_col.value
        self.pop.value = pop
        self.even_en.value = pop or (access and not io_odd)
        self.odd_en.value = pop or (access and io_odd)
        self.even_we.value = write and not io_odd
        self.odd_we.value = write and io_odd
        self.even_addr.value = ((col + 1 if pop else io_addr) >> 1) & self.addr_mask
        self.odd_addr.value = ((col if pop else io_addr) >> 1) & self.addr_mask
        self.even_wdata.value = self.odd_wdata.value = self.io_data.value & self.data_mask
        self.pointers()

    def pointers(self) -> None:
        """The pointers, which need registers alone (SpmatRead's `start` needs them, and `pop` needs `start`)."""
        if self.odd.value:
            self.p_start.value, self.p_end.value = self.odd_rdata.value, self.even_rdata.value
        else:
            self.p_start.value, self.p_end.value = self.even_rdata.value, self.odd_rdata.value

    def next_state(self) -> None:
        """Validity, value and parity of the pointers on the banks' outputs."""
        pop = self.pop.value
        self.valid.next = True if pop else False if self.start.value else self.valid.value
        self.value.next = self.head_value.value if pop else self.value.value
        self.odd.next = self.head_col.value & 1 if pop else self.odd.value
        self.ptr_reads.next = 0 if self.clear.value else (self.ptr_reads.value + pop) & self.count_mask
