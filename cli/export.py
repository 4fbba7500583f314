"""`eie export`: the accelerator as Verilog, with memory images, and checked."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import click
import numpy as np

from eie.cli.inputs import INPUT_HELP, machine, machine_options, read_vector
from eie.cli.output import make_folder
from eie.cli.run import choose
from eie.compress.file import load
from eie.program import Job
from eie.rtl.export import export as export_verilog
from eie.sim import toolchain


def linters() -> dict[str, Any]:
    """Options of `eie.rtl.export.export`: the simulators that this machine has, to check the Verilog with."""
    icarus, verilator = toolchain.find_icarus(), toolchain.find_verilator()
    return {"iverilog": icarus.path if icarus else None, "verilator": verilator.path if verilator else None}


@click.command(short_help="Verilog, memory images and a testbench, checked.")
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option(
    "-o", "--out", required=True, type=click.Path(path_type=Path), metavar="FOLDER", help="Where it goes."
)
@machine_options(n_pe=64, sized=False)
@click.option(
    "--layer", "which", default="0", show_default=True, metavar="L", help="Layer (name, or number from 0)."
)
@click.option("--input", "input_file", type=click.Path(path_type=Path), metavar="X", help=INPUT_HELP)
@click.option("--index", type=int, default=0, show_default=True, help="Which of the input vectors, from 0.")
@click.option("--probe", is_flag=True, help="Add the probe outputs that lockstep compares.")
@click.option("--check/--no-check", default=True, show_default=True, help="Check what was written.")
@click.option("--json", "json_out", is_flag=True, help="Print one JSON object.")
def export(
    file: Path | None,
    out: Path,
    n_pe: int,
    depth: int,
    preset: str,
    sized: bool,
    which: str,
    input_file: Path | None,
    index: int,
    probe: bool,
    check: bool,
    json_out: bool,
) -> None:
    """Write the accelerator's Verilog, and for a layer of a .eie FILE its memory images and a testbench.

    Checked are hierarchy, ports and nets, and that Verilator's lint and Icarus have no warning. Without --input the
    testbench runs the layer on zeros.

    \b
    Example:
      eie export out/lenet_300_100.eie --layer fc1 --pe 64 -o verilog
    """
    if file is None and (input_file is not None or sized):
        raise click.UsageError("--input and --sized need a .eie file")
    layers = choose(load(file), which) if file else []
    cfg = machine(preset, n_pe, depth, sized, layers)
    job = None
    if layers:
        layer = layers[0]
        x = read_vector(input_file, index, layer, cfg.act_bits) if input_file else np.zeros(layer.cols, int)
        job = Job.create(layer, x, cfg)
    make_folder(out.absolute().parent)
    report = export_verilog(cfg, out, job, probe=probe, check=check, **linters())
    if json_out:
        done = report.check and dataclasses.asdict(report.check)
        click.echo(json.dumps({"folder": str(out), "files": report.files, "check": done}))
        return
    click.echo(f"{out}: {len(report.files)} files, {cfg.n_pe} PEs; start with {out / 'README.md'}")
    for line in report.check.lines() if report.check else ["not checked"]:
        click.echo(line)
