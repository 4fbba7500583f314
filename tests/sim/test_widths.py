"""Networks with several widths: trained, in one file, and run from one image of their weights."""

import dataclasses
import json
import re
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
from eie.compress.format.file import load, to_bytes
from eie.compress.forward import fixed_forward, quantize_inputs
from eie.errors import CapacityError, ConfigError, FormatError, LayerError, ModelError
from eie.prefix import Prefix, check_prefixes, shares_of, thousandths
from eie.result import COUNTERS, differences
from eie.sim.chain import run_network
from eie.sim.plans import run_program
from eie.sim.widths import at_width, run_width
from eie.width_program import sized_for_widths, width_program
from tests.support import eie_decoder, eie_files
from tests.support.json_schemas import check
from tests.support.learn_frame import in_folder, refused, run_page
from tests.support.small_networks import problem, quick
from tests.support.width_cases import random_layers

CROSS = functional.cross_entropy
WIDTHS = [0.25, 0.5, 1]


def model() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Linear(12, 24), nn.ReLU(), nn.Linear(24, 16), nn.ReLU(), nn.Dropout(0.0), nn.Linear(16, 4)
    )


@pytest.fixture(scope="module")
def slim(tmp_path_factory) -> tuple[train.Slim, Path]:
    """A module of three widths, trained, pruned and shared, and its file."""
    x = problem().dataset.tensors[0]
    module = train.widths(model(), WIDTHS, x[:8])
    train.fit(module, problem(), train.InPlace(CROSS), quick(25, lr=1e-2))
    train.prune(module, problem(), train.Joint(CROSS), density=0.6, training=quick(5))
    shared = train.share(module, problem(), train.Joint(CROSS), bits=4, training=quick(2))
    path = tmp_path_factory.mktemp("widths") / "net.eie"
    train.save_widths(path, module, shared, x)
    return module, path


@pytest.fixture
def here(slim, tmp_path, monkeypatch) -> Path:
    return in_folder(tmp_path, slim[1], monkeypatch)


# ---- training ----------------------------------------------------------------------------------------------


def test_a_width_is_the_first_units_of_each_hidden_layer():
    module = train.widths(model(), [0.3, 1], torch.rand(2, 12))
    assert module.rows == {"0": [8, 24], "2": [5, 16]}  # at least so many
    one, _, two, _, _, three = module.model
    x = torch.rand(9, 12)
    first = functional.linear(x, one.weight[:8], one.bias[:8]).relu()
    second = functional.linear(first, two.weight[:5, :8], two.bias[:5]).relu()
    right = functional.linear(second, three.weight[:, :5], three.bias)
    torch.testing.assert_close(module.at(x, 0.3), right)
    torch.testing.assert_close(module.at(x, 1), module.model(x))
    torch.testing.assert_close(module.eval()(x), module.model(x))
    narrow, whole = module.train()(x)
    torch.testing.assert_close(narrow, right)
    torch.testing.assert_close(whole, module.model(x))


def test_gradients_are_those_of_the_sum_of_the_widths_losses():
    module = train.widths(model(), WIDTHS, torch.rand(2, 12)).train()
    x, y = torch.rand(20, 12), torch.arange(20) % 4
    train.Joint(CROSS)(module(x), y).backward()
    joint = module.model[0].weight.grad.clone()
    module.zero_grad()
    for width in WIDTHS:
        CROSS(module.at(x, width), y).backward()
    torch.testing.assert_close(joint, module.model[0].weight.grad)


def test_the_sandwich_has_the_narrowest_and_the_whole():
    module = train.widths(model(), [0.125, 0.25, 0.5, 0.75, 1], torch.rand(2, 12), sandwich=True)
    torch.manual_seed(3)
    x, drawn = torch.rand(6, 12), set()
    each = [module.at(x, share / 1000) for share in module.shares]
    for _ in range(30):
        answers = module.train()(x)
        places = [next(k for k, one in enumerate(each) if torch.allclose(one, answer)) for answer in answers]
        assert (len(places), places[0], places[-1]) == (4, 0, 4)
        assert places == sorted(places)
        drawn.add(tuple(places[1:-1]))
    assert drawn == {(1, 2), (1, 3), (2, 3)}


def test_in_place_distillation_follows_the_whole():
    y = torch.tensor([0, 1])
    narrow, whole = torch.randn(2, 4, requires_grad=True), torch.randn(2, 4, requires_grad=True)
    loss = train.InPlace(CROSS)([narrow, whole], y)
    soft, own = whole.softmax(1), narrow.softmax(1)
    right = CROSS(whole, y) + (soft * (soft.log() - own.log())).sum(1).mean()
    torch.testing.assert_close(loss, right)
    loss.backward()
    torch.testing.assert_close(
        whole.grad, torch.autograd.grad(CROSS(whole, y), whole)[0]
    )  # its own loss alone
    assert train.InPlace(CROSS)(whole, y).item() == CROSS(whole, y).item()
    weighted = train.InPlace(CROSS, [0.5, 3])([narrow, whole], y)
    torch.testing.assert_close(weighted, 3 * CROSS(whole, y) + 0.5 * (right - CROSS(whole, y)))
    with pytest.raises(ModelError, match=r"^3 weights for 2 answers: give one for each, "):
        train.InPlace(CROSS, [1, 1, 3])([narrow, whole], y)
    # A checkpoint tells them apart.
    names = {
        loss.__qualname__ for loss in (train.Joint(CROSS), train.InPlace(CROSS), train.InPlace(CROSS, [1, 3]))
    }
    assert len(names) == 3


@pytest.mark.parametrize(
    ("layers", "line"),
    [
        (
            [nn.Linear(12, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 4)],
            "layer '1' is a BatchNorm1d: each width would need its own, and the file has one set of weights: leave it "
            "out, or fold it into the layer before",
        ),
        (
            [nn.Linear(12, 8), nn.Sigmoid(), nn.Linear(8, 4)],
            "the model cannot be narrowed to 0.25: its layers (0, 2) are not one after the other with only ReLU, max "
            "pooling or flattening between them",
        ),
        (
            [nn.Unflatten(1, (2, 6)), nn.LSTM(6, 5)],
            "layer '1.weight_ih_l0' cannot be narrowed: it is a LSTM, not a Linear or a Conv2d",
        ),
        (
            [nn.Unflatten(1, (2, 2, 3)), nn.Conv2d(2, 4, 1, groups=2), nn.Flatten(), nn.Linear(24, 4)],
            "layer '1' cannot be narrowed: it is a grouped convolution, not a Linear or a Conv2d",
        ),
    ],
)
def test_models_that_cannot_be_narrowed(layers, line):
    with pytest.raises(ModelError) as caught:
        train.widths(nn.Sequential(*layers), WIDTHS, torch.rand(3, 12))
    assert str(caught.value) == line


@pytest.mark.parametrize(
    "shares", [[0.5], [0.5, 0.25, 1], [0.5, 0.5, 1], [0.25, 0.5], [0, 1], [0.5, 1.5], [0.33333, 1]]
)
def test_shares_that_are_no_widths(shares):
    with pytest.raises(ModelError, match=r"widths must ascend to 1|a width is from 0.001 to 1"):
        train.widths(model(), shares, torch.rand(3, 12))
    with pytest.raises(ModelError, match=r"no width 0.3 \(it has 0.25, 0.5, 1\)"):
        train.widths(model(), WIDTHS, torch.rand(3, 12)).at(torch.rand(3, 12), 0.3)


def test_convolutions_lose_channels(tmp_path):
    torch.manual_seed(2)
    layers = nn.Sequential(
        *(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 4, 2), nn.Flatten(), nn.Linear(16, 4))
    )
    x = torch.rand(20, 1, 8, 8)
    module = train.widths(layers, [0.5, 1], x[:2])
    shared = train.share(module, [(x, torch.arange(20) % 4)], train.Joint(CROSS), bits=6, training=quick(1))
    train.save_widths(tmp_path / "net.eie", module, shared, x)
    net = eie.load(tmp_path / "net.eie")
    assert [layer.prefixes for layer in net] == [((500, 3, 9),), ((500, 2, 12),), ((500, 4, 8),)]
    with torch.no_grad():
        for width in (0.5, 1):
            right = module.at(x, width).numpy()
            found = net.run(x.numpy(), width=width)
            assert found.outputs == pytest.approx(right, abs=0.02 * float(np.abs(right).max()))
    golden = net.run(x[:1].numpy(), engine="golden", width=0.5)
    fast = net.run(x[:1].numpy(), width=0.5)
    assert golden.cycles == fast.cycles
    assert np.array_equal(golden.outputs, fast.outputs)


# ---- the file ----------------------------------------------------------------------------------------------


def test_one_file_has_all_widths(slim):
    module, path = slim
    layers = load(path)
    assert shares_of(layers) == [250, 500, 1000]
    assert [layer.prefixes for layer in layers] == [
        ((250, 6, 12), (500, 12, 12)),
        ((250, 4, 6), (500, 8, 12)),
        ((250, 4, 4), (500, 4, 8)),
    ]
    assert "3 widths" in repr(layers[0])
    for one, layer in zip(eie_decoder.decode(path.read_bytes()), layers, strict=True):
        assert one["widths"] == list(layer.prefixes)
        assert np.array_equal(one["codes"], layer.dense_codes())
    assert not layers[0].equals(dataclasses.replace(layers[0], prefixes=()))
    x = problem().dataset.tensors[0]
    with torch.no_grad():
        for width in WIDTHS:
            parts, right = at_width(layers, width), module.at(x, width).numpy()
            run = fixed_forward(parts, quantize_inputs(parts[0], x.numpy()))
            assert sum(run.saturations) + sum(run.writeback_saturations) == 0
            y = np.ldexp(run.y.astype(np.float64), -parts[-1].y_frac)
            assert y == pytest.approx(right, abs=0.02 * float(np.abs(right).max()))
            assert np.mean(y.argmax(1) == problem().dataset.tensors[1].numpy()) > 0.6


def test_a_narrowed_layer_is_its_first_rows_and_columns(slim):
    for layer in load(slim[1]):
        for share, rows, cols in layer.prefixes:
            part = layer.narrowed(share)
            part.check(full=True)
            assert np.array_equal(part.dense_codes(), layer.dense_codes()[:rows, :cols])
            assert np.array_equal(part.bias, layer.bias[:rows])
            assert part.prefixes == ()
        assert layer.narrowed(1000).equals(dataclasses.replace(layer, prefixes=()))
    with pytest.raises(LayerError, match=r"layer '5' has no width 0.75 \(it has 0.25, 0.5, 1\)"):
        layer.narrowed(750)


@pytest.mark.parametrize(
    ("widths", "line"),
    [
        ([(250, 2, 1), (250, 3, 1)], "its widths must ascend from 1 to 999 thousandths, and 250 does not"),
        ([(1000, 2, 1)], "its widths must ascend from 1 to 999 thousandths, and 1000 does not"),
        ([(500, 24, 1)], "at width 0.5 it has 24 rows and 1 columns, which must be from 1 and 1 to 23 and 1"),
        (
            [(5, 3, 1), (9, 2, 1)],
            "at width 0.009 it has 2 rows and 1 columns, which must be from 3 and 1 to 23 and 1",
        ),
        ([(500, 0, 1)], "at width 0.5 it has 0 rows and 1 columns, which must be from 1 and 1 to 23 and 1"),
        ([], "it must have at least one narrower width, not 0"),
    ],
)
def test_the_reader_refuses(widths, line):
    data = eie_files.file(eie_files.layer(flags=0b10001101, kind=3, widths=widths))
    with pytest.raises(FormatError) as caught:
        eie.compress.format.file.from_bytes(data)
    assert str(caught.value) == f"layer 'example': {line}"
    with pytest.raises(eie_decoder.Refused):
        eie_decoder.decode(data)


def test_layers_of_other_widths_and_kinds(slim):
    layers = load(slim[1])
    mixed = [layers[0], dataclasses.replace(layers[1], prefixes=layers[1].prefixes[:1]), layers[2]]
    with pytest.raises(
        LayerError, match=r"layer '2' has the narrower widths \[250\] \(in thousandths\), but '0' has"
    ):
        shares_of(mixed)
    broken = dataclasses.replace(layers[1], prefixes=(Prefix(250, 4, 7), Prefix(500, 8, 12)))
    with pytest.raises(LayerError, match="layer '2' takes 7 inputs, but '0' has 6 outputs"):
        at_width([layers[0], broken, layers[2]], 0.25)
    with pytest.raises(LayerError, match="is no exit, and has no blocks"):
        dataclasses.replace(layers[0], exit=True)
    with pytest.raises(LayerError, match="the network has one width"):
        at_width([dataclasses.replace(layer, prefixes=()) for layer in layers], 1)
    many = tuple(Prefix(share, 1, 1) for share in range(1, 257))
    assert "256 narrower widths, not at most 255" in check_prefixes(many, 9, 9)
    for bad in (0, -0.5, 1.001, float("nan"), 0.0004, 0.1234):
        with pytest.raises(LayerError, match=r"a width is from 0.001 to 1"):
            thousandths(bad)


# ---- the machine -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_pe", [1, 4, 16])
@pytest.mark.parametrize("other", [{}, {"index_bits": 1}, {"row_format": "absolute", "row_bits": 6}])
def test_engines_run_every_width_from_one_image(n_pe, other):
    layers = random_layers(n_pe)
    base = eie.ArchConfig(n_pe=n_pe, **other)
    cfg = sized_for_widths(base, layers, together=True)
    x = np.random.default_rng(2).integers(-40, 40, (2, 20)) * (np.arange(20) % 3 != 1)
    images = width_program(layers, cfg).images
    for width in (0.25, 0.5, 1):
        share, parts = thousandths(width), at_width(layers, width)
        program = width_program(layers, cfg, share)
        assert program.images == images
        golden, fast = run_width(layers, x, cfg, width, "golden"), run_width(layers, x, cfg, width)
        reference = run_width(layers, x, cfg, width, "reference")
        alone = run_network(parts, x, eie.sized_for(base, *parts), "fast")
        for one, two, three, four in zip(golden, fast, reference, alone, strict=True):
            assert differences(two, one)[1] == []
            assert np.array_equal(two.y, three.y)
            assert np.array_equal(two.y, four.y)
            # As a network of its own, but for words that hold entries of other widths, too.
            assert two.cycles == four.cycles
            for counter in COUNTERS:
                if counter != "spmat_reads":
                    assert two.total(counter) == four.total(counter)
            assert two.total("spmat_reads") >= four.total("spmat_reads")
        whole = run_program(program, list(x), "golden")
        assert np.array_equal([one.y for one in whole], fast[-1].y)
        assert sum(one.cycles for one in whole) == sum(one.cycles for one in fast)


def test_the_narrower_the_fewer_cycles(slim):
    net = eie.load(slim[1])
    x = problem().dataset.tensors[0][:10].numpy().astype(np.float64)
    cycles = [net.run(x, width=width).cycles for width in WIDTHS]
    assert cycles == sorted(cycles)
    assert len(set(cycles)) == 3
    assert cycles[-1] == net.run(x).cycles
    assert np.array_equal(net.run(x, width=1).outputs, net.run(x).outputs)


def test_machines_that_do_not_run_it():
    layers = random_layers(1)
    with pytest.raises(ConfigError, match="wants columns with pointers of their own"):
        width_program(layers, eie.ArchConfig.preset("eie2"))
    cfg = sized_for_widths(eie.ArchConfig(n_pe=2), layers, together=True)
    with pytest.raises(CapacityError) as caught:
        width_program(layers, cfg.replace(pointers=cfg.pointers - 2, acc_depth=8))
    assert re.fullmatch(
        r"the network with all its widths does not fit 2 PEs; per PE: 254 pointers needed, 252 available; "
        r"17 accumulators needed, 8 available \(more PEs, or --sized\)",
        str(caught.value),
    )
    with pytest.raises(LayerError, match="layer '33' takes 20 activations, but '21' gives 21"):
        width_program(layers[1::-1], cfg)


# ---- commands ----------------------------------------------------------------------------------------------


def run(*arguments: str):
    return CliRunner().invoke(main, list(arguments))


def test_commands_take_a_width(here):
    layers, x = load("net.eie"), quantize_inputs(load("net.eie")[0], np.load("x.npz")["x"])
    result = run(
        "run", "net.eie", "--input", "x.npz", "--index", "3", "--width", "0.5", "--json", "--engine", "fast"
    )
    assert result.exit_code == 0, result.output
    found = check("run", result.stdout)
    cfg = eie.ArchConfig(n_pe=64)
    assert found[-1]["y"] == run_width(layers, x[3], cfg, 0.5)[-1].y.tolist()
    golden = run(
        "run", "net.eie", "--input", "x.npz", "--index", "3", "--width", "0.5", "--pe", "4", "--sized"
    )
    assert golden.exit_code == 0, golden.output
    assert "y = " + " ".join(map(str, found[-1]["y"])) in golden.output
    counted = check(
        "accuracy", run("accuracy", "net.eie", "--input", "x.npz", "--width", "0.25", "--json").stdout
    )
    y = fixed_forward(at_width(layers, 0.25), x).y.argmax(1)
    assert counted["wrong"] == np.count_nonzero(y != np.load("x.npz")["labels"])
    table = check("info", run("info", "net.eie", "--json").stdout)["widths"]
    assert [one["width"] for one in table] == WIDTHS
    assert table[0]["shapes"] == [[6, 12], [4, 6], [4, 4]]
    assert table[-1]["weights"] == [layer.nnz for layer in layers]
    assert "0.25   6 x 12:" in re.sub(" +", "   ", run("info", "net.eie").output).replace("   x   ", " x ")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["run", "--width", "0.3"], "layer '0' has no width 0.3 (it has 0.25, 0.5, 1)"),
        (["run", "--width", "0"], "a width is from 0.001 to 1, in steps of 0.001, not 0"),
        (
            ["run", "--width", "0.5", "--preset", "eie2"],
            "one image for all widths wants columns with pointers",
        ),
        (["run", "--width", "0.5", "--wave", "w.vcd"], "--wave has no effect with --width"),
        (["accuracy", "--width", "0.5", "--exit", "0.5"], "--exit has no effect with --width"),
        (["accuracy", "--width", "2"], "a width is from 0.001 to 1, in steps of 0.001, not 2"),
        (["cosim", "--width", "0.5", "--free"], "--free has no effect with --width"),
        (["cosim", "--width", "0.7"], "layer '0' has no width 0.7 (it has 0.25, 0.5, 1)"),
    ],
)
def test_bad_input_is_one_line(here, arguments, line):
    name, *others = arguments
    refused([name, "net.eie", "--input", "x.npz", *others], line)


def test_a_network_of_one_width(here):
    Path("plain.eie").write_bytes(
        to_bytes([dataclasses.replace(one, prefixes=()) for one in load("net.eie")])
    )
    for command in ("run", "accuracy", "cosim"):
        line = "the network has one width: train.widths gives it several"
        refused([command, "plain.eie", "--input", "x.npz", "--width", "1"], line)
    assert "widths" not in json.loads(run("info", "plain.eie", "--json").stdout)


def test_the_page_runs_as_it_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    digits = problem().dataset.tensors[0][:2].numpy().astype(np.float64)
    run_page("save_widths", {"fc1": "0"}, model=model(), eie=eie, digits=digits)
    assert shares_of(load("widths.eie")) == [250, 500, 750, 1000]
