"""Engines that compute the points of a sweep: this process, processes of its own, Dask's workers.

An engine takes points and gives back rows; it knows nothing of files or of the results file. On
one machine nothing listens for anybody: a process is spoken to through a pipe. Dask is imported
only where somebody names a cluster of his own.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from importlib import import_module
from itertools import islice
from pathlib import Path
from queue import Empty, Queue
from types import ModuleType
from typing import Any

from flat_mapper.api.questions import AskSweep
from flat_mapper.base.errors import BackendError, SpecError, expected
from flat_mapper.base.parallel import Processes
from flat_mapper.base.process import uninterrupted
from flat_mapper.explore.sweep.inputs import PointTask
from flat_mapper.explore.sweep.store import PointRow
from flat_mapper.explore.sweep.work import answered

CONNECT_S = 20.0  # chosen: how long a scheduler is waited for
POLL_S = 0.1
MOST_WORKERS = 1024  # chosen: processes on one machine
ALIVE_S = 2.0  # chosen: between two looks whether the scheduler is still there

_Answer = Callable[[PointTask], PointRow]


class Here(Executor):
    """This process itself, which answers when it is asked."""

    def submit[**P, R](self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """The answer, as one that is there already."""
        future: Future[R] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


class Engine:
    """Computes points, in any order; `opened` makes who does, and again where that is broken.

    A worker that dies takes no rows with it: the points that were under way are tried again with no
    other beside them, and one that kills even then is a failed one.
    """

    ahead = 1  # points per worker that are given out
    death: type[Exception] = BrokenExecutor

    def __init__(
        self, answer: _Answer = answered, count: int = 1, opened: Callable[[], Executor] = Here
    ) -> None:
        self.answer, self.count, self.opened = answer, count, opened
        self.executor = opened()
        self.busy: dict[Future[PointRow], PointTask] = {}
        self.finished: Queue[Future[PointRow]] = Queue()
        self.suspects: deque[PointTask] = deque()  # that a worker died with

    @property
    def workers(self) -> int:
        """The number of points computed at once; 0 where no worker has come yet."""
        return self.count

    def rows(self, tasks: Iterator[PointTask]) -> Iterator[PointRow]:
        """The rows of points, as they are done; the next task is taken when there is room for it.

        raises: BackendError where the workers are of no use, or lost.
        """
        while True:
            room = max(1, self.ahead * self.workers)
            for task in islice(tasks, max(0, room - len(self.busy) - len(self.suspects))):
                self.give(task)
            if alone := not self.busy:
                if not self.suspects:
                    return
                self.give(self.suspects.popleft())
            future = self.next_done()
            task = self.busy.pop(future)
            if row := self._row(future):
                yield row
            elif alone:
                yield task.row
            else:
                self.suspects.append(task)

    def _row(self, future: Future[PointRow]) -> PointRow | None:
        """The row of a point that ended; none where its worker died."""
        try:
            return future.result()
        except self.death:
            return None
        except BackendError:
            raise
        except CancelledError as error:
            raise _lost("a point that is cancelled") from error
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise BackendError(
                f"worker: expected a row, got: {reason[:300]}; install the same flat-mapper "
                "there, and run the same command again"
            ) from error

    def give(self, task: PointTask) -> None:
        """Have somebody compute a point."""
        try:
            future = self.executor.submit(self.answer, task)
        except BrokenExecutor:
            self.executor = self.opened()
            future = self.executor.submit(self.answer, task)
        self.busy[future] = task
        future.add_done_callback(self.finished.put)

    def next_done(self) -> Future[PointRow]:
        """The next point that ended."""
        return self.finished.get()


class OnDask(Engine):
    """Dask's workers: of one that dies the points are computed elsewhere by Dask itself."""

    ahead = 2  # so that none idles while a row travels

    def __init__(self, client: Any, answer: _Answer) -> None:
        super().__init__(answer, 0, lambda: client.get_executor(pure=False))
        self.client, self.death = client, _distributed().KilledWorker

    @property
    def workers(self) -> int:
        """Threads of all workers that are there now."""
        with _answering():
            return sum(int(threads) for threads in self.client.nthreads().values())

    def give(self, task: PointTask) -> None:
        """Send a point to the scheduler."""
        with _answering():
            super().give(task)

    def next_done(self) -> Future[PointRow]:
        """The next point that ended; waits for as long as the scheduler is there."""
        while True:
            try:
                return self.finished.get(timeout=ALIVE_S)
            except Empty:
                if self.client.status not in ("running", "connecting"):
                    raise _lost(f"a client that is {self.client.status}") from None


def _lost(got: str) -> BackendError:
    return BackendError(
        f"dask: expected the scheduler to answer, got {got}; start it again and run the same "
        "command again, what is stored is kept"
    )


@contextmanager
def _answering() -> Iterator[None]:
    """A scheduler that is lost during a call, as a BackendError."""
    from asyncio import CancelledError

    try:
        yield
    except (OSError, CancelledError) as error:
        raise _lost(" ".join(str(error).split()) or "a call that ended") from error


def engine_of(asked: AskSweep) -> Callable[[], AbstractContextManager[Engine]]:
    """Opener of the workers that a sweep asks for; processes, one a core, where it says nothing.

    raises: SpecError where it asks for several kinds, or for more processes than may be.
    """
    if asked.scheduler:
        if asked.workers is not None:
            got = f"{asked.scheduler} and {asked.workers}"
            raise SpecError(expected("sweep", "one of workers and scheduler", got))
        return partial(cluster_workers, str(asked.scheduler))
    count = asked.workers
    if count is None:
        cores = os.process_cpu_count() if sys.version_info >= (3, 13) else os.cpu_count()
        count = min(cores or 1, MOST_WORKERS)
    if not 0 <= count <= MOST_WORKERS:
        raise SpecError(expected("workers", f"at most {MOST_WORKERS}", count))
    return partial(local_workers, count)


@contextmanager
def local_workers(count: int, answer: _Answer = answered) -> Iterator[Engine]:
    """Worker processes on this machine, gone when the block ends; 0 is this process itself."""
    engine = Engine(answer, count, lambda: Processes(count)) if count else Engine(answer)
    try:
        yield engine
    finally:
        if isinstance(engine.executor, Processes):
            engine.executor.end()


@contextmanager
def cluster_workers(where: str, answer: _Answer = answered) -> Iterator[Engine]:
    """The workers of a scheduler that is running, which goes on when the block ends.

    where:  its address, or the file that it wrote.
    raises: BackendError where none answers there.
    """
    distributed = _distributed()
    end, is_file = time.monotonic() + CONNECT_S, ":" not in where or Path(where).is_file()
    while is_file and not Path(where).is_file():  # Dask itself would wait for it for ever
        if time.monotonic() > end:
            condition = f"a file that a Dask scheduler wrote within {CONNECT_S:g} s"
            raise BackendError(f"{where}: expected {condition}, got none")
        time.sleep(POLL_S)
    options = {"scheduler_file" if is_file else "address": where}
    # Dask leaves a client that cannot start half made: collected, it would wait for an answer and
    # print a traceback, or, collected inside the start of another, wait for that one's lock for
    # ever. So it is closed here, before anybody collects it.
    client = distributed.Client.__new__(distributed.Client)
    with _quiet():
        try:
            client.__init__(timeout=CONNECT_S, set_as_default=False, **options)
        except BaseException as error:  # Dask's own, asyncio's, and what a bad file makes it do
            client.status = "closed"
            if not isinstance(error, Exception):
                raise
            reason = " ".join(str(error).split()) or type(error).__name__
            condition = "the address of a Dask scheduler that runs"
            raise BackendError(f"{where}: expected {condition}, got: {reason[:300]}") from error
        with client:
            yield OnDask(client, answer)


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
