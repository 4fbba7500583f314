"""The host program inside a simulator: drives the I/O port of `eie_array`, one clock cycle at a time.

Runs as a cocotb test (`free_run`, `lockstep`) in the simulator's process. What to run comes in as a pickle in the run
folder, and what came out goes back the same way; `eie.sim.simulate` and `eie.sim.cosim.lockstep` are the callers.
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, ReadOnly, RisingEdge, SimTimeoutError, with_timeout

from eie.config import ArchConfig
from eie.program import Job
from eie.schema import CCU_COUNTERS, IoSpace, PeCounter, ProbeField, ccu_probe, pe_probe, unpack_probe
from eie.sim.cosim.outcome import Divergence, Outcome
from eie.timing import schedule

if TYPE_CHECKING:
    from eie.golden.array import Array

REQUEST = "request.pickle"
OUTCOME = "outcome.pickle"
# Clock cycles so far, for whoever watches: written every so many of them.
PROGRESS = "progress"
PROGRESS_EVERY = 256
CLOCK_NS = 2
# Cycles of both sides kept before a mismatch, and recorded after it, for the waveform around it.
HISTORY_BEFORE = 32
HISTORY_AFTER = 8


@dataclass
class Request:
    """What a simulator process is to do.

    jobs run one after the other on the same machine. With `images`, the SRAMs were initialised from files and hold the
    one layer that all jobs share; without, each job loads its weights through the port. read_back : after the last job,
    read every memory behind the port, too.
    """

    jobs: list[Job]
    images: bool
    read_back: bool = False


class Unfinished(Exception):
    """The RTL did not end a layer in time."""


class WrongMemory(Exception):
    """A memory does not hold what was loaded."""


class Diverged(Exception):
    """Raised inside the lockstep test; carries the divergence."""

    def __init__(self, divergence: Divergence) -> None:
        super().__init__(divergence.signal)
        self.divergence = divergence


class FreeHost:
    """Drives the RTL alone."""

    def __init__(self, dut: Any, cfg: ArchConfig) -> None:
        self.dut = dut
        self.cfg = cfg
        self.edge = FallingEdge(dut.clk)
        self.cycle_count = 0
        self.job = 0
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

    async def until_done(self, limit: int) -> int:
        """Wait for done, at most `limit` cycles; the number of cycles that the array was busy."""
        await self.edge
        self._drive({})
        began = cocotb.utils.get_sim_time("step")
        if not int(self.dut.busy.value):
            raise RuntimeError("the array is not busy in the cycle after start")
        # done is a register; busy is decoded from one and may glitch.
        try:
            await with_timeout(RisingEdge(self.dut.done), limit * CLOCK_NS, "ns")
        except SimTimeoutError:
            raise Unfinished(f"the RTL was not done {limit} cycles after start") from None
        await self.edge
        ended = cocotb.utils.get_sim_time("step")
        period = cocotb.utils.get_sim_steps(CLOCK_NS, "ns")
        return round((ended - began) / period)

    async def counters(self) -> list[list[int]]:
        """The counters of each PE in the order of `PeCounter`, read through the port."""
        words = await read_words(
            self, [(IoSpace.COUNTER, k, c) for k in range(self.cfg.n_pe) for c in PeCounter]
        )
        return [words[i : i + len(PeCounter)] for i in range(0, len(words), len(PeCounter))]

    def output(self, name: str) -> int:
        """An output port now (call it in the middle of a cycle)."""
        return int(getattr(self.dut, name).value)


class LockstepHost(FreeHost):
    """Drives the RTL and the golden array together and compares every probe in every cycle."""

    def __init__(self, dut: Any, cfg: ArchConfig, golden: Array) -> None:
        super().__init__(dut, cfg)
        self.golden = golden
        self.golden_inputs = [(name, getattr(golden, name)) for name in self.inputs]
        self.probes: list[tuple[ProbeField, ...]] = [pe_probe(cfg)] * cfg.n_pe + [ccu_probe(cfg)]
        self.handles = [getattr(dut, f"probe_pe{k}") for k in range(cfg.n_pe)] + [dut.probe_ccu]
        self.packers = [(golden.probe_pe, (k,)) for k in range(cfg.n_pe)] + [(golden.probe_ccu, ())]
        names = ["busy", "done", "current_pass", *(CCU_COUNTERS if cfg.counters else ())]
        self.outputs = [(getattr(dut, name), getattr(golden, name)) for name in names]
        self.diverged: Divergence | None = None
        self.history: dict[str, list[tuple[int, list[int]]]] = {"golden": [], "rtl": []}
        self.after = 0

    async def cycle(self, **inputs: int) -> None:
        """One clock cycle on both sides, compared before the edge that ends it."""
        await self.edge
        if self._drive(inputs):
            for name, wire in self.golden_inputs:
                wire.value = self.inputs[name]
            await ReadOnly()
        self.golden.propagate()
        self._compare()
        self.golden.update()
        self.cycle_count += 1
        if self.cycle_count % PROGRESS_EVERY == 0:
            Path(PROGRESS).write_text(str(self.cycle_count))

    async def until_done(self, limit: int) -> int:
        """Run until golden is no longer busy (it always ends); the number of cycles it was."""
        busy = 0
        while True:
            await self.cycle()
            if not self.golden.busy.value:
                return busy
            busy += 1

    async def counters(self) -> list[list[int]]:
        """The counters of each PE, from the RTL's last probe words."""
        # The probes hold them: no need for thousands of read cycles.
        wanted = {counter.name.lower(): counter for counter in PeCounter}
        _, words = self.history["rtl"][-1]
        counters = []
        for word in words[: self.cfg.n_pe]:
            values = {
                wanted[place.field.name]: value
                for place, value in unpack_probe(self.probes[0], word)
                if place.field.name in wanted
            }
            counters.append([values[counter] for counter in PeCounter])
        return counters

    def _compare(self) -> None:
        wanted = [pack(*args) for pack, args in self.packers]
        texts = [str(handle.value) for handle in self.handles]
        try:
            found = [int(text, 2) for text in texts]
        except ValueError:  # an X or Z somewhere: shown as text, and as x in the waveform
            found = [int(t, 2) if set(t) <= {"0", "1"} else -1 for t in texts]
        if self.diverged is None and found != wanted:
            self._diverge(wanted, found, texts)
        self._record(wanted, found)
        if self.diverged is None:
            self._compare_outputs()
        if self.diverged is not None:
            self.after += 1
            if self.after > HISTORY_AFTER:
                self.diverged.history = self.history
                raise Diverged(self.diverged)

    def _compare_outputs(self) -> None:
        """The array's output ports, which no probe holds."""
        for rtl, golden in self.outputs:
            text, value = str(rtl.value), int(golden.value)
            if text != format(value, f"0{len(text)}b"):
                found = int(text, 2) if set(text) <= {"0", "1"} else text
                self._report([(None, f"array.{rtl._name}", value, found)])
                return

    def _record(self, wanted: list[int], found: list[int]) -> None:
        for side, words in (("golden", wanted), ("rtl", found)):
            self.history[side].append((self.cycle_count, words))
            if len(self.history[side]) > HISTORY_BEFORE + HISTORY_AFTER:
                del self.history[side][0]

    def _diverge(self, wanted: list[int], found: list[int], texts: list[str]) -> None:
        differences: list[tuple[int | None, str, int | str, int | str]] = []
        for k, (probe, want, have) in enumerate(zip(self.probes, wanted, found, strict=True)):
            if want == have:
                continue
            pe = k if k < self.cfg.n_pe else None
            if have < 0:
                differences += _unknown_bits(probe, want, texts[k], pe)
                continue
            pairs = zip(unpack_probe(probe, want), unpack_probe(probe, have), strict=True)
            differences += [(pe, place.name, a, b) for (place, a), (_, b) in pairs if a != b]
        self._report(differences)

    def _report(self, differences: list[tuple[int | None, str, int | str, int | str]]) -> None:
        pe, signal, golden, rtl = differences[0]
        also = [
            f"{'' if p is None else f'PE {p} '}{s}: golden {a}, RTL {b}" for p, s, a, b in differences[1:20]
        ]
        self.diverged = Divergence(
            self.job, self.cycle_count, int(self.golden.ccu.cycle.value), pe, signal, golden, rtl, also
        )


def _unknown_bits(
    probe: tuple[ProbeField, ...], want: int, text: str, pe: int | None
) -> list[tuple[int | None, str, int | str, int | str]]:
    """Fields of a probe that hold X or Z bits or differ, as text."""
    differences: list[tuple[int | None, str, int | str, int | str]] = []
    for place, value in unpack_probe(probe, want):
        end = len(text) - place.low
        bits = text[end - place.field.width : end]
        if bits != format(value & ((1 << place.field.width) - 1), f"0{place.field.width}b"):
            differences.append((pe, place.name, value, bits))
    return differences


async def run_job(host: FreeHost, job: Job, *, images: bool, read_back: bool = False) -> Outcome:
    """Load, start, wait and read back one job through the I/O port (docs/architecture.md)."""
    weights = [] if images else job.weight_writes()
    load = job.load_writes()
    for write in [*weights, *load]:
        await host.cycle(io_write=1, **_address(write.space, write.pe, write.addr), io_data=write.data)
    await host.cycle(start=1)
    law = schedule(job.interleaved.lengths[job.active], job.cfg).cycles
    busy = await host.until_done(4 * (law + job.rows_per_pe) + 100)
    cycles, stalls = host.output("cycles"), host.output("broadcast_stalls")
    rows = range(job.rows_per_pe)
    pes = range(job.cfg.n_pe)
    acc = await read_words(host, [(IoSpace.ACC, k, row) for k in pes for row in rows])
    counters = await host.counters() if job.cfg.counters else []
    if read_back:
        await check_memories(host, job)
    return Outcome(
        y_acc=[acc[k * len(rows) : (k + 1) * len(rows)] for k in pes],
        cycles=cycles,
        broadcast_stalls=stalls,
        counters=counters,
        load_cycles=len(load),
        weight_load_cycles=len(weights) or None,
        busy_cycles=busy,
    )


def _address(space: int, pe: int, addr: int) -> dict[str, int]:
    return {"io_space": int(space), "io_pe": pe, "io_addr": int(addr)}


async def read_words(host: FreeHost, places: list[tuple[IoSpace, int, int]]) -> list[int]:
    """Words at (space, PE, address): each address is held for two cycles, the word is there in the third."""
    words = []
    for number in range(len(places) + 1):
        address = _address(*places[number]) if number < len(places) else {}
        await host.cycle(io_read=int(bool(address)), **address)
        if number:
            words.append(host.output("io_rdata"))
        if address:
            await host.cycle(io_read=1, **address)
    return words


async def check_memories(host: FreeHost, job: Job) -> None:
    """Read every word of every memory behind the port after `job`, and compare what computing must not change.

    In lockstep golden reads its own memories at the same time, so there every word is compared, used or not.
    """
    cfg = job.cfg
    depths = {
        IoSpace.SPMAT: cfg.spmat_words,
        IoSpace.PTR: 2 * cfg.ptr_bank_depth,
        IoSpace.CODEBOOK: cfg.codebooks * cfg.n_codes,
        IoSpace.ACC: cfg.acc_depth,
        IoSpace.ACT: cfg.src_depth,
        IoSpace.ACT_SRAM: cfg.act_words,
    }
    places = [(space, k, a) for space, depth in depths.items() for k in range(cfg.n_pe) for a in range(depth)]
    found = dict(zip(places, await read_words(host, places), strict=True))
    kept = [w for w in job.load_writes() if w.space in (IoSpace.CODEBOOK, IoSpace.ACT)] + job.weight_writes()
    signed = {IoSpace.CODEBOOK: cfg.code_bits, IoSpace.ACT: cfg.act_bits}
    for space, pe, addr, data in kept:
        bits = signed.get(space)
        extended = data >> (bits - 1) if bits else 0
        expected = data | (((1 << cfg.io_data_bits) - 1) & -(1 << bits) if bits and extended else 0)
        if found[space, pe, addr] != expected:
            raise WrongMemory(
                f"{space.name} of PE {pe} at {addr} holds {found[space, pe, addr]:#x}, loaded was {expected:#x}"
            )


def _request() -> Request:
    with Path(REQUEST).open("rb") as file:
        request: Request = pickle.load(file)
    return request


def _answer(answer: object) -> None:
    with Path(OUTCOME).open("wb") as file:
        pickle.dump(answer, file)


async def _run_jobs(host: FreeHost, request: Request, outcomes: list[Outcome]) -> None:
    last = len(request.jobs) - 1
    for host.job, job in enumerate(request.jobs):
        read_back = request.read_back and host.job == last
        outcomes.append(await run_job(host, job, images=request.images, read_back=read_back))


@cocotb.test()
async def free_run(dut: Any) -> None:
    """RTL alone: values, cycles and counters from its ports, or the text of what went wrong."""
    request = _request()
    host = FreeHost(dut, request.jobs[0].cfg)
    await host.reset()
    outcomes: list[Outcome] = []
    try:
        await _run_jobs(host, request, outcomes)
    except (Unfinished, WrongMemory) as wrong:
        _answer(f"job {host.job}: {wrong}")
        return
    _answer(outcomes)


@cocotb.test()
async def lockstep(dut: Any) -> None:
    """RTL and golden side by side; stops at the first divergence."""
    from eie.golden.array import Array

    request = _request()
    cfg = request.jobs[0].cfg
    golden = Array(cfg)
    if request.images:
        golden.load_images(request.jobs[0].images)
    host = LockstepHost(dut, cfg, golden)
    await host.reset()
    outcomes: list[Outcome] = []
    divergence = None
    try:
        await _run_jobs(host, request, outcomes)
    except Diverged as stop:
        divergence = stop.divergence
    _answer((outcomes, host.cycle_count, divergence))
