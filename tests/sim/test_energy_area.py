"""The published table beside ours: what docs/energy.md claims, line by line, and the width of the matrix SRAM."""

import json
import re

import numpy as np
import pytest

from eie.capacity import sized_for
from eie.config import ArchConfig
from eie.errors import ConfigError
from eie.layer import CompressedLayer
from eie.program import Job
from eie.schema import PE_BLOCKS
from eie.sim.energy.activity import count_changes
from eie.sim.energy.constants import constants, names_of, tagged
from eie.sim.energy.width import matrix_reads, sram_width_energy
from eie.sim.engines.fast import prepare
from eie.sim.evaluation.energy_area import lines, published_run, section
from eie.sim.evaluation.energy_assumptions import NAMES, moving, varied
from eie.sim.evaluation.layers import BENCHMARKS, benchmark, machine, simulated
from eie.sim.published import published
from eie.sim.workloads.random import random_input, random_layer
from tests.support import ROOT

PAGE = (ROOT / "docs" / "energy.md").read_text()
ALEXNET = ("Alex-6", "Alex-7", "Alex-8")


@pytest.fixture(scope="module")
def run():
    return published_run(1)


@pytest.fixture(scope="module")
def part():
    said = []
    found = section(1, said.append)
    assert said == [f"energy: {name}" for name in BENCHMARKS]
    return found


def test_the_total_is_within_ten_per_cent(run):
    total = lines(run.ours)[0]
    assert total.published.power_mw == published().pe.power_mw
    assert abs(total.power_off) < 0.10
    assert abs(total.area_off) < 0.10


def test_lines_that_miss_twenty_per_cent_have_a_reason(run, part):
    found = lines(run.ours)
    assert [line.name for line in found if line.kind == "block"] == list(PE_BLOCKS)
    missed = {line.name for line in found if line.power_off is not None and abs(line.power_off) > 0.20}
    missed |= {line.name for line in found if line.area_um2 and abs(line.area_off) > 0.20}
    assert missed == {"spmat_read", "arithm_unit", "act_queue", "act_rw", "clock network", "register"}
    reasons = {text.split("**")[1].lower() for text in part.text if text.startswith("**")}
    assert reasons >= {name.replace("_", "") for name in missed}
    listed = next(text for text in part.text if text.startswith("**Total**"))
    for line in found:
        assert (f"{NAMES.get(line.name, line.name)} (" in listed) == (line.name in missed), line.name


def test_the_totals_errors_cancel_as_stated(run, part):
    errors = [line.power_mw - line.published.power_mw for line in lines(run.ours) if line.kind == "component"]
    stated = f"add up to {sum(errors):+.2f} mW, and to {sum(map(abs, errors)):.2f} mW without their signs"
    assert stated in part.text[1]
    assert abs(sum(errors)) < 0.6 * sum(map(abs, errors))


def test_a_read_at_every_columns_begin_explains_spmat_read(run):
    unheld = {line.name: line.power_off for line in lines(run.unheld)}
    assert abs(unheld["spmat_read"]) < 0.20
    assert abs(unheld["one PE"]) < 0.10


def test_the_chip_is_within_ten_per_cent(run):
    facts = published().chip
    assert abs(run.ours.power_mw / 1000 / facts.power_w - 1) < 0.10
    assert abs(run.ours.area_mm2 / facts.area_mm2 - 1) < 0.10


# ---- what is assumed -----------------------------------------------------------------------------------------------


def test_the_power_total_hangs_on_the_supply(run, part):
    # Only the supply of the published operations brings it within the target: not a result, but a choice.
    off = {
        volts: varied(run.result, operating_v=volts).pe_power_mw / published().pe.power_mw - 1
        for volts in (0.9, 1.0, 1.1)
    }
    assert -0.10 < off[0.9] < 0 < 0.10 < off[1.0] < off[1.1]
    rows = [row for row in part.tables[2].rows if row[0] == "operating_v"]
    assert [row[1] for row in rows] == ["0.9 V (used)", "1 V", "1.1 V"]
    assert [row[3] for row in rows] == [f"{100 * value:+.1f} %" for value in off.values()]
    (supply,) = (text for text in part.text if text.startswith("**Supply.**"))
    assert all(row[3] in supply for row in rows)


def test_every_assumed_constant_is_in_the_table_with_all_its_values(part):
    rows = part.tables[2].rows
    for name in names_of("assumed"):
        mine = [row for row in rows if row[0] == name and "counted" not in row[1]]
        assert len(mine) == 1 + len(tagged()[name].other), name
        assert sum("(used)" in row[1] for row in mine) == 1
    used = {tuple(row[2:]) for row in rows if "(used)" in row[1] and row[2] != "-"}
    assert len(used) == 1
    assert next(iter(used))[0] == part.tables[0].rows[0][1]


def test_fitted_and_assumed_constants_are_counted_together(run, part):
    assert part.data["fitted"] == ["filler_share"]
    assert moving(run.result) == [
        name for name in names_of("assumed") if name not in ("cell_slew_ps", "file_port_share")
    ]
    assert part.data["assumed_in_power"] == moving(run.result)
    (text,) = (text for text in part.text if text.startswith("**Constants.**"))
    assert "Fitted: 1," in text
    assert "Assumed: 8." in text
    assert "there are 9, and that rule is broken" in text
    assert all(name in text for name in names_of("assumed"))


def test_the_counted_activity_is_near_the_assumed_one(part):
    counted = part.data["activity_counted"]
    assert list(counted) == ["random layer", "trained network"]
    assert 0.42 < counted["trained network"] < counted["random layer"] < constants().activity
    rows = [row for row in part.tables[2].rows if "counted" in row[1]]
    assert [row[1].split(",")[0] for row in rows] == [f"{value:.2f}" for value in counted.values()]
    # It moves the total by little, and does not bring ArithmUnit to the published power.
    assert all(float(row[5].split()[0]) > 20 for row in rows)


def test_changes_by_hand():
    # One PE, one column of four entries at rows 0 to 3, codes 1, 2, 1, 2 and the input 3: products 3, 6, 3, 6.
    codes = np.array([[1], [2], [1], [2]], np.uint8)
    layer = CompressedLayer.from_codes(codes, np.arange(16))
    cfg = sized_for(ArchConfig(n_pe=1), layer)
    changes = count_changes([Job.create(layer, [3], cfg)])
    names = ("valid", "write")  # of three stages: up, and down again
    by_hand = {
        "flags": 2 * 3 * len(names),
        "code": 1 + 2 + 2 + 2,  # 0, 1, 2, 1, 2
        "value": 2,  # 0, 3
        "rows": 3 * (1 + 2 + 1),  # 0, 1, 2, 3 in three stages
        "product": 2 + 2 + 2 + 2,  # 0, 3, 6, 3, 6
        "sum": 2 + 2 + 2 + 2,  # accumulators start at 0
        "operand": 2,  # once more the last row, which holds 6 by then
    }
    assert changes["arithm_unit"].counted == sum(by_hand.values())
    assert changes["arithm_unit"].entries == 4
    assert "act_rw" not in changes


@pytest.mark.parametrize("seed", [2, 3])
def test_another_seed_says_the_same(run, seed):
    for one, other in zip(lines(run.ours), lines(published_run(seed).ours), strict=True):
        assert other.power_mw == pytest.approx(one.power_mw, rel=0.02), seed
        assert other.area_um2 == one.area_um2


def test_only_the_filler_cells_are_marked_as_fitted(part):
    rows = part.tables[0].rows
    assert [row[0] for row in rows if "fitted" in row[0]] == ["filler cell (fitted)"]
    assert len(rows) == 1 + 5 + 5
    json.dumps(part.data)


def test_the_layers_figures_are_their_runs(part):
    for name, row in zip(BENCHMARKS, part.tables[4].rows, strict=True):
        result = simulated(name, 1)
        data = part.data["layers"][name]
        assert row[0] == name
        assert float(row[1]) == pytest.approx(result.microseconds, abs=0.005)
        assert data["pj_per_mac"] == pytest.approx(data["energy_nj"] * 1000 / result.total("macs"))
        facts = published().layer(name)
        assert data["dense_gops"] / data["gops"] == pytest.approx(
            facts.rows * facts.cols / result.total("macs")
        )


def test_tables_and_picture_are_whole(part):
    for table in part.tables:
        assert all(len(row) == len(table.headings) for row in table.rows), table.title
    assert [picture.name for picture in part.pictures] == ["energy_area"]
    left, right = part.pictures[0].figure.axes
    assert left.get_xlabel() == "power (mW)"
    shown = [line for line in part.data["pe"] if line["line"] != "filler cell"]
    bars = {c.get_label(): [bar.get_width() for bar in c] for c in left.containers}
    assert list(bars) == ["ours", "published"]  # as in the legend, and from above
    assert bars["ours"] == [line["power_mw"] for line in shown]
    assert bars["published"] == [line["published_power_mw"] for line in shown]
    tops = [c[0].get_y() for c in left.containers]
    low, high = left.get_ylim()
    assert low > high
    assert tops == sorted(tops)
    drawn = {line.get_label(): line.get_xdata() for line in right.lines}
    for what, key in (("power", "power_mw"), ("area", "area_um2")):
        for place, line in zip(drawn[what], shown, strict=True):
            if line[key]:
                assert place == pytest.approx(line[key] / line[f"published_{key}"] - 1)
            else:
                assert np.isnan(place)


def test_the_page_names_every_constant_it_uses():
    for name in re.findall(r"`((?:ff|latch|gate|filler|operating|int16)_\w+)`", PAGE):
        assert name in tagged()


# ---- the width of the matrix SRAM ----------------------------------------------------------------------------------


def totals(held, names=ALEXNET, seed=1):
    widths = published().statements.sram_widths
    energy = np.zeros(len(widths))
    for name in names:
        layer, x = benchmark(name, seed)
        points = sram_width_energy(layer, x, ArchConfig(), widths, held=held)
        energy += [point.total_nj for point in points]
    return dict(zip(widths, energy, strict=True))


@pytest.mark.parametrize("seed", [1, 2])
def test_least_energy_at_the_published_width(seed):
    energy = totals(held=False, seed=seed)
    assert min(energy, key=energy.get) == published().statements.sram_best_width == 64, seed


def test_with_the_word_held_the_widest_is_best_and_the_page_says_that_the_check_is_missed():
    energy = totals(held=True)
    assert min(energy, key=energy.get) == 512
    alone = [totals(held=False, names=(name,)) for name in BENCHMARKS]
    met = sum(min(energy, key=energy.get) == 64 for energy in alone)
    page = PAGE.replace("\n", " ")
    assert (
        "With a read at the start of each column, AlexNet meets the published minimum, 64 bits (and so do "
        f"{met} of the {len(alone)} layers alone)" in page
    )
    assert "Our machine misses it: it holds the word from column to column" in page
    assert "its minimum is 512 bits" in page


@pytest.mark.parametrize("word_bits", [16, 64, 512])
def test_reads_are_the_counter(word_bits):
    layer, x = benchmark("NT-We", 1)
    cfg = machine(layer).replace(word_bits=word_bits, pointer_bits=32)
    run = prepare(layer, cfg).run(x)
    assert np.array_equal(matrix_reads(layer, x, cfg), run.counters["spmat_reads"])
    point = sram_width_energy(layer, x, cfg, (word_bits,))[0]
    assert point.reads == run.total("spmat_reads")


def test_reads_without_holding_by_hand():
    # One PE, two entries a word: columns of 3, 0, 1, 2 entries begin at entries 0, 3, 3, 4.
    rng = np.random.default_rng(5)
    codes = np.zeros((4, 4), np.uint8)
    for column, length in enumerate((3, 0, 1, 2)):
        codes[:length, column] = 1
    layer = CompressedLayer.from_codes(codes, [0, *rng.integers(1, 9, 15)])
    cfg = ArchConfig(n_pe=1, word_bits=16)
    assert matrix_reads(layer, np.ones(4, int), cfg, held=False).tolist() == [2 + 0 + 1 + 1]
    assert matrix_reads(layer, np.ones(4, int), cfg).tolist() == [3]
    assert matrix_reads(layer, np.array([0, 1, 0, 0]), cfg).tolist() == [0]
    assert matrix_reads(layer, np.zeros(4, int), cfg).tolist() == [0]


def test_a_wrong_input_is_refused():
    layer = random_layer(16, 8, 0.5, seed=1)
    with pytest.raises(ConfigError, match=r"the layer has 8 columns, and the input the shape \(9,\)"):
        sram_width_energy(layer, random_input(9, 0.5, seed=1), ArchConfig(n_pe=4))
    with pytest.raises(ConfigError, match="word_bits must be a power of two"):
        sram_width_energy(layer, random_input(8, 0.5, seed=1), ArchConfig(n_pe=4), (48,))
