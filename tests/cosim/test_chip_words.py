"""The packets that `eie export --chip` writes, used as docs/programming.md tells a driver to, with no other help."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

import eie
from eie.cli.main import main
from eie.config import ArchConfig
from eie.golden.chip import Chip
from eie.plan import make_plan
from eie.registers import Reg
from eie.sim.cosim.chip.script import Pauses, Send, Settle, run_script
from eie.sim.cosim.chip.words import INDEX, chip_words
from eie.sim.workloads.random import random_layer
from tests.support.chip_programs import SMALL, reference
from tests.support.plan_cases import plan_case


class Driver:
    """A host that knows the files and nothing else; `sent` are its packets."""

    def __init__(self, cfg, files):
        self.files, self.index, self.chip, self.sent = files, json.loads(files[INDEX]), Chip(cfg), []

    def send(self, packet):
        self.sent.append(packet)
        self.chip.send(packet)

    def send_file(self, name):
        if name is None:
            return
        words = [int(line, 16) for line in self.files[name].splitlines() if not line.startswith("//")]
        while words:
            length = 1 + (words[0] >> 40)
            self.send(words[:length])
            del words[:length]

    def run(self, program, x):
        vectors = [np.zeros(vector["length"], np.int64) for vector in program["vectors"]]
        vectors[0][:] = x
        for run in program["runs"]:
            self.send_file(run["load"])
            for given in run["inputs"]:
                part = vectors[given["vector"]][given["start"] :][: given["count"]]
                words = [int(value) & 0xFFFF for value in part]
                self.send([int(given["header"], 16), *words, *[0] * (given["words"] - len(words))])
            self.send([int(run["run"], 16)])
            for result in run["results"]:
                self.send([int(result["header"], 16)])
            self.chip.wait()
            for result in run["results"]:
                words = self.chip.results.pop(0)
                place = slice(result["start"], result["start"] + result["count"])
                vectors[result["vector"]][place] = np.array(words, np.uint64).astype(np.uint16).view(np.int16)
        return vectors[-1].tolist()


@pytest.mark.parametrize("seed", range(3))
def test_the_files_run_a_network_of_several_runs(seed):
    case = plan_case(seed, SMALL)
    driver = Driver(SMALL, chip_words([make_plan(case.layers, SMALL)]))
    (program,) = driver.index["programs"]
    driver.send_file(program["setup"])
    for x in case.inputs:
        assert driver.run(program, x) == reference(case.layers, x, SMALL).tolist()
    assert driver.chip.registers[Reg.ERROR_CODE] == 0


def test_the_exported_files_run_on_the_rtl(tmp_path):
    layers = [random_layer(14, 9, 0.4, seed=1, name="fc1"), random_layer(5, 14, 0.4, seed=2, name="fc2")]
    object.__setattr__(layers[1], "x_frac", layers[0].y_frac)
    eie.save(tmp_path / "net.eie", layers)
    settings = [
        "--set",
        "entries=256",
        "--set",
        "pointers=64",
        "--set",
        "src_depth=8",
        "--set",
        "codebooks=2",
    ]
    command = ["export", str(tmp_path / "net.eie"), "--chip", "--pe", "2", *settings, "--set", "acc_depth=8"]
    done = CliRunner().invoke(main, [*command, "--no-check", "-o", str(tmp_path / "chip")])
    assert done.exit_code == 0, done.output
    assert INDEX in done.stdout
    cfg = ArchConfig(n_pe=2, entries=256, pointers=64, src_depth=8, codebooks=2, acc_depth=8)
    names = [path for path in (tmp_path / "chip").iterdir() if path.name.startswith("chip_")]
    driver = Driver(cfg, {path.name: path.read_text() for path in names})
    (program,) = driver.index["programs"]
    assert program["layers"] == ["fc1", "fc2"]
    driver.send_file(program["setup"])
    inputs = np.random.default_rng(3).integers(-300, 300, (2, 9))
    found = [driver.run(program, x) for x in inputs]
    assert found == [reference(layers, x, cfg).tolist() for x in inputs]
    assert any(any(y) for y in found)

    report = run_script(cfg, [*map(Send, driver.sent), Settle()], "icarus", pauses=Pauses(1, 0.2, 0.2))
    report.require_agreement()
    packets, _ = report.replies[-1]
    assert [[word & 0xFFFF for word in packet] for packet in packets] == [
        [value & 0xFFFF for value in y] for y in found
    ]


def test_layers_that_do_not_follow_one_another_are_exported_alone(tmp_path):
    layers = [random_layer(6, 5, 0.5, seed=1, name="a"), random_layer(7, 4, 0.5, seed=2, name="b")]
    eie.save(tmp_path / "two.eie", layers)
    command = [
        "export",
        str(tmp_path / "two.eie"),
        "--chip",
        "--pe",
        "2",
        "--no-check",
        "-o",
        str(tmp_path / "c"),
    ]
    refused = CliRunner().invoke(main, command)
    assert refused.exit_code == 2
    assert "layer 'b' takes 4 activations, but 'a' gives 6: plan layers that do not follow" in refused.stderr
    done = CliRunner().invoke(main, [*command, "--layer", "b"])
    assert done.exit_code == 0, done.output
    (program,) = json.loads((tmp_path / "c" / INDEX).read_text())["programs"]
    assert program["layers"] == ["b"]
