"""Golden as machine code: mypyc makes it of golden's own text, which takes a fourth of the text's time.

`eie warm`, and so `make setup`, compiles once for each content of the modules below, Python and mypyc, into the cache
(`eie.cache`). Only the processes of simulators take it: everything else, and everything where it could not be
compiled, runs the text itself, with the same values in every cycle (a test holds both). `EIE_GOLDEN=python` switches it
off.
"""

from __future__ import annotations

import hashlib
import importlib.machinery
import importlib.metadata
import importlib.util
import os
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

from eie.cache import cache_folder

# What it is in the environment: `python`, or the folder of machine code that a simulator's process takes.
VARIABLE = "EIE_GOLDEN"
PYTHON = "python"
PACKAGE = Path(__file__).parent
# Texts whose machine code the cache keeps, 1.6 MB each: clones and versions that are used in turn.
KEPT = 12
# Compiled together, so that they know each other's classes. Runs, waveforms and the chip are in no cycle of lockstep.
_GOLDEN = (
    *("act_queue", "act_rw", "arithm_unit", "array", "base", "block_table", "ccu", "leaf_pair", "lnzd"),
    *("pe", "ptr_read", "run_queue", "run_read", "run_rows", "spmat_read", "sram", "window"),
)
MODULES = ("eie.schema", *(f"eie.golden.{name}" for name in _GOLDEN))
# Their types are read as well.
_READ = ("config", "fixed")
# Everything else is any type: mypy needs seconds for numpy's alone.
_SETTINGS = """
[mypy]
follow_imports = skip
[mypy-eie.config,eie.fixed]
follow_imports = silent
[mypy-numpy.*]
follow_imports = skip
follow_imports_for_stubs = True
"""
# -O1: the compiler's time counts, and there is little to optimise between calls into Python's own runtime.
_SETUP = """
import sys
from mypyc.build import mypycify
from setuptools import setup
extensions = mypycify(["--config-file=mypy.ini", *sys.argv[1:]], opt_level="1", debug_level="0", target_dir="generated")
arguments = ["-q", "build_ext", "--build-lib", "library", "--build-temp", "objects"]
setup(name="golden", ext_modules=extensions, script_args=arguments)
"""


class _Finder:
    """Finds the modules of a folder of machine code before their texts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The compiled module, if there is one of this name."""
        if name not in MODULES and not name.endswith("__mypyc"):
            return None
        for suffix in importlib.machinery.EXTENSION_SUFFIXES:
            file = self.folder.joinpath(*name.split(".")).with_suffix(suffix)
            if file.is_file():
                return importlib.util.spec_from_file_location(name, file)
        return None


def use(folder: str) -> None:
    """Take golden's machine code from `folder`, before any of its modules is imported."""
    sys.meta_path.insert(0, _Finder(Path(folder)))


def _source(module: str) -> Path:
    return PACKAGE.joinpath(*module.split(".")[1:]).with_suffix(".py")


def _folder() -> Path | None:
    """Where machine code of this text lies, or would; None where there is no mypyc to make it."""
    try:
        mypyc = importlib.metadata.version("mypy")
    except importlib.metadata.PackageNotFoundError:
        return None
    texts = [_source(name).read_bytes() for name in (*MODULES, *(f"eie.{name}" for name in _READ))]
    kind = f"{mypyc} {sys.implementation.cache_tag} {sysconfig.get_platform()} {_SETUP}{_SETTINGS}"
    key = hashlib.sha256(b"\0".join([kind.encode(), *texts])).hexdigest()[:32]
    return cache_folder() / "golden" / key


def environment() -> dict[str, str]:
    """What a simulator's process needs in its environment to take the machine code, if there is some."""
    # Coverage counts lines of text.
    if os.environ.get(VARIABLE) == PYTHON or os.environ.get("EIE_COVERAGE"):
        return {VARIABLE: PYTHON}
    folder = _folder()
    if folder is None or not folder.is_dir():
        return {VARIABLE: PYTHON}
    with suppress(OSError):  # a cache that others wrote
        os.utime(folder)
    return {VARIABLE: str(folder)}


def compile_golden() -> str:
    """Compile golden, if it is not in the cache yet; "" or why it stays Python. The cache keeps the `KEPT` used last.

    Raises
    ------
    OutputError : the cache cannot be written.
    """
    if os.environ.get(VARIABLE) == PYTHON:
        return f"{VARIABLE}={PYTHON}"
    folder = _folder()
    if (
        folder is None
        or importlib.util.find_spec("mypyc") is None
        or importlib.util.find_spec("setuptools") is None
    ):
        return "mypy and setuptools are not installed"
    if folder.is_dir():
        return ""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".tmp-", dir=folder.parent) as temporary:
        work = Path(temporary)
        (work / "eie").symlink_to(PACKAGE)
        (work / "mypy.ini").write_text(_SETTINGS)
        files = [str(_source(name).relative_to(PACKAGE.parent)) for name in MODULES]
        done = subprocess.run(
            [sys.executable, "-c", _SETUP, *files],
            cwd=work,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            said = [line for line in (done.stdout + done.stderr).splitlines() if "warning" not in line]
            return f"mypyc or the C compiler failed: {said[-1] if said else 'without a word'}"
        with suppress(OSError):  # somebody else may have finished the same: theirs is as good
            (work / "library").rename(folder)
        # What was used longest ago goes along with the temporary folder, at once: nobody finds half of it.
        made = sorted(folder.parent.glob("[0-9a-f]*"), key=lambda one: one.stat().st_mtime, reverse=True)
        for old in made[KEPT:]:
            with suppress(OSError):
                old.rename(work / old.name)
    return ""
