"""Files and folders that appear complete or not at all, and tables on the terminal."""

from __future__ import annotations

import io
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from eie.errors import OutputError
from eie.files import beside

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_WIDE = 130


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that becomes `path` when the block ends well.

    Raises
    ------
    OutputError : the folder does not exist or cannot be written.
    """
    temporary = beside(path, path.suffix)
    try:
        check_writable(path.parent)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from None
    finally:
        temporary.unlink(missing_ok=True)


def write(path: Path, content: str | bytes) -> None:
    """Write a whole file by way of `writing`."""
    with writing(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def check_writable(folder: Path) -> None:
    """Raise `OutputError` unless files can be created in `folder` (tried, because root passes every permission)."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OutputError(f"cannot write into {folder}: {error.strerror or error}") from None


def check_targets(*targets: Path | None) -> None:
    """Raise `OutputError` unless those of the files that are wanted can be created."""
    for target in targets:
        if target is not None:
            check_writable(target.parent)


def make_folder(folder: Path) -> None:
    """Create `folder` with its parents where it is missing, and check that files can be created in it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot create {folder}: {error.strerror or error}") from None
    check_writable(folder)


@contextmanager
def filling(folder: Path) -> Iterator[Path]:
    """A temporary folder inside `folder`, whose contents move into `folder` when the block ends well.

    Files of the same name are replaced; everything else that `folder` held stays. What runs that were killed left of
    theirs is removed.

    Raises
    ------
    OutputError : `folder` cannot be written, or has a folder where a file is to go.
    """
    make_folder(folder)
    for left in folder.glob(".partial-*-*"):
        if not _runs(left.name.split("-")[1]):
            shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f".partial-{os.getpid()}-", dir=folder) as name:
        staging = Path(name)
        yield staging
        places = {made: folder / made.relative_to(staging) for made in sorted(staging.rglob("*"))}
        for made, place in places.items():
            if made.is_file() and place.is_dir():
                raise OutputError(
                    f"{place} is a folder: move it away, or write into another one than {folder}"
                )
        try:
            for made, place in places.items():
                if made.is_dir():
                    place.mkdir(exist_ok=True)
                else:
                    made.replace(place)
        except OSError as error:
            raise OutputError(f"cannot write into {folder}: {error.strerror or error}") from None


def _runs(pid: str) -> bool:
    """Whether another process of this number runs."""
    return pid.isdecimal() and int(pid) != os.getpid() and Path("/proc", pid).exists()


def write_pictures(folder: Path, figures: Iterable[tuple[str, Figure]]) -> list[str]:
    """Write each figure as a PNG called like it into `folder`, which is made; returns the files."""
    from eie.sim.plots import style  # matplotlib takes its time to load

    make_folder(folder)
    files = []
    for name, figure in figures:
        path = folder / f"{name}.png"
        write(path, style.save(figure))
        files.append(str(path))
    return files


def array_file(array: npt.NDArray[Any]) -> bytes:
    """An array as the content of a .npy file."""
    data = io.BytesIO()
    np.save(data, array)
    return data.getvalue()


def console() -> Console:
    """Where tables go; wide enough for them when the output is a file or a pipe."""
    return Console(width=None if sys.stdout.isatty() else _WIDE, highlight=False)


def print_table(
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    text_last: bool = False,
    out: Console | None = None,
) -> None:
    """Print a table whose first column (and last, with `text_last`) is text, and whose others are numbers."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for number, heading in enumerate(headings):
        text = number == 0 or (text_last and number == len(headings) - 1)
        table.add_column(heading, justify="left" if text else "right", overflow="fold")
    for row in rows:
        table.add_row(*row)
    target = out or console()
    # Numbers broken over two lines cannot be read: in a narrow terminal let the terminal wrap whole lines.
    narrow, target.width = target.width, max(target.width, _WIDE)
    target.print(table, crop=False)
    target.width = narrow
