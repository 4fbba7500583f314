"""`eie accuracy`: how often a compressed network is right, in the accelerator's arithmetic and in floating point."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from tqdm import tqdm

from eie.capacity import sized_for
from eie.cli.inputs import INPUT_HELP, check_labels, is_graph, warn_clipped
from eie.cli.options import PATH, PRESET, RealRange, gathered, option, refuse_useless
from eie.compress.float_layers import float_forward
from eie.compress.format.file import load
from eie.compress.forward import check_network, fixed_forward
from eie.config import ArchConfig
from eie.errors import ConfigError, ModelError
from eie.layer import CompressedLayer
from eie.program import check_kind
from eie.sim.chain import as_float, run_network
from eie.sim.exits import choose_threshold, leave, logits_at_exits, run_with_exits, stages, totals, trunk
from eie.sim.widths import at_width
from eie.sim.workloads.inputs import in_fixed_point, is_real, read_inputs, read_vectors

# Inputs between two steps of the progress bar.
_PART = 250


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


def measure(layers: list[CompressedLayer], path: Path, cfg: ArchConfig, limit: int | None = None) -> Accuracy:
    """Run the first `limit` inputs of a file (default: all) through the network, twice.

    Raises
    ------
    ModelError : a file without such inputs, real numbers in them, or labels; LayerError : layers that are no chain.
    """
    check_network(layers)
    held, _ = read_vectors(path, layers[0].inputs)
    real, labels = read_inputs(path, layers[0].inputs)
    if labels is None or not is_real(held):
        missing = "labels (integers, one for each input)" if labels is None else "real numbers or pixels"
        raise ModelError(f"{path} holds no {missing}")
    check_labels(labels, layers[-1].outputs, path)
    decoded = as_float(layers)
    sums = np.zeros(6, np.int64)
    count = len(held) if limit is None else min(limit, len(held))
    with tqdm(total=count, unit="input", disable=None, leave=False) as bar:
        for start in range(0, count, _PART):
            part = slice(start, min(start + _PART, count))
            x, clipped = in_fixed_point(held[part], layers[0], cfg.act_bits)
            run = fixed_forward(layers, x, cfg.acc_bits, cfg.act_bits)
            fixed, exact = run.y.argmax(axis=1), float_forward(decoded, real[part]).argmax(axis=1)
            sums += np.array(
                [
                    np.count_nonzero(fixed != labels[part]),
                    np.count_nonzero(exact != labels[part]),
                    np.count_nonzero(fixed != exact),
                    clipped,
                    sum(run.saturations),
                    sum(run.writeback_saturations),
                ]
            )
            bar.update(part.stop - part.start)
    return Accuracy(count, *sums.tolist())


# ---- early exits -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Leaving:
    """At which certainty inputs leave a network with early exits, or at which width all run."""

    threshold: float | None = option(
        "--exit",
        type=RealRange(0, 1),
        metavar="T",
        help="Leave at the first early exit whose largest softmax is above T (docs/learn.md).",
    )
    held_out: Path | None = option(
        "--held-out",
        type=PATH,
        metavar="H.npz",
        help="Or choose T on these labelled inputs: the least, in hundredths, within the budget.",
    )
    budget: float = option(
        "--budget",
        type=RealRange(0),
        default=0.1,
        metavar="POINTS",
        help="With --held-out: percentage points that the exits may add to the error of the whole network.",
    )
    width: float | None = option(
        "--width",
        type=float,
        metavar="W",
        help="Or run a network with several widths at this one, such as 0.5.",
    )
    counted: int = option(
        "--counted",
        type=click.IntRange(1),
        default=100,
        metavar="N",
        help="Count cycles and energy of the first N inputs.",
    )


@dataclass(frozen=True)
class Exits:
    """What early exits make of a network: wrong of all inputs; left : inputs by the layer whose answer they took.

    cycles, energy_nj : of an input, the mean of the first `counted`; whole_cycles, whole_energy_nj : without exits.
    """

    threshold: float
    wrong: int
    left: dict[str, int]
    counted: int
    cycles: float
    energy_nj: float
    whole_cycles: float
    whole_energy_nj: float


def _answers(
    layers: list[CompressedLayer], path: Path, cfg: ArchConfig, limit: int | None
) -> tuple[Any, Any, Any]:
    """What each stage answers to the inputs of a file, their labels, and the inputs in fixed point."""
    held, _ = read_vectors(path, layers[0].inputs)
    _, labels = read_inputs(path, layers[0].inputs)
    if labels is None:
        raise ModelError(f"{path} holds no labels (integers, one for each input)")
    check_labels(labels, layers[-1].outputs, path)
    x, _ = in_fixed_point(held[:limit], layers[0], cfg.act_bits)
    parts = [
        logits_at_exits(layers, part, cfg.acc_bits, cfg.act_bits)[0]
        for part in np.array_split(x, -(-len(x) // _PART))
    ]
    return [np.concatenate(each) for each in zip(*parts, strict=True)], labels[:limit], x


def measure_exits(
    layers: list[CompressedLayer], path: Path, cfg: ArchConfig, leaving: Leaving, limit: int | None = None
) -> Exits:
    """What early exits make of the first `limit` inputs of a file.

    Raises
    ------
    ModelError : a file without such inputs or labels; LayerError : a network without exits.
    """
    logits, labels, x = _answers(layers, path, cfg, limit)
    threshold = leaving.threshold
    if leaving.held_out is not None:
        of_held, right, _ = _answers(layers, leaving.held_out, cfg, None)
        threshold = choose_threshold(of_held, right, leaving.budget)
    assert threshold is not None
    run = leave(logits, threshold)
    names = [stage.answers.name for stage in stages(layers)]
    some = x[: leaving.counted]
    machine = sized_for(cfg, *trunk(layers), *[stage.answers for stage in stages(layers)])
    early = run_with_exits(layers, some, machine, threshold)
    whole = totals(run_network(trunk(layers), some, machine, "fast"))
    # The fast engine counts both.
    cycles, energy, early_cycles, early_energy = (
        float(value or 0) for value in (*whole, early.cycles, early.energy_uj)
    )
    return Exits(
        threshold,
        int(np.count_nonzero(run.answers != labels)),
        {name: int(np.count_nonzero(run.left == number)) for number, name in enumerate(names)},
        len(some),
        early_cycles / len(some),
        1000 * early_energy / len(some),
        cycles / len(some),
        1000 * energy / len(some),
    )


def _print_exits(found: Exits, inputs: int, cfg: ArchConfig) -> None:
    click.echo(
        f"early exits   {found.wrong:,} wrong ({100 * found.wrong / inputs:.2f} %), above {found.threshold:g}"
    )
    for name, count in found.left.items():
        click.echo(f"  {100 * count / inputs:5.1f} % with the answer of {name}")
    ratios = ""
    if found.whole_cycles and found.whole_energy_nj:  # inputs that are all 0 may take no cycle
        ratios = f" ({found.cycles / found.whole_cycles:.2f}, {found.energy_nj / found.whole_energy_nj:.2f})"
    click.echo(
        f"  {found.cycles:,.0f} cycles and {found.energy_nj:,.1f} nJ an input, of {found.whole_cycles:,.0f} and "
        f"{found.whole_energy_nj:,.1f} without exits{ratios}; mean of {found.counted}, {cfg.n_pe} PEs"
    )


def _leaves_early(context: click.Context, leaving: Leaving) -> bool:
    """Whether inputs may leave at an exit; options that contradict each other are refused."""
    if leaving.threshold is not None and leaving.held_out is not None:
        raise ConfigError("give --exit, or --held-out to choose it, not both")
    early = leaving.threshold is not None or leaving.held_out is not None
    if leaving.held_out is None:
        refuse_useless(context, ("--budget",), "without --held-out")
    if not early:
        refuse_useless(context, ("--counted",), "without --exit or --held-out")
    if leaving.width is not None:
        refuse_useless(context, ("--exit", "--held-out"), "with --width")
    return early


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
    """
    cfg = ArchConfig.preset(preset)
    exits: Exits | None = None
    early = _leaves_early(context, leaving)
    if is_graph(file):
        useless = ("--exit", "--held-out", "--width")
        refuse_useless(context, useless, f"for {file}: a graph has neither early exits nor widths")
        from eie.cli.graphs import measure_graph  # onnx takes long to import

        found = Accuracy(*measure_graph(file, input_file, weights, cfg, limit))
    else:
        refuse_useless(context, ("--weights",), f"for {file}: it holds layers, not a graph")
        layers = load(file) if leaving.width is None else at_width(load(file), leaving.width)
        for layer in layers:
            check_kind(layer, cfg)
        if early:
            stages(layers)
        found = measure(trunk(layers) if early else layers, input_file, cfg, limit)
        if early:
            exits = measure_exits(layers, input_file, cfg, leaving, limit)
        if not json_out:
            warn_clipped(input_file, found.clipped, layers[0], cfg.act_bits)
    if json_out:
        click.echo(json.dumps(asdict(found) | ({"exits": asdict(exits)} if exits else {})))
        return

    def share(part: int) -> str:
        return f"{part:,} wrong ({100 * part / found.inputs:.2f} %)"

    click.echo(f"{found.inputs:,} inputs")
    click.echo(f"accelerator   {share(found.wrong)}, {cfg.acc_bits}-bit accumulators")
    which = "float weights" if is_graph(file) else "same weights "
    click.echo(f"{which} {share(found.wrong_float)}, in floating point")
    click.echo(
        f"{found.different:,} answers differ; {found.saturations:,} sums and {found.writeback_saturations:,} "
        "outputs clipped"
    )
    if exits:
        _print_exits(exits, found.inputs, cfg)
