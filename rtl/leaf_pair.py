"""LeafPair: the one leaf of two PEs, where columns are broadcast in pairs."""

from __future__ import annotations

from amaranth import Module, Mux

from eie.rtl.block import Block


class LeafPair(Block):
    """Offers the first row of two leaves, with both activations where both have it.

    Latency: none, combinational.

    Parameters
    ----------
    cfg, probe : see `Block`.

    Members
    -------
    a_valid, a_row, a_value : what the even PE offers. b_valid, b_row, b_value : the odd one.
    pop : the tree takes the offer. a_pop, b_pop : whose activation goes with it.
    valid, row, value, value1 : the offer; 0 for a column that is not active.
    """

    name = "leaf_pair"

    def elaborate(self, platform: object) -> Module:
        m = self.module()
        take_a = self.a_valid & ~(self.b_valid & (self.b_row < self.a_row))
        take_b = self.b_valid & ~(self.a_valid & (self.a_row < self.b_row))
        m.d.comb += [
            self.valid.eq(self.a_valid | self.b_valid),
            self.row.eq(Mux(take_a, self.a_row, self.b_row)),
            self.value.eq(Mux(take_a, self.a_value, 0)),
            self.value1.eq(Mux(take_b, self.b_value, 0)),
            self.a_pop.eq(self.pop & take_a),
            self.b_pop.eq(self.pop & take_b),
        ]
        return m
