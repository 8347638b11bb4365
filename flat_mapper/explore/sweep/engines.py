"""Engines that compute the points of a sweep: this process, processes of its own, Dask's workers.

An engine takes batches and gives back rows; it knows nothing of files or of the results file. On
one machine nothing listens for anybody: a process is spoken to through a pipe. Dask is imported
only where somebody names a cluster of his own.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from queue import Empty, Queue
from types import ModuleType
from typing import Any, Protocol

from flat_mapper.base.errors import BackendError
from flat_mapper.base.interrupts import uninterrupted
from flat_mapper.base.parallel import Died, Worker, first_done
from flat_mapper.explore.sweep.inputs import Chip
from flat_mapper.explore.sweep.store import PointRow
from flat_mapper.explore.sweep.work import Batch, Prices, answered, lost, priced

PRICED = 8  # chosen: chips whose prices are kept; neighbours in a sweep share a chip
CONNECT_S = 20.0  # chosen: how long a scheduler is waited for
POLL_S = 0.1
ALIVE_S = 2.0  # chosen: between two looks whether the scheduler is still there
DEAD = "worker: expected an answer, got every worker killed"  # the reason of such a point

AnswerBatch = Callable[[Batch, Prices], list[PointRow]]


class Engine(Protocol):
    """Computes batches, in any order."""

    @property
    def workers(self) -> int:
        """The number of batches computed at once; 0 where no worker has come yet."""

    @property
    def pending(self) -> int:
        """Batches that were given and not yet taken back."""

    def submit(self, batch: Batch) -> None:
        """Take a batch."""

    def rows(self) -> list[PointRow]:
        """The rows of the next batch, or part of one, that is done; waits for it."""


class Here:
    """This process: one point at a time, computed when its row is asked for."""

    workers = 1

    def __init__(self, answer: AnswerBatch = answered) -> None:
        self.answer = answer
        self.batches: list[Batch] = []
        self.prices: tuple[Chip, Prices] | None = None

    @property
    def pending(self) -> int:
        """Batches that were given and not yet taken back."""
        return len(self.batches)

    def submit(self, batch: Batch) -> None:
        """Take a batch."""
        self.batches.append(batch)

    def rows(self) -> list[PointRow]:
        """The row of the oldest point, computed now."""
        batch = self.batches.pop(0)
        first, *others = batch.tasks
        if others:
            self.batches.insert(0, replace(batch, tasks=tuple(others)))
        if self.prices is None or self.prices[0] != batch.chip:
            self.prices = batch.chip, priced(batch.chip)
        return self.answer(replace(batch, tasks=(first,)), self.prices[1])


class OnProcesses:
    """Processes of this machine, a batch each at a time.

    One that dies takes no rows with it: its points are tried again one by one, each with no other
    beside it, and the point that kills even then is a failed one.
    """

    def __init__(self, count: int, answer: AnswerBatch) -> None:
        self.workers, self.answer = count, answer
        self.free: list[Worker] = []
        self.busy: dict[Worker, Batch] = {}
        self.waiting: deque[Batch] = deque()
        self.suspects: deque[Batch] = deque()  # a point each: with it a worker died

    @property
    def pending(self) -> int:
        """Batches that were given and not yet taken back."""
        return len(self.waiting) + len(self.busy) + len(self.suspects)

    def submit(self, batch: Batch) -> None:
        """Give a batch to a process that is free, or to the next one that is."""
        self.waiting.append(batch)
        self._hand_out()

    def rows(self) -> list[PointRow]:
        """The rows of the next batch that is done; none where its worker died.

        raises: BackendError where a worker is of no use.
        """
        self._hand_out()
        alone = not self.busy
        if alone:
            self._give(self.suspects.popleft())
        worker = first_done(list(self.busy))
        batch = self.busy.pop(worker)
        self.free.append(worker)
        try:
            rows: list[PointRow] = worker.answer()
        except Died:
            self.free.remove(worker)
            worker.end()
            if alone:
                return [lost(batch.tasks[0], DEAD)]
            self.suspects += [replace(batch, tasks=(task,)) for task in batch.tasks]
            return []
        return rows

    def start(self) -> None:
        """Have as many processes as there are to be.

        raises: BackendError where one cannot start.
        """
        with _starting(f"workers: expected {self.workers} to start"), uninterrupted():
            while len(self.free) + len(self.busy) < self.workers:
                serve = _Serve(self.answer)
                self.free.append(Worker(serve, memory_share=1 / self.workers))

    def end(self) -> None:
        """End every process, whatever it does."""
        for worker in (*self.free, *self.busy):
            worker.end()

    def _hand_out(self) -> None:
        while self.waiting and len(self.busy) < self.workers:
            self._give(self.waiting.popleft())

    def _give(self, batch: Batch) -> None:
        self.start()
        worker = self.free.pop()
        self.busy[worker] = batch
        worker.ask(batch)


class _Serve:
    """Function by which a process answers batches; it keeps the prices of the last chip."""

    def __init__(self, answer: AnswerBatch) -> None:
        self.here = Here(answer)

    def __call__(self, batch: Batch) -> list[PointRow]:
        """The rows of a batch."""
        self.here.submit(batch)
        rows: list[PointRow] = []
        while self.here.pending:
            rows += self.here.rows()
        return rows


class OnDask:
    """Dask's workers. A chip is priced in a task of its own, which all its batches wait for."""

    def __init__(self, client: Any, answer: AnswerBatch = answered) -> None:
        self.client, self.answer = client, answer
        self.batches: dict[str, Batch] = {}  # in flight, by the future's key
        self.finished: Queue[Any] = Queue()  # futures, as they end
        self.suspects: list[Batch] = []  # a point each: something near it killed workers
        self.prices: OrderedDict[Chip, Any] = OrderedDict()  # of Dask's futures

    @property
    def workers(self) -> int:
        """Threads of all workers that are there now."""
        with _answering():
            return sum(int(threads) for threads in self.client.nthreads().values())

    @property
    def pending(self) -> int:
        """Batches that were given and not yet taken back."""
        return len(self.batches) + len(self.suspects)

    def submit(self, batch: Batch) -> None:
        """Send a batch to the scheduler."""
        with _answering():
            self._send(batch)

    def _send(self, batch: Batch) -> None:
        if batch.chip not in self.prices:
            self.prices[batch.chip] = self.client.submit(priced, batch.chip, pure=False)
            if len(self.prices) > PRICED:
                self.prices.popitem(last=False)
        self.prices.move_to_end(batch.chip)
        future = self.client.submit(self.answer, batch, self.prices[batch.chip], pure=False)
        self.batches[future.key] = batch
        future.add_done_callback(self.finished.put)

    def rows(self) -> list[PointRow]:
        """The rows of the next batch that is done.

        A worker that dies takes no rows with it: its batches are computed elsewhere. Whatever ran
        where workers died one after another is tried again point by point, each with no other
        beside it; the point that kills even then is a failed one.
        raises: BackendError where the scheduler is lost.
        """
        alone = not self.batches
        if alone:
            self.submit(self.suspects.pop(0))
        future = self._next()
        batch = self.batches.pop(future.key)
        with _answering():
            if future.status == "finished":
                rows: list[PointRow] = future.result()
                return rows
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
        self.prices.pop(batch.chip, None)  # the price of the chip may be what kills
        if alone:
            return [lost(batch.tasks[0], DEAD)]
        self.suspects += [replace(batch, tasks=(task,)) for task in batch.tasks]
        return []

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
def local_workers(count: int, answer: AnswerBatch = answered) -> Iterator[Engine]:
    """Worker processes on this machine, gone when the block ends; 0 is this process itself."""
    if count == 0:
        yield Here(answer)
        return
    engine = OnProcesses(count, answer)
    try:
        engine.start()
        yield engine
    finally:
        engine.end()


@contextmanager
def cluster_workers(
    address: str = "", file: str = "", answer: AnswerBatch = answered
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
    names = [name for name in logging.root.manager.loggerDict if name.startswith("distributed")]
    names += ["asyncio", "tornado.application", "distributed.nanny", "distributed.worker"]
    levels = {name: logging.getLogger(name).level for name in names}
    try:
        for name in names:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


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
