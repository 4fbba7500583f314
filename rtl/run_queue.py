"""RunQueue: the FIFO of runs behind PtrRead (`filter_empty`), and the PE's credit."""

from __future__ import annotations

from amaranth import Cat, Const, Module

from eie.rtl.block import Block, register_file, step


class RunQueue(Block):
    """FIFO of runs between PtrRead and the window, and the credit counter.

    Latency: a run kept in one cycle is at the head in the next.

    Parameters
    ----------
    cfg, probe : see `Block`.

    Members
    -------
    bcast : the CCU broadcasts; takes one credit.
    keep, p_start, p_count, p_count1, value, value1 : a run arrives.
    drop : a group has no entry here; gives its credit back.
    start : the head is taken; gives one credit back.
    head_valid, head_start, head_count, head_count1, head_value, head_value1 : the oldest run.
    credit : the CCU may broadcast.
    occupancy : groups broadcast and neither started nor dropped.
    """

    name = "act_queue"

    def elaborate(self, platform: object) -> Module:
        m, cfg = self.module(), self.cfg
        pairs = cfg.group == 2
        into = [self.p_start, self.p_count, self.value]
        head = [self.head_start, self.head_count, self.head_value]
        if pairs:
            into += [self.p_count1, self.value1]
            head += [self.head_count1, self.head_value1]
        write, read = register_file(m, "fifo", sum(map(len, into)), cfg.queue_depth)
        m.d.comb += [
            write.en.eq(self.keep),
            write.addr.eq(self.wr_ptr),
            write.data.eq(Cat(into)),
            read.addr.eq(self.rd_ptr),
            Cat(head).eq(read.data),
            self.head_valid.eq(self.count.any()),
            self.credit.eq(self.occupancy < Const(cfg.queue_depth, cfg.occupancy_bits)),
        ]
        with m.If(self.keep):
            m.d.sync += self.wr_ptr.eq(step(self.wr_ptr, cfg.queue_depth))
        with m.If(self.start):
            m.d.sync += self.rd_ptr.eq(step(self.rd_ptr, cfg.queue_depth))
        m.d.sync += [
            self.count.eq(self.count + self.keep - self.start),
            self.occupancy.eq(self.occupancy + self.bcast - self.start - self.drop),
        ]
        return m
