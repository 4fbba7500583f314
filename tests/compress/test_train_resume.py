"""Training that is killed with SIGKILL, at any moment, ends as if it had not been."""

import multiprocessing
import os
import signal
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from eie.compress import train
from tests.support.small_networks import network, problem, quick

# The whole of it: 4 + 5 + 3 epochs of 8 batches.
EPOCHS = {"fit": 4, "prune": 5, "share": 3}
EPOCH_BATCHES = 8


def work(folder: Path) -> None:
    """Train, prune and share in `folder`, with a teacher and dropout, as a user's script would."""
    torch.set_num_threads(1)
    model, score = network(dropout=0.2), train.accuracy(problem())
    how = {"evaluate": score, "folder": folder}
    train.fit(model, problem(), functional.cross_entropy, quick(EPOCHS["fit"], **how))
    teacher = train.Teacher(network(seed=7), 2.0, 0.3)
    train.prune(
        model,
        problem(),
        functional.cross_entropy,
        density=0.2,
        training=quick(EPOCHS["prune"], momentum=0.9, teacher=teacher, **how),
        schedule=train.Schedule(every=3),
    )
    shared = train.share(
        model, problem(), functional.cross_entropy, bits=3, training=quick(EPOCHS["share"], **how)
    )
    layers = {name: (layer.codes, layer.centroids) for name, layer in shared.layers.items()}
    torch.save([model.state_dict(), layers, shared.history[-1].loss], folder / "result")


def kill_at(moment: str, count: int) -> None:
    """Arrange for SIGKILL at the `count`-th moment of a kind: in a batch, or in or after writing a checkpoint."""
    left = [count]

    def now() -> None:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    save, replace, step = torch.save, Path.replace, torch.Tensor.backward

    def half(content, file):
        save(content, file)
        if left[0] == 1:
            file.truncate(file.tell() // 2)
            file.flush()
        now()

    def renamed(self, target):
        done = replace(self, target)
        now()
        return done

    def batch(self, *args, **other):
        now()
        return step(self, *args, **other)

    if moment == "half a checkpoint":
        torch.save = half
    elif moment == "after a checkpoint":
        Path.replace = renamed
    else:
        torch.Tensor.backward = batch


def child(folder: Path, moment: str | None = None, count: int = 0) -> None:
    if moment:
        kill_at(moment, count)
    work(folder)


def run(*args) -> int:
    process = multiprocessing.get_context("fork").Process(target=child, args=args)
    process.start()
    process.join(120)
    return process.exitcode


def outcome(folder: Path) -> list:
    model, layers, loss = torch.load(folder / "result", weights_only=True)
    return [
        loss,
        *(t.tolist() for t in model.values()),
        *(t.tolist() for pair in layers.values() for t in pair),
    ]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """In this process, so that its children find loaded what PyTorch loads at the first step: a second each."""
    folder, threads = tmp_path_factory.mktemp("whole"), torch.get_num_threads()
    work(folder)
    torch.set_num_threads(threads)
    return outcome(folder)


@pytest.mark.parametrize(
    ("moment", "count"),
    [
        ("batch", 1),
        ("batch", EPOCH_BATCHES * 2 + 3),
        ("batch", EPOCH_BATCHES * sum(EPOCHS.values())),
        ("half a checkpoint", 1),
        ("half a checkpoint", 11),
        ("after a checkpoint", EPOCHS["fit"]),
        ("after a checkpoint", 8),
    ],
)
def test_a_killed_run_goes_on_to_the_same_result(moment, count, uninterrupted, tmp_path):
    assert run(tmp_path, moment, count) == -signal.SIGKILL
    assert not (tmp_path / "result").exists()
    assert run(tmp_path) == 0
    assert outcome(tmp_path) == uninterrupted


def test_killed_again_and_again(uninterrupted, tmp_path):
    kills = 0
    while run(tmp_path, "batch", EPOCH_BATCHES * 2 + 3) == -signal.SIGKILL:
        kills += 1
    assert kills >= 4
    assert outcome(tmp_path) == uninterrupted


def test_a_finished_run_is_not_trained_again(uninterrupted, tmp_path):
    assert run(tmp_path) == 0
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.pt")}
    assert run(tmp_path, "batch", 1) == 0
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.pt")} == before
    assert outcome(tmp_path) == uninterrupted
