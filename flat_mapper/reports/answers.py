"""Answers of the package: each has `to_dict()`, and prints itself as its tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from math import prod
from typing import ClassVar

from flat_mapper.arch.values import Architecture, Platform
from flat_mapper.base.table import FrameRecord, Printed, grid
from flat_mapper.cost_model.result import EinsumStats, Infeasible, Result
from flat_mapper.mapper.solve.certificate import Certificate
from flat_mapper.mapping.values import EinsumMapping, FusedMapping
from flat_mapper.reports import text as report
from flat_mapper.reports.document import result_document
from flat_mapper.reports.fields import (
    Document,
    answer_record,
    einsum_records,
    gains,
    shown,
    sizes_text,
)
from flat_mapper.reports.html import html_table
from flat_mapper.reports.layers import (
    edp_gap,
    kinds_text,
    kinds_title,
    layer_kind,
    notes_of_sum,
    sequences_of,
    sequences_text,
    with_others,
)
from flat_mapper.reports.plots import pictures
from flat_mapper.reports.text import buffer_text, groups_text, summary_text
from flat_mapper.reports.tree import fused_tree_text, loop_nest_text
from flat_mapper.workload.graph import Workload


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Evaluation(Printed):
    """A fused mapping with its cost."""

    kind: ClassVar = "evaluate"  # of answers as JSON
    workload: Workload
    platform: Platform
    result: Result

    @property
    def mapping(self) -> FusedMapping:
        """The loop nests of all Einsums."""
        return self.result.mapping

    def _records(self) -> Sequence[FrameRecord]:
        """A row for each Einsum: what it costs by itself, once."""
        return einsum_records(self.to_dict())

    def to_dict(self) -> Document:
        """The names of `flat-mapper evaluate --json`."""
        return result_document(self.workload, self.platform, self.result)

    def __repr__(self) -> str:
        """An answer in a line; `print` has its tables."""
        result = self.result
        cost = f"{shown(result.latency_s, 's')}, {shown(result.energy_pj, 'pJ')}"
        return f"<{self._called()}: {self._title()}, {cost}; print() for all>"

    def _called(self) -> str:
        return type(self).__name__

    def _title(self) -> str:
        return f"{self.result.workload} on {self.result.arch}"

    def __str__(self) -> str:
        return f"{self._title()}\n\n{self._tables(self.to_dict())}"

    def _tables(self, found: Document) -> str:
        tree = fused_tree_text(self.workload, self.platform, self.mapping).rstrip()
        parts = summary_text(found, self.workload), groups_text(found), tree, buffer_text(found)
        return "\n\n".join(filter(None, parts))


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class SearchResult(Evaluation):
    """The best mapping of a mapspace, with its cost and the certificate of the search."""

    kind: ClassVar = "map"  # of answers as JSON
    mapspace: str
    objective: str
    certificate: Certificate
    layers: tuple[SearchResult, ...] = ()  # one for each kind, where layers have several masks

    @property
    def priced(self) -> Evaluation:
        """The mapping and its cost alone."""
        return Evaluation(workload=self.workload, platform=self.platform, result=self.result)

    def each(self, change: Callable[[SearchResult], SearchResult]) -> SearchResult:
        """The same with a change to the answer of each kind of layers."""
        if not self.layers:
            return change(self)
        return joined(self.workload, [change(part) for part in self.layers])

    def to_dict(self) -> Document:
        """The names of `flat-mapper map --json`.

        Of layers of several kinds the totals are those of all, loops and counts of the first kind;
        `layers` has each kind's own answer.
        """
        found: Document = {"mapspace": self.mapspace, "objective": self.objective}
        found |= self.priced.to_dict() | {"search": self.certificate.to_dict()}
        if self.layers:
            ragged = bool(self.workload.sequences)
            works = [part.workload for part in self.layers]
            kinds = [layer_kind(w).to_dict() | (sequences_of(w) if ragged else {}) for w in works]
            answers = [part.to_dict() for part in self.layers]
            found["layers"] = [k | a for k, a in zip(kinds, answers, strict=True)]
        return found

    def _called(self) -> str:
        return f"SearchResult in {self.mapspace}"

    def __str__(self) -> str:
        proof = self.certificate, self.objective, _reached(self.result, self.objective)
        several = kinds_title(self.workload, len(self.layers)) if self.layers else ""
        title = ", ".join(filter(None, (self._title(), several)))
        first = f"{self.mapspace}: {title}, {report.value_text(*proof, self.result.extra)}"
        return f"{first}\n\n{self._tables(self.to_dict())}\n\n{report.certificate_text(*proof)}"

    def _tables(self, found: Document) -> str:
        """Of several kinds of layers the totals, a row for each kind, then the loops of each."""
        if not self.layers:
            return Evaluation._tables(self, found)
        workload, kinds = self.workload, [part.workload for part in self.layers]
        parts = [summary_text(found, workload), kinds_text(workload, kinds, found)]
        for part, document in zip(self.layers, found["layers"], strict=True):
            tree = fused_tree_text(part.workload, self.platform, part.mapping).rstrip()
            head = f"{sequences_text(part.workload)}, " if workload.sequences else ""
            mask = report.mask_text(document, part.workload)
            lines = f"{head}{layer_kind(part.workload)}", tree, mask, buffer_text(document)
            parts.append("\n".join(filter(None, lines)))
        return "\n\n".join(parts)


def _reached(result: Result, objective: str) -> float:
    """Value of a result under an objective: s, pJ or J s."""
    return {"latency": result.latency_s, "energy": result.energy_pj}.get(objective, result.edp_js)


def joined(workload: Workload, parts: Sequence[SearchResult]) -> SearchResult:
    """The answer for a model whose layers are of several kinds, of the answers for each of them.

    Of energy-delay products it says how good the sum is.
    """
    first, *others = parts
    if not others:
        return first
    results, objective = [part.result for part in parts], first.objective
    above = edp_gap(results) if objective == "edp" else 0.0
    result = with_others(first.result, results[1:])
    result = replace(result, notes=(*result.notes, *notes_of_sum(workload, above)))
    cycles, pj, cycle_s = result.bound.cycles, result.bound.energy_pj, result.cycle_seconds
    floors = {"latency": cycles * cycle_s, "energy": pj, "edp": pj * 1e-12 * cycles * cycle_s}
    proofs, reached = [part.certificate for part in parts], _reached(result, objective)
    proof = _together(proofs, objective, reached, floors[objective])
    return replace(
        first,
        workload=replace(first.workload, layers=workload.layers, sequences=workload.sequences),
        result=result,
        certificate=replace(proof, optimal=proof.optimal and not above),
        layers=tuple(parts),
    )


def _together(
    certificates: Sequence[Certificate], objective: str, reached: float, floor: float
) -> Certificate:
    """The proof of the sum of some answers, of the proof of each; floor: its lower bound."""
    each = {f.name: [getattr(c, f.name) for c in certificates] for f in fields(Certificate)}
    # A product of two sums is no less than the square of the sum of the parts' roots (Cauchy).
    power = 2 if objective == "edp" else 1
    proven, whatever = (
        sum(bound ** (1 / power) for bound in each[name]) ** power
        for name in ("proven_bound", "any_tiles_bound")
    )
    gap = max(0.0, reached / proven - 1)
    asked = max(each["asked_gap"])
    # What the parts ended at, unless that is a gap that their sum does not keep.
    ends = (end for end in each["stopped"] if end != "gap" or gap <= asked)
    pruned: Counter[str] = Counter()
    for counts in each["pruned"]:
        pruned.update(counts)
    return Certificate(
        mapspace_size=prod(each["mapspace_size"]),
        evaluated=sum(each["evaluated"]),
        pruned=dict(pruned),
        optimal=all(each["optimal"]),
        lower_bound=floor,
        proven_bound=proven,
        gap=gap,
        stopped=next(filter(None, ends), ""),
        seconds=sum(each["seconds"]),
        asked_gap=asked,
        time_limit_s=min(each["time_limit_s"]),
        infeasible=dict(item for reasons in each["infeasible"] for item in reasons.items()),
        any_tiles_bound=whatever,
    )


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Comparison(Printed):
    """The best mappings of several mapspaces; the first one is what the others are held against."""

    kind: ClassVar = "compare"  # of answers as JSON
    workload: Workload
    platform: Platform
    objective: str
    rows: Mapping[str, SearchResult | Infeasible]  # by mapspace

    @property
    def feasible(self) -> dict[str, SearchResult]:
        """The mapspaces that have a mapping."""
        return {name: row for name, row in self.rows.items() if isinstance(row, SearchResult)}

    @property
    def refused(self) -> dict[str, Infeasible]:
        """Those that have none, with the reason."""
        return {name: row for name, row in self.rows.items() if isinstance(row, Infeasible)}

    @property
    def refusal(self) -> str:
        """The reason why no mapspace has a mapping, of the nearest one; empty if one has."""
        refused = self.refused
        if self.feasible or not refused:
            return ""
        name = min(refused, key=lambda n: refused[n].needs / max(refused[n].has, 1))
        others = f"nothing fits in any of {len(refused)} mapspaces; nearest is {name}: "
        return f"{others if len(refused) > 1 else ''}{refused[name]}"

    def __bool__(self) -> bool:
        return bool(self.feasible)

    def to_dict(self) -> dict[str, object]:
        """The names of `flat-mapper compare --json`."""
        return {
            "workload": self.workload.name,
            "arch": self.platform.name,
            "objective": self.objective,
            "left_out": list(self.workload.left_out),
            "other_layers": [kind.to_dict() for kind in self.workload.other_layers],
            "rows": list(self._documents().values()),
        }

    def _documents(self) -> dict[str, Document]:
        """The row of each mapspace; without a first one that fits, nothing is gained over it."""
        found: dict[str, Document] = {
            n: {"mapspace": n} | r.to_dict() for n, r in self.rows.items()
        }
        first = next(iter(found.values()), {"infeasible": ""})
        base = None if "infeasible" in first else first
        for row in found.values():
            row |= {} if "infeasible" in row else gains(base, row)
        return found

    def _records(self) -> Sequence[FrameRecord]:
        return [answer_record(row) for row in self._documents().values()]

    def _repr_html_(self) -> str:
        """The table of the terminal and the figures of `-o`, for a notebook."""
        found = self._documents()
        rows = [report.comparison_row(name, row) for name, row in found.items()]
        table = html_table(report.COMPARISON_COLUMNS, rows, self._title())
        return table + pictures({name: found[name] for name in self.feasible})

    def __repr__(self) -> str:
        return f"<Comparison of {', '.join(self.rows)}: {self._title()}; print() for all>"

    def __str__(self) -> str:
        every = self._documents()
        found = {name: every[name] for name in self.feasible}
        rows = [report.comparison_row(name, row) for name, row in every.items()]
        proofs = {name: row.certificate for name, row in self.feasible.items()}
        lines = [
            f"{self._title()}{self._best()}",
            grid(rows, head=report.COMPARISON_COLUMNS, right=range(1, 9)),
            report.policy_text(found),
            *(f"{name}: {why}" for name, why in self.refused.items()),
            *(
                f"{n}: not proven, {report.gap_text(c, self.objective)}"
                for n, c in proofs.items()
                if not c.optimal
            ),
            *dict.fromkeys(f"energies from {row['energy_source']}" for row in found.values()),
            *dict.fromkeys(note for row in found.values() for note in row["notes"]),
            report.left_out_text(self.workload),
        ]
        return "\n".join(line for line in lines if line)

    def _title(self) -> str:
        sizes = sizes_text(self.workload.rank_sizes)
        return f"{self.workload.name} on {self.platform.name}, {sizes}, least {self.objective}"

    def _best(self) -> str:
        """The best row's value, gap, and what ended its search."""
        if not self.feasible:
            return ""
        reached = {n: _reached(row.result, self.objective) for n, row in self.feasible.items()}
        name = min(reached, key=lambda n: reached[n])
        proof, extra = self.feasible[name].certificate, self.feasible[name].result.extra
        return f": {name}, {report.value_text(proof, self.objective, reached[name], extra)}"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class ModelResult(Printed):
    """One Einsum under one Timeloop mapping: what timeloop-model says of it."""

    kind: ClassVar = "model"  # of answers as JSON
    rows_at: ClassVar = ("levels", "tensors")
    workload: Workload
    arch: Architecture
    mapping: EinsumMapping
    stats: EinsumStats
    energy_source: str
    provenance: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, object]:
        """The names of `flat-mapper evaluate FILE ... --json`."""
        named = {"problem": self.workload.name, "arch": self.arch.name}
        return named | {"energy_source": self.energy_source} | self.stats.to_dict()

    def __str__(self) -> str:
        nest = loop_nest_text(self.workload, self.arch, self.mapping)
        head = f"{self.workload.name} on {self.arch.name}, energies from {self.energy_source}"
        return f"{head}\n{report.model_text(self.stats)}\n\n{nest}".rstrip()
