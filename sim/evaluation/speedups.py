"""Figs. 6 and 7: speed-up and energy efficiency over the published CPU, GPU and mobile GPU times and powers.

The other platforms' figures are the published ones throughout; only the accelerator's time and energy are ours.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from scipy.stats import gmean

from eie.result import Result
from eie.sim.energy.model import estimate
from eie.sim.evaluation.layers import BENCHMARKS, simulated
from eie.sim.evaluation.prose import prose, text_of
from eie.sim.evaluation.section import Picture, Progress, Section, Table, each
from eie.sim.plots.style import COLOURS, PUBLISHED_STAR, figure
from eie.sim.published import BATCHES, MATRICES, PLATFORMS, Matrix, PlatformKey, published

FloatArray = npt.NDArray[np.float64]
COLUMNS: tuple[tuple[PlatformKey, Matrix], ...] = tuple((p, m) for p in PLATFORMS for m in MATRICES)
_SHORT: dict[PlatformKey, str] = {"cpu": "CPU", "gpu": "GPU", "mgpu": "mobile GPU"}
# The accelerator, last, in black.
_COLOURS = (*COLOURS[: len(COLUMNS) - 1], COLOURS[-1])
_NAMES = [f"{_SHORT[p]} {m}" for p, m in COLUMNS]


def times(batch: int) -> FloatArray:
    """Published microseconds per vector, [layers, COLUMNS]."""
    return np.array([[layer.baseline(p, m, batch) for p, m in COLUMNS] for layer in published().layers])


def energies(batch: int) -> FloatArray:
    """Published time x published power, microjoules per vector, [layers, COLUMNS]."""
    return times(batch) * [published().platform(p).power_w for p, _ in COLUMNS]


def section(seed: int, progress: Progress | None) -> Section:
    """Compare the nine layers' simulated times and energies."""
    us, uj = [], []
    for name in each(BENCHMARKS, progress, "speed-up and energy: "):
        result = simulated(name, seed)
        us.append(_us(result))
        uj.append(_uj(result))
    ours_us, ours_uj = np.array(us), np.array(uj)
    theirs_us = np.array([layer.actual_us for layer in published().layers])
    theirs_uj = theirs_us * published().chip.power_w
    return Section(
        key="speedups",
        title="Speed-up and energy (Figs. 6 and 7)",
        text=_text(ours_us),
        tables=(
            *(
                _table(f"Speed-up, batch {batch}: ours (published)", times(batch), ours_us, theirs_us)
                for batch in BATCHES
            ),
            _table("Energy efficiency, batch 1: ours (published)", energies(1), ours_uj, theirs_uj),
            _means(ours_us, theirs_us, ours_uj, theirs_uj),
        ),
        pictures=(
            _bars(
                "speedup_bars",
                "Speed-up over the CPU's dense product, batch 1 (Fig. 6)",
                "speed-up over CPU dense",
                times(1),
                ours_us,
                theirs_us,
            ),
            _bars(
                "energy_bars",
                "Energy efficiency, against the CPU's dense product, batch 1 (Fig. 7)",
                "CPU dense energy / energy",
                energies(1),
                ours_uj,
                theirs_uj,
            ),
        ),
        data={
            "us": dict(zip(BENCHMARKS, us, strict=True)),
            "energy_uj": dict(zip(BENCHMARKS, uj, strict=True)),
        },
    )


def _us(result: Result) -> float:
    assert result.microseconds is not None  # the fast engine has a clock
    return result.microseconds


def _uj(result: Result) -> float:
    assert result.cycles is not None
    return estimate(result.cfg, result.counters, result.cycles).energy_nj / 1000


def _number(value: float) -> str:
    """At least three significant digits."""
    return f"{value:,.{0 if value >= 100 else 1 if value >= 10 else 2}f}"


def _table(title: str, baseline: FloatArray, ours: FloatArray, theirs: FloatArray) -> Table:
    mine, published_ratio = baseline / ours[:, None], baseline / theirs[:, None]
    rows = [
        [name, *(f"{_number(a)} ({_number(b)})" for a, b in zip(*pair, strict=True))]
        for name, *pair in zip(
            (*BENCHMARKS, "geometric mean"),
            np.vstack([mine, gmean(mine)]),
            np.vstack([published_ratio, gmean(published_ratio)]),
            strict=True,
        )
    ]
    return Table(
        title=title,
        headings=("layer", *(f"over {name}" for name in _NAMES)),
        rows=rows,
        note="Published: by the times of table IV"
        + (" and the powers of table V." if "nergy" in title else "; the batch is the other platform's."),
    )


def _means(ours_us: FloatArray, theirs_us: FloatArray, ours_uj: FloatArray, theirs_uj: FloatArray) -> Table:
    def mean(baseline: FloatArray, key: PlatformKey, own: FloatArray) -> str:
        return _number(float(gmean(baseline[:, COLUMNS.index((key, "dense"))] / own)))

    return Table.of(
        "Means over the nine layers, dense, batch 1",
        (
            ("over", lambda platform: platform.name),
            ("speed-up, published", lambda platform: f"{platform.mean_speedup:,.0f}"),
            ("by the published times", lambda platform: mean(times(1), platform.key, theirs_us)),
            ("ours", lambda platform: mean(times(1), platform.key, ours_us)),
            ("energy efficiency, published", lambda platform: f"{platform.mean_energy_efficiency:,.0f}"),
            (
                "by the published times and powers",
                lambda platform: mean(energies(1), platform.key, theirs_uj),
            ),
            ("ours", lambda platform: mean(energies(1), platform.key, ours_uj)),
        ),
        [published().platform(key) for key in PLATFORMS],
        "Geometric means.",
    )


def _text(us: FloatArray) -> list[str]:
    gpu = COLUMNS.index(("gpu", "dense"))
    at_1, at_64 = (float(gmean(times(batch)[:, gpu] / us)) for batch in BATCHES)
    lost = int((times(64)[:, gpu] < us).sum())
    return prose("speedups", number=_number, at_1=at_1, at_64=at_64, lost=lost)


def _bars(
    name: str, title: str, label: str, baseline: FloatArray, ours: FloatArray, theirs: FloatArray
) -> Picture:
    reference = baseline[:, :1]
    bars = np.hstack([reference / baseline[:, 1:], reference / ours[:, None]])
    bars = np.vstack([bars, gmean(bars)])
    markers = np.append(reference[:, 0] / theirs, gmean(reference[:, 0] / theirs))
    with figure(text_of("speedups", "caption"), size=(9.5, 4.6)) as (drawn, (axes,)):
        _draw(axes, bars, markers)
        axes.set(title=title, ylabel=label)
    values = ", ".join(
        f"{layer} {_number(mine)} (published {_number(other)})"
        for layer, mine, other in zip((*BENCHMARKS, "mean"), bars[:, -1], markers, strict=True)
    )
    return Picture(name, drawn, f"{title}; EIE: {values}")


def _draw(axes: Axes, bars: FloatArray, markers: FloatArray) -> None:
    x = np.arange(len(bars))
    width = 0.8 / bars.shape[1]
    places = x
    for i, (series, colour) in enumerate(zip((*_NAMES[1:], "EIE, simulated"), _COLOURS, strict=True)):
        places = x + (i - (bars.shape[1] - 1) / 2) * width
        # Bars stand on 1, the CPU's dense product; what is worse hangs below.
        axes.bar(places, bars[:, i] - 1, width, bottom=1, color=colour, label=series)
    # Beside the bars, so that their tops can be seen.
    axes.plot(places + 0.75 * width, markers, label="EIE, published", **PUBLISHED_STAR)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:,g}")
    axes.axhline(1, color="black", linewidth=0.8)
    axes.set_xticks(x, [*BENCHMARKS, "geometric\nmean"])
    axes.grid(axis="x", visible=False)
    axes.legend(ncols=4, loc="upper center", bbox_to_anchor=(0.5, -0.12))
