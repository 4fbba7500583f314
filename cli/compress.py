"""`eie compress`: a trained network into a `.eie` file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from eie.cli.info import SCALE_HEADINGS, SIZE_HEADINGS, SIZE_NOTE, scale_rows, size_rows
from eie.cli.inputs import real_numbers
from eie.cli.output import check_writable, print_table
from eie.compress.file import save
from eie.compress.pipeline import CompressionReport, Settings, compress_network
from eie.compress.quantize import Widths
from eie.compress.readers import read_inputs, read_model

# So many arrays that no layer uses are named; a large convolutional network has hundreds.
_SHOWN_UNUSED = 8
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


def unused_line(unused: Sequence[str]) -> str:
    """The arrays of a model file that no layer uses, in one line."""
    more = f" and {len(unused) - _SHOWN_UNUSED} more" if len(unused) > _SHOWN_UNUSED else ""
    return f"not used: {', '.join(unused[:_SHOWN_UNUSED])}{more}"


def report_json(report: CompressionReport, unused: Sequence[str]) -> dict[str, Any]:
    """The report for scripts. unused : the arrays of the model file that no layer uses."""
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
        "unused": list(unused),
    }


@click.command(short_help="A trained network into a .eie file.")
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    metavar="OUT.eie",
    help="The file to write.",
)
@click.option(
    "--density", type=real_numbers, metavar="D", help="Share of weights to keep: one, or one a layer."
)
@click.option(
    "--threshold",
    type=real_numbers,
    metavar="Q",
    help="Or keep weights larger than Q standard deviations of their layer: one, or one a layer.",
)
@click.option(
    "--weight-bits",
    type=click.IntRange(1, 8),
    default=4,
    show_default=True,
    help="Bits of a shared weight's index.",
)
@click.option(
    "--acc-bits",
    type=click.Choice(["16", "32"]),
    default="16",
    show_default=True,
    help="Accumulators to choose scales for: presets paper (16) and wide (32).",
)
@click.option(
    "--calibrate",
    type=click.Path(path_type=Path),
    metavar="X.npz",
    help="Inputs of the first layer that the fixed-point scales follow from: real numbers, or uint8 pixels / 255.",
)
@click.option("--json", "json_out", is_flag=True, help="Print one JSON object.")
def compress(
    model: Path,
    out: Path,
    density: tuple[float, ...] | None,
    threshold: tuple[float, ...] | None,
    weight_bits: int,
    acc_bits: str,
    calibrate: Path | None,
    json_out: bool,
) -> None:
    """Compress a trained MODEL (.safetensors, .npz or .onnx) in one shot: prune, share weights, choose
    fixed-point scales, code with Huffman.

    \b
    Example:
      eie compress examples/lenet_300_100/lenet_300_100.safetensors --density 0.08,0.09,0.26 -o lenet.eie
    """
    check_writable(out.parent)
    read = read_model(model)
    network = read.layers
    inputs = None
    if calibrate is not None:
        inputs, _ = read_inputs(calibrate, network[0].weight.shape[1])
    settings = Settings(density or (), threshold or (), weight_bits, Widths(acc_bits=int(acc_bits)))
    layers, report = compress_network(network, settings, inputs)
    save(out, layers)
    if json_out:
        click.echo(json.dumps(report_json(report, read.unused)))
        return
    print_table(SIZE_HEADINGS, size_rows(report.size))
    click.echo(f"{SIZE_NOTE}\n")
    print_table(SCALE_HEADINGS, scale_rows(layers))
    click.echo(f"Scales from {report.calibration}.\n")
    print_table(ERROR_HEADINGS, error_rows(report))
    if read.unused:
        click.echo(f"\n{unused_line(read.unused)}")
    click.echo(
        f"\nwrote {out}: {report.size.total_bytes:,} bytes, {report.size.ratio:.1f} x smaller than float32"
    )
