"""Pictures: what the lines and panels hold, and that labels, legends and captions are there."""

import dataclasses
import io

import matplotlib.image
import numpy as np
import pytest

from eie.errors import ConfigError
from eie.sim import plots, style
from eie.sim.sweep import Point, Workload, sweep
from eie.sim.workload import random_input, random_layer

COUNTS = [1, 4, 16]


@pytest.fixture(scope="module")
def points() -> list[Point]:
    workloads = [
        Workload(
            random_layer(60, 50, 0.2, seed=1, name=name),
            np.stack([random_input(50, 0.5, seed) for seed in (1, 2)]),
        )
        for name in ("fc1", "fc2")
    ]
    return list(sweep(workloads, COUNTS, [1, 2, 8]))


def lines(figure: plots.Figure) -> dict[str, np.ndarray]:
    return {str(line.get_label()): line.get_xydata() for line in figure.axes[0].get_lines()}


def test_speedup_is_the_ratio_of_summed_cycles(points: list[Point]) -> None:
    drawn = lines(plots.speedup(points))
    assert set(drawn) == {"ideal", "fc1", "fc2", "all layers together"}
    cycles = {
        n: sum(p.cycles for p in points if (p.layer, p.n_pe, p.queue_depth) == ("fc1", n, 8)) for n in COUNTS
    }
    assert drawn["fc1"] == pytest.approx(np.array([[n, cycles[1] / cycles[n]] for n in COUNTS]))
    assert drawn["ideal"].tolist() == [[n, n] for n in COUNTS]
    # Both layers have the same matrix here.
    assert drawn["all layers together"] == pytest.approx(drawn["fc1"])


def test_padding_and_balance(points: list[Point]) -> None:
    at_4 = [p for p in points if (p.layer, p.n_pe, p.queue_depth) == ("fc2", 4, 8)]
    padding = sum(p.fillers for p in at_4) / sum(p.entries for p in at_4)
    assert lines(plots.padding(points))["fc2"][1] == pytest.approx([4, padding])
    mean = np.mean([p.balance for p in at_4])
    assert lines(plots.balance(points))["fc2"][1] == pytest.approx([4, mean])


def test_queue_depth_uses_the_largest_pe_count(points: list[Point]) -> None:
    drawn = lines(plots.queue_depth(points))["fc1"]
    assert drawn[:, 0].tolist() == [1, 2, 8]
    expected = [
        np.mean([p.balance for p in points if (p.layer, p.n_pe, p.queue_depth) == ("fc1", 16, depth)])
        for depth in (1, 2, 8)
    ]
    assert drawn[:, 1] == pytest.approx(expected)
    # Depths swept at one PE count only.
    some = [p for p in points if p.n_pe == 4 or p.queue_depth == 8]
    assert lines(plots.queue_depth(some))["fc1"][:, 0].tolist() == [1, 2, 8]


def test_work_shows_every_entry(points: list[Point]) -> None:
    figure = plots.pictures(points)["work"]
    heights = [bar.get_height() for bar in figure.axes[0].patches]
    total = sum(p.entries for p in points if (p.layer, p.n_pe, p.queue_depth) == ("fc1", 16, 8))
    assert len(heights) == 16
    assert sum(heights) == total
    (mean,) = figure.axes[0].get_lines()
    assert list(mean.get_ydata()) == pytest.approx([total / 16] * 2)
    assert f"has {max(heights) * 16 / total:.2f} × the mean" in figure.axes[0].get_title(loc="left")
    assert figure.axes[0].get_ylabel() == "entries"
    assert figure._supxlabel is not None
    assert figure._supxlabel.get_text().startswith("16 PEs (of 1, 4, 16 swept); padding included;")


def test_work_map_of_groups() -> None:
    grid = np.arange(90, 102).reshape(3, 4)
    axes, colour_bar = plots.work_map({"fc1": grid}, "caption").axes
    (image,) = axes.images
    assert np.asarray(image.get_array()).tolist() == grid.tolist()
    assert image.get_clim() == (90, 101)
    assert axes.get_ylabel() == "columns"
    assert colour_bar.get_ylabel() == "entries"


def test_lines_that_coincide_are_all_seen(points: list[Point]) -> None:
    below, above = plots.padding(points).axes[0].get_lines()
    assert below.get_xydata().tolist() == above.get_xydata().tolist()
    assert below.get_markersize() > above.get_markersize()
    assert below.get_linewidth() > above.get_linewidth()


def test_every_picture_is_labelled_and_says_how_memories_are_sized(points: list[Point]) -> None:
    drawn = plots.pictures(points)
    assert list(drawn) == ["speedup", "padding", "balance", "queue_depth", "work"]
    for name, figure in drawn.items():
        assert figure._supxlabel is not None
        assert figure._supxlabel.get_text().endswith(plots.SIZED)
        if name != "work":
            (axes,) = figure.axes
            assert axes.get_xlabel()
            assert axes.get_ylabel()
            assert axes.get_legend() is not None
        image = matplotlib.image.imread(io.BytesIO(style.save(figure)), format="png")
        assert image.shape[1] > 800
        assert image[..., :3].std() > 0.02


def test_what_the_points_do_not_suffice_for_is_left_out(points: list[Point]) -> None:
    one = [p for p in points if p.n_pe == 4 and p.queue_depth == 8]
    assert list(plots.pictures(one)) == ["work"]
    # A layer with nothing active takes no cycles, whatever the PE count.
    idle = [dataclasses.replace(p, cycles=0) if p.layer == "fc1" else p for p in points]
    assert set(lines(plots.pictures(idle)["speedup"])) == {"ideal", "fc2"}
    idle = [dataclasses.replace(p, cycles=0) for p in points]
    assert list(plots.pictures(idle)) == ["padding", "balance", "queue_depth", "work"]
    # Layers swept over different PE counts have no speed-up together.
    some = [p for p in points if p.layer == "fc1" or p.n_pe < 16]
    assert set(lines(plots.speedup(some))) == {"ideal", "fc1", "fc2"}
    with pytest.raises(ConfigError, match="there is nothing to plot"):
        plots.pictures([])
