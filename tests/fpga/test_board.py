"""The host program of a board against the board's Verilog in Icarus, over a terminal."""

import dataclasses
import json
import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from eie.cli.main import main
from eie.compress.format.file import save
from eie.errors import MismatchError, SimulationError
from eie.plan import make_plan
from eie.sim.engines.fast_plan import FastPlan
from eie.sim.fpga.board import Measured, SerialPort, compare, run_on_board
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


def test_what_is_refused_before_anything_is_sent(design, tmp_path):
    folder, _ = design
    line = ("board", "run", folder, "--input", folder / "x.npy")
    (tmp_path / "file").write_bytes(b"")
    for options, said in (
        (("--port", tmp_path / "none"), "No such file or directory: name the board's serial device"),
        (("--port", tmp_path / "file"), "file is not a serial device of 115200 baud"),
        (("--port", tmp_path / "file", "--baud", 123), "123 baud is not a rate that this system knows"),
        (("--port", tmp_path / "file", "--patience", "nan"), "nan is not a finite number"),
        (("--port", tmp_path / "file", "--patience", "inf"), "inf is not a finite number"),
    ):
        result = eie(*line, *options)
        assert result.exit_code == 2
        assert said in result.output


def test_a_line_that_breaks_or_is_silent():
    program = resident_program(fpga_cases.layers(), fpga_cases.machine(2))
    inputs = fpga_cases.inputs(1)
    ours, theirs = os.openpty()
    name = Path(os.ttyname(theirs))
    os.close(theirs)
    with SerialPort(name, 115200, 0.2) as port:
        with pytest.raises(
            SimulationError, match=r"the board does not answer: .* does not give the chip's id"
        ):
            run_on_board(port, program, inputs)
        os.close(ours)
        with pytest.raises(SimulationError, match="the line to the board broke"):
            run_on_board(port, program, inputs)


def test_a_difference_names_the_input_that_was_asked_for():
    one = Measured(np.zeros(4, int), 7, 0, 0, 0)
    fast = FastPlan(make_plan(fpga_cases.layers(), fpga_cases.machine(2))).run(fpga_cases.inputs(1)[0])
    with pytest.raises(MismatchError, match="input 5: "):
        compare([one], [fast], [5])


def test_a_slow_line_has_the_time_that_its_octets_take():
    """At 1,200 baud a frame alone takes longer than the patience."""
    ours, theirs = os.openpty()
    with SerialPort(Path(os.ttyname(theirs)), 1200, 0.1) as port:
        thread = threading.Timer(0.5, os.write, (ours, b"late"))
        thread.start()
        assert port.read(4) == b"late"
        thread.join()
    os.close(ours)
    os.close(theirs)
