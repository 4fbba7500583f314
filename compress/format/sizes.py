"""What `eie info` shows: where the bytes of a `.eie` file go."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from eie.compress.format.mesa import mesa_bits
from eie.layer import CompressedLayer
from eie.shown import counted, table


@dataclass(frozen=True)
class PartSize:
    """Bits of one part of a layer.

    plain : as the accelerator has it, with relative indices of `LayerSize.index_bits` bits and fillers. coded : in the
    file, with tables. entropy : Shannon's bound for codes that are independent of each other, and for positions that
    are all equally likely; a code that knows more of the layer goes below it.
    """

    plain: int
    coded: float
    entropy: float


@dataclass(frozen=True)
class LayerSize:
    """Sizes of one layer in the file.

    coding : "adaptive", "Huffman" or "blocks". index_bits : the width at which plain relative indices are smallest,
    over the whole matrix as one column (0 in blocks). codes, positions, codebook_bits, bias_bits : bits of the parts.
    nnz : weights; in blocks those that are 0 as well. nbytes : all of it, with its head. blocks : in words, empty
    without. mesa_bits : of codes and positions as MESA counts them (`eie.compress.format.mesa`).
    """

    name: str
    rows: int
    cols: int
    nnz: int
    coding: str
    index_bits: int
    codes: PartSize
    positions: PartSize
    codebook_bits: float
    bias_bits: float
    nbytes: int
    has_bias: bool
    fully_connected: bool
    blocks: str
    mesa_bits: float

    @property
    def dense_bytes(self) -> int:
        """Weights, and biases if there are any but 0, as float32."""
        return 4 * self.rows * (self.cols + self.has_bias)

    def per_weight(self, measure: Callable[[PartSize], float]) -> dict[str, float]:
        """Bits per stored weight of each part by `measure`, e.g. `lambda p: p.coded`; 0 for an empty layer."""
        parts = {"codes": self.codes, "positions": self.positions}
        return {name: measure(size) / max(self.nnz, 1) for name, size in parts.items()}


@dataclass(frozen=True)
class SizeReport:
    """Sizes of a file: total_bytes = header_bytes + the layers' nbytes."""

    total_bytes: int
    header_bytes: int
    version: int
    checksum: str
    layers: tuple[LayerSize, ...]

    def __repr__(self) -> str:
        return f"SizeReport({counted(len(self.layers), 'layer')}: {self.told})"

    def _repr_html_(self) -> str:
        rows = [
            (
                one.name,
                one.coding,
                f"{one.dense_bytes:,}",
                f"{one.nbytes:,}",
                f"{one.dense_bytes / one.nbytes:.1f} x",
            )
            for one in self.layers
        ]
        return table(self.told, rows, ("layer", "coding", "float32 bytes", "bytes", "smaller"))

    @property
    def told(self) -> str:
        """The size in words."""
        return f"{self.total_bytes:,} bytes, {self.ratio:.1f} x smaller than float32"

    @property
    def dense_bytes(self) -> int:
        """Weights and biases of the whole network as float32."""
        return sum(layer.dense_bytes for layer in self.layers)

    @property
    def ratio(self) -> float:
        """How many times smaller the file is than the dense float32 network."""
        return self.dense_bytes / self.total_bytes

    @property
    def connected_ratios(self) -> tuple[float, float]:
        """How many times smaller the weights of the fully connected layers are than float32, their codes and positions
        alone counted: as they are in the file, and as MESA counts. 0 if there are none.
        """
        layers = [layer for layer in self.layers if layer.fully_connected]
        dense = 32 * sum(layer.rows * layer.cols for layer in layers)
        ours = sum(layer.codes.coded + layer.positions.coded for layer in layers)
        return dense / ours if ours else 0.0, dense / by_mesa if (
            by_mesa := sum(x.mesa_bits for x in layers)
        ) else 0.0


def _entropy(counts: np.ndarray) -> float:
    """Bits of that many symbols of each kind when each is coded by itself."""
    some = counts[counts > 0]
    return float((some * np.log2(some.sum() / some)).sum())


def layer_size(layer: CompressedLayer, coding: str, coded: dict[str, float], nbytes: int) -> LayerSize:
    """Sizes of a layer; `coded` has the bits of codes, positions, codebook and bias."""
    if layer.blocks is not None:
        blocks = layer.block_codes()
        codes = np.concatenate([block.ravel() for block in blocks.codes])
        of_codes = PartSize(codes.size * blocks.bits, coded["codes"], _entropy(np.bincount(codes)))
        return _size(layer, coding, 0, (of_codes, PartSize(0, 0.0, 0.0)), coded, nbytes, mesa_bits(blocks))
    places = layer.column_of_entry() * layer.rows + layer.indices
    gaps = np.diff(places, prepend=-1) - 1
    fillers = {bits: int((gaps >> bits).sum()) for bits in range(1, 17)}
    index_bits = min(fillers, key=lambda bits: (layer.nnz + fillers[bits]) * (bits + layer.weight_bits))
    more = fillers[index_bits]
    elements = layer.rows * layer.cols
    parts = (
        PartSize(layer.nnz * layer.weight_bits, coded["codes"], _entropy(np.bincount(layer.codes))),
        PartSize(
            layer.nnz * index_bits + more * (index_bits + layer.weight_bits),
            coded["positions"],
            _entropy(np.array([layer.nnz, elements - layer.nnz])),
        ),
    )
    return _size(layer, coding, index_bits, parts, coded, nbytes, coded["codes"] + coded["positions"])


def _size(
    layer: CompressedLayer,
    coding: str,
    index_bits: int,
    parts: tuple[PartSize, PartSize],
    coded: dict[str, float],
    nbytes: int,
    by_mesa: float,
) -> LayerSize:
    return LayerSize(
        layer.name,
        layer.rows,
        layer.cols,
        layer.nnz if layer.blocks is None else layer.blocks.entries,
        coding,
        index_bits,
        *parts,
        coded["codebook"],
        coded["bias"],
        nbytes,
        bool(np.any(layer.bias)),
        layer.conv is None,
        "" if layer.blocks is None else str(layer.blocks),
        by_mesa,
    )
