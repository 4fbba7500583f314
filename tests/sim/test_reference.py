"""The reference engine: vectors worked out by hand."""

import ast
from pathlib import Path

import numpy as np
import pytest

from eie.config import ArchConfig
from eie.errors import ConfigError
from eie.layer import CompressedLayer
from eie.program import Job
from eie.result import Result
from eie.sim.engines import reference


def one_row(weights: list[int], x: list[int], cfg: ArchConfig | None = None, **layer: object) -> Result:
    """A layer of one row with these weights."""
    values = sorted(set(weights) - {0})
    codebook = [0, *values] + [0] * (15 - len(values))
    codes = [[codebook.index(weight) for weight in weights]]
    made = CompressedLayer.from_codes(codes, codebook, **layer)
    return reference.run(Job.create(made, x, cfg or ArchConfig(n_pe=1)))


def outcome(result: Result) -> tuple[int, int, int]:
    """y, saturations and write-back saturations of one row."""
    return int(result.y[0]), result.total("saturations"), result.total("writeback_saturations")


EIGHT = ArchConfig(n_pe=1, act_bits=8, acc_bits=8)
WIDE = ArchConfig(n_pe=1, acc_bits=32)


@pytest.mark.parametrize(
    ("weights", "x", "cfg", "layer", "expected"),
    [
        # Half up: 3/2 -> 2, -3/2 -> -1, -5/2 -> -2, each product by itself: 2 - 1 - 2 = -1.
        ([3, -3, -5], [1, 1, 1], None, {"product_shift": 1, "relu": False}, (-1, 0, 0)),
        # -7/4 = -1.75 -> -2; -6/4 = -1.5 -> -1; -5/4 = -1.25 -> -1: -4.
        ([-7, -6, -5], [1, 1, 1], None, {"product_shift": 2, "relu": False}, (-4, 0, 0)),
        # A product is not saturated before it is added: 32767^2 >> 15 = 32766.00003 -> 32766.
        ([32767], [32767], None, {"product_shift": 15}, (32766, 0, 0)),
        # (-32768)^2 = 2^30: the most positive product; >> 15 = 32768, one more than fits.
        ([-32768], [-32768], None, {"product_shift": 15}, (32767, 1, 0)),
        # Order matters: 100 + 100 clips to 127, - 100 = 27; the other way round nothing clips.
        ([100, 100, -100], [1, 1, 1], EIGHT, {}, (27, 1, 0)),
        ([-100, 100, 100], [1, 1, 1], EIGHT, {}, (100, 0, 0)),
        # -100 - 100 clips to -128, + 100 = -28; without ReLU it is seen.
        ([-100, -100, 100], [1, 1, 1], EIGHT, {"relu": False}, (-28, 1, 0)),
        ([-100, -100, 100], [1, 1, 1], EIGHT, {"relu": True}, (0, 1, 0)),
        # The bias is where the sum starts.
        ([100], [1], EIGHT, {"bias": [100]}, (127, 1, 0)),
        ([100], [1], EIGHT, {"bias": [-100], "relu": False}, (0, 0, 0)),
        # Negative activations.
        ([7, 5], [-3, 2], None, {"relu": False}, (-11, 0, 0)),
        # Write-back: 70000 does not fit 16 bits, -70000 is 0 by ReLU and clips without.
        ([7000], [10], WIDE, {}, (32767, 0, 1)),
        ([-7000], [10], WIDE, {}, (0, 0, 0)),
        ([-7000], [10], WIDE, {"relu": False}, (-32768, 0, 1)),
        # 65535/2 = 32767.5 rounds to 32768 and clips; -65537/2 = -32768.5 rounds to -32768 and fits.
        ([0], [1], WIDE, {"bias": [65535], "output_shift": 1}, (32767, 0, 1)),
        ([0], [1], WIDE, {"bias": [-65537], "output_shift": 1, "relu": False}, (-32768, 0, 0)),
        # Half up in the write-back: -5/2 -> -2, 5/2 -> 3.
        ([0], [1], None, {"bias": [-5], "output_shift": 1, "relu": False}, (-2, 0, 0)),
        ([0], [1], None, {"bias": [5], "output_shift": 1}, (3, 0, 0)),
        # The largest shift: 2^30 / 2^31 = 0.5 -> 1, and -0.5 -> 0.
        ([-32768], [-32768], None, {"product_shift": 31}, (1, 0, 0)),
        ([16384, 16384], [-32768, -32768], None, {"product_shift": 31, "relu": False}, (0, 0, 0)),
    ],
)
def test_by_hand(weights, x, cfg, layer, expected):
    assert outcome(one_row(weights, x, cfg, **layer)) == expected


def test_counts_belong_to_the_rows_pe():
    """Rows 0 and 2 on PE 0, row 1 on PE 1. A code whose value is 0 is an entry; a column with x = 0 is none."""
    layer = CompressedLayer.from_codes([[1, 1, 2], [0, 1, 0], [2, 0, 0]], [0, 30000, 0, 0])
    result = reference.run(Job.create(layer, [1, 0, 1], ArchConfig(n_pe=2)))
    assert result.counters["macs"].tolist() == [3, 0]
    result = reference.run(Job.create(layer, [1, 1, 1], ArchConfig(n_pe=2)))
    assert result.counters["macs"].tolist() == [4, 1]
    assert result.counters["saturations"].tolist() == [1, 0]
    assert result.y.tolist() == [32767, 30000, 0]


def test_what_has_no_clock_is_none():
    result = one_row([1], [1])
    assert result.cycles is None
    known = {"macs", "saturations", "writeback_saturations"}
    assert {name for name, value in result.counters.items() if value is not None} == known
    assert result.y.dtype == np.int16
    with pytest.raises(ConfigError, match=r"the engine reference gives no counter 'fillers'$"):
        result.total("fillers")
    without = one_row([1], [1], ArchConfig(n_pe=1, counters=0))
    with pytest.raises(ConfigError, match=r"gives no counter 'fillers' of a machine with counters=0$"):
        without.total("fillers")


def test_it_stands_alone():
    """It imports the job and the result, and nothing that another engine computes with."""
    tree = ast.parse(Path(reference.__file__).read_text())
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    imported |= {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    assert imported == {"__future__", "numpy", "eie.program", "eie.result"}
