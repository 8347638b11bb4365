"""Saved answers from Python, those of `--json`, of `-o` and of sweeps; and a page of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from flat_mapper.api.options import answers
from flat_mapper.api.questions import Answer, AskReport, AskSweep
from flat_mapper.base import units
from flat_mapper.base.errors import SpecError, expected
from flat_mapper.base.formats import html_text
from flat_mapper.base.table import Cell, FrameRecord, Printed
from flat_mapper.explore.sweep.engines import engine_of
from flat_mapper.explore.sweep.inputs import Inputs
from flat_mapper.explore.sweep.run import SweepProgress, affordable, code_of, resumable, run_sweep
from flat_mapper.explore.sweep.spec import load_sweep
from flat_mapper.explore.sweep.store import Status, Store
from flat_mapper.page.data import DONE, SavedEntry, json_entries, nothing, read_file, report_rows
from flat_mapper.page.facts import Facts, facts_of
from flat_mapper.page.mesh import mesh_page, mesh_record, of_cluster
from flat_mapper.reports import html as answers_html
from flat_mapper.reports.fields import answer_record
from flat_mapper.reports.text import COMPARISON_COLUMNS, comparison_row
from flat_mapper.spec.answers import answer_json
from flat_mapper.spec.yamlio import check_target, write_text

_SHOWN = 20  # rows that a notebook shows


def entry_record(entry: SavedEntry) -> dict[str, Cell]:
    """One configuration as a row: its inputs, what came of it, and its answer's totals."""
    found = {**entry.inputs, "status": entry.status, "reason": entry.reason or None, **entry.run}
    if of_cluster(entry):
        return found | mesh_record(entry)
    if entry.status == DONE:
        found |= answer_record(facts_of(entry.document, entry.where))
    return found | dict(entry.inputs)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class SavedResults(Printed):
    """Configurations that were computed before, from one file or several."""

    kind: ClassVar = "report"  # of answers as JSON
    entries: tuple[SavedEntry, ...]
    designs: tuple[Facts, ...] = ()  # that `optimize` chose
    page: str = ""  # the report that was made of them, which a notebook shows

    def __len__(self) -> int:
        return len(self.entries)

    def _records(self) -> Sequence[FrameRecord]:
        return [entry_record(entry) for entry in self.entries]

    def write_report(self, path: str | Path, title: str = "") -> SavedResults:
        """The page of `flat-mapper report`, written; the same results, with its path.

        raises: SpecError where it cannot be written, or an answer cannot be read.
        """
        from jinja2 import UndefinedError

        from flat_mapper.page.assembly import page

        try:
            text = (
                mesh_page(self.entries, title)
                if any(map(of_cluster, self.entries))
                else page(self.entries, title, self.designs)
            )
        except (LookupError, UndefinedError) as error:
            condition = "answers whose parts all name levels and Einsums that they have"
            got = f"no {str(error).rpartition(' ')[2]}"
            raise SpecError(expected("results", condition, got, "map again")) from error
        write_text(path, text)
        return replace(self, page=str(path))

    def to_dict(self) -> dict[str, object]:
        """The names of `flat-mapper report --json`."""
        told = {"file": self.page, "configurations": len(self)}
        return {**told, "bytes": Path(self.page).stat().st_size if self.page else 0}

    def __str__(self) -> str:
        if self.page:
            weight = units.size(Path(self.page).stat().st_size)
            return f"{self.page}: {self._counted()}, {weight}"
        done = sum(entry.status == DONE for entry in self.entries)
        return f"{self._counted()}, {units.count(done)} with an answer"

    def _counted(self) -> str:
        return f"{units.count(len(self))} configuration{'s' * (len(self) != 1)}"

    def _repr_html_(self) -> str:
        """The first rows, or the page where one was written, for a notebook."""
        if self.page:
            return answers_html.framed(self.page, str(self))
        if any(map(of_cluster, self.entries)):
            return html_text(str(self))
        first = report_rows(self.entries[:_SHOWN]).rows
        rows = [(*comparison_row(row.name, row.answer), row.entry.reason) for row in first]
        head = ("configuration", *COMPARISON_COLUMNS[1:], "reason")
        return answers_html.html_table(head, rows, str(self))


def load_results(*results: str | Path | Answer) -> SavedResults:
    """The configurations of JSON files, of folders that -o made, of sweeps' databases; of answers.

    raises: SpecError where a file is none of those.
    """
    entries: list[SavedEntry] = []
    designs: list[Facts] = []
    for given in results:
        one = given.results if isinstance(given, Swept) else given
        if isinstance(one, SavedResults):
            entries += one.entries
            designs += one.designs
        elif isinstance(one, str | Path):
            found = read_file(Path(one))
            entries += found[0]
            designs += found[1]
        else:
            entries += json_entries(answer_json(one.kind, one.to_dict()), one.kind)
    if not entries:
        raise nothing(results)
    return SavedResults(entries=tuple(entries), designs=tuple(designs))


@dataclass(frozen=True, kw_only=True, repr=False)
class Swept(Printed):
    """A sweep that is done: how many points it has and had, and its results file."""

    kind: ClassVar = "sweep"  # of answers as JSON
    file: str
    points: int
    counts: Mapping[Status, int]  # of all points
    ran: SweepProgress  # of this run
    content: str  # the same for the same sweep, whatever happened on the way

    @cached_property
    def results(self) -> SavedResults:
        """The results in the file."""
        return load_results(self.file)

    @property
    def entries(self) -> tuple[SavedEntry, ...]:
        """Its configurations."""
        return self.results.entries

    @property
    def exit_code(self) -> int:
        """Of the command."""
        return code_of(self.counts)

    def __len__(self) -> int:
        return self.points

    def _records(self) -> Sequence[FrameRecord]:
        return self.results._records()

    def _repr_html_(self) -> str:
        return self.results._repr_html_()

    def to_dict(self) -> dict[str, object]:
        """The names of `flat-mapper sweep --json`."""
        return {
            "points": self.points,
            **{str(status): count for status, count in self.counts.items()},
            "computed": self.ran.computed,
            "seconds": round(self.ran.seconds, 3),
            "points_per_s": round(self.ran.rate, 3),
            "workers": self.ran.workers,
            "file": self.file,
            "content": self.content,
        }

    def __str__(self) -> str:
        parts = ", ".join(f"{n:,} {status}" for status, n in self.counts.items() if n)
        return (
            f"{self.points:,} points: {parts or 'none'}; {self.ran.computed:,} computed now in "
            f"{self.ran.seconds:.1f} s, {self.ran.rate:.2f} a second; {self.file}"
        )


@answers(AskSweep)
def sweep(asked: AskSweep) -> Swept:
    """The configurations, those included that `output` had already."""
    spec, engine = load_sweep(asked.sweep), engine_of(asked)
    affordable(asked, spec.size)
    inputs = Inputs(spec, time_limit=asked.time_limit, gap=asked.gap)
    with Store(Path(asked.output)) as store:
        with resumable(store, asked.output):
            ran = run_sweep(inputs, store, engine, asked.progress or (lambda _: None))
        return Swept(
            file=str(asked.output),
            points=spec.size,
            counts=store.counts(),
            ran=ran,
            content=store.digest(),
        )


@answers(AskReport)
def report(asked: AskReport) -> SavedResults:
    """The answers, which a notebook shows as the page."""
    given = asked.results
    one = isinstance(given, str | Path) or not isinstance(given, Sequence)
    found = load_results(*([given] if one else given))  # type: ignore[misc]
    check_target(Path(asked.output))
    return found.write_report(asked.output, asked.title)
