"""Checker of a node of the LNZD tree: what its children offer goes on in ascending order, each exactly once."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from amaranth import Cat, Const, Module, Mux, Shape, Signal, Value, unsigned

from eie import schema
from eie.config import ArchConfig
from eie.rtl.block import any_of
from eie.rtl.formal.checker import Checker
from eie.schema import LNZD_FAN_IN


@dataclass(frozen=True)
class Offered:
    """An offer: whether there is one, its place in the order (row, then leaf), and all that it says."""

    valid: Value
    exhausted: Value
    key: Value
    entry: Value
    pe: Value


class LNZDChecker(Checker):
    """What a node promises to its parent is what it takes for granted of its children, so it holds at every level.

    The promise, from begin_pass on, in compute mode: offers strictly ascend, an offer stays until it is taken, and
    exhausted is for good. Leaves of a child are all before those of the next child.
    """

    block = schema.Lnzd.NAME

    @classmethod
    def constant(cls, cfg: ArchConfig) -> dict[str, Shape]:
        """The first leaf of each child, and the one behind the last child's, side by side."""
        return {"bounds": unsigned((LNZD_FAN_IN + 1) * (cfg.leaf_bits + 1))}

    def elaborate(self, platform: object) -> Module:
        m = self.module()
        children = [self._offer(f"child{child}_") for child in range(LNZD_FAN_IN)]
        node = self._offer("")
        takes = Signal()  # a child's entry
        m.d.comb += takes.eq(self.child_pop.any())
        computed = self.past(m, self.compute, "compute")
        self.assume(
            m, "begins_before", ~self.compute | computed | self.past(m, self.begin_pass, "begin_pass")
        )
        self.assume(m, "begins_outside", ~(self.begin_pass & self.compute))
        self.assume(m, "taken_if_valid", ~self.pop | (self.valid & self.compute))
        self._bounds(m, children, node)

        taken = Signal(len(node.key))  # key of the entry that was taken last from any child
        begun = Signal()
        least = self._chosen([child.key for child in children])
        with m.If(self.begin_pass):
            m.d.sync += begun.eq(0)
        with m.Elif(takes):
            m.d.sync += [begun.eq(1), taken.eq(least)]
        for number, child in enumerate(children):
            popped = self._child(m, number, child, begun & self.compute, taken)
            self.prove(m, f"child{number}_began", ~popped | begun)
        self.prove(m, "ascends", ~(takes & begun) | (least > taken))
        self.prove(m, "offers_the_last_taken", ~(self.valid & self.compute) | (begun & (node.key == taken)))
        self._conserves(m, children, node, takes)
        self._reaches(m, children, takes, begun)
        return m

    def _offer(self, prefix: str) -> Offered:
        of = {name: getattr(self, f"{prefix}{name}") for name in ("valid", "exhausted", "row", "pe", "value")}
        key = Cat(of["pe"], of["row"])
        values = [of["value"], *([getattr(self, f"{prefix}value1")] if self.cfg.group == 2 else [])]
        return Offered(of["valid"], of["exhausted"], key, Cat(key, *values), of["pe"])

    def _chosen(self, values: list[Value]) -> Value:
        """Of the child whose entry is taken."""
        return any_of(Mux(self.child_pop[i], value, Const(0, len(value))) for i, value in enumerate(values))

    def _bounds(self, m: Module, children: list[Offered], node: Offered) -> None:
        bounds = [self.bounds.word_select(i, self.cfg.leaf_bits + 1) for i in range(LNZD_FAN_IN + 1)]
        in_order = Cat(low <= high for low, high in pairwise(bounds)).all()
        self.assume(m, "leaves_in_order", in_order)
        for i, child in enumerate(children):
            inside = (child.pe >= bounds[i]) & (child.pe < bounds[i + 1])
            self.assume(m, f"child{i}_leaf", ~child.valid | inside)
        within = (node.pe >= bounds[0]) & (node.pe < bounds[-1])
        self.prove(m, "leaf", ~(node.valid & self.compute) | within)

    def _child(self, m: Module, i: int, child: Offered, begun: Value, taken: Value) -> Signal:
        """What is taken for granted of a child, and where it stands beside what was taken; whether it gave an entry."""
        pops = self.child_pop[i]
        popped, key = Signal(name=f"popped{i}"), Signal(len(child.key), name=f"popped{i}_key")
        with m.If(self.begin_pass):
            m.d.sync += popped.eq(0)
        with m.Elif(pops):
            m.d.sync += [popped.eq(1), key.eq(child.key)]
        stays = self.past(m, self.compute & child.valid & ~pops, f"stays{i}")
        entry = self.past(m, child.entry, f"entry{i}")
        exhausted = self.past(m, self.compute & child.exhausted, f"exhausted{i}")
        self.assume(m, f"child{i}_ascends", ~(child.valid & popped & self.compute) | (child.key > key))
        self.assume(m, f"child{i}_stays", ~(stays & self.compute) | (child.valid & (child.entry == entry)))
        self.assume(m, f"child{i}_ends", ~(exhausted & self.compute) | child.exhausted)
        self.assume(m, f"child{i}_one_of_both", ~(child.valid & child.exhausted))

        self.prove(m, f"child{i}_taken_if_valid", ~pops | (child.valid & self.compute))
        self.prove(m, f"child{i}_was_before", ~(popped & begun) | (key <= taken))
        self.prove(m, f"child{i}_is_behind", ~(begun & child.valid) | (child.key > taken))
        waits = begun & ~child.valid & ~child.exhausted
        self.prove(m, f"child{i}_waits_if_taken", ~waits | (popped & (key == taken)))
        return popped

    def _conserves(self, m: Module, children: list[Offered], node: Offered, takes: Value) -> None:
        """Nothing is lost, doubled or invented, and nothing waits without reason."""
        took = self.past(m, takes, "takes")
        entry = self.past(m, self._chosen([child.entry for child in children]), "taken_entry")
        keeps = self.past(m, self.valid & ~self.pop & ~self.begin_pass, "keeps")
        kept = self.past(m, node.entry, "entry")
        self.prove(m, "one_at_a_time", ~(self.child_pop & (self.child_pop - 1)).any())
        self.prove(m, "passes_on", ~took | (self.valid & (node.entry == entry)))
        self.prove(m, "keeps", ~keeps | (self.valid & (node.entry == kept)))
        self.prove(m, "invents_nothing", ~self.valid | took | keeps)
        self.prove(m, "has_room", ~takes | ~self.valid | self.pop)
        ends = self.compute & self.exhausted
        self.prove(m, "ends_behind_all", ~ends | Cat(child.exhausted for child in children).all())
        self.prove(m, "ends_empty", ~ends | ~self.valid)
        ended = self.past(m, ends, "ends")
        self.prove(m, "ends_for_good", ~(ended & self.compute) | self.exhausted)
        ready = Cat(child.valid | child.exhausted for child in children).all()
        could = self.past(m, self.compute & ready & ~self.exhausted & (~self.valid | self.pop), "could")
        self.prove(m, "goes_on", ~could | self.valid | self.exhausted)

    def _reaches(self, m: Module, children: list[Offered], takes: Value, begun: Value) -> None:
        same = children[0].valid & children[1].valid & (self.child0_row == self.child1_row)
        self.reach(m, "two_of_a_row", takes & same & begun)
        self.reach(m, "one_each_cycle", takes & self.valid & self.pop & self.past(m, takes, "once"))
        self.reach(m, "waits_for_a_child", self.compute & ~takes & begun & ~self.valid & ~self.exhausted)
        self.reach(m, "the_last_child", self.child_pop[LNZD_FAN_IN - 1])
        self.reach(m, "exhausted", self.compute & self.exhausted & begun)
