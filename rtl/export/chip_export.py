"""The chip in an exported folder: its Verilog, register map, C header, and what FuseSoC and constraints need."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from eie.axi import HEADER_FIELDS, LITE_ADDR_BITS, Command, ErrorCode, Header, stream_bits
from eie.config import ArchConfig
from eie.registers import MAGIC, Reg, c_header, markdown, system_rdl
from eie.rtl.export.check import CHIP, declared_ports
from eie.rtl.export.package import files_of_top, template, testbench
from eie.rtl.formal.verilog import with_checkers
from eie.rtl.verilog import around_array_verilog
from eie.schema import IoSpace

TESTBENCH = f"{CHIP}_tb.v"
HEADER = "eie_regs.h"
DRIVER = ("eie_driver.h", "eie_driver.c")
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


def chip_files(cfg: ArchConfig, array: Iterable[str], data: Sequence[str] = ()) -> dict[str, str]:
    """What the chip adds to the Verilog of the array, by file name; its Verilog comes first.

    array : names of the Verilog files of `eie_array`. data : the images that they read.
    """
    verilog = with_checkers(around_array_verilog(cfg), cfg)
    ports = "\n".join(
        f"| {name} | {port.direction} | {port.width} |" for name, port in declared_ports("chip", cfg).items()
    )
    return {
        **verilog,
        HEADER: c_header(cfg),
        **{name: template(name) for name in DRIVER},
        f"{CHIP}.rdl": system_rdl(cfg, CHIP),
        PAGE: _PAGE.format(top=CHIP, header=HEADER, ports=ports, registers=markdown()),
        TESTBENCH: _testbench(cfg),
        **files_of_top(cfg, CHIP, [*array, *verilog], TESTBENCH, data),
    }


def _testbench(cfg: ArchConfig) -> str:
    """A plain Verilog testbench of the chip: registers, packets, an error and its end."""
    bits = stream_bits(cfg)
    headers = {
        f"[STREAM_BITS-1:0] {command.name}_ACC": f"{bits}'d{Header(command, IoSpace.ACC, spread=True).pack()}"
        for command in (Command.WRITE, Command.READ)
    }
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
    return testbench(TESTBENCH, {**parameters, **headers})
