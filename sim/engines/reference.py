"""The reference engine: what a layer computes, in plain Python integers, sharing nothing with the other engines.

It has its own rounding and saturation and its own view of the matrix (the dense code indices), so that a misreading
of the specification cannot hide in all engines at once. It has no clock: cycles are None, and so are the counters
that only a machine has.
"""

from __future__ import annotations

import numpy as np

from eie.program import Job
from eie.result import COUNTERS, Counter, Result


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


def _summand(weight: int, activation: int, *, adder: bool) -> int:
    """What a weight adds: the product; or what it spares of the distance |x - w|, compared with |x| + |w|."""
    if adder:
        return abs(activation) + abs(weight) - abs(activation - weight)
    return weight * activation


def _pe_of_rows(job: Job) -> list[int]:
    """The PE of each row: row i's is i mod n_pe; a segment has rows and PEs of its own, one after the other."""
    layer, cfg = job.layer, job.cfg
    if cfg.segments == 1 or layer.blocks is None:
        return [i % cfg.n_pe for i in range(layer.rows)]
    found: list[int] = []
    most, more = divmod(layer.blocks.blocks, cfg.segments)  # the first segments have a block more
    block = 0
    for segment in range(cfg.segments):
        behind = block + most + (segment < more)
        rows = layer.blocks.row_starts[behind] - layer.blocks.row_starts[block]
        found += [segment * cfg.segment_pes + i % cfg.segment_pes for i in range(rows)]
        block = behind
    return found


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
    pe_of = _pe_of_rows(job)
    counts = {name: [0] * cfg.n_pe for name in ("macs", "saturations", "writeback_saturations")}
    for j, activation in enumerate(int(value) for value in job.x):
        if activation == 0:
            continue
        column = codes[:, j]
        for i in np.flatnonzero(multiplied[:, j]).tolist():
            summand = _summand(weight_of[column[i]], activation, adder=layer.adder)
            exact = acc[i] + rounded(summand, layer.product_shift)
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
