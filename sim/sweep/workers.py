"""Where the points of a sweep run: in this process, in processes of this machine, or on a Dask cluster.

All three take `submit(points)` and answer with a `concurrent.futures.Future` of the rows of the first points; the sweep
is the same code for each.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import logging
import multiprocessing
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import resource_tracker
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar

from eie.errors import ClusterError, EieError
from eie.sim.sweep.columns import Row
from eie.sim.sweep.point import Point, engine_version, run_points, run_points_elsewhere

# A worker answers after about this time with what it has, so that little is lost when somebody kills the sweep.
ANSWER_S = 1.0
# How long a scheduler may take to answer, and how long a cluster may be without a worker.
CONNECT_S = 5.0
WITHOUT_WORKERS_S = 30.0

Answer = TypeVar("Answer")


class Workers(Protocol):
    """What a sweep needs of them. Leaving the context ends what still runs."""

    @property
    def slots(self) -> int:
        """How many submissions make sense at a time."""
        ...

    def submit(self, points: Sequence[Point]) -> Future[list[Row]]:
        """Rows of the first points, at least one; or an exception, of which `died` tells what it means."""
        ...

    def died(self, error: BaseException) -> bool:
        """Whether the exception says that the worker died.

        Raises
        ------
        ClusterError : it says that there is no cluster any more.
        """
        return False

    def check(self) -> None:
        """Called now and then. Raises `ClusterError` when nobody works any more."""
        return

    def end(self) -> None:
        """End what still runs."""
        return

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()


class ThisProcess(Workers):
    """Runs points at once, here: nothing to start, nothing to protect from."""

    slots = 1

    def submit(self, points: Sequence[Point]) -> Future[list[Row]]:
        """The rows, when they are there."""
        future: Future[list[Row]] = Future()
        future.set_result(run_points(points, ANSWER_S / 5))
        return future


# ---- processes ---------------------------------------------------------------------------------------------


def _begin(first: Callable[..., None] | None, arguments: tuple[Any, ...]) -> None:
    """In a new process: leave Ctrl-C to the parent, and end when that does, however it ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    if first is not None:
        first(*arguments)


@contextlib.contextmanager
def ctrl_c_held() -> Iterator[None]:
    """Ctrl-C comes when this ends. Processes that begin meanwhile never get it.

    They have long imports before they can ignore it themselves, and inherit that it is blocked.
    """
    if threading.current_thread() is not threading.main_thread():  # only that one may
        yield
        return
    resource_tracker.ensure_running()  # its start unblocks the signal
    noted: list[int] = []
    # Another thread, a library's, may take it from the kernel: Python tells the main one.
    before = signal.signal(signal.SIGINT, lambda number, _: noted.append(number))
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        signal.signal(signal.SIGINT, before)
        if noted:
            signal.raise_signal(signal.SIGINT)


class OneProcess(Generic[Answer]):
    """A process that ends with this one, however this one ends; `first(*arguments)` is called in it as it begins.

    A pool of several would break as a whole, and not tell whose fault it was.
    """

    def __init__(self, first: Callable[..., None] | None = None, *arguments: Any) -> None:
        self.executor = ProcessPoolExecutor(
            1, multiprocessing.get_context("spawn"), initializer=_begin, initargs=(first, arguments)
        )
        with ctrl_c_held():
            self.pid = self.executor.submit(os.getpid)
        self.future: Future[Answer] | None = None

    @property
    def idle(self) -> bool:
        """Whether it has nothing to do."""
        return self.future is None or self.future.done()

    def submit(self, function: Callable[..., Answer], *arguments: Any) -> Future[Answer]:
        """Call a function in it. Raises `BrokenProcessPool` when it is gone."""
        self.future = self.executor.submit(function, *arguments)
        return self.future

    def end(self) -> None:
        """End it, at once if it is busy."""
        self.executor.shutdown(wait=False, cancel_futures=True)
        if not self.idle:
            with contextlib.suppress(
                ProcessLookupError, BrokenProcessPool, concurrent.futures.CancelledError
            ):
                os.kill(self.pid.result(), signal.SIGKILL)


class Processes(Workers):
    """So many processes of this machine. They are spawned: threads of this one must not be forked."""

    def __init__(self, slots: int) -> None:
        self._slots: list[OneProcess[list[Row]]] = [OneProcess() for _ in range(slots)]

    @property
    def slots(self) -> int:
        """The processes."""
        return len(self._slots)

    @property
    def pids(self) -> list[int]:
        """Their process numbers, once they run."""
        return [slot.pid.result() for slot in self._slots]

    def submit(self, points: Sequence[Point]) -> Future[list[Row]]:
        """To an idle process."""
        number = next(number for number, slot in enumerate(self._slots) if slot.idle)
        try:
            return self._slots[number].submit(run_points, points, ANSWER_S)
        except BrokenProcessPool:  # its process died with the last points, or while it was idle
            self._slots[number] = OneProcess()
            return self._slots[number].submit(run_points, points, ANSWER_S)

    def died(self, error: BaseException) -> bool:
        """Whether the process is gone."""
        return isinstance(error, BrokenProcessPool)

    def end(self) -> None:
        """End them all."""
        for slot in self._slots:
            slot.end()


# ---- a cluster ---------------------------------------------------------------------------------------------


class Cluster(Workers):
    """The workers of a Dask scheduler, such as tcp://10.0.0.1:8786.

    Raises
    ------
    ClusterError : Dask is not installed, nobody answers there, or the scheduler has no workers.
    """

    def __init__(self, address: str) -> None:
        try:
            import dask.config
            import distributed
        except ImportError:
            raise ClusterError(
                "--scheduler needs Dask, which is not installed: run pip install '.[cluster]' in the clone"
            ) from None
        if not re.fullmatch(r"((tcp|tls|ws|wss|ucx)://)?[^/]+:\d+/?", address):
            raise ClusterError(f"{address!r} is not the address of a scheduler, such as tcp://10.0.0.1:8786")
        # Layers of files travel with their points, and are not small.
        dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 GB"})
        # What goes wrong is said in one line, and not in Dask's log.
        for name in [name for name in logging.root.manager.loggerDict if name.startswith("distributed")]:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        self.address = address
        self._lost = f"lost the connection to the scheduler at {address} (what was finished before is kept)"
        self._killed: type[BaseException] = distributed.KilledWorker
        try:
            self._client = distributed.Client(address, timeout=CONNECT_S, set_as_default=False)
        except (OSError, ValueError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ClusterError(f"cannot reach a Dask scheduler at {address}: {reason}") from None
        self._threads = self._count()
        self._seen = time.monotonic()
        if not self._threads:
            self._client.close()
            raise ClusterError(
                f"the scheduler at {address} has no workers: start some with dask worker {address}"
            )

    def _count(self) -> int:
        return sum(self._client.nthreads().values())

    @property
    def slots(self) -> int:
        """The workers' threads."""
        return max(1, self._threads)

    def submit(self, points: Sequence[Point]) -> Future[list[Row]]:
        """To the worker that the scheduler chooses."""
        versions = {point.engine: engine_version(point.engine) for point in points}
        task = self._client.submit(run_points_elsewhere, points, versions, ANSWER_S, pure=False)
        future: Future[list[Row]] = Future()

        async def pass_on() -> None:
            # Dask's own executor loses the answer whose worker dies while it is fetched: nobody would hear of it.
            try:
                rows = await task
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(rows)

        loop = self._client.loop
        assert loop is not None  # only before the client connects
        loop.add_callback(pass_on)
        return future

    def died(self, error: BaseException) -> bool:
        """Whether the scheduler gave the task up because workers died of it."""
        if isinstance(error, self._killed):
            return True
        if isinstance(error, concurrent.futures.CancelledError):
            raise ClusterError(self._lost) from None
        if not isinstance(error, EieError):
            raise ClusterError(
                f"a worker of {self.address} cannot run points: {type(error).__name__}: {error}"
            ) from None
        return False

    def check(self) -> None:
        """Count the workers again: some may have come or gone."""
        try:
            self._threads = self._count()
        except (OSError, RuntimeError, TimeoutError, concurrent.futures.CancelledError):
            raise ClusterError(self._lost) from None
        if self._threads:
            self._seen = time.monotonic()
        elif time.monotonic() - self._seen > WITHOUT_WORKERS_S:
            raise ClusterError(
                f"the scheduler at {self.address} has had no workers for {WITHOUT_WORKERS_S:.0f} s "
                "(what was finished before is kept)"
            )

    def end(self) -> None:
        """Leave the cluster."""
        with contextlib.suppress(Exception):  # a scheduler that is gone
            self._client.close(timeout=CONNECT_S)


def workers(scheduler: str | None, processes: int) -> Workers:
    """The cluster of a scheduler, or so many processes of this machine (1: this one)."""
    if scheduler is not None:
        return Cluster(scheduler)
    return Processes(processes) if processes > 1 else ThisProcess()
