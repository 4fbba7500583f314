"""Static timing of a mapped netlist: the longest path from a register or input to a register or output.

Cells' delays and slews come from the library's tables, for the load of the pins that a net drives; wires are free, and
inputs arrive at time 0. It is what logic alone takes: a floor plan, wires and a clock tree would add to it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
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

Net = int | str
Place = tuple[Net, str]


@dataclass(frozen=True)
class Path:
    """The longest path: ns with clock-to-output and setup, cells on it, and where it begins and ends."""

    ns: float
    cells: int
    begin: str
    end: str


@dataclass(frozen=True, eq=False)
class Netlist:
    """What timing needs of a mapped design: cells with their nets by pin, ports, and names of nets.

    loads : pF at each net. aliases : nets that see another net's edges without delay (net -> those it comes from):
    ports of modules that are linked. late : when an input's edges come, in ns, where it is not at 0.
    """

    cells: Mapping[str, tuple[Cell, Mapping[str, Net]]]
    inputs: frozenset[Net]
    outputs: frozenset[Net]
    loads: Mapping[Net, float]
    names: Mapping[Net, str]
    aliases: Mapping[Net, Sequence[Net]] = field(default_factory=dict)
    late: Mapping[Net, float] = field(default_factory=dict)


def netlist_of(module: Mapping[str, Any], library: Mapping[str, Cell]) -> Netlist:
    """One module of Yosys' JSON; cells that the library does not have (black boxes) are left out."""
    cells = {
        name: (library[cell["type"]], {pin: bits[0] for pin, bits in cell["connections"].items() if bits})
        for name, cell in module["cells"].items()
        if cell["type"] in library
    }
    ports = module["ports"].values()
    return Netlist(
        cells,
        frozenset(bit for port in ports if port["direction"] == "input" for bit in port["bits"]),
        frozenset(bit for port in ports if port["direction"] == "output" for bit in port["bits"]),
        loads_of(cells),
        net_names(module),
    )


def net_names(module: Mapping[str, Any]) -> dict[Net, str]:
    """Names of ports and registers; of several names for a bit the shortest says most."""
    names: dict[Net, str] = {}
    for name, net in sorted(module["netnames"].items(), key=lambda item: -len(item[0])):
        if not net.get("hide_name"):
            for i, bit in enumerate(net["bits"]):
                names[bit] = name if len(net["bits"]) == 1 else f"{name}[{i}]"
    return names


def loads_of(cells: Mapping[str, tuple[Cell, Mapping[str, Net]]]) -> dict[Net, float]:
    """pF of the pins at each net."""
    loads: dict[Net, float] = defaultdict(float)
    for cell, pins in cells.values():
        for pin, net in pins.items():
            loads[net] += cell.capacitances.get(pin, 0.0)
    return loads


class Timing:
    """When each net's edges come at the latest, and from where.

    Members: times, slews (ns of each edge of a net, from the clock edge), came_from, ends (ns of each edge at an output
    or a register's input, setup included).

    Raises
    ------
    MismatchError : there is a combinational loop.
    """

    def __init__(self, netlist: Netlist) -> None:
        self.netlist = netlist
        self.times: dict[Place, float] = {}
        self.slews: dict[Place, float] = {}
        self.came_from: dict[Place, Place | None] = {}
        self.registers = [name for name, (cell, _) in netlist.cells.items() if is_register(cell)]
        self._begin()
        for kind, name in self._order():
            if kind == "net":
                for origin in netlist.aliases[name]:
                    for edge in _EDGES:
                        if (origin, edge) in self.times:
                            place = origin, edge
                            self._arrive((name, edge), self.times[place], self.slews[place], place)
            else:
                self._through(*netlist.cells[name])
        self.ends = self._ends()

    def _arrive(self, place: Place, time: float, slew: float, origin: Place | None) -> None:
        if time > self.times.get(place, -1.0):
            self.times[place], self.slews[place], self.came_from[place] = time, slew, origin

    def _begin(self) -> None:
        """Inputs, and the clock-to-output of registers."""
        netlist = self.netlist
        for net in netlist.inputs:
            for edge in _EDGES:
                self._arrive((net, edge), netlist.late.get(net, 0.0), INPUT_SLEW, None)
        for name in self.registers:
            cell, pins = netlist.cells[name]
            for out, arcs in cell.arcs.items():
                if out in pins:
                    load = netlist.loads[pins[out]]
                    for edge in _EDGES:
                        delay, slew = arcs[0].tables[edge]
                        self._arrive(
                            (pins[out], edge), delay.at(load, INPUT_SLEW), slew.at(load, INPUT_SLEW), None
                        )

    def _order(self) -> list[tuple[str, Any]]:
        """Combinational cells and aliases, each behind those that drive it."""
        netlist = self.netlist
        drivers: dict[Net, list[tuple[str, Any]]] = defaultdict(list)
        comb = {name: each for name, each in netlist.cells.items() if not is_register(each[0])}
        for name, (cell, pins) in comb.items():
            for out in cell.arcs:
                if out in pins:
                    drivers[pins[out]].append(("cell", name))
        for net in netlist.aliases:
            drivers[net].append(("net", net))
        behind = TopologicalSorter[tuple[str, Any]]()
        for name, (cell, pins) in comb.items():
            before = {driver for pin in cell.capacitances if pin in pins for driver in drivers[pins[pin]]}
            behind.add(("cell", name), *before)
        for net, origins in netlist.aliases.items():
            behind.add(("net", net), *(driver for origin in origins for driver in drivers[origin]))
        try:
            return list(behind.static_order())
        except CycleError as error:
            loop = error.args[1]
            raise MismatchError(f"the netlist has a loop of {len(loop) - 1} cells or fewer") from None

    def _through(self, cell: Cell, pins: Mapping[str, Net]) -> None:
        for out, arcs in cell.arcs.items():
            for arc in arcs:
                if out in pins and arc.pin in pins:
                    self._arc(arc, pins[arc.pin], pins[out])

    def _arc(self, arc: Arc, net_in: Net, net_out: Net) -> None:
        load = self.netlist.loads[net_out]
        for edge in _EDGES:
            delay, slew = arc.tables[edge]
            for cause in _CAUSES[arc.sense][edge]:
                origin = (net_in, cause)
                if origin in self.times:
                    at = self.slews[origin]
                    time = self.times[origin] + delay.at(load, at)
                    self._arrive((net_out, edge), time, slew.at(load, at), origin)

    def _ends(self) -> dict[Place, float]:
        ends = {
            (net, edge): self.times[net, edge]
            for net in self.netlist.outputs
            for edge in _EDGES
            if (net, edge) in self.times
        }
        for name in self.registers:
            cell, pins = self.netlist.cells[name]
            for pin, tables in cell.setup.items():
                for edge in _EDGES:
                    place = (pins[pin], edge)
                    if place in self.times:
                        # A constraint's table is over the clock's slew and the data's.
                        setup = max(table.at(INPUT_SLEW, self.slews[place]) for table in tables)
                        ends[place] = max(ends.get(place, 0.0), self.times[place] + setup)
        return ends

    def way(self, end: Place) -> list[Place]:
        """The edges of the longest path to `end`, from its beginning on."""
        way = [end]
        while (origin := self.came_from[way[-1]]) is not None:
            way.append(origin)
        return way[::-1]

    def name(self, net: Net) -> str:
        """A net's name."""
        return self.netlist.names.get(net, f"net {net}")

    @cached_property
    def end_names(self) -> dict[Net, str]:
        """The output or the register of each net where paths end."""
        names: dict[Net, str] = {}
        for cell, pins in (self.netlist.cells[register] for register in self.registers):
            name = self.name(next(pins[out] for out in cell.arcs if out in pins))
            names |= {pins[pin]: name for pin in cell.setup if pin in pins}
        return names | {net: self.name(net) for net in self.netlist.outputs}

    def path(self, end: Place) -> Path:
        """The longest path to `end`."""
        way = self.way(end)
        cells = sum(place[0] not in self.netlist.aliases for place in way[1:])
        return Path(self.ends[end], cells, self.name(way[0][0]), self.end_names[end[0]])


def longest_path(module: Mapping[str, Any], library: Mapping[str, Cell]) -> Path | None:
    """The longest path of one module of a mapped netlist (as Yosys' write_json gives it); None without any cell.

    Cells that the library does not have (black boxes) end and begin nothing: their pins are left out.

    Raises
    ------
    MismatchError : there is a combinational loop.
    """
    timing = Timing(netlist_of(module, library))
    if not timing.ends:
        return None
    return timing.path(max(timing.ends, key=lambda place: timing.ends[place]))


def is_register(cell: Cell) -> bool:
    """Whether a cell is a flip-flop."""
    return any(arc.clocked for arcs in cell.arcs.values() for arc in arcs)
