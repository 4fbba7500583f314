"""`eie info`: what a `.eie` file holds, and what each part of it costs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from eie.cli.output import print_table
from eie.compress.file import describe, load
from eie.compress.sizes import SizeReport
from eie.layer import CompressedLayer


def size_rows(report: SizeReport) -> list[list[str]]:
    """Rows of `SIZE_HEADINGS`, one a layer and one for the file."""
    rows = []
    for size in report.layers:
        before, after = size.per_weight(lambda s: s.plain), size.per_weight(lambda s: s.coded)
        streams = (f"{before[name]:.2f} -> {after[name]:.2f}" for name in ("codes", "rows", "counts"))
        rows.append(
            [
                size.name,
                f"{size.rows} x {size.cols}",
                f"{100 * size.nnz / (size.rows * size.cols):.1f} %",
                *streams,
                f"{8 * size.nbytes / max(size.nnz, 1):.2f}",
                f"{size.dense_bytes:,}",
                f"{size.nbytes:,}",
                f"{size.dense_bytes / size.nbytes:.1f} x",
            ]
        )
    whole = [f"{report.dense_bytes:,}", f"{report.total_bytes:,}", f"{report.ratio:.1f} x"]
    return [*rows, ["file", "", "", "", "", "", "", *whole]]


SIZE_HEADINGS = (
    "layer",
    "outputs x inputs",
    "density",
    "codes, bits",
    "rows, bits",
    "counts, bits",
    "all, bits",
    "float32 bytes",
    "bytes",
    "smaller",
)
SIZE_NOTE = (
    "Bits are per stored weight, before -> after Huffman coding (rows: relative row indices; counts: entries of each "
    "column);\n'all' counts tables, codebook and bias as well. The file's line counts its header, too."
)


def scale_rows(layers: Sequence[CompressedLayer]) -> list[list[str]]:
    """Rows of `SCALE_HEADINGS`, one a layer."""
    return [
        [
            layer.name,
            str(len(layer.codebook)),
            *(str(frac) for frac in (layer.x_frac, layer.w_frac, layer.acc_frac, layer.y_frac)),
            str(layer.product_shift),
            str(layer.output_shift),
            "yes" if layer.relu else "no",
        ]
        for layer in layers
    ]


SCALE_HEADINGS = (
    "layer",
    "codes",
    "x frac",
    "weight frac",
    "sum frac",
    "y frac",
    "product shift",
    "output shift",
    "ReLU",
)


def as_json(report: SizeReport, layers: Sequence[CompressedLayer]) -> dict[str, Any]:
    """The same figures for scripts."""
    scales = ("relu", "product_shift", "output_shift", "x_frac", "w_frac", "acc_frac", "y_frac", "density")
    return asdict(report) | {
        "dense_bytes": report.dense_bytes,
        "ratio": report.ratio,
        "layers": [
            asdict(size)
            | {"bytes": size.nbytes, "dense_bytes": size.dense_bytes}
            | {name: getattr(layer, name) for name in scales}
            for size, layer in zip(report.layers, layers, strict=True)
        ],
    }


@click.command(short_help="Sizes and scales of a .eie file.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "json_out", is_flag=True, help="Print one JSON object.")
def info(file: Path, json_out: bool) -> None:
    """Show the layers of a .eie FILE: shapes, densities, bits before and after Huffman coding, sizes, scales.

    The whole file is verified first, checksum included.

    \b
    Example:
      eie info out/lenet_300_100.eie
    """
    report, layers = describe(file), load(file)
    if json_out:
        click.echo(json.dumps(as_json(report, layers), indent=1))
        return
    click.echo(f"{file}: format version {report.version}, checksum ok ({report.checksum})\n")
    print_table(SIZE_HEADINGS, size_rows(report))
    click.echo(f"{SIZE_NOTE}\n")
    print_table(SCALE_HEADINGS, scale_rows(layers))
