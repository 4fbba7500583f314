"""What every block shares: ports and registers by the names of `eie.schema`, the probe output, and arithmetic."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, ClassVar

from amaranth import (
    Cat,
    ClockSignal,
    Const,
    Instance,
    Module,
    Mux,
    ResetSignal,
    Shape,
    Signal,
    Value,
    signed,
    unsigned,
)
from amaranth.lib import wiring
from amaranth.lib.memory import Memory, ReadPort, WritePort
from amaranth.lib.wiring import In, Out, Signature

from eie import schema
from eie.config import ArchConfig
from eie.schema import Field, Kind


def shape_of(field: Field) -> Shape:
    """Amaranth shape of a declared field."""
    return signed(field.width) if field.signed else unsigned(field.width)


def module_name(block: str) -> str:
    """Verilog module of a block."""
    return f"eie_{block}"


def has_clock(block: str, cfg: ArchConfig) -> bool:
    """Whether a block has registers: the leaf of a pair of PEs has none, an index-free PtrRead its counters alone."""
    if block == schema.RunRows.NAME and cfg.index_free:
        return bool(cfg.counters)
    return block != schema.LeafPair.NAME


def probe_layout(block: str, cfg: ArchConfig) -> tuple[schema.ProbeField, ...]:
    """What a block's probe output holds: for a PE, what those of its blocks hold."""
    return schema.pe_probe(cfg) if block == "pe" else schema.block_probe(block, cfg)


def signature_of(fields: Iterable[Field]) -> Signature:
    """Ports as they are declared in `eie.schema` or `eie.axi`."""
    return Signature(
        {f.name: (In if f.kind is Kind.IN else Out)(shape_of(f)) for f in fields if f.kind.is_port}
    )


def signature(block: str, cfg: ArchConfig, *, probe: bool = False) -> Signature:
    """Ports of a block, but for clk and rst: those of `eie.schema.fields`, and `probe` if asked for."""
    ports = signature_of(schema.fields(block, cfg))
    if not probe:
        return ports
    return Signature({**ports.members, "probe": Out(schema.probe_width(probe_layout(block, cfg)))})


class Declared(wiring.Component):
    """A component whose ports are declared in `eie`, by the names that they have there.

    Type checkers take each as a signal; a name that is not declared is refused when the component is elaborated.
    """

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Signal:
            """A port or register, by its name."""


class Block(Declared):
    """A component whose ports and registers are those that `eie.schema` declares for `name`.

    Parameters
    ----------
    cfg : sizes of the accelerator.
    probe : add the output `probe`, the block's probed fields side by side.

    Members
    -------
    Each input and output of `eie.schema.fields(name, cfg)`; each internal register is a signal attribute.
    """

    name: ClassVar[str]

    def __init__(self, cfg: ArchConfig, *, probe: bool = False) -> None:
        self.cfg = cfg
        self.probed = probe
        super().__init__(signature(self.name, cfg, probe=probe))
        for field in schema.fields(self.name, cfg):
            if field.kind is Kind.REG:
                setattr(self, field.name, Signal(shape_of(field), name=field.name))

    def module(self) -> Module:
        """A module to fill in, with the probe output connected."""
        m = Module()
        if self.probed:
            places = probe_layout(self.name, self.cfg)
            m.d.comb += self.probe.eq(Cat(getattr(self, place.field.name) for place in places))
        return m

    def counter(self, m: Module, name: str, when: Value) -> None:
        """Let a performance counter be 0 after `clear`, else one more after `when`; always 0 if there are none."""
        if self.cfg.counters:
            count(m, getattr(self, name), self.clear, when)

    def late_counter(self, m: Module, name: str, when: Value) -> None:
        """Like `counter`, for an event that is known late in its cycle: a register holds it until the next one.

        What is shown is the count with it, so that the counter is the same in every cycle.
        """
        if not self.cfg.counters:
            return
        counter: Signal = getattr(self, name)
        counted, event = Signal(len(counter), name=f"{name}_counted"), Signal(name=f"{name}_event")
        m.d.comb += counter.eq(Mux(event, (counted + 1)[: len(counter)], counted))
        with m.If(self.clear):
            m.d.sync += [counted.eq(0), event.eq(0)]
        with m.Else():
            m.d.sync += [counted.eq(counter), event.eq(when)]

    def tally(self, m: Module, name: str, whens: Sequence[Value]) -> None:
        """Like `counter`, for events of which several may happen in a cycle."""
        if len(whens) == 1:
            self.counter(m, name, whens[0])
        elif self.cfg.counters:
            total = Signal(len(whens).bit_length(), name=f"{name}_now")
            m.d.comb += total.eq(sum(whens[1:], start=whens[0]))
            counter: Signal = getattr(self, name)
            # The high bits, one more, do not wait for the number.
            low = counter[: len(total)] + total
            high = counter[len(total) :]
            with m.If(self.clear):
                m.d.sync += counter.eq(0)
            with m.Else():
                m.d.sync += counter.eq(Cat(low[: len(total)], Mux(low[-1], high + 1, high)[: len(high)]))


class Part:
    """A block inside another one: the outputs of its Verilog module, and the instance once the inputs are known.

    Parameters
    ----------
    block : name of the block.
    instance : name of the instance.
    cfg, probe : see `Block`.
    """

    def __init__(self, block: str, instance: str, cfg: ArchConfig, *, probe: bool = False) -> None:
        self.block = block
        self.cfg = cfg
        members = signature(block, cfg, probe=probe).members
        self.inputs = {
            name: Shape.cast(member.shape) for name, member in members.items() if member.flow is In
        }
        self.outputs = {
            name: Signal(member.shape, name=f"{instance}__{name}")
            for name, member in members.items()
            if member.flow is Out
        }

    def __getattr__(self, name: str) -> Signal:
        try:
            return self.__dict__["outputs"][name]
        except KeyError:
            raise AttributeError(name) from None

    def instance(self, inputs: dict[str, Value]) -> Instance:
        """The instance, with a value for every input: extended or cut to the input's width."""
        clock = [("clk", ClockSignal()), ("rst", ResetSignal())] if has_clock(self.block, self.cfg) else []
        return Instance(
            module_name(self.block),
            *(("i", name, signal) for name, signal in clock),
            *(("i", name, resize(inputs[name], shape.width)) for name, shape in self.inputs.items()),
            *(("o", name, signal) for name, signal in self.outputs.items()),
        )


def new_memory(m: Module, name: str, width: int, depth: int) -> Memory:
    """A new memory `m.submodules[name]`: `depth` words, 0 at the start."""
    # A one-word memory would have no address; the second word is never addressed.
    memory: Memory = Memory(shape=unsigned(width), depth=max(2, depth), init=[])
    m.submodules[name] = memory
    return memory


def register_file(m: Module, name: str, width: int, depth: int) -> tuple[WritePort, ReadPort]:
    """Write and asynchronous read port of a new memory, see `new_memory`."""
    memory = new_memory(m, name, width, depth)
    write = memory.write_port()
    read = memory.read_port(domain="comb")
    return write, read


def read_by_lines(m: Module, memory: Memory, addr: Value) -> Value:
    """The word of a memory at `addr`, chosen by one line for each word, 0 beyond the last.

    An address bit of a read port drives a multiplexer for each bit of half of the words, which is slow where words are
    wide; a line drives one gate for each bit of its word.
    """
    words = []
    for number in range(memory.depth):
        port = memory.read_port(domain="comb")
        m.d.comb += port.addr.eq(number)
        words.append(Mux(is_number(addr, number), port.data, 0))
    return any_of(words)


def more_reads(m: Module, name: str) -> ReadPort:
    """A further asynchronous read port of the memory `m.submodules[name]`."""
    memory: Memory = m.submodules[name]
    return memory.read_port(domain="comb")


def more_writes(m: Module, name: str) -> WritePort:
    """A further write port of the memory `m.submodules[name]`; of two writes to a word nobody says which wins."""
    memory: Memory = m.submodules[name]
    return memory.write_port()


def is_number(value: Value, number: int) -> Value:
    """Whether an unsigned value equals a constant."""
    return value == Const(number, len(value)) if number else ~value.any()


def is_next(value: Value, other: Value) -> Value:
    """Whether `other` is `value` + 1, in as many bits; without a carry that goes through all of them.

    Where the bits below agree, the carry into a bit is known from the two bits behind it.
    """
    carry = Cat(Const(1, 1), value & ~other)[: len(value)]
    return (value ^ other) == carry


def is_inside(addr: Value, depth: int) -> Value:
    """Whether a memory of `depth` words has the word `addr`: always, when `addr` cannot name another."""
    return Const(1) if depth >= 1 << len(addr) else addr < Const(depth, len(addr))


def resize(value: Value, width: int) -> Value:
    """`value` extended by its sign or by zeros, or cut, to `width` bits; as signed as it was."""
    is_signed = value.shape().signed
    missing = width - len(value)
    fill = value[-1] if is_signed else Const(0, 1)
    bits = Cat(value, fill.replicate(missing)) if missing > 0 else value[:width]
    return bits.as_signed() if is_signed else bits


def word_of(words: Value, number: Value, width: int) -> Value:
    """Word `number` of several of `width` bits each, side by side; 0 beyond the last."""
    shift = (
        (number * Const(width, width.bit_length()))
        if width & (width - 1)
        else number << width.bit_length() - 1
    )
    return (words >> shift)[:width]


def pick(words: Sequence[Value], number: Value) -> Value:
    """Word `number` of several; whatever beyond the last."""
    if len(words) == 1:
        return words[0]
    even, odd = pick(words[::2], number[1:]), pick(words[1::2], number[1:])
    return Mux(number[0], odd, even)


def any_of(words: Iterable[Value]) -> Value:
    """Bitwise or of several values."""
    return reduce(or_, words)


def shifted(m: Module, value: Value, shift: Value, name: str) -> tuple[Value, Value]:
    """`value >> shift`, and what rounding half up adds to it: the bit behind the last; for a shift of 0..31.

    The addition is left to whoever adds anyway: (value + 2**(shift - 1)) >> shift needs an adder before the shifter.
    """
    width = len(value) + 1
    both = Signal(signed(width), name=name)
    m.d.comb += both.eq((Cat(Const(0, 1), value).as_signed() >> shift)[:width])
    return both[1:].as_signed(), both[0]


def add(a: Value, b: Value, width: int) -> Value:
    """Low `width` bits of a sum; bits, not numbers, are added, so that both operands have that width in Verilog."""
    return (resize(a, width).as_unsigned() + resize(b, width).as_unsigned())[:width]


def same(bits: Value) -> Value:
    """Whether all bits are equal."""
    return bits.all() | ~bits.any()


def left_by(shift: Value, bits: int) -> Value:
    """Which of so many bits a shift to the right leaves."""
    most = (1 << len(shift)) - 1
    return Cat(Const(at) >= shift if at < most else Const(1) for at in range(bits))


def varies(bits: Value, sign: Value, left: Value) -> Value:
    """Whether one of the bits that are left is unlike the sign: so that the shift itself is not waited for."""
    return ((bits ^ sign.replicate(len(bits))) & left).any()


def saturate(value: Value, bits: int) -> tuple[Value, Value]:
    """A signed signal clipped to `bits` bits, and whether it was clipped."""
    above = value[bits - 1 :]  # all of them are the sign, if the value fits
    fits = same(above)
    limit = Cat((~value[-1]).replicate(bits - 1), value[-1])
    return Mux(fits, value[:bits], limit).as_signed(), ~fits


def magnitude(value: Value) -> Value:
    """The magnitude of a signed value, unsigned and as wide: that of the most negative number is there, too."""
    return (Mux(value[-1], ~value, value).as_unsigned() + value[-1])[: len(value)]


def step(pointer: Value, depth: int) -> Value:
    """The place after `pointer` in a ring of `depth`."""
    return Mux(is_number(pointer, depth - 1), Const(0, len(pointer)), (pointer + 1)[: len(pointer)])


def count(m: Module, counter: Signal, clear: Value, when: Value) -> None:
    """Let `counter` be 0 after `clear`, else one more after `when`."""
    with m.If(clear):
        m.d.sync += counter.eq(0)
    with m.Elif(when):
        m.d.sync += counter.eq(counter + 1)
