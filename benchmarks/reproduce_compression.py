"""Every table of compression from scratch, one part after the other: what `make reproduce-compression` runs.

python benchmarks/reproduce_compression.py [--out FOLDER] [--nncodec PYTHON] [--resume] [PART ...]

    models      three published networks, fetched and compressed in one shot: sizes, errors, nsnet2's output
    coders      the file's codings beside other coders
    speed       seconds and memory of a large layer, of weight sharing, of a file larger than memory
    recipes     MNIST fetched, both networks trained and compressed on it: the better part of an hour

Each part prints its tables and its progress. A command that fails, or a promise that is not kept, does not stop the
others; the last table says which it was, and the status is 1.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
# How many times smaller the recipes' files are at least; their errors are no higher than the dense network's.
RATES = {"lenet-300-100": 40, "lenet-5": 39}


@dataclass(frozen=True)
class Step:
    """A command; broken() says what it should have reached and did not, in a few words, or nothing."""

    command: tuple[str, ...]
    broken: Callable[[], str] = str


def script(path: str, *arguments: str) -> Step:
    """One of the repository's Python programs."""
    return Step((sys.executable, str(ROOT / path), *arguments))


def eie(*arguments: str, broken: Callable[[], str] = str) -> Step:
    """The command line."""
    return Step((sys.executable, "-m", "eie", *arguments), broken)


def broken_recipe(name: str, folder: Path) -> str:
    """What a recipe's result misses."""
    found = json.loads((folder / "result.json").read_text())
    misses = []
    if found["ratio"] < RATES[name]:
        misses.append(f"{found['ratio']:.1f} x smaller, not {RATES[name]} x")
    if found["error"] > found["dense_error"]:
        misses.append(f"error {found['error']:.2f} %, dense {found['dense_error']:.2f} %")
    return ", ".join(misses)


def parts(out: Path, nncodec: str | None) -> dict[str, list[Step]]:
    """The commands of each part."""
    trained = {name: out / name for name in RATES}
    return {
        "models": [script("examples/models/fetch.py"), script("examples/models/measure.py")],
        "coders": [script("benchmarks/codec_speed.py", *(["--nncodec", nncodec] if nncodec else []))],
        "speed": [script("benchmarks/compress_speed.py")],
        "recipes": [
            eie("data", "mnist"),
            *(
                eie("train", name, "--out", str(folder), broken=partial(broken_recipe, name, folder))
                for name, folder in trained.items()
            ),
        ],
    }


def run(step: Step) -> tuple[str, float]:
    """What went wrong, or nothing; and seconds."""
    began = time.perf_counter()
    status = subprocess.run(step.command, cwd=ROOT, check=False).returncode
    seconds = time.perf_counter() - began
    return (f"status {status}" if status else step.broken()), seconds


def main() -> int:
    """Run the parts; 1 if one failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help="only these")
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "compression", help="for what is trained")
    parser.add_argument("--nncodec", metavar="PYTHON", help="an interpreter that has nncodec")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoints in --out")
    options = parser.parse_args()
    steps = parts(options.out.resolve(), options.nncodec)
    unknown = [name for name in options.parts if name not in steps]
    if unknown:
        parser.error(f"there is no part {unknown[0]!r}: use {', '.join(steps)}")
    chosen = options.parts or list(steps)
    if "recipes" in chosen and not options.resume:
        for name in RATES:
            shutil.rmtree(options.out / name, ignore_errors=True)
    console = Console()
    table = Table("part", "command", "minutes", "")
    failed = False
    for name in chosen:
        for step in steps[name]:
            words = [word.removeprefix(f"{ROOT}/") for word in step.command[1:]]
            shown = " ".join(words).replace("-m eie", "eie")
            console.rule(f"{name}: {shown}")
            wrong, seconds = run(step)
            failed |= bool(wrong)
            table.add_row(name, shown, f"{seconds / 60:.1f}", wrong or "done")
    console.print(table)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
