"""Trained pruning, trained sharing, sensitivity, export: small networks, no data set."""

import math
import re

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

import eie
from eie.compress import train
from eie.compress.float_layers import float_forward
from eie.compress.forward import check_network, fixed_forward, quantize_inputs
from eie.compress.train.loop import Teacher, Training
from eie.compress.train.pruning import Schedule, Surgery, densities_above, largest
from eie.compress.train.sharing import Sharing, cluster, first_centroids
from eie.compress.train.weights import find_weights, per_layer
from eie.errors import LayerError, ModelError, OutputError
from tests.support import ROOT
from tests.support.small_networks import network, problem, quick

CROSS = functional.cross_entropy
PAGE = ROOT / "docs" / "train.md"


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def trained() -> nn.Sequential:
    model = network()
    train.fit(model, problem(), CROSS, quick(12, lr=2e-2))
    assert train.accuracy(problem())(model) > 85
    return model


def copy_of(model: nn.Sequential) -> nn.Sequential:
    twin = network()
    twin.load_state_dict(model.state_dict())
    return twin


# ---- what is compressed ------------------------------------------------------------------------------------


def test_weight_matrices_of_every_kind():
    model = nn.ModuleDict(
        {
            "conv": nn.Conv2d(2, 3, 3, bias=False),
            "norm": nn.BatchNorm2d(3),
            "gru": nn.GRU(4, 5, num_layers=2),
            "lstm": nn.LSTM(4, 6, bidirectional=True, proj_size=2),
            "fc": nn.Linear(3, 2),
        }
    )
    found = {w.name: (tuple(w.parameter.shape), w.bias is not None) for w in find_weights(model)}
    assert found["conv"] == ((3, 2, 3, 3), False)
    assert found["gru.weight_ih_l0"] == ((15, 4), True)
    assert found["gru.weight_hh_l1"] == ((15, 5), True)
    assert found["lstm.weight_ih_l0_reverse"] == ((24, 4), True)
    assert found["lstm.weight_hr_l0"] == ((2, 6), False)
    assert found["fc"] == ((2, 3), True)
    assert len(found) == 1 + 4 + 6 + 1


def test_a_matrix_that_two_layers_share_counts_once():
    one, two = nn.Linear(3, 3), nn.Linear(3, 3)
    two.weight = one.weight
    assert [w.name for w in find_weights(nn.Sequential(one, two))] == ["0"]


def test_settings_by_pattern():
    weights = find_weights(network())
    assert per_layer("density", {"fc2": 0.5, "fc*": 0.1}, weights, 0, 1) == [0.1, 0.5]
    with pytest.raises(ModelError, match=r"no layer is called 'conv\*' \(there are fc1, fc2\)"):
        per_layer("density", {"conv*": 0.5}, weights, 0, 1, 1.0)
    with pytest.raises(ModelError, match="no pattern fits layer 'fc2'"):
        per_layer("bits", {"fc1": 4}, weights, 1, 8)
    with pytest.raises(ModelError, match=r"density of '\*' must be from 0 to 1, not 1.5"):
        per_layer("density", 1.5, weights, 0, 1)
    with pytest.raises(ModelError, match="no Linear, Conv2d, LSTM or GRU"):
        find_weights(nn.ReLU())


# ---- pruning -----------------------------------------------------------------------------------------------


def test_prune_reaches_its_densities_and_keeps_the_accuracy(trained):
    model = copy_of(trained)
    score = train.accuracy(problem())
    history = train.prune(
        model, problem(), CROSS, density={"fc1": 0.2, "fc2": 0.5}, training=quick(12, evaluate=score)
    )
    kept = {w.name: w.kept for w in find_weights(model)}
    assert kept == {"fc1": 48, "fc2": 40}
    assert history[-1].density == pytest.approx(88 / 320)
    assert history[-1].score == score(model) >= 85
    assert [e.density for e in history] == sorted((e.density for e in history), reverse=True)


def test_prune_without_ramp_or_epochs_left_still_reaches_the_density():
    for schedule in (Schedule(0, 0), Schedule(1, 1), Schedule(every=10_000)):
        model = network()
        train.prune(model, problem(), CROSS, density=0.25, training=quick(1), schedule=schedule)
        assert [w.kept for w in find_weights(model)] == [60, 20], schedule


def surgery(regrow: bool) -> tuple[nn.Linear, Surgery]:
    model = nn.Linear(4, 1, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[4.0, 3.0, 2.0, 1.0]]))
    return model, Surgery(model, find_weights(model), [0.5], Schedule(0, 1, 1, regrow))


@pytest.mark.parametrize("regrow", [True, False])
def test_a_cut_connection_grows_back_when_its_gradient_wants_it(regrow):
    model, phase = surgery(regrow)
    optimizer = torch.optim.SGD(model.parameters(), 1.0)
    states = []
    for _ in range(4):  # the gradient draws the last weight up by 1 in each step
        model.weight.grad = torch.tensor([[0.0, 0.0, 0.0, -1.0]])
        phase.before_step()
        optimizer.step()
        phase.after_step(0.1)
        states.append(model.weight.detach().flatten().tolist())
    assert states[0][:3] == [4, 3, 0]
    if regrow:
        assert states[1] == [4, 0, 0, 3] or states[1] == [4, 3, 0, 0]  # 3 and 3: either
        assert states[3] == [5 - 1, 0, 0, 5]
    else:
        assert states == [[4, 3, 0, 0]] * 4


def test_once_settled_what_is_connected_stays_connected():
    model, phase = surgery(True)
    optimizer = torch.optim.SGD(model.parameters(), 1.0)
    for progress in (0.5, 0.9, 0.95, 1.0):  # surgery's schedule settles at 1, this one before
        phase.schedule = Schedule(0, 0.6, 1)
        model.weight.grad = torch.tensor([[0.0, 0.0, 0.0, -9.0 if progress > 0.6 else 0.0]])
        phase.before_step()
        optimizer.step()
        phase.after_step(progress)
        assert model.weight.detach().flatten().tolist() == [4, 3, 0, 0]


def test_cut_connections_do_not_take_part():
    model, phase = surgery(True)
    model.weight.grad = torch.zeros(1, 4)
    phase.before_step()
    phase.after_step(0.1)
    assert model(torch.tensor([[0.0, 0.0, 1.0, 1.0]])).item() == 0


def test_quality_is_in_standard_deviations():
    model = nn.Linear(4, 1)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[-2.0, 2.0, 0.5, -0.5]]))  # standard deviation 1.4577
    weights = find_weights(model)
    assert densities_above(weights, [0.3]) == [1.0]
    assert densities_above(weights, [1.0]) == [0.5]
    assert densities_above(weights, [1.4]) == [0.0]


def test_quality_prunes(trained):
    model = copy_of(trained)
    goals = densities_above(find_weights(model), [1.0, 1.0])
    train.prune(model, problem(), CROSS, quality=1.0, training=quick(2))
    sizes = [w.size for w in find_weights(model)]
    assert [w.kept for w in find_weights(model)] == [round(g * s) for g, s in zip(goals, sizes, strict=True)]


def test_dropout_thins_with_the_network():
    model = network(dropout=0.4)
    train.prune(model, problem(), CROSS, density={"fc1": 0.25}, training=quick(2))
    assert model.drop.p == pytest.approx(0.4 * math.sqrt(0.25))


def test_density_or_quality():
    for both, line in (
        ({}, "give density, quality or blocks"),
        ({"density": 0.1, "quality": 1.0}, "give density or quality, one of them"),
    ):
        with pytest.raises(ModelError, match=line):
            train.prune(network(), problem(), CROSS, **both)


def test_settings_that_make_no_sense_are_one_line():
    with pytest.raises(ModelError, match="density must be above 0, not 0"):
        train.prune(network(), problem(), CROSS, density=0)
    with pytest.raises(ModelError, match=r"density of '\*' must be from 0 to 1, not 0.1"):
        train.prune(network(), problem(), CROSS, density="0.1")
    with pytest.raises(ModelError, match="pruning needs at least one epoch"):
        train.prune(network(), problem(), CROSS, density=0.1, training=quick(0))
    with pytest.raises(ModelError, match=r"bits must be whole numbers, not 2\.7"):
        train.share(network(), problem(), CROSS, bits=2.7)
    with pytest.raises(ModelError, match="no inputs to measure"):
        train.accuracy([])(network())


def test_largest_takes_at_least_one_and_never_a_zero():
    assert largest(torch.tensor([0.5, 2.0]), 0.001).tolist() == [False, True]
    assert largest(torch.tensor([0.0, 0.0, 1.0]), 1.0).tolist() == [False, False, True]


@pytest.mark.parametrize("bad", [{"ramp": 0.9}, {"every": 0}, {"ramp": -1}])
def test_impossible_schedules(bad):
    with pytest.raises(ModelError, match="a schedule needs"):
        Schedule(**bad)


# ---- sharing -----------------------------------------------------------------------------------------------


def test_share_leaves_few_values_and_zeros_zero(trained):
    model = copy_of(trained)
    train.prune(model, problem(), CROSS, density=0.3, training=quick(8))
    zeros = [w.parameter == 0 for w in find_weights(model)]
    before = model.fc1.bias.detach().clone()
    shared = train.share(model, problem(), CROSS, bits={"fc1": 3, "fc2": 2}, training=quick(4))
    for weight, zero in zip(find_weights(model), zeros, strict=True):
        layer = shared.layers[weight.name]
        assert torch.equal(weight.parameter == 0, zero)
        assert torch.equal(layer.codes == 0, zero)
        assert torch.equal(layer.decode(), weight.parameter.detach())
        assert layer.centroids[0] == 0
        assert len(layer.centroids) == 1 << layer.bits
    assert [shared.layers[name].bits for name in ("fc1", "fc2")] == [3, 2]
    assert not torch.equal(model.fc1.bias, before)
    assert train.accuracy(problem())(model) > 80


def test_a_centroids_gradient_is_the_sum_over_its_weights():
    torch.manual_seed(3)
    model = nn.Conv2d(2, 3, 3)
    weights = find_weights(model)
    with torch.no_grad():
        model.weight.mul_(largest(model.weight, 0.5))
    phase = Sharing(model, weights, [cluster(model.weight, 2)], "linear")
    x = torch.rand(4, 2, 6, 6)
    model(x).square().sum().backward()
    phase.before_step()
    # Independently: autograd through the look-up.
    table = phase.centroids[0].detach().clone().requires_grad_()
    functional.conv2d(x, table[phase.codes[0]], model.bias).square().sum().backward()
    assert torch.allclose(phase.centroids[0].grad[1:], table.grad[1:], rtol=1e-4)
    assert phase.centroids[0].grad[0] == 0
    assert table.grad[0] != 0


def test_initialisations():
    values = np.array([0.0, 1.0, 2.0, 3.0, 100.0])
    assert first_centroids(values, 3, "linear", 1).tolist() == [0, 50, 100]
    assert first_centroids(values, 5, "density", 1).tolist() == pytest.approx([0.4, 1.2, 2.0, 2.8, 61.2])
    drawn = first_centroids(values, 3, "random", 1)
    assert len(set(drawn)) == 3
    assert set(drawn) <= set(values)
    assert first_centroids(values, 3, "random", 1).tolist() == drawn.tolist()
    with pytest.raises(ModelError, match="linear, density or random, not 'best'"):
        train.share(network(), problem(), CROSS, start="best")


@pytest.mark.parametrize("start", ["linear", "density", "random"])
def test_every_start_serves_every_weight(start):
    weight = torch.randn(40, 30, generator=torch.Generator().manual_seed(1)).mul_(torch.rand(40, 30) < 0.2)
    found = cluster(weight, 4, start)
    error = (found.decode() - weight).square().sum() / weight.square().sum()
    assert error < 0.02
    assert torch.equal(found.codes == 0, weight == 0)


def test_an_empty_layer_can_be_shared():
    assert not cluster(torch.zeros(3, 4), 2).decode().any()


# ---- the loop ----------------------------------------------------------------------------------------------


def test_a_teacher_adds_the_divergence_of_soft_answers():
    teacher = nn.Linear(2, 3)
    x, y = torch.tensor([[1.0, -1.0]]), torch.tensor([2])
    answer = torch.tensor([[0.3, 0.1, -0.4]])
    t = 3.0
    p, q = (torch.softmax(z / t, 1)[0] for z in (teacher(x).detach(), answer))
    wanted = 0.4 * CROSS(answer, y) + 0.6 * t**2 * sum(p[i] * (p[i] / q[i]).log() for i in range(3))
    got = Teacher(teacher, t, 0.6).loss(x, answer, CROSS(answer, y))
    assert got.item() == pytest.approx(wanted.item(), rel=1e-5)
    with pytest.raises(ModelError, match="temperature above 0"):
        Teacher(teacher, 0)


def test_teacher_is_learnt_from(trained):
    student = network(seed=5)
    wrong = TensorDataset(problem().dataset.tensors[0], torch.zeros(256, dtype=torch.int64))
    loader = DataLoader(wrong, 32, shuffle=True)
    train.fit(student, loader, CROSS, quick(15, lr=2e-2, teacher=Teacher(trained, 2, 1.0)))
    assert train.accuracy(problem())(student) > 80  # although every label says 0


@pytest.mark.parametrize("lr", [1e4, 1e25])
def test_diverging_training_is_one_line(lr):
    with pytest.raises(
        ModelError, match=r"training diverged \(fit, epoch \d+.*: the loss is .*lower learning rate"
    ):
        train.fit(network(), problem(), CROSS, quick(5, lr=lr, momentum=0.9))


@pytest.mark.parametrize(
    "loss",
    [
        lambda answer, y: -functional.cosine_similarity(answer, functional.one_hot(y, 4).float()).mean(),
        lambda answer, y: 1e-3 * answer.square().mean(),
    ],
)
def test_losses_below_or_about_zero_do_not_diverge(loss):
    history = train.fit(network(), problem(), loss, quick(3))
    assert history[-1].loss < history[0].loss


def test_a_loss_that_is_not_a_number_is_told():
    with pytest.raises(ModelError, match=r"epoch 1, batch 1.*the loss is nan"):
        train.fit(network(), problem(), lambda a, b: CROSS(a, b) * math.nan, quick(1))


def test_the_same_seed_gives_the_same_network_whatever_was_drawn_before():
    twins = [copy_of(network()) for _ in range(3)]
    for twin, seed in zip(twins, (1, 1, 2), strict=True):
        torch.rand(7)
        train.fit(twin, problem(), CROSS, quick(2, seed=seed))
    assert torch.equal(twins[0].fc1.weight, twins[1].fc1.weight)
    assert not torch.equal(twins[0].fc1.weight, twins[2].fc1.weight)


def test_training_leaves_the_random_generators_alone():
    torch.manual_seed(9)
    wanted = torch.rand(1)
    model = network()
    torch.manual_seed(9)
    train.fit(model, problem(), CROSS, quick(1))
    assert torch.equal(torch.rand(1), wanted)


def test_bfloat16_is_for_the_layers_alone(tmp_path):
    models, seen = [network(), network()], []
    for short, model in zip((False, True), models, strict=True):
        seen.clear()

        def loss(answer, y):
            seen.append(answer.dtype)
            return CROSS(answer, y)

        teacher = train.Teacher(network(2))
        train.fit(model, problem(), loss, quick(1, bfloat16=short, teacher=teacher))
        assert set(seen) == {torch.float32}
    weights = [[p.detach() for p in model.parameters()] for model in models]
    assert all(p.dtype == torch.float32 for p in weights[1])
    apart = max(float((a - b).abs().max()) for a, b in zip(*weights, strict=True))
    assert 0 < apart < 0.05
    train.fit(network(), problem(), CROSS, quick(1, folder=tmp_path, bfloat16=True))
    with pytest.raises(ModelError, match=r"\(bfloat16 differs, True there and None here\)"):
        train.fit(network(), problem(), CROSS, quick(1, folder=tmp_path))


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    train.fit(network(), problem(), CROSS, quick(1, folder=tmp_path))
    with pytest.raises(
        ModelError, match=r"fit\.pt belongs to another run \(lr differs, 0\.01 there and 0\.02 here\)"
    ):
        train.fit(network(), problem(), CROSS, quick(1, folder=tmp_path, lr=0.02))
    with pytest.raises(ModelError, match=r"another run \(model differs\)"):
        train.fit(network(seed=2), problem(), CROSS, quick(1, folder=tmp_path))
    with pytest.raises(ModelError, match=r"another run \(data differs\)"):
        train.fit(network(), problem(seed=2), CROSS, quick(1, folder=tmp_path))
    with pytest.raises(
        ModelError, match=r"another run \(loss differs, .*cross_entropy there and .*nll_loss here\)"
    ):
        train.fit(network(), problem(), functional.nll_loss, quick(1, folder=tmp_path))
    (tmp_path / "fit.pt").write_bytes(b"nonsense")
    with pytest.raises(ModelError, match=r"fit\.pt is not a checkpoint"):
        train.fit(network(), problem(), CROSS, quick(1, folder=tmp_path))


def test_a_full_disk_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    train.fit(network(), problem(), CROSS, quick(1, folder=tmp_path))
    old = (tmp_path / "fit.pt").read_bytes()

    def full(content, file):
        file.write(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    (tmp_path / "fit.pt").rename(tmp_path / "old")
    with pytest.raises(OutputError, match=r"cannot write checkpoint .*fit\.pt: No space left on device"):
        train.fit(network(), problem(), CROSS, quick(1, folder=tmp_path))
    assert (tmp_path / "old").read_bytes() == old
    assert [p.name for p in tmp_path.iterdir()] == ["old"]


def test_loaders_need_a_length():
    with pytest.raises(ModelError, match="the loader must have a length"):
        train.fit(network(), iter([]), CROSS, quick(1))


@pytest.mark.parametrize("bad", [{"epochs": -1}, {"lr": 0.0}, {"momentum": 1.0}])
def test_impossible_training(bad):
    with pytest.raises(ModelError, match="must be"):
        Training(**bad)


# ---- sensitivity -------------------------------------------------------------------------------------------


def test_scan_prunes_one_layer_at_a_time_and_puts_everything_back(trained):
    model = copy_of(trained)
    seen = []

    def evaluate(net):
        seen.append(tuple(w.kept for w in find_weights(net)))
        return float(len(seen))

    found = train.scan(model, evaluate, (0.5, 0.25), progress=False)
    assert seen == [(240, 80), (60, 80), (120, 80), (240, 20), (240, 40)]
    assert found.baseline == 1
    assert found.scores == {"fc1": (2.0, 3.0), "fc2": (4.0, 5.0)}
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), trained.parameters(), strict=True))
    with pytest.raises(ModelError, match="densities must be from above 0 to 1"):
        train.scan(model, evaluate, (0.0,), progress=False)


def test_lowest_density_within_a_loss():
    found = train.Sensitivity(90.0, (0.1, 0.2, 0.5), {"a": (89.0, 80.0, 89.5), "b": (50.0, 89.0, 90.0)})
    assert found.lowest(1.0) == {"a": 0.5, "b": 0.2}  # a at 0.1 looks good by luck only
    assert found.lowest(0.2) == {"a": 1.0, "b": 0.5}


def test_choose_keeps_within_the_budget(trained):
    model, score = copy_of(trained), train.accuracy(problem())
    found = train.scan(model, score, progress=False)
    choice = train.choose(model, score, 5.0, found)
    assert choice.reached
    assert min(choice.densities.values()) < 1
    for name, density in choice.densities.items():
        weight = dict(model.named_parameters())[f"{name}.weight"]
        if density < 1:
            weight.data.mul_(largest(weight.data, density))
    assert score(model) == choice.score >= found.baseline - 5


def test_an_unreachable_budget_gives_the_best_found(trained):
    model, score = copy_of(trained), train.accuracy(problem())
    found = train.scan(model, score, (0.01, 0.02), progress=False)
    choice = train.choose(model, score, 0.5, found)
    assert not choice.reached
    assert choice.score <= found.baseline
    for budget in (-1.0, math.nan):
        with pytest.raises(ModelError, match="budget must be at least 0"):
            train.choose(model, score, budget, found)


def test_measuring_leaves_the_model_alone():
    model, score = network(dropout=0.5), train.accuracy(problem())
    model.norm = nn.BatchNorm1d(4)
    model.train()
    assert len({score(model) for _ in range(3)}) == 1
    assert model.training
    assert model.norm.num_batches_tracked == 0


def test_choose_can_retrain(trained):
    model, score = copy_of(trained), train.accuracy(problem())
    found = train.scan(model, score, (0.1, 0.5), progress=False)
    calls = []
    train.choose(model, score, 3.0, found, refine=lambda net, densities: calls.append(densities))
    assert calls
    assert torch.equal(model.fc1.weight, trained.fc1.weight)


# ---- into the file -----------------------------------------------------------------------------------------


def test_three_calls_and_the_accelerator_computes_the_network(trained, tmp_path):
    model, x = copy_of(trained), problem().dataset.tensors[0]
    train.prune(model, problem(), CROSS, density=0.4, training=quick(6))
    shared = train.share(model, problem(), CROSS, training=quick(2))
    report = train.save(tmp_path / "net.eie", model, shared, x)
    layers = eie.load(tmp_path / "net.eie")
    assert [(layer.name, layer.relu, layer.nnz) for layer in layers] == [
        ("fc1", True, 96),
        ("fc2", False, 32),
    ]
    assert report.size.total_bytes == (tmp_path / "net.eie").stat().st_size
    run = fixed_forward(layers, quantize_inputs(layers[0], x.numpy()))
    got = np.ldexp(run.y.astype(float), -layers[-1].y_frac)
    assert np.abs(got - model(x).detach().numpy()).max() < 0.02
    result = eie.simulate(layers[0], quantize_inputs(layers[0], x.numpy())[0], eie.ArchConfig(n_pe=4))
    assert result.y.any()


def put_shared(model: nn.Module, bits: int = 4) -> train.Shared:
    """Share the weights of `model`, nothing trained."""
    shared = train.Shared({w.name: cluster(w.parameter, bits) for w in find_weights(model)}, [])
    with torch.no_grad():
        for weight in find_weights(model):
            weight.parameter.copy_(shared.layers[weight.name].decode())
    return shared


class Small(nn.Module):
    """Convolutions with everything that a layer's surroundings can be, and functions in place of modules."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 3, 3, padding=1), nn.Conv2d(3, 4, 3, stride=2)
        self.pool, self.drop, self.fc = nn.MaxPool2d(2), nn.Dropout(0.1), nn.Linear(16, 5)

    def forward(self, x):
        x = self.pool(functional.relu(self.conv1(x)))
        return self.fc(self.drop(torch.flatten(torch.relu(self.conv2(x)), 1)))


def test_convolutions_keep_their_geometry(tmp_path):
    torch.manual_seed(1)
    model, x = Small(), torch.rand(16, 1, 12, 12)
    model.eval()
    shared = put_shared(model, 6)
    layers = train.layers_of(model, shared, x)
    assert [layer.relu for layer in layers] == [True, True, False]
    assert [layer.conv and layer.conv.size for layer in layers] == [(12, 12), (6, 6), None]
    assert (layers[0].conv.padding, layers[0].conv.pool, layers[1].conv.stride) == ((1, 1), (2, 2), (2, 2))
    wanted = model(x).detach().numpy()
    got = float_forward([layer.to_float() for layer in layers], x.reshape(16, -1).numpy())
    assert np.abs(got - wanted).max() < 1e-5
    train.save(tmp_path / "conv.eie", model, shared, x)
    saved = eie.load(tmp_path / "conv.eie")
    run = fixed_forward(saved, quantize_inputs(saved[0], x.reshape(16, -1).numpy()))
    assert np.abs(np.ldexp(run.y.astype(float), -saved[-1].y_frac) - wanted).max() < 0.02


def test_a_branch_ends_what_is_known_of_a_layer():
    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc1, self.fc2 = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x):
            y = self.fc1(x)
            return torch.relu(self.fc2(torch.relu(y) + y))

    model = Residual()
    shared = put_shared(model, 3)
    assert [layer.relu for layer in train.layers_of(model, shared)] == [False, True]


class Net(nn.Module):
    """Three Linear layers, defined in another order than used; `between` is applied after the first."""

    def __init__(self, between=torch.relu, before=None, after=None):
        super().__init__()
        self.last, self.middle, self.first = nn.Linear(6, 3), nn.Linear(8, 6), nn.Linear(5, 8)
        self.between, self.before, self.after = between, before, after

    def forward(self, x):
        x = self.between(self.first(self.before(x) if self.before else x))
        x = self.last(torch.relu(self.middle(x)))
        return self.after(x) if self.after else x


def test_layers_are_stored_in_the_order_in_which_they_are_used(tmp_path):
    torch.manual_seed(1)
    model, x = Net(), torch.rand(32, 5)
    train.save(tmp_path / "net.eie", model, put_shared(model), x)
    layers = eie.load(tmp_path / "net.eie")
    assert [(layer.name, layer.relu) for layer in layers] == [
        ("first", True),
        ("middle", True),
        ("last", False),
    ]
    run = fixed_forward(layers, quantize_inputs(layers[0], x.numpy()))
    got = np.ldexp(run.y.astype(float), -layers[-1].y_frac)
    assert np.abs(got - model(x).detach().numpy()).max() < 0.01


def branching(x):
    return torch.relu(x) if x.sum() > -1e9 else x


@pytest.mark.parametrize(
    "options",
    [
        {"between": nn.Sequential(nn.BatchNorm1d(8), nn.ReLU())},
        {"between": nn.Sigmoid()},
        {"between": nn.GELU()},
        {"between": nn.LeakyReLU()},
        {"between": nn.Hardtanh(-1, 0.1)},
        {"between": lambda x: torch.relu(x) + x},
        {"before": lambda x: 2 * x - 1},
        {"before": nn.Embedding(9, 5)},
        {"after": torch.tanh},
        {"after": lambda x: (x, x)},
    ],
)
def test_a_model_that_is_no_chain_is_saved_with_its_graph(options, tmp_path):
    torch.manual_seed(1)
    model = Net(**options).eval()
    x = torch.randint(9, (32,)) if isinstance(model.before, nn.Embedding) else torch.rand(32, 5)
    shared = put_shared(model)
    train.save(tmp_path / "net.eie", model, shared, x)
    net = eie.load(tmp_path / "net.eie")
    assert [layer.name for layer in net] == ["first", "middle", "last"]
    answer = model(x)
    right = (answer[0] if isinstance(answer, tuple) else answer).detach().numpy()
    assert np.abs(net.run(x.numpy()).outputs - right).max() < 0.01
    train.save(tmp_path / "net.eie", model, shared)
    layers = eie.load(tmp_path / "net.eie")
    assert [layer.name for layer in layers] == ["last", "middle", "first"]
    assert [layer.follows for layer in layers] == [True, False, False]


def test_a_model_that_branches_on_its_data_is_refused(tmp_path):
    """Also where the batch takes one branch only."""
    model = Net(between=branching).eval()
    with pytest.raises(ModelError, match="torch cannot trace the model as it is"):
        train.save(tmp_path / "net.eie", model, put_shared(model), torch.rand(32, 5))
    assert not list(tmp_path.iterdir())


def test_matrices_by_themselves_are_no_network(tmp_path):
    """Also where their sizes would fit."""
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
    shared = put_shared(model)
    train.save(tmp_path / "net.eie", model, shared)
    with pytest.raises(LayerError, match="layer '2' does not take the outputs of '0' as they are"):
        check_network(eie.load(tmp_path / "net.eie"))
    train.save(tmp_path / "net.eie", model, shared, torch.rand(8, 4))
    check_network(eie.load(tmp_path / "net.eie"))


def test_a_softmax_in_the_end_is_left_out(tmp_path):
    torch.manual_seed(1)
    for after in (nn.Softmax(1), nn.LogSoftmax(1)):
        model, x = Net(after=after), torch.rand(32, 5)
        train.save(tmp_path / "net.eie", model, put_shared(model), x)
        layers = eie.load(tmp_path / "net.eie")
        run = fixed_forward(layers, quantize_inputs(layers[0], x.numpy()))
        assert (run.y.argmax(1) == model(x).argmax(1).numpy()).mean() > 0.9


def test_a_layer_used_twice_at_several_places_or_by_a_recurrent_network(tmp_path):
    layer = nn.Linear(4, 4)
    models = {
        "twice": (nn.Sequential(layer, nn.ReLU(), layer), torch.rand(8, 4), 2),
        "cell": (nn.GRU(3, 4), torch.rand(8, 2, 3), 2),
        "places": (nn.Sequential(nn.Linear(4, 4)), torch.rand(8, 2, 4), 1),
    }
    for model, x, count in models.values():
        train.save(tmp_path / "net.eie", model, put_shared(model), x)
        net = eie.load(tmp_path / "net.eie")
        answer = model(x)
        right = (answer[0] if isinstance(answer, tuple) else answer).detach().numpy()
        assert len(net) == count
        assert np.abs(net.run(x.numpy()).outputs - right).max() < 0.01


def test_batches_and_weights_that_do_not_belong_to_the_model(trained, tmp_path):
    model, x = copy_of(trained), problem().dataset.tensors[0]
    shared = put_shared(model)
    with pytest.raises(
        ModelError, match=r"the model does not take the calibration batch \[256, 7\]: mat1 and mat2"
    ):
        train.save(tmp_path / "net.eie", model, shared, x[:, :7])
    with pytest.raises(ModelError, match="layer '0' is not one of those that were shared"):
        train.save(tmp_path / "net.eie", nn.Sequential(nn.Linear(12, 20)), shared, x)
    with torch.no_grad():
        model.fc2.weight.mul_(1.01)
    with pytest.raises(ModelError, match="weights of layer 'fc2' are no longer the shared ones"):
        train.save(tmp_path / "net.eie", model, shared, x)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_models_of_other_types(dtype, tmp_path):
    x, y = (t.to(dtype) if t.is_floating_point() else t for t in problem().dataset.tensors)
    loader, model = DataLoader(TensorDataset(x, y), 32, shuffle=True), network().to(dtype)
    train.fit(model, loader, CROSS, quick(6, lr=2e-2, folder=tmp_path))
    train.prune(model, loader, CROSS, density=0.5, training=quick(4))
    before = train.accuracy(loader)(model)
    shared = train.share(model, loader, CROSS, training=quick(2, lr=1e-3))
    assert train.accuracy(loader)(model) > before - 10 > 50
    train.save(tmp_path / "net.eie", model, shared, x)
    layers = eie.load(tmp_path / "net.eie")
    run = fixed_forward(layers, quantize_inputs(layers[0], x.float().numpy()))
    assert (run.y.argmax(1) == model(x).argmax(1).numpy()).mean() > 0.9


def test_a_parametrised_layer_is_refused():
    weight_norm = nn.utils.parametrizations.weight_norm
    for model in (weight_norm(nn.Linear(3, 4)), weight_norm(nn.GRU(3, 4), "weight_hh_l0")):
        with pytest.raises(ModelError, match=r"is parametrised, that is, computed from other parameters"):
            train.prune(nn.Sequential(model), problem(), CROSS, density=0.5)


def test_the_page_runs_a_network_of_convolutions_too(tmp_path, monkeypatch):
    block = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)[1]
    torch.manual_seed(1)
    model, x = Small().eval(), torch.rand(16, 1, 12, 12)
    monkeypatch.chdir(tmp_path)
    train.save("net.eie", model, put_shared(model), x)
    names = {"one_batch": x}
    exec(block.replace("n_pe=64", "n_pe=2"), names)  # the golden engine takes its time for each PE
    last = names["results"][-1].y
    assert (
        np.abs(np.ldexp(last.astype(float), -names["layers"][-1].y_frac) - model(x)[0].tolist()).max() < 0.02
    )


@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM])
def test_recurrent_networks(kind, tmp_path):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn, self.fc = kind(3, 8, batch_first=True), nn.Linear(8, 2)

        def forward(self, x):
            return self.fc(self.rnn(x)[0][:, -1])

    torch.manual_seed(1)
    model, x = Net(), torch.rand(64, 5, 3)
    loader = DataLoader(TensorDataset(x, (x.sum((1, 2)) > 7.5).long()), 16, shuffle=True)
    train.fit(model, loader, CROSS, quick(10))
    train.prune(model, loader, CROSS, density={"rnn.*": 0.3}, training=quick(6))
    shared = train.share(model, loader, CROSS, bits=4, training=quick(2))
    assert [round(w.kept / w.size, 1) for w in find_weights(model)] == [0.3, 0.3, 1.0]
    train.save(tmp_path / "rnn.eie", model, shared)
    layers = {layer.name: layer for layer in eie.load(tmp_path / "rnn.eie")}
    saved = layers["rnn.weight_hh_l0"]
    wanted = model.rnn.weight_hh_l0.detach().numpy()
    assert np.abs(np.ldexp(saved.decode().astype(float), -saved.w_frac) - wanted).max() < 1e-3
    assert np.array_equal(saved.dense_codes() == 0, wanted == 0)


def test_the_page_runs_as_it_is_written(trained, tmp_path, monkeypatch):
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(blocks) == 3
    monkeypatch.chdir(tmp_path)
    x = problem().dataset.tensors[0]
    names = {"model": copy_of(trained), "loader": problem(), "test_loader": problem()}
    names |= {"calibration_batch": x, "one_batch": x[:4]}
    for block in blocks:
        exec(block, names)  # the tutorial's own lines
        names.setdefault("compressed", names["model"])
        names["model"] = copy_of(trained)  # the densities are chosen for a dense model
        names["how"] = train.Training(epochs=2, progress=False)
    assert names["results"][-1].y.argmax() == names["compressed"](x[:1]).argmax()
    assert (tmp_path / "net.eie").exists()
    assert names["choice"].reached


# ---- what is left out, and what cannot be trained ----------------------------------------------------------


class Mixed(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(7, 4)
        self.conv = nn.Conv1d(4, 4, 1)
        self.attention = nn.MultiheadAttention(4, 2)
        nn.init.ones_(self.attention.out_proj.bias)  # a bias of zeros is none
        self.norm = nn.BatchNorm1d(4)
        self.up = nn.ConvTranspose2d(1, 1, 2)
        self.fc = nn.Linear(4, 3)

    def forward(self, x):
        return self.fc(x)


def test_what_is_not_compressed_is_in_the_report(tmp_path, capsys):
    model = Mixed()
    loader = [(torch.rand(8, 4), torch.randint(3, (8,)))]
    shared = train.share(
        model, loader, functional.cross_entropy, training=train.Training(epochs=1, progress=False)
    )
    report = train.save(tmp_path / "net.eie", model, shared)
    held = {"fc.weight", "fc.bias", "attention.out_proj.weight", "attention.out_proj.bias"}
    state = model.state_dict()
    assert {one.array.split()[0] for one in report.unused} == set(state) - held
    right = sum(tensor.numel() * tensor.element_size() for name, tensor in state.items() if name not in held)
    assert sum(one.nbytes for one in report.unused) == right
    dense = 4 * sum(state[name].numel() for name in held)
    assert report.whole_ratio == pytest.approx((dense + right) / (report.size.total_bytes + right))
    assert (
        f"not compressed: {len(state) - len(held)} arrays of the network, {right:,} bytes"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (lambda model: model.half(), "has float16 weights"),
        (lambda model: model.weight.data.fill_(float("nan")), r"weight\[0, 0\] is nan before training"),
    ],
)
def test_weights_that_no_training_is_to_blame_for(spoil, text):
    model = nn.Linear(4, 3)
    spoil(model)
    with pytest.raises(ModelError, match=f"layer 'layer'.* ?{text}"):
        train.prune(
            model, [(torch.rand(8, 4), torch.randint(3, (8,)))], functional.cross_entropy, density=0.5
        )
