"""The reference engine: what a layer computes, in plain Python integers, sharing nothing with the other engines.

It has its own rounding and saturation and its own view of the matrix (the dense code indices), so that a misreading
of the specification cannot hide in all engines at once. It has no clock: cycles are None, and so are the counters
that only a machine has.
"""

from __future__ import annotations

import numpy as np

from eie.layer import CompressedLayer
from eie.program import Job
from eie.result import COUNTERS, Counter, Result
from eie.segments import row_places


def rounded(value: int, shift: int) -> int:
    """`value / 2**shift` rounded to the nearest integer, a half towards plus infinity.

    >>> [rounded(v, 1) for v in (-3, -2, -1, 0, 1, 2, 3)]
    [-1, -1, 0, 0, 1, 1, 2]
    """
    quotient, remainder = divmod(value, 2**shift)
    return quotient + (2 * remainder >= 2**shift)


def clipped(value: int, bits: int) -> int:
    """The nearest number to `value` in two's complement of `bits` bits.

    >>> clipped(128, 8), clipped(-129, 8), clipped(-128, 8)
    (127, -128, -128)
    """
    return max(-(2 ** (bits - 1)), min(value, 2 ** (bits - 1) - 1))


def _summand(weight: int, activation: int, layer: CompressedLayer) -> int:
    """What a weight adds: the product; or what it spares of the distance |x - w|, compared with |x| + |w|."""
    if layer.adder:
        return abs(activation) + abs(weight) - abs(activation - weight)
    return weight * activation


def run(job: Job) -> Result:
    """Accumulate column after column, in ascending order and saturating each time, then write back.

    The result has y, macs, saturations and writeback_saturations; a row's counts belong to its place's PE.
    """
    layer, cfg = job.layer, job.cfg
    codes = layer.dense_codes()
    # An index-free machine multiplies whatever stands in a block, zeros as well.
    multiplied = layer.blocks.mask() if cfg.index_free and layer.blocks is not None else codes != 0
    weight_of = [int(code) for code in layer.codebook]
    acc = [int(bias) for bias in layer.bias]
    pe_of = (row_places(layer, cfg) % cfg.n_pe).tolist()
    counts = {name: [0] * cfg.n_pe for name in ("macs", "saturations", "writeback_saturations")}
    for j, activation in enumerate(int(value) for value in job.x):
        if activation == 0:
            continue
        column = codes[:, j]
        for i in np.flatnonzero(multiplied[:, j]).tolist():
            exact = acc[i] + rounded(_summand(weight_of[column[i]], activation, layer), layer.product_shift)
            acc[i] = clipped(exact, cfg.acc_bits)
            counts["macs"][pe_of[i]] += 1
            counts["saturations"][pe_of[i]] += acc[i] != exact
    y = []
    least = sum(abs(int(value)) for value in job.x) if layer.adder else 0
    for i, total in enumerate(acc):
        total = (total - least) * (1 if layer.scale is None else int(layer.scale[i]))
        exact = rounded(max(total, 0) if layer.relu else total, layer.output_shift)
        y.append(clipped(exact, cfg.act_bits))
        counts["writeback_saturations"][pe_of[i]] += y[i] != exact
    counters: dict[str, Counter] = dict.fromkeys(COUNTERS)
    counters |= {name: np.array(per_pe, np.int64) for name, per_pe in counts.items()}
    return Result(y=np.array(y, np.int16), cycles=None, counters=counters, engine="reference", cfg=cfg)
