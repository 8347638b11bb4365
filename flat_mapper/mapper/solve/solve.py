"""The best mapping over all alternatives of a mapspace and all groups of an alternative."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np

from flat_mapper.arch.values import Platform
from flat_mapper.base.errors import SpecError, expected
from flat_mapper.base.progress import Progress
from flat_mapper.cost_model.result import Infeasible, Result
from flat_mapper.energy.tables import Ert
from flat_mapper.mapper.group.group import GroupSearch
from flat_mapper.mapper.group.incumbent import Costs, GoalIncumbent
from flat_mapper.mapper.group.objective import OBJECTIVES, Goal, Objective, better_pair
from flat_mapper.mapper.group.picks import GroupSolution
from flat_mapper.mapper.solve.alternatives import Tally, lesser, reconstructed, tasks
from flat_mapper.mapper.solve.log import SearchLog
from flat_mapper.mapper.solve.result import Certificate, Solution
from flat_mapper.mapper.solve.weighted_sum import WeightedSumSearch, total_of
from flat_mapper.mapping.arch_rules import with_arch_rules
from flat_mapper.mapping.space import Mapspace
from flat_mapper.workload.graph import Workload


@dataclass(slots=True)
class _Best:
    """The best of the alternatives so far, and the least infeasibility."""

    groups: list[GroupSolution] = field(default_factory=list)
    cascade: Workload | None = None
    infeasible: Infeasible | None = None
    cutoff: Costs | None = None

    @property
    def total(self) -> Costs | None:
        """Cycles and pJ."""
        return total_of(self.groups) if self.groups else self.cutoff

    def take(self, found: list[GroupSolution] | Infeasible | None, cascade: Workload) -> None:
        """Note what an alternative came to: better, no better, or infeasible."""
        if isinstance(found, Infeasible):
            self.infeasible = lesser(self.infeasible, found)
        elif found:
            self.groups, self.cascade = found, cascade


def best_mapping(
    workload: Workload,
    platform: Platform,
    mapspace: Mapspace,
    ert: Ert,
    *,
    objective: Objective = "edp",
    cutoff: Costs | None = None,
    progress: Progress | None = None,
    log: SearchLog | None = None,
) -> Solution | Infeasible | None:
    """The mapping of least objective whose factors divide the ranks, or why there is none.

    Where the workload leaves the form of its softmax open (`any`), it is the best of all forms. The
    constraints that the platform's own nodes carry hold as the mapspace's do.

    objective: latency, energy or edp; ties are broken by the other two.
    cutoff:    cycles and dynamic pJ known from elsewhere; None if no mapping improves on it.
    progress:  called with the share done and what is being searched.
    log:       takes down what is cut, for `replay`.
    """
    if objective not in OBJECTIVES:
        raise SpecError(expected("objective", f"one of {', '.join(OBJECTIVES)}", objective))
    begin = time.perf_counter()
    mapspace = with_arch_rules(mapspace, platform, workload)
    tally, best = Tally(), _Best(cutoff=cutoff)
    goal = Goal(kind=objective, leak=sum(ert.leak_per_cycle(platform).values()))
    everything = tasks(workload, platform, mapspace, ert)
    if log is not None:
        log.begin(workload, platform, mapspace, ert, objective, everything)
    # The most promising first; of equals the first stays.
    everything.sort(key=lambda task: _least(task.searches, goal))
    for number, task in enumerate(everything):
        if progress:
            progress(number / len(everything), task.name)
        best.take(_alternative(task.searches, goal, best.total), task.cascade)
        tally.add(task)
        if log is not None:
            log.alternative(task, goal, best.total)
    if log is not None:
        log.end(best.groups, everything)
    if not best.groups:
        return best.infeasible
    workload = best.cascade or workload
    result = reconstructed(best.groups, workload, platform, mapspace, ert)
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
            lower_bound=floor_of(result, objective),
            seconds=time.perf_counter() - begin,
        ),
    )


def floor_of(result: Result, objective: Objective) -> float:
    """Lower bound on the objective of a result's Einsums: compulsory traffic, units at peak."""
    bound = result.bound
    latency = bound.cycles * result.cycle_seconds
    edp = bound.energy_pj * 1e-12 * latency
    return {"latency": latency, "energy": bound.energy_pj, "edp": edp}[objective]


def _least(searches: list[GroupSearch], goal: Goal) -> float:
    """Lower bound on the objective of groups in sequence, to rank alternatives by."""
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
) -> list[GroupSolution] | Infeasible | None:
    """The best of one partition into groups, if it improves on the best so far."""
    solved: list[GroupSolution] | Infeasible | None
    least = [s.prepare() for s in searches]
    total = (sum(c for c, _ in least), sum(e for _, e in least))
    if len(searches) == 1:
        incumbent = GoalIncumbent.of((goal,), (best,))
        if not incumbent.can_improve(np.array([total[0]]), np.array([total[1]]))[0]:
            return None
        searches[0].solve(incumbent)
        one = incumbent.solutions[0]
        solved = [one] if one else searches[0].infeasibility() if best is None else None
    elif best is not None and not better_pair(goal, total, best):
        return None
    else:
        solved = WeightedSumSearch(searches, goal).best(best)
    if (
        isinstance(solved, list)
        and best is not None
        and not better_pair(goal, total_of(solved), best)
    ):
        return None
    return solved
