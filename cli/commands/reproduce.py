"""`eie reproduce`: the published evaluation once more, as pages with our figures beside the published ones."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import platform
import queue
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from importlib.metadata import version
from itertools import groupby
from pathlib import Path

import click
from rich.console import Console
from rich.progress import SpinnerColumn, TextColumn

from eie.cli.options import PATH
from eie.cli.output import console, filling, print_table
from eie.cli.pages import evaluation_page
from eie.cli.pages.evaluation_page import Made
from eie.cli.progress import progress_bar
from eie.errors import ConfigError, OutputError, SimulationError
from eie.sim.evaluation.parts import PARTS, Part, named
from eie.sim.sweep.workers import OneProcess
from eie.sim.workloads.example import EXAMPLE, require

WORKERS = 2
LEAD = (
    "What Han et al. report of EIE (ISCA 2016), computed again: our figures, from the compressor, the timing law and "
    "the energy model of this project, beside the published ones."
)
Announce = Callable[[str], None]

_HELP = """Repeat the published evaluation: tables and pictures with our figures beside the published ones.

Without a PART, two processes compute everything but `beyond` and `mesa` and write evaluation.html, evaluation.md, the
pictures and data.json. With PARTs, only these are computed and written, as PART.html, PART.md, pictures and PART.json;
their tables are printed, too.

\b
Parts:
{parts}

\b
Example:
  eie reproduce --out out/evaluation
  eie reproduce fig8
"""


def _part_lines() -> str:
    return "\n".join(f"  {', '.join((part.key, *part.also)):<24}{part.what}" for part in PARTS)


@click.command(help=_HELP.format(parts=_part_lines()))
@click.argument("names", nargs=-1, metavar="[PART]...")
@click.option(
    "-o",
    "--out",
    "folder",
    type=PATH,
    default=Path("out/evaluation"),
    metavar="FOLDER",
    help="Where the pages and pictures go.",
)
@click.option("--seed", type=click.IntRange(0), default=1, help="Seed of the random layers and inputs.")
@click.option(
    "--seeds",
    type=click.IntRange(1),
    metavar="N",
    help="For parts learn-...: so many seeds, from --seed on, instead of each part's own number.",
)
@click.option(
    "--example",
    type=PATH,
    default=EXAMPLE,
    show_default="that of the clone",
    metavar="FOLDER",
    help="The folder with the trained network and the digits, for layers and fig10; fig10 also reads "
    "../trained/lenet-5.eie from there.",
)
@click.option("--json", "json_out", is_flag=True, help="Print the numbers as one JSON object at the end.")
def reproduce(  # noqa: D103
    names: tuple[str, ...], folder: Path, seed: int, seeds: int | None, example: Path, json_out: bool
) -> None:
    began = time.perf_counter()
    parts = named(names)
    if seeds is not None:
        if fixed := [part.key for part in parts if not part.seeds]:
            raise ConfigError(f"--seeds has no effect on {fixed[0]}: it has one seed")
        parts = [dataclasses.replace(part, seeds=seeds) for part in parts]
    for part in parts:
        if part.example:
            require(example, part.key)
    out = Console(stderr=True) if json_out else console()
    stem = "-".join(part.key for part in parts) if names else "evaluation"
    with filling(folder) as staging:
        made = compute(parts, seed, example, out)
        try:
            of_seed = ("" if seed == 1 else f" --seed {seed}") + (f" --seeds {seeds}" if seeds else "")
            _write(staging, stem, names, parts, made, seed, of_seed, time.perf_counter() - began)
        except OSError as error:
            raise OutputError(f"cannot write into {folder}: {error.strerror or error}") from None
    if json_out:
        click.echo(evaluation_page.data(made, seed), nl=False)
        return
    if names:
        _print(made, out)
    out.print(f"\nEverything is in {folder}/: open [bold]{folder / stem}.html[/bold] first.", soft_wrap=True)


# ---- computing ---------------------------------------------------------------------------------------------


def compute(parts: Sequence[Part], seed: int, example: Path, out: Console) -> list[Made]:
    """The parts, in their order: in two processes, but for those that must be alone."""
    # Parts of one module share what they measure.
    together = [list(group) for _, group in groupby((p for p in parts if not p.alone), lambda p: p.module)]
    made: dict[str, Made] = {}
    with _progress(out, len(parts)) as (finish, announce):

        def done(job: list[Part], results: list[Made]) -> None:
            for part, one in zip(job, results, strict=True):
                made[part.key] = one
                finish(one)

        if len(together) > 1:
            _in_processes(together, seed, example, announce, done)
        else:
            for job in together:
                done(job, run_parts(job, seed, example, announce))
        for part in (p for p in parts if p.alone):
            done([part], run_parts([part], seed, example, announce))
    return [made[part.key] for part in parts]


def run_parts(job: Sequence[Part], seed: int, example: Path, announce: Announce) -> list[Made]:
    """Compute parts one after another, and draw their pictures."""
    made = []
    for part in job:
        began = time.perf_counter()
        announce(part.what)
        section = part.run(seed, announce, example)
        pictures = evaluation_page.draw(section)
        bare = dataclasses.replace(section, pictures=())
        made.append(Made(bare, pictures, time.perf_counter() - began))
    return made


_steps: multiprocessing.Queue[str]  # in a worker: gets what is being done


def _tell(steps: multiprocessing.Queue[str]) -> None:
    """In a new worker."""
    global _steps
    _steps = steps
    steps.cancel_join_thread()  # nobody reads what is left at its end


def run_in_worker(job: Sequence[Part], seed: int, example: Path) -> list[Made]:
    """As `run_parts`."""
    return run_parts(job, seed, example, _steps.put)


def _in_processes(
    jobs: Sequence[list[Part]],
    seed: int,
    example: Path,
    announce: Announce,
    done: Callable[[list[Part], list[Made]], None],
) -> None:
    """Run the jobs in WORKERS processes; the first failure ends the others."""
    steps: multiprocessing.Queue[str] = multiprocessing.get_context("spawn").Queue()
    processes: list[OneProcess[list[Made]]] = [
        OneProcess(_tell, steps) for _ in range(min(WORKERS, len(jobs)))
    ]
    todo, waiting = list(jobs), dict[Future[list[Made]], list[Part]]()
    try:
        while todo or waiting:
            for process in processes:
                if todo and process.idle:
                    job = todo.pop(0)
                    waiting[process.submit(run_in_worker, job, seed, example)] = job
            with suppress(queue.Empty):
                announce(steps.get(timeout=0.1))
            for future in [future for future in waiting if future.done()]:
                done(waiting.pop(future), future.result())
    except BrokenProcessPool:
        raise SimulationError("a worker process ended early; is there enough memory for two?") from None
    finally:
        for process in processes:
            process.end()


@contextmanager
def _progress(out: Console, total: int) -> Iterator[tuple[Callable[[Made], None], Announce]]:
    """A bar of the parts that are done: (call it with a finished part, call it with what is being done)."""
    said = TextColumn("{task.description}", markup=False)
    with progress_bar(out, (SpinnerColumn(),), said) as progress:
        task = progress.add_task("starting", total=total)

        def finish(part: Made) -> None:
            progress.advance(task)
            progress.console.print(
                f"[green]done[/green]  {part.section.title} ({part.seconds:.1f} s)", soft_wrap=True
            )

        yield finish, lambda text: progress.update(task, description=text)


# ---- what is left behind -----------------------------------------------------------------------------------


def _write(
    folder: Path,
    stem: str,
    names: Sequence[str],
    parts: Sequence[Part],
    made: Sequence[Made],
    seed: int,
    of_seed: str,
    seconds: float,
) -> None:
    commands = [f"eie reproduce {part.key}{of_seed}" for part in parts]
    how = (
        f"Made by `eie reproduce{''.join(f' {name}' for name in names)}{of_seed}` in {seconds:.0f} s: seed {seed}, "
        f"{platform.machine()} with {os.cpu_count()} cores, Python {platform.python_version()}, "
        + ", ".join(f"{name} {version(name)}" for name in ("numpy", "numba", "scipy", "matplotlib"))
        + "."
    )
    for one in made:
        for picture in one.pictures:
            (folder / f"{picture.name}.png").write_bytes(picture.png)
    page = evaluation_page.html(made, LEAD, commands, how.replace("`", ""))
    (folder / f"{stem}.html").write_text(page, encoding="utf-8")
    (folder / f"{stem}.md").write_text(evaluation_page.markdown(made, LEAD, commands, how), encoding="utf-8")
    numbers = "data" if stem == "evaluation" else stem
    (folder / f"{numbers}.json").write_text(evaluation_page.data(made, seed), encoding="utf-8")


def _print(made: Sequence[Made], out: Console) -> None:
    for one in made:
        for table in one.section.tables:
            out.print(f"\n[bold]{table.title}[/bold]", soft_wrap=True)
            print_table(table.headings, table.rows, text_last=table.text, out=out)
            if table.note:
                out.print(table.note, style="dim", soft_wrap=True)
