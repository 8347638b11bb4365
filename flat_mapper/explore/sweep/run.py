"""A sweep from its first point to its last: what is stored is passed over, the rest is computed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import batched, chain
from pathlib import Path

from flat_mapper.api.questions import AskSweep
from flat_mapper.base.errors import MappingError, SpecError
from flat_mapper.explore.sweep.engines import Engine
from flat_mapper.explore.sweep.inputs import Inputs, PointTask
from flat_mapper.explore.sweep.store import PointRow, Status, Store
from flat_mapper.explore.sweep.work import faulty

_WINDOW = 500  # points whose keys are looked up at once; below SQLite's limit of 32766 variables
MOST_POINTS = 100_000  # chosen: points that nobody asks for by accident; a day at one a second

Open = Callable[[], AbstractContextManager[Engine]]


@dataclass(slots=True, kw_only=True)
class SweepProgress:
    """The progress of a sweep."""

    total: int  # points of the sweep
    seen: int = 0  # points passed over or computed
    counts: dict[Status, int] = field(default_factory=dict)  # of those computed in this run
    workers: int = 0
    seconds: float = 0.0  # since the first point was handed out

    @property
    def computed(self) -> int:
        """Points computed in this run."""
        return sum(self.counts.values())

    @property
    def rate(self) -> float:
        """Points computed per second."""
        return self.computed / self.seconds if self.seconds > 0 else 0.0

    @property
    def left_s(self) -> float | None:
        """Seconds until the end at this rate; at most, where more points are stored already."""
        return (self.total - self.seen) / self.rate if self.rate > 0 else None

    def __str__(self) -> str:
        """Points done, the rate, the time left, and what went wrong."""
        parts = [f"{self.seen:,} of {self.total:,}: {self.rate:.2f} points/s"]
        parts += [f"{self.workers} workers"]
        parts += [f"{timedelta(seconds=int(left))} left"] if (left := self.left_s) else []
        parts += [f"{n:,} {status}" for status, n in self.counts.items() if status != "done"]
        return ", ".join(parts)


Watch = Callable[[SweepProgress], None]


@contextmanager
def resumable(store: Store, output: str | Path) -> Iterator[None]:
    """Work whose interruption says what is stored, and how to go on."""
    try:
        yield
    except KeyboardInterrupt as error:
        stored = sum(store.counts().values())
        text = f"interrupted: {stored:,} points are stored in {output}; the same command goes on"
        raise KeyboardInterrupt(text) from error


def affordable(asked: AskSweep, size: int, change: str = "") -> None:
    """Raise SpecError where there are more points than anybody asks for by accident."""
    if size > MOST_POINTS and not asked.yes:
        where = str(asked.sweep) if isinstance(asked.sweep, str | Path) else "sweep"
        condition = f"at most {MOST_POINTS:,} points without --yes"
        raise SpecError(f"{where}: expected {condition}, got {size:,}{change}")


def code_of(counts: Mapping[Status, int]) -> int:
    """The command's exit code: 3 where points failed, 0 where any has a mapping, else why not."""
    if counts["failed"]:
        return 3
    if counts["done"] or not any(counts.values()):
        return 0
    return 1 if counts["infeasible"] else 2


def run_sweep(
    inputs: Inputs,
    store: Store,
    engine: Open,
    watch: Watch,
    positions: Iterable[int] | None = None,
) -> SweepProgress:
    """Compute every point that is not stored yet; rows are on disk as soon as they are done.

    engine:    opened when the first point needs it, and closed in the end.
    positions: the points that are wanted; by default all.
    raises: SpecError where the results cannot be written, BackendError where the workers are lost;
            either way what is stored stays.
    """
    sweep, started = inputs.sweep, time.perf_counter()
    progress = SweepProgress(total=sweep.size)
    store.begin(inputs.fingerprint(), {"sweep": sweep.name, "text": sweep.text})

    def missing() -> Iterator[PointRow]:
        """Every wanted point without an answer, a window at a time."""
        wanted = range(sweep.size) if positions is None else positions
        for window in batched(map(inputs.row, wanted), _WINDOW):
            settled = store.settled({row.key: row.position for row in window})
            progress.seen += len(settled)
            yield from (row for row in window if row.key not in settled)

    def keep(row: PointRow) -> None:
        """Store a row; when this returns, nothing can lose it."""
        store.write(row)
        progress.counts[row.status] = progress.counts.get(row.status, 0) + 1
        progress.seen += 1
        progress.seconds = time.perf_counter() - started
        watch(progress)

    def tasks(rows: Iterable[PointRow], workers: Engine) -> Iterator[PointTask]:
        for row in rows:
            progress.workers = workers.workers
            try:
                yield inputs.task(row)
            except (SpecError, MappingError) as error:
                keep(faulty(row, error))

    rows = missing()
    if (first := next(rows, None)) is not None:
        with engine() as workers:
            started = time.perf_counter()
            for row in workers.rows(tasks(chain([first], rows), workers)):
                keep(row)
    return progress
