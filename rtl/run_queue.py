"""RunQueue: the FIFO of runs behind PtrRead (`filter_empty`), and the PE's credit."""

from __future__ import annotations

from amaranth import Cat, Const, Module, Mux, Signal

from eie.rtl.block import Block, new_memory, read_by_lines, step


class RunQueue(Block):
    """FIFO of runs between PtrRead and the window, and the credit counter.

    Latency: a run kept in one cycle is at the head in the next. The head has a register of its own, so that the way
    from there into the window does not begin with a memory.

    Parameters
    ----------
    cfg, probe : see `Block`.

    Members
    -------
    bcast : the CCU broadcasts; takes one credit.
    keep, p_start, p_count, p_count1, value, value1 : a run arrives; index-free with p_row, its first entry's row.
    drop : a group has no entry here; gives its credit back.
    start : the head is taken; gives one credit back.
    head_valid, head_start, head_count, head_count1, head_row, head_value, head_value1 : the oldest run.
    credit : the CCU may broadcast.
    occupancy : groups broadcast and neither started nor dropped.
    """

    name = "act_queue"

    def elaborate(self, platform: object) -> Module:
        m, cfg = self.module(), self.cfg
        pairs = cfg.group == 2
        into = Cat(self.p_start, self.p_count, self.value, *([self.p_count1, self.value1] if pairs else []))
        head = [self.head_start, self.head_count, self.head_value]
        head += [self.head_count1, self.head_value1] if pairs else []
        if cfg.index_free:
            into, head = Cat(into, self.p_row), [*head, self.head_row]
        behind = max(1, cfg.queue_depth - 1)
        fifo = new_memory(m, "fifo", len(into), behind)
        write = fifo.write_port()
        alone = Signal()  # nothing stands behind the head
        moves, enters = Signal(), Signal()
        m.d.comb += [
            alone.eq(~self.count[1:].any()),
            moves.eq(self.start & ~alone),
            enters.eq(self.keep & alone & (~self.head_valid | self.start)),
            write.en.eq(self.keep & ~enters),
            write.addr.eq(self.wr_ptr),
            write.data.eq(into),
            self.head_valid.eq(self.count.any()),
            self.credit.eq(self.occupancy < Const(cfg.queue_depth, cfg.occupancy_bits)),
        ]
        # It moves or one enters. That one starts is known late, and so does not choose what the head becomes.
        with m.If((self.start & (~alone | self.keep)) | (self.keep & ~self.head_valid)):
            m.d.sync += Cat(head).eq(Mux(alone, into, read_by_lines(m, fifo, self.rd_ptr)))
        with m.If(write.en):
            m.d.sync += self.wr_ptr.eq(step(self.wr_ptr, behind))
        with m.If(moves):
            m.d.sync += self.rd_ptr.eq(step(self.rd_ptr, behind))
        m.d.sync += [
            self.count.eq(self.count + self.keep - self.start),
            self.occupancy.eq((self.occupancy + self.bcast - self.start)[: cfg.occupancy_bits] - self.drop),
        ]
        return m
