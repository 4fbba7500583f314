"""Matrix-vector products of numpy (dense) and scipy (sparse), timed on the machine at hand, beside simulated times."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse
from scipy.stats import gmean

from eie.layer import CompressedLayer
from eie.sim.evaluation.layers import BENCHMARKS, benchmark, simulated
from eie.sim.evaluation.prose import prose
from eie.sim.evaluation.section import Progress, Section, Table, each
from eie.sim.evaluation.stopwatch import best_product
from eie.sim.published import BATCHES, published

KINDS = ("numpy dense", "scipy CSR", "scipy CSC")
# Of calls of one product; the least time counts.
SECONDS = 0.2

# Microseconds per vector by (kind of product, batch).
Times = dict[tuple[str, int], float]


def matrices(layer: CompressedLayer) -> dict[str, Any]:
    """The layer's weights as float32 matrices [rows, cols], one of each kind."""
    data = layer.codebook.astype(np.float32)[layer.codes] / np.float32(2**15)
    csc = scipy.sparse.csc_matrix((data, layer.indices, layer.indptr.astype(np.int32)), shape=layer.shape)
    return dict(zip(KINDS, (csc.toarray(order="C"), csc.tocsr(), csc), strict=True))


def measure(layer: CompressedLayer, x: npt.NDArray[np.int64], seconds: float = SECONDS) -> Times:
    """Time all products of a layer; the vectors of the batch are copies of the input, its zeros included."""
    us: Times = {}
    vector = x.astype(np.float32) / np.float32(2**15)
    for kind, matrix in matrices(layer).items():
        for batch in BATCHES:
            operand = vector if batch == 1 else np.ascontiguousarray(np.tile(vector[:, None], batch))
            us[kind, batch] = 1e6 * best_product(matrix, operand, seconds) / batch
    return us


def processor() -> str:
    """The name of this machine's processor."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def environment() -> str:
    """What the times depend on: processor, cores, libraries and their threads."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    threads = os.environ.get("OPENBLAS_NUM_THREADS", "not set: one thread per core")
    return (
        f"{processor()}, {cores} cores; numpy {np.__version__} with {blas['name']} {blas['version']} "
        f"(OPENBLAS_NUM_THREADS {threads}; or one thread where that is faster); scipy {scipy.__version__}, whose "
        "sparse products use one core"
    )


def section(seed: int, progress: Progress | None) -> Section:
    """Measure numpy and scipy on the nine layers."""
    timed = [measure(*benchmark(name, seed)) for name in each(BENCHMARKS, progress, "numpy and scipy: ")]
    ours = [simulated(name, seed).cycles / published().machine.clock_mhz for name in BENCHMARKS]  # type: ignore[operator]
    return Section(
        key="measured",
        title="Against numpy and scipy on this machine",
        text=prose("measured", environment=environment()),
        tables=[_table(batch, ours, timed) for batch in BATCHES],
        data={
            "environment": environment(),
            "us": {
                name: {f"{kind}, batch {batch}": us for (kind, batch), us in found.items()}
                for name, found in zip(BENCHMARKS, timed, strict=True)
            },
        },
        measured_here=True,
    )


def _table(batch: int, ours: list[float], timed: list[Times]) -> Table:
    ratios = np.array(
        [[found[kind, batch] / mine for kind in KINDS] for mine, found in zip(ours, timed, strict=True)]
    )
    rows = [
        [
            name,
            f"{mine:.1f}",
            *(f"{found[kind, batch]:,.1f}" for kind in KINDS),
            *(f"{r:.1f}" for r in ratio),
        ]
        for name, mine, found, ratio in zip(BENCHMARKS, ours, timed, ratios, strict=True)
    ]
    rows.append(["geometric mean", *[""] * (1 + len(KINDS)), *(f"{r:.1f}" for r in gmean(ratios))])
    return Table(
        title=f"Measured here, batch {batch}: µs per vector, and speed-up of the simulated accelerator",
        headings=("layer", "accelerator", *KINDS, *(f"over {kind}" for kind in KINDS)),
        rows=rows,
    )
