"""The timing law: cycles of a layer from its column lengths, and the declared delays that its constants come from.

docs/timing.md derives the law; the golden model and the RTL are held to it by tests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eie.config import ArchConfig
from eie.layer import CompressedLayer
from eie.schema import config_registers
from eie.segments import column_places, depth_of, row_places


@dataclass(frozen=True)
class Delay:
    """Cycles that a block puts between two events, and where they come from."""

    block: str
    event: str
    cycles: Callable[[ArchConfig], int]
    cause: str


# One line per delay; A, B, C and T0 below are sums of these and of nothing else.
DELAYS: dict[str, Delay] = {
    "tree": Delay(
        "lnzd",
        "leaf offers -> root offers",
        lambda cfg: cfg.tree_levels,
        "one register per level of the tree",
    ),
    "bus": Delay(
        "ccu", "broadcast -> activation queue", lambda cfg: cfg.bus_registers, "pipeline registers on the bus"
    ),
    "address": Delay(
        "block_table",
        "broadcast -> bus of an index-free machine",
        lambda cfg: 2 * cfg.index_free,
        "a register behind the block of the column, and one behind its address",
    ),
    "queue": Delay(
        "act_queue", "write -> head", lambda cfg: 1, "the queue memory is written at the clock edge"
    ),
    "credit": Delay("act_queue", "start -> credit seen by the CCU", lambda cfg: 1, "occupancy is a register"),
    "pointer": Delay(
        "ptr_read",
        "pointer address -> pointers",
        lambda cfg: 1 - cfg.index_free,
        "the pointer SRAMs are synchronous",
    ),
    "matrix": Delay("spmat_read", "entry address -> entry", lambda cfg: 1, "the matrix SRAM is synchronous"),
    "lookup": Delay(
        "arithm_unit",
        "entry -> stage 1",
        lambda cfg: cfg.lookup_register,
        "the register in front of the codebook",
    ),
    "arithmetic": Delay(
        "arithm_unit", "stage 1 -> stage 4", lambda cfg: 3, "one register after each of the stages 1 to 3"
    ),
}


@dataclass(frozen=True)
class Constants:
    """Constants of the timing law, in cycles."""

    T0: int
    A: int
    B: int
    C: int


def constants(cfg: ArchConfig) -> Constants:
    """T0, A, B and C of a configuration, from the declared delays.

    >>> constants(ArchConfig(n_pe=64))
    Constants(T0=3, A=2, B=1, C=4)
    """
    cycles = {name: delay.cycles(cfg) for name, delay in DELAYS.items()}
    return Constants(
        T0=cycles["tree"],
        A=cycles["bus"] + cycles["address"] + cycles["queue"] + cycles["pointer"],
        B=cycles["credit"],
        C=cycles["matrix"] + cycles["lookup"] + cycles["arithmetic"],
    )


@dataclass(frozen=True, eq=False)
class Schedule:
    """When each active column is broadcast and started, and the cycles of the layer.

    bcast : int64[M]; start : int64[M, n_pe]; cycles, broadcast_stalls : int.
    """

    bcast: npt.NDArray[np.int64]
    start: npt.NDArray[np.int64]
    cycles: int
    broadcast_stalls: int


def schedule(lengths: npt.NDArray[np.integer], cfg: ArchConfig) -> Schedule:
    """Evaluate the timing law.

    Parameters
    ----------
    lengths : int[M, n_pe], entries (fillers included) of each active column on each PE, in broadcast order.

    >>> schedule(np.array([[3, 0]]), ArchConfig(n_pe=2)).cycles    # T0 + A + 3 + C
    10
    """
    k = constants(cfg)
    busy = np.maximum(np.asarray(lengths, np.int64), 1)
    columns, n_pe = busy.shape
    bcast = np.zeros(columns, np.int64)
    start = np.zeros((columns, n_pe), np.int64)
    free = np.zeros(n_pe, np.int64)
    for m in range(columns):
        when = k.T0 if m == 0 else bcast[m - 1] + 1
        if m >= cfg.queue_depth:
            when = max(when, int(start[m - cfg.queue_depth].max()) + k.B)
        bcast[m] = when
        start[m] = np.maximum(when + k.A, free)
        free = start[m] + busy[m]
    if not columns:
        return Schedule(bcast, start, 0, 0)
    return Schedule(bcast, start, int(free.max()) + k.C, int(bcast[-1] - bcast[0]) + 1 - columns)


def rows_per_pe(layer: CompressedLayer, cfg: ArchConfig) -> int:
    """Accumulators in use on each PE; in segments on those of the fullest."""
    return depth_of(row_places(layer, cfg), cfg)


def load_cycles(layer: CompressedLayer, cfg: ArchConfig) -> int:
    """Writes through the I/O port before a run: configuration, codebook, accumulators, activations."""
    activations = depth_of(column_places(layer, cfg), cfg)
    return len(config_registers(cfg)) + cfg.n_codes + cfg.n_pe * (rows_per_pe(layer, cfg) + activations)


def writeback_cycles(layer: CompressedLayer, cfg: ArchConfig) -> int:
    """Cycles of the write-back: one row a cycle in every PE, and one to write the last."""
    return rows_per_pe(layer, cfg) + 1


def refill_cycles(acc_rows: int, src_rows: int, *, first: bool) -> int:
    """Cycles of a pass's refill: a row a cycle in every PE, and one after each of the two files to write the last.

    first : the pass is the first of its run; then it goes without where it has nothing to refill.
    """
    return 0 if first and not acc_rows and not src_rows else acc_rows + src_rows + 2


def compute_mode_cycles(cycles: int, cfg: ArchConfig) -> int:
    """Cycles in compute mode, the drain included, of a pass that takes `cycles` by the law."""
    return max(cycles, constants(cfg).T0) + 1


def busy_cycles(cycles: Iterable[int], refill: int, writeback: int, cfg: ArchConfig) -> int:
    """Cycles in which the array is busy with a run: from the one after start to done.

    cycles : of each pass, by the law. refill, writeback : of all of them.
    """
    return sum(compute_mode_cycles(of_pass, cfg) for of_pass in cycles) + refill + writeback
