"""What one block promises to another: assumed by the checker of the one, proved by that of the other."""

from __future__ import annotations

from amaranth import Module, Mux, Signal, Value

from eie.config import ArchConfig


def bus_stages(cfg: ArchConfig) -> int:
    """Cycles from a broadcast to the arrival of its column at the PEs."""
    return cfg.bus_registers + 2 * cfg.index_free


def later(m: Module, value: Value, stages: int, name: str) -> list[Signal]:
    """A one-bit value one, two, ... `stages` cycles later; 0 after reset."""
    registers = [Signal(name=f"{name}_{stage + 1}_ago") for stage in range(stages)]
    for register, source in zip(registers, [value, *registers], strict=False):
        m.d.sync += register.eq(source)
    return registers


def waits(m: Module, pop: Value, start: Value) -> Signal:
    """Whether a column that was popped waits to start: PtrRead's `valid`."""
    waiting = Signal(name="waiting")
    m.d.sync += waiting.eq(Mux(pop, 1, Mux(start, 0, waiting)))
    return waiting


def pops_in_turn(pop: Value, head_valid: Value, waiting: Value, start: Value) -> Value:
    """Law of PtrRead: it takes a column that is there, when the one before it starts or has started."""
    return ~pop | (head_valid & (~waiting | start))
