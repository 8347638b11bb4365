"""What all studies share: rows of a CSV file, an answer, and the command that prints it."""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf
from pathlib import Path
from typing import Any

import flat_mapper as fm
from flat_mapper.values import Architecture, Ert, MappingRecord, Platform, Result

ROOT = Path(__file__).resolve().parent.parent
Columns = Mapping[str, str]
Parser = argparse.ArgumentParser


def wrong(where: str, condition: str, got: object, change: str = "") -> fm.SpecError:
    """The error of an input, in the project's form."""
    tail = f"; {change}" if change else ""
    return fm.SpecError(f"{where}: expected {condition}, got {got!r}{tail}")


def among(where: str, words: Iterable[str], got: object) -> fm.SpecError:
    """The error of a word that is none of those."""
    return wrong(where, f"one of {', '.join(words)}", got)


def read_rows(path: Path) -> list[Columns]:
    """The rows of a CSV file with a header.

    raises: SpecError for a file that cannot be read or has no rows.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise wrong(str(path), "a CSV file that can be read", str(error)) from error
    if not rows:
        raise wrong(str(path), "a header and rows", "none")
    return [{str(k): v or "" for k, v in row.items() if k is not None} for row in rows]


def rows_by[R](path: Path, row: Callable[[str, Columns], R], noun: str = "row") -> list[R]:
    """What a function makes of each row of a file, and of where it stands: file and line."""
    return [row(f"{path}: {noun} {i}", columns) for i, columns in enumerate(read_rows(path), 2)]


def sizes_of(
    where: str, row: Columns, names: Sequence[str], may_be_zero: Sequence[str] = ()
) -> dict[str, int]:
    """Whole numbers of a row, positive where they must be, below 10^8."""
    found = {}
    for key in names:
        text, least = row.get(key), 0 if key in may_be_zero else 1
        if text is None or not text.isdecimal() or not least <= int(text) < 10**8:
            raise wrong(f"{where}: {key}", f"a whole number >= {least}", text)
        found[key] = int(text)
    return found


def number_of(
    where: str, row: Columns, column: str, noun: str = "a number", *, positive: bool = False
) -> float:
    """A finite number of a row that is not negative, or more than 0."""
    try:
        value = float(row[column])
    except (KeyError, ValueError):
        value = -1.0
    if not 0 <= value < inf or (positive and not value):
        raise wrong(f"{where}: {column}", f"{noun} {'>' if positive else '>='} 0", row.get(column))
    return value


def choice_of[C: str](where: str, row: Columns, column: str, choices: Sequence[C]) -> C:
    """A word of a row, which is one of some."""
    for choice in choices:
        if choice == row.get(column):
            return choice
    raise among(f"{where}: {column}", choices, row.get(column))


def evaluated(record: MappingRecord, prices: Ert | None = None) -> Result | fm.Infeasible:
    """The model's answer for a mapping, or why it does not fit.

    prices: energies; by default nothing costs any.
    """
    found = fm.evaluate(record, ert=prices or free(record.platform))
    return found if isinstance(found, fm.Infeasible) else found.result


def free(platform: Platform) -> Ert:
    """A table in which nothing costs energy: counts and cycles do not need one."""
    levels: dict[str, dict[str, float]] = {}
    for arch in platform.paths:
        for level in arch.levels:
            levels[level.name] = dict.fromkeys(("read", "write", "update"), 0.0)
        levels[arch.compute.name] = {"compute": 0.0}
    return Ert(levels=levels, source="nothing costs energy here")


def with_level(platform: Platform, name: str, **changes: Any) -> Platform:
    """A platform whose level of a name is another in some facts, on every path."""

    def one(arch: Architecture) -> Architecture:
        nodes = (replace(n, **changes) if n.name == name else n for n in arch.nodes)
        return replace(arch, nodes=tuple(nodes))

    vector = platform.vector and one(platform.vector)
    return replace(platform, matrix=one(platform.matrix), vector=vector)


def each[V, R](
    function: Callable[[V], R], values: Sequence[V], workers: int | None = None
) -> Iterator[R]:
    """The function's answers in the order of the values, on a process for each core.

    One worker: this process itself.
    """
    if workers == 1 or len(values) < 2:
        yield from map(function, values)
        return
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield from pool.map(function, values)


def grouped[V](values: Iterable[V], key: Callable[[V], Any]) -> dict[Any, list[V]]:
    """Values by a key of theirs, in the order in which the keys occur."""
    found: dict[Any, list[V]] = {}
    for value in values:
        found.setdefault(key(value), []).append(value)
    return found


def grid(rows: Sequence[Sequence[str]], head: Sequence[str], right: Iterable[int] = ()) -> str:
    """Rows under each other in columns that are as wide as they need to be."""
    aligned, lines = set(right), [head, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    shown = [
        " "
        + "   ".join(
            cell.rjust(n) if i in aligned else cell.ljust(n)
            for i, (cell, n) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    return "\n".join((shown[0], " " + "─" * (sum(widths) + 3 * len(widths) - 3), *shown[1:]))


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The answer of a study: a document for machines, a text for people, files where asked for."""

    kind: str  # of answers as JSON
    document: Mapping[str, object]
    text: str
    made: Callable[[], dict[str, bytes]] = field(default=dict)

    def to_dict(self) -> dict[str, object]:
        """The document."""
        return dict(self.document)

    def json(self, **more: object) -> str:
        """The document with its schema before it."""
        whole = {"schema": f"flat-mapper/{self.kind}/2", **self.document, **more}
        return json.dumps(whole, indent=2, ensure_ascii=False, allow_nan=False, default=_plain)

    def files(self) -> dict[str, bytes]:
        """What `-o` writes."""
        found = self.made()
        text = self.json(files=[*found, "result.json"])
        return found | {"result.json": f"{text}\n".encode()}


def _plain(value: Any) -> object:
    return dict(value) if isinstance(value, Mapping) else value.item()


def parser_of(about: str | None) -> Parser:
    """A parser whose help is the docstring of a command."""
    return Parser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)


def run(
    about: str | None,
    answer: Callable[[argparse.Namespace], Answer],
    argv: Sequence[str] | None = None,
    *,
    options: Callable[[Parser], object] = lambda _: None,
    csv: str = "",
) -> int:
    """The command of a study: its answer as tables or JSON, in a folder too; the exit code.

    about: the docstring of its `__main__`. csv: the file of rows that it has to be given, if any.
    """
    parser = parser_of(about)
    options(parser)
    if csv:
        parser.add_argument("--csv", metavar="FILE", help=csv)
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("-o", "--output", metavar="DIR", help="write the answer's files there")
    parser.add_argument("--force", action="store_true", help="into a folder with other files too")
    asked = parser.parse_args(argv)
    try:
        if csv and not asked.csv:
            raise wrong("--csv", csv, "none", "give --csv FILE")
        found = answer(asked)
        if asked.output:
            fm.save(found, asked.output, force=asked.force)
        text = found.json() if asked.json else found.text
        print("".join(c if c.isprintable() or c in "\n\t" else f"\\u{ord(c):04x}" for c in text))
    except fm.FlatMapperError as error:
        name, code = type(error).__name__, {"NothingFeasible": 1, "BackendError": 3}
        line = " ".join(str(error).split())
        print(f"{'Infeasible' if code.get(name) == 1 else name}: {line}", file=sys.stderr)
        return code.get(name, 2)
    return 0
