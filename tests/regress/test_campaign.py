"""Long lockstep: random jobs on several configurations, a million cycles and more in each simulator."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from eie.config import ArchConfig
from eie.jit import stamp
from eie.program import Job
from eie.result import COUNTERS, Result
from eie.sim.cosim import toolchain
from eie.sim.cosim.build import SIMULATORS
from eie.sim.cosim.images import array_sources
from eie.sim.cosim.lockstep import lockstep
from eie.sim.simulate import simulate_many
from eie.timing import schedule
from tests.support import cases
from tests.support.cases import seeded_case

# Every PE count with shallow and deep queues, with and without bus registers, narrow and wide words and numbers.
CONFIGURATIONS = {
    "1 PE, depth 1": ArchConfig(n_pe=1, queue_depth=1, entries=600, pointers=50, src_depth=49, acc_depth=110),
    "2 PEs, depth 4, bus 2, 8-bit": ArchConfig(
        n_pe=2,
        queue_depth=4,
        bus_registers=2,
        index_bits=2,
        code_bits=8,
        act_bits=8,
        acc_bits=20,
        word_bits=32,
        entries=1500,
        pointers=50,
        src_depth=25,
        acc_depth=90,
    ),
    "4 PEs, depth 8": ArchConfig(n_pe=4, entries=700, pointers=50, src_depth=13, acc_depth=101),
    "4 PEs, depth 3, bus 1, 5 + 6 bits": ArchConfig(
        n_pe=4,
        queue_depth=3,
        bus_registers=1,
        weight_bits=5,
        index_bits=6,
        acc_bits=32,
        word_bits=128,
        pointer_bits=12,
        entries=500,
        pointers=51,
        src_depth=12,
        acc_depth=128,
    ),
    "16 PEs, depth 8": ArchConfig(n_pe=16, entries=400, pointers=50, src_depth=4, acc_depth=64),
    "16 PEs, depth 2, bus 1, 12-bit": ArchConfig(
        n_pe=16,
        queue_depth=2,
        bus_registers=1,
        act_bits=12,
        code_bits=12,
        acc_bits=24,
        word_bits=16,
        entries=300,
        pointers=50,
        src_depth=5,
        acc_depth=40,
    ),
}
JOBS = 100
BATCHES = Path(__file__).parents[2] / "build" / "lockstep"
REPLAY = (
    "EIE_REGRESS_SEED={seed} EIE_REGRESS_BATCH={number}.{batch} "
    "python -m pytest -s tests/regress/test_campaign.py -k {simulator}"
)


@dataclass
class Tally:
    """What was compared on one configuration."""

    jobs: int = 0
    cycles: int = 0
    comparisons: int = 0
    seconds: float = 0.0
    events: Counter[str] = field(default_factory=Counter)

    def add(self, other: Tally) -> None:
        self.jobs += other.jobs
        self.cycles += other.cycles
        self.comparisons += other.comparisons
        self.seconds += other.seconds
        self.events.update(other.events)


class Kept:
    """Batches that agreed, in a file, so that a campaign that was stopped goes on where it was.

    A batch counts as long as the seed, the RTL, the simulator, and the sources of golden, host, comparison, law,
    reference and cases are those of the run that did it.
    """

    def __init__(self, simulator: str, seed: int, number: int) -> None:
        cfg = list(CONFIGURATIONS.values())[number]
        rtl = array_sources(cfg, None, probe=True)
        texts = [Path(file).read_text() for file in (__file__, cases.__file__)]
        modules = ("golden.array", "program", "timing", "sim.simulate", "sim.cosim.lockstep_host")
        sources = [*map(stamp, (f"eie.{module}" for module in modules))]
        text = json.dumps([seed, number, rtl, texts, sources, toolchain.require(simulator).version_text])
        self.key = hashlib.sha256(text.encode()).hexdigest()
        self.path = BATCHES / f"{simulator}.jsonl"
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        rows = [row for row in map(_row, lines) if row.get("key") == self.key]
        self.tallies = {row["batch"]: Tally(**row["tally"]) for row in rows}

    def add(self, batch: int, tally: Tally) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a+") as file:
            file.seek(0)
            torn = file.read()[-1:] not in ("", "\n")  # by a run that was killed
            file.write(
                "\n" * torn + json.dumps({"key": self.key, "batch": batch, "tally": vars(tally)}) + "\n"
            )


def _row(line: str) -> dict[str, Any]:
    try:
        row: dict[str, Any] = json.loads(line)
    except ValueError:  # the last line of a run that was killed
        return {}
    return row


def batch_jobs(seed: int, number: int, batch: int) -> list[Job]:
    """The jobs of one simulator process: as many layers, or, in every fourth batch, one layer with many inputs."""
    cfg = list(CONFIGURATIONS.values())[number]
    rng = np.random.default_rng([seed, number, batch])
    if batch % 4 == 1:
        # These find their weights in memory images; the others load them through the I/O port.
        case = seeded_case(int(rng.integers(1 << 32)), [cfg])
        return [Job.create(case.layer, rng.permutation(case.x), cfg) for _ in range(JOBS)]
    return [seeded_case(int(case_seed), [cfg]).job for case_seed in rng.integers(1 << 32, size=JOBS)]


def check(job: Job, result: Result, reference: Result) -> None:
    """Values against the independent reference, time against the law."""
    law = schedule(job.interleaved.lengths[job.active], job.cfg)
    assert np.array_equal(result.y, reference.y)
    assert (result.cycles, result.counters["broadcast_stalls"]) == (law.cycles, law.broadcast_stalls)
    for name, value in reference.counters.items():
        assert value is None or np.array_equal(result.counters[name], value), name


def batches(number: int, share: int, tally: Tally) -> Iterator[int]:
    """Numbers of the batches to run on a configuration: until its share of the cycles is done, or the one to replay."""
    if "EIE_REGRESS_BATCH" in os.environ:
        configuration, batch = os.environ["EIE_REGRESS_BATCH"].split(".")
        yield from [int(batch)] if int(configuration) == number else []
        return
    batch = 0
    while tally.cycles < share:
        yield batch
        batch += 1


def run_batch(simulator: str, seed: int, number: int, batch: int, folder: Path) -> Tally:
    """Run and check one batch."""
    jobs = batch_jobs(seed, number, batch)
    replay = REPLAY.format(seed=seed, number=number, batch=batch, simulator=simulator)
    report = lockstep(
        jobs,
        simulator,
        seed=seed,
        read_back=batch % 2 == 0,
        replay=replay,
        divergence_wave=folder / "divergence.vcd",
        long_run=True,
    )
    report.require_agreement()
    tally = Tally(len(jobs), report.cycles, report.comparisons, report.seconds)
    try:
        for job, result, reference in zip(
            jobs, report.results, simulate_many(jobs, "reference"), strict=True
        ):
            check(job, result, reference)
            tally.events.update({name: result.total(name) for name in COUNTERS})
    except AssertionError as error:
        error.add_note(f"replay: {replay}")
        raise
    return tally


def table(simulator: str, tallies: dict[str, Tally]) -> Table:
    shown = Table(title=f"{simulator}: golden and RTL agree")
    headings = ("configuration", "jobs", "cycles", "signals", "cycles x signals compared", "cycles/s")
    for heading in headings:
        shown.add_column(heading, justify="left" if heading == headings[0] else "right")
    for name, t in tallies.items():
        signals = t.comparisons // t.cycles
        row = (t.jobs, t.cycles, signals, t.comparisons, round(t.cycles / t.seconds))
        shown.add_row(name, *(f"{value:,}" for value in row), end_section=name == list(tallies)[-1])
    sums = [
        sum(getattr(t, name) for t in tallies.values())
        for name in ("jobs", "cycles", "comparisons", "seconds")
    ]
    jobs, cycles, comparisons, seconds = sums
    shown.add_row("all", f"{jobs:,}", f"{cycles:,}", "", f"{comparisons:,}", f"{cycles / seconds:,.0f}")
    return shown


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_campaign(
    simulator: str,
    seed: int,
    cycles: int,
    tmp_path: Path,
    signed: Callable[[str, dict[str, Any]], None],
) -> None:
    tallies: dict[str, Tally] = {}
    began = time.perf_counter()
    with tqdm(total=cycles, desc=simulator, unit=" cycles", unit_scale=True) as bar:
        for number, name in enumerate(CONFIGURATIONS):
            tally = Tally()
            kept = Kept(simulator, seed, number)
            for batch in batches(number, -(-cycles // len(CONFIGURATIONS)), tally):
                done = None if "EIE_REGRESS_BATCH" in os.environ else kept.tallies.get(batch)
                if done is None:
                    done = run_batch(simulator, seed, number, batch, tmp_path)
                    kept.add(batch, done)
                tally.add(done)
                bar.update(done.cycles)
                tallies[name] = tally
    console = Console(width=140, highlight=False)
    console.print("\n", table(simulator, tallies), sep="")
    events: Counter[str] = sum((t.events for t in tallies.values()), Counter())
    console.print(f"seed {seed}:", ", ".join(f"{events[name]:,} {name}" for name in COUNTERS))
    console.print(f"{time.perf_counter() - began:.0f} s, builds included")
    if "EIE_REGRESS_BATCH" not in os.environ:
        assert sum(t.cycles for t in tallies.values()) >= cycles
        assert all(events[name] for name in COUNTERS), "an event that no job had"
        rows = [{"configuration": name, **vars(tally)} for name, tally in tallies.items()]
        signed(f"lockstep-{simulator}", {"rows": rows})
