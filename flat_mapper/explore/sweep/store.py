"""The results file of a sweep: one SQLite database, one writer, rows as they come.

A commit is on disk when `write` returns (WAL, synchronous=FULL), so a process that is killed, or a
machine that loses power, loses the rows that were not handed over yet and nothing else. A commit
that fails, such as on a full disk, leaves the file as it was before. docs/sweeps.md describes the
tables.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, Self

from flat_mapper.base.errors import SpecError, expected
from flat_mapper.explore.sweep.spec import PointInputs
from flat_mapper.spec.yamlio import appended

Status = Literal["done", "infeasible", "invalid", "failed"]
STATUSES: tuple[Status, ...] = ("done", "infeasible", "invalid", "failed")

SCHEMA = "2"
BUSY_S = 30.0  # how long a lock of another process is waited for
INPUTS = ("arch", "problem", "mapspace", "objective", "backend")
HEADLINES: Mapping[str, str] = {  # columns that repeat what `result` says, to select and sort by
    **{"latency_s": "REAL", "cycles": "INTEGER", "energy_pj": "REAL", "edp_js": "REAL"},
    **{"utilization": "REAL", "macs": "INTEGER", "offchip_bytes": "REAL", "area_mm2": "REAL"},
    **{"bottleneck": "TEXT", "granularity": "TEXT"},
}
COLUMNS: Mapping[str, str] = {
    **{"key": "TEXT PRIMARY KEY", "position": "INTEGER UNIQUE", "status": "TEXT NOT NULL"},
    **dict.fromkeys(INPUTS, "TEXT"),
    **{"coordinates": "TEXT NOT NULL", **HEADLINES},
    **dict.fromkeys(("reason", "result", "provenance"), "TEXT"),
}
_LARGEST = 2**63 - 1  # of SQLite's integers; what is larger is kept as REAL
MOST_BYTES = 2**26  # chosen: of one value in a results file
_OWN = {  # what a results file consists of
    "meta": "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT",
    "points": f"CREATE TABLE points ({', '.join(map(' '.join, COLUMNS.items()))})",
    "timings": "CREATE TABLE timings (key TEXT PRIMARY KEY, seconds REAL, finished_at TEXT, "
    "worker TEXT, digest TEXT) STRICT",
    "results": "CREATE VIEW results AS SELECT points.*, seconds, finished_at, worker "
    "FROM points LEFT JOIN timings USING (key) WHERE position IS NOT NULL ORDER BY position",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PointRow:
    """One point with its answer, or why there is none."""

    key: str
    position: int
    status: Status
    coordinates: PointInputs
    provenance: Mapping[str, object]
    result: Mapping[str, object] | None = None
    reason: str = ""
    seconds: float = 0.0
    finished_at: str = ""  # UTC, ISO 8601
    worker: str = ""

    def values(self) -> tuple[object, ...]:
        """The row of `points`, in the order of COLUMNS."""
        said = self.result if self.result and self.status == "done" else {}
        headlines = (said.get(name) for name in HEADLINES)
        return (
            *(self.key, self.position, self.status),
            *(str(self.coordinates.get(name, "")) for name in INPUTS),
            compact(self.coordinates),
            *(float(v) if isinstance(v, int) and v > _LARGEST else v for v in headlines),
            self.reason or None,
            compact(self.result) if self.result is not None else None,
            compact(self.provenance),
        )


class Store:
    """An open results file. Use it in a `with` statement."""

    def __init__(self, path: str | Path) -> None:
        """Open the file, or make it.

        raises: SpecError where it cannot be opened, or is another database.
        """
        self.path = Path(path)
        self.claim = _claimed(self.path)
        self.made = not self.path.stat().st_size
        with _guarded(self.path):
            self.connection = sqlite3.connect(self.path, timeout=BUSY_S, isolation_level=None)
            _distrust(self.connection)
            if has_tables := self._asked("SELECT 1 FROM sqlite_schema LIMIT 1"):
                _check_schema(self.connection, self.path)
            self.connection.execute("PRAGMA journal_mode=WAL")
            self.connection.execute("PRAGMA synchronous=FULL")
            if not has_tables:  # new, or left so by one that was killed
                with self._transaction():
                    for statement in _OWN.values():
                        self.connection.execute(statement)
                    self._put("meta", ("schema", SCHEMA))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        unused = self.made and kind is not None and not any(self.counts().values())
        with suppress(sqlite3.Error):  # one file is left, unless another process reads it now
            self.connection.execute("PRAGMA busy_timeout=0")
            self.connection.execute("PRAGMA journal_mode=DELETE")
        self.connection.close()
        if unused:  # whatever failed did so before the first row: there is nothing to go on with
            for path in (self.path, *(Path(f"{self.path}-{end}") for end in ("wal", "shm"))):
                path.unlink(missing_ok=True)
        self.claim.close()  # last: closing any handle of the file drops SQLite's own locks

    def begin(self, fingerprint: str, about: Mapping[str, str]) -> None:
        """Take up a sweep. Where it is another one than before, no row has a place in it yet."""
        with self._transaction():
            query = "SELECT value FROM meta WHERE name = 'fingerprint'"
            if self.connection.execute(query).fetchone() != (fingerprint,):
                self.connection.execute("UPDATE points SET position = NULL")
            for entry in (*about.items(), ("fingerprint", fingerprint)):
                self._put("meta", entry)

    def settled(self, keys: Mapping[str, int]) -> set[str]:
        """The points that are answered; they take their positions.

        A failure is no answer, nor is a row that is not as it was written: its digest says so.
        """
        marks = ", ".join("?" * len(keys))
        query = (
            f"SELECT {', '.join(f'points.{c}' for c in COLUMNS)}, digest FROM points "
            f"JOIN timings USING (key) WHERE status != 'failed' AND points.key IN ({marks})"
        )
        rows = self._asked(query, *keys)
        found = {row[0]: row[1] for *row, digest in rows if digest == _row_digest(row)}
        moved = [(keys[k], k) for k, position in found.items() if position != keys[k]]
        if moved:
            with self._transaction():
                self.connection.executemany("UPDATE points SET position = ? WHERE key = ?", moved)
        return set(found)

    def write(self, *rows: PointRow) -> None:
        """Keep the rows; all of them are on disk when this returns, or none is.

        raises: SpecError where they cannot be written, such as on a full disk.
        """
        with self._transaction():
            for row in rows:
                said = row.values()
                timing = row.key, row.seconds, row.finished_at, row.worker, _row_digest(said)
                self._put("points", said)
                self._put("timings", timing)

    def counts(self) -> dict[Status, int]:
        """The number of points of the sweep by status."""
        query = "SELECT status, count(*) FROM points WHERE position IS NOT NULL GROUP BY status"
        found = dict(self._asked(query))
        return {status: int(found.get(status, 0)) for status in STATUSES}

    def digest(self) -> str:
        """The SHA-256 of the sweep's rows in `points`: the same however they came to be."""
        columns = ", ".join(COLUMNS)
        query = f"SELECT {columns} FROM points WHERE position IS NOT NULL ORDER BY position"
        found = hashlib.sha256()
        with _guarded(self.path):
            for row in self.connection.execute(query):
                found.update(compact(row).encode())
        return found.hexdigest()

    def note(self, name: str, value: str) -> None:
        """Keep something beside the rows."""
        with self._transaction():
            self._put("meta", (name, value))

    def answers(self, first: int, last: int) -> list[tuple[float, float, str]]:
        """Latency in s, energy in pJ and bottleneck of the points from first up to last."""
        query = (
            "SELECT latency_s, energy_pj, bottleneck FROM points "
            "WHERE position >= ? AND position < ? AND status = 'done' ORDER BY position"
        )
        return self._asked(query, first, last)

    def _asked(self, query: str, *values: object) -> list[Any]:
        with _guarded(self.path):
            return self.connection.execute(query, values).fetchall()

    def _put(self, table: str, row: Sequence[object]) -> None:
        marks = ", ".join("?" * len(row))
        self.connection.execute(f"INSERT OR REPLACE INTO {table} VALUES ({marks})", row)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with _guarded(self.path):
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self.connection.execute("COMMIT")
            except BaseException:
                if self.connection.in_transaction:  # a full disk may have ended it already
                    self.connection.execute("ROLLBACK")
                raise


def _claimed(path: Path) -> BinaryIO:
    """The file, held by this process alone for writing; readers are not kept out.

    raises: SpecError where another process writes it, or it cannot be opened.
    """
    file = appended(path)
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except ImportError:
        pass  # no such locks on this system; two writers would do the same work twice
    except OSError as error:
        file.close()
        raise SpecError(
            f"{path}: expected a file that nobody else writes, got one that another sweep has "
            "open; wait for it, or choose another file"
        ) from error
    return file


_REFUSALS = {  # words of SQLite: what was expected, and what to do
    ("unable to open", "readonly"): ("a file that can be written", ""),
    ("locked", "busy"): ("a file that nobody else writes", "; wait for the other"),
    ("full", "disk I/O"): (
        "room for the results",
        "; what was stored before is kept, free some room and run the same command again",
    ),
    ("",): ("the results of a sweep", "; choose another file"),
}


@contextmanager
def _guarded(path: Path) -> Iterator[None]:
    """SQLite's errors in the house form."""
    try:
        yield
    except (sqlite3.Error, UnicodeError) as error:  # text that is not UTF-8 is either
        text = " ".join(str(error).split())[:200]
        found = (said for words, said in _REFUSALS.items() if any(word in text for word in words))
        condition, change = next(found)
        raise SpecError(f"{path}: expected {condition}, got: {text}{change}") from error


@contextmanager
def read_only(path: Path) -> Iterator[sqlite3.Connection]:
    """A results file that others may have written, to read from.

    raises: SpecError where it is none.
    """
    uri = f"{path.absolute().as_uri()}?mode=ro"
    with _guarded(path), closing(sqlite3.connect(uri, uri=True, timeout=BUSY_S)) as connection:
        _distrust(connection)
        _check_schema(connection, path)
        yield connection


def _distrust(connection: sqlite3.Connection) -> None:
    """Let nothing that a file defines call what has effects, and no value be without bound."""
    connection.execute("PRAGMA trusted_schema=OFF")
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MOST_BYTES)


def _check_schema(connection: sqlite3.Connection, path: Path) -> None:
    """Raise SpecError unless the database is a results file of this version, word for word.

    A view may compute for ever and a trigger write: the only one is ours. Other tables, such as
    Optuna's, may stand beside ours; they are not read here.
    """
    found = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema").fetchall()
    names = [str(name) for _, name, *_ in found]
    if not set(_OWN) <= set(names):
        got = ", ".join(sorted(names)) or "none"
        raise SpecError(f"{path}: expected the results of a sweep, got a database with {got[:200]}")
    other = [str(one[1]) for one in found if not _is_known(*one)]
    if "meta" not in other:
        row = connection.execute("SELECT value FROM meta WHERE name = 'schema'").fetchone()
        version = row[0] if row else "none"
        if version != SCHEMA:  # of another version the other tables differ as well
            change = "run the sweep again, into a new file"
            raise SpecError(expected(str(path), f"results in schema {SCHEMA}", version, change))
    if other:
        condition = "the tables and the view of a sweep, and nothing else that computes"
        raise SpecError(expected(str(path), condition, ", ".join(other)[:200]))


def _is_known(kind: str, name: str, table: str, sql: object) -> bool:
    """True of what is ours, as we wrote it, and of tables beside it."""
    if name in _OWN:
        return str(sql).split() == _OWN[name].split()
    return kind in ("table", "index") and (table not in _OWN or not sql)


def _row_digest(values: Sequence[object]) -> str:
    """The SHA-256 of a row of `points`, wherever it stands in the sweep."""
    said = [
        float(value) if isinstance(value, int | float) else value  # as SQLite may keep it
        for name, value in zip(COLUMNS, values, strict=True)
        if name != "position"
    ]
    return hashlib.sha256(repr(said).encode("utf-8", "surrogatepass")).hexdigest()


def compact(document: object) -> str:
    """JSON in one line, its keys in their order."""
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
