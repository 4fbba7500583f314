"""Checkers of the queues of columns and of runs: order, count, occupancy."""

from __future__ import annotations

from amaranth import Cat, Module, Mux, Shape, Signal, Value, unsigned

from eie import schema
from eie.config import ArchConfig, bits_for
from eie.rtl.block import is_number
from eie.rtl.formal.checker import Checker, Watched
from eie.rtl.formal.laws import bus_stages, later, pops_in_turn, waits

# What arrives and what stands at the head, in the order in which the memory holds it.
_COLUMN = {"push_value": "head_value", "push_col": "head_col", "push_value1": "head_value1"}
_RUN = {
    "p_start": "head_start",
    "p_count": "head_count",
    "value": "head_value",
    "p_count1": "head_count1",
    "value1": "head_value1",
    "p_row": "head_row",
}


class QueueChecker(Checker):
    """A queue gives what it took, in the order in which it took it, and knows how many it has.

    One item is followed, whichever: `pick` chooses it when it comes in. What holds for it holds for all.
    """

    block = schema.ActQueue.NAME

    @classmethod
    def _item(cls, cfg: ArchConfig) -> dict[str, str]:
        """Input and output of each part of an item."""
        names = {field.name for field in schema.fields(cls.block, cfg)}
        return {into: out for into, out in (_RUN if cfg.filter_empty else _COLUMN).items() if into in names}

    @classmethod
    def _width(cls, cfg: ArchConfig) -> int:
        fields = {field.name: field.width for field in schema.fields(cls.block, cfg)}
        return sum(fields[name] for name in cls._item(cfg))

    @classmethod
    def _places(cls, cfg: ArchConfig) -> int:
        """Words of the memory: the head of a queue of runs is a register."""
        return max(1, cfg.queue_depth - cfg.filter_empty)

    @classmethod
    def free(cls, cfg: ArchConfig) -> dict[str, Shape]:
        """Whether the item that comes in is to be followed."""
        return {"pick": unsigned(1)}

    @classmethod
    def chosen(cls, cfg: ArchConfig) -> dict[str, Shape]:
        """Where the followed item stands in the memory."""
        return {"place": unsigned(bits_for(cls._places(cfg) - 1))}

    @classmethod
    def watched(cls, cfg: ArchConfig) -> dict[str, Watched]:
        """What stands there; a queue of one run has no memory."""
        width = cls._width(cfg)
        return {"stored": Watched(f"{width}'h0" if cls._only_head(cfg) else "fifo[{place}]", unsigned(width))}

    @classmethod
    def renamed(cls, cfg: ArchConfig) -> dict[str, str]:
        """The count of a queue with one place says whether that is taken."""
        names = {"count": "head_valid"} if cfg.queue_depth == 1 else {}
        return names | ({"wr_ptr": "1'h0", "rd_ptr": "1'h0"} if cls._only_head(cfg) else {})

    @classmethod
    def _only_head(cls, cfg: ArchConfig) -> bool:
        return cfg.queue_depth == 1 and bool(cfg.filter_empty)

    def elaborate(self, platform: object) -> Module:
        m, depth = self.module(), self.cfg.queue_depth
        filters = self.cfg.filter_empty
        enters, leaves = (self.keep, self.start) if filters else (self.push, self.pop)
        item = self._item(self.cfg)
        into, head = (Cat(getattr(self, name) for name in names) for names in (item, item.values()))

        bus = later(m, self.bcast, bus_stages(self.cfg) + (filters and not self.cfg.index_free), "bcast")
        arrives = self.keep | self.drop if filters else self.push
        self.assume(m, "broadcast_has_credit", ~self.bcast | self.credit)
        self.assume(m, "arrives_after_the_bus", arrives == (bus[-1] if bus else self.bcast))
        self.assume(m, "leaves_what_is_there", ~leaves | self.head_valid)
        behind: Value = sum(bus, start=Signal(bits_for(len(bus)), name="none"))
        if filters:
            self.assume(m, "keeps_or_drops", ~(self.keep & self.drop))
        else:
            waiting = waits(m, self.pop, self.start)
            self.assume(m, "pops_in_turn", pops_in_turn(self.pop, self.head_valid, waiting, self.start))
            self.assume(m, "starts_what_waits", ~self.start | waiting)
            behind = behind + waiting

        self._follow(m, enters, leaves, into, head)
        self.prove(m, "count_fits", self.count <= depth)
        self.prove(m, "occupancy_fits", self.occupancy <= depth)
        self.prove(m, "occupancy_is_bus_and_queue", self.occupancy == self.count + behind)
        self.prove(m, "credit_is_room", self.credit == (self.occupancy < depth))
        self.prove(m, "head_is_there", self.head_valid == (self.count != 0))
        self._pointers(m)
        self.reach(m, "full", self.occupancy == depth)
        self.reach(m, "all_stand_in_the_queue", self.count == depth)
        self.reach(m, "empty_again", (self.occupancy == 0) & self.past(m, self.occupancy == 1, "one"))
        if filters:
            self.reach(m, "dropped", self.drop)
        return m

    def _follow(self, m: Module, enters: Value, leaves: Value, into: Value, head: Value) -> None:
        followed, item = Signal(), Signal(len(into))
        ahead = Signal(len(self.count))  # items before it
        with m.If(~followed & enters & self.pick):
            m.d.sync += [followed.eq(1), item.eq(into), ahead.eq(self.count - leaves)]
        with m.Elif(followed & leaves):
            m.d.sync += [ahead.eq(ahead - 1), followed.eq(ahead != 0)]
        at_head = ahead == 0
        self.prove(m, "followed_is_inside", ~followed | (ahead < self.count))
        self.prove(m, "order", ~(followed & at_head) | (head == item))
        behind = ahead - self.cfg.filter_empty
        places = self._places(self.cfg)
        m.d.comb += self.place.eq(_around(self.rd_ptr + behind, places))
        in_memory = followed & ~at_head if self.cfg.filter_empty else followed
        self.prove(m, "stored_as_it_came", ~in_memory | (self.stored == item))
        self.reach(m, "followed_leaves", followed & leaves & at_head)

    def _pointers(self, m: Module) -> None:
        """Where the memory is written and read."""
        places = self._places(self.cfg)
        held = Mux(self.count == 0, 0, self.count - 1) if self.cfg.filter_empty else self.count
        self.prove(m, "pointers_fit", (self.rd_ptr < places) & (self.wr_ptr < places))
        self.prove(m, "pointers_are_count_apart", self.wr_ptr == _around(self.rd_ptr + held, places))
        if places > 1:
            self.reach(m, "went_around", is_number(self.wr_ptr, 0) & self.past(m, self.wr_ptr != 0, "wrote"))


def _around(sum_: Value, places: int) -> Value:
    """A sum of two places in a ring."""
    return Mux(sum_ >= places, sum_ - places, sum_)
