"""SRAM figures: the table, the rule between its points against CACTI's own figures, and CACTI where it runs."""

import importlib.util
import itertools
import stat
import sys
from pathlib import Path

import numpy as np
import pytest

from eie.errors import CapacityError, FormatError, SimulatorMissing
from eie.sim.energy import cacti
from eie.sim.energy.sram import MAX_BYTES, Sram, parse, sram, table
from tests.support import ROOT


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("gen_sram_table", ROOT / "scripts" / "gen_sram_table.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_known_points():
    big, small = sram((128 << 10) * 8 // 64, 64), sram((32 << 10) * 8 // 64, 64)
    assert round(big.read_pj, 1) == 32.3
    assert round(big.area_um2 * 1e-6, 3) == 0.430
    assert round(small.read_pj, 1) == 17.0
    assert round(small.area_um2 * 1e-6, 3) == 0.095


def test_the_table_spans_what_it_says():
    rows = table().rows
    assert list(rows) == [8, 16, 32, 64, 128, 256, 512]
    for width, points in rows.items():
        sizes = [size for size, _ in points]
        assert sizes[0] == 8 * width
        assert sizes[-1] == 16 << 20
        assert all(after == 2 * before for before, after in itertools.pairwise(sizes))


def test_the_rule_meets_cacti_where_the_table_has_no_point(script):
    # What docs/energy.md states, and not much better either, or the page would be out of date.
    held_out = parse(script.HELD_OUT.read_text())
    errors = {name: 100 * np.abs(off) for name, off in script.errors(held_out).items()}
    stated = {"read_pj": (4.3, 17.4, 27.1), "area_um2": (2.9, 8.7, 16.6)}
    for name, (median, most, largest) in stated.items():
        assert len(errors[name]) == 140
        assert np.median(errors[name]) == pytest.approx(median, abs=0.05)
        assert np.quantile(errors[name], 0.9) == pytest.approx(most, abs=0.05)
        assert errors[name].max() == pytest.approx(largest, abs=0.05)


def test_nothing_that_is_held_out_is_in_the_table(script):
    for width, points in parse(script.HELD_OUT.read_text()).rows.items():
        inside = {size for size, _ in table().rows.get(width, ())}
        assert not inside & {size for size, _ in points}


@pytest.mark.parametrize("width", [8, 16, 32, 64, 128])
def test_a_larger_memory_costs_more(width):
    # By a factor of four: CACTI's own figures dip now and then between neighbours.
    words = [64 * 4**k for k in range(9)]
    for figure in ("read_pj", "write_pj", "leakage_mw", "area_um2"):
        values = [getattr(sram(w, width), figure) for w in words]
        assert values == sorted(values), figure


def test_a_wider_word_costs_more_energy():
    reads = [sram((128 << 10) * 8 // width, width).read_pj for width in (16, 32, 64, 128, 256, 512)]
    assert reads == sorted(reads)


def test_tiny_and_odd_memories_have_figures():
    for words, width in ((1, 1), (1, 16), (3, 5), (5, 512), (16384, 12), (40000, 24)):
        figures = sram(words, width)
        assert figures.read_pj > 0
        assert figures.area_um2 > 0


@pytest.mark.parametrize(("words", "width"), [(0, 64), (64, 0), (MAX_BYTES * 8 // 64 + 1, 64)])
def test_impossible_memories_are_refused(words, width):
    with pytest.raises(
        CapacityError, match=rf"no energy figures for an SRAM of {words} words of {width} bits"
    ):
        sram(words, width)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("bits = 16\n", "", "bits"),
        ("supply_v = 1.1\n", "", "supply_v"),
        ("bytes = [64, 128", "bytes = [128, 128", "width 8: sizes must ascend"),
        ("bytes = [64, 128", "bytes = [128", "zip"),
        ("read_pj = [0.17", "read_pj = [-0.17", "every figure be positive"),
    ],
)
def test_a_damaged_table_is_refused(old, new, message):
    text = (ROOT / "sim" / "energy" / "data" / "sram.toml").read_text()
    assert old in text
    with pytest.raises(FormatError, match=message):
        parse(text.replace(old, new, 1))


# ---- CACTI itself ----------------------------------------------------------------------------------------------


def test_without_cacti_its_figures_are_the_rules(monkeypatch):
    monkeypatch.setattr(cacti, "find", lambda: None)
    assert cacti.figures(1000, 64) == sram(1000, 64)


def _pretend(folder: Path, script_text: str) -> Path:
    binary = folder / "cacti"
    binary.write_text(f"#!/bin/sh\n{script_text}\n")
    binary.chmod(binary.stat().st_mode | stat.S_IXUSR)
    return binary


def test_cacti_is_asked_for_the_memory_and_its_answer_is_read(tmp_path, monkeypatch):
    head = " Dynamic read energy (nJ), Dynamic write energy (nJ), Standby leakage per bank(mW), Area (mm2)"
    binary = _pretend(tmp_path, f'cp "$2" asked.cfg; printf "{head}\\n0.01, 0.02, 0.5, 0.25\\n" > "$2.out"')
    monkeypatch.setenv(cacti.ENVIRONMENT, str(binary))
    assert cacti.figures(1000, 64) == Sram(10.0, 20.0, 0.5, 250000.0)
    asked = (tmp_path / "asked.cfg").read_text()
    assert "-size (bytes) 8000\n" in asked
    assert "-block size (bytes) 8\n" in asked
    assert '"itrs-lstp"' in asked


def test_a_cacti_that_finds_nothing_says_so(tmp_path):
    binary = _pretend(tmp_path, 'echo "ERROR: no valid data array organizations found" >&2')
    with pytest.raises(
        SimulatorMissing, match="no figures for 64 bytes x 512 bits: ERROR: no valid data array"
    ):
        cacti.run(binary, 64, 512)


def test_a_cacti_that_is_not_there_says_so(tmp_path):
    with pytest.raises(SimulatorMissing, match="does not run"):
        cacti.run(tmp_path / "cacti", 8192, 64)
