"""The Pareto front of latency and energy: every mapping that no other one dominates."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf

import numpy as np

from flat_mapper.arch.values import Platform
from flat_mapper.base.budget import Budget, Progress
from flat_mapper.base.tolerance import EQUAL
from flat_mapper.cost_model.result import Infeasible
from flat_mapper.energy.tables import Ert
from flat_mapper.mapper.group.group import GroupSearch
from flat_mapper.mapper.group.incumbent import FRONT, Costs, FrontIncumbent, Goal, best_index
from flat_mapper.mapper.group.picks import GroupSolution, total_of
from flat_mapper.mapper.solve.alternatives import Tally, Task, least_refused, reconstructed, tasks
from flat_mapper.mapper.solve.certificate import Solution, certified
from flat_mapper.mapper.solve.symmetry import renamed, symmetric_groups
from flat_mapper.mapping.arch_rules import with_arch_rules
from flat_mapper.mapping.space import Mapspace
from flat_mapper.workload.graph import Workload


@dataclass(frozen=True, slots=True)
class _Point:
    """Solutions of groups in sequence, with what they come to."""

    groups: tuple[GroupSolution, ...]
    cascade: Workload

    @property
    def costs(self) -> Costs:
        """Cycles and dynamic pJ."""
        return total_of(self.groups)


def frontier(
    workload: Workload,
    platform: Platform,
    mapspace: Mapspace,
    ert: Ert,
    *,
    progress: Progress | None = None,
) -> tuple[Solution, ...] | Infeasible:
    """All mappings on the front of latency and energy, the fastest first, or why there is none.

    Of mappings that cost the same one is given. Every solution has the same certificate but for its
    bound, which is that of its energy-delay product.
    """
    begin = time.perf_counter()
    mapspace = with_arch_rules(mapspace, platform, workload)
    budget = Budget()  # Ctrl-C ends all of it
    everything = tasks(workload, platform, mapspace, ert, budget)
    goal = Goal(kind="edp", leak=sum(ert.leak_per_cycle(platform).values()))
    tally, points = Tally(), list[_Point]()
    infeasible: Infeasible | None = None
    for number, task in enumerate(everything):
        if progress:
            progress(number / len(everything), task.name)
        found = front_in_sequence(task.searches, [p.costs for p in points], goal)
        tally.add(task)
        if isinstance(found, Infeasible):
            infeasible = least_refused(infeasible, found)
        else:
            points = points + [_Point(groups, task.cascade) for groups in found]
            points = [points[i] for i in _kept([p.costs for p in points], goal)]
    if not points:
        assert infeasible is not None
        return infeasible
    seconds = time.perf_counter() - begin
    exact = all(s.proven(goal) == inf for task in everything for s in _opened(task))
    solutions = []
    for point in points:
        result = reconstructed(point.groups, point.cascade, platform, mapspace, ert)
        one = certified(
            (workload, platform, mapspace, ert),
            point.cascade,
            result,
            "edp",
            proven=inf if exact else 0.0,
            mapspace_size=tally.size,
            evaluated=tally.evaluated,
            pruned=tally.pruned,
            stopped=budget.stopped,
            seconds=seconds,
        )
        solutions.append(replace(one, objective=FRONT))
    return tuple(solutions)


def _opened(task: Task) -> list[GroupSearch]:
    """The searches of an alternative that were asked: of symmetric groups the first."""
    same = symmetric_groups([s.problem for s in task.searches])
    return [task.searches[i] for i in dict.fromkeys(same)]


def front_in_sequence(
    searches: list[GroupSearch], known: list[Costs], goal: Goal
) -> list[tuple[GroupSolution, ...]] | Infeasible:
    """The front of groups in sequence. A front of sums consists of sums of fronts.

    known: points of other alternatives; they prune a group that stands alone.
    """
    same = symmetric_groups([s.problem for s in searches])
    fronts: dict[int, list[GroupSolution]] = {}
    sums: list[tuple[GroupSolution, ...]] = [()]
    for i, first in enumerate(same):
        searches[i].prepare()
        if first not in fronts:
            incumbent = FrontIncumbent(goal=goal, known=known if len(searches) == 1 else [])
            searches[first].solve(incumbent)
            fronts[first] = incumbent.solutions
            if not incumbent.solutions and incumbent.open:
                return searches[first].infeasibility()
        own = [s if first == i else renamed(s, searches[i].problem) for s in fronts[first]]
        sums = [(*done, one) for done in sums for one in own]
        sums = [sums[i] for i in _kept([total_of(list(groups)) for groups in sums], goal)]
    return sums


def _kept(costs: Sequence[Costs], goal: Goal) -> list[int]:
    """Positions of costs that no others dominate, the fastest first; of equals the first."""
    if not costs:
        return []
    cycles, energy = np.array(costs).T
    energy = goal.whole(cycles, energy)
    order = np.lexsort((np.arange(len(costs)), energy, cycles))
    lowest = np.concatenate([[np.inf], np.minimum.accumulate(energy[order])[:-1]])
    return [int(i) for i in order[energy[order] < lowest * (1 - EQUAL)]]


def limited_sequence(
    searches: list[GroupSearch], goal: Goal
) -> tuple[list[GroupSolution] | Infeasible | None, float]:
    """The best groups in sequence under limits of their sums; None where nothing keeps them.

    returns: also the lower bound of what was not searched.
    """
    free = replace(goal.free, kind="edp")
    found = front_in_sequence(searches, [], free)
    if isinstance(found, Infeasible):
        return found, inf
    cycles, energy = np.array([total_of(groups) for groups in found]).T
    best = best_index(goal, cycles, energy)
    if goal.first(cycles, energy)[best] == inf:
        return None, inf
    left = any(s.proven(free) < inf for s in searches)
    floors = [s.floor() for s in searches]
    least = np.array(sum(c for c, _ in floors)), np.array(sum(e for _, e in floors))
    return list(found[best]), float(goal.first(*least)) if left else inf
