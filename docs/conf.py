"""The documentation site: `make site` builds it from these pages, which are as readable without it."""

import importlib.metadata
import re
from typing import Any

project = "EIE"
author = "the EIE developers"
copyright = "the EIE developers, Apache-2.0"
release = importlib.metadata.version("eie-sim")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode", "numpydoc"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
exclude_patterns = ["index.md"]  # the list of pages on GitHub; the site has index.rst
html_theme = "furo"
html_title = f"EIE {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False

# Anchors as GitHub makes them, so that links between pages work there and here.
myst_heading_anchors = 4
myst_enable_extensions = ["dollarmath"]
# Fenced blocks in console and csv form, which no lexer needs to understand.
highlight_options = {"console": {"stripall": True}}

# Single backticks, in docstrings, are code.
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "none"
numpydoc_show_class_members = False
numpydoc_xref_param_type = False
# `load`, not `eie.load`: the page says that all names are eie's, and `compress` has its code elsewhere.
add_module_names = False

_SECTIONS = {"Parameters", "Returns", "Yields", "Raises", "Attributes"}
_TERM = re.compile(r"([\w.*]+(?:, [\w.*]+)*) : (.*)")


def terms(lines: list[str]) -> list[str]:
    """A docstring whose sections have `name : what it is` on a line, in numpydoc's form: the text below the name.

    >>> terms(["Parameters", "----------", "x, y : numbers, which", "    go on."])
    ['Parameters', '----------', 'x, y', '    numbers, which', '    go on.']
    >>> terms(["Raises", "------", "ConfigError : one. ModelError : two."])
    ['Raises', '------', 'ConfigError', '    one.', 'ModelError', '    two.']
    """
    out: list[str] = []
    section = ""
    # Two errors on a line are two.
    lines = re.sub(r"\. (\w+Error) : ", r".\n\1 : ", "\n".join(lines)).split("\n")
    for number, line in enumerate(lines):
        if lines[number + 1 : number + 2] and set(lines[number + 1]) == {"-"}:
            section = line.strip()
        found = _TERM.fullmatch(line) if section in _SECTIONS else None
        out += [found[1], f"    {found[2]}"] if found else [line]
    return out


def _rewritten(_app: Any, _what: str, _name: str, _object: Any, _options: Any, lines: list[str]) -> None:
    lines[:] = terms(lines)


def setup(app: Any) -> None:
    """Sphinx asks for this; the docstrings are rewritten before numpydoc (500) takes them."""
    app.connect("autodoc-process-docstring", _rewritten, priority=400)
