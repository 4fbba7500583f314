"""Programs of many passes over the chip's buses: packets to load one, to feed it with inputs, and to read results."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from eie.axi import block_packet, read_packet, run_packet
from eie.program import Program, Run
from eie.sim.cosim.chip.script import Send, Settle, Step


def program_script(program: Program, inputs: Sequence[npt.ArrayLike]) -> list[Step]:
    """A script for `run_script`: load the program, then feed it with inputs, everything back to back.

    Where a run needs results of one before it, they come from the golden chip, which goes along.

    Raises
    ------
    LayerError : an input that does not fit.
    """
    oracle = _oracle(program) if len(program.runs) > 1 else None
    script: list[Step] = []

    def send(packets: Iterator[list[int]] | list[list[int]]) -> None:
        for packet in packets:
            script.append(Send(packet))
            if oracle is not None:
                oracle.send(packet)

    send([block_packet(block) for block in program.setup])
    for x in inputs:
        vectors = program.host_vectors(x)
        for run in program.runs:
            send(_run_packets(program, run, vectors))
            if oracle is not None:
                oracle.wait()
                _store(program, run, vectors, oracle.results)
                oracle.results.clear()
    return [*script, Settle()]


def program_outputs(program: Program, results: Sequence[Sequence[int]]) -> list[npt.NDArray[np.int64]]:
    """The output vector of each input, from the result packets of a `program_script`."""
    outputs = []
    per_input = sum(len(run.results) for run in program.runs)
    for first in range(0, len(results), per_input):
        vectors = [np.zeros(length, np.int64) for length in program.vectors]
        packets = list(results[first : first + per_input])
        for run in program.runs:
            _store(program, run, vectors, packets[: len(run.results)])
            del packets[: len(run.results)]
        outputs.append(vectors[-1])
    return outputs


def _run_packets(program: Program, run: Run, vectors: Sequence[npt.NDArray[np.int64]]) -> Iterator[list[int]]:
    for block in run.loads:
        yield block_packet(block)
    for source in run.sources:
        yield block_packet(source.block(vectors[source.vector], program.cfg))
    yield run_packet(run.first, run.last)
    for result in run.results:
        yield read_packet(result.space, result.count, addr=result.addr, spread=True)


def _store(
    program: Program, run: Run, vectors: Sequence[npt.NDArray[np.int64]], packets: Sequence[Sequence[int]]
) -> None:
    for transfer, words in zip(run.results, packets, strict=True):
        transfer.store(vectors[transfer.vector], words, program.cfg)


def _oracle(program: Program) -> Any:
    from eie.golden.chip import Chip

    return Chip(program.cfg)
