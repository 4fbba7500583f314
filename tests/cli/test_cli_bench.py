"""`eie bench`: who is compared, what is printed, and what is refused. No times are asserted."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from click.testing import CliRunner

import eie
from eie.cli.commands.bench import faster_lines
from eie.cli.main import main
from eie.sim.bench.contenders import EXACT, INT8, REAL, Contender, contender, names, onnx_model, session
from eie.sim.bench.layers import crossing
from eie.sim.bench.measure import paired
from eie.sim.chain import as_float

NETWORK = "examples/trained/lenet-300-100.eie"
DIGITS = "examples/lenet_300_100/mnist_test_1000.npz"


def run(*arguments):
    return CliRunner().invoke(main, ["bench", *arguments])


@pytest.mark.parametrize("name", ["lenet-300-100", "lenet-5"])
@pytest.mark.parametrize("batch", [1, 20])
def test_all_contenders_give_the_same_answers(name, batch):
    net = eie.load(f"examples/trained/{name}.eie")
    x = (np.load(DIGITS)["images"][:batch] / 255).reshape(batch, -1).astype(np.float32)
    exact = net.run_float(x)["output"]
    size = np.abs(exact).max()
    for one in names():
        ready = contender(one, net.layers, 1)
        ready.prepare()
        y = ready.run(x)
        assert y.shape == exact.shape
        # Fixed point has 16 bits, int8 has 8.
        error = {EXACT: 2e-2, INT8: 1e-1}.get(one, 1e-5)
        assert np.abs(y - exact).max() < error * size, one


def test_the_command_times_everyone_and_says_who_is_faster():
    done = run(NETWORK, "--input", DIGITS, "--batch", "1,9", "--threads", "1", "--seconds", "0.01", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    times = found["seconds"]["1"]
    assert set(times) == {"1", "9"}
    for by_name in times.values():
        assert set(by_name) == set(names())
        assert min(by_name.values()) > 0
    assert set(found["alone"]) == set(names())
    assert all(one["peak_mb"] > 10 and one["first_s"] > 0 for one in found["alone"].values())
    assert found["snr_db"][REAL] > 100 > found["snr_db"][EXACT] > found["snr_db"][INT8]


def test_where_another_is_faster_is_told():
    times = {
        1: {1: {EXACT: 2.0, REAL: 0.1, "numpy dense": 1.0, "scipy CSR": 3.0}, 64: {EXACT: 1.0, "torch": 4.0}}
    }
    assert faster_lines(times) == [
        f"batch 1, 1 thread: numpy dense is 2.00 x as fast as {EXACT}",
        f"batch 64, 1 thread: {EXACT} is 4.00 x as fast as the best of the others, torch",
    ]
    assert crossing([1, 2], [1, 1], [2, 2]) is None
    assert crossing([1, 2], [3, 3], [2, 2]) == 1


def test_the_onnx_model_is_one_that_onnx_accepts():
    net = eie.load("examples/trained/lenet-5.eie")
    model = onnx_model(as_float(net.layers), net[0].inputs)
    onnx.checker.check_model(model, full_check=True)
    assert session(model.SerializeToString(), 1).get_inputs()[0].shape[1] == 784


def test_every_contender_runs_in_turns():
    calls = []
    two = [Contender(name, lambda x, name=name: calls.append(name) or x) for name in "ab"]
    best = paired(two, np.zeros((1, 1), np.float32), 0.0)
    assert set(best) == {"a", "b"}
    turns = [one for one, before in zip(calls, [None, *calls], strict=False) if one != before]
    assert turns == list("ab") * (len(turns) // 2)
    assert len(turns) >= 10


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((NETWORK, "--batch", "0"), "--batch takes numbers from 1 on, not 0"),
        ((NETWORK, "--threads", "0"), "--threads takes numbers from 1 on, not 0"),
        ((NETWORK, "--threads", "1000000000"), "--threads takes numbers up to 1024, not 1000000000"),
        ((NETWORK, "--act-density", "0"), "--act-density must be above 0 and at most 1, not 0"),
        ((NETWORK, "--input", DIGITS, "--batch", "2000"), "holds 1000 inputs: a batch of 2000 needs more"),
        ((NETWORK, "--weights", NETWORK), "--weights has no effect"),
        (("examples/networks/nsnet2.toml",), "needs --input"),
        (("missing.eie",), "missing.eie"),
        ((NETWORK, "--seconds", "inf"), "--seconds must be at least 0 and finite, not inf"),
        ((NETWORK, "--input", DIGITS, "--act-density", "0.5"), "--act-density has no effect with --input"),
        (("net.onnx", "--input", DIGITS, "--batch", "4"), "--batch has no effect for net.onnx"),
    ],
)
def test_bad_input_is_one_line(arguments, said):
    done = run(*arguments)
    assert done.exit_code == 2
    assert said in done.output
    assert len(done.output.strip().splitlines()) == 1
