"""What the parts of the host interface share: ports from their declaration, named signals, a queue of registers."""

from __future__ import annotations

from collections.abc import Iterable

from amaranth import Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib.wiring import In, Out, Signature

from eie.schema import Field, Kind


def signature_of(fields: Iterable[Field]) -> Signature:
    """Ports as declared in `eie.axi`."""
    return Signature(
        {f.name: (In if f.kind is Kind.IN else Out)(unsigned(f.width)) for f in fields if f.kind.is_port}
    )


def register_queue(
    m: Module, name: str, depth: int, word: Value, push: Value, pop: Value, clear: Value | None = None
) -> tuple[list[Signal], Signal]:
    """A queue of registers; its places' valid bits and the word in the first place, all of them registers.

    A word may be pushed when the last place is free (valid[-1] is 0), or popped in the same cycle.
    """
    valid = [Signal(name=f"{name}_valid{i}") for i in range(depth)]
    kept = [Signal(name=f"{name}_kept{i}") for i in range(depth)]  # taken by a word that was in the queue
    words = [Signal(len(word), name=f"{name}_word{i}") for i in range(depth)]
    for i in range(depth):
        last = i + 1 == depth
        m.d.comb += kept[i].eq(Mux(pop, Const(0) if last else valid[i + 1], valid[i]))
        enter = push & ~kept[i] & (kept[i - 1] if i else Const(1))
        m.d.sync += valid[i].eq(kept[i] | enter if clear is None else (kept[i] | enter) & ~clear)
        with m.If(enter):
            m.d.sync += words[i].eq(word)
        if not last:
            with m.Elif(pop):
                m.d.sync += words[i].eq(words[i + 1])
    return valid, words[0]


def signals(width: int, *names: str) -> list[Signal]:
    """Signals of one width."""
    return [Signal(width, name=name) for name in names]
