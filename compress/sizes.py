"""What `eie info` shows: where the bytes of a `.eie` file go."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from eie.compress.streams import Stream


@dataclass(frozen=True)
class StreamSize:
    """Size of one stream of one layer, in bits unless said otherwise.

    symbols of `width` bits each; `plain` = symbols * width is the size before Huffman coding, `coded` after it,
    `entropy` the bound for it; overhead_bytes are the stream's head and Huffman table.
    """

    symbols: int
    width: int
    coded: int
    entropy: float
    overhead_bytes: int

    @classmethod
    def of(cls, stream: Stream) -> StreamSize:
        """Size of `stream`."""
        return cls(
            len(stream.symbols), stream.width, stream.coded_bits, stream.entropy_bits, stream.overhead_bytes
        )

    @property
    def plain(self) -> int:
        """Bits before Huffman coding."""
        return self.symbols * self.width

    @property
    def nbytes(self) -> int:
        """Bytes in the file."""
        return (self.coded + 7) // 8 + self.overhead_bytes


@dataclass(frozen=True)
class LayerSize:
    """Sizes of one layer in the file. dense_bytes : weights and biases as float32."""

    name: str
    rows: int
    cols: int
    nnz: int
    codes: StreamSize
    row_indices: StreamSize
    counts: StreamSize
    codebook_bytes: int
    bias_bytes: int

    @property
    def dense_bytes(self) -> int:
        """Weights and biases as float32."""
        return 4 * self.rows * (self.cols + 1)

    @property
    def nbytes(self) -> int:
        """Everything of the layer but its share of the header."""
        streams = self.codes.nbytes + self.row_indices.nbytes + self.counts.nbytes
        return streams + self.codebook_bytes + self.bias_bytes

    def per_weight(self, measure: Callable[[StreamSize], float]) -> dict[str, float]:
        """Bits per stored weight of each stream by `measure`, e.g. `lambda s: s.coded`; 0 for an empty layer."""
        streams = {"codes": self.codes, "rows": self.row_indices, "counts": self.counts}
        return {name: measure(size) / max(self.nnz, 1) for name, size in streams.items()}


@dataclass(frozen=True)
class SizeReport:
    """Sizes of a file: total_bytes = header_bytes + the layers' nbytes."""

    total_bytes: int
    header_bytes: int
    version: int
    checksum: str
    layers: tuple[LayerSize, ...]

    @property
    def dense_bytes(self) -> int:
        """Weights and biases of the whole network as float32."""
        return sum(layer.dense_bytes for layer in self.layers)

    @property
    def ratio(self) -> float:
        """How many times smaller the file is than the dense float32 network."""
        return self.dense_bytes / self.total_bytes
