"""The best mapping over all alternatives of a mapspace and all groups of an alternative."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING

import numpy as np

from flat_mapper.arch.values import Platform
from flat_mapper.base.budget import Budget, Progress
from flat_mapper.base.errors import SpecError, expected
from flat_mapper.cost_model.result import Infeasible
from flat_mapper.energy.tables import Ert
from flat_mapper.mapper.group.group import GroupSearch
from flat_mapper.mapper.group.incumbent import (
    OBJECTIVES,
    Costs,
    Goal,
    GoalIncumbent,
    Objective,
    better_pair,
)
from flat_mapper.mapper.group.picks import GroupSolution, total_of
from flat_mapper.mapper.solve.alternatives import (
    Tally,
    Task,
    buffer_words,
    least_refused,
    limited_goal,
    reconstructed,
    tasks,
)
from flat_mapper.mapper.solve.certificate import Solution, certified, value_of
from flat_mapper.mapping.arch_rules import with_arch_rules
from flat_mapper.mapping.space import Mapspace
from flat_mapper.workload.graph import Workload

if TYPE_CHECKING:  # at run time each is imported where it is asked for
    from flat_mapper.mapper.solve.weighted_sum import WeightedSumSearch


@dataclass(slots=True)
class _Best:
    """The best of the alternatives so far, and why nothing fits in others."""

    groups: list[GroupSolution] = field(default_factory=list)
    cascade: Workload | None = None
    infeasible: dict[str, Infeasible] = field(default_factory=dict)  # by alternative
    cutoff: Costs | None = None

    @property
    def total(self) -> Costs | None:
        """Cycles and pJ."""
        return total_of(self.groups) if self.groups else self.cutoff

    def take(self, found: list[GroupSolution] | Infeasible | None, task: Task) -> None:
        """Note what an alternative came to: better, no better, or infeasible."""
        if isinstance(found, Infeasible):
            self.infeasible[task.name] = found
        elif found:
            self.groups, self.cascade = found, task.cascade


def best_mapping(
    workload: Workload,
    platform: Platform,
    mapspace: Mapspace,
    ert: Ert,
    *,
    objective: Objective = "edp",
    cutoff: Costs | None = None,
    progress: Progress | None = None,
    budget: Budget | None = None,
) -> Solution | Infeasible | None:
    """The mapping of least objective whose factors divide the ranks, or why there is none.

    Where the workload leaves the form of its softmax open (`any`), it is the best of all forms. The
    constraints that the platform's own nodes carry hold as the mapspace's do.

    objective: latency, energy or edp; ties are broken by the other two.
    cutoff:    cycles and dynamic pJ known from elsewhere; None if no mapping improves on it.
    progress:  called with the part that is proven and what is being searched.
    budget:    what may be spent, and limits of the answer; at its end the best so far is returned.
    """
    if objective not in OBJECTIVES:
        raise SpecError(expected("objective", f"one of {', '.join(OBJECTIVES)}", objective))
    begin = time.perf_counter()
    mapspace, budget = with_arch_rules(mapspace, platform, workload), budget or Budget()
    tally, best = Tally(), _Best(cutoff=cutoff)
    leak, limits = sum(ert.leak_per_cycle(platform).values()), budget.limits
    goal = limited_goal(Goal(kind=objective, leak=leak), limits, workload, platform)
    what = workload, platform, mapspace, ert
    everything = _opened(what, goal, budget, known=cutoff is not None)
    if everything is None:
        return None
    run = _Run(goal, everything, best, budget.gap)
    if progress:
        budget.report = lambda: progress(*run.progress())
    run.through(budget, tally)
    budget.report = None  # which holds all candidates of this search, and they the budget
    if not best.groups:
        return least_refused(*best.infeasible.values())
    cascade = best.cascade or workload
    result = reconstructed(best.groups, cascade, platform, mapspace, ert)
    return certified(
        what,
        cascade,
        result,
        objective,
        proven=value_of(result, objective) * run.bound() / run.value(),
        mapspace_size=tally.size,
        evaluated=tally.evaluated,
        pruned=tally.pruned,
        stopped=budget.stopped,
        seconds=time.perf_counter() - begin,
        infeasible={name: str(why) for name, why in best.infeasible.items()},
    )


def _opened(
    what: tuple[Workload, Platform, Mapspace, Ert],
    goal: Goal,
    budget: Budget,
    *,
    known: bool,
) -> list[Task] | None:
    """All alternatives, the most promising first; of equals the first stays.

    known: whether there is a mapping of other sizes. returns: None where there is one, and the time
           is over before one of these is.
    """
    with budget.until_stopped(known):
        everything = tasks(*what, budget, buffer_words(budget.limits, what[1]))
        return sorted(everything, key=lambda task: least_of(task.searches, goal))
    return None


@dataclass(slots=True)
class _Run:
    """One search over alternatives: what is known, and what is proven."""

    goal: Goal
    everything: list[Task]
    best: _Best
    gap: float
    number: int = 0
    sequence: WeightedSumSearch | None = None  # of groups one after another, that is searched
    proven: dict[int, float] = field(default_factory=dict)  # of alternatives that were opened

    def value(self) -> float:
        """The objective of the best mapping so far; infinite where there is none."""
        known = [] if self.best.total is None else [self.best.total]
        task = self.everything[self.number]
        if len(task.searches) == 1 and isinstance(task.searches[0].incumbent, GoalIncumbent):
            known += task.searches[0].incumbent.best
        return min((_value(self.goal, *costs) for costs in known), default=inf)

    def bound(self) -> float:
        """Lower bound on the objective of any mapping of the mapspace."""
        least = self.value() / (1 + self.gap)
        for number, task in enumerate(self.everything):
            if number in self.proven:
                least = min(least, self.proven[number])
            elif self.sequence is not None and number == self.number:
                least = min(least, self.sequence.bound())
            elif len(task.searches) == 1:
                least = min(least, task.searches[0].proven(self.goal))
            else:
                least = min(least, least_of(task.searches, self.goal))
        return least

    def progress(self) -> tuple[float, str]:
        """(share that is proven, phase with best, bound and gap), for who waits."""
        value, bound, name = self.value(), self.bound(), self.everything[self.number].phase
        together = self.sequence and self.sequence.so_far()
        value = min(value, _value(self.goal, *together)) if together else value
        phase = f"{self.number + 1} of {len(self.everything)}, {name}"
        if value == inf:
            return 0.0, f"{phase}: no mapping yet, bound {bound:.4g}"
        gap = 100 * (value / bound - 1) if bound > 0 else inf
        return bound / value, f"{phase}: best {value:.4g}, bound {bound:.4g}, gap {gap:.2f} %"

    def through(self, budget: Budget, tally: Tally) -> None:
        """Search one alternative after another."""
        for number, task in enumerate(self.everything):
            self.number = number
            with budget.until_stopped(bool(self.best.groups)):
                self.best.take(self.alternative(task), task)
            tally.add(task)

    def alternative(self, task: Task) -> list[GroupSolution] | Infeasible | None:
        """The best of one partition into groups, if it improves on the best so far."""
        goal, best, searches = self.goal, self.best.total, task.searches
        self.sequence = None
        solved: list[GroupSolution] | Infeasible | None
        if len(searches) == 1:
            solved, self.proven[self.number] = solve_group(searches[0], goal, best, self.gap)
            return solved
        least = [s.prepare() for s in searches]
        total = (sum(c for c, _ in least), sum(e for _, e in least))
        if best is not None and not better_pair(goal, total, best):
            self.proven[self.number] = inf
            return None
        if goal.is_limited:
            from flat_mapper.mapper.solve.front_search import limited_sequence  # of several groups

            solved, self.proven[self.number] = limited_sequence(searches, goal)
            return solved
        from flat_mapper.mapper.solve.weighted_sum import WeightedSumSearch  # of several groups

        self.sequence = sequence = WeightedSumSearch(searches, goal, self.gap)
        solved = sequence.best(best)
        finished = isinstance(solved, Infeasible) or (sequence.exact and not self.gap)
        self.proven[self.number] = inf if finished else sequence.bound()
        if (
            isinstance(solved, list)
            and best is not None
            and not better_pair(goal, total_of(solved), best)
        ):
            return None
        return solved


def solve_group(
    search: GroupSearch, goal: Goal, best: Costs | None, gap: float = 0.0
) -> tuple[list[GroupSolution] | Infeasible | None, float]:
    """The best mapping of one group, if it improves on one that is known.

    best: cycles and dynamic pJ to improve on; None: nothing is known. gap: relative; what improves
    by less need not be found.
    returns: the solution in a list, None where there is none better, or why there is none at all;
             and the lower bound of what was left out or not searched, infinite where nothing was.
    """
    least = search.prepare()
    incumbent = GoalIncumbent.of((goal,), (best,), gap)
    if not incumbent.can_improve(np.array([least[0]]), np.array([least[1]]))[0]:
        return None, inf
    search.solve(incumbent)
    left, one = search.proven(goal), incumbent.solutions[0]
    if one is None:
        return search.infeasibility() if best is None or not search.fits else None, left
    better = best is None or better_pair(goal, (one.cycles, one.energy), best)
    return [one] if better else None, left


def least_of(searches: list[GroupSearch], goal: Goal) -> float:
    """Lower bound on the objective of groups in sequence, to rank alternatives by."""
    if len(searches) > 1:
        least = [s.prepare() for s in searches]
        return _value(goal, sum(c for c, _ in least), sum(e for _, e in least))
    searches[0].prepare()
    return searches[0].least(goal)


def _value(goal: Goal, cycles: float, energy: float) -> float:
    return float(goal.first(np.array(cycles), np.array(energy)))
