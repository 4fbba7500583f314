"""Loops that numba compiles at their first call; the machine code is kept on disk.

Import this where it is used, not at the top of what `import eie` or the command line's help load.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numba

from eie.cache import cache_folder


def _writable(folder: Path) -> bool:
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


_config: Any = numba.config
# numba keeps machine code beside the source. An installation that cannot be written has it in the cache.
if not _config.CACHE_DIR and not _writable(Path(__file__).parent):
    _config.CACHE_DIR = str(cache_folder() / "numba")


def compiled(function: Any) -> Any:
    """Compile a function of arrays; it releases the GIL, so that threads run it side by side."""
    return numba.njit(cache=True, nogil=True, boundscheck=False)(function)


def inlined(function: Any) -> Any:
    """A function that its compiled callers take in: a call that hands over several arrays costs more than its work."""
    return numba.njit(inline="always", nogil=True, boundscheck=False)(function)
