"""Wires, registers and blocks: what every part of the golden model is made of.

A cycle is `propagate()` (combinational: reads registers and inputs, computes outputs and next state), then `update()`
(the clock edge, where alone state changes). A block's `outputs()` and `next_state()` hold the rows of its two tables
in docs/architecture.md, in the same order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import ClassVar

from eie.config import ArchConfig
from eie.schema import Kind, ProbeField, block_probe, fields


class Wire:
    """A combinational signal. `value` is an int, negative where the signal is signed (a bool for one bit will do)."""

    __slots__ = ("value",)

    def __init__(self, value: int = 0) -> None:
        self.value = value

    def __bool__(self) -> bool:
        raise TypeError(f"a {type(self).__name__} is neither true nor false: compare its .value")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({int(self.value)})"


class Reg(Wire):
    """A register: `value` is what it holds, `next` what it takes at the clock edge."""

    __slots__ = ("next",)

    def __init__(self, value: int = 0) -> None:
        super().__init__(value)
        self.next = value


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


class Block:
    """A block of the machine, with an attribute for each field that `eie.schema` declares for `NAME`.

    Inputs are wires of the block's own until `connect` puts another block's signal in their place, so that a bench can
    drive a block by itself: set `.value` of the inputs, `propagate()`, read, `update()`.
    """

    NAME: ClassVar[str]

    def __init__(self, cfg: ArchConfig, **inputs: Wire) -> None:
        self.cfg = cfg
        self.fields = fields(self.NAME, cfg)
        self.registers: list[Reg] = []
        for field in self.fields:
            if field.kind.is_register:
                register = Reg()
                self.registers.append(register)
                setattr(self, field.name, register)
            else:
                setattr(self, field.name, Wire())
        self.connect(**inputs)

    def connect(self, **inputs: Wire) -> None:
        """Put other blocks' signals in the place of inputs.

        Raises
        ------
        AttributeError : a name that is no input of the block.
        """
        known = {field.name for field in self.fields if field.kind is Kind.IN}
        for name, signal in inputs.items():
            if name not in known:
                raise AttributeError(f"block {self.NAME} has no input {name!r}")
            setattr(self, name, signal)

    def signal(self, name: str) -> Wire:
        """The wire or register of the field called `name`."""
        signal: Wire = getattr(self, name)
        return signal

    def mask(self, name: str) -> int:
        """All bits of the field called `name`, to cut a sum or an address to its width."""
        (width,) = (field.width for field in self.fields if field.name == name)
        return (1 << width) - 1

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
