"""What the page says: templates in sim/evaluation/templates, filled with what was computed.

A template is a file for a part. Its block `text` holds the paragraphs; each other block is one text, such as the note
of a table or the caption of a picture.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import jinja2

from eie.filling import templates
from eie.sim.evaluation.lines import RANDOM_LAYERS, percent
from eie.sim.published import published


@cache
def _environment() -> jinja2.Environment:
    environment = templates("eie.sim.evaluation")
    environment.globals |= {"percent": percent, "published": published, "random_layers": RANDOM_LAYERS}
    environment.filters["form"] = format
    return environment


def prose(template: str, block: str = "text", **values: Any) -> list[str]:
    """The paragraphs of a block of `template`.md, Markdown. Templates may call `percent` and `published`, too."""
    found = _environment().get_template(f"{template}.md")
    filled = "".join(found.blocks[block](found.new_context(values)))
    return [" ".join(paragraph.split()) for paragraph in filled.split("\n\n") if paragraph.strip()]


def text_of(template: str, block: str, **values: Any) -> str:
    """A block of `template`.md as one text; its paragraphs become lines."""
    return "\n".join(prose(template, block, **values))
