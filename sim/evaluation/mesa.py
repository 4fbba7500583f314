"""MESA's tables 2 and 3 once more: LeNet-5 dense, pruned, and in blocks that are free, alike, or few and used in turn.

Everything is trained on the training digits but the last HELD_OUT, on which settings are chosen, and measured on the
test digits; `whole` trains with the settings chosen on all training digits, as the published networks were.
Checkpoints are in out/train/mesa: a run that was killed goes on where it was.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from eie.compress import datasets
from eie.compress.format.file import load
from eie.compress.format.mesa import differences
from eie.compress.train import recipes
from eie.compress.train.blocks import Blocks
from eie.compress.train.recipes import Recipe, Result
from eie.sim.evaluation.prose import prose, text_of
from eie.sim.evaluation.section import Progress, Section, Table, each

HELD_OUT = 10_000
FOLDER = Path("out/train/mesa")
N = 10
# Share of the weights of conv2 that are kept: where fully connected layers are small, they are most of the file.
CONV2 = 0.14
# Share of the weights that an unstructured fully connected layer keeps: as many as blocks have.
DENSITY = 1 / N


@dataclass(frozen=True)
class Row:
    """One way to compress the fully connected layers.

    distinct : blocks that differ; None without blocks. alike, order : as of `eie.compress.train.Blocks`. density : of a
    layer that is not in blocks. bits : of a code. conv2 : share of conv2's weights that are kept. error, ratio : as
    published (MESA's slides), in percent, and by its rule.
    """

    key: str
    what: str
    bits: int
    distinct: int | None = None
    alike: float = 0.0
    order: str = "shuffled"
    density: float = 1.0
    conv2: float = CONV2
    error: float | None = None
    ratio: float | None = None

    def recipe(self, of: Recipe) -> Recipe:
        """The recipe for this row: the same schedule and the same convolutions in each."""
        distinct = 0 if self.distinct in (None, N) else self.distinct
        found = of.in_blocks(Blocks(N, distinct or 0, self.order, self.alike), self.bits)
        found = replace(found, densities={**found.densities, "conv2": self.conv2})
        if self.distinct is None:
            densities = dict.fromkeys(found.blocks, self.density)
            found = replace(found, blocks={}, densities={**found.densities, **densities})
        return found


ROWS = (
    Row("fc-q-h", "FC+Q+H: all weights, shared", 5, error=0.72),
    Row("deepc", "DeepC: pruned anywhere, shared", 5, density=DENSITY, error=0.71),
    Row("mpdc", "MPDC: free blocks in random order, shared", 5, N, order="permuted", error=0.92),
    Row("m-q-h", "M+Q+H: free blocks", 5, N, error=0.97),
    Row("mesa", "MESA: alike blocks, alpha 0.1", 5, N, 0.1, error=0.96, ratio=135.0),
    Row("k5", "5 distinct blocks", 3, 5),
    Row("k2", "2 distinct blocks", 4, 2),
    Row("k1", "1 distinct block", 4, 1),
)
PUBLISHED_DENSE = 0.66
# The rows that figures are claimed of; the others are beside them in `mesa-all`.
CLAIMED = tuple(row for row in ROWS if row.key in ("mesa", "k2"))
# On all digits: with the recipe's own share of conv2, and a row that may be larger for less error.
WHOLE = (
    *(replace(row, conv2=0.16) for row in reversed(CLAIMED)),
    Row("mesa-003", "alike blocks, alpha 0.03", 5, N, 0.03, conv2=0.16),
)


@dataclass(frozen=True)
class Measured:
    """A row as it came out: errors in percent of the held-out digits, if any were, and of the test digits, in the
    accelerator's arithmetic; ratios by both rules; bytes of the file; bits of a delta, by their entropy.
    """

    row: Row
    held_out: float | None
    error: float
    mesa_ratio: float
    ratio: float
    nbytes: int
    delta_bits: float


def entropy(symbols: np.ndarray[tuple[int], np.dtype[np.uint8]]) -> float:
    """Bits of a symbol, if each is coded by itself."""
    counts = np.bincount(symbols)
    shares = counts[counts > 0] / max(symbols.size, 1)
    return float(-(shares * np.log2(shares)).sum())


def measured(row: Row, result: Result, held_out: float | None, test_error: float) -> Measured:
    """The figures of a row's network."""
    layers = [layer for layer in load(result.path) if layer.name == "fc1"]
    deltas = differences(layers[0].block_codes()) if layers[0].blocks else np.zeros(0, np.uint8)
    size = result.size
    return Measured(
        row,
        held_out,
        test_error,
        size.connected_ratios[1],
        size.ratio,
        size.total_bytes,
        entropy(deltas),
    )


def section(
    seed: int,
    progress: Progress | None = None,
    *,
    key: str = "mesa",
    data_set: str = "mnist",
    rows: Sequence[Row] = CLAIMED,
    network: Recipe | None = None,
    held_out: int = HELD_OUT,
) -> Section:
    """Train what is not trained yet, and measure. held_out : digits not trained on; with 0 all are, and none is for
    choosing. network : for quick tests.
    """
    of = recipes.RECIPES["lenet-5"] if network is None else network
    digits = datasets.load(data_set, None)
    folder = FOLDER / f"{data_set}{'' if held_out else '-whole'}-seed-{seed}"
    test = recipes.Bench.of(of, digits)
    found: list[Measured] = []
    dense = 100.0
    for name in each([row.key for row in rows], progress, "trained "):
        row = next(row for row in rows if row.key == name)
        bench = recipes.Bench.of(row.recipe(of), digits, held_out)
        result = recipes.run_recipe(bench, folder / row.key, seed, False, folder)
        dense = 100 - test.accuracy(result.dense)
        held = result.fixed_error if held_out else None
        found.append(measured(row, result, held, test.fixed_error(result.path)[0]))
    return Section(
        key=key,
        title=f"MESA's comparison on {data_set}",
        text=prose("mesa", data_set=data_set, seed=seed, held_out=held_out),
        tables=(_table(found, dense, data_set),),
        data={
            "dense_error": dense,
            "rows": {
                one.row.key: {name: value for name, value in vars(one).items() if name != "row"}
                for one in found
            },
        },
    )


whole = functools.partial(section, key="mesa-whole", rows=WHOLE, held_out=0)
everything = functools.partial(section, key="mesa-all", rows=ROWS)
fashion = functools.partial(section, key="mesa-fashion", data_set="fashion-mnist", rows=ROWS)


def _table(found: Sequence[Measured], dense: float, data_set: str) -> Table:
    mnist = data_set == "mnist"

    def published(value: float | None) -> str:
        return f"{value:g}" if mnist and value is not None else ""

    rows = [
        ["FC: dense, float32", "", "", f"{dense:.2f}", published(PUBLISHED_DENSE), "1.0", "", "1.0", "", ""]
    ]
    rows += [
        [
            one.row.what,
            str(one.row.bits),
            "" if one.held_out is None else f"{one.held_out:.2f}",
            f"{one.error:.2f}",
            published(one.row.error),
            f"{one.mesa_ratio:.1f}",
            published(one.row.ratio),
            f"{one.ratio:.1f}",
            f"{one.nbytes:,}",
            f"{one.delta_bits:.2f}" if one.delta_bits else "",
        ]
        for one in found
    ]
    headings = (
        "fully connected layers",
        "bits",
        "held-out error %",
        "test error %",
        "published",
        "MESA's rule x",
        "published",
        "whole file x",
        "bytes",
        "bits of a delta",
    )
    title = f"LeNet-5's fully connected layers in {N} blocks and otherwise, {data_set}"
    return Table(title, headings, rows, text_of("mesa", "note"))
