"""Pictures of trained compression: accuracy against bits and against density, and the mask of a first layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from matplotlib.ticker import FixedLocator, NullLocator

from eie.sim.plots import style

if TYPE_CHECKING:
    from eie.compress.train.sensitivity import Sensitivity

# Below the dense network so many times its error is shown, but at most so many percentage points.
_SHOWN_ERRORS, _SHOWN_BELOW = 4.0, 8.0


def accuracy_against_bits(
    name: str, bits: Sequence[int], lines: Mapping[str, Sequence[float]], baseline: float, tested: int
) -> bytes:
    """PNG after the paper's Figs. 6 and 7: `lines` holds an accuracy in percent for each of `bits`."""
    below = min(_SHOWN_BELOW, max(1.0, _SHOWN_ERRORS * (100 - baseline)))
    bottom = baseline - below
    outside = [
        f"{label} at {b} bit{'s' * (b > 1)}: {value:.1f} %"
        for label, values in lines.items()
        for b, value in zip(bits, values, strict=True)
        if value < bottom
    ]
    caption = (
        f"Weights shared among 2^bits - 1 values by k-means (zeros keep code 0), nothing retrained; {tested:,} images. "
        f"Dashed: {baseline:.2f} %, the dense float network."
        + (f" Below the picture: {'; '.join(outside)}." if outside else "")
    )
    with style.figure(caption) as (drawn, (axes,)):
        for (label, values), colour, marker in zip(lines.items(), style.COLOURS, style.MARKERS, strict=False):
            axes.plot(bits, values, label=label, color=colour, marker=marker)
        axes.axhline(baseline, color=style.GREY, linestyle="--", linewidth=1)
        axes.set_title(f"{name}: accuracy against bits")
        axes.set_xlabel("bits of a code")
        axes.set_ylabel("images read right (%)")
        axes.set_ylim(bottom, min(100.0, baseline + 0.15 * below))
        axes.xaxis.set_major_locator(FixedLocator(list(bits)))
        axes.legend(loc="lower right")
    return style.save(drawn)


def first_layer_mask(name: str, mask: npt.NDArray[np.bool_], side: int) -> bytes:
    """PNG after Han et al., 2015, Fig. 4: the mask bool[outputs, side * side], a band for each line of the image."""
    rows, cols = mask.shape
    caption = (
        f"Each point is one of the {np.count_nonzero(mask):,} non-zero weights, of {mask.size:,}: rows are outputs, "
        f"columns are pixels. Lines part the {side} bands of {side} pixels, one band for each line of the image."
    )
    with style.figure(caption, size=(9.6, 4.6)) as (drawn, (axes,)):
        outputs, pixels = np.nonzero(mask)
        axes.scatter(pixels, outputs, s=1.2, marker="s", linewidths=0, color=style.COLOURS[0])
        axes.set(xlim=(-0.5, cols - 0.5), ylim=(rows - 0.5, -0.5), ylabel="output")
        axes.set_title(f"{name}: connections of the first layer")
        axes.xaxis.set_major_locator(FixedLocator(list(range(0, cols + 1, 4 * side))))
        axes.xaxis.set_minor_locator(FixedLocator([band * side - 0.5 for band in range(1, side)]))
        axes.grid(visible=False)
        axes.grid(visible=True, axis="x", which="minor", color="#b9c0c7", linewidth=0.6)
        axes.set_xlabel("pixel, line by line")
    return style.save(drawn)


def sensitivity(name: str, found: Sensitivity, tested: int) -> bytes:
    """PNG of a scan: the score in percent when one layer alone is pruned, against the share of its weights left.

    tested : how many inputs the score is of.
    """
    caption = (
        f"One layer pruned in one shot, the others dense, nothing retrained; {tested:,} inputs. "
        f"Dashed: {found.baseline:.2f} %, the dense network."
    )
    percent = [100 * density for density in found.densities]
    with style.figure(caption) as (drawn, (axes,)):
        for place, (layer, values) in enumerate(found.scores.items()):
            turn, colour = divmod(
                place, len(style.COLOURS)
            )  # beyond the palette, the same colours with other markers
            marker = style.MARKERS[(place + turn) % len(style.MARKERS)]
            axes.plot(percent, values, label=layer, color=style.COLOURS[colour], marker=marker)
        axes.axhline(found.baseline, color=style.GREY, linestyle="--", linewidth=1)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(FixedLocator(percent))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set_title(f"{name}: sensitivity of each layer")
        axes.set_xlabel("weights kept in the layer (%)")
        axes.set_ylabel("accuracy (%)")
        # Lines end in the upper right corner; many layers get two columns.
        axes.legend(loc="lower right", ncols=1 + (len(found.scores) > 8), fontsize="small")
    return style.save(drawn)
