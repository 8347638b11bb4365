"""The page's data: its rows and the details of some of them, as JSON values."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from flat_mapper.base import units
from flat_mapper.base.errors import SpecError, expected
from flat_mapper.base.table import Cell
from flat_mapper.explore.sweep.store import read_only
from flat_mapper.mapper.space.pareto import nondominated
from flat_mapper.page.facts import EACH, Facts, facts_of, read, renewed
from flat_mapper.page.tile import BusySpan, occupancy, run_occupancy, run_timeline, timeline, waits
from flat_mapper.reports.colours import CHOICES, hues
from flat_mapper.reports.fields import (
    FIELDS,
    PART_FIELDS,
    Document,
    answer_totals,
    buffer_of,
    gains,
)
from flat_mapper.spec.document import Section, checked, section_of, take, take_list
from flat_mapper.spec.yamlio import note_input, read_text

DETAILS = 150  # chosen: rows with a loop tree and a timeline, about 6 kB each
DIGITS = 6  # significant digits: more than a picture can show


def page_data(rows: ReportRows) -> Document:
    """The description of the fields, the rows in their order, and the details by row.

    raises: LookupError where an answer speaks of a level or an Einsum that it has not.
    """
    kept, roofs = _detailed(rows), list[Document]()  # each chip's roofs once; a row says which
    return {
        "fields": {key: asdict(field) for key, field in (FIELDS | PART_FIELDS).items()},
        "columns": _columns(rows),
        "costs": _COSTS,
        "varying": list(rows.varying),
        "questions": list(rows.questions),
        "hues": hues(facts for _, facts in rows.done),
        "choices": CHOICES,
        "buffer_inputs": buffer_inputs(rows),
        "rows": [_rounded(_row(i, row, roofs)) for i, row in enumerate(rows.rows)],
        "roofs": _rounded(roofs),
        "details": {
            str(i): _rounded(_detail(row.facts))
            for i, row in enumerate(rows.rows)
            if row.facts is not None and i in kept
        },
    }


# What a front may be of, in the order in which it is offered.
_COSTS = (
    *("latency_s", "energy_pj", "edp_js", "offchip_bytes", "buffer_capacity_bytes"),
    *("buffer_bytes", "area_mm2"),
)


def _columns(rows: ReportRows) -> list[str]:
    """The fields of the table: the buffer beside its capacity, an area where there are several."""
    left = {"buffer_capacity_bytes"}
    if len({facts["area_mm2"] for _, facts in rows.done}) < 2:
        left.add("area_mm2")
    return [key for key in FIELDS if key not in left]


def buffer_inputs(rows: ReportRows) -> list[str]:
    """The varying inputs that set the size of the shared buffer."""
    levels = {buffer_of(facts)[0] for _, facts in rows.done}
    own = [p for p in rows.varying if any(p.startswith(f"arch.{level}.") for level in levels)]
    return own or [path for path in rows.varying if path == "arch"]


def _detailed(rows: ReportRows) -> set[int]:
    """The rows whose details are kept: each question's Pareto front, then the least products."""
    done = [(i, row, row.facts) for i, row in enumerate(rows.rows) if row.facts is not None]
    kept: dict[int, None] = {}
    for asked in rows.questions:
        own = [(i, facts) for i, row, facts in done if row.question == asked]
        costs = np.array([(facts["latency_s"], facts["energy_pj"]) for _, facts in own])
        kept |= dict.fromkeys(own[k][0] for k in nondominated(costs))
    kept |= dict.fromkeys(i for i, _, _ in sorted(done, key=lambda item: item[2]["edp_js"]))
    return set(list(kept)[:DETAILS])


def _row(index: int, row: ReportRow, roofs: list[Document]) -> Document:
    said: Document = {"i": index, "name": row.name, "status": row.entry.status}
    said |= {"inputs": dict(row.entry.inputs), "question": row.question}
    if row.facts is None:
        return said | {"reason": row.entry.reason}
    roof = _roofs(row.facts["platform"])
    if roof not in roofs:
        roofs.append(roof)
    return said | answer_totals(row.facts) | {"roof": roofs.index(roof)}


def _roofs(peaks: Facts) -> Document:
    """Computes per second of each unit, and off-chip bytes per second."""
    rate, cycle, units = peaks["offchip_bytes_per_cycle"], peaks["cycle_seconds"], peaks["units"]
    return {
        "offchip": peaks["offchip"],
        "bytes_per_s": rate and rate / cycle,
        "units": {name: unit["computes_per_cycle"] / cycle for name, unit in units.items()},
    }


def _detail(facts: Facts) -> Document:
    """Parts of which the mapping of a row is drawn; lanes in the order in which they are drawn."""
    names = ("ranks", "repeat", "platform", "notes", "einsums")
    groups, platform = facts["groups"], facts["platform"]
    lanes = [*platform["units"], *platform["levels"]]  # and then what is no level, a core's port

    def place(span: BusySpan) -> int:
        return lanes.index(span.lane) if span.lane in lanes else len(lanes)

    def busy(spans: Sequence[BusySpan]) -> list[BusySpan]:
        return sorted((s for s in spans if s.end > s.start), key=place)

    return {name: facts[name] for name in names} | {
        "groups": [
            {name: part for name, part in group.items() if name not in ("works", "offchip")}
            | {"busy": busy(timeline(group) + waits(group)), "alive": occupancy(group)}
            for group in groups
        ],
        "busy": busy(run_timeline(groups)),
        "alive": run_occupancy(groups),
        "cycles": sum(group["cycles"] for group in groups),
    }


def _rounded(value: Any) -> Any:
    """A value whose numbers, wherever in it, have as many digits as a picture can show."""
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, dict):
        return {name: _rounded(part) for name, part in value.items()}
    return [_rounded(part) for part in value] if isinstance(value, list | tuple) else value


_LARGE = 1e7  # chosen: numbers from here on are shown with a prefix
_FORMS = ("softmax", "mask")  # of a problem, unless it is asked otherwise
_ORDER = ("problem", "scope", "arch", "seq", "mask", "softmax", "mapspace", "objective", "backend")
_CHOSEN = ("arch", "ert", "mapspace", "objective", "backend", "softmax", "schedule")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportRow:
    """One configuration."""

    name: str  # what sets it apart from the others
    entry: SavedEntry
    question: str  # workload and sizes, as far as rows differ in them: only such rows compare
    facts: Facts | None  # with the gains over the row it is held against; None: no answer

    @property
    def answer(self) -> Document:
        """Its answer, or why there is none, as a comparison has it."""
        return self.facts or {"status": self.entry.status, "infeasible": self.entry.reason}


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportRows:
    """All configurations of a report."""

    rows: tuple[ReportRow, ...]
    varying: tuple[str, ...]  # inputs that differ between rows
    against: str  # what rows are held against, in words

    @property
    def questions(self) -> tuple[str, ...]:
        """Workloads with their sizes that have an answer, each once, in the order of the rows."""
        return tuple(dict.fromkeys(row.question for row, _ in self.done))

    @property
    def done(self) -> tuple[tuple[ReportRow, Facts], ...]:
        """Those with an answer."""
        return tuple((row, row.facts) for row in self.rows if row.facts is not None)


def report_rows(entries: Sequence[SavedEntry]) -> ReportRows:
    """Entries with names, speed-ups and savings."""
    varying = _varying(entries)
    facts = [facts_of(e.document, e.where) if e.status == DONE else None for e in entries]
    names = _names(entries, varying)
    apart, against = _baseline_inputs(varying)
    # Inputs that pose a question, and do not answer it as a chip or a mapspace does.
    asked = [p for p in varying if p not in _CHOSEN and not p.startswith(("arch.", "bits."))]
    questions = _names(entries, asked, unique=False) if asked else [""] * len(entries)
    first: dict[tuple[object, ...], Facts] = {}
    rows = []
    for name, question, entry, fact in zip(names, questions, entries, facts, strict=True):
        key = tuple(entry.inputs.get(path) for path in apart)
        if fact is not None:
            fact |= gains(first.setdefault(key, fact), fact)
        rows.append(ReportRow(name=name, entry=entry, question=question, facts=fact))
    return ReportRows(rows=tuple(rows), varying=varying, against=against)


def _varying(entries: Sequence[SavedEntry]) -> tuple[str, ...]:
    """Inputs with more than one value, in the order in which a reader asks for them."""
    found = _differing(entries)
    sizes = (take(e.document, "ranks", dict, e.where, {}) for e in entries)
    ranks = dict.fromkeys(chain.from_iterable(sizes))
    for by in ("problem", *ranks):  # a problem tells its sizes; one length often is both
        if by in found:
            told = {p for p in {*ranks, *_FORMS} - {by} if _told_by(entries, by, p)}
            found = [path for path in found if path not in told]
    known = [path for path in _ORDER if path in found]
    return tuple([path for path in found if path not in known] + known)


def _differing(entries: Sequence[SavedEntry]) -> list[str]:
    """Inputs with more than one value."""
    paths = dict.fromkeys(path for entry in entries for path in entry.inputs)
    # What an answer that did not fit leaves out (its sizes) is no value.
    values = {
        p: {e.inputs.get(p) for e in entries if e.status == DONE or p in e.inputs} for p in paths
    }
    return [path for path in paths if len(values[path]) > 1]


def _told_by(entries: Sequence[SavedEntry], by: str, path: str) -> bool:
    """True where one input's value follows from another's."""
    pairs = {(e.inputs.get(by), e.inputs.get(path)) for e in entries if path in e.inputs}
    return len(pairs) == len({first for first, _ in pairs})


def _names(
    entries: Sequence[SavedEntry], varying: Sequence[str], *, unique: bool = True
) -> list[str]:
    """A name for each entry; no two alike, where they are to be unique."""
    paths = varying or ("mapspace",)
    names: list[str] = []
    seen: dict[str, int] = {}
    for entry in entries:
        words = [_told(path, entry.inputs.get(path)) for path in paths]
        name = " · ".join(word for word in words if word) or "configuration"
        seen[name] = seen.get(name, 0) + 1
        names.append(name if seen[name] == 1 or not unique else f"{name} #{seen[name]}")
    return names


def _told(path: str, value: Input | None) -> str:
    """An input in a name: a word by itself, a number with what it is of."""
    if value is None or isinstance(value, str):
        return (value or "").rpartition("/")[2].removesuffix(".yaml")
    return f"{short(path)}={number_text(value)}"


def number_text(value: Input) -> str:
    """An input's value, a large one with a prefix: `100 G`."""
    if isinstance(value, str):
        return value
    return units.si(value) if abs(value) >= _LARGE else f"{value:.10g}"


def short(path: str) -> str:
    """An input's path without its file: `GLB.depth` of `arch.GLB.depth`."""
    for start in ("arch.", "variables.", "problem.", "rank."):
        path = path.removeprefix(start)
    return path


def _baseline_inputs(varying: Sequence[str]) -> tuple[list[str], str]:
    """The inputs in which a row agrees with what it is held against, and that in words."""
    if ways := [path for path in varying if path in ("softmax", "mapspace")]:
        rest = [path for path in varying if path not in ways]
        others = " with the same other inputs" if rest else ""
        return rest, f"the first {' and '.join(ways)}{others}"
    rest = [p for p in varying if p != "arch" and not p.startswith("arch.")]
    others = " with the same problem" if rest else ""
    return rest, f"the first configuration{others}"


def common(entries: Sequence[SavedEntry], varying: Sequence[str]) -> Mapping[str, Input]:
    """The inputs that all entries share."""
    paths = dict.fromkeys(path for entry in entries for path in entry.inputs)
    values = {p: {e.inputs[p] for e in entries if p in e.inputs} for p in paths}
    return {p: found.pop() for p, found in values.items() if len(found) == 1 and p not in varying}


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
    run: Mapping[str, Cell] = field(default_factory=dict)  # of a sweep: its place, when and where


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
                entries = list(sweep_entries(file, database))
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
    if "cluster" in document:
        inputs["mapspace"] = take(document, "parallelism", str, where, "any division")
        return SavedEntry(where=where, inputs=inputs, document=document)
    for rank, size in take(document, "ranks", dict, where).items():
        inputs[rank] = checked(size, int, f"{where}: ranks.{rank}")
    inputs["backend"] = take(document, "backend", str, where)
    if document.get("softmax"):
        inputs["softmax"] = take(document, "softmax", str, where)
    if isinstance(masked := document.get("mask"), Mapping):
        inputs["mask"] = take(section_of(masked, where), "mask", str, where)
    return SavedEntry(where=where, inputs=inputs, document=renewed(document))


_RUN = ("position", "seconds", "finished_at", "worker")


def sweep_entries(path: Path, database: sqlite3.Connection) -> Iterator[SavedEntry]:
    """The points of a sweep that are there so far, in the sweep's order."""
    query = f"SELECT status, coordinates, reason, result, {', '.join(_RUN)} FROM results"
    for status, coordinates, reason, result, position, *ran in database.execute(query):
        where = f"{path}: point {position}"
        given = section_of(json_of(str(coordinates), where), where)
        yield SavedEntry(
            where=where,
            inputs={path: input_of(value) for path, value in given.items()},
            status=str(status),
            reason=str(reason or ""),
            run=dict(zip(_RUN, (position, *ran), strict=True)),
            document=renewed(section_of(json_of(str(result), where), where))
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
