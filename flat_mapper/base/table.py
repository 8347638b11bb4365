"""Answers that print as tables of text, and are data frames of pandas or polars.

Both libraries are imported only when asked for.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from itertools import chain, zip_longest
from typing import TYPE_CHECKING, Any, ClassVar, Literal, overload
from unicodedata import combining, east_asian_width

from flat_mapper.base.errors import SpecError, expected
from flat_mapper.base.formats import html_text

if TYPE_CHECKING:
    import pandas
    import polars

Library = Literal["pandas", "polars"]
Cell = str | int | float | bool | None
FrameRecord = Mapping[str, Cell]

LIBRARIES: tuple[Library, ...] = ("pandas", "polars")
_LARGEST = 2**63 - 1  # of a frame's integers; what is larger becomes a float
# By the widest kind of a column's values: how pandas and polars call it, where one may be missing.
_KINDS = {
    bool: ("boolean", "Boolean"),
    int: ("Int64", "Int64"),
    float: ("float64", "Float64"),
    str: ("string", "String"),
}


class Printed(ABC):
    """An answer of several lines when printed, and of one where a console echoes it.

    As a data frame it has a row for each entry of a part of its JSON, or one for all.
    """

    __slots__ = ()
    rows_at: ClassVar[tuple[str, ...]] = ()  # the keys that lead to the part; () is the whole

    @abstractmethod
    def to_dict(self) -> dict[str, object]:
        """The answer as JSON has it."""

    def _records(self) -> Sequence[FrameRecord]:
        return rows_of(self.to_dict(), self.rows_at)

    @overload
    def to_frame(self, library: Literal["pandas"] = ...) -> pandas.DataFrame: ...
    @overload
    def to_frame(self, library: Literal["polars"]) -> polars.DataFrame: ...
    def to_frame(self, library: Library = "pandas") -> pandas.DataFrame | polars.DataFrame:
        """The answer as a table whose columns have types, and units in their names.

        A row for each mapspace, point, tile or Einsum, where the answer has several; parts of a
        number are columns of their own, `busy.MAC`.
        """
        return data_frame(self._records(), library)

    def __repr__(self) -> str:
        first, *more = str(self).strip().splitlines()
        return f"<{type(self).__name__}: {first}{'; print() for all' if more else ''}>"

    def _repr_html_(self) -> str:
        """The tables of the terminal, for a notebook: a heading, and what stands under it."""
        head, _, rest = str(self).strip().partition("\n")
        block = f'<pre style="line-height:1.25">{html_text(rest.strip())}</pre>' if rest else ""
        return f"<div><strong>{html_text(head)}</strong>{block}</div>"


def flat_row(document: Mapping[str, Any], prefix: str = "") -> dict[str, Cell]:
    """A JSON object as one row: parts of mappings by their path, lists of words as one text."""
    found: dict[str, Cell] = {}
    for key, value in document.items():
        if isinstance(value, Mapping):
            found |= flat_row(value, f"{prefix}{key}.")
        elif isinstance(value, list | tuple):
            if not any(isinstance(one, list | tuple | Mapping) for one in value):
                found[f"{prefix}{key}"] = " ".join(map(str, value))
        else:
            found[f"{prefix}{key}"] = value
    return found


def rows_of(document: Mapping[str, Any], keys: Sequence[str]) -> list[dict[str, Cell]]:
    """The entries of a part of a JSON object, a row each; those of a mapping begin with a name."""
    if not keys:
        return [flat_row(document)]
    part, name = document[keys[0]], keys[0].removesuffix("s")
    entries = part.items() if isinstance(part, Mapping) else (("", entry) for entry in part)
    return [
        ({name: label} if label else {}) | row
        for label, entry in entries
        for row in rows_of(entry, keys[1:])
    ]


def data_frame(
    records: Iterable[FrameRecord], library: Library
) -> pandas.DataFrame | polars.DataFrame:
    """A row for each record; a column that a record lacks is empty there.

    raises: SpecError where the library is unknown or missing.
    """
    rows = list(records)
    columns = dict.fromkeys(name for row in rows for name in row)
    table = {name: [row.get(name) for row in rows] for name in columns}
    kinds = {name: _kind(values) for name, values in table.items()}
    if library not in LIBRARIES:
        near = get_close_matches(library, LIBRARIES, n=1)
        hint = f"did you mean {near[0]!r}?" if near else ""
        raise SpecError(expected("to_frame", " or ".join(LIBRARIES), library, hint))
    try:
        if library == "pandas":
            import pandas

            typed = {n: pandas.Series(v, dtype=_KINDS[kinds[n]][0]) for n, v in table.items()}
            return pandas.DataFrame(typed)
        import polars

        schema = {name: getattr(polars, _KINDS[kind][1]) for name, kind in kinds.items()}
        return polars.DataFrame(table, schema=schema, strict=False)
    except ImportError as error:
        change = "pip install 'flat-mapper[frames]'"
        raise SpecError(expected("to_frame", f"the package {library}", None, change)) from error


def _kind(values: Sequence[Cell]) -> type:
    """The kind of a column: words where any is a word; numbers are floats where any is one."""
    found = {type(value) for value in values if value is not None}
    if str in found or not found:
        return str if found else float
    if found == {bool}:
        return bool
    large = any(isinstance(v, int) and abs(v) > _LARGEST for v in values)
    return float if float in found or large else int


TextRow = tuple[str, ...]


def grid(rows: Sequence[TextRow], *, head: TextRow = (), right: Iterable[int] = ()) -> str:
    """Rows under each other in columns that are as wide as they need to be."""
    margin, gap = (" ", "   ") if head else ("", "  ")
    top, aligned = _lines(head), set(right)
    cells = [*top, *chain.from_iterable(map(_lines, rows))]
    widths = [max(map(_cells, column)) for column in zip(*cells, strict=True)]
    sides = [column in aligned for column in range(len(widths))]
    lines = [margin + gap.join(map(_padded, row, widths, sides)) for row in cells]
    if head:
        lines.insert(len(top), margin + "─" * (sum(widths) + len(gap) * (len(widths) - 1)))
    return "\n".join(line.rstrip() for line in lines if line.strip())


def _lines(row: TextRow) -> list[TextRow]:
    """A row whose cells may have several lines, as rows of one line."""
    return list(zip_longest(*(cell.split("\n") for cell in row), fillvalue=""))


def _padded(cell: str, width: int, right: bool) -> str:
    spaces = " " * (width - _cells(cell))
    return spaces + cell if right else cell + spaces


def wrapped(parts: Sequence[str], between: str, width: int) -> str:
    """A cell of several lines, each at most `width` characters where no part alone is longer."""
    lines: list[str] = []
    for number, part in enumerate(parts, start=1):
        text = part + between if number < len(parts) else part
        if lines and len(lines[-1]) + len(text.rstrip()) <= width:
            lines[-1] += text
        else:
            lines.append(text)
    return "\n".join(line.rstrip() for line in lines)


def _cells(text: str) -> int:
    """Columns of a terminal that a text takes."""
    if text.isascii():
        return len(text)
    return sum(1 + (east_asian_width(c) in "WF") for c in text if not combining(c))
