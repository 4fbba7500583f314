"""Wires, registers and blocks: what every part of the golden model is made of.

A cycle is `propagate()` (combinational: reads registers and inputs, computes outputs and next state), then `update()`
(the clock edge, where alone state changes). A block's `outputs()` and `next_state()` hold the rows of its two tables
in docs/architecture.md, in the same order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

from eie.config import ArchConfig
from eie.schema import BlockSignals, Kind, ProbeField, Reg, Wire, block_probe, fields, paths


def sign_extend(pattern: int, bits: int) -> int:
    """The signed number whose two's complement is the low `bits` bits of `pattern`.

    >>> sign_extend(0xFFFE, 16), sign_extend(0x10005, 16)
    (-2, 5)
    """
    half = 1 << (bits - 1)
    return ((pattern + half) & ((1 << bits) - 1)) - half


# A signal's place in a packed word: the signal, its mask, its lowest bit.
Place = tuple[Wire, int, int]


def pack(places: Iterable[Place]) -> int:
    """The signals' values in one word, two's complement where negative."""
    word = 0
    for signal, mask, low in places:
        word |= (signal.value & mask) << low
    return word


def places_of(probe: Sequence[ProbeField], instances: dict[str, Block]) -> list[Place]:
    """Where each signal of `instances` goes in the word that the schema's `probe` describes."""
    return [
        (instances[place.instance].signal(place.field.name), (1 << place.field.width) - 1, place.low)
        for place in probe
    ]


def _follow(owner: Any, path: Iterable[str | int]) -> Any:
    """What is at the end of a path (see `eie.schema.paths`) that begins at `owner`."""
    for step in path:
        owner = owner[step] if isinstance(step, int) else getattr(owner, step)
    return owner


class Block(BlockSignals):
    """A block of the machine: `class X(Block, schema.X)` has the signals that `eie.schema` declares as its members.

    Inputs are wires of the block's own until `connect` puts other blocks' signals in their place, so that a bench can
    drive a block by itself: set `.value` of the inputs, `propagate()`, read, `update()`.

    Parameters
    ----------
    inputs : given to `connect`.
    """

    def __init__(self, cfg: ArchConfig, inputs: Mapping[str, Wire] | None = None) -> None:
        super().__init__(cfg)
        self.cfg = cfg
        self.fields = fields(self.NAME, cfg)
        self.paths = paths(self.NAME, cfg)
        registers = self.signals(Kind.REG, Kind.OUT_REG).values()
        self.registers = [register for register in registers if isinstance(register, Reg)]
        if inputs is not None:
            self.connect(inputs)

    def signal(self, name: str) -> Wire:
        """The wire or register of the field called `name`."""
        signal: Wire = _follow(self, self.paths[name])
        return signal

    def signals(self, *kinds: Kind) -> dict[str, Wire]:
        """Wires and registers by the names of their fields: all of them, or those of some kinds."""
        return {
            field.name: self.signal(field.name) for field in self.fields if not kinds or field.kind in kinds
        }

    def connect(self, signals: Mapping[str, Wire], kind: Kind = Kind.IN) -> None:
        """Put the signal of the same name in the place of every input, or of every field of another kind.

        Raises
        ------
        KeyError : there is no signal of that name.
        """
        for field in self.fields:
            if field.kind is kind:
                *path, member = self.paths[field.name]
                setattr(_follow(self, path), str(member), signals[field.name])

    # ---- the clock cycle -----------------------------------------------------------------------------------

    def outputs(self) -> None:
        """Compute the combinational outputs."""
        raise NotImplementedError

    def next_state(self) -> None:
        """Compute the registers' next values, once inputs and outputs are settled."""
        raise NotImplementedError

    def write_memories(self) -> None:
        """Write the block's memories, at the clock edge and before the registers change."""

    def propagate(self) -> None:
        """Compute outputs and next state from inputs and present state."""
        self.outputs()
        self.next_state()

    def update(self) -> None:
        """One clock edge."""
        self.write_memories()
        for register in self.registers:
            register.value = register.next

    def step(self) -> None:
        """One clock cycle: propagate, then update."""
        self.propagate()
        self.update()

    # ---- the probe -----------------------------------------------------------------------------------------

    @cached_property
    def _places(self) -> list[Place]:
        return places_of(block_probe(self.NAME, self.cfg), {self.NAME: self})

    def probe(self) -> int:
        """The block's probed fields, packed as `eie.schema.block_probe`; valid between propagate and update."""
        return pack(self._places)
