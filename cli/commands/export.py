"""`eie export`: the accelerator as Verilog, with memory images, and checked."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from eie.cli.commands.plan import chains
from eie.cli.inputs import (
    INPUT_HELP,
    Setting,
    machine,
    machine_options,
    read_vector,
    refuse_useless,
    warn_clipped,
)
from eie.cli.output import make_folder
from eie.compress.format.file import load
from eie.plan import make_plan
from eie.program import Job
from eie.rtl.export.export import Expected
from eie.rtl.export.export import export as export_verilog
from eie.sim.chain import single_vectors
from eie.sim.cosim import toolchain
from eie.sim.cosim.chip.words import INDEX, chip_words
from eie.sim.engines import reference
from eie.sim.workloads.files import choose
from eie.sim.workloads.random import random_input
from eie.timing import schedule

# Of the activations that a layer runs on without --input.
_ACT_DENSITY = 0.5


def linters() -> dict[str, Any]:
    """Options of `eie.rtl.export.export.export`: the simulators that this machine has, to check the Verilog with."""
    icarus, verilator = toolchain.find_icarus(), toolchain.find_verilator()
    return {"iverilog": icarus.path if icarus else None, "verilator": verilator.path if verilator else None}


def expectation(job: Job) -> Expected:
    """What the exported testbench compares with: outputs of the reference engine, cycles by the timing law."""
    timing = schedule(job.interleaved.lengths[job.active], job.cfg)
    return Expected(reference.run(job).y.tolist(), timing.cycles)


def _refuse_useless(context: click.Context, file: Path | None, input_file: Path | None) -> None:
    """Refuse options that have nothing to apply to."""
    if file is None:
        refuse_useless(context, ("--layer", "--input", "--index", "--seed", "--sized"), "without a .eie file")
    if input_file is None:
        refuse_useless(context, ("--index",), "without --input")
    else:
        refuse_useless(context, ("--seed",), "with --input: nothing is random")


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
@click.option(
    "--seed", type=click.IntRange(0), default=1, show_default=True, help="Of the activations without --input."
)
@click.option("--probe", is_flag=True, help="Add the probe outputs that lockstep compares.")
@click.option("--chip", is_flag=True, help="Add the chip: host interface, register map, C header.")
@click.option("--check/--no-check", default=True, show_default=True, help="Check what was written.")
@click.option("--json", "json_out", is_flag=True, help="Print one JSON object.")
@click.pass_context
def export(
    context: click.Context,
    file: Path | None,
    out: Path,
    n_pe: int,
    depth: int,
    preset: str,
    sized: bool,
    settings: Sequence[Setting],
    which: str,
    input_file: Path | None,
    index: int,
    seed: int,
    probe: bool,
    chip: bool,
    check: bool,
    json_out: bool,
) -> None:
    """Write the accelerator's Verilog, and for a layer of a .eie FILE its memory images and a testbench.

    Checked are hierarchy, ports and nets, and that Verilator's lint and Icarus have no warning. The testbench runs the
    layer, without --input on random activations, and ends with PASS if its outputs and cycles are those of the
    reference engine and of the timing law. With --chip there are the packets, too, that load the chip with all layers
    (or the one that --layer names) and run them (docs/programming.md).

    \b
    Example:
      eie export out/lenet_300_100.eie --layer fc1 --pe 64 -o verilog
      eie export --chip --pe 64 --set codebooks=3 --set counters=0 -o chip
    """
    _refuse_useless(context, file, input_file)
    if chip:
        refuse_useless(context, ("--probe",), "with --chip")
    held = load(file) if file else []
    layers = choose(held, which) if file else []
    # The chip runs all layers one after the other, unless one is asked for.
    one = not chip or context.get_parameter_source("which") is not ParameterSource.DEFAULT
    network = layers if one else held
    cfg = machine(preset, n_pe, depth, sized, network, settings)
    job, expected, vector, clipped = None, None, "", 0
    if layers:
        layer = layers[0]
        if input_file:
            given, clipped = read_vector(input_file, index, layer, cfg.act_bits)
            (x,) = single_vectors([layer], given, cfg.acc_bits)
            vector = f"vector {index} of {input_file}"
        else:
            x = random_input(layer.cols, _ACT_DENSITY, seed)
            vector = f"random activations, seed {seed}"
        job = Job.create(layer, x, cfg)
        expected = expectation(job)
    plans = [make_plan([network[i] for i in numbers], cfg) for numbers in chains(network)] if chip else []
    words = chip_words(plans) if plans else None
    make_folder(out.absolute().parent)
    report = export_verilog(
        cfg, out, job, expected=expected, probe=probe, chip=chip, words=words, check=check, **linters()
    )
    if layers:
        warn_clipped(input_file, clipped, layers[0], cfg.act_bits)
    if json_out:
        done = report.check and dataclasses.asdict(report.check)
        figures = {"folder": str(out), "files": report.files, "check": done, "clipped_inputs": clipped}
        click.echo(json.dumps(figures))
        return
    click.echo(f"{out}: {len(report.files)} files, {cfg.n_pe} PEs; start with {out / 'README.md'}")
    if job is not None and expected is not None:
        click.echo(f"testbench: {job.layer.name} on {vector}; expects {expected.cycles:,} cycles")
    if words is not None:
        click.echo(
            f"chip: the packets that load it and run {file} are in {out / INDEX} (docs/programming.md)"
        )
    for line in report.check.lines() if report.check else ["not checked"]:
        click.echo(line)
