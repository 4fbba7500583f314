"""When what goes into a PE is there, and how soon what comes out of it is needed.

A PE is synthesised by itself. ABC would take all of its inputs to be there at the clock edge and all of its outputs to
have the whole cycle, and would make the logic behind a memory as deep as that behind a register. So each of these
ports goes through a cell that has a delay for ABC and is a wire afterwards.
"""

from __future__ import annotations

from amaranth import Shape
from amaranth.lib.wiring import Flow

from eie.config import ArchConfig
from eie.rtl.block import module_name, signature

# Picoseconds by the measure of Yosys' ABC, to which a LUT and its wire are 540: about 0.6 of those on a part. What is
# not here is there at the edge.
_COMES = {
    "even_rdata": 3420,
    "odd_rdata": 3420,
    "ptr_rdata": 3420,
    "spmat_rdata": 3420,
    "act_rdata": 900,
    "leaf_pop": 4800,
    "compute": 2100,
    "clear": 2400,
    "begin_pass": 3600,
    "bcast": 3000,
    "push": 3000,
    "push_col": 3000,
    "push_value": 1800,
    "rf_en": 2100,
    "rf_src": 1500,
    "rf_row": 1500,
    "rf_addr": 3300,
    "wb_en": 1500,
    "wb_row": 1500,
    "wb_addr": 1500,
    "codebook": 2700,
    "spmat_base": 2700,
    "io_write": 3300,
    "io_read": 3300,
    "io_space": 2700,
    "io_addr": 1800,
    "io_data": 1500,
}
# And what goes on in the same cycle when it leaves the PE.
_GOES = {
    "even_en": 720,
    "even_addr": 720,
    "odd_en": 720,
    "odd_addr": 720,
    "ptr_en": 720,
    "ptr_addr": 720,
    "spmat_en": 1680,
    "spmat_addr": 900,
    "act_en": 1500,
    "act_we": 1500,
    "act_addr": 2700,
    "act_wdata": 900,
    "leaf_valid": 3600,
    "leaf_row": 3600,
    "leaf_value": 1800,
    "credit": 3600,
    "busy": 3900,
    "retire": 1800,
    "io_rdata": 3300,
}
_DELAYS = sorted({*_COMES.values(), *_GOES.values()})
# What Yosys reads before synthesis, and what it makes of the cells behind it.
CELLS = "".join(
    f"(* abc9_box, blackbox *)\nmodule late_{ps}(input I, output O);\n"
    f"  specify (I => O) = {ps}; endspecify\nendmodule\n"
    for ps in _DELAYS
)
WIRES = "".join(f"module late_{ps}(input I, output O);\n  assign O = I;\nendmodule\n" for ps in _DELAYS)


def with_delays(verilog: str, cfg: ArchConfig) -> str:
    """The Verilog of a PE, with these cells at its ports."""
    name, inner = module_name("pe"), f"{module_name('pe')}_inside"
    ports, cells, pins = ["input clk", "input rst"], [], [".clk(clk)", ".rst(rst)"]
    for port, member in signature("pe", cfg).members.items():
        kind = "input" if member.flow is Flow.In else "output"
        width = Shape.cast(member.shape).width
        ps = (_COMES if kind == "input" else _GOES).get(port)
        ports.append(f"{kind} [{width - 1}:0] {port}")
        pins.append(f".{port}({port if ps is None else f'{port}_late'})")
        if ps is not None:
            ends = (port, f"{port}_late") if kind == "input" else (f"{port}_late", port)
            cells.append(f"  wire [{width - 1}:0] {port}_late;")
            cells.append(f"  late_{ps} late_{port} [{width - 1}:0] (.I({ends[0]}), .O({ends[1]}));")
    return "\n".join(
        [
            verilog.replace(f"module {name}(", f"module {inner}("),
            f"module {name}({', '.join(ports)});",
            *cells,
            f"  {inner} pe({', '.join(pins)});",
            "endmodule\n",
        ]
    )
