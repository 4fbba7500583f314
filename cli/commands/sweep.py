"""`eie sweep`: layers over configurations, into a store, a table, or both."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from tqdm import tqdm

from eie.cli.inputs import INPUT_HELP, warn_clipped
from eie.cli.options import PATH, PRESET, matrix_size, refuse_useless, whole_numbers
from eie.cli.output import check_writable, print_table, write
from eie.cli.pages.summary import distinct, summary
from eie.errors import ConfigError
from eie.sim.sweep.columns import Row, to_csv, to_json
from eie.sim.sweep.grid import DEFAULTS, Grid, expand, read
from eie.sim.sweep.point import BALANCED, MEMORIES, OWN, SIZED, SWEEP_ENGINES, Point
from eie.sim.sweep.run import rows_of, run, unfinished
from eie.sim.sweep.store import IN_MEMORY, Store
from eie.sim.sweep.workers import workers

_WRITERS = {".csv": to_csv, ".json": to_json}
_STORE = ".sqlite"
# Rows of the printed table; the store has them all.
_SHOWN = 40
# Reasons that are printed for points without figures.
_REASONS = 5
# Options that a grid file has keys for.
_IN_THE_GRID = (
    *("--random", "--density", "--act-density", "--seed", "--layer", "--input", "--inputs"),
    *("--pe", "--depth", "--preset", "--engine", "--memories", "--technology", "--balance"),
)
FAILED = 1
# A sweep without a terminal says so often how far it is.
_LOG_S = 60.0


def _grid(
    context: click.Context, file: Path | None, size: tuple[int, int] | None, options: dict[str, Any]
) -> Grid:
    """The points of a TOML file, or those that the short options stand for."""
    if (file is None) == (size is None):
        raise click.UsageError("give a .toml grid, a .eie file, or --random ROWSxCOLS")
    if file is not None and file.suffix == ".toml":
        refuse_useless(context, _IN_THE_GRID, "with a .toml grid: it has keys for them")
        return read(file)
    if size is None:
        refuse_useless(context, ("--density",), "with a .eie file")
    else:
        refuse_useless(context, ("--layer",), "without a .eie file")
    if options["input"] is not None:
        refuse_useless(context, ("--act-density",), "with --input")
        if size is not None:
            refuse_useless(context, ("--input",), "without a .eie file")
        del options["act_density"], options["seed"]
    if size is None:
        del options["density"]
        options["file"] = str(file)
    else:
        options["rows"], options["cols"] = size
    given = {key: list(value) if isinstance(value, tuple) else value for key, value in options.items()}
    return expand([{key: value for key, value in given.items() if value is not None}], "eie sweep")


@click.command()
@click.argument("file", type=PATH, required=False)
@click.option(
    "--random",
    "size",
    type=matrix_size,
    metavar="ROWSxCOLS",
    help="A random layer instead of a file, such as 4096x9216.",
)
@click.option(
    "--density", default=DEFAULTS["density"], help="Share of the random layer's weights that are not zero."
)
@click.option(
    "--act-density", default=DEFAULTS["act_density"], help="Share of random inputs that are not zero."
)
@click.option("--seed", type=click.IntRange(0), default=1, help="Seed of everything random.")
@click.option("--layer", "layer", metavar="L", help="Only this layer of the file (name, or number from 0).")
@click.option("--input", "input", type=click.Path(), metavar="X", help=INPUT_HELP)
@click.option("--inputs", type=click.IntRange(1), default=1, help="How many vectors to run.")
@click.option(
    "--pe", "n_pe", type=whole_numbers, metavar="N,N,..", default="1,2,4,8,16,32,64", help="PE counts."
)
@click.option(
    "--depth",
    "queue_depth",
    type=whole_numbers,
    metavar="N,N,..",
    show_default="the preset's",
    help="Queue depths.",
)
@click.option("--preset", **PRESET)
@click.option(
    "--balance",
    "placement",
    flag_value=BALANCED,
    help="Place the rows so that the PEs have equal work (docs/balance.md).",
)
@click.option(
    "--memories",
    type=click.Choice(MEMORIES),
    default=DEFAULTS["memories"],
    help="As large as each layer needs, or the preset's own, which cannot hold every layer.",
)
@click.option(
    "--technology",
    default=DEFAULTS["technology"],
    metavar="T",
    help="Technology for energy, power and area: a node such as 16nm, or a .toml file (docs/technology.md).",
)
@click.option(
    "--engine",
    type=click.Choice(SWEEP_ENGINES),
    default=DEFAULTS["engine"],
    help="Engine to run on. All give the same figures; fast takes the least time.",
)
@click.option(
    "-o",
    "--out",
    "outputs",
    type=PATH,
    multiple=True,
    metavar="FILE",
    help="Keep every finished point in a store (.sqlite), or write a copy of the rows (.csv, .json). May be repeated. "
    "A .toml grid always has a store, of its own name.",
)
@click.option("--retry", is_flag=True, help="Run failed points again.")
@click.option(
    "--workers",
    "processes",
    type=click.IntRange(1),
    show_default="one a core",
    help="Processes on this machine; 1 uses this one alone.",
)
@click.option("--scheduler", metavar="ADDRESS", help="Run on a Dask cluster, such as tcp://10.0.0.1:8786.")
@click.option("--json", "json_out", is_flag=True, help="Print the rows as a JSON array, not a table.")
@click.pass_context
def sweep(
    context: click.Context,
    /,
    file: Path | None,
    size: tuple[int, int] | None,
    outputs: tuple[Path, ...],
    retry: bool,
    processes: int | None,
    scheduler: str | None,
    json_out: bool,
    **options: Any,
) -> None:
    """Run the layers of a .eie FILE, or a random layer, over PE counts and queue depths. Or run a grid over any layers
    and fields of the configuration, written as TOML.

    A sweep with a store goes on from the points that are there, however it ended before. The exit status is 0 if every
    point has run or is impossible, 1 if some failed, 2 if no point has a figure, 130 after Ctrl-C.

    \b
    Example:
      eie sweep --random 600x4096 --density 0.1 --act-density 1 --pe 1,4,16,64 --depth 1,8 -o sweep.sqlite
      eie sweep examples/sweeps/design_space.toml
    """
    for path in outputs:
        if path.suffix not in (_STORE, *_WRITERS):
            raise ConfigError(f"{path}: a sweep is written as .sqlite, .csv or .json")
        check_writable(path.parent)
    stores = [path for path in outputs if path.suffix == _STORE]
    if len(stores) > 1:
        raise ConfigError(f"{stores[1]}: a sweep has only one store")
    if scheduler is not None:
        refuse_useless(context, ("--workers",), "with --scheduler")
    grid = _grid(context, file, size, options)
    if not stores and file is not None and file.suffix == ".toml":
        stores = [Path(file.with_suffix(_STORE).name)]
    began = time.perf_counter()
    with Store(stores[0] if stores else IN_MEMORY) as store:
        todo = unfinished(grid.points, store, retry=retry)
        _run(grid, todo, store, scheduler, min(processes or os.cpu_count() or 1, len(todo)))
        rows = rows_of(grid.points, store)
    for one in grid.clipped:
        warn_clipped(one.path, one.count, one.layer, one.act_bits)
    copies = [path for path in outputs if path.suffix in _WRITERS]
    for path in copies:
        write(path, _WRITERS[path.suffix](rows))
    if json_out:
        click.echo(to_json(rows), nl=False)
    else:
        print_rows(rows)
        ran = f"{len(todo):,} run now in {time.perf_counter() - began:.1f} s" if todo else "none run now"
        if stores:
            click.echo(f"{stores[0]}: {len(rows):,} points, {len(rows) - len(todo):,} there before, {ran}")
        for path in copies:
            click.echo(f"wrote {path}")
    _conclude(context, rows)


class _Log:
    """Where no terminal shows the bar: a line on stderr each minute, with how far the sweep is and the time left."""

    def __init__(self, total: int) -> None:
        self.total, self.done = total, 0
        self._began = self._said = time.monotonic()

    def add(self, points: int) -> None:
        """So many points more are finished."""
        self.done += points
        now = time.monotonic()
        if now - self._said >= _LOG_S and self.done < self.total:
            self._said = now
            left = (now - self._began) / self.done * (self.total - self.done)
            click.echo(
                f"eie: note: {self.done:,} of {self.total:,} points done, about {duration(left)} left",
                err=True,
            )


def duration(seconds: float) -> str:
    """A time in words.

    >>> duration(42), duration(300), duration(9000)
    ('42 s', '5 min', '2.5 h')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _run(grid: Grid, todo: list[Point], store: Store, scheduler: str | None, processes: int) -> None:
    """Run what is left to do, with a progress bar."""
    if not todo:
        return
    total = len({point.key for point in grid.points})
    bar = tqdm(total=total, initial=total - len(todo), unit="point", desc="sweep", disable=None)
    log = _Log(len(todo))
    try:
        with bar:
            run(
                todo,
                store,
                workers(scheduler, processes),
                retry=True,
                progress=log.add if bar.disable else bar.update,
            )
    except KeyboardInterrupt:
        done = len(rows_of(grid.points, store))
        kept = (
            "are lost: a store keeps them (-o sweep.sqlite)"
            if store.path == IN_MEMORY
            else f"are in {store.path}: the same command goes on from there"
        )
        raise KeyboardInterrupt(f"{done:,} of {total:,} points {kept}") from None


def print_rows(rows: Sequence[Row]) -> None:
    """What the rows have in common, and a table of the first ones: means over inputs and seeds."""
    done = [row for row in rows if row["status"] == "ok"]
    if not done:
        return
    memories = {SIZED: "sized for each layer", OWN: "the configuration's own"}
    click.echo(
        f"engine {', '.join(distinct(done, 'engine'))}; "
        f"{', '.join(f'{hz / 1e6:g}' for hz in distinct(done, 'clock_hz'))} MHz; "
        f"memories {' or '.join(memories[name] for name in distinct(done, 'memories'))}"
    )
    headings, table = summary(done)
    if len(table) < len(done):
        click.echo(f"means over seeds and inputs: {len(done):,} points, {len(table):,} rows")
    click.echo()
    print_table(headings, table[:_SHOWN])
    if len(table) > _SHOWN:
        click.echo(f"... and {len(table) - _SHOWN:,} rows more")


def _conclude(context: click.Context, rows: Sequence[Row]) -> None:
    """Say what has no figures and why; the exit status."""
    wrong = [row for row in rows if row["status"] != "ok"]
    if wrong and len(wrong) == len(rows):
        none = f"none of the {len(rows):,} points has a figure; the first: " if len(rows) > 1 else ""
        raise ConfigError(none + wrong[0]["error"])
    for (status, error), count in Counter((row["status"], row["error"]) for row in wrong).most_common(
        _REASONS
    ):
        click.echo(f"eie: note: {status}, {count:,} of {len(rows):,} points: {error}", err=True)
    if any(row["status"] == "failed" for row in wrong):
        click.echo("eie: note: failed points are run again with --retry", err=True)
        context.exit(FAILED)
