"""Run CACTI 7: energy and area of one SRAM at 45 nm, as it comes with the PyPI package `hwcomponents-cacti`.

Nobody needs CACTI to use this project: sim/energy/data/sram.toml holds its figures. It serves to make that table again
(scripts/gen_sram_table.py), and to ask for a size between the table's points. Settings: sim/energy/data/cacti.cfg.
"""

from __future__ import annotations

import csv
import importlib.util
import os
import re
import subprocess
import tempfile
from importlib.resources import files
from pathlib import Path

from eie.errors import SimulatorMissing
from eie.sim.energy.sram import Sram, sram

# Path of a CACTI binary; it must lie in its own folder, beside tech_params/.
ENVIRONMENT = "EIE_CACTI"

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
    settings = (files("eie.sim.energy") / "data" / "cacti.cfg").read_text("utf-8")
    text = settings.format(size=size_bytes, block=width_bits // 8, width=width_bits)
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
