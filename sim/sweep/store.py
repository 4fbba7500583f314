"""The store of a sweep: one SQLite file, one table `points`, one row for each point.

What `Store.add` has returned from is on the disk, whatever happens to the process or the machine afterwards: SQLite's
rollback journal undoes a half-written transaction when the file is next opened. docs/sweeps.md gives the columns.
"""

from __future__ import annotations

import importlib.metadata
import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from eie.errors import FormatError, OutputError
from eie.sim.sweep.columns import BY_NAME, COLUMNS, ORDER, Row

# "EIEs", so that another program's SQLite file is not taken for a store; and the format that this module writes.
APPLICATION = 0x45494573
FORMAT = 4
IN_MEMORY = Path(":memory:")
# How long a writer waits for another one, such as a second sweep into the same store.
_PATIENCE_S = 30.0


class Store:
    """A sweep's table, in a file or in memory. Created where it is missing, unless it is opened to be read.

    Raises
    ------
    FormatError : the file is no store, or written by a newer version.
    OutputError : it cannot be created or written (no such folder, no space, ...).
    """

    def __init__(self, path: Path = IN_MEMORY, *, read_only: bool = False) -> None:
        self.path = path
        if path.is_dir():
            raise FormatError(f"cannot read {path}: it is a folder, and not the .sqlite file of a sweep")
        if read_only and not path.is_file():
            raise FormatError(f"cannot read {path}: no such file")
        # Read and written from one thread only.
        mode = "?mode=ro" if read_only else ""
        name = ":memory:" if path == IN_MEMORY else path.absolute().as_uri() + mode
        with self._explained():
            self._connection = sqlite3.connect(name, uri=path != IN_MEMORY, timeout=_PATIENCE_S)
        try:
            self._check(read_only)
        except BaseException:
            self._connection.close()
            raise
        self._connection.row_factory = sqlite3.Row

    def _check(self, read_only: bool) -> None:
        with self._explained():
            # In one transaction: read one by one, another sweep's creation of the file could fall between them.
            with self._connection:
                self._connection.execute("BEGIN")
                application, version, tables = (
                    self._connection.execute(query).fetchone()[0]
                    for query in (
                        "PRAGMA application_id",
                        "PRAGMA user_version",
                        "SELECT count(*) FROM sqlite_master",
                    )
                )
            if not tables and not application and not read_only:
                columns = ", ".join(f'"{column.name}" {column.sql}' for column in COLUMNS)
                with self._connection:
                    self._connection.execute("BEGIN IMMEDIATE")
                    self._connection.execute(f"CREATE TABLE IF NOT EXISTS points ({columns})")
                    self._connection.execute(f"PRAGMA application_id = {APPLICATION}")
                    self._connection.execute(f"PRAGMA user_version = {FORMAT}")
                return
        if application != APPLICATION:
            raise FormatError(f"{self.path} is an SQLite file, but not the store of a sweep")
        if version > FORMAT:
            eie = importlib.metadata.version("eie-sim")
            raise FormatError(
                f"{self.path} has store format {version}, and this eie ({eie}) knows formats up to {FORMAT}: "
                "use the newer eie that wrote it, or another file"
            )
        if version < FORMAT:
            raise FormatError(
                f"{self.path} has store format {version}, of an older eie with other columns: use another file"
            )

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            kept = " (what was finished before is kept)" if self.path.is_file() else ""
            raise OutputError(f"cannot write or read {self.path}: {error}{kept}") from None
        except sqlite3.DatabaseError as error:
            raise FormatError(f"{self.path} is not the store of a sweep: {error}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def statuses(self) -> dict[str, str]:
        """The status of every point that is there, by key."""
        with self._explained():
            return dict(self._connection.execute("SELECT key, status FROM points").fetchall())

    def add(self, rows: Sequence[Row]) -> None:
        """Write rows, in place of those with the same keys; when this returns they are on the disk."""
        marks = ", ".join("?" * len(COLUMNS))
        values = [tuple(_stored(row.get(column.name)) for column in COLUMNS) for row in rows]
        with self._explained(), self._connection:
            self._connection.executemany(f"INSERT OR REPLACE INTO points VALUES ({marks})", values)

    def rows(self, where: str = "1") -> list[dict[str, Any]]:
        """The rows for which the SQL condition `where` holds, sorted by layer, configuration and input.

        Raises
        ------
        FormatError : a condition that SQLite does not understand.
        """
        names, order = (", ".join(f'"{name}"' for name in group) for group in (BY_NAME, ORDER))
        try:
            found = self._connection.execute(
                f"SELECT {names} FROM points WHERE ({where}) ORDER BY {order}"
            ).fetchall()
        except sqlite3.Error as error:
            if where == "1":
                raise FormatError(f"cannot read {self.path}: {error}") from None
            raise FormatError(f"cannot read {self.path} with the condition {where!r}: {error}") from None
        return [dict(row) | {"work": json.loads(row["work"] or "null")} for row in found]


def _stored(value: Any) -> Any:
    return json.dumps(value, separators=(",", ":")) if isinstance(value, list) else value
