"""The host program of a board against the board's Verilog in Icarus, over a terminal."""

import dataclasses
import json
import time

import numpy as np
import pytest
from click.testing import CliRunner

from eie.cli.main import main
from eie.compress.format.file import save
from eie.plan import make_plan
from eie.sim.engines.fast_plan import FastPlan
from eie.sim.fpga.fit import resident_program
from eie.sim.fpga.flow import DESIGN, NETWORK
from tests.support import fpga_cases, json_schemas
from tests.support.board_sim import simulated


@pytest.fixture(scope="module")
def design(tmp_path_factory):
    """A folder such as `eie fpga` writes, and inputs."""
    folder = tmp_path_factory.mktemp("design")
    cfg = fpga_cases.machine(2)
    save(folder / NETWORK, fpga_cases.layers())
    (folder / DESIGN).write_text(json.dumps({"config": dataclasses.asdict(cfg), "baud": 115200}))
    np.save(folder / "x.npy", np.array(fpga_cases.inputs(2)))
    return folder, cfg


def eie(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_board_run_gives_what_the_fast_engine_gives(design, tmp_path):
    folder, cfg = design
    layers = fpga_cases.layers()
    with simulated(resident_program(layers, cfg), tmp_path) as terminal:
        line = ("--port", terminal, "--input", folder / "x.npy", "--index", 0, "--index", 1, "--patience", 40)
        first = eie("board", "run", folder, *line, "--json")
        # Half a frame is on the board when the next host comes.
        with open(terminal, "wb", buffering=0) as left:
            left.write(bytes([3, 8, 2, 0, 1, 2, 3]))
        time.sleep(2)  # else the next host, which begins with a flush, takes it back
        again = eie("board", "run", folder, *line)
    assert first.exit_code == 0, first.output
    found = json_schemas.check("board", first.stdout)["results"]
    fast = FastPlan(make_plan(layers, cfg))
    wanted = [fast.run(x) for x in fpga_cases.inputs(2)]
    assert [one["y"] for one in found] == [one.y.tolist() for one in wanted]
    assert [one["cycles"] for one in found] == [one.cycles for one in wanted]
    assert again.exit_code == 0, again.output
    assert "outputs and cycles are those of the fast engine" in again.stdout
