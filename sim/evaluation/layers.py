"""The nine benchmark layers: seeded random matrices and inputs of the published sizes and densities.

The trained matrices were never published with the paper; what is known of them is their size and their densities.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from eie.capacity import sized_for
from eie.config import ArchConfig
from eie.layer import CompressedLayer
from eie.result import Result
from eie.sim.engines.fast import prepare
from eie.sim.published import published
from eie.sim.workloads.random import Unevenness, random_input, random_layer

Benchmark = tuple[CompressedLayer, npt.NDArray[np.int64]]

# Names in the published order.
BENCHMARKS: tuple[str, ...] = tuple(layer.name for layer in published().layers)

_CAPACITIES = ("entries", "pointers", "pointer_bits", "src_depth", "acc_depth")


def benchmark(name: str, seed: int, uneven: Unevenness | None = None) -> Benchmark:
    """A benchmark layer and its input vector int64[cols]. The even ones are kept, so that all parts share them.

    Raises
    ------
    FormatError : no benchmark of this name.
    """
    return _even(name, seed) if uneven is None else _draw(name, seed, uneven)


def _draw(name: str, seed: int, uneven: Unevenness | None) -> Benchmark:
    facts = published().layer(name)
    layer = random_layer(facts.rows, facts.cols, facts.weight_density, seed, name=name, uneven=uneven)
    return layer, random_input(facts.cols, facts.activation_density, seed)


@lru_cache(maxsize=2 * len(BENCHMARKS))
def _even(name: str, seed: int) -> Benchmark:
    return _draw(name, seed, None)


def published_machine() -> ArchConfig:
    """The published machine: 64 PEs, queue depth 8, 800 MHz, memories of the published sizes."""
    facts = published().machine
    return ArchConfig(n_pe=facts.n_pe, queue_depth=facts.queue_depth, clock_hz=facts.clock_mhz * 1_000_000)


def machine(layer: CompressedLayer) -> ArchConfig:
    """The published machine; what the layer needs more of (`eie.sized_for`) is enlarged.

    So it fits untiled; no size changes the time.
    """
    cfg = published_machine()
    needed = sized_for(cfg, layer)
    return cfg.replace(**{name: max(getattr(cfg, name), getattr(needed, name)) for name in _CAPACITIES})


@lru_cache(maxsize=2 * len(BENCHMARKS))
def simulated(name: str, seed: int) -> Result:
    """A benchmark run on `machine` by the fast engine."""
    layer, x = benchmark(name, seed)
    return prepare(layer, machine(layer)).run(x)
