"""The evaluation's parts as an HTML page that needs no other file, as Markdown beside its pictures, and as data."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from eie.cli.pages.report import Picture, fill
from eie.sim.evaluation.section import Section, Table

TITLE = "The published evaluation, again"


@dataclass(frozen=True)
class Made:
    """A part that has been computed: its section without its pictures, those, and how long it took in seconds."""

    section: Section
    pictures: tuple[Picture, ...]
    seconds: float


def draw(section: Section) -> tuple[Picture, ...]:
    """The section's pictures as PNG."""
    from eie.sim.plots import style

    drawn = []
    for picture in section.pictures:
        inches = float(picture.figure.get_figwidth())
        drawn.append(Picture(picture.name, style.save(picture.figure), picture.alt, inches))
    return tuple(drawn)


# ---- pages -------------------------------------------------------------------------------------------------


def html(parts: Sequence[Made], lead: str, commands: Sequence[str], made: str) -> str:
    """The page. commands : one for each part, that computes it alone; made : how the page came about."""
    shown = list(zip(parts, commands, strict=True))
    return fill("evaluation.html", title=TITLE, lead=lead, parts=shown, made=made)


def markdown(parts: Sequence[Made], lead: str, commands: Sequence[str], made: str) -> str:
    """The same page as Markdown, with the pictures as files beside it."""
    shown = list(zip(parts, commands, strict=True))
    return fill("evaluation.md", title=TITLE, lead=lead, parts=shown, made=made, table=markdown_table)


def markdown_table(table: Table) -> str:
    """A table with its title above and its note below."""

    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"

    rule = f"|---|{('---|' if table.text else '---:|') * (len(table.headings) - 1)}"
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
