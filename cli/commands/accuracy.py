"""`eie accuracy`: how often a compressed network is right, in the accelerator's arithmetic and in floating point."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from eie.cli.inputs import INPUT_HELP, check_labels, is_graph, warn_clipped
from eie.cli.options import PATH, PRESET, gathered, refuse_useless
from eie.cli.partial import (
    PART,
    Exits,
    Leaving,
    Skips,
    leaves_early,
    measure_exits,
    measure_skips,
    print_partial,
)
from eie.compress.float_layers import FloatArray, float_forward
from eie.compress.format.file import load
from eie.compress.forward import FixedRun, check_network, fixed_forward
from eie.config import ArchConfig
from eie.errors import ModelError
from eie.fixed import IntArray
from eie.layer import CompressedLayer
from eie.program import check_kind
from eie.sim.chain import as_float
from eie.sim.exits import stages, trunk
from eie.sim.skips import Residual, SkipRun, has_gates, run_skips, skips_in_float
from eie.sim.widths import at_width
from eie.sim.workloads.inputs import in_fixed_point, is_real, read_inputs, read_vectors


@dataclass(frozen=True)
class Accuracy:
    """Inputs whose largest output is not their label's, by arithmetic; different : inputs on which the two disagree.

    clipped : of the real inputs, when they were quantised. saturations, writeback_saturations : over all layers.
    """

    inputs: int
    wrong: int
    wrong_float: int
    different: int
    clipped: int
    saturations: int
    writeback_saturations: int


def _arithmetics(
    layers: list[CompressedLayer], cfg: ArchConfig
) -> tuple[Callable[[IntArray], FixedRun | SkipRun], Callable[[npt.ArrayLike], FloatArray]]:
    """How a network runs in the accelerator's arithmetic and in floating point."""
    acc, act = cfg.acc_bits, cfg.act_bits
    if has_gates(layers):
        Residual.of(layers)
        return (
            lambda x: run_skips(layers, x, acc_bits=acc, act_bits=act),
            lambda x: skips_in_float(layers, x),
        )
    check_network(layers)
    decoded = as_float(layers)
    return lambda x: fixed_forward(layers, x, acc, act), lambda x: float_forward(decoded, x)


def _total(counts: tuple[int, ...] | int | None) -> int:
    return counts if isinstance(counts, int) else sum(counts or ())


def measure(layers: list[CompressedLayer], path: Path, cfg: ArchConfig, limit: int | None = None) -> Accuracy:
    """Run the first `limit` inputs of a file (default: all) through the network, twice.

    Raises
    ------
    ModelError : a file without such inputs, real numbers in them, or labels; LayerError : layers that are no chain.
    """
    fixed_run, real_run = _arithmetics(layers, cfg)
    held, _ = read_vectors(path, layers[0].inputs)
    real, labels = read_inputs(path, layers[0].inputs)
    if labels is None or not is_real(held):
        missing = "labels (integers, one for each input)" if labels is None else "real numbers or pixels"
        raise ModelError(f"{path} holds no {missing}")
    check_labels(labels, layers[-1].outputs, path)
    sums = np.zeros(6, np.int64)
    count = len(held) if limit is None else min(limit, len(held))
    with tqdm(total=count, unit="input", disable=None, leave=False) as bar:
        for start in range(0, count, PART):
            part = slice(start, min(start + PART, count))
            x, clipped = in_fixed_point(held[part], layers[0], cfg.act_bits)
            run = fixed_run(x)
            fixed, exact = run.y.argmax(axis=1), real_run(real[part]).argmax(axis=1)
            sums += np.array(
                [
                    np.count_nonzero(fixed != labels[part]),
                    np.count_nonzero(exact != labels[part]),
                    np.count_nonzero(fixed != exact),
                    clipped,
                    _total(run.saturations),
                    _total(run.writeback_saturations),
                ]
            )
            bar.update(part.stop - part.start)
    return Accuracy(count, *sums.tolist())


@click.command()
@click.argument("file", type=PATH)
@click.option(
    "--input",
    "input_file",
    required=True,
    type=PATH,
    metavar="X.npz",
    help=f"{INPUT_HELP} A second array holds their labels.",
)
@click.option("--weights", type=PATH, metavar="W.eie", help="Compressed layers for a graph (.onnx, .toml).")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Use only the first N inputs.")
@gathered("leaving", Leaving)
@click.option("--preset", **PRESET)
@click.option("--json", "json_out", is_flag=True, help="Print one JSON object.")
@click.pass_context
def accuracy(
    context: click.Context,
    file: Path,
    input_file: Path,
    weights: Path | None,
    limit: int | None,
    leaving: Leaving,
    preset: str,
    json_out: bool,
) -> None:
    """Count how many labelled inputs the network of a .eie FILE gets wrong, twice: in the accelerator's arithmetic,
    which is bit for bit what every engine computes, and in floating point with the same weights. For a graph (.onnx,
    .toml) the second count uses the trained weights.

    \b
    Example:
      eie accuracy lenet.eie --input examples/lenet_300_100/mnist_test_1000.npz
      eie accuracy net.onnx --weights net.eie --input x.npz
      eie accuracy exits.eie --input x.npz --held-out h.npz --budget 0.1
      eie accuracy widths.eie --input x.npz --width 0.5
      eie accuracy skips.eie --input x.npz --counted 20
    """
    cfg = ArchConfig.preset(preset)
    graph = is_graph(file)
    partial: Exits | Skips | None = None
    if graph:
        useless = ("--exit", "--held-out", "--width")
        refuse_useless(context, useless, f"for {file}: a graph has neither early exits nor widths")
        leaves_early(context, leaving)
        from eie.cli.graphs import measure_graph  # onnx takes long to import

        found = Accuracy(*measure_graph(file, input_file, weights, cfg, limit))
    else:
        refuse_useless(context, ("--weights",), f"for {file}: it holds layers, not a graph")
        layers = load(file)
        found, partial = _of_layers(context, layers, file, input_file, cfg, leaving, limit)
        if not json_out:
            warn_clipped(input_file, found.clipped, layers[0], cfg.act_bits)
    if json_out:
        key = "exits" if isinstance(partial, Exits) else "skips"
        click.echo(json.dumps(asdict(found) | ({key: asdict(partial)} if partial else {})))
        return
    _print(found, cfg, "float weights" if graph else "same weights ")
    if partial:
        print_partial(partial, found.inputs, cfg)


def _of_layers(
    context: click.Context,
    layers: list[CompressedLayer],
    file: Path,
    input_file: Path,
    cfg: ArchConfig,
    leaving: Leaving,
    limit: int | None,
) -> tuple[Accuracy, Exits | Skips | None]:
    """Measure the layers of a .eie file, and what early exits or gates make of them."""
    gates = has_gates(layers)
    if gates:
        refuse_useless(context, ("--exit", "--held-out", "--width"), f"for {file}: its gates say what runs")
    early = leaves_early(context, leaving, gates)
    layers = layers if leaving.width is None else at_width(layers, leaving.width)
    for layer in layers:
        check_kind(layer, cfg)
    if early:
        stages(layers)
    found = measure(trunk(layers) if early else layers, input_file, cfg, limit)
    if early:
        return found, measure_exits(layers, input_file, cfg, leaving, limit)
    if gates:
        return found, measure_skips(layers, input_file, cfg, leaving.counted, limit)
    return found, None


def _print(found: Accuracy, cfg: ArchConfig, which: str) -> None:
    """Print both counts; which : the weights of the second."""

    def share(part: int) -> str:
        return f"{part:,} wrong ({100 * part / found.inputs:.2f} %)"

    click.echo(f"{found.inputs:,} inputs")
    click.echo(f"accelerator   {share(found.wrong)}, {cfg.acc_bits}-bit accumulators")
    click.echo(f"{which} {share(found.wrong_float)}, in floating point")
    click.echo(
        f"{found.different:,} answers differ; {found.saturations:,} sums and {found.writeback_saturations:,} "
        "outputs clipped"
    )
