"""Free-running RTL: the driver made from port lists, and its results against the fast engine's."""

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from eie.cli.main import main
from eie.errors import ConfigError, MismatchError, SimulationError
from eie.plan import make_plan
from eie.plan_program import plan_program
from eie.program import Job
from eie.sim.cosim.free import script as free
from eie.sim.cosim.free.compare import compare_jobs
from eie.sim.cosim.free.script import Ports, Script
from eie.sim.cosim.launch import run_program as run_on_rtl
from eie.sim.cosim.launch import run_rtl
from eie.sim.plans import run_program
from eie.sim.simulate import simulate
from eie.sim.workloads.random import random_input, random_layer
from tests.support.json_schemas import check
from tests.support.machines import FOUR as CFG

SIMULATORS = ("icarus", "verilator")
# A top module that is not ours: counts up to the input's value, 70 bits wide so that words are crossed.
COUNTER = """
module slow (input clk, input rst, input go, input [69:0] upto, output reg finished, output reg [69:0] count);
    always @(posedge clk)
        if (rst) begin finished <= 0; count <= 70'hx; end
        else if (go) begin finished <= 0; count <= upto - 5; end
        else if (count !== 70'hx) begin finished <= count == upto; count <= count + (count != upto); end
endmodule
"""
SLOW = Ports("slow", {"go": 1, "upto": 70}, {"finished": 1, "count": 70}, until="finished")
HIGH = 0x2A_0000_0000_0000_0007


def job(seed: int) -> Job:
    layer = random_layer(40, 30, 0.3, seed)
    return Job.create(layer, random_input(30, 0.5, seed), CFG)


def test_any_top_module_can_be_driven(tmp_path: Path) -> None:
    script = Script(SLOW)
    script.sample()
    script.step(upto=HIGH, go=1)
    begun = script.sample()
    script.until(100, upto=HIGH)
    script.step(3, upto=HIGH)
    script.sample()
    done = free.run("icarus", {"slow.v": COUNTER}, script, tmp_path)
    first, second, last = done.samples
    with pytest.raises(MismatchError, match=r"^output count is unknown in cycle 2$"):
        first["count"]
    assert (second["finished"], second["count"]) == (0, HIGH - 5)
    assert (last["finished"], last["count"]) == (1, HIGH)
    # Five counts and the flag, then three more.
    assert last.cycle - second.cycle == 6 + 3
    assert done.cycles == last.cycle
    assert begun == 1


def test_a_wait_in_vain_ends(tmp_path: Path) -> None:
    script = Script(SLOW)
    script.until(7)
    script.sample()
    done = free.run("icarus", {"slow.v": COUNTER}, script, tmp_path)
    assert done.samples == []
    assert done.cycles == 2 + 7


def test_a_simulator_that_stops_on_its_own_is_told_from_one_that_ends(tmp_path: Path) -> None:
    script = Script(SLOW)
    script.step(10)
    script.sample()
    stops = COUNTER.replace("endmodule", "    initial #9 $finish;\nendmodule")
    with pytest.raises(SimulationError, match=r"^icarus ended before the program did, after 0 samples$"):
        free.run("icarus", {"slow.v": stops}, script, tmp_path)


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_jobs_agree_with_the_fast_engine(simulator: str) -> None:
    jobs = [job(1), job(2)]
    jobs.append(Job.create(jobs[1].layer, random_input(30, 0.9, 3), CFG))
    report = compare_jobs(jobs, simulator)
    report.require_agreement()
    # Per job the activations, five counts of the run, eight counters of four PEs, and cycles of loading and storing.
    assert report.compared == 3 * (40 + 5 + 9 * 4 + 2)
    assert report.cycles > sum(result.cycles + result.load_cycles for result in report.results)
    assert simulate(jobs[0].layer, jobs[0].x, CFG, engine=simulator).cycles == report.results[0].cycles


def test_a_difference_is_told() -> None:
    def fault(sources: Mapping[str, str]) -> Mapping[str, str]:
        # PE 2 shifts its products away.
        pattern = r"(eie_pe pe002 \([^;]*?)\.product_shift\([^)]*\)"
        text, count = re.subn(pattern, r"\1.product_shift(5'h1f)", sources["eie_array.v"])
        assert count == 1
        return {**sources, "eie_array.v": text}

    report = compare_jobs([job(1)], "icarus", transform=fault)
    assert report.differences
    assert {
        int(found[1]) % 4 for d in report.differences if (found := re.search(r"activation (\d+)", d))
    } == {2}
    with pytest.raises(
        MismatchError,
        match=r"^icarus: \d+ of 83 numbers differ, first: job 0, activation \d+: fast -?\d+, icarus ",
    ):
        report.require_agreement()


def test_programs_agree_with_golden_and_report_late_runs() -> None:
    layers = [random_layer(40, 30, 0.3, 1), random_layer(20, 40, 0.3, 2)]
    program = plan_program(make_plan(layers, CFG.replace(act_words=64)))
    assert program.known_beforehand
    inputs = [random_input(30, 0.5, seed) for seed in (1, 2)]
    for port in (False, True):
        found = run_program(program, inputs, "icarus", port=port)
        for have, want in zip(found, run_program(program, inputs, "golden", port=port), strict=True):
            assert np.array_equal(have.y, want.y)
            assert (have.load_cycles, have.store_cycles) == (want.load_cycles, want.store_cycles)
            for one, other in zip(have.runs, want.runs, strict=True):
                have_count, want_count = dataclasses.asdict(one), dataclasses.asdict(other)
                assert np.array_equal(have_count.pop("per_pe"), want_count.pop("per_pe"))
                assert have_count == want_count

    def never_done(sources: Mapping[str, str]) -> Mapping[str, str]:
        return {**sources, "eie_ccu.v": sources["eie_ccu.v"].replace("done <= 1'h1", "done <= 1'h0")}

    with pytest.raises(
        MismatchError, match=r"^icarus: input 0: the RTL was not done \d+ cycles after start$"
    ):
        run_on_rtl(program, inputs, "icarus", transform=never_done)


def test_a_program_that_needs_the_host_in_between_is_no_script() -> None:
    # The activation SRAM holds nothing: each layer's results go through the host.
    layers = [random_layer(40, 30, 0.3, 1), random_layer(120, 40, 0.3, 2), random_layer(20, 120, 0.2, 3)]
    program = plan_program(make_plan(layers, CFG.replace(act_words=2)))
    assert not program.known_beforehand


def test_one_configuration_only() -> None:
    other = Job.create(job(1).layer, job(1).x, CFG.replace(queue_depth=4))
    with pytest.raises(ConfigError, match=r"^jobs of one simulator run must share one configuration$"):
        run_rtl([job(1), other], "icarus")


def test_command(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["cosim", "--free", "--rows", "20", "--cols", "16", "--json"])
    assert done.exit_code == 0, done.output
    figures = check("cosim", done.stdout)
    assert figures["differences"] == []
    assert figures["compared"] == 20 + 5 + 9 * 4 + 2
    assert "--free" in figures["replay"]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--free", "--wave", "w.fst"), "--wave has no effect with --free"),
        (("--saif", "a.saif"), "--saif has no effect without --free"),
    ],
)
def test_options_that_cannot_apply(options: tuple[str, ...], complaint: str) -> None:
    done = CliRunner().invoke(main, ["cosim", *options])
    assert done.exit_code == 2
    assert complaint in done.stderr
