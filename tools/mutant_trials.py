"""The tests against changed code, in one warm process.

Everything is imported and collected once. A fork of that process runs all tests on the code as it
is, and notes which lines each one reaches and how long it takes. Then a fork for every change swaps
the code of the changed module's functions and runs the tests that reach the changed statement:
those first that are quick and whose likes have caught something before, there above all. It ends
with the first that fails or takes ten times as long as it should, or when its time is over; then
the change is undecided. `survived` says that every test that reaches it passed.
"""

from __future__ import annotations

import gc
import hashlib
import os
import pickle
import resource
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from mutant_code import Lines, Tracker, caches, clear_caches, line_bits, load, swap

# Tests of the tree's form, and of programs outside of it: no change of a value fails one.
FORM = ("layering", "budget", "docs", "mutants", "browser", "docker", "dask")
MEMORY = 8 << 30  # bytes that a changed search may take
DIRECT = ("tests/cost_model", "tests/mapper", "tests/execution", "tests/test_")  # asked first
ENDS = (b"caught", b"survived", b"undecided")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One change: the text of its file, and the first and last line of what it is part of."""

    name: str
    path: Path
    lines: tuple[int, int]
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What one test reaches and takes on the code as it is."""

    passed: bool
    seconds: float
    lines: Lines


class Luck:
    """How often the tests of one function caught a change, of one file and of any."""

    def __init__(self) -> None:
        self.tries, self.catches = Counter[tuple[str, Path | None]](), Counter[object]()

    def note(self, test: str, path: Path, caught: bool) -> None:
        """One test ran on a change of a file."""
        for key in ((family(test), path), (family(test), None)):
            self.tries[key] += 1
            self.catches[key] += caught

    def order(self, change: Trial, able: list[tuple[int, str, float]]) -> list[int]:
        """Tests (place, name, seconds) as they are worth their time.

        A test whose likes have passed is worth less than the first of another kind.
        """
        before = Counter[str]()
        worth: dict[int, float] = {}
        for place_, name, seconds in sorted(able, key=lambda one: one[2]):
            here, ever = (family(name), change.path), (family(name), None)
            catches = (0.3 if name.startswith(DIRECT) else 0.05) + self.catches[ever]
            rate = (catches + 4 * self.catches[here]) / (
                1 + self.tries[ever] + 4 * self.tries[here]
            )
            worth[place_] = rate * 0.7 ** before[family(name)] / (seconds + 0.01)
            before[family(name)] += 1
        return sorted(worth, key=lambda place_: -worth[place_])


def family(test: str) -> str:
    """The name of a test without its parameters."""
    return test.partition("[")[0]


@dataclass(slots=True, kw_only=True)
class Judge:
    """A plugin of pytest that takes the place of its loop over the tests."""

    root: Path
    parts: tuple[str, ...]
    changes: list[Trial]
    most: float  # CPU seconds of tests for one change
    known: Path  # where the measurements are kept from one run to the next
    tests: list[str] = field(default_factory=list)  # files and folders; none: all
    verdicts: dict[str, str] = field(default_factory=dict)
    records: list[Record] = field(default_factory=list)
    luck: Luck = field(default_factory=Luck)

    def run(self) -> dict[str, str]:
        """Verdicts by change: caught, out of time, survived or undecided."""
        os.chdir(self.root)
        sys.dont_write_bytecode = True
        sys.path.insert(0, str(self.root))
        ignored = [f"--ignore-glob=*{word}*" for word in FORM]
        with tempfile.TemporaryDirectory() as folder:
            plain = ("-q", "-q", "-s", "-p", "no:cacheprovider", f"--basetemp={folder}/tests")
            code = pytest.main([*plain, *ignored, *self.tests], plugins=[self])
        if code:
            raise SystemExit(code)
        return self.verdicts

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """All changes, one after another."""
        load(self.root, self.parts)
        caches()
        gc.freeze()
        if not session.testsfailed:
            self.records = self.remembered(session)
            pairs = zip(session.items, self.records, strict=True)
            failed = [item.nodeid for item, r in pairs if not r.passed]
            total = sum(r.seconds for r in self.records)
            print(f"{len(self.records)} tests, {total:.0f} s; fail unchanged: {failed}", flush=True)
            for number, change in enumerate(self.changes, 1):
                self.judge(session, number, change)
        return True

    def remembered(self, session: pytest.Session) -> list[Record]:
        """The measurements of earlier runs of the same code, and of a run now where one lacks."""
        code, named = self.code(), self.named(session)
        known: dict[str, Record] = {}
        if self.known.exists():
            before, kept = pickle.loads(self.known.read_bytes())
            known = kept if before == code else {}
        new = [i for name, i in zip(named, session.items, strict=True) if name not in known]
        if new:
            found = pickle.loads(forked(lambda: self.measured(session, new)))
            known |= {
                name: found[i.nodeid]
                for name, i in zip(named, session.items, strict=True)
                if i.nodeid in found
            }
            self.known.parent.mkdir(exist_ok=True)
            self.known.write_bytes(pickle.dumps((code, known)))
        return [known[name] for name in named]

    def code(self) -> str:
        """What all measurements hold for: the package, and what the tests share."""
        paths = [*(self.root / "flat_mapper").rglob("*.py"), *(self.root / "tests").rglob("*.py")]
        shared = (p for p in sorted(paths) if not p.name.startswith("test_"))
        return hashlib.sha256(b"".join(p.read_bytes() for p in shared)).hexdigest()

    def named(self, session: pytest.Session) -> list[str]:
        """The names of the tests, each with a mark of its file's text."""
        paths = {item.path for item in session.items}
        marks = {p: hashlib.sha256(p.read_bytes()).hexdigest()[:9] for p in paths}
        return [f"{item.nodeid} {marks[item.path]}" for item in session.items]

    def judge(self, session: pytest.Session, number: int, change: Trial) -> None:
        """One change: what caught it, or that it survived."""
        reached = self.mask(change)
        able = self.luck.order(
            change,
            [
                (i, session.items[i].nodeid, r.seconds)
                for i, r in enumerate(self.records)
                if r.passed and r.lines & reached
            ],
        )
        before = cpu_seconds()
        said, places = self.trial(session, change, able)
        while not said.endswith(ENDS) and self.slow_alone(session, places[-1:]):
            said, places = self.trial(session, change, able)
        verdict = said.split()[-1].decode() if said.endswith(ENDS) else "out of time"
        caught = verdict in ("caught", "out of time")
        for i in places:
            self.luck.note(session.items[i].nodeid, change.path, caught and i == places[-1])
        self.verdicts[change.name] = verdict
        where = (session.items[places[-1]].nodeid if places else "import") if caught else ""
        took = f"{cpu_seconds() - before:5.1f} s, {len(places)} of {len(able)} tests"
        print(f"{number:3} {took}  {change.name}\n      {verdict} {where}", flush=True)

    def mask(self, change: Trial) -> Lines:
        """The bits of the lines of a change."""
        first, last = change.lines
        begin = line_bits(self.root, self.parts)[str(change.path)]
        return (1 << begin + last + 1) - (1 << begin + first)

    def trial(
        self, session: pytest.Session, change: Trial, able: list[int]
    ) -> tuple[bytes, list[int]]:
        """What a fork says of a change, and the places of the tests that it began."""
        said = forked(lambda: self.tried(session, change, able))
        return said, [int(word) for word in said.split() if word.isdigit()]

    def slow_alone(self, session: pytest.Session, places: list[int]) -> bool:
        """Whether the test that ran out of time does so on the code as it is.

        It was measured after others of its file, which had made what it shares with them. Then all
        of its file get the time that it takes.
        """
        if not places:
            return False
        (at,) = places
        item = session.items[at]
        seconds = float(forked(lambda: self.alone(item)) or 0)
        if seconds <= limit(self.records[at]):
            return False
        for i, (other, record) in enumerate(zip(session.items, self.records, strict=True)):
            if other.path == item.path:
                self.records[i] = replace(record, seconds=max(record.seconds, seconds))
        return True

    def alone(self, item: pytest.Item) -> Iterator[bytes]:
        """CPU seconds of one test without any before it."""
        begin = cpu_seconds()
        run_item(item, None)
        yield b"%f" % (cpu_seconds() - begin)

    def tried(self, session: pytest.Session, change: Trial, able: list[int]) -> Iterator[bytes]:
        """The places of the tests as they begin, then one of ENDS."""
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        swap(self.root, change.path, change.text)
        begin = cpu_seconds()
        for at, i in enumerate(able):
            if cpu_seconds() - begin > self.most:
                yield b"undecided"
                return
            yield b"%d " % i
            signal.setitimer(signal.ITIMER_PROF, limit(self.records[i]))
            following = session.items[able[at + 1]] if at + 1 < len(able) else None
            run_item(session.items[i], following)
            if session.testsfailed:
                yield b"caught"
                return
        yield b"survived"

    def measured(self, session: pytest.Session, items: list[pytest.Item]) -> Iterator[bytes]:
        """Records by test, on the code as it is."""
        tracker = Tracker(self.root, self.parts)
        setups = Setups(tracker)
        session.config.pluginmanager.register(setups)
        found: dict[str, Record] = {}
        of_fixtures: dict[Path, Lines] = {}
        for at, item in enumerate(items):
            clear_caches()
            failures, begin = session.testsfailed, cpu_seconds()
            tracker.begin()
            run_item(item, items[at + 1] if at + 1 < len(items) else None)
            of_fixtures[item.path] = of_fixtures.get(item.path, 0) | setups.lines
            found[item.nodeid] = Record(
                passed=session.testsfailed == failures,
                seconds=cpu_seconds() - begin,
                lines=tracker.lines(),
            )
        for item in items:  # one test of a file may make what all of them share
            record = found[item.nodeid]
            found[item.nodeid] = replace(record, lines=record.lines | of_fixtures[item.path])
        yield pickle.dumps(found)


def limit(record: Record) -> float:
    """CPU seconds after which a test is taken for one that does not end."""
    return 5 + 10 * record.seconds


class Setups:
    """A plugin that notes what the fixtures of a test reached."""

    def __init__(self, tracker: Tracker) -> None:
        self.tracker, self.lines = tracker, 0

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_call(self) -> None:
        self.lines = self.tracker.lines()


def run_item(item: pytest.Item, following: pytest.Item | None) -> None:
    """One test, run by pytest's own protocol."""
    item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)


def forked(work: Callable[[], Iterator[bytes]]) -> bytes:
    """All that a fork of this process yields, however it ends; its output goes nowhere."""
    reader, writer = os.pipe()
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        try:
            os.close(reader)
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, 1)
            os.dup2(nowhere, 2)
            for part in work():
                view = memoryview(part)
                while view:
                    view = view[os.write(writer, view) :]
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as answer:
        said = answer.read()
    os.waitpid(child, 0)
    return said


def cpu_seconds() -> float:
    """CPU seconds of this process and of its children that have ended."""
    mine = resource.getrusage(resource.RUSAGE_SELF)
    theirs = resource.getrusage(resource.RUSAGE_CHILDREN)
    return mine.ru_utime + mine.ru_stime + theirs.ru_utime + theirs.ru_stime
