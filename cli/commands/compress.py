"""`eie compress`: a trained network into a `.eie` file."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from eie.cli.options import (
    PATH,
    gathered,
    option,
    pattern_number,
    pattern_or_number,
    real_numbers,
    refuse_useless,
)
from eie.cli.output import check_writable, print_table, say
from eie.cli.pages.sizes import SCALE_HEADINGS, SIZE_HEADINGS, SIZE_NOTE, scale_row, size_rows
from eie.compress.float_layers import (
    FloatArray,
    Layers,
    Model,
    Unused,
    check_chains,
    left_text,
    no_chain,
    whole_ratio,
)
from eie.compress.low_rank import low_rank
from eie.compress.pipeline import CompressionReport, Settings, compress_each_to_file, compress_to_file
from eie.compress.quantize import Widths
from eie.compress.readers.files import MODEL_KINDS, kind_of, read_model
from eie.compress.settings import Plan, choose
from eie.errors import ModelError, OutputError
from eie.sim.workloads.inputs import read_inputs

if TYPE_CHECKING:
    from eie.sim.networks.description import Description

# So many arrays of a kind that no layer uses are named; a large network has hundreds.
_SHOWN_UNUSED = 8
_CELLS = ("GRU", "LSTM", "RNN")
# The error of a layer whose weights have all become 0, but for rounding.
_LOST = 0.999
ERROR_HEADINGS = ("layer", "bits per weight", "error of pruning", "error of all")


def error_rows(report: CompressionReport) -> list[list[str]]:
    """Rows of `ERROR_HEADINGS`: errors are norms of the weights' change over the weights' norm."""
    return [
        [
            layer.name,
            f"{layer.bits_per_weight:.2f}",
            f"{100 * layer.pruning_error:.1f} %",
            f"{100 * layer.relative_error:.1f} %",
        ]
        for layer in report.layers
    ]


def unused_lines(unused: Sequence[Unused]) -> list[str]:
    """The arrays of a model file that no layer uses, a line for each reason, with the bytes that the network needs."""
    groups: dict[str, list[Unused]] = defaultdict(list)
    for one in unused:
        groups[one.reason].append(one)
    return [
        f"not used, {reason}: {', '.join(one.array for one in group[:_SHOWN_UNUSED])}"
        + (f" and {len(group) - _SHOWN_UNUSED} more" if len(group) > _SHOWN_UNUSED else "")
        + (f"; {needed:,} bytes" if (needed := sum(one.nbytes for one in group)) else "")
        for reason, group in groups.items()
    ]


def _refuse_to_overwrite(out: Path, inputs: Sequence[Path | None]) -> None:
    """Raise `OutputError` if the file to write is one that is read, or is called like a model's."""
    for given in inputs:
        if given is not None and given.exists() and out.exists() and out.samefile(given):
            raise OutputError(f"{out} is read and would be lost: choose another name for the .eie file")
    if not out.name or str(out) in ("", "."):
        raise OutputError("-o needs the name of a file, such as net.eie")
    if kind_of(out) in MODEL_KINDS:
        raise OutputError(f"{out}: {kind_of(out)} is a model's ending, but a .eie file would be written")


def lost_lines(report: CompressionReport) -> list[str]:
    """A line for each layer of which nothing is left."""
    return [
        f"layer {layer.name!r} is lost: its weights are too small for fixed point"
        for layer in report.layers
        if layer.nnz and layer.relative_error >= _LOST
    ]


def report_json(report: CompressionReport, model: Model) -> dict[str, Any]:
    """The report for scripts."""
    layers = [
        asdict(layer) | {"bits_per_weight": layer.bits_per_weight, "bytes": layer.size.nbytes}
        for layer in report.layers
    ]
    return {
        "layers": layers,
        "dense_bytes": report.size.dense_bytes,
        "total_bytes": report.size.total_bytes,
        "ratio": report.size.ratio,
        "calibration": report.calibration,
        "unused": [asdict(one) for one in model.unused],
        "notes": list(model.notes),
        "not_compressed_bytes": model.left_bytes,
        "whole_ratio": whole_ratio(report.size.dense_bytes, report.size.total_bytes, model.left_bytes),
    }


def described(path: Path, layers: Layers | None = None) -> Description | None:
    """The graph of a .toml file, or of an .onnx file unless its `layers` can do without it.

    Raises
    ------
    ModelError : a graph that cannot run.
    """
    # ONNX's evaluator takes long to import, and few models need it.
    from eie.sim.networks.description import read_description

    if layers is None or no_chain(layers):
        return read_description(path)
    try:
        description = read_description(path)
    except ModelError:
        return None
    # One matrix of a recurrent node is a chain by itself, but what it meets is not what the graph takes.
    return description if any(step.operator in _CELLS for step in description.graph.steps) else None


@dataclass(frozen=True)
class How:
    """How layers are compressed without a settings file."""

    density: tuple[float, ...] | None = option(
        "--density",
        type=real_numbers,
        metavar="D",
        help="Share of the weights to keep: one number, or one for each layer.",
    )
    threshold: tuple[float, ...] | None = option(
        "--threshold",
        type=real_numbers,
        metavar="Q",
        help="Or keep the weights larger than Q standard deviations of their layer: one number, or one for each layer.",
    )
    weight_bits: str = option(
        "--weight-bits",
        type=click.Choice(["auto", *"12345678"]),
        default="4",
        help="Bits of the index of a shared weight; auto takes for each layer the fewest at which sharing moves the "
        "kept weights by at most 5 % of their norm.",
    )
    blocks: int = option(
        "--blocks",
        type=click.IntRange(0),
        default=0,
        show_default=False,
        metavar="N",
        help="In each fully connected layer, keep only the weights in N shuffled blocks (docs/blocks.md). Densities "
        "are then those of the convolutions.",
    )
    acc_bits: str = option(
        "--acc-bits",
        type=click.Choice(["16", "32"]),
        default="16",
        help="Bits of the accumulators that the scales must suit: 16 as in preset paper, 32 as in wide.",
    )
    processes: int = option(
        "--processes",
        type=click.IntRange(1),
        default=1,
        help="How many layers to compress at a time. Each needs about three times its size as float32.",
    )

    @property
    def widths(self) -> Widths:
        """The widths to choose scales for."""
        return Widths(acc_bits=int(self.acc_bits))

    @property
    def settings(self) -> Settings:
        """The settings of all layers."""
        bits = None if self.weight_bits == "auto" else int(self.weight_bits)
        return Settings(self.density or (), self.threshold or (), bits, self.widths, blocks=self.blocks)


@dataclass(frozen=True)
class Which:
    """Which layers are compressed, and the file of their settings."""

    patterns: tuple[str, ...] = option(
        "--layer",
        multiple=True,
        metavar="PATTERN",
        help="Only layers whose name matches, such as 'encoder.*'. May be repeated.",
    )
    settings_file: Path | None = option(
        "--settings",
        type=PATH,
        metavar="S.toml",
        help="Densities, bits and geometry of each layer, by pattern (docs/models.md).",
    )
    key: str = option(
        "--key",
        default="",
        show_default=False,
        metavar="KEY",
        help="Dictionary of a checkpoint that holds the network (a.b: b inside a), or the start of its arrays' names.",
    )
    transpose: tuple[str, ...] = option(
        "--transpose",
        multiple=True,
        metavar="PATTERN",
        help="Read these arrays or layers as [inputs, outputs], whatever their names say; with '!PATTERN' as [outputs, "
        "inputs]. "
        "May be repeated.",
    )


@dataclass(frozen=True)
class Rank:
    """Which layers become two of low rank."""

    rank: tuple[tuple[str, float], ...] = option(
        "--rank",
        type=pattern_number,
        multiple=True,
        metavar="PATTERN=R",
        help="Replace the matrix of these layers by two of rank R (docs/learn.md); may be repeated.",
    )
    energy: tuple[str, float] | None = option(
        "--energy",
        type=pattern_or_number,
        metavar="[PATTERN=]E",
        help="Or by the least rank that keeps the share E of the matrix's squared norm, where that makes it smaller.",
    )

    def split(
        self, model: Model, settings: Settings | Sequence[Settings]
    ) -> tuple[Model, Settings | Sequence[Settings]]:
        """The model with these layers split, and the settings of its layers."""
        if not self.rank and self.energy is None:
            return model, settings
        # Of two ranks for one pattern the last holds, as of any option that is repeated.
        split, places = low_rank(
            model, dict(self.rank) or None, None if self.energy is None else dict([self.energy])
        )
        each = settings.for_each(len(model.layers)) if isinstance(settings, Settings) else settings
        return split, [each[place] for place in places]


@click.command()
@click.argument("model", type=PATH)
@click.option("-o", "--out", required=True, type=PATH, metavar="OUT.eie", help="The file to write.")
@gathered("how", How)
@gathered("rank", Rank)
@click.option(
    "--calibrate",
    type=PATH,
    metavar="X.npz",
    help="Inputs of the first layer, to choose the fixed-point scales from: real numbers, or uint8 pixels / 255. Of a "
    "graph (.onnx, .toml): its inputs, which may be sound or a picture (docs/networks.md).",
)
@gathered("which", Which)
@click.option("--json", "json_out", is_flag=True, help="Print one JSON object.")
@click.pass_context
def compress(
    context: click.Context,
    model: Path,
    out: Path,
    how: How,
    rank: Rank,
    calibrate: Path | None,
    which: Which,
    json_out: bool,
) -> None:
    """Compress a trained MODEL (.safetensors, .npz, .onnx, .pt, .pth, .pth.tar, .ckpt, .bin, an index of shards; .toml
    that describes a graph) in one shot: prune, share weights, choose fixed-point scales, code the result.

    The report lists what in the file is not a layer, and why, and which of its conventions were a guess.

    \b
    Example:
      eie compress examples/lenet_300_100/lenet_300_100.safetensors --density 0.08,0.09,0.26 -o lenet.eie
      eie compress examples/lenet_300_100/lenet_300_100.safetensors --rank fc1=32 -o net.eie
      eie compress model.pth --settings settings.toml --layer 'encoder.*' -o encoder.eie
      eie compress checkpoint.ckpt --key model_ema --transpose 'head.*' -o net.eie
      eie compress examples/networks/nsnet2.toml --calibrate speech.wav -o nsnet2.eie
    """
    if which.settings_file is not None:
        names = ("--density", "--threshold", "--weight-bits", "--blocks")
        refuse_useless(context, names, "beside --settings: give it there")
    _refuse_to_overwrite(out, (model, calibrate, which.settings_file))
    check_writable(out.parent)
    description = described(model) if model.suffix.lower() == ".toml" else None
    read = (
        read_model(model, key=which.key, transpose=which.transpose)
        if description is None
        else Model(description.graph.trained)
    )
    whole, settings = _chosen(context, read, how, which)
    read, settings = rank.split(whole, settings)
    if calibrate is not None and model.suffix.lower() == ".onnx":
        description = described(model, whole.layers)
    if description is not None and read is not whole:
        raise ModelError(
            f"{model} has a graph, whose layers cannot become two: give --rank and --energy to a chain of layers"
        )
    if calibrate is not None and description is not None:
        vectors = _met(description, calibrate, read.layers, model)
        report = compress_each_to_file(out, read.layers, vectors, settings)
    else:
        inputs = None
        if calibrate is not None:
            check_chains(read.layers)
            inputs, _ = read_inputs(calibrate, read.layers.sources[0].inputs)
        report = compress_to_file(out, read.layers, settings, inputs, how.processes)
    # What splitting took away, biases being the same.
    given = report.size.dense_bytes + 4 * (_elements(whole.layers) - _elements(read.layers))
    if json_out:
        click.echo(json.dumps(report_json(report, read) | {"given_bytes": given}))
        return
    _print(report, read, out)
    if read is not whole:
        click.echo(_before_splitting(report, given))


def _before_splitting(report: CompressionReport, given: int) -> str:
    ratio = given / max(report.size.total_bytes, 1)
    return f"{ratio:.1f} x smaller than the {given:,} bytes of the layers before they were split"


def _elements(layers: Layers) -> int:
    """Elements of all matrices."""
    return sum(rows * cols for rows, cols in (source.shape for source in layers.sources))


def _chosen(
    context: click.Context, read: Model, how: How, which: Which
) -> tuple[Model, Settings | Sequence[Settings]]:
    """The layers to compress, and how."""
    if which.patterns:
        read = choose(read, which.patterns)
    if which.settings_file is not None:
        return Plan.read(which.settings_file).apply(read, how.widths)
    if how.blocks and all(source.conv is None for source in read.layers.sources):
        refuse_useless(context, ("--density", "--threshold"), "with --blocks: there is no convolution")
    return read, how.settings


def _met(description: Description, calibrate: Path, layers: Layers, model: Path) -> list[FloatArray | None]:
    """What each layer meets when the graph runs on the inputs in `calibrate`."""
    met = description.graph.met_by_each(description.given(calibrate).inputs)
    for source in layers.sources:
        if source.name not in description.graph.layers:
            raise ModelError(
                f"{model}: layer {source.name!r} meets no inputs, because no output needs it: choose others (--layer)"
            )
    return [met.get(source.name) for source in layers.sources]


def _print(report: CompressionReport, read: Model, out: Path) -> None:
    print_table(SIZE_HEADINGS, size_rows(report.size))
    say(SIZE_NOTE)
    click.echo()
    print_table(
        SCALE_HEADINGS,
        [scale_row(one.name, 1 << one.weight_bits, one.scales, one.relu) for one in report.layers],
    )
    click.echo(f"Scales from {report.calibration}.\n")
    print_table(ERROR_HEADINGS, error_rows(report))
    if lost := lost_lines(report):
        click.echo("\n" + "\n".join(lost))
    lines = [f"note: {note}" for note in read.notes] + unused_lines(read.unused)
    if lines:
        click.echo("\n" + "\n".join(lines))
    click.echo(
        f"\nwrote {out}: {report.size.total_bytes:,} bytes, {report.size.ratio:.1f} x smaller than float32"
    )
    if left := left_text(read.unused, report.size.dense_bytes, report.size.total_bytes):
        click.echo(left)
