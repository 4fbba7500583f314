"""`eie run`: a compressed network, or one layer of it, on one input vector and any engine."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from eie.cli.inputs import INPUT_HELP, machine, machine_options, read_vector, warn_clipped
from eie.cli.output import check_writable, print_table, write
from eie.compress.file import load
from eie.result import COUNTERS, Result
from eie.sim.energy import Estimate, estimate
from eie.sim.engines import ENGINES
from eie.sim.inputs import choose
from eie.sim.network import check_wave, run_network, wave_path

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


def energy_of(result: Result) -> Estimate | None:
    """Estimated energy and area, for an engine that has cycles."""
    return None if result.cycles is None else estimate(result.cfg, result.counters, result.cycles)


def result_rows(results: Sequence[Result]) -> list[list[str]]:
    """A row for each figure and a column for each layer, then what the figure is; per-PE counters are summed.

    What an engine does not have is a dash.
    """

    def row(name: str, note: str, values: Sequence[str | None]) -> list[str]:
        return [name, *("-" if value is None else value for value in values), note]

    def total(result: Result, counter: str) -> str | None:
        return None if result.counters[counter] is None else f"{result.total(counter):,}"

    balance = [r.balance for r in results]
    energies = [energy_of(r) for r in results]
    return [
        row("cycles", "in compute mode", [None if r.cycles is None else f"{r.cycles:,}" for r in results]),
        row(
            "µs",
            "at the clock above",
            [None if r.cycles is None else f"{r.microseconds:.3f}" for r in results],
        ),
        row("balance", "1 - starved / cycles", [None if b is None else f"{100 * b:.1f} %" for b in balance]),
        row(
            "nJ",
            "energy of the chip, estimated (docs/energy.md)",
            [None if e is None else f"{e.energy_nj:,.1f}" for e in energies],
        ),
        row("mW", "its power", [None if e is None else f"{e.power_mw:,.1f}" for e in energies]),
        row("mm²", "its area at 45 nm", [None if e is None else f"{e.area_mm2:,.2f}" for e in energies]),
        *(row(name, _COUNTER_NOTES[name], [total(r, name) for r in results]) for name in COUNTERS),
    ]


def result_json(name: str, result: Result, clipped: int) -> dict[str, Any]:
    """One layer's result for scripts; per-PE counters as lists. clipped : of its real inputs, when they were read."""
    counters = {
        key: value.tolist() if isinstance(value, np.ndarray) else value
        for key, value in result.counters.items()
    }
    energy = energy_of(result)
    return {
        "layer": name,
        "engine": result.engine,
        "clipped_inputs": clipped,
        "cycles": result.cycles,
        "microseconds": result.microseconds,
        "balance": result.balance,
        "energy_nj": None if energy is None else energy.energy_nj,
        "power_mw": None if energy is None else energy.power_mw,
        "area_mm2": None if energy is None else energy.area_mm2,
        "load_cycles": result.load_cycles,
        "weight_load_cycles": result.weight_load_cycles,
        "writeback_cycles": result.writeback_cycles,
        "counters": counters,
        "y": result.y.tolist(),
    }


@click.command(short_help="Run a network or one layer on any engine.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--input", "input_file", required=True, type=click.Path(path_type=Path), metavar="X", help=INPUT_HELP
)
@click.option("--index", type=int, default=0, show_default=True, help="Which of the input vectors, from 0.")
@click.option("--layer", "which", metavar="L", help="Run only this layer (name, or number from 0).")
@click.option(
    "--engine", type=click.Choice(ENGINES), default="golden", show_default=True, help="What runs it."
)
@machine_options(n_pe=64, sized=False)
@click.option(
    "--wave",
    type=click.Path(path_type=Path),
    metavar="F",
    help="Write a waveform: .vcd from golden, .fst from a simulator; several layers get a file each.",
)
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), metavar="Y.npy", help="Write the outputs, int16."
)
@click.option("--json", "json_out", is_flag=True, help="Print one JSON array, a result for each layer.")
def run(
    file: Path,
    input_file: Path,
    index: int,
    which: str | None,
    engine: str,
    n_pe: int,
    depth: int,
    preset: str,
    sized: bool,
    wave: Path | None,
    out: Path | None,
    json_out: bool,
) -> None:
    """Run the network of a .eie FILE, layer after layer, on one input vector.

    \b
    Example:
      eie run out/lenet_300_100.eie --input examples/lenet_300_100/mnist_test_1000.npz --index 3
    """
    layers = choose(load(file), which)
    cfg = machine(preset, n_pe, depth, sized, layers)
    check_wave(wave, engine)
    x, clipped = read_vector(input_file, index, layers[0], cfg.act_bits)
    for target in (wave, out):
        if target is not None:
            check_writable(target.parent)
    results = run_network(layers, x, cfg, engine, waveform=wave)
    warn_clipped(input_file, clipped, layers[0], cfg.act_bits)
    last = results[-1]
    if out is not None:
        data = io.BytesIO()
        np.save(data, last.y)
        write(out, data.getvalue())
    if json_out:
        # Only the first layer's inputs are read; the others get what the one before wrote back.
        counts = [clipped, *[0] * (len(layers) - 1)]
        each = zip(layers, results, counts, strict=True)
        click.echo(json.dumps([result_json(layer.name, result, count) for layer, result, count in each]))
        return
    memories = "as large as the layers need" if sized else "of the published sizes"
    click.echo(
        f"engine {engine}, {cfg.n_pe} PEs, queue depth {cfg.queue_depth}, {cfg.acc_bits}-bit accumulators, "
        f"memories {memories}, {cfg.clock_hz / 1e6:g} MHz\n"
    )
    print_table(["", *(layer.name for layer in layers), ""], result_rows(results), text_last=True)
    click.echo(
        f"\ny: {len(last.y)} activations with {layers[-1].y_frac} fraction bits; "
        f"the largest is number {int(np.argmax(last.y))}"
    )
    if len(last.y) <= 16:
        click.echo("y = " + " ".join(map(str, last.y.tolist())))
    if wave is not None:
        paths = [str(wave_path(wave, layers, number)) for number in range(len(layers))]
        click.echo(f"waveform: {', '.join(paths)}")
    if out is not None:
        click.echo(f"outputs: {out}")
