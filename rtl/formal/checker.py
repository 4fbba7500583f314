"""A checker: a module beside a block's logic that watches its signals and says what has to hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from amaranth import Module, ResetSignal, Shape, Signal, Value
from amaranth.hdl import Assert, Assume, Cover
from amaranth.lib.wiring import In, Out, Signature

from eie import schema
from eie.config import ArchConfig
from eie.rtl.block import Declared, shape_of
from eie.schema import Field


@dataclass(frozen=True)
class Watched:
    """What a checker sees besides ports and registers: an expression of the block's Verilog, and its shape.

    The expression may name the checker's own outputs, so that it can look into a memory at an address of its choice.
    """

    expression: str
    shape: Shape


class Checker(Declared):
    """Watches a block: every port and register of it is an input, by the name that `eie.schema` declares.

    Parameters
    ----------
    cfg : sizes of the accelerator.

    Members
    -------
    Inputs are the block's fields, `watched` and `free`; outputs are `chosen`. All are internal to the block's module.
    """

    block: ClassVar[str]

    def __init__(self, cfg: ArchConfig) -> None:
        self.cfg = cfg
        members = {name: In(shape) for name, shape in self.inputs(cfg).items()}
        super().__init__(Signature({**members, **{n: Out(shape) for n, shape in self.chosen(cfg).items()}}))

    @classmethod
    def inputs(cls, cfg: ArchConfig) -> dict[str, Shape]:
        """Every input by name: fields of the block, what else is watched, and free values."""
        fields = {field.name: shape_of(field) for field in cls.fields(cfg)}
        more = {name: watched.shape for name, watched in cls.watched(cfg).items()}
        return {**fields, **more, **cls.free(cfg), **cls.constant(cfg)}

    @classmethod
    def fields(cls, cfg: ArchConfig) -> tuple[Field, ...]:
        """Ports and registers of the block."""
        return schema.fields(cls.block, cfg)

    @classmethod
    def watched(cls, cfg: ArchConfig) -> Mapping[str, Watched]:
        """What is watched besides the block's fields."""
        return {}

    @classmethod
    def free(cls, cfg: ArchConfig) -> Mapping[str, Shape]:
        """Inputs that have any value in any cycle."""
        return {}

    @classmethod
    def constant(cls, cfg: ArchConfig) -> Mapping[str, Shape]:
        """Inputs that have any value, the same in every cycle."""
        return {}

    @classmethod
    def chosen(cls, cfg: ArchConfig) -> Mapping[str, Shape]:
        """Outputs, for expressions of `watched`."""
        return {}

    @classmethod
    def renamed(cls, cfg: ArchConfig) -> Mapping[str, str]:
        """Fields of the block that its Verilog has under another name, because they are the same signal."""
        return {}

    def module(self) -> Module:
        """A module to fill in. It assumes that the first cycle is one of reset; nothing is stated before its end."""
        m = Module()
        self._begun = Signal(reset_less=True, name="has_begun")
        m.d.sync += self._begun.eq(1)
        self.assume(m, "reset_first", self._begun | ResetSignal())
        return m

    def prove(self, m: Module, name: str, holds: Value) -> None:
        """State that something holds in every cycle after the first."""
        holds = self._named(m, f"prove_{name}", ~self._begun | holds)
        m.d.comb += Assert(holds)  # type: ignore[call-arg]  # the stubs want a message

    def assume(self, m: Module, name: str, holds: Value) -> None:
        """Take for granted that something holds: the checker of who drives it proves it."""
        m.d.comb += Assume(self._named(m, f"assume_{name}", holds))  # type: ignore[call-arg]

    def reach(self, m: Module, name: str, happens: Value) -> None:
        """State that something can happen."""
        cover = self._named(m, f"reach_{name}", self._begun & ~ResetSignal() & happens)
        m.d.comb += Cover(cover)  # type: ignore[call-arg]

    def past(self, m: Module, value: Value, name: str) -> Signal:
        """What `value` was in the cycle before; 0 after reset."""
        register = Signal(value.shape(), name=f"past_{name}")
        m.d.sync += register.eq(value)
        return register

    def _named(self, m: Module, name: str, value: Value) -> Signal:
        signal = Signal(value.shape(), name=name)
        m.d.comb += signal.eq(value)
        return signal
