"""Files and folders that appear complete or not at all, and tables on the terminal."""

from __future__ import annotations

import io
import os
import shutil
import sys
import tempfile
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from rich.cells import cell_len
from rich.console import Console

from eie.errors import OutputError, printable
from eie.files import beside, is_running

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
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        with _staging(folder) as staging:
            yield staging
    except BaseException:  # what was made for nothing goes
        with suppress(OSError):
            for place in missing:
                place.rmdir()
        raise


@contextmanager
def _staging(folder: Path) -> Iterator[Path]:
    make_folder(folder)
    for left in folder.glob(".partial-*-*"):
        pid = left.name.split("-")[1]
        if not pid.isdecimal() or int(pid) == os.getpid() or not is_running(int(pid)):
            shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f".partial-{os.getpid()}-", dir=folder) as name:
        staging = Path(name)
        yield staging
        places = {made: folder / made.relative_to(staging) for made in sorted(staging.rglob("*"))}
        for made, place in places.items():
            if made.is_file() and place.is_dir():
                raise OutputError(
                    f"{place} is a folder: move it away, or choose another folder than {folder}"
                )
        try:
            for made, place in places.items():
                if made.is_dir():
                    place.mkdir(exist_ok=True)
                else:
                    made.replace(place)
        except OSError as error:
            raise OutputError(f"cannot write into {folder}: {error.strerror or error}") from None


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
    """Where progress and sentences go; wide enough for them when the output is a file or a pipe."""
    return Console(width=None if sys.stdout.isatty() else _WIDE, highlight=False)


def say(text: str, *, out: Console | None = None) -> None:
    """Print sentences. A terminal breaks them between words; a file or a pipe gets the lines as they are."""
    target = out or console()
    if target.is_terminal:
        text = " ".join(text.split())
    target.print(text, soft_wrap=not target.is_terminal, markup=False, highlight=False, emoji=False)


def print_table(
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    text_last: bool = False,
    out: Console | None = None,
) -> None:
    """Print a table whose first column (and last, with `text_last`) is text, and whose others are numbers.

    No name and no number is ever broken. A table that is wider than the terminal goes on below, with its first column
    again; in a file or a pipe a row is a line, however long.
    """
    target = out or console()
    width = target.width if target.is_terminal else None
    cells = [[*map(printable, row)] for row in (headings, *rows)]
    for line in layout(cells, width, text_last=text_last):
        target.print(line, soft_wrap=True, markup=False, highlight=False)


def layout(table: Sequence[Sequence[str]], width: int | None, *, text_last: bool = False) -> list[str]:
    """The lines of a table, its headings first, in a terminal of `width` characters (None: no limit).

    >>> layout([["", "cycles", "energy"], ["fc1", "12", "3.5"]], 12)
    ['     cycles', 'fc1      12', '', '     energy', 'fc1     3.5']
    """
    sizes = [max(cell_len(cell) for cell in column) for column in zip(*table, strict=True)]
    last = len(sizes) - 1
    blocks: list[list[int]] = [[]]
    for column in range(1, len(sizes)):
        wanted = min(sizes[column], _LEAST_TEXT) if text_last and column == last else sizes[column]
        taken = sizes[0] + sum(_GAP + sizes[one] for one in blocks[-1])
        if width is not None and blocks[-1] and taken + _GAP + wanted > width:
            blocks.append([])
        blocks[-1].append(column)
    lines: list[str] = []
    for block in blocks:
        lines += [""] * bool(lines)
        room = None
        if text_last and width is not None and last in block:
            room = max(_LEAST_TEXT, width - sizes[0] - sum(_GAP + sizes[one] for one in block[:-1]) - _GAP)
        for row in table:
            cells = [_padded(row[0], sizes[0])]
            cells += [_padded(row[one], sizes[one], right=not (text_last and one == last)) for one in block]
            lines += _wrapped_last(cells, room) if room else [(" " * _GAP).join(cells).rstrip()]
    return lines


_GAP, _LEAST_TEXT = 2, 24


def _padded(text: str, size: int, *, right: bool = False) -> str:
    blank = " " * (size - cell_len(text))
    return blank + text if right else text + blank


def _wrapped_last(cells: Sequence[str], room: int) -> list[str]:
    """A row whose last cell, a text, goes on below itself."""
    before = (" " * _GAP).join(cells[:-1]) + " " * _GAP
    texts = textwrap.wrap(cells[-1].rstrip(), room, break_long_words=False, break_on_hyphens=False) or [""]
    return [(before if not number else " " * cell_len(before)) + text for number, text in enumerate(texts)]
