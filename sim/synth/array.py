"""Timing of the whole array: CCU, tree and PEs linked, with buffers at the nets that drive much.

All PEs are alike. One stands for all of them: its inputs see the latest edge that any of them sees, and what it drives
has the largest load that any of them has. CCU and tree are mapped as one, because one path goes through all of them.
docs/synth.md.
"""

from __future__ import annotations

import copy
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from eie.config import ArchConfig
from eie.sim.synth.buffers import buffer_nets
from eie.sim.synth.liberty import Cell
from eie.sim.synth.sta import Net, Netlist, Place, Timing, loads_of, netlist_of
from eie.sim.synth.sta import Path as TimingPath

Module = Mapping[str, Any]


@dataclass(frozen=True)
class Leg:
    """A part of a path inside one module ("links": what is between PEs): when it leaves it, in ns from the clock edge,
    and on which net."""

    module: str
    ns: float
    net: str


@dataclass(frozen=True)
class ArrayPath:
    """A longest path of the array, and the modules that it goes through."""

    path: TimingPath
    legs: tuple[Leg, ...]


@dataclass(frozen=True)
class ArrayFigures:
    """The array of a machine: cells (buffers among them) with their area, and its paths, the longest first.

    paths : the longest for each pair of a register (a vector's bits alike) or port where it begins and one where it
    ends.
    """

    n_pe: int
    cells: int
    buffers: int
    area_um2: float
    paths: tuple[ArrayPath, ...]


class LinkedArray:
    """Buffered netlists of the array's modules and of what links them.

    Parameters
    ----------
    cfg : the machine. units : mapped and flattened modules by name (`eie_pe`). top : everything else of the array,
    mapped, with the units and the SRAMs as black boxes. library : the cells. sram_ns : from the clock edge to an SRAM's
    data.
    """

    def __init__(
        self,
        cfg: ArchConfig,
        units: Mapping[str, Module],
        top: Module,
        library: Mapping[str, Cell],
        sram_ns: float = 0.0,
    ) -> None:
        self.cfg, self.library, self.sram_ns = cfg, library, sram_ns
        self.units = {name: copy.deepcopy(dict(module)) for name, module in units.items()}
        self.top = copy.deepcopy(dict(top))
        self.buffers_of = {name: buffer_nets(module, library) for name, module in self.units.items()}
        self.netlists = {name: netlist_of(module, library) for name, module in self.units.items()}
        loads = {
            name: {
                port: [self.netlists[name].loads.get(bit, 0.0) for bit in data["bits"]]
                for port, data in module["ports"].items()
                if data["direction"] == "input"
            }
            for name, module in self.units.items()
        }
        self.port_loads = loads
        self.own_buffers = buffer_nets(self.top, library, loads)

    def instances(self) -> Iterator[tuple[str, str, Mapping[str, list[Any]]]]:
        """Name, unit and connections of each instance of a unit."""
        for name, cell in self.top["cells"].items():
            if cell["type"] in self.units:
                yield name, cell["type"], cell["connections"]

    def netlist(self) -> Netlist:
        """One of each kind, linked."""
        cells: dict[str, tuple[Cell, Mapping[str, Net]]] = {}
        loads: dict[Net, float] = {}
        names: dict[Net, str] = {}
        kinds = {name: unit.removeprefix("eie_") for name, unit, _ in self.instances()}
        # Each kind's module, its nets renamed.
        for kind, unit in {(kinds[name], unit) for name, unit, _ in self.instances()}:
            inside = self.netlists[unit]
            for name, (cell, pins) in inside.cells.items():
                cells[f"{kind}.{name}"] = cell, {pin: _inner(kind, net) for pin, net in pins.items()}
            loads |= {_inner(kind, net): load for net, load in inside.loads.items()}
            names |= {_inner(kind, net): f"{kind}.{name}" for net, name in inside.names.items()}
        own = netlist_of(self.top, self.library)
        cells |= {f"top.{name}": (cell, dict(pins)) for name, (cell, pins) in own.cells.items()}
        names |= own.names
        # Loads of the array's own nets, and who drives and reads them.
        own_loads: dict[Net, float] = defaultdict(float, loads_of(own.cells))
        drivers: dict[Net, Net] = {}
        read: dict[Net, list[Net]] = defaultdict(list)
        for name, unit, connections in self.instances():
            for port, bits in connections.items():
                data = self.units[unit]["ports"][port]
                for place, bit in enumerate(bits):
                    inner = _inner(kinds[name], data["bits"][place])
                    if isinstance(bit, str) or data["bits"][place] == "x":
                        continue
                    if data["direction"] == "output":
                        drivers[bit] = inner
                    else:
                        own_loads[bit] += self.port_loads[unit][port][place]
                        read[inner].append(bit)
        most: dict[Net, float] = defaultdict(float)
        for bit, inner in drivers.items():
            most[inner] = max(most[inner], own_loads[bit])
        for inner, load in most.items():
            loads[inner] = loads.get(inner, 0.0) + load
        aliases: dict[Net, list[Net]] = {bit: [inner] for bit, inner in drivers.items()}
        for inner, sources in read.items():
            aliases[inner] = sorted({drivers.get(bit, bit) for bit in sources}, key=str)
        loads |= {bit: load for bit, load in own_loads.items() if bit not in drivers}
        data, asked = self._sram_nets()
        return Netlist(
            cells,
            own.inputs | data,
            own.outputs | asked,
            defaultdict(float, loads),
            names,
            aliases,
            dict.fromkeys(data, self.sram_ns),
        )

    def _sram_nets(self) -> tuple[frozenset[Net], frozenset[Net]]:
        """What the SRAMs give, and what they take."""
        inputs, outputs = set(), set()
        for cell in self.top["cells"].values():
            if cell["type"].startswith("eie_") and cell["type"] not in self.units:
                for port, bits in cell["connections"].items():
                    if cell["port_directions"][port] == "output":
                        inputs |= {bit for bit in bits if isinstance(bit, int)}
                    elif port != "clk":
                        outputs |= {bit for bit in bits if isinstance(bit, int)}
        return frozenset(inputs), frozenset(outputs)

    def figures(self, most: int = 30) -> ArrayFigures:
        """Cells, area and the longest paths, `most` of them.

        Raises
        ------
        MismatchError : there is a combinational loop.
        """
        timing = Timing(self.netlist())
        cells, area = 0, 0.0
        inside = {
            name: (len(netlist.cells), sum(cell.area for cell, _ in netlist.cells.values()))
            for name, netlist in self.netlists.items()
        }
        buffers = self.own_buffers
        for _, unit, _ in self.instances():
            cells, area = cells + inside[unit][0], area + inside[unit][1]
            buffers += self.buffers_of[unit]
        own = [
            self.library[cell["type"]] for cell in self.top["cells"].values() if cell["type"] in self.library
        ]
        return ArrayFigures(
            self.cfg.n_pe,
            cells + len(own),
            buffers,
            area + sum(cell.area for cell in own),
            tuple(_paths(timing, most)),
        )


def _inner(kind: str, net: Net) -> Net:
    """A net of a kind's module."""
    return f"{kind}:{net}"


def _paths(timing: Timing, most: int) -> Iterator[ArrayPath]:
    """The longest paths, one for each pair of a beginning and an end."""
    seen = set()
    for end in sorted(timing.ends, key=lambda place: -timing.ends[place]):
        path = timing.path(end)
        names = _alike(path.begin), _alike(path.end)
        if names in seen:
            continue
        seen.add(names)
        yield ArrayPath(path, tuple(_legs(timing, timing.way(end))))
        if len(seen) == most:
            return


def _alike(name: str) -> str:
    """A name without the bit, the PE beside which an SRAM stands, and which node of its level one of the tree is."""
    return re.sub(r"\[\d+\]", "", re.sub(r"^(lnzd_\d+)_\d+", r"\1", re.sub(r"^pe\d+__", "pe.", name)))


def _legs(timing: Timing, way: list[Place]) -> Iterator[Leg]:
    """The modules on a path, and when it leaves each."""
    where = [_module(net) for net, _ in way]
    for at, place in enumerate(way):
        if at + 1 == len(way) or where[at + 1] != where[at]:
            yield Leg(where[at], timing.times[place], timing.name(place[0]))


def _module(net: Net) -> str:
    return net.split(":")[0] if isinstance(net, str) else "links"
