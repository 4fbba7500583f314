"""The chip in an exported folder: its Verilog, register map, C header, and what FuseSoC and constraints need."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from eie.axi import (
    HEADER_FIELDS,
    LITE_ADDR_BITS,
    Command,
    ErrorCode,
    Header,
    chip_fields,
    host_if_fields,
    stream_bits,
)
from eie.config import ArchConfig
from eie.errors import MismatchError
from eie.registers import MAGIC, Reg, c_header, markdown
from eie.rtl.block import module_name
from eie.rtl.export.check import lint
from eie.rtl.export.netlist import Port, analyse
from eie.rtl.export.package import constraints, core_file, smoke_test, template
from eie.rtl.verilog import chip_verilog
from eie.schema import Field, IoSpace, Kind

TOP = module_name("chip")
TESTBENCH = f"{TOP}_tb.v"
HOST_IF = module_name("host_if")
HEADER = "eie_regs.h"
PAGE = "registers.md"

_PAGE = """# {top}

AXI4-Lite (`s_axil_*`, registers), AXI4-Stream (`s_axis_*` commands, `m_axis_*` results) and an interrupt `irq` around
`eie_array`; `clk`, and `rst`, synchronous and active high. `{header}` has the same for C, with the constants of this
instance.

## Ports

| port | direction | bits |
|---|---|---|
{ports}

## Registers

{registers}
"""


def chip_files(cfg: ArchConfig, array: Mapping[str, str], data: Sequence[str] = ()) -> dict[str, str]:
    """What the chip adds to the Verilog of the array, by file name.

    array : the Verilog files of `eie_array`, of the same configuration. data : the images that they read.
    """
    verilog = {name: text for name, text in chip_verilog(cfg).items() if name not in array}
    ports = "\n".join(
        f"| {name} | {port.direction} | {port.width} |" for name, port in chip_ports(cfg).items()
    )
    return {
        **verilog,
        HEADER: c_header(cfg),
        PAGE: _PAGE.format(top=TOP, header=HEADER, ports=ports, registers=markdown()),
        TESTBENCH: testbench(cfg),
        f"{TOP}.core": core_file(cfg, TOP, [*array, *verilog], TESTBENCH, data),
        f"{TOP}.sdc": constraints(cfg, TOP),
        f"test_{TOP}.py": smoke_test(TOP),
    }


def testbench(cfg: ArchConfig) -> str:
    """A plain Verilog testbench of the chip: registers, packets, an error and its end."""
    headers = {
        f"{command.name}_ACC": Header(command, IoSpace.ACC, spread=True).pack()
        for command in (Command.WRITE, Command.READ)
    }
    bits = stream_bits(cfg)
    parameters = {
        "N_PE": cfg.n_pe,
        "LITE_BITS": LITE_ADDR_BITS,
        "STREAM_BITS": bits,
        "COUNT_SHIFT": next(f.low for f in HEADER_FIELDS if f.name == "COUNT"),
        "ID_VALUE": MAGIC,
        "N_PE_REGISTER": Reg.N_PE.offset,
        **{name: Reg[name].offset for name in ("ID", "CONTROL", "STATUS", "IRQ_ENABLE", "ERROR_CODE")},
        "IRQ_ERROR": Reg.IRQ_ENABLE.mask("ERROR"),
        "CLEAR_ERROR": Reg.CONTROL.mask("CLEAR_ERROR"),
        "STREAM": Reg.STATUS.mask("STREAM"),
        "ERROR_COUNT": int(ErrorCode.COUNT),
        "LIMIT": 4 * (10_000 + 100 * cfg.n_pe),
    }
    lines = [f"    parameter {name} = {value};" for name, value in parameters.items()]
    lines += [f"    parameter [STREAM_BITS-1:0] {name} = {bits}'d{word};" for name, word in headers.items()]
    return template(TESTBENCH).replace("@PARAMETERS@", "\n".join(lines))


def chip_ports(cfg: ArchConfig) -> dict[str, Port]:
    """Ports of the chip by name."""
    return ports_of(chip_fields(cfg))


def ports_of(declared: Iterable[Field]) -> dict[str, Port]:
    """Ports of a module by name, from the declaration of its fields; clk and rst first."""
    ports = {"clk": Port("input", 1), "rst": Port("input", 1)}
    return ports | {f.name: Port("input" if f.kind is Kind.IN else "output", f.width) for f in declared}


def check_chip(
    files: Mapping[str, str], cfg: ArchConfig, *, iverilog: Path | None = None, verilator: Path | None = None
) -> None:
    """Check the Verilog of `chip_verilog`: ports, nets, the two simulators' lint.

    Raises
    ------
    MismatchError : the first problem.
    """
    modules = analyse("\n".join(files.values()))
    problems = [problem for module in modules.values() for problem in module.problems]
    for name, declared in ((TOP, chip_fields(cfg)), (HOST_IF, host_if_fields(cfg))):
        if modules[name].ports != ports_of(declared):
            problems.append(f"{name}: ports are not those declared")
    problems += lint(files, TOP, iverilog=iverilog, verilator=verilator)
    if problems:
        raise MismatchError(f"the chip's Verilog failed {len(problems)} checks, first: {problems[0]}")
