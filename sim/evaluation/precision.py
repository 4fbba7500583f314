"""Fig. 10: how many bits the arithmetic needs, on the example networks and test digits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, PercentFormatter
from scipy.stats import binomtest

from eie.compress.float_layers import FloatLayer, float_forward
from eie.compress.format.file import load
from eie.compress.forward import fixed_forward, quantize_inputs
from eie.compress.pipeline import Settings, compress_network
from eie.compress.quantize import Widths
from eie.layer import CompressedLayer
from eie.sim.chain import as_float
from eie.sim.energy.constants import constants
from eie.sim.evaluation.lines import percent
from eie.sim.evaluation.prose import prose, text_of
from eie.sim.evaluation.section import Picture, Progress, Section, Table
from eie.sim.plots import style
from eie.sim.published import published
from eie.sim.workloads.example import (
    CALIBRATION_DIGITS,
    DENSITIES,
    EXAMPLE,
    Digits,
    lenet_5,
    read_digits,
    read_trained,
    require,
)

BITS = (16, 12, 10, 8, 7, 6, 5, 4)
WIDE = 32
CONFIDENCE = 0.95
# The example as `eie demo` compresses it, and with all its weights; then a network that was trained pruned and shared.
# 16 shared weights a layer in each.
NETWORKS: dict[str, Sequence[float]] = {"pruned": DENSITIES, "unpruned": (1.0,), "LeNet-5": (1.0,)}
TRAINED = "as trained"
# Those of them that were pruned.
PRUNED = ("pruned", "LeNet-5")

Right = npt.NDArray[np.bool_]
Pixels = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Accuracy:
    """How many of `tested` digits are read right.

    network : of NETWORKS, or TRAINED. bits : of weights and activations, acc_bits : of accumulators; None: float.
    gained, lost : digits that only this arithmetic, or only the network as trained, in float, reads right.
    """

    network: str
    bits: int | None
    acc_bits: int | None
    right: int
    tested: int
    gained: int
    lost: int

    @property
    def share(self) -> float:
        """Digits read right, as a fraction."""
        return self.right / self.tested

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's interval for that fraction on digits like these."""
        found = binomtest(self.right, self.tested).proportion_ci(CONFIDENCE, method="wilson")
        return float(found.low), float(found.high)


def section(
    seed: int,
    progress: Progress | None,
    example: Path = EXAMPLE,
    bits: Sequence[int] = BITS,
    tested: int | None = None,
) -> Section:
    """Accuracy against the width of the arithmetic. Nothing is random here.

    tested : so many digits after those for calibration (default: all).

    Raises
    ------
    ModelError : the example's files are missing or are something else.
    """
    require(example, "fig10")
    trained, digits = read_networks(example), read_digits(example)
    # The scales are chosen from digits that are not counted.
    calibration = digits.pixels[:CALIBRATION_DIGITS]
    counted = slice(CALIBRATION_DIGITS, tested and CALIBRATION_DIGITS + tested)
    digits = Digits(digits.pixels[counted], digits.labels[counted])
    measured = measure(trained, calibration, digits, bits, progress)
    return Section(
        key="fig10",
        title="Precision (Fig. 10)",
        text=_text(measured),
        tables=[_accuracy_table(measured, bits), _published_table(measured), _energy_table()],
        pictures=[Picture("fig10_precision", _draw(measured, bits), _alt(measured, bits))],
        data={
            "accuracy": [asdict(m) | {"share": m.share, "interval": m.interval} for m in measured],
            "confidence": CONFIDENCE,
        },
    )


def read_networks(example: Path) -> dict[str, list[FloatLayer]]:
    """The layers of each of NETWORKS, before they are compressed.

    Raises
    ------
    ModelError : a file is missing or is something else.
    """
    network = read_trained(example)
    return {name: as_float(load(lenet_5(example))) if name == "LeNet-5" else network for name in NETWORKS}


def measure(
    trained: dict[str, list[FloatLayer]],
    calibration: Pixels,
    digits: Digits,
    bits: Sequence[int],
    progress: Progress | None = None,
) -> list[Accuracy]:
    """The first network as trained, then each in float and at every width, accumulators as wide or WIDE.

    trained : layers of each of NETWORKS. calibration : pixels [digits, 784] to choose the scales from.
    """

    def right(layers: list[FloatLayer]) -> Right:
        return float_forward(layers, digits.pixels).argmax(axis=1) == digits.labels

    def counted(network: str, width: int | None, acc: int | None, now: Right) -> Accuracy:
        gained, lost = int((now & ~reference).sum()), int((reference & ~now).sum())
        return Accuracy(network, width, acc, int(now.sum()), len(now), gained, lost)

    found: list[Accuracy] = []
    for network, density in NETWORKS.items():
        reference = right(trained[network])
        if not found:
            found.append(counted(TRAINED, None, None, reference))
        layers = _compressed(trained[network], calibration, density, Widths())
        found.append(counted(network, None, None, right(as_float(layers))))
        for width in bits:
            for acc in (width, WIDE):
                layers = _compressed(trained[network], calibration, density, Widths(width, width, acc))
                x = quantize_inputs(layers[0], digits.pixels, width)
                fixed = fixed_forward(layers, x, acc, width).y
                found.append(counted(network, width, acc, fixed.argmax(axis=1) == digits.labels))
            if progress:
                progress(f"precision, {network}, {width} bits")
    return found


def _compressed(
    trained: list[FloatLayer], calibration: Pixels, density: Sequence[float], widths: Widths
) -> list[CompressedLayer]:
    return compress_network(trained, Settings(density=density, widths=widths), calibration)[0]


def _one(measured: list[Accuracy], network: str, bits: int | None, wide: bool = False) -> Accuracy:
    acc = bits and (WIDE if wide else bits)
    return next(m for m in measured if (m.network, m.bits, m.acc_bits) == (network, bits, acc))


def _text(measured: list[Accuracy]) -> list[str]:
    return prose(
        "fig10",
        trained=measured[0],
        wide_bits=WIDE,
        calibration=CALIBRATION_DIGITS,
        confidence=CONFIDENCE,
        pruned=_one(measured, "pruned", 8),
        pruned_wide=_one(measured, "pruned", 8, wide=True),
        lenet_5=_one(measured, "LeNet-5", 8),
        lenet_5_wide=_one(measured, "LeNet-5", 8, wide=True),
    )


def _accuracy_table(measured: list[Accuracy], bits: Sequence[int]) -> Table:
    def cell(m: Accuracy) -> str:
        return f"{percent(m.share)} (+{m.gained} -{m.lost})"

    def row(width: int | None) -> list[str]:
        return [cell(_one(measured, network, width, wide)) for network in NETWORKS for wide in (False, True)]

    headings = [
        f"{network}, {sums}" for network in NETWORKS for sums in ("sums of b bits", f"sums of {WIDE} bits")
    ]
    return Table(
        f"Digits read right, of {measured[0].tested:,}",
        ["b, bits of weights and activations", *headings],
        [
            [f"{TRAINED}, float", *([cell(measured[0])] * 4), *row(None)[4:]],
            ["float", *row(None)],
            *([str(width), *row(width)] for width in bits),
        ],
        text_of("fig10", "note", densities=DENSITIES),
    )


def _published_table(measured: list[Accuracy]) -> Table:
    said = published().statements.accuracy
    rows = []
    for label, bits in (("float", None), ("16-bit fixed", 16), ("8-bit fixed", 8)):
        key = "float32" if bits is None else f"fixed{bits}"
        ours = [_one(measured, name, bits) for name in NETWORKS]
        wide = [_one(measured, name, bits, wide=True) for name in PRUNED]
        shares = [percent(m.share) for m in (*ours, *wide)]
        points = 100 * (said[key] - said["float32"])
        rows.append([label, f"{100 * said[key]:g} %", f"{points:.1f} points" if bits else "", *shares])
    return Table(
        "Beside the published figures",
        [
            "arithmetic",
            "paper, AlexNet",
            "paper, against float",
            *NETWORKS,
            *(f"{n}, {WIDE}-bit sums" for n in PRUNED),
        ],
        rows,
        "From the fourth column: ours, digits read right.",
    )


def _multiply_pj() -> dict[str, float]:
    """Energy of a multiplication by its operands, the wider the later."""
    pj = published().operation_pj
    return {
        "8-bit fixed": pj["int8_multiply"],
        "16-bit fixed": constants().int16_multiply_pj,
        "32-bit fixed": pj["int32_multiply"],
        "32-bit float": pj["float32_multiply"],
    }


def _energy_table() -> Table:
    pj = _multiply_pj()
    return Table.of(
        "Energy of a multiplication, 45 nm (published)",
        (
            ("operands", lambda name: name + (" (assumed)" if name == "16-bit fixed" else "")),
            ("pJ", lambda name: f"{pj[name]:g}"),
            ("less than float", lambda name: f"{pj['32-bit float'] / pj[name]:.1f} x"),
        ),
        reversed(pj),
        "The 16-bit figure is the energy model's assumption, not published.",
    )


def _alt(measured: list[Accuracy], bits: Sequence[int]) -> str:
    lines = [
        f"{network}, {sums}: "
        + ", ".join(f"{_one(measured, network, b, wide).share:.1%} at {b}" for b in bits)
        for network in PRUNED
        for sums, wide in (("sums as wide", False), (f"{WIDE}-bit sums", True))
    ]
    return text_of("fig10", "alt", trained=measured[0], lines=lines)


def _draw(measured: list[Accuracy], bits: Sequence[int]) -> Figure:
    caption = text_of("fig10", "caption", tested=measured[0].tested, confidence=CONFIDENCE)
    with style.figure(caption, columns=2, size=(10.8, 5.0)) as (figure, (left, right)):
        _accuracy_panel(left, measured, sorted(bits))
        _energy_panel(right)
    return figure


def _accuracy_panel(axes: Axes, measured: list[Accuracy], bits: Sequence[int]) -> None:
    trained, said = measured[0], published().statements.accuracy
    axes.axhline(trained.share, color="black", linewidth=1.0, linestyle=":", label="LeNet-300-100, float")
    for number, network in enumerate(NETWORKS):
        for wide in (False, True):
            line = [_one(measured, network, width, wide) for width in bits]
            share = np.array([m.share for m in line])
            low, high = np.array([m.interval for m in line]).T
            axes.errorbar(
                bits,
                share,
                yerr=[share - low, high - share],
                color=style.COLOURS[number],
                marker=style.MARKERS[number],
                markerfacecolor="white" if wide else None,
                linestyle="--" if wide else "-",
                linewidth=1.5,
                markersize=5,
                elinewidth=1.0,
                capsize=2,
                label=f"{network}, {'32-bit sums' if wide else 'sums as wide'}",
            )
    axes.axhline(
        said["float32"], color=style.GREY, linewidth=1.0, linestyle=":", label="AlexNet, float (published)"
    )
    points = [width for width in (8, 16) if width <= max(bits)]
    axes.plot(
        points,
        [said[f"fixed{width}"] for width in points],
        linewidth=1.2,
        label="AlexNet (published)",
        **(style.PUBLISHED_STAR | {"linestyle": "-."}),
    )
    axes.set_ylim(0, 1.03)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.xaxis.set_major_locator(FixedLocator(list(bits)))
    axes.set(
        title="Accuracy against width",
        xlabel="bits b of weights and activations",
        ylabel="accuracy (% of test inputs)",
    )
    axes.legend(fontsize=8.5, loc="lower right")


def _energy_panel(axes: Axes) -> None:
    pj = _multiply_pj()
    names = [name.replace(" ", "\n") for name in pj]
    values = list(pj.values())
    bars = axes.bar(names, values, color=style.PUBLISHED, edgecolor="black", width=0.6)
    axes.bar_label(bars, [f"{value:g}" for value in values])
    bars[1].set(facecolor="white", linestyle="--")  # assumed
    axes.grid(visible=False, axis="x")
    axes.set(title="Energy of a multiplication, 45 nm", ylabel="energy of one multiplication (pJ)")
