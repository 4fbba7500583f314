"""LNZD: a node of the leading non-zero detection tree, fan-in 4."""

from __future__ import annotations

from eie import schema
from eie.config import ArchConfig


class Lnzd(schema.Lnzd):
    """Holds the first of what its children offer, one cycle after they offer it; ready is combinational."""

    def __init__(self, cfg: ArchConfig) -> None:
        super().__init__(cfg)
        self.begin(cfg)
        self.load = False
        self.best: schema.Offer | None = None

    def outputs(self) -> None:
        """Whether the node loads, from which child, and that child's pop."""
        exhausted, valid = self.exhausted.value, self.valid.value
        ready = self.compute.value and not exhausted and (not valid or self.pop.value)
        self.load, self.best, child_pop = False, None, 0
        if ready:
            self.load = all(child.valid.value or child.exhausted.value for child in self.children)
        if self.load:
            for c, child in enumerate(self.children):
                # Among equal rows the first child stays.
                if child.valid.value and (self.best is None or child.row.value < self.best.row.value):
                    self.best, child_pop = child, 1 << c
        self.child_pop.value = child_pop

    def next_state(self) -> None:
        """The entry held, and whether there will be another."""
        best = self.best
        if self.begin_pass.value:
            self.valid.next = self.exhausted.next = False
        elif self.load:
            self.valid.next = best is not None
            self.exhausted.next = self.exhausted.value or best is None
        else:
            self.valid.next = False if self.pop.value else self.valid.value
            self.exhausted.next = self.exhausted.value
        source = best or self
        self.row.next = source.row.value
        self.pe.next = source.pe.value
        self.value.next = source.value.value
        self.value1.next = source.value1.value
