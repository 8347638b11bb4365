"""A sweep from its first point to its last: what is stored is passed over, the rest is computed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import batched, chain

from flat_mapper.base.errors import MappingError, SpecError
from flat_mapper.explore.sweep.engines import Engine
from flat_mapper.explore.sweep.inputs import Chip, Inputs, PointTask
from flat_mapper.explore.sweep.store import PointRow, Status, Store
from flat_mapper.explore.sweep.work import Batch, faulty

WINDOW = 500  # points whose keys are looked up at once; below SQLite's limit of 32766 variables
BATCH_S = 1.0  # chosen: work of one batch, so that little is lost with it and calls cost little
LARGEST = 64  # chosen: points of one batch
AHEAD = 2  # batches per worker that wait at the engine, so that none idles

Open = Callable[[], AbstractContextManager[Engine]]


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepProgress:
    """The progress of a sweep."""

    total: int  # points of the sweep
    seen: int  # points passed over or computed
    computed: int  # in this run
    counts: dict[Status, int]  # of those computed
    workers: int
    seconds: float  # since the first point was handed out

    @property
    def rate(self) -> float:
        """Points computed per second."""
        return self.computed / self.seconds if self.seconds > 0 else 0.0

    @property
    def left_s(self) -> float | None:
        """Seconds until the end at this rate; at most, where more points are stored already."""
        return (self.total - self.seen) / self.rate if self.rate > 0 else None


Watch = Callable[[SweepProgress], None]


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
    sweep = inputs.sweep
    store.begin(inputs.fingerprint(), {"sweep": sweep.name, "text": sweep.text})
    run = _Run(inputs, store, watch)
    missing = run.missing(range(sweep.size) if positions is None else positions)
    first = next(missing, None)
    if first is not None:
        with engine() as workers:
            run.compute(chain([first], missing), workers)
    return run.progress()


class _Run:
    """The state of one run."""

    def __init__(self, inputs: Inputs, store: Store, watch: Watch) -> None:
        self.inputs, self.store, self.watch = inputs, store, watch
        self.stored = 0
        self.counts: dict[Status, int] = {}
        self.started = 0.0
        self.workers = 0
        self.mean_s = 0.0  # of a point, the late ones weighing more

    def missing(self, positions: Iterable[int]) -> Iterator[tuple[int, str]]:
        """Position and key of every wanted point without an answer, a window at a time."""
        for window in batched(positions, WINDOW):
            keys = {self.inputs.key(self.inputs.sweep.point(i)): i for i in window}
            settled = self.store.settled(keys)
            self.stored += len(settled)
            yield from ((i, key) for key, i in keys.items() if key not in settled)

    def compute(self, missing: Iterator[tuple[int, str]], engine: Engine) -> None:
        """Hand out the points in batches, and store the rows as they come."""
        self.started = time.perf_counter()
        chip: Chip | None = None
        tasks: list[PointTask] = []
        for position, key in missing:
            row = self.inputs.row(key, position)
            try:
                its_chip, task = self.inputs.chip(row.coordinates), self.inputs.task(row)
            except (SpecError, MappingError) as error:
                self._keep([faulty(row, error)])
                continue
            if tasks and (its_chip != chip or len(tasks) >= self._batch_size()):
                self._hand_out(chip, tasks, engine)
                tasks = []
            chip = its_chip
            tasks.append(task)
        self._hand_out(chip, tasks, engine)
        while engine.pending:
            self._keep(engine.rows())

    def progress(self) -> SweepProgress:
        """The progress of the run."""
        computed = sum(self.counts.values())
        return SweepProgress(
            total=self.inputs.sweep.size,
            seen=self.stored + computed,
            computed=computed,
            counts=dict(self.counts),
            workers=self.workers,
            seconds=time.perf_counter() - self.started if self.started else 0.0,
        )

    def _batch_size(self) -> int:
        """As many points as fill BATCH_S; one until it is known what a point takes."""
        return max(1, min(LARGEST, int(BATCH_S / self.mean_s))) if self.mean_s else 1

    def _hand_out(self, chip: Chip | None, tasks: list[PointTask], engine: Engine) -> None:
        self.workers = engine.workers
        if chip is None:
            return
        while engine.pending >= max(1, AHEAD * self.workers):
            self._keep(engine.rows())
        engine.submit(Batch(chip=chip, tasks=tuple(tasks)))

    def _keep(self, rows: list[PointRow]) -> None:
        """Store rows; when this returns, nothing can lose them."""
        if rows:
            self.store.write(rows)
            mean = max(1e-6, sum(row.seconds for row in rows) / len(rows))
            self.mean_s = (self.mean_s + mean) / 2 if self.mean_s else mean
        for row in rows:
            self.counts[row.status] = self.counts.get(row.status, 0) + 1
        self.watch(self.progress())
