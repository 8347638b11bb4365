"""The front of latency and energy: all mappings that no other one dominates."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import ClassVar

from flat_mapper.api import calls as api
from flat_mapper.api import questions
from flat_mapper.api.layers import search_results
from flat_mapper.api.options import answers
from flat_mapper.arch.values import Platform
from flat_mapper.arch.words import fitted
from flat_mapper.base.table import Cell, Printed, TextRow, grid
from flat_mapper.base.units import percent
from flat_mapper.cost_model.result import Infeasible
from flat_mapper.mapper.group.incumbent import FRONT
from flat_mapper.mapper.solve.driver import frontier
from flat_mapper.reports import html as answers_html
from flat_mapper.reports import text as report
from flat_mapper.reports.answers import SearchResult
from flat_mapper.reports.fields import answer_record, gains, sizes_text
from flat_mapper.reports.files import files_of_record, result_file, saved_document
from flat_mapper.reports.folder import RESULT
from flat_mapper.workload.graph import Workload


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Front(Printed):
    """Mappings with less energy the more time they take, the fastest first."""

    kind: ClassVar = "front"  # of answers as JSON
    workload: Workload
    platform: Platform
    mapspace: str
    points: tuple[SearchResult, ...]

    def to_dict(self) -> dict[str, object]:
        """The names of `flat-mapper map --objective latency,energy --json`."""
        return {
            "workload": self.workload.name,
            "arch": self.platform.name,
            "mapspace": self.mapspace,
            "objective": FRONT,
            "left_out": list(self.workload.left_out),
            "other_layers": [kind.to_dict() for kind in self.workload.other_layers],
            "rows": [point.to_dict() for point in self.points],
        }

    def _records(self) -> list[dict[str, Cell]]:
        return [answer_record(point.to_dict()) for point in self.points]

    def files(self) -> dict[str, bytes]:
        """The table as JSON, and a folder for each point, numbered from the fastest."""
        found: dict[str, bytes] = {}
        for number, point in enumerate(self.points, 1):
            inside = files_of_record(point)
            inside[RESULT] = result_file(point.kind, saved_document(point), inside)
            found |= {f"{number}/{path}": data for path, data in inside.items()}
        return found | {RESULT: result_file(self.kind, self.to_dict(), found)}

    def _title(self) -> str:
        sizes = sizes_text(self.workload.rank_sizes)
        where = f"{self.workload.name} on {self.platform.name}, {sizes}"
        return f"{where}: {len(self.points)} mappings on the front of latency and energy"

    def _table(self) -> tuple[tuple[str, ...], list[TextRow]]:
        found = [point.to_dict() for point in self.points]
        rows = [
            report.comparison_row(str(number), one | gains(found[0], one))
            for number, one in enumerate(found, 1)
        ]
        return ("point", *report.COMPARISON_COLUMNS[1:]), rows

    def _repr_html_(self) -> str:
        """The table of the terminal, for a notebook."""
        head, rows = self._table()
        return answers_html.html_table(head, rows, self._title())

    def __str__(self) -> str:
        head, rows = self._table()
        best = self.points[0]
        searched, *_ = report.certificate_text(best.certificate, FRONT, 0.0).splitlines()
        ended = report.end_text(best.certificate)
        lines = [f"{self._title()}, {ended}", grid(rows, head=head, right=range(1, 9)), ""]
        said = [*best.result.notes, report.left_out_text(self.workload)]
        proof = best.certificate
        whole = f"the whole front{searched.removeprefix('the best')}"
        if not proof.optimal:
            whole = (
                f"mappings near the front{searched.removeprefix(f'the best found, {proof.end},')}"
            )
            far = f"none is better than all of them in both by over {percent(proof.gap)}"
            whole += f"\ngap: {far if proof.gap < inf else 'unknown'}; {proof.end}"
        return "\n".join([*lines, whole, *filter(None, said)])


@answers(questions.AskFront)
def front(asked: questions.AskFront) -> Front | Infeasible:
    """The fastest first. Where the search ends early, the front has a gap."""
    with api.logged(asked) as budget:
        cascade = api.workload_of(asked)
        own = api.one_chip(asked.arch, asked.data, api.OF_LINKS, api.edits_of(asked))
        fit = fitted(own, cascade)
        chip, cascade = fit.platform, fit.workload
        space = api.mapspace_of(asked.mapspace, cascade, chip, asked.schedule)
        table, art = api.energies(chip, asked.ert)
        found = frontier(cascade, chip, space, table, progress=asked.progress, budget=budget)
    if isinstance(found, Infeasible):
        return found
    points = search_results(found, cascade, space, chip, (table, art), fit.notes)
    return Front(workload=cascade, platform=chip, mapspace=space.name, points=tuple(points))
