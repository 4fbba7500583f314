"""Sweeps on processes and clusters: the same rows, and nothing lost when something dies."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import distributed
import pytest

from eie.errors import ClusterError
from eie.sim.sweep import workers as workers_module
from eie.sim.sweep.point import Point, run_points
from eie.sim.sweep.run import DIED, rows_of, run
from eie.sim.sweep.store import Store
from eie.sim.sweep.workers import Cluster, Processes, ThisProcess, Workers
from tests.support.sweep_points import Deadly, Faulty, Slow, point
from tests.support.sweep_runs import GRID, dask_cluster, eie, held

POINTS = [point(number=number, n_pe=n_pe) for n_pe in (1, 4, 12) for number in range(8)]


def figures(points: list[Point], workers: Workers, path: Path = Path(":memory:")) -> list[dict]:
    """The rows without their times."""
    with Store(path) as store:
        run(points, store, workers)
        return [{name: v for name, v in row.items() if name != "seconds"} for row in rows_of(points, store)]


def statuses(points: list[Point], workers: Workers) -> list[str]:
    return [row["status"] for row in figures(points, workers)]


@pytest.fixture(scope="module")
def expected() -> list[dict]:
    return figures(POINTS, ThisProcess())


# ---- processes of this machine -----------------------------------------------------------------------------


def test_processes_give_the_same_rows(expected: list[dict]) -> None:
    assert figures(POINTS, Processes(2)) == expected
    assert [row["status"] for row in expected] == ["ok"] * 16 + ["impossible"] * 8


def test_a_point_that_kills_its_worker_takes_no_others_with_it(tmp_path: Path) -> None:
    deadly = point(Deadly(0.5, 99))
    points = [*POINTS[:8], deadly, *POINTS[8:16]]
    rows = figures(points, Processes(2))
    assert [row["status"] for row in rows] == ["ok"] * 8 + ["failed"] + ["ok"] * 8
    assert rows[8]["error"] == DIED
    # Once is not enough: it is tried again.
    assert statuses([*POINTS[:8], point(Deadly(0.5, 99, str(tmp_path / "once")))], Processes(1)) == ["ok"] * 9


def test_a_worker_that_somebody_kills_is_replaced() -> None:
    workers = Processes(2)
    points = [point(Slow(0.5, number, seconds=0.05)) for number in range(30)]
    pids = workers.pids
    killed = 0

    def kill_one(done: int) -> None:
        nonlocal killed
        if killed < len(pids):
            os.kill(pids[killed], signal.SIGKILL)
            killed += 1

    with Store() as store:
        run(points, store, workers, progress=kill_one)
        assert [row["status"] for row in rows_of(points, store)] == ["ok"] * 30
    assert killed == 2


def gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"


def test_workers_end_with_the_sweep_however_it_ends() -> None:
    script = """
import os, signal
from eie.sim.sweep.workers import Processes
if __name__ == "__main__":
    print(*Processes(2).pids, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    pids = [int(word) for word in done.stdout.split()]
    assert len(pids) == 2
    deadline = time.monotonic() + 20
    while not all(gone(pid) for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.05)


class Blaming(ThisProcess):
    """Workers that die together: who kills one is blamed with all that ran at the time, as Dask does."""

    slots = 4

    def __init__(self) -> None:
        self.running: list[tuple[Sequence[Point], Future]] = []
        self.together: list[int] = []
        self.lock = threading.Lock()

    def submit(self, points: Sequence[Point]) -> Future:
        future: Future = Future()
        with self.lock:  # the timer's thread takes the list away
            self.running.append((points, future))
            if len(self.running) == 1:
                threading.Timer(0.05, self.finish).start()
        return future

    def finish(self) -> None:
        with self.lock:
            running, self.running = self.running, []
        self.together.append(len(running))
        dies = any(isinstance(point.input, Deadly) for points, _ in running for point in points)
        for points, future in running:
            if dies:
                future.set_exception(BrokenProcessPool())
            else:
                future.set_result(run_points(points, 1.0))

    def died(self, error: BaseException) -> bool:
        return isinstance(error, BrokenProcessPool)


def test_only_who_kills_a_worker_alone_is_blamed() -> None:
    workers = Blaming()
    deadly = [point(Deadly(0.5, 99)), point(Deadly(0.5, 98))]
    points = [*POINTS[:8], deadly[0], *POINTS[8:12], deadly[1], *POINTS[12:16]]
    rows = figures(points, workers)
    assert [row["status"] for row in rows] == ["failed" if point in deadly else "ok" for point in points]
    assert {row["error"] for row in rows if row["status"] == "failed"} == {DIED}
    assert max(workers.together) == 4  # and not one by one from the start


# ---- kill -9 and Ctrl-C of the command ---------------------------------------------------------------------

SEEDS = 40


@pytest.mark.parametrize("processes", ["1", "2"])
def test_kill_9_loses_no_finished_point_and_redoes_none(tmp_path: Path, processes: str) -> None:
    (tmp_path / "g.toml").write_text(GRID.format(seeds=", ".join(map(str, range(SEEDS)))))
    store = tmp_path / "g.sqlite"
    before: dict[str, float] = {}
    counts = []
    for _ in range(5):
        sweep = eie("sweep", "g.toml", "--workers", processes, folder=tmp_path)
        # The journal's end is a commit: kill at any moment after the first new point, between or in the middle of one.
        while len(held(store)) <= len(before):
            assert sweep.poll() is None
            time.sleep(0.01)
        time.sleep(0.013 * len(counts))
        sweep.kill()
        sweep.communicate()
        after = held(store)
        assert before.items() <= after.items()
        before = after
        counts.append(len(after))
    assert counts == sorted(set(counts))
    assert counts[-1] < 12 * SEEDS, "all done before the last kill: the test needs more points"
    last = eie("sweep", "g.toml", "--workers", processes, folder=tmp_path)
    out, err = last.communicate(timeout=100)
    assert last.returncode == 0, err
    total = 12 * SEEDS
    assert f"g.sqlite: {total} points, {counts[-1]} there before, {total - counts[-1]} run now" in out
    assert before.items() <= held(store).items()
    assert len(held(store)) == total


@pytest.mark.parametrize("processes", ["1", "2"])
def test_ctrl_c_keeps_what_is_finished(tmp_path: Path, processes: str) -> None:
    (tmp_path / "g.toml").write_text(GRID.format(seeds=", ".join(map(str, range(400)))))
    sweep = eie("sweep", "g.toml", "--workers", processes, folder=tmp_path)
    while not held(tmp_path / "g.sqlite"):
        assert sweep.poll() is None
        time.sleep(0.01)
    os.killpg(sweep.pid, signal.SIGINT)
    _, err = sweep.communicate(timeout=30)
    assert sweep.returncode == 130, err
    kept = len(held(tmp_path / "g.sqlite"))
    assert err == (
        f"eie: interrupted: {kept:,} of 4,800 points are in g.sqlite: the same command goes on from there\n"
    )
    assert 0 < kept < 4800


def test_two_sweeps_into_one_store(tmp_path: Path) -> None:
    for name, seeds in (("a", "1, 2, 3"), ("b", "3, 4, 5")):
        (tmp_path / f"{name}.toml").write_text(GRID.format(seeds=seeds))
    both = [
        eie("sweep", f"{name}.toml", "--workers", "1", "-o", "s.sqlite", folder=tmp_path) for name in "ab"
    ]
    for sweep in both:
        _, err = sweep.communicate(timeout=60)
        assert (sweep.returncode, err) == (0, "")
    assert len(held(tmp_path / "s.sqlite")) == 12 * 5


def test_dask_is_loaded_for_a_scheduler_only(tmp_path: Path) -> None:
    script = """
import sys
from eie.cli.main import main
main(["sweep", "--random", "9x9", "-o", "s.sqlite"], standalone_mode=False)
assert "eie.sim.sweep.workers" in sys.modules
assert not {"dask", "distributed", "matplotlib", "amaranth"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True, stdout=subprocess.DEVNULL)


# ---- Dask --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    """A scheduler and two workers in processes of their own."""
    with dask_cluster() as where:
        yield where


@pytest.fixture
def address(scheduler: str) -> str:
    """That scheduler, with both workers there: a test before may have killed them, and they start again."""
    with distributed.Client(scheduler, timeout=60, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=60)
    return scheduler


def test_a_cluster_in_processes_gives_the_same_rows(
    address: str, expected: list[dict], tmp_path: Path
) -> None:
    assert figures(POINTS, Cluster(address)) == expected
    (tmp_path / "g.toml").write_text(GRID.format(seeds="1, 2"))
    sweep = eie("sweep", "g.toml", "--scheduler", address, folder=tmp_path)
    out, err = sweep.communicate(timeout=100)
    assert (sweep.returncode, err) == (0, "")
    assert "g.sqlite: 24 points, 0 there before, 24 run now" in out


def test_a_local_cluster_gives_the_same_rows(expected: list[dict]) -> None:
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0"
    ) as cluster:
        assert figures(POINTS, Cluster(cluster.scheduler_address)) == expected


def test_a_dask_worker_that_dies(address: str, tmp_path: Path) -> None:
    # Another worker takes over; a point that kills each of them fails, and the others do not.
    once = point(Deadly(0.5, 98, str(tmp_path / "once")))
    points = [*POINTS[:8], once, point(Deadly(0.5, 99)), point(Faulty(0.5, 97)), *POINTS[8:16]]
    rows = figures(points, Cluster(address))
    assert [row["status"] for row in rows] == [*["ok"] * 9, "failed", "failed", *["ok"] * 8]
    assert [rows[9]["error"], rows[10]["error"]] == [DIED, "ZeroDivisionError: a bug"]


def test_an_answer_that_is_lost_while_it_is_fetched(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def gather(client: distributed.Client, futures: list, **options: object) -> None:
        raise distributed.KilledWorker("a task", None, 1)

    with Cluster(address) as cluster:
        monkeypatch.setattr(distributed.Client, "_gather", gather)
        error = cluster.submit(POINTS[:1]).exception(timeout=60)
        assert error is not None
        assert cluster.died(error)


def test_clusters_that_cannot_be_used(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ClusterError, match="'here' is not the address of a scheduler, such as tcp://"):
        Cluster("here")
    monkeypatch.setattr(workers_module, "CONNECT_S", 0.5)
    with pytest.raises(
        ClusterError, match=r"cannot reach a Dask scheduler at tcp://127\.0\.0\.1:9: Timed out"
    ):
        Cluster("tcp://127.0.0.1:9")
    with (
        distributed.LocalCluster(n_workers=0, dashboard_address=":0") as empty,
        pytest.raises(ClusterError, match=r"has no workers: start some with dask worker tcp://"),
    ):
        Cluster(empty.scheduler_address)
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(
        ClusterError, match=r"needs Dask, which is not installed: run pip install '.\[cluster\]' in the clone"
    ):
        Cluster(address)


def test_workers_of_another_version(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers_module, "engine_version", lambda engine: "0123")
    with pytest.raises(ClusterError, match=r"a worker has another version of engine fast \(.{16}, here 0"):
        figures(POINTS[:1], Cluster(address))


def test_a_scheduler_that_is_lost(tmp_path: Path) -> None:
    cluster = distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0")
    points = [point(Slow(0.5, number, seconds=0.3)) for number in range(12)]
    try:
        with Store(tmp_path / "s.sqlite") as store:
            with pytest.raises(
                ClusterError, match=r"lost the connection to the scheduler at tcp://.* \(what was"
            ):
                run(points, store, Cluster(cluster.scheduler_address), progress=lambda done: cluster.close())
            kept = len(store.statuses())
            assert 0 < kept < len(points)
            run(points, store)
            assert {row["status"] for row in rows_of(points, store)} == {"ok"}
    finally:
        cluster.close()
