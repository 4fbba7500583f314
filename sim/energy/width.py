"""Energy of reading the sparse matrix, by the width of its SRAM: fewer reads of wider words against dearer reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eie.config import ArchConfig
from eie.csc import interleave
from eie.errors import ConfigError
from eie.layer import CompressedLayer
from eie.sim.energy.model import memory_read_pj

# The published matrix SRAM of one PE.
MATRIX_BYTES = 128 << 10


@dataclass(frozen=True)
class WidthPoint:
    """Reading one layer's active columns at one SRAM width: reads of all PEs, energy of a read, energy of all."""

    width_bits: int
    reads: int
    read_pj: float

    @property
    def total_nj(self) -> float:
        """Energy of all reads."""
        return self.reads * self.read_pj * 1e-3


def sram_width_energy(
    layer: CompressedLayer,
    x: npt.NDArray[np.integer],
    cfg: ArchConfig,
    widths: Sequence[int] = (32, 64, 128, 256, 512),
    *,
    held: bool = True,
    sram_bytes: int = MATRIX_BYTES,
) -> tuple[WidthPoint, ...]:
    """Reads and their energy at each width of a matrix SRAM of `sram_bytes` per PE.

    held : the word that was read last is not read again when the next active column begins in it: what this project's
        machine does, the same count as `spmat_reads`. False: each column begins with a read.

    Raises
    ------
    ConfigError : no input for a column, or a width that holds no entry or that no configuration can have.
    """
    return tuple(
        WidthPoint(
            width,
            int(matrix_reads(layer, x, cfg.replace(word_bits=width), held=held).sum()),
            memory_read_pj(sram_bytes * 8 // width, width),
        )
        for width in widths
    )


def matrix_reads(
    layer: CompressedLayer, x: npt.NDArray[np.integer], cfg: ArchConfig, *, held: bool = True
) -> npt.NDArray[np.int64]:
    """Words that each PE reads for the active columns, int64[n_pe]; `held` as in `sram_width_energy`.

    Raises
    ------
    ConfigError : no input for a column.
    """
    if np.shape(x) != (layer.cols,):
        raise ConfigError(f"the layer has {layer.cols} columns, and the input the shape {np.shape(x)}")
    pointers = interleave(layer, cfg.n_pe, cfg.index_bits).pointers
    active = np.flatnonzero(x)
    low, high = pointers[:, active], pointers[:, active + 1]
    filled = high > low
    first, last = low // cfg.entries_per_word, (high - 1) // cfg.entries_per_word
    reads: npt.NDArray[np.int64] = np.where(filled, last - first + 1, 0).sum(axis=1)
    if held:
        # Entries ascend with the columns, so the word held is the largest read so far.
        reached = np.maximum.accumulate(np.where(filled, last, -1), axis=1)
        before = np.concatenate((np.full((cfg.n_pe, 1), -1), reached[:, :-1]), axis=1)
        reads = reads - (filled & (first == before)).sum(axis=1)
    return reads
