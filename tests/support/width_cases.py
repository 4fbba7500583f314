"""Networks of several widths, made by hand."""

import dataclasses

import numpy as np

from eie.layer import CompressedLayer
from eie.prefix import Prefix


def random_layers(seed: int) -> list[CompressedLayer]:
    """Three layers whose widths are no multiples of the PEs, sparse enough for fillers."""
    rng = np.random.default_rng(seed)

    def layer(rows: int, cols: int, relu: bool, prefixes: list[tuple[int, int, int]]) -> CompressedLayer:
        codes = rng.integers(1, 4, (rows, cols)) * (rng.random((rows, cols)) < 0.3)
        made = CompressedLayer.from_codes(
            codes, [0, 3, -2, 5], rng.integers(-9, 9, rows), relu, 2, x_frac=4, w_frac=2, name=f"{rows}"
        )
        return dataclasses.replace(made, prefixes=tuple(Prefix(*one) for one in prefixes))

    return [
        layer(33, 20, True, [(250, 9, 20), (500, 17, 20)]),
        layer(21, 33, True, [(250, 5, 9), (500, 11, 17)]),
        layer(3, 21, False, [(250, 3, 5), (500, 3, 11)]),
    ]
