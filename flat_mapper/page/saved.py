"""Saved answers from Python, those of `--json`, of `-o` and of sweeps; and a page of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from flat_mapper.base import units
from flat_mapper.base.frame import Cell, FrameRecord
from flat_mapper.base.table import Printed
from flat_mapper.explore.pareto import Front
from flat_mapper.explore.sweep.engines import local_workers
from flat_mapper.explore.sweep.inputs import Inputs
from flat_mapper.explore.sweep.run import Watch, run_sweep
from flat_mapper.explore.sweep.spec import Written, load_sweep
from flat_mapper.explore.sweep.store import Store
from flat_mapper.page.data import DONE, SavedEntry, json_entries, nothing, read_file, report_rows
from flat_mapper.page.facts import Facts, facts_of
from flat_mapper.reports import html as answers_html
from flat_mapper.reports.answers import Comparison, Evaluation
from flat_mapper.reports.fields import answer_record, busy_text, shown
from flat_mapper.spec.answers import answer_json
from flat_mapper.spec.yamlio import write_text

Shown = Evaluation | Comparison | Front  # answers that a page shows

_SHOWN = 20  # rows that a notebook shows


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class SavedResults(Printed):
    """Configurations that were computed before, from one file or several."""

    entries: tuple[SavedEntry, ...]
    designs: tuple[Facts, ...] = ()  # that `optimize` chose
    page: str = ""  # the report that was made of them, which a notebook shows

    def __len__(self) -> int:
        return len(self.entries)

    def to_dict(self) -> dict[str, object]:
        """Of each configuration what went in, and its answer or why there is none."""
        return {
            "rows": [
                {"inputs": dict(one.inputs), "status": one.status, "reason": one.reason}
                | dict(one.document)
                for one in self.entries
            ]
        }

    def _records(self) -> Sequence[FrameRecord]:
        return [self._record(entry) for entry in self.entries]

    def _record(self, entry: SavedEntry) -> dict[str, Cell]:
        outcome = {"status": entry.status, "reason": entry.reason or None}
        done = entry.status == DONE
        totals = answer_record(facts_of(entry.document, entry.where)) if done else {}
        return {**entry.inputs, **outcome, **totals, **entry.inputs}

    def write_report(self, path: str | Path, title: str = "") -> SavedResults:
        """The page of `flat-mapper report`, written; the same results, with its path.

        raises: SpecError where it cannot be written.
        """
        from flat_mapper.page.assembly import page

        write_text(path, page(self.entries, title, self.designs))
        return replace(self, page=str(path))

    def __str__(self) -> str:
        done = sum(entry.status == DONE for entry in self.entries)
        return f"{units.count(len(self))} configurations, {units.count(done)} with an answer"

    def _repr_html_(self) -> str:
        """The first rows, or the page where one was written, for a notebook."""
        if self.page:
            return answers_html.framed(self.page, str(self))
        rows = []
        for row in report_rows(self.entries[:_SHOWN]).rows:
            cost = ("-",) * 4 if row.facts is None else (
                shown(row.facts["latency_s"], "s"),
                shown(row.facts["energy_pj"], "pJ"),
                shown(row.facts["utilization"], "share"),
                busy_text(row.facts["busy"]) or "-",
            )  # fmt: skip
            rows.append((row.name, *cost, row.entry.reason))
        head = ("configuration", "latency", "energy", "utilization", "busy", "reason")
        return answers_html.html_table(head, rows, str(self))


def load_results(*results: str | Path | Shown | SavedResults) -> SavedResults:
    """The configurations of JSON files, of folders that -o made, of sweeps' databases; of answers.

    raises: SpecError where a file is none of those.
    """
    entries: list[SavedEntry] = []
    designs: list[Facts] = []
    for one in results:
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


def sweep(
    spec: Written,
    output: str | Path,
    *,
    workers: int = 1,
    progress: Watch | None = None,
    time_limit: float | None = None,
    gap: float | None = None,
) -> SavedResults:
    """Every point of a sweep; what `output` has already is not computed again.

    spec: a file, its YAML text, or what that says. time_limit, gap: as for `search`, of each point.
    """
    with Store(Path(output)) as store:
        inputs = Inputs(load_sweep(spec), time_limit=time_limit, gap=gap)
        run_sweep(inputs, store, lambda: local_workers(workers), progress or (lambda _: None))
    return load_results(output)


def report(
    results: str | Path | Shown | Sequence[str | Path | Shown],
    output: str | Path,
    title: str = "",
) -> SavedResults:
    """One page of answers, saved ones or values, to look at in a browser or below a cell."""
    found = (
        load_results(*results)
        if isinstance(results, Sequence) and not isinstance(results, str)
        else load_results(results)
    )
    return found.write_report(output, title)
