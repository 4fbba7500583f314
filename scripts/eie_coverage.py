"""Line and branch coverage of every process that a test run starts: workers, commands, the Python inside a simulator.

`.venv` starts `start` in each interpreter where EIE_COVERAGE names a folder; each process leaves one file there.
`python scripts/eie_coverage.py FOLDER` adds them up, prints what no test reaches, and ends with status 1 below the
floor in pyproject.toml ([tool.eie] coverage_floor).

SlipCover takes its probes out again once a line was seen. On Python 3.11 a tracer, which stays, takes 4 times the
time on golden's loops.
"""

from __future__ import annotations

import atexit
import json
import os
import sys
import tempfile
import tomllib
from contextlib import suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SOURCES = [str(ROOT / name) for name in ("eie", "compress", "golden", "rtl", "sim", "cli")]
MACHINE_CODE = "from eie.jit import"
"""numba compiles a module with this line: no probe sees machine code. Tests hold its results against golden's."""


def start() -> None:
    """Measure this process from here on, and what it forks."""
    import slipcover

    class Ours(slipcover.FileMatcher):
        def matches(self, filename: Any) -> bool:
            return bool(super().matches(filename)) and MACHINE_CODE not in Path(filename).read_text()

    folder = Path(os.environ["EIE_COVERAGE"])
    measured = slipcover.Slipcover(branch=True)
    # Left entered: the process ends with it.
    slipcover.ImportManager(measured, Ours(sources=SOURCES)).__enter__()

    def write() -> None:
        # Tests limit the size of files, or fill a disk: such a process is not counted, and behaves as without us.
        with suppress(OSError), tempfile.NamedTemporaryFile("w", dir=folder, delete=False) as out:
            json.dump(measured.get_coverage(), out)
            out.close()
            # A process that is killed meanwhile leaves no half of a file under this name.
            os.rename(out.name, f"{out.name}.json")

    def written_first(exit_now: Any) -> Any:
        def leave(status: int) -> None:
            write()
            exit_now(status)

        return leave

    atexit.register(write)
    os._exit = written_first(os._exit)
    os.register_at_fork(after_in_child=measured.signal_child_process)


def report(folder: Path) -> int:
    """Print the lines and branches that no process in `folder` reached; 1 below the floor, else 0."""
    import slipcover

    # First the files that no process imported, with all of their lines missing.
    everything = slipcover.Slipcover(branch=True, source=SOURCES).get_coverage()
    for name in list(everything["files"]):
        if MACHINE_CODE in Path(name).read_text():
            del everything["files"][name]
    found = sorted(folder.glob("*.json"))
    for file in found:
        slipcover.merge_coverage(everything, json.loads(file.read_text()))
    slipcover.print_coverage(everything, skip_covered=True, missing_width=60)
    with open(ROOT / "pyproject.toml", "rb") as file:
        floor = tomllib.load(file)["tool"]["eie"]["coverage_floor"]
    total = everything["summary"]
    lines, branches = (
        f"{total[f'covered_{what}']:,} of {total[f'covered_{what}'] + total[f'missing_{what}']:,} {what}"
        for what in ("lines", "branches")
    )
    reached = total["percent_covered"]
    print(f"coverage of {len(found)} processes: {lines}, {branches}: {reached:.2f} % (floor {floor} %)")
    return int(reached < floor)


if __name__ == "__main__":
    sys.exit(report(Path(sys.argv[1])))
