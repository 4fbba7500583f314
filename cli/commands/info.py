"""`eie info`: what a `.eie` file holds, and what each part of it costs."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from eie.cli.options import PATH
from eie.cli.output import print_table, say, write_pictures
from eie.cli.pages.sizes import SCALE_HEADINGS, SIZE_HEADINGS, SIZE_NOTE, scale_row, size_rows, two_rules
from eie.compress.float_layers import Unused, left_text, whole_ratio
from eie.compress.format.file import load_with_sizes
from eie.compress.format.sizes import SizeReport
from eie.files import file_name
from eie.layer import CompressedLayer
from eie.prefix import THOUSAND, shares_of


def _left(model: Path, key: str, layers: Sequence[CompressedLayer]) -> list[Unused]:
    """What of a model is not in the compressed layers: arrays of no layer, and layers that were not chosen."""
    from eie.compress.readers.files import read_model  # only --model needs it

    read, names = read_model(model, key=key), {layer.name for layer in layers}
    others = [
        Unused(
            f"{one.name} [{one.shape[0]}, {one.shape[1]}]",
            "a layer that is not in the file",
            4 * math.prod(one.shape),
        )
        for one in read.layers.sources
        if one.name not in names
    ]
    return [*read.unused, *others]


def as_json(report: SizeReport, layers: Sequence[CompressedLayer]) -> dict[str, Any]:
    """The same figures for scripts."""
    scales = ("relu", "product_shift", "output_shift", "x_frac", "w_frac", "acc_frac", "y_frac", "density")
    return asdict(report) | {
        "dense_bytes": report.dense_bytes,
        "ratio": report.ratio,
        "fully_connected_ratio": report.connected_ratios[0],
        "mesa_ratio": report.connected_ratios[1],
        **({"widths": widths(layers)} if _several(layers) else {}),
        "layers": [
            asdict(size)
            | {"bytes": size.nbytes, "dense_bytes": size.dense_bytes}
            | {name: getattr(layer, name) for name in scales}
            | ({"adder": True} if layer.adder else {})
            | ({} if layer.scale is None else {"scale_frac": layer.scale_frac})
            for size, layer in zip(report.layers, layers, strict=True)
        ],
    }


def _several(layers: Sequence[CompressedLayer]) -> bool:
    """Whether the network has several widths, or layers that contradict each other about them."""
    return any(layer.prefixes for layer in layers)


def widths(layers: Sequence[CompressedLayer]) -> list[dict[str, Any]]:
    """The widths of a network: the matrix of each layer, and the weights that are kept in it."""
    each = [(share, [layer.narrowed(share) for layer in layers]) for share in shares_of(layers)]
    return [
        {
            "width": share / THOUSAND,
            "shapes": [list(part.shape) for part in parts],
            "weights": [part.nnz for part in parts],
        }
        for share, parts in each
    ]


def arithmetic(layers: Sequence[CompressedLayer]) -> list[str]:
    """A line for each layer that does more than multiply."""
    lines = []
    for layer in layers:
        does = ["adds instead of multiplying"] if layer.adder else []
        if layer.scale is not None:
            does.append(f"scales its rows, with {layer.scale_frac} fraction bits")
        if does:
            lines.append(f"{layer.name} {' and '.join(does)} (docs/adder.md)")
    return lines


def draw(layers: Sequence[CompressedLayer], folder: Path) -> list[str]:
    """Write a picture of each layer into `folder`; returns the files."""
    from eie.sim.plots import layer as histograms  # matplotlib takes its time to load

    figures = ((f"{i}-{file_name(layer.name)}", histograms.picture(layer)) for i, layer in enumerate(layers))
    return write_pictures(folder, figures)


@click.command()
@click.argument("file", type=PATH)
@click.option(
    "--pictures",
    type=PATH,
    metavar="FOLDER",
    help="Write histograms of weights, codes and relative indices into this folder, a PNG for each layer.",
)
@click.option(
    "--model",
    type=PATH,
    metavar="MODEL",
    help="The model that was compressed. Show which parts of it FILE does not have, and the ratio for the whole model.",
)
@click.option(
    "--key",
    default="",
    show_default=False,
    metavar="KEY",
    help="With --model: the --key that `eie compress` was given.",
)
@click.option("--json", "json_out", is_flag=True, help="Print one JSON object.")
def info(file: Path, pictures: Path | None, model: Path | None, key: str, json_out: bool) -> None:
    """Show the layers of a .eie FILE: shapes, densities, bits before and after coding, sizes, scales.

    The command verifies the whole file first, checksum included.

    \b
    Example:
      eie info out/lenet_300_100.eie --pictures pictures
      eie info net.eie --model net.safetensors
    """
    report, layers = load_with_sizes(file)
    left = [] if model is None else _left(model, key, layers)
    files = [] if pictures is None else draw(layers, pictures)
    if json_out:
        figures = as_json(report, layers)
        if model is not None:
            size = sum(one.nbytes for one in left)
            figures |= {
                "not_compressed": [asdict(one) for one in left],
                "whole_ratio": whole_ratio(report.dense_bytes, report.total_bytes, size),
            }
        click.echo(json.dumps(figures | {"pictures": files} if files else figures, indent=1))
        return
    click.echo(f"{file}: format version {report.version}, checksum ok ({report.checksum})\n")
    print_table(SIZE_HEADINGS, size_rows(report))
    say(SIZE_NOTE)
    click.echo()
    if text := two_rules(report):
        click.echo(f"{text}\n")
    print_table(SCALE_HEADINGS, [scale_row(one.name, len(one.codebook), one, one.relu) for one in layers])
    for line in arithmetic(layers):
        click.echo(line)
    if _several(layers):
        click.echo("\nrows x columns at each width, and the weights in them")
        rows = [
            [
                f"{one['width']:g}",
                *(f"{r} x {c}: {n:,}" for (r, c), n in zip(one["shapes"], one["weights"], strict=True)),
            ]
            for one in widths(layers)
        ]
        print_table(["width", *(layer.name for layer in layers)], rows)
    if text := left_text(left, report.dense_bytes, report.total_bytes):
        click.echo(
            "\n" + "\n".join([text, *(f"  {one}, {one.nbytes:,} bytes" for one in left if one.nbytes)])
        )
    if files:
        click.echo("\n" + "\n".join(files))
