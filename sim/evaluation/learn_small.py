"""Parts of `eie reproduce` about smaller networks: low rank, units, tickets, distillation (docs/learn.md)."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

import eie
from eie.compress import train
from eie.compress.train.recipes import RECIPES, Batches
from eie.layer import CompressedLayer
from eie.sim.chain import run_network
from eie.sim.evaluation import learn
from eie.sim.evaluation.learn import (
    Digits,
    Figures,
    cell,
    dense,
    digits,
    finished,
    fresh,
    how,
    spread,
    spreads,
)
from eie.sim.evaluation.prose import text_of
from eie.sim.evaluation.section import Picture, Progress, Section, Table
from eie.sim.exits import choose_threshold, leave, run_with_exits, stages, totals, trunk

CROSS = functional.cross_entropy


def say(progress: Progress | None, text: str) -> None:
    """Tell `progress`, if there is one, what has been done."""
    if progress:
        progress(text)


def of_seeds(
    make: Callable[[int], Figures], seeds: Sequence[int], progress: Progress | None, what: str
) -> list[Figures]:
    """What a cell finds with each of the seeds; what : it in a few words."""
    found = []
    for seed in seeds:
        found.append(make(seed))
        say(progress, f"{what}, seed {seed}")
    return found


def one_table(
    key: str,
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    data: Figures,
    pictures: Sequence[Picture] = (),
    template: str = "",
    **values: Any,
) -> Section:
    """A part of one table; its texts are the blocks of its template, which is called like it."""
    values |= {"learnt": learn.LEARNT, "pes": learn.PES, "counted": learn.COUNTED}
    blocks = ("title", "text", "table", "note")
    title, text, name, note = (text_of(template or key, block, **values) for block in blocks)
    return Section(key, title, [text], [Table(name, headings, rows, note)], pictures, data)


# ---- low rank ----------------------------------------------------------------------------------------------

_RANKS = (8, 16, 32)
_DENSE_EPOCHS, _AFTER_EPOCHS = 10, 5


def _rank_cell(data_set: str, kind: str, rank: int, seed: int) -> Figures:
    network = "lenet-300-100"

    def make(folder: Path) -> Figures:
        data, model = digits(data_set, network), dense(data_set, network, seed, _DENSE_EPOCHS)
        # As many weights in fc1 as the two matrices have together.
        density = rank * (300 + 784) / (300 * 784)
        training = how(_AFTER_EPOCHS, seed, folder, lr=1e-3)
        if kind == "low rank":
            train.low_rank(model, rank={"fc1": rank})
            train.fit(model, data.bench.train, CROSS, training)
        elif kind == "pruned":
            train.prune(model, data.bench.train, CROSS, density={"fc1": density}, training=training)
        return {"held": data.held(model), **finished(data, model, 4, seed, folder)}

    epochs = [_DENSE_EPOCHS, _AFTER_EPOCHS]
    return cell("rank", make, set=data_set, kind=kind, rank=rank, seed=seed, epochs=epochs)


def rank(seed: int = 1, progress: Progress | None = None, seeds: int = 1) -> Section:
    """Low rank beside pruning of the same matrix, LeNet-300-100's fc1."""
    each = range(seed, seed + seeds)
    rows: list[list[str]] = []
    data: dict[str, Any] = {}
    for data_set in learn.SETS:
        cases = [("dense", 0), *((kind, r) for r in _RANKS for kind in ("low rank", "pruned"))]
        for kind, r in cases:
            found = [_rank_cell(data_set, kind, r, s) for s in each]
            say(progress, f"{data_set}: {kind}, rank {r}")
            data[f"{data_set}/{kind}/{r}"] = found
            names = {"low rank": f"low rank, rank {r}", "pruned": f"pruned, weights of rank {r}"}
            rows.append([data_set, names.get(kind, kind), *_columns(found)])
    headings = ("data", "network", "weights", "error %, float", "error %, fixed", "bytes", "cycles", "nJ")
    return one_table("learn-rank", headings, rows, data, epochs=_AFTER_EPOCHS, seeds=each)


def _columns(found: Sequence[Figures]) -> list[str]:
    places = {"weights": 0, "error_float": 2, "error": 2, "bytes": 0, "cycles": 0, "energy_nj": 0}
    return spreads(found, places)


# ---- units -------------------------------------------------------------------------------------------------

_LENET_EPOCHS, _TUNE_EPOCHS = 6, 4
_CHANNELS = (16, 16, 32, 32, 64, 64)


def deep_cnn() -> nn.Sequential:
    """Six convolutions of 3 x 3 and a fully connected layer, in the manner of VGG, for images of 28 x 28."""
    layers: dict[str, nn.Module] = {}
    channels = 1
    for number, filters in enumerate(_CHANNELS, 1):
        layers[f"conv{number}"] = nn.Conv2d(channels, filters, 3, padding=1, bias=False)
        layers[f"norm{number}"] = nn.BatchNorm2d(filters)
        layers[f"relu{number}"] = nn.ReLU()
        if number % 2 == 0:
            layers[f"pool{number}"] = nn.MaxPool2d(2)
        channels = filters
    model = nn.Sequential(OrderedDict(layers, flat=nn.Flatten(), fc=nn.Linear(3 * 3 * channels, 10)))
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return,unused-ignore]


@dataclass(frozen=True)
class _Cut:
    """A network for LeNet-5's digits whose units go. keep : of its layers, the share of filters and neurons that stay,
    so that just less than half of the multiply-accumulates are left; zeros : the one whose units are also chosen by how
    often they are 0.
    """

    build: Callable[[], nn.Module]
    data_set: str
    keep: Mapping[str, float]
    zeros: str = ""

    @property
    def kinds(self) -> list[str]:
        """The rows of its table."""
        both = ["scratch-E", "scratch-B"]
        return ["dense", "dense, longer", "tuned", *(["zeros"] if self.zeros else []), *both]

    def dense(self, seed: int, folder: Path) -> tuple[nn.Module, Digits]:
        """The dense network, and the digits."""
        data = digits(self.data_set, "lenet-5")
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = self.build()
        train.fit(model, data.bench.train, CROSS, how(_LENET_EPOCHS, seed, folder))
        return model, data


# conv1 and conv2 of LeNet-5 have no ReLU behind them, so that only fc1's units can be chosen by their zeros.
_CUTS = {
    "lenet-5": _Cut(RECIPES["lenet-5"].build, "mnist", {"conv1": 0.7, "conv2": 0.66, "fc1": 0.7}, "fc1"),
    "deep-cnn": _Cut(deep_cnn, "fashion-mnist", {"conv*": 0.7}),
}


def work(model: nn.Module, x: torch.Tensor) -> int:
    """Multiply-accumulates of a dense run of one input."""
    total = 0

    def count(module: Any, given: Any, answer: torch.Tensor) -> None:
        nonlocal total
        total += module.weight.numel() * int(answer[0, 0].numel() if answer.dim() > 2 else 1)

    hooks: list[Any] = [w.module.register_forward_hook(count) for w in train.find_weights(model)]
    with torch.no_grad():
        model(x[:1])
    for hook in hooks:
        hook.remove()
    return total


def _unit_cell(network: str, kind: str, seed: int) -> Figures:
    cut = _CUTS[network]

    def make(folder: Path) -> Figures:
        # One training for all rows.
        model, data = cut.dense(seed, learn.FOLDER / f"units-{network}-{seed}-{_LENET_EPOCHS}-{learn.LEARNT}")
        whole = work(model, data.bench.x)
        loader = data.bench.train
        if kind == "dense, longer":
            train.fit(model, loader, CROSS, how(_TUNE_EPOCHS, seed, folder, 1e-3))
        elif kind != "dense":
            epochs = 0 if kind.startswith("scratch") else _TUNE_EPOCHS
            kept = dict(cut.keep)
            if kind == "zeros":
                first = {cut.zeros: kept.pop(cut.zeros)}
                few = data.few(5000)
                train.prune(model, few, CROSS, density=first, units="zeros", training=how(0, seed))
            training = how(epochs, seed, folder, 1e-3)
            train.prune(model, loader, CROSS, density=kept, units=True, training=training)
        left = work(model, data.bench.x)
        if kind.startswith("scratch"):
            with torch.random.fork_rng():
                torch.manual_seed(1000 + seed)
                for module in model.modules():
                    reset: Any = getattr(module, "reset_parameters", None)
                    if reset:
                        reset()
            # As many epochs as the whole network, or as much work, at most twice the epochs.
            longer = min(2 * _LENET_EPOCHS, round(_LENET_EPOCHS * whole / left))
            epochs = _LENET_EPOCHS if kind == "scratch-E" else longer
            train.fit(model, loader, CROSS, how(epochs, seed, folder))
        return {"macs": left, "held": data.held(model), "error_float": data.error(model)}

    epochs = [_LENET_EPOCHS, _TUNE_EPOCHS]
    return cell("units", make, network=network, kind=kind, seed=seed, keep=cut.keep, epochs=epochs)


def units(seed: int = 1, progress: Progress | None = None, seeds: int = 1) -> Section:
    """LeNet-5 and a deeper CNN with fewer filters and neurons: tuned, and trained from scratch."""
    each = range(seed, seed + seeds)
    tables: list[Table] = []
    data: dict[str, Any] = {}
    values: Figures = {"epochs": _LENET_EPOCHS, "tune": _TUNE_EPOCHS, "seeds": each, "learnt": learn.LEARNT}
    headings = ("data", "network", "multiply-accumulates", "error %, held out", "error %, test")
    for network, cut in _CUTS.items():
        rows: list[list[str]] = []
        for kind in cut.kinds:
            found = of_seeds(partial(_unit_cell, network, kind), each, progress, f"{network}: {kind}")
            data[f"{network}/{kind}"] = found
            macs = [f"{found[0]['macs']:,}", spread([one["held"] for one in found])]
            rows.append([cut.data_set, kind, *macs, spread([one["error_float"] for one in found])])
        title, note = (
            text_of("learn-units", block, network=network, keep=cut.keep, channels=_CHANNELS, **values)
            for block in ("table", "note")
        )
        tables.append(Table(title, headings, rows, note))
    title, text = (text_of("learn-units", block, **values) for block in ("title", "text"))
    return Section("learn-units", title, [text], tables, [], data)


# ---- tickets -----------------------------------------------------------------------------------------------

# What is left after so many rounds of so many epochs, and the rounds to go below it at the same pace.
_TICKET_DENSITY, _ROUNDS, _ROUND_EPOCHS, _BELOW = 0.036, 15, 2, 20
_KINDS: dict[str, dict[str, Any]] = {
    "rewound": {"rewind": 0},
    "rewound to epoch 1": {"rewind": 1},
    "sign": {"rewind": "sign"},
    "random values": {"rewind": "random"},
    "random mask": {"rewind": 0, "criterion": "random"},
}


def _share(rounds: float) -> float:
    """Share of fc1's weights that is left after some rounds."""
    return float(_TICKET_DENSITY ** (rounds / _ROUNDS))


def _ticket_cell(kind: str, rounds: int, seed: int) -> Figures:
    network, density = "lenet-300-100", _share(rounds)

    def make(folder: Path) -> Figures:
        data, model = digits("mnist", network), fresh(network, seed)
        start = copy.deepcopy(model)
        given = dict(_KINDS[kind])
        schedule = train.Schedule(rewind=given.pop("rewind"), rounds=rounds)
        training = how(_ROUND_EPOCHS, seed, folder, evaluate=data.held)
        goals = {"fc1": density, "fc2": density, "fc3": density**0.5}
        history = train.prune(
            model, data.bench.train, CROSS, density=goals, schedule=schedule, training=training, **given
        )
        error = data.error(model)
        # The same mask on the first weights, never trained.
        with torch.no_grad():
            for found, first in zip(train.find_weights(model), train.find_weights(start), strict=True):
                first.parameter.mul_(found.parameter != 0)
        curve = [[epoch.density, epoch.score] for epoch in history]
        return {"error_float": error, "untrained": data.error(start), "curve": curve}

    return cell("ticket", make, kind=kind, seed=seed, rounds=[density, rounds, _ROUND_EPOCHS])


def tickets(seed: int = 1, progress: Progress | None = None, seeds: int = 1) -> Section:
    """LeNet-300-100 at 3.6 and at 1.2 % of its weights, rewound in several ways."""
    each, ends = range(seed, seed + seeds), (_ROUNDS, _BELOW)
    found: dict[tuple[str, int], list[Figures]] = {}
    for kind in _KINDS:
        for rounds in ends:
            make, what = partial(_ticket_cell, kind, rounds), f"{kind}, {rounds} rounds"
            found[kind, rounds] = of_seeds(make, each, progress, what)
    shown = [_ROUNDS * third // 3 for third in range(4)]
    rows = []
    for kind in _KINDS:
        runs = found[kind, _ROUNDS]
        # Held-out error at the end of some rounds.
        at = [spread([one["curve"][_ROUND_EPOCHS * (r + 1) - 1][1] for one in runs]) for r in shown]
        tests = [spread([one["error_float"] for one in found[kind, rounds]]) for rounds in ends]
        rows.append([kind, *at, *tests, spread([one["untrained"] for one in runs])])
    headings = [
        "survivors get",
        *(f"error %, {100 * _share(r):.1f} %" for r in shown),
        *(f"test %, {100 * _share(r):.1f} %" for r in ends),
        "never trained",
    ]
    values: Figures = {"rounds": ends, "epochs": _ROUND_EPOCHS, "seeds": each}
    data = {f"{kind}/{rounds}": runs for (kind, rounds), runs in found.items()}
    longest = {kind: found[kind, max(ends)] for kind in _KINDS}
    return one_table("learn-tickets", headings, rows, data, [_ticket_picture(longest)], **values)


def _ticket_picture(found: Mapping[str, Sequence[Figures]]) -> Picture:
    """Held-out error of every epoch against the share of the weights that is left, mean of the seeds."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter, StrMethodFormatter

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    ends = []
    for kind, runs in found.items():
        curves = np.array([one["curve"] for one in runs]).mean(axis=0)
        axes.plot(100 * curves[:, 0], curves[:, 1], color="0.8", linewidth=0.8, zorder=1)
        last = curves[_ROUND_EPOCHS - 1 :: _ROUND_EPOCHS]
        axes.plot(100 * last[:, 0], last[:, 1], marker=".", label=kind, zorder=2)
        ends.append(f"{kind} {last[-1, 1]:.2f} %")
    axes.set_xscale("log")
    axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.set_minor_formatter(NullFormatter())
    axes.set_xticks([100, 50, 20, 10, 5, 2, 1])
    axes.set_yticks([3, 5, 10, 20, 50])
    axes.invert_xaxis()
    axes.set_xlabel("weights that are left, %")
    axes.set_ylabel("error of held-out digits, %")
    axes.set_title("LeNet-300-100: ends of the rounds; grey: the epochs between")
    axes.legend()
    alt = f"Held-out error against the share of the weights that is left. At the end: {', '.join(ends)}."
    return Picture("learn-tickets", figure, alt)


# ---- distillation ------------------------------------------------------------------------------------------

_LABELS = (500, 1000, 2500, 5000)
_TEACHER_STEPS, _STUDENT_EPOCHS = 600, 10
_WAYS: tuple[Any, ...] = ("none", "debiased", "fidelity", "both", "oracle")
# At the second of the numbers of labels, on Fashion-MNIST.
_TEMPERATURES = (1, 2, 4, 8, 20)
_WARM = ("none", "debiased")


@torch.no_grad()
def _answers(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    model.eval()
    return torch.cat([model(part) for part in x.split(2000)])


def _taught(data_set: str, labels: int, seed: int) -> nn.Module:
    """LeNet-5 trained on few labels: which ones follows from the seed."""
    model, data = fresh("lenet-5", seed), digits(data_set, "lenet-5")
    order = torch.randperm(len(data.bench.x), generator=torch.Generator().manual_seed(seed))[:labels]
    loader = Batches(data.bench.x[order], data.bench.y[order], min(100, labels))
    place = learn.FOLDER / f"teacher-{data_set}-{labels}-{seed}-{learn.LEARNT}"
    train.fit(model, loader, CROSS, how(_TEACHER_STEPS // len(loader), seed, place, lr=1e-3))
    return model


class _Both(nn.Module):
    """A teacher of images for a student of flat inputs."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.model(x.view(-1, 1, 28, 28))


def _distil_cell(data_set: str, labels: int, way: Any, temperature: float, seed: int) -> Figures:
    def make(folder: Path) -> Figures:
        data = digits(data_set, "lenet-300-100")
        x, y = data.bench.x, data.bench.y
        teacher = _Both(_taught(data_set, labels, seed)).eval()
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
        own, rest = order[:labels], order[labels:]
        # Half as many labels again, held out: labelled data that the teacher has not seen.
        held = (data.held_x[: max(100, labels // 2)], data.held_y[: max(100, labels // 2)])
        if way == "oracle":
            rest = rest[_answers(teacher, x[rest]).argmax(1) == y[rest]]
        student = fresh("lenet-300-100", seed)
        train.weighted(
            student,
            train.Teacher(teacher, temperature),
            (x[own], y[own]),
            held,
            x[rest],
            by="none" if way == "oracle" else way,
            training=how(_STUDENT_EPOCHS, seed, folder),
        )
        errors = {"held": data.held(student), "error_float": data.error(student)}
        return {"teacher": data.error(teacher), **errors}

    settings = {"set": data_set, "labels": labels, "way": way, "temperature": temperature, "seed": seed}
    return cell("distil", make, **settings, epochs=[_TEACHER_STEPS, _STUDENT_EPOCHS])


def distil(seed: int = 1, progress: Progress | None = None, seeds: int = 1) -> Section:
    """Distillation with few labels."""
    each = range(seed, seed + seeds)
    data: dict[str, Any] = {}
    rows = []
    for data_set in reversed(learn.SETS):
        for labels in _LABELS:
            found = {}
            for way in _WAYS:
                found[way] = [_distil_cell(data_set, labels, way, 1.0, one) for one in each]
                say(progress, f"{data_set}, {labels} labels: {way}")
            data[f"{data_set}/{labels}"] = found
            teacher = spread([one["teacher"] for one in found["none"]])
            students = [spread([one["error_float"] for one in found[way]]) for way in _WAYS]
            rows.append([data_set, str(labels), teacher, *students])
    data_set, labels = learn.SETS[1], _LABELS[min(1, len(_LABELS) - 1)]
    warm = []
    for temperature in map(float, _TEMPERATURES):
        found = {
            way: [_distil_cell(data_set, labels, way, temperature, one) for one in each] for way in _WARM
        }
        say(progress, f"{data_set}, {labels} labels: temperature {temperature:g}")
        data[f"{data_set}/{labels}/{temperature:g}"] = found
        warm.append(
            [f"{temperature:g}", *(spread([one["error_float"] for one in found[way]]) for way in _WARM)]
        )
    values: Figures = {"epochs": _STUDENT_EPOCHS, "seeds": each, "set": data_set, "labels": labels}
    section = one_table("learn-distil", ("data", "labels", "teacher", *_WAYS), rows, data, **values)
    note = text_of("learn-distil", "warm_note", **values)
    table = Table(text_of("learn-distil", "warm"), ("T", *_WARM), warm, note)
    return replace(section, tables=[*section.tables, table])


# ---- function matching -------------------------------------------------------------------------------------

_MATCH_EPOCHS = 5


def _match_cell(data_set: str, mixup: bool, times: int, seed: int) -> Figures:
    network = "lenet-300-100"

    def make(folder: Path) -> Figures:
        data, student = digits(data_set, network), fresh(network, seed)
        teacher = _Both(dense(data_set, "lenet-5", 1, _LENET_EPOCHS)).eval()
        how_taught = train.Teacher(teacher, 1.0 if mixup else 4.0, None, mixup)
        training = how(times * _MATCH_EPOCHS, seed, folder, teacher=how_taught)
        train.fit(student, data.bench.train, CROSS, training)
        return {"held": data.held(student), "error_float": data.error(student)}

    epochs = [_LENET_EPOCHS, _MATCH_EPOCHS]
    return cell("match", make, set=data_set, mixup=mixup, times=times, seed=seed, epochs=epochs)


def matching(seed: int = 1, progress: Progress | None = None, seeds: int = 1) -> Section:
    """Function matching beside soft labels, against patience."""
    each = range(seed, seed + seeds)
    rows, data = [], {}
    for data_set in learn.SETS:
        for mixup in (False, True):
            row = [data_set, "function matching" if mixup else "soft labels, T = 4, share 0.7"]
            for times in (1, 3, 10):
                found = [_match_cell(data_set, mixup, times, one) for one in each]
                say(progress, f"{data_set}: {row[1]}, {times} x")
                data[f"{data_set}/{mixup}/{times}"] = found
                row.append(spread([one["error_float"] for one in found]))
            rows.append(row)
    headings = ("data", "student learns", *(f"{times} x" for times in (1, 3, 10)))
    return one_table("learn-matching", headings, rows, data, epochs=_MATCH_EPOCHS, seeds=each)


# ---- early exits -------------------------------------------------------------------------------------------

_EXIT_EPOCHS = (6, 4, 1)
# Where the heads are, densities, and the learning rate of pruning, with momentum 0.9.
_EXITS: dict[str, tuple[list[str], dict[str, float], float]] = {
    "lenet-300-100": (["fc1"], {"model.fc1": 0.05, "model.fc2": 0.1, "model.fc3": 0.3, "heads.*": 0.3}, 0.01),
    "lenet-5": (
        ["conv1", "conv2"],
        {"model.conv1": 0.6, "model.conv2": 0.16, "model.fc1": 0.025, "model.fc2": 0.2, "heads.*": 0.2},
        0.004,
    ),
}
# Held-out digits that the threshold is chosen on, for so many points, by which rule: here and in `learn_compared`.
CHOSEN_ON, BUDGET, RULE = 10_000, 0.1, "95 %, matched pairs"
# Digits whose cycles are counted.
_EXIT_COUNTED = 100


def with_exits(network: str, after: Sequence[str], data: learn.Digits, seed: int) -> train.Exits:
    """An untrained network with heads behind the layers `after`, all of whose first values follow from the seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return train.Exits(fresh(network, seed), after, data.bench.x[:2])


def _exit_cell(data_set: str, network: str, seed: int) -> Figures:
    after, density, lr = _EXITS[network]

    def make(folder: Path) -> Figures:
        data = digits(data_set, network)
        loader, joint = data.bench.train, train.Joint(CROSS)
        model = with_exits(network, after, data, seed)
        plain, pruned, shared_for = _EXIT_EPOCHS
        train.fit(model, loader, joint, how(plain, seed, folder))
        training = how(pruned, seed, folder, lr, momentum=0.9)
        train.prune(model, loader, joint, density=density, training=training)
        shared = train.share(model, loader, joint, training=how(shared_for, seed, folder, lr=1e-4))
        layers, report = train.save_exits(folder.with_suffix(".eie"), model, shared, data.bench.x[:500])
        held, test = (logits_of(layers, x) for x in (data.held_x[:CHOSEN_ON], data.bench.test_x))
        threshold = choose_threshold(held, data.held_y[:CHOSEN_ON].numpy(), BUDGET)
        right = data.bench.test_y
        run = leave(test, threshold)
        few = learn.quantized(layers, data.bench.test_x[:_EXIT_COUNTED])
        machine = eie.sized_for(eie.ArchConfig(n_pe=learn.PES), *layers)
        early = run_with_exits(layers, few, machine, threshold)
        whole = totals(run_network(trunk(layers), few, machine, "fast"))
        return {
            "bytes": folder.with_suffix(".eie").stat().st_size,
            "without_exits": report.size.total_bytes,
            "threshold": threshold,
            "error_whole": learn.wrong(test[-1], right),
            "error": learn.wrong(run.answers, right),
            "left": (np.bincount(run.left, minlength=len(test)) / len(right)).tolist(),
            "cycles": [early.cycles, whole[0]],
            "energy_uj": [early.energy_uj, whole[1]],
            "curve": _exit_curve(layers, test, right, few, machine),
        }

    settings = {"set": data_set, "seed": seed, "epochs": list(_EXIT_EPOCHS), "network": network}
    chosen = [CHOSEN_ON, BUDGET, RULE, _EXIT_COUNTED]
    return cell("exits", make, **settings, density=density, chosen=chosen)


def logits_of(layers: Sequence[CompressedLayer], x: torch.Tensor) -> list[npt.NDArray[np.float64]]:
    """What each stage answers to images, in the accelerator's arithmetic."""
    found, before = [], list[CompressedLayer]()
    for stage in stages(layers):
        before += stage.layers
        path = [*before, replace(stage.exit, exit=False)] if stage.exit else before
        found.append(np.ldexp(learn.answers(path, x).astype(np.float64), -path[-1].y_frac))
    return found


def _exit_curve(layers: Any, test: Any, right: Any, few: Any, machine: Any) -> list[list[float]]:
    """Error in percent and cycles over those of the whole network at some thresholds."""
    points = []
    whole = totals(run_network(trunk(layers), few, machine, "fast"))[0] or 1
    for threshold in (0.5, 0.8, 0.9, 0.95, 0.98, 0.99):
        error = learn.wrong(leave(test, threshold).answers, right)
        cycles = run_with_exits(layers, few, machine, threshold).cycles or 0
        points.append([threshold, error, cycles / whole])
    return points


def exits(seed: int = 1, progress: Progress | None = None, seeds: int = 1) -> Section:
    """LeNet-300-100 with an exit behind its first layer."""
    return _exits("learn-exits", "lenet-300-100", learn.SETS, range(seed, seed + seeds), progress)


def exits_5(seed: int = 1, progress: Progress | None = None, seeds: int = 1) -> Section:
    """LeNet-5 with exits behind both convolutions."""
    return _exits("learn-exits-5", "lenet-5", learn.SETS[:1], range(seed, seed + seeds), progress)


def _exits(key: str, network: str, sets: Sequence[str], seeds: range, progress: Progress | None) -> Section:
    rows, data, pictures = [], {}, []
    after = _EXITS[network][0]
    for data_set in sets:
        what = f"{network}, {data_set}: early exits"
        found = of_seeds(partial(_exit_cell, data_set, network), seeds, progress, what)
        data[data_set] = found
        of_all = [spread([one[name] for one in found]) for name in ("error_whole", "error", "threshold")]
        left = [spread([100 * one["left"][k] for one in found], 1) for k in range(len(after) + 1)]
        shares = [spread([one[name][0] / one[name][1] for one in found]) for name in ("cycles", "energy_uj")]
        nbytes = [spread([float(one[name]) for one in found], 0) for name in ("bytes", "without_exits")]
        rows.append([data_set, *of_all, *left, *shares, *nbytes])
        pictures.append(_exit_picture(f"{key}-{data_set}", f"{network}, {data_set}", found))
    places = (*(f"left at {name} %" for name in after), "at the end %")
    costs = ("cycles", "energy", "bytes", "bytes without")
    headings = ("data", "error %, whole", "error %, exits", "threshold", *places, *costs)
    values: Figures = {"network": network, "after": after, "epochs": _EXIT_EPOCHS, "seeds": seeds}
    values |= {"chosen_on": CHOSEN_ON, "budget": BUDGET, "counted_exits": _EXIT_COUNTED}
    return one_table(key, headings, rows, data, pictures, "learn-exits", **values)


def _exit_picture(name: str, title: str, found: Sequence[Figures]) -> Picture:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3.4), layout="constrained")
    axes = figure.subplots()
    for number, one in enumerate(found):
        color = f"C{number % 10}"
        axes.plot([p[2] for p in one["curve"]], [p[1] for p in one["curve"]], marker="o", color=color)
        axes.axhline(one["error_whole"], color=color, linestyle="--", linewidth=0.8)
    for threshold, error, cycles in found[0]["curve"]:
        axes.annotate(
            f"{threshold:g}", (cycles, error), textcoords="offset points", xytext=(4, 4), fontsize=8
        )
    axes.set_xlabel("mean cycles over those of the whole network")
    axes.set_ylabel("error of test digits, %")
    axes.set_title(f"{title}: thresholds of the first seed; dashed: without exits", fontsize=10)
    points = "; ".join(f"at {t:g}: {e:.2f} % at {c:.2f}" for t, e, c in found[0]["curve"])
    return Picture(name, figure, f"Error against mean cycles by threshold: {points}.")
