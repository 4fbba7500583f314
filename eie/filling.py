"""Templates that lie in a package's folder templates/, filled with values: pages, tables of docs/, a C header."""

from __future__ import annotations

import jinja2


def templates(package: str, *, html: bool = False) -> jinja2.Environment:
    """The templates of a package. A name that has no value is an error; html : every text is escaped."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader(package),
        autoescape=html,
        keep_trailing_newline=not html,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
