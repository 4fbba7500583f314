"""The columns of a sweep's table: the one place that names them, their types, units and meanings.

The store's schema, CSV and JSON, the axes of the pictures and the table in docs/sweeps.md derive from it.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eie.config import ArchConfig
from eie.result import COUNTERS

# A row of the table by column name: int, float, str or None; `work` is a list of int.
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Column:
    """One column: its name, SQL type, unit ("" for none) and meaning."""

    name: str
    sql: str
    unit: str
    meaning: str

    @property
    def label(self) -> str:
        """What an axis says."""
        return f"{self.meaning} ({self.unit})" if self.unit else self.meaning


_RUN = (
    Column("key", "TEXT PRIMARY KEY", "", "hash of configuration, layer, input, engine and its version"),
    Column("status", "TEXT", "", "ok, impossible (no machine can have the sizes) or failed"),
    Column("error", "TEXT", "", "why, if not ok"),
    Column("seconds", "REAL", "s", "time that the simulation took"),
    Column("engine", "TEXT", "", "engine"),
    Column("engine_version", "TEXT", "", "hash of the engine's sources"),
)
_WORKLOAD = (
    Column("layer", "TEXT", "", "layer"),
    Column("source", "TEXT", "", "where the layer is from: its file, or random"),
    Column("rows", "INTEGER", "", "outputs of the layer"),
    Column("cols", "INTEGER", "", "inputs of the layer"),
    Column("density", "REAL", "", "density of the weights"),
    Column("uneven_rows", "REAL", "", "unevenness of the rows"),
    Column("uneven_cols", "REAL", "", "unevenness of the columns"),
    Column("seed", "INTEGER", "", "seed of the random layer and input"),
    Column("input", "INTEGER", "", "number of the input vector"),
    Column("act_density", "REAL", "", "density of the activations"),
    Column("nnz", "INTEGER", "", "weights that are not zero"),
    Column("active", "INTEGER", "", "activations that are not zero"),
)
# `entries` is a counter, too: the capacity has another name in the table.
_RENAMED = {"entries": "entry_slots"}
_COUNTED = {
    "entries": "entries processed",
    "fillers": "padding entries",
    "macs": "multiply-accumulates",
    "empty_columns": "columns of which a PE holds no entry",
    "starved": "cycles without work, all PEs",
    "broadcast_stalls": "cycles that a full queue held the broadcast",
    "ptr_reads": "pointer reads",
    "spmat_reads": "words read from the matrix memories",
    "bypasses": "operands taken from the pipeline",
    "saturations": "sums clipped",
    "writeback_saturations": "outputs clipped",
}
_RESULT = (
    Column("cycles", "INTEGER", "cycles", "compute time"),
    Column("microseconds", "REAL", "µs", "compute time"),
    *(Column(name, "INTEGER", "", _COUNTED[name]) for name in COUNTERS),
    Column("padding", "REAL", "", "padding, share of the entries processed"),
    Column("balance", "REAL", "", "load balance, 1 - starved / cycles"),
    Column("utilization", "REAL", "", "utilization, multiply-accumulates / peak"),
    Column("energy_nj", "REAL", "nJ", "energy of the run, whole chip"),
    Column("load_weights_nj", "REAL", "nJ", "energy of loading the weights from DRAM, once"),
    Column("load_input_nj", "REAL", "nJ", "energy of loading an input and the biases from DRAM"),
    Column("power_mw", "REAL", "mW", "power, whole chip"),
    Column("area_mm2", "REAL", "mm²", "area, whole chip"),
    Column("work", "TEXT", "", "entries that each PE processes"),
)

MACHINE = tuple(field.name for field in dataclasses.fields(ArchConfig))
COLUMNS = (
    *_RUN,
    *_WORKLOAD,
    Column("technology", "TEXT", "", "technology of energy, power and area"),
    Column("memories", "TEXT", "", "sized: as large as the layer needs; own: the configuration's"),
    Column("placement", "TEXT", "", "of rows on PEs: interleaved, or balanced"),
    *(
        Column(
            _RENAMED.get(f.name, f.name),
            "TEXT" if f.type == "str" else "INTEGER",
            f.metadata["unit"],
            f.metadata["meaning"],
        )
        for f in dataclasses.fields(ArchConfig)
    ),
    *_RESULT,
)
BY_NAME = {column.name: column for column in COLUMNS}
# What rows are sorted by, so that their order does not depend on which worker finished first.
ORDER = (
    *(
        "layer",
        "source",
        "density",
        "uneven_rows",
        "uneven_cols",
        "engine",
        "technology",
        "memories",
        "placement",
    ),
    *(_RENAMED.get(name, name) for name in MACHINE),
    *("act_density", "seed", "input"),
)


# What a grid may vary, the layer and the input itself apart; of memories sized for a layer the sizes are no choice.
_SIZES = ("pointer_bits", "pointers", "entry_slots", "src_depth", "acc_depth", "row_bits", "blocks")
_AXES = (
    *(
        "density",
        "uneven_rows",
        "uneven_cols",
        "act_density",
        "seed",
        "engine",
        "technology",
        "memories",
        "placement",
    ),
    *(_RENAMED.get(name, name) for name in MACHINE),
)


def varied(rows: Sequence[Row]) -> list[str]:
    """The columns in which rows of the same layer were asked to differ."""
    found = []
    for name in _AXES:
        values: dict[str, set[Any]] = {}
        for row in rows:
            measured = (name in _SIZES and row["memories"] == "sized") or (
                name == "act_density" and row["seed"] is None
            )
            if not measured:
                values.setdefault(row["layer"], set()).add(row[name])
        if any(len(some) > 1 for some in values.values()):
            found.append(name)
    return found


def machine_choice(row: Row) -> dict[str, Any]:
    """What was chosen for a row's machine: without the sizes that follow from the layer."""
    names = ("memories", "engine", "technology", "placement", *(_RENAMED.get(name, name) for name in MACHINE))
    return {name: row[name] for name in names if name not in _SIZES or row["memories"] == "own"}


def workload_of(row: Row) -> tuple[Any, ...]:
    """What tells a row's layer and input from others."""
    names = ("source", "layer", "density", "uneven_rows", "uneven_cols", "seed", "act_density", "input")
    return tuple(row[name] for name in names if name != "act_density" or row["seed"] is not None)


def machine_columns(machine: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a configuration by column name."""
    return {_RENAMED.get(name, name): machine[name] for name in MACHINE}


def to_csv(rows: Sequence[Row]) -> str:
    """Rows as CSV text with a header; `work` is one field, a JSON array."""
    text = io.StringIO()
    writer = csv.DictWriter(text, BY_NAME, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({**row, "work": "" if row["work"] is None else json.dumps(row["work"])})
    return text.getvalue()


def to_json(rows: Sequence[Row]) -> str:
    """Rows as a JSON array of objects."""
    return json.dumps([dict(row) for row in rows], indent=1) + "\n"
