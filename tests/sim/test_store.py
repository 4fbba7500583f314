"""The store: what it keeps, and files that it refuses."""

import itertools
import json
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from eie.errors import FormatError, OutputError
from eie.sim.sweep.columns import BY_NAME, COLUMNS
from eie.sim.sweep.point import measure
from eie.sim.sweep.store import APPLICATION, FORMAT, Store
from tests.support import ROOT
from tests.support.sweep_points import point

ROW = measure(point())


def test_rows_come_back_as_they_were(tmp_path: Path) -> None:
    impossible = measure(point(n_pe=12))
    with Store(tmp_path / "s.sqlite") as store:
        store.add([ROW])
        store.add([impossible])
        rows = store.rows()
    assert rows == [dict.fromkeys(BY_NAME) | row for row in (ROW, impossible)]
    assert sum(rows[0]["work"]) == rows[0]["entries"]
    assert [type(rows[0][name]) for name in ("cycles", "padding", "layer", "work")] == [int, float, str, list]
    with Store(tmp_path / "s.sqlite", read_only=True) as store:
        assert store.rows("status = 'ok'") == rows[:1]
        assert store.statuses() == {row["key"]: row["status"] for row in rows}
        with pytest.raises(OutputError, match="attempt to write a readonly database"):
            store.add([ROW])
        with pytest.raises(FormatError, match="with the condition 'n_pes = 4': no such column: n_pes"):
            store.rows("n_pes = 4")


def test_every_column_is_filled_and_typed(tmp_path: Path) -> None:
    assert set(ROW) == set(BY_NAME) - {"error"}
    with Store(tmp_path / "s.sqlite") as store:
        store.add([ROW])
    types = {"TEXT": "text", "TEXT PRIMARY KEY": "text", "INTEGER": "integer", "REAL": "real"}
    database = sqlite3.connect(tmp_path / "s.sqlite")
    for column in COLUMNS:
        if column.name != "error":
            (kind,) = database.execute(f'SELECT typeof("{column.name}") FROM points').fetchone()
            assert kind == types[column.sql], column.name


def test_a_key_has_one_row(tmp_path: Path) -> None:
    with Store(tmp_path / "s.sqlite") as store:
        store.add([ROW | {"status": "failed"}])
        store.add([ROW])
        assert [row["status"] for row in store.rows()] == ["ok"]


def test_a_file_that_four_sweeps_create_at_once(tmp_path: Path) -> None:
    together = threading.Barrier(4)

    def create(path: Path) -> None:
        together.wait()
        Store(path).close()

    with ThreadPoolExecutor(4) as pool:
        for attempt in range(100):
            list(pool.map(create, [tmp_path / f"{attempt}.sqlite"] * 4))


def test_files_that_are_no_store(tmp_path: Path) -> None:
    text = tmp_path / "text.sqlite"
    text.write_text("key,status\n" * 100)
    with pytest.raises(FormatError, match=r"text.sqlite is not the store of a sweep: file is not a database"):
        Store(text)
    assert text.read_text() == "key,status\n" * 100
    other = tmp_path / "other.sqlite"
    database = sqlite3.connect(other)
    database.execute("CREATE TABLE points (a)")
    database.commit()
    for read_only in (False, True):
        with pytest.raises(
            FormatError, match=r"other.sqlite is an SQLite file, but not the store of a sweep"
        ):
            Store(other, read_only=read_only)
    with pytest.raises(FormatError, match=r"cannot read .*absent.sqlite: no such file"):
        Store(tmp_path / "absent.sqlite", read_only=True)
    with pytest.raises(OutputError, match="unable to open database file"):
        Store(tmp_path / "absent" / "s.sqlite")


def test_a_store_of_a_newer_version(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    with Store(path) as store:
        store.add([ROW])
    database = sqlite3.connect(path)
    assert database.execute("PRAGMA application_id").fetchone() == (APPLICATION,)
    database.execute(f"PRAGMA user_version = {FORMAT + 1}")
    with pytest.raises(
        FormatError,
        match=rf"has store format {FORMAT + 1}, and this eie \(.+\) knows formats up to {FORMAT}:",
    ):
        Store(path)


def test_a_store_of_an_older_version(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    with Store(path) as store:
        store.add([ROW])
    sqlite3.connect(path).execute(f"PRAGMA user_version = {FORMAT - 1}")
    for read_only in (False, True):
        with pytest.raises(
            FormatError, match=rf"has store format {FORMAT - 1}, of an older eie with other columns"
        ):
            Store(path, read_only=read_only)


def fill(store: Store, added: list[str]) -> None:
    """Add rows for ever; `added` gets the keys."""
    for number in itertools.count():
        store.add([ROW | {"key": str(number)}])
        added.append(str(number))


def test_a_full_disk_loses_nothing(tmp_path: Path) -> None:
    # SQLite's own limit first, then the system's, on a file that may not grow.
    with Store(tmp_path / "s.sqlite") as store:
        store._connection.execute("PRAGMA max_page_count = 6")
        added: list[str] = []
        with pytest.raises(
            OutputError, match=r"database or disk is full \(what was finished before is kept\)"
        ):
            fill(store, added)
    with Store(tmp_path / "s.sqlite") as store:
        assert list(store.statuses()) == added
        assert len(added) > 3
    script = f"""
import json, resource, sys
from pathlib import Path
from eie.errors import OutputError
from eie.sim.sweep.store import Store
row = json.loads(sys.stdin.read())
resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))
with Store(Path({str(tmp_path / "t.sqlite")!r})) as store:
    for number in range(1000):
        try:
            store.add([row | {{"key": str(number)}}])
        except OutputError as error:
            print(number, error)
            break
"""
    done = subprocess.run(
        [sys.executable, "-c", script], input=json.dumps(ROW), capture_output=True, text=True, check=True
    )
    number, text = done.stdout.split(" ", 1)
    assert "is kept" in text
    assert (tmp_path / "t.sqlite").stat().st_size <= 40_000
    with Store(tmp_path / "t.sqlite") as store:
        assert list(store.statuses()) == [str(n) for n in range(int(number))]
        assert int(number) > 10


def test_a_write_that_was_cut_off_is_undone(tmp_path: Path) -> None:
    # A process that dies in the middle of a transaction, its pages written: its journal is rolled back.
    path = tmp_path / "s.sqlite"
    with Store(path) as store:
        store.add([ROW])
    script = f"""
import os, sqlite3
database = sqlite3.connect({str(path)!r})
database.execute("PRAGMA cache_size = 2")
database.execute("PRAGMA cache_spill = 1")
database.execute("BEGIN IMMEDIATE")
for number in range(500):
    database.execute("INSERT INTO points (key, error) VALUES (?, ?)", (str(number), "x" * 500))
os.kill(os.getpid(), 9)
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -9
    assert path.stat().st_size > 100_000
    assert (tmp_path / "s.sqlite-journal").exists()
    with Store(path) as store:
        assert list(store.statuses()) == [ROW["key"]]


def test_the_page_lists_every_column() -> None:
    page = (ROOT / "docs" / "sweeps.md").read_text(encoding="utf-8")
    rows = [f"| {c.name} | {c.sql.split()[0]} | {c.unit} | {c.meaning} |" for c in COLUMNS]
    assert "\n".join(["| column | type | unit | meaning |", "|---|---|---|---|", *rows, ""]) in page
