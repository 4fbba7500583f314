"""`eie run`: a network, or one layer of it, on any engine."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

from eie.balance import balances
from eie.cli.inputs import INPUT_HELP, Source, is_graph, warn_clipped
from eie.cli.options import PATH, Machine, gathered, machine_options, option, refuse_useless
from eie.cli.output import array_file, check_targets, print_table, say, write
from eie.compress.float_layers import FloatArray
from eie.config import ArchConfig
from eie.errors import ModelError, OutputError
from eie.fixed import IntArray
from eie.layer import CompressedLayer
from eie.result import COUNTERS, Result
from eie.sim.chain import check_wave, run_network, single_vectors, wave_path
from eie.sim.energy.model import estimate
from eie.sim.energy.technology import Technology, named
from eie.sim.simulate import ENGINES
from eie.sim.trace import FORMATS, content, trace
from eie.sim.widths import run_width
from eie.sim.workloads.inputs import SOUND

_NOT_WITH_WIDTH = ("--wave", "--trace-table", "--float", "--balance")
# What each line of the table says, for somebody who meets it for the first time.
_COUNTER_NOTES = {
    "entries": "entries processed, fillers included",
    "fillers": "entries that only bridge a run of zeros",
    "macs": "multiply-accumulates: entries - fillers",
    "empty_columns": "columns of which a PE holds no entry: one cycle each",
    "starved": "cycles in which a PE had nothing to do",
    "broadcast_stalls": "cycles in which a full queue held the broadcast",
    "ptr_reads": "pointer reads, a pair each",
    "spmat_reads": "words read from the matrix memories",
    "bypasses": "accumulator operands taken from the pipeline",
    "saturations": "sums clipped",
    "writeback_saturations": "outputs clipped",
}


def estimates(result: Result, technology: Technology) -> dict[str, float | None]:
    """Estimated energy, power and area; None for an engine that has no cycles."""
    names = ("energy_nj", "power_mw", "area_mm2")
    if result.cycles is None:
        return dict.fromkeys(names)
    found = estimate(result.cfg, result.counters, result.cycles, minima=result.minima, technology=technology)
    return {name: getattr(found, name) for name in names}


def result_rows(results: Sequence[Result], technology: Technology) -> list[list[str]]:
    """A row for each figure and a column for each layer, several layers' sum, then what the figure is.

    Counters of the PEs are summed. What an engine does not have is a dash.
    """

    def text(value: float | None, form: str) -> str:
        return "-" if value is None else format(value, form).replace("%", " %")

    def row(
        name: str, note: str, values: Sequence[float | None], form: str = ",", *, adds: bool = True
    ) -> list[str]:
        known = [value for value in values if value is not None]
        total = sum(known) if adds and len(known) == len(values) else None
        return [
            name,
            *(text(v, form) for v in values),
            *([text(total, form)] if len(values) > 1 else ()),
            note,
        ]

    def counter(name: str, share: int = 1) -> list[float | None]:
        return [None if r.counters[name] is None else r.total(name) // share for r in results]

    def estimated(name: str) -> list[float | None]:
        return [estimates(r, technology)[name] for r in results]

    cfg, notes = results[0].cfg, dict(_COUNTER_NOTES)
    broadcast = "inputs that are not zero"
    if cfg.group > 1:
        broadcast = "pairs of inputs that are not both zero"
    if cfg.filter_empty:
        notes["empty_columns"] = "columns (pairs) of which a PE holds no entry: no cycle"
    if cfg.index_free:
        notes["entries"] = notes["macs"] = "places of blocks multiplied, zeros included"
        notes["fillers"] = "none: an index-free machine has no runs of zeros"
        notes["ptr_reads"] = "columns that came to a PE; their places are computed, not read"
    return [
        row("active", broadcast, counter("ptr_reads", cfg.segment_pes)),
        row("cycles", "in compute mode", [r.cycles for r in results]),
        row("µs", "at the clock above", [r.microseconds for r in results], ",.3f"),
        row("balance", "1 - starved / cycles", [r.balance for r in results], ".1%", adds=False),
        row("utilization", "macs / (PEs x cycles)", [r.utilization for r in results], ".1%", adds=False),
        row("nJ", "energy of the chip, estimated (docs/energy.md)", estimated("energy_nj"), ",.1f"),
        row("mW", "its power", estimated("power_mw"), ",.1f", adds=False),
        row("mm²", f"its area, {technology.name}", estimated("area_mm2"), ",.2f", adds=False),
        *(row(name, notes[name], counter(name)) for name in COUNTERS),
    ]


def result_json(name: str, result: Result, clipped: int, technology: Technology) -> dict[str, Any]:
    """One layer's result for scripts; per-PE counters as lists. clipped : of its real inputs, when they were read."""
    counters = {
        key: value.tolist() if isinstance(value, np.ndarray) else value
        for key, value in result.counters.items()
    }
    return {
        "layer": name,
        "engine": result.engine,
        "clipped_inputs": clipped,
        "cycles": result.cycles,
        "microseconds": result.microseconds,
        "balance": result.balance,
        "utilization": result.utilization,
        **estimates(result, technology),
        "load_cycles": result.load_cycles,
        "weight_load_cycles": result.weight_load_cycles,
        "writeback_cycles": result.writeback_cycles,
        "counters": counters,
        "y": result.y.tolist(),
    }


def frame_range(text: str) -> slice:
    """Frames such as 10:20."""
    first, mark, last = text.partition(":")
    if not mark or not first.isdecimal() or not last.isdecimal():
        raise click.BadParameter(f"{text!r} is not a range of frames: write it as 10:20")
    return slice(int(first), int(last))


@dataclass(frozen=True)
class OfGraph:
    """What applies to graphs alone."""

    frames: slice | None = option(
        "--frames", type=frame_range, metavar="A:B", help="Only these frames of a sound."
    )


@dataclass(frozen=True)
class Runner:
    """What runs the network."""

    engine: str = option(
        "--engine", type=click.Choice(ENGINES), default="golden", help="Engine to run it on."
    )
    real: bool = option(
        "--float",
        is_flag=True,
        help="With engine cpu: compute in floating point, without rounding or clipping.",
    )


@dataclass(frozen=True)
class Outputs:
    """What is written and printed."""

    wave: Path | None = option(
        "--wave",
        type=PATH,
        metavar="F",
        help="Write a waveform: .vcd from golden, .fst from a simulator; several layers get a file each.",
    )
    trace: Path | None = option(
        "--trace-table",
        type=PATH,
        metavar="T.csv",
        help="Write the cycles of each column on each PE, as .csv or .parquet (docs/formats.md).",
    )
    out: Path | None = option(
        "-o",
        "--out",
        type=PATH,
        metavar="Y.npy",
        help="Write the outputs: int16 of layers; float64 or sound (.wav) of a graph.",
    )
    technology: str = option(
        "--technology",
        default="45nm",
        metavar="T",
        help="Technology for energy, power and area: a node such as 16nm, or a .toml file (docs/technology.md).",
    )
    json_out: bool = option(
        "--json",
        is_flag=True,
        help="Print JSON: an array with a result for each layer; for a graph, one object.",
    )


@click.command()
@click.argument("file", metavar="NETWORK", type=PATH)
@gathered(
    "source",
    Source,
    *("input_file", "index", "which", "width", "weights"),
    input_file={
        "required": True,
        "help": f"{INPUT_HELP} Or a picture (.png), or sound (.wav), where the network takes it.",
    },
    index={"help": "Number of the input vector, from 0 (a graph takes all)."},
    which={"help": "Run only this layer (name, or number from 0)."},
)
@gathered("of_graph", OfGraph)
@gathered("runner", Runner)
@machine_options(n_pe=64, sized=False)
@gathered("outputs", Outputs)
@click.pass_context
def run(
    context: click.Context,
    file: Path,
    source: Source,
    of_graph: OfGraph,
    runner: Runner,
    machine: Machine,
    outputs: Outputs,
) -> None:
    """Run a NETWORK on one input: the layers of a .eie file one after the other, or a graph (.onnx, or a .toml that
    names it, its weights and its sound), whose matrices go to the engine and everything else to the host
    (docs/networks.md).

    \b
    Example:
      eie run out/lenet_300_100.eie --input examples/lenet_300_100/mnist_test_1000.npz --index 3
      eie run examples/trained/lenet-5.eie --input examples/networks/digit.png --engine fast --sized
      eie run examples/networks/nsnet2.toml --input speech.wav --engine fast -o clean.wav
    """
    engine = runner.engine
    if engine != "cpu":
        refuse_useless(context, ("--float",), f"with engine {engine}")
    if is_graph(file):
        refuse_useless(
            context,
            ("--layer", "--width", "--wave", "--trace-table", "--technology", "--float"),
            f"for {file}: it is a graph",
        )
        from eie.cli.commands.run_graph import run_file  # ONNX's evaluator takes long to import

        run_file(context, file, source, of_graph, engine, machine, outputs)
        return
    refuse_useless(context, ("--weights", "--frames"), f"for {file}: it holds layers, not a graph")
    layers = source.layers(file)
    if source.width is not None:
        refuse_useless(context, _NOT_WITH_WIDTH, "with --width, which runs the image of all widths as it is")
    cfg, first = source.machine(machine, layers), source.first(layers)
    technology = named(outputs.technology)
    check_wave(outputs.wave, engine)
    _check_files(file, first, source, outputs.out)
    source.refuse_useless(context, ())
    x, clipped = source.read(first, cfg.act_bits)
    check_targets(outputs.wave, outputs.out, outputs.trace)
    if runner.real:
        _run_real(layers, np.ldexp(x.astype(np.float64), -layers[0].x_frac), outputs)
        return
    traced = _traced(layers, x, cfg, outputs.trace, balance=machine.balance)
    if source.width is None:
        results = run_network(layers, x, cfg, engine, balance=machine.balance, waveform=outputs.wave)
    else:
        results = run_width(layers, x, cfg, source.width, engine)
    warn_clipped(source.input_file, clipped, layers[0], cfg.act_bits)
    if outputs.out is not None:
        write(outputs.out, array_file(results[-1].y))
    if outputs.trace is not None:
        write(outputs.trace, traced)
    if outputs.json_out:
        click.echo(json.dumps(_json(layers, results, clipped, technology)))
        return
    _print(layers, results, machine, outputs)


def _check_files(file: Path, first: CompressedLayer, source: Source, out: Path | None) -> None:
    """Refuse an output, or sound, that goes with graphs alone."""
    if out is not None and out.suffix.lower() != ".npy":
        raise OutputError(f"{out}: the outputs of layers are written as .npy")
    if source.input_file is not None and source.input_file.suffix.lower() == SOUND:
        raise ModelError(
            f"{source.input_file}: the layers of {file} take no sound, but a picture or an array [{first.inputs}]"
        )


def _json(
    layers: Sequence[CompressedLayer], results: Sequence[Result], clipped: int, technology: Technology
) -> list[dict[str, Any]]:
    # Only the first layer's inputs are read; the others get what the one before wrote back.
    counts = [clipped, *[0] * (len(layers) - 1)]
    each = zip(layers, results, counts, strict=True)
    return [result_json(layer.name, result, count, technology) for layer, result, count in each]


def _run_real(layers: Sequence[CompressedLayer], x: FloatArray, outputs: Outputs) -> None:
    """A chain of layers on the processor at hand, in floating point; x : real numbers, [inputs]."""
    from eie.sim.engines.cpu import CpuNetwork, processors  # numba

    y = CpuNetwork(layers).run_real(x[None])[0]
    if outputs.out is not None:
        write(outputs.out, array_file(y))
    if outputs.json_out:
        click.echo(json.dumps([{"layer": layers[-1].name, "engine": "cpu", "float": True, "y": y.tolist()}]))
        return
    click.echo(f"engine cpu, up to {processors()} threads, float32: no cycles, no counters\n")
    click.echo(f"y: {len(y)} real numbers; the largest is number {int(np.argmax(y))}")
    if len(y) <= 16:
        click.echo("y = " + " ".join(f"{value:.6g}" for value in y))
    if outputs.out is not None:
        click.echo(f"outputs: {outputs.out}")


def _traced(
    layers: Sequence[CompressedLayer],
    x: IntArray,
    cfg: ArchConfig,
    path: Path | None,
    *,
    balance: bool | None,
) -> bytes:
    """The content of the table of columns, if it is wanted."""
    if path is None:
        return b""
    if balances(cfg, balance):
        raise click.UsageError("--trace-table cannot follow rows that --balance moves: give --no-balance")
    if path.suffix not in FORMATS:
        raise OutputError(f"{path}: a table of columns is written as {' or '.join(FORMATS)}")
    return content(trace(layers, single_vectors(layers, x, cfg.acc_bits), cfg), path)


def _print(
    layers: Sequence[CompressedLayer], results: Sequence[Result], machine: Machine, outputs: Outputs
) -> None:
    """The table of a chain of layers, and what came out."""
    last, cfg = results[-1], results[0].cfg
    if last.engine == "cpu":
        click.echo(
            f"engine cpu, {cfg.acc_bits}-bit accumulators: the machine's values, no cycles, no counters"
        )
    else:
        _print_figures(layers, results, machine, outputs)
    click.echo(
        f"\ny: {len(last.y)} activations with {layers[-1].y_frac} fraction bits; "
        f"the largest is number {int(np.argmax(last.y))}"
    )
    if len(last.y) <= 16:
        click.echo("y = " + " ".join(map(str, last.y.tolist())))
    if outputs.wave is not None:
        paths = [str(wave_path(outputs.wave, layers, number)) for number in range(len(layers))]
        click.echo(f"waveform: {', '.join(paths)}")
    if outputs.out is not None:
        click.echo(f"outputs: {outputs.out}")


def _print_figures(
    layers: Sequence[CompressedLayer], results: Sequence[Result], machine: Machine, outputs: Outputs
) -> None:
    """The machine, and its cycles and counters."""
    last, cfg = results[-1], results[0].cfg
    memories = "as large as the layers need" if machine.sized else "of the published sizes"
    rows = ", rows balanced" if balances(cfg, machine.balance) else ""
    say(
        f"engine {last.engine}, {cfg.n_pe} PEs, queue depth {cfg.queue_depth}, {cfg.acc_bits}-bit accumulators, "
        f"memories {memories}, {cfg.clock_hz / 1e6:g} MHz{rows}"
    )
    click.echo()
    total = ["total"] if len(layers) > 1 else []
    print_table(
        ["", *(layer.name for layer in layers), *total, ""],
        result_rows(results, named(outputs.technology)),
        text_last=True,
    )
