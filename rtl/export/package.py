"""What makes an exported folder a part for others: FuseSoC core, constraints, Makefile, smoke test.

Everything here takes the top module's name and the folder's files; which module that is, is the caller's business.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from importlib import resources

from eie.config import ArchConfig
from eie.rtl.export.check import WAIVERS, declared_ports

# Of the core's name; the release is the project's.
VENDOR, LIBRARY, VERSION = "eie-sim", "accelerator", "0.1.0"
# What the Makefile and FuseSoC leave in the folder.
LEFT_BEHIND = ("sim_build", "__pycache__", "build")
# A part of the clock period.
_IO_DELAY, _UNCERTAINTY = 0.3, 0.05

_CORE = """CAPI=2:
# fusesoc --cores-root . run --target={first} {name}
name: {name}
description: EIE, {n_pe} processing elements, exported Verilog

filesets:
  rtl:
    files: [{sources}]
    file_type: verilogSource-2005
  waivers:
    files: [{waivers}: {{file_type: vlt}}]
  constraints:
    files: [{top}.sdc: {{file_type: SDC}}]
{testbench_files}
targets:
  default:
    filesets: [rtl, constraints]
    toplevel: {top}
  lint:
    default_tool: verilator
    filesets: [rtl, waivers]
    toplevel: {top}
    tools:
      verilator:
        mode: lint-only
        verilator_options: [-Wall]
{simulation}"""

# The images go beside the compiled simulation: $readmemh looks there.
_TESTBENCH_FILES = """  testbench:
    files:
      - {testbench}: {{file_type: verilogSource-2005}}
{data}"""
_SIMULATION = """  sim:
    default_tool: icarus
    filesets: [rtl, testbench]
    toplevel: {module}
    tools:
      icarus:
        iverilog_options: [-g2005]
"""


def core_name(top: str) -> str:
    """The name of the FuseSoC core."""
    return f"{VENDOR}:{LIBRARY}:{top}:{VERSION}"


def core_file(
    cfg: ArchConfig, top: str, sources: Sequence[str], testbench: str | None = None, data: Sequence[str] = ()
) -> str:
    """A FuseSoC core (CAPI2) with the targets default, lint and, with a testbench, sim.

    data : files that the testbench reads, in the folder in which the simulation runs.
    """
    listed = "".join(f"      - {name}: {{file_type: user, copyto: {name}}}\n" for name in data)
    simulates = testbench is not None
    return _CORE.format(
        first="sim" if simulates else "lint",
        name=core_name(top),
        n_pe=cfg.n_pe,
        top=top,
        sources=", ".join(sources),
        waivers=WAIVERS,
        testbench_files=_TESTBENCH_FILES.format(testbench=testbench, data=listed) if simulates else "",
        simulation=_SIMULATION.format(module=str(testbench).removesuffix(".v")) if simulates else "",
    )


def constraints(cfg: ArchConfig, top: str) -> str:
    """Clock and port delays (SDC), to begin with."""
    period = 1e9 / cfg.clock_hz
    names = [
        name if port.width == 1 else f"{name}[*]"
        for name, port in declared_ports(top.removeprefix("eie_"), cfg).items()
        if port.direction == "input" and name != "clk"
    ]
    return filled(
        "constraints.sdc",
        INPUTS=textwrap.fill(
            " ".join(names), 110, initial_indent="    ", subsequent_indent="    ", break_long_words=False
        ),
        TOP=top,
        MHZ=f"{cfg.clock_hz / 1e6:g}",
        PERIOD=f"{period:.3f}",
        UNCERTAINTY=f"{period * _UNCERTAINTY:.3f}",
        IO_DELAY=f"{period * _IO_DELAY:.3f}",
    )


def makefile(tops: Sequence[str], sources: Sequence[str], compiled: str, testbenches: Sequence[str]) -> str:
    """`make test` for the folder: the plain testbenches, and the cocotb smoke test of each top module."""
    runs = "".join(
        f"\tiverilog -g2005 -s {name.removesuffix('.v')} -o {compiled} {name} $(SOURCES)\n\tvvp -n {compiled}\n"
        for name in testbenches
    )
    rule = f"# Plain testbenches: the last line says PASS, else the status is not 0.\ntestbench:\n{runs}\n"
    return filled(
        "Makefile",
        TOPS=" ".join(tops),
        SOURCES=" ".join(sources),
        COMPILED=compiled,
        TESTS="testbench smoke" if testbenches else "smoke",
        TESTBENCH=rule if testbenches else "",
    )


def files_of_top(
    cfg: ArchConfig, top: str, sources: Sequence[str], testbench: str | None = None, data: Sequence[str] = ()
) -> dict[str, str]:
    """What a top module has in the folder, by file name: core (see `core_file`), constraints, cocotb smoke test."""
    test = f"test_{top}.py"
    return {
        f"{top}.core": core_file(cfg, top, sources, testbench, data),
        f"{top}.sdc": constraints(cfg, top),
        test: template(test),
    }


def testbench(name: str, parameters: Mapping[str, int | str]) -> str:
    """A testbench of templates/ with its parameters; a name may have a range before it."""
    lines = (f"    parameter {parameter} = {value};" for parameter, value in parameters.items())
    return filled(name, PARAMETERS="\n".join(lines))


def template(name: str) -> str:
    """A file of templates/."""
    return (resources.files("eie.rtl.export") / "templates" / name).read_text()


def filled(name: str, **values: str) -> str:
    """A file of templates/ with @NAME@ replaced by each value."""
    text = template(name)
    for mark, value in values.items():
        text = text.replace(f"@{mark}@", value)
    return text
