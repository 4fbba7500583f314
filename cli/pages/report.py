"""A report: one HTML page that needs no other file, from tables, pictures and sentences."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jinja2


@dataclass(frozen=True)
class Tile:
    """A figure to see first; `good` paints it green."""

    value: str
    label: str
    good: bool = False


@dataclass(frozen=True)
class TableData:
    """A table: text in the first column, numbers in the others (`text`: text in all); `total`: a sum comes last."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    total: bool = False
    text: bool = False


@dataclass(frozen=True)
class Picture:
    """A PNG and the sentence that explains it."""

    name: str
    png: bytes
    sentence: str

    @property
    def source(self) -> str:
        """The picture as a data URI, so that the page stands alone."""
        return f"data:image/png;base64,{base64.b64encode(self.png).decode()}"


@dataclass(frozen=True)
class Section:
    """A heading and, in this order, what is there of: paragraphs, a table, notes, pictures, commands that repeat it.

    A `folded` table opens at a click.
    """

    title: str
    paragraphs: Sequence[str] = ()
    table: TableData | None = None
    notes: Sequence[str] = ()
    figures: Sequence[Picture] = ()
    command: str = ""
    folded: bool = False


def shell_command(head: str, *words: str) -> str:
    """A shell command, in several lines if it is long, broken only between its words."""
    if len(" ".join((head, *words))) <= 90:
        return " ".join((head, *words))
    lines = [head]
    for word in words:
        if len(lines) > 1 and len(lines[-1]) + len(word) < 90:
            lines[-1] += f" {word}"
        else:
            lines.append(f"    {word}")
    return " \\\n".join(lines)


def typeset(text: str) -> str:
    """Arrows and multiplication signs for what the terminal's tables write in ASCII."""
    return re.sub(r" x(?= |$)", " ×", text.replace("->", "→"))


def fill(template: str, **values: Any) -> str:
    """A template of cli/templates with these values; every text is escaped unless it is markup."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("eie.cli.pages"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(**values)


def render(title: str, lead: str, tiles: Sequence[Tile], sections: Sequence[Section]) -> str:
    """The page as HTML; every text is escaped."""
    return fill("report.html", title=title, lead=lead, tiles=tiles, sections=sections)
