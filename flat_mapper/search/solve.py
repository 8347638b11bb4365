"""The best mapping over all alternatives of a mapspace and all groups of an alternative."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod

from flat_mapper.arch import Platform
from flat_mapper.arch_rules import with_arch_rules
from flat_mapper.energy_tables import Ert
from flat_mapper.errors import SpecError, expected
from flat_mapper.mapping import FusedMapping
from flat_mapper.mapspace import Mapspace, partitions
from flat_mapper.model.evaluate import evaluate
from flat_mapper.model.result import Infeasible, Result
from flat_mapper.online_softmax import alternatives
from flat_mapper.search.group import GroupSearch
from flat_mapper.search.objective import OBJECTIVES, Goal, Objective, better_pair
from flat_mapper.search.outer import group_problem
from flat_mapper.search.picks import GroupSolution
from flat_mapper.search.realize import group_mapping
from flat_mapper.search.solution import Certificate, Solution
from flat_mapper.search.table import Table
from flat_mapper.workload import Workload

Progress = Callable[[float, str], None]


@dataclass(slots=True)
class Tally:
    """Counts over all groups and alternatives, for the certificate."""

    size: int = 0
    evaluated: int = 0
    pruned: dict[str, int] = field(default_factory=dict)

    def add(self, found: GroupSearch) -> None:
        """Count one solved group."""
        c = found.counters
        self.size += found.space_size()
        self.evaluated += c.evaluated
        for rule, count in (
            ("outer: does not fit", c.outer_infeasible),
            ("outer: bound", c.outer_bounded),
            ("inner: bound", c.rows_bounded),
        ):
            self.pruned[rule] = self.pruned.get(rule, 0) + count


@dataclass(slots=True)
class _Best:
    """The best of the alternatives so far, and the least refusal."""

    groups: list[GroupSolution] = field(default_factory=list)
    cascade: Workload | None = None
    refused: Infeasible | None = None

    @property
    def total(self) -> tuple[float, float] | None:
        """Cycles and pJ."""
        return _total(self.groups) if self.groups else None

    def take(self, found: list[GroupSolution] | Infeasible | None, cascade: Workload) -> None:
        """Note what an alternative came to: something better, nothing better, or a refusal."""
        if isinstance(found, Infeasible):
            if self.refused is None or found.needs < self.refused.needs:
                self.refused = found
        elif found:
            self.groups, self.cascade = found, cascade


def search(
    workload: Workload,
    platform: Platform,
    mapspace: Mapspace,
    ert: Ert,
    *,
    objective: Objective = "edp",
    progress: Progress | None = None,
) -> Solution | Infeasible:
    """The mapping of least objective in a mapspace, or why there is none.

    Where the workload leaves the form of its softmax open (`any`), it is the best of all forms. The
    constraints that the platform's own nodes carry hold as the mapspace's do.

    objective: latency, energy or edp; ties are broken by the other two.
    progress:  called with the share done and what is being searched.
    """
    if objective not in OBJECTIVES:
        raise SpecError(expected("objective", f"one of {', '.join(OBJECTIVES)}", objective))
    begin = time.perf_counter()
    mapspace = with_arch_rules(mapspace, platform, workload)
    if not any(partitions(workload, mapspace)):
        raise SpecError(
            expected(workload.name, "an Einsum that costs something", "a free softmax alone")
        )
    tally, best = Tally(), _Best()
    charged = mapspace.policy.softmax == "charged"
    tasks = [
        (cascade, known, groups)
        for cascade in alternatives(workload, charged=charged)
        for known in [dict[object, Table]()]
        for groups in partitions(cascade, mapspace)
    ]
    for number, (cascade, known, groups) in enumerate(tasks):
        if progress:
            progress(number / len(tasks), " | ".join("+".join(g.names) for g in groups))
        searches = [
            GroupSearch.of(group_problem(cascade, platform, ert, mapspace, g), known)
            for g in groups
        ]
        best.take(_alternative(searches, objective, best.total, tally), cascade)
    if not best.groups:
        assert best.refused is not None
        return best.refused
    workload = best.cascade or workload
    mapping = FusedMapping(
        groups=tuple(group_mapping(s, dict(workload.rank_sizes)) for s in best.groups),
        policy=mapspace.policy,
    )
    result = evaluate(workload, platform, mapping, ert)
    assert isinstance(result, Result), f"the search chose a mapping that does not fit: {result}"
    bound = result.bound
    edp = bound.energy_pj * 1e-12 * bound.cycles * result.cycle_seconds
    bounds = {"latency": bound.cycles * result.cycle_seconds, "energy": bound.energy_pj, "edp": edp}
    return Solution(
        workload=workload,
        result=result,
        mapspace=mapspace.name,
        objective=objective,
        certificate=Certificate(
            mapspace_size=tally.size,
            evaluated=tally.evaluated,
            pruned=tally.pruned,
            optimal=True,
            lower_bound=bounds[objective],
            seconds=time.perf_counter() - begin,
        ),
    )


def _alternative(
    searches: list[GroupSearch],
    objective: Objective,
    best: tuple[float, float] | None,
    tally: Tally,
) -> list[GroupSolution] | Infeasible | None:
    """The best of one partition into groups, if it beats the best so far."""
    solved: list[GroupSolution] | Infeasible | None
    least = [s.prepare() for s in searches]
    total = (sum(c for c, _ in least), sum(e for _, e in least))
    goal = Goal(kind=objective)
    if best is not None and not better_pair(goal, total, best):
        for found in searches:
            tally.add(found)
        return None
    if len(searches) == 1:
        one = searches[0].solve(goal, best)
        solved = [one] if one else None if searches[0].feasible else searches[0].refusal()
    elif objective == "edp":
        solved = _least_product(searches)
    else:
        solved = _together(searches, goal, [[] for _ in searches])
    for found in searches:
        tally.add(found)
    if (
        isinstance(solved, list)
        and best is not None
        and not better_pair(goal, _total(solved), best)
    ):
        return None
    return solved


def _least_product(searches: list[GroupSearch]) -> list[GroupSolution] | Infeasible:
    """Groups in sequence with the least product of summed cycles and summed energy.

    A product of two sums is quasi-concave, so its minimum over all combinations is at a corner of
    their convex hull; and a corner of a sum of sets is the sum of their corners under one weight
    of cycles against energy. At the minimum (C, E) that weight is E / C. Bounds of C and E from
    below and one known product enclose it; between the two ends weights are tried until no new
    corner can win.
    """
    pools: list[list[GroupSolution]] = [[] for _ in searches]
    least = [sum(values) for values in zip(*(s.bounds.least() for s in searches), strict=True)]

    def under(weight: float) -> list[GroupSolution] | Infeasible:
        return _together(searches, Goal(kind="weighted", weight=weight), pools)

    first = under(least[1] / least[0])
    if isinstance(first, Infeasible):
        return first
    known = prod(_total(first))
    fast, lean = under(known / least[0] ** 2), under(least[1] ** 2 / known)
    assert not isinstance(fast, Infeasible)
    assert not isinstance(lean, Infeasible)
    corners, todo = [first, fast, lean], [(fast, lean)]
    while todo:
        left, right = todo.pop()
        (c0, e0), (c1, e1) = _total(left), _total(right)
        # No point between two corners beats the corner of the box below them.
        best = min(prod(_total(c)) for c in corners)
        if c1 <= c0 or e1 >= e0 or c0 * e1 >= best:
            continue
        weight = (e0 - e1) / (c1 - c0)
        middle = under(weight)
        assert not isinstance(middle, Infeasible)
        c, e = _total(middle)
        if weight * c + e < (weight * c0 + e0) * (1 - 1e-12):
            corners.append(middle)
            todo += [(left, middle), (middle, right)]
    winner = corners[0]
    for corner in corners[1:]:
        if better_pair(Goal(kind="edp"), _total(corner), _total(winner)):
            winner = corner
    return winner


def _together(
    searches: list[GroupSearch], goal: Goal, pools: list[list[GroupSolution]]
) -> list[GroupSolution] | Infeasible:
    """The best of every group on its own. `pools` holds each group's solutions so far."""
    chosen = []
    for one, pool in zip(searches, pools, strict=True):
        known: GroupSolution | None = None
        for other in pool:
            if known is None or better_pair(goal, _total([other]), _total([known])):
                known = other
        solved = one.solve(goal, _total([known]) if known else None)
        if solved is not None:
            pool.append(solved)
            known = solved
        if known is None:
            return one.refusal()
        chosen.append(known)
    return chosen


def _total(found: list[GroupSolution]) -> tuple[float, float]:
    """Cycles and pJ of groups in sequence."""
    return sum(s.cycles for s in found), sum(s.energy for s in found)
