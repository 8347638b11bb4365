"""What a search over partitions knows of one group: bounds, and the best mappings so far."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf

import numpy as np

from flat_mapper.cost_model.result import Infeasible
from flat_mapper.mapper.group.incumbent import Costs
from flat_mapper.mapper.group.objective import Goal
from flat_mapper.mapper.group.picks import GroupSolution

HUGE = 1e30  # pJ that no mapping takes

Names = tuple[str, ...]


@dataclass(slots=True)
class KnownGroup:
    """What is known of a group, or of all groups that are the same question under other names."""

    least: Costs  # lower bounds
    found: list[tuple[Names, GroupSolution]] = field(default_factory=list)
    exact: set[Goal] = field(default_factory=set)
    stuck: set[Goal] = field(default_factory=set)  # searched, but not to the end
    over: dict[Goal, float] = field(default_factory=dict)  # no mapping is below
    infeasible: Infeasible | None = None

    def lower(self, goal: Goal) -> float:
        """Lower bound under a goal."""
        if goal in self.exact:
            return self.upper(goal)
        return max(goal_value(goal, self.least), self.over.get(goal, 0.0))

    def upper(self, goal: Goal) -> float:
        """What the best known mapping costs under a goal."""
        return min((goal_value(goal, costs_of(s)) for _, s in self.found), default=inf)

    def best(self, goal: Goal) -> tuple[Names, GroupSolution]:
        """The best known mapping under a goal, with the names it was found for."""
        return min(self.found, key=lambda one: goal_value(goal, costs_of(one[1])))


def goal_value(goal: Goal, costs: Costs) -> float:
    """What a goal minimises, at some (cycles, dynamic pJ)."""
    if costs[0] == inf:
        return inf
    return float(goal.first(np.array(costs[0]), np.array(costs[1])))


def costs_of(solution: GroupSolution) -> Costs:
    return solution.cycles, solution.energy


def pair_of(goal: Goal, value: float) -> Costs:
    """Costs that come to some value under a goal, and lose every tie but for latency."""
    return (value, HUGE) if goal.kind == "latency" else (0.0, value)
