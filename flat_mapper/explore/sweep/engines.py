"""Engines that compute the points of a sweep: this process, processes of its own, Dask's workers.

An engine takes points and gives back rows; it knows nothing of files or of the results file. On
one machine nothing listens for anybody: a process is spoken to through a pipe. Dask is imported
only where somebody names a cluster of his own.
"""

from __future__ import annotations

import logging
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from pathlib import Path
from queue import Empty, Queue
from types import ModuleType
from typing import Any

from flat_mapper.base.errors import BackendError
from flat_mapper.base.parallel import Died, Worker, first_done
from flat_mapper.base.process import uninterrupted
from flat_mapper.explore.sweep.inputs import PointTask
from flat_mapper.explore.sweep.store import PointRow
from flat_mapper.explore.sweep.work import answered

CONNECT_S = 20.0  # chosen: how long a scheduler is waited for
POLL_S = 0.1
ALIVE_S = 2.0  # chosen: between two looks whether the scheduler is still there

Answer = Callable[[PointTask], PointRow]


class Engine:
    """Computes points, in any order; this one in this process, when a row is asked for.

    A worker that dies takes no rows with it: its point is tried again with no other beside it, and
    one that kills even then is a failed one.
    """

    def __init__(self, answer: Answer = answered, count: int = 1) -> None:
        self.answer, self.count = answer, count
        self.waiting: deque[PointTask] = deque()
        self.busy: dict[Any, PointTask] = {}  # by who computes it
        self.suspects: deque[PointTask] = deque()  # with it a worker died

    @property
    def workers(self) -> int:
        """The number of points computed at once; 0 where no worker has come yet."""
        return self.count

    @property
    def pending(self) -> int:
        """Points that were given and not yet taken back."""
        return len(self.waiting) + len(self.busy) + len(self.suspects)

    def submit(self, task: PointTask) -> None:
        """Give a point to a worker that is free, or to the next one that is."""
        self.waiting.append(task)
        self._hand_out()

    def row(self) -> PointRow | None:
        """The row of the next point that is done; none where its worker died.

        raises: BackendError where the workers are of no use, or lost.
        """
        self._hand_out()
        alone = not self.busy
        if alone:
            self.give(self.suspects.popleft())
        task, row = self.next_done()
        if row is None and alone:
            return task.row
        if row is None:
            self.suspects.append(task)
        return row

    def _hand_out(self) -> None:
        while self.waiting and len(self.busy) < self.count:
            self.give(self.waiting.popleft())

    def give(self, task: PointTask) -> None:
        """Have somebody compute a point."""
        self.busy[None] = task

    def next_done(self) -> tuple[PointTask, PointRow | None]:
        """The next point that ended, with its row; without where its worker died."""
        task = self.busy.pop(None)
        return task, self.answer(task)


class OnProcesses(Engine):
    """Processes of this machine, a point each at a time."""

    def __init__(self, answer: Answer, count: int) -> None:
        super().__init__(answer, count)
        self.free: list[Worker] = []

    def start(self) -> None:
        """Have as many processes as there are to be.

        raises: BackendError where one cannot start.
        """
        with _starting(f"workers: expected {self.count} to start"), uninterrupted():
            while len(self.free) + len(self.busy) < self.count:
                self.free.append(Worker(self.answer, memory_share=1 / self.count))

    def end(self) -> None:
        """End every process, whatever it does."""
        for worker in (*self.free, *self.busy):
            worker.end()

    def give(self, task: PointTask) -> None:
        """Have a free process compute a point."""
        self.start()
        worker = self.free.pop()
        self.busy[worker] = task
        worker.ask(task)

    def next_done(self) -> tuple[PointTask, PointRow | None]:
        """The next point that a process answered, or died of."""
        worker = first_done(list(self.busy))
        task = self.busy.pop(worker)
        self.free.append(worker)
        try:
            return task, worker.answer()
        except Died:
            self.free.remove(worker)
            worker.end()
            return task, None


class OnDask(Engine):
    """Dask's workers: of one that dies the points are computed elsewhere by Dask itself."""

    def __init__(self, client: Any, answer: Answer) -> None:
        super().__init__(answer, count=sys.maxsize)  # the scheduler keeps what waits
        self.client = client
        self.finished: Queue[Any] = Queue()  # futures, as they end

    @property
    def workers(self) -> int:
        """Threads of all workers that are there now."""
        with _answering():
            return sum(int(threads) for threads in self.client.nthreads().values())

    def give(self, task: PointTask) -> None:
        """Send a point to the scheduler."""
        with _answering():
            future = self.client.submit(self.answer, task, pure=False)
            self.busy[future.key] = task
            future.add_done_callback(self.finished.put)

    def next_done(self) -> tuple[PointTask, PointRow | None]:
        """The next point that ended; without its row where workers died one after another of it."""
        future = self._next()
        task = self.busy.pop(future.key)
        with _answering():
            if future.status == "finished":
                return task, future.result()
            error = future.exception() if future.status == "error" else None
        if error is None:
            raise BackendError(_gone(f"a future that is {future.status}"))
        if isinstance(error, BackendError):
            raise error
        if not isinstance(error, _distributed().KilledWorker):
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise BackendError(
                f"dask: expected rows from a worker, got: {reason[:300]}; install the same "
                "flat-mapper there, and run the same command again"
            )
        return task, None

    def _next(self) -> Any:
        """The next future that ended; waits for as long as the scheduler is there."""
        while True:
            try:
                return self.finished.get(timeout=ALIVE_S)
            except Empty:
                if self.client.status not in ("running", "connecting"):
                    raise BackendError(_gone(f"a client that is {self.client.status}")) from None


@contextmanager
def _answering() -> Iterator[None]:
    """A scheduler that is lost during a call, as a BackendError."""
    from asyncio import CancelledError

    try:
        yield
    except (OSError, CancelledError) as error:
        raise BackendError(_gone(" ".join(str(error).split()) or "a call that ended")) from error


def _gone(got: object) -> str:
    return (
        f"dask: expected the scheduler to answer, got {got}; start it again and run the same "
        "command again, what is stored is kept"
    )


@contextmanager
def local_workers(count: int, answer: Answer = answered) -> Iterator[Engine]:
    """Worker processes on this machine, gone when the block ends; 0 is this process itself."""
    if count == 0:
        yield Engine(answer)
        return
    engine = OnProcesses(answer, count)
    try:
        engine.start()
        yield engine
    finally:
        engine.end()


@contextmanager
def cluster_workers(
    address: str = "", file: str = "", answer: Answer = answered
) -> Iterator[Engine]:
    """The workers of a scheduler that is running, which goes on when the block ends.

    raises: BackendError where none answers there.
    """
    distributed = _distributed()
    where = address or file
    end = time.monotonic() + CONNECT_S
    while file and not Path(file).is_file():  # Dask itself would wait for it for ever
        if time.monotonic() > end:
            condition = f"a file that a Dask scheduler wrote within {CONNECT_S:g} s"
            raise BackendError(f"{where}: expected {condition}, got none")
        time.sleep(POLL_S)
    options = {"address": address} if address else {"scheduler_file": file}
    with _quiet(), ExitStack() as opened:
        with _starting(f"{where}: expected the address of a Dask scheduler that runs"):
            opened.enter_context(client := _client(distributed, options))
        yield OnDask(client, answer)


def _client(distributed: ModuleType, options: dict[str, str]) -> Any:
    """A client of the scheduler at `options`.

    Dask leaves one that cannot start half made: collected, it would wait for an answer and print a
    traceback, or, collected inside the start of another, wait for that one's lock for ever.
    """
    client = distributed.Client.__new__(distributed.Client)
    try:
        client.__init__(timeout=CONNECT_S, set_as_default=False, **options)
    except BaseException:
        client.status = "closed"
        raise
    return client


@contextmanager
def _starting(condition: str) -> Iterator[None]:
    """Anything that is raised when something cannot start, as one line."""
    try:
        yield
    except Exception as error:  # of Dask's own classes, asyncio's, and what a bad file makes it do
        reason = " ".join(str(error).split()) or type(error).__name__
        raise BackendError(f"{condition}, got: {reason[:300]}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Dask's own tracebacks off the terminal; what matters of them is in our one line."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


def _distributed() -> ModuleType:
    """Dask's package."""
    try:
        with uninterrupted():
            return import_module("distributed")
    except ImportError as error:
        raise BackendError(
            "dask: the package distributed is not installed; pip install 'flat-mapper[sweep]', or "
            "use --workers instead of a scheduler"
        ) from error
