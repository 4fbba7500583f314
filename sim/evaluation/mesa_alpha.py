"""What MESA's penalty does: bits of a difference between neighbour blocks, and errors, against alpha.

LeNet-5's fully connected layers alone are trained, on what the dense network's convolutions give for plain digits, so
that an alpha takes seconds. Errors are those of held-out digits: this is what alpha is chosen by.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn import functional

from eie.compress import datasets, train
from eie.compress.format.file import load
from eie.compress.format.mesa import differences
from eie.compress.train import recipes
from eie.sim.evaluation import mesa
from eie.sim.evaluation.prose import prose, text_of
from eie.sim.evaluation.section import Picture, Progress, Section, Table
from eie.sim.plots import style

ALPHAS = (0.0, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
BITS = 5
# Training digits that the layers learn from.
LEARNT = 20_000
# MESA's slides, LeNet-5's fc1: bits of a difference by alpha. They do not say which of the two alphas it is.
PUBLISHED = {0.01: 4.58, 0.1: 3.39, 1.0: 2.00}


@dataclass(frozen=True)
class Point:
    """An alpha: bits of a difference in fc1 by their entropy, the share of them that is 0, MESA's ratio of both layers,
    and the held-out error in percent with shared weights in floating point.
    """

    alpha: float
    bits: float
    zero: float
    ratio: float
    error: float


def _features(model: nn.Sequential, x: Tensor) -> Tensor:
    """What comes out of the convolutions."""
    cut = list(dict(model.named_children())).index("fc1")
    with torch.no_grad():
        return torch.cat([model[:cut](some) for some in x.split(1000)])


def point(
    alpha: float, dense: nn.Sequential, bench: recipes.Bench, seed: int, epochs: int, folder: Path
) -> Point:
    """Train the fully connected layers in alike blocks. bench : of features."""
    model = nn.Sequential(
        OrderedDict(
            (name, copy.deepcopy(dict(dense.named_children())[name])) for name in ("fc1", "relu1", "fc2")
        )
    )
    blocks = {"fc1": train.Blocks(mesa.N, alike=alpha), "fc2": train.Blocks(mesa.N // 2)}
    how = train.Training(epochs, 2e-3, seed=seed, folder=folder, progress=False)
    train.prune(model, bench.train, functional.cross_entropy, blocks=blocks, training=how)
    last = replace(how, epochs=1, lr=1e-4)
    shared = train.share(
        model, bench.train, functional.cross_entropy, bits=BITS, blocks=blocks, training=last
    )
    size = train.save(folder / "matrices.eie", model, shared).size
    deltas = differences(load(folder / "matrices.eie")[0].block_codes())
    return Point(
        alpha,
        mesa.entropy(deltas),
        float(np.mean(deltas == 0)),
        size.connected_ratios[1],
        100 - bench.accuracy(model),
    )


def section(
    seed: int,
    progress: Progress | None = None,
    *,
    alphas: Sequence[float] = ALPHAS,
    network: recipes.Recipe | None = None,
    held_out: int = mesa.HELD_OUT,
    epochs: int = 6,
) -> Section:
    """Every alpha, on MNIST. alphas, network, held_out, epochs : for quick tests."""
    of = recipes.RECIPES["lenet-5"] if network is None else network
    bench = recipes.Bench.of(of, datasets.load("mnist", None), held_out)
    folder = mesa.FOLDER / f"mnist-seed-{seed}"
    points = []
    with recipes.single_thread():
        # The dense network of `eie reproduce mesa`.
        how = replace(of.dense, seed=seed, progress=False, folder=folder / "checkpoints")
        dense = recipes.train_dense(bench, how)
        assert isinstance(dense, nn.Sequential)
        few = replace(
            bench,
            x=_features(dense, bench.x[:LEARNT]),
            y=bench.y[:LEARNT],
            test_x=_features(dense, bench.test_x),
        )
        for alpha in alphas:
            points.append(point(alpha, dense, few, seed, epochs, folder / f"alpha-{alpha:g}"))
            if progress:
                progress(f"alpha {alpha:g}")
    return Section(
        key="mesa-alpha",
        title="Bits of a difference against alpha",
        text=prose("mesa-alpha", seed=seed, bits=BITS, digits=len(few.x), epochs=epochs),
        tables=(_table(points),),
        pictures=(Picture("mesa_alpha", _draw(points, seed), text_of("mesa-alpha", "alt")),),
        data={"points": [vars(one) for one in points]},
    )


def _table(points: Sequence[Point]) -> Table:
    return Table.of(
        "LeNet-5's fc1 in 10 alike blocks",
        (
            ("alpha", lambda one: f"{one.alpha:g}"),
            ("bits of a delta", lambda one: f"{one.bits:.2f}"),
            ("published", lambda one: f"{PUBLISHED[one.alpha]:.2f}" if one.alpha in PUBLISHED else ""),
            ("deltas that are 0", lambda one: f"{100 * one.zero:.0f} %"),
            ("MESA's rule x", lambda one: f"{one.ratio:.1f}"),
            ("held-out error %", lambda one: f"{one.error:.2f}"),
        ),
        points,
        text_of("mesa-alpha", "note"),
    )


def _draw(points: Sequence[Point], seed: int) -> Figure:
    some = [one for one in points if one.alpha]
    caption = text_of("mesa-alpha", "caption", bits=BITS, seed=seed)
    with style.figure(caption, columns=2, size=(9.0, 4.3)) as (figure, (left, right)):
        left.plot(
            [one.alpha for one in some],
            [one.bits for one in some],
            "o-",
            color=style.COLOURS[0],
            label="here",
        )
        left.plot(list(PUBLISHED), list(PUBLISHED.values()), label="published", **style.PUBLISHED_STAR)
        for one in points:
            if not one.alpha:
                left.axhline(one.bits, color=style.GREY, linestyle=":", label="alpha 0")
        left.set_xscale("log")
        left.set_ylim(0, BITS)
        left.set_xlabel("alpha")
        left.set_ylabel("bits of a difference (entropy)")
        left.set_title("Bits against alpha")
        left.legend()
        right.plot([one.bits for one in points], [one.error for one in points], "o-", color=style.COLOURS[0])
        for one in points:
            right.annotate(f" {one.alpha:g}", (one.bits, one.error), fontsize=8.5)
        right.set_xlabel("bits of a difference (entropy)")
        right.set_ylabel("held-out error (%)")
        right.set_title("Error against bits, by alpha")
    return figure
