"""Runs the cocotb benches of a folder (tests/cocotb/), each on every configuration that it names."""

from __future__ import annotations

import ast
import functools
import importlib
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import click
from rich.console import Console
from rich.table import Table

from eie.config import ArchConfig
from eie.errors import ConfigError, EieError, SimulationError
from eie.schema import BLOCK_NAMES
from eie.sim.cosim.benches.block import Setup
from eie.sim.cosim.build import SIMULATORS, build, run_test
from eie.sim.cosim.host import CLOCK_NS
from eie.sim.cosim.images import Transform


@dataclass(frozen=True)
class BenchResult:
    """The tests of one bench on one configuration of its block, run in one simulator process.

    tests : names, as read from the bench's text. passed : how many of them did. failures : messages of the others by
    name; under "" what went wrong with the run as a whole. cycles : clock cycles simulated, resets included.
    """

    block: str
    config: str
    tests: tuple[str, ...]
    passed: int
    failures: dict[str, str]
    cycles: int
    folder: Path
    replay: str

    @property
    def ok(self) -> bool:
        """Whether each test was executed and passed."""
        return self.passed == len(self.tests) and not self.failures


@dataclass(frozen=True)
class Benches:
    """A folder with one bench test_<block>.py per block, and how to run it.

    n_pe : PEs of the machine that each block is taken from; seed : of every random choice; folder : the benches;
    output : logs, results and waveforms go there; waves : leave an FST per configuration; transform : changes the
    Verilog before it is built (to test that faults are found).
    """

    simulator: str
    n_pe: int
    seed: int
    folder: Path
    output: Path
    waves: bool = False
    transform: Transform | None = None

    def run(
        self,
        blocks: tuple[str, ...] = BLOCK_NAMES,
        test: str | None = None,
        *,
        first_config_only: bool = False,
    ) -> Iterator[BenchResult]:
        """Run the tests of `blocks`, or those called `test`, on each configuration of their bench, or on the first.

        Raises
        ------
        ConfigError : no such test. SimulatorMissing, SimulationError : the simulator is absent, or does not build.
        """
        known = {block: self.tests(block) for block in blocks}
        chosen = {block: [n for n in names if test in (None, n)] for block, names in known.items()}
        if not any(chosen.values()):
            raise ConfigError(
                f"no test {test!r} in the bench of {', '.join(blocks)}: use one of "
                + ", ".join(name for names in known.values() for name in names)
            )
        for block, tests in chosen.items():
            if tests:
                configs = list(self.configs(block).items())
                for label, cfg in configs[:1] if first_config_only else configs:
                    yield self._run_config(block, label, cfg, tuple(tests))

    def tests(self, block: str) -> list[str]:
        """Names of the cocotb tests in the bench of `block`, read from its text.

        Raises
        ------
        ConfigError : there is no such bench.
        """
        path = self.folder / f"test_{block}.py"
        if not path.is_file():
            raise ConfigError(
                f"no bench {path}: the benches are test_<block>.py, blocks {', '.join(BLOCK_NAMES)}"
            )
        return [
            node.name
            for node in ast.parse(path.read_text()).body
            if isinstance(node, ast.AsyncFunctionDef)
            and any(ast.unparse(decorator).startswith("cocotb.test") for decorator in node.decorator_list)
        ]

    def configs(self, block: str) -> dict[str, ArchConfig]:
        """The configurations that the bench of `block` asks for (its CONFIGS), with `n_pe` PEs."""
        folder = str(self.folder.resolve())
        if folder not in sys.path:
            # Also how the simulator's process finds the benches: it gets this process's path.
            sys.path.insert(0, folder)
        configs: dict[str, ArchConfig] = importlib.import_module(f"test_{block}").CONFIGS
        return {label: cfg.replace(n_pe=self.n_pe) for label, cfg in configs.items()}

    def _run_config(self, block: str, label: str, cfg: ArchConfig, tests: tuple[str, ...]) -> BenchResult:
        sources: Mapping[str, str] = _verilog(block, cfg)
        if self.transform is not None:
            sources = self.transform(sources)
        built = build(self.simulator, sources, f"eie_{block}", waves=self.waves)
        folder = (self.output / self.simulator / f"{block}-{label}").resolve()
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        replay = f"make -C tests/cocotb SIM={self.simulator} N={self.n_pe} SEED={self.seed} BLOCK={block}"
        if len(tests) < len(self.tests(block)):
            replay += f" TEST={tests[0]}"
        failures = {}
        try:
            run_test(
                built,
                f"test_{block}",
                f"({'|'.join(tests)})",
                folder,
                env=Setup(block, cfg, replay).to_environment(),
                seed=self.seed,
                waves=self._waveform(block, label) if self.waves else None,
                expected_tests=len(tests),
            )
        except SimulationError as error:
            failures[""] = str(error)
        passed, cycles, messages = _read_results(folder / "results.xml")
        return BenchResult(block, label, tests, passed, messages or failures, cycles, folder, replay)

    def _waveform(self, block: str, label: str) -> Path:
        """<block>.fst for the bench's first configuration, <block>-<label>.fst for the others."""
        first = next(iter(self.configs(block)))
        return self.output.resolve() / (f"{block}.fst" if label == first else f"{block}-{label}.fst")


@functools.cache
def _verilog(block: str, cfg: ArchConfig) -> dict[str, str]:
    from eie.rtl.verilog import array_verilog, block_verilog

    if block == "array":
        return array_verilog(cfg, probe=True, images=False)
    return block_verilog(block, cfg, probe=True)


def _read_results(path: Path) -> tuple[int, int, dict[str, str]]:
    """Tests passed, clock cycles simulated, and the others' messages, from a JUnit file (if it is there)."""
    passed, nanoseconds, messages = 0, 0.0, {}
    cases = ElementTree.parse(path).getroot().iter("testcase") if path.is_file() else []
    for case in cases:
        wrong = [case.find(tag) for tag in ("failure", "error", "skipped")]
        texts = [element.get("message") or element.tag for element in wrong if element is not None]
        if texts:
            messages[case.get("name", "?")] = texts[0]
        else:
            passed += 1
        nanoseconds += sum(
            float(p.get("value", 0)) for p in case.iter("property") if p.get("name") == "sim_time_duration"
        )
    return passed, round(nanoseconds / CLOCK_NS), messages


def _table(results: list[BenchResult]) -> Table:
    table = Table("block", "configuration", "tests", "passed", "cycles")
    for column in table.columns[2:]:
        column.justify = "right"
    for result in results:
        numbers = (str(len(result.tests)), str(result.passed), f"{result.cycles:,}")
        table.add_row(result.block, result.config, *numbers, style=None if result.ok else "red")
    return table


@click.command()
@click.option("--sim", "simulator", type=click.Choice(SIMULATORS), default="icarus", show_default=True)
@click.option("--pe", "n_pe", type=int, default=4, show_default=True, help="PEs of the machine.")
@click.option("--seed", type=int, default=1, show_default=True, help="Seed of every random choice.")
@click.option("--waves", is_flag=True, help="Leave an FST per configuration in the output folder.")
@click.option("--block", type=click.Choice(BLOCK_NAMES), help="Only this block's bench.")
@click.option("--test", help="Only the test of this name.")
@click.option("--folder", type=click.Path(path_type=Path), default=Path(), help="Folder of the benches.")
@click.option("--output", type=click.Path(path_type=Path), default=Path("sim_build"), show_default=True)
def main(
    simulator: str,
    n_pe: int,
    seed: int,
    waves: bool,
    block: str | None,
    test: str | None,
    folder: Path,
    output: Path,
) -> None:
    """Run the cocotb benches in a folder; status 0 if all passed, 1 if a test failed, 2 for bad input."""
    console = Console(highlight=False, soft_wrap=True)
    benches = Benches(simulator, n_pe, seed, folder, output, waves)
    results = []
    try:
        for result in benches.run((block,) if block else BLOCK_NAMES, test or None):
            results.append(result)
            for name, message in result.failures.items():
                where = " ".join(filter(None, (result.block, result.config, name)))
                console.print(f"FAILED {where}: {message}", style="red", markup=False)
            if not result.ok:
                console.print(f"  log: {result.folder / 'sim.log'}\n  replay: {result.replay}", markup=False)
    except EieError as error:
        click.echo(f"error: {error}", err=True)
        raise SystemExit(2) from None
    console.print(_table(results))
    tests, passed = sum(len(r.tests) for r in results), sum(r.passed for r in results)
    console.print(f"{simulator}, {n_pe} PEs, seed {seed}: {passed} of {tests} tests passed")
    if waves:
        console.print(f"waveforms: {output}/*.fst")
    raise SystemExit(0 if all(result.ok for result in results) else 1)


# What tests/cocotb/Makefile calls the options.
_VARIABLES = {"simulator": "SIM", "n_pe": "N", "seed": "SEED", "block": "BLOCK"}


def _from_make() -> None:
    """`main` for make, whose user never saw the options: one line for bad input, in the names of its variables."""
    try:
        main(standalone_mode=False)
    except click.BadParameter as error:
        name = str(error.param.name) if error.param else ""
        click.echo(f"error: {_VARIABLES.get(name, name)}: {error.message}", err=True)
        raise SystemExit(2) from None
    except click.ClickException as error:
        click.echo(f"error: {error.format_message()}", err=True)
        raise SystemExit(2) from None
    except click.Abort:
        raise SystemExit(130) from None


if __name__ == "__main__":
    _from_make()
