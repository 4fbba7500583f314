"""ActQueue: the FIFO of broadcast columns, and the PE's credit."""

from __future__ import annotations

from amaranth import Cat, Const, Module

from eie.rtl.block import Block, register_file, step


class ActQueue(Block):
    """FIFO of columns with their activation (both of a pair) between broadcast and PtrRead, and the credit counter.

    Latency: a column pushed in one cycle is at the head in the next.

    Parameters
    ----------
    cfg, probe : see `Block`.

    Members
    -------
    bcast : the CCU broadcasts; takes one credit.
    push, push_col, push_value : a column arrives.
    pop : the head is taken.
    start : a column starts in SpmatRead; gives one credit back.
    head_valid, head_col, head_value : the oldest column.
    credit : the CCU may broadcast.
    occupancy : columns broadcast and not yet started.
    """

    name = "act_queue"

    def elaborate(self, platform: object) -> Module:
        m, depth = self.module(), self.cfg.queue_depth
        pairs = self.cfg.group == 2
        into = [self.push_value, self.push_col, *([self.push_value1] if pairs else [])]
        head = [self.head_value, self.head_col, *([self.head_value1] if pairs else [])]
        write, read = register_file(m, "fifo", sum(map(len, into)), depth)
        m.d.comb += [
            write.en.eq(self.push),
            write.addr.eq(self.wr_ptr),
            write.data.eq(Cat(into)),
            read.addr.eq(self.rd_ptr),
            Cat(head).eq(read.data),
            self.head_valid.eq(self.count.any()),
            self.credit.eq(self.occupancy < Const(depth, self.cfg.occupancy_bits)),
        ]
        with m.If(self.push):
            m.d.sync += self.wr_ptr.eq(step(self.wr_ptr, depth))
        with m.If(self.pop):
            m.d.sync += self.rd_ptr.eq(step(self.rd_ptr, depth))
        m.d.sync += [
            self.count.eq(self.count + self.push - self.pop),
            self.occupancy.eq(self.occupancy + self.bcast - self.start),
        ]
        return m
