"""The part of `eie reproduce` that compares: every method at equal bytes and at equal cycles (docs/learn.md)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn
from torch.nn import functional

import eie
from eie.compress import train
from eie.compress.format.file import load
from eie.layer import CompressedLayer
from eie.result import Result
from eie.sim.evaluation import learn
from eie.sim.evaluation.learn import Digits, Figures, cell, dense, digits, figures, fresh, how, spread
from eie.sim.evaluation.learn_small import BUDGET, CHOSEN_ON, RULE, logits_of, say, with_exits
from eie.sim.evaluation.prose import text_of
from eie.sim.evaluation.section import Picture, Progress, Section, Table
from eie.sim.exits import choose_threshold, leave, run_with_exits, totals
from eie.sim.widths import at_width, run_width
from eie.width_program import sized_for_widths

CROSS = functional.cross_entropy


@dataclass(frozen=True)
class Net:
    """How a network is trained here, the same for every method.

    epochs : of the dense network; learnt : digits that every network learns from. powers : a layer keeps density **
    power of its weights, so that one density stands for a network: about what the recipes' networks keep. halved :
    layers that lose units; after : that have an exit behind them.
    """

    epochs: int
    learnt: int
    powers: Mapping[str, float]
    halved: tuple[str, ...]
    after: tuple[str, ...]

    def densities(self, density: float, prefix: str = "") -> dict[str, float]:
        """What each layer keeps."""
        return {prefix + name: density**power for name, power in self.powers.items()}


NETS = {
    "lenet-300-100": Net(10, learn.LEARNT, {"fc1": 1.0, "fc2": 0.8, "fc3": 0.36}, ("fc1", "fc2"), ("fc1",)),
    "lenet-5": Net(
        *(6, learn.LEARNT // 2, {"conv1": 0.15, "conv2": 0.5, "fc1": 1.0, "fc2": 0.45}),
        *(("conv1", "conv2", "fc1"), ("conv1",)),
    ),
}
# Densities of the line that the others are measured against; what the methods that prune, too, keep.
CURVE, KEPT = (0.2, 0.1, 0.05, 0.025), 0.1
_TUNED, _SHARED, _BITS = 4, 1, 4
_RANK, _UNITS, _ROUNDS, _ROUND_EPOCHS = 32, 0.5, 5, 2
# Of each: in words, and what it changes.
METHODS: dict[str, str] = {
    **{f"pruned {density:g}": f"pruned, density {density:g}" for density in CURVE},
    "low rank": f"fc1 of rank {_RANK}, both halves pruned",
    "units": "half of the units, the rest pruned",
    "ticket": "rewound and trained anew, density as pruned",
    "soft labels": "pruned, taught by the dense network",
    "matching": "pruned, function matching with the dense network",
    "ternary": "ternary weights",
    "binary": "binary weights",
    "exits": "an early exit, pruned",
    "width 0.5": "half of the width of one file, pruned",
    "width 1": "the whole width of that file",
}


# ---- one network by one method -----------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Case:
    data: Digits
    network: str
    model: nn.Module
    seed: int
    folder: Path

    @property
    def net(self) -> Net:
        return NETS[self.network]

    @property
    def loader(self) -> Any:
        return self.data.few(self.net.learnt)

    def tuned(self, teacher: train.Teacher | None = None) -> train.Training:
        """How a trained network is pruned."""
        return how(_TUNED, self.seed, self.folder, 1e-3, teacher=teacher)

    def end(self, model: nn.Module, loss: Any = CROSS, teacher: train.Teacher | None = None) -> train.Shared:
        training = how(_SHARED, self.seed, self.folder, 1e-4, teacher=teacher)
        return train.share(model, self.loader, loss, bits=_BITS, training=training)

    def finished(
        self, model: nn.Module, density: float = KEPT, teacher: train.Teacher | None = None, **other: Any
    ) -> Figures:
        """Figures of a model that is pruned and shared."""
        goals, training = self.net.densities(density), other.pop("training", self.tuned(teacher))
        train.prune(model, self.loader, CROSS, density=goals, training=training, **other)
        return self.measured(model, self.end(model, teacher=teacher))

    def measured(self, model: nn.Module, shared: train.Shared) -> Figures:
        return {"held": self.data.held(model), **figures(self.data, model, shared)}


def _low_rank(case: _Case) -> Figures:
    train.low_rank(case.model, rank={"fc1": _RANK})
    # fc1's power for both halves; they have so few weights that they keep more of them.
    goals = {name: share for name, share in case.net.densities(KEPT).items() if name != "fc1"}
    goals["fc1.*"] = KEPT**0.5
    train.prune(case.model, case.loader, CROSS, density=goals, training=case.tuned())
    return case.measured(case.model, case.end(case.model))


def _units(case: _Case) -> Figures:
    kept = dict.fromkeys(case.net.halved, _UNITS)
    train.prune(case.model, case.loader, CROSS, density=kept, units=True, training=how(0, case.seed))
    return case.finished(case.model)


def _ticket(case: _Case) -> Figures:
    training = how(_ROUND_EPOCHS, case.seed, case.folder)
    schedule = train.Schedule(rewind=0, rounds=_ROUNDS)
    return case.finished(fresh(case.network, case.seed), schedule=schedule, training=training)


def _taught(mixup: bool) -> Callable[[_Case], Figures]:
    def make(case: _Case) -> Figures:
        own = copy.deepcopy(case.model).eval()
        return case.finished(case.model, teacher=train.Teacher(own, 1.0 if mixup else 4.0, None, mixup))

    return make


def _few_bits(kind: Any) -> Callable[[_Case], Figures]:
    def make(case: _Case) -> Figures:
        shared = train.few_bits(case.model, case.loader, CROSS, kind, training=case.tuned())
        return case.measured(case.model, shared)

    return make


def _exits(case: _Case) -> Figures:
    data, joint = case.data, train.Joint(CROSS)
    model = with_exits(case.network, case.net.after, data, case.seed)
    train.fit(model, case.loader, joint, how(case.net.epochs, case.seed, case.folder))
    goals = case.net.densities(KEPT, "model.") | {"heads.*": KEPT**0.5}
    train.prune(model, case.loader, joint, density=goals, training=case.tuned())
    path = case.folder.with_suffix(".eie")
    layers, _ = train.save_exits(path, model, case.end(model, joint), data.bench.x[:500])
    held, test = (logits_of(layers, x) for x in (data.held_x[:CHOSEN_ON], data.bench.test_x))
    threshold = choose_threshold(held, data.held_y[:CHOSEN_ON].numpy(), BUDGET)
    runs = [leave(logits, threshold) for logits in (held, test)]
    errors = [
        learn.wrong(run.answers, right)
        for run, right in zip(runs, (data.held_y[:CHOSEN_ON], data.bench.test_y), strict=True)
    ]
    ran = run_with_exits(layers, _counted(layers, data), _machine(layers), threshold)
    left = float(np.mean(runs[1].left == 0))
    return {
        **{"held": errors[0], "error": errors[1], "bytes": path.stat().st_size},
        **{"threshold": threshold, "left": left, "weights": sum(layer.nnz for layer in layers)},
        **learn.per_digit(ran.cycles, ran.energy_uj),
    }


def _widths(case: _Case) -> Figures:
    """Figures of both widths."""
    data, loss = case.data, train.Joint(CROSS)
    slim = train.widths(fresh(case.network, case.seed), [0.5, 1], data.bench.x[:2])
    train.fit(slim, case.loader, loss, how(case.net.epochs, case.seed, case.folder))
    goals = case.net.densities(KEPT, "model.")
    train.prune(slim, case.loader, loss, density=goals, training=case.tuned())
    path = case.folder.with_suffix(".eie")
    train.save_widths(path, slim, case.end(slim, loss), data.bench.x[:500])
    layers, found = load(path), {}
    for width in (0.5, 1.0):
        parts = at_width(layers, width)
        machine = sized_for_widths(eie.ArchConfig(n_pe=learn.PES), layers)
        results = run_width(layers, _counted(layers, data), machine, width)
        found[f"width {width:g}"] = {
            "held": learn.wrong(learn.answers(parts, data.held_x), data.held_y),
            "error": learn.wrong(learn.answers(parts, data.bench.test_x), data.bench.test_y),
            "bytes": path.stat().st_size,
            "weights": sum(part.nnz for part in parts),
            **learn.per_digit(*totals(list[Result](results))),
        }
    return found


def _counted(layers: Sequence[CompressedLayer], data: Digits) -> Any:
    return learn.quantized(layers, data.bench.test_x[: learn.COUNTED])


def _machine(layers: Sequence[CompressedLayer]) -> eie.ArchConfig:
    return eie.sized_for(eie.ArchConfig(n_pe=learn.PES), *layers)


_MAKERS: dict[str, Callable[[_Case], Figures]] = {
    "low rank": _low_rank,
    "units": _units,
    "ticket": _ticket,
    "soft labels": _taught(False),
    "matching": _taught(True),
    "ternary": _few_bits("ternary"),
    "binary": _few_bits("binary"),
    "exits": _exits,
    "widths": _widths,
}
_FROM_SCRATCH = ("ticket", "exits", "widths")


def compared(network: str, data_set: str, method: str, seed: int) -> Figures:
    """Error, bytes, cycles and energy of a network by a method; of both widths for either width."""
    maker = "widths" if method.startswith("width ") else method
    net = NETS[network]

    def make(folder: Path) -> Figures:
        new = maker in _FROM_SCRATCH
        model = fresh(network, seed) if new else dense(data_set, network, seed, net.epochs, net.learnt)
        case = _Case(digits(data_set, network), network, model, seed, folder)
        if method.startswith("pruned "):
            return case.finished(model, float(method.split()[1]))
        return _MAKERS[maker](case)

    settings = {"network": network, "set": data_set, "method": maker, "seed": seed, "kept": KEPT}
    made: list[Any] = [_TUNED, _SHARED, _BITS, _RANK, _UNITS, _ROUNDS, _ROUND_EPOCHS]
    # How the threshold of its exits was chosen.
    made += [CHOSEN_ON, BUDGET, RULE] if maker == "exits" else []
    counted = [learn.COUNTED, learn.PES]
    found = cell(
        *("compared", make),
        **settings,
        epochs=net.epochs,
        powers=dict(net.powers),
        made=made,
        counted=counted,
    )
    return found[method] if maker == "widths" else found


# ---- beside pruning ----------------------------------------------------------------------------------------


def on_the_line(line: Sequence[Figures], cost: str, value: float) -> float | None:
    """The error that pruning has at no more than a cost: between the two nearest of the pruned networks that no other
    of them beats in both, by the cost's logarithm; None where none costs as little.

    >>> line = [{"bytes": 100, "error": 4.0}, {"bytes": 400, "error": 2.0}, {"bytes": 200, "error": 5.0}]
    >>> [on_the_line(line, "bytes", value) for value in (99, 100, 500)]
    [None, 4.0, 2.0]
    """
    front: list[tuple[float, float]] = []
    for point in sorted((one[cost], one["error"]) for one in line):
        if not front or point[1] < front[-1][1]:
            front.append(point)
    if value < front[0][0]:
        return None
    return float(np.interp(np.log(value), np.log([one[0] for one in front]), [one[1] for one in front]))


def _beside(line: Sequence[Sequence[Figures]], found: Sequence[Figures], cost: str) -> list[float] | None:
    """Points of error above pruning at an equal cost, for each seed; None where no pruned network costs as little."""
    at = [
        (one["error"], on_the_line([each[seed] for each in line], cost, one[cost]))
        for seed, one in enumerate(found)
    ]
    return None if any(right is None for _, right in at) else [own - (right or 0.0) for own, right in at]


def _signed(values: list[float] | None) -> str:
    if values is None:
        return "-"
    ends = "" if len(values) == 1 else f" ({min(values):+.2f} to {max(values):+.2f})"
    return f"{np.mean(values):+.2f}{ends}"


def section(seed: int = 1, progress: Progress | None = None, seeds: int = 1) -> Section:
    """LeNet-300-100 by every method, on both data sets."""
    return _section("learn-compared", "lenet-300-100", range(seed, seed + seeds), progress)


def section_5(seed: int = 1, progress: Progress | None = None, seeds: int = 1) -> Section:
    """LeNet-5 by every method, on both data sets."""
    return _section("learn-compared-5", "lenet-5", range(seed, seed + seeds), progress)


def _section(key: str, network: str, seeds: range, progress: Progress | None) -> Section:
    rows: list[list[str]] = []
    data: dict[str, list[Figures]] = {}
    for data_set in learn.SETS:
        found: dict[str, list[Figures]] = {}
        for method in METHODS:
            found[method] = [compared(network, data_set, method, one) for one in seeds]
            say(progress, f"{network}, {data_set}: {method}")
        line = [found[f"pruned {density:g}"] for density in CURVE]
        for method, runs in found.items():
            data[f"{data_set}/{method}"] = runs
            cells = [spread([one["error"] for one in runs])]
            for cost in ("bytes", "cycles"):
                cells.append(spread([float(one[cost]) for one in runs], 0))
                own = method.startswith("pruned ")
                cells.append("" if own else _signed(_beside(line, runs, cost)))
            rows.append([data_set, method, *cells])
    headings = ("data", "method", "error %", "bytes", "at equal bytes", "cycles", "at equal cycles")
    values: Figures = {"network": network, "net": NETS[network], "seeds": seeds}
    values |= {"pes": learn.PES, "counted": learn.COUNTED}
    values |= {"tuned": _TUNED, "kept": KEPT, "rank": _RANK, "rounds": _ROUNDS, "each": _ROUND_EPOCHS}
    values |= {"chosen_on": CHOSEN_ON, "budget": BUDGET, "units": _UNITS, "bits": _BITS, "shared": _SHARED}
    title, text, table, note = (
        text_of("learn-compared", block, **values) for block in ("title", "text", "table", "note")
    )
    published = text_of("learn-compared", "published")
    beside = text_of("learn-compared", "published_note")
    tables = [Table(table, headings, rows, note), Table(published, PUBLISHED[0], PUBLISHED[1:], beside)]
    return Section(key, title, [text], tables, [_picture(key, network, data)], data)


# ---- what others published ---------------------------------------------------------------------------------

PUBLISHED: Sequence[Sequence[str]] = (
    ("method", "network and data", "published", "source"),
    ("pruned, shared, coded", "LeNet-300-100, MNIST", "1.58 % at 40 x", "Han et al., 2016"),
    ("pruned, shared, coded", "LeNet-5, MNIST", "0.74 % at 39 x", "Han et al., 2016"),
    (
        "units",
        "VGG-16-A, CIFAR-10",
        "6.59 % tuned, 6.38 and 6.22 from scratch, whole 6.37",
        "Liu et al., 2019",
    ),
    ("widths", "ResNet-50, ImageNet", "24.0, 25.1, 27.9, 35.0 % at 1, 0.75, 0.5, 0.25", "Yu et al., 2019"),
    ("function matching", "ResNet-50, ImageNet", "17.2 % at 224 x 224", "Beyer et al., 2022"),
    ("binary", "three layers of 1024, MNIST", "1.29 %, drawn at random 1.18", "Courbariaux et al., 2015"),
)


# ---- the picture -------------------------------------------------------------------------------------------

_MARKS = {
    "low rank": ("s", "C1"),
    "units": ("D", "C2"),
    "ticket": ("P", "C3"),
    "soft labels": ("^", "C4"),
    "matching": ("v", "C4"),
    "ternary": ("X", "C5"),
    "binary": ("x", "C5"),
    "exits": ("*", "C6"),
    "width 0.5": ("<", "C8"),
    "width 1": (">", "C8"),
}


def _picture(key: str, network: str, data: Mapping[str, Sequence[Figures]]) -> Picture:
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

    figure = Figure(figsize=(9, 7), layout="constrained")
    grid = figure.subplots(len(learn.SETS), 2, sharey="row")
    handles: dict[str, Any] = {}
    for data_set, both in zip(learn.SETS, grid, strict=True):
        mean = {
            method: {
                name: float(np.mean([one[name] for one in data[f"{data_set}/{method}"]]))
                for name in ("error", "bytes", "cycles")
            }
            for method in METHODS
        }
        line = [mean[f"pruned {density:g}"] for density in CURVE]
        for axes, cost in zip(both, ("bytes", "cycles"), strict=True):
            at = [one[cost] for one in line], [one["error"] for one in line]
            (handles["pruned"],) = axes.plot(*at, marker="o", color="C0")
            for method, (mark, color) in _MARKS.items():
                one = mean[method]
                (handles[method],) = axes.plot(
                    one[cost], one["error"], mark, color=color, markersize=8, linestyle=""
                )
            for density, x, y in zip(CURVE, *at, strict=True):
                axes.annotate(
                    f"{density:g}", (x, y), textcoords="offset points", xytext=(5, 4), fontsize=7, color="C0"
                )
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5, 7)))
            axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
            axes.xaxis.set_minor_locator(NullLocator())
            axes.set_xlabel({"bytes": "bytes of the file", "cycles": "cycles of a digit"}[cost])
            axes.set_title(f"{network}, {data_set}", fontsize=10)
        both[0].set_ylabel("error of test digits, %")
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=6)
    alt = "Error against bytes and against cycles: pruning as a line over its densities, other methods as points."
    return Picture(key, figure, alt)
