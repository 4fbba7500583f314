"""Everything that `eie fpga` does for a network and a target, and what it tells of it."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eie.config import ArchConfig
from eie.errors import CapacityError, ConfigError
from eie.program import Program
from eie.sim.fpga.flow import (
    BITSTREAM,
    NETLIST,
    Stage,
    Target,
    Use,
    design,
    pack,
    place_and_route,
    synthesise,
    takes,
)
from eie.sim.fpga.part import Part


@dataclass(frozen=True)
class Built:
    """A design on its part.

    uses : of the whole part, after packing. pe : what one PE takes without its SRAMs, rest : everything else, both as
    synthesised. mhz : the fastest clock after routing. path : what limits it. seed : of the placement.
    """

    cfg: ArchConfig
    target: Target
    part: Part
    uses: tuple[Use, ...]
    pe: Mapping[str, int]
    rest: Mapping[str, int]
    mhz: float
    path: tuple[Stage, ...]
    seed: int

    @property
    def meets(self) -> bool:
        """Whether the clock that was asked for is slow enough."""
        return self.mhz * 1e6 >= self.target.hz


def build(
    program: Program,
    target: Target,
    out: Path,
    *,
    seed: int = 1,
    progress: Callable[[str], None] = lambda text: None,
    smaller: Callable[[int], Program] | None = None,
) -> Built:
    """Make the bitstream of a program's chip and network; it and the netlist appear in `out`.

    smaller : the program on fewer PEs, to say how many fit.

    Raises
    ------
    CapacityError : the design does not fit; the text says what is needed and there, and how many PEs fit.
    ConfigError : no such part, clock or rate. SimulatorMissing : a tool is not installed. MismatchError : one failed.
    """
    made = design(program, target)
    with tempfile.TemporaryDirectory(prefix="eie-fpga-") as temporary:
        folder = Path(temporary)
        progress(f"synthesising {program.cfg.n_pe} PEs")
        pe, rest = _parts(synthesise(made, folder))
        short = _short(pe, rest, program.cfg.n_pe, made.part)
        if short:
            raise CapacityError(_too_large(short, program, target, smaller, progress))
        progress("placing and routing")
        routed = place_and_route(made, folder, seed)
        lacking = [use for use in routed.uses if use.used > use.available]
        if lacking:
            raise CapacityError(_too_large(lacking, program, target, smaller, progress))
        progress("making the bitstream")
        pack(folder)
        for name in (BITSTREAM, NETLIST):
            shutil.copyfile(folder / name, out / name)
    return Built(program.cfg, target, made.part, routed.uses, pe, rest, routed.mhz, routed.path, seed)


def _parts(cells: Mapping[str, Mapping[str, int]]) -> tuple[dict[str, int], dict[str, int]]:
    """What one PE takes, and what everything else does."""
    others = [takes(of) for name, of in cells.items() if name != "eie_pe"]
    return takes(cells["eie_pe"]), {name: sum(each[name] for each in others) for name in others[0]}


def _short(pe: Mapping[str, int], rest: Mapping[str, int], n_pe: int, part: Part) -> list[Use]:
    """Resources of which a part has too little."""
    uses = (Use(name, n_pe * pe[name] + rest[name], there) for name, there in part.has.items())
    return [use for use in uses if use.used > use.available]


def _too_large(
    short: list[Use],
    program: Program,
    target: Target,
    smaller: Callable[[int], Program] | None,
    progress: Callable[[str], None],
) -> str:
    lacking = "; ".join(f"{use.used:,} {use.name} needed, {use.available:,} available" for use in short)
    text = f"{program.cfg.n_pe} PEs do not fit {target.name}: {lacking}"
    n_pe = program.cfg.n_pe // 2
    while smaller is not None and n_pe:
        progress(f"synthesising {n_pe} PEs, to see whether they fit")
        try:
            made = design(smaller(n_pe), target)
        except (
            CapacityError,
            ConfigError,
        ):  # a network that so few PEs do not hold, a switch that takes more
            break
        with tempfile.TemporaryDirectory(prefix="eie-fpga-") as temporary:
            pe, rest = _parts(synthesise(made, Path(temporary)))
        if not _short(pe, rest, n_pe, made.part):
            return f"{text} (--pe {n_pe} fits)"
        n_pe //= 2
    return f"{text}; fewer PEs do not fit, either: use a larger part"


def as_json(built: Built) -> dict[str, Any]:
    """What is kept of a design (docs/schemas/fpga.json)."""
    return {
        "config": dataclasses.asdict(built.cfg),
        "target": built.target.name,
        "part": list(built.part.options),
        "clock_hz": built.target.hz,
        "baud": built.target.baud,
        "seed": built.seed,
        "used": {use.name: {"used": use.used, "available": use.available} for use in built.uses},
        "pe": dict(built.pe),
        "rest": dict(built.rest),
        "mhz": built.mhz,
        "meets": built.meets,
        "path": [dataclasses.asdict(stage) for stage in built.path],
    }
