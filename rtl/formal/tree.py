"""Checkers of the LNZD tree: what leaves and children offer goes on in ascending order, each exactly once."""

from __future__ import annotations

from collections.abc import Callable
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


class LeafPairChecker(Checker):
    """The leaf of a pair offers the lesser row of two leaves, and keeps the promise that its node asks for.

    `quiet` says that the leaves keep theirs from the cycle before to this one: nobody writes their rows.
    """

    block = schema.LeafPair.NAME

    @classmethod
    def free(cls, cfg: ArchConfig) -> dict[str, Shape]:
        """Whether the leaves keep their promise in this cycle."""
        return {"quiet": unsigned(1)}

    def elaborate(self, platform: object) -> Module:
        m = self.module()
        self.assume(m, "taken_if_valid", ~self.pop | self.valid)
        leaves = [
            (self.a_valid, self.a_row, self.a_value, self.a_pop, self.value),
            (self.b_valid, self.b_row, self.b_value, self.b_pop, self.value1),
        ]
        for name, (valid, row, value, pop, shown) in zip("ab", leaves, strict=True):
            own = self._named(m, f"{name}_is_first", valid & (row == self.row))
            self._promise(m, self.assume, f"{name}_", Cat(row, value), valid, row, pop)
            self.prove(m, f"{name}_is_not_before", ~valid | (self.row <= row))
            self.prove(m, f"{name}_value", ~self.valid | (shown == Mux(own, value, 0)))
            self.prove(m, f"{name}_taken_if_shown", pop == (self.pop & own))
        rows = [valid & (row == self.row) for valid, row, *_ in leaves]
        self.prove(m, "offers_what_is_there", self.valid == (self.a_valid | self.b_valid))
        self.prove(m, "row_of_a_leaf", ~self.valid | any_of(rows))
        entry = Cat(self.row, self.value, self.value1)
        self._promise(m, self.prove, "", entry, self.valid, self.row, self.pop)
        self.reach(m, "both", self.pop & rows[0] & rows[1])
        self.reach(m, "the_odd_one_first", self.pop & ~self.a_pop & self.a_valid)
        self.reach(m, "one_behind_the_other", self.pop & self.quiet & self.past(m, self.pop, "popped"))
        return m

    def _promise(
        self,
        m: Module,
        state: Callable[[Module, str, Value], None],
        name: str,
        entry: Value,
        valid: Value,
        row: Value,
        pop: Value,
    ) -> None:
        """What a node asks of its leaves, and the pair of each of its two."""
        was_valid, popped = self.past(m, valid, f"{name}valid"), self.past(m, pop, f"{name}pop")
        was, was_row = self.past(m, entry, f"{name}entry"), self.past(m, row, f"{name}row")
        # From the second cycle on: the first one has no past.
        quiet = self.quiet & self.past(m, Const(1, 1), f"{name}begun")
        state(m, f"{name}ascends", ~(quiet & popped & valid) | (row > was_row))
        state(m, f"{name}stays", ~(quiet & was_valid & ~popped) | (valid & (entry == was)))
        state(m, f"{name}ends_for_good", ~(quiet & ~was_valid) | ~valid)
