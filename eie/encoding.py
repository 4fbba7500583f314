"""A layer as a configuration holds it: with rows in its entries (`eie.csc`), or without (`eie.index_free`)."""

from __future__ import annotations

from eie.config import ArchConfig
from eie.csc import Encoding, Interleaved, encoded
from eie.index_free import check_blocks, place_blocks
from eie.layer import CompressedLayer


def encode(layer: CompressedLayer, cfg: ArchConfig) -> Interleaved:
    """A layer as the PEs of a configuration hold it.

    The arrays are read-only: the layer's last encoding is kept as long as the layer.

    Raises
    ------
    LayerError : an index-free machine cannot run it.
    """
    if not cfg.index_free:
        return encoded(layer, Encoding.of(cfg))
    check_blocks(layer, cfg)
    return encoded(layer, Encoding.of(cfg), lambda: place_blocks(layer, cfg))
