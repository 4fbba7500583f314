"""Where the package keeps what takes long to make: compiled simulators, tools and loops.

In this order: `EIE_CACHE`, `XDG_CACHE_HOME/eie`, `~/.cache/eie`; without a home that can be written, a folder of the
user's own among the temporary files.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from eie.errors import OutputError

_REMEDY = "set EIE_CACHE to a folder that can"


def cache_folder() -> Path:
    """The folder, made if it is missing.

    Raises
    ------
    OutputError : `EIE_CACHE` names a folder that cannot be written, or there is no folder that can.
    """
    given = os.environ.get("EIE_CACHE")
    if given:
        folder = Path(given).absolute()
        problem = _problem(folder)
        if problem:
            raise OutputError(f"the cache {folder} cannot be written ({problem}): {_REMEDY}")
        return folder
    for base in (os.environ.get("XDG_CACHE_HOME"), os.path.expanduser("~/.cache")):
        if base and os.path.isabs(base):
            folder = Path(base) / "eie"
            if not _problem(folder):
                return folder
    return _own_temporary_folder()


def _problem(folder: Path) -> str | None:
    """Why files cannot be made in a folder, if so (tried, because root passes every permission)."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return None
    except OSError as error:
        return error.strerror or str(error)


def _own_temporary_folder() -> Path:
    folder = Path(tempfile.gettempdir()) / f"eie-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
    except OSError as error:
        raise OutputError(f"the cache folder {folder} cannot be made ({error.strerror}): {_REMEDY}") from None
    # Others can make files among the temporary ones: what they made is not run.
    if folder.is_symlink() or status.st_uid != os.getuid() or status.st_mode & 0o022:
        raise OutputError(f"other users can change the cache folder {folder}: {_REMEDY}")
    return folder


def tool_environment() -> dict[str, str]:
    """This process's environment for Yosys, whose compiled WebAssembly is in the user's cache, or else here."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return (
        dict(os.environ) if not _problem(Path(home)) else os.environ | {"XDG_CACHE_HOME": str(cache_folder())}
    )
