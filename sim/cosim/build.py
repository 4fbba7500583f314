"""Compiling Verilog for a simulator, once per content, and running it: under one cocotb test, or alone.

Builds are cached under the user's cache folder (`eie.cache`), in a folder named by a hash of everything that goes into
them, so an old build can never serve new sources. One that was not used for a month is removed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cocotb
import cocotb_tools.config
from cocotb_tools.check_results import get_results
from cocotb_tools.runner import Icarus, Runner, Verilator, get_runner

from eie import compiled
from eie.cache import cache_folder
from eie.errors import OutputError, SimulationError
from eie.sim.cosim import toolchain

SIMULATORS = ("icarus", "verilator")
KEPT_DAYS = 30
# What Icarus makes of a design; cocotb's runner calls it so.
ICARUS_PROGRAM = "sim.vvp"
_WAVES = "waves.fst"
# Most of what a small model costs is the same headers read again for every file of it: up to this size (Verilator's
# own is 20,000) it is one file. A large one is cut, so that all cores compile it.
_ONE_FILE = ("--output-split", "60000")
# Verilator merges functions that are alike, such as those of the PEs, unless a pass before has made them different:
# DFG gives what it shares a name of its own in each PE, and the gate pass puts a neighbour's logic into some. With
# 64 PEs that would be five times as much C++, and slower (see docs/decisions.md). Verilator warns that the order of
# events may suffer without the gate pass: it does not here, as no logic and no assignment is in the path of a clock.
_ALIKE = ("-fno-dfg", "-fno-gate")
# Undefined values cost nothing here, as the simulator is all that runs.
_FREE_VERILATOR = (
    *("-cc", "--exe", "--main", "--timing", "-Wno-fatal", "--x-assign", "fast", "--x-initial", "fast"),
    *(*_ONE_FILE, *_ALIKE),
)
_FREE_FLAGS = ("OPT_FAST=-O1",)
# The model's own code costs more to compile than a short run gives back: Python acts in every cycle as well.
# Verilator's runtime is compiled once for all models, and every value that Python reads goes through it.
# Inputs change in few of the many evaluations that a clock cycle takes.
_CHANGES = "-fico-change-detect"
_CHANGES_SINCE = (5, 52)
_COCOTB_FLAGS = ("OPT_FAST=-O0", "OPT_SLOW=-O0", "OPT_GLOBAL=-O2")
# A long run is faster by more than that (see docs/decisions.md).
_LONG_FLAGS = ("OPT_FAST=-O1", *_COCOTB_FLAGS[1:])

# Toggles of signals of up to 256 bits, Verilator's limit: probes are wider, and repeat what is measured already.
_COVERAGE = ("--coverage-line", "--coverage-toggle")

# What the files of a model are called; cocotb's runner calls them so, too.
_PREFIX = "Vtop"

# Only the top's ports are read from Python. cocotb's runner makes every signal public, which costs most of
# Verilator's speed (see docs/decisions.md), so that flag is taken out and a control file names the ports instead.
_PUBLIC = 'public_flat_{access} -module "{top}" -var "{name}"'


class _PortsOnlyVerilator(Verilator):
    """Writes the C++ of a model, with no more signals in it than asked for; `_make_model` compiles it."""

    def _build_command(self) -> list[list[str]]:
        verilate, _ = super()._build_command()
        return [[part for part in verilate if part != "--public-flat-rw"]]


@dataclass(frozen=True)
class Build:
    """A compiled design: which simulator, top module, where, and whether it can dump waves."""

    simulator: str
    top: str
    folder: Path
    waves: bool


@contextlib.contextmanager
def _tool_environment(tool: toolchain.Tool) -> Iterator[None]:
    """This process's environment as the tool needs it: cocotb's runner passes on nothing else."""
    saved = dict(os.environ)
    os.environ.clear()
    os.environ.update(toolchain.environment(tool))
    # cocotb's runner reads both: WAVES would override our arguments, and under pytest it ends the whole process.
    for name in ("WAVES", "GUI", "PYTEST_CURRENT_TEST"):
        os.environ.pop(name, None)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(saved)


def _runner(simulator: str) -> Runner:
    logging.getLogger(Icarus.__qualname__).setLevel(logging.ERROR)
    runner = _PortsOnlyVerilator() if simulator == "verilator" else get_runner(simulator)
    runner.log.setLevel(logging.ERROR)
    return runner


def _build_args(tool: toolchain.Tool, waves: bool, coverage: bool) -> list[str]:
    if tool.name == "icarus":
        return ["-g2012"]
    args = [
        "--timing",
        "-Wno-fatal",
        *_ONE_FILE,
        *_ALIKE,
        *([_CHANGES] if tool.version >= _CHANGES_SINCE else []),
    ]
    return [*args, *(["--trace-fst"] if waves else []), *(_COVERAGE if coverage else [])]


def build(
    simulator: str,
    sources: Mapping[str, str],
    top: str,
    *,
    public: Sequence[str] = ("*",),
    read_only: Sequence[str] = (),
    waves: bool = False,
    coverage: bool = False,
    long_run: bool = False,
) -> Build:
    """Compile `sources` (file name -> Verilog text) with top module `top`, or return the cached build.

    public : names (with wildcards) of the top's signals that Python reads and writes; read_only : of those that it only
        reads, which costs less. Only Verilator has to know.
    coverage : the simulation writes `coverage.dat` at its end: lines, branches and toggles (Verilator alone).
    long_run : compile Verilator's model for speed; without it, only if that has been done before.

    Raises
    ------
    SimulatorMissing : the simulator is not installed.
    SimulationError : it does not compile; the text names the log.
    """
    tool = toolchain.require(simulator)
    args = _build_args(tool, waves, coverage)
    if simulator == "verilator":
        lines = [_PUBLIC.format(top=top, name=name, access="rw") for name in public]
        lines += [_PUBLIC.format(top=top, name=name, access="rd") for name in read_only]
        sources = {**sources, "public.vlt": "\n".join(["`verilator_config", *lines, ""])}
    built = Build(simulator, top, Path(), waves)
    recipe = [cocotb.__version__, *args]
    long_run |= _folder(tool, [*recipe, *_LONG_FLAGS], built, sources).is_dir()
    flags = _LONG_FLAGS if long_run and simulator == "verilator" else _COCOTB_FLAGS
    return _cached(
        tool,
        [*recipe, *flags],
        built,
        sources,
        lambda built, work, files, log: _compile_for_cocotb(built, files, args, flags, tool, work, log),
    )


def build_alone(simulator: str, sources: Mapping[str, str], top: str, *, activity: bool = False) -> Build:
    """Compile `sources` for a run without cocotb: a module `top` without ports that ends by itself, see `run_alone`.

    activity : what the design dumps is switching activity (SAIF) in Verilator; Icarus dumps VCD in any case.

    Raises
    ------
    SimulatorMissing, SimulationError : as for `build`.
    """
    tool = toolchain.require(simulator)
    if simulator == "icarus":
        command = [str(tool.path), "-g2012", "-s", top, "-o", ICARUS_PROGRAM]
    else:
        saif = ["--trace-saif", "--no-trace-params", "--trace-max-array", "1"] if activity else []
        command = [str(tool.path), *_FREE_VERILATOR, *saif, "--top-module", top, "-o", top, "--Mdir", "."]
        command += ["--prefix", _PREFIX]

    def compile_alone(built: Build, work: Path, files: list[Path], log: Path) -> None:
        _say([*command, *(file.name for file in files)], tool, work, log)
        if simulator == "verilator":
            _make_model(tool, work, log, *_FREE_FLAGS)

    return _cached(tool, command[1:], Build(simulator, top, Path(), activity), sources, compile_alone)


def compile_runtime() -> None:
    """Compile Verilator's runtime as lockstep and free runs without waveforms need it, unless it is kept.

    Raises
    ------
    SimulatorMissing, SimulationError : as for `build`.
    """
    build("verilator", {"lockstep.v": "module lockstep(input clk); endmodule\n"}, "lockstep")
    build_alone("verilator", {"free.v": "module free; initial #1 $finish; endmodule\n"}, "free")


def run_alone(built: Build, run_folder: Path, *plusargs: str) -> None:
    """Run a build of `build_alone` in `run_folder` until it ends by itself.

    Raises
    ------
    SimulationError : the simulator failed.
    """
    tool = toolchain.require(built.simulator)
    program = built.folder / (ICARUS_PROGRAM if built.simulator == "icarus" else built.top)
    interpreter = [str(tool.path.with_name("vvp")), "-n"] if built.simulator == "icarus" else []
    log = run_folder / "sim.log"
    try:
        _say([*interpreter, str(program), *plusargs], tool, run_folder, log)
    except RuntimeError:
        raise SimulationError(f"{built.simulator} ended abnormally: {_last_words(log)}") from None


def _cached(
    tool: toolchain.Tool,
    recipe: list[str],
    built: Build,
    sources: Mapping[str, str],
    compile_: Callable[[Build, Path, list[Path], Path], None],
) -> Build:
    """The build in its folder, compiled there by `compile_(build, folder, files, log)` unless it is there already."""
    folder = _folder(tool, recipe, built, sources)
    built = replace(built, folder=folder)
    if folder.is_dir():
        os.utime(folder)  # used again: see _forget_old_builds
        return built
    try:
        folder.parent.mkdir(exist_ok=True)
        _forget_old_builds(folder.parent)
        with tempfile.TemporaryDirectory(prefix=".tmp-", dir=_plain(folder.parent)) as temporary:
            work, log = Path(temporary) / "build", Path(temporary) / "build.log"
            work.mkdir()
            files = [work / name for name in sources]
            for file, text in zip(files, sources.values(), strict=True):
                file.write_text(text)
            try:
                compile_(built, work, files, log)
            except RuntimeError:
                kept = folder.parent / f"{folder.name}.log"
                shutil.copy(log, kept)
                raise SimulationError(f"{built.simulator} cannot compile {built.top}: see {kept}") from None
            _keep_only(work, {ICARUS_PROGRAM, "cmds.f", built.top})
            _publish(work, folder)
    except OSError as error:
        raise OutputError(
            f"the build cache {folder.parent} cannot be written ({error.strerror}): set EIE_CACHE to a folder that can"
        ) from None
    return built


def _folder(tool: toolchain.Tool, recipe: list[str], built: Build, sources: Mapping[str, str]) -> Path:
    """Where a build lies, or would."""
    whole = [built.simulator, tool.version_text, built.top, built.waves, recipe, sorted(sources.items())]
    key = hashlib.sha256(json.dumps(whole).encode()).hexdigest()[:32]
    return cache_folder() / "builds" / f"{built.simulator}-{built.top}-{key}"


def _plain(folder: Path) -> Path:
    """`folder`, or one of the temporary ones: makefiles take no space, and Icarus no letter beyond ASCII."""
    places = [folder, Path(tempfile.gettempdir()), Path("/tmp"), Path("/var/tmp")]
    for place in places:
        if re.fullmatch(r"[\w./+@=-]+", str(place), re.ASCII) and os.access(place, os.W_OK):
            return place
    raise OutputError(f"{folder}: simulators need a path of plain letters: set EIE_CACHE or TMPDIR to one")


def _publish(work: Path, folder: Path) -> None:
    """Let `folder` appear whole, with the contents of `work`, which may be on another disk."""
    with tempfile.TemporaryDirectory(prefix=".tmp-", dir=folder.parent) as staging:
        moved = Path(shutil.move(work, Path(staging) / "build"))
        # Somebody else may have finished the same build: theirs is as good.
        with contextlib.suppress(OSError):
            moved.rename(folder)


def _forget_old_builds(folder: Path) -> None:
    """Remove builds and logs that nothing has used for KEPT_DAYS."""
    oldest = time.time() - KEPT_DAYS * 86400
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):  # somebody else removes it, too
            if path.stat().st_mtime < oldest:
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def _compile_for_cocotb(
    built: Build,
    files: list[Path],
    args: list[str],
    flags: Sequence[str],
    tool: toolchain.Tool,
    work: Path,
    log: Path,
) -> None:
    with _tool_environment(tool):
        _runner(built.simulator).build(
            sources=files,
            hdl_toplevel=built.top,
            build_dir=work,
            build_args=args,
            timescale=("1ns", "1ps"),
            waves=built.waves,
            log_file=log,
            always=True,
        )
    if built.simulator == "verilator":
        _make_model(tool, work, log, f"VM_TRACE={int(built.waves)}", *flags)


def _say(command: list[str], tool: toolchain.Tool, folder: Path, log: Path) -> None:
    """Run a command in `folder`; what it says is added to the log.

    Raises
    ------
    RuntimeError : it failed.
    """
    # A group of their own: what a tool starts ends with it when we are interrupted.
    with (
        log.open("a") as said,
        subprocess.Popen(
            command,
            cwd=folder,
            env=toolchain.environment(tool),
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            process_group=0,
        ) as running,
    ):
        try:
            status = running.wait()
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(running.pid, signal.SIGKILL)
            raise
    if status:
        raise RuntimeError


def _make_model(tool: toolchain.Tool, work: Path, log: Path, *variables: str) -> None:
    """Compile and link what Verilator wrote; its own runtime is compiled once for all models.

    The runtime takes longer than a small model. Its objects are kept by the commands that make them, so that other
    options, another Verilator or another place of it never meet an old object.
    """
    if shutil.which("make") is None:
        raise SimulationError(f"make is not installed: {toolchain.apt_line(['make'])}")
    make = ["make", "-f", f"{_PREFIX}.mk", *variables]
    kept = cache_folder() / "runtime" / _runtime_key(make, tool, work)
    objects = [
        shutil.copy(path, work) for path in kept.glob("*.o")
    ]  # newer than the makefile: make is content
    _say([*make, "-j", str(os.cpu_count() or 1)], tool, work, log)
    if not objects:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".tmp-", dir=kept.parent) as temporary:
            new = Path(temporary) / "new"
            new.mkdir()
            for path in work.glob("verilated*.o"):
                shutil.copy(path, new)
            with contextlib.suppress(OSError):  # somebody else was faster
                new.rename(kept)


def _runtime_key(make: list[str], tool: toolchain.Tool, work: Path) -> str:
    """A hash of the commands that compile Verilator's runtime."""
    asked = subprocess.run(
        [*make, "--dry-run", "--always-make"],
        cwd=work,
        env=toolchain.environment(tool),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    compiles = sorted(line for line in asked.stdout.splitlines() if " -o verilated" in line)
    return hashlib.sha256("\n".join([tool.version_text, *compiles]).encode()).hexdigest()[:32]


def _keep_only(folder: Path, names: set[str]) -> None:
    for path in folder.iterdir():
        if path.name not in names:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _cocotb_libraries() -> dict[str, str]:
    """Where a model finds cocotb: it remembers those of the installation that built it, which may be gone by now."""
    found = [str(cocotb_tools.config.libs_dir), os.environ.get("LD_LIBRARY_PATH", "")]
    return {"LD_LIBRARY_PATH": os.pathsep.join(filter(None, found))}


def _python_environment() -> dict[str, str]:
    """What the Python inside of a simulator needs."""
    return {"COCOTB_LOG_LEVEL": "INFO", **_cocotb_libraries(), **compiled.environment()}


def run_test(
    built: Build,
    module: str,
    test: str,
    run_folder: Path,
    *,
    env: Mapping[str, str] | None = None,
    plusargs: list[str] | None = None,
    seed: int = 0,
    waves: Path | None = None,
    expected_tests: int = 1,
) -> None:
    """Run the cocotb test `test` of Python module `module` on a build, in `run_folder`.

    Raises
    ------
    SimulationError : the simulator failed, a test failed, or other than `expected_tests` tests were executed.
    """
    tool = toolchain.require(built.simulator)
    log = run_folder / "sim.log"
    results = run_folder / "results.xml"
    arguments: dict[str, Any] = {}
    if waves is not None:
        arguments["waves"] = True
    plus = list(plusargs or [])
    # By a plain name in the run's folder: Icarus writes to no path with letters beyond ASCII.
    if waves is not None and built.simulator == "icarus":
        plus.append(f"+dumpfile_path={_WAVES}")
    elif waves is not None:
        arguments["test_args"] = ["--trace-file", _WAVES]
    # `make coverage` measures the Python inside of a simulator, too; of the rest of our environment it needs nothing.
    measured = {name: value for name, value in os.environ.items() if name.startswith("EIE_COVERAGE")}
    python = _python_environment()  # before the environment is the tool's
    try:
        with _tool_environment(tool):
            _runner(built.simulator).test(
                test_module=module,
                hdl_toplevel=built.top,
                hdl_toplevel_lang="verilog",
                build_dir=built.folder,
                test_dir=run_folder,
                results_xml=str(results),
                test_filter=rf"\.{test}$",
                seed=seed,
                extra_env={**python, **measured, **(env or {})},
                plusargs=plus,
                log_file=log,
                timescale=("1ns", "1ps"),
                **arguments,
            )
    except RuntimeError:
        raise SimulationError(f"{built.simulator} ended abnormally: {_last_words(log)}") from None
    finally:
        if waves is not None and (run_folder / _WAVES).is_file():
            _deliver(run_folder / _WAVES, waves)
    if waves is not None and not waves.is_file():
        raise SimulationError(f"{built.simulator} wrote no waveform: {_last_words(log)}")
    try:
        executed, failed = get_results(results)
    except RuntimeError:
        raise SimulationError(f"{built.simulator} left no results: {_last_words(log)}") from None
    if failed:
        raise SimulationError(
            f"{failed} of {executed} cocotb tests failed in {built.simulator}: {_last_words(log)}"
        )
    if executed != expected_tests:
        raise SimulationError(
            f"{executed} cocotb tests were executed in {built.simulator}, not {expected_tests}"
        )


def _deliver(made: Path, wanted: Path) -> None:
    try:
        shutil.move(made, wanted)
    except OSError as error:
        raise OutputError(f"cannot write {wanted}: {error.strerror}") from None


def _last_words(log: Path, lines: int = 12) -> str:
    if not log.is_file():
        return "no log"
    words = [line.rstrip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return " | ".join(words[-lines:])
