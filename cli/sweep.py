"""`eie sweep`: layers over PE counts and queue depths, into a table."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np
from tqdm import tqdm

from eie.cli.inputs import INPUT_HELP, matrix_size, read_vectors, refuse_useless, warn_clipped, whole_numbers
from eie.cli.output import check_writable, print_table, write
from eie.cli.run import choose
from eie.compress.file import load
from eie.config import PRESETS, ArchConfig
from eie.errors import ConfigError, LayerError
from eie.layer import CompressedLayer
from eie.sim.network import layer_inputs
from eie.sim.sweep import SWEEP_ENGINES, Point, Workload, runs, to_csv, to_json
from eie.sim.sweep import sweep as sweep_points
from eie.sim.workload import random_input, random_layer

_WRITERS = {".csv": to_csv, ".json": to_json}


def summary_rows(points: Sequence[Point]) -> list[list[str]]:
    """Rows of `SUMMARY_HEADINGS`: means over the inputs, one row for each layer, PE count and queue depth."""
    groups: dict[tuple[str, int, int], list[Point]] = defaultdict(list)
    for point in points:
        groups[point.layer, point.n_pe, point.queue_depth].append(point)
    return [
        [
            layer,
            str(n_pe),
            str(depth),
            f"{np.mean([p.cycles for p in group]):,.1f}",
            f"{np.mean([p.microseconds for p in group]):.3f}",
            f"{100 * sum(p.fillers for p in group) / max(1, sum(p.entries for p in group)):.1f} %",
            f"{100 * np.mean([p.balance for p in group]):.1f} %",
            f"{np.mean([p.broadcast_stalls for p in group]):,.1f}",
        ]
        for (layer, n_pe, depth), group in groups.items()
    ]


SUMMARY_HEADINGS = ("layer", "PEs", "depth", "cycles", "µs", "padding", "balance", "broadcast stalls")


def _from_file(
    layers: list[CompressedLayer],
    input_file: Path | None,
    inputs: int,
    density: float,
    seed: int,
    cfg: ArchConfig,
) -> tuple[list[Workload], int]:
    """The workloads, and how many of the real inputs read were clipped."""
    if input_file is None:
        return [_with_random_inputs(layer, inputs, density, seed + i) for i, layer in enumerate(layers)], 0
    vectors, clipped = read_vectors(input_file, layers[0], cfg.act_bits, slice(inputs))
    if len(vectors) < inputs:
        raise LayerError(f"{input_file} holds {len(vectors)} input vectors, not {inputs} (--inputs)")
    inputs_of = layer_inputs(layers, vectors, cfg.acc_bits)
    return [Workload(*pair) for pair in zip(layers, inputs_of, strict=True)], clipped


def _with_random_inputs(layer: CompressedLayer, inputs: int, density: float, seed: int) -> Workload:
    return Workload(layer, np.stack([random_input(layer.cols, density, seed + i) for i in range(inputs)]))


@click.command(short_help="Layers over PE counts and queue depths, into a table.")
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option(
    "--random",
    "size",
    type=matrix_size,
    metavar="ROWSxCOLS",
    help="A random layer instead of a file, such as 4096x9216.",
)
@click.option("--density", type=float, default=0.1, show_default=True, help="Of the random layer's weights.")
@click.option("--act-density", type=float, default=0.35, show_default=True, help="Of random input vectors.")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Of everything random.")
@click.option("--layer", "which", metavar="L", help="Only this layer of the file (name, or number from 0).")
@click.option("--input", "input_file", type=click.Path(path_type=Path), metavar="X", help=INPUT_HELP)
@click.option(
    "--inputs", type=click.IntRange(1), default=1, show_default=True, help="How many vectors to run."
)
@click.option(
    "--pe",
    "pe_counts",
    type=whole_numbers,
    metavar="N,N,..",
    default="1,2,4,8,16,32,64",
    show_default=True,
    help="PE counts.",
)
@click.option(
    "--depth",
    "depths",
    type=whole_numbers,
    metavar="N,N,..",
    default="8",
    show_default=True,
    help="Queue depths.",
)
@click.option(
    "--preset", type=click.Choice(sorted(PRESETS)), default="paper", show_default=True, help="Widths."
)
@click.option(
    "--engine",
    type=click.Choice(SWEEP_ENGINES),
    default="law",
    show_default=True,
    help="The timing law, or the golden model itself: the same figures, slower.",
)
@click.option(
    "-o",
    "--out",
    "outputs",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="FILE",
    help="Write the rows there, .csv or .json (may be given twice).",
)
@click.option("--json", "json_out", is_flag=True, help="Print the rows as a JSON array, not a table.")
@click.pass_context
def sweep(
    context: click.Context,
    file: Path | None,
    size: tuple[int, int] | None,
    density: float,
    act_density: float,
    seed: int,
    which: str | None,
    input_file: Path | None,
    inputs: int,
    pe_counts: tuple[int, ...],
    depths: tuple[int, ...],
    preset: str,
    engine: str,
    outputs: tuple[Path, ...],
    json_out: bool,
) -> None:
    """Run the layers of a .eie FILE, or a random layer, over PE counts and queue depths.

    Memories are sized for each layer (sized_for). Without --input each layer gets random activations.

    \b
    Example:
      eie sweep --random 600x4096 --density 0.1 --act-density 1 --pe 1,4,16,64 --depth 1,8 -o sweep.csv
    """
    if (file is None) == (size is None):
        raise click.UsageError("give either a .eie file or --random ROWSxCOLS")
    if size is None:
        refuse_useless(context, ("--density",), "with a .eie file")
    else:
        refuse_useless(context, ("--layer",), "without a .eie file")
    if input_file is not None:
        refuse_useless(context, ("--act-density",), "with --input")
    for path in outputs:
        if path.suffix not in _WRITERS:
            raise ConfigError(f"{path}: a sweep is written as .csv or .json")
        check_writable(path.parent)
    cfg = ArchConfig.preset(preset)
    if size is not None:
        layers = [random_layer(*size, density, seed)]
    else:
        assert file is not None
        layers = choose(load(file), which)
    workloads, clipped = _from_file(layers, input_file, inputs, act_density, seed, cfg)
    steps = sweep_points(workloads, pe_counts, depths, cfg=cfg, engine=engine)
    points = list(
        tqdm(steps, total=runs(workloads, pe_counts, depths), unit="run", desc="sweep", disable=None)
    )
    warn_clipped(input_file, clipped, layers[0], cfg.act_bits)
    for path in outputs:
        write(path, _WRITERS[path.suffix](points))
    if json_out:
        click.echo(to_json(points), nl=False)
        return
    source = "the input file" if input_file else f"random activations, seed {seed}"
    click.echo(f"engine {engine}, {cfg.clock_hz / 1e6:g} MHz, memories sized for each layer, {source}\n")
    print_table(SUMMARY_HEADINGS, summary_rows(points))
    for path in outputs:
        click.echo(f"wrote {path}")
