"""Loops compiled ahead that a first command would compile: for `eie warm`, which `make setup` runs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from eie import jit
from eie.capacity import sized_for
from eie.compress.format.file import from_bytes, to_bytes
from eie.config import ArchConfig
from eie.plan import make_plan
from eie.sim.engines import cpu, fast, fast_plan
from eie.sim.workloads.random import random_input, random_layer

# More elements than the adaptive code takes, so that the file uses Huffman's.
_LARGE = (2048, 1030)


def _files() -> None:
    """Both codings, written and read, and a layer of each that was made here."""
    layers = [random_layer(*size, density, seed=1) for size, density in (((48, 32), 0.3), (_LARGE, 0.01))]
    for layer in layers:
        from_bytes(to_bytes(from_bytes(to_bytes([layer]))))


def _fast_engine() -> None:
    """One input, a batch, the law alone and a plan; of a layer made here, and of one read from a file."""
    made = random_layer(48, 32, 0.3, seed=1)
    cfg = ArchConfig(n_pe=4)
    x = random_input(32, 0.5, seed=1)
    for layer in (made, from_bytes(to_bytes([made]))[0]):
        prepared = fast.prepare(layer, cfg)
        prepared.run(x)
        prepared.run_batch(np.stack([x, x]))
        fast.timing(prepared.lengths, cfg)
        fast_plan.FastPlan(make_plan([layer], cfg)).run(x)
        fast.prepare(layer, sized_for(ArchConfig.preset("eie2", n_pe=4), layer)).run_batch(np.stack([x, x]))


# Small runs that reach every loop, with the types of arguments that commands use. A new engine adds its own.
RUNS: tuple[Callable[[], None], ...] = (_files, _fast_engine, cpu.compile_loops)


def warm(told: Callable[[str], None] = lambda name: None) -> int:
    """Compile every loop that is not in the cache yet; how many there were.

    Parameters
    ----------
    told : is called with each loop's name, and how far that is, before it is compiled.
    """
    names: list[str] = []

    def listen(name: str) -> None:
        names.append(name)
        told(f"{name} (part {part} of {len(RUNS)})")

    jit.listeners.append(listen)
    try:
        for part, run in enumerate(RUNS, start=1):  # noqa: B007 (told in `listen`)
            run()
    finally:
        jit.listeners.remove(listen)
    return len(names)
