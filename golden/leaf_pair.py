"""LeafPair: the one leaf of two PEs, where columns are broadcast in pairs."""

from __future__ import annotations

from eie import schema
from eie.config import ArchConfig


class LeafPair(schema.LeafPair):
    """Offers the first of two leaves' rows, or both where they have the same; combinational."""

    def __init__(self, cfg: ArchConfig) -> None:
        super().__init__(cfg)
        self.begin(cfg)
        self.take_a = self.take_b = False

    def outputs(self) -> None:
        """The offer, and the pops."""
        self.offer()
        self.hand_down()

    def offer(self) -> None:
        """What the leaf offers, which needs registers alone."""
        a, b = bool(self.a_valid.value), bool(self.b_valid.value)
        self.take_a = a and not (b and self.b_row.value < self.a_row.value)
        self.take_b = b and not (a and self.a_row.value < self.b_row.value)
        self.valid.value = a or b
        self.row.value = self.a_row.value if self.take_a else self.b_row.value
        self.value.value = self.a_value.value if self.take_a else 0
        self.value1.value = self.b_value.value if self.take_b else 0

    def hand_down(self) -> None:
        """Whose activations are taken with it."""
        self.a_pop.value = self.pop.value and self.take_a
        self.b_pop.value = self.pop.value and self.take_b

    def next_state(self) -> None:
        """It has no register."""
