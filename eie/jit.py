"""Loops that numba compiles once for each machine: machine code is kept on disk, for every process and every clone.

It lies in the cache (`eie.cache`), in a folder named by what it depends on: the loops' source, the modules that they
import, Python and numba. Where the package itself has such a folder, made by `eie warm --shared`, that is read first,
so that users of an installation that they cannot write need not compile. `eie warm` compiles everything ahead.

Import this where it is used, not at the top of what `import eie` or the command line's help load.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib
import os
import platform
import re
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from eie.cache import cache_folder

# numba loads the package coverage where it is installed, which takes as long as half of numpy; it then tells a run of
# coverage which lines it compiled. Only there is that of use.
_spared = "coverage" not in sys.modules
if _spared:
    sys.modules["coverage"] = None  # type: ignore[assignment]  # what an import takes for "not there"
try:
    import numba
    import numba.np.linalg
    from numba.core import caching
    from numba.core.runtime.nrt import rtsys
finally:
    if _spared:
        del sys.modules["coverage"]

_settings: Any = numba.config
# Every loop of the modules that are loaded; machine code for the argument types met so far is in its `signatures`.
LOOPS: list[Any] = []
# Told the name of each loop that is about to be compiled.
listeners: list[Callable[[str], None]] = []

# Where `eie warm --shared` puts machine code for all users of an installation.
PACKAGE = Path(__file__).parent
SHARED = PACKAGE / "machine_code"
_IMPORT = re.compile(r"^ *from (eie[\w.]*) import (\([^)]*\)|[^\n]*)", re.MULTILINE)
# Another process compiles the same loops: after so many seconds it is taken for stuck.
_PATIENCE = 300.0


def _skip_scipy() -> None:
    """Spare every process a quarter of a second: numba imports scipy.linalg only to learn that it is there.

    It is, because this package requires it. See docs/decisions.md, "Start-up".
    """
    asked = numba.np.linalg.ensure_blas
    numba.np.linalg.ensure_blas = lambda: None
    try:
        arraymath: Any = importlib.import_module("numba.np.arraymath")
        arraymath.ensure_blas = asked
    finally:
        numba.np.linalg.ensure_blas = asked


if "scipy.linalg" not in sys.modules:
    _skip_scipy()


def keep_for_all() -> None:
    """From now on put machine code into the installation; before the modules with loops are imported."""
    os.environ["NUMBA_CACHE_DIR"] = _settings.CACHE_DIR = str(SHARED)


def _imports(text: str) -> list[str]:
    """Modules of the package that a module's text may import."""
    names = []
    for module, imported in _IMPORT.findall(text):
        names += [module, *(f"{module}.{name}" for name in re.findall(r"\w+", imported))]
    return names


def stamp(module: str) -> str:
    """What the machine code of a module's loops depends on, 16 hexadecimal digits.

    numba freezes the constants that a loop takes from elsewhere, so modules that are imported count, too.
    """
    texts: dict[str, str] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        path = PACKAGE.joinpath(*name.split(".")[1:])
        file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        if name not in texts and file.is_file():
            texts[name] = file.read_text(encoding="utf-8")
            waiting += _imports(texts[name])
    versions = (numba.__version__, platform.python_version())
    return hashlib.sha256(repr((versions, sorted(texts.items()))).encode()).hexdigest()[:16]


class _Locator(caching._CacheLocator):
    """Where numba keeps the machine code of a function: a folder for each stamp, below the user's cache."""

    _stamps: dict[str, str] = {}  # noqa: RUF012  # of every module, reckoned once

    def __init__(self, function: Any) -> None:
        self._py_file = function.__code__.co_filename  # for numba's messages
        module = function.__module__
        if module not in self._stamps:
            self._stamps[module] = stamp(module)
        self._line = function.__code__.co_firstlineno
        self.folder = f"{module}-{self._stamps[module]}"

    @classmethod
    def from_function(cls, function: Any, _: str) -> _Locator:
        """numba's way to make one."""
        return cls(function)

    def get_cache_path(self) -> str:
        """The folder of the user's own."""
        given = _settings.CACHE_DIR
        return str((Path(given) if given else cache_folder() / "numba") / self.folder)

    def get_source_stamp(self) -> str:
        """The folder's name has it."""
        return self.folder

    def get_disambiguator(self) -> str:
        """Tells functions of one name apart."""
        return str(self._line)


class _Implementation(caching.CompileResultCacheImpl):
    _locator_classes: Any = (_Locator,)  # numba's name


class _Cache(caching.FunctionCache):
    """numba's cache of a function, which looks into the package first, and lets one process compile for all."""

    _impl_class = _Implementation
    # What this process compiles, and the open file that tells the others to wait.
    _compiling: set[tuple[str, str]] = set()  # noqa: RUF012
    _lock: int | None = None

    def __init__(self, function: Any) -> None:
        super().__init__(function)
        locator = self._impl.locator
        self._shared = caching.IndexDataCacheFile(
            cache_path=str(SHARED / locator.folder),
            filename_base=self._impl.filename_base,
            source_stamp=locator.get_source_stamp(),
        )

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The machine code for these argument types, or None. What is kept on disk is loaded first.

        numba's own method begins with `target_context.refresh()`, which loads the rules for all that numba can compile.
        That takes more than a third of the time of `eie info`. Machine code that exists needs only the runtime.
        """
        rtsys.initialize(target_context)
        found = self._found(self._index_key(sig, target_context.codegen()), target_context)
        return super().load_overload(sig, target_context) if found is None else found

    def _load_overload(self, sig: Any, target_context: Any) -> Any:
        key = self._index_key(sig, target_context.codegen())
        found = self._found(key, target_context)
        if found is None:
            self._wait()
            found = self._found(key, target_context)
            if found is None:
                self._compiling.add((self._name, str(sig)))
                for listener in listeners:
                    listener(self._py_func.__name__)
            else:
                self._let_go()
        return found

    def _found(self, key: Any, target_context: Any) -> Any:
        for file in (self._shared, self._cache_file):
            data = file.load(key)
            if data is not None:
                return self._impl.rebuild(target_context, data)
        return None

    def _save_overload(self, sig: Any, data: Any) -> None:
        try:
            with suppress(OSError):  # a full disk: the next process compiles again
                super()._save_overload(sig, data)
        finally:
            self._compiling.discard((self._name, str(sig)))
            self._let_go()

    def _wait(self) -> None:
        """Take the lock, unless this process has it; a loop compiles those that it calls meanwhile."""
        if _Cache._lock is not None:
            return
        with suppress(OSError):  # a file system without locks: compile side by side
            folder = Path(self._cache_path).parent
            folder.mkdir(parents=True, exist_ok=True)
            _Cache._lock = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            end = time.monotonic() + _PATIENCE
            while time.monotonic() < end:
                try:
                    fcntl.flock(_Cache._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    return
                except BlockingIOError:
                    time.sleep(0.05)

    def _let_go(self) -> None:
        if not self._compiling and _Cache._lock is not None:
            os.close(_Cache._lock)
            _Cache._lock = None


def compiled(function: Any) -> Any:
    """Compile a function of arrays; it releases the GIL, so that threads run it side by side."""
    loop: Any = numba.njit(nogil=True, boundscheck=False)(function)
    loop._cache = _Cache(function)
    LOOPS.append(loop)
    return loop


def inlined(function: Any) -> Any:
    """A function that its compiled callers take in: a call that hands over several arrays costs more than its work."""
    return numba.njit(inline="always", nogil=True, boundscheck=False)(function)
