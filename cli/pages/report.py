"""Pages that need no other file: what they consist of, and the templates that show it.

Tables are those of the evaluation (`eie.sim.evaluation.section.Table`); the prose is in cli/pages/templates.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markdown_it import MarkdownIt
from markupsafe import Markup

from eie.filling import templates

# Inches of a picture that has a row for itself, and the page's rem for an inch.
_WIDE, _REM = 6.0, 5.8


@dataclass(frozen=True)
class Picture:
    """A PNG. alt : what somebody who cannot see it has to know. inches : its width (0: as wide as there is room)."""

    name: str
    png: bytes
    alt: str = ""
    inches: float = 0.0

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
        """The picture as a data URI, so that the page stands alone."""
        return f"data:image/png;base64,{base64.b64encode(self.png).decode()}"


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


def _markdown(paragraphs: Sequence[str]) -> Markup:
    """Markdown as HTML; HTML in it is shown as text."""
    return Markup(MarkdownIt("commonmark", {"html": False}).render("\n\n".join(paragraphs)))


def fill(template: str, **values: Any) -> str:
    """A template of cli/pages/templates with these values; in .html every text is escaped unless it is markup."""
    environment = templates("eie.cli.pages", html=template.endswith(".html"))
    environment.filters |= {"markdown": _markdown, "number": "{:,}".format}
    return environment.get_template(template).render(**values)
