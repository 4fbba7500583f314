"""Balanced placement: a layer's rows dealt out so that the PEs have equal work, whatever the machine.

A placed layer is an ordinary one with its rows in another order: row i of it belongs to PE i mod N like any other's,
so that every engine runs it as it is. Each row's entries stay in ascending column order, so that its sums stay the
same, bit for bit; only their places change, and `Placed.restored` undoes that. docs/balance.md says how rows are dealt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from eie.config import ArchConfig
from eie.errors import ConfigError
from eie.layer import CompressedLayer

# Columns whose work is balanced together: about what queues even out.
WINDOW = 32
# Numbers of a table of work: of wider matrices windows are wider.
_MOST = 1 << 26
# Exchanges between two PEs, at most so many for each PE.
_EXCHANGES = 8

Order = npt.NDArray[np.int64]
Numbers = TypeVar("Numbers", bound=np.generic)


@dataclass(frozen=True, eq=False)
class Placed:
    """A layer as it is loaded. rows : row i of it is the user's row rows[i]; cols : likewise (None: as they were)."""

    layer: CompressedLayer
    rows: Order | None = None
    cols: Order | None = None

    def inputs(self, x: npt.NDArray[Numbers]) -> npt.NDArray[Numbers]:
        """Activations [..., cols] in the user's order, as the placed layer takes them."""
        return x if self.cols is None else x[..., self.cols]

    def restored(self, y: npt.NDArray[Numbers]) -> npt.NDArray[Numbers]:
        """Outputs [..., rows] of the placed layer in the user's order."""
        if self.rows is None:
            return y
        restored = np.empty_like(y)
        restored[..., self.rows] = y
        return restored


# The last placement of each layer, with the PEs and the height of a tile that it is for.
_latest: WeakKeyDictionary[CompressedLayer, tuple[tuple[int, int], Placed]] = WeakKeyDictionary()


def balances(cfg: ArchConfig, balance: bool | None = None) -> bool:
    """Whether rows are balanced: as `balance` says; None: where a PE takes several entries a cycle, as of
    preset eie2, and rows may be in any order.

    Rows as they come would cost such a machine a seventh of its speed on layers as uneven as trained ones are.
    """
    return cfg.issue > 1 and not cfg.index_free if balance is None else balance


def place(layers: Sequence[CompressedLayer], cfg: ArchConfig, *, balance: bool | None = True) -> list[Placed]:
    """Place the rows of each layer; the next layer's columns follow, but for what the host reorders (convolutions).

    Behind an early exit, which stands before a layer that takes the same, they follow the layer before the exit.

    balance : as in `balances`; without it the layers stay as they are.

    Raises
    ------
    ConfigError : an index-free machine, which needs rows in their order.
    """
    if not balances(cfg, balance):
        return [Placed(layer) for layer in layers]
    if cfg.index_free:
        raise ConfigError(
            f"rows of an index-free machine (blocks={cfg.blocks}) are found by counting: run it without balance, which "
            "would permute them"
        )
    placed: list[Placed] = []
    for layer in layers:
        before = next((one for one in reversed(placed) if not one.layer.exit), None)
        direct = before is not None and before.layer.conv is None and layer.conv is None
        cols = before.rows if before is not None and direct else None
        moved = layer if cols is None else _with_columns(layer, cols)
        placed.append(replace(_balanced(moved, cfg), cols=cols))
    return placed


def _balanced(layer: CompressedLayer, cfg: ArchConfig) -> Placed:
    key = (cfg.n_pe, cfg.acc_depth)
    found, placed = _latest.get(layer, (None, None))
    if found != key or placed is None:
        rows = balanced_rows(layer, cfg)
        placed = Placed(with_rows(layer, rows), rows)
        _latest[layer] = key, placed
    return placed


def balanced_rows(layer: CompressedLayer, cfg: ArchConfig) -> Order:
    """Which row each place gets, so that the PEs' work is even: int64[rows].

    Every PE keeps as many rows as it had, and its local rows ascend with the layer's. Layers of more rows than the
    accumulators hold are placed tile by tile, because each tile is a pass.
    """
    height = cfg.n_pe * cfg.acc_depth
    work = _work(layer)
    order = np.empty(layer.rows, np.int64)
    for top in range(0, layer.rows, height):
        tile = work[top : top + height]
        order[top : top + height] = top + _deal(tile, min(cfg.n_pe, len(tile)))
    return order


def _work(layer: CompressedLayer) -> npt.NDArray[np.float64]:
    """Entries of each row in each window of columns, [rows, windows]; whole numbers, as real ones for fast products."""
    window = max(WINDOW, -(-layer.cols * layer.rows // _MOST))
    windows = -(-layer.cols // window)
    key = layer.indices * np.int64(windows) + np.repeat(
        np.arange(layer.cols) // window, np.diff(layer.indptr)
    )
    counted = np.bincount(key, minlength=layer.rows * windows)
    return counted.reshape(layer.rows, windows).astype(np.float64)


def _deal(work: npt.NDArray[np.float64], n_pe: int) -> Order:
    """The row of each place of a tile: heaviest rows first, each to the PE where squares of loads grow least."""
    rows = len(work)
    total = work.sum(axis=1)
    room = np.array([len(range(k, rows, n_pe)) for k in range(n_pe)])
    loads = np.zeros((n_pe, work.shape[1]))
    owner = np.empty(rows, np.int64)
    full = np.where(room > 0, 0.0, np.inf)
    for row in np.argsort(-total, kind="stable"):
        # (load + work)^2 - load^2 summed over windows, without what all PEs have in common.
        k = int(np.argmin(loads @ work[row] + full))
        owner[row] = k
        loads[k] += work[row]
        room[k] -= 1
        if not room[k]:
            full[k] = np.inf
    _exchange(owner, total, n_pe)
    order = np.empty(rows, np.int64)
    for k in range(n_pe):
        order[k::n_pe] = np.flatnonzero(owner == k)
    return order


def _exchange(owner: Order, total: npt.NDArray[np.float64], n_pe: int) -> None:
    """Exchange rows between the fullest and the emptiest PE as long as that brings them together."""
    loads = np.bincount(owner, total, n_pe)
    for _ in range(_EXCHANGES * n_pe):
        most, least = int(np.argmax(loads)), int(np.argmin(loads))
        apart = loads[most] - loads[least]
        mine, yours = np.flatnonzero(owner == most), np.flatnonzero(owner == least)
        moved = total[mine][:, None] - total[yours][None, :]
        i, j = np.unravel_index(np.argmin(np.abs(moved - apart / 2)), moved.shape)
        if not 0 < moved[i, j] < apart:
            return
        owner[mine[i]], owner[yours[j]] = least, most
        loads[most] -= moved[i, j]
        loads[least] += moved[i, j]


def with_rows(layer: CompressedLayer, order: Order) -> CompressedLayer:
    """The layer with row order[i] as its row i."""
    place = np.empty(layer.rows, np.int32)
    place[order] = np.arange(layer.rows, dtype=np.int32)
    moved = place[layer.indices]
    by_row = np.argsort(layer.column_of_entry() * layer.rows + moved)
    return replace(
        layer,
        indices=moved[by_row],
        codes=layer.codes[by_row],
        bias=layer.bias[order],
        scale=None if layer.scale is None else layer.scale[order],
        blocks=None,
        prefixes=(),
        meta=dict(layer.meta),
    )


def _with_columns(layer: CompressedLayer, order: Order) -> CompressedLayer:
    """The layer with column order[j] as its column j."""
    lengths = np.diff(layer.indptr)[order]
    indptr = np.concatenate(([0], np.cumsum(lengths)))
    taken = np.arange(layer.nnz) + np.repeat(layer.indptr[:-1][order] - indptr[:-1], lengths)
    return replace(
        layer,
        indptr=indptr,
        indices=layer.indices[taken],
        codes=layer.codes[taken],
        blocks=None,
        prefixes=(),
        meta=dict(layer.meta),
    )
