"""Free-running RTL: a program of inputs, a driver in Verilog with the clock, and outputs compared at the end.

Python is asleep from the first clock cycle to the last: `Script` collects what the host drives and where it looks at
the outputs, `run` hands both to a driver made from `free_run.v`, and only then are the outputs there. The driver is
made from port lists, so any top module with `clk`, `rst` and an output to wait for can be driven.
"""

from __future__ import annotations

import itertools
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from eie import schema
from eie.config import ArchConfig
from eie.errors import ConfigError, MismatchError, SimulationError
from eie.fixed import IntArray
from eie.program import Job
from eie.result import Result
from eie.schema import IoSpace, Kind, PeCounter
from eie.sim.cosim.build import build_alone, run_alone
from eie.sim.cosim.outcome import Outcome
from eie.timing import schedule

DRIVER = "free_run"
PROGRAM, RESULTS, ACTIVITY = "program.txt", "results.txt", "activity.dump"
# Codes of the lines of a program, see free_run.v.
_STEP, _UNTIL, _SAMPLE, _DUMP = range(4)

Transform = Callable[[Mapping[str, str]], Mapping[str, str]]


@dataclass(frozen=True)
class Ports:
    """What a driver drives and reads: a top module, its inputs and outputs but for clk and rst (name: bits).

    until : the output that ends a wait.
    """

    top: str
    inputs: Mapping[str, int]
    outputs: Mapping[str, int]
    until: str = "done"

    def driver(self) -> str:
        """Verilog of the driver, the module `free_run`."""
        wires = [f"    wire [{bits - 1}:0] {name};" for name, bits in {**self.inputs, **self.outputs}.items()]
        connections = [f"        .{name}({name})" for name in (*self.inputs, *self.outputs)]
        text = (resources.files("eie.sim.cosim.free") / f"{DRIVER}.v").read_text()
        for mark, value in {
            "TOP": self.top,
            "UNTIL": self.until,
            "INPUT_BITS": str(sum(self.inputs.values())),
            "OUTPUT_BITS": str(sum(self.outputs.values())),
            "INPUT_NAMES": ", ".join(self.inputs),
            "OUTPUT_NAMES": ", ".join(self.outputs),
            "WIRES": "\n".join(wires),
            "CONNECTIONS": ",\n".join(connections),
        }.items():
            text = text.replace(f"@{mark}@", value)
        return text


def array_ports(cfg: ArchConfig) -> Ports:
    """Those of `eie_array`."""
    fields = schema.fields("array", cfg)
    inputs = {field.name: field.width for field in fields if field.kind is Kind.IN}
    outputs = {
        field.name: field.width for field in fields if field.kind is not Kind.IN and field.kind.is_port
    }
    return Ports("eie_array", inputs, outputs)


@dataclass(frozen=True)
class Sample:
    """Outputs at one moment: clock cycles since the start of the simulation, and each output's bits."""

    cycle: int
    values: Mapping[str, int | str]

    def __getitem__(self, name: str) -> int:
        """An output's value.

        Raises
        ------
        MismatchError : it has unknown bits.
        """
        value = self.values[name]
        if isinstance(value, str):
            raise MismatchError(f"output {name} is {value} in cycle {self.cycle}")
        return value


class Script:
    """What the host drives, step by step, and when it looks at the outputs."""

    def __init__(self, ports: Ports) -> None:
        self.ports = ports
        self.lines: list[str] = []
        self.samples = 0

    def step(self, cycles: int = 1, **inputs: int) -> None:
        """Drive `inputs` (others 0) for some cycles."""
        self._add(_STEP, cycles, inputs)

    def until(self, limit: int, **inputs: int) -> None:
        """Drive `inputs` until the output `ports.until`; the run ends after `limit` cycles in vain."""
        self._add(_UNTIL, limit, inputs)

    def sample(self) -> int:
        """Look at the outputs; the number of this look among the samples that `run` returns."""
        self._add(_SAMPLE, 0, {})
        self.samples += 1
        return self.samples - 1

    def dump(self) -> None:
        """From here to the end, dump every signal."""
        self._add(_DUMP, 0, {})

    def _add(self, code: int, number: int, inputs: Mapping[str, int]) -> None:
        bits = 0
        for name, width in self.ports.inputs.items():
            bits = bits << width | inputs.get(name, 0)
        self.lines.append(f"{code} {number:x} {bits:x}\n")


@dataclass(frozen=True)
class Run:
    """What a script gave: its samples, clock cycles simulated, the simulator's seconds, elapsed and of processor."""

    samples: list[Sample]
    cycles: int
    seconds: float
    processor_seconds: float


def run(
    simulator: str,
    sources: Mapping[str, str],
    script: Script,
    folder: Path,
    *,
    plusargs: Sequence[str] = (),
    activity: bool = False,
) -> Run:
    """Build `sources` with a driver, and run a script in `folder` (which holds the images, if any).

    There are fewer samples than the script asks for if the design did not raise `ports.until` in time.
    activity : the build can dump; what it dumped is the file `activity.dump` in the folder.

    Raises
    ------
    SimulatorMissing, SimulationError
    """
    built = build_alone(
        simulator, {**sources, f"{DRIVER}.v": script.ports.driver()}, DRIVER, activity=activity
    )
    (folder / PROGRAM).write_text("".join(script.lines))
    began, before = time.perf_counter(), _children()
    run_alone(built, folder, *plusargs)
    seconds, processor = time.perf_counter() - began, _children() - before
    *found, last = (folder / RESULTS).read_text().splitlines() or [""]
    word, _, cycles = last.partition(" ")
    if word not in ("end", "late") or (word == "end" and len(found) != script.samples):
        raise SimulationError(f"{simulator} ended before the program did, after {len(found)} samples")
    return Run([_sample(line, script.ports.outputs) for line in found], int(cycles, 16), seconds, processor)


def _children() -> float:
    """Processor seconds of the processes that this one has started and that have ended."""
    times = os.times()
    return times.children_user + times.children_system


def _sample(line: str, outputs: Mapping[str, int]) -> Sample:
    cycle, digits = line.split()
    bits = sum(outputs.values())
    # A digit of four bits that are not all known is x, z, X or Z.
    known = int("".join(d if d in "0123456789abcdef" else "0" for d in digits), 16)
    unknown = int("".join("0" if d in "0123456789abcdef" else "f" for d in digits), 16)
    values: dict[str, int | str] = {}
    for name, width in outputs.items():
        bits -= width
        mask = (1 << width) - 1
        values[name] = "unknown" if unknown >> bits & mask else known >> bits & mask
    return Sample(int(cycle, 16), values)


# ---- layers on eie_array -----------------------------------------------------------------------------------------


class _JobRun:
    """One job in a script: its steps, and which samples hold what."""

    def __init__(self, script: Script, job: Job, *, images: bool) -> None:
        self.job = job
        self.script = script
        self.load, self.weights = load_job(script, job, weights=not images)
        self.begun = script.sample()
        script.until(deadline(job))
        self.ended = script.sample()
        pes, rows = range(job.cfg.n_pe), range(job.rows_per_pe)
        self.acc = [[self._read(IoSpace.ACC, k, row) for row in rows] for k in pes]
        self.counters = [[self._read(IoSpace.COUNTER, k, counter) for counter in PeCounter] for k in pes]

    def _read(self, space: IoSpace, pe: int, addr: int) -> int:
        self.script.step(2, io_read=1, io_space=space, io_pe=pe, io_addr=addr)
        return self.script.sample()

    def outcome(self, samples: Sequence[Sample]) -> Outcome:
        """What came out.

        Raises
        ------
        MismatchError : the RTL did not begin, or not end in time, or an output has unknown bits.
        """
        if self.ended >= len(samples):
            raise MismatchError(f"the RTL was not done {deadline(self.job)} cycles after start")
        begun, ended = samples[self.begun], samples[self.ended]
        if not begun["busy"]:
            raise MismatchError("the RTL is not busy in the cycle after start")
        return Outcome(
            y_acc=[[samples[number]["io_rdata"] for number in pe] for pe in self.acc],
            cycles=ended["cycles"],
            broadcast_stalls=ended["broadcast_stalls"],
            counters=[[samples[number]["io_rdata"] for number in pe] for pe in self.counters],
            load_cycles=self.load,
            weight_load_cycles=self.weights or None,
            busy_cycles=ended.cycle - begun.cycle,
        )


def load_job(script: Script, job: Job, *, weights: bool) -> tuple[int, int]:
    """The steps up to a job's start; the number of writes for the job itself, and for its weights."""
    weight_writes = job.weight_writes() if weights else []
    load = job.load_writes()
    for write in [*weight_writes, *load]:
        script.step(io_write=1, io_space=write.space, io_pe=write.pe, io_addr=write.addr, io_data=write.data)
    script.step(start=1)
    return len(load), len(weight_writes)


def deadline(job: Job) -> int:
    """Cycles after which a job that has not ended never will."""
    return 4 * (schedule(job.interleaved.lengths[job.active], job.cfg).cycles + job.rows_per_pe) + 100


@dataclass(frozen=True)
class JobsRun:
    """Outcomes of jobs, clock cycles of loading, computing and reading, and the simulator's seconds as in `Run`."""

    outcomes: list[Outcome]
    cycles: int
    seconds: float
    processor_seconds: float


def run_jobs(jobs: Sequence[Job], simulator: str, *, transform: Transform | None = None) -> JobsRun:
    """Run jobs of one configuration one after the other; those that share a layer find its weights in the SRAMs.

    transform : changes the Verilog before it is built (to test that faults are found).

    Raises
    ------
    MismatchError : the RTL did not end a layer in time, or an output has unknown bits.
    """
    from eie.rtl.verilog import array_verilog
    from eie.sim.cosim.images import write_images

    cfg = jobs[0].cfg
    if any(job.cfg != cfg for job in jobs):
        raise ConfigError("jobs of one simulator run must share one configuration")
    images = all(job.layer is jobs[0].layer for job in jobs)
    script = Script(array_ports(cfg))
    parts = [_JobRun(script, job, images=images) for job in jobs]
    sources: Mapping[str, str] = array_verilog(cfg)
    if transform is not None:
        sources = transform(sources)
    with tempfile.TemporaryDirectory(prefix="eie-run-") as temporary:
        folder = Path(temporary)
        if images:
            write_images(jobs[0], folder)
        plusargs = () if images else ("+eie_no_images",)
        whole = run(simulator, sources, script, folder, plusargs=plusargs)
    outcomes = []
    for number, part in enumerate(parts):
        try:
            outcomes.append(part.outcome(whole.samples))
        except MismatchError as wrong:
            raise MismatchError(f"{simulator}: job {number}: {wrong}") from None
    return JobsRun(outcomes, whole.cycles, whole.seconds, whole.processor_seconds)


# ---- compared at the end -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FreeReport:
    """Free-running RTL against the fast engine: activations, cycles and every counter of every PE.

    cycles : clock cycles simulated. compared : numbers. differences : one line each. seconds, processor_seconds :
    of the simulator's processes, their start included.
    """

    simulator: str
    cycles: int
    compared: int
    differences: tuple[str, ...]
    seconds: float
    processor_seconds: float
    results: tuple[Result, ...]

    def require_agreement(self) -> None:
        """Raise `MismatchError` when a number differs."""
        if self.differences:
            raise MismatchError(
                f"{self.simulator}: {len(self.differences)} of {self.compared:,} numbers differ, first: "
                + self.differences[0]
            )


def compare_jobs(jobs: Sequence[Job], simulator: str, *, transform: Transform | None = None) -> FreeReport:
    """Run jobs free-running, those of one layer in one simulator process, and compare with the fast engine.

    Raises
    ------
    MismatchError : the RTL did not end a layer in time, or an output has unknown bits.
    """
    from eie.sim.cosim.outcome import result_of
    from eie.sim.engines import fast

    results: list[Result] = []
    cycles, seconds, processor = 0, 0.0, 0.0
    for _, same_layer in itertools.groupby(jobs, key=lambda job: id(job.layer)):
        part = list(same_layer)
        done = run_jobs(part, simulator, transform=transform)
        results += [
            result_of(job, outcome, simulator) for job, outcome in zip(part, done.outcomes, strict=True)
        ]
        cycles, seconds = cycles + done.cycles, seconds + done.seconds
        processor += done.processor_seconds
    compared, differences = 0, []
    for number, (found, wanted) in enumerate(zip(results, fast.run(jobs), strict=True)):
        for name, have, want in _numbers(found, wanted):
            compared += have.size
            for place in np.flatnonzero(have != want):
                where = f"{name}[{place}]" if have.size > 1 else name
                differences.append(f"job {number}, {where}: RTL {have[place]}, fast engine {want[place]}")
    return FreeReport(simulator, cycles, compared, tuple(differences), seconds, processor, tuple(results))


def _numbers(found: Result, wanted: Result) -> Iterator[tuple[str, IntArray, IntArray]]:
    """What both results hold, by name."""
    pairs: dict[str, tuple[Any, Any]] = {"y": (found.y, wanted.y), "cycles": (found.cycles, wanted.cycles)}
    # An array without counters has none to compare.
    held = {name: count for name, count in found.counters.items() if count is not None}
    pairs |= {name: (count, wanted.counters[name]) for name, count in held.items()}
    for name, (have, want) in pairs.items():
        yield name, np.atleast_1d(np.asarray(have, np.int64)), np.atleast_1d(np.asarray(want, np.int64))
