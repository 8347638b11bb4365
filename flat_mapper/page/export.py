"""Rows of a sweep's results as CSV, one at a time: no file is too large.

A row is that of the results' frame. SQLite is asked for the rows alone: what they say is read here,
so that nothing of theirs is its language.
"""

from __future__ import annotations

import csv
import io
import operator
import re
import sqlite3
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, ClassVar

from flat_mapper.api.options import answers
from flat_mapper.api.questions import AskExportSweep
from flat_mapper.base.errors import SpecError, expected
from flat_mapper.base.formats import csv_cell
from flat_mapper.base.table import Cell
from flat_mapper.explore.sweep.store import read_only
from flat_mapper.page.data import sweep_entries
from flat_mapper.page.saved import entry_record
from flat_mapper.spec.document import checked, did_you_mean
from flat_mapper.spec.yamlio import note_input, replacing, scalar

COMPARISONS: Mapping[str, Callable[[Any, Any], bool]] = {
    **{"<=": operator.le, ">=": operator.ge, "!=": operator.ne, "==": operator.eq},
    **{"=": operator.eq, "<": operator.lt, ">": operator.gt},
}
_CONDITION = re.compile(r"\s*([^<>=!\s]+)\s*(<=|>=|!=|==|=|<|>)\s*(.*?)\s*")

Filter = tuple[str, str, str, object]  # a column, an operator, and a value as a word and as it is
ExportRow = Mapping[str, Cell]


def filters_of(texts: Sequence[str]) -> tuple[Filter, ...]:
    """`status=done`, `arch.GLB.depth>=4096`, ... read."""
    found: list[Filter] = []
    for text in texts:
        parts = _CONDITION.fullmatch(text)
        if not parts or not parts[3]:
            condition = "a column, one of <= >= != = < >, and a value"
            raise SpecError(expected("--where", condition, text))
        word = parts[3].strip("'\"")
        kept = scalar(word)
        if isinstance(kept, int | float):
            kept = checked(kept, type(kept), f"--where {parts[1]}")
        found.append((parts[1], parts[2], word, kept))
    return tuple(found)


def _passes(row: ExportRow, name: str, comparison: str, word: str, kept: object) -> bool:
    """True where a value passes a filter: nothing does not, and words come after numbers."""
    value = row.get(name)
    other = word if isinstance(value, str) else kept
    pair = [(isinstance(one, str), one) for one in (value, other)]
    return value is not None and COMPARISONS[comparison](*pair)


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
    filters, path, output = filters_of(asked.where), Path(asked.sweep), asked.output
    if asked.format != "csv":
        change = "in Python load_results(FILE).to_frame() has other formats"
        raise SpecError(expected("format", "csv", asked.format, change))
    if not path.is_file():
        raise SpecError(f"{path}: expected the results of a sweep, got no such file")
    note_input(path)
    with read_only(path) as database:
        columns = list(dict.fromkeys(name for row in _rows(path, database) for name in row))
        for name in (name for name, *_ in filters if name not in columns):
            condition = f"a column among {', '.join(columns)}"
            raise SpecError(expected("--where", condition, name, did_you_mean(name, columns)))
        kept = (row for row in _rows(path, database) if all(_passes(row, *f) for f in filters))
        if output is None:
            return Exported(rows=_written(columns, kept, sys.stdout), file="")
        with replacing(Path(output)) as raw:
            file = io.TextIOWrapper(raw, encoding="utf-8", newline="")
            count = _written(columns, kept, file)
            file.detach()
    return Exported(rows=count, file=str(output))


def _rows(path: Path, database: sqlite3.Connection) -> Iterator[ExportRow]:
    """Rows in the order of the sweep."""
    return map(entry_record, sweep_entries(path, database))


def _written(columns: Sequence[str], rows: Iterable[ExportRow], file: IO[str]) -> int:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(map(csv_cell, columns))
    count = 0
    for row in rows:
        writer.writerow([csv_cell(row.get(name)) for name in columns])
        count += 1
    file.flush()
    return count
