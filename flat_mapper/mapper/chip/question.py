"""The question that a search of tiles answers, and what it counts."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf

import numpy as np

from flat_mapper.arch.values import Platform
from flat_mapper.base.budget import Budget
from flat_mapper.base.progress import Progress
from flat_mapper.energy.tables import Ert
from flat_mapper.mapper.chip.assignments import Assignment
from flat_mapper.mapper.group.incumbent import Costs, pair_of
from flat_mapper.mapper.group.objective import Goal
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
