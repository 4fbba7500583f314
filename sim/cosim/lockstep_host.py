"""The host in lockstep: drives the RTL and the golden array together and compares them in every cycle.

Runs as a cocotb test (`lockstep`) in the simulator's process; `eie.sim.cosim.lockstep` is the caller.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import cocotb
from cocotb.triggers import ReadOnly

from eie.config import ArchConfig
from eie.golden.array import Array
from eie.program import Run
from eie.schema import Field, ProbeField, Wire, ccu_probe, fields, pe_counters, pe_probe, unpack_probe
from eie.sim.cosim.host import FreeHost, requested, serve
from eie.sim.cosim.outcome import PROGRESS, Difference, Diverged, Divergence, differences, value_of

# The clock cycles so far are written every so many of them.
PROGRESS_EVERY = 256
# Cycles of both sides kept before a mismatch, and recorded after it, for the waveform around it.
HISTORY_BEFORE = 32
HISTORY_AFTER = 8


class LockstepHost(FreeHost):
    """Drives the RTL and the golden array together and compares every probe in every cycle."""

    def __init__(self, dut: Any, cfg: ArchConfig, golden: Array) -> None:
        super().__init__(dut, cfg)
        self.golden = golden
        self.golden_inputs = [(name, getattr(golden, name)) for name in self.inputs]
        self.probes: list[tuple[ProbeField, ...]] = [pe_probe(cfg)] * cfg.n_pe + [ccu_probe(cfg)]
        self.handles = [getattr(dut, f"probe_pe{k}") for k in range(cfg.n_pe)] + [dut.probe_ccu]
        self.packers = [(golden.probe_pe, (k,)) for k in range(cfg.n_pe)] + [(golden.probe_ccu, ())]
        self.outputs = self._outputs()
        self.diverged: Divergence | None = None
        self.history: dict[str, list[tuple[int, list[int]]]] = {"golden": [], "rtl": []}
        self.after = 0

    def _outputs(self) -> list[tuple[Any, Wire, Field]]:
        """Output ports of the array, which no probe holds: on both sides, and as they are declared."""
        return [
            (getattr(self.dut, field.name), self.golden.signal(field.name), field)
            for field in fields("array", self.cfg)
            if field.probed
        ]

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

    def check(self, when: str, run: Run) -> None:
        """Nothing to do: golden's status lines are compared in every cycle."""

    async def until_done(self, limit: int, run: Run | None = None) -> int:
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
        wanted = {counter.name.lower(): counter for counter in pe_counters(self.cfg)}
        _, words = self.history["rtl"][-1]
        counters = []
        for word in words[: self.cfg.n_pe]:
            values = {
                wanted[place.field.name]: value
                for place, value in unpack_probe(self.probes[0], word)
                if place.field.name in wanted
            }
            counters.append([values.get(counter, 0) for counter in wanted.values()])
        return counters

    def _compare(self) -> None:
        wanted = [pack(*args) for pack, args in self.packers]
        texts = [str(handle.value) for handle in self.handles]
        try:
            found = [int(text, 2) for text in texts]
        except ValueError:  # an X or Z somewhere: shown as text, and as x in the waveform
            found = [int(t, 2) if set(t) <= {"0", "1"} else -1 for t in texts]
        if self.diverged is None and found != wanted:
            self._diverge(wanted, texts)
        self._record(wanted, found)
        if self.diverged is None:
            self._compare_outputs()
        if self.diverged is not None:
            self.after += 1
            if self.after > HISTORY_AFTER:
                self.diverged.history = self.history
                raise Diverged(self.diverged)

    def _compare_outputs(self) -> None:
        for rtl, golden, field in self.outputs:
            wanted, found = int(golden.value), value_of(str(rtl.value), field)
            if found != wanted:
                self._report(Difference(f"array.{field.name}", wanted, found))
                return

    def _record(self, wanted: list[int], found: list[int]) -> None:
        for side, words in (("golden", wanted), ("rtl", found)):
            self.history[side].append((self.cycle_count, words))
            if len(self.history[side]) > HISTORY_BEFORE + HISTORY_AFTER:
                del self.history[side][0]

    def _diverge(self, wanted: list[int], texts: list[str]) -> None:
        words = zip(self.probes, wanted, texts, [*range(self.cfg.n_pe), None], strict=True)
        self._report(*itertools.chain.from_iterable(itertools.starmap(differences, words)))

    def _report(self, first: Difference, *others: Difference) -> None:
        also = [str(other) for other in others[:19]]
        compute_cycle = int(self.golden.ccu.cycle.value)
        self.diverged = Divergence(
            self.job, self.cycle_count, compute_cycle, first.pe, first.signal, first.golden, first.rtl, also
        )


@cocotb.test()
async def lockstep(dut: Any) -> None:
    """RTL and golden side by side; stops at the first divergence."""
    request = requested()
    golden = Array(request.cfg)
    if request.images:
        golden.load_images(request.feeds[0].program.images)
    await serve(LockstepHost(dut, request.cfg, golden), request, try_port=False)
