"""`eie cosim`: the golden model and the RTL in lockstep, or the RTL alone and fast."""

from __future__ import annotations

import itertools
import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
from tqdm import tqdm

from eie.cli.inputs import Source, is_graph, warn_clipped
from eie.cli.options import PATH, Machine, gathered, machine_options, option, refuse_useless, was_given
from eie.cli.output import check_targets, write
from eie.compress.format.file import load
from eie.errors import ConfigError
from eie.prefix import thousandths
from eie.program import Job
from eie.sim.chain import check_wave
from eie.sim.cosim.build import SIMULATORS
from eie.sim.cosim.free.compare import compare_jobs
from eie.sim.cosim.lockstep import (
    LockstepReport,
    expected_cycles,
    lockstep_by_layer,
    lockstep_program,
    read_back_cycles,
)
from eie.sim.cosim.saif import record
from eie.sim.workloads.random import random_input, random_layer
from eie.width_program import sized_for_widths, width_program

# Written only when the two sides diverge.
DIVERGENCE = Path("divergence.vcd")
# Whole memories are read back at the end where that takes no more cycles than this.
READ_BACK_LIMIT = 20_000


def replay_command(context: click.Context) -> str:
    """The command line that repeats this run: every option whose value differs from its default, and the seed."""
    words = ["eie", "cosim"]
    for param in context.command.params:
        value = context.params.get(str(param.name))
        chosen = was_given(context, str(param.name)) or param.name == "seed"
        if value is None or param.name in ("json_out", "wave", "saif") or not chosen:
            continue
        if isinstance(param, click.Argument):
            words.append(str(value))
        elif isinstance(param, click.Option) and param.is_flag:
            words.append(param.opts[0] if value else param.secondary_opts[0])
        else:
            for one in value if param.multiple else (value,):
                words += [param.opts[0], str(one)]
    return shlex.join(words)


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


@dataclass(frozen=True)
class RandomCase:
    """The random layer that runs without a file, and the density of random inputs."""

    rows: int = option("--rows", default=64, help="Outputs of the random layer.")
    cols: int = option("--cols", default=64, help="Inputs of the random layer.")
    density: float = option(
        "--density", default=0.2, help="Share of the random layer's weights that are not zero."
    )
    act_density: float = option(
        "--act-density", default=0.5, help="Share of random inputs that are not zero."
    )


@dataclass(frozen=True)
class Outputs:
    """What is run and written beside the comparison."""

    wave: Path | None = option(
        "--wave", type=PATH, metavar="F.fst", help="Write the waveform of the RTL's whole run."
    )
    free: bool = option(
        "--free",
        is_flag=True,
        help="Run the RTL alone, with its clock in HDL, and compare numbers at the end.",
    )
    saif: Path | None = option(
        "--saif",
        type=PATH,
        metavar="F.saif",
        help="With --free: write the switching activity of the layer's computation.",
    )
    json_out: bool = option("--json", is_flag=True, help="Print one JSON object.")


@dataclass(frozen=True)
class _Case:
    """What runs in the simulator. clipped : of the real inputs."""

    jobs: Sequence[Job]
    simulator: str
    seed: int
    replay: str
    clipped: int


def _run_lockstep(case: _Case, out: Outputs) -> int:
    """Golden and RTL in lockstep; the exit status."""
    cfg = case.jobs[0].cfg
    read_back = read_back_cycles(cfg) <= READ_BACK_LIMIT
    total = expected_cycles(case.jobs, read_back=read_back)
    with tqdm(total=total, unit=" cycles", leave=False, disable=None) as bar:
        report = lockstep_by_layer(
            case.jobs,
            case.simulator,
            seed=case.seed,
            replay=case.replay,
            divergence_wave=DIVERGENCE,
            waveform=out.wave,
            read_back=read_back,
            progress=lambda cycles: bar.update(cycles - bar.n),
        )
    if _told(report, case.clipped, out.json_out):
        return report.mismatches
    if not read_back:
        click.echo(
            f"The SRAMs were compared at each access, not read back: that takes {read_back_cycles(cfg):,} cycles."
        )
    if out.wave is not None:
        click.echo(f"waveform: {out.wave}")
    return 0


def _told(report: LockstepReport, clipped: int, json_out: bool) -> bool:
    """Print a lockstep run; whether that was all, because it is for scripts."""
    if json_out:
        click.echo(json.dumps(report_json(report, clipped)))
        return True
    report.require_agreement()
    click.echo(
        f"{report.describe()}: {report.comparisons:,} comparisons, {report.mismatches} mismatches, "
        f"{report.seconds:.1f} s ({report.cycles / report.seconds:,.0f} cycles/s)"
    )
    return False


def _run_width(context: click.Context, file: Path, machine: Machine, source: Source, out: Outputs) -> int:
    """A whole network at one of its widths, from the image of all of them, in lockstep; the exit status."""
    useless = ("--free", "--wave", "--saif", "--layer", "--balance")
    refuse_useless(context, useless, "with --width, which runs the whole network in lockstep")
    layers, simulator, seed = load(file), context.params["simulator"], context.params["seed"]
    assert source.width is not None
    first = source.first(layers)
    cfg = machine.as_set
    if machine.sized:
        cfg = sized_for_widths(cfg, layers, together=True).replace(**dict(machine.settings))
    density = context.params["act_density"]
    x, clipped = (
        (random_input(first.cols, density, seed), 0)
        if source.input_file is None
        else source.read(first, cfg.act_bits)
    )
    program = width_program(layers, cfg, thousandths(source.width), str(file))
    if not out.json_out:
        click.echo(
            f"{file} at width {source.width:g} on {cfg.n_pe} PEs, seed {seed}; replay: {replay_command(context)}"
        )
    warn_clipped(source.input_file, clipped, first, cfg.act_bits)
    replay = replay_command(context)
    report = lockstep_program(program, [x], simulator, seed=seed, replay=replay)
    _told(report, clipped, out.json_out)
    return report.mismatches


def _run_free(case: _Case, out: Outputs) -> int:
    """Free-running RTL, its comparison, and its switching activity if asked for; the exit status."""
    report = compare_jobs(case.jobs, case.simulator)
    activity = None
    if out.saif is not None and not report.differences:
        activity = record(case.jobs[0], case.simulator)
        write(out.saif, activity.text())
    if out.json_out:
        figures = {
            "simulator": case.simulator,
            "clipped_inputs": case.clipped,
            "cycles": report.cycles,
            "compared": report.compared,
            "differences": report.differences,
            "seconds": report.seconds,
            "replay": case.replay,
            "saif": activity and str(out.saif),
            "toggles": activity and activity.toggles,
        }
        click.echo(json.dumps(figures))
        return int(bool(report.differences))
    report.require_agreement()
    click.echo(
        f"{case.simulator}: {report.cycles:,} cycles free-running, {report.compared:,} numbers as the fast engine's, "
        f"{report.seconds:.1f} s ({report.cycles / report.seconds:,.0f} cycles/s)"
    )
    if activity is not None:
        click.echo(
            f"{out.saif}: {activity.bits:,} bits of nets, {activity.toggles:,} toggles in {activity.duration:,} ps"
        )
    return 0


@click.command()
@click.argument("file", type=PATH, required=False)
@click.option(
    "--sim", "simulator", type=click.Choice(SIMULATORS), default="icarus", help="Simulator of the RTL."
)
@click.option("--seed", type=click.IntRange(0), default=1, help="Seed of everything random.")
@machine_options(n_pe=4, sized=True)
@gathered("random", RandomCase)
@gathered("source", Source)
@gathered("out", Outputs)
@click.pass_context
def cosim(
    context: click.Context,
    file: Path | None,
    simulator: str,
    seed: int,
    machine: Machine,
    random: RandomCase,
    source: Source,
    out: Outputs,
) -> None:
    """Run the golden model and the RTL in lockstep and compare every probed signal in every cycle.

    The command runs the layers of a .eie FILE, the matrices of a graph (.onnx, .toml) on the vectors that reach them
    for --input, or a random layer. If golden model and RTL differ, the command reports the first divergence with its
    cycle, PE, signal and both values, writes a waveform around it (divergence.vcd), and exits with status 1.

    With --free Python sleeps while the RTL runs, so that long layers take far less time. At the end the command
    compares activations, cycles and all counters with the fast engine's.

    \b
    Example:
      eie cosim --sim verilator --pe 4 --rows 100 --cols 80 --density 0.2 --seed 7
      eie cosim widths.eie --width 0.5 --input x.npz
      eie cosim --sim verilator --pe 16 --rows 512 --cols 512 --free --saif activity.saif
    """
    _refuse_useless(context, file, source, out.free)
    if file and source.width is not None:
        context.exit(_run_width(context, file, machine, source, out))
    found = source.products(file, machine) if file and is_graph(file) else None
    if found:
        layers = found.layers
    else:
        layers = (
            source.layers(file) if file else [random_layer(random.rows, random.cols, random.density, seed)]
        )
    cfg = machine.config(layers)
    inputs, clipped = (
        (found.vectors, found.clipped)
        if found
        else source.vectors(layers, cfg, random.act_density, itertools.count(seed))
    )
    placed = machine.placed(layers, cfg, chained=not found)
    jobs = [Job.create(one.layer, one.inputs(x), cfg) for one, x in zip(placed, inputs, strict=True)]
    if out.saif is not None and len(layers) > 1:
        raise ConfigError("--saif writes the switching activity of one layer: choose it with --layer")
    check_wave(out.wave, simulator)
    check_targets(out.wave, out.saif)
    case = _Case(jobs, simulator, seed, replay_command(context), clipped)
    if not out.json_out:
        names = ", ".join(layer.name for layer in layers)
        what = f"{file}: {names}" if file else f"a random {random.rows} x {random.cols} layer"
        click.echo(
            f"{what} on {cfg.n_pe} PEs, queue depth {cfg.queue_depth}, seed {seed}; replay: {case.replay}"
        )
    warn_clipped(source.input_file, clipped, layers[0], cfg.act_bits)
    context.exit(_run_free(case, out) if out.free else _run_lockstep(case, out))


def _refuse_useless(context: click.Context, file: Path | None, source: Source, free: bool) -> None:
    """Refuse options that have nothing to apply to."""
    if file is None:
        refuse_useless(context, ("--layer", "--input", "--index", "--width"), "without a .eie file")
    else:
        refuse_useless(context, ("--rows", "--cols", "--density"), "with a .eie file")
    if is_graph(file):
        refuse_useless(context, ("--width",), f"for {file}: it is a graph")
    if not is_graph(file):
        refuse_useless(context, ("--weights",), "without a graph (.onnx, .toml)")
    source.refuse_useless(context, ("--act-density",))
    if free:
        refuse_useless(context, ("--wave",), "with --free")
    else:
        refuse_useless(context, ("--saif",), "without --free")
