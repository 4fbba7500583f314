"""Any column against any other, and the Pareto front: what is drawn, and what is refused."""

from pathlib import Path

import numpy as np
import pytest

from eie.errors import ConfigError
from eie.sim.plots import columns as chart
from eie.sim.plots import style
from eie.sim.sweep.columns import COLUMNS, Row
from eie.sim.sweep.grid import expand
from eie.sim.sweep.run import run_in_memory

GRID = {
    "rows": 60,
    "cols": 50,
    "density": [0.1, 0.3],
    "seed": [1, 2],
    "n_pe": [1, 4, 16],
    "queue_depth": [1, 8],
}


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return run_in_memory(expand([GRID], "here").points)


def lines(figure: chart.Figure) -> dict[str, np.ndarray]:
    drawn = [line for line in figure.axes[0].get_lines() if line.get_linestyle() != "None"]
    return {str(line.get_label()): line.get_xydata() for line in drawn}


def test_lines_are_means_and_dots_are_points(rows: list[Row]) -> None:
    figure = chart.against(rows, "n_pe", "microseconds", ["density"], log="xy")
    drawn = lines(figure)
    assert list(drawn) == ["density 0.1", "density 0.3"]
    for n_pe, value in drawn["density 0.3"]:
        chosen = [r["microseconds"] for r in rows if (r["n_pe"], r["density"]) == (n_pe, 0.3)]
        assert value == pytest.approx(np.mean(chosen))
    (axes,) = figure.axes
    dots = [line for line in axes.get_lines() if line.get_linestyle() == "None"]
    assert sum(len(line.get_xdata()) for line in dots) == len(rows)
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert axes.get_xlabel() == "processing elements (PEs)"
    assert axes.get_ylabel() == "compute time (µs)"
    assert figure._supxlabel.get_text().startswith(
        "24 points; means over seed, queue_depth (dots: single points);"
    )
    assert style.save(figure).startswith(b"\x89PNG")


def test_text_and_numbers_that_are_missing(rows: list[Row]) -> None:
    mixed = [*rows, rows[0] | {"layer": "other", "seed": None, "cycles": 7}]
    by_layer = chart.against(mixed, "layer", "cycles")
    assert lines(by_layer) == {}
    assert 7 in by_layer.axes[0].get_lines()[-1].get_ydata()
    assert by_layer.axes[0].get_legend() is None
    (by_seed,) = lines(chart.against(mixed, "seed", "cycles")).values()
    assert by_seed[:, 0].tolist() == [1, 2]
    with pytest.raises(ConfigError, match="nothing to plot: no point has figures in seed and cycles"):
        chart.against(mixed[-1:], "seed", "cycles")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"x": "n_pes", "y": "cycles"}, "there is no column 'n_pes': did you mean n_pe"),
        ({"x": "n_pe", "y": "zzz"}, "there is no column 'zzz': use key, status, error"),
        ({"x": "n_pe", "y": "layer"}, "column 'layer' holds text, and an axis needs numbers"),
        (
            {"x": "work", "y": "cycles"},
            "column 'work' holds a list for each point, which an axis cannot show",
        ),
        (
            {"x": "layer", "y": "cycles", "log": "x"},
            "column 'layer' holds text, which a logarithmic axis cannot show",
        ),
        (
            {"x": "n_pe", "y": "fillers", "log": "y"},
            "column 'fillers' holds 0, which a logarithmic axis cannot show",
        ),
        (
            {"x": "n_pe", "y": "cycles", "by": ["key"]},
            "column 'key' has 24 values, and there are 14 colours: use another column, or choose points (--where)",
        ),
        ({"x": "n_pe", "y": "cycles", "by": ["no"]}, "there is no column 'no'"),
    ],
)
def test_refused(rows: list[Row], options: dict, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        chart.against(rows, **options)
    assert says in str(caught.value)


def test_every_number_can_be_drawn(rows: list[Row]) -> None:
    for column in COLUMNS:
        if column.sql in ("INTEGER", "REAL") and column.name != "uneven":
            figure = chart.against(rows, "n_pe", column.name)
            assert column.meaning in figure.axes[0].get_ylabel()
            assert column.unit in figure.axes[0].get_ylabel()


def test_by_is_colour_then_marker_then_line_style(rows: list[Row]) -> None:
    by = ["density", "queue_depth", "seed"]
    (axes,) = chart.against(rows, "n_pe", "cycles", by).axes
    drawn = {str(line.get_label()): line for line in axes.get_lines()}
    assert len(drawn) == 8
    for label, line in drawn.items():
        density, depth, seed = label.split(", ")
        assert line.get_color() == style.COLOURS[density == "density 0.3"]
        assert line.get_marker() == style.MARKERS[depth == "queue_depth 8"]
        assert line.get_linestyle() == style.LINES[seed == "seed 2"]
    legend = [text.get_text() for text in axes.get_legend().get_texts()]
    assert legend == ["density 0.1", "density 0.3", "queue_depth 1", "queue_depth 8", "seed 1", "seed 2"]
    assert axes.get_title(loc="left") == "Compute time\nagainst processing elements"
    many = [row | {"density": number / 100} for number, row in enumerate(rows[:10])]
    shades = {
        line.get_color() for line in chart.against(many, "n_pe", "cycles", ["density"]).axes[0].get_lines()
    }
    assert len(shades) == 10
    with pytest.raises(ConfigError, match="4 columns in by are too many"):
        chart.against(rows, "n_pe", "cycles", [*by, "layer"])
    deep = [row | {"queue_depth": number} for number, row in enumerate(rows[:8])]
    with pytest.raises(ConfigError, match="column 'queue_depth' has 8 values, and there are 7 markers"):
        chart.against(deep, "n_pe", "cycles", ["density", "queue_depth"])


def test_logarithmic_axes_have_at_least_three_numbers(rows: list[Row]) -> None:
    for top in (1.2, 2, 9, 50, 800, 1e6):
        scaled = [row | {"cycles": 1 + (top - 1) * number} for number, row in enumerate(rows[:2])]
        figure = chart.against(scaled, "seed", "cycles", log="y")
        (axes,) = figure.axes
        low, high = axes.get_ylim()
        ticks = [tick for tick in axes.get_yticks() if low <= tick <= high]
        assert len(ticks) >= 3, top
        assert all(axes.yaxis.get_major_formatter()(tick, 0) for tick in ticks)


def overlaid(rows: list[Row], file: Path) -> chart.Figure:
    stars = chart.read_overlay(file, ["microseconds", "energy_nj"])
    return chart.against(rows, "microseconds", "energy_nj", log="xy", overlay=stars)


def test_points_of_others_are_stars(rows: list[Row], tmp_path: Path) -> None:
    file = tmp_path / "points.csv"
    file.write_text("label,microseconds,energy_nj\npaper,0.5,9.5\nours,2,3\n")
    stars = chart.read_overlay(file, ["microseconds", "energy_nj"])
    (axes,) = overlaid(rows, file).axes
    drawn = [line.get_xydata().tolist() for line in axes.get_lines() if line.get_marker() == "*"]
    assert drawn == [[[0.5, 9.5]], [[2, 3]]]
    assert [text.get_text() for text in axes.texts] == ["paper", "ours"]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["other sources"]
    front = chart.front_picture(chart.pareto(rows), rows, stars).axes[0]
    assert sum(line.get_marker() == "*" for line in front.get_lines()) == 2
    low, high = front.get_xlim()
    assert low < 0.5 < 2 < high
    for text, says in (
        ("a,b\n1,2\n", "has no column microseconds and no column energy_nj"),
        ("microseconds,energy_nj\n1,x\n", "line 2: microseconds, energy_nj must be numbers"),
        ("microseconds,energy_nj\n0,1\n", "cannot be shown on a logarithmic axis"),
    ):
        file.write_text(text)
        with pytest.raises(ConfigError, match=says):
            overlaid(rows, file)
    with pytest.raises(ConfigError, match=r"cannot read .*no\.csv: No such file"):
        chart.read_overlay(tmp_path / "no.csv", ["n_pe"])


def candidate(rows: list[Row], n_pe: int, microseconds: float, energy: float, area: float) -> Row:
    return rows[0] | {"n_pe": n_pe, "microseconds": microseconds, "energy_nj": energy, "area_mm2": area}


def test_the_front_by_hand(rows: list[Row]) -> None:
    made = [
        candidate(rows, 1, 10, 1, 1),
        candidate(rows, 2, 10, 1, 2),  # no better than the first, and larger
        candidate(rows, 4, 5, 2, 4),
        candidate(rows, 8, 5, 2, 4),  # the same as the one before
        candidate(rows, 16, 6, 3, 3),  # smaller than that
        candidate(rows, 32, 5, 3, 4),
        candidate(rows, 64, 1, 9, 9),
    ]
    found = chart.pareto(made)
    assert [one.choice["n_pe"] for one in found.front] == [64, 4, 8, 16, 1]
    assert [one.choice["n_pe"] for one in found.beaten] == [32, 2]
    assert found.fields == ["n_pe"]
    assert found.labels() == {(1, 9, 9): "64", (5, 2, 4): "4/8", (6, 3, 3): "16", (10, 1, 1): "1"}
    figure = chart.front_picture(found, made)
    axes, bar = figure.axes
    assert sorted(text.get_text() for text in axes.texts) == sorted(found.labels().values())
    assert (axes.get_xlabel(), bar.get_ylabel()) == ("compute time (µs)", "area, whole chip (mm²)")
    assert (
        "7 machines, 5 on the front of time, energy and area; labels, where there is room: n_pe;"
        in " ".join(figure._supxlabel.get_text().split())
    )
    assert style.save(figure).startswith(b"\x89PNG")


def test_the_front_compares_like_with_like(rows: list[Row]) -> None:
    found = chart.pareto(rows)
    assert len(found.front) + len(found.beaten) == 6
    assert (found.workloads, found.left_out) == (4, 0)
    for one in [*found.front, *found.beaten]:
        same = [
            r
            for r in rows
            if (r["n_pe"], r["queue_depth"]) == (one.choice["n_pe"], one.choice["queue_depth"])
        ]
        assert len(same) == 4
        assert one.microseconds == pytest.approx(np.mean([r["microseconds"] for r in same]))
        assert one.energy_nj == pytest.approx(np.mean([r["energy_nj"] for r in same]))
        assert one.area_mm2 == max(r["area_mm2"] for r in same)
    # A machine that ran only some of the layers cannot be compared.
    assert chart.pareto(rows[1:]).left_out == 1
    halves = [r for r in rows if (r["n_pe"] == 1) == (r["density"] == 0.1)]
    with pytest.raises(ConfigError, match="no machine ran every layer and input"):
        chart.pareto(halves)
    with pytest.raises(ConfigError, match="nothing to plot"):
        chart.pareto([])
