"""Answers of the package: each has `to_dict()`, and prints itself as its tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, overload

from flat_mapper.arch.values import Architecture, Platform
from flat_mapper.cost_model.result import EinsumStats, Infeasible, Result
from flat_mapper.mapper.solve.result import Certificate
from flat_mapper.mapping.values import EinsumMapping, FusedMapping
from flat_mapper.reports import html as answers_html
from flat_mapper.reports import text as report
from flat_mapper.reports.frame import Library, answer_record, data_frame, einsum_records
from flat_mapper.reports.timeloop_mapper import beside_text
from flat_mapper.reports.tree import fused_tree_text, loop_nest_text
from flat_mapper.timeloop.mapper import Beside
from flat_mapper.workload.graph import Workload

if TYPE_CHECKING:
    import pandas
    import polars


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """A fused mapping with its cost."""

    workload: Workload
    platform: Platform
    result: Result

    @property
    def mapping(self) -> FusedMapping:
        """The loop nests of all Einsums."""
        return self.result.mapping

    def to_dict(self) -> dict[str, object]:
        """The names of `flat-mapper evaluate --json`."""
        return report.result_dict(self.workload, self.platform, self.result)

    @overload
    def to_frame(self, library: Literal["pandas"] = ...) -> pandas.DataFrame: ...
    @overload
    def to_frame(self, library: Literal["polars"]) -> polars.DataFrame: ...
    def to_frame(self, library: Library = "pandas") -> pandas.DataFrame | polars.DataFrame:
        """A row for each Einsum: what it costs by itself, once."""
        return data_frame(einsum_records(self.result.einsums, self.result.dram), library)

    def _repr_html_(self) -> str:
        """The tables of the terminal, for a notebook."""
        head, *parts = self._parts()
        return answers_html.text(head, *parts)

    def __str__(self) -> str:
        return "\n\n".join(self._parts())

    def _parts(self) -> tuple[str, ...]:
        """A heading, then the tables."""
        result = self.result
        return (
            f"{result.workload} on {result.arch}",
            report.summary_text(self.workload, self.platform, result),
            fused_tree_text(self.workload, self.platform, result.mapping).rstrip(),
            report.buffer_text(self.workload, self.platform, result),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """The best mapping of a mapspace, with its cost and the certificate of the search."""

    workload: Workload
    platform: Platform
    result: Result
    mapspace: str
    objective: str
    certificate: Certificate
    beside: Beside | None = None  # what timeloop-mapper finds, where it was asked

    @property
    def mapping(self) -> FusedMapping:
        """The loop nests of all Einsums."""
        return self.result.mapping

    @property
    def priced(self) -> Evaluation:
        """The mapping and its cost alone."""
        return Evaluation(workload=self.workload, platform=self.platform, result=self.result)

    def to_dict(self) -> dict[str, object]:
        """The names of `flat-mapper map --json`."""
        found: dict[str, object] = {"mapspace": self.mapspace, "objective": self.objective}
        found |= self.priced.to_dict() | {"search": self.certificate.to_dict()}
        return found | ({"timeloop_mapper": self.beside.to_dict()} if self.beside else {})

    @overload
    def to_frame(self, library: Literal["pandas"] = ...) -> pandas.DataFrame: ...
    @overload
    def to_frame(self, library: Literal["polars"]) -> polars.DataFrame: ...
    def to_frame(self, library: Library = "pandas") -> pandas.DataFrame | polars.DataFrame:
        """A row for each Einsum: what it costs by itself, once."""
        return data_frame(einsum_records(self.result.einsums, self.result.dram), library)

    def _repr_html_(self) -> str:
        """The tables of the terminal, for a notebook."""
        head, _, rest = str(self).partition("\n\n")
        return answers_html.text(head, rest)

    def __str__(self) -> str:
        reached = {
            "latency": self.result.latency_s,
            "energy": self.result.energy_pj,
            "edp": self.result.edp_js,
        }.get(self.objective, self.result.edp_js)
        found = report.certificate_text(self.certificate, self.objective, reached)
        beside = f"\n\n{beside_text(self.beside)}" if self.beside else ""
        return f"{self.mapspace}: {self.priced}\n\n{found}{beside}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The best mappings of several mapspaces; the first one is what the others are held against."""

    workload: Workload
    platform: Platform
    objective: str
    rows: Mapping[str, SearchResult | Infeasible]  # by mapspace

    @property
    def feasible(self) -> dict[str, SearchResult]:
        """The mapspaces that have a mapping."""
        return {name: row for name, row in self.rows.items() if isinstance(row, SearchResult)}

    @property
    def first(self) -> Result | None:
        """The first row's result, where it has one."""
        row = next(iter(self.rows.values()), None)
        return row.result if isinstance(row, SearchResult) else None

    def to_dict(self) -> dict[str, object]:
        """The names of `flat-mapper compare --json`."""
        return {
            "workload": self.workload.name,
            "arch": self.platform.name,
            "objective": self.objective,
            "left_out": list(self.workload.left_out),
            "rows": [self._row_dict(name, row) for name, row in self.rows.items()],
        }

    def _row_dict(self, name: str, row: SearchResult | Infeasible) -> dict[str, object]:
        if isinstance(row, Infeasible):
            return {"mapspace": name, **row.to_dict()}
        gains = {
            "speedup": report.speedup(self.first, row.result),
            "energy_saving": report.energy_saving(self.first, row.result),
        }
        return row.to_dict() | gains

    @overload
    def to_frame(self, library: Literal["pandas"] = ...) -> pandas.DataFrame: ...
    @overload
    def to_frame(self, library: Literal["polars"]) -> polars.DataFrame: ...
    def to_frame(self, library: Library = "pandas") -> pandas.DataFrame | polars.DataFrame:
        """A row for each mapspace: its totals, or why it has none."""
        records = [answer_record(self._row_dict(name, row)) for name, row in self.rows.items()]
        return data_frame(records, library)

    def _repr_html_(self) -> str:
        """The table of the terminal, for a notebook."""
        return answers_html.html_table(report.COMPARISON_COLUMNS, self._table(), self._title())

    def __str__(self) -> str:
        refused = [
            f"{name}: {row}" for name, row in self.rows.items() if isinstance(row, Infeasible)
        ]
        results = {name: row.result for name, row in self.feasible.items()}
        sources = dict.fromkeys(r.energy_source for r in results.values())
        lines = [
            self._title(),
            report.grid(self._table(), head=report.COMPARISON_COLUMNS, right=range(1, 9)),
            report.policy_text(results),
            *refused,
            *(f"energies from {source}" for source in sources),
            *dict.fromkeys(n for r in results.values() for n in r.notes),
            report.left_out_text(self.workload),
        ]
        return "\n".join(line for line in lines if line)

    def _title(self) -> str:
        sizes = " ".join(f"{rank}={size}" for rank, size in self.workload.rank_sizes.items())
        return f"{self.workload.name} on {self.platform.name}, {sizes}, least {self.objective}"

    def _table(self) -> list[report.TextRow]:
        """A row of words for each mapspace."""
        return [
            report.comparison_row(
                name, self.first, row if isinstance(row, Infeasible) else row.result
            )
            for name, row in self.rows.items()
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelResult:
    """One Einsum under one Timeloop mapping: what timeloop-model says of it."""

    workload: Workload
    arch: Architecture
    mapping: EinsumMapping
    stats: EinsumStats
    energy_source: str
    provenance: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, object]:
        """The names of `flat-mapper model --json`."""
        named = {"problem": self.workload.name, "arch": self.arch.name}
        return named | {"energy_source": self.energy_source} | self.stats.to_dict()

    def __str__(self) -> str:
        nest = loop_nest_text(self.workload, self.arch, self.mapping)
        head = f"{self.workload.name} on {self.arch.name}, energies from {self.energy_source}"
        return f"{head}\n{report.model_text(self.stats)}\n\n{nest}".rstrip()
