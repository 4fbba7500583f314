"""The evaluation's parts as an HTML page that needs no other file, as Markdown beside its pictures, and as data."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markdown_it import MarkdownIt
from markupsafe import Markup

from eie.cli.pages.report import TableData, fill
from eie.sim.evaluation.section import Section, Table

TITLE = "The published evaluation, again"
# Inches of a picture that has a row for itself, the page's rem for an inch, and characters of a cell that is text.
_WIDE, _REM, _LONG = 6.0, 5.8, 40


@dataclass(frozen=True)
class Drawn:
    """A picture as PNG. inches : its width."""

    name: str
    png: bytes
    alt: str
    inches: float

    @property
    def wide(self) -> bool:
        """Whether it has a row of the page for itself."""
        return self.inches > _WIDE

    @property
    def rem(self) -> float:
        """Its width on the page: in proportion, so that text has one size in all pictures."""
        return _REM * self.inches

    @property
    def source(self) -> str:
        """The picture as a data URI."""
        return f"data:image/png;base64,{base64.b64encode(self.png).decode()}"


@dataclass(frozen=True)
class Made:
    """A part that has been computed: its section without its pictures, those, and how long it took in seconds."""

    section: Section
    pictures: tuple[Drawn, ...]
    seconds: float


def draw(section: Section) -> tuple[Drawn, ...]:
    """The section's pictures as PNG."""
    from eie.sim.plots import style

    drawn = []
    for picture in section.pictures:
        inches = float(picture.figure.get_figwidth())
        drawn.append(Drawn(picture.name, style.save(picture.figure), picture.alt, inches))
    return tuple(drawn)


# ---- pages -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _HtmlTable:
    title: str
    data: TableData
    note: Markup


@dataclass(frozen=True)
class _HtmlPart:
    section: Section
    text: Markup
    pictures: Sequence[Drawn]
    tables: Sequence[_HtmlTable]
    command: str


def html(parts: Sequence[Made], lead: str, commands: Sequence[str], made: str) -> str:
    """The page. commands : one for each part, that computes it alone; made : how the page came about."""
    shown = [
        _HtmlPart(
            part.section,
            _markup(*part.section.text),
            part.pictures,
            [_html_table(table) for table in part.section.tables],
            command,
        )
        for part, command in zip(parts, commands, strict=True)
    ]
    return fill("evaluation.html", title=TITLE, lead=lead, parts=shown, made=made)


def _html_table(table: Table) -> _HtmlTable:
    return _HtmlTable(
        table.title, TableData(table.headings, table.rows, text=has_text(table)), _markup(table.note)
    )


def has_text(table: Table) -> bool:
    """Whether the last column is text that has to be read, and wrapped, rather than compared."""
    return any(len(row[-1]) > _LONG for row in table.rows)


def _markup(*paragraphs: str) -> Markup:
    """Markdown as HTML; HTML in it is shown as text."""
    return Markup(MarkdownIt("commonmark", {"html": False}).render("\n\n".join(paragraphs)))


def markdown(parts: Sequence[Made], lead: str, commands: Sequence[str], made: str) -> str:
    """The same page as Markdown, with the pictures as files beside it."""
    blocks = [f"# {TITLE}", lead]
    for part, command in zip(parts, commands, strict=True):
        blocks += [f"## {part.section.title}", *part.section.text]
        blocks += [f"![{picture.alt}]({picture.name}.png)" for picture in part.pictures]
        blocks += [markdown_table(table) for table in part.section.tables]
        blocks += ["This part alone:", f"    {command}"]
    return "\n\n".join([*blocks, made]) + "\n"


def markdown_table(table: Table) -> str:
    """A table with its title above and its note below."""

    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"

    rule = f"|---|{('---|' if has_text(table) else '---:|') * (len(table.headings) - 1)}"
    grid = "\n".join([line(table.headings), rule, *(line(row) for row in table.rows)])
    return "\n\n".join([f"**{table.title}**", grid, *([table.note] if table.note else [])])


def data(parts: Sequence[Made], seed: int) -> str:
    """The numbers behind all of it, as JSON."""
    numbers = {part.section.key: part.section.data for part in parts}
    return json.dumps({"seed": seed, "parts": numbers}, default=_plain) + "\n"


def _plain(value: Any) -> Any:
    """What numpy's numbers and arrays are in Python."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} has no form in JSON")
