"""The best mapping of a measured row's attention, priced as its kernel is."""

from __future__ import annotations

from dataclasses import replace

from flat_mapper.base.budget import Budget
from flat_mapper.cost_model.chip.evaluation import evaluate
from flat_mapper.cost_model.result import Result
from flat_mapper.energy.tables import unpriced
from flat_mapper.mapper.solve.optimum import search
from flat_mapper.mapper.solve.result import Solution
from flat_mapper.mapping.space_reader import load_mapspace
from flat_mapper.published.silicon.rows import MeasuredRow

SPACE, SECONDS = "cores", 10.0  # chosen: the mapspace, and what a row's search may take


def best_seconds(row: MeasuredRow) -> float | None:
    """Seconds of the best mapping that a search finds in its time; None where it finds none.

    What runs beside the attention stays as it is, and the kernel's fitted costs count. It is no
    more than the time of the kernel's own mapping.
    """
    case = row.case
    if case.attention is None:
        return None
    prices = unpriced(case.platform)
    found = search(
        *(case.attention(), case.platform, load_mapspace(SPACE), prices),
        objective="latency",
        budget=Budget(seconds=SECONDS),
    )
    if not isinstance(found, Solution):
        return row.predicted_s
    mapping = found.result.mapping
    first, *others = mapping.groups
    kernel = case.kernel if first.on_cores else ""
    mapping = replace(mapping, groups=(replace(first, kernel=kernel), *others))
    priced = evaluate(found.workload, case.platform, mapping, prices)
    if not isinstance(priced, Result):
        return row.predicted_s
    copies = [g.cycles for g in row.result.groups if set(g.names) <= {"K", "V"}]
    return min(row.predicted_s, priced.latency_s + sum(copies) * priced.cycle_seconds)
