"""Layers of PyTorch modules split in two, in place; the answers of a module of full rank stay the same."""

import re

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from eie.compress import train
from eie.compress.format.file import load
from eie.compress.forward import fixed_forward, quantize_inputs
from eie.errors import ModelError
from tests.support import ROOT
from tests.support.small_networks import network, problem, quick


def convolutions() -> nn.Sequential:
    torch.manual_seed(4)
    return nn.Sequential(
        nn.Conv2d(2, 12, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(48, 5, bias=False),
    )


def test_the_nearest_matrix_of_the_rank_takes_the_layers_place():
    model, x = convolutions().double(), torch.rand(3, 2, 8, 8, dtype=torch.float64)
    near = convolutions().double()
    for place, rank in ((0, 3), (4, 2)):
        weight = near[place].weight
        left, singular, right = torch.linalg.svd(weight.detach().flatten(1), full_matrices=False)
        with torch.no_grad():
            weight.copy_((left[:, :rank] * singular[:rank] @ right[:rank]).view_as(weight))
    splits = train.low_rank(model, rank={"0": 3, "4": 2})
    assert {name: (split.before, split.after) for name, split in splits.items()} == {
        "0": (216, 90),
        "4": (240, 106),
    }
    assert torch.allclose(model(x), near(x), rtol=1e-9)
    assert [type(one).__name__ for one in model[0]] == ["Conv2d", "Conv2d"]
    assert (model[0][0].bias, model[4][1].bias) == (None, None)
    assert model[0][0].weight.dtype == torch.float64


def test_split_train_prune_share_save_and_run(tmp_path):
    model, score = network(), train.accuracy(problem())
    train.fit(model, problem(), functional.cross_entropy, quick(12, lr=2e-2))
    before = score(model)
    splits = train.low_rank(model, rank={"fc1": 4})
    assert splits["fc1"].after == 128
    train.fit(model, problem(), functional.cross_entropy, quick(8, lr=1e-2))
    assert score(model) > before - 5
    train.prune(model, problem(), functional.cross_entropy, density={"fc1.*": 0.75}, training=quick(6))
    shared = train.share(model, problem(), functional.cross_entropy, bits=6, training=quick(2))
    assert list(shared.layers) == ["fc1.0", "fc1.1", "fc2"]
    x = problem().dataset.tensors[0]
    train.save(tmp_path / "net.eie", model, shared, x)
    layers = load(tmp_path / "net.eie")
    assert [(layer.name, layer.shape, layer.relu) for layer in layers] == [
        ("fc1.0", (4, 12), False),
        ("fc1.1", (20, 4), True),
        ("fc2", (4, 20), False),
    ]
    run = fixed_forward(layers, quantize_inputs(layers[0], x.numpy()))
    with torch.no_grad():
        same = run.y.argmax(axis=1) == model(x).argmax(1).numpy()
    assert np.mean(same) > 0.98


def test_an_energy_splits_what_it_makes_smaller():
    model = network()
    rank_one = torch.outer(torch.rand(20), torch.rand(12))
    with torch.no_grad():
        model.fc1.weight.copy_(rank_one)
    assert list(train.low_rank(model, energy=0.9999)) == ["fc1"]
    assert torch.allclose(model.fc1[1].weight @ model.fc1[0].weight, rank_one, atol=1e-6)
    assert isinstance(model.fc2, nn.Linear)


class Tied(nn.Module):
    def __init__(self, how: str) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(30, 30), nn.Linear(30, 30)
        if how == "weight":
            self.two.weight = self.one.weight
        if how == "module":
            self.two = self.one
        if how == "class":
            self.one = nn.MultiheadAttention(30, 2).out_proj
        if how == "gru":
            self.one = nn.GRU(30, 30)
        if how == "groups":
            self.one = nn.Conv2d(30, 30, 1, groups=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.two(self.one(x))


@pytest.mark.parametrize(
    ("model", "given", "line"),
    [
        (
            Tied("weight"),
            {"one": 3},
            "layer 'one' cannot become two: it has a weight that another layer has, too",
        ),
        (Tied("module"), {"one": 3}, "layer 'one' cannot become two: it is used under several names"),
        (
            Tied("class"),
            {"one": 3},
            "layer 'one' cannot become two: it is of a NonDynamicallyQuantizableLinear: only Linear and Conv2d can",
        ),
        (
            Tied("gru"),
            {"one.*": 3},
            "layer 'one.weight_ih_l0' cannot become two: it is of a GRU: only Linear",
        ),
        (
            Tied("groups"),
            {"one": 3},
            "layer 'one' cannot become two: it is a convolution of 2 groups: only one",
        ),
        (nn.Linear(30, 30), 3, "layer 'layer' cannot become two: it is the model itself, not a part of it"),
        (
            network(),
            {"fc1": 4, "fc2": 4},
            "rank 4 does not make layer 'fc2' smaller: 96 weights instead of 80",
        ),
        (
            network(),
            {"fc1": 13},
            "rank of layer 'fc1' must be a whole number from 1 to its matrix's rank, 12, not 13",
        ),
        (
            network(),
            {"fc1": 0},
            "rank of layer 'fc1' must be a whole number from 1 to its matrix's rank, 12, not 0",
        ),
        (network(), {"fc9": 3}, "rank: no layer is called 'fc9'"),
        (network(), {}, "give rank or energy, one of them"),
    ],
)
def test_what_cannot_be_split_is_one_line_and_leaves_the_model(model, given, line):
    before = [(name, tensor.clone()) for name, tensor in model.named_parameters()]
    with pytest.raises(ModelError) as caught:
        train.low_rank(model, rank=given)
    assert str(caught.value).startswith(line)
    after = list(model.named_parameters())
    assert [name for name, _ in after] == [name for name, _ in before]
    assert all(torch.equal(one, two) for (_, one), (_, two) in zip(before, after, strict=True))


def test_rank_or_energy():
    for given in ({}, {"rank": 3, "energy": 0.5}):
        with pytest.raises(ModelError, match="give rank or energy, one of them"):
            train.low_rank(network(), **given)
    with pytest.raises(ModelError, match=r"energy of layer 'fc1' must be .* not 1.5"):
        train.low_rank(network(), energy=1.5)


def test_the_page_runs_as_it_is_written(monkeypatch):
    text = (ROOT / "docs" / "learn.md").read_text()
    (block,) = [one for one in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "low_rank" in one]
    names = {
        "model": network(),
        "loader": problem(),
        "how": quick(2),
        "cross_entropy": functional.cross_entropy,
    }
    # Of rank 32 in the page.
    block = block.replace("32", "4")
    exec(compile(block, "docs/learn.md", "exec"), names)
    assert list(names["ranks"]) == ["fc1"]
    assert names["model"].fc1[0].weight.count_nonzero() == 10
