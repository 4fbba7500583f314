"""Nine lines that stay apart: a colour and a marker for each network, a dash for each of its layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes

from eie.sim.plots import style

_DASHES = ("-", "--", ":")
# What every caption says of the layers.
RANDOM_LAYERS = "Seeded random layers of the published sizes and densities."


def percent(share: float, decimals: int = 1) -> str:
    """A share in per cent.

    >>> percent(0.1234)
    '12.3 %'
    """
    return f"{100 * share:.{decimals}f} %"


def draw_layers(axes: Axes, x: Sequence[float], series: Mapping[str, Sequence[float]]) -> None:
    """A line for each layer, whose name is NETWORK-LAYER, as in Alex-6."""
    networks = list(dict.fromkeys(name.split("-")[0] for name in series))
    seen = dict.fromkeys(networks, 0)
    for name, y in series.items():
        network = name.split("-")[0]
        number = networks.index(network)
        axes.plot(
            x,
            y,
            label=name,
            color=style.COLOURS[number],
            marker=style.MARKERS[number],
            linestyle=_DASHES[seen[network] % len(_DASHES)],
            markersize=4.5,
            linewidth=1.5,
        )
        seen[network] += 1
