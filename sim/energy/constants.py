"""The constants of the energy model: sim/energy/data/energy.toml, checked."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields, replace
from functools import cache
from importlib.resources import files

from eie.errors import FormatError

# cacti: the SRAM table's. published: printed in a source for what it is used for. assumed: chosen here, or printed for
# something else. fitted: chosen so that a figure of the published machine comes out.
TAGS = ("cacti", "published", "assumed", "fitted")


@dataclass(frozen=True)
class Constant:
    """One constant: its value in `unit`, one of TAGS, where it comes from.

    other : of an assumed constant, other values that could have been assumed as well.
    """

    value: float
    unit: str
    tag: str
    source: str
    other: tuple[float, ...] = ()


@dataclass(frozen=True)
class Constants:
    """All constants by name; what each is, and its unit, says sim/energy/data/energy.toml."""

    operating_v: float
    activity: float
    int16_multiply_pj: float
    cell_v: float
    cell_slew_ps: float
    ff_clock_fj: float
    ff_clock_pin_ff: float
    ff_toggle_fj: float
    ff_load_ff: float
    latch_pulse_fj: float
    latch_toggle_fj: float
    gate_toggle_fj: float
    ff_um2: float
    latch_um2: float
    mux2_um2: float
    adder_um2: float
    and2_um2: float
    leakage_nw_per_um2: float
    filler_share: float
    file_port_share: float


def parse(text: str) -> dict[str, Constant]:
    """The constants in `text` (TOML).

    Raises
    ------
    FormatError : a constant that is missing or unknown, not positive, or without unit, source or a known tag.
    """
    try:
        found = {name: Constant(**entry) for name, entry in tomllib.loads(text).items()}
        found = {name: replace(constant, other=tuple(constant.other)) for name, constant in found.items()}
    except (TypeError, ValueError) as error:
        raise FormatError(f"energy constants: {error}") from error
    names = {field.name for field in fields(Constants)}
    for name in sorted(names ^ found.keys()):
        raise FormatError(f"energy constants: {name} is {'missing' if name in names else 'unknown'}")
    for name, constant in found.items():
        for value in (constant.value, *constant.other):
            if not isinstance(value, int | float) or isinstance(value, bool) or value <= 0:
                raise FormatError(f"energy constants: {name} must be a positive number, not {value!r}")
        if constant.tag not in TAGS or not constant.source or not constant.unit:
            raise FormatError(
                f"energy constants: {name} needs a unit, a source and a tag ({', '.join(TAGS)})"
            )
        if constant.other and constant.tag != "assumed":
            raise FormatError(f"energy constants: {name} is {constant.tag}, so it has no other values")
    return found


@cache
def tagged() -> dict[str, Constant]:
    """The constants with their tags and sources, read once."""
    return parse((files("eie.sim.energy") / "data" / "energy.toml").read_text("utf-8"))


@cache
def constants() -> Constants:
    """The constants' values."""
    return Constants(**{name: constant.value for name, constant in tagged().items()})


def names_of(tag: str) -> list[str]:
    """The constants with this tag, in the file's order."""
    return [name for name, constant in tagged().items() if constant.tag == tag]
