"""The best mapping over all alternatives of a mapspace and all groups of an alternative."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from flat_mapper.arch import Platform
from flat_mapper.arch_rules import with_arch_rules
from flat_mapper.energy_tables import Ert
from flat_mapper.errors import SpecError, expected
from flat_mapper.mapping import FusedMapping
from flat_mapper.mapspace import Mapspace, partitions
from flat_mapper.model.evaluate import evaluate
from flat_mapper.model.result import Infeasible, Result
from flat_mapper.model.widths import check_widths
from flat_mapper.online_softmax import alternatives
from flat_mapper.search.contest import Contest, Costs
from flat_mapper.search.group import GroupSearch
from flat_mapper.search.objective import OBJECTIVES, Goal, Objective, better_pair
from flat_mapper.search.outer import group_problem
from flat_mapper.search.picks import GroupSolution
from flat_mapper.search.realize import group_mapping
from flat_mapper.search.sequence import Sequence, total_of
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
        return total_of(self.groups) if self.groups else None

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
    check_widths(workload, platform)
    begin = time.perf_counter()
    mapspace = with_arch_rules(mapspace, platform, workload)
    if not any(partitions(workload, mapspace)):
        raise SpecError(
            expected(workload.name, "an Einsum that costs something", "a free softmax alone")
        )
    tally, best, goal = Tally(), _Best(), Goal(kind=objective)
    charged = mapspace.policy.softmax == "charged"
    tasks = []
    for cascade in alternatives(workload, charged=charged):
        known: dict[object, Table] = {}
        for groups in partitions(cascade, mapspace):
            problems = [group_problem(cascade, platform, ert, mapspace, g) for g in groups]
            tasks.append((cascade, [GroupSearch.of(p, known) for p in problems]))
    # The most promising first; of equals the first stays.
    tasks.sort(key=lambda task: _least(task[1], goal))
    for number, (cascade, searches) in enumerate(tasks):
        if progress:
            names = " | ".join("+".join(s.problem.group.names) for s in searches)
            progress(number / len(tasks), names)
        best.take(_alternative(searches, goal, best.total, tally), cascade)
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


def _least(searches: list[GroupSearch], goal: Goal) -> float:
    """The objective at least, of groups in sequence; the most promising alternative goes first."""
    if len(searches) > 1:
        least = [s.prepare() for s in searches]
        return _value(goal, sum(c for c, _ in least), sum(e for _, e in least))
    searches[0].prepare()
    return searches[0].least(goal)


def _value(goal: Goal, cycles: float, energy: float) -> float:
    return float(goal.first(np.array(cycles), np.array(energy)))


def _alternative(
    searches: list[GroupSearch],
    goal: Goal,
    best: Costs | None,
    tally: Tally,
) -> list[GroupSolution] | Infeasible | None:
    """The best of one partition into groups, if it beats the best so far."""
    solved: list[GroupSolution] | Infeasible | None
    least = [s.prepare() for s in searches]
    total = (sum(c for c, _ in least), sum(e for _, e in least))
    if best is not None and not better_pair(goal, total, best):
        for found in searches:
            tally.add(found)
        return None
    if len(searches) == 1:
        contest = Contest.of((goal,), (best,))
        searches[0].solve(contest)
        one = contest.solutions[0]
        solved = [one] if one else searches[0].refusal() if best is None else None
    else:
        sequence = Sequence(searches)
        solved = sequence.product(best) if goal.kind == "edp" else sequence.under(goal)
    for found in searches:
        tally.add(found)
    if (
        isinstance(solved, list)
        and best is not None
        and not better_pair(goal, total_of(solved), best)
    ):
        return None
    return solved
