"""Function matching and weighted distillation: values by hand, by torch and by brute force; what is refused."""

import copy
import re

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from eie.compress import train
from eie.compress.train.distill import debiased, neighbours
from eie.errors import ModelError
from tests.support import ROOT
from tests.support.small_networks import Killed, killed_after, network, problem, quick

CROSS = functional.cross_entropy


# ---- function matching -------------------------------------------------------------------------------------


class Seen(nn.Module):
    """A network that keeps what it saw in training."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.own, self.inputs = network(seed), []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if torch.is_grad_enabled() or not self.training:
            self.inputs.append(x.detach().clone())
        return self.own(x)


def test_both_see_the_same_mixed_inputs_and_no_labels():
    teacher, students = Seen(2), [Seen(1), Seen(1)]
    batches = list(problem())[:3]
    for student, labels in zip(students, (0, 1), strict=True):
        data = [(x, torch.full_like(y, labels)) for x, y in batches]
        torch.manual_seed(5)
        how = train.Teacher(teacher, temperature=2, mixup=True)
        train.fit(student, data, CROSS, quick(1, teacher=how))
    # Of the student: two calls for the first losses, then the three batches.
    steps = students[0].inputs[-3:]
    assert all(any(torch.equal(x, seen) for seen in teacher.inputs) for x in steps)
    for x, (given, _) in zip(steps, batches, strict=True):
        assert x.shape == given.shape
    one, two = (list(student.own.parameters()) for student in students)
    assert all(map(torch.equal, one, two))


def test_a_view_is_a_mixture_of_the_batch_with_itself():
    x = torch.eye(6)
    how = train.Teacher(network(), mixup=True)
    shares = []
    torch.manual_seed(3)
    for _ in range(200):
        view = how.view(x)
        assert torch.allclose(view.sum(1), torch.ones(6))
        assert int((view > 0).sum(1).max()) <= 2
        shares.append(float(view.diagonal().min()))
    # Evenly from 0 to 1: whatever the order, some row is mixed with another in nearly every batch.
    assert np.mean(shares) == pytest.approx(0.5, abs=0.07)
    assert (min(shares) < 0.05, max(shares) > 0.95) == (True, True)
    assert train.Teacher(network()).view(x) is x


def test_settings_of_a_teacher():
    assert train.Teacher(network()).share == 0.7
    assert train.Teacher(network(), mixup=True).share == 1
    with pytest.raises(
        ModelError, match=r"mixed inputs have no labels: with mixup share must be 1, not 0\.5"
    ):
        train.Teacher(network(), share=0.5, mixup=True)
    with pytest.raises(ModelError, match="mixup takes a batch of inputs that is one tensor of real numbers"):
        train.Teacher(network(), mixup=True).view(torch.arange(3))


def test_a_checkpoint_knows_about_mixup(tmp_path):
    def how(mixup: bool) -> train.Training:
        return quick(1, folder=tmp_path, teacher=train.Teacher(network(2), share=1.0, mixup=mixup))

    train.fit(network(), problem(), CROSS, how(True))
    with pytest.raises(ModelError, match="belongs to another run"):
        train.fit(network(), problem(), CROSS, how(False))


# ---- weights -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_the_nearest_margins_are_those_of_brute_force(seed):
    rng = np.random.default_rng(seed)
    held, asked = rng.random(int(rng.integers(1, 60))), rng.random(50) * 1.4 - 0.2
    found = neighbours(asked, held)
    assert found.shape == (50, int(np.ceil(np.sqrt(len(held)))))
    distances = np.abs(asked[:, None] - held)
    assert np.sort(np.take_along_axis(distances, found, 1)) == pytest.approx(
        np.sort(distances)[:, : found.shape[1]]
    )


def test_weights_by_hand():
    # A third wrong; there the teacher's label costs 2 + 4 and the true one 1 + 2: 1 / (1 + 1/3) = 3/4.
    wrong = np.array([[True, False, True, False, False, False]])
    of_teacher = np.array([[2.0, 9.0, 4.0, 9.0, 9.0, 9.0]])
    of_truth = np.array([[1.0, 9.0, 2.0, 9.0, 9.0, 9.0]])
    assert debiased(wrong, of_teacher, of_truth).tolist() == [pytest.approx(0.75)]
    assert debiased(~wrong & wrong, of_teacher, of_truth).tolist() == [1.0]
    # A student that has learnt the teacher's error by heart is not to learn it twice.
    assert debiased(wrong, 0 * of_teacher, of_truth).tolist() == [1.0]
    assert debiased(wrong, of_teacher, 0 * of_truth)[0] == pytest.approx(0, abs=1e-9)


def test_weighted_costs_are_the_true_ones_on_average():
    rng = np.random.default_rng(1)
    n, p = 400_000, 0.2
    of_truth = rng.exponential(0.5, n)
    wrong = rng.random(n) < p
    of_teacher = np.where(wrong, of_truth + rng.exponential(1.5, n), of_truth)
    weight = debiased(wrong[None], of_teacher[None], of_truth[None])[0]
    # p and distortion are those of costs that are independent of being wrong.
    assert (weight * of_teacher).mean() == pytest.approx(of_truth.mean(), rel=0.01)


@pytest.fixture(scope="module")
def taught() -> nn.Module:
    teacher = network(2)
    train.fit(teacher, [sets()[0]], CROSS, quick(60, lr=2e-2))
    return teacher


def sets(count: int = 64):
    # 64 labelled, 64 held out, 128 without labels.
    x, y = problem().dataset.tensors
    return (x[:count], y[:count]), (x[count : 2 * count], y[count : 2 * count]), x[2 * count :]


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_the_loss_is_torchs(temperature, taught):
    teacher, student = taught, network(3)
    held = []

    class Stop(Exception):
        pass

    def evaluate(model: nn.Module) -> float:
        raise Stop

    labelled, held_out, unlabelled = sets()
    import eie.compress.train.distill as distill

    run = distill.run
    try:
        distill.run = lambda model, pool, loss, phase, training: held.append(pool) or []
        train.weighted(student, train.Teacher(teacher, temperature), labelled, held_out, unlabelled)
    finally:
        distill.run = run
    (pool,) = held
    pool.weigh()
    places = torch.tensor([3, 70, 190, 5, 130])
    answer = student(pool.x[places])
    (_, y), weights = labelled, pool.weights
    assert weights[:64].tolist() == [1.0] * 64
    assert 0 < float(weights[64:].min()) < 1
    each = []
    with torch.no_grad():
        for row, place in enumerate(places.tolist()):
            if place < 64:
                each.append(CROSS(answer[row], y[place]))
            else:
                soft = (teacher(unlabelled[place - 64][None])[0] / temperature).softmax(0)
                each.append(weights[place] * temperature**2 * CROSS(answer[row] / temperature, soft))
        assert float(pool.loss(answer, places)) == pytest.approx(float(torch.stack(each).mean()), rel=1e-5)


def test_weights_follow_the_student_and_their_kind(taught):
    labelled, held_out, unlabelled = sets()
    teacher = taught
    scores = {}
    for by in ("none", "fidelity", "debiased", "both"):
        student = network(5)
        history = train.weighted(
            student, teacher, labelled, held_out, unlabelled, by=by, batch=32, training=quick(12, lr=2e-2)
        )
        again = network(5)
        train.weighted(
            again, teacher, labelled, held_out, unlabelled, by=by, batch=32, training=quick(12, lr=2e-2)
        )
        assert all(map(torch.equal, student.parameters(), again.parameters()))
        assert len(history) == 12
        scores[by] = student.fc1.weight.detach().clone()
        assert train.accuracy(problem())(student) > 60
    kinds = list(scores.values())
    assert not any(torch.equal(kinds[i], kinds[j]) for i in range(4) for j in range(i))


def test_a_killed_call_goes_on(tmp_path, taught):
    given = (taught, *sets())
    with pytest.raises(Killed):
        train.weighted(network(), *given, training=quick(4, folder=tmp_path, evaluate=killed_after(2)))
    one, two = network(), network()
    train.weighted(one, *given, training=quick(4, folder=tmp_path))
    train.weighted(two, *given, training=quick(4))
    assert all(map(torch.equal, one.parameters(), two.parameters()))


def changed(**given):
    names = dict(zip(("labelled", "held_out", "unlabelled"), sets(), strict=True))
    names |= {"student": network(), "teacher": network(2)}
    return names | {name: change(names[name]) for name, change in given.items()}


def one_class(teacher: nn.Module) -> nn.Module:
    twin = copy.deepcopy(teacher)
    with torch.no_grad():
        twin.fc2.weight.zero_()
        twin.fc2.bias.copy_(torch.tensor([1.0, 0, 0, 0]))
    return twin


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (
            changed(held_out=lambda d: sets()[0]),
            "64 of the held-out inputs are among the labelled ones, which the",
        ),
        (
            changed(unlabelled=lambda x: x[:, :5]),
            "labelled, held_out and unlabelled inputs must be alike, not of shapes",
        ),
        (
            changed(unlabelled=lambda x: x[:0]),
            "labelled, held_out and unlabelled inputs must be alike, not of shapes",
        ),
        (
            changed(labelled=lambda d: (d[0], d[1][:9])),
            "labelled must be inputs and one class for each, not of shapes",
        ),
        (
            changed(held_out=lambda d: (d[0], d[0])),
            "held_out must be inputs and one class for each, not of shapes",
        ),
        (changed(labelled=lambda d: (d[0], d[1] + 3)), "class 6 of the labels is none of the teacher's 4"),
        (changed(student=lambda m: nn.Linear(12, 3)), "the student tells 3 classes apart, the teacher 4"),
        (
            changed(teacher=one_class),
            "the teacher finds class 1 nowhere among the unlabelled inputs: they must have",
        ),
        (changed() | {"by": "luck"}, "by must be one of debiased, fidelity, both, none, not 'luck'"),
        (
            changed(teacher=lambda m: train.Teacher(m, mixup=True)),
            "weighted takes its teacher as an argument, and",
        ),
    ],
)
def test_what_is_refused(given, line):
    with pytest.raises(ModelError) as caught:
        train.weighted(**given, training=quick(1))
    assert str(caught.value).startswith(line)
    assert len(str(caught.value).splitlines()) == 1


def test_the_page_runs_as_it_is_written(taught):
    text = (ROOT / "docs" / "learn.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    x, y = problem().dataset.tensors
    names = {
        "student": network(),
        "teacher": taught,
        "x": x,
        "y": y,
        "loader": problem(),
        "cross_entropy": CROSS,
    }
    names["train"] = train
    for block in (one for one in blocks if "mixup" in one or "weighted" in one):
        for page, here in (
            ("epochs=50", "epochs=1"),
            ("epochs=10", "epochs=1"),
            ("750", "90"),
            ("500", "60"),
        ):
            block = block.replace(page, here)
        before = names["student"].fc1.weight.clone()
        exec(compile(block, "docs/learn.md", "exec"), names)
        assert not torch.equal(before, names["student"].fc1.weight)
    assert len(names["unlabelled"]) == 166
