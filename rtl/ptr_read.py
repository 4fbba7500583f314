"""PtrRead: pointers p_j and p_{j+1} of a column in one read of two banks."""

from __future__ import annotations

from amaranth import Module, Mux

from eie.rtl.block import Block


class PtrRead(Block):
    """Reads the pointers of the queue's head; the output registers of the SRAMs are the one prefetch register.

    Latency: a column popped in one cycle has its pointers on p_start and p_end in the next.

    Parameters
    ----------
    cfg, probe : see `Block`.

    Members
    -------
    clear : clear the counter.
    head_valid, head_col, head_value, pop : the queue's head, and its taking.
    start : SpmatRead starts the column that waits here.
    io_write, io_read, io_addr, io_data : the I/O port, for the space PTR (address: the column).
    even_*, odd_* : the SRAMs of even and odd columns.
    valid, p_start, p_end, value : the column that waits to start: first entry, one past its last, activation.
    ptr_reads : counter.
    """

    name = "ptr_read"

    def elaborate(self, platform: object) -> Module:
        m = self.module()
        io_odd = self.io_addr[0]
        io = self.io_write | self.io_read
        m.d.comb += [
            self.pop.eq(self.head_valid & (~self.valid | self.start)),
            self.even_en.eq(self.pop | (io & ~io_odd)),
            self.even_we.eq(self.io_write & ~io_odd),
            self.even_addr.eq(Mux(self.pop, (self.head_col + 1) >> 1, self.io_addr >> 1)),
            self.even_wdata.eq(self.io_data),
            self.odd_en.eq(self.pop | (io & io_odd)),
            self.odd_we.eq(self.io_write & io_odd),
            self.odd_addr.eq(Mux(self.pop, self.head_col >> 1, self.io_addr >> 1)),
            self.odd_wdata.eq(self.io_data),
            self.p_start.eq(Mux(self.odd, self.odd_rdata, self.even_rdata)),
            self.p_end.eq(Mux(self.odd, self.even_rdata, self.odd_rdata)),
        ]
        with m.If(self.pop):
            m.d.sync += [
                self.valid.eq(1),
                self.value.eq(self.head_value),
                self.odd.eq(self.head_col[0]),
            ]
        with m.Elif(self.start):
            m.d.sync += self.valid.eq(0)
        self.counter(m, "ptr_reads", self.pop)
        return m
