"""The best mapping of a measured row's attention, priced as its kernel is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import median

import flat_mapper as fm
from flat_mapper.values import MappingRecord, Result
from studies.common import evaluated, free
from studies.silicon.rows import MeasuredRow

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
    question = (case.attention(), case.platform, SPACE, free(case.platform))
    found = fm.search(*question, objective="latency", time_limit=SECONDS)
    if isinstance(found, fm.Infeasible):
        return Headroom(seconds=row.predicted_s)
    proof = found.certificate
    mapping = found.mapping
    first, *others = mapping.groups
    kernel = case.kernel if first.on_cores else ""
    mapping = replace(mapping, groups=(replace(first, kernel=kernel), *others))
    record = MappingRecord(workload=found.workload, platform=case.platform, mapping=mapping)
    priced = evaluated(record)
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
