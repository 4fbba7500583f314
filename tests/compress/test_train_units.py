"""Units cut out of PyTorch modules: which, consistently across residuals, and what the smaller module answers."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from eie.compress import train
from eie.compress.format.file import load
from eie.compress.forward import fixed_forward, quantize_inputs
from eie.compress.train.units import cut_units
from eie.errors import ModelError
from tests.support.small_networks import network, problem, quick

CROSS = functional.cross_entropy


class Residual(nn.Module):
    """Two filters' outputs added, a depthwise convolution, a mean and a flattened image side by side."""

    def __init__(self, seed: int = 1) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.c1, self.b1 = nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.c2, self.b2 = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.depth = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.c3, self.b3 = nn.Conv2d(8, 6, 1), nn.BatchNorm1d(6 * 16)
        self.fc = nn.Linear(6 * 16 + 8, 4)
        with torch.no_grad():
            for norm in (self.b1, self.b2, self.b3):
                norm.running_mean.uniform_(-0.2, 0.2)
                norm.running_var.uniform_(0.5, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.relu(self.b1(self.c1(x)))
        x = x + functional.relu(self.b2(self.c2(x)))
        mean = x.mean((2, 3))
        y = functional.max_pool2d(torch.relu(self.c3(self.depth(x))), 2)
        return self.fc(torch.cat([self.b3(y.view(y.size(0), -1)), mean], 1))


def images(count: int = 6) -> DataLoader:
    x = torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(3))
    return DataLoader(TensorDataset(x, torch.arange(count) % 4), 3)


def test_rows_of_least_norm_go_and_columns_behind_them():
    model = network()
    norms = functional.l1_loss(model.fc1.weight, torch.zeros(20, 12), reduction="none").sum(1).detach()
    stay = np.sort(np.argsort(-norms.numpy(), kind="stable")[:5])
    old = copy.deepcopy(model)
    cuts = cut_units(model, problem(), 0.25)
    assert [(cut.name, cut.before, cut.after) for cut in cuts] == [("fc1", 20, 5), ("fc2", 4, 4)]
    assert torch.equal(model.fc1.weight, old.fc1.weight[stay])
    assert torch.equal(model.fc1.bias, old.fc1.bias[stay])
    assert torch.equal(model.fc2.weight, old.fc2.weight[:, stay])
    assert torch.equal(model.fc2.bias, old.fc2.bias)
    assert (model.fc1.out_features, model.fc2.in_features) == (5, 5)


def test_units_that_are_most_often_zero_go():
    model = network()
    with torch.no_grad():  # large weights, but never above 0
        model.fc1.bias += 1
        model.fc1.bias[7], model.fc1.weight[7] = -9.0, 0.5
        model.fc1.bias[3], model.fc1.weight[3] = 9.0, 0.01
    by_norm, by_zeros = copy.deepcopy(model), copy.deepcopy(model)
    cut_units(by_norm, problem(), 0.95)
    cut_units(by_zeros, problem(), 0.95, "zeros")
    assert torch.equal(by_norm.fc1.weight, model.fc1.weight[torch.arange(20) != 3])
    x = problem().dataset.tensors[0]
    alive = (functional.relu(model.fc1(x)) != 0).float().mean(0)
    assert torch.equal(by_zeros.fc1.weight, model.fc1.weight[torch.arange(20) != int(alive.argmin())])
    assert int(alive.argmin()) == 7


@pytest.mark.parametrize("by", ["l1", "zeros"])
@pytest.mark.parametrize("density", [0.5, 0.9, 0.01, {"c1": 0.5, "c2": 0.5}, {"c3": 0.34}])
def test_a_narrowed_network_answers_as_one_whose_units_are_not_taken(density, by):
    model, x = Residual().eval(), images().dataset.tensors[0]
    old = copy.deepcopy(model)
    cuts = {cut.name: cut.after for cut in cut_units(model, images(), density, by)}
    assert cuts["c1"] == cuts["c2"] == model.depth.groups == model.b1.num_features
    # In the module as it was, columns of the units that went, found again by their own rows, are set to 0.
    went = [
        [not any(torch.equal(row, other) for other in kept.weight) for row in was.weight]
        for kept, was in ((model.c1, old.c1), (model.c3, old.c3))
    ]
    if cuts["c1"] < 8:
        # Rows of c1 keep their one column; those of c3 may have lost some of theirs, so their biases tell.
        went[1] = [not bool((model.c3.bias == bias).any()) for bias in old.c3.bias]
    with torch.no_grad():
        first, third = (torch.tensor(one) for one in went)
        assert (int(first.sum()), int(third.sum())) == (8 - cuts["c1"], 6 - cuts["c3"])
        old.c2.weight[:, first] = 0
        old.c3.weight[:, first] = 0
        old.fc.weight[:, torch.cat([third.repeat_interleave(16), first])] = 0
        assert torch.allclose(model(x), old(x), atol=1e-5)


def test_a_recipe_of_one_call_trains_what_is_left_and_runs(tmp_path):
    model, score = network(), train.accuracy(problem())
    train.fit(model, problem(), CROSS, quick(12, lr=2e-2))
    history = train.prune(
        model, problem(), CROSS, density=0.5, units=True, training=quick(12, lr=2e-2, evaluate=score)
    )
    assert len(history) == 12
    assert tuple(model.fc1.weight.shape) == (10, 12)
    assert history[-1].score > 85
    shared = train.share(model, problem(), CROSS, bits=6, training=quick(1))
    x = problem().dataset.tensors[0]
    train.save(tmp_path / "net.eie", model, shared, x)
    layers = load(tmp_path / "net.eie")
    assert [layer.shape for layer in layers] == [(10, 12), (4, 10)]
    run = fixed_forward(layers, quantize_inputs(layers[0], x.numpy()))
    with torch.no_grad():
        assert np.mean(run.y.argmax(1) == model(x).argmax(1).numpy()) > 0.98


def test_an_interrupted_call_goes_on(tmp_path):
    def stop(model: nn.Module) -> float:
        if train.find_weights(model)[0].parameter.grad is not None and next(left) == 0:
            raise KeyboardInterrupt
        return 0.0

    left = iter([2, 1, 0])
    given = {"density": 0.5, "units": "zeros"}
    with pytest.raises(KeyboardInterrupt):
        train.prune(network(), problem(), CROSS, **given, training=quick(4, folder=tmp_path, evaluate=stop))
    models = [network(), network()]
    train.prune(models[0], problem(), CROSS, **given, training=quick(4, folder=tmp_path))
    train.prune(models[1], problem(), CROSS, **given, training=quick(4))
    for one, two in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert torch.equal(one, two)
    with pytest.raises(ModelError, match=r"belongs to another run \((data|units|model) differs"):
        train.prune(network(), problem(), CROSS, density=0.5, units="l1", training=quick(4, folder=tmp_path))


class Odd(nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.kind = kind
        self.one, self.two = nn.Linear(12, 20), nn.Linear(20, 4)
        self.norm = nn.LayerNorm(20)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.one(x)
        if self.kind == "softmax":
            x = x.softmax(1)
        if self.kind == "norm":
            x = self.norm(x)
        if self.kind == "view":
            x = torch.relu(x).view(-1, 20)
        if self.kind == "branch" and x.sum() > 0:
            return x
        return self.two(x)


@pytest.mark.parametrize(
    ("model", "given", "line"),
    [
        (network(), {"fc2": 0.5}, "the units of layer 'fc2' cannot be cut: they are outputs of the model"),
        (network(), {"fc9": 0.5}, "density: no layer is called 'fc9'"),
        (network(), {"fc1": 0.0}, "density must be above 0"),
        (network(), 1.5, "density of '*' must be from 0 to 1, not 1.5"),
        (
            nn.Sequential(nn.Linear(12, 4)),
            0.5,
            "no layer has units that could be cut: those of '0' are outputs",
        ),
        (nn.ReLU(), 0.5, "the model has no Linear or Conv2d whose units could be cut"),
        (
            Odd("softmax"),
            {"one": 0.5},
            "the units of layer 'one' cannot be cut: they go into 'softmax', through which",
        ),
        (
            Odd("norm"),
            {"one": 0.5},
            "the units of layer 'one' cannot be cut: they go into 'norm', through which units",
        ),
        (
            Odd("view"),
            {"one": 0.5},
            "the model's layers cannot be narrowed consistently: mat1 and mat2 shapes",
        ),
        (Odd("branch"), {"one": 0.5}, "torch.fx cannot trace the model, so its units cannot be found: "),
        (
            Residual(),
            {"c1": 0.5},
            "layers 'c1' and 'c2' have units that are added together: give them one density",
        ),
        (Residual(), {"c[12]": 0.5, "c3": 0.0}, "density must be above 0"),
    ],
)
def test_what_cannot_be_narrowed_is_one_line_and_leaves_the_model(model, given, line):
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    device = nn.Linear(1, 1) if not before else None
    if device is not None:
        model.anchor = device  # a parameter, for the device
    loader = images() if isinstance(model, Residual) else problem()
    with pytest.raises(ModelError) as caught:
        cut_units(model, loader, given)
    assert str(caught.value).startswith(line)
    assert len(str(caught.value).splitlines()) == 1
    after = model.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    if isinstance(model, Odd):
        assert model.one.out_features == 20


def test_settings_of_units():
    with pytest.raises(ModelError, match="units are chosen by l1 or zeros, not 'size'"):
        train.prune(network(), problem(), CROSS, density=0.5, units="size", training=quick())
    with pytest.raises(
        ModelError, match="units are cut at once, by density: quality, blocks, schedule and criterion"
    ):
        train.prune(network(), problem(), CROSS, quality=1.0, units=True, training=quick())
    with pytest.raises(ModelError, match="units are cut at once"):
        train.prune(network(), problem(), CROSS, density=0.5, units=True, schedule=train.Schedule())
    no_relu = nn.Sequential(nn.Linear(12, 20), nn.Tanh(), nn.Linear(20, 4))
    with pytest.raises(ModelError, match="layer '0' has 20 units with no ReLU behind them"):
        cut_units(no_relu, problem(), 0.5, "zeros")
    with pytest.raises(ModelError, match="the model does not take a batch of the loader"):
        cut_units(network(), images(), 0.5)
