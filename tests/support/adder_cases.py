"""Random layers that add or scale their rows, with an input and a machine that holds them (docs/adder.md)."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from eie.capacity import sized_for
from eie.config import ABSOLUTE, ArchConfig
from eie.layer import CompressedLayer
from tests.support.cases import Case


def random_layer(
    rng: np.random.Generator, rows: int, cols: int, *, bits: int = 4, adder: bool = True, scaled: bool = True
) -> CompressedLayer:
    """Weights of both signs, about half of them there; the bias of an adder layer holds -sum |w| and a little more."""
    most = int(rng.choice([3, 60, 900]))
    codebook = np.append(0, rng.integers(-most, most + 1, (1 << bits) - 1)).astype(np.int16)
    codes = rng.integers(0, 1 << bits, (rows, cols)) * (rng.random((rows, cols)) < 0.6)
    weights = codebook[codes].astype(np.int64)
    bias = rng.integers(-20, 21, rows) - (np.abs(weights).sum(axis=1) if adder else 0)
    layer = CompressedLayer.from_codes(
        codes.astype(np.uint8),
        codebook,
        bias,
        bool(rng.integers(2)),
        0 if adder else int(rng.integers(4)),
        int(rng.integers(12)) if scaled else int(rng.integers(3)),
        name="random",
    )
    scale = rng.integers(-300, 301, rows).astype(np.int16)
    scale[:1] = rng.choice([-(1 << 15), (1 << 15) - 1, 0, 1])
    return replace(layer, adder=adder, scale=scale if scaled else None)


def random_adder_case(
    rng: np.random.Generator,
    cfg_choices: Sequence[ArchConfig] | None = None,
    seed: int | None = None,
    **kind: Any,
) -> Case:
    """On a random machine that is just large enough, or one of `cfg_choices`, for up to 4 rows and columns a PE."""
    cfg = _config(rng) if cfg_choices is None else cfg_choices[rng.integers(len(cfg_choices))]
    rows, cols = (int(rng.integers(1, 4 * cfg.n_pe + 1)) for _ in range(2))
    kind = kind or {"adder": bool(rng.integers(4)), "scaled": bool(rng.integers(3))}
    layer = random_layer(rng, rows, cols, bits=cfg.weight_bits, **kind)
    size = int(rng.choice([2, 100, 1 << 15]))
    x = rng.integers(-size, size, cols) * (rng.random(cols) < 0.7)
    cfg = sized_for(cfg, layer) if cfg_choices is None else cfg
    return Case(layer, x, cfg, "adder", seed)


def _config(rng: np.random.Generator) -> ArchConfig:
    cfg = ArchConfig(
        n_pe=int(rng.choice([1, 2, 4, 8])),
        queue_depth=int(rng.integers(1, 9)),
        bus_registers=int(rng.integers(3)),
        weight_bits=int(rng.integers(1, 6)),
        acc_bits=int(rng.choice([20, 24, 32])),
        act_words=9,
        adder=1,
    )
    if cfg.n_pe > 1 and rng.integers(3) == 0:  # two columns and two entries at a time
        return cfg.replace(group=2, issue=2, window=2, row_format=ABSOLUTE, filter_empty=1, queue_depth=8)
    return cfg
