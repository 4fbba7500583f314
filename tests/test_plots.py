"""Pictures: what the lines and panels hold, and that labels, legends and captions are there."""

import io

import matplotlib.image
import numpy as np
import pytest

from eie.errors import ConfigError
from eie.sim import plots
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


def test_work_map_shows_every_entry(points: list[Point]) -> None:
    figure = plots.pictures(points)["work"]
    shown = np.asarray(figure.axes[0].images[0].get_array())
    total = sum(p.entries for p in points if (p.layer, p.n_pe, p.queue_depth) == ("fc1", 16, 8))
    assert shown.shape == (1, 16)
    assert shown.sum() == total


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
        image = matplotlib.image.imread(io.BytesIO(plots.save(figure)), format="png")
        assert image.shape[1] > 800
        assert image[..., :3].std() > 0.02


def test_what_the_points_do_not_suffice_for_is_left_out(points: list[Point]) -> None:
    one = [p for p in points if p.n_pe == 4 and p.queue_depth == 8]
    assert list(plots.pictures(one)) == ["work"]
    with pytest.raises(ConfigError, match="there is nothing to plot"):
        plots.pictures([])
