"""The question that a search of tiles answers, and what it counts."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf

import numpy as np

from flat_mapper.arch.values import Platform
from flat_mapper.base.budget import Budget, Progress
from flat_mapper.energy.tables import Ert
from flat_mapper.mapper.chip.assignments import Assignment
from flat_mapper.mapper.cost.pareto import nondominated
from flat_mapper.mapper.group.incumbent import Costs, pair_of
from flat_mapper.mapper.group.objective import Goal
from flat_mapper.mapper.space.candidates import Floats
from flat_mapper.mapping.space import Mapspace


@dataclass(slots=True)
class Counters:
    """Counts of what was looked at, of all groups."""

    size: int = 0
    evaluated: int = 0
    in_vain: int = 0  # tiles that were searched since one was better
    pruned: int = 0
    left: int = 0
    ended: str = ""  # what ended the search before the budget did

    def of(self) -> dict[str, int]:
        """Tiles left out, by why."""
        named = {"tiles": self.pruned, "tiles left": self.left}
        return {name: n for name, n in named.items() if n}


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Question that is asked, of all cascades and groups."""

    platform: Platform
    mapspace: Mapspace
    ert: Ert
    goal: Goal
    budget: Budget
    progress: Progress | None
    enough: float = inf  # mappings priced before tiles in vain end the search
    count: Counters = field(default_factory=Counters)

    @property
    def buffering(self) -> float:
        """Copies of what crosses DRAM."""
        return self.mapspace.policy.buffering

    def value(self, cycles: float, energy: float = 0.0) -> float:
        """The objective at some costs."""
        return float(self.goal.first(np.array(cycles), np.array(energy)))

    def costs(self, value: float) -> Costs:
        """Costs that come to a value of the objective, and lose every tie but for latency."""
        if self.goal.kind == "edp":
            return 1.0, value - self.goal.leak
        return pair_of(self.goal, value)

    @property
    def adds_up(self) -> bool:
        """True if what is minimised is a sum over groups."""
        return self.goal.kind != "edp"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiles:
    """All that may be given out of a group, with the objective and the pJ at least."""

    energy: float
    tiles: list[tuple[float, Assignment]]


@dataclass(frozen=True, slots=True)
class OuterCosts:
    """Outer choices of a tile, by what all tiles take at least with each of them."""

    cycles: Floats  # of all cores together
    energy: Floats  # pJ
    fewest: float  # cycles of any

    def least(self, question: Question) -> float:
        """The objective at least; infinite where there are none."""
        least = float(question.goal.first(self.cycles, self.energy).min(initial=inf))
        return max(least, question.value(self.fewest, float(self.energy.min(initial=inf))))

    @property
    def front(self) -> OuterCosts:
        """Those that may be the least under some weight."""
        if not len(self.cycles):
            return self
        fastest, leanest = self.cycles.argmin(), self.energy.argmin()
        some = (self.energy <= self.energy[fastest]) & (self.cycles <= self.cycles[leanest])
        costs = np.stack([self.cycles[some], self.energy[some]]).T
        cycles, energy = costs[nondominated(costs)].T
        return OuterCosts(cycles, energy, self.fewest)
