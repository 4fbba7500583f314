"""Synthesis: a Liberty reader and a timing analysis checked by hand, faults that are found, the command in small."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from eie.cli.main import main
from eie.config import ArchConfig
from eie.errors import FormatError, MismatchError, SimulatorMissing
from eie.rtl.pe import LATE
from eie.schema import COUNTER_BITS, PE_BLOCKS, fields
from eie.sim.cosim import toolchain
from eie.sim.energy.sram import sram
from eie.sim.synth import yosys as synth
from eie.sim.synth.array import LinkedArray
from eie.sim.synth.buffers import MOST_PF, buffer_nets
from eie.sim.synth.fo4 import fo4_ns, published_fo4_ns
from eie.sim.synth.liberty import Cell, read_liberty
from eie.sim.synth.opensta import longest_path_ns
from eie.sim.synth.sta import INPUT_SLEW, longest_path, netlist_of
from eie.sim.synth.yosys import SynthReport, link_array, synthesise
from tests.support.json_schemas import check

SMALL = ArchConfig(n_pe=4, queue_depth=2, src_depth=4, acc_depth=4, pointers=9, entries=40)
LIBRARY = """/* two cells */
library (tiny) {
  time_unit : "1ns";
  capacitive_load_unit (1, pf);
  lu_table_template (t) { variable_1 : total_output_net_capacitance; variable_2 : input_net_transition;
    index_1 ("0, 1"); index_2 ("0, 1"); }
  lu_table_template (s) { variable_1 : related_pin_transition; variable_2 : constrained_pin_transition; }
  cell (INV) {
    area : 2;
    pin (A) { direction : input; capacitance : 0.5; }
    pin (Y) { direction : output; function : "(!A)";
      timing () { related_pin : "A"; timing_sense : negative_unate;
        cell_rise (t) { index_1 ("0, 1"); index_2 ("0, 1"); values ("1, 2", \\
          "3, 4"); }
        cell_fall (t) { index_1 ("0, 1"); index_2 ("0, 1"); values ("0.5, 0.5", "0.5, 0.5"); }
        rise_transition (t) { index_1 ("0, 1"); index_2 ("0, 1"); values ("0, 0", "1, 1"); }
        fall_transition (t) { index_1 ("0, 1"); index_2 ("0, 1"); values ("0, 0", "1, 1"); }
      } } }
  cell (DFF) {
    area : 6;
    pin (D) { direction : input; capacitance : 0.25;
      timing () { related_pin : "C"; timing_type : setup_rising;
        rise_constraint (s) { index_1 ("0, 1"); index_2 ("0, 1"); values ("0.2, 0.4", "0.2, 0.4"); }
        fall_constraint (s) { index_1 ("0, 1"); index_2 ("0, 1"); values ("0.2, 0.4", "0.2, 0.4"); }
      } }
    pin (C) { direction : input; clock : true; capacitance : 0.25; }
    pin (Q) { direction : output;
      timing () { related_pin : "C"; timing_type : rising_edge; timing_sense : non_unate;
        cell_rise (t) { index_1 ("0, 1"); index_2 ("0, 1"); values ("0.1, 0.1", "0.3, 0.3"); }
        cell_fall (t) { index_1 ("0, 1"); index_2 ("0, 1"); values ("0.1, 0.1", "0.3, 0.3"); }
        rise_transition (t) { index_1 ("0, 1"); index_2 ("0, 1"); values ("0, 0", "1, 1"); }
        fall_transition (t) { index_1 ("0, 1"); index_2 ("0, 1"); values ("0, 0", "1, 1"); }
      } } }
}
"""
# A buffer: 0.25 ns and a slew of 0.5, whatever it drives.
BUFFER = """
  cell (BUF) {
    area : 3;
    pin (A) { direction : input; capacitance : 0.05; }
    pin (Y) { direction : output; function : "A";
      timing () { related_pin : "A"; timing_sense : positive_unate;
        cell_rise (t) { index_1 ("0, 1"); index_2 ("0, 1"); values ("0.25, 0.25", "0.25, 0.25"); }
        cell_fall (t) { index_1 ("0, 1"); index_2 ("0, 1"); values ("0.25, 0.25", "0.25, 0.25"); }
        rise_transition (t) { index_1 ("0, 1"); index_2 ("0, 1"); values ("0.5, 0.5", "0.5, 0.5"); }
        fall_transition (t) { index_1 ("0, 1"); index_2 ("0, 1"); values ("0.5, 0.5", "0.5, 0.5"); }
      } } }
}
"""
# q -> inverter -> d of the same flip-flop.
TOGGLE = {
    "ports": {"clk": {"direction": "input", "bits": [2]}, "q": {"direction": "output", "bits": [3]}},
    "cells": {
        "inverter": {"type": "INV", "connections": {"A": [3], "Y": [4]}},
        "register": {"type": "DFF", "connections": {"C": [2], "D": [4], "Q": [3]}},
    },
    "netnames": {"clk": {"bits": [2]}, "q": {"bits": [3]}, "d": {"bits": [4], "hide_name": 1}},
}


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    (tmp_path / "tiny.lib").write_text(LIBRARY)
    return tmp_path / "tiny.lib"


@pytest.fixture(scope="module", autouse=True)
def each_unit_once() -> Iterator[None]:
    """Yosys' answers are kept: each unit is synthesised in a test of its own, and none waits for all of them."""
    kept: dict[str, object] = {}
    real = synth._run_yosys

    def run(*job: object) -> object:
        if repr(job) not in kept:
            kept[repr(job)] = real(*job)  # type: ignore[arg-type]
        return kept[repr(job)]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(synth, "_run_yosys", run)
        yield


@pytest.fixture(scope="module")
def report(each_unit_once: None) -> SynthReport:
    return synthesise(SMALL)


@pytest.mark.parametrize("unit", sorted(synth.UNITS))
def test_a_unit_alone(unit: str) -> None:
    alone = synthesise(SMALL, units=(unit,))
    assert {block.name for block in alone.blocks} == ({unit, *PE_BLOCKS} if unit == "pe" else {unit})
    assert all(0 < block.registers <= block.cells for block in alone.blocks)


def test_tables_are_interpolated_and_extended(tiny: Path) -> None:
    cells = read_liberty(tiny)
    assert {name: cell.area for name, cell in cells.items()} == {"INV": 2.0, "DFF": 6.0}
    assert cells["DFF"].capacitances == {"D": 0.25, "C": 0.25}
    rise, _ = cells["INV"].arcs["Y"][0].tables["rise"]
    assert rise.at(0, 0) == 1
    assert rise.at(1, 1) == 4
    assert rise.at(0.5, 0.25) == pytest.approx(2.25)
    assert rise.at(2, 0) == 5
    (setup, _) = cells["DFF"].setup["D"]
    assert setup.at(0.7, 0.5) == pytest.approx(0.3)


def test_the_longest_path_by_hand(tiny: Path) -> None:
    path = longest_path(TOGGLE, read_liberty(tiny))
    assert path is not None
    # q drives 0.5 pF: 0.2 ns and a slew of 0.5. The inverter drives 0.25 pF: 1 + 2 * 0.25 + 1 * 0.5 ns rising, with a
    # slew of 0.25. Setup for that slew: 0.2 + 0.2 * 0.25.
    assert path.ns == pytest.approx(0.2 + 2.0 + 0.25)
    assert (path.cells, path.begin, path.end) == (1, "q", "q")
    assert INPUT_SLEW == 0.1


def test_a_loop_is_no_path(tiny: Path) -> None:
    cells = {
        name: {"type": "INV", "connections": {"A": [a], "Y": [y]}}
        for name, a, y in (("i", 2, 3), ("j", 3, 2))
    }
    with pytest.raises(MismatchError, match=r"^the netlist has a loop of 2 cells or fewer$"):
        longest_path({"ports": {}, "cells": cells, "netnames": {}}, read_liberty(tiny))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("nothing of the kind", "is not a cell library in the Liberty format"),
        (LIBRARY.replace('"1ns"', '"1ps"'), "a library with times in ns and capacitances in pF is needed"),
        (LIBRARY[:-200], "is not a cell library in the Liberty format"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "x.lib").write_text(text)
    with pytest.raises(FormatError, match=complaint):
        read_liberty(tmp_path / "x.lib")


@pytest.fixture
def buffering(tmp_path: Path) -> dict[str, Cell]:
    """The tiny library with a buffer."""
    (tmp_path / "buffering.lib").write_text(LIBRARY.rstrip()[:-1] + BUFFER)
    return read_liberty(tmp_path / "buffering.lib")


@pytest.mark.parametrize(("readers", "buffers"), [(0, 0), (1, 0), (2, 2), (5, 5 + 2), (40, 40 + 10 + 3)])
def test_buffers(buffering: dict[str, Cell], readers: int, buffers: int) -> None:
    """A flip-flop that others read, 0.25 pF each: a buffer for each, and one for four of these, 0.05 pF each."""
    bits = {"Q": [3], "D": [4], "C": [2]}
    cells = {"register": {"type": "DFF", "connections": bits}}
    cells |= {
        f"reader{i}": {"type": "DFF", "connections": {"Q": [10 + i], "D": [3], "C": [2]}}
        for i in range(readers)
    }
    module = {"ports": {"clk": {"direction": "input", "bits": [2]}}, "cells": cells, "netnames": {}}
    assert buffer_nets(module, buffering) == buffers
    netlist = netlist_of(module, buffering)
    assert netlist.loads[3] <= MOST_PF or readers == 1
    # Each reader still comes from the register, through buffers alone.
    drivers = {pins["Y"]: pins["A"] for cell, pins in netlist.cells.values() if cell.name == "BUF"}
    for i in range(readers):
        net = netlist.cells[f"reader{i}"][1]["D"]
        while net != 3:
            net = drivers[net]


def test_a_library_without_a_buffer(tiny: Path) -> None:
    with pytest.raises(MismatchError, match=r"^the library has no buffer"):
        buffer_nets({"ports": {}, "cells": {}, "netnames": {}}, read_liberty(tiny))


def test_fo4(tiny: Path) -> None:
    """Four inverters are 2 pF: slews of 2 ns, 1 + 2 * 2 + 2 ns to rise, 0.5 to fall."""
    cells = read_liberty(tiny)
    assert fo4_ns(cells) == pytest.approx((7 + 0.5) / 2)
    with pytest.raises(MismatchError, match=r"^the library has no inverter"):
        fo4_ns({"DFF": cells["DFF"]})


def test_linked_modules_by_hand(buffering: dict[str, Cell]) -> None:
    """A register of the CCU through an inverter in each of two PEs and back; its net drives 1 pF and gets buffers."""
    ccu = {
        "ports": {
            "clk": {"direction": "input", "bits": [2]},
            "d": {"direction": "input", "bits": [3, 4]},
            "q": {"direction": "output", "bits": [5]},
        },
        "cells": {
            "register": {"type": "DFF", "connections": {"C": [2], "D": [3], "Q": [5]}},
            "other": {"type": "DFF", "connections": {"C": [2], "D": [4], "Q": [6]}},
        },
        "netnames": {"q": {"bits": [5]}, "r": {"bits": [6]}},
    }
    pe = {
        "ports": {"i": {"direction": "input", "bits": [2]}, "o": {"direction": "output", "bits": [3]}},
        "cells": {"inverter": {"type": "INV", "connections": {"A": [2], "Y": [3]}}},
        "netnames": {},
    }
    instances = {
        "ccu": {"type": "eie_ccu", "connections": {"clk": [2], "d": [4, 5], "q": [3]}},
        "pe000": {"type": "eie_pe", "connections": {"i": [3], "o": [4]}},
        "pe001": {"type": "eie_pe", "connections": {"i": [3], "o": [5]}},
    }
    top = {"ports": {"clk": {"direction": "input", "bits": [2]}}, "cells": instances, "netnames": {}}
    cfg = ArchConfig(n_pe=2)
    figures = LinkedArray(cfg, {"eie_ccu": ccu, "eie_pe": pe}, top, buffering).figures()
    assert (figures.n_pe, figures.cells, figures.buffers, figures.area_um2) == (
        2,
        6,
        2,
        2 * 6 + 2 * 2 + 2 * 3,
    )
    path = figures.paths[0]
    # 0.12 ns into two buffers (0.1 pF), 0.25 through one, 1 + 2 * 0.25 + 0.5 through the inverter, 0.25 of setup.
    assert path.path.ns == pytest.approx(0.12 + 0.25 + 2.0 + 0.25)
    assert (path.path.begin, path.path.cells) == ("ccu.q", 2)
    assert [leg.module for leg in path.legs] == ["ccu", "links", "pe", "ccu"]


def test_the_array_as_opensta_sees_it(report: SynthReport) -> None:
    """Every path ends in a register or an SRAM, and OpenSTA, with all four PEs, finds the longest as long."""
    array = link_array(SMALL, modules=report.modules)
    figures = array.figures()
    inside = sum(block.cells for block in report.blocks if block.name in (*PE_BLOCKS, "pe"))
    assert figures.cells > 4 * inside > figures.buffers > 0
    longest = figures.paths[0]
    assert longest.path.ns >= report.block("pe").path.ns / 2
    assert [leg.ns for leg in longest.legs] == sorted(leg.ns for leg in longest.legs)
    if (sta := toolchain.find_sta()) is None:
        pytest.skip("OpenSTA is not installed")
    ns = longest_path_ns(array, report.library, sta)
    assert abs(longest.path.ns / ns - 1) <= 0.05
    # SRAMs that are later than anything else make every path longer that begins at one.
    late = link_array(SMALL, modules=report.modules, sram_ns=20)
    longest = late.figures().paths[0]
    assert longest.path.ns > 20
    assert re.search(r"_rdata|act|spmat|even|odd", longest.path.begin)
    assert abs(longest.path.ns / longest_path_ns(late, report.library, sta) - 1) <= 0.05


def test_the_array_on_the_command_line(monkeypatch: pytest.MonkeyPatch, report: SynthReport) -> None:
    """Its size and its longest paths; OpenSTA's beside it, and status 1 where they differ."""
    monkeypatch.setattr("eie.cli.commands.synth.synthesise", lambda *args, **options: report)
    monkeypatch.setattr("eie.cli.commands.synth.find_sta", lambda: None)
    done = CliRunner().invoke(main, ["synth", "--pe", "4", "--array"])
    assert done.exit_code == 0, done.output
    assert "array of 4 PEs:" in done.stdout
    assert "OpenSTA is not installed" in done.stdout
    (said,) = re.findall(r"estimate: (\d+) FO4 of (\d+) ps, at 45 nm (\S+) ns with 16.2 ps each", done.stdout)
    assert float(said[2]) == pytest.approx(int(said[0]) * published_fo4_ns(45), abs=0.02)
    monkeypatch.setattr("eie.cli.commands.synth.find_sta", lambda: Path("sta"))
    monkeypatch.setattr("eie.cli.commands.synth.longest_path_ns", lambda *args: 4.0)
    done = CliRunner().invoke(main, ["synth", "--pe", "4", "--array"])
    assert done.exit_code == 1
    assert "and 4.00 ns by OpenSTA: more than 5% apart" in done.stderr
    refused = CliRunner().invoke(main, ["synth", "--sram-ns", "2"])
    assert refused.exit_code == 2
    assert "--sram-ns has no effect without --array" in refused.stderr


def test_every_block_is_there(report: SynthReport) -> None:
    names = ["act_queue", "act_rw", "arithm_unit", "ptr_read", "spmat_read", "pe", "lnzd", "ccu", "host_if"]
    assert [block.name for block in report.blocks] == names
    # A FIFO of two columns is at least its bits in flip-flops: 2 * (column and value), pointers, counts.
    queue = report.block("act_queue")
    assert queue.registers >= 2 * (SMALL.col_bits + SMALL.act_bits) + 4
    # Between the blocks: what comes a cycle later of the pass's configuration, and for the I/O port a word of each
    # register file and one of a counter.
    width = {field.name: field.width for field in fields("pe", SMALL)}
    words = SMALL.code_bits + SMALL.acc_bits + SMALL.act_bits + COUNTER_BITS
    assert report.block("pe").registers == sum(width[name] for name in LATE) + words
    for block in report.blocks:
        assert 0 < block.registers <= block.cells
        assert block.register_area_um2 < block.area_um2
        assert block.path is not None
        assert block.path.cells > 0
    # The PE's path goes through the blocks, so none of theirs is longer (but for outputs that drive nothing there).
    inside = [report.block(name).path for name in names[:5]]
    assert report.block("pe").path.ns >= 0.9 * max(path.ns for path in inside if path)


def test_shares_are_of_the_blocks_without_sram(report: SynthReport) -> None:
    rows = synth.shares(report)
    assert [row.name for row in rows] == ["act_queue", "arithm_unit", "lnzd"]
    assert sum(row.ours for row in rows) == pytest.approx(1)
    # Table II and section VI: 758, 3,110 and 189 um2.
    assert [row.published for row in rows] == pytest.approx([758 / 4057, 3110 / 4057, 189 / 4057])


def _edited(pattern: str, replacement: str) -> object:
    def transform(files: Mapping[str, str]) -> Mapping[str, str]:
        text, count = re.subn(pattern, replacement, files["eie_lnzd.v"], flags=re.DOTALL)
        assert count == 1
        return {**files, "eie_lnzd.v": text}

    return transform


@pytest.mark.parametrize(
    ("inside", "complaint"),
    [
        ("reg held;\n  always @* if (clk) held = pop;\n  wire unused = held;", "latch"),
        ("wire a, b;\n  assign a = ~b;\n  assign b = a & pop;", "loop"),
        ("wire floating;\n  reg kept;\n  always @(posedge clk) kept <= floating;", "no driver"),
        ("assign valid = 1'b0;", "continuous assignment"),
    ],
)
def test_faults_are_found(inside: str, complaint: str) -> None:
    fault = _edited(r"endmodule", f"  {inside}\nendmodule")
    with pytest.raises(MismatchError, match=rf"^synthesis of eie_lnzd: \d+ problems, first: .*({complaint})"):
        synthesise(SMALL, units=("lnzd",), transform=fault)


def test_without_the_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(toolchain, "CELLS", tmp_path / "cells.lib")
    with pytest.raises(
        SimulatorMissing, match=r"^no cell library .*cells\.lib; install it with: .*qflow-tech-osu018"
    ):
        synthesise(SMALL)


def test_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, report: SynthReport) -> None:
    asked = []

    def remembered(cfg: ArchConfig, *args: object, **options: object) -> SynthReport:
        asked.append(cfg)
        return report

    monkeypatch.setattr("eie.cli.commands.synth.synthesise", remembered)
    picture = tmp_path / "area.png"
    done = CliRunner().invoke(
        main, ["synth", "--pe", "4", "--depth", "2", "--set", "counters=0", "--plot", str(picture)]
    )
    assert done.exit_code == 0, done.output
    assert (asked[0].n_pe, asked[0].queue_depth, asked[0].counters) == (4, 2, 0)
    lines = done.stdout.splitlines()
    assert "no latch, no loop, no undriven net, no warning" in lines
    lnzd = report.block("lnzd")
    (row,) = [line.split() for line in lines if line.startswith("lnzd")]
    assert row[1:5] == [f"{lnzd.cells:,}", f"{lnzd.registers:,}", f"{lnzd.area_um2:,.0f}", "189"]
    assert picture.read_bytes().startswith(b"\x89PNG")
    figures = check("synth", CliRunner().invoke(main, ["synth", "--json"]).stdout)
    assert [block["name"] for block in figures["blocks"]] == [block.name for block in report.blocks]
    assert figures["blocks"][-1]["path"]["ns"] == report.block("host_if").path.ns
    assert np.isclose(sum(row["ours"] for row in figures["shares"]), 1)


def test_two_pes_side_by_side(monkeypatch: pytest.MonkeyPatch, report: SynthReport) -> None:
    """--against synthesises the other preset's PE alone; a PE is its cells, shrunk from 180 to 45 nm, and its SRAMs."""
    asked = []

    def remembered(cfg: ArchConfig, *args: object, **options: object) -> SynthReport:
        asked.append((cfg, options.get("units")))
        return replace(report, cfg=cfg)

    monkeypatch.setattr("eie.cli.commands.synth.synthesise", remembered)
    command = ["synth", "--preset", "eie2", "--pe", "4", "--set", "counters=0", "--against", "paper"]
    lines = CliRunner().invoke(main, command).stdout.splitlines()
    assert asked[1] == (ArchConfig(n_pe=4, counters=0), ("pe",))
    cells = sum(block.area_um2 for block in report.blocks[:6]) / 16
    # 128 KB of matrix, 2 KB of activations; two banks of 8,192 pointers of 16 bits, or one SRAM with 30.
    matrix, act, pair, bank = (
        sram(*size).area_um2 for size in ((16384, 64), (1024, 16), (8192, 30), (8192, 16))
    )
    paper, eie2 = cells + matrix + act + 2 * bank, cells + matrix + act + pair
    (row,) = [line.split() for line in lines if line.startswith("one PE")]
    assert row[2:] == [f"{paper:,.0f}", f"{eie2:,.0f}", f"{eie2 / paper:.3f}"]
    figures = check("synth", CliRunner().invoke(main, [*command, "--json"]).stdout)
    assert [round(pe["total"]) for pe in figures["pe"]] == [round(eie2), round(paper)]
