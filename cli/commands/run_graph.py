"""`eie run` for a graph (.onnx) or a description (.toml): matrices on an engine, the rest on the host."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import numpy as np
from tqdm import tqdm

from eie.cli.commands.run import OfGraph, Outputs
from eie.cli.inputs import Source
from eie.cli.options import Machine, was_given
from eie.cli.output import array_file, check_writable, print_table, write
from eie.compress.float_layers import FloatArray
from eie.compress.quantize import Widths
from eie.config import ArchConfig
from eie.errors import ConfigError
from eie.sim.networks.description import Description, read_description
from eie.sim.networks.network import energy_uj
from eie.sim.networks.run import GraphNetwork, GraphRun, snr, with_weights
from eie.sim.workloads.inputs import SOUND, Given

HEADINGS = ("matrix", "vectors", "active", "cycles", "µs", "µJ", "")
_WIDEST = 48  # letters of a name in a table
HOST_HEADINGS = ("on the host", "nodes", "runs", "ms", "multiplications")


# ---- what is printed ---------------------------------------------------------------------------------------


def _figures(cycles: int | None, energy: float | None, cfg: ArchConfig) -> list[str]:
    if cycles is None:
        return ["-", "-", "-"]
    return [f"{cycles:,}", f"{cycles / cfg.clock_hz * 1e6:,.1f}", "-" if energy is None else f"{energy:,.2f}"]


def shortened(name: str) -> str:
    """A name for a table: some exporters put a paragraph into one."""
    return name if len(name) <= _WIDEST else f"{name[: _WIDEST // 2]}...{name[-_WIDEST // 2 :]}"


def matrix_rows(run: GraphRun) -> list[list[str]]:
    """Rows of `HEADINGS`: each matrix, and the total."""
    rows = []
    for name, record in run.records.items():
        active = sum(record.active) / (record.vectors * record.layer.cols)
        figures = _figures(record.result.cycles, energy_uj(record.result), run.cfg)
        size = f"{record.layer.rows} x {record.layer.cols}"
        size += f" in {record.passes} passes" if record.passes > 1 else ""
        rows.append([shortened(name), f"{record.vectors:,}", f"{100 * active:.1f} %", *figures, size])
    return [*rows, ["total", "", "", *_figures(run.cycles, run.energy_uj, run.cfg), ""]]


def host_rows(run: GraphRun) -> list[list[str]]:
    """Rows of `HOST_HEADINGS`: each type of node, the one that took longest first."""
    return [
        [name, f"{note.nodes:,}", f"{note.calls:,}", f"{note.microseconds / 1000:,.2f}", f"{note.macs:,}"]
        for name, note in run.host.items()
    ]


def share_line(network: GraphNetwork, run: GraphRun) -> str:
    """How much of the graph the accelerator did."""
    if not network.layers:
        return "no product with a constant matrix: all of the graph runs on the host"
    unused = len(network.layers) - len({name.partition("[")[0] for name in run.records})
    never = f" ({unused} more met nothing)" if unused > 0 else ""
    ours = sum(run.multiplications.values())
    theirs = sum(note.macs for note in run.host.values())
    return (
        f"{len(run.records)} matrices{never}, {100 * run.share:.1f} % of all multiply-accumulates on the accelerator: "
        f"{ours:,}, and {theirs:,} on the host (as if no weight were zero)"
    )


def lines_per_item(run: GraphRun, given: Given, hop_us: float | None) -> list[str]:
    """Figures of one frame or image, on the average, and what the totals leave out."""
    if run.cycles is None or not run.records:
        return []
    count, unit, clock = given.count, given.unit, run.cfg.clock_hz
    each, article = run.cycles / count, "an" if unit[0] in "aeiou" else "a"
    line = f"{article} {unit}: {each:,.0f} cycles, {each / clock * 1e6:,.1f} µs, {(run.energy_uj or 0) / count:,.2f} µJ"
    if hop_us is not None:
        line += f": {100 * each / clock * 1e6 / hop_us:.2f} % of its {hop_us:,.0f} µs"
        if (worst := run.worst(count)) is not None:
            line += f"; the slowest {worst / clock * 1e6:,.1f} µs"
    other = [
        sum(getattr(result, name) for result in run.results) for name in ("load_cycles", "writeback_cycles")
    ]
    return [
        line,
        f"beside these, {article} {unit}: {other[0] / count:,.0f} cycles of loading through the I/O port "
        f"(activations, biases, codebooks) and {other[1] / count:,.0f} of write-back",
    ]


def clipped_lines(run: GraphRun) -> list[str]:
    """What went beyond the fixed-point numbers, if anything did."""
    lines = []
    for name, record in run.records.items():
        found = {
            "inputs": record.clipped,
            "sums": record.count("saturations"),
            "outputs": record.count("writeback_saturations"),
        }
        text = ", ".join(f"{count:,} {what}" for what, count in found.items() if count)
        if text:
            lines.append(f"clipped in {name}: {text}")
    return lines


def run_json(run: GraphRun, given: Given, ratios: dict[str, float], left: Sequence[str]) -> dict[str, Any]:
    """The run for scripts. ratios : `snr`. left : products that the host does."""
    layers = [
        {
            "layer": name,
            "rows": record.layer.rows,
            "cols": record.layer.cols,
            "passes": record.passes,
            "vectors": record.vectors,
            "active": record.active,
            "cycles": record.cycles,
            "energy_uj": energy_uj(record.result),
            "clipped_inputs": record.clipped,
            "saturations": record.count("saturations"),
            "writeback_saturations": record.count("writeback_saturations"),
            "load_cycles": record.result.load_cycles or 0,
            "writeback_cycles": record.result.writeback_cycles or 0,
        }
        for name, record in run.records.items()
    ]
    return {
        "engine": run.engine,
        "n_pe": run.cfg.n_pe,
        "clock_hz": run.cfg.clock_hz,
        given.unit + "s": given.count,
        "cycles": run.cycles,
        "energy_uj": run.energy_uj,
        "snr_db": {name: value if np.isfinite(value) else None for name, value in ratios.items()},
        "layers": layers,
        "accelerator_share": run.share,
        "multiplications": dict(run.multiplications),
        "host": {name: asdict(note) for name, note in run.host.items()},
        "left_to_the_host": list(left),
    }


# ---- the command -------------------------------------------------------------------------------------------


def check_out(out: Path | None, description: Description, input_file: Path) -> None:
    """Raise `ConfigError` for an output that this network cannot make."""
    if out is None:
        return
    if out.suffix.lower() not in (".npy", SOUND):
        raise ConfigError(f"{out}: outputs are written as .npy, or as {SOUND} where the network makes sound")
    if out.suffix.lower() == SOUND and (description.sound is None or input_file.suffix.lower() != SOUND):
        raise ConfigError(
            f"{out}: the network makes sound only from sound, and {input_file} is not sound: write a .npy"
        )
    check_writable(out.parent)


def output_data(out: Path, description: Description, given: Given, y: FloatArray) -> bytes:
    """The first output as a file's content: float64, or the sound that its gains make."""
    if out.suffix.lower() == SOUND and description.sound is not None and given.spectra is not None:
        if y.shape[1:] != given.spectra.shape:
            raise ConfigError(
                f"{out}: the outputs are of shape {list(y.shape)}, and sound needs a gain for each frequency"
            )
        return description.sound.wav(description.sound.resynthesis(given.spectra * y[0]))
    return array_file(np.asarray(y))


def run_file(
    context: click.Context,
    file: Path,
    source: Source,
    of_graph: OfGraph,
    engine: str,
    machine: Machine,
    outputs: Outputs,
) -> None:
    """`eie run` for a graph or a description.

    It takes all of an array, and a machine that is as large as it needs, unless told otherwise.
    """
    index = source.index if was_given(context, "index") else None
    sized = machine.sized or not was_given(context, "sized")
    description = read_description(file)
    assert source.input_file is not None
    out = outputs.out
    check_out(out, description, source.input_file)
    given = description.given(source.input_file, of_graph.frames, index)
    cfg = machine.as_set
    widths = Widths(act_bits=cfg.act_bits, acc_bits=cfg.acc_bits, code_bits=cfg.code_bits)
    network, line = with_weights(description, source.weights, given, widths)
    if sized and engine != "cpu":  # which has no memories
        cfg = network.machine(cfg, balance=machine.balance).replace(**dict(machine.settings))
    with tqdm(unit="vector", disable=None, leave=False) as bar:
        run = network.run(given.inputs, cfg, engine, bar.update, watch=True, balance=machine.balance)
    trained = network.run_float(given.inputs)
    ratios = {} if run.main is None else snr(run.named[run.main], trained[run.main], given.spectra)
    if out is not None:
        write(out, output_data(out, description, given, run.outputs))
    if outputs.json_out:
        click.echo(json.dumps(run_json(run, given, ratios, network.graph.left)))
        return
    memories = "as large as the layers need" if sized else "of the published sizes"
    made_of = (
        "values alone"
        if engine == "cpu"
        else f"{cfg.n_pe} PEs, queue depth {cfg.queue_depth}, {cfg.weight_bits}-bit codes, memories {memories}, "
        f"{cfg.clock_hz / 1e6:g} MHz"
    )
    click.echo(
        f"engine {engine}, {cfg.acc_bits}-bit accumulators, {made_of}\n{line}\n"
        f"{given.count} {given.unit}{'s' * (given.count > 1)}\n"
    )
    if run.records:
        print_table(HEADINGS, matrix_rows(run), text_last=True)
        click.echo()
    if run.host:
        print_table(HOST_HEADINGS, host_rows(run))
        click.echo()
    sound = description.sound if given.spectra is not None else None
    lines = [share_line(network, run), *(f"on the host, too: {text}" for text in network.graph.left)]
    lines += [*lines_per_item(run, given, sound.hop_us if sound else None), *clipped_lines(run)]
    lines += output_lines(run, trained, ratios)
    if out is not None:
        lines.append(f"outputs: {out}")
    click.echo("\n".join(lines))


def output_lines(run: GraphRun, trained: Mapping[str, Any], ratios: dict[str, float]) -> list[str]:
    """What came out, and how far it is from the float run."""
    told = ", ".join(
        f"{name} {'silent' if np.isnan(value) else f'{value:.1f} dB'}" for name, value in ratios.items()
    )
    lines = [f"signal-to-noise ratio against the float run: {told}"] if told else []
    for name, y in run.named.items():
        if not isinstance(y, np.ndarray):
            lines.append(f"{name}: a sequence of {len(y)}")
            continue
        line = f"{name}: {y.dtype}{list(y.shape)}"
        if y.dtype.kind != "f" and y.shape == trained[name].shape:
            line += f", {int((y == trained[name]).sum()):,} of {y.size:,} as in the float run"
        lines.append(line)
        if y.size <= 16 and y.size:
            numbers = " ".join(f"{value:.4g}" for value in y.ravel())
            lines.append(f"y = {numbers}; the largest is number {int(y.argmax())}")
    return lines
