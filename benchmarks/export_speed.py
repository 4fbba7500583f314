"""Speed of the Verilog export: generation, the check of the netlist, and the folder with a layer's memory images.

python benchmarks/export_speed.py
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from eie.config import ArchConfig
from eie.layer import CompressedLayer
from eie.program import Job
from eie.rtl.export.check import check_verilog
from eie.rtl.export.export import export
from eie.rtl.verilog import array_verilog

SIZES = (1, 4, 16, 64, 256)
# PEs and seconds that the project promises for generation.
PROMISE = (64, 5.0)


def seconds(work: Callable[[], object]) -> float:
    """Wall-clock time of one call."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def machine(n_pe: int) -> ArchConfig:
    """The published sizes, with register files for 512 rows and columns."""
    return ArchConfig(n_pe=n_pe, src_depth=max(64, 512 // n_pe), acc_depth=max(64, 512 // n_pe))


def job(cfg: ArchConfig) -> Job:
    """A 512 x 512 layer with 9 % of its weights, seed 1."""
    rng = np.random.default_rng(1)
    codes = (rng.random((512, 512)) < 0.09) * rng.integers(1, 16, (512, 512))
    layer = CompressedLayer.from_codes(codes.astype(np.uint8), np.arange(16), product_shift=8)
    return Job.create(layer, np.ones(512, np.int64), cfg)


def main() -> int:
    """Print the table; 1 if the promise is broken."""
    table = Table("PEs", "kB of Verilog", "generate, s", "check, s", "folder with images, s")
    kept = True
    for n_pe in SIZES:
        cfg = machine(n_pe)
        files = array_verilog(cfg)
        generated = seconds(partial(array_verilog, cfg))
        checked = seconds(partial(check_verilog, files, cfg))
        with tempfile.TemporaryDirectory() as folder:
            written = seconds(partial(export, cfg, Path(folder) / "verilog", job(cfg), check=False))
        kept &= n_pe != PROMISE[0] or generated <= PROMISE[1]
        size = sum(map(len, files.values())) / 1000
        table.add_row(str(n_pe), f"{size:.0f}", f"{generated:.2f}", f"{checked:.2f}", f"{written:.2f}")
    Console().print(table)
    print(f"promised: {PROMISE[0]} PEs in at most {PROMISE[1]:.0f} s: {'kept' if kept else 'broken'}")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
