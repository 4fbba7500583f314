"""Lockstep: golden and RTL cycle by cycle, every probed register and hand-shake of every block compared."""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt

from eie.axi import space_words
from eie.config import ArchConfig
from eie.errors import MismatchError
from eie.host import MEMORIES, Feed, config_of, feeds_of
from eie.program import Job, Program
from eie.result import Result
from eie.schema import ccu_probe, pe_probe
from eie.sim.cosim.build import Build, build
from eie.sim.cosim.images import ARRAY_PORTS, ARRAY_PROBES, Transform, array_sources
from eie.sim.cosim.launch import in_simulator
from eie.sim.cosim.outcome import Divergence
from eie.sim.cosim.waves import write_history
from eie.sim.engines.fast import prepare
from eie.timing import load_cycles

# Cycles from which a faster model of Verilator's pays for its longer compilation: 7,500 with 64 PEs, 15,000 with 4.
LONG = 10_000


@dataclass(frozen=True)
class LockstepReport:
    """Outcome of a lockstep run.

    cycles : clock cycles compared; signals : probed signals of the whole array; seconds : in the simulator's process,
    its start included. divergence is None when both sides agreed throughout; results are of the
    inputs that ended.
    """

    simulator: str
    cycles: int
    signals: int
    divergence: Divergence | None
    results: list[Result]
    seconds: float
    replay: str = ""
    waveform: Path | None = None

    @property
    def comparisons(self) -> int:
        """Signal values compared."""
        return self.cycles * self.signals

    @property
    def mismatches(self) -> int:
        """0, or 1: a run stops at its first divergence."""
        return int(self.divergence is not None)

    def describe(self) -> str:
        """The first divergence as text of a few lines, or one line that says that there is none."""
        d = self.divergence
        if d is None:
            return f"{self.simulator}: {self.cycles:,} cycles x {self.signals:,} signals agree"
        place = "CCU or LNZD tree" if d.pe is None else f"PE {d.pe}"
        lines = [
            f"{self.simulator}: first divergence in cycle {d.cycle} (job {d.job}, compute cycle {d.compute_cycle})",
            f"  {place}, {d.signal}: golden {d.golden}, RTL {d.rtl}",
        ]
        lines += [f"  also {other}" for other in d.also[:5]]
        if len(d.also) > 5:
            lines.append(f"  and {len(d.also) - 5} more or beyond")
        if self.waveform is not None:
            lines.append(f"  waveform around it: {self.waveform}")
        if self.replay:
            lines.append(f"  replay: {self.replay}")
        return "\n".join(lines)

    def require_agreement(self) -> None:
        """Raise `MismatchError` when the two sides diverged."""
        if self.divergence is not None:
            raise MismatchError(self.describe())


def probed_signals(cfg: ArchConfig) -> int:
    """Signals of the whole array that are compared."""
    return cfg.n_pe * len(pe_probe(cfg)) + len(ccu_probe(cfg))


def lockstep(
    jobs: Sequence[Job],
    simulator: str,
    *,
    seed: int = 0,
    read_back: bool = False,
    replay: str = "",
    divergence_wave: Path | None = None,
    waveform: Path | None = None,
    transform: Transform | None = None,
    progress: Callable[[int], None] | None = None,
    long_run: bool | None = None,
) -> LockstepReport:
    """Run jobs of one configuration on golden and on the RTL in `simulator`, in lockstep.

    Parameters
    ----------
    jobs : one configuration; when all share one layer object its weights come from SRAM images, else they are loaded
        through the I/O port (compared, too).
    read_back : after the last job, read every word of every memory behind the I/O port on both sides, too.
    replay : the command that repeats this run, shown with a divergence.
    divergence_wave : where to write a VCD of both sides around a divergence.
    waveform : FST of the whole RTL run.
    transform : changes the Verilog before it is built (to test that faults are found).
    progress : called now and then with the number of clock cycles compared; `expected_cycles` says of how many.
    long_run : compile Verilator's model for speed, which takes longer; None: from `LONG` expected cycles on.

    Raises
    ------
    ConfigError : jobs of several configurations. SimulatorMissing, SimulationError
    """
    if long_run is None:
        long_run = simulator == "verilator" and expected_cycles(jobs, read_back=read_back) >= LONG
    return _lockstep(
        feeds_of(jobs),
        simulator,
        transform,
        replay,
        waves=waveform is not None,
        long_run=long_run,
        divergence_wave=divergence_wave,
        seed=seed,
        read_back=read_back,
        waveform=waveform,
        progress=progress,
    )


def lockstep_program(
    program: Program,
    inputs: Sequence[npt.ArrayLike],
    simulator: str,
    *,
    port: bool = False,
    seed: int = 0,
    replay: str = "",
    divergence_wave: Path | None = None,
    transform: Transform | None = None,
    progress: Callable[[int], None] | None = None,
    long_run: bool = False,
) -> LockstepReport:
    """Run a program on golden and on the RTL in lockstep: loading, every pass, reading; every probed signal compared.

    `divergence.job` is the number of an input. port : load the SRAMs through the I/O port as well. Others as above.
    """
    return _lockstep(
        [Feed(program, inputs)],
        simulator,
        transform,
        replay,
        port=port,
        seed=seed,
        divergence_wave=divergence_wave,
        progress=progress,
        long_run=long_run,
    )


def _lockstep(
    feeds: Sequence[Feed],
    simulator: str,
    transform: Transform | None,
    replay: str,
    *,
    waves: bool = False,
    long_run: bool = False,
    divergence_wave: Path | None = None,
    **options: Any,
) -> LockstepReport:
    cfg = config_of(feeds)
    built = prepared(cfg, simulator, transform, waves=waves, long_run=long_run)
    began = time.perf_counter()
    answer = in_simulator(built, "lockstep_host", "lockstep", feeds, **options)
    seconds = time.perf_counter() - began
    divergence = answer.divergence
    if answer.wrong:
        raise MismatchError(f"golden and {simulator}: {answer.wrong}")
    if divergence is not None and divergence_wave is not None:
        write_history(divergence_wave, divergence.history, cfg, divergence.pe)
    return LockstepReport(
        simulator=simulator,
        cycles=answer.cycles,
        signals=probed_signals(cfg),
        divergence=divergence,
        results=answer.results,
        seconds=seconds,
        replay=replay,
        waveform=divergence_wave if divergence is not None else None,
    )


def prepared(
    cfg: ArchConfig,
    simulator: str,
    transform: Transform | None = None,
    *,
    waves: bool = False,
    long_run: bool = False,
) -> Build:
    """The build that lockstep runs, made where it is not kept yet: to have it before there is anything to run.

    Raises
    ------
    SimulatorMissing, SimulationError
    """
    return build(
        simulator,
        array_sources(cfg, transform, probe=True),
        "eie_array",
        public=ARRAY_PORTS,
        read_only=ARRAY_PROBES,
        waves=waves,
        long_run=long_run,
    )


def lockstep_by_layer(
    jobs: Sequence[Job], simulator: str, *, progress: Callable[[int], None] | None = None, **options: Any
) -> LockstepReport:
    """Like `lockstep`, but with a simulator run of its own for each layer, so that weights come from images.

    For layers of real size: loading them through the port would take more cycles than everything else.
    The reports become one; the run ends at the first divergence.
    """
    reports: list[LockstepReport] = []
    for _, same_layer in itertools.groupby(jobs, key=lambda job: id(job.layer)):
        before = sum(report.cycles for report in reports)
        report_progress = (lambda cycles, before=before: progress(before + cycles)) if progress else None
        reports.append(lockstep(list(same_layer), simulator, progress=report_progress, **options))
        if reports[-1].divergence is not None:
            break
    return joined(reports)


def joined(reports: Sequence[LockstepReport]) -> LockstepReport:
    """Runs of one configuration, one after the other, as one: it agrees if the last one does."""
    return dataclasses.replace(
        reports[-1],
        cycles=sum(report.cycles for report in reports),
        seconds=sum(report.seconds for report in reports),
        results=[result for report in reports for result in report.results],
    )


def read_back_cycles(cfg: ArchConfig) -> int:
    """Clock cycles that reading every word of every memory behind the I/O port takes."""
    return 2 * cfg.n_pe * sum(space_words(space, cfg) for space in MEMORIES) + 1


def expected_cycles(jobs: Sequence[Job], *, read_back: bool = False) -> int:
    """Clock cycles of `lockstep_by_layer` on `jobs`: loading, running and reading back each."""
    total = 0
    for job in jobs:
        law = prepare(job.layer, job.cfg).run(job.x).cycles or 0
        run = job.program.runs[0]
        total += load_cycles(job.layer, job.cfg) + 1 + run.busy_cycles([law], job.cfg) + 1
        # Each accumulator is read back in two cycles; the last word comes one cycle later.
        total += 2 * job.layer.rows + 1
    layers = len(list(itertools.groupby(jobs, key=lambda job: id(job.layer))))
    return total + (layers * read_back_cycles(jobs[0].cfg) if read_back else 0)
