"""`simulate`: one layer on one input vector, on whichever engine; the same `Result` from each."""

from __future__ import annotations

import contextlib
import pickle
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eie.config import ArchConfig
from eie.errors import ConfigError, MismatchError
from eie.layer import CompressedLayer
from eie.memory import PeImage, hex_image
from eie.program import Job
from eie.result import COUNTERS, Counter, Result, derive_counters
from eie.schema import PeCounter, fields
from eie.timing import compute_mode_cycles, constants, writeback_cycles

# What the host program reads and writes of `eie_array`.
ARRAY_PORTS = ("clk", "rst", *(field.name for field in fields("array", ArchConfig())), "probe_*")
ENGINES = ("reference", "golden", "fast", "icarus", "verilator")


def simulate(
    layer: CompressedLayer,
    x: npt.ArrayLike,
    cfg: ArchConfig | None = None,
    engine: str = "golden",
    *,
    waveform: Path | None = None,
) -> Result:
    """Run `layer` on the input vector `x` (integers, [cols]) on the accelerator `cfg` (default: `ArchConfig()`).

    Parameters
    ----------
    engine : "reference" (arithmetic only, independent of all others), "golden" (cycle-accurate Python), "fast"
        (the same figures by the timing law, compiled), "icarus" or "verilator" (the RTL; from its ports).
    waveform : write the run's waveform there: VCD from golden, FST from the simulators.

    Raises
    ------
    CapacityError, LayerError, ConfigError, SimulatorMissing, SimulationError
    """
    if not isinstance(cfg, ArchConfig | None):
        raise ConfigError(f"cfg must be an ArchConfig, not {cfg!r}")
    return simulate_many([Job.create(layer, x, cfg or ArchConfig())], engine, waveform=waveform)[0]


def simulate_many(jobs: Sequence[Job], engine: str, *, waveform: Path | None = None) -> list[Result]:
    """Run several jobs of one configuration; on the RTL one after the other in one simulator process.

    The engines fast, icarus and verilator take several jobs of one layer in less time than one by one.
    """
    if waveform is not None and engine in ("reference", "fast"):
        raise ConfigError(f"engine {engine} writes no waveform: use golden, icarus or verilator")
    if engine == "reference":
        from eie.sim.reference import run as run_reference

        return [run_reference(job) for job in jobs]
    if engine == "golden":
        from eie.golden.run import run as run_golden

        return [run_golden(job, waveform=waveform) for job in jobs]
    if engine == "fast":
        from eie.sim.fast import run as run_fast

        return run_fast(jobs)
    if engine in ("icarus", "verilator"):
        return run_rtl(jobs, engine, waveform=waveform)
    raise ConfigError(f"no engine named {engine!r}: use one of {', '.join(ENGINES)}")


def run_rtl(
    jobs: Sequence[Job],
    simulator: str,
    *,
    read_back: bool = False,
    waveform: Path | None = None,
    transform: Callable[[Mapping[str, str]], Mapping[str, str]] | None = None,
) -> list[Result]:
    """Run jobs on the RTL without golden and without probes: free-running, but for what only cocotb does.

    read_back : after the last job, read back the memories, and check those that computing must not change.
    transform : changes the Verilog before it is built (to test that faults are found).

    Raises
    ------
    MismatchError : the RTL did not end a layer in time, or a memory does not hold what was loaded.
    """
    from eie.rtl.verilog import array_verilog
    from eie.sim import free
    from eie.sim.build import build

    if waveform is None and not read_back:
        outcomes = free.run_jobs(jobs, simulator, transform=transform).outcomes
        return [result_of(job, outcome, simulator) for job, outcome in zip(jobs, outcomes, strict=True)]
    sources: Mapping[str, str] = array_verilog(jobs[0].cfg)
    if transform is not None:
        sources = transform(sources)
    built = build(simulator, sources, "eie_array", public=ARRAY_PORTS, waves=waveform is not None)
    outcomes = in_simulator(built, "free_run", jobs, read_back=read_back, waveform=waveform)
    if isinstance(outcomes, str):
        raise MismatchError(f"{simulator}: {outcomes}")
    return [result_of(job, outcome, simulator) for job, outcome in zip(jobs, outcomes, strict=True)]


def in_simulator(
    built: Any,
    test: str,
    jobs: Sequence[Job],
    *,
    read_back: bool = False,
    seed: int = 0,
    waveform: Path | None = None,
    progress: Callable[[int], None] | None = None,
) -> Any:
    """Run a cocotb test of `eie.sim.host` on jobs of one configuration, and return what it answered.

    Jobs that share a layer find its weights in the SRAMs (initialised from images); others load through the port.
    progress : called now and then with the number of clock cycles so far (lockstep only).
    """
    from eie.sim.build import run_test
    from eie.sim.host import OUTCOME, REQUEST, Request

    cfg = jobs[0].cfg
    if any(job.cfg != cfg for job in jobs):
        raise ConfigError("jobs of one simulator run must share one configuration")
    images = all(job.layer is jobs[0].layer for job in jobs)
    with tempfile.TemporaryDirectory(prefix="eie-run-") as temporary:
        folder = Path(temporary)
        if images:
            write_images(jobs[0], folder)
        request = Request(list(jobs), images, read_back)
        (folder / REQUEST).write_bytes(pickle.dumps(request))
        with _watched(folder, progress):
            run_test(
                built,
                "eie.sim.host",
                test,
                folder,
                plusargs=[] if images else ["+eie_no_images"],
                seed=seed,
                waves=waveform and waveform.absolute(),
            )
        return pickle.loads((folder / OUTCOME).read_bytes())


@contextlib.contextmanager
def _watched(folder: Path, progress: Callable[[int], None] | None) -> Iterator[None]:
    """Call `progress` with the cycles that the simulator reports in `folder`, from a thread, until the run ends."""
    if progress is None:
        yield
        return
    from eie.sim.host import PROGRESS

    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.2):
            with contextlib.suppress(FileNotFoundError, ValueError):  # not yet there, or just being written
                progress(int((folder / PROGRESS).read_text()))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


def write_images(job: Job, folder: Path) -> None:
    """Write a job's SRAM images for $readmemh, under the names that the RTL array reads."""
    write_pe_images(job.images, job.cfg, folder)


def write_pe_images(images: Sequence[PeImage], cfg: ArchConfig, folder: Path) -> None:
    """Write the SRAM images of all PEs for $readmemh, under the names that the RTL array reads."""
    for k, image in enumerate(images):
        for name, words, bits, depth in (
            ("spmat", image.spmat, cfg.word_bits, cfg.spmat_words),
            ("even", image.even, cfg.pointer_bits, cfg.ptr_bank_depth),
            ("odd", image.odd, cfg.pointer_bits, cfg.ptr_bank_depth),
            ("act", image.act, cfg.acc_bits, cfg.act_words),
        ):
            (folder / f"pe{k:03d}_{name}.hex").write_text(hex_image(words, bits, depth))


def result_of(job: Job, outcome: Any, engine: str) -> Result:
    """A `Result` from what the host program read out of the RTL; hardware without counters has only cycles."""
    cfg = job.cfg
    cycles = outcome.cycles
    counters: dict[str, Counter] = dict.fromkeys(COUNTERS)
    if cfg.counters:
        columns = np.array(outcome.counters, dtype=np.int64).T
        hardware = {counter.name.lower(): columns[counter] for counter in PeCounter}
        counters = derive_counters(hardware, cycles, outcome.broadcast_stalls)
        writeback = outcome.busy_cycles - compute_mode_cycles(cycles, cfg)
    else:
        # Busy are compute mode and write-back; an input without activations is the one with the shortest compute mode.
        writeback = writeback_cycles(job.layer, cfg)
        cycles = outcome.busy_cycles - writeback - 1
        cycles = 0 if cycles == constants(cfg).T0 else cycles
    return Result(
        y=job.y_from_acc(outcome.y_acc),
        cycles=cycles,
        counters=counters,
        engine=engine,
        cfg=cfg,
        load_cycles=outcome.load_cycles,
        weight_load_cycles=outcome.weight_load_cycles,
        writeback_cycles=writeback,
    )
