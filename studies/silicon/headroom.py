"""The best mapping of a measured row's attention, priced as its kernel is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from statistics import median

from flat_mapper.base.budget import Budget
from flat_mapper.base.classes import dataclass
from flat_mapper.cost_model.chip.evaluation import evaluate
from flat_mapper.cost_model.result import Result
from flat_mapper.energy.tables import unpriced
from flat_mapper.mapper.solve.optimum import search
from flat_mapper.mapper.solve.result import Solution
from flat_mapper.mapping.space_reader import load_mapspace
from flat_mapper.published.silicon.rows import MeasuredRow

SPACE, SECONDS = "cores", 2.0  # chosen: the mapspace, and after which no tile is searched


@dataclass(frozen=True, slots=True, kw_only=True)
class Headroom:
    """The best mapping that a search found of a row's attention.

    seconds: no more than of the kernel's own mapping, which is known; with what runs beside the
             attention as it is, and the kernel's fitted costs. None where there is no attention.
    gap:     of what the search found over what no mapping beats, less one, both without these costs
             of the kernel. stopped: what ended the search before that was proven; empty if nothing.
    """

    seconds: float | None
    gap: float | None = None
    stopped: str = ""

    def to_dict(self) -> dict[str, object]:
        """The columns of a row."""
        return {"best_s": self.seconds, "best_gap": self.gap, "best_stopped": self.stopped}


def best_of_row(row: MeasuredRow) -> Headroom:
    """The best mapping that a search finds in its time.

    A search ends between two tiles: with one it has not begun after `SECONDS`.
    """
    case = row.case
    if case.attention is None:
        return Headroom(seconds=None)
    prices = unpriced(case.platform)
    found = search(
        *(case.attention(), case.platform, load_mapspace(SPACE), prices),
        objective="latency",
        budget=Budget(seconds=SECONDS),
    )
    if not isinstance(found, Solution):
        return Headroom(seconds=row.predicted_s)
    proof = found.certificate
    mapping = found.result.mapping
    first, *others = mapping.groups
    kernel = case.kernel if first.on_cores else ""
    mapping = replace(mapping, groups=(replace(first, kernel=kernel), *others))
    priced = evaluate(found.workload, case.platform, mapping, prices)
    seconds = row.predicted_s
    if isinstance(priced, Result):
        copies = [g.cycles for g in row.result.groups if set(g.names) <= {"K", "V"}]
        seconds = min(seconds, priced.latency_s + sum(copies) * priced.cycle_seconds)
    return Headroom(seconds=seconds, gap=proof.gap, stopped=proof.stopped)


def headroom_lines(
    rows: Sequence[MeasuredRow], found: Sequence[Headroom]
) -> Iterator[dict[str, object]]:
    """By kernel: the best time over the kernel's own in the median, and searches that were cut."""
    for kernel in dict.fromkeys(row.case.kernel for row in rows):
        own = [(r, h) for r, h in zip(rows, found, strict=True) if r.case.kernel == kernel]
        ratios = [h.seconds / r.predicted_s for r, h in own if h.seconds is not None]
        if ratios:
            yield {
                "kernel": kernel,
                "rows": len(ratios),
                "best_over_kernel": median(ratios),
                "least": min(ratios),
                "stopped": sum(bool(h.stopped) for _, h in own),
            }
