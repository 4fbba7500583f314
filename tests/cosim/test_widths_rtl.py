"""Networks of several widths on the RTL, from one image: the same as golden in every cycle, and as the fast engine."""

import numpy as np
from click.testing import CliRunner

import eie
from eie.cli.main import main
from eie.sim.cosim.lockstep import lockstep_program
from eie.sim.plans import run_program
from eie.sim.widths import run_width
from eie.width_program import sized_for_widths, width_program
from tests.support.json_schemas import check
from tests.support.simulators import on_icarus
from tests.support.width_cases import random_layers


@on_icarus
def test_every_width_runs_from_one_image(simulator):
    layers = random_layers(5)
    cfg = sized_for_widths(eie.ArchConfig(n_pe=4), layers, together=True)
    x = np.random.default_rng(3).integers(-40, 40, (2, 20)) * (np.arange(20) % 3 != 1)
    for share in (250, 500, 1000):
        fast = run_width(layers, x, cfg, share / 1000)
        program = width_program(layers, cfg, share)
        report = lockstep_program(program, list(x), simulator, port=share == 500)
        assert report.divergence is None, report.describe()
        assert report.cycles > 100
        alone = [run_program(program, list(x), simulator)] if share == 500 else []
        for rtl in (report.results, *alone):
            assert np.array_equal([one.y for one in rtl], fast[-1].y)
            for counter in ("entries", "spmat_reads", "ptr_reads", "bypasses", "saturations"):
                assert sum(one.total(counter) for one in rtl) == sum(one.total(counter) for one in fast)
            assert sum(one.cycles for one in rtl) == sum(one.cycles for one in fast)


def test_the_command_runs_a_whole_network_at_a_width(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    eie.save("net.eie", random_layers(5))
    result = CliRunner().invoke(main, ["cosim", "net.eie", "--width", "0.5", "--json"])
    assert result.exit_code == 0, result.output
    found = check("cosim", result.stdout)
    assert found["mismatches"] == 0
    assert found["cycles"] > 200
    assert found["replay"] == "eie cosim net.eie --seed 1 --width 0.5"
