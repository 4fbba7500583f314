"""One place that starts a simulator and brings back what its test answered; layers and programs on the RTL."""

from __future__ import annotations

import contextlib
import pickle
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt

from eie.errors import MismatchError
from eie.host import Feed, config_of, feeds_of, has_images
from eie.program import Job, Program
from eie.result import Result
from eie.sim.cosim.build import Build, build, run_test
from eie.sim.cosim.free import run as free
from eie.sim.cosim.images import ARRAY_PORTS, Transform, array_sources, run_folder
from eie.sim.cosim.outcome import OUTCOME, PROGRESS, REQUEST, Answer, Request

# A simulator writes inputs where cocotb says, and drives the clock in C. cocotb's runner asks Verilator for it, and not
# Icarus: it is safe where inputs change between two rising edges, as those of our hosts do.
_INERTIAL = {"COCOTB_TRUST_INERTIAL_WRITES": "1"}


def run_rtl(
    jobs: Sequence[Job],
    simulator: str,
    *,
    read_back: bool = False,
    waveform: Path | None = None,
    transform: Transform | None = None,
) -> list[Result]:
    """Run layers on the RTL without golden and without probes: free-running, but for what only cocotb does.

    Jobs that share a layer find its weights in the SRAMs (initialised from images); others load through the port.

    read_back : after the last job, read back the memories, and check those that computing must not change.
    transform : changes the Verilog before it is built (to test that faults are found).

    Raises
    ------
    ConfigError : jobs of several configurations. SimulatorMissing, SimulationError
    MismatchError : the RTL did not end a layer in time, its status lines or counts cannot be, or a memory does not
        hold what was loaded.
    """
    return _run(feeds_of(jobs), simulator, read_back=read_back, waveform=waveform, transform=transform)


def run_program(
    program: Program,
    inputs: Sequence[npt.ArrayLike],
    simulator: str,
    *,
    port: bool = False,
    waveform: Path | None = None,
    transform: Transform | None = None,
) -> list[Result]:
    """Run a program on input vectors (integers, [inputs]) on the RTL, like `run_rtl`.

    port : load the SRAMs through the I/O port as well, instead of from images.

    Raises
    ------
    LayerError : an input that does not fit. MismatchError, SimulatorMissing, SimulationError
    """
    return _run([Feed(program, inputs)], simulator, port=port, waveform=waveform, transform=transform)


def _run(
    feeds: Sequence[Feed],
    simulator: str,
    *,
    transform: Transform | None,
    waveform: Path | None,
    port: bool = False,
    read_back: bool = False,
) -> list[Result]:
    if waveform is None and not read_back and all(feed.program.known_beforehand for feed in feeds):
        return free.run_feeds(feeds, simulator, port=port, transform=transform).results
    sources = array_sources(config_of(feeds), transform)
    built = build(simulator, sources, "eie_array", public=ARRAY_PORTS, waves=waveform is not None)
    answer = in_simulator(built, "host", "alone", feeds, port=port, read_back=read_back, waveform=waveform)
    if answer.wrong:
        raise MismatchError(f"{simulator}: {answer.wrong}")
    return answer.results


def in_simulator(
    built: Build,
    module: str,
    test: str,
    feeds: Sequence[Feed],
    *,
    port: bool = False,
    read_back: bool = False,
    seed: int = 0,
    waveform: Path | None = None,
    progress: Callable[[int], None] | None = None,
) -> Answer:
    """Run programs of one configuration in a cocotb test of `eie.sim.cosim.<module>`.

    progress : called now and then with the number of clock cycles so far (lockstep only).

    Raises
    ------
    LayerError : an input that does not fit. SimulatorMissing, SimulationError
    """
    for program, inputs in feeds:
        for x in inputs:
            program.host_vectors(x)  # refused here, where a caller sees why
    images = has_images(feeds) and not port
    request = Request(feeds, built.simulator, images, read_back)
    found: Answer = ask(
        built,
        f"eie.sim.cosim.{module}",
        test,
        request,
        env=_INERTIAL,
        images=feeds[0].program if images else None,
        seed=seed,
        waveform=waveform,
        progress=progress,
    )
    return found


def ask(
    built: Build,
    module: str,
    test: str,
    request: object,
    *,
    env: Mapping[str, str] | None = None,
    images: Program | None = None,
    seed: int = 0,
    waveform: Path | None = None,
    progress: Callable[[int], None] | None = None,
) -> Any:
    """Hand a request to a cocotb test in a simulator's process; what it answers.

    env : variables for the simulator's process. images : the program that fills the SRAMs before the first cycle.
    """
    with run_folder(images) as (folder, plusargs), _watched(folder, progress):
        (folder / REQUEST).write_bytes(pickle.dumps(request))
        waves = waveform and waveform.absolute()
        run_test(built, module, test, folder, env=env, plusargs=plusargs, seed=seed, waves=waves)
        return pickle.loads((folder / OUTCOME).read_bytes())


@contextlib.contextmanager
def _watched(folder: Path, progress: Callable[[int], None] | None) -> Iterator[None]:
    """Call `progress` with the cycles that the simulator reports in `folder`, from a thread, until the run ends."""
    if progress is None:
        yield
        return
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
