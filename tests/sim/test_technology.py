"""Technologies: the published table, files of a user's own, and what estimates, sweeps and plans make of them."""

import dataclasses
import math
import pickle
from pathlib import Path

import pytest
from click.testing import CliRunner

import eie
from eie.cli.main import main
from eie.errors import ConfigError
from eie.sim.energy import technology as tech
from eie.sim.energy.model import estimate
from eie.sim.workloads.random import random_input, random_layer
from tests.support.json_schemas import check


@pytest.fixture(scope="module")
def result() -> eie.Result:
    return eie.simulate(random_layer(64, 64, 0.2, seed=1), random_input(64, 0.5, 1), engine="fast")


def of(result: eie.Result, technology: tech.Technology | None):
    return estimate(result.cfg, result.counters, result.cycles, technology=technology)


def test_45_nm_is_what_is_estimated_otherwise(result: eie.Result) -> None:
    assert of(result, tech.default()) == of(result, None)


def test_the_table_falls_with_the_node_and_is_met_between_its_rows() -> None:
    sizes = [7, 8, 10, 12, 14, 16, 18, 20, 28, 32, 40, 45]
    for values in zip(*map(tech.scaling, sizes), strict=True):
        assert list(values) == sorted(values)
    # Halfway in logarithms is the geometric mean.
    between = tech.scaling(math.sqrt(20 * 32))
    for middle, low, high in zip(between, tech.scaling(20), tech.scaling(32), strict=True):
        assert middle == pytest.approx(math.sqrt(low * high))
    # The paper's own example, with its corrected coefficients: 1 pJ at 32 nm and 0.9 V is 0.4571 in the table's unit.
    assert tech.nodes()[32].at(0.9) == pytest.approx(0.4571, abs=1e-4)


def test_area_energy_and_leakage_are_scaled_each_by_its_factor(result: eie.Result, tmp_path: Path) -> None:
    base = of(result, None)
    small = of(result, tech.at_node(16))
    area, energy = tech.scaling(16)
    assert small.area_mm2 == pytest.approx(area * base.area_mm2)
    dynamic = sum(part.count * part.dynamic_pj for part in base.parts) * 1e-3
    leakage = base.energy_nj - dynamic
    assert small.energy_nj == pytest.approx(energy * dynamic + area * leakage)
    (tmp_path / "t.toml").write_text(
        'name = "mine"\nnode_nm = 16\n[factors]\nleakage = 3\narea = 2\n[constants]\nactivity = 0.25\n'
    )
    mine = tech.read(tmp_path / "t.toml")
    assert (mine.name, mine.constants.activity) == ("mine", 0.25)
    assert of(result, mine).area_mm2 == pytest.approx(2 * small.area_mm2)
    assert of(result, mine).energy_nj != small.energy_nj


def test_loading_takes_the_published_energy_of_dram(tmp_path: Path) -> None:
    assert tech.default().loading_nj(32) == pytest.approx(0.64)
    (tmp_path / "t.toml").write_text("[external]\ndram_pj_per_bit = 0\nio_pj_per_bit = 1.5\n")
    assert tech.read(tmp_path / "t.toml").loading_nj(1000) == pytest.approx(1.5)
    layer, cfg = random_layer(6, 5, 0.5, seed=1), eie.ArchConfig(n_pe=2)
    assert tech.input_bits(layer, cfg) == 5 * 16 + 6 * 16
    assert tech.weight_bits(layer, 15, cfg) == 15 * 8 + 2 * 6 * 16 + 16 * 16


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("node = 16", "there is no key node: use constants, external, factors, name, node_nm, supply_v"),
        ("node_nm = 5", "node_nm must be from 7 to 45, not 5"),
        ("supply_v = 3", "supply_v must be from 0.6 to 1.2, not 3"),
        ("[constants]\nactivit = 1", "there is no key constants.activit: use"),
        ("[factors]\narea = 0", "factors.area must be a positive number, not 0"),
        ("[factors]\narea = true", "factors.area must be a positive number, not True"),
        ("[external]\nio_pj_per_bit = -1", "external.io_pj_per_bit must be a positive number, not -1"),
        ("factors = 3", "factors must be a table: [factors]"),
        ("name = 3", "name must be a text, not 3"),
        ("name", "is not TOML"),
    ],
)
def test_wrong_files_are_told_with_their_place(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "t.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        tech.read(file)
    assert str(caught.value).startswith(str(file))
    assert says in str(caught.value)
    with pytest.raises(ConfigError, match=r"none\.toml: cannot be read: No such file or directory"):
        tech.named("none.toml", tmp_path)


def test_sweeps_and_fronts_have_the_technology(tmp_path: Path) -> None:
    rows = eie.sweep(rows=32, cols=32, density=0.2, n_pe=[1, 4], technology=["45nm", "16nm"])
    by_name = {(row["technology"], row["n_pe"]): row for row in rows}
    old, new = by_name["45 nm", 4], by_name["16 nm", 4]
    assert old["cycles"] == new["cycles"]
    assert new["area_mm2"] == pytest.approx(0.19 * old["area_mm2"])
    assert old["load_input_nj"] == new["load_input_nj"] == pytest.approx((32 * 16 + 32 * 16) * 20e-3)
    assert old["load_weights_nj"] > by_name["45 nm", 1]["load_weights_nj"]
    plain, loaded = rows.pareto(), rows.pareto(loading=True)
    assert loaded.front[0].energy_nj > plain.front[0].energy_nj
    with pytest.raises(ConfigError, match="node_nm must be from 7 to 45"):
        eie.sweep(rows=4, cols=4, technology="3nm")


def test_plans_say_what_loading_costs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["plan", "--random", "20x30", "--pe", "4"]
    (found,) = check("plan", CliRunner().invoke(main, [*command, "--json"]).stdout)
    assert found["loading_nj"] == pytest.approx(found["phases"]["load"] * 64 * 20e-3)
    assert found["setup_loading_nj"] == pytest.approx(sum(found["setup"].values()) * 64 * 20e-3)
    (tmp_path / "t.toml").write_text("[external]\ndram_pj_per_bit = 10\n")
    text = CliRunner().invoke(main, [*command, "--technology", "t.toml"]).stdout
    assert f"loading from DRAM: {found['loading_nj'] / 2:,.1f} nJ for an input" in text


def test_a_technology_is_pickled_with_its_point() -> None:
    one = tech.at_node(28)
    assert pickle.loads(pickle.dumps(one)) == one == dataclasses.replace(one)
    assert hash(one) == hash(tech.at_node(28))
