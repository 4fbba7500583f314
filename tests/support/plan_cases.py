"""Random chains of layers on machines that are too small for them, with inputs. A case follows from its seed."""

import itertools
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

from eie.config import ArchConfig
from eie.csc import interleave
from eie.errors import CapacityError
from eie.fixed import limits
from eie.layer import CompressedLayer
from eie.plan import Plan, make_plan


@dataclass(frozen=True, eq=False)
class PlanCase:
    """Layers, a machine, and input vectors int64[batch, cols of the first layer]."""

    layers: list[CompressedLayer]
    cfg: ArchConfig
    inputs: npt.NDArray[np.int64]
    seed: int

    def __repr__(self) -> str:
        return f"<plan case seed={self.seed}: {[layer.shape for layer in self.layers]}, {self.cfg}>"


def plan_case(seed: int, cfg: ArchConfig | None = None, batch: int = 2) -> PlanCase:
    """The case of a seed, on a machine of the seed's or on `cfg`."""
    rng = np.random.default_rng([seed, 5])
    machine = random_machine(rng) if cfg is None else cfg
    sizes = [int(rng.integers(1, 1 + 10 * machine.n_pe)) for _ in range(rng.integers(2, 6))]
    books = [_codebook(rng, machine) for _ in sizes]
    layers = [
        _layer(rng, machine, rows, cols, books[rng.integers(len(books))])
        for cols, rows in itertools.pairwise(sizes)
    ]
    low, high = limits(machine.act_bits)
    inputs = rng.integers(low, high + 1, (batch, sizes[0]))
    inputs[rng.random(inputs.shape) < _pick(rng, 0.0, 0.3, 0.8, 1.0)] = 0
    return PlanCase(layers, machine, inputs, seed)


def with_exits(case: PlanCase) -> PlanCase:
    """The case with early exits behind some of its layers: heads with as many outputs as the network.

    On every fourth case's machine all of them stay.
    """
    rng = np.random.default_rng([case.seed, 6])
    layers: list[CompressedLayer] = []
    for layer in case.layers[:-1]:
        layers.append(layer)
        if rng.random() < 0.6:
            codebook = _pick(rng, layer.codebook, case.layers[-1].codebook)
            head = _layer(rng, case.cfg, case.layers[-1].rows, layer.rows, codebook)
            layers.append(replace(head, exit=True, name=f"exit behind {layer.name}"))
    roomy = dict.fromkeys(("entries", "pointers", "act_words"), 1000) | {"pointer_bits": 16, "codebooks": 8}
    roomy |= {"passes": 16, "src_depth": 16, "acc_depth": 16}
    machine = case.cfg if case.seed % 4 else case.cfg.replace(**roomy)
    return replace(case, layers=[*layers, case.layers[-1]], cfg=machine)


def plan_cases() -> st.SearchStrategy[PlanCase]:
    """Hypothesis strategy; a failing example shows its seed."""
    return st.integers(0, 2**32 - 1).map(plan_case)


def _pick(rng: np.random.Generator, *choices: Any) -> Any:
    return choices[rng.integers(len(choices))]


def random_machine(rng: np.random.Generator, n_pe: int | None = None) -> ArchConfig:
    """A small machine; any of its memories may be the one that is too small."""
    n = _pick(rng, 1, 2, 4)
    n = n if n_pe is None else n_pe
    act_bits = int(rng.integers(4, 17))
    word_bits = _pick(rng, 16, 32, 64)
    weight_bits, index_bits = int(rng.integers(1, 5)), int(rng.integers(1, 5))
    per_word = word_bits // (weight_bits + index_bits)
    return ArchConfig(
        n_pe=n,
        queue_depth=_pick(rng, 1, 2, 8),
        bus_registers=_pick(rng, 0, 0, 1),
        weight_bits=weight_bits,
        index_bits=index_bits,
        code_bits=int(rng.integers(4, 17)),
        act_bits=act_bits,
        acc_bits=int(rng.integers(max(8, act_bits), 33)),
        word_bits=word_bits,
        pointer_bits=_pick(rng, 16, 16, max(4, (per_word - 1).bit_length() + int(rng.integers(2, 5)))),
        pointers=_pick(rng, n + 1, 2 * n + 3, 16, 200),
        entries=_pick(rng, 6, 16, 30, 100, 1000),
        src_depth=_pick(rng, 1, 2, 3, 5, 16),
        acc_depth=_pick(rng, 1, 2, 3, 4, 16),
        act_words=_pick(rng, 2, 5, 9, 16, 24, 64),
        codebooks=_pick(rng, 1, 2, 4),
        passes=_pick(rng, 1, 2, 3, 8, 40),
    )


def _codebook(rng: np.random.Generator, cfg: ArchConfig) -> npt.NDArray[np.int16]:
    low, high = limits(cfg.code_bits)
    size = _pick(rng, 3, min(100, high), high)
    codebook = rng.integers(max(low, -size - 1), size + 1, cfg.n_codes)
    codebook[0] = 0
    return codebook.astype(np.int16)


def _layer(
    rng: np.random.Generator, cfg: ArchConfig, rows: int, cols: int, codebook: npt.NDArray[np.int16]
) -> CompressedLayer:
    codes = rng.integers(1, cfg.n_codes, (rows, cols))
    codes[rng.random(codes.shape) > _pick(rng, 0.0, 0.1, 0.4, 0.8)] = 0
    low, high = limits(cfg.acc_bits)
    size = _pick(rng, 0, min(50, high), high)
    return CompressedLayer.from_codes(
        codes,
        codebook,
        bias=rng.integers(max(low, -size - 1), size + 1, rows),
        relu=bool(rng.random() < 0.5),
        product_shift=int(_pick(rng, 0, rng.integers(0, 12))),
        output_shift=int(_pick(rng, 0, rng.integers(0, 8))),
        name=f"{rows}x{cols}",
    )


def planned(case: PlanCase) -> Plan | None:
    """The case's plan; None if there is none, which has to be so."""
    try:
        return make_plan(case.layers, case.cfg, exits=any(layer.exit for layer in case.layers))
    except CapacityError:
        if impossible(case):
            return None
        raise


def impossible(case: PlanCase) -> bool:
    """Whether N columns of a row tile exceed a memory by themselves, found by trying all of them."""
    cfg, n = case.cfg, case.cfg.n_pe
    most = min(cfg.spmat_words * cfg.entries_per_word, cfg.unpack_pointer((1 << cfg.pointer_bits) - 1))
    for layer in case.layers:
        dense = layer.dense_codes()
        for row in range(0, layer.rows, n * cfg.acc_depth):
            for col in range(0, layer.cols, n):
                part = CompressedLayer.from_codes(
                    dense[row : row + n * cfg.acc_depth, col : col + n], layer.codebook
                )
                entries = interleave(part, n, cfg.index_bits).pointers[:, -1].max()
                if entries > most or part.cols + 1 > 2 * cfg.ptr_bank_depth:
                    return True
    return False
