"""Lockstep of one block by itself, inside a cocotb test: the same inputs to its RTL and to its golden block.

    bench = await BlockBench.start(dut)
    now = await bench.cycle(push=1, push_col=3)    # every output and register is compared in every cycle
    assert now.head_valid == 0                     # and what the documentation says is asserted on top

`eie.sim.cosim.benches.run` builds the block and hands over its configuration; the benches are in tests/cocotb/.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
from types import SimpleNamespace
from typing import Any, NamedTuple, Self

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, ReadOnly

from eie.config import ArchConfig
from eie.errors import MismatchError
from eie.golden.array import Array
from eie.golden.base import Block
from eie.golden.blocks import block_class
from eie.golden.sram import Sram
from eie.host import converse, feeds_of
from eie.program import Job
from eie.result import Result
from eie.schema import Field, Kind, Wire, block_probe, fields, pe_probe
from eie.sim.cosim.host import CLOCK_NS
from eie.sim.cosim.lockstep_host import LockstepHost
from eie.sim.cosim.outcome import Difference, Diverged, differences, value_of

_SETUP = "EIE_BENCH"


@dataclasses.dataclass(frozen=True)
class Setup:
    """What a bench has to know: which block, of which configuration, and the command that runs it again."""

    block: str
    cfg: ArchConfig
    replay: str = ""

    def to_environment(self) -> dict[str, str]:
        """The environment variable that takes it into the simulator's process."""
        return {_SETUP: json.dumps(dataclasses.asdict(self))}

    @classmethod
    def from_environment(cls) -> Setup:
        """The set-up of the simulation that this process runs."""
        stored = json.loads(os.environ[_SETUP])
        return cls(stored["block"], ArchConfig(**stored["cfg"]), stored["replay"])


@functools.cache
def _golden(block: str, cfg: ArchConfig) -> Block:
    """The golden block of this process: like the RTL, it goes on from one test to the next."""
    return block_class(block, cfg)(cfg)


class Sample(SimpleNamespace):
    """Every output and register of a block in one cycle, each an attribute."""

    cycle_number: int

    def __repr__(self) -> str:
        return f"cycle {self.cycle_number}"


class _Port(NamedTuple):
    """An output of the RTL, as it is declared, and the golden signal beside it."""

    field: Field
    handle: Any
    signal: Wire

    @property
    def found(self) -> int | str:
        """What the RTL has."""
        return value_of(str(self.handle.value), self.field)


class BlockBench:
    """Drives one block, compares every output port and the probe once they have settled, cycle by cycle.

    Members
    -------
    cfg : the block's configuration. rng : numpy generator, seeded by SEED and the test's name.
    idle : values of the inputs that a call of `cycle` does not name; 0 at first.
    golden : the golden block; its registers hold what they are in the coming cycle.
    cycle_count : cycles since reset, the number of the coming cycle.
    """

    def __init__(self, dut: Any, setup: Setup) -> None:
        self.dut, self.setup, self.cfg = dut, setup, setup.cfg
        self.rng = np.random.default_rng(cocotb.RANDOM_SEED)
        self.golden = _golden(setup.block, self.cfg)
        declared = fields(setup.block, self.cfg)
        self.inputs = {field.name: field for field in declared if field.kind is Kind.IN}
        self.idle = dict.fromkeys(self.inputs, 0)
        self.cycle_count = 0
        self._driven: dict[str, int] = {}
        outputs = (field for field in declared if field.kind in (Kind.OUT, Kind.OUT_REG) and field.probed)
        self._ports = [
            _Port(field, getattr(dut, field.name), self.golden.signal(field.name)) for field in outputs
        ]
        self._probe = pe_probe(self.cfg) if setup.block == "pe" else block_probe(setup.block, self.cfg)
        blocks = {setup.block: self.golden} | getattr(self.golden, "blocks", {})
        # Ports last: in a PE they win over a register of the same name.
        self._named = {
            place.field.name: blocks[place.instance].signal(place.field.name) for place in self._probe
        } | {port.field.name: port.signal for port in self._ports}
        self._srams: dict[str, Sram] = {}
        self._edge = FallingEdge(dut.clk)

    @classmethod
    async def start(cls, dut: Any) -> Self:
        """A bench on `dut`, after a cycle of reset. Memories have no reset: they keep what an earlier test left."""
        bench = cls(dut, Setup.from_environment())
        bench._drive({})
        dut.rst.value = 1
        Clock(dut.clk, CLOCK_NS, unit="ns").start(start_high=False)
        await bench._edge
        dut.rst.value = 0
        bench.golden.step()
        for register in bench.golden.registers:
            register.value = 0
        return bench

    def sram(self, prefix: str, depth: int) -> list[int]:
        """Put a memory of `depth` words at the ports `<prefix>_*`; its words, to read and to change."""
        port = self.golden.sram_port(prefix)
        sram = self._srams[prefix] = Sram(depth, port.rdata.width)
        sram.connect(port)
        return sram.memory

    def register(self, name: str) -> int:
        """What a register, or an output that is one, holds in the coming cycle."""
        return int(self._named[name].value)

    async def cycle(self, **inputs: int) -> Sample:
        """One clock cycle with the given inputs, others as in `idle`.

        Returns every output and register of the block as it was in this cycle, before the edge that ends it.

        Raises
        ------
        MismatchError : RTL and golden disagree; the text holds cycle, signal, both values, and the replay command.
        """
        self._drive(inputs)
        await ReadOnly()
        self.golden.propagate()
        self._compare(inputs)
        values = {name: int(signal.value) for name, signal in self._named.items()}
        now = Sample(cycle_number=self.cycle_count, **values)
        for prefix, sram in self._srams.items():
            sram.next_state()
            sram.write_memory()
            sram.rdata.value = self.idle[f"{prefix}_rdata"] = sram.rdata.next
        self.golden.update()
        self.cycle_count += 1
        await self._edge
        return now

    async def table(self, text: str) -> None:
        """Run a timing table: a row is a cycle, a column a signal, inputs left of `|`, expected values right of it.

        The first row names the signals; `.` is an input that keeps its idle value, `?` a value that does not matter,
        and what follows `#` a comment.

        Raises
        ------
        AssertionError : a value is not the table's.
        """
        rows = [row for row in (line.split("#")[0].strip() for line in text.splitlines()) if row]
        driven, expected = (side.split() for side in rows[0].split("|"))
        for number, row in enumerate(rows[1:]):
            left, right = (side.split() for side in row.split("|"))
            given = zip(driven, left, strict=True)
            now = await self.cycle(**{name: int(value, 0) for name, value in given if value != "."})
            for name, value in zip(expected, right, strict=True):
                found = getattr(now, name)
                assert value == "?" or found == int(value, 0), (
                    f"cycle {self.cycle_count - 1}, row {number} of the table: {name} is {found}, not {value}"
                )

    def _drive(self, inputs: dict[str, int]) -> None:
        for name in inputs:
            if name not in self.inputs:
                raise AttributeError(f"block {self.setup.block} has no input {name!r}")
        for name, field in self.inputs.items():
            pattern = int(inputs.get(name, self.idle[name])) & ((1 << field.width) - 1)
            if self._driven.get(name) == pattern:
                continue
            self._driven[name] = pattern
            getattr(self.dut, name).value = pattern
            negative = field.signed and pattern >> (field.width - 1)
            self.golden.signal(name).value = pattern - (1 << field.width) if negative else pattern

    def _compare(self, inputs: dict[str, int]) -> None:
        probe = self.golden.probe()
        text = str(self.dut.probe.value)
        ports = [port for port in self._ports if port.found != port.signal.value]
        if not ports and text == format(probe, f"0{len(text)}b"):
            return
        found = differences(self._probe, probe, text)
        of_ports = [
            Difference(f"{self.setup.block}.{port.field.name}", int(port.signal.value), port.found)
            for port in ports
        ]
        known = {one.signal for one in found}
        first, *others = found + [one for one in of_ports if one.signal not in known]
        lines = [f"{self.setup.block}: first divergence in cycle {self.cycle_count}: {first}"]
        lines += [f"  also {other}" for other in others[:5]]
        if len(others) > 5:
            lines.append(f"  and {len(others) - 5} more")
        given = " ".join(f"{name}={value}" for name, value in inputs.items())
        lines.append(f"  inputs: {given or 'idle'}")
        if self.setup.replay:
            lines.append(f"  replay: {self.setup.replay}")
        raise MismatchError("\n".join(lines))


@functools.cache
def _host(dut: Any, cfg: ArchConfig) -> LockstepHost:
    """The array of this process with its golden twin: they go on from one test to the next, without a reset."""
    return LockstepHost(dut, cfg, Array(cfg))


async def run_layers(dut: Any, jobs: list[Job]) -> list[Result]:
    """Run layers one after the other on the whole array, loaded through the I/O port, in lockstep with golden.

    After the last of several layers every word of every memory is read back on both sides, which takes far longer
    than the layers.

    Raises
    ------
    MismatchError : RTL and golden disagree; the text holds cycle, PE, signal, both values, and the replay command.
    """
    setup = Setup.from_environment()
    host = _host(dut, setup.cfg)
    if host.cycle_count:
        Clock(dut.clk, CLOCK_NS, unit="ns").start(start_high=False)
    else:
        await host.reset()
    results: list[Result] = []
    try:
        feeds = feeds_of(jobs)
        for number, feed in enumerate(feeds):
            last = len(jobs) > 1 and number == len(feeds) - 1
            await host.follow(converse([feed], results, engine="rtl", read_back=last), results)
        host.finish()
        return results
    except Diverged as stop:
        d = stop.divergence
        place = "CCU or LNZD tree" if d.pe is None else f"PE {d.pe}"
        first = f"{place}, {d.signal}: golden {d.golden}, RTL {d.rtl}"
        lines = [f"array: first divergence in cycle {d.cycle}: {first}"]
        lines += [f"  also {other}" for other in d.also[:5]]
        raise MismatchError("\n".join([*lines, f"  replay: {setup.replay}"])) from None
