"""The store against a dict, and sweeps that are interrupted anywhere against one that is not: in any order of steps."""

import os
import signal
import tempfile
from collections.abc import Sequence
from concurrent.futures import Future
from functools import cache
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from eie.sim.sweep.columns import Row
from eie.sim.sweep.point import Point
from eie.sim.sweep.run import rows_of, run, run_in_memory, unfinished
from eie.sim.sweep.store import Store
from eie.sim.sweep.workers import ThisProcess
from tests.support.sweep_points import point

POINTS = tuple(point(number=number, queue_depth=1 + number % 3) for number in range(9))


@cache
def uninterrupted() -> dict[str, Row]:
    """The row of each point, from a sweep in one go."""
    return {row["key"]: row for row in run_in_memory(POINTS)}


def figures(row: Row) -> Row:
    """All of a row but how long it took."""
    return {name: value for name, value in row.items() if name != "seconds"}


class FileMachine(RuleBasedStateMachine):
    """A store in a file, which can be closed and opened again, or its process killed, at any time."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "s.sqlite"
        self.store = Store(self.path)

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.store = Store(self.path)

    def teardown(self) -> None:
        self.store.close()
        self.folder.cleanup()


# ---- the store ---------------------------------------------------------------------------------------------

ROWS = st.lists(
    st.builds(
        lambda number, status, cycles: POINTS[number].columns() | {"status": status, "cycles": cycles},
        st.integers(0, len(POINTS) - 1),
        st.sampled_from(["ok", "failed", "impossible"]),
        st.integers(0, 1 << 40),
    ),
    min_size=1,
    max_size=12,
)


class StoreMachine(FileMachine):
    """Rows go in, one by key; what `add` returned from stays, what it was killed in never was."""

    def __init__(self) -> None:
        super().__init__()
        self.model: dict[str, Row] = {}

    @rule(rows=ROWS)
    def add(self, rows: list[Row]) -> None:
        self.store.add(rows)
        self.model |= {row["key"]: row for row in rows}

    @rule(rows=ROWS, statement=st.integers(0, 14))
    def killed_while_adding(self, rows: list[Row], statement: int) -> None:
        """Another process adds, and is killed before its SQL statement of that number: BEGIN, INSERTs, COMMIT."""
        self.store.close()
        child = os.fork()
        if not child:
            _add_and_die(self.path, rows, statement)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status) == (statement < len(rows) + 2)
        if not os.WIFSIGNALED(status):
            assert os.waitstatus_to_exitcode(status) == 0
            self.model |= {row["key"]: row for row in rows}
        self.store = Store(self.path)

    @invariant()
    def holds_what_was_added(self) -> None:
        assert self.store.statuses() == {key: row["status"] for key, row in self.model.items()}
        with Store(self.path, read_only=True) as reader:
            found = {row["key"]: row for row in reader.rows()}
        assert found.keys() == self.model.keys()
        for key, row in self.model.items():
            assert {name: found[key][name] for name in row} == row


def _add_and_die(path: Path, rows: list[Row], statement: int) -> None:
    """In a process of its own: never returns."""
    try:
        store = Store(path)
        # Pages go into the file before the transaction ends, so that there is something to undo.
        store._connection.execute("PRAGMA cache_size = 1")
        left = iter(range(statement))

        def count(_sql: str) -> None:
            if next(left, None) is None:
                os.kill(os.getpid(), signal.SIGKILL)

        store._connection.set_trace_callback(count)
        store.add(rows)
    except BaseException:
        os._exit(1)
    os._exit(0)


TestStoreMachine = StoreMachine.TestCase
TestStoreMachine.settings = settings(max_examples=10, stateful_step_count=20)


# ---- the sweep ---------------------------------------------------------------------------------------------


class Interrupted(ThisProcess):
    """Ctrl-C comes while it runs points, or just after: when `after` of them are done."""

    slots = 2

    def __init__(self, after: int, *, lost: bool) -> None:
        self.after, self.lost, self.ran = after, lost, list[str]()

    def submit(self, points: Sequence[Point]) -> Future[list[Row]]:
        if len(self.ran) >= self.after and self.lost:
            raise KeyboardInterrupt
        future = super().submit(points)
        self.ran += [row["key"] for row in future.result()]
        return future

    def progress(self, _: int) -> None:
        if len(self.ran) >= self.after and not self.lost:
            raise KeyboardInterrupt


class SweepMachine(FileMachine):
    """Sweeps of any of the points, in any order, interrupted or not, into one file."""

    def __init__(self) -> None:
        super().__init__()
        self.finished: set[str] = set()

    @initialize()
    def expected_is_there(self) -> None:
        assert {row["status"] for row in uninterrupted().values()} == {"ok"}

    @rule(
        points=st.lists(st.sampled_from(POINTS), min_size=1, max_size=12),
        after=st.integers(0, 12),
        lost=st.booleans(),
    )
    def sweep(self, points: list[Point], after: int, lost: bool) -> None:
        workers = Interrupted(after, lost=lost)
        todo = {one.key for one in points} - self.finished
        try:
            run(points, self.store, workers, progress=workers.progress)
        except KeyboardInterrupt:
            pass
        else:
            assert set(workers.ran) == todo
        assert set(workers.ran) <= todo, "what was finished ran again"
        assert len(set(workers.ran)) == len(workers.ran)
        self.finished |= set(workers.ran)

    @precondition(lambda self: self.finished)
    @invariant()
    def finished_points_have_their_rows(self) -> None:
        found = {row["key"]: figures(row) for row in self.store.rows()}
        assert found == {key: figures(uninterrupted()[key]) for key in self.finished}

    def teardown(self) -> None:
        """However it was interrupted: finished in one go, it is the uninterrupted table."""
        left = unfinished(POINTS, self.store)
        assert {one.key for one in left} == {one.key for one in POINTS} - self.finished
        run(POINTS, self.store)
        rows = [figures(row) for row in rows_of(POINTS, self.store)]
        assert rows == [figures(uninterrupted()[one.key]) for one in POINTS]
        super().teardown()


TestSweepMachine = SweepMachine.TestCase
TestSweepMachine.settings = settings(max_examples=12, stateful_step_count=8)


def test_the_interruption_is_one() -> None:
    with Store() as store, pytest.raises(KeyboardInterrupt):
        run(POINTS, store, Interrupted(0, lost=True))
