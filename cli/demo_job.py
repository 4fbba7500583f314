"""The main job of `eie demo`: from a trained network to figures, pictures, Verilog and a report."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import SpinnerColumn, TextColumn

from eie.capacity import sized_for
from eie.cli.commands.export import expectation, linters
from eie.cli.output import filling
from eie.cli.pages import demo_report
from eie.cli.pages.demo_report import Lockstep, Outcome
from eie.cli.progress import progress_bar
from eie.compress.float_layers import FloatLayer, float_forward
from eie.compress.format.file import describe, load, save
from eie.compress.forward import fixed_forward, quantize_inputs
from eie.compress.pipeline import Settings, compress_network
from eie.config import ArchConfig
from eie.errors import MismatchError, no_more_warnings
from eie.fixed import IntArray
from eie.layer import CompressedLayer
from eie.plan import make_plan
from eie.plan_program import plan_program
from eie.program import Job, check_layer
from eie.result import Result, differences
from eie.rtl.export.export import export
from eie.sim.chain import as_float, layer_inputs, run_network
from eie.sim.cosim.build import SIMULATORS
from eie.sim.cosim.lockstep import LONG, lockstep_program, prepared
from eie.sim.plan_report import Phases
from eie.sim.plans import run_plan
from eie.sim.sweep.columns import Row, to_csv
from eie.sim.sweep.point import held_points
from eie.sim.sweep.run import rows_of, run, work_by_group
from eie.sim.sweep.store import Store
from eie.sim.sweep.workers import ctrl_c_held
from eie.sim.workloads.example import (
    CALIBRATION_DIGITS,
    DENSITIES,
    NETWORK,
    Digits,
    read_digits,
    read_trained,
)

SWEEP_DIGITS = 20
SWEEP_PES = (1, 2, 4, 8, 16, 32, 64)
SWEEP_DEPTHS = (1, 2, 4, 8, 16, 32)
# Clock cycles of lockstep that a digit takes in the mean.
DIGIT_CYCLES = 1530
CFG = ArchConfig.preset("paper")
# Small enough to look at in a wave viewer.
TRACED = CFG.replace(n_pe=4)


Answer = TypeVar("Answer")


# ---- steps -------------------------------------------------------------------------------------------------


@contextmanager
def _step(out: Console, text: str) -> Iterator[None]:
    """A spinner while the step runs, and a line with its time when it is done."""
    began = time.perf_counter()
    with out.status(f"{text} ..."):
        yield
    out.print(f"[green]done[/green]  {text} ({time.perf_counter() - began:.1f} s)")


def _compress(folder: Path, digits: Digits, target: Path) -> tuple[list[FloatLayer], list[CompressedLayer]]:
    trained = read_trained(folder)
    layers, _ = compress_network(trained, Settings(density=DENSITIES), digits.pixels[:CALIBRATION_DIGITS])
    save(target, layers)
    return trained, load(target)


def _accuracy(
    trained: list[FloatLayer], layers: list[CompressedLayer], digits: Digits, x: IntArray
) -> dict[str, int]:
    """How many digits are read right: as trained, compressed in float, and in the accelerator's arithmetic."""
    outputs: dict[str, npt.NDArray[Any]] = {
        "as trained, float": float_forward(trained, digits.pixels),
        "compressed, float": float_forward(as_float(layers), digits.pixels),
        "compressed, accelerator": fixed_forward(layers, x, CFG.acc_bits).y,
    }
    return {name: int((y.argmax(axis=1) == digits.labels).sum()) for name, y in outputs.items()}


def lockstep_network(
    simulator: str,
    layers: Sequence[CompressedLayer],
    x: IntArray,
    cfg: ArchConfig,
    divergence: Path,
    replay: str,
    cycles: MutableMapping[str, int],
    long_run: bool,
) -> Lockstep:
    """Golden and RTL in lockstep for the whole network on the digits x, int64[digits, cols].

    All weights are in the SRAMs. A layer takes what the RTL wrote back for the layer before it. `cycles` gets, under
    the simulator's name, how many are compared.

    Raises
    ------
    MismatchError : at the first divergence.
    """
    report = lockstep_program(
        plan_program(make_plan(layers, cfg), NETWORK),
        list(x),
        simulator,
        replay=replay,
        divergence_wave=divergence,
        progress=partial(cycles.__setitem__, simulator),
        long_run=long_run,
    )
    report.require_agreement()
    return Lockstep(simulator, report)


# Key among the process numbers: the command has ended.
_STOPPED = "stopped"


def announced(
    workers: MutableMapping[str, int], name: str, function: Callable[..., Answer], *arguments: Any
) -> Answer:
    """Call a function in a worker process that has put its process number into `workers` under `name`.

    Ctrl-C reaches every process of a terminal. The worker leaves it to the command, which sends SIGUSR1 (`stopping`).
    """

    def stop(*_: object) -> None:
        no_more_warnings()
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, stop)
    try:
        workers[name] = os.getpid()
        if _STOPPED in workers:  # while this process was still starting
            raise KeyboardInterrupt
        return function(*arguments)
    finally:
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)


def typed(path: Path) -> str:
    """A path as a user types it here: relative below the current folder. An installed package is elsewhere."""
    path, here = path.resolve(), Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


@contextmanager
def stopping(running: dict[str, Future[Any]], workers: MutableMapping[str, int]) -> Iterator[None]:
    """When the block fails, interrupt the workers that are still busy: nobody waits for them."""
    try:
        yield
    except BaseException:  # SIGTERM is a SystemExit
        workers[_STOPPED] = 1
        for name, future in running.items():
            if not future.cancel() and not future.done() and name in workers:
                os.kill(workers[name], signal.SIGUSR1)
        raise


def _check(
    locksteps: Sequence[Lockstep],
    layers: Sequence[CompressedLayer],
    x: IntArray,
    expected: Sequence[Result],
    rows: Sequence[Row],
) -> None:
    """Hold the RTL to others: the network's outputs to the reference engine, and with the cycles and counters of each
    layer to the fast engine (`expected`, of each digit); the cycles of the sweep's digits to its rows.

    Raises
    ------
    MismatchError : with the first difference.
    """
    law = {
        (row["layer"], row["input"]): row["cycles"]
        for row in rows
        if (row["n_pe"], row["queue_depth"]) == (CFG.n_pe, CFG.queue_depth)
    }
    for digit, vector in enumerate(x):
        reference = run_network(layers, vector, CFG, "reference")[-1].y
        for one in locksteps:
            result, where = one.report.results[digit], f"{one.simulator}, digit {digit}"
            if not np.array_equal(result.y, reference):
                row = int(np.flatnonzero(result.y != reference)[0])
                raise MismatchError(
                    f"{where}: output {row} is {result.y[row]} in the RTL, {reference[row]} in the reference"
                )
            for layer, count in zip(layers, result.runs, strict=True):
                if count.cycles != law.get((layer.name, digit), count.cycles):
                    raise MismatchError(
                        f"{where}, layer {layer.name}: {count.cycles} cycles in the RTL, {law[layer.name, digit]} by "
                        "the timing law"
                    )
            _, different = differences(expected[digit], result)
            if different:
                raise MismatchError(f"{where}: {different[0]}")


def _sweep(layers: list[CompressedLayer], x: IntArray, path: Path) -> list[Row]:
    machines = [CFG.replace(n_pe=n) for n in SWEEP_PES]
    machines += [CFG.replace(queue_depth=depth) for depth in SWEEP_DEPTHS]
    inputs = layer_inputs(layers, x[:SWEEP_DIGITS], CFG.acc_bits)
    points = held_points(layers, inputs, machines, source=f"{NETWORK}.eie")
    with Store(path) as store:
        run(points, store)
        rows = rows_of(points, store)
    wrong = [row["error"] for row in rows if row["status"] != "ok"]
    if wrong:  # the demo's own points: a fault of the program
        raise RuntimeError(f"{len(wrong)} of {len(rows)} points of the sweep failed: {wrong[0]}")
    return rows


def _draw(rows: list[Row], layers: list[CompressedLayer], x: IntArray) -> dict[str, bytes]:
    from eie.sim.plots import style
    from eie.sim.plots import sweep as plots

    figures = plots.pictures(rows)
    inputs = layer_inputs(layers, x[:1], CFG.acc_bits)
    work = {
        layer.name: work_by_group(layer, batch[0], CFG, groups=16)
        for layer, batch in zip(layers, inputs, strict=True)
    }
    caption = (
        f"{CFG.n_pe} PEs; the first digit; active columns in 16 groups, in broadcast order; padding included.\n"
        "A PE's work does not depend on the sizes of its memories."
    )
    figures["work"] = plots.work_map(work, caption)
    return {name: style.save(figure) for name, figure in figures.items()}


# ---- the job -----------------------------------------------------------------------------------------------


def run_demo(out: Console, folder: Path, example: Path, count: int, tools: dict[str, str]) -> Outcome:
    """Everything that `eie demo` does; `folder` is filled when all of it is done.

    count : digits in lockstep. tools : versions of the simulators.

    Raises
    ------
    ModelError, OutputError, MismatchError
    """
    began = time.perf_counter()
    with filling(folder) as staging:
        return _main_job(out, folder, staging, example, count, tools, began)


def _main_job(
    out: Console, folder: Path, staging: Path, example: Path, count: int, tools: dict[str, str], began: float
) -> Outcome:
    file = staging / f"{NETWORK}.eie"
    # Two simulators, two cores; a fresh interpreter each, because threads of this one must not be forked.
    spawn = multiprocessing.get_context("spawn")
    with ctrl_c_held():
        started = spawn.Manager()
    with started as manager, ExitStack() as pools:
        cycles, workers = manager.dict(), manager.dict()
        running: dict[str, Future[Any]] = {}
        # One process for each, so that it runs the model that it has made.
        pool = {name: pools.enter_context(ProcessPoolExecutor(1, spawn)) for name in SIMULATORS}

        def begin(name: str, simulator: str, function: Callable[..., Any], *arguments: Any) -> None:
            with ctrl_c_held():
                running[name] = pool[simulator].submit(announced, workers, name, function, *arguments)

        with stopping(running, workers):
            # While the network is compressed: lockstep finds the models, and tells what was wrong with one.
            long_run = {name: name == "verilator" and DIGIT_CYCLES * count >= LONG for name in SIMULATORS}
            for name in SIMULATORS:
                begin(f"model for {name}", name, partial(prepared, long_run=long_run[name]), CFG, name)
            with _step(out, "compressing LeNet-300-100"):
                digits = read_digits(example)
                trained, layers = _compress(example, digits, file)
                for layer in layers:  # each is one pass, which the figures are of
                    check_layer(layer, CFG)
                x = quantize_inputs(layers[0], digits.pixels, CFG.act_bits)
            with _step(out, f"reading {len(x):,} digits in float and in the accelerator's arithmetic"):
                accuracy = _accuracy(trained, layers, digits, x)
            for name in SIMULATORS:
                divergence = folder / f"divergence_{name}.vcd"
                replay = f"eie demo --out {folder} --digits {count}"
                job = (name, layers, x[:count], CFG, divergence, replay, cycles, long_run[name])
                begin(name, name, lockstep_network, *job)
            rows, pictures = _meanwhile(out, staging, layers, x)
            expected = run_plan(make_plan(layers, CFG), x[:count], "fast")
            total = sum(Phases.of(result).total for result in expected)
            locksteps = _gather(out, [running[one] for one in SIMULATORS], cycles, total)
    with _step(out, "comparing outputs with the reference engine, cycles with the timing law"):
        _check(locksteps, layers, x[:count], expected, rows)
    outcome = Outcome(
        layers=layers,
        sizes=describe(file),
        accuracy=accuracy,
        tested=len(x),
        locksteps=locksteps,
        lockstep_digits=count,
        calibration_digits=CALIBRATION_DIGITS,
        sweep_digits=SWEEP_DIGITS,
        rows=rows,
        pictures=pictures,
        tools=tools | {"python": sys.version.split()[0], "numpy": np.__version__},
        seconds=time.perf_counter() - began,
        folder=str(folder),
        digits=typed(example / "mnist_test_1000.npz"),
    )
    (staging / "report.html").write_text(demo_report.html(outcome), encoding="utf-8")
    return outcome


def _meanwhile(
    out: Console, staging: Path, layers: list[CompressedLayer], x: IntArray
) -> tuple[list[Row], dict[str, bytes]]:
    """What needs no simulator: the sweep, the Verilog, a waveform, the pictures; rows and pictures of the sweep."""
    with _step(out, f"sweeping PE counts {SWEEP_PES[0]} to {SWEEP_PES[-1]} over {SWEEP_DIGITS} digits"):
        rows = _sweep(layers, x, staging / "sweep.sqlite")
        (staging / "sweep.csv").write_text(to_csv(rows))
    first, last = layers[0], layers[-1]
    with _step(
        out, f"exporting and checking the Verilog of {CFG.n_pe} PEs, with {first.name} in its memories"
    ):
        job = Job.create(first, x[0], CFG)
        export(CFG, staging / "verilog", job, expected=expectation(job), **linters())
    with _step(out, f"tracing {last.name} on {TRACED.n_pe} PEs of the golden model"):
        last_input = layer_inputs(layers, x[:1], CFG.acc_bits)[-1][0]
        run_network([last], last_input, sized_for(TRACED, last), waveform=staging / f"{last.name}_golden.vcd")
    with _step(out, "drawing the pictures"):
        pictures = _draw(rows, layers, x)
        for name, png in pictures.items():
            (staging / f"{name}.png").write_bytes(png)
    return rows, pictures


def _gather(
    out: Console, running: Sequence[Future[Lockstep]], cycles: MutableMapping[str, int], expected: int
) -> list[Lockstep]:
    """The lockstep runs' outcomes; the first failure is raised at once. expected : clock cycles of each, about."""
    with progress_bar(out, (SpinnerColumn(), TextColumn("{task.description}"))) as progress:
        task = progress.add_task("lockstep, cycles compared", total=len(running) * expected)
        while not all(future.done() for future in running):
            for future in running:
                if future.done():
                    future.result()
            progress.update(task, completed=sum(cycles.values()))
            time.sleep(0.2)
    done = [future.result() for future in running]
    for one in done:
        out.print(
            f"[green]done[/green]  golden model and RTL in lockstep, {one.simulator}: "
            f"{one.report.mismatches} mismatches ({one.report.seconds:.1f} s)"
        )
    return done
