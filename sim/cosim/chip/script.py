"""The chip in a simulator, driven over its buses by a script, and the golden chip driven by the same script.

    report = run_script(cfg, [Send(packet), Settle(), Read(Reg.CYCLES.offset)], "icarus")
    report.require_agreement()

Replies (register values, responses, result packets, interrupt) are compared with `eie.golden.chip`; meanwhile the
golden array is driven as the RTL's host interface drives its array, and every probe is compared in every cycle.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eie.axi import OKAY, chip_fields
from eie.config import ArchConfig
from eie.errors import MismatchError
from eie.golden.chip import Chip
from eie.registers import Reg
from eie.schema import ccu_probe, fields, pe_probe
from eie.sim.cosim.build import build
from eie.sim.cosim.images import Transform, chip_sources
from eie.sim.cosim.launch import ask
from eie.sim.cosim.outcome import Divergence

CHIP_PORTS = ("clk", "rst", *(f.name for f in chip_fields(ArchConfig())), "probe_*")
# Clock cycles after which a step counts as hung: so many, and so many more for each word that was sent.
PATIENCE = 50_000
PATIENCE_PER_WORD = 20


@dataclass(frozen=True)
class Send:
    """A packet on the command stream: its words, TLAST on the last one. Not waited for."""

    words: Sequence[int]


@dataclass(frozen=True)
class SendPart:
    """The beginning of a packet, or more of it, without TLAST; waited for. A `Send` that follows has the rest."""

    words: Sequence[int]


@dataclass(frozen=True)
class Write:
    """A register write; the reply is the response."""

    address: int
    data: int
    strobes: int = 0xF


@dataclass(frozen=True)
class Read:
    """A register read; the reply is data and response."""

    address: int


@dataclass(frozen=True)
class Reset:
    """`rst` for some cycles, in which `rest` is sent: words of a packet that began before, more than `cycles`.

    ends : the last one has TLAST. If not, the source falls silent behind them; golden does not model it.
    """

    rest: Sequence[int] = ()
    cycles: int = 1
    ends: bool = True


@dataclass(frozen=True)
class Settle:
    """Until nothing is under way. The reply: result packets since the last time, and the interrupt."""


@dataclass(frozen=True)
class UntilBusy:
    """Until STATUS says that a run is under way."""


@dataclass(frozen=True)
class UntilInterrupt:
    """Until the interrupt is high."""


@dataclass(frozen=True)
class Together:
    """Register accesses, all of them at once, while packets that were sent before may still be on their way."""

    steps: Sequence[Write | Read]


Step = Send | SendPart | Reset | Write | Read | Settle | UntilBusy | UntilInterrupt | Together


@dataclass(frozen=True)
class Pauses:
    """How often each channel of the buses pauses: a share of the clock cycles, drawn from `seed`.

    idle : valids that the host drives. back_pressure : readys that it drives.
    """

    seed: int = 0
    idle: float = 0.0
    back_pressure: float = 0.0


@dataclass
class Request:
    """What the simulator's process is to do. trace : record these ports in every cycle."""

    cfg: ArchConfig
    script: list[Step]
    pauses: Pauses
    lockstep: bool
    trace: tuple[str, ...] = ()

    @property
    def patience(self) -> int:
        """Clock cycles after which a step counts as hung."""
        words = sum(len(step.words) for step in self.script if isinstance(step, Send))
        return PATIENCE + PATIENCE_PER_WORD * words


@dataclass
class Outcome:
    """What it answers. hung : where it gave up, if it did."""

    replies: list[Any]
    cycles: int
    divergence: Divergence | None = None
    hung: str = ""
    trace: dict[str, list[int]] = field(default_factory=dict)


@dataclass(frozen=True)
class ChipReport:
    """Replies of both sides to a script, and the lockstep's outcome.

    replies, expected : one for each step, of the RTL and of the golden chip. cycles : clock cycles since reset.
    signals : probed signals compared in each of them (0 without lockstep). trace : ports by cycle, if asked for.
    """

    simulator: str
    cfg: ArchConfig
    script: Sequence[Step]
    replies: list[Any]
    expected: list[Any]
    cycles: int
    signals: int
    divergence: Divergence | None
    hung: str
    seconds: float
    trace: dict[str, list[int]]

    def differences(self) -> list[str]:
        """Where the two sides differ, as lines."""
        lines = []
        if self.divergence is not None:
            d = self.divergence
            place = "" if d.pe is None else f"PE {d.pe}, "
            lines.append(f"cycle {d.cycle}: {place}{d.signal}: golden {d.golden}, RTL {d.rtl}")
        if self.hung:
            lines.append(self.hung)
        pairs = zip(self.script, self.replies, self.expected, strict=False)
        lines += [
            f"step {number}, {step}: golden {want}, RTL {have}"
            for number, (step, have, want) in enumerate(pairs)
            if have != want
        ]
        return lines

    def require_agreement(self) -> None:
        """Raise `MismatchError` when the two sides differ."""
        lines = self.differences()
        if lines:
            raise MismatchError(f"{self.simulator}: " + "\n  ".join(lines[:5]))


def run_script(
    cfg: ArchConfig,
    script: Sequence[Step],
    simulator: str,
    *,
    pauses: Pauses | None = None,
    lockstep: bool = True,
    golden: bool = True,
    trace: Sequence[str] = (),
    waveform: Path | None = None,
    transform: Transform | None = None,
) -> ChipReport:
    """Run a script on the chip in `simulator` ("icarus" or "verilator") and on the golden chip.

    Parameters
    ----------
    pauses : idle cycles and back-pressure on all channels.
    lockstep : compare every probe of the array in every cycle, too.
    golden : compare the replies with the golden chip's (or else with nothing: large runs are not for it).
    trace : names of ports to record in every cycle: the chip's, and with lockstep the array's.
    waveform : FST of the whole RTL run.
    transform : changes the Verilog before it is built (to test that faults are found).

    Raises
    ------
    SimulatorMissing, SimulationError : the simulator is absent, does not build or does not run.
    """
    sources = chip_sources(cfg, transform, probe=lockstep)
    built = build(simulator, sources, "eie_chip", public=CHIP_PORTS, waves=waveform is not None)
    request = Request(cfg, list(script), pauses or Pauses(), lockstep, tuple(trace))
    began = time.perf_counter()
    outcome: Outcome = ask(
        built, "eie.sim.cosim.chip.bench", "script", request, seed=request.pauses.seed, waveform=waveform
    )
    seconds = time.perf_counter() - began
    signals = cfg.n_pe * len(pe_probe(cfg)) + len(ccu_probe(cfg)) + len(fields("array", cfg))
    return ChipReport(
        simulator=simulator,
        cfg=cfg,
        script=script,
        replies=outcome.replies,
        expected=golden_replies(cfg, script) if golden else [],
        cycles=outcome.cycles,
        signals=signals if lockstep else 0,
        divergence=outcome.divergence,
        hung=outcome.hung,
        seconds=seconds,
        trace=outcome.trace,
    )


def golden_replies(cfg: ArchConfig, script: Sequence[Step]) -> list[Any]:
    """The golden chip's reply to each step; to what it does not model (time) the RTL's right answer is any."""
    chip = Chip(cfg)
    return [_golden_reply(chip, step) for step in script]


def _golden_reply(chip: Chip, step: Step) -> Any:
    if isinstance(step, Send):
        return chip.send(step.words)
    if isinstance(step, SendPart):
        return chip.send_part(step.words)
    if isinstance(step, Reset):
        chip.reset(sending=bool(step.rest))
        return chip.send(step.rest) if step.rest else None
    if isinstance(step, Write):
        return chip.write(step.address, step.data, step.strobes)
    if isinstance(step, Read):
        return ANY if step.address == Reg.IDLE_CYCLES.offset else chip.read(step.address)
    if isinstance(step, Together):
        return [_golden_reply(chip, part) for part in step.steps]
    if isinstance(step, UntilBusy):
        return chip.running
    chip.wait()
    results, chip.results = chip.results, []
    return (results, chip.irq) if isinstance(step, Settle) else chip.irq


class _Any:
    """Equal to every okay answer of a read."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, tuple) and other[1] == OKAY

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return "anything"


ANY = _Any()
