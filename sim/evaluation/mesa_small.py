"""MESA's blocks in other networks than LeNet-5: a small C-CNN on characters, an LSTM and a GRU on series.

Each network is trained once, then compressed in every row's way from there. Checkpoints are in out/train/mesa: a run
that was killed goes on where it was. Settings are those of the published networks or were taken as they came; what was
chosen was chosen on held-out series.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from eie.compress import datasets, train
from eie.compress.format.file import load
from eie.compress.format.mesa import differences
from eie.compress.train.recipes import Batches, single_thread
from eie.compress.train.series import KINDS, Padded, Recurrent, error
from eie.sim.evaluation import mesa
from eie.sim.evaluation.prose import prose, text_of
from eie.sim.evaluation.section import Progress, Section, Table

BITS = 5
TEXTS, SERIES = "debian-sections", "japanese-vowels"


@dataclass(frozen=True)
class Row:
    """One way to compress. distinct, alike : as of `train.Blocks`; distinct None is without blocks."""

    key: str
    what: str
    distinct: int | None
    alike: float = 0.0


ROWS = (
    Row("deepc", "DeepC: pruned anywhere, shared", None),
    Row("m-q-h", "M+Q+H: free blocks", 0),
    Row("mesa", "MESA: alike blocks, alpha 0.1", 0, 0.1),
    Row("k4", "4 distinct blocks", 4),
    Row("k2", "2 distinct blocks", 2),
    Row("k1", "1 distinct block", 1),
)


@dataclass(frozen=True)
class Part:
    """A matrix in n blocks, or pruned to 1 / n. turns : whether it takes the row's distinct and alike blocks; if not,
    its blocks are free.
    """

    n: int
    turns: bool = True

    def blocks(self, row: Row) -> train.Blocks:
        """Its blocks in a row that has some."""
        assert row.distinct is not None
        return train.Blocks(self.n, row.distinct, alike=row.alike) if self.turns else train.Blocks(self.n)


@dataclass(frozen=True, eq=False)
class Task:
    """A network, what it learns from, and how. wrong : its error on the test, in percent. epochs, lr : dense, pruned,
    shared.
    """

    name: str
    build: Callable[[], nn.Module]
    loader: Any
    wrong: Callable[[nn.Module], float]
    parts: Mapping[str, Part]
    epochs: tuple[int, int, int]
    lr: tuple[float, float, float]


def measured(task: Task, seed: int, progress: Progress | None, rows: Sequence[Row] = ROWS) -> dict[str, Any]:
    """The figures of a network: error of the dense one, and those of each row by its key."""
    folder = mesa.FOLDER / f"{task.name}-seed-{seed}"
    loss = functional.cross_entropy

    def how(number: int, place: Path) -> train.Training:
        return train.Training(task.epochs[number], task.lr[number], seed=seed, folder=place, progress=False)

    with single_thread():
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            dense = task.build()
        train.fit(dense, task.loader, loss, how(0, folder))
        found: dict[str, Any] = {"dense_error": task.wrong(dense), "rows": {}}
        for row in rows:
            model, place = copy.deepcopy(dense), folder / row.key
            blocks = (
                {} if row.distinct is None else {name: one.blocks(row) for name, one in task.parts.items()}
            )
            density = {name: 1 / one.n for name, one in task.parts.items()} if not blocks else {}
            train.prune(
                model, task.loader, loss, density=density | {"*": 1.0}, blocks=blocks, training=how(1, place)
            )
            shared = train.share(model, task.loader, loss, bits=BITS, blocks=blocks, training=how(2, place))
            # Matrices alone, so that those of LSTM and GRU are in blocks.
            path = place / "matrices.eie"
            size = train.save(path, model, shared).size
            first = next(layer for layer in load(path) if task.parts.get(layer.name, Part(1, False)).turns)
            found["rows"][row.key] = {
                "error": task.wrong(model),
                "mesa_ratio": size.connected_ratios[1],
                "nbytes": sum(one.nbytes for one in size.layers if one.fully_connected),
                "delta_bits": mesa.entropy(differences(first.block_codes())) if first.blocks else 0.0,
            }
            if progress:
                progress(f"{task.name}, {row.what}")
    return found


def _section(
    about: tuple[str, str, Sequence[str], str],
    tasks: Sequence[Task],
    seed: int,
    progress: Progress | None,
    rows: Sequence[Row],
) -> Section:
    """about : key, title, text of the section, and the note of its tables."""
    key, title, text, note = about
    found = {task.name: measured(task, seed, progress, rows) for task in tasks}
    headings = ("matrices", "test error %", "MESA's rule x", "bytes", "bits of a delta")
    tables = []
    for task in tasks:
        one = found[task.name]
        lines = [["dense, float32", f"{one['dense_error']:.2f}", "1.0", "", ""]]
        for row in rows:
            of = one["rows"][row.key]
            lines.append(
                [
                    row.what,
                    f"{of['error']:.2f}",
                    f"{of['mesa_ratio']:.1f}",
                    f"{of['nbytes']:,}",
                    f"{of['delta_bits']:.2f}" if of["delta_bits"] else "",
                ]
            )
        sizes = ", ".join(f"{name} in {part.n}" for name, part in task.parts.items())
        tables.append(Table(f"{task.name}: {sizes} blocks", headings, lines, note))
    return Section(key=key, title=title, text=text, tables=tables, data={"networks": found})


# ---- characters --------------------------------------------------------------------------------------------

ALPHABET = " abcdefghijklmnopqrstuvwxyz0123456789-./"
LENGTH = 64


def characters(texts: Sequence[str]) -> Tensor:
    """Texts as float32[n, characters of the alphabet, 1, LENGTH]: 1 where the character is; others and what is beyond
    the end are 0 throughout.
    """
    x = np.zeros((len(texts), len(ALPHABET), 1, LENGTH), np.float32)
    for row, text in enumerate(texts):
        for place, character in enumerate(text.lower()[:LENGTH]):
            if (number := ALPHABET.find(character)) >= 0:
                x[row, number, 0, place] = 1
    return torch.from_numpy(x)


def character_network(classes: int) -> nn.Sequential:
    """Two convolutions along the text and three fully connected layers, the first two of 512 outputs."""
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(len(ALPHABET), 32, (1, 7)),
            relu1=nn.ReLU(),
            pool1=nn.MaxPool2d((1, 2)),
            conv2=nn.Conv2d(32, 32, (1, 5)),
            relu2=nn.ReLU(),
            pool2=nn.MaxPool2d((1, 2)),
            flat=nn.Flatten(),
            drop1=nn.Dropout(0.5),
            fc1=nn.Linear(32 * 12, 512),
            relu3=nn.ReLU(),
            drop2=nn.Dropout(0.5),
            fc2=nn.Linear(512, 512),
            relu4=nn.ReLU(),
            fc3=nn.Linear(512, classes),
        )
    )


# The shares of the weights are those of C-CNN: 6.25, 6.25 and 25 %.
_C_CNN = {"fc1": Part(16), "fc2": Part(16), "fc3": Part(4, turns=False)}


def text(
    seed: int,
    progress: Progress | None = None,
    *,
    rows: Sequence[Row] = ROWS,
    epochs: tuple[int, int, int] = (15, 15, 3),
) -> Section:
    """A small C-CNN on Debian's short descriptions. rows, epochs : for quick tests."""
    learnt, test = datasets.load_texts(TEXTS)
    x, y = characters(test.texts), torch.from_numpy(test.labels)
    right = train.accuracy(Batches(x, y, 1000, shuffle=False))
    task = Task(
        "c-cnn",
        lambda: character_network(len(learnt.classes)),
        Batches(characters(learnt.texts), torch.from_numpy(learnt.labels), 64),
        lambda model: 100 - right(model),
        _C_CNN,
        epochs,
        (2e-3, 2e-3, 1e-4),
    )
    words = prose("mesa-text", seed=seed, bits=BITS)
    about = ("mesa-text", "MESA's comparison on characters", words, text_of("mesa-text", "note"))
    return _section(about, [task], seed, progress, rows)


# ---- series ------------------------------------------------------------------------------------------------

_RECURRENT = {
    "rnn.weight_hh_l0": Part(8),
    "rnn.weight_ih_l0": Part(2, turns=False),
    "fc": Part(3, turns=False),
}


def series(
    seed: int,
    progress: Progress | None = None,
    *,
    rows: Sequence[Row] = ROWS,
    epochs: tuple[int, int, int] = (60, 40, 5),
    hidden: int = 64,
) -> Section:
    """An LSTM and a GRU on spoken vowels. rows, epochs, hidden : for quick tests."""
    learnt, test = datasets.load_series(SERIES)
    channels, classes = learnt.values[0].shape[1], int(learnt.labels.max()) + 1
    gru = Task(
        KINDS[0],
        lambda: Recurrent(KINDS[0], channels, hidden, classes),
        Padded(learnt, 30),
        lambda model: error(model, test),
        _RECURRENT,
        epochs,
        # The second was chosen on 54 of the 270 training series, from 1e-3 and 3e-3.
        (3e-3, 3e-3, 1e-4),
    )
    lstm = replace(gru, name=KINDS[1], build=lambda: Recurrent(KINDS[1], channels, hidden, classes))
    words = prose("mesa-series", seed=seed, bits=BITS)
    about = ("mesa-series", "MESA's comparison on series", words, text_of("mesa-series", "note"))
    return _section(about, [gru, lstm], seed, progress, rows)
