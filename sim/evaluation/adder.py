"""`eie reproduce adder`: networks that add beside networks that multiply, of one size (docs/adder.md)."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

import eie
from eie.compress import train
from eie.compress.format.file import measure
from eie.compress.forward import fixed_forward, quantize_inputs
from eie.compress.pipeline import Settings, compress_network
from eie.compress.quantize import Widths
from eie.layer import CompressedLayer
from eie.sim.chain import Chain
from eie.sim.energy.model import area, estimate
from eie.sim.evaluation import learn
from eie.sim.evaluation.learn import Digits, Figures, cell, digits, how
from eie.sim.evaluation.learn_small import say
from eie.sim.evaluation.prose import prose, text_of
from eie.sim.evaluation.section import Progress, Section, Table

CROSS = functional.cross_entropy
MACHINE = eie.ArchConfig.preset("adder", n_pe=learn.PES)
ACC_BITS = MACHINE.acc_bits
# Of a network that multiplies; one that adds learns twice as long, as its rate of learning asks for.
EPOCHS, PRUNE_EPOCHS, SHARE_EPOCHS = 10, 4, 1
LENET_EPOCHS = 5
TIMES = 2
DENSITIES = (1.0, 0.2)
KINDS = ("product", "adder")
# Highest learning rates, chosen on held-out digits: what a higher one gains is gone after so many epochs.
_RATE = {"product": 0.1, "adder": 0.03}
_PRUNE_RATE = 0.02
_CALIBRATION = 500
# Chen et al., CVPR 2020, tables 1 and 2: accuracy in percent of networks that multiply, and that add.
PUBLISHED = (
    ("MNIST, LeNet-5-BN", "99.4", "99.4"),
    ("CIFAR-10, VGG-small", "93.80", "93.72"),
    ("CIFAR-10, ResNet-20", "92.25", "91.84"),
    ("CIFAR-10, ResNet-32", "93.29", "93.01"),
    ("CIFAR-100, VGG-small", "72.73", "72.64"),
    ("CIFAR-100, ResNet-20", "68.14", "67.60"),
    ("CIFAR-100, ResNet-32", "69.74", "69.02"),
)


@dataclass(frozen=True)
class Case:
    """A network on a data set: how many of its weights are left, and the epochs of the one that multiplies."""

    recipe: str
    data_set: str
    density: float
    epochs: int

    def build(self, kind: str, seed: int) -> nn.Sequential:
        """The untrained network."""
        return mlp(kind, seed) if self.recipe == "lenet-300-100" else lenet(kind, seed)

    def __str__(self) -> str:
        return f"{self.recipe}, {self.data_set}, {100 * self.density:.0f} %"


CASES = (
    *(Case("lenet-300-100", data_set, density, EPOCHS) for data_set in learn.SETS for density in DENSITIES),
    Case("lenet-5", "mnist", 1.0, LENET_EPOCHS),
)


def mlp(kind: str, seed: int) -> nn.Sequential:
    """784-300-100-10 with a normalisation behind the first two layers; the last one multiplies, as published."""

    def layer(inputs: int, outputs: int) -> nn.Module:
        if kind == "adder":
            return train.Adder(inputs, outputs, positive=True)
        return nn.Linear(inputs, outputs, bias=False)

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        parts: list[tuple[str, nn.Module]] = [
            ("fc1", layer(784, 300)),
            ("norm1", nn.BatchNorm1d(300)),
            ("relu1", nn.ReLU()),
            ("fc2", layer(300, 100)),
            ("norm2", nn.BatchNorm1d(100)),
            ("relu2", nn.ReLU()),
            ("fc3", nn.Linear(100, 10)),
        ]
        return nn.Sequential(OrderedDict(parts))


def lenet(kind: str, seed: int) -> nn.Sequential:
    """LeNet-5 with normalisations (LeNet-5-BN); its first and its last layer multiply, as published."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        adds = kind == "adder"
        parts: list[tuple[str, nn.Module]] = [
            ("conv1", nn.Conv2d(1, 20, 5, bias=False)),
            ("norm1", nn.BatchNorm2d(20)),
            ("relu1", nn.ReLU()),
            ("pool1", nn.MaxPool2d(2)),
            (
                "conv2",
                train.AdderConv2d(20, 50, 5, positive=True) if adds else nn.Conv2d(20, 50, 5, bias=False),
            ),
            ("norm2", nn.BatchNorm2d(50)),
            ("relu2", nn.ReLU()),
            ("pool2", nn.MaxPool2d(2)),
            ("flat", nn.Flatten()),
            ("fc1", train.Adder(800, 500, positive=True) if adds else nn.Linear(800, 500, bias=False)),
            ("norm3", nn.BatchNorm1d(500)),
            ("relu3", nn.ReLU()),
            ("fc2", nn.Linear(500, 10)),
        ]
        return nn.Sequential(OrderedDict(parts))


def _folded(model: nn.Sequential) -> nn.Sequential:
    """A network that multiplies, with each normalisation in the layer before it."""
    model.eval()
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    for name, module in model.named_children():
        if not isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            parts[name] = before = module
            last = name
        elif isinstance(before, nn.Conv2d):
            parts[last] = fuse_conv_bn_eval(before, module)
        else:
            assert isinstance(before, nn.Linear)
            parts[last] = fuse_linear_bn_eval(before, module)
    return nn.Sequential(parts)


def _cell(case: Case, kind: str, seed: int) -> Figures:
    data_set, density = case.data_set, case.density
    epochs = case.epochs * (TIMES if kind == "adder" else 1)

    def make(folder: Path) -> Figures:
        data, model = digits(data_set, case.recipe), case.build(kind, seed)
        loader, adds = data.bench.train, kind == "adder"
        place = learn.FOLDER / f"{kind}-{case.recipe}-{data_set}-{seed}-{epochs}-{_RATE[kind]}-{learn.LEARNT}"
        train.fit(model, loader, CROSS, how(epochs, seed, place, lr=_RATE[kind], momentum=0.9))
        before = {"held": data.held(model), "error_float": data.error(model)}
        batch = data.bench.x[:_CALIBRATION]
        if adds:
            train.clip_weights(model, data.bench.x)
        else:
            model = _folded(model)
        if density < 1:
            training = (
                how(PRUNE_EPOCHS, seed, folder, lr=_PRUNE_RATE, momentum=0.9)
                if adds
                else how(PRUNE_EPOCHS, seed, folder, lr=1e-3)
            )
            train.prune(model, loader, CROSS, density={"fc[12]": density}, training=training)
            if adds:
                train.clip_weights(model, data.bench.x)
        shared = train.share(
            model, loader, CROSS, bits=4, training=how(SHARE_EPOCHS, seed, folder, lr=1e-3 if adds else 1e-4)
        )
        shared_error = {"held_shared": data.held(model), "error_shared": data.error(model)}
        return before | shared_error | _figures(data, _layers(model, shared, batch, kind))

    settings: Figures = {"epochs": [epochs, PRUNE_EPOCHS, SHARE_EPOCHS], "rates": [_RATE[kind], _PRUNE_RATE]}
    network = {"network": case.recipe, "set": data_set}
    return cell("adder", make, **network, kind=kind, density=density, seed=seed, **settings)


def _layers(model: nn.Module, shared: train.Shared, batch: torch.Tensor, kind: str) -> list[CompressedLayer]:
    widths = Widths(acc_bits=ACC_BITS)
    if kind == "adder":
        return train.fixed_adders(model, shared, batch, widths)
    inputs = batch.flatten(1).double().numpy()
    return compress_network(train.layers_of(model, shared, batch), Settings(widths=widths), inputs)[0]


def _figures(data: Digits, layers: list[CompressedLayer]) -> Figures:
    """Of the machine: error, weights, bytes, cycles, energy of a digit, with minima and if they were products."""
    x, right = data.bench.test_x.flatten(1).numpy(), data.bench.test_y.numpy()
    exact = quantize_inputs(layers[0], x)
    parts = np.array_split(np.arange(len(x)), 20)
    answers = [fixed_forward(layers, exact[part], acc_bits=ACC_BITS).y.argmax(axis=1) for part in parts]
    adds = any(layer.adder for layer in layers)
    net = Chain(layers)
    cfg = eie.sized_for(MACHINE.replace(n_pe=learn.PES, adder=adds), *net)
    some = exact[: learn.COUNTED]
    run = net.run(some, cfg)
    multiplied = [estimate(one.cfg, one.counters, one.cycles).energy_nj for one in run.results]
    fast = net.run(some[0], cfg)
    # Golden takes a minute for all positions of a convolution.
    others = ("reference",) if net[0].conv else ("reference", "golden")
    runs = [net.run(some[0], cfg, engine) for engine in others]
    same = all(
        np.array_equal(one.y, two.y)
        for other in runs
        for one, two in zip(fast.results, other.results, strict=True)
    )
    same = same and all(run.cycles in (None, fast.cycles) for run in runs)
    return {
        "error": 100 * float(np.mean(np.concatenate(answers) != right)),
        "weights": sum(layer.nnz for layer in layers),
        "bytes": measure(layers).total_bytes,
        "cycles": (run.cycles or 0) / learn.COUNTED,
        "energy_nj": 1000 * (run.energy_uj or 0.0) / learn.COUNTED,
        "multiplied_nj": sum(multiplied) / learn.COUNTED,
        "engines_agree": same,
        "adds": adds,
    }


def section(seed: int = 1, progress: Progress | None = None) -> Section:
    """Networks that add and that multiply: LeNet-300-100 with all weights and with a fifth of them, and LeNet-5."""
    rows: list[list[str]] = []
    data: dict[str, Any] = {}
    gaps: dict[str, float] = {}
    for case in CASES:
        found = {}
        for kind in KINDS:
            one = found[kind] = _cell(case, kind, seed)
            say(progress, f"{case}: {kind}")
            data[f"{case}: {kind}"] = one
            rows.append([str(case), kind, *_columns(one)])
        gaps[str(case)] = found["adder"]["error"] - found["product"]["error"]
    headings = (
        "network, data, weights",
        "layers",
        "error %, held out",
        "error %, float",
        "error %, fixed",
        "weights",
        "bytes",
        "cycles",
        "nJ",
        "nJ as products",
        "engines agree",
    )
    values: Figures = {
        "epochs": EPOCHS,
        "lenet_epochs": LENET_EPOCHS,
        "times": TIMES,
        "prune": PRUNE_EPOCHS,
        "share": SHARE_EPOCHS,
        "learnt": learn.LEARNT,
        "pes": learn.PES,
        "counted": learn.COUNTED,
        "acc_bits": ACC_BITS,
        "seed": seed,
        "gaps": gaps,
        "larger": area(MACHINE) / area(MACHINE.replace(adder=0)) - 1,
        "saved": [1 - one["energy_nj"] / one["multiplied_nj"] for one in data.values() if one["adds"]],
    }
    tables = [
        Table(text_of("adder", "table", **values), headings, rows, text_of("adder", "note", **values)),
        Table(
            text_of("adder", "published"),
            ("network", "accuracy %, products", "accuracy %, adders"),
            PUBLISHED,
            text_of("adder", "published_note"),
        ),
    ]
    return Section(
        "adder", text_of("adder", "title"), prose("adder", **values), tables, (), {**data, "gaps": gaps}
    )


def _columns(one: Figures) -> list[str]:
    return [
        f"{one['held']:.2f}",
        f"{one['error_float']:.2f}",
        f"{one['error']:.2f}",
        f"{one['weights']:,}",
        f"{one['bytes']:,}",
        f"{one['cycles']:,.0f}",
        f"{one['energy_nj']:,.1f}",
        f"{one['multiplied_nj']:,.1f}",
        "yes" if one["engines_agree"] else "NO",
    ]
