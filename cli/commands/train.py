"""`eie train`: the networks of the Deep Compression paper, trained, compressed and measured."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from eie.blocks import ORDERS
from eie.cli.options import PATH, gathered, option, refuse_useless
from eie.cli.output import console, make_folder, print_table, say, write
from eie.cli.pages import train_pictures
from eie.cli.pages.sizes import two_rules
from eie.compress import datasets
from eie.compress.datasets import SIDE
from eie.errors import MismatchError, ModelError

if TYPE_CHECKING:
    from eie.compress.train.recipes import Bench, Recipe, Result
    from eie.compress.train.sensitivity import Choice, Sensitivity

NAMES = ("lenet-300-100", "lenet-5")
# Recurrent networks, which tell series apart.
RECURRENT = {"gru": "japanese-vowels", "lstm": "japanese-vowels"}
_BITS = tuple(range(1, 9))
_HEADINGS = (
    "layer",
    "weights",
    "kept %",
    "code bits P+Q",
    "+H",
    "index bits P+Q",
    "+H",
    "size %",
    "published: kept %",
    "code bits",
    "+H",
    "index bits",
    "+H",
    "size %",
)
_ERRORS = ("dense_error", "teacher_error", "pruned_error", "error", "fixed_error")
# The last ones of the headings.
_PUBLISHED_COLUMNS = 6


class Unreachable(MismatchError):
    """A budget that no densities keep: exit status 1."""


@dataclass(frozen=True)
class Digits:
    """Which images, the folder that they are in, and how many of the training images are held back."""

    folder: Path | None = option(
        "--data",
        type=PATH,
        show_default="build/DATA-SET",
        metavar="FOLDER",
        help="Folder with the four IDX files, plain or .gz.",
    )
    data_set: str = option(
        "--data-set", type=click.Choice(list(datasets.DATA_SETS)), default="mnist", help="Images to train on."
    )
    holdout: int = option(
        "--holdout",
        type=click.IntRange(0),
        default=0,
        show_default=False,
        metavar="N",
        help="Hold out the last N training digits and measure on them, not on the test digits. Use it to try a "
        "recipe.",
    )


@dataclass(frozen=True)
class Scan:
    """Only the dense network and its sensitivity; budget : points that one-shot pruning may cost."""

    scan: bool = option(
        "--scan",
        is_flag=True,
        help="Train only the dense network, and measure how sensitive each of its layers is to pruning.",
    )
    budget: float | None = option(
        "--budget",
        type=float,
        metavar="POINTS",
        help="Find densities at which one-shot pruning costs at most this many percentage points (implies --scan).",
    )


@dataclass(frozen=True)
class InBlocks:
    """Fully connected layers in blocks (docs/blocks.md) instead of pruned ones; blocks : None without."""

    blocks: int | None = option(
        "--blocks",
        type=click.IntRange(1),
        metavar="N",
        help="Put fully connected layers into N blocks instead of pruning them.",
    )
    distinct: int = option(
        "--distinct",
        type=click.IntRange(0),
        default=0,
        show_default="N",
        metavar="K",
        help="Number of different blocks, which are used in turn.",
    )
    alike: float = option(
        "--alike", type=float, default=0.0, metavar="ALPHA", help="MESA's penalty between neighbour blocks."
    )
    order: str = option(
        "--order",
        type=click.Choice(ORDERS),
        default="shuffled",
        help="Order of the blocks' inputs and outputs.",
    )
    bits: int | None = option(
        "--bits",
        type=click.IntRange(1, 7),
        show_default="of the recipe",
        metavar="BITS",
        help="Bits of a code in blocks.",
    )

    def recipe(self, of: Recipe, seed: int) -> Recipe:
        """The recipe with these blocks."""
        if self.blocks is None:
            if self.distinct or self.alike or self.order != "shuffled" or self.bits:
                raise ModelError(
                    "--distinct, --alike, --order and --bits are about blocks: give --blocks as well"
                )
            return of
        from eie.compress.train.blocks import Blocks

        drawn = seed if self.order == "permuted" else 0
        return of.in_blocks(Blocks(self.blocks, self.distinct, self.order, self.alike, drawn), self.bits)

    @property
    def suffix(self) -> str:
        """Of the folder's name: networks of other settings have other checkpoints."""
        if self.blocks is None:
            return ""
        parts = [f"-{self.blocks}-blocks"]
        parts += [f"-{self.distinct}-distinct"] if self.distinct else []
        parts += [f"-{self.order}"] if self.order != "shuffled" else []
        parts += [f"-alike-{self.alike:g}"] if self.alike else []
        return "".join([*parts, f"-{self.bits}-bits" if self.bits else ""])


@click.command()
@click.argument("name", type=click.Choice([*NAMES, *RECURRENT]))
@click.option(
    "-o",
    "--out",
    type=PATH,
    show_default="out/train/NAME, with another data set or blocks these as well",
    metavar="FOLDER",
    help="Where the .eie file, the pictures and the checkpoints go.",
)
@gathered("digits", Digits)
@click.option("--seed", type=click.IntRange(0), default=1, help="Seed of everything random.")
@gathered("in_blocks", InBlocks)
@gathered("scan", Scan)
@click.option("--quiet", is_flag=True, help="Show no progress bars.")
@click.option("--json", "json_out", is_flag=True, help="Print one JSON object.")
def train(
    name: str,
    out: Path | None,
    digits: Digits,
    seed: int,
    in_blocks: InBlocks,
    scan: Scan,
    quiet: bool,
    json_out: bool,
) -> None:
    """Train a network of the Deep Compression paper on complete MNIST, prune it while it learns, share its weights and
    train them, write the .eie file, and measure everything on all test digits, in float and in the accelerator's
    arithmetic. A run that was killed goes on from its checkpoints. Or train a recurrent network (gru, lstm) on series,
    and run it a step at a time on the accelerator.

    Needs PyTorch (pip install 'eie-sim[train]') and the data (eie data mnist, eie data japanese-vowels).

    \b
    Example:
      eie train lenet-300-100
      eie train lenet-300-100 --budget 0.5
      eie train lenet-5 --blocks 10 --distinct 2
      eie train gru
    """
    recipes = _recipes()
    if name in RECURRENT:
        _recurrent(
            name, Path("out/train") / name if out is None else out, digits.folder, seed, quiet, json_out
        )
        return
    # Of other images: not beside MNIST's checkpoints.
    mnist = digits.data_set == "mnist"
    base = Path("out/train") / (name if mnist else f"{name}-{digits.data_set}")
    place = base.with_name(base.name + in_blocks.suffix) if out is None else out
    recipe = in_blocks.recipe(recipes.RECIPES[name], seed)
    images = datasets.load(digits.data_set, digits.folder)
    make_folder(place)
    bench = recipes.Bench.of(recipe, images, digits.holdout)
    budget = scan.budget
    if budget is not None and not 0 <= budget <= 100:
        raise ModelError(f"budget must be from 0 to 100 percentage points, not {budget:g}")
    if (scan.scan or budget is not None) and in_blocks.blocks is not None:
        raise ModelError("--scan and --budget are about pruning: not with --blocks")
    if scan.scan or budget is not None:
        _scan(bench, place, seed, budget, not quiet, json_out)
        return
    result = recipes.run_recipe(bench, place, seed, not quiet, base if out is None else None)
    _draw(bench, result, place)
    summary = as_json(result)
    write(place / "result.json", json.dumps(summary, indent=1) + "\n")
    if json_out:
        click.echo(json.dumps(summary))
        return
    print_result(result, mnist and in_blocks.blocks is None)
    click.echo(f"\nEverything is in {place}/; run `eie info {result.path}` for where the bytes go.")


def _recipes() -> Any:
    try:
        from eie.compress.train import recipes
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise ModelError(
            "PyTorch is not installed: pip install 'eie-sim[train]' (from a clone: pip install -e '.[train]')"
        ) from None
    return recipes


# ---- recurrent networks ------------------------------------------------------------------------------------


def _recurrent(name: str, place: Path, data: Path | None, seed: int, quiet: bool, json_out: bool) -> None:
    """Train, compress and measure a recurrent network."""
    context = click.get_current_context()
    useless = (
        "--data-set",
        "--holdout",
        "--scan",
        "--budget",
        "--blocks",
        "--distinct",
        "--alike",
        "--order",
        "--bits",
    )
    refuse_useless(context, useless, f"for {name}: they are about networks for digits")
    from eie.compress.train.series import run_series
    from eie.sim.chain import load
    from eie.sim.networks.stepping import run_steps

    learnt, test = datasets.load_series(RECURRENT[name], data)
    make_folder(place)
    result = run_series(name, learnt, test, place, seed, progress=not quiet)
    stepped = run_steps(load(result.path), test.values)
    size = result.report.size
    summary = {
        "network": name,
        "tested": len(test.values),
        "dense_error": round(result.dense_error, 4),
        "pruned_error": round(result.pruned_error, 4),
        "error": round(result.error, 4),
        "fixed_error": round(stepped.error(test.labels), 4),
        "dense_bytes": size.dense_bytes,
        "bytes": size.total_bytes,
        "steps": stepped.steps,
        "cycles_per_step": (stepped.cycles or 0) / stepped.steps,
        "energy_nj_per_step": 1000 * (stepped.energy_uj or 0) / stepped.steps,
        "clipped": stepped.clipped,
    }
    write(place / "result.json", json.dumps(summary, indent=1) + "\n")
    if json_out:
        click.echo(json.dumps(summary))
        return
    errors = [
        ["dense", f"{result.dense_error:.2f}"],
        ["pruned", f"{result.pruned_error:.2f}"],
        ["pruned and shared", f"{result.error:.2f}"],
        ["the same in the accelerator's arithmetic", f"{summary['fixed_error']:.2f}"],
    ]
    print_table((f"error on {len(test.values):,} series (%)", "here"), errors)
    click.echo(
        f"\n{result.path}: {size.total_bytes:,} bytes, {size.dense_bytes:,} as float32; a step takes "
        f"{summary['cycles_per_step']:,.0f} cycles and {summary['energy_nj_per_step']:,.1f} nJ on 64 PEs (mean of "
        f"{stepped.steps:,} steps); {stepped.clipped:,} inputs clipped"
    )


# ---- the recipe's outcome ----------------------------------------------------------------------------------


def table_rows(result: Result) -> list[list[str]]:
    """Rows like the paper's tables 2 and 3, each with the published one of _PUBLISHED_COLUMNS beside it."""
    rows = []
    for layer in (*result.size.layers, None):
        parts = result.size.layers if layer is None else (layer,)
        dense = sum(part.rows * part.cols for part in parts)
        kept = sum(part.nnz for part in parts)
        size = result.size.total_bytes if layer is None else layer.nbytes
        streams: list[Callable[[Any], Any]] = [lambda p: p.codes, lambda p: p.positions]
        bits = []
        for of in streams:
            bits += [
                sum(measure(of(p)) for p in parts) / kept
                for measure in (lambda s: s.plain, lambda s: s.coded)
            ]
        row = result.recipe.published.total if layer is None else result.recipe.published.rows[layer.name]
        published = (row.kept, row.code_bits, row.code_coded, row.index_bits, row.index_coded)
        rows.append(
            [
                "whole file" if layer is None else layer.name,
                f"{dense:,}",
                f"{100 * kept / dense:.2f}",
                *(f"{b:.2f}" for b in bits),
                f"{100 * size / sum(part.dense_bytes for part in parts):.2f}",
                *(f"{value:g}" for value in published),
                f"{row.rate:.2f}",
            ]
        )
    return rows


def print_result(result: Result, compare: bool = True) -> None:
    """The tables of a recipe; compare : with what was published, which is about MNIST."""
    published = result.recipe.published
    out = console()
    shown = len(_HEADINGS) - (0 if compare else _PUBLISHED_COLUMNS)
    print_table(_HEADINGS[:shown], [row[:shown] for row in table_rows(result)], out=out)
    say(
        "P+Q: pruned and shared; +H: entropy-coded. Bits are per stored weight; index bits include what "
        "bridges long runs of zeros. Size: everything in the file, of weights and biases as float32.",
        out=out,
    )
    out.print()
    errors = [
        ["dense", f"{result.dense_error:.2f}", f"{published.dense_error:.2f}"],
        ["the same trained on with distorted images: the teacher", f"{result.teacher_error:.2f}", ""],
        ["pruned", f"{result.pruned_error:.2f}", ""],
        ["pruned and shared", f"{result.error:.2f}", f"{published.error:.2f}"],
        ["the same in the accelerator's arithmetic", f"{result.fixed_error:.2f}", ""],
    ]
    headings = (f"error on {result.tested:,} images (%)", "here", "published")
    shown = len(headings) - (not compare)
    print_table(headings[:shown], [row[:shown] for row in errors], out=out)
    size = result.size
    there = f" (published: {published.rate:g} x)" if compare else ""
    out.print(
        f"\n{result.path}: {size.total_bytes:,} bytes, {size.ratio:.1f} x smaller than {size.dense_bytes:,}{there}; "
        f"{result.saturations:,} sums clipped; "
        f"{result.seconds:.0f} s, {result.cpu_seconds:.0f} s of one core",
        soft_wrap=True,
    )
    if text := two_rules(size):
        out.print(text, soft_wrap=True)
    out.print(
        "The dense network learnt from plain images; the teacher and the compressed one from images turned, stretched "
        "and shifted at random.",
        soft_wrap=True,
    )


def as_json(result: Result) -> dict[str, Any]:
    """The figures of a recipe for scripts."""
    return {
        "network": result.recipe.name,
        "tested": result.tested,
        **{name: round(getattr(result, name), 4) for name in _ERRORS},
        "saturations": result.saturations,
        "dense_bytes": result.size.dense_bytes,
        "bytes": result.size.total_bytes,
        "ratio": result.size.ratio,
        "fully_connected_ratio": result.size.connected_ratios[0],
        "mesa_ratio": result.size.connected_ratios[1],
        "seconds": result.seconds,
        "cpu_seconds": result.cpu_seconds,
        "layers": [
            {"name": p.name, "rows": p.rows, "cols": p.cols, "kept": p.nnz, "bytes": p.nbytes}
            for p in result.size.layers
        ],
    }


def _draw(bench: Bench, result: Result, place: Path) -> None:
    import copy

    import torch

    from eie.compress.train.sharing import cluster
    from eie.compress.train.weights import find_weights

    lines: dict[str, list[float]] = {}
    for label, net in (("pruned, then shared", result.pruned), ("shared only", result.dense)):
        lines[label] = []
        for bits in _BITS:
            trial = copy.deepcopy(net)
            with torch.no_grad():
                for weight in find_weights(trial):
                    weight.parameter.copy_(cluster(weight.parameter, bits).decode())
            lines[label].append(bench.accuracy(trial))
    name = result.recipe.name
    picture = train_pictures.accuracy_against_bits(
        name, _BITS, lines, 100 - result.dense_error, result.tested
    )
    write(place / "accuracy_against_bits.png", picture)
    first = find_weights(result.pruned)[0].parameter.detach()
    if first.dim() == 2 and first.shape[1] == SIDE * SIDE:
        write(place / "mask.png", train_pictures.first_layer_mask(name, (first != 0).numpy(), SIDE))


# ---- the scan ----------------------------------------------------------------------------------------------


def _scan(bench: Bench, place: Path, seed: int, budget: float | None, progress: bool, json_out: bool) -> None:
    from eie.compress.train.recipes import single_thread, train_dense
    from eie.compress.train.sensitivity import choose, scan

    recipe: Recipe = bench.recipe
    training = replace(
        recipe.dense, seed=seed, progress=progress, evaluate=bench.accuracy, folder=place / "checkpoints"
    )
    choice: Choice | None = None
    with single_thread():
        model = train_dense(bench, training)
        found: Sensitivity = scan(model, bench.accuracy, progress=progress)
        if budget is not None:
            choice = choose(model, bench.accuracy, budget, found)
    picture = train_pictures.sensitivity(recipe.name, found, len(bench.test_x))
    write(place / "sensitivity.png", picture)
    if json_out:
        chosen = vars(choice) if choice else None
        click.echo(
            json.dumps(
                {"baseline": found.baseline, "densities": found.densities, "scores": found.scores}
                | {"choice": chosen}
            )
        )
    else:
        headings = ("layer", *(f"{100 * d:g} % kept" for d in found.densities))
        print_table(headings, [[layer, *(f"{s:.2f}" for s in row)] for layer, row in found.scores.items()])
        click.echo(f"Accuracy in percent, the other layers dense; the dense network: {found.baseline:.2f} %.")
        click.echo(f"wrote {place / 'sensitivity.png'}")
        if choice:
            each = ", ".join(f"{layer} {100 * d:g} %" for layer, d in choice.densities.items())
            click.echo(f"densities: {each}: {choice.score:.2f} % in one shot")
    if choice and not choice.reached:
        raise Unreachable(
            f"no densities found that cost at most {budget:g} points: the best reach {choice.score:.2f} %, "
            f"{found.baseline - choice.score:.2f} points below the dense network"
        )
