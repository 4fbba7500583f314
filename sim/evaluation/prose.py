"""The page's paragraphs: templates in sim/evaluation/templates, filled with what was computed."""

from __future__ import annotations

from typing import Any

from eie.filling import templates
from eie.sim.evaluation.lines import percent
from eie.sim.published import published


def prose(template: str, **values: Any) -> list[str]:
    """The paragraphs of `template`.md, Markdown. Templates may call `percent` and `published`, too."""
    environment = templates("eie.sim.evaluation")
    environment.globals |= {"percent": percent, "published": published}
    environment.filters["form"] = format
    filled = environment.get_template(f"{template}.md").render(**values)
    return [" ".join(paragraph.split()) for paragraph in filled.split("\n\n") if paragraph.strip()]
