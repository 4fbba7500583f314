"""Energy from the netlist: toggles counted by hand, a layer on the mapped cells, and a netlist that is wrong."""

import copy
from dataclasses import replace

import pytest

from eie.config import ArchConfig
from eie.errors import MismatchError, SimulatorMissing
from eie.sim.cosim import toolchain
from eie.sim.synth.liberty import read_liberty, supply_v
from eie.sim.synth.power import KINDS, _counted, _toggle_pj, power_of
from eie.sim.synth.yosys import SynthReport, synthesise

SMALL = ArchConfig(n_pe=2, queue_depth=2, src_depth=4, acc_depth=4, pointers=9, entries=40)

needs_cells = pytest.mark.skipif(not toolchain.CELLS.is_file(), reason="no cell library")


@pytest.fixture(scope="module")
def report() -> SynthReport:
    return synthesise(SMALL, units=("pe",))


def test_toggles_by_hand():
    dump = ["$var wire 1 ! n7 $end\n", '$var wire 1 " clk $end\n', "x!\n", '0"\n', "#1\n", "1!\n", '1"\n']
    dump += ["#2\n", "0!\n", "#3\n", "x!\n", "1!\n", "#4\n", "0!\n", "b10 % \n"]
    assert _counted(dump) == {7: 2}


@needs_cells
def test_energy_of_a_toggle_is_the_librarys():
    cells = read_liberty(toolchain.CELLS)
    assert supply_v(toolchain.CELLS) == 1.8
    # Of AND2X1 at 0.005 pF between slews of 0.06 and 0.18 ns: rise and fall from A, rise and fall from B.
    tables = [(0.012351, 0.01753), (0.051843, 0.061484), (0.013537, 0.018652), (0.062565, 0.073373)]
    middle = sum((low + high) / 2 for low, high in tables) / 4
    assert _toggle_pj(cells["AND2X1"], 0.005) == pytest.approx(middle, rel=1e-6)


@needs_cells
def test_a_layer_on_the_netlist(report):
    power = power_of(report)
    assert power.cycles > power.entries > 0
    sums = {
        kind: sum(getattr(block, kind) for block in power.blocks)
        for kind in ("registers", "arrays", "counters")
    }
    assert sum(sums.values()) == sum(block.registers for block in report.blocks)
    assert sums["arrays"] >= SMALL.acc_depth * SMALL.acc_bits + SMALL.src_depth * SMALL.act_bits
    for block in power.blocks:
        assert set(block.netlist_pj) == set(block.model_pj) == set(KINDS)
        assert 0 < block.toggles < block.nets
        assert block.share is None or 0 < block.share < 1


@needs_cells
def test_a_netlist_that_is_wrong_is_found(report):
    modules = copy.deepcopy(dict(report.modules))
    register = next(
        cell
        for name, cell in modules["eie_pe"]["cells"].items()
        if "arithm_unit" in name and cell["type"].startswith("DFF")
    )
    register["connections"]["D"] = ["1"]
    with pytest.raises(MismatchError, match="differs from golden first in cycle"):
        power_of(replace(report, modules=modules))


def test_without_models_of_the_cells(report, tmp_path):
    with pytest.raises(SimulatorMissing, match=r"no Verilog models of the cells"):
        power_of(replace(report, library=tmp_path / "other.lib"))
