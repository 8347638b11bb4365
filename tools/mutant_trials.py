"""The tests against changed code, in one warm process.

Everything is imported and collected once. A fork of that process runs all tests on the code as it
is, and notes which functions each one enters and how long it takes. Then a fork for every change
swaps the code of the changed module's functions, runs the tests that enter the changed one, those
first that are quick and have caught something before, and ends with the first that fails, or when
its time is over: so many changes at least are caught.
"""

from __future__ import annotations

import functools
import gc
import hashlib
import importlib
import os
import pickle
import resource
import signal
import sys
import tempfile
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

# Tests of the tree's form, and of programs outside of it: no change of a value fails one.
FORM = ("layering", "budget", "docs", "mutants", "browser", "docker", "dask")
MEMORY = 8 << 30  # bytes that a changed search may take
DIRECT = ("tests/cost_model", "tests/mapper", "tests/execution", "tests/test_")  # asked first
PLAIN = (int, float, bool, tuple)

Function = tuple[str, int]  # file relative to the root, first line


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One change: the text of its file, and the function around it (line 0: none)."""

    name: str
    path: Path
    function: Function
    text: str


@dataclass(slots=True)
class Record:
    """What one test enters and takes, and how often it has caught a change."""

    passed: bool = False
    seconds: float = 0.0
    entered: set[Function] = field(default_factory=set)
    tries: float = 1.0
    catches: float = 0.0

    @property
    def worth(self) -> float:
        """Changes caught per second, as far as is known."""
        return (self.catches + 0.05) / self.tries / (self.seconds + 0.005)


@dataclass(slots=True, kw_only=True)
class Judge:
    """A plugin of pytest that takes the place of its loop over the tests."""

    root: Path
    parts: tuple[str, ...]
    changes: list[Trial]
    most: float  # CPU seconds of tests for one change
    known: Path  # where the measurements are kept from one run to the next
    tests: list[str] = field(default_factory=list)  # files and folders; none: all
    survivors: list[str] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)

    def run(self) -> list[str]:
        """The names of the changes that no test caught."""
        os.chdir(self.root)
        sys.dont_write_bytecode = True
        sys.path.insert(0, str(self.root))
        ignored = [f"--ignore-glob=*{word}*" for word in FORM]
        with tempfile.TemporaryDirectory() as folder:
            plain = ("-q", "-q", "-s", "-p", "no:cacheprovider", f"--basetemp={folder}/tests")
            code = pytest.main([*plain, *ignored, *self.tests], plugins=[self])
        if code:
            raise SystemExit(code)
        return self.survivors

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """All changes, one after another."""
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
        """The measurements of an earlier run of the same tests and code, or of a run now."""
        if self.known.exists():
            before, records = pickle.loads(self.known.read_bytes())
            if before == self.measured_on(session):
                return records
        records = pickle.loads(forked(lambda: self.measured(session)))
        self.keep(session, records)
        return records

    def keep(self, session: pytest.Session, records: list[Record]) -> None:
        """Let the next run of the same tests on the same code begin with these measurements."""
        self.known.parent.mkdir(exist_ok=True)
        self.known.write_bytes(pickle.dumps((self.measured_on(session), records)))

    def measured_on(self, session: pytest.Session) -> tuple[str, list[str]]:
        """What measurements hold for: the code, and the names of the tests in their order."""
        code = hashlib.sha256()
        for folder in ("flat_mapper", "tests"):
            for path in sorted((self.root / folder).rglob("*.py")):
                code.update(path.read_bytes())
        return code.hexdigest(), [item.nodeid for item in session.items]

    def judge(self, session: pytest.Session, number: int, change: Trial) -> None:
        """One change: what caught it, or that it survived."""
        able = [i for i, r in enumerate(self.records) if r.passed and reaches(r, change)]
        able.sort(key=lambda i: -self.records[i].worth)
        before = cpu_seconds()
        said, places = self.trial(session, change, able)
        while not said.endswith((b"failed", b"survived")) and self.slow_alone(session, places[-1:]):
            said, places = self.trial(session, change, able)
        caught = said.endswith(b"failed") or not said.endswith(b"survived")
        for i in places:
            self.records[i].tries += 1
        if caught and places:
            self.records[places[-1]].catches += 1
        if not caught:
            self.survivors.append(change.name)
        how = "survived"
        if caught:
            where = session.items[places[-1]].nodeid if places else "import"
            how = f"caught by {where}" + ("" if said.endswith(b"failed") else " (out of time)")
        took = f"{cpu_seconds() - before:5.1f} s, {len(places)} of {len(able)} tests"
        print(f"{number:3} {took}  {change.name}\n      {how}", flush=True)

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
        for other, record in zip(session.items, self.records, strict=True):
            if other.path == item.path:
                record.seconds = max(record.seconds, seconds)
        self.keep(session, self.records)
        return True

    def alone(self, item: pytest.Item) -> Iterator[bytes]:
        """CPU seconds of one test without any before it."""
        begin = cpu_seconds()
        run_item(item, None)
        yield b"%f" % (cpu_seconds() - begin)

    def tried(self, session: pytest.Session, change: Trial, able: list[int]) -> Iterator[bytes]:
        """The places of the tests as they begin, then `failed` or `survived`."""
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        swap(self.root, change.path, change.text)
        begin = cpu_seconds()
        for at, i in enumerate(able):
            if cpu_seconds() - begin > self.most:
                break
            yield b"%d " % i
            signal.setitimer(signal.ITIMER_PROF, limit(self.records[i]))
            following = session.items[able[at + 1]] if at + 1 < len(able) else None
            run_item(session.items[i], following)
            if session.testsfailed:
                yield b"failed"
                return
        yield b"survived"

    def measured(self, session: pytest.Session) -> Iterator[bytes]:
        """A record of every test, on the code as it is."""
        tracker = Tracker(self.root, self.parts)
        setups = Setups(tracker)
        session.config.pluginmanager.register(setups)
        records = []
        of_fixtures: dict[Path, set[Function]] = {}
        for at, item in enumerate(session.items):
            clear_caches()
            failures, begin = session.testsfailed, cpu_seconds()
            with tracker:
                following = session.items[at + 1] if at + 1 < len(session.items) else None
                run_item(item, following)
            of_fixtures.setdefault(item.path, set()).update(setups.entered)
            record = Record(
                passed=session.testsfailed == failures,
                seconds=cpu_seconds() - begin,
                entered=set(tracker.entered),
            )
            if item.nodeid.startswith(DIRECT):
                record.catches = 0.3
            records.append(record)
        for item, record in zip(session.items, records, strict=True):
            record.entered |= of_fixtures[item.path]  # one of the file may stand for all
        yield pickle.dumps(records)


def limit(record: Record) -> float:
    """CPU seconds after which a test is taken for one that does not end."""
    return 10 + 10 * record.seconds


class Tracker:
    """The functions of some folders that are entered while it is on."""

    def __init__(self, root: Path, parts: tuple[str, ...]) -> None:
        self.root, self.parts = root, tuple(str(root / part) for part in parts)
        self.entered: set[Function] = set()
        sys.monitoring.use_tool_id(sys.monitoring.PROFILER_ID, "mutants")
        sys.monitoring.register_callback(
            sys.monitoring.PROFILER_ID, sys.monitoring.events.PY_START, self._start
        )

    def __enter__(self) -> None:
        self.entered.clear()
        sys.monitoring.restart_events()
        sys.monitoring.set_events(sys.monitoring.PROFILER_ID, sys.monitoring.events.PY_START)

    def __exit__(self, *_: object) -> None:
        sys.monitoring.set_events(sys.monitoring.PROFILER_ID, 0)

    def _start(self, code: types.CodeType, _offset: int) -> object:
        if code.co_filename.startswith(self.parts):
            name = os.path.relpath(code.co_filename, self.root)
            self.entered.add((name, code.co_firstlineno))
        return sys.monitoring.DISABLE


def reaches(record: Record, change: Trial) -> bool:
    """Whether a test enters the changed function; of a change outside of functions all do."""
    return change.function[1] == 0 or change.function in record.entered


class Setups:
    """A plugin that notes what the fixtures of a test entered."""

    def __init__(self, tracker: Tracker) -> None:
        self.tracker, self.entered = tracker, set[Function]()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_call(self) -> None:
        self.entered = set(self.tracker.entered)


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


def swap(root: Path, relative: Path, text: str) -> None:
    """The code of a module's functions replaced by that of another text of its file."""
    path, old = root / relative, importlib.import_module(".".join(relative.with_suffix("").parts))
    new = types.ModuleType(old.__name__)
    new.__dict__.update(__package__=old.__package__, __file__=str(path))
    exec(compile(text, str(path), "exec"), new.__dict__)
    everything = [f for f in all_objects() if isinstance(f, types.FunctionType)]
    changed = {place(f): f for f in everything if f.__globals__ is new.__dict__}
    for function in everything:
        if function.__globals__ is old.__dict__ and place(function) in changed:
            other = changed[place(function)]
            function.__code__ = other.__code__
            swap_defaults(function, other)
    for name, cls in vars(new).items():
        if isinstance(cls, type) and cls.__module__ == old.__name__:
            swap_class(vars(old)[name], cls)
    clear_caches()


def swap_class(old: type, new: type) -> None:
    """Plain values of a class, and the defaults of a dataclass's fields."""
    for name, value in list(vars(new).items()):
        if type(value) in PLAIN and not name.startswith("__") and vars(old).get(name) != value:
            setattr(old, name, value)
    begin, other = vars(old).get("__init__"), vars(new).get("__init__")
    if isinstance(begin, types.FunctionType) and isinstance(other, types.FunctionType):
        swap_defaults(begin, other)


def swap_defaults(old: types.FunctionType, new: types.FunctionType) -> None:
    """Defaults that are plain values."""
    pairs = zip(old.__defaults__ or (), new.__defaults__ or (), strict=True)
    old.__defaults__ = tuple(b if type(b) in PLAIN else a for a, b in pairs) or None
    plain = {n: v for n, v in (new.__kwdefaults__ or {}).items() if type(v) in PLAIN}
    old.__kwdefaults__ = (old.__kwdefaults__ or {}) | plain or None


def place(function: types.FunctionType) -> tuple[str, int]:
    """What names a function in its file."""
    return function.__qualname__, function.__code__.co_firstlineno


def all_objects() -> list[object]:
    """Everything that the collector knows, what is frozen included."""
    gc.unfreeze()
    return gc.get_objects()


@functools.cache
def caches() -> list[functools._lru_cache_wrapper[object]]:
    """The functions of the package that keep answers."""
    found = (o for o in all_objects() if isinstance(o, functools._lru_cache_wrapper))
    return [c for c in found if str(c.__module__).startswith("flat_mapper")]


def clear_caches() -> None:
    """No answer kept from before."""
    for one in caches():
        one.cache_clear()


def cpu_seconds() -> float:
    """CPU seconds of this process and of its children that have ended."""
    mine = resource.getrusage(resource.RUSAGE_SELF)
    theirs = resource.getrusage(resource.RUSAGE_CHILDREN)
    return mine.ru_utime + mine.ru_stime + theirs.ru_utime + theirs.ru_stime
