"""LeNet-300-100 whole on the 85k part of a ULX3S: 8 PEs at 60 MHz, and its netlist in Icarus beside golden.

Place and route take long. EIE_REGRESS_FPGA names a folder of `eie fpga` that was made before.
"""

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from eie.cli.main import main
from eie.compress.format.file import load
from eie.config import ArchConfig
from eie.plan import make_plan
from eie.sim.fpga.board import compare
from eie.sim.fpga.fit import resident_program
from eie.sim.fpga.flow import BITSTREAM, DESIGN, NETLIST, NETWORK
from eie.sim.plans import run_plan
from eie.sim.workloads.inputs import read_activations
from tests.support import ROOT
from tests.support.ecp5_netlist import run_netlist

NET = ROOT / "examples" / "trained" / "lenet-300-100.eie"
DIGITS = ROOT / "examples" / "lenet_300_100" / "mnist_test_1000.npz"
# Inputs that the netlist is fed with: a gate-level simulation is slow.
INPUTS = 2


@pytest.fixture(scope="module")
def design(tmp_path_factory):
    if "EIE_REGRESS_FPGA" in os.environ:
        return Path(os.environ["EIE_REGRESS_FPGA"])
    out = tmp_path_factory.mktemp("fpga")
    result = CliRunner().invoke(main, ["fpga", str(NET), "--board", "ulx3s-85f", "--pe", "8", "-o", str(out)])
    print(result.output)
    assert result.exit_code in (0, 1), result.output
    return out


def test_eight_pes_reach_60_mhz_on_the_85k_part(design):
    report = json.loads((design / DESIGN).read_text())
    assert report["config"]["n_pe"] == 8
    assert report["target"] == "ulx3s-85f"
    assert report["mhz"] >= 60, report["path"]
    assert (design / BITSTREAM).stat().st_size > 0


def test_the_netlist_is_golden_on_lenet(design):
    cfg = ArchConfig(**json.loads((design / DESIGN).read_text())["config"])
    layers = load(design / NETWORK)
    inputs = [read_activations(DIGITS, index, layers[0], cfg.act_bits)[0] for index in range(INPUTS)]
    golden = run_plan(make_plan(layers, cfg), inputs, "golden")
    compare(run_netlist((design / NETLIST).read_text(), resident_program(layers, cfg), inputs), golden)
