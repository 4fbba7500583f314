"""`eie bench`: a compressed network on this processor, beside dense and sparse libraries."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import numpy as np

from eie.cli.inputs import GRAPHS
from eie.cli.options import PATH, refuse_useless, whole_numbers
from eie.cli.output import print_table
from eie.compress.forward import check_network
from eie.errors import ConfigError, ModelError
from eie.sim.bench.contenders import EXACT, INT8, OURS, REAL, Contender, contender, names
from eie.sim.bench.graphs import graph_contenders
from eie.sim.bench.measure import Alone, alone, clock_of, paired
from eie.sim.chain import Chain, as_float, load
from eie.sim.engines.cpu import processors
from eie.sim.evaluation.baselines import processor
from eie.sim.networks.network import Network
from eie.sim.networks.run import decibels
from eie.sim.workloads.inputs import Array, read_vectors, real_inputs

# Of random inputs.
_SEED = 1
# More threads than any processor has would only take all of its memory.
_MOST_THREADS = 1024


def _inputs(net: Chain, path: Path | None, density: float, batch: int) -> Array:
    """float32[batch, inputs] out of a file, or random ones of which `density` are not zero."""
    cols = net[0].inputs
    if path is None:
        rng = np.random.default_rng(_SEED)
        return (rng.random((batch, cols)) * (rng.random((batch, cols)) < density)).astype(np.float32)
    vectors, _ = read_vectors(path, cols)
    if len(vectors) < batch:
        raise ModelError(f"{path} holds {len(vectors)} inputs: a batch of {batch} needs more")
    return np.ascontiguousarray(real_inputs(vectors[:batch]).reshape(batch, cols), np.float32)


def _check(batches: Sequence[int], threads: Sequence[int], density: float, seconds: float) -> None:
    for what, numbers in (("--batch", batches), ("--threads", threads)):
        if min(numbers) < 1:
            raise ConfigError(f"{what} takes numbers from 1 on, not {min(numbers)}")
    if max(threads) > _MOST_THREADS:
        raise ConfigError(f"--threads takes numbers up to {_MOST_THREADS}, not {max(threads)}")
    if not 0 < density <= 1:
        raise ConfigError(f"--act-density must be above 0 and at most 1, not {density:g}")
    if not 0 <= seconds < float("inf"):
        raise ConfigError(f"--seconds must be at least 0 and finite, not {seconds:g}")


def faster_lines(times: Mapping[int, Mapping[int, Mapping[str, float]]]) -> list[str]:
    """Where another is faster than the engine cpu, and where it is fastest of all. times : [threads][batch][name]."""
    lines = []
    for threads, by_batch in times.items():
        for batch, seconds in by_batch.items():
            others = {name: value for name, value in seconds.items() if name not in OURS}
            if not others:
                continue
            best = min(others, key=others.__getitem__)
            ratio = others[best] / seconds[EXACT]
            where = f"batch {batch}, {threads} thread{'s' * (threads > 1)}"
            if ratio >= 1:
                lines.append(f"{where}: {EXACT} is {ratio:.2f} x as fast as the best of the others, {best}")
            else:
                lines.append(f"{where}: {best} is {1 / ratio:.2f} x as fast as {EXACT}")
    return lines


@click.command()
@click.argument("file", metavar="NETWORK", type=PATH)
@click.option("--weights", type=PATH, metavar="W.eie", help="Compressed layers for a graph (.onnx, .toml).")
@click.option(
    "--input", "input_file", type=PATH, metavar="X", help="Inputs to time; random ones if not given."
)
@click.option("--act-density", "density", default=1.0, help="Share of random inputs that are not zero.")
@click.option(
    "--batch",
    "batches",
    type=whole_numbers,
    default="1,64",
    metavar="N,..",
    help="How many inputs at a time.",
)
@click.option(
    "--threads", type=whole_numbers, metavar="N,..", help="Numbers of threads; 1 and all if not given."
)
@click.option("--seconds", default=4.0, help="Length of each paired run.")
@click.option("--json", "json_out", is_flag=True, help="Print one JSON object.")
def bench(
    file: Path,
    weights: Path | None,
    input_file: Path | None,
    density: float,
    batches: tuple[int, ...],
    threads: tuple[int, ...] | None,
    seconds: float,
    json_out: bool,
) -> None:
    """Time the compressed NETWORK on this processor (engine cpu) beside onnxruntime, torch, scipy and numpy with the
    same weights. All take turns in one process. The memory of each is measured in a process of its own
    (docs/cpu.md).

    \b
    Example:
      eie bench examples/trained/lenet-300-100.eie --input examples/lenet_300_100/mnist_test_1000.npz
      eie bench examples/networks/nsnet2.toml --weights nsnet2.eie --input speech.wav
    """
    counts = threads or tuple(sorted({1, processors()}))
    _check(batches, counts, density, seconds)
    context = click.get_current_context()
    if input_file is not None:
        refuse_useless(context, ("--act-density",), "with --input: nothing is random")
    net = None if file.suffix.lower() in GRAPHS else load(file)
    if net is not None and weights is not None:
        raise click.UsageError(f"--weights has no effect: {file} holds compressed layers")
    if not isinstance(net, Chain):
        if input_file is None:
            raise click.UsageError(f"a graph such as {file} needs --input")
        refuse_useless(context, ("--batch",), f"for {file}: a graph takes all of its input")
        count, makers = graph_contenders(file, weights, input_file)
        nothing = np.empty(0)
        times = {many: {count: paired(makers(many), nothing, seconds, clock_of(many))} for many in counts}
        _show(file, times, {}, {}, json_out)
        return
    check_network(net.layers)
    x = {batch: _inputs(net, input_file, density, batch) for batch in batches}
    times = {}
    signal: dict[str, float] = {}
    real = as_float(net.layers)
    for many in counts:
        contenders = [contender(name, net.layers, many, real) for name in names()]
        signal = signal or _ratios(net, contenders, x[max(batches)])
        times[many] = {batch: paired(contenders, x[batch], seconds, clock_of(many)) for batch in batches}
    memory = {name: alone(name, file, counts[0], x[min(batches)]) for name in names()}
    _show(file, times, memory, signal, json_out)


def _ratios(net: Network, contenders: Sequence[Contender], x: Array) -> dict[str, float]:
    """Signal to noise of each one's answers in dB, against the same weights in double precision."""
    exact = next(iter(net.run_float(x).values()))
    return {one.name: decibels(exact, np.asarray(one.run(x), np.float64)) for one in contenders}


def _show(
    file: Path,
    times: Mapping[int, Mapping[int, Mapping[str, float]]],
    memory: Mapping[str, Alone],
    signal: Mapping[str, float],
    json_out: bool,
) -> None:
    if json_out:
        found: dict[str, Any] = {
            "processor": processor(),
            "seconds": times,
            "alone": {name: asdict(one) for name, one in memory.items()},
            "snr_db": {name: ratio if np.isfinite(ratio) else None for name, ratio in signal.items()},
        }
        click.echo(json.dumps(found))
        return
    threads = " and ".join(map(str, times))
    click.echo(
        f"{file} on {processor()}, {processors()} processors, with {threads} thread{'s' * (threads != '1')}; "
        "least times of one paired run (of one thread its CPU time)\n"
    )
    columns = [(many, batch) for many, by_batch in times.items() for batch in by_batch]
    several = len(times) > 1
    headings = [f"batch {batch}{f', {many} thr.' * several}" for many, batch in columns]
    others = ["first answer, s", "peak, MB", "SNR, dB"] if memory else []
    rows = []
    for name in next(iter(next(iter(times.values())).values())):
        row = [name]
        for many, batch in columns:
            each = times[many][batch][name] / batch
            row.append(f"{each * 1e6:,.1f} µs" if batch == 1 else f"{1 / each:,.0f}/s")
        if memory:
            row += [f"{memory[name].first_s:.2f}", f"{memory[name].peak_mb:,.0f}"]
            row.append("exact" if signal[name] == np.inf else f"{signal[name]:.1f}")
        rows.append(row)
    print_table(["", *headings, *others], rows)
    click.echo("\n" + "\n".join(faster_lines(times)))
    notes = [f"{EXACT}: the accelerator's values, 16-bit accumulators; {REAL}: the same weights in float32"]
    notes.append(f"{INT8}: 8-bit weights and products; scipy's sparse products have one thread always")
    if memory:
        notes.append("first answer, peak: in a process of its own, Python and imports included, 1 input")
    click.echo("\n" + "\n".join(notes))
