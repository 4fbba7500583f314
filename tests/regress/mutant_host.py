"""The cocotb side of the mutants: one simulator process runs every one, each in a child of its own.

The process stays at time 0 and forks for each run, so every mutant starts from the same untouched machine, and one
that never ends or stops the simulator takes only its child with it. Golden runs once, in lockstep with the unchanged
design; what the host drove and what golden's probes held is the tape that every mutant is compared with.
"""

from __future__ import annotations

import os
import pickle
import random
import signal
import traceback
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

import cocotb
from cocotb.triggers import ReadOnly
from mutant_jobs import RandomRun, narrow_counters

from eie.config import ArchConfig
from eie.errors import MismatchError
from eie.golden.array import Array
from eie.host import converse, feeds_of
from eie.memory import Write
from eie.program import Job, Run
from eie.result import Result
from eie.schema import (
    CCU_COUNTERS,
    IoSpace,
    Mode,
    ProbeField,
    ccu_probe,
    fields,
    pe_probe,
    probe_octets,
    probe_width,
    unpack_probe,
)
from eie.sim.cosim.host import FreeHost
from eie.sim.cosim.lockstep_host import LockstepHost
from eie.sim.cosim.outcome import OUTCOME, REQUEST, Unfinished
from eie.sim.cosim.probes import WideOutputs

PROGRESS = "mutants-done"
# Of real time, after which something is wrong with more than the mutant.
CHILD_SECONDS = 1800
# Cycles of random traffic on the I/O port between two jobs, and from start to a reset in the middle of a layer.
IDLE_CYCLES = 40
RESET_AFTER = 25
# A run is begun once more and reset within so many cycles: amid a refill, which a job has none of.
RESET_WITHIN = 8
# One job in so many is begun once more and reset; after the last few, all memories are read back.
RESET_EVERY = 5
# Rows of the source files in any order: rounds over all PEs, rows of a PE in a round, and writes to them.
DISORDER_ROUNDS, DISORDER_ROWS, DISORDER_WRITES = 60, 6, 24
READ_BACK_LAST = 2
# Cycles after which a run of random passes is one that never ends; the longest of the design's are a few thousand.
RUN_LIMIT = 50_000


@dataclass
class MutantRequest:
    """Jobs of one configuration and runs after them, mutants 1..mutants to do them, and the seed of the traffic."""

    jobs: list[Job]
    runs: list[RandomRun]
    mutants: int
    seed: int


@dataclass
class Trial:
    """What told a mutant from the design, in lockstep and by final results alone; "" is nothing."""

    number: int
    lockstep: str
    results: str


@dataclass
class MutantAnswer:
    """What the unchanged design gave, length of the tape in cycles, and the trials; trial 0 is the design itself.

    baseline : results of the jobs; words : of each run.
    """

    baseline: list[Result]
    words: list[list[int]]
    tape_cycles: int
    trials: list[Trial] = field(default_factory=list)


class Step(NamedTuple):
    """One cycle of the tape: inputs (`rst` among them), and golden's probes and outputs as `WideOutputs` reads them."""

    inputs: dict[str, int]
    wanted: bytes


class RecordingHost(LockstepHost):
    """Lockstep that writes the tape, and makes traffic that a machine at work has to ignore."""

    def __init__(self, dut: Any, cfg: ArchConfig, seed: int) -> None:
        super().__init__(dut, cfg, Array(cfg))
        self.random = random.Random(seed)
        self.tape: list[Step] = []
        widths = {f.name: f.width for f in fields("array", cfg)}
        self.port_bits = {name: widths[name] for name in self.inputs}
        self.inputs["rst"] = 0

    async def cycle(self, **inputs: int) -> None:
        await super().cycle(**inputs)
        self.tape.append(Step(inputs, self.recorded[-1][1]))

    async def until_done(self, limit: int = 0, run: Run | None = None) -> int:
        """As in lockstep, but with traffic on all inputs."""
        busy = 0
        while self.golden.ccu.mode.value != Mode.IO:
            await self.cycle(**self.traffic())
            busy += 1
        await self.cycle()
        return busy

    def traffic(self) -> dict[str, int]:
        """A random value on every input but reset; about every other address is one of the first eight."""
        values = {name: self.random.getrandbits(bits) for name, bits in self.port_bits.items()}
        return {**values, "io_addr": values["io_addr"] & self.random.choice((7, -1))}

    async def reset_again(self) -> None:
        """One cycle of reset: memories and the SRAMs' outputs keep what they hold."""
        await self.cycle(rst=1)
        kept = {id(sram.rdata) for pe in self.golden.pes for sram in pe.srams.values()}
        for register in self.golden.registers:
            if id(register) not in kept:
                register.value = 0


async def record(dut: Any, request: MutantRequest) -> list[Step]:
    """Every job, and after it traffic and a reset; for some a reset under way, for the last all memories; the runs."""
    host = RecordingHost(dut, request.jobs[0].cfg, request.seed)
    await _begin(host, 0)
    await do_everything(host, request)
    return host.tape


async def do_everything(host: RecordingHost, request: MutantRequest) -> None:
    """What `record` does, once the machine is reset."""
    for host.job, job in enumerate(request.jobs):
        read_back = host.job >= len(request.jobs) - READ_BACK_LAST
        await run_job(host, job, read_back=read_back)
        for _ in range(IDLE_CYCLES):
            await host.cycle(**{**host.traffic(), "start": 0})
        await host.reset_again()
        if host.job % RESET_EVERY == 0:
            await _start(host, job)
            for _ in range(RESET_AFTER):
                await host.cycle()
            await host.reset_again()
    for _ in range(DISORDER_ROUNDS):
        await disorder(host)
    for run in request.runs:
        await random_passes(host, run)
        await host.cycle(start=1)
        for _ in range(host.random.randrange(RESET_WITHIN)):
            await host.cycle()
        await host.reset_again()
    host.finish()


async def disorder(host: RecordingHost) -> None:
    """Rows of the source files in any order and again, with 0 or not: few at a time, so that each meets each."""
    cfg = host.golden.cfg
    for pe in range(cfg.n_pe):
        rows = host.random.sample(range(cfg.src_depth), DISORDER_ROWS)
        for _ in range(DISORDER_WRITES):
            addr, data = host.random.choice(rows), host.random.getrandbits(1)
            await host.cycle(io_write=1, io_space=int(IoSpace.ACT), io_pe=pe, io_addr=addr, io_data=data)
    await host.reset_again()


async def run_job(host: FreeHost, job: Job, *, read_back: bool = False) -> Result:
    """One job, its weights loaded through the port."""
    results: list[Result] = []
    await host.follow(converse(feeds_of([job]), results, engine="rtl", read_back=read_back))
    return results[0]


async def _begin(host: FreeHost, number: int) -> None:
    host.dut.mutsel.value = number
    await host.reset()


async def _start(host: FreeHost, job: Job) -> None:
    await _load(host, (*job.weight_writes(), *job.load_writes()))
    await host.cycle(start=1)


async def _load(host: FreeHost, writes: Iterable[Write]) -> None:
    for write in writes:
        await host.cycle(
            io_write=1, io_space=int(write.space), io_pe=write.pe, io_addr=write.addr, io_data=write.data
        )


async def random_passes(host: FreeHost, run: RandomRun) -> list[int]:
    """Write, start, wait; the counters and words that are read afterwards."""
    await _load(host, run.writes)
    await host.cycle(start=1)
    await host.until_done(RUN_LIMIT)
    counts = [host.output(name) for name in CCU_COUNTERS]
    return counts + await host.read(run.places)


async def against_tape(dut: Any, cfg: ArchConfig, tape: list[Step], number: int) -> str:
    """Drive mutant `number` as the tape says; the first probe or output that differs, "" if none does."""
    host = FreeHost(dut, cfg)
    host.inputs["rst"] = 0
    probes = [pe_probe(cfg)] * cfg.n_pe + [ccu_probe(cfg)]
    names = [*(f"probe_pe{k}" for k in range(cfg.n_pe)), "probe_ccu"]
    ports = [field for field in fields("array", cfg) if field.probed]
    names += [port.name for port in ports]
    widths = [*map(probe_width, probes), *(port.width for port in ports)]
    wide = WideOutputs([f"{dut._path}.{name}" for name in names], widths)
    await _begin(host, number)
    for cycle, step in enumerate(tape):
        await host.cycle(**step.inputs)
        await ReadOnly()
        found, _ = wide.read()
        if found != step.wanted:
            return f"cycle {cycle}, {_first_unlike(probes, step.wanted, found)}"
    return ""


def _first_unlike(probes: list[tuple[ProbeField, ...]], wanted: bytes, found: bytes) -> str:
    """Name of the first place of the probes that differs; what follows them is the array's outputs."""
    end = 0
    for probe in probes:
        begin, end = end, end + probe_octets(probe)
        words = (int.from_bytes(data[begin:end], "little") for data in (wanted, found))
        for (place, a), (_, b) in zip(*(unpack_probe(probe, word) for word in words), strict=True):
            if a != b:
                return place.name
    return "the array's outputs"


async def run_alone(dut: Any, request: MutantRequest) -> tuple[list[Result], list[list[int]]]:
    """Results of the jobs, and words of the runs, on the design itself, without lockstep."""
    host = FreeHost(dut, request.jobs[0].cfg)
    await _begin(host, 0)
    results = [await run_job(host, job) for job in request.jobs]
    return results, [await random_passes(host, run) for run in request.runs]


async def against_results(
    dut: Any, request: MutantRequest, baseline: list[Result], words: list[list[int]], number: int
) -> str:
    """Do everything on mutant `number`; what ails the first job or run whose results are wrong, "" if none is."""
    host = FreeHost(dut, request.jobs[0].cfg)
    await _begin(host, number)
    place = 0
    try:
        for place, (job, expected) in enumerate(zip(request.jobs, baseline, strict=True)):
            if _final(await run_job(host, job)) != _final(expected):
                return f"{place} wrong results"
        for place, (run, found) in enumerate(zip(request.runs, words, strict=True), len(request.jobs)):
            if await random_passes(host, run) != found:
                return f"{place} wrong results"
    except Unfinished:
        return f"{place} never ends"
    except MismatchError:
        return f"{place} impossible counts or status lines"
    return ""


def _final(result: Result) -> tuple[object, ...]:
    count = result.count
    assert count.per_pe is not None
    return result.y.tolist(), count.cycles, count.broadcast_stalls, count.per_pe.tolist()


T = TypeVar("T")


async def in_child(run: Callable[[], Awaitable[T]], died: T | None = None) -> T:
    """What `run` returns in a copy of this simulator process, which itself stays; `died` if the copy aborted."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(CHILD_SECONDS)
        answer: object
        try:
            answer = await run()
        except BaseException:
            answer = ChildFailed(traceback.format_exc())
        with os.fdopen(write_end, "wb") as pipe:
            pickle.dump(answer, pipe)
        os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe:
        data = pipe.read()
    _, status = os.waitpid(child, 0)
    if died is not None and os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGABRT:
        return died
    if status:
        raise ChildFailed(f"the simulator ended with status {status}")
    answer = pickle.loads(data)
    if isinstance(answer, ChildFailed):
        raise answer
    return cast(T, answer)


class ChildFailed(Exception):
    """Something other than the mutant went wrong in a child."""


@cocotb.test()
async def mutants(dut: Any) -> None:
    """The unchanged design, then every mutant, against the tape and by results alone."""
    request: MutantRequest = pickle.loads(Path(REQUEST).read_bytes())
    with narrow_counters():
        answer = await _every_mutant(dut, request)
    Path(OUTCOME).write_bytes(pickle.dumps(answer))


async def _every_mutant(dut: Any, request: MutantRequest) -> MutantAnswer:
    tape = await in_child(lambda: record(dut, request))
    baseline, words = await in_child(lambda: run_alone(dut, request))
    answer = MutantAnswer(baseline, words, len(tape))
    cfg = request.jobs[0].cfg
    for number in range(request.mutants + 1):
        lockstep = await in_child(partial(against_tape, dut, cfg, tape, number), "- simulator stopped")
        results = await in_child(
            partial(against_results, dut, request, baseline, words, number), "- simulator stopped"
        )
        answer.trials.append(Trial(number, lockstep, results))
        Path(PROGRESS).write_text(str(number))
    return answer
