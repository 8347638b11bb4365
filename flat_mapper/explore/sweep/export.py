"""Rows of a results file as CSV, Parquet or JSON Lines, one at a time: no file is too large.

A column is one of the results file, an input of the points, or a part of their results. SQLite is
asked for the rows alone: what they say is read here, so that nothing of theirs is its language.
"""

from __future__ import annotations

import csv
import io
import json
import operator
import re
import sqlite3
import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import batched
from pathlib import Path
from typing import IO, Any, BinaryIO, ClassVar, Literal

from flat_mapper.api.calls import among
from flat_mapper.api.options import answers
from flat_mapper.api.questions import AskExportSweep, Name
from flat_mapper.base.errors import BackendError, SpecError, expected
from flat_mapper.base.formats import csv_cell, terminal_text
from flat_mapper.explore.sweep.store import COLUMNS, INTEGERS, REALS, read_only
from flat_mapper.spec.document import checked, did_you_mean
from flat_mapper.spec.yamlio import note_input, replacing, scalar

_Format = Literal["csv", "parquet", "jsonl"]
_Kind = Literal["integer", "real", "text"]  # of a column's values
_FORMATS: tuple[_Format, ...] = ("csv", "parquet", "jsonl")
INPUTS, RESULT = "coordinates", "result"
DOCUMENTS = (INPUTS, RESULT, "provenance")  # JSON; not in CSV
PLAIN_COLUMNS = (  # the columns beside the inputs, in the order of a table
    *(c for c in COLUMNS if c not in DOCUMENTS),
    *("seconds", "finished_at", "worker"),
)
# Parts of a result that have columns: units' busy shares, components' average power and its limit,
# the gap, and cores, of the group that takes longest where any point gives tiles out.
_OF_CORES = ("cores", "tiles", "rounds", "imbalance", "idle_share")
_PARTS = ("busy", "power_w", "power_limit_w", "gap", *_OF_CORES)
_WHOLE = (*INTEGERS, "cores", "tiles", "rounds")
_WORDS = tuple(name for name in PLAIN_COLUMNS if name not in (*INTEGERS, *REALS))
COMPARISONS: Mapping[str, Callable[[Any, Any], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "!=": operator.ne,
    "=": operator.eq,
    "==": operator.eq,
    "<": operator.lt,
    ">": operator.gt,
}
ROWS_AT_ONCE = 1000  # of one row group of Parquet

Filter = tuple[str, str, object]  # a column, an operator and a value
ExportRow = dict[str, Any]
_Columns = Mapping[str, _Kind]

_CONDITION = re.compile(r"\s*([^<>=!\s]+)\s*(<=|>=|!=|==|=|<|>)\s*(.*?)\s*")


def filters_of(texts: Sequence[str]) -> tuple[Filter, ...]:
    """`status=done`, `arch.GLB.depth>=4096`, ... read."""
    found: list[Filter] = []
    for text in texts:
        parts = _CONDITION.fullmatch(text)
        if not parts or not parts[3]:
            condition = "a column, one of <= >= != = < >, and a value"
            raise SpecError(expected("--where", condition, text))
        word = parts[3].strip("'\"")
        kept = scalar(word) if parts[1] not in _WORDS else word
        if isinstance(kept, int | float):
            kept = checked(kept, type(kept), f"--where {parts[1]}")
        found.append((parts[1], parts[2], kept))
    return tuple(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """The number of rows written, and where."""

    kind: ClassVar = "export"  # of answers as JSON
    rows: int
    file: str

    def to_dict(self) -> dict[str, object]:
        """The fields by name; nothing of what was printed."""
        return {"rows": self.rows, "file": self.file} if self.file else {}

    def __str__(self) -> str:
        return f"{self.rows:,} rows in {self.file}" if self.file else ""


@answers(AskExportSweep)
def export_sweep(asked: AskExportSweep) -> Exported:
    """The number of rows that pass all filters, and the file that has them.

    raises: SpecError where the results cannot be read, a column is unknown, or writing fails.
    """
    filters, output = filters_of(asked.where), asked.output
    form = among("format", asked.format, _FORMATS)
    count = _written(Path(asked.sweep), form, filters, output)
    return Exported(rows=count, file=str(output or ""))


def _written(path: Path, form: _Format, filters: Sequence[Filter], output: Name | None) -> int:
    """Write the rows, to stdout where there is no file; their number."""
    write = {"csv": _csv, "jsonl": _jsonl}.get(form)
    if write is None and output is None:
        raise SpecError("flat-mapper sweep: expected -o/--output for parquet, got none")
    if not path.is_file():
        raise SpecError(f"{path}: expected the results of a sweep, got no such file")
    note_input(path)
    with read_only(path) as connection, closing(_rows(connection)) as every:  # it keeps a lock
        columns = _columns(connection)
        for name in (name for name, *_ in filters if name not in columns):
            condition = f"a column among {', '.join(columns)}"
            raise SpecError(expected("--where", condition, name, did_you_mean(name, columns)))
        rows = (row for row in every if all(_passes(row, *asked) for asked in filters))
        if output is None:
            assert write is not None
            return write(columns, rows, sys.stdout)
        with replacing(Path(output)) as raw:
            if write is None:
                return _parquet(columns, rows, raw)
            file = io.TextIOWrapper(raw, encoding="utf-8", newline="")
            count = write(columns, rows, file)
            file.flush()
            file.detach()
            return count


def _rows(connection: sqlite3.Connection) -> Generator[ExportRow, None, None]:
    """Rows in the order of the sweep: every column by its name, and documents as values."""
    names = (*PLAIN_COLUMNS, *DOCUMENTS)
    with closing(connection.execute(f"SELECT {', '.join(names)} FROM results")) as cursor:
        for said in cursor:
            row = dict(zip(names, said, strict=True))
            documents = {name: _read(row[name]) for name in DOCUMENTS}
            told = {**documents[INPUTS], **dict(_parts(documents[RESULT]))}
            yield {**row, **{name: _cell(value) for name, value in told.items()}, **documents}


def _cell(value: Any) -> Any:
    """A value as SQLite would say it: true is 1, and a list or a mapping is its text."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, list | dict):
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False) if value else None
    return value


def _read(text: object) -> ExportRow:
    """A document; of a point that has none, an empty one."""
    try:
        found = json.loads(text) if isinstance(text, str) else {}
    except (ValueError, RecursionError) as error:
        raise SpecError(f"a row: expected JSON, got: {error}; run the sweep again") from error
    if isinstance(found, dict):
        return found
    raise SpecError(expected("a row", "a mapping in JSON", text, "run the sweep again"))


def _parts(result: ExportRow) -> Iterator[tuple[str, object]]:
    """Parts of a result by the names of their columns."""

    def inside(part: str) -> ExportRow:
        found = result.get(part)
        return found if isinstance(found, dict) else {}

    for part in ("busy", "power_w"):
        yield from ((f"{part}.{name}", value) for name, value in inside(part).items())
    yield "power_limit_w", result.get("power_limit_w")
    yield "gap", inside("search").get("gap")
    groups = result.get("groups")
    every = (g for g in groups if isinstance(g, dict)) if isinstance(groups, list) else ()
    if given := [group for group in every if group.get("cores") is not None]:
        longest = max(given, key=lambda group: _as("real", group.get("cycles") or 0))
        yield from ((name, longest.get(name)) for name in _OF_CORES)


def _columns(connection: sqlite3.Connection) -> _Columns:
    """Every plain column, one for each input in the place of those that repeat them, and parts."""
    inputs: dict[str, set[type]] = {}
    parts = dict.fromkeys(("power_limit_w", "gap"))
    for row in _rows(connection):
        for name in row[INPUTS]:
            inputs.setdefault(name, set()).add(type(row[name]))
        parts |= dict.fromkeys(n for n in row if n.partition(".")[0] in _PARTS)
    listed = [name for name in PLAIN_COLUMNS if name not in inputs]
    at = listed.index("status") + 1
    listed[at:at] = inputs
    listed += sorted(parts, key=lambda name: _PARTS.index(name.partition(".")[0]))
    return {name: _kind(name, inputs.get(name)) for name in listed}


def _kind(name: str, types: set[type] | None) -> _Kind:
    """The kind of a column; types: of the values of an input."""
    if types is not None:
        return "text" if types - {int, float} else "integer" if types == {int} else "real"
    if name in _WORDS:
        return "text"
    return "integer" if name in _WHOLE else "real"


def _passes(row: ExportRow, name: str, comparison: str, other: object) -> bool:
    """True where a value passes a filter: nothing does not, and words come after numbers."""
    value = row.get(name)
    pair = [(isinstance(one, str), one) for one in (value, other)]
    return value is not None and COMPARISONS[comparison](*pair)


def _csv(columns: _Columns, rows: Iterable[ExportRow], file: IO[str]) -> int:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(map(csv_cell, columns))
    count = 0
    for row in rows:
        writer.writerow([csv_cell(row.get(name)) for name in columns])
        count += 1
    return count


def _jsonl(columns: _Columns, rows: Iterable[ExportRow], file: IO[str]) -> int:
    names = (*(name for name in columns if name in PLAIN_COLUMNS), *DOCUMENTS)
    count = 0
    for row in rows:
        line = {name: row[name] or None if name in DOCUMENTS else row.get(name) for name in names}
        file.write(terminal_text(json.dumps(line, ensure_ascii=False)) + "\n")
        count += 1
    return count


def _parquet(columns: _Columns, rows: Iterable[ExportRow], file: BinaryIO) -> int:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise BackendError(
            "parquet: pyarrow is not installed; pip install 'flat-mapper[parquet]', or choose csv "
            "or jsonl"
        ) from error
    types = {"integer": pa.int64(), "real": pa.float64(), "text": pa.string()}
    kinds = {**columns, **dict.fromkeys(DOCUMENTS[1:], "text")}
    schema = pa.schema([(name, types[kind]) for name, kind in kinds.items()])
    count = 0
    with pq.ParquetWriter(file, schema) as writer:
        for some in batched(rows, ROWS_AT_ONCE):
            held = {n: [_as(kind, row.get(n)) for row in some] for n, kind in kinds.items()}
            writer.write_table(pa.Table.from_pydict(held, schema=schema))
            count += len(some)
    return count


def _as(kind: str, value: Any) -> Any:
    """A value in its column's type; SQLite keeps a whole number where a column says real."""
    if value is None:
        return None
    if kind == "text":
        return _cell(value) if isinstance(value, dict) else str(value)
    whole = isinstance(value, int) and abs(value) < 2**63
    if whole and kind == "integer":
        return value
    if whole or (isinstance(value, float) and kind == "real"):
        return float(value)
    raise SpecError(expected("a row", "a number", value, "run the sweep again"))
