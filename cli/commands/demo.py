"""`eie demo`: the main job, from a trained network to figures, pictures, Verilog and a report."""

from __future__ import annotations

import json
from pathlib import Path

import click
from rich.console import Console

from eie.cli.options import PATH
from eie.cli.output import console, make_folder
from eie.sim.cosim import toolchain
from eie.sim.workloads.example import EXAMPLE, require

_PLAN = """\
eie demo: a trained LeNet-300-100, from its weights to Verilog. It
  compresses the network and reads 1,000 digits with it, in float and in fixed point;
  runs {count} digit{s} on the golden model and on the RTL, in Icarus and in Verilator, and compares every signal;
  sweeps PE counts, exports the Verilog, traces a waveform, draws pictures and writes a report into {folder}/.
That takes less than a minute on two free cores, and more with more digits; most of it is the RTL in Icarus.
"""


SIMULATORS = ("icarus", "verilator")


@click.command()
@click.option("-o", "--out", "folder", type=PATH, default=Path("out"), help="Where everything goes.")
@click.option(
    "--digits", "count", type=click.IntRange(1, 1000), default=1, help="How many digits to run in lockstep."
)
@click.option(
    "--example",
    type=PATH,
    default=EXAMPLE,
    show_default="that of the clone",
    help="The folder with the trained network and the digits.",
)
@click.option("--json", "json_out", is_flag=True, help="Print the figures as one JSON object at the end.")
def demo(folder: Path, count: int, example: Path, json_out: bool) -> None:
    """Do the main job: compress a trained LeNet-300-100, run real digits on the golden model and on the RTL in
    Icarus and in Verilator in lockstep, sweep PE counts, export the Verilog, and write a report.

    The exit status is 1 if golden and RTL disagree anywhere.

    \b
    Example:
      eie demo --out out --digits 3
    """
    require(example, "the demo")
    make_folder(folder)
    tools = {name: toolchain.require(name).version_text for name in SIMULATORS}
    click.echo(_PLAN.format(count=count, s="s" * (count > 1), folder=folder), err=json_out)
    from eie.cli import demo_job  # the RTL's tools and matplotlib take seconds to load
    from eie.cli.pages import demo_report

    out = Console(stderr=True) if json_out else console()
    outcome = demo_job.run_demo(out, folder, example, count, tools)
    if json_out:
        click.echo(json.dumps(demo_report.figures(outcome)))
        return
    demo_report.print_summary(outcome, out)
    out.print(
        f"\nEverything is in {folder}/: open [bold]{folder / 'report.html'}[/bold] first.", soft_wrap=True
    )
