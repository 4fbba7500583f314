"""Layers and input vectors out of files, as they go into the accelerator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from eie.compress.forward import clipped_inputs, quantize_inputs
from eie.compress.readers import files as readers
from eie.errors import LayerError
from eie.fixed import IntArray
from eie.layer import CompressedLayer, as_activations


def choose(layers: Sequence[CompressedLayer], which: str | None) -> list[CompressedLayer]:
    """All layers, or the one with this name or number (from 0).

    Raises
    ------
    LayerError : there is none.
    """
    if which is None:
        return list(layers)
    for number, layer in enumerate(layers):
        if which in (layer.name, str(number)):
            return [layer]
    names = ", ".join(f"{number} ({layer.name})" for number, layer in enumerate(layers))
    raise LayerError(f"no layer {which!r}: the file has {names}")


def in_fixed_point(vectors: npt.NDArray[Any], layer: CompressedLayer, act_bits: int) -> tuple[IntArray, int]:
    """Vectors [n, inputs] as the activations of `layer`, int64[n, inputs], and how many real numbers were clipped.

    Real numbers are quantised with the layer's x_frac, uint8 are pixels / 255, other integers are fixed point already.

    Raises
    ------
    ModelError : numbers that are not finite.
    LayerError : integers that do not fit.
    """
    if readers.is_real(vectors):
        real = readers.real_inputs(vectors)
        return quantize_inputs(layer, real, act_bits), clipped_inputs(layer, real, act_bits)
    fixed = [as_activations(row, layer, act_bits, layer.inputs) for row in vectors]
    return np.array(fixed, np.int64).reshape(len(fixed), layer.inputs), 0
