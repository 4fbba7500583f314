"""What goes into a simulator's process and what comes out, and what the array's status lines have to be meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from eie.config import ArchConfig
from eie.errors import MismatchError
from eie.host import Feed
from eie.program import Run
from eie.result import Result
from eie.schema import Field, ProbeField, unpack_probe

# Files in the folder of a run: pickles of a request and of its answer.
REQUEST = "request.pickle"
OUTCOME = "outcome.pickle"
# Clock cycles so far, for whoever watches.
PROGRESS = "progress"


@dataclass
class Request:
    """What a simulator's process is to do: feed programs of one configuration, one after the other.

    images : the SRAMs were initialised from files. engine, read_back : see `eie.host.converse`.
    """

    feeds: Sequence[Feed]
    engine: str
    images: bool
    read_back: bool = False

    @property
    def cfg(self) -> ArchConfig:
        """Of all programs."""
        return self.feeds[0].program.cfg


@dataclass
class Divergence:
    """The first cycle in which a probed signal differs, with the words around it.

    job : number of the input; cycle : clock cycles since reset; compute_cycle : the CCU's cycle number (golden).
    history : probe words by cycle, {"golden"|"rtl": [(cycle, [word of each PE..., CCU word])]}.
    """

    job: int
    cycle: int
    compute_cycle: int
    pe: int | None
    signal: str
    golden: int | str
    rtl: int | str
    also: list[str]
    history: dict[str, list[tuple[int, list[int]]]] = field(default_factory=dict)


@dataclass
class Answer:
    """What a simulator's process answers: results of the inputs that ended, clock cycles, and what was wrong.

    wrong : what cannot be. divergence : in lockstep, from golden.
    """

    results: list[Result]
    cycles: int
    wrong: str = ""
    divergence: Divergence | None = None


class Difference(NamedTuple):
    """A signal on which the two sides disagree; the RTL's value is text if it has unknown bits."""

    signal: str
    golden: int
    rtl: int | str
    pe: int | None = None

    def __str__(self) -> str:
        return f"{'' if self.pe is None else f'PE {self.pe} '}{self.signal}: golden {self.golden}, RTL {self.rtl}"


def value_of(bits: str, field: Field) -> int | str:
    """The value of a field whose bits the RTL has; the bits themselves where not all are known."""
    try:
        return int(bits, 2) - (field.signed and bits[0] == "1") * (1 << field.width)
    except ValueError:  # X or Z
        return bits


def differences(
    probe: tuple[ProbeField, ...], golden: int, text: str, pe: int | None = None
) -> list[Difference]:
    """Fields of a probe that differ between golden's word and the bits of the RTL's."""
    found = []
    for place, value in unpack_probe(probe, golden):
        end = len(text) - place.low
        have = value_of(text[end - place.field.width : end], place.field)
        if have != value:
            found.append(Difference(place.name, value, have, pe))
    return found


class Diverged(Exception):
    """Raised where lockstep stops; carries the divergence."""

    def __init__(self, divergence: Divergence) -> None:
        super().__init__(divergence.signal)
        self.divergence = divergence


class Unfinished(MismatchError):
    """The RTL did not end a run in time."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"the RTL was not done {limit} cycles after start")


# ---- status lines ------------------------------------------------------------------------------------------------

# When they are looked at, and busy, done and current_pass in this cycle; done keeps what the run before has left.
BEFORE, BEGUN, LAST, ENDED = "at start", "in the cycle after start", "in the cycle before done", "when done"


def check_status(when: str, run: Run, read: Callable[[str], int], *, again: bool = False) -> None:
    """Hold busy, done and current_pass against what they have to be in a run. again : there was a run before.

    Raises
    ------
    MismatchError : one of them is something else.
    """
    under_way = when in (BEGUN, LAST)
    wanted = {
        "busy": int(under_way),
        "done": int(when == ENDED or (when == BEFORE and again)),
        "current_pass": run.last if when == LAST else run.first,
    }
    for name, value in wanted.items():
        if (found := read(name)) != value:
            raise MismatchError(f"{name} is {found} {when}, not {value}")
