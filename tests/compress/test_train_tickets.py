"""Lottery tickets: masks, what survivors get back, rounds that go on after a kill; mask criteria."""

from typing import get_args

import pytest
import torch
from torch import nn
from torch.nn import functional

from eie.compress import train
from eie.compress.train.tickets import Criterion, best, scores
from eie.errors import ModelError
from tests.support.small_networks import Killed, killed_after, network, problem, quick

CROSS = functional.cross_entropy


def weights_of(model: nn.Module) -> list[torch.Tensor]:
    return [weight.parameter.detach().clone() for weight in train.find_weights(model)]


def still(epochs: int = 1, **other) -> train.Training:
    """A training that moves weights by next to nothing, so that what a round began with is what it ends with."""
    return quick(epochs, lr=1e-12, momentum=0.0, **other)


def tickets(rewind, training=None, **given) -> nn.Module:
    model, schedule = network(), train.Schedule(rewind=rewind, rounds=3)
    goals = {"fc1": 0.2, "fc2": 0.5}
    how = training or quick(2)
    train.prune(model, problem(), CROSS, density=goals, schedule=schedule, training=how, **given)
    return model


# ---- criteria ----------------------------------------------------------------------------------------------


def test_scores_are_those_of_the_study():
    final, start = torch.tensor([4.0, -2.0, 1.0, 0.5]), torch.tensor([-1.0, -3.0, 0.5, 2.0])
    # Of Zhou et al., figure 3: |f|, |i|, |f| - |i|, |f - i|, max(0, f sign(i)), min and -max of scaled magnitudes.
    by_hand = {
        "large_final": [4, 2, 1, 0.5],
        "small_final": [-4, -2, -1, -0.5],
        "large_init": [1, 3, 0.5, 2],
        "small_init": [-1, -3, -0.5, -2],
        "magnitude_increase": [3, -1, 0.5, -1.5],
        "movement": [5, 1, 0.5, 1.5],
        "large_final_same_sign": [-4, 2, 1, 0.5],
        "large_init_large_final": [1 / 1.625, 2 / 1.875, 0.5 / 1.625, 0.5 / 1.875],
        "small_init_small_final": [-4 / 1.875, -3 / 1.625, -1 / 1.875, -2 / 1.625],
    }
    assert set(by_hand) | {"random"} == set(get_args(Criterion))
    for criterion, right in by_hand.items():
        assert scores(final, start, criterion).tolist() == pytest.approx(right), criterion


def test_random_masks_are_nested_and_follow_the_seed():
    zero = torch.zeros(40)
    one, again = scores(zero, zero, "random", 1, 2), scores(zero, zero, "random", 1, 2)
    assert torch.equal(one, again)
    for other in (scores(zero, zero, "random", 2, 2), scores(zero, zero, "random", 1, 3)):
        assert not torch.equal(one, other)
    all_of_them = torch.ones(40, dtype=torch.bool)
    few, many = best(one, all_of_them, 7), best(one, all_of_them, 20)
    assert int(few.sum()) == 7
    assert not (few & ~many).any()
    assert torch.equal(best(one, many, 7), few)
    assert int(best(one, few, 30).sum()) == 7


@pytest.mark.parametrize(
    "criterion", ["small_final", "magnitude_increase", "movement", "large_init", "random"]
)
@pytest.mark.parametrize("regrow", [True, False])
def test_pruning_along_the_way_takes_every_criterion(criterion, regrow):
    models = [network(), network()]
    for model in models:
        schedule = train.Schedule(every=2, regrow=regrow)
        train.prune(
            model, problem(), CROSS, density=0.25, criterion=criterion, schedule=schedule, training=quick(2)
        )
        assert [w.kept for w in train.find_weights(model)] == [60, 20]
    assert all(map(torch.equal, weights_of(models[0]), weights_of(models[1])))


# ---- rounds ------------------------------------------------------------------------------------------------


def test_rounds_cut_the_same_share_each():
    densities = []
    model = network()
    history = train.prune(
        model,
        problem(),
        CROSS,
        density={"fc1": 0.125},
        schedule=train.Schedule(rewind=0, rounds=3),
        training=quick(
            2, evaluate=lambda m: densities.append([w.kept for w in train.find_weights(m)]) or 0.0
        ),
    )
    assert densities == [[240, 80]] * 2 + [[120, 80]] * 2 + [[60, 80]] * 2 + [[30, 80]] * 2
    assert len(history) == 8
    assert history[-1].density == pytest.approx(110 / 320)


def test_survivors_get_their_first_values_back():
    first = weights_of(network())
    for found, start in zip(weights_of(tickets(0, still())), first, strict=True):
        mask = found != 0
        assert torch.allclose(found[mask], start[mask], atol=1e-9)
        # Nothing moved: the largest of the last values are the largest of the first.
        assert mask.sum() == round(start.numel() * (0.2 if start.numel() == 240 else 0.5))
        assert start[mask].abs().min() >= start[~mask].abs().max()


def test_survivors_get_signs_or_other_values():
    first = weights_of(network())
    for found, start in zip(weights_of(tickets("sign", still())), first, strict=True):
        mask = found != 0
        assert found[mask].abs().tolist() == pytest.approx([start.std(correction=0).item()] * int(mask.sum()))
        assert torch.equal(found[mask].sign(), start[mask].sign())
    for found, start in zip(weights_of(tickets("random", still())), first, strict=True):
        mask = found != 0
        # Each is a first value of this layer, but hardly any is its own.
        assert (found[mask].view(-1, 1) - start.view(1, -1)).abs().min(1).values.max() < 1e-8
        assert (found[mask] - start[mask]).abs().gt(1e-6).float().mean() > 0.8


class Watched:
    """Batches of the problem; keeps what the model's weights are whenever somebody begins to take them."""

    def __init__(self, model: nn.Module) -> None:
        self.of, self.model, self.seen = problem(), model, []

    def __len__(self) -> int:
        return len(self.of)

    def __iter__(self):
        self.seen.append(weights_of(self.model))
        return iter(self.of)


@pytest.mark.parametrize("rewind", [0, 2])
def test_a_later_epoch_is_what_the_first_round_had_then(rewind):
    at = [weights_of(network())]
    train.fit(
        network(), problem(), CROSS, quick(5, lr=1e-2, evaluate=lambda m: at.append(weights_of(m)) or 0.0)
    )
    model = network()
    loader, schedule = Watched(model), train.Schedule(rewind=rewind, rounds=1)
    train.prune(model, loader, CROSS, density=0.5, schedule=schedule, training=quick(5, lr=1e-2))
    masks = [weight != 0 for weight in weights_of(model)]
    for mask, trained in zip(masks, at[5], strict=True):
        assert trained[mask].abs().min() >= trained[~mask].abs().max()
    # The first round is that training, step by step. The second one begins with what it had after so many epochs, cut.
    begun = [
        epoch
        for epoch, values in enumerate(at)
        for seen in loader.seen
        if all(torch.equal(one, value * mask) for one, value, mask in zip(seen, values, masks, strict=True))
    ]
    assert set(begun) == {rewind}


def test_biases_go_back_as_well():
    model, seen = network(), []
    bias = model.fc1.bias.detach().clone()

    def watch(m: nn.Module) -> float:
        seen.append(float((m.fc1.bias.detach() - bias).norm()))
        return 0.0

    schedule = train.Schedule(rewind=0)
    train.prune(
        model, problem(), CROSS, density=0.5, schedule=schedule, training=quick(3, lr=1e-2, evaluate=watch)
    )
    # After one epoch of the second round they are about as far from the first values as after one of the first round.
    assert seen[3] < 2 * seen[0] < 2 * seen[2]


def test_a_killed_ticket_goes_on(tmp_path):
    with pytest.raises(Killed):
        tickets(1, quick(2, folder=tmp_path, evaluate=killed_after(5)))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "ticket-00.pt",
        "ticket-01.pt",
        "ticket-02.pt",
    ]
    for one, two in zip(
        weights_of(tickets(1, quick(2, folder=tmp_path))), weights_of(tickets(1)), strict=True
    ):
        assert torch.equal(one, two)
    with pytest.raises(ModelError, match="belongs to another run"):
        tickets("sign", quick(2, folder=tmp_path))


@pytest.mark.parametrize("rewind", [0, 1, "sign", "random"])
@pytest.mark.parametrize("criterion", ["large_final", "large_final_same_sign", "random"])
def test_cut_weights_stay_zero(rewind, criterion):
    one, two = (tickets(rewind, criterion=criterion) for _ in range(2))
    assert [w.kept for w in train.find_weights(one)] == [48, 40]
    assert all(map(torch.equal, weights_of(one), weights_of(two)))


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"rewind": -1}, "rewind must be an epoch from 0, sign or random, not -1"),
        ({"rewind": True}, "rewind must be an epoch from 0, sign or random, not True"),
        ({"rewind": "late"}, "rewind must be an epoch from 0, sign or random, not 'late'"),
        ({"rewind": 1.5}, r"rewind must be an epoch from 0, sign or random, not 1\.5"),
        ({"rewind": 0, "rounds": 0}, "rounds go with rewind and are at least 1, not 0"),
        ({"rounds": 3}, "rounds go with rewind and are at least 1, not 3"),
    ],
)
def test_schedules_that_there_are_not(given, line):
    with pytest.raises(ModelError, match=line):
        train.Schedule(**given)


def test_settings_of_tickets():
    with pytest.raises(ModelError, match="rewind must be an epoch from 0 to 2, not 3"):
        tickets(3)
    with pytest.raises(ModelError, match=r"criterion must be one of large_final, .*, random, not 'size'"):
        tickets(0, criterion="size")
