"""Any PyTorch module in a .eie file: residual, norms, cells, attention, several inputs, and what torch cannot trace."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

import eie
from eie.cli.main import main
from eie.compress.quantize import Widths
from eie.errors import ModelError
from eie.sim.bench.contenders import EXACT, FLOAT, INT8
from eie.sim.networks.bundle import whole_model
from eie.sim.networks.run import decibels

torch = pytest.importorskip("torch", exc_type=ImportError)

from torch import nn  # noqa: E402

from eie.compress import train  # noqa: E402
from eie.compress.train.sharing import Shared, cluster  # noqa: E402
from eie.compress.train.weights import find_weights  # noqa: E402
from tests.support.module_draws import Attention, First, Residual, Two  # noqa: E402

torch.set_num_threads(1)


def shared(model, bits=8):
    """Shared values in place of the weights, without training."""
    found = {one.name: cluster(one.parameter, bits) for one in find_weights(model)}
    with torch.no_grad():
        for one in find_weights(model):
            one.parameter.copy_(found[one.name].decode())
    return Shared(found, [])


class TwoStates(nn.Module):
    """An LSTM with its last states as outputs."""

    def __init__(self):
        super().__init__()
        self.cell, self.out = nn.LSTM(6, 10, batch_first=True), nn.Linear(10, 3)

    def forward(self, x):
        y, (h, c) = self.cell(x)
        return self.out(y), h, c


MODELS = {
    "chain": (lambda: nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 8)), [(64, 16)]),
    "residual": (lambda: nn.Sequential(Residual(16, 32, False), nn.ReLU(), nn.Linear(16, 8)), [(64, 16)]),
    "norms": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(32, 5),
        ),
        [(12, 2, 6, 6)],
    ),
    "GRU": (lambda: nn.Sequential(First(nn.GRU(6, 9, 2, batch_first=True)), nn.Linear(9, 4)), [(10, 7, 6)]),
    "LSTM": (TwoStates, [(10, 7, 6)]),
    "attention": (lambda: nn.Sequential(Attention(12), nn.LayerNorm(12), nn.Linear(12, 4)), [(8, 5, 12)]),
    "two inputs": (lambda: Two(12, Residual(12, 20, True)), [(8, 5, 12), (8, 5)]),
}


def made(name, seed=3):
    torch.manual_seed(seed)
    make, shapes = MODELS[name]
    model = make()
    batch = [torch.randn(shape) for shape in shapes[:1]] + [
        torch.randint(0, 7, shape) for shape in shapes[1:]
    ]
    model.train()(*batch)  # means of norms
    return model.eval(), batch


@pytest.mark.parametrize("name", MODELS)
def test_the_file_runs_as_the_model_does(tmp_path, name, capfd):
    model, batch = made(name)
    path = tmp_path / "net.eie"
    train.save(path, model, shared(model), batch[0] if len(batch) == 1 else tuple(batch), Widths(acc_bits=32))
    with torch.no_grad():
        answers = model(*batch)
    right = (answers[0] if isinstance(answers, tuple) else answers).double().numpy()
    net = eie.load(path)
    given = {port.name: one.numpy() for port, one in zip(net.inputs, batch, strict=True)}
    cfg = net.machine(eie.ArchConfig(acc_bits=32, n_pe=4))
    run = net.run(given if len(given) > 1 else batch[0].numpy(), cfg)
    ratio = decibels(right, run.outputs)
    print(name, ratio)
    assert ratio > 55
    exact = next(iter(net.run_float(given if len(given) > 1 else batch[0].numpy()).values()))
    assert decibels(right, exact) > 60
    assert len(net) == len(net.layers) > 0
    # Another batch, of another size: nothing was kept of the first.
    more = [torch.cat([one, one[:3]]) for one in batch]
    with torch.no_grad():
        answers = model(*more)
    right = (answers[0] if isinstance(answers, tuple) else answers).double().numpy()
    named = {port.name: one.numpy() for port, one in zip(net.inputs, more, strict=True)}
    assert decibels(right, net.run(named if len(named) > 1 else more[0].numpy(), cfg).outputs) > 55
    # The command runs the file by itself.
    if len(batch) == 1:
        np.save(tmp_path / "x.npy", batch[0][:1].numpy())
        result = CliRunner().invoke(
            main,
            [
                "run",
                str(path),
                "--input",
                str(tmp_path / "x.npy"),
                "--engine",
                "fast",
                "--preset",
                "wide",
                "--set",
                "weight_bits=8",
                "--sized",
            ],
        )
        assert result.exit_code == 0, result.output
    assert "Traceback" not in capfd.readouterr().err


def test_a_residual_network_reaches_what_a_chain_reaches(tmp_path):
    found = {}
    for name in ("chain", "residual"):
        model, batch = made(name)
        path = tmp_path / f"{name}.eie"
        train.save(path, model, shared(model), batch[0], Widths(acc_bits=32))
        net = eie.load(path)
        with torch.no_grad():
            right = model(batch[0]).double().numpy()
        run = net.run(batch[0].numpy(), net.machine(eie.ArchConfig(acc_bits=32)))
        found[name] = decibels(right, run.outputs)
    print(found)
    assert found["residual"] > found["chain"] - 6


class Branches(nn.Module):
    def __init__(self, how):
        super().__init__()
        self.how, self.one, self.two = how, nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        if self.how == "sum":
            return self.one(x) if x.sum() > -1e9 else self.two(x)
        if self.how == "item":
            return self.one(x) * x.abs().max().item() + self.two(x)
        if self.how == "loop":
            y = self.one(x)
            while y.abs().max() > 0.1:
                y = self.two(y) * 0.1
            return y
        return self.one(x) + self.two(x) * torch.rand(1)


@pytest.mark.parametrize(
    ("how", "text"),
    [
        ("sum", "torch cannot trace the model as it is"),
        ("item", "torch cannot trace the model as it is"),
        ("loop", "torch cannot trace the model as it is"),
        ("random", "would differ from the model"),
    ],
)
def test_what_no_graph_shows_is_refused(tmp_path, how, text):
    """Also where the batch takes one branch only, as here."""
    torch.manual_seed(1)
    model = Branches(how).eval()
    path = tmp_path / "net.eie"
    with pytest.raises(ModelError, match=text) as error:
        train.save(path, model, shared(model), torch.randn(9, 4))
    assert "\n" not in str(error.value)
    assert not path.exists()


def test_inputs_by_name_and_what_does_not_fit(tmp_path):
    model, batch = made("two inputs")
    found = shared(model)
    path = tmp_path / "net.eie"
    train.save(path, model, found, {"tokens": batch[1], "x": batch[0]})
    assert [port.name for port in eie.load(path).inputs] == ["x", "tokens"]
    with pytest.raises(ModelError, match="the model takes x, tokens, not 'words'"):
        train.save(path, model, found, {"words": batch[1]})
    with pytest.raises(ModelError, match=r"the model does not take the calibration batch \[8, 5, 11\]"):
        train.save(path, model, found, (batch[0][..., :11], batch[1]))
    with torch.no_grad():
        model.out.weight.mul_(2)
    with pytest.raises(ModelError, match="no longer the shared ones"):
        train.save(path, model, found, tuple(batch))


@pytest.mark.parametrize("name", [name for name in MODELS if name != "chain"])
def test_other_programs_run_the_file_with_its_weights(tmp_path, name):
    import onnxruntime

    model, batch = made(name)
    with torch.no_grad():
        for one in find_weights(model):
            if one.parameter.numel() < 64:  # stays in the graph
                one.parameter.mul_(9)
    path = tmp_path / "net.eie"
    inputs = batch[0] if len(batch) == 1 else tuple(batch)
    # Biases are rounded to the accumulator's width; the graph has them as they were.
    train.save(path, model, shared(model), inputs, Widths(acc_bits=32))
    net = eie.load(path)
    given = {port.name: one.numpy() for port, one in zip(net.inputs, batch, strict=True)}
    exact = net.run_float(given)
    session = onnxruntime.InferenceSession(whole_model(path))
    found = dict(zip([one.name for one in session.get_outputs()], session.run(None, given), strict=True))
    assert found.keys() == exact.keys()
    for key, value in exact.items():
        assert np.abs(found[key] - value).max() <= 1e-4 * max(1, np.abs(value).max()), key
    train.save(path, model, shared(model), inputs)
    np.savez(tmp_path / "x.npz", **given)
    arguments = [
        "bench",
        str(path),
        "--input",
        str(tmp_path / "x.npz"),
        "--threads",
        "1",
        "--seconds",
        "0",
        "--json",
    ]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    ((times,),) = (by_batch.values() for by_batch in json.loads(result.stdout)["seconds"].values())
    assert set(times) == {EXACT, FLOAT, INT8}
    assert CliRunner().invoke(main, ["bench", str(path)]).exit_code == 2
