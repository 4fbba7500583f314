"""The documentation site: `make site` builds it from these pages, which are as readable without it."""

import importlib.metadata

project = "EIE"
author = "the EIE developers"
copyright = "the EIE developers, Apache-2.0"
release = importlib.metadata.version("eie-sim")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode", "numpydoc"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
exclude_patterns = ["index.md"]  # the list of pages on GitHub; the site has index.rst
html_theme = "furo"
html_title = f"EIE {release}"
html_static_path: list[str] = []
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
