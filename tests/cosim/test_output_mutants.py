"""Mutants of the array's own outputs: each is found on every path that a command or a public function takes.

An output is stuck at 0, stuck at 1 or inverted, all of its bits, where it leaves the array: no probe is behind it. A
path that compares nothing with another engine holds the outputs against what they have to be (`eie.sim.cosim.outcome`,
`eie.host`). Icarus only, and a machine of two PEs: what is looked at is the same with any.
"""

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from click.testing import CliRunner

import eie.rtl.verilog
import eie.sim.cosim.chip.script
from eie.cli.main import main
from eie.config import ArchConfig
from eie.errors import MismatchError
from eie.plan import make_plan
from eie.plan_program import plan_program
from eie.program import Job
from eie.sim.cosim.chip.script import run_script
from eie.sim.cosim.free.compare import compare_jobs
from eie.sim.cosim.free.run import run_free
from eie.sim.cosim.launch import run_rtl
from eie.sim.cosim.lockstep import lockstep, lockstep_program
from eie.sim.plans import run_plan, run_program
from eie.sim.simulate import simulate
from eie.sim.workloads.random import random_input, random_layer
from tests.support.chip_conversations import program_script

SIZES = {"src_depth": 8, "acc_depth": 8, "pointers": 24, "entries": 64, "act_words": 12, "passes": 4}
CFG = ArchConfig(n_pe=2, codebooks=2, **SIZES)
LAYERS = [random_layer(6, 8, 0.5, 1), random_layer(4, 6, 0.5, 2)]
X = random_input(8, 0.5, 1)
JOB = Job.create(LAYERS[0], X, CFG)
PLAN = make_plan(LAYERS, CFG)
PROGRAM = plan_program(PLAN)

OUTPUTS = {"busy": 1, "done": 1, "current_pass": CFG.pass_bits, "io_rdata": CFG.io_data_bits}
KINDS = {"stuck at 0": "{bits}'d0", "stuck at 1": "~{bits}'d0", "inverted": "~true_{name}"}
MUTANTS = [(name, kind) for name in OUTPUTS for kind in KINDS]
# One of each output, for a path that shares its checks with one that meets them all.
SOME = [
    ("busy", "stuck at 0"),
    ("done", "inverted"),
    ("current_pass", "stuck at 1"),
    ("io_rdata", "stuck at 0"),
]

# A mutant that changes nothing on paths of this kind, and why.
HARMLESS = {("layer", "current_pass", "stuck at 0"): "a layer is pass 0, before, during and after its run"}


@cache
def _verilog(made: Callable[..., dict[str, str]], cfg: ArchConfig, **options: bool) -> dict[str, str]:
    return made(cfg, **options)


def mutant(sources: dict[str, str], name: str, kind: str) -> dict[str, str]:
    """The Verilog with one output changed."""
    value = KINDS[kind].format(name=name, bits=OUTPUTS[name])
    text, one = re.subn(rf"\.{name}\({name}\)", f".{name}(true_{name})", sources["eie_array.v"])
    wires = f"  wire [{OUTPUTS[name] - 1}:0] true_{name};\n  assign {name} = {value};\n"
    text, two = re.subn(rf"(  wire (\[\d+:0\] )?{name};\n)", rf"\1{wires}", text)
    assert one == two == 1
    return {**sources, "eie_array.v": text}


def command(*words: str) -> None:
    """Run `eie`; its status is 1 where it finds a mutant."""
    settings = [f"--set={name}={value}" for name, value in SIZES.items()]
    done = CliRunner().invoke(main, [*words, "--pe", "2", *settings])
    assert done.exit_code in (0, 1), done.output
    if done.exit_code:
        raise MismatchError(done.stderr.strip())


# By name: whether it is of a layer (pass 0) or of a program of two passes, the mutants, and how to take it. A path
# finds a mutant by raising `MismatchError`.
PATHS = {
    "simulate": ("layer", MUTANTS, lambda _: simulate(LAYERS[0], X, CFG, "icarus")),
    "compare_jobs": ("layer", MUTANTS, lambda _: compare_jobs([JOB], "icarus").require_agreement()),
    "simulate, waveform": (
        "layer",
        SOME,
        lambda at: simulate(LAYERS[0], X, CFG, "icarus", waveform=at / "w.fst"),
    ),
    "run_rtl, read back": ("layer", SOME, lambda _: run_rtl([JOB], "icarus", read_back=True)),
    "lockstep": ("layer", SOME, lambda _: lockstep([JOB], "icarus").require_agreement()),
    "run_program": ("program", MUTANTS, lambda _: run_program(PROGRAM, [X], "icarus")),
    "run_plan": ("program", SOME, lambda _: run_plan(PLAN, [X], "icarus")),
    "run_free": ("program", SOME, lambda _: run_free(PLAN, [X], "icarus")),
    "run_program, waveform": (
        "program",
        MUTANTS,
        lambda at: run_program(PROGRAM, [X], "icarus", waveform=at / "w.fst"),
    ),
    "lockstep_program": (
        "program",
        MUTANTS,
        lambda _: lockstep_program(PROGRAM, [X], "icarus").require_agreement(),
    ),
    "eie cosim --free": ("layer", SOME, lambda _: command("cosim", "--rows=6", "--cols=8", "--free")),
    "eie plan --check": (
        "program",
        [*SOME, ("current_pass", "stuck at 0")],
        lambda _: command("plan", "--random=20x6", "--density=0.3", "--check=icarus"),
    ),
    "chip": (
        "program",
        MUTANTS,
        lambda _: run_script(CFG, program_script(PROGRAM, [X]), "icarus").require_agreement(),
    ),
}


def test_the_program_is_one_run_of_two_passes() -> None:
    """Only while it runs does current_pass tell that there is a second one."""
    assert [len(run.passes) for run in PROGRAM.runs] == [2]
    assert PROGRAM.runs[0].first == 0


@pytest.mark.parametrize("path", PATHS)
def test_mutants_are_found(path: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kind, mutants, take = PATHS[path]
    changed: tuple[str, str] | None = None
    for maker in ("array_verilog", "chip_verilog"):
        made = getattr(eie.rtl.verilog, maker)

        def mutated(
            cfg: ArchConfig, made: Callable[..., dict[str, str]] = made, **options: bool
        ) -> dict[str, str]:
            sources = _verilog(made, cfg, **options)
            return mutant(sources, *changed) if changed else sources

        monkeypatch.setattr(eie.rtl.verilog, maker, mutated)
    monkeypatch.setattr(eie.sim.cosim.chip.script, "PATIENCE", 500)  # a few mutants take no words any more
    take(tmp_path)
    survivors = []
    for changed in mutants:
        try:
            take(tmp_path)
            survivors.append((kind, *changed))
        except MismatchError as found:
            print(f"{path}: {' '.join(changed)}: {found}")
    assert survivors == [one for one in HARMLESS if one[0] == kind and one[1:] in mutants]
