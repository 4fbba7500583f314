"""Parts of `eie reproduce` about networks of several widths, and about recurrent ones (docs/learn.md)."""

from __future__ import annotations

from collections import OrderedDict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

import eie
from eie.compress import datasets, train
from eie.compress.format.file import load
from eie.compress.train.recipes import RECIPES, Batches, Bench
from eie.compress.train.series import KINDS, SeriesRecipe, run_series
from eie.layer import CompressedLayer
from eie.result import Result
from eie.sim.chain import load as load_network
from eie.sim.chain import run_network
from eie.sim.evaluation import learn
from eie.sim.evaluation.learn import Figures, cell, digits, how, spread, spreads
from eie.sim.evaluation.learn_small import of_seeds, one_table
from eie.sim.evaluation.section import Progress, Section
from eie.sim.exits import totals
from eie.sim.networks.stepping import run_steps
from eie.sim.skips import Residual, run_skips
from eie.sim.widths import at_width, run_width
from eie.width_program import sized_for_widths

CROSS = functional.cross_entropy


# ---- widths ------------------------------------------------------------------------------------------------

_WIDTHS = (0.25, 0.5, 0.75, 1.0)
# Dense, pruned, shared.
_WIDTH_EPOCHS = (5, 3, 1)
_WIDTH_DENSITY = {"fc1": 0.15, "fc2": 0.3, "fc3": 1.0}
# Of several widths in one. In the last the whole's loss counts as much as the others' together.
_TOGETHER = {
    "nested": train.Joint(CROSS),
    "in place": train.InPlace(CROSS),
    "in place, whole 3 x": train.InPlace(CROSS, [1, 1, 1, 3]),
}
_KINDS = ("alone", *_TOGETHER)


def _lenet(width: float, seed: int) -> nn.Sequential:
    """LeNet-300-100 with so large a share of its hidden units."""
    first, second = int(300 * width), int(100 * width)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers: list[tuple[str, nn.Module]] = [
            *(("fc1", nn.Linear(784, first)), ("relu1", nn.ReLU())),
            *(("fc2", nn.Linear(first, second)), ("relu2", nn.ReLU())),
            ("fc3", nn.Linear(second, 10)),
        ]
        return nn.Sequential(OrderedDict(layers))


def _trained(model: nn.Module, loss: Any, prefix: str, seed: int, folder: Path) -> train.Shared:
    loader = digits("mnist", "lenet-300-100").bench.train
    plain, pruned, shared = _WIDTH_EPOCHS
    train.fit(model, loader, loss, how(plain, seed, folder / "dense"))
    density = {prefix + name: share for name, share in _WIDTH_DENSITY.items()}
    train.prune(model, loader, loss, density=density, training=how(pruned, seed, folder / "pruned", lr=1e-3))
    return train.share(model, loader, loss, training=how(shared, seed, folder / "shared", lr=1e-4))


def _width_cell(kind: str, width: float, seed: int) -> Figures:
    """A network trained alone at a width; or with all widths, and then the figures of each."""

    def make(folder: Path) -> Figures:
        data = digits("mnist", "lenet-300-100")
        calibration, path = data.bench.x[:500], folder.with_suffix(".eie")
        if kind == "alone":
            model = _lenet(width, seed)
            shared = _trained(model, CROSS, "", seed, folder)
            train.save(path, model, shared, calibration)
        else:
            slim = train.widths(_lenet(1, seed), _WIDTHS, calibration[:2])
            shared = _trained(slim, _TOGETHER[kind], "model.", seed, folder)
            train.save_widths(path, slim, shared, calibration)
        return _width_figures(load(path), kind, width) | {"bytes": path.stat().st_size}

    counted = [learn.COUNTED, learn.PES]
    settings = {"kind": kind, "width": width, "seed": seed, "epochs": list(_WIDTH_EPOCHS)}
    return cell("widths", make, **settings, density=_WIDTH_DENSITY, counted=counted)


def _width_figures(layers: list[CompressedLayer], kind: str, width: float) -> Figures:
    data = digits("mnist", "lenet-300-100")
    found: Figures = {}
    few, base = learn.quantized(layers, data.bench.test_x[: learn.COUNTED]), eie.ArchConfig(n_pe=learn.PES)
    for one in _WIDTHS if kind != "alone" else (width,):
        parts = layers if kind == "alone" else at_width(layers, one)
        if kind == "alone":
            results = run_network(layers, few, eie.sized_for(base, *layers), "fast")
        else:
            results = run_width(layers, few, sized_for_widths(base, layers), one)
        found[f"{one:g}"] = {
            "weights": sum(part.nnz for part in parts),
            "held": learn.wrong(learn.answers(parts, data.held_x), data.held_y),
            "error": learn.wrong(learn.answers(parts, data.bench.test_x), data.bench.test_y),
            **learn.per_digit(*totals(list[Result](results))),
        }
    return found


def widths(seed: int = 1, progress: Progress | None = None, seeds: int = 1) -> Section:
    """LeNet-300-100 at four widths beside networks trained alone at each of them."""
    each = range(seed, seed + seeds)
    cells: dict[str, list[Figures]] = {}
    for kind in _KINDS:
        for width in _WIDTHS:
            # A network with all widths is one cell.
            same = kind != "alone" and width != _WIDTHS[0]
            key, alone = f"{kind}/{width:g}", width if kind == "alone" else 1.0
            cells[key] = (
                cells[f"{kind}/{_WIDTHS[0]:g}"]
                if same
                else of_seeds(partial(_width_cell, kind, alone), each, progress, f"{kind}, width {width:g}")
            )
    rows = []
    for width in _WIDTHS:
        alone = np.mean([one[f"{width:g}"]["error"] for one in cells[f"alone/{width:g}"]])
        for kind in _KINDS:
            found = [one[f"{width:g}"] for one in cells[f"{kind}/{width:g}"]]
            size = [float(one["bytes"]) for one in cells[f"{kind}/{width:g}"]]
            error = [one["error"] for one in found]
            rows.append(
                [
                    f"{width:g}",
                    kind,
                    spread(error),
                    f"{np.mean(error) - alone:+.2f}",
                    spread([one["held"] for one in found]),
                    spread(size, 0),
                    *spreads(found, {"weights": 0, "cycles": 0, "energy_nj": 0}),
                ]
            )
    headings = (
        "width",
        "network",
        "error %",
        "beyond alone",
        "held out %",
        "bytes",
        "weights",
        "cycles",
        "nJ",
    )
    values: Figures = {"epochs": _WIDTH_EPOCHS, "density": _WIDTH_DENSITY, "seeds": each}
    return one_table("learn-widths", headings, rows, dict(cells), **values)


# ---- recurrent networks ------------------------------------------------------------------------------------

_SERIES = "japanese-vowels"
_SERIES_RECIPE = SeriesRecipe()


def _series_cell(kind: str, seed: int) -> Figures:
    def make(folder: Path) -> Figures:
        learnt, test = datasets.load_series(_SERIES)
        done = run_series(kind, learnt, test, folder, seed, _SERIES_RECIPE, progress=False)
        net = load_network(done.path)
        stepped = run_steps(net, test.values, net.machine(eie.ArchConfig(n_pe=learn.PES)))
        return {
            "dense": done.dense_error,
            "pruned": done.pruned_error,
            "shared": done.error,
            "error": stepped.error(test.labels),
            "bytes": float(done.report.size.total_bytes),
            "times": done.report.size.dense_bytes / done.report.size.total_bytes,
            "cycles": (stepped.cycles or 0) / stepped.steps,
            "energy_nj": 1000 * (stepped.energy_uj or 0) / stepped.steps,
            "steps": stepped.steps,
            "clipped": stepped.clipped,
        }

    recipe = {
        name: list(one) if isinstance(one, tuple) else one for name, one in vars(_SERIES_RECIPE).items()
    }
    return cell("series", make, kind=kind, seed=seed, recipe=recipe, pes=learn.PES)


def recurrent(seed: int = 1, progress: Progress | None = None, seeds: int = 1) -> Section:
    """A GRU and an LSTM on spoken vowels, a step at a time."""
    each = range(seed, seed + seeds)
    places = {
        "dense": 2,
        "pruned": 2,
        "shared": 2,
        "error": 2,
        "bytes": 0,
        "times": 1,
        "cycles": 0,
        "energy_nj": 1,
    }
    rows: list[list[str]] = []
    data: dict[str, list[Figures]] = {}
    for kind in KINDS:
        data[kind] = of_seeds(partial(_series_cell, kind), each, progress, kind)
        rows.append([kind.upper(), *spreads(data[kind], places)])
    headings = ("network", "dense %", "pruned %", "shared %", "fixed %", "bytes", "smaller", "cycles", "nJ")
    steps = data[KINDS[0]][0]["steps"]
    return one_table("learn-recurrent", headings, rows, data, recipe=_SERIES_RECIPE, seeds=each, steps=steps)


# ---- skipping ----------------------------------------------------------------------------------------------

_UNITS, _BLOCKS = 128, 4
_PRICES = (0.0, 0.1, 0.3)
_SKIP_EPOCHS = (5, 3, 1)
_SKIP_DENSITY = {"stem": 0.15, "blocks.*": 0.2, "gates.*": 1.0, "head": 0.5}


def _skip_cell(price: float, seed: int) -> Figures:
    def make(folder: Path) -> Figures:
        data = digits("mnist", "lenet-300-100")
        loader, loss = data.bench.train, train.Priced(CROSS, price)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = train.Skipping(784, _UNITS, _BLOCKS, 10)
        plain, pruned, shared_for = _SKIP_EPOCHS
        train.fit(model, loader, loss, how(plain, seed, folder / "dense"))
        training = how(pruned, seed, folder / "pruned", lr=1e-3)
        train.prune(model, loader, loss, density=_SKIP_DENSITY, training=training)
        shared = train.share(model, loader, loss, training=how(shared_for, seed, folder / "shared", lr=1e-4))
        path = folder.with_suffix(".eie")
        layers = train.save_skipping(path, model, shared, data.bench.x[:500])
        test, held = (learn.quantized(layers, x) for x in (data.bench.test_x, data.held_x))
        right, few = data.bench.test_y, test[: learn.COUNTED]
        run = run_skips(layers, test)
        machine = eie.sized_for(eie.ArchConfig(n_pe=learn.PES), *Residual.of(layers).matrices)
        some, whole = (run_skips(layers, few, machine, always=always) for always in (False, True))
        return {
            "held": learn.wrong(run_skips(layers, held).y, data.held_y),
            "error": learn.wrong(run.y, right),
            "error_all": learn.wrong(run_skips(layers, test, always=True).y, right),
            "ran": 100 * float(run.ran.mean()),
            "spread": [100 * float(share) for share in run.ran.mean(axis=0)],
            "kinds": len(np.unique(run.ran, axis=0)),
            "cycles": (some.cycles or 0) / (whole.cycles or 1),
            "energy": (some.energy_uj or 0) / (whole.energy_uj or 1),
            "bytes": float(path.stat().st_size),
        }

    counted = [learn.COUNTED, learn.PES]
    settings = {"price": price, "seed": seed, "epochs": list(_SKIP_EPOCHS), "density": _SKIP_DENSITY}
    return cell("skips", make, **settings, sizes=[_UNITS, _BLOCKS], counted=counted)


def skips(seed: int = 1, progress: Progress | None = None, seeds: int = 1) -> Section:
    """A residual network whose gates skip blocks by input, at several prices of a block."""
    each = range(seed, seed + seeds)
    places = {
        "error": 2,
        "error_all": 2,
        "held": 2,
        "ran": 1,
        "kinds": 0,
        "cycles": 2,
        "energy": 2,
        "bytes": 0,
    }
    rows: list[list[str]] = []
    data: dict[str, list[Figures]] = {}
    for price in _PRICES:
        found = data[f"{price:g}"] = of_seeds(partial(_skip_cell, price), each, progress, f"price {price:g}")
        rows.append([f"{price:g}", *spreads(found, places)])
    headings = ("price", "error %", "all run %", "held out %", "ran %", "ways", "cycles", "energy", "bytes")
    values: Figures = {"units": _UNITS, "blocks": _BLOCKS, "epochs": _SKIP_EPOCHS, "seeds": each}
    return one_table("learn-skips", headings, rows, data, **values)


# ---- few bits ----------------------------------------------------------------------------------------------

# As BinaryConnect's network for MNIST: three hidden layers, normalised.
_BITS_UNITS, _BITS_BATCH, _BITS_EPOCHS = 1024, 100, 20
_BITS_KINDS = ("float", "binary", "binary, drawn", "ternary")


def _normalised(units: int, seed: int) -> nn.Sequential:
    """784, three hidden layers with batch normalisation and ReLU, 10."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers: list[nn.Module] = []
        for inputs in (784, units, units):
            layers += [nn.Linear(inputs, units), nn.BatchNorm1d(units), nn.ReLU()]
        return nn.Sequential(*layers, nn.Linear(units, 10), nn.BatchNorm1d(10))


def _bits_cell(kind: str, seed: int) -> Figures:
    values: Any = kind.removesuffix(", drawn")

    def make(folder: Path) -> Figures:
        held = Bench.of(RECIPES["lenet-300-100"], datasets.load("mnist"), learn.HELD_OUT)
        data = digits("mnist", "lenet-300-100")
        loader, model = Batches(held.x, held.y, _BITS_BATCH), _normalised(_BITS_UNITS, seed)
        training = how(_BITS_EPOCHS, seed, folder)
        if kind == "float":
            train.fit(model, loader, CROSS, training)
            return {"held": data.held(model), "float": data.error(model)}
        shared = train.few_bits(model, loader, CROSS, values, stochastic=values != kind, training=training)
        path = folder.with_suffix(".eie")
        train.save(path, model, shared, data.bench.x[:200])
        net = load_network(path)
        x = data.bench.test_x.reshape(len(data.bench.test_x), -1).numpy().astype(np.float64)
        y = np.concatenate([net.run(part, engine="cpu").outputs for part in np.array_split(x, 10)])
        machine = net.machine(eie.ArchConfig(n_pe=learn.PES, weight_bits=2))
        run = net.run(x[: learn.COUNTED], machine.replace(weight_bits=2))
        return {
            "held": data.held(model),
            "float": data.error(model),
            "error": learn.wrong(y, data.bench.test_y),
            "bytes": float(path.stat().st_size),
            **learn.per_digit(run.cycles, run.energy_uj),
        }

    counted = [learn.COUNTED, learn.PES]
    sizes = [_BITS_UNITS, _BITS_BATCH, _BITS_EPOCHS]
    return cell("bits", make, kind=kind, seed=seed, sizes=sizes, held=learn.HELD_OUT, counted=counted)


def bits(seed: int = 1, progress: Progress | None = None, seeds: int = 1) -> Section:
    """A network with binary and with ternary weights beside one in floating point."""
    each = range(seed, seed + seeds)
    places = {"held": 2, "float": 2, "error": 2, "bytes": 0, "cycles": 0, "energy_nj": 0}
    rows: list[list[str]] = []
    data: dict[str, list[Figures]] = {}
    for kind in _BITS_KINDS:
        found = data[kind] = of_seeds(partial(_bits_cell, kind), each, progress, kind)
        there = [spreads(found, {name: n}) if name in found[0] else ["-"] for name, n in places.items()]
        rows.append([kind, *(text for (text,) in there)])
    headings = ("weights", "held out %", "float %", "fixed %", "bytes", "cycles", "nJ")
    values: Figures = {"units": _BITS_UNITS, "epochs": _BITS_EPOCHS, "batch": _BITS_BATCH, "seeds": each}
    return one_table("learn-bits", headings, rows, data, **values)
