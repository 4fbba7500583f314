"""The delay of an inverter that drives four like itself (FO4), by which paths of different technologies compare."""

from __future__ import annotations

from collections.abc import Mapping

from eie.errors import MismatchError
from eie.sim.synth.liberty import Cell
from eie.sim.synth.sta import INPUT_SLEW

# FO4 grows with the gate's length: 360 ps for each um of it, from R. Ho, K. W. Mai, M. A. Horowitz, "The future of
# wires", Proceedings of the IEEE 89(4), 2001.
NS_PER_UM = 0.36
# Stages of a chain after which its slews stay as they are.
_STAGES = 50


def fo4_ns(library: Mapping[str, Cell]) -> float:
    """ns of a library's FO4: the mean of both edges, of the smallest inverter, in a chain of such stages.

    Raises
    ------
    MismatchError : the library has no inverter.
    """
    inverters = [
        cell
        for cell in library.values()
        if len(cell.capacitances) == 1
        and [[arc.sense for arc in arcs] for arcs in cell.arcs.values()] == [["negative_unate"]]
    ]
    if not inverters:
        raise MismatchError(
            "the library has no inverter, a cell whose one output is the inverse of its one input"
        )
    smallest = min(inverters, key=lambda cell: (cell.area, cell.name))
    (capacitance,), ((arc,),) = smallest.capacitances.values(), smallest.arcs.values()
    rise, fall = INPUT_SLEW, INPUT_SLEW
    for _ in range(_STAGES):
        # A falling input makes the output rise.
        rise, fall = (
            arc.tables[edge][1].at(4 * capacitance, slew) for edge, slew in (("rise", fall), ("fall", rise))
        )
    edges = (("rise", fall), ("fall", rise))
    return sum(arc.tables[edge][0].at(4 * capacitance, slew) for edge, slew in edges) / 2


def published_fo4_ns(nm: float) -> float:
    """ns of the FO4 at a gate length, by the published rule.

    >>> round(published_fo4_ns(45), 4)
    0.0162
    """
    return NS_PER_UM * nm / 1e3
