"""Run CACTI 7: energy and area of one SRAM at 45 nm, as it comes with the PyPI package `hwcomponents-cacti`.

Nobody needs CACTI to use this project: sim/energy/data/sram.toml holds its figures. It serves to make that table again
(scripts/gen_sram_table.py), and to ask for a size between the table's points.
"""

from __future__ import annotations

import csv
import importlib.util
import os
import re
import subprocess
import tempfile
from pathlib import Path

from eie.errors import SimulatorMissing
from eie.sim.energy.sram import Sram, sram

# Path of a CACTI binary; it must lie in its own folder, beside tech_params/.
ENVIRONMENT = "EIE_CACTI"

# The settings behind every figure: those that hwcomponents-cacti 1.0.40 uses. LSTP is the low-standby-power device of
# the ITRS road map (1.1 V); the objective is least dynamic power.
_SETTINGS = """\
-size (bytes) {size}
-block size (bytes) {block}
-output/input bus width {width}
-technology (u) 0.045
-operating temperature (K) 300
-cache type "ram"
-tag size (b) 0
-associativity 1
-read-write port 1
-exclusive read port 0
-exclusive write port 0
-single ended read ports 0
-UCA bank 1
-access mode (normal, sequential, fast) - "fast"
-Data array cell type - "itrs-lstp"
-Data array peripheral type - "itrs-lstp"
-Tag array cell type - "itrs-lstp"
-Tag array peripheral type - "itrs-lstp"
-design objective (weight delay, dynamic power, leakage power, cycle time, area) 0:0:1000000:0:0
-deviate (delay, dynamic power, leakage power, cycle time, area) 20:10:100000:100:100
-Optimize ED or ED^2 (ED, ED^2, NONE): "ED^2"
-Cache model (NUCA, UCA)  - "UCA"
-NUCAdesign objective (weight delay, dynamic power, leakage power, cycle time, area) 100:100:0:0:100
-NUCAdeviate (delay, dynamic power, leakage power, cycle time, area) 10:10000:10000:10000:10000
-NUCA bank count 0
-Wire signaling (fullswing, lowswing, default) - "Global_30"
-Wire inside mat - "semi-global"
-Wire outside mat - "semi-global"
-Interconnect projection - "normal"
-Core count 1
-Array Power Gating - "false"
-WL Power Gating - "false"
-CL Power Gating - "false"
-Bitline floating - "false"
-Interconnect Power Gating - "false"
-Power Gating Performance Loss 0.01
-page size (bits) 0
-burst length 8
-internal prefetch width 8
-Add ECC - "false"
-Print level (DETAILED, CONCISE) - "DETAILED"
-Print input parameters - "true"
-Force cache config - "false"
"""
# CACTI also wants a DRAM interface to be described, which no figure of an SRAM depends on.
_INTERFACE = """\
-dram_type "DDR3"
-io state "WRITE"
-addr_timing 1.0
-mem_density 4 Gb
-bus_freq 800 MHz
-duty_cycle 1.0
-activity_dq 1.0
-activity_ca 0.5
-num_dq 72
-num_dqs 18
-num_ca 25
-num_clk  2
-num_mem_dq 2
-mem_data_width 8
-rtt_value 10000
-ron_value 34
-num_bobs 1
-capacity 80
-num_channels_per_bob 1
-first metric "Cost"
-second metric "Bandwidth"
-third metric "Energy"
-DIMM model "ALL"
-mirror_in_bob "F"
"""
_COLUMNS = (
    "Dynamic read energy (nJ)",
    "Dynamic write energy (nJ)",
    "Standby leakage per bank(mW)",
    "Area (mm2)",
)


def find() -> Path | None:
    """The CACTI binary that the environment variable EIE_CACTI names, or that of an installed hwcomponents-cacti."""
    named = os.environ.get(ENVIRONMENT)
    if named is not None:
        return Path(named)
    package = importlib.util.find_spec("hwcomponents_cacti")
    if package is None or package.origin is None:
        return None
    return Path(package.origin).parent / "cacti" / "cacti"


def run(binary: Path, size_bytes: int, width_bits: int) -> Sram:
    """Figures of one single-ported SRAM of `size_bytes`, `width_bits` (a multiple of 8) a word.

    Raises
    ------
    SimulatorMissing : the binary does not run here, or CACTI finds no such memory (fewer than about 64 words).
    """
    text = _SETTINGS.format(size=size_bytes, block=width_bits // 8, width=width_bits) + _INTERFACE
    with tempfile.TemporaryDirectory(prefix="eie-cacti-") as folder:
        request = Path(folder) / "sram.cfg"
        request.write_text(text)
        command = [str(binary.absolute()), "-infile", str(request)]
        try:
            done = subprocess.run(
                command, cwd=binary.absolute().parent, capture_output=True, text=True, timeout=120
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise SimulatorMissing(f"CACTI ({binary}) does not run: {error}") from None
        answer = Path(f"{request}.out")
        if not answer.exists():
            said = (done.stderr or done.stdout).strip().splitlines()
            last = re.sub(r"\s+", " ", said[-1]) if said else f"exit status {done.returncode}"
            raise SimulatorMissing(
                f"CACTI ({binary}) gives no figures for {size_bytes} bytes x {width_bits} bits: {last}"
            )
        with answer.open() as file:
            row = {key.strip(): value for key, value in list(csv.DictReader(file))[-1].items() if key}
    read, write, leakage, area = (float(row[column]) for column in _COLUMNS)
    return Sram(read * 1e3, write * 1e3, leakage, area * 1e6)


def figures(words: int, width_bits: int) -> Sram:
    """CACTI's own figures where a CACTI is found; those of `eie.sim.energy.sram.sram` without
    one, or where the width is no whole number of bytes.

    Estimates use the table alone, so that they are the same on every machine.
    """
    binary = find()
    if binary is None or width_bits % 8:
        return sram(words, width_bits)
    return run(binary, words * width_bits // 8, width_bits)
