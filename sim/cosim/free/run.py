"""Layers, programs and plans on the free-running RTL: every input's words, runs and results in one script.

The host's conversation (`eie.host`) is held twice: before the run it writes the script, and afterwards the samples
answer. What the host brings from one run to another has to be known beforehand.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from eie.config import ArchConfig
from eie.errors import ConfigError, MismatchError
from eie.fixed import IntArray
from eie.host import Command, Feed, Known, Load, config_of, converse, drive, has_images
from eie.plan import Plan
from eie.program import Place, Run
from eie.result import Count, Result, complete
from eie.schema import CCU_COUNTERS, IoSpace, pe_counters
from eie.sim.cosim.free.script import Sample, Script, array_ports, run
from eie.sim.cosim.images import Transform, array_sources, run_folder
from eie.sim.cosim.outcome import BEFORE, BEGUN, ENDED, LAST, Unfinished, check_status
from eie.sim.engines.fast_plan import FastPlan, checked_inputs


@dataclass(frozen=True)
class FreeRun:
    """A result for each input, clock cycles of everything, and the simulator's seconds as in `script.Run`."""

    results: list[Result]
    cycles: int
    seconds: float
    processor_seconds: float


def run_feeds(
    feeds: Sequence[Feed],
    simulator: str,
    *,
    port: bool = False,
    given: Sequence[Sequence[IntArray]] | None = None,
    transform: Transform | None = None,
) -> FreeRun:
    """Run programs of one configuration one after the other; a single one finds in the SRAMs what is loaded once.

    Parameters
    ----------
    port : load the SRAMs through the I/O port as well, instead of from images.
    given : for each input what the program's vectors will hold, where the host needs it in between
        (`Program.known_beforehand` says that it does not).
    transform : changes the Verilog before it is built (to test that faults are found).

    Raises
    ------
    ConfigError : programs of several configurations, or with early exits. LayerError : an input that does not fit.
    SimulatorMissing, SimulationError
    MismatchError : the RTL did not end a run in time, its status lines or counts cannot be, an output has unknown bits,
        or the host got other activations than those given.
    """
    if any(feed.program.has_exits for feed in feeds):
        raise ConfigError(
            "which runs of a program with early exits start depends on what the ones before gave: no script can be "
            "written beforehand (eie.sim.cosim.launch.run_program decides run by run)"
        )
    cfg = config_of(feeds)
    images = has_images(feeds) and not port
    options: dict[str, Any] = {"engine": simulator, "images": images, "try_port": True}
    recording = Recording(cfg, given)
    drive(converse(feeds, recording.results, **options), recording.write)
    with run_folder(feeds[0].program if images else None) as (folder, plusargs):
        done = run(simulator, array_sources(cfg, transform), recording.script, folder, plusargs=plusargs)
    results: list[Result] = []
    try:
        drive(converse(feeds, results, **options), recording.answers(done.samples))
    except MismatchError as wrong:
        raise MismatchError(f"{simulator}: input {len(results)}: {wrong}") from None
    return FreeRun(results, done.cycles, done.seconds, done.processor_seconds)


def run_free(plan: Plan, inputs: npt.ArrayLike, simulator: str) -> FreeRun:
    """Run a plan on input vectors, int[batch, cols of the first layer], on the RTL by itself.

    What the host brings from one run to another is known beforehand, from the fast engine, and compared at the end.

    Raises
    ------
    LayerError : inputs that do not fit. SimulatorMissing, SimulationError, MismatchError
    """
    fast = FastPlan(plan)
    vectors = checked_inputs(plan, inputs)
    given = [fast.follow(x)[0] for x in vectors]
    return run_feeds([Feed(fast.program, vectors)], simulator, given=given)


@dataclass(frozen=True)
class _RunLooks:
    """Which samples show a run: the status lines at each moment, and the words of its counters."""

    status: dict[str, int]
    counters: list[int]


class Recording:
    """A conversation as a script, and its answers from the samples.

    results : filled by the conversation that writes the script, with nothing that was measured.
    """

    def __init__(self, cfg: ArchConfig, given: Sequence[Sequence[IntArray]] | None = None) -> None:
        self.cfg = cfg
        self.given = given
        self.script = Script(array_ports(cfg))
        self.results: list[Result] = []
        # For each command the words that it loads, or the samples that answer it.
        self._looks: list[Load | _RunLooks | list[int]] = []

    def write(self, command: Command) -> Any:
        """Put a command into the script; an answer with which the conversation goes on."""
        if isinstance(command, Load):
            self._looks.append(command)
            self.load(command)
            return None
        if isinstance(command, Run):
            self._looks.append(self._start(command))
            return None
        self._looks.append([self._read(place) for place in command.places(self.cfg)])
        if isinstance(command, Known):
            return [word or 0 for word in command.words.values()]
        if self.given is None:
            return [0] * command.count
        vector = self.given[len(self.results)][command.vector]
        return vector[command.start : command.start + command.count].tolist()

    def load(self, command: Load) -> None:
        """The steps that write words."""
        for space, pe, addr, data in command.writes(self.cfg):
            self.script.step(io_write=1, io_space=int(space), io_pe=pe, io_addr=int(addr), io_data=data)

    def _start(self, run: Run) -> _RunLooks:
        script, status = self.script, {}
        status[BEFORE] = script.sample()
        script.step(start=1)
        status[BEGUN] = script.sample()
        script.until(run.deadline(self.cfg))
        status[LAST], status[ENDED] = script.sample(before=True), script.sample()
        pes = range(self.cfg.n_pe if self.cfg.counters else 0)
        return _RunLooks(
            status, [self._read((IoSpace.COUNTER, k, c)) for c in pe_counters(self.cfg) for k in pes]
        )

    def _read(self, place: Place) -> int:
        space, pe, addr = place
        self.script.step(2, io_read=1, io_space=int(space), io_pe=pe, io_addr=int(addr))
        return self.script.sample()

    def answers(self, samples: Sequence[Sample]) -> Callable[[Command], Any]:
        """What answers the same commands in the same order, once they have run."""
        looks, cfg, starts = iter(self._looks), self.cfg, itertools.count()

        def words(numbers: Sequence[int]) -> list[int]:
            return [samples[number]["io_rdata"] for number in numbers]

        def answer(command: Command) -> Any:
            look = next(looks)
            if isinstance(look, Load):
                if look != command:
                    raise MismatchError("the host read other activations than it wrote")
                return None
            if isinstance(look, list):
                return words(look)
            assert isinstance(command, Run)
            if look.status[ENDED] >= len(samples):
                raise Unfinished(command.deadline(cfg))
            again = next(starts) > 0
            for moment, number in look.status.items():
                check_status(moment, command, samples[number].__getitem__, again=again)
            begun, ended = samples[look.status[BEGUN]], samples[look.status[ENDED]]
            counts = {name: ended[name] for name in CCU_COUNTERS}
            counters = pe_counters(cfg)
            per_pe = np.array(words(look.counters), np.int64).reshape(len(counters), -1)
            return Count(
                **counts,
                busy_cycles=ended.cycle - begun.cycle,
                per_pe=complete(per_pe, cfg) if cfg.counters else None,
            )

        return answer
