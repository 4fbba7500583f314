"""The host in lockstep: drives the RTL and the golden array together and compares them in every cycle.

Runs as a cocotb test (`lockstep`) in the simulator's process; `eie.sim.cosim.lockstep` is the caller.
"""

from __future__ import annotations

import gc
import itertools
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cocotb
from cocotb.triggers import ReadOnly

from eie.config import ArchConfig
from eie.golden.array import Array
from eie.program import Run
from eie.schema import (
    Field,
    ProbeField,
    Wire,
    ccu_probe,
    fields,
    pe_counters,
    pe_probe,
    probe_octets,
    probe_width,
    unpack_probe,
)
from eie.sim.cosim.host import FreeHost, requested, serve
from eie.sim.cosim.outcome import PROGRESS, Difference, Diverged, Divergence, differences, value_of
from eie.sim.cosim.probes import WideOutputs

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
        names = [*(f"probe_pe{k}" for k in range(cfg.n_pe)), "probe_ccu"]
        self.handles = [getattr(dut, name) for name in names]
        self.octets = [probe_octets(probe) for probe in self.probes]
        self.outputs = self._outputs()
        widths = [field.width for _, _, field in self.outputs]
        self.output_octets = [-(-width // 32) * 4 for width in widths]
        # Probes, then output ports: a value of cocotb's takes as long as many of these.
        self.wide = WideOutputs(
            [f"{dut._path}.{name}" for name in names] + [handle._path for handle, _, _ in self.outputs],
            [*map(probe_width, self.probes), *widths],
        )
        self.diverged: Divergence | None = None
        # The last cycles of both sides, as the bytes of probes and outputs; where the RTL has unknown bits, as words of
        # the probes.
        self.recorded: deque[tuple[int, bytes, bytes | list[int]]] = deque(
            maxlen=HISTORY_BEFORE + HISTORY_AFTER
        )
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
        words = self.words(self.recorded[-1][2])
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
        wanted = self.golden.probe_all() + self._golden_outputs()
        found, known = self.wide.read()
        self.recorded.append((self.cycle_count, wanted, found if known else self._words_by_text()))
        if self.diverged is None and (found != wanted or not known):
            self._report(*self._differences(wanted))
        if self.diverged is not None:
            self.after += 1
            if self.after > HISTORY_AFTER:
                self.finish()

    def finish(self) -> None:
        """Raise `Diverged` if the sides have diverged: also when no cycles follow to be recorded."""
        if self.diverged is not None:
            self.diverged.history = self.history()
            raise Diverged(self.diverged)

    def _golden_outputs(self) -> bytes:
        values = zip(self.outputs, self.output_octets, strict=True)
        return b"".join([wire.value.to_bytes(size, "little") for (_, wire, _), size in values])

    def _words_by_text(self) -> list[int]:
        """The probes' words where the RTL has an X or Z: -1, which is shown as x in the waveform."""
        bits = [str(handle.value) for handle in self.handles]
        return [int(text, 2) if set(text) <= {"0", "1"} else -1 for text in bits]

    def words(self, recorded: bytes | list[int]) -> list[int]:
        """The probes: the word of each PE, then the CCU's."""
        if isinstance(recorded, list):
            return recorded
        ends = list(itertools.accumulate(self.octets))
        return [
            int.from_bytes(recorded[end - size : end], "little")
            for end, size in zip(ends, self.octets, strict=True)
        ]

    def history(self) -> dict[str, list[tuple[int, list[int]]]]:
        """The last cycles, as `Divergence.history`."""
        golden = [(cycle, self.words(wanted)) for cycle, wanted, _ in self.recorded]
        return {"golden": golden, "rtl": [(cycle, self.words(found)) for cycle, _, found in self.recorded]}

    def _differences(self, wanted: bytes) -> Iterator[Difference]:
        texts = [str(handle.value) for handle in self.handles]
        words = zip(self.probes, self.words(wanted), texts, [*range(self.cfg.n_pe), None], strict=True)
        yield from itertools.chain.from_iterable(itertools.starmap(differences, words))
        for rtl, wire, field in self.outputs:
            value, found = int(wire.value), value_of(str(rtl.value), field)
            if found != value:
                yield Difference(f"array.{field.name}", value, found)

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
    host = LockstepHost(dut, request.cfg, golden)
    gc.freeze()  # golden's objects stay to the end: nothing to collect among them
    await serve(host, request, try_port=False)
