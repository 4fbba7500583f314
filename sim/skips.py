"""Residual networks of which an input skips blocks (docs/learn.md): gates and sums on the host, matrices on an engine.

A gate stands in the file before its block, marked as an exit, with one output: of [stem, gate, block, gate, block,
head], gate and block take the same h; where the gate's output is above 0, the block runs, and h + block(h) goes on,
otherwise h.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from eie.compress.float_layers import FloatArray
from eie.compress.forward import fixed_layer
from eie.config import ArchConfig
from eie.errors import LayerError
from eie.fixed import IntArray, quantize
from eie.layer import CompressedLayer
from eie.result import Result
from eie.sim.chain import as_float, run_network
from eie.sim.exits import totals


def has_gates(layers: Sequence[CompressedLayer]) -> bool:
    """Whether a layer is a gate: an exit of a single output."""
    return any(layer.exit and layer.rows == 1 for layer in layers)


@dataclass(frozen=True, eq=False)
class Residual:
    """A network that skips: blocks are pairs of a gate and what it guards."""

    stem: CompressedLayer
    blocks: tuple[tuple[CompressedLayer, CompressedLayer], ...]
    head: CompressedLayer

    @classmethod
    def of(cls, layers: Sequence[CompressedLayer]) -> Residual:
        """The network that the layers of a file are.

        Raises
        ------
        LayerError : it has no gates, or they do not stand before blocks that could be skipped.
        """
        if not has_gates(layers):
            raise LayerError("the network has no gates: every input runs all of its layers")
        stem, *middle, head = layers
        gates, blocks = middle[::2], middle[1::2]
        units = stem.rows
        for gate, block in zip(gates, blocks, strict=False):
            if not (gate.exit and gate.rows == 1) or block.exit or block.shape != (units, units):
                raise LayerError(
                    f"layers {gate.name!r} and {block.name!r} are no gate and a block of {units} x {units} behind it"
                )
            for layer in (gate, block):
                if layer.cols != units or layer.x_frac != gate.x_frac:
                    raise LayerError(f"layer {layer.name!r} does not take what {gate.name!r} takes")
        if len(gates) != len(blocks) or stem.exit or head.exit or head.cols != units:
            raise LayerError(
                f"a network with gates begins and ends with a layer, of which the last takes {units} inputs"
            )
        return cls(stem, tuple(zip((replace(gate, exit=False) for gate in gates), blocks, strict=True)), head)

    @property
    def matrices(self) -> list[CompressedLayer]:
        """What runs on the accelerator: all but the gates."""
        return [self.stem, *(block for _, block in self.blocks), self.head]


@dataclass(frozen=True, eq=False)
class SkipRun:
    """What became of a batch. y : int64[batch, classes]; ran : bool[batch, blocks], which blocks each input ran.

    cycles, energy_uj : of all inputs, where an engine counted them; saturations, writeback_saturations : sums and
    outputs of matrices that were clipped, where these were counted.
    """

    y: IntArray
    ran: npt.NDArray[np.bool_]
    cycles: int | None = None
    energy_uj: float | None = None
    saturations: int | None = None
    writeback_saturations: int | None = None

    @property
    def clipped(self) -> int | None:
        """Both."""
        both = (self.saturations, self.writeback_saturations)
        return None if None in both else sum(count for count in both if count is not None)


def run_skips(
    layers: Sequence[CompressedLayer],
    x: IntArray,
    cfg: ArchConfig | None = None,
    engine: str = "fast",
    *,
    always: bool = False,
    acc_bits: int = 16,
    act_bits: int = 16,
) -> SkipRun:
    """Run inputs, int64[batch, inputs], layer after layer; a block only on the inputs whose gate is above 0.

    cfg : the machine; None for the values alone, in its arithmetic. always : all blocks run, whatever the gates say.

    Raises
    ------
    LayerError, CapacityError, ConfigError : as `Residual.of` and `run_network`.
    """
    net = Residual.of(layers)
    if cfg is not None:
        acc_bits, act_bits = cfg.acc_bits, cfg.act_bits
    results: list[Result] = []
    clipped: list[list[Any]] = [[], []]

    def matrix(layer: CompressedLayer, given: IntArray) -> IntArray:
        alone = replace(layer, follows=True)
        if cfg is None:
            y, sums, outputs = fixed_layer(alone, given, acc_bits, act_bits)
            clipped[0].append(sums)
            clipped[1].append(outputs)
            return y
        (result,) = run_network([alone], given, cfg, engine)
        results.append(result)
        for counts, name in zip(clipped, ("saturations", "writeback_saturations"), strict=True):
            counts.append(result.counters.get(name))
        return result.y.astype(np.int64)

    h, frac = matrix(net.stem, np.asarray(x)), net.stem.y_frac
    ran = np.zeros((len(h), len(net.blocks)), bool)
    for number, (gate, block) in enumerate(net.blocks):
        h = _rescaled(h, frac, gate.x_frac, act_bits)
        frac = gate.x_frac
        # A gate is so few products that the host does them: on the accelerator it would cost as many broadcasts.
        ran[:, number] = always | (fixed_layer(gate, h, acc_bits, act_bits)[0][:, 0] > 0)
        here = np.flatnonzero(ran[:, number])
        behind = [pair[0] for pair in net.blocks[number + 1 :]] or [net.head]
        total = np.ldexp(h.astype(np.float64), -frac)
        if len(here):
            total[here] += np.ldexp(matrix(block, h[here]).astype(np.float64), -block.y_frac)
        frac = behind[0].x_frac
        h = quantize(total, frac, act_bits)
    y = matrix(net.head, _rescaled(h, frac, net.head.x_frac, act_bits))
    cycles, energy = totals(results) if results else (None, None)
    return SkipRun(y, ran, cycles, energy, *map(_sum, clipped))


def skips_in_float(layers: Sequence[CompressedLayer], x: npt.ArrayLike) -> FloatArray:
    """Answers, float64[batch, classes], to real inputs [batch, inputs] with the same weights, nothing rounded."""
    net = Residual.of(layers)
    stem, head = as_float([net.stem, net.head])
    h = stem.forward(np.asarray(x, np.float64))
    for gate, block in (as_float(pair) for pair in net.blocks):
        ran = gate.forward(h)[:, 0] > 0
        h[ran] += block.forward(h[ran])
    return head.forward(h)


def _sum(counts: Sequence[Any]) -> int | None:
    """Of counters, None if one was not counted."""
    return None if any(count is None for count in counts) else sum(int(np.sum(count)) for count in counts)


def _rescaled(h: IntArray, frac: int, wanted: int, act_bits: int) -> IntArray:
    """Activations at another scale, as the host quantises them."""
    return h if frac == wanted else quantize(np.ldexp(h.astype(np.float64), -frac), wanted, act_bits)
