"""The host inside a simulator: drives the I/O port of `eie_array`, one clock cycle at a time.

Runs as a cocotb test (`alone`) in the simulator's process; `eie.sim.cosim.launch` is the caller. It never imports
golden: that is for `eie.sim.cosim.lockstep_host`.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, RisingEdge, SimTimeoutError, ValueChange, with_timeout

from eie.config import ArchConfig
from eie.errors import MismatchError
from eie.host import Command, Conversation, Load, converse
from eie.program import Place, Run
from eie.result import Count, Result, complete
from eie.schema import CCU_COUNTERS, IoSpace, pe_counters
from eie.sim.cosim.outcome import (
    BEFORE,
    BEGUN,
    ENDED,
    OUTCOME,
    REQUEST,
    Answer,
    Diverged,
    Request,
    Unfinished,
    check_status,
)

CLOCK_NS = 2


class FreeHost:
    """Drives the RTL alone."""

    def __init__(self, dut: Any, cfg: ArchConfig) -> None:
        self.dut = dut
        self.cfg = cfg
        self.edge = FallingEdge(dut.clk)
        self.cycle_count = 0
        self.job = 0
        self.starts = 0
        # Written only when it changes: each write is a call into the simulator.
        self.inputs = dict.fromkeys(
            ("start", "io_write", "io_read", "io_space", "io_pe", "io_addr", "io_data"), 0
        )

    async def reset(self) -> None:
        """Two cycles of reset with all inputs at 0; ends in the middle of the cycle before the first one."""
        for name in self.inputs:
            getattr(self.dut, name).value = 0
        self.dut.rst.value = 1
        Clock(self.dut.clk, CLOCK_NS, unit="ns").start(start_high=False)
        await self.edge
        await self.edge
        self.dut.rst.value = 0

    def _drive(self, inputs: dict[str, int]) -> bool:
        changed = False
        for name, old in self.inputs.items():
            new = inputs.get(name, 0)
            if new != old:
                getattr(self.dut, name).value = new
                self.inputs[name] = new
                changed = True
        return changed

    async def cycle(self, **inputs: int) -> None:
        """One clock cycle with the given inputs (others 0)."""
        await self.edge
        self._drive(inputs)
        self.cycle_count += 1

    async def follow(self, conversation: Conversation, results: Sequence[Result] = ()) -> None:
        """Do what a conversation asks for; `job` is the number of the input, as long as it adds to `results`."""
        answer: Any = None
        while True:
            try:
                command = conversation.send(answer)
            except StopIteration:
                return
            self.job = len(results)
            answer = await self._do(command)

    async def _do(self, command: Command) -> Any:
        if isinstance(command, Load):
            for space, pe, addr, data in command.writes(self.cfg):
                await self.cycle(io_write=1, io_space=int(space), io_pe=pe, io_addr=addr, io_data=data)
            return None
        if isinstance(command, Run):
            return await self.passes(command)
        return await self.read(command.places(self.cfg))

    async def passes(self, run: Run) -> Count:
        """Start a run and wait until it is done."""
        await self.cycle(start=1)
        self.check(BEFORE, run)
        busy = await self.until_done(run.deadline(self.cfg), run)
        self.check(ENDED, run)
        self.starts += 1
        counts = {name: self.output(name) for name in CCU_COUNTERS}
        counted = np.array(await self.counters(), np.int64).T if self.cfg.counters else None
        per_pe = None if counted is None else complete(counted, self.cfg)
        return Count(**counts, busy_cycles=busy, per_pe=per_pe)

    def check(self, when: str, run: Run) -> None:
        """Hold the status lines against what they have to be."""
        check_status(when, run, self.output, again=self.starts > 0)

    async def until_done(self, limit: int, run: Run | None = None) -> int:
        """Wait for done, at most `limit` cycles; the number of cycles that the array was busy.

        run : its passes have to follow each other meanwhile.
        """
        await self.edge
        self._drive({})
        began = cocotb.utils.get_sim_time("step")
        if run is not None:
            self.check(BEGUN, run)
        try:
            await with_timeout(self._last_edge(run), limit * CLOCK_NS, "ns")
        except SimTimeoutError:
            raise Unfinished(limit) from None
        await self.edge
        ended = cocotb.utils.get_sim_time("step")
        period = cocotb.utils.get_sim_steps(CLOCK_NS, "ns")
        return round((ended - began) / period)

    async def _last_edge(self, run: Run | None) -> None:
        for number in range(run.first + 1, run.last + 1) if run else ():
            await ValueChange(self.dut.current_pass)
            if (found := self.output("current_pass")) != number:
                raise MismatchError(f"current_pass is {found} after pass {number - 1}, not {number}")
        # done is a register; busy is decoded from one and may glitch.
        await RisingEdge(self.dut.done)

    async def read(self, places: Sequence[Place]) -> list[int]:
        """Words through the port: each address is held for two cycles, the word is there in the third."""
        words = []
        for number in range(len(places) + 1):
            address = _address(*places[number]) if number < len(places) else {}
            await self.cycle(io_read=int(bool(address)), **address)
            if number:
                words.append(self.output("io_rdata"))
            if address:
                await self.cycle(io_read=1, **address)
        return words

    async def counters(self) -> list[list[int]]:
        """The counters of each PE, through the port."""
        pes, counters = range(self.cfg.n_pe), pe_counters(self.cfg)
        words = await self.read([(IoSpace.COUNTER, k, counter) for k in pes for counter in counters])
        return [words[i : i + len(counters)] for i in range(0, len(words), len(counters))]

    def finish(self) -> None:
        """The last cycle is over; lockstep raises here what it has found in it."""

    def output(self, name: str) -> int:
        """An output port now (call it in the middle of a cycle).

        Raises
        ------
        MismatchError : it has unknown bits.
        """
        value = getattr(self.dut, name).value
        try:
            return int(value)
        except ValueError:
            raise MismatchError(f"output {name} is {value} in cycle {self.cycle_count}") from None


def _address(space: int, pe: int, addr: int) -> dict[str, int]:
    return {"io_space": int(space), "io_pe": pe, "io_addr": int(addr)}


async def serve(host: FreeHost, request: Request, *, try_port: bool) -> None:
    """Reset, feed the programs of a request, and leave the answer in the run folder. try_port : see `converse`."""
    answer = Answer([], 0)
    conversation = converse(
        request.feeds,
        answer.results,
        engine=request.engine,
        images=request.images,
        read_back=request.read_back,
        try_port=try_port,
    )
    await host.reset()
    try:
        await host.follow(conversation, answer.results)
        host.finish()
    except MismatchError as wrong:
        answer.wrong = f"input {len(answer.results)}: {wrong}"
    except Diverged as stop:
        answer.divergence = stop.divergence
    answer.cycles = host.cycle_count
    Path(OUTCOME).write_bytes(pickle.dumps(answer))


def requested() -> Request:
    """The request in the run folder."""
    request: Request = pickle.loads(Path(REQUEST).read_bytes())
    return request


@cocotb.test()
async def alone(dut: Any) -> None:
    """RTL alone: values, cycles and counters from its ports."""
    request = requested()
    await serve(FreeHost(dut, request.cfg), request, try_port=True)
