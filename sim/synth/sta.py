"""Static timing of a mapped netlist: the longest path from a register or input to a register or output.

Cells' delays and slews come from the library's tables, for the load of the pins that a net drives; wires are free, and
inputs arrive at time 0. It is what logic alone takes: a floor plan, wires and a clock tree would add to it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Any

from eie.errors import MismatchError
from eie.sim.synth.liberty import Arc, Cell

# Slew at the inputs and at the clock pins, in ns: about that of a gate that drives four like itself in 0.18 um.
INPUT_SLEW = 0.1
_EDGES = ("rise", "fall")
_CAUSES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "positive_unate": {"rise": ("rise",), "fall": ("fall",)},
    "negative_unate": {"rise": ("fall",), "fall": ("rise",)},
    "non_unate": {"rise": _EDGES, "fall": _EDGES},
}

Net = int
Place = tuple[Net, str]


@dataclass(frozen=True)
class Path:
    """The longest path: ns with clock-to-output and setup, cells on it, and where it begins and ends."""

    ns: float
    cells: int
    begin: str
    end: str


class _Netlist:
    """One module of Yosys' JSON: who drives each net, who reads it, what it is called."""

    def __init__(self, module: Mapping[str, Any], library: Mapping[str, Cell]) -> None:
        self.cells = {
            name: (library[cell["type"]], {pin: bits[0] for pin, bits in cell["connections"].items() if bits})
            for name, cell in module["cells"].items()
            if cell["type"] in library
        }
        # Ports and registers have names; of several names for a bit the shortest says most.
        self.names: dict[Net, str] = {}
        for name, net in sorted(module["netnames"].items(), key=lambda item: -len(item[0])):
            if not net.get("hide_name"):
                for i, bit in enumerate(net["bits"]):
                    self.names[bit] = name if len(net["bits"]) == 1 else f"{name}[{i}]"
        ports = module["ports"].values()
        self.inputs = {bit for port in ports if port["direction"] == "input" for bit in port["bits"]}
        self.outputs = {bit for port in ports if port["direction"] == "output" for bit in port["bits"]}
        self.loads: dict[Net, float] = defaultdict(float)
        self.readers: dict[Net, list[str]] = defaultdict(list)
        for name, (cell, pins) in self.cells.items():
            for pin, net in pins.items():
                if pin in cell.capacitances:
                    self.loads[net] += cell.capacitances[pin]
                    self.readers[net].append(name)

    def name(self, net: Net) -> str:
        return self.names.get(net, f"net {net}")

    def order(self) -> list[str]:
        """Combinational cells, each behind those that drive it.

        Raises
        ------
        MismatchError : there is a loop.
        """
        comb = {name: cell for name, (cell, _) in self.cells.items() if not _is_register(cell)}
        behind = TopologicalSorter[str](dict.fromkeys(comb, ()))
        for name, cell in comb.items():
            pins = self.cells[name][1]
            for net in (pins[out] for out in cell.arcs if out in pins):
                for reader in self.readers.get(net, ()):
                    if reader in comb:
                        behind.add(reader, name)
        try:
            return list(behind.static_order())
        except CycleError as error:
            loop = error.args[1]
            raise MismatchError(f"the netlist has a loop of {len(loop) - 1} cells or fewer") from None


def longest_path(module: Mapping[str, Any], library: Mapping[str, Cell]) -> Path | None:
    """The longest path of one module of a mapped netlist (as Yosys' write_json gives it); None without any cell.

    Cells that the library does not have (black boxes) end and begin nothing: their pins are left out.

    Raises
    ------
    MismatchError : there is a combinational loop.
    """
    netlist = _Netlist(module, library)
    times: dict[Place, float] = {}
    slews: dict[Place, float] = {}
    came_from: dict[Place, Place | None] = {}

    def arrive(place: Place, time: float, slew: float, origin: Place | None) -> None:
        if time > times.get(place, -1.0):
            times[place], slews[place], came_from[place] = time, slew, origin

    def through(arc: Arc, net_in: Net, net_out: Net) -> None:
        load = netlist.loads[net_out]
        for edge in _EDGES:
            delay, slew = arc.tables[edge]
            for cause in _CAUSES[arc.sense][edge]:
                origin = (net_in, cause)
                if origin in times:
                    at = slews[origin]
                    arrive((net_out, edge), times[origin] + delay.at(load, at), slew.at(load, at), origin)

    for net in netlist.inputs:
        for edge in _EDGES:
            arrive((net, edge), 0.0, INPUT_SLEW, None)
    registers = [name for name, (cell, _) in netlist.cells.items() if _is_register(cell)]
    for name in registers:
        cell, pins = netlist.cells[name]
        for out, arcs in cell.arcs.items():
            if out in pins:
                for edge in _EDGES:
                    delay, slew = arcs[0].tables[edge]
                    load = netlist.loads[pins[out]]
                    arrive((pins[out], edge), delay.at(load, INPUT_SLEW), slew.at(load, INPUT_SLEW), None)
    for name in netlist.order():
        cell, pins = netlist.cells[name]
        for out, arcs in cell.arcs.items():
            for arc in arcs:
                if out in pins and arc.pin in pins:
                    through(arc, pins[arc.pin], pins[out])
    ends = {
        (net, edge): times[net, edge] for net in netlist.outputs for edge in _EDGES if (net, edge) in times
    }
    for name in registers:
        cell, pins = netlist.cells[name]
        for pin, tables in cell.setup.items():
            for edge in _EDGES:
                place = (pins[pin], edge)
                if place in times:
                    # A constraint's table is over the clock's slew and the data's.
                    setup = max(table.at(INPUT_SLEW, slews[place]) for table in tables)
                    ends[place] = max(ends.get(place, 0.0), times[place] + setup)
    if not ends:
        return None
    end = max(ends, key=lambda place: ends[place])
    begin, cells = end, 0
    while (origin := came_from[begin]) is not None:
        begin, cells = origin, cells + 1
    return Path(ends[end], cells, netlist.name(begin[0]), _end_name(netlist, end[0]))


def _is_register(cell: Cell) -> bool:
    return any(arc.clocked for arcs in cell.arcs.values() for arc in arcs)


def _end_name(netlist: _Netlist, net: Net) -> str:
    """The output, or the register whose input this net is."""
    if net in netlist.outputs:
        return netlist.name(net)
    for name in netlist.readers[net]:
        cell, pins = netlist.cells[name]
        if _is_register(cell):
            return netlist.name(next(pins[out] for out in cell.arcs if out in pins))
    return netlist.name(net)
