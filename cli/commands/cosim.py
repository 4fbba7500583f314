"""`eie cosim`: the golden model and the RTL in lockstep, or the RTL alone and fast."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource
from tqdm import tqdm

from eie.cli.inputs import (
    INPUT_HELP,
    Setting,
    machine,
    machine_options,
    read_vector,
    refuse_useless,
    warn_clipped,
)
from eie.cli.output import check_writable, write
from eie.compress.format.file import load
from eie.config import ArchConfig
from eie.errors import ConfigError
from eie.layer import CompressedLayer
from eie.program import Job
from eie.sim.chain import check_wave, single_vectors
from eie.sim.cosim.build import SIMULATORS
from eie.sim.cosim.lockstep import LockstepReport, expected_cycles, lockstep_by_layer, read_back_cycles
from eie.sim.workloads.files import choose
from eie.sim.workloads.random import random_input, random_layer

# Written only when the two sides diverge.
DIVERGENCE = Path("divergence.vcd")
# Whole memories are read back at the end where that takes no more cycles than this.
READ_BACK_LIMIT = 20_000


def replay_command(context: click.Context) -> str:
    """The command line that repeats this run: every option whose value differs from its default, and the seed."""
    words = ["eie", "cosim"]
    for param in context.command.params:
        value = context.params.get(str(param.name))
        chosen = context.get_parameter_source(str(param.name)) is not ParameterSource.DEFAULT
        if (
            value is None
            or param.name in ("json_out", "wave", "saif")
            or not (chosen or param.name == "seed")
        ):
            continue
        if isinstance(param, click.Argument):
            words.append(str(value))
        elif isinstance(param, click.Option) and param.is_flag:
            words.append(param.opts[0] if value else param.secondary_opts[0])
        else:
            for one in value if param.multiple else (value,):
                words += [param.opts[0], str(one)]
    return shlex.join(words)


def _jobs(
    layers: Sequence[CompressedLayer],
    cfg: ArchConfig,
    input_file: Path | None,
    index: int,
    act_density: float,
    seed: int,
) -> tuple[list[Job], int]:
    """A job for each layer, and how many of the real inputs read were clipped."""
    clipped = 0
    if input_file is None:
        inputs = [random_input(layer.cols, act_density, seed + i) for i, layer in enumerate(layers)]
    else:
        first, clipped = read_vector(input_file, index, layers[0], cfg.act_bits)
        inputs = single_vectors(layers, first, cfg.acc_bits)
    return [Job.create(layer, x, cfg) for layer, x in zip(layers, inputs, strict=True)], clipped


def report_json(report: LockstepReport, clipped: int) -> dict[str, Any]:
    """A lockstep run for scripts. clipped : of the real inputs."""
    divergence = report.divergence and {
        key: value for key, value in asdict(report.divergence).items() if key != "history"
    }
    return {
        "simulator": report.simulator,
        "clipped_inputs": clipped,
        "cycles": report.cycles,
        "signals": report.signals,
        "comparisons": report.comparisons,
        "mismatches": report.mismatches,
        "divergence": divergence,
        "seconds": report.seconds,
        "replay": report.replay,
        "waveform": report.waveform and str(report.waveform),
    }


def _run_free(
    jobs: Sequence[Job], simulator: str, saif: Path | None, *, json_out: bool, replay: str, clipped: int
) -> int:
    """Free-running RTL, its comparison, and its switching activity if asked for; the exit status."""
    from eie.sim.cosim.free.compare import compare_jobs
    from eie.sim.cosim.saif import record

    report = compare_jobs(jobs, simulator)
    activity = None
    if saif is not None and not report.differences:
        activity = record(jobs[0], simulator)
        write(saif, activity.text())
    if json_out:
        figures = {
            "simulator": simulator,
            "clipped_inputs": clipped,
            "cycles": report.cycles,
            "compared": report.compared,
            "differences": report.differences,
            "seconds": report.seconds,
            "replay": replay,
            "saif": activity and str(saif),
            "toggles": activity and activity.toggles,
        }
        click.echo(json.dumps(figures))
        return int(bool(report.differences))
    report.require_agreement()
    click.echo(
        f"{simulator}: {report.cycles:,} cycles free-running, {report.compared:,} numbers as the fast engine's, "
        f"{report.seconds:.1f} s ({report.cycles / report.seconds:,.0f} cycles/s)"
    )
    if activity is not None:
        click.echo(
            f"{saif}: {activity.bits:,} bits of nets, {activity.toggles:,} toggles in {activity.duration:,} ps"
        )
    return 0


@click.command(short_help="Golden model and RTL in lockstep, every signal compared.")
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option("--sim", "simulator", type=click.Choice(SIMULATORS), default="icarus", show_default=True)
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Of everything random.")
@machine_options(n_pe=4, sized=True)
@click.option("--rows", type=int, default=64, show_default=True, help="Outputs of the random layer.")
@click.option("--cols", type=int, default=64, show_default=True, help="Inputs of the random layer.")
@click.option("--density", type=float, default=0.2, show_default=True, help="Of the random layer's weights.")
@click.option("--act-density", type=float, default=0.5, show_default=True, help="Of random input vectors.")
@click.option("--layer", "which", metavar="L", help="Only this layer of the file (name, or number from 0).")
@click.option("--input", "input_file", type=click.Path(path_type=Path), metavar="X", help=INPUT_HELP)
@click.option("--index", type=int, default=0, show_default=True, help="Which of the input vectors, from 0.")
@click.option(
    "--wave",
    type=click.Path(path_type=Path),
    metavar="F.fst",
    help="Write the waveform of the RTL's whole run.",
)
@click.option(
    "--free", is_flag=True, help="The RTL alone, with the clock in HDL; numbers are compared at the end."
)
@click.option(
    "--saif",
    type=click.Path(path_type=Path),
    metavar="F.saif",
    help="With --free: write the switching activity of the layer's computation.",
)
@click.option("--json", "json_out", is_flag=True, help="Print one JSON object.")
@click.pass_context
def cosim(
    context: click.Context,
    file: Path | None,
    simulator: str,
    seed: int,
    n_pe: int,
    depth: int,
    preset: str,
    sized: bool,
    settings: Sequence[Setting],
    rows: int,
    cols: int,
    density: float,
    act_density: float,
    which: str | None,
    input_file: Path | None,
    index: int,
    wave: Path | None,
    free: bool,
    saif: Path | None,
    json_out: bool,
) -> None:
    """Run the golden model and the RTL in lockstep and compare every probed signal in every cycle.

    Takes the layers of a .eie FILE, or a random layer. The first divergence is reported with its cycle, PE, signal
    and both values, with a waveform around it (divergence.vcd); the exit status is then 1.

    With --free Python sleeps while the RTL runs, which makes long layers far faster: activations, cycles and all
    counters are compared with the fast engine's at the end.

    \b
    Example:
      eie cosim --sim verilator --pe 4 --rows 100 --cols 80 --density 0.2 --seed 7
      eie cosim --sim verilator --pe 16 --rows 512 --cols 512 --free --saif activity.saif
    """
    if file is None:
        refuse_useless(context, ("--layer", "--input", "--index"), "without a .eie file")
    else:
        refuse_useless(context, ("--rows", "--cols", "--density"), "with a .eie file")
    if input_file is None:
        refuse_useless(context, ("--index",), "without --input")
    else:
        refuse_useless(context, ("--act-density",), "with --input")
    if free:
        refuse_useless(context, ("--wave",), "with --free")
    else:
        refuse_useless(context, ("--saif",), "without --free")
    layers = choose(load(file), which) if file else [random_layer(rows, cols, density, seed)]
    cfg = machine(preset, n_pe, depth, sized, layers, settings)
    jobs, clipped = _jobs(layers, cfg, input_file, index, act_density, seed)
    if saif is not None and len(layers) > 1:
        raise ConfigError("switching activity is written of one layer: choose it with --layer")
    check_wave(wave, simulator)
    for target in (wave, saif):
        if target is not None:
            check_writable(target.parent)
    replay = replay_command(context)
    if not json_out:
        what = (
            f"{file}: {', '.join(layer.name for layer in layers)}"
            if file
            else f"a random {rows} x {cols} layer"
        )
        click.echo(f"{what} on {n_pe} PEs, queue depth {depth}, seed {seed}; replay: {replay}")
    if free:
        warn_clipped(input_file, clipped, layers[0], cfg.act_bits)
        context.exit(_run_free(jobs, simulator, saif, json_out=json_out, replay=replay, clipped=clipped))
    read_back = read_back_cycles(cfg) <= READ_BACK_LIMIT
    with tqdm(
        total=expected_cycles(jobs, read_back=read_back), unit=" cycles", leave=False, disable=None
    ) as bar:
        report = lockstep_by_layer(
            jobs,
            simulator,
            seed=seed,
            replay=replay,
            divergence_wave=DIVERGENCE,
            waveform=wave,
            read_back=read_back,
            progress=lambda cycles: bar.update(cycles - bar.n),
        )
    warn_clipped(input_file, clipped, layers[0], cfg.act_bits)
    if json_out:
        click.echo(json.dumps(report_json(report, clipped)))
        context.exit(report.mismatches)
    report.require_agreement()
    click.echo(
        f"{report.describe()}: {report.comparisons:,} comparisons, {report.mismatches} mismatches, "
        f"{report.seconds:.1f} s ({report.cycles / report.seconds:,.0f} cycles/s)"
    )
    if not read_back:
        click.echo(
            f"The SRAMs were compared at each access, not read back: that takes {read_back_cycles(cfg):,} cycles."
        )
    if wave is not None:
        click.echo(f"waveform: {wave}")
