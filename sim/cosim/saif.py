"""Switching activity (SAIF 2.0) of a layer on the RTL: how long each net is 0 and 1 and how often it toggles while the
layer runs, from the cycle after `start` to `done`, loading and reading left out.

Verilator counts by itself, so long layers are no matter: two runs, one that ends before the layer and one that ends
after it, and the difference of their counts. (It takes every net as 0 before the dump begins, so that a dump that
begins later counts wrongly.) Icarus dumps a VCD from the layer's start on, which is counted here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path

from vcd.reader import TokenKind, tokenize

from eie.errors import MismatchError, SimulationError
from eie.host import Load, feeds_of
from eie.program import Job
from eie.sim.cosim.free import script as free
from eie.sim.cosim.free.run import Recording
from eie.sim.cosim.free.script import ACTIVITY
from eie.sim.cosim.images import array_sources, run_folder
from eie.sim.cosim.outcome import Unfinished

TIMESCALE_PS = 1


@dataclass(frozen=True)
class Count:
    """One bit of a net: time at 0, 1 and unknown, toggles between 0 and 1."""

    t0: int = 0
    t1: int = 0
    tx: int = 0
    tc: int = 0

    def __sub__(self, other: Count) -> Count:
        return Count(self.t0 - other.t0, self.t1 - other.t1, self.tx - other.tx, self.tc - other.tc)

    def scaled(self, factor: int) -> Count:
        """With times in other units."""
        return replace(self, t0=self.t0 * factor, t1=self.t1 * factor, tx=self.tx * factor)


@dataclass
class Instance:
    """A module instance: the counts of its nets' bits by name ("q" or "q[3]"), and the instances inside."""

    nets: dict[str, Count] = field(default_factory=dict)
    inside: dict[str, Instance] = field(default_factory=dict)

    def at(self, path: Sequence[str]) -> Instance:
        """The instance at a path below this one, made where it is missing."""
        found = self
        for name in path:
            found = found.inside.setdefault(name, Instance())
        return found

    def walk(self, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Instance]]:
        """This instance and all below it, with their paths."""
        yield path, self
        for name, instance in self.inside.items():
            yield from instance.walk((*path, name))


@dataclass(frozen=True)
class Activity:
    """Activity of a design: its top module's instance, and how long it was watched, in `TIMESCALE_PS`."""

    top: str
    duration: int
    root: Instance

    @property
    def bits(self) -> int:
        """Bits of nets counted."""
        return sum(len(instance.nets) for _, instance in self.root.walk())

    @property
    def toggles(self) -> int:
        """Sum of all toggles; a net has as many names as instances that it is a port of."""
        return sum(count.tc for _, instance in self.root.walk() for count in instance.nets.values())

    def text(self) -> str:
        """The SAIF file."""
        head = (
            '(SAIFILE\n(SAIFVERSION "2.0")\n(DIRECTION "backward")\n'
            f'(DESIGN "{self.top}")\n(PROGRAM_NAME "eie cosim")\n(PROGRAM_VERSION "{version("eie-sim")}")\n'
            f"(DIVIDER / )\n(TIMESCALE {TIMESCALE_PS} ps)\n(DURATION {self.duration})\n"
        )
        return head + "".join(_instance_lines(self.top, self.root, "")) + ")\n"


def record(job: Job, simulator: str) -> Activity:
    """The switching activity of a job on the RTL; times are those of the configuration's clock.

    Raises
    ------
    MismatchError : the RTL did not end the layer in time.
    """
    sources, (feed,) = array_sources(job.cfg), feeds_of([job])
    run = feed.program.runs[0]
    load, limit = Load(feed.program.blocks(run, [job.x])), run.deadline(job.cfg)
    with run_folder(feed.program) as (folder, _):

        def dumped(*, whole: bool) -> tuple[Iterable[str], int]:
            """What was dumped, and the clock cycles between start and done."""
            recording = Recording(job.cfg)
            script = recording.script
            if simulator == "verilator":
                script.dump()
            recording.load(load)
            script.step(start=1)
            begun = script.sample()
            if simulator == "icarus":
                script.dump()
            if whole:
                script.until(limit)
            else:
                script.step(0)  # the inputs of the layer's first cycle are part of what came before
            ended = script.sample()
            samples = free.run(simulator, sources, script, folder, activity=True).samples
            if ended >= len(samples):
                raise MismatchError(f"{simulator}: {Unfinished(limit)}")
            with (folder / ACTIVITY).open() as file:
                return file.readlines(), samples[ended].cycle - samples[begun].cycle

        lines, cycles = dumped(whole=True)
        if simulator == "icarus":
            root = read_vcd(folder / ACTIVITY, free.DRIVER)
        else:
            root = read_saif(lines)
            before = read_saif(dumped(whole=False)[0])
            for path, instance in root.walk():
                other = before.at(path).nets
                instance.nets = {name: count - other[name] for name, count in instance.nets.items()}
    # A clock cycle has two steps of the simulator's time.
    step = round(1e12 / job.cfg.clock_hz / 2 / TIMESCALE_PS)
    design = root.at((free.DRIVER, "dut"))
    for _, instance in design.walk():
        instance.nets = {
            name: count.scaled(step) for name, count in sorted(instance.nets.items(), key=_natural)
        }
    return Activity(free.array_ports(job.cfg).top, 2 * cycles * step, design)


# ---- readers -----------------------------------------------------------------------------------------------------

_NET = re.compile(r"\((\S+) \(T0 (\d+)\) \(T1 (\d+)\) \(TZ (\d+)\) \(TX (\d+)\) \(TB (\d+)\) \(TC (\d+)\)\)")
_INSTANCE = re.compile(r"\(INSTANCE (\S+)")
# Wires that only Yosys has named, and words of memories, are in one simulator's dump and not in the other's.
_UNNAMED = re.compile(r"^_|\[\d+\]\[")


def read_saif(lines: Iterable[str]) -> Instance:
    """What Verilator has counted, in the simulator's time; the instance holds the driver."""
    root = Instance()
    # Open brackets: an instance's name, or None for another one that takes several lines.
    opened: list[str | None] = []
    for line in lines:
        text = line.strip()
        if found := _NET.match(text):
            name = found[1].replace("\\", "")
            if not _UNNAMED.search(name):
                t0, t1, tz, tx, tb, tc = (int(number) for number in found.groups()[1:])
                path = [instance for instance in opened if instance is not None]
                root.at(path).nets[name] = Count(t0, t1, tz + tx + tb, tc)
        elif found := _INSTANCE.match(text):
            opened.append(found[1])
        elif text == "(NET":
            opened.append(None)
        elif text == ")" and opened:
            opened.pop()
    return root


def read_vcd(path: Path, top: str) -> Instance:
    """Counts of a VCD from its first moment to its last, in the simulator's time; the instance holds the driver.

    Raises
    ------
    SimulationError : there is no scope `top`.
    """
    root = Instance()
    scope: list[str] = []
    # A net has one code and as many names as instances that it is a port of.
    names: dict[str, list[tuple[Instance, list[str]]]] = {}
    values: dict[str, str] = {}
    since: dict[str, list[int]] = {}
    counts: dict[str, list[Count]] = {}
    now = 0

    def change(code: str, value: str) -> None:
        bits = values.get(code)
        if bits is None:
            values[code], since[code], counts[code] = value, [now] * len(value), [Count()] * len(value)
            return
        for i, (old, new) in enumerate(zip(bits, value, strict=True)):
            if old != new:
                counts[code][i] = _held(
                    counts[code][i], old, now - since[code][i], toggled={old, new} == {"0", "1"}
                )
                since[code][i] = now
        values[code] = value

    widths: dict[str, int] = {}
    with path.open("rb") as file:
        for token in tokenize(file):
            if token.kind is TokenKind.SCOPE:
                scope.append(token.scope.ident)
            elif token.kind is TokenKind.UPSCOPE:
                scope.pop()
            elif token.kind is TokenKind.VAR:
                var = token.var
                widths[var.id_code] = var.size
                bits = (
                    [var.reference] if var.size == 1 else [f"{var.reference}[{i}]" for i in range(var.size)]
                )
                if not _UNNAMED.search(var.reference):
                    names.setdefault(var.id_code, []).append((root.at(scope), bits))
            elif token.kind is TokenKind.CHANGE_TIME:
                now = token.time_change
            elif token.kind is TokenKind.CHANGE_SCALAR:
                change(token.scalar_change.id_code, token.scalar_change.value.lower())
            elif token.kind is TokenKind.CHANGE_VECTOR:
                code = token.vector_change.id_code
                change(code, _bits(token.vector_change.value, widths[code]))
    if top not in root.inside:
        raise SimulationError(f"the waveform has no scope {top}")
    for code, places in names.items():
        if code not in values:
            continue
        final = [
            _held(count, bit, now - begun, toggled=False)
            for count, bit, begun in zip(counts[code], values[code], since[code], strict=True)
        ][::-1]
        for instance, bits in places:
            instance.nets.update(zip(bits, final, strict=True))
    return root


def _bits(value: int | str, width: int) -> str:
    """A vector's bits, highest first; a shorter text is extended as the format says."""
    if isinstance(value, int):
        return format(value, f"0{width}b")
    text = value.lower()
    return text.rjust(width, "0" if text[0] == "1" else text[0])


def _held(count: Count, bit: str, time: int, *, toggled: bool) -> Count:
    return Count(
        count.t0 + time * (bit == "0"),
        count.t1 + time * (bit == "1"),
        count.tx + time * (bit not in "01"),
        count.tc + toggled,
    )


# ---- writer ------------------------------------------------------------------------------------------------------


def _natural(item: tuple[str, Count]) -> tuple[str, int]:
    name, _, bit = item[0].partition("[")
    return name, int(bit.rstrip("]") or 0)


def _instance_lines(name: str, instance: Instance, indent: str) -> Iterator[str]:
    yield f"{indent}(INSTANCE {name}\n"
    if instance.nets:
        yield f"{indent} (NET\n"
        for net, count in instance.nets.items():
            escaped = net.replace("[", "\\[").replace("]", "\\]")
            yield (
                f"{indent}  ({escaped} (T0 {count.t0}) (T1 {count.t1}) (TX {count.tx}) (TC {count.tc}) (IG 0))\n"
            )
        yield f"{indent} )\n"
    for inner, below in sorted(instance.inside.items()):
        yield from _instance_lines(inner, below, indent + " ")
    yield f"{indent})\n"
