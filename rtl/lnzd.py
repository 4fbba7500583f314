"""LNZD: a node of the leading non-zero detection tree."""

from __future__ import annotations

from amaranth import Cat, Const, Module, Mux, Signal, Value

from eie.rtl.block import Block, any_of
from eie.schema import LNZD_FAN_IN


class LNZD(Block):
    """Keeps one entry, the smallest row (then the lowest number) among those that its children offer.

    Latency: a node loads at the end of the cycle in which all its children are valid or exhausted; ready is
    combinational, so it offers in every cycle from then on.

    Parameters
    ----------
    cfg, probe : see `Block`.

    Members
    -------
    begin_pass : forget the entry.
    compute : compute mode; nothing is loaded outside it.
    pop : the parent takes the entry.
    child<c>_valid, _exhausted, _row, _pe, _value : what child c offers (absent children: exhausted).
    child_pop : bit c takes child c's entry.
    valid, exhausted, row, pe, value : the entry, or that there will be none again.
    """

    name = "lnzd"

    def elaborate(self, platform: object) -> Module:
        m = self.module()
        valid = Cat(getattr(self, f"child{c}_valid") for c in range(LNZD_FAN_IN))
        exhausted = Cat(getattr(self, f"child{c}_exhausted") for c in range(LNZD_FAN_IN))
        load = Signal()
        some = Signal()
        best = Signal(LNZD_FAN_IN)
        ready = ~self.exhausted & (~self.valid | self.pop)
        m.d.comb += [
            load.eq(self.compute & ready & (valid | exhausted).all()),
            some.eq(valid.any()),
            best.eq(self._best(m)),
            self.child_pop.eq(Mux(load, best, Const(0, LNZD_FAN_IN))),
        ]
        with m.If(self.begin_pass):
            m.d.sync += [self.valid.eq(0), self.exhausted.eq(0)]
        with m.Elif(load):
            m.d.sync += self.valid.eq(some)
            with m.If(~some):
                m.d.sync += self.exhausted.eq(1)
        with m.Elif(self.pop):
            m.d.sync += self.valid.eq(0)
        with m.If(load & some):
            for name in ("row", "pe", "value", "value1")[: 2 + self.cfg.group]:
                kept = getattr(self, name)
                children = [getattr(self, f"child{c}_{name}") for c in range(LNZD_FAN_IN)]
                m.d.sync += kept.eq(any_of(Mux(best[c], child, 0) for c, child in enumerate(children)))
        return m

    def _best(self, m: Module) -> Value:
        """The bit of the valid child with the smallest row, the lowest number among equals; none if none is valid.

        All pairs are compared side by side, which is faster than one comparison behind the other.
        """
        valid = [getattr(self, f"child{c}_valid") for c in range(LNZD_FAN_IN)]
        rows = [getattr(self, f"child{c}_row") for c in range(LNZD_FAN_IN)]
        comes_first = list(valid)
        for b in range(LNZD_FAN_IN):
            for a in range(b):
                before = Signal(name=f"before_{b}_{a}")
                m.d.comb += before.eq(rows[b] < rows[a])
                comes_first[a] = comes_first[a] & ~(valid[b] & before)
                comes_first[b] = comes_first[b] & (~valid[a] | before)
        return Cat(comes_first)
