"""A cell library in the Liberty format, as far as timing needs it: pins, capacitances, arcs with their tables.

The one package that reads the format has a licence (GPL) that this project's users would have to take along.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from eie.errors import FormatError

_TOKEN = re.compile(
    r'/\*.*?\*/|\\\n|"(?P<text>[^"]*)"|(?P<mark>[(){}:;,])|(?P<word>[^\s(){}:;,"]+)', re.DOTALL
)
LOAD = "total_output_net_capacitance"


@dataclass
class Group:
    """A group: `kind (args) { ... }`, with its simple attributes, its lists and the groups inside."""

    kind: str
    args: list[str]
    attributes: dict[str, str] = field(default_factory=dict)
    lists: dict[str, list[str]] = field(default_factory=dict)
    groups: list[Group] = field(default_factory=list)

    def all(self, kind: str) -> Iterator[Group]:
        """The groups of a kind inside this one."""
        return (group for group in self.groups if group.kind == kind)


@dataclass(frozen=True, eq=False)
class Table:
    """A look-up table over load (pF; absent: one column) and slew (ns); `at` interpolates and extends linearly."""

    loads: npt.NDArray[np.float64]
    slews: npt.NDArray[np.float64]
    values: npt.NDArray[np.float64]

    def at(self, load: float, slew: float) -> float:
        """The value for a load and an input's slew."""
        i, u = _place(self.loads, load)
        j, v = _place(self.slews, slew)
        rows = self.values[i : i + 2]
        low, high = (
            (1 - v) * row[j] + v * row[j + 1] if len(row) > 1 else row[0] for row in (rows[0], rows[-1])
        )
        return float((1 - u) * low + u * high)


@dataclass(frozen=True)
class Arc:
    """From a pin to an output: {output edge: (delay, slew)} in ns, and which input edge causes which output edge.

    sense : "positive_unate", "negative_unate" or "non_unate". clocked : the pin is a flip-flop's clock.
    """

    pin: str
    sense: str
    clocked: bool
    tables: dict[str, tuple[Table, Table]]


@dataclass(frozen=True)
class Cell:
    """A cell: area (um2), its input pins' capacitances (pF), arcs by output, setup tables by data pin.

    power : by pin and edge ("rise", "fall"), one table of energies (pJ) for each related pin; of a pin that is no
    output, over the slew alone.
    """

    name: str
    area: float
    capacitances: dict[str, float]
    arcs: dict[str, list[Arc]]
    setup: dict[str, list[Table]]
    power: dict[str, dict[str, list[Table]]] = field(default_factory=dict)


def read_liberty(path: Path) -> dict[str, Cell]:
    """The cells of a library by name; times must be in ns and capacitances in pF.

    Raises
    ------
    FormatError : it cannot be read, is no Liberty file, or has other units.
    """
    try:
        library = _parse(path.read_text())
    except OSError as error:
        raise FormatError(f"cannot read {path}: {error.strerror}") from None
    except (StopIteration, ValueError, IndexError):
        raise FormatError(f"{path} is not a cell library in the Liberty format") from None
    units = library.attributes.get("time_unit"), library.lists.get("capacitive_load_unit")
    if (
        library.kind != "library"
        or units[0] != "1ns"
        or [u.lower() for u in units[1] or []] not in (["1", "pf"], ["1.0", "pf"])
    ):
        raise FormatError(f"{path}: a library with times in ns and capacitances in pF is needed, not {units}")
    templates = {
        group.args[0]: [group.attributes.get(f"variable_{k}", "") for k in (1, 2)]
        for kind in ("lu_table_template", "power_lut_template")
        for group in library.all(kind)
    }
    return {cell.name: cell for cell in (_cell(group, templates) for group in library.all("cell"))}


def _cell(group: Group, templates: dict[str, list[str]]) -> Cell:
    capacitances, arcs, setup, power = {}, {}, {}, {}
    for pin in group.all("pin"):
        name = pin.args[0]
        power[name] = {
            edge: [
                _table(t, templates) for own in pin.all("internal_power") for t in own.all(f"{edge}_power")
            ]
            for edge in ("rise", "fall")
        }
        if pin.attributes.get("direction") == "output":
            arcs[name] = [_arc(timing, templates) for timing in pin.all("timing") if _is_delay(timing)]
        else:
            capacitances[name] = float(pin.attributes.get("capacitance", 0))
            setup[name] = [
                _table(table, templates)
                for timing in pin.all("timing")
                if timing.attributes.get("timing_type", "").startswith("setup")
                for table in timing.groups
            ]
    area = float(group.attributes.get("area", 0))
    used = {pin: tables for pin, tables in setup.items() if tables}
    return Cell(group.args[0], area, capacitances, arcs, used, power)


def supply_v(path: Path) -> float:
    """The voltage that a library (see `read_liberty`) is for.

    Raises
    ------
    FormatError : it does not say.
    """
    found = re.search(r"^\s*nom_voltage\s*:\s*([\d.]+)\s*;", path.read_text(), re.MULTILINE)
    if found is None:
        raise FormatError(f"{path}: a library that says nom_voltage is needed")
    return float(found[1])


def _is_delay(timing: Group) -> bool:
    edge = timing.attributes.get("timing_type", "combinational")
    return edge in ("combinational", "rising_edge", "falling_edge") and any(timing.all("cell_rise"))


def _arc(timing: Group, templates: dict[str, list[str]]) -> Arc:
    tables = {}
    for edge in ("rise", "fall"):
        delay, slew = next(timing.all(f"cell_{edge}")), next(timing.all(f"{edge}_transition"))
        tables[edge] = _table(delay, templates), _table(slew, templates)
    attributes = timing.attributes
    clocked = attributes.get("timing_type", "").endswith("_edge")
    return Arc(attributes["related_pin"], attributes.get("timing_sense", "non_unate"), clocked, tables)


def _table(group: Group, templates: dict[str, list[str]]) -> Table:
    """A table with the load along the rows; for a constraint, the clock's slew takes the load's place."""
    first, second = (_numbers(group.lists.get(f"index_{k}", ["0"])) for k in (1, 2))
    values = _numbers(group.lists["values"]).reshape(len(first), len(second))
    variables = templates.get(group.args[0], ["", ""]) if group.args else ["", ""]
    if LOAD in variables and variables[0] != LOAD:
        return Table(second, first, values.T)
    return Table(first, second, values)


def _numbers(texts: list[str]) -> npt.NDArray[np.float64]:
    return np.array(
        [float(number) for text in texts for number in re.split(r"[,\s]+", text.strip()) if number]
    )


def _place(axis: npt.NDArray[np.float64], value: float) -> tuple[int, float]:
    """The interval that a value is nearest to, and where in it."""
    if len(axis) == 1:
        return 0, 0.0
    i = min(max(int(np.searchsorted(axis, value)) - 1, 0), len(axis) - 2)
    return i, float((value - axis[i]) / (axis[i + 1] - axis[i]))


def _parse(text: str) -> Group:
    tokens = [
        (found.lastgroup, found[found.lastgroup])
        for found in _TOKEN.finditer(text)
        if found.lastgroup is not None
    ]
    whole = Group("", [])
    end = _body(tokens, 0, whole)
    if end != len(tokens) or len(whole.groups) != 1:
        raise ValueError
    return whole.groups[0]


def _body(tokens: list[tuple[str, str]], at: int, group: Group) -> int:
    """Read statements into `group` up to its closing brace, or the end; where reading goes on."""
    while at < len(tokens) and tokens[at] != ("mark", "}"):
        name = tokens[at][1]
        if tokens[at + 1] == ("mark", ":"):
            group.attributes[name] = tokens[at + 2][1]
            at += 3
        elif tokens[at + 1] == ("mark", "("):
            end = tokens.index(("mark", ")"), at)
            args = [word for kind, word in tokens[at + 2 : end] if kind != "mark"]
            at = end + 1
            if at < len(tokens) and tokens[at] == ("mark", "{"):
                inner = Group(name, args)
                at = _body(tokens, at + 1, inner) + 1
                group.groups.append(inner)
            else:
                group.lists[name] = args
        else:
            raise ValueError(name)
        if at < len(tokens) and tokens[at] == ("mark", ";"):
            at += 1
    return at
