"""The netlist that Yosys made of a chip, with the weights in its block RAMs, run in Icarus."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from eie.axi import LITE_ADDR_BITS, block_packet, read_packet, run_packet, stream_bits
from eie.config import ArchConfig
from eie.errors import MismatchError
from eie.program import Program
from eie.registers import Reg
from eie.sim.cosim.build import build_alone, run_alone
from eie.sim.fpga.board import Measured
from tests.support.ecp5_cells import cell_models

_BENCH, _SCRIPT, _RESULTS = "netlist_run", "script.txt", "results.txt"
_WORD, _LAST, _RECEIVE, _REGISTER = range(4)
# Registers that are read behind each input.
COUNTERS = (Reg.CYCLES, Reg.BROADCAST_STALLS, Reg.REFILL_CYCLES, Reg.WRITEBACK_CYCLES)


def run_netlist(netlist: str, program: Program, inputs: Sequence[npt.ArrayLike]) -> list[Measured]:
    """Feed the module `eie_chip` of a netlist with inputs; its SRAMs hold what `program` loads once.

    Raises
    ------
    LayerError : an input that does not fit. SimulatorMissing, SimulationError
    MismatchError : the chip did not answer, or with unknown bits.
    """
    cfg = program.cfg
    sources = {"netlist.v": netlist, "cells.v": cell_models(), f"{_BENCH}.v": _bench(program)}
    built = build_alone("icarus", sources, _BENCH)
    with tempfile.TemporaryDirectory(prefix="eie-netlist-") as temporary:
        folder = Path(temporary)
        (folder / _SCRIPT).write_text("".join(_steps(program, inputs)))
        run_alone(built, folder)
        *words, last = (folder / _RESULTS).read_text().split() or [""]
        if last != "end":
            said = (folder / "sim.log").read_text().strip().splitlines()[-1:]
            raise MismatchError(
                f"the netlist does not answer, after {len(words)} words {' '.join(said)}".rstrip()
            )
    unknown = next((word for word in words if set(word) - set("0123456789abcdef")), None)
    if unknown is not None:
        raise MismatchError(f"the netlist answers with unknown bits: {unknown}")
    return _measured(program, len(inputs), [int(word, 16) for word in words], cfg)


def _bench(program: Program) -> str:
    text = Path(__file__).with_name(f"{_BENCH}.v").read_text()
    late = 1000 + sum(run.deadline(program.cfg) for run in program.runs)
    values = {"LATE": late, "STREAM_BITS": stream_bits(program.cfg), "LITE_BITS": LITE_ADDR_BITS}
    for mark, value in values.items():
        text = text.replace(f"@{mark}@", str(value))
    return text


def _steps(program: Program, inputs: Sequence[npt.ArrayLike]) -> list[str]:
    lines: list[str] = []

    def send(packet: Sequence[int]) -> None:
        codes = [_WORD] * (len(packet) - 1) + [_LAST]
        lines.extend(f"{code:x} {word:x}\n" for code, word in zip(codes, packet, strict=True))

    for block in program.setup_blocks(images=True):
        send(block_packet(block))
    (run,) = program.runs
    for x in inputs:
        for block in program.blocks(run, program.host_vectors(x)):
            send(block_packet(block))
        send(run_packet(run.first, run.last))
        for result in run.results:
            send(read_packet(result.space, result.count, addr=result.addr, spread=True))
            lines.extend([f"{_RECEIVE:x} 0\n"] * result.count)
        lines.extend(f"{_REGISTER:x} {register.offset:x}\n" for register in COUNTERS)
    return lines


def _measured(program: Program, inputs: int, words: list[int], cfg: ArchConfig) -> list[Measured]:
    (run,) = program.runs
    found, at = [], 0
    for _ in range(inputs):
        y = np.zeros(program.vectors[-1], np.int64)
        for result in run.results:
            result.store(y, words[at : at + result.count], cfg)
            at += result.count
        counters = words[at : at + len(COUNTERS)]
        at += len(COUNTERS)
        found.append(Measured(y, *counters))
    return found
