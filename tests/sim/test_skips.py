"""Residual networks that skip blocks by input: gates, their gradient, the file, and engines."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import nn
from torch.nn import functional

import eie
from eie.cli.main import main
from eie.compress import train
from eie.compress.format.file import load
from eie.compress.forward import quantize_inputs
from eie.errors import LayerError, ModelError
from eie.sim.chain import run_network
from eie.sim.skips import Residual, run_skips, skips_in_float
from tests.support import eie_decoder
from tests.support.json_schemas import check
from tests.support.learn_frame import in_folder, refused, run_page
from tests.support.small_networks import problem, quick

CROSS = functional.cross_entropy


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[train.Skipping, Path]:
    """A small trained network that skips some blocks on some inputs, and its file."""
    torch.manual_seed(2)
    model = train.Skipping(12, 16, 3, 4)
    loss = train.Priced(CROSS, 0.15)
    train.fit(model, problem(), loss, quick(25))
    train.prune(model, problem(), loss, density={"stem": 0.7, "blocks.*": 0.6, "*": 1.0}, training=quick(5))
    shared = train.share(model, problem(), loss, bits=4, training=quick(2, lr=1e-4))
    path = tmp_path_factory.mktemp("skips") / "net.eie"
    train.save_skipping(path, model, shared, problem().dataset.tensors[0])
    return model, path


def test_a_gate_lets_a_block_run_or_not():
    torch.manual_seed(1)
    model = train.Skipping(5, 6, 2, 3).eval()
    x = torch.randn(40, 5)
    nn.init.zeros_(model.gates[0].bias)
    h = model.stem(x).relu()
    for block, gate in zip(model.blocks, model.gates, strict=True):
        h = torch.where(gate(h) > 0, h + block(h).relu(), h)
    torch.testing.assert_close(model(x), model.head(h))
    _, ran = model.traced(x)
    assert set(ran.unique().tolist()) == {0.0, 1.0}
    answer, share = model.train()(x)
    torch.testing.assert_close(answer, model.head(h))
    torch.testing.assert_close(share, ran.mean(1))


def test_the_gradient_goes_straight_through():
    model = train.Skipping(5, 6, 1, 3)
    x = torch.randn(4, 5)
    _, ran = model.traced(x)
    ran.sum().backward()
    score = model.gates[0](model.stem(x).relu()).detach()
    slope = score.sigmoid() * (1 - score.sigmoid())
    torch.testing.assert_close(model.gates[0].bias.grad, slope.sum(0))


def test_a_price_is_added_to_the_loss():
    answers, y = [torch.randn(6, 4), torch.rand(6)], torch.randint(0, 4, (6,))
    right = CROSS(answers[0], y) + 0.5 * answers[1].mean()
    assert train.Priced(CROSS, 0.5)(answers, y).item() == pytest.approx(right.item())
    assert train.Priced(CROSS, 0.5)(answers[0], y).item() == pytest.approx(CROSS(answers[0], y).item())
    for bad in (-1, float("nan"), float("inf")):
        with pytest.raises(ModelError, match="the price of blocks must be at least 0"):
            train.Priced(CROSS, bad)
    with pytest.raises(ModelError, match="needs at least one, not 0"):
        train.Skipping(3, 4, 0, 2)


def test_the_file_has_each_gate_before_its_block(made):
    layers = load(made[1])
    names = ["stem", "gates.0", "blocks.0", "gates.1", "blocks.1", "gates.2", "blocks.2", "head"]
    assert [layer.name for layer in layers] == names
    assert [layer.exit for layer in layers] == [name.startswith("gates") for name in names]
    assert [bool(one["exit"]) for one in eie_decoder.decode(made[1].read_bytes())] == [
        one.exit for one in layers
    ]
    assert [layer.name for layer in Residual.of(layers).matrices] == [n for n in names if "gates" not in n]


def test_answers_are_those_of_the_module(made):
    model, path = made
    layers, x = load(path), problem().dataset.tensors[0]
    run = run_skips(layers, quantize_inputs(layers[0], x.numpy()))
    with torch.no_grad():
        answer, ran = model.eval().traced(x)
    assert 0.02 < run.ran.mean() < 0.98
    same = np.all(run.ran == (ran.numpy() > 0.5), axis=1)
    assert same.mean() > 0.95
    y = np.ldexp(run.y.astype(np.float64), -layers[-1].y_frac)
    assert y[same] == pytest.approx(answer.numpy()[same], abs=0.03 * float(answer.abs().max()))
    assert run.clipped == 0


def test_engines_run_the_blocks_that_gates_open(made):
    layers = load(made[1])
    x = quantize_inputs(layers[0], problem().dataset.tensors[0][:12].numpy())
    machine = eie.sized_for(eie.ArchConfig(n_pe=4), *Residual.of(layers).matrices)
    right = run_skips(layers, x)
    golden, fast, reference = (
        run_skips(layers, x, machine, name) for name in ("golden", "fast", "reference")
    )
    for run in (golden, fast, reference):
        assert np.array_equal(run.y, right.y)
        assert np.array_equal(run.ran, right.ran)
    assert golden.cycles == fast.cycles
    assert reference.cycles is None
    # What is clipped counts on every engine: a head that gives too many bits.
    loud = [*layers[:-1], dataclasses.replace(layers[-1], product_shift=0, output_shift=0)]
    high = np.clip(8 * x, -32768, 32767)
    counts = [run_skips(loud, high).clipped]
    counts += [run_skips(loud, high, machine, name).clipped for name in ("golden", "fast", "reference")]
    assert counts == [counts[0]] * 4
    assert counts[0] > 0
    assert run_skips(loud, high, machine, "cpu").clipped is None
    whole = run_skips(layers, x, machine, always=True)
    assert whole.ran.all()
    assert fast.cycles < whole.cycles
    # The stem and the head of every input, and the blocks that ran.
    (stem,) = run_network(layers[:1], x, machine, "fast")
    assert fast.cycles > stem.cycles


def test_layers_that_are_no_such_network(made):
    layers = load(made[1])
    plain = dataclasses.replace(layers[1], exit=False)
    for wrong, line in (
        ([layers[0], layers[-1]], "the network has no gates: every input runs all of its layers"),
        (layers[1:], "layers 'blocks.0' and 'gates.1' are no gate and a block"),
        (
            [layers[0], plain, *layers[2:]],
            "layers 'gates.0' and 'blocks.0' are no gate and a block of 16 x 16 behind it",
        ),
        (layers[:-1], "begins and ends with a layer, of which the last takes 16 inputs"),
        (
            [*layers[:2], dataclasses.replace(layers[2], x_frac=3), *layers[3:]],
            "layer 'blocks.0' does not take what 'gates.0' takes",
        ),
    ):
        with pytest.raises(LayerError) as caught:
            Residual.of(wrong)
        assert line in str(caught.value)


# ---- commands ----------------------------------------------------------------------------------------------


@pytest.fixture
def here(made, tmp_path, monkeypatch) -> Path:
    return in_folder(tmp_path, made[1], monkeypatch)


def test_the_command_says_which_blocks_ran_and_what_that_saved(here):
    layers, y = load("net.eie"), problem().dataset.tensors[1].numpy()
    x = quantize_inputs(layers[0], np.load("x.npz")["x"])
    given = ["accuracy", "net.eie", "--input", "x.npz", "--limit", "200", "--counted", "5"]
    result = CliRunner().invoke(main, [*given, "--json"])
    assert result.exit_code == 0, result.output
    found = check("accuracy", result.stdout)
    run, whole = (run_skips(layers, x[:200], always=always) for always in (False, True))
    assert found["wrong"] == np.count_nonzero(run.y.argmax(1) != y[:200])
    skips = found["skips"]
    assert skips["wrong_all"] == np.count_nonzero(whole.y.argmax(1) != y[:200])
    names = [f"blocks.{number}" for number in range(3)]
    assert skips["ran"] == dict(zip(names, run.ran.sum(axis=0).tolist(), strict=True))
    machine = eie.sized_for(eie.ArchConfig.preset("paper"), *Residual.of(layers).matrices)
    for always, prefix in ((False, ""), (True, "whole_")):
        few = run_skips(layers, x[:5], machine, always=always)
        assert skips[f"{prefix}cycles"] == pytest.approx(few.cycles / 5)
        assert skips[f"{prefix}energy_nj"] == pytest.approx(1000 * few.energy_uj / 5)
    text = CliRunner().invoke(main, given).output
    assert f"all blocks    {skips['wrong_all']} wrong" in text
    assert f"  {run.ran[:, 1].mean():5.1%} ran blocks.1\n".replace("%", " %") in text


def test_floating_point_is_the_module(made):
    model, path = made
    layers, x = load(path), problem().dataset.tensors[0]
    answers = skips_in_float(layers, x.numpy())
    with torch.no_grad():
        right, ran = model.eval().traced(x)
    certain = (run_skips(layers, quantize_inputs(layers[0], x.numpy())).ran == (ran.numpy() > 0.5)).all(1)
    # Weights and biases are rounded to 16 bits, nothing else.
    assert answers[certain] == pytest.approx(right.numpy()[certain], abs=1e-2 * float(right.abs().max()))


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ["run"],
            "layer 'gates.0' is the gate of a block that inputs may skip: only `eie accuracy` and",
        ),
        (["cosim"], "layer 'gates.0' is the gate of a block that inputs may skip: only `eie accuracy` and"),
        (["plan"], "layer 'gates.0' is a gate: no plan holds a layer that may not run"),
        (["accuracy", "--exit", "0.5"], "--exit has no effect for net.eie: its gates say what runs"),
        (["accuracy", "--width", "0.5"], "--width has no effect for net.eie: its gates say what runs"),
        (["accuracy", "--budget", "0.5"], "--budget has no effect without --held-out"),
    ],
)
def test_other_commands_say_so_in_one_line(here, arguments, line):
    name, *others = arguments
    given = [] if name == "plan" else ["--input", "x.npz"]
    refused([name, "net.eie", *given, *others], line)


def test_the_page_runs_as_it_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_page("Skipping", {"784, 128, 4, 10": "12, 8, 2, 4"})
    assert run_skips(load("skips.eie"), np.zeros((3, 12), np.int64)).y.shape == (3, 4)
