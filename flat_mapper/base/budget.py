"""The budget of a search: seconds, memory, steps, and how near to the best is near enough."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from math import inf, isnan, nan
from pathlib import Path

from flat_mapper.base.errors import SpecError, expected
from flat_mapper.base.tolerance import ABOVE

REPORT_S = 0.5  # between two reports
LOOK_S = 0.05  # chosen: between two looks at memory, each of 0.1 to 0.3 ms
CANDIDATES_PER_MB = 200  # partial mappings that a search keeps at one node
SECONDS, GAP = 60.0, 1e-3  # chosen: of a question for which nobody names either
MOST_PARTIAL = 300_000  # chosen: some 1 GB


class Stopped(Exception):
    """The budget is spent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits of an answer beside what is minimised."""

    latency_s: float = inf
    energy_j: float = inf
    buffer_bytes: float = inf  # of the level that fused Einsums share

    def __bool__(self) -> bool:
        return min(self.latency_s, self.energy_j, self.buffer_bytes) < inf


@dataclass(frozen=True, slots=True)
class Pruned:
    """Choices that a search left out together: where, by which rule, and how good they may be."""

    where: str  # the Einsums of a group; `|` between groups
    rule: str
    goal: str  # what was minimised then: latency, energy, edp, or `W cycles + pJ`
    bound: float  # cycles, pJ or their product of one run, that none of them is below
    count: int


@dataclass(slots=True, kw_only=True)
class Budget:
    """Time and memory that a search may spend, and has spent.

    seconds: wall time, by a clock. megabytes: peak memory of the process. steps: pieces of work, a
    number that does not depend on the machine. gap: relative; what cannot improve by more is left
    out.
    """

    seconds: float = inf
    megabytes: float = inf
    steps: float = inf
    gap: float = 0.0
    limits: Limits = field(default_factory=Limits)  # of the answer
    asked_s: float = 0.0  # seconds of all searches that share them; 0: its own
    clock: Callable[[], float] = time.monotonic
    begin: float = nan  # by the clock; nan: now
    spent: int = 0
    stopped: str = ""  # what ran out
    cuts: list[Pruned] | None = None  # the log of what is left out; None: it is not asked for
    at: str = ""  # larger sizes that are searched, as the log names them
    report: Callable[[], None] | None = None  # called now and then
    reported: float = 0.0  # when
    looked: float = -inf  # when, at the memory of the process
    due: float = 1.0  # part of the time at which the work in hand is late
    holders: list[bool | Callable[[], bool]] = field(default_factory=list)  # see `until_stopped`

    def __post_init__(self) -> None:
        if self.gap <= ABOVE:
            self.gap = 0.0  # costs that are so near are equal
        if isnan(self.begin):
            self.begin = self.clock()

    @classmethod
    def of(
        cls,
        *,
        budget: Budget | None = None,
        time_limit: float | None = None,
        gap: float | None = None,
        memory_limit: float | None = None,
        limits: Limits | None = None,
        near: float | None = None,
    ) -> Budget:
        """The budget of a question: seconds, a share, MB, limits of the answer, or `budget`.

        near: the gap where nobody names one; by default that of any question. Without a limit of
        memory it is half of what is free.
        raises: SpecError for a number that is none of these.
        """
        if budget is not None:
            return budget
        _check("time_limit", "seconds > 0", time_limit, 1e-9)
        _check("memory_limit", "MB > 0", memory_limit, 1e-9)
        _check("gap", "a share from 0 to 1, such as 0.01", gap, 0.0, 1.0)
        if time_limit is None:  # who names a gap alone asks for a proof
            time_limit = SECONDS if gap is None else inf
        return cls(
            limits=limits or Limits(),
            seconds=time_limit,
            gap=next((g for g in (gap, near) if g is not None), GAP),
            megabytes=peak_megabytes() + free_megabytes() / 2
            if memory_limit is None
            else memory_limit,
        )

    def part(self, count: int) -> Budget:
        """The budget of the next of so many searches: its share of the seconds that are left."""
        if count == 1:
            return self
        left = max(0.0, self.left_s)
        return replace(self, seconds=left / count, asked_s=self.limit_s, begin=self.clock())

    @property
    def left_s(self) -> float:
        """Seconds that are left."""
        return self.begin + self.seconds - self.clock()

    @property
    def limit_s(self) -> float:
        """Seconds that were asked for, of all searches together."""
        return self.asked_s or self.seconds

    def log(self, where: str, rule: str, goal: str, bounds: Sequence[float]) -> None:
        """Write down what is left out, if somebody asked; bounds: of the objective, of each."""
        if self.cuts is not None and len(bounds):
            where = f"{self.at}: {where}" if self.at else where
            self.cuts.append(Pruned(where, rule, goal, float(min(bounds)), len(bounds)))

    @property
    def ends(self) -> bool:
        """True where it may end before all is proven: then some mapping comes first."""
        return min(self.seconds, self.steps) < inf or self.gap > 0

    @property
    def late(self) -> bool:
        """True once the seconds are over."""
        return self.left_s < 0

    @property
    def hurried(self) -> bool:
        """True once the work in hand is late: any answer to it will do."""
        return self.left_s < (1 - self.due) * self.seconds < inf

    @property
    def over(self) -> bool:
        """True once anything ran out."""
        return bool(self.stopped) or self.late

    @contextmanager
    def until_stopped(self, known: bool | Callable[[], bool]) -> Iterator[None]:
        """Work that is left off where the budget ends and there is an answer to stop with.

        The end is told to nobody else: Stopped is raised inside such work alone, and leaves it
        never. So does Ctrl-C, where there is an answer.

        known: whether who holds this work has an answer to its own part of the question.
        """
        self.holders.append(known)
        try:
            yield
        except Stopped:
            pass
        except KeyboardInterrupt:
            if not self.answered:
                raise
            self.stopped = "Ctrl-C"
        finally:
            self.holders.pop()

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """Work that no end of the budget ends, but Ctrl-C."""
        kept = self.seconds, self.megabytes, self.steps, self.stopped
        self.seconds = self.megabytes = self.steps = inf
        self.stopped = ""
        try:
            yield
        finally:
            self.seconds, self.megabytes, self.steps, self.stopped = kept

    def each[T](self, works: Sequence[T]) -> Iterator[T]:
        """Pieces of work that are done one after another, each late after its part of the time."""
        try:
            for i, work in enumerate(works):
                self.due = (i + 1) / len(works)
                yield work
        finally:
            self.due = 1.0

    @contextmanager
    def no_longer(self, steps: float) -> Iterator[None]:
        """Work on what is answered, that ends after so many steps too; see `until_stopped`."""
        kept = self.steps
        self.steps = min(kept, self.spent + steps)
        try:
            with self.until_stopped(True):
                yield
        finally:
            if self.stopped == "steps" and self.spent <= kept:
                self.stopped = ""
            self.steps = kept

    @property
    def answered(self) -> bool:
        """True if somebody who holds the work that is done has an answer to stop with."""
        return any(known if isinstance(known, bool) else known() for known in self.holders)

    @property
    def candidates(self) -> int:
        """Partial mappings of one Einsum that may be kept at a node."""
        return int(min(MOST_PARTIAL, max(2_000, CANDIDATES_PER_MB * self.megabytes)))

    def step(self) -> None:
        """Count one piece of work; raises Stopped where the budget is spent (`until_stopped`)."""
        self.spent += 1
        if self.report and self.clock() - self.reported > REPORT_S:
            self.reported = self.clock()
            self.report()
        self.check()

    def check(self) -> None:
        """The same within a piece of work, which is not counted again, and says nothing."""
        if not self.stopped:
            if self.spent > self.steps:
                self.stopped = "steps"
            elif self.late:
                self.stopped = "time"
            elif self._full():
                self.stopped = "memory"
        if self.stopped and self.answered:
            raise Stopped

    def _full(self) -> bool:
        """True once the memory is spent; asked now and then, as the system answers slowly."""
        if self.megabytes == inf or (now := self.clock()) - self.looked < LOOK_S:
            return False
        self.looked = now
        return peak_megabytes() > self.megabytes


def _check(name: str, condition: str, value: object, least: float, most: float = inf) -> None:
    number = value if isinstance(value, int | float) and not isinstance(value, bool) else nan
    if value is not None and not least <= number <= most:
        raise SpecError(expected(name, condition, value))


def peak_megabytes() -> float:
    """Peak memory of this process, MB; 0 where the system does not tell."""
    try:
        import resource
    except ImportError:  # not a POSIX system
        return 0.0
    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def free_megabytes() -> float:
    """Memory that the system can give out without swapping, MB; infinite where it does not tell."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        found = dict(line.split(":", 1) for line in lines)
        return int(found["MemAvailable"].split()[0]) / 1024
    except (OSError, KeyError, ValueError):  # not Linux
        return inf


type Progress = Callable[[float, str], None]  # the part done, 0 to 1, and what is being done
_SHORT = 3  # chosen: Einsums of a group that a line of progress has


def part_of(progress: Progress | None, index: int, count: int, name: str) -> Progress | None:
    """The progress of one piece of work among several; a single one goes by its own words."""
    if progress is None or count == 1:
        return progress
    return lambda share, text: progress((index + share) / count, f"{name}: {text}")


def shortened(names: Sequence[str]) -> str:
    """A group's Einsums in one line: of more than three the first and the last."""
    if len(names) <= _SHORT:
        return "+".join(names)
    return f"{names[0]}+..+{names[-1]}"
