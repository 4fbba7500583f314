"""Layers that add: outputs and gradients beside torch's own arithmetic; what is refused."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import eie
from eie.compress import train
from eie.compress.quantize import Widths
from eie.errors import ModelError


def gradients(x, weight, gradient):
    """The published rules, in whole tensors: of the inputs, and of the weights before their length is set."""
    apart = x[:, None] - weight
    return -(apart.clamp(-1, 1) * gradient[:, :, None]).sum(1), (apart * gradient[:, :, None]).sum(0)


def test_outputs_and_gradients_of_a_matrix():
    torch.manual_seed(1)
    layer = train.Adder(7, 5)
    x = torch.randn(11, 7) * (torch.rand(11, 7) < 0.6)
    x.requires_grad_()
    y = layer(x)
    assert torch.allclose(y, -torch.cdist(x, layer.weight, p=1), atol=1e-5)
    gradient = torch.randn(11, 5)
    y.backward(gradient)
    dx, dw = gradients(x.detach(), layer.weight.detach(), gradient)
    assert torch.allclose(x.grad, dx, atol=1e-5)
    # As the released code sets it: the length is root(elements) / 5.
    assert torch.allclose(layer.weight.grad, dw / dw.norm() * math.sqrt(dw.numel()) / 5, atol=1e-5)


def test_a_convolution_is_the_matrix_at_each_position():
    torch.manual_seed(2)
    layer = train.AdderConv2d(3, 4, (3, 2), stride=2, padding=1, bias=True)
    with torch.no_grad():
        layer.bias.copy_(torch.randn(4))
    x = torch.randn(2, 3, 9, 6, requires_grad=True)
    y = layer(x)
    assert y.shape == functional.conv2d(x, layer.weight, stride=2, padding=1).shape
    padded = functional.pad(x, (1, 1, 1, 1))
    window = padded[1, :, 4:7, 2:4]
    assert torch.allclose(y[1, :, 2, 1], layer.bias - (window - layer.weight).abs().sum((1, 2, 3)), atol=1e-5)
    y.backward(torch.ones_like(y))
    vectors = functional.unfold(x.detach(), (3, 2), padding=1, stride=2).transpose(1, 2).reshape(-1, 18)
    dx, _ = gradients(vectors, layer.weight.detach().reshape(4, -1), torch.ones(len(vectors), 4))
    folded = functional.fold(dx.reshape(2, -1, 18).transpose(1, 2), (9, 6), (3, 2), padding=1, stride=2)
    assert torch.allclose(x.grad, folded, atol=1e-4)


def test_what_is_refused():
    with pytest.raises(ModelError, match=r"an Adder of 3 inputs does not take \[2, 4\]"):
        train.Adder(3, 1)(torch.zeros(2, 4))
    with pytest.raises(ModelError, match=r"takes float32 on the processor, not torch\.float64"):
        train.Adder(3, 1).double()(torch.zeros(2, 3, dtype=torch.float64))
    with pytest.raises(ModelError, match=r"an AdderConv2d of 1 channels does not take \[1, 2, 4, 4\]"):
        train.AdderConv2d(1, 1, 3)(torch.zeros(1, 2, 4, 4))
    with pytest.raises(ModelError, match=r"takes its padding as numbers, such as 1 or .*, not 'same'"):
        train.AdderConv2d(1, 1, 3, padding="same")


# ---- from training to the file -----------------------------------------------------------------------------


def small(positive=True, conv=False):
    """A small untrained network, its normalisations already moved, and inputs from 0 to 1."""
    torch.manual_seed(3)
    x = torch.rand(60, 1, 8, 8) if conv else torch.rand(60, 12) * (torch.rand(60, 12) < 0.6)
    first = (
        [
            train.AdderConv2d(1, 4, 3, positive=positive),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
        ]
        if conv
        else [train.Adder(12, 36, positive=positive), nn.BatchNorm1d(36), nn.ReLU()]
    )
    second = [train.Adder(36, 8, positive=True), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3)]
    model = nn.Sequential(*first, *second)
    with torch.no_grad():
        for module in model:
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                module.weight.copy_(torch.randn(module.num_features))
                module.bias.copy_(torch.randn(module.num_features))
        for _ in range(20):
            model(x)
    return model.eval(), x


@pytest.mark.parametrize("conv", [False, True])
def test_clipped_weights_answer_alike(conv):
    model, x = small(conv=conv)
    before = model(x)
    train.clip_weights(model, x)
    assert torch.allclose(model(x), before, atol=1e-4)
    first = model[0]
    assert first.weight.min() == 0
    assert bool((first.weight.amax(0).flatten() <= (x.max() if conv else x.amax(0))).all())


@pytest.mark.parametrize("conv", [False, True])
def test_what_is_saved_answers_as_the_model(tmp_path, conv):
    """The file's network on the machine beside the model, and every engine alike, bit for bit."""
    model, x = small(conv=conv)
    train.clip_weights(model, x)
    shared = train.share(
        model,
        [(x, torch.zeros(60, dtype=torch.long))],
        functional.cross_entropy,
        bits=5,
        training=train.Training(0),
    )
    train.save(tmp_path / "net.eie", model, shared, x)
    net = eie.load(tmp_path / "net.eie")
    assert [layer.adder for layer in net] == [True, True, False]
    assert [layer.scale is not None for layer in net] == [True, True, False]
    run = net.run(x.reshape(60, -1).numpy())
    expected = model(x).detach().numpy()
    assert np.abs(run.outputs - expected).max() < 0.02 * np.abs(expected).max()
    assert not run.total("saturations")
    cfg = net.machine(eie.ArchConfig.preset("adder", n_pe=4))
    one = x[:1].reshape(1, -1).numpy()
    runs = [net.run(one, cfg, engine) for engine in ("golden", "fast", "reference")]
    for other in runs[1:]:
        for a, b in zip(runs[0].results, other.results, strict=True):
            assert np.array_equal(a.y, b.y)
    assert runs[0].cycles == runs[1].cycles


def test_pruning_is_by_value():
    """Of positive inputs a weight below 0 is the first to go, whatever its magnitude."""
    model, x = small()
    y = torch.randint(0, 3, (60,))
    training = train.Training(epochs=2, lr=1e-3, progress=False)
    with torch.no_grad():
        model[0].weight[0] = torch.tensor([-9.0, -8, -7, -6, -5, -4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
    schedule = train.Schedule(ramp=0.0, settle=0.0)
    train.prune(
        model,
        [(x, y)] * 2,
        functional.cross_entropy,
        density={"0": 0.3},
        schedule=schedule,
        training=training,
    )
    kept = model[0].weight.detach()
    assert torch.count_nonzero(kept) == round(0.3 * kept.numel())
    assert kept.min() >= 0


def test_what_save_refuses(tmp_path):
    def saved(model, x, **more):
        loader = [(x, torch.zeros(len(x), dtype=torch.long))]
        shared = train.share(model, loader, functional.cross_entropy, bits=4, training=train.Training(0))
        train.save(tmp_path / "net.eie", model, shared, x, **more)

    def refused(model, x, text, **more):
        with pytest.raises(ModelError, match=text):
            saved(model, x, **more)
        assert not (tmp_path / "net.eie").exists()

    model, x = small()
    refused(model, x - 0.5, "layer '0' are said to be positive, but -0.5")
    refused(model, x, "no scale keeps its sums inside 8 bits", widths=Widths(acc_bits=8, act_bits=8))
    model, x = small()
    refused(nn.Sequential(*model[:3], nn.Tanh(), *model[3:]), x, "_3 is none of these")
    with torch.no_grad():
        model[1].weight[5] = 0
    refused(model, x, "the normalisation of row 5 has the gain 0")
    with torch.no_grad():
        model[1].weight[5], model[1].bias[5] = 1e-6, 0.05
    refused(model, x, "layer '0': beside the largest gain of a row, that of row 5 is 0 in 16 bits")
    with torch.no_grad():
        model[1].bias[5] = -1e-9  # the row shows nothing: nothing is lost
    saved(model, x)
    assert eie.load(tmp_path / "net.eie").layers[0].scale[5] == 0
    (tmp_path / "net.eie").unlink()
    model, x = small()
    with pytest.raises(ModelError, match="layer '0' adds: put a BatchNorm behind it, or give it a bias"):
        train.clip_weights(nn.Sequential(model[0], *model[2:]), x)
    assert torch.equal(model(x), small()[0](x))  # what is refused is left as it was
