"""What drives and what reads each net of a Verilog design: an analysis of pyverilog's syntax tree.

It knows the Verilog that `eie.rtl.verilog` writes: one clock, plain nets and memories, named port connections.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache

from pyverilog.vparser import ast
from pyverilog.vparser.parser import VerilogParser

# What is for simulation is no part of the netlist, and attributes none of pyverilog's grammar.
_NO_NETLIST = re.compile(r"`ifdef SYNTHESIS(.*?)`else.*?`endif|`ifdef FORMAL.*?`endif|\(\*.*?\*\)", re.DOTALL)


@dataclass(frozen=True)
class Port:
    """Direction ("input" or "output") and width in bits of a port."""

    direction: str
    width: int


@dataclass(frozen=True)
class Placed:
    """An instance: its module and its parameters."""

    module: str
    parameters: Mapping[str, int | str]


@dataclass
class Net:
    """A net or memory: width in bits (a memory counts as one bit), and who drives and whether somebody reads a bit."""

    width: int
    memory_width: int = 0
    drivers: list[tuple[str, int]] = field(default_factory=list)
    read: int = 0

    @property
    def all(self) -> int:
        """Mask of all bits."""
        return (1 << self.width) - 1


@dataclass
class Module:
    """One module: ports, nets, instances by name, and what is wrong with it.

    `registers` are the nets and memories that an always block drives, `copies` the nets that only repeat another one.
    """

    name: str
    ports: dict[str, Port]
    nets: dict[str, Net] = field(default_factory=dict)
    instances: dict[str, Placed] = field(default_factory=dict)
    registers: set[str] = field(default_factory=set)
    copies: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def analyse(text: str) -> dict[str, Module]:
    """Modules of a Verilog text, by name.

    Problems of a module are undriven bits that are read, bits with several drivers, and instances whose ports are
    missing, unknown or connected to a signal of another width.
    """
    source = _parser().parse(_NO_NETLIST.sub(lambda found: found[1] or "", text))
    definitions = {found.name: found for found in source.description.definitions}
    return {name: _Analysis(definition, definitions).run() for name, definition in definitions.items()}


@cache
def _parser() -> VerilogParser:
    with tempfile.TemporaryDirectory() as tables:  # of the parser generator
        return VerilogParser(outputdir=tables, debug=False)


def _parameters(definition: ast.ModuleDef) -> dict[str, int | str]:
    values: dict[str, int | str] = {}
    for declaration in definition.paramlist.params:
        for parameter in declaration.list:
            values[parameter.name] = _constant(parameter.value.var, values)
    return values


def _ports(definition: ast.ModuleDef, parameters: Mapping[str, int | str]) -> dict[str, Port]:
    ports = {}
    for item in _declared(definition):
        if isinstance(item, ast.Input | ast.Output):
            direction = "input" if isinstance(item, ast.Input) else "output"
            ports[item.name] = Port(direction, _width(item, parameters))
    return ports


def _declared(definition: ast.ModuleDef) -> Iterator[ast.Node]:
    for port in definition.portlist.ports:
        if isinstance(port, ast.Ioport):
            yield port.first
            if port.second is not None:
                yield port.second
    for item in definition.items:
        if isinstance(item, ast.Decl):
            yield from item.list


def _width(item: ast.Node, parameters: Mapping[str, int | str]) -> int:
    if item.width is None:
        return 1
    return _integer(item.width.msb, parameters) - _integer(item.width.lsb, parameters) + 1


def _constant(node: ast.Node, parameters: Mapping[str, int | str]) -> int | str:
    if isinstance(node, ast.StringConst):
        return node.value
    if isinstance(node, ast.IntConst):
        size, _, digits = node.value.rpartition("'")
        return int(digits[1:], {"h": 16, "d": 10, "b": 2, "o": 8}[digits[0]]) if size else int(digits)
    if isinstance(node, ast.Identifier):
        return parameters[node.name]
    if isinstance(node, ast.Plus | ast.Minus):
        sign = 1 if isinstance(node, ast.Plus) else -1
        return _integer(node.left, parameters) + sign * _integer(node.right, parameters)
    raise NotImplementedError(f"no constant: {type(node).__name__}")


def _integer(node: ast.Node, parameters: Mapping[str, int | str]) -> int:
    value = _constant(node, parameters)
    assert isinstance(value, int)
    return value


class _Analysis:
    def __init__(self, definition: ast.ModuleDef, definitions: Mapping[str, ast.ModuleDef]) -> None:
        self.definition = definition
        self.definitions = definitions
        self.parameters = _parameters(definition)
        self.module = Module(definition.name, _ports(definition, self.parameters))
        self.nets = self.module.nets

    def run(self) -> Module:
        for item in _declared(self.definition):
            if isinstance(item, ast.Wire | ast.Reg | ast.Input | ast.Output):
                memory = getattr(item, "dimensions", None) is not None
                width = _width(item, self.parameters)
                self.nets[item.name] = Net(1, memory_width=width) if memory else Net(width)
        for name, port in self.module.ports.items():
            if port.direction == "input":
                self.nets[name].drivers.append(("the input port", self.nets[name].all))
            else:
                self.nets[name].read = self.nets[name].all
        for item in self.definition.items:
            self._item(item)
        self._judge()
        return self.module

    # ---- the module's items --------------------------------------------------------------------------------

    def _item(self, item: ast.Node) -> None:
        if isinstance(item, ast.Decl):
            self._declaration(item)
        elif isinstance(item, ast.Assign):
            self._assign(item, "an assignment")
        elif isinstance(item, ast.Always):
            self._always(item)
        elif isinstance(item, ast.InstanceList):
            for instance in item.instances:
                self._instance(instance)
        elif not isinstance(item, ast.Initial):
            raise NotImplementedError(f"{self.module.name}: no analysis for {type(item).__name__}")

    def _declaration(self, declaration: ast.Decl) -> None:
        registers = {item.name for item in declaration.list if isinstance(item, ast.Reg)}
        for item in declaration.list:
            # What follows a register's declaration is its initial value, and no driver.
            if isinstance(item, ast.Assign) and item.left.var.name not in registers:
                self._assign(item, "its declaration")

    def _assign(self, item: ast.Node, what: str) -> None:
        self._read(item.right.var)
        for net, mask in self._targets(item.left.var):
            self._drive(net, mask, what)
            if isinstance(item.right.var, ast.Identifier):
                self.module.copies[net] = item.right.var.name

    def _always(self, block: ast.Always) -> None:
        driven: dict[str, int] = {}
        for sensitive in block.sens_list.list:
            if sensitive.sig is not None:
                self._read(sensitive.sig)
        self._statement(block.statement, driven)
        self.module.registers |= driven.keys()
        for net, mask in driven.items():
            self._drive(net, mask, f"the always block of line {block.lineno}")

    def _statement(self, node: ast.Node, driven: dict[str, int]) -> None:
        if isinstance(node, ast.Substitution):
            self._read(node.right.var)
            for net, mask in self._targets(node.left.var):
                driven[net] = driven.get(net, 0) | mask
        elif isinstance(node, ast.IfStatement | ast.Block):
            if isinstance(node, ast.IfStatement):
                self._read(node.cond)
            for child in node.children():
                if isinstance(child, ast.Substitution | ast.IfStatement | ast.Block):
                    self._statement(child, driven)
        else:
            raise NotImplementedError(f"{self.module.name}: no analysis for {type(node).__name__}")

    def _instance(self, instance: ast.Instance) -> None:
        definition = self.definitions.get(instance.module)
        if definition is None:
            self._problem(f"instance {instance.name}: no module {instance.module}")
            return
        parameters = _parameters(definition) | {
            given.paramname: _constant(given.argname, self.parameters) for given in instance.parameterlist
        }
        self.module.instances[instance.name] = Placed(instance.module, parameters)
        ports = _ports(definition, parameters)
        connected = {given.portname: given.argname for given in instance.portlist}
        for name in sorted(ports.keys() ^ connected.keys()):
            missing = "is not connected" if name in ports else f"does not belong to {instance.module}"
            self._problem(f"instance {instance.name}: port {name} {missing}")
        for name in ports.keys() & connected.keys():
            self._connection(f"{instance.name}.{name}", ports[name], connected[name])

    def _connection(self, what: str, port: Port, signal: ast.Node) -> None:
        width = self._width_of(signal)
        if width != port.width:
            self._problem(f"{what} has {port.width} bits and is connected to {width}")
        if port.direction == "input":
            self._read(signal)
        else:
            for net, mask in self._targets(signal):
                self._drive(net, mask, what)

    # ---- expressions ---------------------------------------------------------------------------------------

    def _bits(self, node: ast.Node) -> tuple[str, int]:
        """Net and mask of the bits that a reference names; of all bits, where the index is a signal."""
        if isinstance(node, ast.Identifier):
            return node.name, self.nets[node.name].all
        if isinstance(node, ast.Partselect):
            low, high = _integer(node.lsb, self.parameters), _integer(node.msb, self.parameters)
            name, _ = self._bits(node.var)
            return name, ((1 << (high - low + 1)) - 1) << low
        name, every = self._bits(node.var)
        if isinstance(node.ptr, ast.IntConst) and not self.nets[name].memory_width:
            return name, 1 << _integer(node.ptr, self.parameters)
        return name, every

    def _targets(self, node: ast.Node) -> Iterator[tuple[str, int]]:
        if isinstance(node, ast.Concat):
            for part in node.list:
                yield from self._targets(part)
            return
        if isinstance(node, ast.Pointer):
            self._read(node.ptr)
        yield self._bits(node)

    def _read(self, node: ast.Node) -> None:
        if isinstance(node, ast.Identifier) and node.name in self.parameters:
            return
        if isinstance(node, ast.Partselect) and node.var.name in self.parameters:
            return
        if isinstance(node, ast.Identifier | ast.Pointer | ast.Partselect):
            name, mask = self._bits(node)
            self.nets[name].read |= mask
            if isinstance(node, ast.Pointer):
                self._read(node.ptr)
            return
        for child in node.children():
            self._read(child)

    def _width_of(self, node: ast.Node) -> int | None:
        if isinstance(node, ast.Identifier):
            return self.nets[node.name].width
        if isinstance(node, ast.Partselect):
            return _integer(node.msb, self.parameters) - _integer(node.lsb, self.parameters) + 1
        if isinstance(node, ast.Pointer):
            return 1
        if isinstance(node, ast.IntConst):
            size, _, _ = node.value.rpartition("'")
            return int(size) if size else None
        if isinstance(node, ast.Concat):
            return _total(self._width_of(part) for part in node.list)
        if isinstance(node, ast.Repeat):
            width = self._width_of(node.value)
            return None if width is None else width * _integer(node.times, self.parameters)
        return None

    # ---- verdict -------------------------------------------------------------------------------------------

    def _drive(self, net: str, mask: int, what: str) -> None:
        self.nets[net].drivers.append((what, mask))

    def _judge(self) -> None:
        for name, net in self.nets.items():
            driven = 0
            for what, mask in net.drivers:
                if driven & mask:
                    others = " and ".join(other for other, _ in net.drivers)
                    self._problem(f"{_name(name, driven & mask)} is driven by {others}")
                if mask & ~net.all:
                    self._problem(f"{what} drives {_name(name, mask & ~net.all)}, which does not exist")
                driven |= mask
            if net.read & ~net.all:
                self._problem(f"{_name(name, net.read & ~net.all)} is read and does not exist")
            elif net.read & ~driven and not net.memory_width:
                self._problem(f"{_name(name, net.read & ~driven)} is read and has no driver")

    def _problem(self, text: str) -> None:
        self.module.problems.append(f"{self.module.name}: {text}")


def _total(widths: Iterable[int | None]) -> int | None:
    total = 0
    for width in widths:
        if width is None:
            return None
        total += width
    return total


def _name(net: str, mask: int) -> str:
    """Net with the lowest and highest bit of a mask."""
    low, high = (mask & -mask).bit_length() - 1, mask.bit_length() - 1
    return f"{net}[{high}:{low}]" if high > low else f"{net}[{low}]"
