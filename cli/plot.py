"""`eie plot`: pictures of a sweep."""

from __future__ import annotations

import json
from pathlib import Path

import click

from eie.cli.output import make_folder, write
from eie.sim.sweep import read_points


@click.command(short_help="Pictures of a sweep.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    default=Path("."),
    show_default="the current folder",
    metavar="FOLDER",
    help="Where the PNG files go.",
)
@click.option("--json", "json_out", is_flag=True, help="Print one JSON object.")
def plot(file: Path, out: Path, json_out: bool) -> None:
    """Draw the sweep in FILE (.csv or .json from eie sweep): speed-up, padding, load balance, work of each PE.

    What needs several PE counts or several queue depths is drawn when the sweep has them.

    \b
    Example:
      eie plot sweep.csv -o pictures
    """
    points = read_points(file)
    make_folder(out)
    from eie.sim import plots, style  # matplotlib takes its time to load

    files = []
    for name, figure in plots.pictures(points).items():
        path = out / f"{name}.png"
        write(path, style.save(figure))
        files.append(str(path))
    click.echo(json.dumps({"files": files}) if json_out else "\n".join(files))
