"""Programs of many passes over the chip's buses: packets to load one, to feed it with inputs, and to read results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from eie.axi import block_packet, read_packet, run_packet
from eie.golden.chip import Chip
from eie.host import Command, Feed, Load, converse, drive
from eie.program import Program, Run, Transfer
from eie.result import Result
from eie.sim.cosim.chip.script import Send, Settle, Step


def program_script(program: Program, inputs: Sequence[npt.ArrayLike]) -> list[Step]:
    """A script for `run_script`: load the program, then feed it with inputs, everything back to back.

    Where a run needs results of one before it, they come from the golden chip, which goes along.

    Raises
    ------
    LayerError : an input that does not fit.
    """
    oracle = None if program.known_beforehand else Chip(program.cfg)
    script: list[Step] = []

    def send(packet: list[int]) -> None:
        script.append(Send(packet))
        if oracle is not None:
            oracle.send(packet)

    def do(command: Command) -> Any:
        if isinstance(command, Load):
            for block in command.blocks:
                send(block_packet(block))
        elif isinstance(command, Run):
            send(run_packet(command.first, command.last))
        elif isinstance(command, Transfer):
            send(read_packet(command.space, command.count, addr=command.addr, spread=True))
            if oracle is None:
                return [0] * command.count
            oracle.wait()
            return oracle.results.pop()
        return None

    drive(converse([Feed(program, inputs)], [], engine="chip"), do)
    return [*script, Settle()]


def program_outputs(program: Program, results: Sequence[Sequence[int]]) -> list[npt.NDArray[np.int16]]:
    """The output vector of each input, from the result packets of a `program_script`."""
    packets, outputs = iter(results), list[Result]()
    inputs = len(results) // sum(len(run.results) for run in program.runs)
    # What is loaded does not matter here.
    feed = Feed(program, [np.zeros(program.vectors[0], np.int64)] * inputs)
    drive(
        converse([feed], outputs, engine="chip"),
        lambda command: next(packets) if isinstance(command, Transfer) else None,
    )
    return [output.y for output in outputs]
