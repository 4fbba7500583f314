"""What a host does with a chip, step by step: one loop for golden, the RTL, and the words for a chip's buses.

`converse` says what to do next, and gets back what came out; whoever drives a machine carries the commands out:

    drive(converse([Feed(program, inputs)], results, engine="golden"), do)

It knows no clock and no simulator, so that the same loop serves a host that waits (golden), one that is awaited
(cocotb) and one that writes everything down first (free-running RTL, packets for the chip).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from eie.axi import CCU_SPACES, space_words
from eie.config import ArchConfig
from eie.errors import ConfigError, MismatchError
from eie.memory import Block, Write
from eie.program import Job, Place, Program, Run, Transfer
from eie.result import COUNTERS, Count, Result, total
from eie.schema import IoSpace
from eie.timing import constants

# Memories behind the I/O port: each PE has its own.
MEMORIES = tuple(space for space in IoSpace if space not in (*CCU_SPACES, IoSpace.COUNTER))


class Feed(NamedTuple):
    """A program, and the inputs that it is fed with once it is loaded."""

    program: Program
    inputs: Sequence[npt.ArrayLike]


def feeds_of(jobs: Sequence[Job]) -> list[Feed]:
    """Jobs as programs, those of one layer that follow each other as one."""
    groups = (list(group) for _, group in itertools.groupby(jobs, key=lambda job: (id(job.layer), job.cfg)))
    return [Feed(group[0].program, [job.x for job in group]) for group in groups]


def config_of(feeds: Sequence[Feed]) -> ArchConfig:
    """The machine that they all are for.

    Raises
    ------
    ConfigError : they do not share one.
    """
    cfg = feeds[0].program.cfg
    if any(feed.program.cfg != cfg for feed in feeds):
        raise ConfigError("jobs of one simulator run must share one configuration")
    return cfg


def has_images(feeds: Sequence[Feed]) -> bool:
    """Whether the SRAMs can begin with what is loaded once: only one program is, and puts something into them."""
    return len(feeds) == 1 and feeds[0].program.has_images


# ---- commands ----------------------------------------------------------------------------------------------------


class Load(NamedTuple):
    """Write these words; no answer."""

    blocks: Sequence[Block]

    def writes(self, cfg: ArchConfig) -> Iterable[Write]:
        """One write after the other."""
        return itertools.chain.from_iterable(block.writes(cfg) for block in self.blocks)


@dataclass(frozen=True)
class Known:
    """Read these words; where one is known (not None), it has to be there."""

    words: dict[Place, int | None]

    def places(self, cfg: ArchConfig) -> list[Place]:
        """Where they are."""
        return list(self.words)


# Start a run and wait until it is done: the answer is its `Count`, or None from who does not count.
# Read what a transfer brings, or words that are known: the answer is the words, two's complement or signed.
Command = Load | Run | Transfer | Known
Conversation = Generator[Command, Any, None]


def converse(
    feeds: Sequence[Feed],
    results: list[Result],
    *,
    engine: str,
    images: bool = False,
    read_back: bool = False,
    try_port: bool = False,
) -> Conversation:
    """Load each program and feed it with its inputs; adds a result for each to `results`.

    Parameters
    ----------
    engine : for the results.
    images : the SRAMs hold already what the (one) program puts into them.
    read_back : at the end, read every memory behind the port, and check what computing must not change.
    try_port : before everything else, check that the port gives back what was written.

    Raises
    ------
    MismatchError : what came out cannot be; `len(results)` is then the number of the input.
    """
    if try_port:
        yield from _try_port(feeds[0].program.cfg)
    inputs = sum(len(feed.inputs) for feed in feeds)
    for program, given in feeds:
        setup = program.setup_blocks(images=images)
        yield Load(setup)
        once = None if images else sum(map(len, setup))
        for x in given:
            vectors, counts = program.host_vectors(x), []
            loaded: list[Block] = []
            ran: list[Run] = []
            answer = len(vectors) - 1
            for run in program.runs:
                blocks = program.blocks(run, vectors)
                yield Load(blocks)
                loaded += blocks
                if (count := (yield run)) is not None:
                    run.check(count, program.cfg)
                    counts.append(count)
                for transfer in run.results:
                    transfer.store(vectors[transfer.vector], (yield transfer), program.cfg)
                ran.append(run)
                if run.exit is not None and run.exit.done(vectors[run.exit.vector]):
                    answer = run.exit.vector
                    break
            if read_back and len(results) + 1 == inputs:
                yield from _read_memories(program, [*program.setup, *loaded])
            result = _result(program.cfg, ran, vectors[answer], tuple(counts), engine)
            results.append(replace(result, load_cycles=sum(map(len, loaded)), weight_load_cycles=once))


def drive(conversation: Conversation, do: Callable[[Command], Any]) -> None:
    """Carry a conversation out: `do` is called with each command, and returns the answer."""
    answer = None
    with suppress(StopIteration):
        while True:
            answer = do(conversation.send(answer))


def _result(
    cfg: ArchConfig, ran: Sequence[Run], y: npt.NDArray[np.int64], runs: tuple[Count, ...], engine: str
) -> Result:
    writeback = sum(run.writeback_cycles for run in ran)
    cycles, counters = None, {}
    if runs:
        count = total(runs)
        cycles, counters = count.cycles, count.counters
        if not counters:
            cycles = _cycles_without_counters(cfg, ran, count, writeback)
    return Result(
        y.astype(np.int16),
        cycles,
        counters or dict.fromkeys(COUNTERS),
        engine,
        cfg,
        writeback_cycles=writeback,
        store_cycles=2 * sum(transfer.count for run in ran for transfer in run.results),
        runs=runs,
    )


def _cycles_without_counters(cfg: ArchConfig, ran: Sequence[Run], count: Count, writeback: int) -> int | None:
    """Of a single pass: busy are refill, compute mode and write-back; of many nobody tells which had nothing to do."""
    if sum(len(run.passes) for run in ran) > 1:
        return None
    cycles = count.busy_cycles - ran[0].refill_cycles - writeback - 1
    # An input without activations is the one with the shortest compute mode.
    return 0 if cycles == constants(cfg).T0 else cycles


# ---- checks of the port and of what is behind it -----------------------------------------------------------------


def _extended(word: int, bits: int, cfg: ArchConfig) -> int:
    """A word of `bits` bits as the port gives it back: its sign in all higher bits."""
    return (word - (word >> (bits - 1) << bits)) & ((1 << cfg.io_data_bits) - 1)


def _expect(known: Known, cfg: ArchConfig) -> Conversation:
    found = yield known
    for (place, expected), word in zip(known.words.items(), found, strict=True):
        if expected is not None and word & ((1 << cfg.io_data_bits) - 1) != expected:
            space, pe, addr = place
            raise MismatchError(
                f"{space.name} of PE {pe} at {addr} holds {word:#x}, but {expected:#x} was loaded"
            )


def _try_port(cfg: ArchConfig) -> Conversation:
    """Write a pattern of bits, and its opposite, to an accumulator, read both back, and leave 0 as it was."""
    mask = (1 << cfg.acc_bits) - 1
    pattern = int("01" * cfg.acc_bits, 2) & mask
    for word in (pattern, pattern ^ mask):
        yield Load([Block(IoSpace.ACC, 0, 0, [word])])
        yield from _expect(Known({(IoSpace.ACC, 0, 0): _extended(word, cfg.acc_bits, cfg)}), cfg)
    yield Load([Block(IoSpace.ACC, 0, 0, [0])])


def _read_memories(program: Program, loaded: Sequence[Block]) -> Conversation:
    """Read every word of every memory behind the port, and compare what computing must not change.

    In lockstep golden reads its own memories at the same time, so there every word is compared, used or not.
    """
    cfg = program.cfg
    words: dict[Place, int | None] = {
        (space, pe, addr): None
        for space in MEMORIES
        for pe in range(cfg.n_pe)
        for addr in range(space_words(space, cfg))
    }
    # Words that no pass writes, with the bits of those that the port gives back with their sign.
    kept = {IoSpace.SPMAT: 0, IoSpace.PTR: 0, IoSpace.CODEBOOK: cfg.code_bits}
    if not any(each.entry.src_rows for run in program.runs for each in run.passes):
        kept[IoSpace.ACT] = cfg.act_bits
    for space, pe, addr, data in Load(loaded).writes(cfg):
        if space in kept:
            words[space, pe, addr] = _extended(data, kept[space], cfg) if kept[space] else data
    yield from _expect(Known(words), cfg)
