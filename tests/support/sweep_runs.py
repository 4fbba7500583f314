"""Sweeps as commands in processes of their own, what their stores hold, and a Dask cluster to run them on."""

import os
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import distributed

from eie.sim.sweep.store import Store
from tests.support import ROOT

# Twelve points for each seed.
GRID = """
rows = 256
cols = 256
seed = [{seeds}]
n_pe = [1, 4, 16]
queue_depth = [1, 2, 4, 8]
"""


def eie(*arguments: str, folder: Path) -> subprocess.Popen:
    """A command in its process group."""
    return subprocess.Popen(
        [sys.executable, "-m", "eie", *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def held(path: Path) -> dict[str, float]:
    """The seconds that each point took, by key: another run of it would take other ones."""
    if not path.exists() or not path.stat().st_size:
        return {}
    with Store(path) as store:
        return {row["key"]: row["seconds"] for row in store.rows()}


def count(path: Path) -> int:
    """How many points a store holds: as soon known for many as for few."""
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as rows:
            return int(rows.execute("SELECT COUNT(*) FROM points").fetchone()[0])
    except sqlite3.OperationalError:  # no store yet, or one without its table
        return 0


@contextmanager
def dask_cluster() -> Iterator[str]:
    """A scheduler and two workers in processes of their own; gives the scheduler's address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    where = f"tcp://127.0.0.1:{port}"
    # Points of tests are looked for by their module's name.
    env = os.environ | {"PYTHONPATH": str(ROOT), "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1"}
    dask = [sys.executable, "-m", "dask"]
    commands = [
        [*dask, "scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard"],
        *[[*dask, "worker", where, "--nthreads", "1", "--no-dashboard"]] * 2,
    ]
    started = [
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=env)
        for command in commands
    ]
    try:
        with distributed.Client(where, timeout=120, set_as_default=False) as client:
            client.wait_for_workers(2, timeout=120)
        yield where
    finally:
        for process in reversed(started):
            process.terminate()
        for process in started:
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
