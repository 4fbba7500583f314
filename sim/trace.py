"""When each column meets each PE, as a table: for people who do not read waveforms."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eie.config import ArchConfig
from eie.errors import ConfigError
from eie.fixed import IntArray
from eie.layer import CompressedLayer
from eie.program import Job
from eie.sim.sweep.run import filler_counts
from eie.timing import schedule

# The columns of the table, and what each says. docs/formats.md has this table.
COLUMNS = {
    "layer": "name of the layer",
    "order": "place of the column among those broadcast, from 0",
    "column": "number of the column, that is of the input",
    "activation": "the input, in fixed point",
    "broadcast": "cycle in which the column is broadcast, from the start of compute mode",
    "pe": "number of the PE",
    "start": "cycle in which the PE starts the column",
    "end": "cycle after the last that the column takes on the PE (an empty column takes one)",
    "entries": "entries of the column on the PE, fillers among them",
    "fillers": "entries that only bridge a run of zeros",
}
FORMATS = (".csv", ".parquet")


def trace(layers: Sequence[CompressedLayer], inputs: Sequence[IntArray], cfg: ArchConfig) -> dict[str, Any]:
    """A row for each active column on each PE, by the timing law, which every engine keeps to.

    inputs : one vector for each layer, int64[its cols]. Returns arrays of one length, by column.

    Raises
    ------
    ConfigError : a machine that does not start columns one by one. CapacityError : a layer that does not fit it.
    """
    if not cfg.walks:
        raise ConfigError(
            "a table of columns needs a machine that starts them one by one: "
            "window=1, group=1, issue=1, filter_empty=0"
        )
    parts = [_trace(layer, x, cfg) for layer, x in zip(layers, inputs, strict=True)]
    return {name: np.concatenate([part[name] for part in parts]) for name in COLUMNS}


def _trace(layer: CompressedLayer, x: IntArray, cfg: ArchConfig) -> dict[str, npt.NDArray[Any]]:
    job = Job.create(layer, x, cfg)
    active, n_pe, inter = job.active, cfg.n_pe, job.interleaved
    lengths = inter.lengths[active]
    law = schedule(lengths, cfg)
    each = np.arange(len(active))
    return {
        "layer": np.full(len(active) * n_pe, layer.name),
        "order": np.repeat(each, n_pe),
        "column": np.repeat(active, n_pe),
        "activation": np.repeat(x[active], n_pe),
        "broadcast": np.repeat(law.bcast, n_pe),
        "pe": np.tile(np.arange(n_pe), len(active)),
        "start": law.start.ravel(),
        "end": (law.start + np.maximum(lengths, 1)).ravel(),
        "entries": lengths.ravel().astype(np.int64),
        "fillers": filler_counts(inter)[active].ravel(),
    }


def content(table: Mapping[str, npt.NDArray[Any]], path: Path) -> bytes:
    """The table as the content of a file of `path`'s ending, .csv or .parquet.

    Raises
    ------
    ConfigError : another ending; Parquet without polars.
    """
    if path.suffix == ".csv":
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(table)
        writer.writerows(zip(*(column.tolist() for column in table.values()), strict=True))
        return text.getvalue().encode()
    if path.suffix != ".parquet":
        raise ConfigError(f"{path}: a table is written as {' or '.join(FORMATS)}")
    try:
        import polars
    except ImportError:
        raise ConfigError(f"{path}: Parquet needs polars: pip install polars (or write .csv)") from None
    data = io.BytesIO()
    polars.DataFrame({name: column.tolist() for name, column in table.items()}).write_parquet(data)
    return data.getvalue()
