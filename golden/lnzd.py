"""LNZD: a node of the leading non-zero detection tree, fan-in 4."""

from __future__ import annotations

from dataclasses import dataclass

from eie.config import ArchConfig
from eie.golden.base import Block, Reg, Wire
from eie.schema import LNZD_FAN_IN

# What a child offers, signal by signal.
CHILD_SIGNALS = ("valid", "exhausted", "row", "pe", "value")


@dataclass(frozen=True)
class Child:
    """What a node sees of one child."""

    valid: Wire
    exhausted: Wire
    row: Wire
    pe: Wire
    value: Wire


class Lnzd(Block):
    """Holds the first of what its children offer, one cycle after they offer it; ready is combinational."""

    NAME = "lnzd"

    begin_pass: Wire
    compute: Wire
    pop: Wire
    child_pop: Wire
    valid: Reg
    exhausted: Reg
    row: Reg
    pe: Reg
    value: Reg

    def __init__(self, cfg: ArchConfig, **inputs: Wire) -> None:
        super().__init__(cfg, **inputs)
        self.load = False
        self.best: Child | None = None

    def connect(self, **inputs: Wire) -> None:
        """See `Block.connect`; gathers each child's signals as well."""
        super().connect(**inputs)
        self.children = [
            Child(*(self.signal(f"child{c}_{name}") for name in CHILD_SIGNALS)) for c in range(LNZD_FAN_IN)
        ]

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
