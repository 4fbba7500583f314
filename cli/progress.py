"""Bars that show how far a command has come."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


def progress_bar(out: Console, before: Sequence[ProgressColumn], *after: ProgressColumn) -> Progress:
    """A bar with the number and time of what is done, and the time left; none where `out` is no terminal."""
    bar = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    return Progress(*before, *bar, *after, console=out, transient=True, disable=not out.is_terminal)
