"""`eie info`: what a `.eie` file holds, and what each part of it costs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from eie.cli.options import PATH
from eie.cli.output import make_folder, print_table, write
from eie.cli.pages.sizes import SCALE_HEADINGS, SIZE_HEADINGS, SIZE_NOTE, scale_row, size_rows
from eie.compress.format.file import describe, load
from eie.compress.format.sizes import SizeReport
from eie.layer import CompressedLayer
from eie.sim.chain import file_name


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


def draw(layers: Sequence[CompressedLayer], folder: Path) -> list[str]:
    """Write a picture of each layer into `folder`; returns the files."""
    make_folder(folder)
    from eie.sim.plots import layer as histograms  # matplotlib takes its time to load
    from eie.sim.plots import style  # matplotlib takes its time to load

    files = []
    for number, layer in enumerate(layers):
        path = folder / f"{number}-{file_name(layer)}.png"
        write(path, style.save(histograms.picture(layer)))
        files.append(str(path))
    return files


@click.command(short_help="Sizes and scales of a .eie file.")
@click.argument("file", type=PATH)
@click.option(
    "--pictures",
    type=PATH,
    metavar="FOLDER",
    help="Write histograms of weights, codes and relative indices there, a PNG for each layer.",
)
@click.option("--json", "json_out", is_flag=True, help="Print one JSON object.")
def info(file: Path, pictures: Path | None, json_out: bool) -> None:
    """Show the layers of a .eie FILE: shapes, densities, bits before and after coding, sizes, scales.

    The whole file is verified first, checksum included.

    \b
    Example:
      eie info out/lenet_300_100.eie --pictures pictures
    """
    report, layers = describe(file), load(file)
    files = [] if pictures is None else draw(layers, pictures)
    if json_out:
        figures = as_json(report, layers)
        click.echo(json.dumps(figures | {"pictures": files} if files else figures, indent=1))
        return
    click.echo(f"{file}: format version {report.version}, checksum ok ({report.checksum})\n")
    print_table(SIZE_HEADINGS, size_rows(report))
    click.echo(f"{SIZE_NOTE}\n")
    print_table(SCALE_HEADINGS, [scale_row(one.name, len(one.codebook), one, one.relu) for one in layers])
    if files:
        click.echo("\n" + "\n".join(files))
