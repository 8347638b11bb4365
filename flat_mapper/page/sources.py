"""Saved answers: files in, one entry a configuration out, whatever its outcome.

A file is what `map`, `compare` or `evaluate` prints with --json (or the result.json of a folder
that -o made), or the database of a sweep.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from flat_mapper.base.errors import SpecError, expected
from flat_mapper.explore.sweep.store import read_only
from flat_mapper.page.facts import EACH, Facts, read
from flat_mapper.spec.document import Section, checked, section_of, take, take_list
from flat_mapper.spec.textfiles import note_input, read_text

Input = str | int | float
DONE = "done"
_SQLITE = b"SQLite format 3\x00"  # the first bytes of a database; source: SQLite's file format
_HALF = re.compile(r"\\u[dD][89a-fA-F]")  # of a character outside the first 65536, escaped
_KINDS = "JSON of map, compare or evaluate, a folder with result.json, or a sweep's database"


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedEntry:
    """One configuration: what went in, and what came out or why nothing did."""

    where: str  # the file and the place in it, for errors
    inputs: Mapping[str, Input]
    status: str = DONE  # done, infeasible, invalid or failed
    reason: str = ""
    document: Section = field(default_factory=Section)  # the answer; empty unless done


# A design that `optimize` chose: its choices, its scores by objective or budget, what stops it.
_DESIGN = {"coordinates": {EACH: object}, "scores": {EACH: float}, "binds": [str]}


def read_file(path: Path) -> tuple[list[SavedEntry], list[Facts]]:
    """Every configuration of a file, in its order, and the designs that `optimize` chose.

    raises: SpecError where the file is none of those kinds, or holds nothing.
    """
    file, designs = path / "result.json" if path.is_dir() else path, []
    try:
        with file.open("rb") as opened:
            head = opened.read(len(_SQLITE))
        if head != _SQLITE:
            entries = list(json_entries(read_text(file), str(file)))
        else:
            note_input(file)
            with read_only(file) as database:
                entries = list(_sweep(file, database))
                front = "SELECT value FROM meta WHERE name = 'front'"
                for (text,) in database.execute(front).fetchall():
                    designs += read([_DESIGN], json_of(str(text), str(file)), f"{file}: front")
    except OSError as err:
        reason = err.strerror or str(err)
        raise SpecError(f"{file}: expected {_KINDS}, got: {reason}") from err
    if not entries:
        raise nothing([path])
    return entries, designs


def nothing(results: Sequence[object]) -> SpecError:
    """The error where there is no configuration at all."""
    listed = ", ".join(map(str, results)) or "no files"
    return SpecError(expected("results", "at least one configuration", listed))


def json_entries(text: str, where: str) -> Iterator[SavedEntry]:
    """The configurations of a JSON text."""
    document = section_of(json_of(text, where), where)
    if "rows" not in document:
        yield _answer(document, where)
        return
    shared = {key: document[key] for key in ("workload", "arch", "objective") if key in document}
    for i, row in enumerate(take_list(document, "rows", dict, where)):
        yield _answer(Section(shared | row), f"{where}: rows.{i}")


def _answer(document: Section, where: str) -> SavedEntry:
    inputs: dict[str, Input] = {
        key: take(document, name, str, where, default)
        for key, name, default in (
            ("arch", "arch", ""),
            ("problem", "workload", ""),
            ("mapspace", "mapspace", "given"),
            ("objective", "objective", "none"),
        )
    }
    if "infeasible" in document:
        reason = take(document, "infeasible", str, where)
        return SavedEntry(where=where, inputs=inputs, status="infeasible", reason=reason)
    for rank, size in take(document, "ranks", dict, where).items():
        inputs[rank] = checked(size, int, f"{where}: ranks.{rank}")
    inputs["backend"] = take(document, "backend", str, where)
    return SavedEntry(where=where, inputs=inputs, document=document)


def _sweep(path: Path, database: sqlite3.Connection) -> Iterator[SavedEntry]:
    """The points of a sweep that are there so far, in the sweep's order."""
    query = "SELECT position, status, coordinates, reason, result FROM results ORDER BY position"
    for position, status, coordinates, reason, result in database.execute(query).fetchall():
        where = f"{path}: point {position}"
        given = section_of(json_of(str(coordinates), where), where)
        yield SavedEntry(
            where=where,
            inputs={path: input_of(value) for path, value in given.items()},
            status=str(status),
            reason=str(reason or ""),
            document=section_of(json_of(str(result), where), where)
            if status == DONE
            else Section(),
        )


def input_of(value: object) -> Input:
    """An input as a word or a number; a list or mapping as its text."""
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        return value
    return json.dumps(value)


def json_of(text: str, where: str) -> object:
    """The value of a JSON text.

    raises: SpecError where it is none.
    """
    try:
        document: object = json.loads(text, parse_constant=_no_number)
        if _HALF.search(text):
            json.dumps(document, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as err:
        raise SpecError(f"{where}: expected {_KINDS}, got: {err}") from err
    return document


def _no_number(word: str) -> object:
    raise ValueError(f"the number {word}")
