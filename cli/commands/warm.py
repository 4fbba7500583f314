"""`eie warm`: everything compiled ahead that first uses would have to wait for."""

from __future__ import annotations

import time

import click

from eie.cli.output import make_folder


@click.command()
@click.option(
    "--shared",
    is_flag=True,
    help="Keep it in the installed package, for all its users, not in the cache of your own.",
)
def warm(shared: bool) -> None:
    """Compile the loops of the compressor and of the fast engine, and the golden model: a minute. Keeps machine code.

    `make setup` does it. After `pip install`, the first command that needs a loop compiles it otherwise. Lockstep takes
    the compiled golden model (docs/rtl.md), which needs mypy, setuptools and a C compiler. Where users
    cannot write the installation, whoever installs it may run it once with --shared for all of them.

    \b
    Example:
      eie warm
    """
    from eie import jit  # numba takes its time to load

    if shared:
        make_folder(jit.SHARED)
        jit.keep_for_all()
    from eie.sim.warm import warm as compile_all

    began, number = time.perf_counter(), 0

    def tell(name: str) -> None:
        nonlocal number
        number += 1
        click.echo(f"compiling loop {number}, about 30 in all: {name}")

    if compile_all(tell):
        click.echo(f"{number} loops compiled in {time.perf_counter() - began:.0f} s")
    else:
        click.echo("every loop is compiled already")
    from eie.compiled import compile_golden

    problem = compile_golden()
    click.echo(f"the golden model stays in Python: {problem}" if problem else "the golden model is compiled")
