"""Early exits: trained, in the file, on engines, and what leaves where."""

import copy
import dataclasses
import io
import json
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
from eie.compress.float_layers import Conv
from eie.compress.format.file import load
from eie.compress.forward import quantize_inputs
from eie.errors import ConfigError, LayerError, ModelError
from eie.sim.chain import run_network
from eie.sim.exits import (
    certainty,
    choose_threshold,
    leave,
    logits_at_exits,
    run_with_exits,
    sized_for_exits,
    stages,
    trunk,
)
from tests.support import eie_decoder
from tests.support.json_schemas import check
from tests.support.learn_frame import in_folder, refused, run_page
from tests.support.small_networks import problem, quick

CROSS = functional.cross_entropy


def deep() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Linear(12, 24),
        nn.ReLU(),
        nn.Linear(24, 16),
        nn.ReLU(),
        nn.Linear(16, 16),
        nn.ReLU(),
        nn.Linear(16, 4),
    )


@pytest.fixture(scope="module")
def exits(tmp_path_factory) -> tuple[train.Exits, Path]:
    """A trained module with two exits, shared, and its file."""
    x = problem().dataset.tensors[0]
    module = train.Exits(deep(), ["2", "0"], x[:8])
    train.fit(module, problem(), train.Joint(CROSS), quick(25, lr=1e-2))
    train.prune(module, problem(), train.Joint(CROSS), density=0.6, training=quick(5))
    shared = train.share(module, problem(), train.Joint(CROSS), bits=4, training=quick(2))
    path = tmp_path_factory.mktemp("exits") / "net.eie"
    train.save_exits(path, module, shared, x)
    return module, path


@pytest.fixture
def here(exits, tmp_path, monkeypatch) -> Path:
    in_folder(tmp_path, exits[1], monkeypatch)
    both = dict(np.load("x.npz"))
    np.savez("bare.npz", x=both["x"])
    np.savez("labels.npz", x=both["x"], labels=both["labels"] + 4 - int(both["labels"][0]))
    return tmp_path


# ---- training ----------------------------------------------------------------------------------------------


def test_heads_take_what_the_next_layer_takes():
    module = train.Exits(deep(), ["0", "4"], torch.rand(3, 12))
    assert [tuple(head.weight.shape) for head in module.heads.values()] == [(4, 24), (4, 16)]
    x = torch.rand(5, 12)
    first = functional.relu(module.model[0](x))
    third = module.model[:6](x)
    for found, right in zip(
        module.answers(x), (module.heads["0"](first), module.heads["4"](third), module.model(x)), strict=True
    ):
        assert torch.equal(found, right)
    assert torch.equal(module.eval()(x), module.model(x))
    assert len(module.train()(x)) == 3


def test_a_copy_of_a_module_has_its_own_exits():
    module, x = train.Exits(deep(), ["0", "4"], torch.rand(3, 12)), torch.rand(5, 12)
    kept = io.BytesIO()
    torch.save(module, kept)
    kept.seek(0)
    for twin in (copy.deepcopy(module), torch.load(kept, weights_only=False)):
        right = module.answers(x)
        assert all(map(torch.equal, twin.answers(x), right))
        with torch.no_grad():
            twin.model[0].weight.mul_(2)
        assert not torch.equal(twin.answers(x)[0], right[0])
        assert all(map(torch.equal, module.answers(x), right))


def test_the_joint_loss_is_a_weighted_sum():
    answers, y = [torch.randn(6, 4) for _ in range(3)], torch.randint(0, 4, (6,))
    each = [float(CROSS(one, y)) for one in answers]
    assert float(train.Joint(CROSS)(answers, y)) == pytest.approx(sum(each), rel=1e-6)
    weighted = train.Joint(CROSS, [1.0, 0.5, 2.0])(answers, y)
    assert float(weighted) == pytest.approx(each[0] + 0.5 * each[1] + 2 * each[2], rel=1e-6)
    assert float(train.Joint(CROSS)(answers[0], y)) == pytest.approx(each[0], rel=1e-6)
    with pytest.raises(
        ModelError, match=r"^2 weights for 3 answers: give one for each, the whole network's last$"
    ):
        train.Joint(CROSS, [1, 1])(answers, y)


def test_a_teacher_has_one_answer():
    module = train.Exits(deep(), ["2"], torch.rand(3, 12))
    with pytest.raises(
        ModelError, match=r"a teacher is for a model that answers with one tensor, not with a list"
    ):
        train.fit(module, problem(), train.Joint(CROSS), quick(1, teacher=train.Teacher(deep())))


def test_a_checkpoint_tells_joint_losses_apart(tmp_path):
    def fit(weights) -> None:
        module = train.Exits(deep(), ["2"], torch.rand(3, 12))
        train.fit(module, problem(), train.Joint(CROSS, weights), quick(1, folder=tmp_path))

    fit(None)
    fit(None)
    with pytest.raises(ModelError, match="belongs to another run"):
        fit([0.5, 1.0])


def test_convolutions_have_exits_behind_their_pooling(tmp_path):
    torch.manual_seed(2)
    model = nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(3, 4, 2), nn.Flatten(), nn.Linear(16, 4)
    )
    x = torch.rand(20, 1, 8, 8)
    module = train.Exits(model, ["0"], x[:2])
    assert tuple(module.heads["0"].weight.shape) == (4, 27)
    shared = train.share(module, [(x, torch.arange(20) % 4)], train.Joint(CROSS), bits=6, training=quick(1))
    layers, _ = train.save_exits(tmp_path / "net.eie", module, shared, x)
    assert [(layer.name, layer.exit) for layer in load(tmp_path / "net.eie")] == [
        ("0", False),
        ("exit.0", True),
        ("3", False),
        ("5", False),
    ]
    logits, _ = logits_at_exits(layers, quantize_inputs(layers[0], x.reshape(20, -1).numpy()))
    with torch.no_grad():
        for found, right in zip(logits, module.answers(x), strict=True):
            assert found == pytest.approx(right.numpy(), abs=0.02 * float(right.abs().max()))


@pytest.mark.parametrize(
    ("after", "line"),
    [
        (
            ["6"],
            "no exit behind '6', which is the last: its answer is the network's (exits go behind 0, 2, 4)",
        ),
        (["fc"], "no exit behind 'fc', which is none of the model's (exits go behind 0, 2, 4)"),
    ],
)
def test_layers_that_no_exit_goes_behind(after, line):
    with pytest.raises(ModelError) as caught:
        train.Exits(deep(), after, torch.rand(2, 12))
    assert str(caught.value) == line


# ---- the file ----------------------------------------------------------------------------------------------


def test_the_file_says_which_layers_are_exits(exits):
    layers = load(exits[1])
    assert [(layer.name, layer.exit) for layer in layers] == [
        ("0", False),
        ("exit.0", True),
        ("2", False),
        ("exit.2", True),
        ("4", False),
        ("6", False),
    ]
    assert "early exit" in repr(layers[1])
    assert not layers[1].equals(dataclasses.replace(layers[1], exit=False))
    others = eie_decoder.decode(exits[1].read_bytes())
    assert [bool(one["exit"]) for one in others] == [layer.exit for layer in layers]
    for one, layer in zip(others, layers, strict=True):
        assert (one["name"], one["rows"], one["cols"], one["entries"]) == (
            layer.name,
            layer.rows,
            layer.cols,
            layer.nnz,
        )


def test_exits_take_what_the_layer_before_gives_and_end_nowhere_else(exits):
    one, first, two, second, three, four = load(exits[1])
    plain = dataclasses.replace(first, exit=False)
    for layers, line in (
        ([first, one], "layer 'exit.0' is an early exit with no layer of the network before it"),
        ([one, first, second, two], "layer 'exit.2' is an early exit with no layer of the network before it"),
        ([one, two, three, four], "the network has no early exit: every input runs all of its layers"),
        ([one, two, second], "layer 'exit.2' is an early exit behind which there is no layer"),
        ([one, second, two, three, four], "layer 'exit.2' takes 16 inputs, but '0' has 24 outputs"),
        ([one, first, two, three], "layer 'exit.0' is an early exit with 4 outputs, but the network has 16"),
    ):
        with pytest.raises(LayerError) as caught:
            stages(layers)
        assert str(caught.value) == line
    with pytest.raises(LayerError, match="an early exit is a plain matrix"):
        dataclasses.replace(one, exit=True, conv=eie.compress.float_layers.Conv((1, 1)))
    assert plain.equals(dataclasses.replace(first, exit=False))


def test_nothing_else_runs_a_network_with_exits(here):
    for command in (
        ["run", "net.eie", "--input", "x.npz"],
        ["accuracy", "net.eie", "--input", "x.npz"],
        ["plan", "net.eie"],
        ["cosim", "net.eie", "--input", "x.npz"],
        ["bench", "net.eie", "--input", "x.npz"],
    ):
        result = CliRunner().invoke(main, command)
        assert result.exit_code == 2, (command, result.output)
        (line,) = result.output.splitlines()[-1:]
        assert "is an early exit" in line, (command, line)


# ---- what leaves where -------------------------------------------------------------------------------------


def test_answers_are_those_of_the_module(exits):
    module, path = exits
    layers, x = load(path), problem().dataset.tensors[0]
    logits, clipped = logits_at_exits(layers, quantize_inputs(layers[0], x.numpy()))
    assert clipped == 0
    with torch.no_grad():
        for found, right in zip(logits, module.answers(x), strict=True):
            assert found == pytest.approx(right.numpy(), abs=0.02 * float(right.abs().max()))
            assert certainty(found) == pytest.approx(right.softmax(1).amax(1).numpy(), abs=0.05)
    for threshold in (0.4, 0.7, 0.95):
        error, shares = train.exit_share(module, problem(), threshold)
        run = leave(logits, threshold)
        y = problem().dataset.tensors[1].numpy()
        assert 100 * np.mean(run.answers != y) == pytest.approx(error, abs=4)
        assert np.bincount(run.left, minlength=3) / 256 == pytest.approx(shares, abs=0.06)


def test_engines_run_what_does_not_leave(exits):
    layers = load(exits[1])
    x = quantize_inputs(layers[0], problem().dataset.tensors[0][:12].numpy())
    machine = eie.sized_for(eie.ArchConfig(n_pe=4), *layers)
    logits, _ = logits_at_exits(layers, x)
    cycles = []
    for threshold in (0.0, 0.6, 1.0):
        right = leave(logits, threshold)
        runs = [
            run_with_exits(layers, x, machine, threshold, engine)
            for engine in ("golden", "fast", "reference")
        ]
        for run in runs:
            assert np.array_equal(run.answers, right.answers)
            assert np.array_equal(run.left, right.left)
        assert runs[0].cycles == runs[1].cycles
        assert runs[0].energy_uj == pytest.approx(runs[1].energy_uj)
        assert runs[2].cycles is None
        cycles.append(runs[0].cycles)
    assert set(leave(logits, 0.0).left) == {0}
    assert set(leave(logits, 1.0).left) == {2}
    assert cycles == sorted(cycles)
    assert len(set(cycles)) == 3
    # At 0 an input costs the first layer and its exit, at 1 all layers.
    alone = dataclasses.replace(layers[1], exit=False)
    first = sum(one.cycles for one in run_network([layers[0], alone], x, machine, "fast"))
    assert cycles[0] == first
    heads = sum(
        run_network([*trunk(layers)[: k + 1], dataclasses.replace(head, exit=False)], x, machine, "fast")[
            -1
        ].cycles
        for k, head in ((0, layers[1]), (1, layers[3]))
    )
    assert cycles[2] == sum(one.cycles for one in run_network(trunk(layers), x, machine, "fast")) + heads


def test_the_threshold_is_the_least_within_the_budget():
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 5, 400)
    logits = [rng.normal(size=(400, 5)) for _ in range(3)]
    for strength, each in zip((1.0, 2.0, 4.0), logits, strict=True):
        each[np.arange(400), labels] += strength
    whole = logits[-1].argmax(1) != labels
    for budget in (0.0, 0.5, 5.0, 100.0):
        found = choose_threshold(logits, labels, budget)
        # Inputs that the exits get wrong and the whole does not, and the other way round.
        wrong = [leave(logits, t / 100).answers != labels for t in range(101)]
        lost, won = (
            np.array([np.count_nonzero(each) for each in both])
            for both in ([one & ~whole for one in wrong], [whole & ~one for one in wrong])
        )
        # Agresti and Min: half an input more in each of the four cells. At 1 nothing leaves.
        mean = (lost - won) / 402
        bound = mean + 1.645 * np.sqrt(((lost + won + 1) / 402 - mean**2) / 402)
        beyond = [t for t in range(100) if 100 * bound[t] > budget]
        assert found == (max(beyond) + 1) / 100 if beyond else found == 0
        assert found >= next(t for t in range(101) if 100 * mean[t] <= budget) / 100
    assert choose_threshold(logits, labels, 100.0) == 0
    # As easy inputs, but fewer of them, show less.
    few = [each[:40] for each in logits]
    assert choose_threshold(few, labels[:40], 5.0) > choose_threshold(
        [np.tile(each, (9, 1)) for each in few], np.tile(labels[:40], 9), 5.0
    )
    # Twenty inputs that exits and the whole get right prove nothing of 0.1 points, ten thousand do.
    sure = [50 * np.eye(5)[labels] for _ in range(2)]
    assert choose_threshold([each[:20] for each in sure], labels[:20], 0.1) == 1
    assert choose_threshold([np.tile(each, (25, 1)) for each in sure], np.tile(labels, 25), 0.1) == 0
    for bad in (-0.1, 1.1, float("nan")):
        with pytest.raises(ConfigError, match="an exit's threshold must be from 0 to 1"):
            leave(logits, bad)
    for bad in (-0.1, float("nan")):
        with pytest.raises(ConfigError, match="a budget must be a number of points from 0, not"):
            choose_threshold(logits, labels, bad)


# ---- the command -------------------------------------------------------------------------------------------


def test_the_command_says_what_left_and_what_it_cost(here, exits):
    layers, y = load("net.eie"), problem().dataset.tensors[1].numpy()
    x = quantize_inputs(layers[0], np.load("x.npz")["x"])
    given = ["accuracy", "net.eie", "--input", "x.npz", "--counted", "5"]
    result = CliRunner().invoke(main, [*given, "--exit", "0.6", "--json"])
    assert result.exit_code == 0, result.output
    found = check("accuracy", result.stdout)
    run = leave(logits_at_exits(layers, x)[0], 0.6)
    assert found["exits"]["wrong"] == np.count_nonzero(run.answers != y)
    assert list(found["exits"]["left"].values()) == np.bincount(run.left, minlength=3).tolist()
    assert list(found["exits"]["left"]) == ["exit.0", "exit.2", "6"]
    assert found["exits"]["counted"] == 5
    machine = eie.sized_for(eie.ArchConfig.preset("paper"), *layers)
    few = run_with_exits(layers, x[:5], machine, 0.6)
    assert found["exits"]["cycles"] == pytest.approx(few.cycles / 5)
    whole = sum(one.cycles for one in run_network(trunk(layers), x[:5], machine, "fast"))
    assert found["exits"]["whole_cycles"] == pytest.approx(whole / 5)
    chip = sized_for_exits(eie.ArchConfig.preset("paper"), layers)
    kept = run_with_exits(layers, x[:5], chip, 0.6)
    assert (few.resident, kept.resident, kept.cycles) == (False, True, few.cycles)
    for name in ("load_cycles", "store_cycles"):
        assert found["exits"][name] == getattr(few, name) / 5
        assert found["exits"][f"resident_{name}"] == getattr(kept, name) / 5
    few = json.loads(CliRunner().invoke(main, [*given, "--exit", "0.6", "--limit", "30", "--json"]).stdout)
    assert few["exits"]["wrong"] == np.count_nonzero(run.answers[:30] != y[:30])
    # Other arrays of the file are no labels.
    np.savez("more.npz", weights=np.ones(256), x=np.load("x.npz")["x"], labels=y, more=np.zeros((256, 2)))
    more = [
        "accuracy",
        "net.eie",
        "--input",
        "more.npz",
        "--held-out",
        "more.npz",
        "--counted",
        "5",
        "--budget",
    ]
    for budget in ("0", "2"):
        chosen = json.loads(CliRunner().invoke(main, [*more, budget, "--json"]).stdout)["exits"]
        threshold = choose_threshold(logits_at_exits(layers, x)[0], y, float(budget))
        assert chosen["threshold"] == threshold
        right = leave(logits_at_exits(layers, x)[0], threshold)
        assert chosen["wrong"] == np.count_nonzero(right.answers != y)
    text = CliRunner().invoke(main, [*given, "--exit", "0.6"]).output
    assert "% with the answer of exit.0\n" in text
    assert "cycles an input, a layer at a time; " in text
    assert text.endswith(" where the chip holds the network\n")
    assert f"early exits   {found['exits']['wrong']} wrong" in text
    result = CliRunner().invoke(main, [*given, "--held-out", "x.npz", "--budget", "2", "--json"])
    chosen = json.loads(result.stdout)["exits"]
    assert chosen["threshold"] == choose_threshold(logits_at_exits(layers, x)[0], y, 2.0)
    assert chosen["wrong"] <= found["wrong"] + 0.02 * 256


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--exit", "1.5"], "invalid value for '--exit': 1.5 is not in the range 0<=x<=1"),
        (["--exit", "0.5", "--held-out", "x.npz"], "give --exit, or --held-out to choose it, not both"),
        (["--budget", "1", "--exit", "0.5"], "--budget has no effect without --held-out"),
        (["--counted", "5"], "--counted has no effect without --exit or --held-out"),
        (["--held-out", "none.npz"], "none.npz: cannot be read"),
        (["--held-out", "bare.npz"], "bare.npz holds no labels (integers, one for each input)"),
        (["--exit", "nan"], "invalid value for '--exit': nan is not a finite number"),
        (
            ["--held-out", "x.npz", "--budget", "inf"],
            "invalid value for '--budget': inf is not a finite number",
        ),
        (["--exit", "0.5", "--preset", "blocks"], "layer '0' has no block structure"),
        (
            ["--held-out", "labels.npz"],
            "labels.npz: label 4 of input 0 is the number of no output: the network has 4, from 0 to 3",
        ),
    ],
)
def test_bad_input_is_one_line(here, arguments, line):
    refused(["accuracy", "net.eie", "--input", "x.npz", *arguments], line)


def test_convolutions_go_a_layer_at_a_time(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    codes = eie.CompressedLayer.from_codes
    layers = [
        codes(np.ones((1, 9), int), [0, 1, 2, 3], name="conv", conv=Conv((3, 3), size=(5, 5))),
        dataclasses.replace(codes(np.ones((2, 9), int), [0, 1, 2, 3], name="exit"), exit=True),
        codes(np.eye(2, 9, dtype=int), [0, 1, 2, 3], name="fc"),
    ]
    eie.save("net.eie", layers)
    np.savez("x.npz", x=np.ones((3, 1, 5, 5)), labels=[0, 1, 0])
    given = ["accuracy", "net.eie", "--input", "x.npz", "--exit", "0.6"]
    found = check("accuracy", CliRunner().invoke(main, [*given, "--json"]).stdout)["exits"]
    assert found["resident_load_cycles"] is found["resident_store_cycles"] is None
    assert found["store_cycles"] > 0
    assert CliRunner().invoke(main, given).output.endswith("store cycles an input, a layer at a time\n")


def test_inputs_that_take_no_cycle(here):
    """Without biases an input of zeros is zeros in every layer: nothing to compare cycles with."""
    eie.save("net.eie", [dataclasses.replace(one, bias=0 * one.bias) for one in load("net.eie")])
    np.savez("x.npz", x=np.zeros((3, 12)), labels=[0, 1, 2])
    result = CliRunner().invoke(main, ["accuracy", "net.eie", "--input", "x.npz", "--exit", "0.5"])
    assert result.exit_code == 0, result.output
    assert "0 cycles and 0.0 nJ an input, of 0 and 0.0 without exits; mean of 3, 64 PEs" in result.output


def test_a_network_without_exits(here, exits):
    eie.save("plain.eie", trunk(load("net.eie")))
    line = "the network has no early exit: every input runs all of its layers"
    refused(["accuracy", "plain.eie", "--input", "x.npz", "--exit", "0.5"], line)


def test_the_page_runs_as_it_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_page("Exits", {"fc1": "0"}, model=deep())
    assert [layer.name for layer in load("exits.eie")] == ["0", "exit.0", "2", "4", "6"]
