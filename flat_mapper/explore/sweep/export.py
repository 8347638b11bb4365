"""Rows of a results file as CSV, Parquet or JSON Lines, one at a time: no file is too large.

A filter is a column, an operator and a value. They are parsed here and reach SQLite as parameters,
never as its language.
"""

from __future__ import annotations

import csv
import io
import json
import re
import sqlite3
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import batched
from pathlib import Path
from typing import IO, BinaryIO, Literal

from flat_mapper.base.errors import BackendError, SpecError, expected
from flat_mapper.base.formats import csv_cell, terminal_text
from flat_mapper.explore.sweep.store import COLUMNS, INTEGERS, REALS, read_only
from flat_mapper.spec.document import checked, did_you_mean
from flat_mapper.spec.yamlio import note_input, replacing, scalar

Format = Literal["csv", "parquet", "jsonl"]
_Kind = Literal["integer", "real", "text"]  # of a column's values
FORMATS: tuple[Format, ...] = ("csv", "parquet", "jsonl")
DOCUMENTS = ("coordinates", "result", "provenance")  # JSON; not in CSV
PLAIN_COLUMNS = (  # the columns beside the inputs, in the order of a table
    *(c for c in COLUMNS if c not in DOCUMENTS),
    *("seconds", "finished_at", "worker"),
)
COMPARISONS = ("<=", ">=", "!=", "=", "<", ">")
ROWS_AT_ONCE = 1000  # of one row group of Parquet

Filter = tuple[str, str, str | int | float]  # a column, an operator and a value
ExportRows = Iterable[tuple[object, ...]]
Write = Callable[[Sequence["Column"], ExportRows, IO[str]], int]

_CONDITION = re.compile(r"\s*([^<>=!\s]+)\s*(<=|>=|!=|==|=|<|>)\s*(.*?)\s*")


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table: how SQLite says it, and the type of its values."""

    name: str
    kind: _Kind
    sql: str
    parameters: tuple[str, ...] = ()


def filters_of(texts: Sequence[str]) -> tuple[Filter, ...]:
    """`status=done`, `arch.GLB.depth>=4096`, ... read."""
    found: list[Filter] = []
    for text in texts:
        parts = _CONDITION.fullmatch(text)
        if not parts or not parts[3]:
            condition = f"a column, one of {' '.join(COMPARISONS)}, and a value"
            raise SpecError(expected("--where", condition, text))
        word = parts[3].strip("'\"")
        value = scalar(word)
        kept = word
        if isinstance(value, int | float):
            kept = checked(value, type(value), f"--where {parts[1]}")
        found.append((parts[1], "=" if parts[2] == "==" else parts[2], kept))
    return tuple(found)


def export_rows(
    results: str | Path, form: str, filters: Sequence[Filter] = (), output: str | Path | None = None
) -> int:
    """Write the rows that pass all filters, and say how many there are.

    output: a file; None is stdout, for text.
    raises: SpecError where the results cannot be read, a column is unknown, or writing fails.
    """
    write = {"csv": _csv, "jsonl": _jsonl}.get(form)
    if form not in FORMATS:
        raise SpecError(
            expected("--format", f"one of {', '.join(FORMATS)}", form, did_you_mean(form, FORMATS))
        )
    if write is None and output is None:
        raise SpecError("flat-mapper export: expected -o/--output for parquet, got none")
    path = Path(results)
    if not path.is_file():
        raise SpecError(f"{path}: expected the results of a sweep, got no such file")
    note_input(path)
    with read_only(path) as connection:
        known = _columns(connection)
        columns = list(known.values())
        if form == "jsonl":
            columns = [c for c in columns if c.name in PLAIN_COLUMNS]
            columns.append(_plain("coordinates"))
        if form != "csv":
            columns += [_plain(name) for name in DOCUMENTS[1:]]
        known = {c.name: c for c in columns} | known
        with closing(_rows(connection, columns, known, filters)) as rows:  # or it keeps its lock
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


def _plain(name: str) -> Column:
    """A column of the results as it is."""
    number: _Kind = "integer" if name in INTEGERS else "real"
    return Column(name, number if name in (*INTEGERS, *REALS) else "text", name)


def _columns(connection: sqlite3.Connection) -> dict[str, Column]:
    """Every plain column, one for each input in the place of those that repeat them, and parts."""
    inputs = {column.name: column for column in _input_columns(connection)}
    kept = [_plain(name) for name in PLAIN_COLUMNS if name not in inputs]
    at = next(i for i, column in enumerate(kept) if column.name == "status") + 1
    columns = (*kept[:at], *inputs.values(), *kept[at:], *_part_columns(connection))
    return {column.name: column for column in columns}


def _input_columns(connection: sqlite3.Connection) -> Iterator[Column]:
    """A column for each input that any point has, typed by the values that it takes."""
    query = (
        "SELECT json_each.key, json_each.type FROM results, json_each(results.coordinates) "
        "GROUP BY 1, 2 ORDER BY min(json_each.id), 1"
    )
    types: dict[str, set[str]] = {}
    for name, kind in connection.execute(query):
        types.setdefault(name, set()).add(kind)
    for name, kinds in types.items():
        number: _Kind = "integer" if kinds == {"integer"} else "real"
        sql = "(SELECT value FROM json_each(coordinates) WHERE key = ?)"
        yield Column(name, number if kinds <= {"integer", "real"} else "text", sql, (name,))


def _part_columns(connection: sqlite3.Connection) -> Iterator[Column]:
    """Columns for units' busy shares, components' average power and its limit, gap, and cores.

    Cores are those of the group that takes longest, where any point gives tiles out.
    """
    query = (
        "SELECT json_each.key FROM results, json_each(results.result, ?) "
        "GROUP BY 1 ORDER BY min(position), min(json_each.id)"
    )
    under = "(SELECT value FROM json_each(result, ?) WHERE key = ?)"  # a path would end at a quote
    for part in ("busy", "power_w"):
        for (name,) in connection.execute(query, (f"$.{part}",)):
            yield Column(f"{part}.{name}", "real", under, (f"$.{part}", str(name)))
    for name, path in (("power_limit_w", "$.power_limit_w"), ("gap", "$.search.gap")):
        yield Column(name, "real", "json_extract(result, ?)", (path,))
    given = "json_each(result, '$.groups') WHERE json_extract(value, '$.cores') IS NOT NULL"
    if connection.execute(f"SELECT 1 FROM results, {given} LIMIT 1").fetchone():
        longest = "ORDER BY json_extract(value, '$.cycles') DESC LIMIT 1"
        for name in ("cores", "tiles", "rounds", "imbalance", "idle_share"):
            sql = f"(SELECT json_extract(value, ?) FROM {given} {longest})"
            whole = name in ("cores", "tiles", "rounds")
            yield Column(name, "integer" if whole else "real", sql, (f"$.{name}",))


def _rows(
    connection: sqlite3.Connection,
    columns: Sequence[Column],
    known: dict[str, Column],
    filters: Sequence[Filter],
) -> sqlite3.Cursor:
    """The rows that pass the filters, in the order of the sweep."""
    conditions: list[str] = []
    values: list[object] = [parameter for column in columns for parameter in column.parameters]
    for name, operator, value in filters:
        column = known.get(name)
        if column is None:
            condition = f"a column among {', '.join(known)}"
            raise SpecError(expected("--where", condition, name, did_you_mean(name, known)))
        assert operator in COMPARISONS
        conditions.append(f"{column.sql} {operator} ?")
        values += [*column.parameters, value]
    chosen = ", ".join(column.sql for column in columns)
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    return connection.execute(f"SELECT {chosen} FROM results{where}", values)


def _csv(columns: Sequence[Column], rows: ExportRows, file: IO[str]) -> int:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([csv_cell(column.name) for column in columns])
    count = 0
    for row in rows:
        writer.writerow([csv_cell(value) for value in row])
        count += 1
    return count


def _jsonl(columns: Sequence[Column], rows: ExportRows, file: IO[str]) -> int:
    count = 0
    for row in rows:
        pairs = zip(columns, row, strict=True)
        line = {c.name: _read(v) if c.name in DOCUMENTS else v for c, v in pairs}
        file.write(terminal_text(json.dumps(line, ensure_ascii=False)) + "\n")
        count += 1
    return count


def _read(text: object) -> object:
    try:
        return json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError) as error:
        raise SpecError(f"a row: expected JSON, got: {error}; run the sweep again") from error


def _parquet(columns: Sequence[Column], rows: ExportRows, file: BinaryIO) -> int:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise BackendError(
            "parquet: pyarrow is not installed; pip install 'flat-mapper[parquet]', or choose csv "
            "or jsonl"
        ) from error
    types = {"integer": pa.int64(), "real": pa.float64(), "text": pa.string()}
    schema = pa.schema([(column.name, types[column.kind]) for column in columns])
    count = 0
    with pq.ParquetWriter(file, schema) as writer:
        for some in batched(rows, ROWS_AT_ONCE):
            values = zip(columns, zip(*some, strict=True), strict=True)
            held = {c.name: [_as(c.kind, value) for value in listed] for c, listed in values}
            writer.write_table(pa.Table.from_pydict(held, schema=schema))
            count += len(some)
    return count


def _as(kind: str, value: object) -> object:
    """A value in its column's type; SQLite keeps a whole number where a column says real."""
    if value is None or (kind == "integer" and isinstance(value, int)):
        return value
    if kind == "text":
        return str(value)
    if isinstance(value, int | float):
        return float(value)
    raise SpecError(expected("a row", "a number", value, "run the sweep again"))
