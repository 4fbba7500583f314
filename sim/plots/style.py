"""One style for every picture: colours that colour-blind readers tell apart, a marker for each line, a caption that
says what was measured. No display is needed.
"""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

# Okabe and Ito's palette, with a marker each so that the lines differ in print, too.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES = ("-", "--", ":", "-.")
GREY = "#5f6770"
# What was published looks the same in every picture: bars in PUBLISHED, points as PUBLISHED_STAR.
PUBLISHED = "#c3c9d0"
PUBLISHED_STAR: dict[str, Any] = {
    "marker": "*",
    "markersize": 13,
    "markerfacecolor": PUBLISHED,
    "markeredgecolor": "black",
    "markeredgewidth": 0.9,
    "color": GREY,
    "linestyle": "none",
    "zorder": 5,
}
_STYLE: dict[Any, Any] = {
    "figure.dpi": 180,
    # About the size at which a page shows them, two in a row, so that text keeps its size.
    "figure.figsize": (5.4, 4.3),
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "axes.titlesize": 11.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.grid": True,
    "grid.color": "#e3e6ea",
    "axes.axisbelow": True,
    "lines.linewidth": 1.8,
    "legend.frameon": False,
    "legend.handlelength": 3.2,  # long enough for dashes to be seen as such
    "image.cmap": "cividis",
}

_FEWEST_TICKS, _MOST_TICKS = 3, 9
# Characters of a caption per inch.
_CAPTION_COLUMNS = 14.5
PES = "processing elements (PEs)"


class Shown(Figure):
    """A figure that notebooks show, without pyplot and whatever backend they have."""

    def _repr_png_(self) -> bytes:
        return save(self)


@contextmanager
def figure(
    caption: str, rows: int = 1, columns: int = 1, size: tuple[float, float] | None = None
) -> Iterator[tuple[Figure, list[Axes]]]:
    """A figure of rows x columns panels in the project's style, with `caption` below; `size` is in inches."""
    with mpl.rc_context(_STYLE):
        drawn = Shown(figsize=size, layout="constrained")
        yield drawn, list(drawn.subplots(rows, columns, squeeze=False).ravel())
        # supxlabel takes part in the layout, so that the caption never covers an axis.
        width = int(_CAPTION_COLUMNS * drawn.get_figwidth())
        wrapped = "\n".join(textwrap.fill(line, width) for line in caption.splitlines())
        drawn.supxlabel(wrapped, x=0.01, ha="left", fontsize=8.5, color=GREY)


def save(drawn: Figure) -> bytes:
    """The picture as PNG."""
    data = io.BytesIO()
    drawn.savefig(data, format="png")
    return data.getvalue()


def shades(count: int) -> list[str]:
    """So many colours in an order, from dark to light, for more values than `COLOURS` has."""
    return [to_hex(mpl.colormaps["viridis"](0.95 * place / max(count - 1, 1))) for place in range(count)]


def log_ticks(low: float, high: float) -> list[float]:
    """Numbers for a logarithmic axis from `low` to `high`: as round as they can be with at least three of them.

    >>> log_ticks(0.7, 2000), log_ticks(3, 80), log_ticks(11, 19)
    ([1.0, 10.0, 100.0, 1000.0], [5.0, 10.0, 20.0, 50.0], [12.0, 14.0, 16.0, 18.0])
    """
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits in ((1,), (1, 2, 5), (1, 2, 3, 4, 5, 6, 7, 8, 9)):
        ticks = [float(f"{digit}e{power}") for power in decades for digit in digits]
        inside = [tick for tick in ticks if low <= tick <= high]
        if len(inside) >= _FEWEST_TICKS:
            step = -(-len(inside) // _MOST_TICKS)
            return inside[::step]
    return [float(tick) for tick in MaxNLocator(5).tick_values(low, high) if low <= tick <= high]


def log_axis(axis: Axis) -> None:
    """A logarithmic axis with round numbers on it; after everything is drawn."""
    axis.axes.set(**{f"{axis.axis_name}scale": "log"})  # type: ignore[attr-defined]
    axis.set_major_locator(FixedLocator(log_ticks(*sorted(axis.get_view_interval()))))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(lambda value, _: f"{value:,.10g}")


def powers_of_two(axes: Axes, ticks: Sequence[int], label: str) -> None:
    """A logarithmic x axis with these ticks."""
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator(list(ticks)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel(label)
