"""What the parts `learn-...` of `eie reproduce` have in common: digits, cells that are kept, figures of a network.

Each part trains networks in cells. What a cell found is kept in build/learn/, its training's checkpoints beside it, so
that a part that was killed goes on, and a second call shows what is there. A cell that was made by other settings is
another cell. Networks learn from the first `LEARNT` training digits; choices are made on the last 10,000 (`HELD_OUT`);
test digits are looked at once, in the end.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

import eie
from eie.compress import datasets, train
from eie.compress.format.file import write_atomically
from eie.compress.forward import quantize_inputs
from eie.compress.pipeline import compress_network
from eie.compress.train.recipes import RECIPES, Batches, Bench, single_thread
from eie.errors import ModelError
from eie.fixed import IntArray
from eie.layer import CompressedLayer
from eie.sim.chain import Chain
from eie.sim.engines.cpu import CpuNetwork

FOLDER = Path("build/learn")
HELD_OUT = 10_000
# Training digits that networks learn from: so few that all parts take minutes, not hours.
LEARNT = 20_000
SETS = ("mnist", "fashion-mnist")
# Digits whose cycles are counted, and the machine they are counted on.
COUNTED = 20
PES = 64
_CALIBRATION = 500
Figures = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Digits:
    """A data set for one network: what it learns from, what choices are made on, and what it is measured on."""

    bench: Bench
    held_x: Tensor
    held_y: Tensor

    def few(self, count: int) -> Batches:
        """Training batches of the first `count` digits."""
        return Batches(self.bench.x[:count], self.bench.y[:count], min(self.bench.recipe.batch, count))

    def held(self, model: nn.Module) -> float:
        """Wrong answers of held-out digits, in percent."""
        return 100 - train.accuracy(Batches(self.held_x, self.held_y, 1000, shuffle=False))(model)

    def error(self, model: nn.Module) -> float:
        """Wrong answers of test digits, in percent."""
        return 100 - self.bench.accuracy(model)


@lru_cache(maxsize=4)
def digits(data_set: str, network: str) -> Digits:
    """A data set for a network of the recipes. Raises `ModelError` if it is not there: `eie data`."""
    both = [Bench.of(RECIPES[network], datasets.load(data_set), held) for held in (HELD_OUT, 0)]
    held, whole = both
    bench = replace(whole, x=held.x[:LEARNT], y=held.y[:LEARNT])
    return Digits(bench, held.test_x, held.test_y)


# ---- cells -------------------------------------------------------------------------------------------------


def cell(name: str, make: Callable[[Path], Figures], /, **settings: Any) -> Figures:
    """What `make` finds, or found with these settings: it gets a folder for its checkpoints.

    Floating point with one thread, so that a cell made anew on the same machine is the same.
    """
    text = json.dumps({"name": name, "digits": LEARNT, **settings}, sort_keys=True)
    key = f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    path = FOLDER / f"{key}.json"
    if path.exists():
        try:
            kept: Figures = json.loads(path.read_text())
            return kept
        except ValueError:
            raise ModelError(f"{path} is not a result of `eie reproduce learn`: delete it") from None
    FOLDER.mkdir(parents=True, exist_ok=True)
    with single_thread():
        found = {"settings": settings, **make(FOLDER / key)}
    write_atomically(path, (json.dumps(found, indent=1) + "\n").encode())
    return found


def how(epochs: int, seed: int, folder: Path | None = None, lr: float = 2e-3, **other: Any) -> train.Training:
    """A training without a bar."""
    return train.Training(epochs=epochs, lr=lr, seed=seed, folder=folder, progress=False, **other)


def fresh(network: str, seed: int) -> nn.Module:
    """An untrained network of a recipe."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return RECIPES[network].build()


def dense(data_set: str, network: str, seed: int, epochs: int, learnt: int | None = None) -> nn.Module:
    """The dense network, trained on plain digits, `LEARNT` or fewer; once for all parts."""
    learnt = learnt or LEARNT
    model, place = fresh(network, seed), FOLDER / f"dense-{data_set}-{network}-{seed}-{epochs}-{learnt}"
    with single_thread():
        loader = digits(data_set, network).few(learnt)
        train.fit(model, loader, functional.cross_entropy, how(epochs, seed, place))
    return model


# ---- figures of a network ----------------------------------------------------------------------------------


def answers(layers: Sequence[CompressedLayer], x: Tensor) -> npt.NDArray[np.int16]:
    """What layers answer to images, [images, outputs of the last], in the accelerator's arithmetic."""
    net = CpuNetwork(layers, threads=1)
    return net.run(net.quantize(x.reshape(len(x), -1).numpy()))


def quantized(layers: Sequence[CompressedLayer], x: Tensor) -> IntArray:
    """Images as activations of the first layer, [images, inputs]."""
    return quantize_inputs(layers[0], x.reshape(len(x), -1).numpy())


def wrong(found: npt.NDArray[Any], right: Tensor) -> float:
    """Answers [images, classes] whose largest is not the right class, in percent; or the classes answered, [images]."""
    classes = found.argmax(axis=1) if found.ndim > 1 else found
    return 100 * float(np.mean(classes != right.numpy()))


def per_digit(cycles: int | None, energy_uj: float | None) -> Figures:
    """Cycles and energy of a digit, of a run of `COUNTED`."""
    return {"cycles": (cycles or 0) / COUNTED, "energy_nj": 1000 * (energy_uj or 0.0) / COUNTED}


def figures(data: Digits, model: nn.Module, shared: train.Shared) -> Figures:
    """Bytes of the file, error in the accelerator's arithmetic, cycles and energy of a digit on `PES` PEs."""
    layers, report = compress_network(
        train.layers_of(model, shared, data.bench.x[:_CALIBRATION]),
        calibration=data.bench.x[:_CALIBRATION].reshape(_CALIBRATION, -1).double().numpy(),
    )
    x = data.bench.test_x[:COUNTED].reshape(COUNTED, -1).numpy()
    net = Chain(layers)
    run = net.run(x.astype(np.float64), eie.sized_for(eie.ArchConfig(n_pe=PES), *net), engine="fast")
    return {
        "bytes": report.size.total_bytes,
        "error": wrong(answers(layers, data.bench.test_x), data.bench.test_y),
        **per_digit(run.cycles, run.energy_uj),
        "weights": sum(layer.nnz for layer in layers),
    }


def finished(
    data: Digits,
    model: nn.Module,
    bits: int,
    seed: int,
    folder: Path | None = None,
    epochs: int = 1,
) -> Figures:
    """`figures` of a model whose weights are shared first, with the errors before and after in floating point."""
    before = data.error(model)
    twin = copy.deepcopy(model)
    loader = data.bench.train
    shared = train.share(
        twin, loader, functional.cross_entropy, bits=bits, training=how(epochs, seed, folder, lr=1e-4)
    )
    return {"error_float": before, "error_shared": data.error(twin), **figures(data, twin, shared)}


def spread(values: list[float], digits: int = 2) -> str:
    """Mean and range of what several seeds gave.

    >>> spread([1.0, 1.5, 2.0]), spread([1.0])
    ('1.50 (1.00 to 2.00)', '1.00')
    """
    mean = f"{np.mean(values):,.{digits}f}"
    return (
        mean
        if min(values) == max(values)
        else f"{mean} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"
    )


def spreads(found: Sequence[Figures], places: Mapping[str, int]) -> list[str]:
    """A cell of a table for each figure of several seeds; places : its decimals, by the figure's name."""
    return [spread([float(one[name]) for one in found], digits) for name, digits in places.items()]
