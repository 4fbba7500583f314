"""Programs as files for software that drives the chip's streams: packets as hexadecimal words, and what to send when.

docs/programming.md ("From a .eie to words") tells how they are used.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from eie.axi import Header, block_packet, read_packet, run_packet, stream_bits
from eie.config import ArchConfig
from eie.memory import Block
from eie.plan import Plan
from eie.plan_program import plan_program
from eie.program import Program, Run, Transfer
from eie.schema import IoSpace

INDEX = "chip_words.json"


def chip_words(plans: Sequence[Plan]) -> Mapping[str, str]:
    """Files by name: `INDEX`, and the packets that it names. All plans are of one chip; each is a program."""
    files: dict[str, str] = {}
    index = {
        "stream_bits": stream_bits(plans[0].cfg),
        "act_bits": plans[0].cfg.act_bits,
        "programs": [_program(number, plan, files) for number, plan in enumerate(plans)],
    }
    return {INDEX: json.dumps(index, indent=1) + "\n", **files}


def _program(number: int, plan: Plan, files: dict[str, str]) -> dict[str, Any]:
    program = plan_program(plan)
    fractions = [plan.layers[0].x_frac, *(layer.y_frac for layer in plan.layers)]
    return {
        "layers": [layer.name for layer in plan.layers],
        "vectors": [
            {"length": length, "fraction_bits": bits}
            for length, bits in zip(program.vectors, fractions, strict=True)
        ],
        "setup": _store(files, f"chip_setup{number}.hex", program.setup, plan.cfg),
        "runs": [
            _run(program, run, _store(files, f"chip_load{number}_{i}.hex", run.loads, plan.cfg))
            for i, run in enumerate(program.runs)
        ],
    }


def _run(program: Program, run: Run, load: str | None) -> dict[str, Any]:
    return {
        "load": load,
        "inputs": [_input(program, source) for source in run.sources],
        "run": _hex(run_packet(run.first, run.last)[0]),
        "results": [
            {
                "vector": result.vector,
                "start": result.start,
                "count": result.count,
                "header": _hex(read_packet(result.space, result.count, addr=result.addr, spread=True)[0]),
            }
            for result in run.results
        ],
    }


def _input(program: Program, source: Transfer) -> dict[str, Any]:
    zeros = np.zeros(program.vectors[source.vector], np.int64)
    header, *words = block_packet(source.block(zeros, program.cfg))
    return {
        "vector": source.vector,
        "start": source.start,
        "count": source.count,
        "words": len(words),
        "header": _hex(header),
    }


def _store(files: dict[str, str], name: str, blocks: Iterable[Block], cfg: ArchConfig) -> str | None:
    """Put the packets of blocks into `files`: the file's name, or None if there are no blocks."""
    digits = -(-stream_bits(cfg) // 4)
    lines: list[str] = []
    for block in blocks:
        packet = block_packet(block)
        header = Header.unpack(packet[0])
        place = f"{IoSpace(header.space).name} {'PEs in turn' if header.spread else f'PE {header.pe}'}"
        lines.append(f"// {place} from {header.addr}: {header.count} words")
        lines += [f"{word:0{digits}x}" for word in packet]
    if not lines:
        return None
    files[name] = "\n".join(lines) + "\n"
    return name


def _hex(word: int) -> str:
    return f"0x{word:016x}"
