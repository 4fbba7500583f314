"""`eie plot`: pictures of a sweep."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from eie.cli.options import PATH, gathered, option
from eie.cli.output import print_table, write_pictures
from eie.errors import ConfigError
from eie.sim.sweep.columns import Row, varied
from eie.sim.sweep.store import Store

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from eie.sim.plots.columns import Front


@dataclass(frozen=True)
class Choice:
    """What to draw: columns against each other (`by`, `log` : how), the Pareto front, or the standard pictures."""

    x: str | None = option("--x", metavar="COLUMN", help="Draw against this column; needs --y.")
    y: str | None = option("--y", metavar="COLUMN", help="Draw this column; needs --x.")
    by: tuple[str, ...] = option(
        "--by",
        metavar="COLUMN",
        multiple=True,
        help="Draw a line for each value of this column. May be repeated: the first column is the colour, the second "
        "the marker, the third the line style.",
    )
    log: str | None = option(
        "--log", type=click.Choice(["x", "y", "xy"]), default=None, help="Logarithmic axes."
    )
    overlay: Path | None = option(
        "--overlay",
        type=PATH,
        metavar="P.csv",
        help="Draw points of others as stars, from a CSV file whose first line names the columns drawn, and label.",
    )
    front: bool = option(
        "--pareto", is_flag=True, help="Draw and list the machines best in time, energy and area."
    )

    loading: bool = option(
        "--loading", is_flag=True, help="With --pareto: count the energy of loading from DRAM, too."
    )

    def check(self) -> None:
        """Raise `click.UsageError` for options that do not go together."""
        if (self.x is None) != (self.y is None):
            raise click.UsageError("--x and --y go together")
        if self.x is None and (self.by or self.log):
            raise click.UsageError("--by and --log have no effect without --x and --y")
        if self.overlay is not None and self.x is None and not self.front:
            raise click.UsageError("--overlay has no effect without --x and --y, or --pareto")
        if self.loading and not self.front:
            raise click.UsageError("--loading has no effect without --pareto")
        if self.front and self.x is not None:
            raise click.UsageError("--pareto has its own axes: leave out --x and --y")


@click.command()
@click.argument("store", type=PATH)
@gathered("choice", Choice)
@click.option(
    "--where", metavar="SQL", default="1", show_default=False, help='Only these points, such as "n_pe >= 16".'
)
@click.option(
    "-o",
    "--out",
    type=PATH,
    default=Path("."),
    show_default="the current folder",
    metavar="FOLDER",
    help="Where the PNG files go.",
)
@click.option("--json", "json_out", is_flag=True, help="Print one JSON object.")
def plot(store: Path, choice: Choice, where: str, out: Path, json_out: bool) -> None:
    """Draw the sweep in STORE (.sqlite from eie sweep): speed-up, padding, load balance, utilization and work of each
    PE; with --x and --y any column against any other; with --pareto time, energy and area.

    Some pictures need several PE counts or several queue depths; a note says which of them the sweep leaves out.

    \b
    Example:
      eie plot sweep.sqlite -o pictures
      eie plot sweep.sqlite --x n_pe --y energy_nj --by index_bits --log xy
    """
    choice.check()
    with Store(store, read_only=True) as held:
        met = held.rows(where)
    if not met and where != "1":
        raise ConfigError(f"nothing to plot: no point meets --where {where!r}")
    rows = [row for row in met if row["status"] == "ok"]
    from eie.sim.plots import columns as chart  # matplotlib takes its time to load

    table, missing = chart.pareto(rows, loading=choice.loading) if choice.front else None, ""
    drawn = [choice.x, choice.y] if choice.x and choice.y else ["microseconds", "energy_nj"]
    stars = [] if choice.overlay is None else chart.read_overlay(choice.overlay, drawn)
    if choice.x is not None and choice.y is not None:
        picture = chart.against(rows, choice.x, choice.y, choice.by, log=choice.log or "", overlay=stars)
        figures = {f"{choice.y}_against_{choice.x}": picture}
    elif table:
        figures = {"pareto": chart.front_picture(table, rows, stars)}
    else:
        figures, missing = _standard(rows)
    files = write_pictures(out, figures.items())
    if missing:
        click.echo(f"eie: note: not drawn: {missing}", err=True)
    if json_out:
        answer: dict[str, Any] = {"files": files}
        if table:
            answer["front"] = [
                one.choice | dict(zip(chart.OBJECTIVES, one.costs, strict=True)) for one in table.front
            ]
        click.echo(json.dumps(answer))
        return
    if table:
        _print_front(table)
    click.echo("\n".join(files))


def _standard(rows: Sequence[Row]) -> tuple[dict[str, Figure], str]:
    """The standard pictures that the points allow, and which they do not and why."""
    from eie.sim.plots import sweep as plots  # matplotlib takes its time to load

    figures = plots.pictures(rows)
    missing = _reasons(plots.left_out(rows))
    if not figures:
        other = next((name for name in varied(rows) if name != "seed"), "layer")
        raise ConfigError(
            f"no standard picture can be drawn: {missing}; name columns, such as --x {other} --y energy_nj"
        )
    return figures, missing


def _print_front(table: Front) -> None:
    """The best machines, and how many could not be judged."""
    print_table(
        [*table.fields, "µs", "nJ", "mm²"],
        [
            [
                *(str(one.choice[name]) for name in table.fields),
                f"{one.microseconds:,.3f}",
                f"{one.energy_nj:,.1f}",
                f"{one.area_mm2:,.3f}",
            ]
            for one in table.front
        ],
    )
    if table.left_out:
        click.echo(f"{table.left_out:,} machines did not run every layer and input, and are left out")


def _reasons(left_out: dict[str, str]) -> str:
    """The standard pictures that are left out, and why."""
    names: dict[str, list[str]] = {}
    for name, why in left_out.items():
        names.setdefault(why, []).append(name)
    return "; ".join(f"{', '.join(some)} ({why})" for why, some in names.items())
