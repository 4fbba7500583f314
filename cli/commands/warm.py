"""`eie warm`: everything compiled ahead that first uses would have to wait for."""

from __future__ import annotations

import time

import click

from eie.cli.output import make_folder
from eie.compiled import compile_golden
from eie.errors import SimulationError, SimulatorMissing


@click.command()
@click.option(
    "--shared",
    is_flag=True,
    help="Keep the loops' machine code in the installed package, for all its users, not in your own cache.",
)
def warm(shared: bool) -> None:
    """Compile the loops of the compressor and of the fast engine, the golden model and Verilator's runtime, and keep
    the machine code. This takes about a minute.

    `make setup` does it. After a plain `pip install`, each loop is compiled by the first command that needs it, unless
    you run this. If several users share an installation that they cannot write, its owner can run it once with --shared
    for all of them. Lockstep uses the compiled golden model (docs/rtl.md), which needs mypy, setuptools and a C
    compiler.

    \b
    Example:
      eie warm
    """
    from eie import jit  # numba takes its time to load

    if shared:
        make_folder(jit.SHARED)
        jit.keep_for_all()
    from eie.sim.cosim.build import compile_runtime
    from eie.sim.warm import warm as compile_all

    began, number = time.perf_counter(), 0

    def tell(name: str) -> None:
        nonlocal number
        number += 1
        click.echo(f"compiling loop {number}: {name}")

    if compile_all(tell):
        click.echo(f"{number} loops compiled in {time.perf_counter() - began:.0f} s")
    else:
        click.echo("every loop is compiled already")
    problem = compile_golden()
    click.echo(f"the golden model stays in Python: {problem}" if problem else "the golden model is compiled")
    try:
        compile_runtime()
        click.echo("Verilator's runtime is compiled")
    except (SimulatorMissing, SimulationError) as error:  # loops and golden are there all the same
        click.echo(f"Verilator's runtime is not compiled: {error}")
