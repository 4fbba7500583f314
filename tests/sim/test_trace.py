"""The table of columns: held against golden's own counters, and read back from both formats."""

import csv
import io
from pathlib import Path

import numpy as np
import polars
import pytest

import eie
from eie.errors import ConfigError
from eie.sim.trace import COLUMNS, content, trace
from eie.sim.workloads.random import random_input, random_layer

CFG = eie.ArchConfig(n_pe=4, queue_depth=2, index_bits=2)


@pytest.fixture(scope="module")
def table() -> dict[str, np.ndarray]:
    layers = [random_layer(30, 20, 0.2, seed=1, name="a"), random_layer(10, 20, 0.2, seed=2, name="b,c")]
    return trace(layers, [random_input(20, 0.5, seed) for seed in (1, 2)], CFG)


def test_columns_add_up_to_what_golden_counts(table: dict[str, np.ndarray]) -> None:
    assert set(table) == set(COLUMNS)
    layer, x = random_layer(30, 20, 0.2, seed=1, name="a"), random_input(20, 0.5, 1)
    result = eie.simulate(layer, x, CFG, engine="golden")
    mine = table["layer"] == "a"
    for pe in range(4):
        here = mine & (table["pe"] == pe)
        assert table["entries"][here].sum() == result.counters["entries"][pe]
        assert table["fillers"][here].sum() == result.counters["fillers"][pe]
        assert (table["entries"][here] == 0).sum() == result.counters["empty_columns"][pe]
        busy = (table["end"] - table["start"])[here].sum()
        assert result.cycles - busy == result.counters["starved"][pe]
        assert (table["start"][here][1:] >= table["end"][here][:-1]).all()
    assert (table["broadcast"][mine] < table["start"][mine]).all()
    assert sorted(set(table["column"][mine])) == np.flatnonzero(x).tolist()
    assert table["activation"][mine][::4].tolist() == x[np.flatnonzero(x)].tolist()
    assert result.cycles == table["end"][mine].max() + 4  # C: what drains the pipeline


def test_both_formats_hold_it(table: dict[str, np.ndarray]) -> None:
    rows = list(csv.DictReader(io.StringIO(content(table, Path("t.csv")).decode())))
    assert [row["layer"] for row in rows] == table["layer"].tolist()
    assert [int(row["start"]) for row in rows] == table["start"].tolist()
    read = polars.read_parquet(io.BytesIO(content(table, Path("t.parquet"))))
    assert read.columns == list(COLUMNS)
    assert read["end"].to_list() == table["end"].tolist()
    with pytest.raises(ConfigError, match=r"t\.txt: a table is written as \.csv or \.parquet"):
        content(table, Path("t.txt"))
