"""Pictures: what the lines and panels hold, and that labels, legends and captions are there."""

import io

import matplotlib.image
import numpy as np
import pytest

from eie.config import ArchConfig
from eie.errors import ConfigError
from eie.sim.plots import style
from eie.sim.plots import sweep as plots
from eie.sim.sweep.columns import Row
from eie.sim.sweep.point import held_points
from eie.sim.sweep.run import run_in_memory
from eie.sim.workloads.random import random_input, random_layer

COUNTS = [1, 4, 16]


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    layers = [random_layer(60, 50, 0.2, seed=1, name=name) for name in ("fc1", "fc2")]
    inputs = np.stack([random_input(50, 0.5, seed) for seed in (1, 2)])
    machines = [ArchConfig(n_pe=n, queue_depth=depth) for n in COUNTS for depth in (1, 2, 8)]
    return run_in_memory(held_points(layers, [inputs, inputs], machines))


def lines(figure: plots.Figure) -> dict[str, np.ndarray]:
    return {str(line.get_label()): line.get_xydata() for line in figure.axes[0].get_lines()}


def test_speedup_is_the_ratio_of_summed_cycles(rows: list[Row]) -> None:
    drawn = lines(plots.speedup(rows))
    assert set(drawn) == {"ideal", "fc1", "fc2", "all layers together"}
    cycles = {
        n: sum(p["cycles"] for p in rows if (p["layer"], p["n_pe"], p["queue_depth"]) == ("fc1", n, 8))
        for n in COUNTS
    }
    assert drawn["fc1"] == pytest.approx(np.array([[n, cycles[1] / cycles[n]] for n in COUNTS]))
    assert drawn["ideal"].tolist() == [[n, n] for n in COUNTS]
    # Both layers have the same matrix here.
    assert drawn["all layers together"] == pytest.approx(drawn["fc1"])


def test_padding_and_balance(rows: list[Row]) -> None:
    at_4 = [p for p in rows if (p["layer"], p["n_pe"], p["queue_depth"]) == ("fc2", 4, 8)]
    padding = sum(p["fillers"] for p in at_4) / sum(p["entries"] for p in at_4)
    assert lines(plots.padding(rows))["fc2"][1] == pytest.approx([4, padding])
    mean = np.mean([p["balance"] for p in at_4])
    assert lines(plots.balance(rows))["fc2"][1] == pytest.approx([4, mean])
    useful = np.mean([p["macs"] / (4 * p["cycles"]) for p in at_4])
    assert lines(plots.utilization(rows))["fc2"][1] == pytest.approx([4, useful])


def test_queue_depth_uses_the_largest_pe_count(rows: list[Row]) -> None:
    drawn = lines(plots.queue_depth(rows))["fc1"]
    assert drawn[:, 0].tolist() == [1, 2, 8]
    expected = [
        np.mean(
            [p["balance"] for p in rows if (p["layer"], p["n_pe"], p["queue_depth"]) == ("fc1", 16, depth)]
        )
        for depth in (1, 2, 8)
    ]
    assert drawn[:, 1] == pytest.approx(expected)
    # Depths swept at one PE count only.
    some = [p for p in rows if p["n_pe"] == 4 or p["queue_depth"] == 8]
    assert lines(plots.queue_depth(some))["fc1"][:, 0].tolist() == [1, 2, 8]


def test_work_shows_every_entry(rows: list[Row]) -> None:
    figure = plots.pictures(rows)["work"]
    heights = [bar.get_height() for bar in figure.axes[0].patches]
    total = sum(p["entries"] for p in rows if (p["layer"], p["n_pe"], p["queue_depth"]) == ("fc1", 16, 8))
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


def test_lines_that_coincide_are_all_seen(rows: list[Row]) -> None:
    below, above = plots.padding(rows).axes[0].get_lines()
    assert below.get_xydata().tolist() == above.get_xydata().tolist()
    assert below.get_markersize() > above.get_markersize()
    assert below.get_linewidth() == above.get_linewidth()
    assert (below.get_linestyle(), above.get_linestyle()) == ("-", "--")


def test_every_picture_is_labelled_and_says_how_memories_are_sized(rows: list[Row]) -> None:
    drawn = plots.pictures(rows)
    assert list(drawn) == ["speedup", "padding", "balance", "utilization", "queue_depth", "work"]
    for name, figure in drawn.items():
        assert figure._supxlabel is not None
        assert figure._supxlabel.get_text().endswith(plots.MEMORIES["sized"])
        if name != "work":
            (axes,) = figure.axes
            assert axes.get_xlabel()
            assert axes.get_ylabel()
            assert axes.get_legend() is not None
        image = matplotlib.image.imread(io.BytesIO(style.save(figure)), format="png")
        assert image.shape[1] > 800
        assert image[..., :3].std() > 0.02


def test_what_the_points_do_not_suffice_for_is_left_out(rows: list[Row]) -> None:
    one = [p for p in rows if p["n_pe"] == 4 and p["queue_depth"] == 8]
    assert list(plots.pictures(one)) == ["work"]
    # A layer with nothing active takes no cycles, whatever the PE count.
    idle = [p | {"cycles": 0} if p["layer"] == "fc1" else p for p in rows]
    assert set(lines(plots.pictures(idle)["speedup"])) == {"ideal", "fc2"}
    idle = [p | {"cycles": 0} for p in rows]
    assert list(plots.pictures(idle)) == ["padding", "balance", "utilization", "queue_depth", "work"]
    # Layers swept over different PE counts have no speed-up together.
    some = [p for p in rows if p["layer"] == "fc1" or p["n_pe"] < 16]
    assert set(lines(plots.speedup(some))) == {"ideal", "fc1", "fc2"}
    with pytest.raises(ConfigError, match="nothing to plot"):
        plots.pictures([])


def test_fields_that_differ_make_lines_of_their_own(rows: list[Row]) -> None:
    other = [p | {"index_bits": 5, "key": p["key"] + "x"} for p in rows]
    drawn = lines(plots.padding([*rows, *other]))
    assert set(drawn) == {f"{layer}, index_bits {bits}" for layer in ("fc1", "fc2") for bits in (4, 5)}
    # Of one layer only the fields are named, and nothing is added up.
    one = [p for p in [*rows, *other] if p["layer"] == "fc1"]
    assert set(lines(plots.speedup(one))) == {"ideal", "index_bits 4", "index_bits 5"}
    assert set(lines(plots.speedup([*rows, *other]))) == {"ideal", *drawn}
    many = [p | {"layer": f"fc{n}"} for n in range(plots.MAX_LINES + 1) for p in rows[:2]]
    assert plots.pictures(many) == {}
    some = many[: 2 * plots.MAX_LINES]
    assert "work" not in plots.pictures(some)
    assert plots.left_out(some) == {
        "speedup": "it needs several PE counts",
        "padding": "it needs several PE counts",
        "balance": "it needs several PE counts",
        "utilization": "it needs several PE counts",
        "queue_depth": "it needs several queue depths",
        "work": "it would have 14 panels, more than 9: choose points with --where",
    }


def test_captions_say_whose_memories(rows: list[Row]) -> None:
    own = [p | {"memories": "own"} for p in rows]
    assert plots.memories([*rows, *own]) == f"{plots.MEMORIES['sized']} {plots.MEMORIES['own']}"
    assert plots.made_by([rows[0], rows[0] | {"engine": "icarus", "clock_hz": 10**9}]) == (
        "cycles by the timing law and cycles of the RTL in icarus; 800, 1000 MHz"
    )
