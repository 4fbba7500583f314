"""Free-running RTL: a program of inputs, a driver in Verilog with the clock, and outputs compared at the end.

Python is asleep from the first clock cycle to the last: `Script` collects what the host drives and where it looks at
the outputs, `run` hands both to a driver made from `free_run.v`, and only then are the outputs there. The driver is
made from port lists, so any top module with `clk`, `rst` and an output to wait for can be driven.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from eie import schema
from eie.config import ArchConfig
from eie.errors import MismatchError, SimulationError
from eie.schema import Kind
from eie.sim.cosim.build import build_alone, run_alone

DRIVER = "free_run"
PROGRAM, RESULTS, ACTIVITY = "program.txt", "results.txt", "activity.dump"
# Codes of the lines of a program, see free_run.v.
_STEP, _UNTIL, _SAMPLE, _DUMP = range(4)


@dataclass(frozen=True)
class Ports:
    """What a driver drives and reads: a top module, its inputs and outputs but for clk and rst (name: bits).

    until : the output that ends a wait.
    """

    top: str
    inputs: Mapping[str, int]
    outputs: Mapping[str, int]
    until: str = "done"

    def driver(self) -> str:
        """Verilog of the driver, the module `free_run`."""
        wires = [f"    wire [{bits - 1}:0] {name};" for name, bits in {**self.inputs, **self.outputs}.items()]
        connections = [f"        .{name}({name})" for name in (*self.inputs, *self.outputs)]
        text = (resources.files("eie.sim.cosim.free") / f"{DRIVER}.v").read_text()
        for mark, value in {
            "TOP": self.top,
            "UNTIL": self.until,
            "INPUT_BITS": str(sum(self.inputs.values())),
            "OUTPUT_BITS": str(sum(self.outputs.values())),
            "INPUT_NAMES": ", ".join(self.inputs),
            "OUTPUT_NAMES": ", ".join(self.outputs),
            "WIRES": "\n".join(wires),
            "CONNECTIONS": ",\n".join(connections),
        }.items():
            text = text.replace(f"@{mark}@", value)
        return text


def array_ports(cfg: ArchConfig) -> Ports:
    """Those of `eie_array`."""
    fields = schema.fields("array", cfg)
    inputs = {field.name: field.width for field in fields if field.kind is Kind.IN}
    outputs = {
        field.name: field.width for field in fields if field.kind is not Kind.IN and field.kind.is_port
    }
    return Ports("eie_array", inputs, outputs)


@dataclass(frozen=True)
class Sample:
    """Outputs at one moment: clock cycles since the start of the simulation, and each output's bits."""

    cycle: int
    values: Mapping[str, int | str]

    def __getitem__(self, name: str) -> int:
        """An output's value.

        Raises
        ------
        MismatchError : it has unknown bits.
        """
        value = self.values[name]
        if isinstance(value, str):
            raise MismatchError(f"output {name} is {value} in cycle {self.cycle}")
        return value


class Script:
    """What the host drives, step by step, and when it looks at the outputs."""

    def __init__(self, ports: Ports) -> None:
        self.ports = ports
        self.lines: list[str] = []
        self.samples = 0

    def step(self, cycles: int = 1, **inputs: int) -> None:
        """Drive `inputs` (others 0) for some cycles."""
        self._add(_STEP, cycles, inputs)

    def until(self, limit: int, **inputs: int) -> None:
        """Drive `inputs` until the output `ports.until`; the run ends after `limit` cycles in vain."""
        self._add(_UNTIL, limit, inputs)

    def sample(self, *, before: bool = False) -> int:
        """Look at the outputs; the number of this look among the samples that `run` returns.

        before : at those of the last cycle in which the latest `until` waited, the one before it ended.
        """
        self._add(_SAMPLE, int(before), {})
        self.samples += 1
        return self.samples - 1

    def dump(self) -> None:
        """From here to the end, dump every signal."""
        self._add(_DUMP, 0, {})

    def _add(self, code: int, number: int, inputs: Mapping[str, int]) -> None:
        bits = 0
        for name, width in self.ports.inputs.items():
            bits = bits << width | inputs.get(name, 0)
        self.lines.append(f"{code} {number:x} {bits:x}\n")


@dataclass(frozen=True)
class Run:
    """What a script gave: its samples, clock cycles simulated, the simulator's seconds, elapsed and of processor."""

    samples: list[Sample]
    cycles: int
    seconds: float
    processor_seconds: float


def run(
    simulator: str,
    sources: Mapping[str, str],
    script: Script,
    folder: Path,
    *,
    plusargs: Sequence[str] = (),
    activity: bool = False,
) -> Run:
    """Build `sources` with a driver, and run a script in `folder` (which holds the images, if any).

    There are fewer samples than the script asks for if the design did not raise `ports.until` in time.
    activity : the build can dump; what it dumped is the file `activity.dump` in the folder.

    Raises
    ------
    SimulatorMissing, SimulationError
    """
    built = build_alone(
        simulator, {**sources, f"{DRIVER}.v": script.ports.driver()}, DRIVER, activity=activity
    )
    (folder / PROGRAM).write_text("".join(script.lines))
    began, before = time.perf_counter(), _children()
    run_alone(built, folder, *plusargs)
    seconds, processor = time.perf_counter() - began, _children() - before
    *found, last = (folder / RESULTS).read_text().splitlines() or [""]
    word, _, cycles = last.partition(" ")
    if word not in ("end", "late") or (word == "end" and len(found) != script.samples):
        raise SimulationError(f"{simulator} ended before the program did, after {len(found)} samples")
    return Run([_sample(line, script.ports.outputs) for line in found], int(cycles, 16), seconds, processor)


def _children() -> float:
    """Processor seconds of the processes that this one has started and that have ended."""
    times = os.times()
    return times.children_user + times.children_system


def _sample(line: str, outputs: Mapping[str, int]) -> Sample:
    cycle, digits = line.split()
    bits = sum(outputs.values())
    # A digit of four bits that are not all known is x, z, X or Z.
    known = int("".join(d if d in "0123456789abcdef" else "0" for d in digits), 16)
    unknown = int("".join("0" if d in "0123456789abcdef" else "f" for d in digits), 16)
    values: dict[str, int | str] = {}
    for name, width in outputs.items():
        bits -= width
        mask = (1 << width) - 1
        values[name] = "unknown" if unknown >> bits & mask else known >> bits & mask
    return Sample(int(cycle, 16), values)
