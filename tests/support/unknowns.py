"""The RTL as silicon wakes up: no register and no memory has a value before somebody writes it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from eie.host import feeds_of
from eie.program import Job
from eie.sim.cosim.free import run as free
from eie.sim.simulate import simulate_many

# Of Yosys' Verilog: a register's initial value, and a memory's, word by word.
_REGISTER = re.compile(r"^(  reg (?:signed )?(?:\[\d+:0\] )?\S+ ?) = \d+'[^;]+;$", re.MULTILINE)
_MEMORY = re.compile(r"^  initial begin\n(?:    \S+\[\d+\] = [^;]+;\n)+  end\n", re.MULTILINE)
_SRAM = re.compile(r"^    initial begin\n.*?^    end\n", re.MULTILINE | re.DOTALL)


def without_initial_values(sources: Mapping[str, str]) -> dict[str, str]:
    """Verilog whose registers and memories, SRAMs too, are X at the start: a `transform` of the co-simulation."""
    return {
        name: _SRAM.sub("", _MEMORY.sub("", _REGISTER.sub(r"\1;", text))) for name, text in sources.items()
    }


def is_right(jobs: Sequence[Job]) -> list[bool]:
    """Of each layer whether the machine that knows nothing gives the reference's outputs, and the law's counts."""
    feeds = feeds_of(jobs)
    # Weights come through the port: an image would be an initial value.
    rtl = free.run_feeds(feeds, "icarus", port=True, transform=without_initial_values).results
    wanted = zip(simulate_many(jobs, "reference"), simulate_many(jobs, "fast"), strict=True)
    return [
        np.array_equal(have.y, exact.y)
        and have.cycles == fast.cycles
        and np.array_equal(have.count.per_pe, fast.count.per_pe)
        for have, (exact, fast) in zip(rtl, wanted, strict=True)
    ]
