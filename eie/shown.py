"""How objects show themselves: tables in notebooks, and pandas where it is installed."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from eie.errors import ConfigError


def counted(number: int, word: str) -> str:
    """So many of something.

    >>> counted(1, "pass"), counted(1200, "pass"), counted(2, "PE")
    ('1 pass', '1,200 passes', '2 PEs')
    """
    ending = "" if number == 1 else "es" if word.endswith("s") else "s"
    return f"{number:,} {word}{ending}"


def table(title: str, rows: Iterable[Sequence[object]], headings: Sequence[str] = ()) -> str:
    """A table as HTML, as `_repr_html_` returns it; every text is escaped.

    >>> table("a < b", [("PEs", 4)])
    '<table><caption style="text-align:left">a &lt; b</caption><tr><td>PEs</td><td>4</td></tr></table>'
    """
    head = "".join(f"<th>{html.escape(text)}</th>" for text in headings)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows
    )
    heading = f"<tr>{head}</tr>" if head else ""
    caption = (
        f'<caption style="text-align:left">{html.escape(title)}</caption>'  # in view where a table is wide
    )
    return f"<table>{caption}{heading}{body}</table>"


def frame(columns: Mapping[str, Any], index: str | None = None) -> Any:
    """Columns as a pandas DataFrame; `index` names the column that becomes its index.

    Raises
    ------
    ConfigError : pandas is not installed.
    """
    try:
        import pandas
    except ImportError:
        raise ConfigError("a data frame needs pandas: pip install pandas") from None
    made = pandas.DataFrame(columns)
    return made.set_index(index) if index else made


def optional(value: float | None, form: str) -> str:
    """A number in a format, or a dash for none.

    >>> optional(0.5, ".0%"), optional(None, ",")
    ('50 %', '-')
    """
    return "-" if value is None else format(value, form).replace("%", " %")
