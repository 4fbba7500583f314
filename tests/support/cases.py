"""Random and directed cases, shared by the tests of every engine: a layer, an input vector and a configuration.

A case follows from its seed (and from the configurations to choose from, where a test builds hardware for a few only).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

from eie.capacity import demand, sized_for
from eie.config import ArchConfig
from eie.fixed import limits
from eie.layer import CompressedLayer
from eie.program import Job

KINDS = ("random", "bypass", "saturate", "long runs", "one PE", "empty columns", "dense", "all zero")

Codes = npt.NDArray[np.uint8]
Input = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Case:
    """A layer, an input vector and a configuration that holds them."""

    layer: CompressedLayer
    x: Input
    cfg: ArchConfig
    kind: str
    seed: int | None = None

    @cached_property
    def job(self) -> Job:
        """The case as a job for an engine."""
        return Job.create(self.layer, self.x, self.cfg)

    def __repr__(self) -> str:
        shape = f"{self.layer.rows} x {self.layer.cols}"
        return f"<case seed={self.seed}: {self.kind}, {shape}, {self.cfg}>"


def random_case(
    rng: np.random.Generator,
    cfg_choices: Sequence[ArchConfig] | None = None,
    kind: str | None = None,
    seed: int | None = None,
) -> Case:
    """A case of a random kind; its configuration is random and just large enough, or one of `cfg_choices`."""
    kind = kind or KINDS[rng.integers(len(KINDS))]
    cfg = _config(rng) if cfg_choices is None else cfg_choices[rng.integers(len(cfg_choices))]
    largest = (1 << 20, 1 << 20) if cfg_choices is None else _largest(cfg)
    rows, cols = (min(size, limit) for size, limit in zip(_shape(rng, cfg, kind), largest, strict=True))
    codes, x = _contents(rng, cfg, kind, rows, cols)
    codebook = _codebook(rng, cfg, kind)
    layer = _layer(rng, cfg, kind, codes, codebook)
    if cfg_choices is None:
        return Case(layer, x, _with_slack(rng, sized_for(cfg, layer)), kind, seed)
    while demand(layer, cfg)["entries"] > cfg.reachable_entries:
        codes = np.where(rng.random(codes.shape) < 0.5, codes, 0).astype(np.uint8)
        layer = _layer(rng, cfg, kind, codes, codebook)
    return Case(layer, x, cfg, kind, seed)


def seeded_case(seed: int, cfg_choices: Sequence[ArchConfig] | None = None, kind: str | None = None) -> Case:
    """The case of a seed."""
    return random_case(np.random.default_rng(seed), cfg_choices, kind, seed)


def cases(
    cfg_choices: Sequence[ArchConfig] | None = None, kind: str | None = None
) -> st.SearchStrategy[Case]:
    """Hypothesis strategy; a failing example shows its seed."""
    return st.integers(0, 2**32 - 1).map(lambda seed: seeded_case(seed, cfg_choices, kind))


def _pick(rng: np.random.Generator, *choices: Any) -> Any:
    return choices[rng.integers(len(choices))]


def _config(rng: np.random.Generator) -> ArchConfig:
    act_bits = int(rng.integers(4, 17))
    return ArchConfig(
        n_pe=_pick(rng, 1, 2, 4, 4, 16),
        queue_depth=_pick(rng, 1, 2, 3, 4, 8, int(rng.integers(1, 33))),
        bus_registers=_pick(rng, 0, 0, 0, 1, 2),
        weight_bits=int(rng.integers(1, 9)),
        index_bits=int(rng.integers(1, 7)),
        code_bits=int(rng.integers(4, 17)),
        act_bits=act_bits,
        acc_bits=int(rng.integers(max(8, act_bits), 33)),
        word_bits=_pick(rng, 16, 32, 64, 128),
        act_words=9,
    )


def extreme_case(seed: int) -> Case:
    """A case on a machine from the ends of what ArchConfig allows, golden's only: no RTL is built for it."""
    rng = np.random.default_rng([seed, 1])
    act_bits = _pick(rng, 4, 8, 16, 16)
    cfg = ArchConfig(
        n_pe=_pick(rng, 1, 2, 8, 32, 64, 128, 256),
        queue_depth=_pick(rng, 1, 1, 2, 5, 64, 4096),
        bus_registers=_pick(rng, 0, 1, 3, 8),
        weight_bits=_pick(rng, 1, 3, 5, 7, 8),
        index_bits=_pick(rng, 1, 1, 3, 7, 8),
        code_bits=_pick(rng, 4, 16),
        act_bits=act_bits,
        acc_bits=max(act_bits, _pick(rng, 8, 16, 31, 32)),
        word_bits=_pick(rng, 16, 32, 256, 512),
        act_words=9,
    )
    return random_case(rng, [cfg], seed=seed)


def _with_slack(rng: np.random.Generator, cfg: ArchConfig) -> ArchConfig:
    """Memories that are a little larger than needed, at times, so that no depth is special."""
    more = {name: int(rng.integers(0, 4)) for name in ("src_depth", "acc_depth", "pointers", "entries")}
    return cfg.replace(
        pointer_bits=cfg.pointer_bits + 1,
        **{name: getattr(cfg, name) + extra for name, extra in more.items()},
    )


def _largest(cfg: ArchConfig) -> tuple[int, int]:
    return cfg.acc_depth * cfg.n_pe, min(cfg.src_depth * cfg.n_pe, 2 * cfg.ptr_bank_depth - 1)


def _shape(rng: np.random.Generator, cfg: ArchConfig, kind: str) -> tuple[int, int]:
    n = cfg.n_pe
    cols = _pick(rng, 1, 2, n, int(rng.integers(1, 25)), int(rng.integers(8, 50)))
    if kind == "long runs":
        return n * int(rng.integers(33, 100)) + int(rng.integers(0, n)), min(cols, 24)
    if kind == "bypass":
        return n * int(rng.integers(1, 3)), max(cols, 8)
    return _pick(rng, 1, max(1, n - 1), n, n + 1, int(rng.integers(1, 6 * n + 1))), cols


def _contents(
    rng: np.random.Generator, cfg: ArchConfig, kind: str, rows: int, cols: int
) -> tuple[Codes, Input]:
    """Code indices and input vector."""
    weights, activations = _pick(rng, 0.02, 0.1, 0.3, 0.7), _pick(rng, 0.1, 0.35, 0.7, 1.0)
    if kind in ("dense", "bypass", "saturate"):
        weights, activations = _pick(rng, 0.8, 1.0), _pick(rng, 0.8, 1.0)
    if kind == "long runs":
        weights, activations = 1.5 / 33, 0.9
    some = rng.random((rows, cols)) < weights
    active = rng.random(cols) < activations
    pe = int(rng.integers(cfg.n_pe))
    if kind == "one PE":
        # Either all activations come from one leaf of the tree, or all work goes to one PE.
        if rng.random() < 0.5:
            active &= np.arange(cols) % cfg.n_pe == pe
        else:
            some &= (np.arange(rows) % cfg.n_pe == pe)[:, None]
    if kind == "empty columns":
        some[:, rng.random(cols) < 0.6] = False
    if kind == "all zero":
        some, active = (some & False, active) if rng.random() < 0.5 else (some, active & False)
    low, high = limits(cfg.act_bits)
    magnitude = high if kind == "saturate" else _pick(rng, 3, min(100, high), high)
    x = rng.integers(1, magnitude + 1, cols)
    if rng.random() < 0.5:
        x = np.where(rng.random(cols) < 0.3, -x, x)
        x[rng.random(cols) < 0.02] = low
    codes = rng.integers(1, cfg.n_codes, (rows, cols))
    return np.where(some, codes, 0).astype(np.uint8), np.where(active, x, 0).astype(np.int64)


def _codebook(rng: np.random.Generator, cfg: ArchConfig, kind: str) -> npt.NDArray[np.int16]:
    low, high = limits(cfg.code_bits)
    size = high if kind == "saturate" else _pick(rng, 3, min(100, high), high)
    codebook = rng.integers(max(low, -size - 1), size + 1, cfg.n_codes)
    codebook[0] = 0
    return codebook.astype(np.int16)


def _layer(
    rng: np.random.Generator, cfg: ArchConfig, kind: str, codes: Codes, codebook: npt.NDArray[np.int16]
) -> CompressedLayer:
    low, high = limits(cfg.acc_bits)
    size = _pick(rng, 0, min(50, high), high)
    shifts = (0, 0) if kind == "saturate" else (int(rng.integers(0, 20)), int(rng.integers(0, 12)))
    product_shift, output_shift = _pick(rng, shifts, shifts, shifts, (31, 0), (0, 31), (0, 0))
    return CompressedLayer.from_codes(
        codes,
        codebook,
        bias=rng.integers(max(low, -size - 1), size + 1, codes.shape[0]),
        relu=bool(rng.random() < 0.6),
        product_shift=product_shift,
        output_shift=output_shift,
        name=kind,
    )
