"""Weights of two and three values: rules by hand, training, and the file and machine with codes of 1 and 2 bits."""

import re

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import eie
from eie.compress import train
from eie.compress.format.file import load
from eie.compress.forward import fixed_forward, quantize_inputs
from eie.compress.train.few_bits import FewBits, drawn, quantised
from eie.errors import ModelError
from tests.support import ROOT
from tests.support.small_networks import Killed, killed_after, network, problem, quick

CROSS = functional.cross_entropy


def test_codes_and_scales_are_those_of_the_papers():
    real = torch.randn(30, 40, generator=torch.Generator().manual_seed(1))
    codes, a = quantised(real, "binary")
    # XNOR-Net: of all a sign(w), the nearest in squares has a = mean |w|.
    error = [float(((real.sign() * b - real) ** 2).sum()) for b in (a, 0.99 * a, 1.01 * a)]
    assert torch.equal(codes == 2, real > 0)
    assert min(error) == error[0]
    codes, a = quantised(real, "ternary")
    large = real.abs() > 0.7 * real.abs().mean()
    assert torch.equal(codes != 0, large)
    assert a == pytest.approx(float(real[large].abs().mean()))
    assert torch.equal(codes == 1, large & (real < 0))


def test_drawn_weights_are_right_on_average():
    torch.manual_seed(2)
    real = torch.tensor([-1.0, -0.5, 0.0, 0.4, 1.0])
    values = torch.tensor([0.0, -1.0, 1.0])
    mean = torch.stack([values[drawn(real, 1.0)] for _ in range(20_000)]).mean(0)
    assert mean.tolist() == pytest.approx(real.tolist(), abs=0.03)
    assert (mean[0], mean[4]) == (-1, 1)


def test_gradients_of_the_values_move_the_weights_behind_within_bounds():
    model = nn.Linear(3, 1, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[0.3, -0.1, 0.2]]))
    phase = FewBits(model, train.find_weights(model), "binary", False, 1)
    assert phase.bounds == [pytest.approx(0.4)]
    assert model.weight[0].tolist() == pytest.approx([0.2, -0.2, 0.2])
    model(torch.tensor([[1.0, 2.0, -3.0]])).sum().backward()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    phase.before_step()
    optimizer.step()
    phase.after_step(0.5)
    # The gradient is the input; 0.2 + 0.3 is clipped at 0.4.
    assert phase.real[0][0].tolist() == pytest.approx([0.2, -0.3, 0.4])
    assert model.weight[0].tolist() == pytest.approx([0.3, -0.3, 0.3])


def test_weights_at_random_settle_before_the_end():
    model = network()
    phase = FewBits(model, train.find_weights(model), "binary", True, 4)

    def settled() -> bool:
        return all(
            torch.equal(one.codes, quantised(real, "binary")[0])
            for one, real in zip(phase.shared, phase.real, strict=True)
        )

    # At the end of an epoch, and in the last tenth of the steps.
    found = {}
    for progress in (0.1, 0.25, 0.49, 0.5, 0.75, 0.89, 0.91, 0.95, 1.0):
        phase.before_step()
        phase.after_step(progress)
        found[progress] = settled()
    assert [progress for progress, there in found.items() if there] == [0.25, 0.5, 0.75, 0.91, 0.95, 1.0]


@pytest.mark.parametrize(("kind", "stochastic"), [("binary", False), ("binary", True), ("ternary", False)])
def test_learns_saves_and_runs_on_every_engine(kind, stochastic, tmp_path):
    models = [network(), network()]
    for model in models:
        shared = train.few_bits(
            model, problem(), CROSS, kind, stochastic=stochastic, training=quick(25, lr=1e-2)
        )
    assert all(map(torch.equal, models[0].parameters(), models[1].parameters()))
    for weight in train.find_weights(model):
        values = set(weight.parameter.abs().unique().tolist())
        assert len(values) <= (1 if kind == "binary" else 2)
        assert max(values) > 0
        assert shared.layers[weight.name].bits == 2
    # One class of four is 25 %.
    assert train.accuracy(problem())(model) > 50
    x = problem().dataset.tensors[0]
    train.save(tmp_path / "net.eie", model, shared, x)
    layers = load(tmp_path / "net.eie")
    assert [layer.weight_bits for layer in layers] == [2, 2]
    assert [layer.nnz for layer in layers] == [weight.kept for weight in train.find_weights(model)]
    fixed = fixed_forward(layers, quantize_inputs(layers[0], x.numpy()))
    with torch.no_grad():
        assert np.mean(fixed.y.argmax(1) == model(x).argmax(1).numpy()) > 0.98
    # Entries of 2 + 4 bits: ten in a word of 64.
    machine = eie.sized_for(eie.ArchConfig(n_pe=4, weight_bits=2), *layers)
    net = eie.load(tmp_path / "net.eie")
    runs = [net.run(x[:2].numpy(), machine, engine=engine) for engine in ("golden", "fast")]
    assert np.array_equal(runs[0].outputs, runs[1].outputs)
    assert runs[0].cycles == runs[1].cycles
    assert np.array_equal(np.round(runs[0].outputs * 2.0 ** layers[-1].y_frac), fixed.y[:2])


@pytest.mark.parametrize("bits", [1, 2])
def test_codes_of_one_and_two_bits_in_file_and_machine(bits, tmp_path):
    model = network()
    shared = train.share(model, problem(), CROSS, bits=bits, training=quick(2))
    x = problem().dataset.tensors[0]
    train.save(tmp_path / "net.eie", model, shared, x)
    layers = load(tmp_path / "net.eie")
    assert [layer.weight_bits for layer in layers] == [bits, bits]
    decoded = [layer.codebook.astype(float) * 2.0**-layer.w_frac for layer in layers]
    for layer, table, weight in zip(layers, decoded, train.find_weights(model), strict=True):
        assert len(table) == 1 << bits
        dense = np.zeros(layer.shape)
        columns = np.repeat(np.arange(layer.cols), np.diff(layer.indptr))
        dense[layer.indices, columns] = table[layer.codes]
        assert dense == pytest.approx(weight.parameter.detach().numpy(), abs=1e-4)
    machine = eie.sized_for(eie.ArchConfig(n_pe=2, weight_bits=bits), *layers)
    net = eie.load(tmp_path / "net.eie")
    runs = [net.run(x[:2].numpy(), machine, engine=engine) for engine in ("reference", "golden", "fast")]
    assert all(np.array_equal(run.outputs, runs[0].outputs) for run in runs)
    assert runs[1].cycles == runs[2].cycles


def test_a_killed_call_goes_on(tmp_path):
    given = (problem(), CROSS, "binary")
    with pytest.raises(Killed):
        train.few_bits(
            network(), *given, stochastic=True, training=quick(4, folder=tmp_path, evaluate=killed_after(2))
        )
    one, two = network(), network()
    train.few_bits(one, *given, stochastic=True, training=quick(4, folder=tmp_path))
    train.few_bits(two, *given, stochastic=True, training=quick(4))
    assert all(map(torch.equal, one.parameters(), two.parameters()))
    with pytest.raises(ModelError, match="belongs to another run"):
        train.few_bits(network(), *given, training=quick(4, folder=tmp_path))


def test_what_is_refused():
    with pytest.raises(ModelError, match="weights of few bits are binary or ternary, not 'unary'"):
        train.few_bits(network(), problem(), CROSS, "unary")
    with pytest.raises(ModelError, match="weights are drawn at random only where they are binary"):
        train.few_bits(network(), problem(), CROSS, "ternary", stochastic=True)
    with pytest.raises(ModelError, match="weights of few bits need at least one epoch to be learnt"):
        train.few_bits(network(), problem(), CROSS, training=quick(0))
    model = network()
    with torch.no_grad():
        model.fc2.weight.zero_()
    with pytest.raises(
        ModelError, match="layer 'fc2' has no weight that is not 0: there is nothing to begin with"
    ):
        train.few_bits(model, problem(), CROSS)


def test_the_page_runs_as_it_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / "learn.md").read_text()
    (block,) = [one for one in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "few_bits" in one]
    names = {"train": train, "untrained": network(), "loader": problem(), "cross_entropy": CROSS}
    names["calibration_batch"] = problem().dataset.tensors[0]
    exec(compile(block.replace("epochs=20", "epochs=2"), "docs/learn.md", "exec"), names)
    assert [layer.weight_bits for layer in load("net.eie")] == [2, 2]
