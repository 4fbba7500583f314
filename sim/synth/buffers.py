"""Buffer trees in a mapped netlist: no net but the clock drives more than a cell can at speed.

ABC buffers what cells of the logic drive; flip-flops, ports and the nets between modules are left to this.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

from eie.errors import MismatchError
from eie.sim.synth.liberty import Cell
from eie.sim.synth.sta import INPUT_SLEW

# pF that a net may have: some twenty inputs of gates.
MOST_PF = 0.2
# What sums of floating-point numbers may be off.
_LITTLE = 1e-9
Bit = int | str


@dataclass(frozen=True)
class Pin:
    """Where a net is read: the cell and its port, the place in the port, and its load in pF."""

    cell: str
    port: str
    place: int
    load: float


def best_buffer(library: Mapping[str, Cell]) -> Cell:
    """The buffer (one input, one output of the same sense) that is fastest at `MOST_PF`.

    Raises
    ------
    MismatchError : the library has none.
    """
    found = []
    for cell in library.values():
        arcs = [arc for arcs in cell.arcs.values() for arc in arcs]
        if len(cell.capacitances) == len(arcs) == 1 and arcs[0].sense == "positive_unate":
            delay = max(table.at(MOST_PF, INPUT_SLEW) for table, _ in arcs[0].tables.values())
            found.append((delay, cell.name, cell))
    if not found:
        raise MismatchError("the library has no buffer, a cell whose one output follows its one input")
    return min(found, key=lambda each: each[:2])[2]


def buffer_nets(
    module: Mapping[str, Any],
    library: Mapping[str, Cell],
    port_loads: Mapping[str, Mapping[str, Sequence[float]]] | None = None,
) -> int:
    """Put trees of buffers at the nets of a module with more than `MOST_PF`; how many buffers.

    port_loads : pF of each bit of the ports of modules inside: {module: {port: loads}}. A net that clocks a flip-flop
    is left alone.
    """
    port_loads = port_loads or {}
    readers: dict[Bit, list[Pin]] = defaultdict(list)
    clocks: set[Bit] = set()
    for name, cell in sorted(module["cells"].items()):
        known = library.get(cell["type"])
        clocked = (
            {arc.pin for arcs in known.arcs.values() for arc in arcs if arc.clocked} if known else {"clk"}
        )
        for port, bits in cell["connections"].items():
            for place, bit in enumerate(bits):
                if isinstance(bit, str):
                    continue
                if port in clocked:
                    clocks.add(bit)
                elif known is not None and port in known.capacitances:
                    readers[bit].append(Pin(name, port, place, known.capacitances[port]))
                elif known is None and port in port_loads.get(cell["type"], {}):
                    load = port_loads[cell["type"]][port][place]
                    readers[bit].append(Pin(name, port, place, load))
    buffer = best_buffer(library)
    tree = _Tree(module["cells"], buffer, _free_bit(module))
    for bit in [bit for bit in readers if bit not in clocks]:
        tree.drive(bit, readers[bit])
    return tree.buffers


def _free_bit(module: Mapping[str, Any]) -> int:
    used = [
        bit
        for cell in module["cells"].values()
        for bits in cell["connections"].values()
        for bit in bits
        if isinstance(bit, int)
    ]
    ports = [bit for port in module["ports"].values() for bit in port["bits"] if isinstance(bit, int)]
    return max([1, *used, *ports]) + 1


class _Tree:
    """Adds buffers to a module's cells."""

    def __init__(self, cells: MutableMapping[str, Any], buffer: Cell, free: int) -> None:
        self.cells, self.buffer, self.free, self.buffers = cells, buffer, free, 0
        ((self.input, self.load),) = buffer.capacitances.items()
        (self.output,) = buffer.arcs

    def drive(self, bit: Bit, pins: list[Pin]) -> None:
        """Put as many levels of buffers between a net and those who read it as it takes."""
        while len(pins) > 1 and sum(pin.load for pin in pins) > MOST_PF + _LITTLE:
            # As many groups as are needed, filled evenly.
            groups: list[list[Pin]] = [[]]
            total = sum(pin.load for pin in pins)
            share = total / math.ceil(total / MOST_PF - _LITTLE)
            filled = 0.0
            for pin in pins:
                if groups[-1] and filled + pin.load / 2 > share * len(groups):
                    groups.append([])
                groups[-1].append(pin)
                filled += pin.load
            pins = [self._buffer(bit, group) for group in groups]

    def _buffer(self, bit: Bit, group: list[Pin]) -> Pin:
        name, net = f"eie_buffer_{self.buffers}", self.free
        self.buffers, self.free = self.buffers + 1, self.free + 1
        directions = {self.input: "input", self.output: "output"}
        self.cells[name] = {
            "hide_name": 0,
            "type": self.buffer.name,
            "parameters": {},
            "attributes": {},
            "port_directions": directions,
            "connections": {self.input: [bit], self.output: [net]},
        }
        for pin in group:
            self.cells[pin.cell]["connections"][pin.port][pin.place] = net
        return Pin(name, self.input, 0, self.load)
