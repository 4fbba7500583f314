"""Recurrent networks that tell series apart: a GRU or LSTM, pruned and shared, stored as one step with its state."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from eie.compress.datasets import Series
from eie.compress.pipeline import CompressionReport
from eie.compress.train.export import save
from eie.compress.train.loop import Training, fit
from eie.compress.train.pruning import prune
from eie.compress.train.recipes import single_thread
from eie.compress.train.sharing import share
from eie.errors import ModelError

KINDS = ("gru", "lstm")
# Steps that the fixed-point scales follow from.
_CALIBRATION = 500


class Recurrent(nn.Module):
    """A GRU or LSTM over series, and a Linear that answers from the last state.

    In training it takes (values [batch, most steps, channels], steps [batch]); `step` is what runs on the accelerator.
    """

    def __init__(self, kind: str, channels: int, hidden: int, classes: int) -> None:
        super().__init__()
        if kind not in KINDS:
            raise ModelError(f"no recurrent network {kind!r}: use one of {', '.join(KINDS)}")
        self.kind, self.hidden = kind, hidden
        self.rnn = (nn.GRU if kind == "gru" else nn.LSTM)(channels, hidden, batch_first=True)
        self.fc = nn.Linear(hidden, classes)

    @property
    def states(self) -> int:
        """Vectors of `hidden` numbers that a step hands on: h, and c of an LSTM."""
        return 1 if self.kind == "gru" else 2

    def forward(self, given: tuple[Tensor, Tensor]) -> Tensor:
        """Answers [batch, classes] after each series' own last step."""
        values, steps = given
        outputs, _ = self.rnn(values)
        return torch.as_tensor(self.fc(outputs[torch.arange(len(values)), steps - 1]))


class Step(nn.Module):
    """One step of a `Recurrent`: what it answers now, and the state to hand on, of x [batch, channels] and the state.

    The states of an LSTM, h and c, are two inputs and two outputs.
    """

    def __init__(self, whole: Recurrent) -> None:
        super().__init__()
        self.kind, self.rnn, self.fc = whole.kind, whole.rnn, whole.fc

    def forward(self, x: Tensor, h: Tensor, c: Tensor | None = None) -> tuple[Tensor, ...]:
        """Answers, h, and c of an LSTM."""
        now, first = x.unsqueeze(1), h.unsqueeze(0)
        if c is None:
            _, last = self.rnn(now, first)
            return self.fc(last[0]), last[0]
        _, (last, cell) = self.rnn(now, (first, c.unsqueeze(0)))
        return self.fc(last[0]), last[0], cell[0]


@dataclass
class Padded:
    """Batches of series, as many as `batch` at a time, with zeros behind the shorter ones."""

    series: Series
    batch: int
    shuffle: bool = True

    def __len__(self) -> int:
        return -(-len(self.series.values) // self.batch)

    def __iter__(self) -> Iterator[tuple[tuple[Tensor, Tensor], Tensor]]:
        count = len(self.series.values)
        order = torch.randperm(count) if self.shuffle else torch.arange(count)
        for some in order.split(self.batch):
            chosen = [torch.tensor(self.series.values[place], dtype=torch.float32) for place in some.tolist()]
            steps = torch.tensor([len(one) for one in chosen])
            yield (
                (nn.utils.rnn.pad_sequence(chosen, batch_first=True), steps),
                torch.from_numpy(self.series.labels)[some],
            )


def error(model: nn.Module, series: Series) -> float:
    """Series that are told wrongly, in percent, in floating point."""
    model.eval()
    with torch.no_grad():
        wrong = [model(given).argmax(1) != y for given, y in Padded(series, 1000, shuffle=False)]
    return 100 * float(torch.cat(wrong).double().mean())


@dataclass(frozen=True)
class SeriesRecipe:
    """How a recurrent network is trained and compressed. epochs : dense, pruned, shared; densities by layer."""

    hidden: int = 64
    batch: int = 30
    epochs: tuple[int, int, int] = (60, 40, 5)
    lr: tuple[float, float, float] = (3e-3, 1e-3, 1e-4)
    input_density: float = 0.5
    state_density: float = 0.15
    answer_density: float = 0.5
    bits: int = 4

    def densities(self) -> dict[str, float]:
        """By the names of the matrices."""
        return {
            "rnn.weight_ih*": self.input_density,
            "rnn.weight_hh*": self.state_density,
            "fc": self.answer_density,
        }


@dataclass(frozen=True)
class SeriesResult:
    """What became of a recurrent network: errors in percent, in floating point, and the file's sizes."""

    kind: str
    dense_error: float
    pruned_error: float
    error: float
    report: CompressionReport
    path: Path


def run_series(
    kind: str,
    train: Series,
    test: Series,
    folder: Path,
    seed: int = 1,
    recipe: SeriesRecipe | None = None,
    progress: bool = True,
) -> SeriesResult:
    """Train a network on series, prune and share it, measure it, and write its step to `folder`/KIND.eie.

    Checkpoints go to `folder`/checkpoints: a run that was killed goes on where it was. The same seed on the same
    machine gives the same file.

    Raises
    ------
    ModelError : no such network, or series of other channels. OutputError : the folder cannot be written.
    """
    recipe = recipe or SeriesRecipe()
    channels, classes = train.values[0].shape[1], int(max(train.labels.max(), test.labels.max())) + 1
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Recurrent(kind, channels, recipe.hidden, classes)
    loader, loss = Padded(train, recipe.batch), functional.cross_entropy

    def how(number: int) -> Training:
        place = folder / "checkpoints"
        return Training(recipe.epochs[number], recipe.lr[number], seed=seed, folder=place, progress=progress)

    with single_thread():
        fit(model, loader, loss, how(0))
        dense = error(model, test)
        prune(model, loader, loss, density=recipe.densities(), training=how(1))
        pruned = error(model, test)
        shared = share(model, loader, loss, bits=recipe.bits, training=how(2))
        after = error(model, test)
        path = folder / f"{kind}.eie"
        step = Step(model).eval()
        report = save(path, step, shared, _met(model, step, train))
    return SeriesResult(kind, dense, pruned, after, report, path)


def _met(model: Recurrent, step: Step, series: Series) -> tuple[Tensor, ...]:
    """Inputs and states that a step meets, from the first series on."""
    rows: list[list[Tensor]] = [[] for _ in range(1 + model.states)]
    count = 0
    with torch.no_grad():
        for values in series.values:
            state = [torch.zeros(1, model.hidden) for _ in range(model.states)]
            for one in np.asarray(values, np.float32):
                given = [torch.from_numpy(one)[None], *state]
                for place, row in zip(rows, given, strict=True):
                    place.append(row)
                _, *state = step(*given)
            count += len(values)
            if count >= _CALIBRATION:
                break
    return tuple(torch.cat(place) for place in rows)
