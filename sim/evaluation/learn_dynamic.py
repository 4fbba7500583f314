"""Parts of `eie reproduce` about networks of several widths, and about recurrent ones (docs/learn.md)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

import eie
from eie.compress import datasets, train
from eie.compress.format.file import load
from eie.compress.forward import fixed_forward, quantize_inputs
from eie.compress.train.series import KINDS, SeriesRecipe, run_series
from eie.fixed import IntArray
from eie.layer import CompressedLayer
from eie.result import Result
from eie.sim.chain import load as load_network
from eie.sim.chain import run_network
from eie.sim.evaluation import learn
from eie.sim.evaluation.learn import Figures, cell, digits, how, spread
from eie.sim.evaluation.learn_small import one_table, say
from eie.sim.evaluation.section import Progress, Section
from eie.sim.exits import totals
from eie.sim.networks.stepping import run_steps
from eie.sim.widths import at_width, run_width
from eie.width_program import sized_for_widths

CROSS = functional.cross_entropy
SEEDS = 2


def _error(layers: Sequence[CompressedLayer], x: IntArray, right: Any) -> float:
    """Wrong answers in percent, in the accelerator's arithmetic."""
    parts = np.array_split(np.arange(len(x)), max(1, len(x) // 1000))
    answers = np.concatenate([fixed_forward(layers, x[part]).y.argmax(axis=1) for part in parts])
    return 100 * float(np.mean(answers != right))


def _costs(results: Sequence[Result], inputs: int) -> Figures:
    """Cycles and energy of an input."""
    cycles, energy = totals(list(results))
    return {"cycles": (cycles or 0) / inputs, "energy_nj": 1000 * (energy or 0.0) / inputs}


# ---- widths ------------------------------------------------------------------------------------------------

_WIDTHS = (0.25, 0.5, 0.75, 1.0)
# Dense, pruned, shared.
_WIDTH_EPOCHS = (10, 6, 1)
_WIDTH_DENSITY = {"fc1": 0.15, "fc2": 0.3, "fc3": 1.0}
_KINDS = ("alone", "nested", "in place")


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
            loss = train.Joint(CROSS) if kind == "nested" else train.InPlace(CROSS)
            shared = _trained(slim, loss, "model.", seed, folder)
            train.save_widths(path, slim, shared, calibration)
        return _width_figures(load(path), kind, width) | {"bytes": path.stat().st_size}

    counted = [learn.COUNTED, learn.PES]
    settings = {"kind": kind, "width": width, "seed": seed, "epochs": list(_WIDTH_EPOCHS)}
    return cell("widths", make, **settings, density=_WIDTH_DENSITY, counted=counted)


def _width_figures(layers: list[CompressedLayer], kind: str, width: float) -> Figures:
    data = digits("mnist", "lenet-300-100")
    test, held = (
        quantize_inputs(layers[0], x.reshape(len(x), -1).numpy()) for x in (data.bench.test_x, data.held_x)
    )
    found: Figures = {}
    few, base = test[: learn.COUNTED], eie.ArchConfig(n_pe=learn.PES)
    for one in _WIDTHS if kind != "alone" else (width,):
        parts = layers if kind == "alone" else at_width(layers, one)
        if kind == "alone":
            results = run_network(layers, few, eie.sized_for(base, *layers), "fast")
        else:
            results = run_width(layers, few, sized_for_widths(base, layers), one)
        found[f"{one:g}"] = {
            "weights": sum(part.nnz for part in parts),
            "held": _error(parts, held, data.held_y.numpy()),
            "error": _error(parts, test, data.bench.test_y.numpy()),
            **_costs(results, len(few)),
        }
    return found


def widths(seed: int = 1, progress: Progress | None = None) -> Section:
    """LeNet-300-100 at four widths beside networks trained alone at each of them."""
    seeds = range(seed, seed + SEEDS)
    cells: dict[str, list[Figures]] = {}
    for kind in _KINDS:
        for width in _WIDTHS:
            # A network with all widths is one cell.
            same = kind != "alone" and width != _WIDTHS[0]
            key = f"{kind}/{width:g}"
            cells[key] = cells[f"{kind}/{_WIDTHS[0]:g}"] if same else []
            for one in () if same else seeds:
                cells[key].append(_width_cell(kind, width if kind == "alone" else 1.0, one))
                say(progress, f"{kind}, width {width:g}, seed {one}")
    rows = []
    for width in _WIDTHS:
        alone = np.mean([one[f"{width:g}"]["error"] for one in cells[f"alone/{width:g}"]])
        for kind in _KINDS:
            found = [one[f"{width:g}"] for one in cells[f"{kind}/{width:g}"]]
            size = [float(one["bytes"]) for one in cells[f"{kind}/{width:g}"]]
            error = [one["error"] for one in found]
            columns = (("weights", 0), ("cycles", 0), ("energy_nj", 0))
            rows.append(
                [
                    f"{width:g}",
                    kind,
                    spread(error),
                    f"{np.mean(error) - alone:+.2f}",
                    spread([one["held"] for one in found]),
                    spread(size, 0),
                    *(spread([one[name] for one in found], places) for name, places in columns),
                ]
            )
    headings = ("width", "network", "error %", "less alone", "held out %", "bytes", "weights", "cycles", "nJ")
    values: Figures = {"epochs": _WIDTH_EPOCHS, "density": _WIDTH_DENSITY, "seeds": seeds}
    return one_table("learn-widths", headings, rows, dict(cells), **values)


# ---- recurrent networks ------------------------------------------------------------------------------------

_SERIES = "japanese-vowels"
_SERIES_RECIPE = SeriesRecipe()
_SERIES_SEEDS = 3


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


def recurrent(seed: int = 1, progress: Progress | None = None) -> Section:
    """A GRU and an LSTM on spoken vowels, a step at a time."""
    seeds = range(seed, seed + _SERIES_SEEDS)
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
        data[kind] = []
        for one in seeds:
            data[kind].append(_series_cell(kind, one))
            say(progress, f"{kind}, seed {one}")
        columns = [spread([found[name] for found in data[kind]], digits) for name, digits in places.items()]
        rows.append([kind.upper(), *columns])
    headings = ("network", "dense %", "pruned %", "shared %", "fixed %", "bytes", "smaller", "cycles", "nJ")
    steps = data[KINDS[0]][0]["steps"]
    return one_table("learn-recurrent", headings, rows, data, recipe=_SERIES_RECIPE, seeds=seeds, steps=steps)
