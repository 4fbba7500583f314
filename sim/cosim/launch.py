"""One place that starts a simulator and brings back what its test answered."""

from __future__ import annotations

import contextlib
import pickle
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from eie.errors import ConfigError, MismatchError
from eie.program import Job
from eie.result import Result
from eie.sim.cosim.images import ARRAY_PORTS, write_images
from eie.sim.cosim.outcome import result_of


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
    from eie.sim.cosim.build import build
    from eie.sim.cosim.free import script as free

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
    """Run a cocotb test of `eie.sim.cosim.host` on jobs of one configuration, and return what it answered.

    Jobs that share a layer find its weights in the SRAMs (initialised from images); others load through the port.
    progress : called now and then with the number of clock cycles so far (lockstep only).
    """
    from eie.sim.cosim.build import run_test
    from eie.sim.cosim.host import OUTCOME, REQUEST, Request

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
                "eie.sim.cosim.host",
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
    from eie.sim.cosim.host import PROGRESS

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
