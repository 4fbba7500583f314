"""Every mutant is told from the design, or proved equivalent, or has its reason in survivors.toml."""

from __future__ import annotations

import pickle
import re
import time
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chip_mutant_host import ChipAnswer, ChipRequest
from mutant_host import PROGRESS, MutantAnswer, MutantRequest, Trial
from mutant_jobs import BETTER, BLOCKS, CFG, mutant_jobs, narrow_counters, random_runs
from mutants import (
    ARRAY_SHARES,
    BETTER_SHARES,
    BLOCKS_SHARES,
    CHIP_SHARES,
    SHARES,
    Mutant,
    draw,
    mutated,
    proved_equivalent,
)
from rich.console import Console
from rich.table import Table

from eie.config import ArchConfig
from eie.program import Job
from eie.rtl.verilog import array_verilog, chip_verilog
from eie.sim.cosim.build import build, run_test
from eie.sim.cosim.outcome import OUTCOME, REQUEST
from eie.sim.simulate import simulate_many
from tests.support.cases import Case
from tests.support.chip_stimulus import CHIP, chip_stimulus
from tests.support.slow_law import law

REASONS = Path(__file__).with_name("survivors.toml")


def _run(
    mutants: list[Mutant],
    jobs: list[Job],
    cfg: ArchConfig,
    seed: int,
    folder: Path,
    following: Callable[[Path, int, str], AbstractContextManager[None]],
) -> MutantAnswer:
    sources = mutated(array_verilog(cfg, probe=True, images=False), mutants)
    built = build("verilator", sources, "eie_array", long_run=True)
    (folder / REQUEST).write_bytes(
        pickle.dumps(MutantRequest(jobs, random_runs(seed, cfg), len(mutants), seed))
    )
    with following(folder / PROGRESS, len(mutants), "mutants"):
        run_test(built, "mutant_host", "mutants", folder, plusargs=["+eie_no_images"], seed=seed)
    answer: MutantAnswer = pickle.loads((folder / OUTCOME).read_bytes())
    return answer


def _table(mutants: list[Mutant], trials: list[Trial], shares: Mapping[str, int]) -> Table:
    table = Table(title="mutants told from the design")
    for heading in (
        "module",
        "mutants",
        "killed",
        "survivors",
        "killed by final results alone",
        "by lockstep only",
    ):
        table.add_column(heading, justify="left" if heading == "module" else "right")
    paired = list(zip(mutants, trials, strict=True))
    for module in (*shares, "all"):
        chosen = [trial for mutant, trial in paired if module in (mutant.module, "all")]
        killed = sum(bool(t.lockstep) for t in chosen)
        by_results = sum(bool(t.results) for t in chosen)
        row = (len(chosen), killed, len(chosen) - killed, by_results, killed - by_results)
        table.add_row(module, *map(str, row), end_section=module == [*shares][-1])
    return table


def _reason(mutant: Mutant, description: str, sources: Mapping[str, str]) -> str | None:
    """Why a mutant survives: Yosys proves it equivalent, or the file of reasons says so."""
    if proved_equivalent(sources, mutant):
        return "equivalent: Yosys proves every output, probe and next state equal"
    reasons = tomllib.loads(REASONS.read_text())["survivor"]
    return next((r["reason"] for r in reasons if re.search(r["match"], description)), None)


@pytest.fixture
def _narrow_counters() -> Iterator[None]:
    with narrow_counters():
        yield


MACHINES = {
    "published": (CFG, SHARES),
    "better": (BETTER, BETTER_SHARES),
    "index-free": (BLOCKS, BLOCKS_SHARES),
    "array": (CFG, ARRAY_SHARES),
}
# Share of `MUTANTS` that a machine gets: 300 are 1,000 in all.
PARTS = {"published": 1, "better": 1, "index-free": 1 / 5, "array": 1 / 3, "chip": 4 / 5}


def _count(mutants: int, machine: str) -> int:
    return max(1, round(mutants * PARTS[machine]))


@pytest.mark.usefixtures("_narrow_counters")
@pytest.mark.parametrize("machine", MACHINES)
def test_mutants_are_killed(
    machine: str,
    seed: int,
    mutant_count: int,
    tmp_path: Path,
    following: Callable[[Path, int, str], AbstractContextManager[None]],
    signed: Callable[[str, dict[str, Any]], None],
) -> None:
    began = time.perf_counter()
    cfg, shares = MACHINES[machine]
    sources = array_verilog(cfg, probe=True, images=False)
    jobs = mutant_jobs(seed, cfg)
    mutants = draw(sources, _count(mutant_count, machine), seed, shares)
    answer = _run(mutants, jobs, cfg, seed, tmp_path, following)

    design, *trials = answer.trials
    told = [design.lockstep, design.results]
    assert told == ["", ""], "the design with no mutant chosen is told from itself"
    for job, result, expected in zip(jobs, answer.baseline, simulate_many(jobs, "reference"), strict=True):
        cycles = law(Case(job.layer, job.x, cfg, "mutants")).cycles
        assert np.array_equal(result.y, expected.y), f"seed {seed}: the design differs from the reference"
        assert result.cycles == cycles, f"seed {seed}: the design differs from the timing law"

    console = Console(width=200, highlight=False, markup=False)
    console.print(
        f"\n{machine} machine, seed {seed}: {len(jobs)} jobs, {len(answer.words)} runs of passes, "
        f"{answer.tape_cycles:,} cycles in lockstep for each mutant, {time.perf_counter() - began:.0f} s"
    )
    console.print(_table(mutants, trials, shares))
    ends = Counter(trial.results.partition(" ")[2] or "right results" for trial in trials)
    console.print("final results:", ", ".join(f"{n} x {end}" for end, n in ends.most_common()))
    assert all(t.lockstep for t in trials if t.results), "results show a mutant that no probe shows"
    _explain(machine, mutants, trials, answer.tape_cycles, cfg, sources, console, signed)


def _explain(
    machine: str,
    mutants: list[Mutant],
    trials: list[Trial],
    cycles: int,
    cfg: ArchConfig,
    sources: Mapping[str, str],
    console: Console,
    signed: Callable[[str, dict[str, Any]], None],
) -> None:
    """Why survivors survive; fails if one has neither proof nor reason."""
    survivors = [m for m, t in zip(mutants, trials, strict=True) if not t.lockstep]
    explained = {}
    for mutant in survivors:
        text = mutant.describe(cfg, sources)
        explained[text] = reason = _reason(mutant, text, sources)
        console.print(f"survivor {mutant.number}: {text}\n    {reason or 'NO REASON YET'}")
    modules = Counter(mutant.module for mutant in mutants)
    counts = {"mutants": len(mutants), "killed": len(mutants) - len(survivors), "modules": modules}
    signed(f"mutants-{machine}", {"cycles": cycles, **counts, "survivors": explained})
    unexplained = [text for text, reason in explained.items() if not reason]
    assert not unexplained, f"survivors without a reason in {REASONS.name}: {unexplained}"


@pytest.mark.usefixtures("_narrow_counters")
def test_mutants_of_the_chip_are_killed(
    seed: int,
    mutant_count: int,
    tmp_path: Path,
    following: Callable[[Path, int, str], AbstractContextManager[None]],
    signed: Callable[[str, dict[str, Any]], None],
) -> None:
    """Of the host interface and of what connects it: masters on the buses drive each as they drove the design."""
    began = time.perf_counter()
    sources = chip_verilog(CHIP, probe=True)
    mutants = draw(sources, _count(mutant_count, "chip"), seed, CHIP_SHARES)
    built = build("verilator", mutated(sources, mutants), "eie_chip", long_run=True)
    scripts = chip_stimulus(seed)
    (tmp_path / REQUEST).write_bytes(pickle.dumps(ChipRequest(CHIP, scripts, len(mutants))))
    with following(tmp_path / PROGRESS, len(mutants), "mutants"):
        run_test(built, "chip_mutant_host", "mutants", tmp_path, plusargs=["+eie_no_images"], seed=seed)
    answer: ChipAnswer = pickle.loads((tmp_path / OUTCOME).read_bytes())

    design, *trials = answer.trials
    assert [design.lockstep, design.results] == ["", ""], (
        "the design with no mutant chosen is told from itself"
    )
    assert not answer.divergence, answer.divergence
    console = Console(width=200, highlight=False, markup=False)
    console.print(
        f"\nchip, seed {seed}: {len(scripts)} scripts, {answer.tape_cycles:,} cycles in lockstep for each mutant, "
        f"{time.perf_counter() - began:.0f} s; final results are what the buses carry"
    )
    console.print(_table(mutants, trials, CHIP_SHARES))
    _explain("chip", mutants, trials, answer.tape_cycles, CHIP, sources, console, signed)
