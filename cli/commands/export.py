"""`eie export`: the accelerator as Verilog, with memory images, and checked."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import click

from eie.balance import place
from eie.cli.commands.plan import chains
from eie.cli.inputs import Source, warn_clipped
from eie.cli.options import PATH, Machine, gathered, machine_options, option, refuse_useless, was_given
from eie.cli.output import make_folder
from eie.compress.format.file import load
from eie.config import ArchConfig
from eie.layer import CompressedLayer
from eie.plan import make_plan
from eie.program import Job
from eie.rtl.export.export import Expected, ExportReport
from eie.rtl.export.export import export as export_verilog
from eie.sim.chain import choose
from eie.sim.cosim import toolchain
from eie.sim.cosim.chip.words import INDEX, chip_words
from eie.sim.engines import reference
from eie.sim.engines.fast import prepare

# Of the activations that a layer runs on without --input.
_ACT_DENSITY = 0.5


def linters() -> dict[str, Any]:
    """Options of `eie.rtl.export.export.export`: the tools that this machine has, to check with."""
    icarus, verilator = toolchain.find_icarus(), toolchain.find_verilator()
    return {
        "iverilog": icarus.path if icarus else None,
        "verilator": verilator.path if verilator else None,
        "sta": toolchain.find_sta(),
    }


def expectation(job: Job) -> Expected:
    """What the exported testbench compares with: outputs of the reference engine, cycles by the timing law."""
    cycles = prepare(job.layer, job.cfg).run(job.x).cycles
    assert cycles is not None
    return Expected(reference.run(job).y.tolist(), cycles)


@dataclasses.dataclass(frozen=True)
class What:
    """What is written beside the array, and whether it is checked."""

    probe: bool = option("--probe", is_flag=True, help="Add the probe outputs that lockstep compares.")
    chip: bool = option("--chip", is_flag=True, help="Add the chip: host interface, register map, C header.")
    check: bool = option("--check/--no-check", default=True, help="Check what was written.")
    prefix: str = option("--prefix", default="", help="Text before the name of every module.")


@dataclasses.dataclass(frozen=True)
class _Bench:
    """What the testbench runs: a layer on `vector` (in words). clipped : of the real inputs."""

    job: Job
    expected: Expected
    vector: str
    clipped: int


@click.command()
@click.argument("file", type=PATH, required=False)
@click.option("-o", "--out", required=True, type=PATH, metavar="FOLDER", help="Folder to write into.")
@machine_options(n_pe=64, sized=False)
@gathered(
    "source",
    Source,
    *("which", "input_file", "index"),
    which={"default": "0", "help": "Layer (name, or number from 0)."},
)
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=1,
    help="Seed of the random activations, if there is no --input.",
)
@gathered("what", What)
@click.option("--json", "json_out", is_flag=True, help="Print one JSON object.")
@click.pass_context
def export(
    context: click.Context,
    file: Path | None,
    out: Path,
    machine: Machine,
    source: Source,
    seed: int,
    what: What,
    json_out: bool,
) -> None:
    """Write the accelerator's Verilog, and for a layer of a .eie FILE its memory images and a testbench.

    The command checks hierarchy, ports and nets, and that Verilator's lint and Icarus give no warning. The testbench
    runs the layer on --input, or on random activations. It ends with PASS if outputs and cycles are those of the
    reference engine and of the timing law. With --chip it also writes the packets that load all layers (or the one that
    --layer names) into the chip and run them (docs/programming.md).

    \b
    Example:
      eie export out/lenet_300_100.eie --layer fc1 --pe 64 -o verilog
      eie export --chip --pe 64 --set codebooks=3 --set counters=0 -o chip
    """
    _refuse_useless(context, file, source, what.chip)
    held = load(file) if file else []
    layers = choose(held, source.which) if file else []
    # The chip runs all layers one after the other, unless one is asked for.
    one = not what.chip or was_given(context, "which")
    network = layers if one else held
    cfg = machine.config(network)
    placed = place(network, cfg, balance=machine.balance)
    loaded = [each.layer for each in placed]
    bench = _bench(loaded[0], source, seed, cfg) if layers else None
    chained = chains(loaded) if what.chip else []
    plans = [make_plan([loaded[i] for i in numbers], cfg) for numbers in chained]
    words = chip_words(plans) if plans else None
    make_folder(out.absolute().parent)
    report = export_verilog(
        cfg,
        out,
        bench.job if bench else None,
        expected=bench.expected if bench else None,
        words=words,
        orders={each.layer.name: each.rows.tolist() for each in placed if each.rows is not None},
        **dataclasses.asdict(what),
        **linters(),
    )
    if bench is not None:
        warn_clipped(source.input_file, bench.clipped, bench.job.layer, cfg.act_bits)
    if json_out:
        click.echo(json.dumps(_json(report, bench)))
        return
    click.echo(f"{out}: {len(report.files)} files, {cfg.n_pe} PEs; start with {out / 'README.md'}")
    _print(report, bench, file if words else None)


def _print(report: ExportReport, bench: _Bench | None, in_packets: Path | None) -> None:
    """The testbench, where the packets are that run a file, and what the check said."""
    if bench is not None:
        cycles = f"{bench.expected.cycles:,} cycles"
        click.echo(f"testbench: {bench.job.layer.name} on {bench.vector}; expects {cycles}")
    if in_packets is not None:
        index = report.folder / INDEX
        click.echo(
            f"chip: the packets that load it and run {in_packets} are in {index} (docs/programming.md)"
        )
    for line in report.check.lines() if report.check else ["not checked"]:
        click.echo(line)


def _json(report: ExportReport, bench: _Bench | None) -> dict[str, Any]:
    return {
        "folder": str(report.folder),
        "files": report.files,
        "check": report.check and dataclasses.asdict(report.check),
        "clipped_inputs": bench.clipped if bench else 0,
    }


def _refuse_useless(context: click.Context, file: Path | None, source: Source, chip: bool) -> None:
    """Refuse options that have nothing to apply to."""
    if file is None:
        refuse_useless(
            context,
            ("--layer", "--input", "--index", "--seed", "--sized", "--balance"),
            "without a .eie file",
        )
    source.refuse_useless(context, ("--seed",), "with --input: nothing is random")
    if chip:
        refuse_useless(context, ("--probe",), "with --chip")


def _bench(layer: CompressedLayer, source: Source, seed: int, cfg: ArchConfig) -> _Bench:
    """The layer on the input that was asked for, or on random activations."""
    (x,), clipped = source.vectors([layer], cfg, _ACT_DENSITY, [seed])
    vector = f"vector {source.index} of {source.input_file}"
    if source.input_file is None:
        vector = f"random activations, seed {seed}"
    job = Job.create(layer, x, cfg)
    return _Bench(job, expectation(job), vector, clipped)
